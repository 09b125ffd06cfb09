"""Threads of workers, fits side by side and within tasks, and what a fit leaves behind: nothing."""

import os
import pathlib
import subprocess
import sys
import threading

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, worker_client

import fastbp as bp
from fastbp.dask import worker as worker_module
from fastbp.engine.frame import Frame
from tests.test_dask_faults import after, fit, network, partitions

# ---- Threads, and fits side by side ----------------------------------------------------------------------------------


IN_PROCESS = {"processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


def many_rows():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(24_000, 5))
    return tuple(da.from_array(a, chunks=(8000, -1)) for a in (X, np.tanh(X[:, :2])))


def large():
    return bp.Network([5, 200, 2], "tanh", seed=0)


@pytest.fixture(scope="module")
def undisturbed():
    """The parameters of a fit that nothing happens to."""
    net = network()
    fit(net, *partitions())
    return net.params.tobytes()


@pytest.fixture(scope="module")
def alone():
    """The parameters of a fit with much work, by a worker of one thread."""
    net = large()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        fit(net, *many_rows(), client=client, epochs=3)
    return net.params.tobytes()


@pytest.fixture
def running(monkeypatch):
    """How many threads the kernels had together, whenever one began."""
    now, counts, door = [0], [], threading.Lock()
    run = Frame.run

    def counted(self, *arguments, **settings):
        with door:
            now[0] += settings["n_threads"]
            counts.append(now[0])
        try:
            return run(self, *arguments, **settings)
        finally:
            with door:
                now[0] -= settings["n_threads"]

    monkeypatch.setattr(Frame, "run", counted)
    monkeypatch.setattr(worker_module, "LEAST_SHARED_FLOPS", 1)
    with bp.num_threads(3):  # whatever this machine has; the nannies of other tests have set OMP_NUM_THREADS=1 here
        yield counts


def test_a_worker_process_has_its_threads_for_the_kernels():
    """A nanny starts it with OMP_NUM_THREADS=1."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=3, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        fit(network(), *partitions(), client=client, epochs=1)
        assert list(client.run(bp.get_num_threads).values()) == [3]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_tasks_take_the_threads_of_their_worker(n_threads, alone, running):
    with (
        LocalCluster(n_workers=1, threads_per_worker=n_threads, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        net = large()
        fit(net, *many_rows(), client=client, epochs=3)
        assert max(running) == n_threads
        assert net.params.tobytes() == alone


def test_workers_in_one_process_have_threads_of_their_own(alone, running):
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        net = large()
        fit(net, *many_rows(), client=client, epochs=3)
        assert 2 <= max(running) <= 4
        assert net.params.tobytes() == alone


@pytest.mark.parametrize("n_threads", [1, 2])
def test_fits_side_by_side(n_threads, undisturbed):
    nets, refusals = [network(), network()], []
    together = threading.Barrier(2, timeout=60)

    def refused(net):
        with pytest.raises(RuntimeError) as caught:
            fit(net, *partitions(), client=client)
        refusals.append(str(caught.value).split(",")[0])

    def work(net):
        callbacks = [after(1, together.wait), after(2, lambda: refused(net)), after(3, together.wait)]
        fit(net, *partitions(), client=client, callbacks=callbacks)

    with (
        LocalCluster(n_workers=1, threads_per_worker=n_threads, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        threads = [threading.Thread(target=work, args=(net,)) for net in nets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [net.params.tobytes() for net in nets] == 2 * [undisturbed]
    assert refusals == 2 * ["`fit` must have the network to itself"]


def test_a_task_that_fits(undisturbed):
    """It would wait for itself on a worker of one thread, if it did not let another task have its place."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **IN_PROCESS) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for task in (fit_here, fit_seceded, fit_here):
            assert client.submit(task, pure=False).result(timeout=60) == undisturbed


def test_tasks_that_fit_at_once(undisturbed):
    """They ask for the worker's client while the first of them makes it."""
    for _ in range(3):  # each time with a new client
        with (
            LocalCluster(n_workers=1, threads_per_worker=4, **IN_PROCESS) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            found = client.gather([client.submit(fit_together, pure=False) for _ in range(4)])
        assert found == 4 * [undisturbed]


TOGETHER = threading.Barrier(4)


def fit_together():
    TOGETHER.wait(timeout=60)
    return fit_here()


def fit_here():
    net = network()
    fit(net, *partitions())
    return net.params.tobytes()


def fit_seceded():
    with worker_client():
        return fit_here()


# ---- What is left ----------------------------------------------------------------------------------------------------


def test_a_fit_without_a_cluster_leaves_nothing(tmp_path):
    code = """
import logging, os, sys, threading
import dask, dask.array as da, numpy as np
import fastbp as bp, fastbp.dask as on_dask
X = np.random.default_rng(0).normal(size=(100, 3))
dX, dY = da.from_array(X, chunks=(10, 3)), da.from_array(X[:, :2], chunks=(10, 2))
settings, levels = dict(dask.config.config), logging.getLogger("distributed").level
net = bp.Network([3, 4, 2], seed=0)
on_dask.fit(net, dX, dY, epochs=2, batch_size=None)
bad = da.from_array(np.full_like(X, np.nan), chunks=(10, 3))
try:
    on_dask.fit(net, bad, dY, epochs=2, batch_size=None)
except ValueError as error:
    print(str(error)[:12])
def stop(net, history):
    raise KeyboardInterrupt
try:
    on_dask.fit(net, dX, dY, epochs=2, batch_size=None, callbacks=[stop])
except KeyboardInterrupt:
    print("interrupted")
import distributed
try:
    distributed.default_client()
except ValueError:
    print("no client")
assert dask.config.config == settings
assert logging.getLogger("distributed").level == levels
print(os.listdir("."), [thread.name for thread in threading.enumerate() if not thread.daemon])
"""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(bp.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    assert done.stdout == "In partition\ninterrupted\nno client\n[] ['MainThread']\n"


# ---- Where partitions are kept --------------------------------------------------------------------------------------
