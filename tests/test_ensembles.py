"""Ensembles: each member has the bits of its own fit; mean, spread and quantiles against NumPy's of the members."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp as bp
from fastbp.neural_network import (
    FitDivergedError,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPGridSearchCV,
    MLPRegressor,
    together,
)
from tests.twins import same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.tanh(X @ RNG.standard_normal((4, 2)))
LABELS = np.array(["ant", "bee", "cow"])[(X @ RNG.standard_normal((4, 3))).argmax(axis=1)]
WEIGHTS = RNG.uniform(0.1, 3, len(X))
CLASSIFIER = MLPClassifier((6,), max_iter=14, batch_size=16)
REGRESSOR = MLPRegressor(hidden_layer_sizes=(6,), max_iter=14, batch_size=16)

# name: (estimator, X, y, whether the members are trained side by side: without and with bootstrap)
CASES = {
    "regressor": (REGRESSOR, X, Y, (True, True)),
    "one output": (REGRESSOR, X, Y[:, 0], (True, True)),
    "classifier": (CLASSIFIER, X, LABELS, (True, True)),
    "two classes": (CLASSIFIER, X, LABELS == "ant", (True, True)),
    "several labels": (CLASSIFIER, X, (Y > 0).astype(int), (True, False)),
    "balanced": (clone(CLASSIFIER).set_params(class_weight="balanced"), X, LABELS, (True, False)),
    "weights of classes": (clone(CLASSIFIER).set_params(class_weight={"ant": 3.0}), X, LABELS, (True, True)),
    "no shuffle": (clone(REGRESSOR).set_params(shuffle=False), X, Y, (True, True)),
    "float32": (clone(REGRESSOR).set_params(dtype="float32"), X, Y, (True, True)),
    "sparse": (CLASSIFIER, sparse.csr_matrix(np.where(X > 0, X, 0)), LABELS, (True, True)),
    "early stopping": (clone(REGRESSOR).set_params(early_stopping=True), X, Y, (False, False)),
    "lbfgs": (clone(CLASSIFIER).set_params(solver="lbfgs"), X, LABELS, (False, False)),
    "lm": (clone(REGRESSOR).set_params(solver="lm", max_iter=3), X, Y, (False, False)),
    "a schedule": (clone(REGRESSOR).set_params(solver="sgd", learning_rate=bp.Cosine(0.1)), X, Y, (True, True)),
}


def ensemble_of(estimator, n_estimators=5, **keywords):
    kind = MLPEnsembleClassifier if isinstance(estimator, MLPClassifier) else MLPEnsembleRegressor
    return kind(estimator, n_estimators, **{"random_state": 3} | keywords)


def arrays_of(model):
    return [*model.coefs_, *model.intercepts_, *([model._optimizer.vectors] if hasattr(model, "_optimizer") else [])]


@pytest.fixture
def together_with(monkeypatch):
    """How many fits each call of the kernels takes."""
    found = []
    train = together.train_together
    monkeypatch.setattr(together, "train_together", lambda members, *rest, **keywords: (
        found.append(len(members)), train(members, *rest, **keywords))[1])  # fmt: skip
    return found


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weights"])
@pytest.mark.parametrize("bootstrap", [False, True], ids=["all rows", "bootstrap"])
@pytest.mark.parametrize("name", CASES)
def test_each_member_has_the_bits_of_its_own_fit(name, bootstrap, weights, together_with):
    estimator, inputs, y, side_by_side = CASES[name]
    ensemble = ensemble_of(estimator, bootstrap=bootstrap).fit(inputs, y, weights)
    assert bool(together_with) == side_by_side[bootstrap]
    assert len(ensemble.estimators_) == len(ensemble.estimators_samples_) == 5
    seeds = {member.random_state for member in ensemble.estimators_}
    assert len(seeds) == 5
    for member, rows in zip(ensemble.estimators_, ensemble.estimators_samples_, strict=True):
        assert len(rows) == 60
        assert (len(set(rows)) == 60) == (not bootstrap)
        alone = clone(member).fit(inputs[rows], y[rows], None if weights is None else weights[rows])
        assert all(map(same_bits, arrays_of(member), arrays_of(alone)))
        for key in ("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "n_outputs_", "n_features_in_"):
            assert getattr(member, key, None) == getattr(alone, key, None)
        assert member.get_params() == alone.get_params()
        assert set(vars(member)) == set(vars(alone))


def test_the_numbers_do_not_depend_on_the_threads():
    one, many = (ensemble_of(CLASSIFIER, 9, bootstrap=True, n_threads=n).fit(X, LABELS) for n in (1, 5))
    for left, right in zip(one.estimators_, many.estimators_, strict=True):
        assert all(map(same_bits, arrays_of(left), arrays_of(right)))


# ---- Predictions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [Y, Y[:, 0]], ids=["two outputs", "one output"])
def test_predictions_of_numbers(y):
    ensemble = ensemble_of(REGRESSOR).fit(X, y)
    each = np.stack([member.predict(X) for member in ensemble.estimators_])
    assert same_bits(ensemble.predict_members(X), each)
    mean, std = ensemble.predict(X, return_std=True)
    assert same_bits(ensemble.predict(X), mean)
    np.testing.assert_allclose(mean, sum(each) / 5, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(std, np.sqrt(((each - mean) ** 2).sum(axis=0) / 5), rtol=1e-10)
    assert mean.shape == std.shape == y.shape
    low, middle, high = ensemble.predict_quantiles(X, [0.0, 0.5, 1.0])
    assert same_bits(low, each.min(axis=0))
    assert same_bits(high, each.max(axis=0))
    assert same_bits(middle, np.sort(each, axis=0)[2])
    assert ensemble.predict_quantiles(X).shape == (3, *y.shape)


@pytest.mark.parametrize("quantiles", [1.5, [0.5, -0.1], [[0.5]], [np.nan], "a", None, []], ids=str)
def test_wrong_quantiles(quantiles):
    ensemble = ensemble_of(REGRESSOR, 1).fit(X, Y)
    if quantiles == []:
        assert ensemble.predict_quantiles(X, []).shape == (0, 60, 2)
        return
    with pytest.raises(ValueError, match=r"^`quantiles` must be a list of numbers from 0 to 1, shares of the members"):
        ensemble.predict_quantiles(X, quantiles)


def test_predictions_of_classes():
    ensemble = ensemble_of(CLASSIFIER).fit(X, LABELS)
    each = np.stack([member.predict_proba(X) for member in ensemble.estimators_])
    assert same_bits(ensemble.predict_proba_members(X), each)
    mean, std = ensemble.predict_proba(X, return_std=True)
    assert same_bits(ensemble.predict_proba(X), mean)
    np.testing.assert_allclose(mean, sum(each) / 5, rtol=1e-13)
    np.testing.assert_allclose(std, np.sqrt(((each - mean) ** 2).sum(axis=0) / 5), rtol=1e-10)
    np.testing.assert_allclose(np.exp(ensemble.predict_log_proba(X)), mean)
    assert (ensemble.predict(X) == ensemble.classes_[mean.argmax(axis=1)]).all()
    assert ensemble.score(X, LABELS) == np.mean(ensemble.predict(X) == LABELS)


def test_predictions_of_two_classes_and_of_several_labels():
    two = ensemble_of(CLASSIFIER).fit(X, LABELS == "ant")
    assert (two.predict(X) == (two.predict_proba(X)[:, 1] > 0.5)).all()
    several = ensemble_of(CLASSIFIER).fit(X, (Y > 0).astype(int))
    assert (several.predict(X) == (several.predict_proba(X) > 0.5)).all()
    assert several.predict(X).shape == (60, 2)


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_a_class_that_some_members_never_saw():
    y = np.where(np.arange(60) < 1, "aphid", np.where(np.arange(60) < 30, "ant", "bee"))
    ensemble = ensemble_of(CLASSIFIER, 12, bootstrap=True).fit(X, y)
    knows = [set(member.classes_) == {"ant", "aphid", "bee"} for member in ensemble.estimators_]
    assert 0 < sum(knows) < 12
    each = ensemble.predict_proba_members(X)
    assert each.shape == (12, 60, 3)
    np.testing.assert_allclose(each.sum(axis=2), 1)
    for probabilities, member, knew in zip(each, ensemble.estimators_, knows, strict=True):
        if not knew:
            assert list(member.classes_) == ["ant", "bee"]
            assert (probabilities[:, 1] == 0).all()
            assert same_bits(probabilities[:, [0, 2]], member.predict_proba(X))


def test_one_class():
    ensemble = ensemble_of(CLASSIFIER, 2).fit(X, np.full(60, "ant"))
    assert (ensemble.predict(X) == "ant").all()
    assert (ensemble.predict_proba(X) == 1).all()


# ---- Within scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings
@parametrize_with_checks(
    [MLPEnsembleClassifier(MLPClassifier(max_iter=100), 2), MLPEnsembleRegressor(MLPRegressor(max_iter=100), 2)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_pickles_clones_and_searches():
    ensemble = ensemble_of(CLASSIFIER, bootstrap=True).fit(X, LABELS)
    again = pickle.loads(pickle.dumps(ensemble))
    assert same_bits(again.predict_proba(X), ensemble.predict_proba(X))
    twin = clone(ensemble)
    assert not hasattr(twin, "estimators_")
    assert str(twin.get_params()) == str(ensemble.get_params())
    assert same_bits(twin.fit(X, LABELS).predict_proba(X), ensemble.predict_proba(X))
    grid = {"estimator__alpha": [0.01, 1.0], "n_estimators": [2]}
    search = GridSearchCV(ensemble_of(CLASSIFIER), grid, cv=2).fit(X, LABELS)
    assert len(search.best_estimator_.estimators_) == 2
    assert MLPGridSearchCV(ensemble_of(CLASSIFIER), grid, cv=2).fit(X, LABELS).best_params_ == search.best_params_
    assert len(cross_val_score(ensemble_of(REGRESSOR, 2), X, Y, cv=2)) == 2


def test_iris():
    inputs, y = load_iris(return_X_y=True)
    net = MLPClassifier((10,), max_iter=100, learning_rate_init=0.02)
    assert MLPEnsembleClassifier(net, 5, random_state=0).fit(inputs, y).score(inputs, y) > 0.9
    assert len(MLPEnsembleRegressor(n_estimators=1, random_state=0).fit(inputs[:20], y[:20]).estimators_) == 1


def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    ensemble = ensemble_of(REGRESSOR, 2).fit(frame, Y)
    assert list(ensemble.feature_names_in_) == list("abcd")
    assert same_bits(ensemble.predict(frame), ensemble_of(REGRESSOR, 2).fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        ensemble.predict(frame[["b", "a", "c", "d"]])
    assert not hasattr(ensemble.fit(X, Y), "feature_names_in_")


WRONG = [
    ({"estimator": CLASSIFIER}, TypeError, "`estimator` must be of MLPRegressor, whose predictions "
     "MLPEnsembleRegressor puts together; got MLPClassifier. scikit-learn's Bagging takes any estimator."),
    ({"estimator": "net"}, ValueError, "The 'estimator' parameter of MLPEnsembleRegressor must be"),
    ({"n_estimators": 0}, ValueError, "The 'n_estimators' parameter of MLPEnsembleRegressor must be an int"),
    ({"n_estimators": 2.5}, ValueError, "The 'n_estimators' parameter of MLPEnsembleRegressor must be an int"),
    ({"bootstrap": "yes"}, ValueError, "The 'bootstrap' parameter of MLPEnsembleRegressor must be"),
    ({"random_state": -1}, ValueError, "The 'random_state' parameter of MLPEnsembleRegressor must be"),
    ({"n_threads": 0}, ValueError, "The 'n_threads' parameter of MLPEnsembleRegressor must be"),
    ({"estimator": clone(REGRESSOR).set_params(alpha=-1.0)}, ValueError, "The 'alpha' parameter of MLPRegressor must"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "kind", "message"), WRONG, ids=[str(list(row[0])) for row in WRONG])
def test_wrong_parameters(parameters, kind, message):
    ensemble = MLPEnsembleRegressor(**{"estimator": REGRESSOR, "n_estimators": 2, "random_state": 0}).fit(X, Y)
    before = ensemble.predict(X)
    with pytest.raises(kind) as caught:
        ensemble.set_params(**parameters).fit(X, Y)
    assert str(caught.value).startswith(message)
    assert same_bits(ensemble.predict(X), before)


def test_a_member_that_diverges():
    ensemble = ensemble_of(REGRESSOR, 3).fit(X, Y)
    before = ensemble.predict(X)
    wild = clone(REGRESSOR).set_params(solver="sgd", activation="identity", learning_rate_init=80.0)
    with pytest.raises(FitDivergedError):
        ensemble.set_params(estimator=wild).fit(X, Y)
    assert same_bits(ensemble.predict(X), before)


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=["classifier", "regressor"])
def test_a_column_is_warned_of_once(estimator):
    y = X[:, :1] > 0
    with pytest.warns(UserWarning, match="A column-vector y was passed") as caught:
        column = ensemble_of(estimator, bootstrap=True).fit(X, y)
    assert sum("column-vector" in str(warning.message) for warning in caught) == 1
    assert same_bits(column.predict(X), ensemble_of(estimator, bootstrap=True).fit(X, y.ravel()).predict(X))


def test_a_member_without_weights_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        ensemble_of(REGRESSOR, 8, bootstrap=True).fit(X, Y, np.arange(60) == 0)


def test_wrong_data():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ensemble_of(REGRESSOR).fit(X, Y[:-1])
    with pytest.raises(ValueError, match="sample_weight"):
        ensemble_of(REGRESSOR).fit(X, Y, WEIGHTS[:-1])
    with pytest.raises(ValueError, match="at least 0 for loss='poisson'"):
        ensemble_of(clone(REGRESSOR).set_params(loss="poisson")).fit(X, Y)
    with pytest.raises(ValueError, match="contains NaN"):
        ensemble_of(CLASSIFIER).fit(np.where(X > 2, np.nan, X), LABELS)
