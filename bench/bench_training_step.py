"""One training step: gather the mini-batch, forward, backward, Adam. Times are for one step."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import TRAINING

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

QUICK = TRAINING[:4]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", TRAINING, ids=lambda shape: shape.name)
def bench_training_step(shape, library, benchmark, workers, require):
    if workers.quick and shape not in QUICK:
        pytest.skip("--quick leaves out the large shapes")
    require(library)
    worker = workers.ready(library, "training", shape)
    benchmark.group = f"training step {shape.name}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": "training step",
        "shape": shape.name,
        "n_params": shape.n_params,
        "flops": shape.gradient_flops,
        "bytes": shape.step_bytes,
        "target": shape.target,
        "version": worker.prepared["version"],
        "threads": worker.n_threads,
        "steps": worker.prepared["units"],
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=workers.rounds)
