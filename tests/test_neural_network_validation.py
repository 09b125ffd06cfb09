"""Validation data of the estimators: how they are passed or set aside, what early stopping watches and ends with."""

import inspect
import sys

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import make_regression
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, log_loss, make_scorer, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.neural_network import MLPClassifier, MLPRegressor
from tests.test_neural_network_errors import quietly, raises

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4))
Y = (X[:, 0] + 0.5 * RNG.standard_normal(80) > 0).astype(int)
T = X[:, 0] + X[:, 1] * X[:, 2]
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "learning_rate_init": 0.02}

pytestmark = quietly


# ---- Passed to fit ---------------------------------------------------------------------------------------------------

SETS = {
    "tuple": {"eval_set": (X[60:], Y[60:])},
    "list": {"eval_set": [X[60:], Y[60:]]},
    "list of one tuple": {"eval_set": [(X[60:], Y[60:])]},  # XGBoost's and LightGBM's
    "tuple of one list": {"eval_set": ([X[60:], Y[60:]],)},
    "nested lists": {"eval_set": (X[60:].tolist(), Y[60:].tolist())},
    "list of nested lists": {"eval_set": [(X[60:].tolist(), Y[60:].tolist())]},
    "sparse": {"eval_set": [(sparse.csr_array(X[60:]), Y[60:])]},
    "apart": {"X_val": X[60:], "y_val": Y[60:]},
    "apart, sparse": {"X_val": sparse.csc_array(X[60:]), "y_val": Y[60:].tolist()},
}


@pytest.mark.parametrize("case", SETS)
def test_validation_data_in_all_conventions(case):
    model = MLPClassifier(**QUICK).fit(X[:60], Y[:60], **SETS[case])
    assert model.validation_loss_curve_[-1] == pytest.approx(log_loss(Y[60:], model.predict_proba(X[60:])), rel=1e-12)
    assert len(model.validation_loss_curve_) == 6


WEIGHTS = np.linspace(0.0, 2.0, 20)


@pytest.mark.parametrize(
    "passed",
    [
        {"eval_set": (X[60:], Y[60:], WEIGHTS)},
        {"eval_set": [(X[60:], Y[60:], WEIGHTS)]},
        {"X_val": X[60:], "y_val": Y[60:], "sample_weight_val": WEIGHTS},
    ],
    ids=["tuple", "list of one tuple", "apart"],
)
def test_weights_of_validation_data(passed):
    model = MLPClassifier(early_stopping=True, **QUICK).fit(X[:60], Y[:60], **passed)
    losses = -np.log(model.predict_proba(X[60:])[np.arange(20), Y[60:]])
    best = int(np.argmax(model.validation_scores_))
    assert model.validation_loss_curve_[best] == pytest.approx(np.average(losses, weights=WEIGHTS), rel=1e-12)
    assert model.best_validation_score_ == pytest.approx(model.score(X[60:], Y[60:], WEIGHTS), rel=1e-12)


def test_two_rows_of_two_numbers_are_one_set():
    model = MLPRegressor(**QUICK).fit(X[:, :2], T, eval_set=([[0.0, 1.0], [2.0, 3.0]], [4.0, 5.0]))
    expected = np.mean((model.predict([[0.0, 1.0], [2.0, 3.0]]) - [4.0, 5.0]) ** 2) / 2
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)
    several = MLPRegressor(**QUICK).fit(X, np.column_stack([T, T]), eval_set=[X[:2].tolist(), [[1.0, 2.0], [3.0, 4.0]]])
    assert np.isfinite(several.validation_loss_curve_).all()


def test_validation_data_go_through_a_pipeline():
    shifted, scaler = 100 * X + 7, StandardScaler().fit(100 * X[:60] + 7)
    alone = MLPClassifier(early_stopping=True, **QUICK)
    alone.fit(scaler.transform(shifted[:60]), Y[:60], X_val=scaler.transform(shifted[60:]), y_val=Y[60:])
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(early_stopping=True, **QUICK).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(shifted[:60], Y[:60], X_val=shifted[60:], y_val=Y[60:])
    assert model.validation_loss_curve_ == alone.validation_loss_curve_
    assert model.validation_scores_ == alone.validation_scores_


def test_the_convention_is_that_of_scikit_learn():
    theirs = inspect.signature(HistGradientBoostingRegressor.fit).parameters
    for model in (MLPClassifier, MLPRegressor):
        ours = inspect.signature(model.fit).parameters
        assert list(ours) == ["self", "X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val", "eval_set"]
        for name in theirs:
            assert (ours[name].kind, ours[name].default) == (theirs[name].kind, theirs[name].default)


ONE_SET = "`eval_set` must be (X_val, y_val) or (X_val, y_val, sample_weight_val), or a list of one such tuple; got "
ONCE = "Validation data must be passed once, as `eval_set` or as `X_val` and `y_val`; got `eval_set` and "
TOGETHER = "`X_val` and `y_val` must be passed together, being inputs and their targets; got only "
PAIR = (X, Y)
WRONG_SETS = {
    "several": (
        {"eval_set": [PAIR, PAIR]},
        ValueError,
        ONE_SET + "2 of them. A fit watches one validation set: pass that one, and ask for the loss of others with "
        "`loss_gradient`.",
    ),
    "several, weighted": (
        {"eval_set": (PAIR, (X, Y, Y), PAIR)},
        ValueError,
        ONE_SET + "3 of them. A fit watches one validation set: pass that one, and ask for the loss of others with "
        "`loss_gradient`.",
    ),
    "none": ({"eval_set": []}, TypeError, ONE_SET + "list of 0."),
    "inputs": ({"eval_set": X}, TypeError, ONE_SET + "ndarray."),
    "four": ({"eval_set": [(X, Y, Y, Y)]}, TypeError, ONE_SET + "list of 1."),
    "both": ({"eval_set": PAIR, "X_val": X, "y_val": Y}, ValueError, ONCE + "`X_val` and `y_val`."),
    "both, weights": ({"eval_set": PAIR, "sample_weight_val": Y}, ValueError, ONCE + "`sample_weight_val`."),
    "inputs alone": ({"X_val": X}, ValueError, TOGETHER + "`X_val`."),
    "targets alone": ({"y_val": Y}, ValueError, TOGETHER + "`y_val`."),
    "weights alone": ({"sample_weight_val": Y}, ValueError, TOGETHER + "`sample_weight_val`."),
    "no inputs": ({"y_val": Y, "sample_weight_val": Y}, ValueError, TOGETHER + "`y_val` and `sample_weight_val`."),
    "features": (
        {"X_val": X[:, :3], "y_val": Y},
        ValueError,
        "In `X_val` and `y_val`: X has 3 features, but MLPClassifier is expecting 4 features as input.",
    ),
    "unknown class": (
        {"X_val": X, "y_val": Y + 1},
        ValueError,
        "In `X_val` and `y_val`: `y` has classes not in `self.classes_`. `self.classes_` has [0 1]. 'y' has [1 2].",
    ),
}


@pytest.mark.parametrize("case", WRONG_SETS)
def test_wrong_validation_data(case):
    passed, kind, text = WRONG_SETS[case]
    with raises(kind, text):
        MLPClassifier(**QUICK).fit(X, Y, **passed)


@pytest.mark.parametrize("passed", [{"eval_set": PAIR}, {"X_val": X, "y_val": Y}])
def test_lbfgs_has_no_epochs(passed):
    name = "`eval_set`" if "eval_set" in passed else "`X_val` and `y_val`"
    text = (
        f"{name} must be None except for the solvers 'adam' and 'sgd', which have epochs; got validation data for "
        "solver='lbfgs'."
    )
    with raises(ValueError, text):
        MLPClassifier(**QUICK | {"solver": "lbfgs"}).fit(X, Y, **passed)


# ---- Set aside -------------------------------------------------------------------------------------------------------


def test_bagging_of_small_samples_with_early_stopping():
    model = MLPClassifier((5,), early_stopping=True, max_iter=5)
    bag = BaggingClassifier(model, n_estimators=40, random_state=0).fit(X[:20], Y[:20])
    assert all(np.isfinite(member.validation_scores_).all() for member in bag.estimators_)


@pytest.mark.parametrize(("n_counting", "fraction"), [(2, 0.1), (3, 0.1), (3, 0.9)])
@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_both_parts_have_a_row_that_counts(model, n_counting, fraction):
    targets = Y if model is MLPClassifier else T
    for seed in range(12):
        weights = np.zeros(40)
        weights[np.random.default_rng(seed).permutation(40)[:n_counting]] = 1
        settings = QUICK | {"random_state": seed, "early_stopping": True, "validation_fraction": fraction}
        fitted = model(scoring="loss", **settings).fit(X[:40], targets[:40], weights)
        assert np.isfinite(fitted.loss_curve_).all()
        assert np.isfinite(fitted.validation_scores_).all()


def test_rows_that_count_are_set_aside_only_where_scikit_learns_split_has_none():
    def aside(weights, seed):
        seen = []

        def scorer(estimator, X, y):
            seen.append(X.copy())
            return 0.0

        settings = QUICK | {"hidden_layer_sizes": (), "max_iter": 1, "random_state": seed}
        MLPClassifier(early_stopping=True, scoring=scorer, **settings).fit(X, Y, weights)
        return seen[0]

    for seed in range(10):
        rng = np.random.RandomState(seed)
        rng.uniform(size=4), rng.uniform(size=1)  # the initial parameters
        theirs = train_test_split(np.arange(80), random_state=rng, test_size=0.1, stratify=Y)[1]
        weights = np.ones(80)
        weights[theirs[1:]] = 0
        np.testing.assert_array_equal(aside(weights, seed), X[theirs])
        weights[theirs[0]] = 0
        ours = aside(weights, seed)
        assert len(ours) == 8  # a tenth of the 72 that count
        assert not (ours[:, None] == X[theirs]).all(axis=2).any()  # none of them


def test_one_row_that_counts_is_too_few():
    text = (
        "`early_stopping` needs two rows or more with a weight other than 0, to train on and to validate with; got 1. "
        "Pass validation data, or set early_stopping=False."
    )
    weights = np.zeros(80)
    weights[3] = 1
    for seed in range(5):
        with raises(ValueError, text):
            MLPClassifier(early_stopping=True, **QUICK | {"random_state": seed}).fit(X, Y, weights)


# ---- What early stopping watches -------------------------------------------------------------------------------------


def plain(estimator, X, y):
    return estimator.score(X, y)


def weighted(estimator, X, y, sample_weight=None):
    return estimator.score(X, y, sample_weight)


def with_keywords(estimator, X, y, **keywords):
    return estimator.score(X, y, **keywords)


class Scorer:
    def __call__(self, estimator, X, y):
        return estimator.score(X, y)


def share_right(y, found):
    return np.mean(y == found)


SCORERS = {
    "function": (plain, False),
    "lambda": (lambda estimator, X, y: estimator.score(X, y), False),
    "object": (Scorer(), False),
    "scorer of scikit-learn, without": (make_scorer(share_right), False),
    "weighted function": (weighted, True),
    "keywords": (with_keywords, True),
    "scorer of scikit-learn": (make_scorer(accuracy_score), True),
    "name": ("accuracy", True),
}


@pytest.mark.parametrize("case", SCORERS)
def test_weights_are_passed_to_scorers_that_take_them(case):
    scoring, takes_weights = SCORERS[case]
    weights = np.linspace(1.0, 2.0, 20)
    settings = QUICK | {"early_stopping": True, "scoring": scoring}
    model = MLPClassifier(**settings).fit(X[:60], Y[:60], eval_set=(X[60:], Y[60:], weights))
    expected = model.score(X[60:], Y[60:], weights if takes_weights else None)
    assert model.best_validation_score_ == pytest.approx(expected, rel=1e-12)
    for given in ({"class_weight": "balanced"}, {"class_weight": {1: 3.0}}):  # which make weights, too
        assert MLPClassifier(**settings, **given).fit(X, Y).n_iter_ > 0
    assert MLPClassifier(**settings).fit(X, Y, np.linspace(1, 2, 80)).n_iter_ > 0


def test_a_scorer_is_given_targets_as_predict_returns_them():
    def scorer(estimator, X, y):
        assert y.shape == estimator.predict(X).shape
        return float(np.mean(y == estimator.predict(X)))

    for targets in (Y[60:].tolist(), Y[60:, None]):
        model = MLPClassifier(early_stopping=True, scoring=scorer, **QUICK)
        model.fit(X[:60], Y[:60], eval_set=(X[60:], targets))
        assert model.best_validation_score_ == model.score(X[60:], Y[60:])


LOSS_IS_WATCHED = {
    "squared_error": False,
    "poisson": False,  # by scikit-learn's own MLPRegressor
    "absolute_error": True,
    "huber": True,
    "log_cosh": True,
    "quantile": True,
}


@pytest.mark.parametrize("loss", LOSS_IS_WATCHED)
def test_what_is_watched_by_default(loss):
    y = np.abs(T)
    settings = QUICK | {"early_stopping": True, "loss": loss}
    model = MLPRegressor(**settings).fit(X[:60], y[:60], eval_set=(X[60:], y[60:]))
    if LOSS_IS_WATCHED[loss]:
        np.testing.assert_array_equal(model.validation_scores_, -np.array(model.validation_loss_curve_))
    else:
        assert model.best_validation_score_ == pytest.approx(r2_score(y[60:], model.predict(X[60:])), rel=1e-12)
    aside = MLPRegressor(**settings).fit(X, y)
    by_loss = MLPRegressor(scoring="loss", **settings).fit(X, y)
    assert (aside.validation_scores_ == by_loss.validation_scores_) == LOSS_IS_WATCHED[loss]
    assert model.score(X, y) == pytest.approx(r2_score(y, model.predict(X)))  # as documented, whatever the loss
    named = MLPRegressor(scoring="r2", **settings).fit(X[:60], y[:60], eval_set=(X[60:], y[60:]))
    assert named.best_validation_score_ == pytest.approx(r2_score(y[60:], named.predict(X[60:])), rel=1e-12)


def test_a_high_quantile_is_found_with_early_stopping():
    data, y = make_regression(600, 3, noise=40.0, random_state=0)
    y /= y.std()
    settings = {"hidden_layer_sizes": (10,), "max_iter": 400, "random_state": 0, "learning_rate_init": 0.01}
    model = MLPRegressor("quantile", quantile=0.95, early_stopping=True, **settings).fit(data, y)
    assert np.mean(y <= model.predict(data)) == pytest.approx(0.95, abs=0.02)


# ---- What a warm start ends with -------------------------------------------------------------------------------------

WARM = {
    "hidden_layer_sizes": (20,), "early_stopping": True, "warm_start": True, "learning_rate_init": 0.1,
    "n_iter_no_change": 5, "max_iter": 300, "random_state": 0,
}  # fmt: skip


@pytest.mark.parametrize("scoring", [None, "loss", "neg_mean_absolute_error"])
def test_a_warm_model_ends_with_the_parameters_of_its_best_score(scoring):
    score = {
        None: lambda model: model.score(X[60:], T[60:]),
        "loss": lambda model: -np.mean((model.predict(X[60:]) - T[60:]) ** 2) / 2,
        "neg_mean_absolute_error": lambda model: -np.mean(np.abs(model.predict(X[60:]) - T[60:])),
    }[scoring]
    model, best = MLPRegressor(scoring=scoring, **WARM), -np.inf
    for _ in range(4):
        model.fit(X[:60], T[:60], eval_set=(X[60:], T[60:]))
        assert model.best_validation_score_ == pytest.approx(score(model), rel=1e-9)
        assert model.best_validation_score_ == max(model.validation_scores_)
        assert model.best_validation_score_ >= best
        best = model.best_validation_score_


def test_a_warm_model_judges_its_first_parameters_by_the_new_data():
    model = MLPRegressor(**WARM).fit(X[:60], T[:60], eval_set=(X[60:], T[60:]))
    model.fit(X[:60], -T[:60], eval_set=(X[60:], -T[60:]))  # whose first score is far below the best one of before
    assert model.score(X[60:], -T[60:]) > 0
    assert model.best_validation_score_ == pytest.approx(model.score(X[60:], -T[60:]), rel=1e-9)
    model.set_params(scoring="loss").fit(X[:60], -T[:60], eval_set=(X[60:], -T[60:]))
    assert model.best_validation_score_ == pytest.approx(-np.mean((model.predict(X[60:]) + T[60:]) ** 2) / 2, rel=1e-9)


def test_a_warm_fit_may_have_learned_without_early_stopping_before():
    model = MLPRegressor(**WARM | {"early_stopping": False}).fit(X, T)
    before = model.score(X[60:], T[60:])
    model.set_params(early_stopping=True, learning_rate_init=10.0, max_iter=3)
    model.fit(X[:60], T[:60], eval_set=(X[60:], T[60:]))
    assert max(model.validation_scores_) < before
    assert model.best_validation_score_ == pytest.approx(before, rel=1e-9)
    assert model.score(X[60:], T[60:]) == pytest.approx(before, rel=1e-9)


@pytest.mark.filterwarnings("ignore:The loss became NaN")
def test_a_warm_fit_that_diverges_ends_with_its_first_parameters():
    model = MLPRegressor(**WARM).fit(X[:60], T[:60], eval_set=(X[60:], T[60:]))
    score = model.best_validation_score_
    model.set_params(solver="sgd", activation="identity", learning_rate_init=1e9)
    model.fit(X[:60], T[:60], eval_set=(X[60:], T[60:]))
    np.testing.assert_allclose(model.score(X[60:], T[60:]), model.best_validation_score_, rtol=1e-9)
    assert model.best_validation_score_ != score  # another activation, judged anew


# ---- Programs without a console --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"verbose": True}, {"verbose": True, "early_stopping": True}, {"progress": True}])
def test_a_program_without_a_console_can_be_verbose(settings, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    model = MLPClassifier(**QUICK | {"tol": 1.0, "n_iter_no_change": 2}, **settings).fit(X, Y)
    assert model.n_iter_ < 6


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_refused_fit_leaves_the_model_as_it_was(warm_start):
    """However late the mistake is noticed, an unfitted model stays unfitted and a fitted one predicts as before."""
    model = MLPClassifier(**QUICK, warm_start=warm_start)
    wrong = {
        "features of X_val": (X, Y, {"X_val": X[:9, :3], "y_val": Y[:9]}),
        "labels of y_val": (X, Y, {"X_val": X[:9], "y_val": Y[:9] + 5}),
        "weights": (X, np.where(Y, "x", "y"), {"sample_weight": np.zeros(80)}),
    }
    for inputs, labels, others in wrong.values():
        with pytest.raises(ValueError):  # noqa: PT011  each says something else
            model.fit(inputs, labels, **others)
        assert not [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]
    model.fit(X, Y)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    probabilities = model.predict_proba(X)
    for inputs, labels, others in wrong.values():
        with pytest.raises(ValueError):  # noqa: PT011
            model.fit(inputs, labels, **others)
        assert all(getattr(model, name) is value for name, value in before.items())
        assert np.array_equal(model.predict_proba(X), probabilities)
