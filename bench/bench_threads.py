"""fastbp's training step on one thread and on more: the same bits, sooner."""

import pytest

from bench import driver
from bench.shapes import THREADS

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

TARGET = 1.7  # times faster on two threads than on one
COUNTS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize("n_threads", COUNTS)
@pytest.mark.parametrize("shape", THREADS, ids=lambda shape: shape.name)
def bench_threads(shape, n_threads, workers, measure):
    if workers.quick and shape is not THREADS[0]:
        pytest.skip("--quick leaves out the large shapes")

    def why_not(count):
        return f"the processors are {workers.n_threads}" if count > workers.n_threads else None

    measure(
        lambda count: workers.with_threads("fastbp", "threads", shape, count),
        by=("n_threads",),
        but=why_not,
        group=f"threads, {shape.name}",
        name=f"{n_threads} {'thread' if n_threads == 1 else 'threads'}",
        kind="threads",
        shape=shape.name,
        target=TARGET if n_threads == 2 else None,
    )
