"""`MLPClassifier` and `MLPRegressor` beside scikit-learn's: the same seed gives the same numbers."""

import inspect
import io
from contextlib import redirect_stdout

import numpy as np
import pytest
import sklearn
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from threadpoolctl import threadpool_limits

from fastbp import neural_network as ours
from fastbp.engine import cutting

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1"),
    pytest.mark.filterwarnings("ignore:scipy.optimize. The `disp`:DeprecationWarning"),  # an older scikit-learn's
]

CURVE_RTOL = 1e-8  # of loss_curve_, float64
COEF_ATOL = 1e-6  # of coefs_ and intercepts_
EPOCHS = 30
N_ROWS, N_FEATURES = 90, 6


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_scikit_learn():
    """Products this small take NumPy's BLAS much longer with more threads than cores."""
    with threadpool_limits(1):
        yield


ATTRIBUTES = (
    "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_", "n_layers_",
    "n_outputs_", "out_activation_", "n_features_in_", "classes_",
)  # fmt: skip


def make(kind):
    """The data of a kind of target: X, y."""
    if kind == "multilabel":
        rng = np.random.default_rng(1)
        X = rng.standard_normal((N_ROWS, N_FEATURES))
        return X, (X @ rng.standard_normal((N_FEATURES, 3)) + rng.standard_normal((N_ROWS, 3)) > 0).astype(int)
    if kind in ("regression", "outputs", "poisson"):
        X, y = make_regression(N_ROWS, N_FEATURES, n_targets=3 if kind == "outputs" else 1, random_state=1, noise=3.0)
        return X, np.round(np.exp(y / 200)) if kind == "poisson" else y / 50
    n_classes = 2 if kind == "binary" else 3
    X, y = make_classification(N_ROWS, N_FEATURES, n_informative=4, n_classes=n_classes, random_state=1)
    return X, np.array(["ape", "bee", "cat"])[y] if kind == "strings" else y


def models(kind, **settings):
    """scikit-learn's model and ours."""
    name = "MLPRegressor" if kind in ("regression", "outputs", "poisson") else "MLPClassifier"
    settings = {"hidden_layer_sizes": (9, 5), "max_iter": EPOCHS, "random_state": 7} | settings
    if kind == "poisson":
        settings["loss"] = "poisson"
    return getattr(theirs, name)(**settings), getattr(ours, name)(**settings)


def assert_same(their, our, X):
    """All attributes and predictions of two fitted models agree."""
    for name in ATTRIBUTES:
        expected, found = getattr(their, name, "none"), getattr(our, name, "none")
        if isinstance(expected, float | list):
            np.testing.assert_allclose(found, expected, rtol=CURVE_RTOL, err_msg=name)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=name)
    for found, expected in zip(our.coefs_ + our.intercepts_, their.coefs_ + their.intercepts_, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=COEF_ATOL, rtol=0)
    expected, found = their.predict(X), our.predict(X)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if hasattr(our, "classes_"):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(our.predict_proba(X), their.predict_proba(X), atol=COEF_ATOL)
        np.testing.assert_allclose(np.exp(our.predict_log_proba(X)), our.predict_proba(X), atol=1e-12)
    else:
        np.testing.assert_allclose(found, expected, atol=COEF_ATOL)


KINDS = ("binary", "classes", "strings", "multilabel", "regression", "outputs", "poisson")
SETTINGS = {
    "defaults": {},
    "identity": {"activation": "identity"},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "sgd": {"solver": "sgd"},
    "without momentum": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum 1": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-5},
    "plain momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 2},
    "adam's constants": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "lbfgs": {"solver": "lbfgs", "max_iter": 15},
    "lbfgs, evaluations": {"solver": "lbfgs", "max_fun": 9, "activation": "tanh"},
    "online": {"batch_size": 1, "max_iter": 3},
    "batches of 7": {"batch_size": 7},
    "clipped batch": {"batch_size": 1000},
    "no penalty": {"alpha": 0.0},
    "penalty": {"alpha": 3.0, "batch_size": 20},
    "lbfgs, penalty": {"solver": "lbfgs", "alpha": 3.0, "max_iter": 15},
    "stopping": {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01},
    "stopping sgd": {"early_stopping": True, "solver": "sgd", "validation_fraction": 0.3, "shuffle": False},
    "tolerance": {"tol": 0.05, "n_iter_no_change": 2},
    "in order": {"shuffle": False, "batch_size": 20},
    "one hidden layer": {"hidden_layer_sizes": 4},
    "no hidden layer": {"hidden_layer_sizes": ()},
}


def they_stop_early(kind, settings):
    """Skip what scikit-learn 1.7.0 cannot do: look for NaN among predicted strings."""
    if sklearn.__version__ == "1.7.0" and kind == "strings" and settings.get("early_stopping"):
        pytest.skip("TypeError in scikit-learn 1.7.0")


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_fit(kind, settings):
    they_stop_early(kind, settings)
    X, y = make(kind)
    their, our = models(kind, **settings)
    assert_same(their.fit(X, y), our.fit(X, y), X)


WEIGHTED = ("defaults", "sgd", "lbfgs", "batches of 7", "penalty", "stopping", "no penalty")


@pytest.mark.parametrize("settings", WEIGHTED)
@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights(kind, settings):
    they_stop_early(kind, SETTINGS[settings])
    X, y = make(kind)
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.1, 3.0, len(X)) * (rng.random(len(X)) < 0.8)
    their, our = models(kind, **SETTINGS[settings])
    assert_same(their.fit(X, y, weights), our.fit(X, y, weights), X)


CONTINUED = ("defaults", "sgd", "lbfgs", "invscaling", "adaptive", "stopping", "batches of 7")


@pytest.mark.parametrize("settings", CONTINUED)
@pytest.mark.parametrize("kind", ["binary", "classes", "outputs"])
def test_warm_start(kind, settings):
    X, y = make(kind)
    for model in (pair := models(kind, **SETTINGS[settings] | {"warm_start": True, "max_iter": 6})):
        for _ in range(3):
            model.fit(X, y)
    assert_same(*pair, X)


@pytest.mark.parametrize("settings", ["defaults", "sgd", "invscaling", "adaptive", "batches of 7"])
@pytest.mark.parametrize("kind", ["binary", "classes", "multilabel", "outputs"])
def test_partial_fit(kind, settings):
    X, y = make(kind)
    pair = models(kind, **SETTINGS[settings])
    for model in pair:
        for call in range(12):
            rows = slice(call % 3 * 30, call % 3 * 30 + 30)
            first = {"classes": np.unique(y) if y.ndim == 1 else np.arange(3)} if call == 0 else {}
            model.partial_fit(X[rows], y[rows], **(first if hasattr(model, "predict_proba") else {}))
    assert_same(*pair, X)


def test_partial_fit_after_fit_keeps_the_optimizer():
    X, y = make("classes")
    for model in (pair := models("classes", max_iter=5)):
        model.fit(X, y)
        for _ in range(3):
            model.partial_fit(X, y)
    assert_same(*pair, X)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_random_state_is_advanced_as_by_scikit_learn(early_stopping):
    X, y = make("classes")
    sources = np.random.RandomState(3), np.random.RandomState(3)
    their, our = models("classes", early_stopping=early_stopping, max_iter=4)
    their.set_params(random_state=sources[0]).fit(X, y)
    our.set_params(random_state=sources[1]).fit(X, y)
    assert_same(their, our, X)
    assert sources[0].randint(1 << 30) == sources[1].randint(1 << 30)


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("settings", ["defaults", "lbfgs", "stopping", "in order"])
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix], ids=["array", "matrix"])
@pytest.mark.parametrize("most_density", [0.0, 1.0], ids=["made dense", "by numbers"])
def test_sparse_inputs(most_density, form, settings, container, monkeypatch):
    X, y = make("classes")
    X[np.abs(X) < 0.7] = 0
    S = container(X).asformat(form)
    monkeypatch.setattr(cutting, "_MOST_DENSITY", most_density)
    their, our = models("classes", **SETTINGS[settings] | {"batch_size": 10})
    assert_same(their.fit(S, y), our.fit(S, y), S)
    np.testing.assert_array_equal(our.predict(X), our.predict(S))
    np.testing.assert_allclose(our.predict_proba(X), our.predict_proba(S), rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_float32(kind, solver):
    X, y = make(kind)
    X = X.astype(np.float32)
    their, our = models(kind, solver=solver, max_iter=10)
    their.fit(X, y)
    our.fit(X, y)
    assert our.coefs_[0].dtype == their.coefs_[0].dtype
    np.testing.assert_allclose(our.loss_, their.loss_, rtol=1e-4)
    for inputs in (X, X.astype(np.float64), X.round().astype(np.int64)):
        found, expected = our.predict(inputs), their.predict(inputs)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(
            *((model.predict_proba(inputs) if kind == "classes" else model.predict(inputs)) for model in (our, their)),
            atol=1e-2,
        )


@pytest.mark.parametrize("settings", ["defaults", "stopping", "adaptive", "tolerance"])
def test_verbose_prints_the_same(settings):
    X, y = make("binary")
    printed = []
    for model in models("binary", verbose=True, **SETTINGS[settings]):
        with redirect_stdout(io.StringIO()) as stream:
            model.fit(X, y)
        printed.append(stream.getvalue())
    assert printed[0] == printed[1]
    assert printed[0].startswith("Iteration 1, loss = ")


def test_every_parameter_and_method_of_scikit_learn_is_there():
    for name in ("MLPClassifier", "MLPRegressor"):
        their, our = getattr(theirs, name), getattr(ours, name)
        parameters = inspect.signature(our).parameters
        for key, parameter in inspect.signature(their).parameters.items():
            assert parameters[key].default == parameter.default
            assert parameters[key].kind == parameter.kind
        public = {key for key in dir(their) if not key.startswith("_")}
        assert public <= set(dir(our))
        ordered = list(inspect.signature(their).parameters)
        assert list(parameters)[: len(ordered)] == ordered
