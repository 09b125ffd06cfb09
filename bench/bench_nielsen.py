"""An epoch of the textbook's digit network by its published code and by `fastbp.nielsen`. Times are for one epoch."""

import pytest

from bench import driver
from bench.nielsen_peers import PEERS, TARGETS
from bench.shapes import DIGITS

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("shape", DIGITS, ids=lambda shape: shape.name_with_rows)
def bench_nielsen(shape, library, benchmark, workers):
    if workers.quick != (shape is DIGITS[0]):
        pytest.skip("--quick takes the small shape, and else the large one tells enough")
    worker = workers.ready(library, "digits", shape)
    benchmark.group = f"epoch of {shape.name_with_rows}, batch {shape.batch}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": "published code",
        "shape": shape.name_with_rows,
        "target": TARGETS.get(library),
        "version": worker.prepared["version"],
        "threads": worker.n_threads,
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=min(workers.rounds, 5))
