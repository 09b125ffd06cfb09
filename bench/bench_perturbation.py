"""The gradient by n + 1 forward passes beside backpropagation's: about (n + 1) / 3 times as long."""

import pytest

from bench import driver
from bench.shapes import MILLION, PERTURBATION

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

METHODS = {
    "backpropagation": None,
    "perturbation": {},
    "perturbation, earlier layers reused": {"reuse_layers": True},
    "central differences": {"scheme": "central"},
}
TURNS = 5  # a gradient by perturbation takes so long that few are enough


def ready(workers, shape, method):
    """The worker of a method, or of the forward pass."""
    task = {"forward": "forward", "backpropagation": "gradient"}.get(method, "perturbation")
    return workers.ready("fastbp", task, shape, part=method, **(METHODS.get(method) or {}))


def why_not(shape, method, workers):
    """Return None, or the reason why a method is not measured for a shape."""
    if workers.quick and shape.n_params > 1000:
        return "--quick leaves out the large shapes"
    if shape is MILLION and not workers.million:
        return "the million-and-one passes take a quarter of an hour; --million measures them"
    if method == "central differences" and shape.n_params > 20_000:
        return "2 n passes take minutes, and tell no more than n + 1"
    return None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [*PERTURBATION, MILLION], ids=lambda shape: shape.name_with_rows)
def bench_perturbation(shape, method, benchmark, workers, measure):
    entries = measure(
        lambda chosen: ready(workers, shape, chosen),
        by=("method",),
        also=[("forward",), ("backpropagation",)],
        but=lambda chosen: why_not(shape, chosen, workers),
        turns_of_each=1 if shape is MILLION else TURNS,
        group=f"gradient of n = {shape.n_params} parameters, {shape.name_with_rows}",
        kind="perturbation",
        shape=shape.name_with_rows,
        n_params=shape.n_params,
        method=method,
    )
    if METHODS[method] is not None:
        found, n_passes = entries[method,].shortest, shape.n_params + 1
        benchmark.extra_info |= {
            "ratio": found / entries["backpropagation",].shortest,
            "theory": n_passes / 3,
            "pass_over_forward": found / n_passes / entries["forward",].shortest,
        }
