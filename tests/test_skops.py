"""Estimators and networks in files of skops, which ask the reader to trust each class that skops does not know."""

import copy
import pickle

import numba
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.neural_network import (
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPGridSearchCV,
    MLPRegressor,
)
from tests.cases import DTYPES
from tests.twins import same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
LABELS, NUMBERS = np.array(["cat", "dog", "mouse"])[RNG.integers(3, size=60)], X[:, :2]
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}
CLASSIFIER = "fastbp.neural_network.classifier.MLPClassifier"
REGRESSOR = "fastbp.neural_network.regressor.MLPRegressor"
ESTIMATORS = {
    "classifier": (MLPClassifier(**SMALL), LABELS, [CLASSIFIER]),
    "sgd": (MLPClassifier(**SMALL, solver="sgd", momentum=0.9), LABELS, [CLASSIFIER]),
    "lbfgs": (MLPClassifier(**SMALL, solver="lbfgs"), LABELS, [CLASSIFIER]),
    "several labels": (MLPClassifier(**SMALL), (X > 0).astype(int), [CLASSIFIER]),
    "early stopping": (MLPClassifier(**SMALL, early_stopping=True, class_weight="balanced"), LABELS, [CLASSIFIER]),
    "random numbers": (MLPClassifier(**SMALL | {"random_state": np.random.RandomState(3)}), LABELS, [CLASSIFIER]),
    "regressor": (MLPRegressor(**SMALL, loss="huber", activation=["gelu"]), NUMBERS, [REGRESSOR]),
    "lm": (MLPRegressor(**SMALL, solver="lm"), NUMBERS, [REGRESSOR]),
    "schedule": (
        MLPRegressor(**SMALL, learning_rate=bp.Cosine(0.01)),
        NUMBERS,
        [REGRESSOR, "fastbp.training.schedules.Cosine"],
    ),
    "pipeline": (make_pipeline(StandardScaler(), MLPClassifier(**SMALL)), LABELS, [CLASSIFIER]),
    "ensemble of classifiers": (
        MLPEnsembleClassifier(MLPClassifier(**SMALL), 2, random_state=0),
        LABELS,
        [CLASSIFIER, "fastbp.neural_network.ensembles.MLPEnsembleClassifier"],
    ),
    "ensemble of regressors": (
        MLPEnsembleRegressor(MLPRegressor(**SMALL), 2, random_state=0),
        NUMBERS,
        ["fastbp.neural_network.ensembles.MLPEnsembleRegressor", REGRESSOR],
    ),
    "best of a search": (
        MLPGridSearchCV(MLPClassifier(**SMALL), {"alpha": [0.0, 1.0]}, cv=2),
        LABELS,
        [CLASSIFIER],
    ),
}


def fitted(name, dtype="float64"):
    """A fitted estimator, of a search the best one, its inputs and its targets."""
    model, y, _ = ESTIMATORS[name]
    rows = X.astype(dtype)
    model.fit(rows, y)
    return getattr(model, "best_estimator_", model), rows, y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_goes_on(name, dtype):
    """Only classes of fastbp have to be trusted; predictions and further steps have the same bits."""
    io = pytest.importorskip("skops.io")
    model, rows, y = fitted(name, dtype)
    content = io.dumps(model)
    assert io.get_untrusted_types(data=content) == ESTIMATORS[name][2]
    twin = io.loads(content, trusted=ESTIMATORS[name][2])
    assert same_bits(twin.predict(rows), model.predict(rows))
    if hasattr(model, "predict_proba"):
        assert same_bits(twin.predict_proba(rows), model.predict_proba(rows))
    if hasattr(model, "partial_fit") and not model.early_stopping:
        for each in (model, twin):
            each.partial_fit(rows, y)
        assert same_bits(twin.network_.params, model.network_.params)
        assert twin.loss_ == model.loss_
    assert not np.shares_memory(getattr(model, "coefs_", [X])[0], getattr(twin, "coefs_", [rows])[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_goes_on(dtype):
    io = pytest.importorskip("skops.io")
    net = bp.Network([4, 5, 2], "tanh", dtype=dtype, seed=0)
    assert io.get_untrusted_types(data=io.dumps(net)) == ["fastbp.network.Network"]
    rows, y = X.astype(dtype), NUMBERS.astype(dtype)
    net.fit(rows, y, epochs=2, seed=0)
    content = io.dumps(net)
    names = ["history.History", "optimizers.Adam", "state.TrainingState"]
    trusted = ["fastbp.network.Network", *(f"fastbp.training.{name}" for name in names)]
    assert io.get_untrusted_types(data=content) == trusted
    twin = io.loads(content, trusted=trusted)
    assert twin.dtype == net.dtype
    for each in (net, twin):
        each.fit(rows, y, epochs=2)
    assert same_bits(twin.params, net.params)
    assert same_bits(twin.history.loss, net.history.loss)


# ---- What skops looks at, looked at without it -----------------------------------------------------------------------


def kinds(value):
    """The classes of a value and of all that it holds, as skops and pickle take it apart."""
    yield type(value)
    if isinstance(value, dict):
        for key, part in value.items():
            yield from kinds(key)
            yield from kinds(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from kinds(part)
    elif type(value).__module__.split(".")[0] in ("fastbp", "sklearn"):
        yield from kinds(value.__getstate__() if hasattr(value, "__getstate__") else vars(value))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_state_is_plain_values_arrays_and_objects_of_scikit_learn(name):
    model, _, _ = fitted(name)
    found = {f"{kind.__module__}.{kind.__name__}" for kind in kinds(model)}
    assert {name for name in found if name.startswith("fastbp.")} == set(ESTIMATORS[name][2])
    others = {name.split(".")[0] for name in found} - {"fastbp"}
    assert others <= {"builtins", "numpy", "sklearn"}


def test_pickles_of_before_have_the_optimizer_as_an_object():
    """And those of networks their dtype."""
    model, _, y = fitted("classifier")
    state = model.__getstate__() | {"_optimizer": model._optimizer}
    twin = MLPClassifier()
    twin.__setstate__(state)
    assert not np.shares_memory(twin._optimizer.vectors, model._optimizer.vectors)
    for each in (model, twin, pickle.loads(pickle.dumps(model))):
        each.random_state = 0
        each.partial_fit(X, y)
    assert same_bits(twin.network_.params, model.network_.params)
    net = bp.Network([2, 1], dtype="float32", seed=0)
    old = bp.Network([1, 1])
    old.__setstate__(net.__getstate__() | {"_dtype": np.dtype(np.float32)})
    assert same_bits(old.params, net.params)
    assert old.dtype == np.float32


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("name", ["classifier", "regressor", "several labels"])
def test_a_parameter_that_was_set_since_the_fit_is_none_of_a_copys_network(name, copied):
    """Which predicts as the original, whose network is the one that was fitted."""
    model, _, y = fitted(name)
    model = copy.deepcopy(model)  # the original is other tests'
    expected = model.predict(X)
    for activation in ("sine", ["exp", "exp"], "no activation"):
        model.set_params(activation=activation, dropout=0.5)
        twin = copied(model)
        assert twin.activation == activation
        assert "_settings" not in vars(twin)
        assert same_bits(model.predict(X), expected)
        assert same_bits(twin.predict(X), expected)
        assert same_bits(copied(twin).predict(X), expected)
    for each in (model, twin):
        each.set_params(activation="tanh", dropout=0.0, random_state=0).fit(X, y)
    assert same_bits(model.network_.params, twin.network_.params)


def test_a_function_of_ones_own_is_refused():
    """By skops, and as it writes: its files hold no code."""
    io = pytest.importorskip("skops.io")
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    with pytest.raises(TypeError, match="cannot pickle"):
        io.dumps(MLPRegressor(**SMALL | {"activation": cube}).fit(X, NUMBERS))
