"""What the estimators have beyond scikit-learn's."""

import copy
import pickle

import numba
import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.datasets import make_classification, make_regression
from sklearn.metrics import f1_score, log_loss, mean_squared_error
from sklearn.utils.class_weight import compute_sample_weight

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from tests.terminal import terminal

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"hidden_layer_sizes": (6, 5), "max_iter": 12, "random_state": 0, "learning_rate_init": 0.02, "batch_size": 16}
# Loss -> its value for predictions a, targets y, as the user's guide of each library has it; summed over outputs.
LOSSES = {
    "squared_error": lambda a, y: (a - y) ** 2 / 2,
    "absolute_error": lambda a, y: np.abs(a - y),
    "huber": lambda a, y: np.where(np.abs(a - y) <= 0.7, (a - y) ** 2 / 2, 0.7 * (np.abs(a - y) - 0.35)),
    "log_cosh": lambda a, y: np.log(np.cosh(a - y)),
    "quantile": lambda a, y: np.maximum(0.8 * (y - a), -0.2 * (y - a)),
    "poisson": lambda a, y: y * np.log(y / a) - y + a,
}


@pytest.fixture(scope="module")
def classes():
    return make_classification(96, 8, n_informative=5, n_classes=3, weights=[0.6, 0.3], random_state=1)


@pytest.fixture(scope="module")
def numbers():
    X, y = make_regression(96, 4, noise=5.0, random_state=1)
    return X, y / y.std()


def assert_same_model(one, other):
    assert one.loss_curve_ == other.loss_curve_
    for mine, theirs in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- Losses and gradients --------------------------------------------------------------------------------------------


def with_params(model, vector):
    """The model with its parameters set from one vector, weights first."""
    start = 0
    for array in model.coefs_ + model.intercepts_:
        array[...] = vector[start : start + array.size].reshape(array.shape)
        start += array.size
    return model


def loss_and_gradient(model, X, y, weights=None):
    """Functions of one parameter vector: the loss and its gradient."""
    flat = lambda arrays: np.concatenate([array.ravel() for array in arrays])  # noqa: E731
    value = lambda p: with_params(model, p).loss_gradient(X, y, weights)[0]  # noqa: E731

    def gradient(p):
        _, coefs, intercepts = with_params(model, p).loss_gradient(X, y, weights)
        return flat(coefs + intercepts)

    return value, gradient, flat(model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_its_gradient(loss, numbers):
    X, y = numbers
    y = np.exp(y) if loss == "poisson" else y
    penalties = {"alpha": 0.3, "l1_penalty": 0.2}
    model = MLPRegressor(loss, activation="tanh", quantile=0.8, huber_slope=0.7, **penalties, **QUICK).fit(X, y)
    weights = np.linspace(0.5, 2.0, len(X))
    value, gradient, p = loss_and_gradient(model, X, y, weights)
    W = np.concatenate([W.ravel() for W in model.coefs_])
    penalty = (0.15 * (W**2).sum() + 0.2 * np.abs(W).sum()) / weights.sum()
    expected = np.average(LOSSES[loss](model.predict(X), y), weights=weights) + penalty
    assert value(p) == pytest.approx(expected, rel=1e-12)
    assert check_grad(value, gradient, p, epsilon=1e-7) < 1e-4
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradient_of_a_classifier(n_classes, classes):
    X, y = classes[0], classes[1] % n_classes
    model = MLPClassifier(activation="tanh", alpha=0.1, **QUICK).fit(X, y)
    value, gradient, p = loss_and_gradient(model, X, y)
    W = np.concatenate([W.ravel() for W in model.coefs_])
    assert value(p) == pytest.approx(log_loss(y, model.predict_proba(X)) + 0.05 * (W**2).sum() / len(X), rel=1e-12)
    assert check_grad(value, gradient, p, epsilon=1e-7) < 1e-5


@pytest.mark.parametrize("kind", ["binary", "softmax", "outputs"])
def test_input_gradient(kind, classes, numbers):
    if kind == "outputs":
        X, y = numbers
        model = MLPRegressor(activation="tanh", **QUICK).fit(X, np.column_stack([y, -y]))
        outputs = model.predict
    else:
        X, y = classes[0], classes[1] % (2 if kind == "binary" else 3)
        model = MLPClassifier(activation="tanh", **QUICK).fit(X, y)
        outputs = model.predict_proba if kind == "softmax" else lambda X: model.predict_proba(X)[:, 1:]
    found, step = model.input_gradient(X[:7]), 1e-6
    assert found.shape == (7, model.n_outputs_, X.shape[1])
    for k in range(X.shape[1]):
        moved = step * np.eye(X.shape[1])[k]
        expected = (outputs(X[:7] + moved) - outputs(X[:7] - moved)) / (2 * step)
        np.testing.assert_allclose(found[:, :, k], expected, atol=1e-8)


def double_outputs(model, X):
    """tanh layers and a linear one in float64, whatever the dtype of the parameters."""
    a = X
    for layer, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        z = a @ W.astype(np.float64) + b
        a = z if layer == len(model.coefs_) - 1 else np.tanh(z)
    return a.ravel()


def test_double_rows_and_a_single_model_of_changing_parameters(numbers, monkeypatch):
    X, y = numbers
    model = MLPRegressor(activation="tanh", **QUICK).fit(X.astype(np.float32), y)
    assert model.coefs_[0].dtype == np.float32

    def check(model):
        for rows in (X, X[:1], X[3:5].tolist(), np.asfortranarray(X)):
            found = model.predict(rows)
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, double_outputs(model, np.asarray(rows)), rtol=1e-12, atol=1e-12)

    check(model)
    model.coefs_[0][...] *= 2  # in place, a view of it, another array of the list, a list of other arrays
    check(model)
    model.intercepts_[-1][:1] += 3
    check(model)
    model.coefs_[1] = model.coefs_[1] + np.float32(0.5)
    check(model)
    model.coefs_ = [W - np.float32(0.25) for W in model.coefs_]
    check(model)
    model.partial_fit(X.astype(np.float32), y)
    check(model)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.coefs_[0][...] = 1
        check(twin)
        check(model)
    model.set_params(hidden_layer_sizes=(3,)).fit(X.astype(np.float32), y)
    check(model)
    model.network_.params[...] = 0.1
    check(model)
    made = []
    monkeypatch.setattr(bp.Network, "__init__", lambda *arguments, **settings: made.append(arguments))
    check(model)
    assert made == []


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantile_loss_finds_the_quantile(quantile):
    y = np.random.default_rng(0).exponential(size=500)
    settings = {"hidden_layer_sizes": (), "alpha": 0.0, "max_iter": 300, "random_state": 0, "learning_rate_init": 0.01}
    model = MLPRegressor("quantile", quantile=quantile, **settings).fit(np.zeros((500, 1)), y)
    assert np.mean(y <= model.predict([[0.0]])) == pytest.approx(quantile, abs=0.02)


def test_a_loss_of_ones_own(numbers):
    half_square = bp.Loss("half square", numba.njit(lambda a, y: 0.5 * (a - y) ** 2), numba.njit(lambda a, y: a - y))
    own = MLPRegressor(half_square, **QUICK).fit(*numbers)
    np.testing.assert_allclose(own.loss_curve_, MLPRegressor(**QUICK).fit(*numbers).loss_curve_, rtol=1e-9)


# ---- Architecture ----------------------------------------------------------------------------------------------------


def test_an_activation_for_each_layer(numbers):
    X, y = numbers
    model = MLPRegressor(activation=["tanh", "logistic"], **QUICK).fit(X, y)
    a = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    a = 1 / (1 + np.exp(-(a @ model.coefs_[1] + model.intercepts_[1])))
    np.testing.assert_allclose(model.predict(X), (a @ model.coefs_[2] + model.intercepts_[2]).ravel())
    assert_same_model(MLPRegressor(activation=["relu", "relu"], **QUICK).fit(X, y), MLPRegressor(**QUICK).fit(X, y))


def test_activations_beyond_scikit_learns(numbers):
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    for activation in ("gelu", "leaky_relu", cube, [cube, "silu"]):
        model = MLPRegressor(activation=activation, **QUICK).fit(*numbers)
        assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_output_activation(numbers):
    X, y = numbers
    model = MLPRegressor(output_activation="softplus", **QUICK).fit(X, np.abs(y))
    assert model.out_activation_ == "softplus"
    assert (model.predict(X) > 0).all()
    poisson = MLPRegressor("poisson", output_activation="softplus", **QUICK).fit(X, np.abs(y))
    assert poisson.loss_curve_[-1] < poisson.loss_curve_[0]


def test_an_output_of_ones_own_is_known_by_no_name(numbers):
    """One that is called exp is none of which the kernels know that f' is f."""
    X, y = numbers
    own = bp.Activation("exp", *[numba.njit(lambda z: np.exp(z))] * 2, positive=True)
    model = MLPRegressor("poisson", output_activation=own, **QUICK).fit(X, np.abs(y))
    assert model.out_activation_ == "exp"
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_dtype_converts_once(classes):
    X, y = classes
    model = MLPClassifier(dtype="float32", **QUICK).fit(X, y)
    assert {array.dtype.name for array in model.coefs_ + model.intercepts_} == {"float32"}
    assert model.predict_proba(X).dtype == np.float32
    assert_same_model(model, MLPClassifier(**QUICK).fit(X.astype(np.float32), y))
    wide = MLPClassifier(dtype="float64", **QUICK).fit(X.astype(np.float32), y)
    assert wide.coefs_[0].dtype == np.float64
    small = MLPClassifier(dtype="float32", **QUICK | {"solver": "lbfgs"}).fit(X, y)
    assert small.coefs_[0].dtype == np.float32


def test_initializer(numbers):
    models = [MLPRegressor(initializer=name, **QUICK).fit(*numbers) for name in ("he_normal", "he_normal", "auto")]
    assert_same_model(models[0], models[1])
    assert models[0].loss_curve_ != models[2].loss_curve_


# ---- Regularisation --------------------------------------------------------------------------------------------------


def test_dropout(classes):
    X, y = classes
    one, two = (MLPClassifier(dropout=[0.5, 0.2], **QUICK).fit(X, y) for _ in range(2))
    assert_same_model(one, two)
    assert one.loss_curve_ != MLPClassifier(**QUICK).fit(X, y).loss_curve_
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert_same_model(MLPClassifier(dropout=0.0, **QUICK).fit(X, y), MLPClassifier(**QUICK).fit(X, y))


def test_l1_penalty_makes_weights_small(classes):
    sums = [
        sum(np.abs(W).sum() for W in MLPClassifier(l1_penalty=penalty, **QUICK).fit(*classes).coefs_)
        for penalty in (0.0, 1.0, 10.0)
    ]
    assert sums[0] > sums[1] > sums[2]


def test_clip_norm(numbers):
    X, y = numbers
    settings = QUICK | {"solver": "sgd", "momentum": 0.0, "max_iter": 1, "batch_size": 96, "learning_rate_init": 1.0}
    before = MLPRegressor(**settings | {"learning_rate_init": 1e-300}).fit(X, y)
    after = MLPRegressor(clip_norm=0.01, **settings).fit(X, y)
    pairs = zip(after.coefs_ + after.intercepts_, before.coefs_ + before.intercepts_, strict=True)
    assert np.sqrt(sum(((new - old) ** 2).sum() for new, old in pairs)) == pytest.approx(0.01)


def test_class_weight(classes):
    X, y = classes
    weighs = QUICK | {"weight_normalization": "data"}  # what `class_weight` alone chooses
    by_hand = MLPClassifier(**weighs).fit(X, y, np.array([1.0, 2.0, 5.0])[y])
    assert_same_model(MLPClassifier(class_weight={1: 2.0, 2: 5.0}, **QUICK).fit(X, y), by_hand)
    balanced = MLPClassifier(class_weight="balanced", **QUICK).fit(X, y)
    assert_same_model(balanced, MLPClassifier(**weighs).fit(X, y, compute_sample_weight("balanced", y)))
    doubled = MLPClassifier(class_weight={2: 2.0}, **QUICK).fit(X, y, 1.0 + y)
    assert_same_model(doubled, MLPClassifier(**weighs).fit(X, y, np.array([1.0, 2.0, 6.0])[y]))
    few = MLPClassifier(class_weight={1: 2.0, 2: 5.0}, **QUICK).partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert few.n_outputs_ == 3


# ---- Learning rates and going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_learning_rate_schedules(solver, classes):
    settings = QUICK | {"solver": solver}
    plain = MLPClassifier(**settings).fit(*classes)
    assert_same_model(MLPClassifier(learning_rate=bp.Constant(0.02), **settings).fit(*classes), plain)
    cosine = MLPClassifier(learning_rate=bp.Cosine(0.02), **settings).fit(*classes)
    assert cosine.loss_curve_ != plain.loss_curve_
    assert cosine._optimizer.learning_rate < 0.001  # at the end of the last epoch it is near 0


class Recording(bp.Schedule):
    """A schedule that takes note of the steps that it is asked for."""

    def __init__(self):
        self.calls = []

    def __call__(self, steps, horizon):
        self.calls.append((int(steps[0]), len(steps), horizon))
        return np.full(len(steps), 0.01)


class OfLength(bp.Schedule):
    """A schedule that returns so many rates more than there are steps."""

    def __init__(self, n_more):
        self.n_more = n_more

    def __call__(self, steps, horizon):
        return np.full(len(steps) + self.n_more, 0.01)


@pytest.mark.parametrize("n_more", [-1, 1])
def test_a_schedule_that_returns_other_than_one_number_a_step_is_refused(n_more, classes):
    model = MLPClassifier(learning_rate=OfLength(n_more), **QUICK)
    with pytest.raises(ValueError, match=rf"one number a step, shape \(6,\); .* returned shape \({6 + n_more},\)"):
        model.fit(*classes)


@pytest.mark.parametrize("keeps", [False, True])
def test_every_fit_goes_through_the_whole_schedule(keeps, classes):
    schedule = Recording()
    settings = QUICK | {"max_iter": 3, "batch_size": 50, "warm_start": True, "warm_start_optimizer": keeps}
    model = MLPClassifier(**settings).set_params(learning_rate=schedule)
    for _ in range(2):
        model.fit(*classes)
    assert schedule.calls == [(0, 2, 6), (2, 2, 6), (4, 2, 6)] * 2


def test_calls_of_partial_fit_go_through_one_schedule(classes):
    schedule = Recording()
    model = MLPClassifier(**QUICK | {"max_iter": 3, "batch_size": 50}).set_params(learning_rate=schedule)
    for _ in range(5):
        model.partial_fit(*classes, classes=np.unique(classes[1]))
    assert schedule.calls == [(first, 2, 6) for first in (0, 2, 4, 6, 8)]


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warm_start_that_keeps_the_optimizer(solver, classes):
    settings = QUICK | {"solver": solver, "shuffle": False, "warm_start": True}
    whole = MLPClassifier(**settings).fit(*classes)
    model = MLPClassifier(warm_start_optimizer=True, **settings | {"max_iter": 4})
    for _ in range(3):
        model.fit(*classes)
    assert_same_model(model, whole)
    forgetful = MLPClassifier(**settings | {"max_iter": 4})
    for _ in range(3):
        forgetful.fit(*classes)
    assert forgetful.loss_curve_ != whole.loss_curve_


# ---- Validation data -------------------------------------------------------------------------------------------------


def test_eval_set_records_its_loss(classes, numbers):
    X, y = classes
    model = MLPClassifier(**QUICK).fit(X[:60], y[:60], eval_set=(X[60:], y[60:]))
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert model.validation_loss_curve_[-1] == pytest.approx(log_loss(y[60:], model.predict_proba(X[60:])))
    assert model.validation_scores_ is None
    assert_same_model(model, MLPClassifier(**QUICK).fit(X[:60], y[:60]))
    X, y = numbers
    weights = np.linspace(1, 2, 36)
    regressor = MLPRegressor(**QUICK).fit(X[:60], y[:60], eval_set=(X[60:], y[60:], weights))
    expected = mean_squared_error(y[60:], regressor.predict(X[60:]), sample_weight=weights) / 2
    assert regressor.validation_loss_curve_[-1] == pytest.approx(expected)


def f1_macro(estimator, X, y, sample_weight=None):
    """A scorer as a function."""
    return f1_score(y, estimator.predict(X), average="macro", sample_weight=sample_weight)


@pytest.mark.parametrize("scoring", [None, "loss", "f1_macro", f1_macro], ids=["none", "loss", "name", "function"])
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_on_an_eval_set_returns_the_best_weights(scoring, weighted, classes):
    X, y = classes
    names = np.array(["a", "b", "c"])[y]
    weights = (np.linspace(1, 2, 36),) if weighted else ()
    settings = QUICK | {"max_iter": 200, "n_iter_no_change": 5, "learning_rate_init": 0.05, "early_stopping": True}
    model = MLPClassifier(scoring=scoring, **settings)
    model.fit(X[:60], names[:60], eval_set=(X[60:], names[60:], *weights))
    assert model.n_iter_ < 200
    assert model.t_ == 60 * model.n_iter_  # no row was set aside
    keywords = {"sample_weight": weights[0]} if weighted else {}
    score = {
        None: lambda: model.score(X[60:], names[60:], **keywords),
        "loss": lambda: -log_loss(names[60:], model.predict_proba(X[60:]), **keywords),
    }.get(scoring, lambda: f1_macro(model, X[60:], names[60:], **keywords))()
    assert score == pytest.approx(model.best_validation_score_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_


def test_scores_that_are_nan_are_never_the_best(classes):
    scores = iter([0.5, np.nan, 0.7, *[np.nan] * 50])
    model = MLPClassifier(early_stopping=True, scoring=lambda *_: next(scores), n_iter_no_change=4, **QUICK)
    model.set_params(max_iter=50).fit(*classes)
    assert model.best_validation_score_ == 0.7
    assert model.n_iter_ == 3 + 5


def test_scoring_without_eval_set(classes):
    settings = QUICK | {"early_stopping": True, "validation_fraction": 0.3}
    model = MLPClassifier(scoring="neg_log_loss", **settings).fit(*classes)
    loss = MLPClassifier(scoring="loss", **settings).fit(*classes)
    np.testing.assert_allclose(model.validation_scores_, loss.validation_scores_)


# ---- Looking on ------------------------------------------------------------------------------------------------------


def test_progress_bar(classes, capsys):
    with terminal() as stream:
        MLPClassifier(progress=True, **QUICK).fit(*classes)
    assert "12/12" in stream.getvalue()
    assert capsys.readouterr() == ("", "")


class Recorder:
    """A callback that records what it hears and may stop the fit."""

    def __init__(self, stop_after=None):
        self.heard, self.losses, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.heard.append(f"end {context.task_name}")
        self.losses.append(log_loss(y, fitted_estimator.predict_proba(X)))
        return self.stop_after is not None and len(self.losses) == self.stop_after


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn(solver, classes):
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    model = MLPClassifier(alpha=0.0, **QUICK | {"solver": solver, "max_iter": 4}).set_callbacks(recorder).fit(*classes)
    task = "epoch" if solver == "adam" else "iteration"
    n_tasks = 4 if solver == "adam" else 5  # the last iteration that SciPy announces never comes
    middle = [f"begin {task}", f"end {task}"] * n_tasks
    assert recorder.heard == ["setup", "begin fit", *middle, "end fit", "teardown"]
    assert recorder.losses == sorted(recorder.losses, reverse=True)
    assert recorder.losses[-1] == pytest.approx(log_loss(classes[1], model.predict_proba(classes[0])))


def test_a_fit_without_callbacks_needs_none_of_their_protocol(classes, monkeypatch):
    support = pytest.importorskip("sklearn.callback").CallbackSupportMixin

    def changed(self, *args, **kwargs):
        raise TypeError("an argument that is not known")

    monkeypatch.setattr(support, "_init_callback_context", changed)
    assert MLPClassifier(**QUICK).fit(*classes).n_iter_ > 0
    with pytest.raises(TypeError, match="not known"):
        MLPClassifier(**QUICK).set_callbacks(Recorder()).fit(*classes)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_can_stop_the_fit(solver, classes):
    pytest.importorskip("sklearn.callback")
    model = MLPClassifier(**QUICK | {"solver": solver}).set_callbacks(Recorder(stop_after=3)).fit(*classes)
    assert model.n_iter_ == 3
    again = MLPClassifier(**QUICK | {"solver": solver, "max_iter": 3}).fit(*classes)
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])


# ---- The loss's parameter in Network ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "parameter"), [("huber", 0.7), ("quantile", 0.8)])
def test_loss_parameter_of_a_network(loss, parameter):
    net = bp.Network([2, 3, 2], loss=loss, loss_parameter=parameter, seed=0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 2)), 3 * rng.standard_normal((20, 2))
    assert net.loss_value(X, Y) == pytest.approx(LOSSES[loss](net.predict(X), Y).sum() / 20, rel=1e-12)
    assert bp.check_gradient(net, X, Y).ok
    assert net.loss_parameter == parameter
    assert bp.Network([1, 1], loss=loss).loss_parameter == {"huber": 1.0, "quantile": 0.5}[loss]


@pytest.mark.parametrize(("loss", "parameter"), [("huber", 0.7), ("quantile", 0.8), ("quadratic", None)])
def test_a_file_keeps_the_loss_parameter(loss, parameter, tmp_path):
    net = bp.Network([2, 3, 1], loss=loss, loss_parameter=parameter, seed=0)
    net.save(tmp_path / "net.safetensors")
    assert bp.load(tmp_path / "net.safetensors").loss_parameter == parameter


def test_a_pickle_from_before_a_parameter_was_there(classes):
    """The parameter gets its default, so that the model can be fitted again."""
    model = MLPClassifier(**QUICK).fit(*classes)
    state = model.__getstate__()
    del state["weight_normalization"]
    again = MLPClassifier.__new__(MLPClassifier)
    again.__setstate__(state)
    assert again.weight_normalization == "auto"
    assert_same_model(again.fit(*classes), model)
