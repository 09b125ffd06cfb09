"""Many jobs on a Dask cluster: searches by joblib, networks trained on, and kernels compiled before the first task."""

import importlib
import pkgutil
import sys
import threading
from copy import deepcopy

import joblib
import numpy as np
import pytest
from numba.core import event
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.engine.helpers import helpers
from fastbp.kernels import roots
from fastbp.kernels.compiler.cache_folders import Folder
from fastbp.neural_network import MLPClassifier, MLPGridSearchCV
from fastbp.system import whole_files
from tests.test_process_limits import eight_processors  # noqa: F401 # a fixture
from tests.twins import same_bits

distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
bp_dask = pytest.importorskip("fastbp.dask")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.timeout(120),
]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2400, 40))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
# whose steps several threads share
LARGE = MLPClassifier(hidden_layer_sizes=(100,), batch_size=400, max_iter=2, random_state=0)
GRID = {"alpha": [0.1, 10.0], "learning_rate_init": [0.001, 0.01]}


@pytest.fixture(scope="module")
def threads_client():
    """A client of a worker in this process that runs three tasks at once."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address=":0") as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["processes", "threads"])
def anywhere(request):
    """A client of workers in processes, and one of a worker in threads."""
    return request.getfixturevalue("client" if request.param == "processes" else "threads_client")


# ---- Threads ---------------------------------------------------------------------------------------------------------


everyone = threading.Barrier(3, timeout=60)


def count_together(_):
    everyone.wait()  # so that each thread of the worker has a task
    return bp.get_num_threads()


def test_a_task_has_one_thread(eight_processors, threads_client, monkeypatch):  # noqa: F811
    assert bp.get_num_threads() == 8
    for variables in ({}, {"OMP_NUM_THREADS": "4"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert threads_client.gather(threads_client.map(count_together, range(3), pure=False)) == [1, 1, 1]
    assert bp.get_num_threads() == 4  # who waits for them is no task
    with bp.num_threads(2):  # what a program has set counts for every thread
        assert threads_client.submit(bp.get_num_threads, pure=False).result() == 2
    assert threads_client.submit(bp.get_num_threads, pure=False).result() == 1


def test_a_task_is_told_from_other_threads_while_dask_is_being_imported(eight_processors, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert bp.get_num_threads() == 8


def test_a_search_lends_no_threads(eight_processors, threads_client, monkeypatch):  # noqa: F811
    lent = []
    monkeypatch.setattr(helpers, "lend", lambda jobs: lent.append(len(jobs)))
    alone = cross_val_score(LARGE, X, y, cv=2)
    assert set(lent) == {7}
    lent.clear()
    with joblib.parallel_config("dask", client=threads_client):
        assert same_bits(cross_val_score(LARGE, X, y, cv=2), alone)
        assert lent == []
        cross_val_score(LARGE.set_params(n_threads=4), X, y, cv=2)  # by name, whatever the worker has
    LARGE.set_params(n_threads=None)
    assert set(lent) == {3}


def count_in_worker(estimator, X, y):
    """As a scorer: the threads that a task may use, and the helpers that the fits of its process have started."""
    distributed.get_worker()  # raises outside of a task
    return 100 * bp.get_num_threads() + helpers.n_started


def test_a_search_in_processes_starts_no_threads(client):
    search = GridSearchCV(LARGE, GRID, cv=2, scoring=count_in_worker, refit=False)
    with joblib.parallel_config("dask"):
        scores = search.fit(X, y).cv_results_
    assert {count for split in range(2) for count in scores[f"split{split}_test_score"]} == {100}


# ---- Searches --------------------------------------------------------------------------------------------------------


def test_searches_find_what_they_find_in_one_process(anywhere):
    searches = [
        GridSearchCV(LARGE, GRID, cv=2, refit=False),
        RandomizedSearchCV(LARGE, GRID, n_iter=3, cv=2, random_state=0),
    ]
    for search in searches:
        alone = search.fit(X, y).cv_results_["mean_test_score"]
        with joblib.parallel_config("dask", client=anywhere):
            assert same_bits(search.fit(X, y).cv_results_["mean_test_score"], alone)
    alone = cross_val_score(LARGE, X, y, cv=3)
    with joblib.parallel_config("dask", client=anywhere):
        assert same_bits(cross_val_score(LARGE, X, y, cv=3), alone)


def test_two_searches_at_once_both_end(client):
    def search():
        with joblib.parallel_config("dask", client=client):
            found.append(cross_val_score(LARGE, X, y, cv=2))

    found = []
    both = [threading.Thread(target=search, daemon=True) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(found) == 2
    assert same_bits(*found)


def test_fits_side_by_side_stay_in_the_calling_process(anywhere):
    """joblib's backend would send them away, `n_jobs` or not, and they hold threads and locks."""
    usual = GridSearchCV(LARGE, GRID, cv=2).fit(X, y)
    with joblib.parallel_config("dask", client=anywhere):
        search = MLPGridSearchCV(LARGE, GRID, cv=2).fit(X, y)
        assert same_bits(cross_val_score(search, X, y, cv=2), cross_val_score(usual, X, y, cv=2))  # within tasks
    assert same_bits(search.cv_results_["mean_test_score"], usual.cv_results_["mean_test_score"])
    assert same_bits(search.predict_proba(X), usual.predict_proba(X))


def test_other_estimators_of_the_search_are_sent_to_the_cluster(client):
    pipeline = make_pipeline(StandardScaler(), LARGE)
    search = MLPGridSearchCV(pipeline, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2, scoring=count_in_worker, refit=False)
    with joblib.parallel_config("dask"):
        assert set(search.fit(X, y).cv_results_["mean_test_score"]) == {100}


# ---- Trained on, partition by partition ------------------------------------------------------------------------------


def test_incremental_fits_of_dask_ml_are_partial_fits_in_their_order(client):
    wrappers = pytest.importorskip("dask_ml.wrappers")
    dX, dy = da.from_array(X, chunks=(1000, 40)), da.from_array(y, chunks=1000)
    fitted = wrappers.Incremental(LARGE, shuffle_blocks=False).fit(dX, dy, classes=[0, 1])
    fitted.partial_fit(dX, dy, classes=[0, 1])
    alone = MLPClassifier(**LARGE.get_params())
    for rows in [slice(0, 1000), slice(1000, 2000), slice(2000, None)] * 2:
        alone.partial_fit(X[rows], y[rows], classes=[0, 1])
    assert type(fitted.estimator_) is MLPClassifier
    assert same_bits(fitted.estimator_.coefs_[0], alone.coefs_[0])
    assert same_bits(fitted.predict(dX).compute(), alone.predict(X))
    after = wrappers.ParallelPostFit(alone)
    assert same_bits(after.predict_proba(dX).compute(), alone.predict_proba(X))
    assert after.predict_proba(dX).chunks == ((1000, 1000, 400), (2,))


def test_a_chain_of_tasks_is_partial_fits_in_their_order(client):
    """As examples/22_searches_on_dask.py does without dask-ml."""
    dask = pytest.importorskip("dask")
    dX, dy = da.from_array(X, chunks=(1000, 40)), da.from_array(y, chunks=1000)
    net = dask.delayed(LARGE)
    alone = MLPClassifier(**LARGE.get_params())
    for rows, labels in zip(dX.to_delayed()[:, 0], dy.to_delayed(), strict=True):
        net = dask.delayed(partial_fit)(net, rows, labels)
    for rows in (slice(0, 1000), slice(1000, 2000), slice(2000, None)):
        alone.partial_fit(X[rows], y[rows], classes=[0, 1])
    fitted = net.compute()
    assert same_bits(fitted.coefs_[0], alone.coefs_[0])
    predicted = dX.map_blocks(fitted.predict_proba, dtype=float, chunks=(dX.chunks[0], (2,)))
    assert same_bits(predicted.compute(), alone.predict_proba(X))


def partial_fit(net, rows, labels):
    """A pure function: Dask may call it again."""
    return deepcopy(net).partial_fit(rows, labels, classes=[0, 1])


# ---- Kernels before the first task -----------------------------------------------------------------------------------


def compiled_by_a_fit():
    """How much a task compiles, and how often it reads a kernel from the disk."""
    before = hits()
    with event.install_recorder("numba:compile") as recorder:
        LARGE.fit(X, y).predict(X)
        net = bp.Network([3, 2, 1], dtype="float32", seed=0)
        net.fit(*(X[:8, :n].astype(np.float32) for n in (3, 1)), epochs=1, optimizer=bp.LBFGS())
    return len(recorder.buffer), hits() - before


def hits():
    """How often this process compiled or read a kernel from the disk."""
    names = [f"{roots.__name__}.{found.name}" for found in pkgutil.iter_modules(roots.__path__)]
    modules = [importlib.import_module(name) for name in names]
    every = [root for module in modules for root in getattr(module.run, "made", {"any": module.run}).values()]
    return sum(sum(root.stats.cache_hits.values()) + sum(root.stats.cache_misses.values()) for root in every)


def test_after_the_plugin_no_task_compiles_or_reads_a_kernel(client):
    bp.warmup()  # so that the workers find everything on disk
    client.register_plugin(bp_dask.Warmup())
    try:
        assert set(client.run(compiled_by_a_fit).values()) == {(0, 0)}
        client.restart()  # workers that come later
        assert set(client.run(compiled_by_a_fit).values()) == {(0, 0)}
    finally:
        client.unregister_worker_plugin(bp_dask.Warmup.name)


def test_wrong_dtypes_are_refused_before_a_worker_has_them():
    with pytest.raises(ValueError, match=r"^`dtypes` must be 'float32', 'float64' or a list of these; got 'int8'\.$"):
        bp_dask.Warmup("int8")
    assert bp_dask.Warmup(np.float32).dtypes == ["float32"]


def test_workers_of_one_machine_compile_one_after_the_other(threads_client, tmp_path, monkeypatch):
    """What holds the folder's turn may be any process: flock asks by open files."""
    pytest.importorskip("fcntl")
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    began = threading.Event()
    monkeypatch.setattr("fastbp.dask.warmup.warmup", lambda dtypes: began.set())
    with Folder(tmp_path / "fastbp", 0o755) as folder, folder.turn(0.0) as first:
        assert first
        with folder.turn(0.0) as second:
            assert not second
        registering = threading.Thread(target=threads_client.register_plugin, args=(bp_dask.Warmup(),), daemon=True)
        registering.start()
        assert threads_client.submit(int, "3").result(timeout=60) == 3  # the worker answers meanwhile
        assert not began.wait(0.3)
    registering.join(60)
    assert began.is_set()
    threads_client.unregister_worker_plugin(bp_dask.Warmup.name)


def test_a_turn_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_files, "_fcntl", None)  # where there are no locks
    with Folder(tmp_path / "here") as folder, folder.turn(60.0) as first, folder.turn(60.0) as second:
        assert not first
        assert not second
