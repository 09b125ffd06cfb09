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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [*PERTURBATION, MILLION], ids=lambda shape: shape.name_with_rows)
def bench_perturbation(shape, method, benchmark, workers):
    if workers.quick and shape.n_params > 1000:
        pytest.skip("--quick leaves out the large shapes")
    if shape is MILLION and not workers.million:
        pytest.skip("the million-and-one passes take a quarter of an hour; --million measures them")
    if method == "central differences" and shape.n_params > 20_000:
        pytest.skip("2 n passes take minutes, and tell no more than n + 1")
    options = METHODS[method]
    if options is None:
        worker = workers.ready("fastbp", "gradient", shape)
    else:
        seconds = {task: _seconds(workers, task, shape) for task in ("forward", "gradient")}
        worker = workers.ready("fastbp", "perturbation", shape, **options)
    benchmark.group = f"gradient of n = {shape.n_params} parameters, {shape.name_with_rows}"
    benchmark.name = method
    benchmark.extra_info |= {
        "kind": "perturbation",
        "shape": shape.name_with_rows,
        "n_params": shape.n_params,
        "method": method,
    }
    benchmark.pedantic(worker.timed_round, rounds=1 if shape is MILLION else min(workers.rounds, 3))
    if options is not None and benchmark.stats:
        found, n_passes = benchmark.stats.stats.min, shape.n_params + 1
        benchmark.extra_info |= {
            "ratio": found / seconds["gradient"],
            "theory": n_passes / 3,
            "pass_over_forward": found / n_passes / seconds["forward"],
        }
    benchmark.extra_info["threads"] = worker.n_threads


def _seconds(workers, task, shape):
    """The shortest of some rounds of another task."""
    worker = workers.ready("fastbp", task, shape)
    return min(worker.round() for _ in range(workers.rounds))
