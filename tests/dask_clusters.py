"""A cluster of processes that the tests of `fastbp.dask` share, because starting one takes seconds."""

import contextlib

import pytest

_open = contextlib.ExitStack()
_clusters = []


@pytest.fixture
def cluster():
    """Two worker processes of one thread each; who kills or adds workers makes a cluster of his own."""
    distributed = pytest.importorskip("distributed")
    if not _clusters:
        # Another cluster of this machine may have the usual port.
        made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        _clusters.append(_open.enter_context(made))
    return _clusters[0]


@pytest.fixture
def client(cluster):
    """A client of `cluster`, the current one while a test runs."""
    from distributed import Client

    with Client(cluster) as made:
        yield made


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """End the cluster after the tests of Dask: others count the threads of this process, or fork it."""
    if nextitem is None or "dask" not in nextitem.nodeid:
        _clusters.clear()
        _open.close()
