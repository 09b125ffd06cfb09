"""Plain gradient descent one sample at a time, beside the C library FANN. Times are for one sample."""

import pytest

from bench import driver
from bench.shapes import ONLINE

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", ["fastbp", "fann"])
@pytest.mark.parametrize("shape", ONLINE, ids=lambda shape: shape.name)
def bench_online(shape, library, workers, measure):
    measure(
        lambda name: workers.ready(name, "online", shape),
        group=f"online {shape.network}",
        kind="online",
        shape=shape.network,
        target=shape.target,
    )
