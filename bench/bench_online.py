"""Plain gradient descent one sample at a time, beside the C library FANN. Times are for one sample."""

import pytest

from bench import driver
from bench.shapes import ONLINE

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", ["fastbp", "fann"])
@pytest.mark.parametrize("shape", ONLINE, ids=lambda shape: shape.name)
def bench_online(shape, library, benchmark, workers, require):
    require(library)
    worker = workers.ready(library, "online", shape)
    benchmark.group = f"online {shape.network}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": "online",
        "shape": shape.network,
        "target": shape.target,
        "version": worker.prepared["version"],
        "threads": worker.n_threads,
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=workers.rounds)
