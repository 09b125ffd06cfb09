"""A gradient beside a forward pass of the same batch: at most three times as long, by the count of flops."""

import pytest

from bench import driver
from bench.shapes import GRADIENT

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

LIBRARIES = ["fastbp", "torch", "jax"]  # scikit-learn has no public gradient


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("task", ["forward", "gradient"])
@pytest.mark.parametrize("shape", GRADIENT, ids=lambda shape: shape.name_with_rows)
def bench_gradient(task, shape, library, benchmark, workers, measure):
    if workers.quick and shape is not GRADIENT[0]:
        pytest.skip("--quick leaves out the large shapes")
    entries = measure(
        lambda what, name: workers.ready(name, what, shape, part=what),
        by=("task", "library"),
        also=[("forward", name) for name in LIBRARIES],
        group=f"{task} {shape.name_with_rows}",
        name=library,
        kind=task,
        shape=shape.name_with_rows,
        n_params=shape.n_params,
        flops=shape.gradient_flops if task == "gradient" else shape.forward_flops,
    )
    if task == "gradient":
        forward_s = entries["forward", library].shortest
        benchmark.extra_info |= {
            "forward_s": forward_s,
            "ratio": entries["gradient", library].shortest / forward_s,
            "theory": shape.gradient_flops / shape.forward_flops,
        }
