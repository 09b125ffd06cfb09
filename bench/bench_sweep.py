"""fastbp's training step over widths and batches: time per flop falls smoothly, without a cliff between its paths."""

import pytest

from bench import driver
from bench.shapes import SWEEP

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

_ROUNDS = 5


@pytest.mark.parametrize("shape", SWEEP, ids=lambda shape: shape.name)
def bench_sweep(shape, benchmark, workers):
    width = shape.sizes[0]
    if workers.quick and (width not in (2, 8, 32) or shape.batch not in (1, 16)):
        pytest.skip("--quick leaves out the large shapes")
    worker = workers.with_threads("fastbp", "sweep", shape, workers.n_threads)
    benchmark.group = f"sweep, batch {shape.batch}"
    benchmark.name = f"width {width}"
    benchmark.extra_info |= {
        "kind": "sweep",
        "shape": shape.name,
        "width": width,
        "batch": shape.batch,
        "flops": shape.gradient_flops,
        "threads": worker.n_threads,
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=min(workers.rounds, _ROUNDS))
