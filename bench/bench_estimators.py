"""`MLPClassifier` and `MLPRegressor` beside scikit-learn's, with the same parameters. Times are for one call."""

import os

import pytest

from bench import agreement, driver, estimators

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

LIBRARIES = tuple(estimators.MODULES)
TURNS = 5  # a fit takes so long that few rounds are enough
JOBS = [(case, "fit") for case in estimators.CASES] + [
    (case, task) for case in estimators.PREDICTED_CASES for task in estimators.PREDICTION_TARGETS
]
JOBS += [(case, "predict all rows") for case, chosen in estimators.CASES.items() if chosen.predict_target]
# of the same numbers in another order, after a fit: measured 1e-12 and 1e-4, with some room
TOLERANCES = {"float64": 1e-6, "float32": 2e-2}


@pytest.fixture(scope="module")
def fits(workers):
    """The workers, and what each library's fit gave."""
    started = driver.EstimatorWorkers(workers)
    yield started
    started.close()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", estimators.DTYPES)
@pytest.mark.parametrize(("case", "task"), JOBS, ids=lambda value: value.replace(" ", "-"))
def bench_estimators(case, task, dtype, library, workers, fits, measure):
    chosen = estimators.CASES[case]
    if workers.quick and not (chosen.is_quick and dtype == "float64"):
        pytest.skip("--quick leaves out the large shapes")
    if chosen.needs_mnist and estimators.MNIST not in os.environ:
        pytest.skip(f"{estimators.MNIST} does not name a file of digits")

    def compared(name):
        got, expected = (fits.ready(each, case, task, dtype).prepared["fingerprint"] for each in LIBRARIES)
        agreement.check(LIBRARIES[0], got, LIBRARIES[1], expected, TOLERANCES[dtype])
        return fits.ready(name, case, task, dtype)

    targets = estimators.PREDICTION_TARGETS | {"fit": chosen.target, "predict all rows": chosen.predict_target}
    measure(
        compared,
        turns_of_each=TURNS,
        group=f"estimators: {case}, {task}, {dtype}",
        kind="estimators",
        shape=f"{case}, {task}, {dtype}",
        target=targets[task],
    )
