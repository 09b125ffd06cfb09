"""Outputs, from a NumPy array to a NumPy array: one row for the latency, ten thousand for the rate."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import PREDICTION

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", [*LIBRARIES, "onnxruntime"])
@pytest.mark.parametrize("shape", PREDICTION, ids=lambda shape: shape.name_with_rows)
def bench_predict(shape, library, benchmark, workers, require):
    require(library)
    worker = workers.ready(library, "prediction", shape)
    benchmark.group = f"predict {shape.name_with_rows}"
    benchmark.name = library
    benchmark.extra_info |= {
        "kind": "predict",
        "shape": shape.name_with_rows,
        "flops": shape.forward_flops,
        "version": worker.prepared["version"],
        "threads": worker.n_threads,
        "first_call_s": worker.prepared["first_call_s"],
    }
    benchmark.pedantic(worker.timed_round, rounds=workers.rounds)
