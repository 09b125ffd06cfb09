"""Warnings point at the user's line, and filters that were made for scikit-learn's own go on to work."""

import inspect
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp import neural_network as ours
from fastbp.neural_network import MLPClassifier, MLPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = rng.integers(2, size=60)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}


@contextmanager
def recorded(action="always"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        yield caught


WARNING_CALLS = {
    "adam": (lambda: MLPClassifier(**QUICK).fit(X, y), ConvergenceWarning),
    "lbfgs": (lambda: MLPClassifier(solver="lbfgs", **QUICK).fit(X, y), ConvergenceWarning),
    "batch": (lambda: MLPClassifier(batch_size=1000, **QUICK | {"tol": 9.0, "max_iter": 20}).fit(X, y), UserWarning),
    "column": (lambda: MLPClassifier(tol=9.0, **QUICK | {"max_iter": 20}).fit(X, y[:, None]), DataConversionWarning),
    "number": (lambda: MLPRegressor(tol=9.0, **QUICK | {"max_iter": 20}).fit(X, X[:, :1]), DataConversionWarning),
    "pipeline": (lambda: make_pipeline(StandardScaler(), MLPRegressor(**QUICK)).fit(X, y), ConvergenceWarning),
    "scores": (lambda: cross_val_score(MLPClassifier(**QUICK), X, y, cv=2), ConvergenceWarning),
    "search": (lambda: GridSearchCV(MLPClassifier(**QUICK), {"alpha": [0, 1]}, cv=2).fit(X, y), ConvergenceWarning),
    "softmax": (lambda: bp.Network([2, 1], output="softmax"), UserWarning),
}


@pytest.mark.parametrize("name", WARNING_CALLS)
def test_a_warning_points_at_the_users_line(name):
    call, category = WARNING_CALLS[name]
    with recorded() as caught:
        call()
    assert caught
    lines, first = inspect.getsourcelines(call)
    for warning in caught:
        assert warning.category is category
        assert warning.filename == __file__
        assert first <= warning.lineno < first + len(lines)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_points_at_the_users_line(monkeypatch, early_stopping):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.training.steps.Steps._take_all", interrupt)
    with recorded() as caught:
        MLPClassifier(**QUICK, early_stopping=early_stopping).fit(X, y)
    assert [(str(w.message), w.filename) for w in caught] == [("Training interrupted by user.", __file__)]


def test_divergence_points_at_the_users_line():
    settings = {"solver": "sgd", "activation": "identity", "learning_rate_init": 0.8, "early_stopping": True}
    model = MLPRegressor(random_state=0, max_iter=100, n_iter_no_change=90, **settings)
    target = 100 * X @ [1.0, 2.0, 3.0]
    with recorded() as caught:
        model.fit(X, target)
    assert {w.filename for w in caught} == {__file__}
    assert str(caught[0].message).startswith("The loss became NaN or infinite in epoch ")


FILTERS = {
    "gallery": {"category": ConvergenceWarning, "module": "sklearn"},
    "module": {"module": "sklearn"},
    "exact": {"module": r"sklearn\.neural_network\._multilayer_perceptron$"},
    "message": {"message": "(Stochastic Optimizer|lbfgs failed|A column-vector|Got `batch_size`)"},
    "other": {"module": "numpy"},
}


@pytest.mark.parametrize("rule", FILTERS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 1000}], ids=str)
def test_filters_that_work_for_scikit_learn_work(rule, solver, settings):
    texts = []
    for library in (ours, theirs):
        model = library.MLPClassifier(solver=solver, **QUICK | settings)
        with recorded() as caught:
            warnings.filterwarnings("ignore", **FILTERS[rule])
            clone(model).fit(X, y[:, None])
            cross_val_score(model, X, y, cv=2)
        # not SciPy's to an older scikit-learn
        texts.append(sorted(str(w.message) for w in caught if w.category is not DeprecationWarning))
    assert texts[0] == texts[1]
    assert (texts[0] == []) == (rule in ("module", "exact", "message"))
    assert not any("converge" in text for text in texts[0]) or rule == "other"


def test_a_line_warns_once_where_that_is_the_rule():
    with recorded("default") as caught:
        for _ in range(3):
            bp.Network([2, 1], output="softmax")
        bp.Network([2, 1], output="softmax")
    assert len(caught) == 2
    counts = []
    for library in (ours, theirs):
        with recorded("default") as caught:
            for _ in range(3):
                library.MLPClassifier(**QUICK).fit(X, y)
        counts.append(len(caught))
    assert counts[0] == counts[1]


def test_the_nearest_user_counts():
    """A callback of one's own within a fit is nearer than the fit."""

    def make_another(net, history):
        bp.Network([2, 1], output="softmax")

    with recorded() as caught:
        bp.Network([3, 1]).fit(X, y, epochs=1, callbacks=[make_another])
    (warning,) = caught
    lines, first = inspect.getsourcelines(make_another)
    assert (warning.filename, warning.lineno) == (__file__, first + len(lines) - 1)


# ---- A softmax of one output -----------------------------------------------------------------------------------------


def test_softmax_of_one_output():
    with recorded() as caught:
        net = bp.Network([3, 4, 1], output="softmax", loss="cross_entropy", seed=0)
        bp.diagnose(net, X)  # which makes networks of its layers
    assert [str(warning.message) for warning in caught] == [
        "`output='softmax'` with one output is always 1, whatever the parameters are, so that nothing can be learned. "
        "Use `output='sigmoid'` for the probability of one of two classes, or one output for each class."
    ]
    np.testing.assert_array_equal(net.predict(X), 1.0)  # the warning says the truth
    np.testing.assert_array_equal(net.value_and_grad(X, np.zeros(60, int))[1], 0.0)
    with pytest.raises(ValueError, match="always 1") as error:
        net.fit(X, y)
    assert str(error.value) == (
        f"`Y` must hold labels from 0 to 0, one for each output; got 1 at {int(np.argmax(y))}. A softmax of one output "
        "is always 1: use `output='sigmoid'`, or one output for each class."
    )


def test_the_cure_of_a_lone_softmax_works():
    net = bp.Network([3, 1], output="sigmoid", loss="cross_entropy", seed=0)
    labels = (X[:, 0] > 0).astype(int)
    net.fit(X, labels, epochs=100, seed=0, optimizer=bp.Adam(0.1))
    assert np.mean((net.predict(X)[:, 0] > 0.5) == labels) > 0.95
