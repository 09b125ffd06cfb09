"""96 networks of one shape in one call: whole fits, fits with early stopping, predictions.

Beside them loops over `Network.fit`, in one thread and in a pool, and what other libraries have for the purpose.  Times
are for all 96 networks.
"""

import pytest

from bench import driver
from bench.many_sections import KINDS, ONE_THREAD
from bench.shapes import MANY, MANY_PREDICTED

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

# of a row of the table: library, way
WAYS = {
    "scikit-learn, loky": ("scikit-learn", "loky"),
    "torch, vmap": ("torch", "vmap"),
    "jax, vmap": ("jax", "vmap"),
    "loop": ("fastbp", "loop"),
    "pool": ("fastbp", "pool"),
    ONE_THREAD: ("fastbp", "together"),
    "fastbp": ("fastbp", "together"),
}
OF_FASTBP = tuple(name for name, (library, _) in WAYS.items() if library == "fastbp")
TURNS = 3


def measure_many(task, shape, contestant, workers, measure, reasons, turns=TURNS):
    """Time a row of a table."""
    smallest = {"many_fit": MANY[-1], "many_predict": MANY_PREDICTED[0], "many_validated": MANY[-1]}[task]
    if workers.quick and shape is not smallest:
        pytest.skip("--quick takes the smallest networks only")

    def why_not(chosen):
        if workers.quick and chosen in ("torch, vmap", "scikit-learn, loky"):
            return "--quick takes no library that takes seconds"
        if chosen.endswith("loky") and task != "many_fit":
            return "its processes cost more than the predictions"
        if chosen == ONE_THREAD and workers.n_threads == 1:
            return "there is one thread only"
        return reasons(WAYS[chosen][0])

    def ready(chosen):
        library, way = WAYS[chosen]
        # a loop may take any number of threads, and so may other libraries; the rest say themselves what they are
        counts = {ONE_THREAD: [1], "fastbp": [workers.n_threads], "pool": [workers.n_threads]}.get(chosen)
        counts = [workers.n_threads] if library == "scikit-learn" else counts
        return workers.ready(library, task, shape, part=f"{task} {chosen}", counts=counts, way=way)

    kind = KINDS[task]
    measure(
        ready,
        by=("contestant",),
        but=why_not,
        turns_of_each=turns,
        group=f"{kind}, {shape.name}",
        name=contestant,
        kind=kind,
        shape=shape.name_with_rows if task == "many_predict" else shape.name,
        n_networks=shape.n_networks,
        n_steps=shape.steps_per_round,
        target=shape.target,
    )


@pytest.mark.parametrize("contestant", WAYS)
@pytest.mark.parametrize("shape", MANY, ids=lambda shape: shape.network)
def bench_many_fits(shape, contestant, workers, measure, reasons):
    measure_many("many_fit", shape, contestant, workers, measure, reasons)


@pytest.mark.parametrize("contestant", OF_FASTBP)
@pytest.mark.parametrize("shape", MANY, ids=lambda shape: shape.network)
def bench_many_validated(shape, contestant, workers, measure, reasons):
    measure_many("many_validated", shape, contestant, workers, measure, reasons)


@pytest.mark.parametrize("contestant", [name for name in WAYS if "loky" not in name])
@pytest.mark.parametrize("shape", MANY_PREDICTED, ids=lambda shape: f"{shape.rows} rows")
def bench_many_predictions(shape, contestant, workers, measure, reasons):
    measure_many("many_predict", shape, contestant, workers, measure, reasons, turns=8)
