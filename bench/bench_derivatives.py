"""Jacobians, per-sample gradients, products with second derivatives and Laplacians, beside torch.func and jax."""

import pytest

from bench import driver
from bench.shapes import FIELD, OF_OUTPUTS, OF_SAMPLES

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

# What, of which network, and how many times as quick as the best other library fastbp is meant to be.
WORK = [
    ("input_jacobian", OF_OUTPUTS[0], 2),
    ("input_jacobian", OF_OUTPUTS[1], 1.5),
    ("parameter_jacobian", OF_OUTPUTS[0], 4),
    ("parameter_jacobian", OF_OUTPUTS[1], 10),
    ("sample_gradients", OF_SAMPLES, 1.5),
    ("hessian_product", OF_SAMPLES, 1),
    ("linearized_product", OF_SAMPLES, 1),
    ("gauss_newton_product", OF_SAMPLES, 1),
    ("laplacian", FIELD, 1.5),
    ("physics_gradient", FIELD, 1.5),
]
BY_HAND = ("sample_gradients", "laplacian", "physics_gradient")  # whose formulas are written out for jax as well
CONTESTANTS = ["fastbp", "torch", "jax", "jax by hand"]


def ready(workers, what, shape, contestant):
    """The worker of a library, prepared for a derivative or for the gradient of the cost."""
    library, by_hand = contestant.removesuffix(" by hand"), {"by_hand": True} if "by hand" in contestant else {}
    return workers.ready(library, what, shape, part=f"{what} {contestant}", **by_hand)


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize(
    ("what", "shape", "target"), WORK, ids=[f"{what} {shape.name_with_rows}" for what, shape, _ in WORK]
)
def bench_derivatives(what, shape, target, contestant, benchmark, workers, measure, reasons):
    if workers.quick and shape is not OF_OUTPUTS[0]:
        pytest.skip("--quick leaves out the large shapes")

    def why_not(task, chosen):
        if "by hand" in chosen and what not in BY_HAND:
            return "there is no quicker way by hand"
        return reasons(chosen.removesuffix(" by hand"))

    entries = measure(
        lambda task, chosen: ready(workers, task, shape, chosen),
        by=("what", "contestant"),
        also=[("gradient", "fastbp")],
        but=why_not,
        group=f"{what.replace('_', ' ')}, {shape.name_with_rows}",
        name=contestant,
        kind="derivative",
        what=what.replace("_", " "),
        shape=shape.name_with_rows,
        target=target,
    )
    gradient_s = entries["gradient", "fastbp"].shortest
    benchmark.extra_info["gradients"] = entries[what, contestant].shortest / gradient_s
