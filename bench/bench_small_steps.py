"""Steps on data of a few rows, in one fit and each in a call of its own. Times are for one step."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import SMALL

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


def measure(task, kind, shape, library, benchmark, workers):
    """Time a task, first compared with another library's."""
    worker = workers.ready(library, task, shape)
    benchmark.group = f"{kind} {shape.name}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": kind,
        "shape": shape.name,
        "target": shape.target,
        "version": worker.prepared["version"],
        "threads": worker.n_threads,
        "steps": worker.prepared["units"],
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=workers.rounds)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def bench_small_fit(shape, library, benchmark, workers, require):
    require(library)
    measure("training", "small data, one fit", shape, library, benchmark, workers)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def bench_single_step(shape, library, benchmark, workers, require):
    require(library)
    measure("single_steps", "small data, single steps", shape, library, benchmark, workers)
