"""How many threads a fit uses in the workers of joblib and of multiprocessing: no more in all than there are."""

import multiprocessing.pool
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score

import fastbp as bp
from fastbp.engine import threads
from fastbp.engine.helpers import helpers
from fastbp.neural_network import MLPRegressor
from tests.test_process_limits import VARIABLES, eight_processors  # noqa: F401 # a fixture
from tests.twins import same_bits

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of joblib's workers
]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((3000, 40)), RNG.standard_normal((3000, 3))
# whose steps several threads share
LARGE = MLPRegressor(hidden_layer_sizes=(100,), batch_size=1000, max_iter=1, random_state=0)


def counts_in(pool, n_tasks):
    """What each of some tasks that run at once may use."""
    everyone = threading.Barrier(n_tasks, timeout=60)

    def count(_):
        everyone.wait()  # so that every worker has a task
        return bp.get_num_threads(), threads.pool_workers()

    return set(pool.map(count, range(n_tasks)))


@pytest.mark.parametrize(("n_workers", "share"), [(1, 8), (2, 4), (3, 2), (8, 1), (12, 1)])
def test_workers_of_a_thread_pool_share_the_processors(eight_processors, n_workers, share):  # noqa: F811
    with multiprocessing.pool.ThreadPool(n_workers) as pool:
        assert counts_in(pool, n_workers) == {(share, n_workers)}
        assert (bp.get_num_threads(), threads.pool_workers()) == (8, 1)  # who waits for them is none of them
        with bp.num_threads(5):  # what a program has set counts for every thread
            assert counts_in(pool, n_workers) == {(5, n_workers)}
        pool.close()
        pool.join()


def test_other_threads_have_all(eight_processors):  # noqa: F811
    with ThreadPoolExecutor(2) as pool, multiprocessing.pool.ThreadPool(4):
        assert counts_in(pool, 2) == {(8, 1)}


@pytest.fixture
def lent(monkeypatch):
    """How many helpers each call asks for."""
    found = []
    monkeypatch.setattr(helpers, "lend", lambda jobs: found.append(len(jobs)))
    return found


def test_a_search_in_threads_asks_for_no_more_threads_than_there_are(eight_processors, lent):  # noqa: F811
    search = GridSearchCV(LARGE, {"alpha": [0.1, 0.2]}, cv=2, refit=False)
    alone = search.fit(X, Y).cv_results_["mean_test_score"]
    assert set(lent) == {7}
    for n_jobs, most in ((2, {3}), (4, {1}), (8, set())):
        lent.clear()
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            scores = search.fit(X, Y).cv_results_["mean_test_score"]
        assert set(lent) == most
        assert same_bits(scores, alone)
    lent.clear()
    with joblib.parallel_config("threading", n_jobs=2):
        cross_val_score(LARGE, X, Y, cv=2)
        assert set(lent) == {3}
        cross_val_score(LARGE.set_params(n_threads=6), X, Y, cv=2)  # by name, whoever else is at work
    LARGE.set_params(n_threads=None)
    assert set(lent) == {3, 5}


def test_a_network_that_was_used_in_a_pool_has_all_threads_again(eight_processors, lent):  # noqa: F811
    net = bp.Network([40, 100, 3], "tanh", seed=0)
    with multiprocessing.pool.ThreadPool(8) as pool:
        inside = pool.apply(net.predict, (X,))
    assert lent == []
    assert same_bits(net.predict(X), inside)
    assert lent == [7]


def count_in_worker(estimator, X, y):
    """As a scorer: the threads that a worker may use, and the helpers that its fits have started."""
    return 100 * bp.get_num_threads() + helpers.n_started


def test_a_search_in_processes_asks_for_no_more_threads_than_there_are(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    each = max(1, joblib.cpu_count() // 2)
    search = GridSearchCV(LARGE, {"alpha": [0.1, 0.2]}, cv=2, scoring=count_in_worker, refit=False, n_jobs=2)
    scores = search.fit(X, Y).cv_results_
    counts = {scores[f"split{split}_test_score"][point] for split in range(2) for point in range(2)}
    assert {count // 100 for count in counts} == {each}
    assert {count % 100 for count in counts} <= set(range(each))
