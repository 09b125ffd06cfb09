"""An epoch of the textbook's digit network by its published code and by `fastbp.nielsen`. Times are for one epoch."""

import pytest

from bench import driver
from bench.nielsen_peers import PEERS, TARGETS
from bench.shapes import DIGITS

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("shape", DIGITS, ids=lambda shape: shape.name_with_rows)
def bench_nielsen(shape, library, workers, measure):
    if workers.quick != (shape is DIGITS[0]):
        pytest.skip("--quick takes the small shape, and else the large one tells enough")
    measure(
        lambda name: workers.ready(name, "digits", shape),
        turns_of_each=5,
        group=f"epoch of {shape.name_with_rows}, batch {shape.batch}",
        kind="published code",
        shape=shape.name_with_rows,
        target=TARGETS.get(library),
    )
