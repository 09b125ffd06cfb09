"""The solver 'lm' of `MLPRegressor`: the cost of scikit-learn, to a minimum."""

import copy
import re

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (80, 2))
Y = np.stack([np.sin(3 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1) + 0.05 * rng.standard_normal((80, 2))
SETTINGS = {"hidden_layer_sizes": (6,), "activation": "tanh", "solver": "lm", "random_state": 1, "alpha": 0.1}


def model_of(**settings):
    return MLPRegressor(**SETTINGS | settings)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_the_minimum_of_lbfgs(weighted, n_outputs):
    y = Y[:, 0] if n_outputs == 1 else Y
    weights = 1.0 + np.arange(80) % 3 if weighted else None
    model = model_of(tol=1e-9, max_iter=2000).fit(X, y, sample_weight=weights)
    other = copy.deepcopy(model).set_params(solver="lbfgs", warm_start=True, tol=1e-6)
    other.fit(X, y, sample_weight=weights)  # from there, where nothing is left to do
    assert other.n_iter_ <= 1
    assert model.loss_ == pytest.approx(other.loss_, rel=1e-9)
    assert model.n_iter_ == len(model.loss_curve_) < 2000
    assert model.loss_curve_[-1] == model.loss_
    assert (np.diff(model.loss_curve_) < 0).all() or n_outputs == 2


def test_it_goes_on():
    model = model_of(max_iter=4, warm_start=True)
    with pytest.warns(ConvergenceWarning, match=r"^lm failed to converge after 4 iteration\(s\)"):
        model.fit(X, Y[:, 0])
    before = model.loss_
    with pytest.warns(ConvergenceWarning, match=r"^lm failed to converge after 4 iteration\(s\)"):
        model.fit(X, Y[:, 0])
    assert model.loss_curve_[0] < before
    assert model.n_iter_ == 4


def test_where_nothing_is_left_to_do():
    model = model_of(warm_start=True, max_iter=2000).fit(X, Y[:, 0])
    loss = model.loss_
    model.set_params(tol=1.0).fit(X, Y[:, 0])
    assert (model.n_iter_, model.loss_curve_) == (0, [])
    assert model.loss_ == pytest.approx(loss, rel=1e-12)


def test_saved(tmp_path):
    model = model_of(max_iter=2000).fit(X, Y)
    model.save(tmp_path / "model")
    again = bp.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.loss_curve_ == model.loss_curve_
    assert again.coefs_[0].dtype == np.float64
    assert model_of(dtype="float32").fit(X, Y).coefs_[0].dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss": "huber"},
            "`loss` must be 'squared_error' for solver='lm', because it needs a sum of squares; got 'huber'. Use "
            "solver='lbfgs'.",
        ),
        (
            {"dropout": 0.2},
            "`dropout` must be 0 for solver='lm', because it compares the costs of steps with each other; got 0.2. Use "
            "solver='adam'.",
        ),
        (
            {"l1_penalty": 0.2},
            "`l1_penalty` must be 0 for solver='lm', because it needs a sum of squares; got 0.2. Use solver='lbfgs'.",
        ),
    ],
)
def test_what_it_cannot_train_is_refused(settings, message):
    model = model_of(**settings)
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_classifiers_have_none():
    message = "Got 'lm' instead. 'lm' needs the squared error of MLPRegressor; use 'lbfgs'."
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPClassifier(solver="lm").fit(X, np.arange(80) % 2)
