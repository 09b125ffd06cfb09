"""A gradient beside a forward pass of the same batch: at most three times as long, by the count of flops."""

import pytest

from bench import driver
from bench.shapes import GRADIENT

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", ["fastbp", "torch", "jax"])  # scikit-learn has no public gradient
@pytest.mark.parametrize("shape", GRADIENT, ids=lambda shape: shape.name_with_rows)
@pytest.mark.parametrize("task", ["forward", "gradient"])
def bench_gradient(task, shape, library, benchmark, workers, require):
    if workers.quick and shape is not GRADIENT[0]:
        pytest.skip("--quick leaves out the large shapes")
    require(library)
    forward = workers.ready(library, "forward", shape)
    benchmark.group = f"{task} {shape.name_with_rows}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": task,
        "shape": shape.name_with_rows,
        "n_params": shape.n_params,
        "flops": shape.forward_flops,
    }
    if task == "forward":
        benchmark.extra_info["threads"] = forward.n_threads
        benchmark.pedantic(forward.timed_round, rounds=workers.rounds)
        return
    forward_s = min(forward.round() for _ in range(workers.rounds))
    worker = workers.ready(library, "gradient", shape)
    benchmark.pedantic(worker.timed_round, rounds=workers.rounds)
    benchmark.extra_info |= {
        "flops": shape.gradient_flops,
        "threads": worker.n_threads,
        "first_call_s": worker.prepared["first_call_s"],
        "forward_s": forward_s,
        "ratio": (benchmark.stats.stats.min if benchmark.stats else float("nan")) / forward_s,
        "theory": shape.gradient_flops / shape.forward_flops,
    }
