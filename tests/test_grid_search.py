"""`MLPGridSearchCV` against scikit-learn's GridSearchCV over the same estimators: every score to the last bit."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    RepeatedKFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp as bp
from fastbp.kernels.machine.team import REQUEST
from fastbp.neural_network import FitDivergedError, MLPClassifier, MLPGridSearchCV, MLPRegressor, search, together
from tests.twins import same_bits

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning"),
    pytest.mark.filterwarnings("ignore:One or more of the:UserWarning"),
    pytest.mark.filterwarnings("ignore:Scoring failed:UserWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4))
Y = np.tanh(X @ RNG.standard_normal((4, 2)))
LABELS = np.array(["ant", "bee", "cow"])[(X @ RNG.standard_normal((4, 3))).argmax(axis=1)]
NUMBERS = (LABELS == "ant") + 2 * (LABELS == "bee")
WEIGHTS = RNG.uniform(0.1, 3, len(X))
# Some rows are so sparse that their products run over the numbers, as those of all rows do not.
PARTLY_SPARSE = sparse.csr_matrix(
    RNG.standard_normal((80, 50)) * (RNG.random((80, 50)) < np.where(np.arange(80) < 40, 0.9, 0.03)[:, None])
)
SPARSE = sparse.csr_matrix(np.where(np.abs(X) > 0.5, X, 0))
CLASSIFIER = MLPClassifier((5,), max_iter=14, batch_size=16, random_state=0)
REGRESSOR = MLPRegressor(hidden_layer_sizes=(5,), max_iter=14, batch_size=16, random_state=0)
GRID = {"hidden_layer_sizes": [(3,), (7, 4)], "learning_rate_init": [0.001, 0.05]}
SMALL = {"alpha": [0.0, 1.0]}


def features_of(estimator, X, y):
    """A scorer that looks at all that it is given."""
    assert type(estimator) in (MLPClassifier, MLPRegressor)
    return float(np.abs(estimator.coefs_[0]).sum()) + float(np.sum(X)) + len(y) + estimator.get_params()["alpha"]


def two_scores(estimator, X, y):
    return {"first": float(estimator.loss_), "second": float(X.sum())}


def failing(estimator, X, y):
    if estimator.alpha:
        raise ZeroDivisionError("no")
    return 1.0


# name: (estimator, grid, further arguments of the search, arguments of fit, how many fits are made alone)
CASES = {
    "classifier": (CLASSIFIER, GRID, {}, (X, LABELS), 0),
    "numbers as labels": (CLASSIFIER, GRID, {"return_train_score": True}, (X, NUMBERS), 0),
    "two classes": (CLASSIFIER, SMALL, {}, (X, NUMBERS == 1), 0),
    "accuracy": (CLASSIFIER, SMALL, {"scoring": "accuracy"}, (X, NUMBERS), 0),
    "regressor": (REGRESSOR, GRID, {"cv": 3}, (X, Y), 0),
    "one output": (REGRESSOR, SMALL, {"scoring": "neg_mean_absolute_error"}, (X, Y[:, 0]), 0),
    "several grids": (
        REGRESSOR,
        [{"solver": ["sgd"], "momentum": [0.0, 0.9]}, {"solver": ["lbfgs"]}, SMALL, {"early_stopping": [True]}],
        {"cv": 3},
        (X, Y),
        6,
    ),
    "several scores": (
        CLASSIFIER, SMALL, {"scoring": ["accuracy", "f1_macro"], "refit": "f1_macro", "cv": 3}, (X, LABELS), 0,
    ),
    "a dict of scores": (
        REGRESSOR, SMALL, {"scoring": {"a": "r2", "b": make_scorer(mean_absolute_error), "c": features_of},
                           "refit": "a", "cv": 3}, (X, Y), 0,
    ),
    "a scorer": (REGRESSOR, GRID, {"scoring": features_of, "cv": 2, "return_train_score": True}, (X, Y), 0),
    "a scorer of two": (REGRESSOR, SMALL, {"scoring": two_scores, "cv": 2, "refit": False}, (X, Y), 0),
    "a scorer that fails": (REGRESSOR, SMALL, {"scoring": failing, "cv": 2}, (X, Y), 0),
    "probabilities": (CLASSIFIER, SMALL, {"scoring": "neg_log_loss", "cv": 2}, (X, LABELS), 0),
    "no refit": (CLASSIFIER, SMALL, {"refit": False}, (X, LABELS), 0),
    "own refit": (CLASSIFIER, SMALL, {"refit": lambda results: 1, "cv": 2}, (X, LABELS), 0),
    "divergence": (
        REGRESSOR.set_params(), {"solver": ["sgd"], "activation": ["identity"], "learning_rate_init": [0.01, 80.0]},
        {"cv": 2}, (X, Y), 0,
    ),
    "a wrong parameter": (CLASSIFIER, {"alpha": [0.1, -1.0]}, {"cv": 2, "error_score": -7.0}, (X, LABELS), 0),
    "weights": (CLASSIFIER, SMALL, {"cv": 3}, (X, LABELS, {"sample_weight": WEIGHTS}), 0),
    "weights of classes": (
        CLASSIFIER, {"class_weight": [None, "balanced", {"ant": 2.0}]}, {"cv": 2}, (X, LABELS), 2,
    ),
    "groups": (CLASSIFIER, SMALL, {"cv": GroupKFold(4)}, (X, LABELS, {"groups": np.arange(80) // 10}), 0),
    "other folds": (CLASSIFIER, SMALL, {"cv": RepeatedKFold(n_splits=3, n_repeats=2, random_state=1)}, (X, LABELS), 0),
    "few rows": (REGRESSOR, SMALL, {"cv": ShuffleSplit(3, train_size=20, test_size=9, random_state=0)}, (X, Y), 0),
    "masks": (
        REGRESSOR, SMALL, {"cv": [(np.arange(80) < 50, np.arange(80) >= 60), (np.arange(-40, 0), [0, 1, 2])]},
        (X, Y), 0,
    ),
    "tuples": (
        REGRESSOR, SMALL, {"cv": [((*range(40),), (*range(40, 50),)), ((*range(9, 60),), (1, 2))]}, (X, Y), 0,
    ),
    "no weight in a fold": (
        REGRESSOR, {"shuffle": [True, False]},
        {"cv": [(np.arange(40), np.arange(40, 80)), (np.arange(20, 60), np.arange(60, 80))], "error_score": -7.0},
        (X, Y, {"sample_weight": np.where(np.arange(80) < 40, 0, WEIGHTS)}), 2,
    ),
    "a class in one fold": (CLASSIFIER, SMALL, {"cv": KFold(3)}, (X[NUMBERS.argsort()], np.sort(NUMBERS)), 2),
    "several labels": (CLASSIFIER, SMALL, {"cv": 2}, (X, (Y > 0).astype(int)), 4),
    "sparse": (CLASSIFIER, SMALL, {"cv": 3}, (SPARSE, LABELS), 0),
    "sparse in parts": (CLASSIFIER, SMALL, {"cv": [(np.arange(40, 80), np.arange(40))]}, (PARTLY_SPARSE, LABELS), 0),
    "lists": (REGRESSOR, SMALL, {"cv": 2}, (X.tolist(), Y.tolist()), 0),
    "float32": (REGRESSOR, {"dtype": [None, "float32", "float64"]}, {"cv": 2}, (X.astype("f4"), Y), 0),
    "no shuffle": (REGRESSOR, {"shuffle": [True, False]}, {"cv": 2}, (X, Y, {"sample_weight": WEIGHTS}), 0),
    "a generator": (clone(REGRESSOR).set_params(random_state=np.random.RandomState(3)), SMALL, {"cv": 2}, (X, Y), 0),
    "schedules": (
        REGRESSOR, {"solver": ["sgd"], "learning_rate": ["invscaling", "adaptive", bp.Cosine(0.1)]}, {"cv": 2},
        (X, Y), 0,
    ),
    "losses": (REGRESSOR, {"loss": ["huber", "absolute_error"]}, {"cv": 2}, (X, Y), 0),
    "one thread": (CLASSIFIER, SMALL, {"n_jobs": 1, "cv": 2}, (X, LABELS), 0),
    "many threads": (CLASSIFIER, GRID, {"n_jobs": 7}, (X, LABELS), 0),
    "all threads but one": (CLASSIFIER, SMALL, {"n_jobs": -2, "cv": 2}, (X, LABELS), 0),
}  # fmt: skip


@pytest.fixture
def alone(monkeypatch):
    """Counts the fits that are calls of `fit`."""
    found = []
    for kind in (MLPClassifier, MLPRegressor):
        fit = kind.fit
        monkeypatch.setattr(
            kind, "fit", lambda self, *args, fit=fit, **kw: (found.append(self), fit(self, *args, **kw))[1]
        )
    return found


def fitted(kind, estimator, grid, arguments, data):
    X, y, *rest = data
    return kind(estimator, grid, **arguments).fit(X, y, **(rest[0] if rest else {}))


def require_same(ours, theirs):
    """Everything but times."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, expected in theirs.cv_results_.items():
        if "time" in key:
            assert ours.cv_results_[key].shape == expected.shape
        elif key == "params" or isinstance(expected, np.ma.MaskedArray):
            assert str(ours.cv_results_[key]) == str(expected)
        else:
            assert same_bits(ours.cv_results_[key], expected), key
    assert set(vars(theirs)) - set(vars(ours)) <= {"_checked_cv_orig"}  # which not every scikit-learn has
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None) or np.isnan(getattr(theirs, name))
    if hasattr(theirs, "best_estimator_"):
        assert str(ours.best_params_) == str(theirs.best_params_)
        assert type(ours.best_estimator_) is type(theirs.best_estimator_)
        assert all(map(same_bits, ours.best_estimator_.coefs_, theirs.best_estimator_.coefs_))


@pytest.mark.parametrize("name", CASES)
def test_the_same_results(name, alone):
    estimator, grid, arguments, data, n_alone = CASES[name]
    if name == "divergence":
        estimator = clone(estimator).set_params(clip_norm=None)
    ours = fitted(MLPGridSearchCV, estimator, grid, arguments, data)
    assert len(alone) == n_alone + (hasattr(ours, "best_estimator_"))
    theirs = fitted(GridSearchCV, estimator, grid, {**arguments, "n_jobs": None}, data)
    require_same(ours, theirs)
    if hasattr(theirs, "best_estimator_"):
        assert ours.score(*data[:2]) == theirs.score(*data[:2])
        assert same_bits(ours.predict(data[0]), theirs.predict(data[0])) or ours.predict(data[0]).dtype.kind == "U"
    assert (ours.cv_results_["mean_fit_time"] >= 0).all()
    if name == "classifier":
        assert (ours.cv_results_["mean_fit_time"] > 0).all()
        assert ours.scorer_ is not None


def test_a_frame_with_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    ours = fitted(MLPGridSearchCV, CLASSIFIER, SMALL, {"cv": 2}, (frame, pandas.Series(LABELS)))
    require_same(ours, fitted(GridSearchCV, CLASSIFIER, SMALL, {"cv": 2}, (frame, pandas.Series(LABELS))))
    assert list(ours.feature_names_in_) == list("abcd")


def messages_of(kind, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(kind, *arguments)
    return sorted(
        (w.category.__name__, str(w.message).partition("Traceback")[0], w.filename)
        for w in caught
        if w.category is not FitFailedWarning
    ), sum(w.category is FitFailedWarning for w in caught)


def test_the_same_warnings():
    grid = {"solver": ["sgd"], "activation": ["identity"], "learning_rate_init": [0.01, 80.0], "batch_size": [16, 200]}
    arguments = REGRESSOR, grid, {"cv": 2}, (X, Y)
    ours, theirs = messages_of(MLPGridSearchCV, *arguments), messages_of(GridSearchCV, *arguments)
    assert ours == theirs
    assert {name for name, *_ in ours[0]} == {"ConvergenceWarning", "UserWarning"}
    assert ours[1] == 1


def test_an_error_names_the_search():
    with pytest.raises(ValueError, match="'verbose' parameter of MLPGridSearchCV must be"):
        MLPGridSearchCV(CLASSIFIER, SMALL, cv=2, verbose="loud").fit(X, LABELS)


def test_a_warning_names_the_search():
    data = X, Y, {"sample_weight": WEIGHTS}
    with pytest.warns(UserWarning, match="does not support sample_weight") as caught:
        fitted(MLPGridSearchCV, REGRESSOR, SMALL, {"cv": 2, "scoring": features_of, "n_jobs": 2}, data)
    assert f"fitting {MLPGridSearchCV(REGRESSOR, SMALL, cv=2, scoring=features_of, n_jobs=2)} with" in str(
        next(warning.message for warning in caught if "does not support" in str(warning.message))
    )


def test_warnings_that_are_errors_are_failures():
    estimator = clone(CLASSIFIER).set_params(tol=10.0, n_iter_no_change=2)  # it converges at once
    grid = {"max_iter": [2, 30]}
    results = []
    for kind in (MLPGridSearchCV, GridSearchCV):
        with warnings.catch_warnings():
            warnings.simplefilter("error", sklearn.exceptions.ConvergenceWarning)
            results.append(fitted(kind, estimator, grid, {"cv": 2}, (X, LABELS)))
    require_same(*results)
    assert np.isnan(results[0].cv_results_["mean_test_score"][0])


def test_an_error_can_be_raised():
    grid = {"solver": ["sgd"], "activation": ["identity"], "learning_rate_init": [80.0]}
    with pytest.raises(FitDivergedError):
        MLPGridSearchCV(REGRESSOR, grid, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="All the 5 fits failed"):
        MLPGridSearchCV(REGRESSOR, grid).fit(X, Y)


def test_rows_that_no_fold_trains_on_may_be_wrong():
    wrong = X.copy()
    wrong[70:] = np.nan
    arguments = REGRESSOR, SMALL, {"cv": [(np.arange(40), np.arange(40, 70))], "refit": False}, (wrong, Y)
    require_same(fitted(MLPGridSearchCV, *arguments), fitted(GridSearchCV, *arguments))


def test_no_seed():
    """Each fit draws a seed of its own; the same with the same state of NumPy's global generator."""
    estimator = clone(CLASSIFIER).set_params(random_state=None)
    scores, seeds = [], []

    def score(model, X, y):
        seeds.append(model.random_state)
        return model.score(X, y)

    for _ in range(2):
        np.random.seed(5)  # it is what scikit-learn draws from
        found = MLPGridSearchCV(estimator, SMALL, scoring=score, refit=False).fit(X, LABELS)
        scores.append(found.cv_results_["mean_test_score"])
    assert same_bits(*scores)
    assert len(set(seeds[:10])) == 10
    assert seeds[:10] == seeds[10:]
    assert estimator.random_state is None


def test_a_scikit_learn_that_asks_in_another_order(monkeypatch):
    """Then nothing that was trained is taken for something else."""

    def backwards(kind):
        class Backwards(kind):
            def _run_search(self, evaluate_candidates, **keywords):
                evaluate_candidates(list(ParameterGrid(self.param_grid))[::-1], **keywords)

        return Backwards

    kind = search._Search
    monkeypatch.setattr(search, "_Search", backwards(kind))
    ours = MLPGridSearchCV(CLASSIFIER, GRID, cv=2).fit(X, LABELS)
    require_same(ours, backwards(GridSearchCV)(CLASSIFIER, GRID, cv=2).fit(X, LABELS))
    other_folds = [(test, train) for train, test in KFold(2).split(X)]
    monkeypatch.setattr(search, "_Search", lambda **arguments: kind(**arguments | {"cv": other_folds}))
    ours = MLPGridSearchCV(CLASSIFIER, GRID, cv=KFold(2)).fit(X, LABELS)
    require_same(ours, GridSearchCV(CLASSIFIER, GRID, cv=other_folds).fit(X, LABELS))


@pytest.mark.parametrize("random_state", [None, 0])
def test_no_seed_and_any_number_of_threads(random_state):
    grid = {"early_stopping": [False, True], "alpha": [0.0, 0.1], "random_state": [None]}
    scores = []
    for n_jobs in (1, 4):
        np.random.seed(5)
        estimator = clone(CLASSIFIER).set_params(random_state=random_state)
        results = MLPGridSearchCV(estimator, grid, n_jobs=n_jobs, scoring=features_of, cv=12).fit(X, NUMBERS == 1)
        scores.append([results.cv_results_[f"split{split}_test_score"] for split in range(12)])
    assert same_bits(*map(np.array, scores))
    assert len(np.unique(scores[0])) == 48


@pytest.mark.parametrize(
    ("estimator", "grid", "arguments", "data"),
    [
        (make_pipeline(StandardScaler(), CLASSIFIER), {"mlpclassifier__alpha": [0.1, 1.0]}, {"cv": 2}, (X, LABELS)),
        (LogisticRegression(), {"C": [0.1, 1.0]}, {"cv": 2}, (X, LABELS)),
        (CLASSIFIER, SMALL, {"cv": 2}, (X, LABELS, {"X_val": X, "y_val": LABELS})),
    ],
    ids=["pipeline", "another estimator", "other arguments of fit"],
)
def test_what_is_not_for_many_is_searched_as_ever(estimator, grid, arguments, data, monkeypatch):
    monkeypatch.setattr(search, "_Fits", None)
    require_same_but_cv = fitted(MLPGridSearchCV, estimator, grid, arguments, data)
    theirs = fitted(GridSearchCV, estimator, grid, arguments, data)
    assert same_bits(require_same_but_cv.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = clone(CLASSIFIER).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        data = X, LABELS, {"sample_weight": WEIGHTS}
        ours, theirs = (fitted(kind, estimator, SMALL, {"cv": 2}, data) for kind in (MLPGridSearchCV, GridSearchCV))
    assert same_bits(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


WRONG = {
    "param_grid": {"alpha": 3},
    "no values": {"alpha": []},
    "parameter": {"beta": [1]},
    "cv": 1,
    "scoring": "beauty",
    "refit": "f1",
    "n_jobs": 0,
    "error_score": "never",
    "y": None,
    "length": LABELS[:-1],
}


def test_folds_that_are_other_than_said():
    class Folds(KFold):
        def get_n_splits(self, X=None, y=None, groups=None):
            return 3

    with pytest.raises(ValueError, match="inconsistent results"):
        MLPGridSearchCV(REGRESSOR, SMALL, cv=Folds(2)).fit(X, Y)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_have_scikit_learns_errors(name):
    found = []
    for kind in (MLPGridSearchCV, GridSearchCV):
        arguments = {"estimator": CLASSIFIER, "param_grid": SMALL}
        y = WRONG[name] if name in ("y", "length") else LABELS
        if name in ("param_grid", "no values", "parameter"):
            arguments["param_grid"] = WRONG[name]
        elif name not in ("y", "length"):
            arguments[name] = WRONG[name]
        if name == "refit":
            arguments["scoring"] = ["accuracy", "f1_macro"]
        with pytest.raises(Exception) as caught:  # noqa: PT011 # compared below
            kind(**arguments).fit(X, y)
        text = str(caught.value).replace(kind.__name__, "GridSearchCV").partition("Below are more")[0]
        found.append((type(caught.value), text))
    assert found[0] == found[1]


def test_a_fitted_search_is_an_estimator():
    fitted = MLPGridSearchCV(CLASSIFIER, SMALL, cv=2).fit(X, LABELS)
    again = pickle.loads(pickle.dumps(fitted))
    assert same_bits(again.predict_proba(X), fitted.predict_proba(X))
    assert again.cv_results_.keys() == fitted.cv_results_.keys()
    twin = clone(fitted)
    assert not hasattr(twin, "cv_results_")
    with pytest.raises(NotFittedError):
        twin.predict(X)
    fitted.set_params(refit=False).fit(X, LABELS)
    assert not hasattr(fitted, "best_estimator_")
    nested = cross_val_score(MLPGridSearchCV(CLASSIFIER, SMALL, cv=2), X, LABELS, cv=2)
    assert same_bits(nested, cross_val_score(GridSearchCV(CLASSIFIER, SMALL, cv=2), X, LABELS, cv=2))


CHECKED = MLPGridSearchCV(
    MLPClassifier((10,), max_iter=60, learning_rate_init=0.05, random_state=0), {"alpha": [0.01, 0.1]}, cv=2
)


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings
@parametrize_with_checks([CHECKED])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# ---- Side by side ----------------------------------------------------------------------------------------------------


def test_many_fits_are_in_one_call(monkeypatch):
    counts = []
    train = together.train_together
    monkeypatch.setattr(together, "train_together", lambda members, *rest, **kw: (
        counts.append(len(members)), train(members, *rest, **kw))[1])  # fmt: skip
    MLPGridSearchCV(CLASSIFIER, GRID | {"alpha": [0.0, 0.1]}, n_jobs=2, refit=False).fit(X, LABELS)
    assert sum(counts) == 2 * 40  # in 11 epochs that are certain, and the 3 others
    assert len(counts) < 12
    assert max(counts) == 16


def test_where_the_system_refuses_a_thread(monkeypatch):
    def refuse(self, *_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(together.ThreadPoolExecutor, "submit", refuse)
    ours = MLPGridSearchCV(CLASSIFIER, SMALL, n_jobs=2).fit(X, LABELS)
    require_same(ours, GridSearchCV(CLASSIFIER, SMALL).fit(X, LABELS))


def test_a_call_that_was_refused_a_thread_is_not_made_again(monkeypatch):
    counts, n_refused = [], 0
    train, start = together.train_together, threading.Thread.start

    def refuse_once(self):
        nonlocal n_refused
        if self.name.startswith("fastbp-side-by-side") and not n_refused:
            n_refused += 1
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    monkeypatch.setattr(together, "train_together", lambda members, *rest, **kw: (
        counts.append(len(members)), train(members, *rest, **kw))[1])  # fmt: skip
    MLPGridSearchCV(CLASSIFIER, SMALL, n_jobs=2, refit=False).fit(X, LABELS)
    assert n_refused == 1
    assert sum(counts) == 2 * 10  # in 11 epochs that are certain, and the 3 others


@pytest.mark.parametrize(("owner", "name"), [(together, "train_together"), (together.Lessons, "fit_of")])
def test_where_memory_is_short_fits_are_made_alone(owner, name, monkeypatch, alone):
    def fail(*_, **__):
        raise MemoryError("no memory")

    monkeypatch.setattr(owner, name, fail)
    ours = MLPGridSearchCV(CLASSIFIER, SMALL, n_jobs=2).fit(X, LABELS)
    assert len(alone) == 11
    require_same(ours, GridSearchCV(CLASSIFIER, SMALL).fit(X, LABELS))


def test_data_are_not_kept_in_many_copies():
    lessons = together.Lessons(X.astype("f2"), LABELS, None, n_fits=30, n_threads=1)
    rows = np.arange(70)
    for weight in range(30):
        estimator = clone(CLASSIFIER).set_params(class_weight={"ant": 1.0 + weight})
        assert lessons.fit_of(estimator, rows) is not None
    assert len(lessons._known) <= 4
    lessons = together.Lessons(SPARSE, LABELS, None, n_fits=3, n_threads=1)
    first, second, other = (lessons.fit_of(clone(CLASSIFIER), part) for part in (rows, rows, rows[1:]))
    assert first._task.data is second._task.data
    assert len(other._task.data) == 69


def test_an_interruption_ends_the_calls_that_are_running(monkeypatch):
    controls, n_calls = [], 0

    def record(kind):
        def make(n_threads):
            controls.append(kind(n_threads))
            return controls[-1]

        return make

    def interrupt(self):
        nonlocal n_calls
        n_calls += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(together, "Controls", record(together.Controls))
    monkeypatch.setattr(together.StochasticFit, "finish", interrupt)
    slow = clone(CLASSIFIER).set_params(max_iter=10**6, tol=0, n_iter_no_change=np.inf, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        MLPGridSearchCV(slow, SMALL, n_jobs=2).fit(X, LABELS)
    assert n_calls == 1
    assert len(controls) > 1
    assert controls[-1].each[:, REQUEST].all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_call_is_one_of_its_fits(monkeypatch, n_jobs):
    def fail(*_, **__):
        raise OSError("no luck")

    monkeypatch.setattr(together, "train_together", fail)
    with pytest.raises(OSError, match=r"^no luck$"):
        MLPGridSearchCV(CLASSIFIER, GRID, n_jobs=n_jobs, error_score="raise").fit(X, LABELS)
    with pytest.raises(ValueError, match=r"(?s)All the 20 fits failed.*OSError: no luck") as caught:
        MLPGridSearchCV(CLASSIFIER, GRID, n_jobs=n_jobs).fit(X, LABELS)
    assert "KeyError" not in str(caught.value)
