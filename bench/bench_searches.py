"""A search over 24 points with five folds on digits, as one call and by scikit-learn's ``GridSearchCV``.

The scores must agree, and the best point must be the same one, before anything is timed.
"""

import pytest

from bench import agreement, driver, searches

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

# of a row of the table: library of the estimator, search
CONTESTANTS = {
    "scikit-learn": ("scikit-learn", "GridSearchCV"),
    "fastbp in GridSearchCV": ("fastbp", "GridSearchCV"),
    "fastbp": ("fastbp", "MLPGridSearchCV"),
}
TARGET = 8
TURNS = 2
TOLERANCE = 2e-2  # of scores: a row or two of the folds on another side


class SearchWorker(driver.EstimatorWorker):
    """A process that measures one library's searches."""

    program = "bench.searches"


@pytest.fixture(scope="module")
def found(workers):
    """The workers of libraries, with all threads."""
    started = {name: SearchWorker(name, workers.n_threads, workers.wanted) for name in ("scikit-learn", "fastbp")}
    yield started
    driver.close_all(started.values())


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def bench_grid_search(dtype, contestant, workers, found, measure):
    if workers.quick and (contestant != "fastbp" or dtype == "float32"):
        pytest.skip("--quick starts no processes")
    grid, n_jobs = "2 points" if workers.quick else "24 points", workers.n_threads

    def ready(chosen):
        library, search = CONTESTANTS[chosen]
        prepared = found[library].prepare_case(grid, search, dtype, workers.seconds)
        if not workers.quick and library != "scikit-learn":
            theirs = found["scikit-learn"].prepare_case(grid, "GridSearchCV", dtype, workers.seconds)
            got, expected = prepared.prepared["fingerprint"], theirs.prepared["fingerprint"]
            agreement.check(chosen, got[:1], "scikit-learn", expected[:1], 0.0)
            agreement.check(chosen, got[1:], "scikit-learn", expected[1:], TOLERANCE)
        return Again(found[library], (grid, search, dtype, workers.seconds))

    measure(
        ready,
        by=("contestant",),
        but=lambda chosen: searches.why_not(CONTESTANTS[chosen][1]),
        turns_of_each=TURNS,
        group=f"grid search, {dtype}",
        name=contestant,
        kind="grid search",
        shape=f"digits, {grid} x {searches.FOLDS} folds, {dtype}",
        n_jobs=n_jobs,
        target=TARGET,
    )


class Again:
    """A search that is prepared again where its worker has done another one meanwhile."""

    def __init__(self, worker, case):
        self.worker, self.case = worker, case

    @property
    def facts(self):
        """What a report says of the row."""
        return self.worker.prepare_case(*self.case).facts

    def round(self):
        """Do a round; its seconds."""
        return self.worker.prepare_case(*self.case).round()
