"""Outputs, from a NumPy array to a NumPy array: one row for the latency, ten thousand for the rate."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import PREDICTION

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", [*LIBRARIES, "onnxruntime"])
@pytest.mark.parametrize("shape", PREDICTION, ids=lambda shape: shape.name_with_rows)
def bench_predict(shape, library, workers, measure):
    measure(
        lambda name: workers.ready(name, "prediction", shape),
        group=f"predict {shape.name_with_rows}",
        kind="predict",
        shape=shape.name_with_rows,
        flops=shape.forward_flops,
    )
