"""One training step: gather the mini-batch, forward, backward, Adam. Times are for one step."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import TRAINING

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

QUICK = TRAINING[:4]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", TRAINING, ids=lambda shape: shape.name)
def bench_training_step(shape, library, workers, measure):
    if workers.quick and shape not in QUICK:
        pytest.skip("--quick leaves out the large shapes")
    measure(
        lambda name: workers.ready(name, "training", shape),
        group=f"training step {shape.name}",
        kind="training step",
        shape=shape.name,
        n_params=shape.n_params,
        flops=shape.gradient_flops,
        bytes=shape.step_bytes,
        target=shape.target,
    )
