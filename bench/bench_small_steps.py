"""Steps on data of a few rows, in one fit and each in a call of its own. Times are for one step."""

import pytest

from bench import driver
from bench.peers import LIBRARIES
from bench.shapes import SMALL

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

KINDS = {"training": "small data, one fit", "single_steps": "small data, single steps"}


def measure_steps(task, shape, workers, measure):
    """Time a task, first compared with another library's."""
    kind = KINDS[task]
    measure(
        lambda name: workers.ready(name, task, shape),
        group=f"{kind} {shape.name}",
        kind=kind,
        shape=shape.name,
        target=shape.target,
    )


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def bench_small_fit(shape, library, workers, measure):
    measure_steps("training", shape, workers, measure)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.name)
def bench_single_step(shape, library, workers, measure):
    measure_steps("single_steps", shape, workers, measure)
