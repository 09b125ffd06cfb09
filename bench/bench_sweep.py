"""Training steps over widths and batches: time per flop falls smoothly, without a cliff between fastbp's paths."""

import pytest

from bench import driver
from bench.shapes import NARROW, SWEEP

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

_TURNS = 5
NARROW_TURNS = 5


@pytest.mark.parametrize("shape", SWEEP, ids=lambda shape: shape.name)
def bench_sweep(shape, workers, measure):
    width = shape.sizes[0]
    if workers.quick and (width not in (2, 8, 32) or shape.batch not in (1, 16)):
        pytest.skip("--quick leaves out the large shapes")
    measure(
        lambda: workers.with_threads("fastbp", "sweep", shape, workers.n_threads),
        by=(),
        turns_of_each=_TURNS,
        group=f"sweep, batch {shape.batch}",
        name=f"width {width}",
        kind="sweep",
        shape=shape.name,
        width=width,
        batch=shape.batch,
        flops=shape.gradient_flops,
    )


@pytest.mark.parametrize("library", ["fastbp", "jax"])  # jax is the best of the others for all of these
@pytest.mark.parametrize("shape", NARROW, ids=lambda shape: shape.name)
def bench_narrow(shape, library, workers, measure):
    if workers.quick and shape.sizes not in ((16, 10, 4), (16, 30, 4)):
        pytest.skip("--quick leaves out the large shapes")
    width = shape.sizes[1]
    sizes = ["w" if size == width else str(size) for size in shape.sizes[:-1]]
    measure(
        lambda name: workers.ready(name, "sweep", shape),
        turns_of_each=NARROW_TURNS,
        group=f"narrow, {shape.name}",
        kind="narrow",
        shape=shape.name,
        family=f"{'-'.join(sizes)}-{shape.sizes[-1]}, batch {shape.batch}",
        width=width,
        flops=shape.gradient_flops,
    )
