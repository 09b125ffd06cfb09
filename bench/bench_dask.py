"""Rounds, epochs and predictions on a Dask cluster of two worker processes, beside one process with two threads.

`bench.dask_rounds` measures the same in turns, and writes the tables of the documentation.
"""

import pytest

from bench import dask_rounds


@pytest.fixture(scope="module")
def client():
    with dask_rounds.two_workers() as client:
        yield client


@pytest.mark.parametrize("way", dask_rounds.Ways._fields)
@pytest.mark.parametrize("work", dask_rounds.WORKS)
def bench_dask(work, way, client, benchmark, request):
    quick = request.config.getoption("--quick")
    n_rows = dask_rounds.FEW_ROWS if quick else dask_rounds.MANY_ROWS[work]
    with dask_rounds.WORKS[work](client, n_rows) as ways:
        benchmark.group, benchmark.name = work, way
        benchmark.extra_info["kind"] = "on a Dask cluster"
        benchmark.pedantic(getattr(ways, way), rounds=1 if quick else dask_rounds.TURNS, warmup_rounds=1)
