"""Every way through the kernels gives what the reference says, for every code, or says that it does not know it."""

from dataclasses import replace

import numpy as np
import pytest
import sklearn.neural_network as theirs

import fastbp as bp
from fastbp import neural_network as ours
from fastbp.derivatives.moves import Moves
from fastbp.engine import cutting
from fastbp.engine.calls import UnknownCodeError
from fastbp.engine.problem_frames import make_frame
from fastbp.functions import losses
from fastbp.kernels.jobs import known_codes
from fastbp.kernels.optimizers import updates
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment
from fastbp.model.checks import checked
from fastbp.model.definition import problem_of
from fastbp.training.optimizers import OPTIMIZERS
from fastbp.validation.data import Targets
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.twins import network

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)

# path: (mode, pieces, rows that the narrow passes train)
PATHS = {
    "narrow": (in_plan.BY_ROWS, 1, 1000),
    "rows": (in_plan.BY_ROWS, 1, 0),
    "pieces-of-rows": (in_plan.BY_ROWS, 3, 0),
    "neurons": (in_plan.BY_NEURONS, 1, 0),
    "features": (in_plan.BY_FEATURES, 2, 0),
}
SIZES, N_ROWS = [3, 5, 4], 12
CLIP = 1e-3
ACTIVATION_OF_CODE = {getattr(codes, row.name.upper()): row.name for row in cases.ACTIVATIONS} | {
    codes.SOFTMAX: "softmax"
}
LOSS_OF_CODE = {
    codes.QUADRATIC: "quadratic", codes.ABSOLUTE: "absolute", codes.HUBER: "huber", codes.LOG_COSH: "log_cosh",
    codes.POISSON: "poisson", codes.QUANTILE: "quantile",
    codes.SIGMOID_CROSS_ENTROPY: "cross_entropy", codes.SOFTMAX_CROSS_ENTROPY: "cross_entropy",
    codes.CLIPPED_SOFTMAX_CROSS_ENTROPY: "cross_entropy", codes.CLIPPED_SIGMOID_CROSS_ENTROPY: "cross_entropy",
    codes.POISSON_DEVIANCE: "poisson", codes.POISSON_OF_LOGITS: "poisson",
}  # fmt: skip
LOSS_PARAMETERS = {"huber": 0.7, "quantile": 0.8}
WRONG_CODES = (-1, codes.CUSTOM_ACTIVATION, 99)  # a code of one's own without the addresses of its functions is wrong


@pytest.fixture
def on_path(monkeypatch):
    """Have all work cut for one path."""

    def choose(path):
        mode, n_pieces, narrow_rows = PATHS[path]
        monkeypatch.setattr(cutting, "gradient_pieces", lambda *problem: (mode, n_pieces))
        monkeypatch.setattr(cutting, "_MOST_NARROW_ROWS", narrow_rows)
        monkeypatch.setattr(cutting, "_MOST_NARROW_PRODUCTS", 1e9)

    return choose


def fits(loss, output):
    """Whether a loss's code may follow an output activation's."""
    if loss in (codes.SOFTMAX_CROSS_ENTROPY, codes.CLIPPED_SOFTMAX_CROSS_ENTROPY):
        return output == codes.SOFTMAX
    if loss in (codes.SIGMOID_CROSS_ENTROPY, codes.CLIPPED_SIGMOID_CROSS_ENTROPY):
        return output == codes.SIGMOID
    if loss == codes.POISSON_DEVIANCE:
        return output == codes.EXP
    if loss == codes.POISSON_OF_LOGITS:
        return output in (codes.EXP, codes.SOFTPLUS, codes.SIGMOID, codes.SOFTMAX)
    return loss in LOSS_OF_CODE and output in ACTIVATION_OF_CODE


def one_step(net, X, Y, *, hidden, output, loss, optimizer=updates.SGD):
    """Gradient and cost, as a step of gradient descent with the learning rate 1 takes and reports them."""
    frame = make_frame(replace(problem_of(net), loss=(loss, 0, 0)), len(X), len(X), gradient=True)
    plan, scalars, segments = frame.workspace.plan, frame.scalars, frame.workspace.segments
    segments[:, in_segment.CODE] = hidden, output
    plan[[in_plan.OPTIMIZER, in_plan.BATCH_SIZE]] = optimizer, len(X)
    scalars[[in_scalars.LOSS_PARAMETER, in_scalars.CONSTANTS]] = LOSS_PARAMETERS.get(LOSS_OF_CODE.get(loss), CLIP), 0.0
    scalars[[in_scalars.POWER_1, in_scalars.POWER_2]] = 1.0
    frame.set_data(X, Targets(Y, None))
    params = net.params.copy()
    frame.run(entry.TRAIN, params, rates=np.ones(1))
    return scalars[in_scalars.COST_SUM] / scalars[in_scalars.WEIGHT_SUM], net.params - params


def expected_step(case, params, X, Y, loss):
    """The same by the reference."""
    grad = reference.gradient(case, params, X, Y)
    clipped = codes.CLIPPED_SOFTMAX_CROSS_ENTROPY, codes.CLIPPED_SIGMOID_CROSS_ENTROPY
    if loss not in (*clipped, codes.POISSON_DEVIANCE):
        return reference.cost(case, params, X, Y), grad
    a = reference.forward(case.sizes, case.neuron_activations, params, X)[1][-1]
    if loss == codes.POISSON_DEVIANCE:
        logs = np.where(Y > 0, Y * np.log(np.where(Y > 0, Y, 1) / a), 0)
        return (logs - Y + a).sum() / len(X), grad
    p = np.clip((Y * a).sum(axis=1) if loss == codes.CLIPPED_SOFTMAX_CROSS_ENTROPY else a, CLIP, 1 - CLIP)
    q = p if loss == codes.CLIPPED_SOFTMAX_CROSS_ENTROPY else Y * p + (1 - Y) * (1 - p)
    return -np.log(q).sum() / len(X), grad


def targets_for(loss, rng):
    """Targets that a loss's code takes: one-hot rows, zeros and ones, counts, or numbers."""
    if loss in (codes.SOFTMAX_CROSS_ENTROPY, codes.CLIPPED_SOFTMAX_CROSS_ENTROPY):
        return np.eye(SIZES[-1])[rng.integers(SIZES[-1], size=N_ROWS)]
    if loss in (codes.SIGMOID_CROSS_ENTROPY, codes.CLIPPED_SIGMOID_CROSS_ENTROPY):
        return rng.integers(2, size=(N_ROWS, SIZES[-1])).astype(float)
    return rng.poisson(2.0, (N_ROWS, SIZES[-1])).astype(float)


@dtypes
@pytest.mark.parametrize("path", PATHS)
def test_every_path_knows_every_code_or_says_so(path, dtype, on_path):
    """All losses with all output activations: the reference's step, or an error and nothing done."""
    on_path(path)
    rng = np.random.default_rng(1)
    positive = {"sigmoid", "softplus", "exp", "softmax"}
    tried = set()
    for loss in (*LOSS_OF_CODE, codes.CUSTOM_LOSS, -1, 99):
        for output in (*ACTIVATION_OF_CODE, *WRONG_CODES):
            name = ACTIVATION_OF_CODE.get(output, "identity")
            if loss == codes.POISSON and output in ACTIVATION_OF_CODE and name not in positive:
                continue  # the logarithm of a negative output: NaN in both
            loss_name = LOSS_OF_CODE.get(loss, "quadratic")
            parameter = LOSS_PARAMETERS.get(loss_name)
            case = cases.Case("", SIZES, "tanh", name, loss_name, loss_parameter=parameter)
            net = network(cases.Case("", SIZES, "tanh", name), problems.random_params(case, rng) / 2, dtype)
            X, Y = rng.standard_normal((N_ROWS, SIZES[0])).astype(dtype), targets_for(loss, rng).astype(dtype)
            before = net.params.copy()
            if not fits(loss, output):
                with pytest.raises(
                    UnknownCodeError, match="do not know the loss, an activation, the optimizer or the form of X"
                ):
                    one_step(net, X, Y, hidden=codes.TANH, output=output, loss=loss)
                assert np.array_equal(net.params, before)
                continue
            cost, grad = one_step(net, X, Y, hidden=codes.TANH, output=output, loss=loss)
            wanted_cost, wanted_grad = expected_step(case, before.astype(float), X.astype(float), Y.astype(float), loss)
            rtol = 20 * cases.VALUE_RTOL[dtype]
            assert abs(cost - wanted_cost) <= rtol * max(1, abs(wanted_cost)), (loss, name)
            assert relative_error(grad, wanted_grad) < rtol, (loss, name)
            tried.add(loss)
    assert tried == set(LOSS_OF_CODE)


@pytest.mark.parametrize("path", PATHS)
def test_hidden_layers_and_optimizers_of_unknown_codes(path, on_path):
    """Softmax in a hidden layer is such a code: the leaves would leave z unchanged."""
    on_path(path)
    net = network(cases.Case("", SIZES, "tanh", "identity"))
    X, Y = np.ones((N_ROWS, SIZES[0])), np.ones((N_ROWS, SIZES[-1]))
    for hidden in (*WRONG_CODES, codes.SOFTMAX):
        with pytest.raises(UnknownCodeError):
            one_step(net, X, Y, hidden=hidden, output=codes.IDENTITY, loss=codes.QUADRATIC)
    for optimizer in (-1, max(known_codes.OPTIMIZERS) + 1, 99):
        with pytest.raises(UnknownCodeError):
            one_step(net, X, Y, hidden=codes.TANH, output=codes.IDENTITY, loss=codes.QUADRATIC, optimizer=optimizer)


def test_the_codes_of_the_tables_are_those_that_the_kernels_know():
    assert {*known_codes.ELEMENTWISE_ACTIVATIONS, codes.SOFTMAX} == set(ACTIVATION_OF_CODE)
    assert {*known_codes.LOSSES_OF_OUTPUTS, *codes.LOSSES_FROM_LOGITS} == set(LOSS_OF_CODE)
    assert set(known_codes.OPTIMIZERS) == {rule.code for rule in OPTIMIZERS.values()}
    assert {facts.code for facts in losses.LOSSES.values()} | {codes.SIGMOID_CROSS_ENTROPY} <= set(LOSS_OF_CODE)


@pytest.mark.parametrize("path", PATHS)
def test_a_derivative_from_z_needs_z(path, on_path):
    """If an activation's z was not kept, the kernels would take a for z."""
    on_path(path)
    net = network(cases.Case("", SIZES, "tanh", "identity"))
    X, Y = np.ones((N_ROWS, SIZES[0])), np.ones((N_ROWS, SIZES[-1]))
    for hidden in (codes.GELU, codes.SILU, codes.SINE):
        with pytest.raises(UnknownCodeError):
            one_step(net, X, Y, hidden=hidden, output=codes.IDENTITY, loss=codes.QUADRATIC)


def test_perturbation_says_so_as_well():
    net = network(cases.Case("", SIZES, "tanh", "identity"))
    data = checked(net, np.ones((N_ROWS, SIZES[0])), np.ones((N_ROWS, SIZES[-1])), None)
    moves = Moves(net, *data, dtype=net.dtype, n_threads=1)
    moves._kernel._tables[2][in_plan.LOSS] = 99
    with pytest.raises(UnknownCodeError):
        moves.measure(0, np.arange(1), [np.ones(1)], [np.zeros(1)])


# ---- At random -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seed", range(12))
def test_random_networks_take_the_reference_s_steps(path, seed, on_path):
    """Some steps of one optimizer or another, with penalties and mixed activations, mini-batches of any size."""
    on_path(path)
    rng = np.random.default_rng(seed)
    dtype = cases.DTYPES[seed % 2]
    case = problems.random_network_case(rng)
    rule = cases.OPTIMIZER_CASES[rng.integers(len(cases.OPTIMIZER_CASES))]
    batch_rows = int(rng.integers(1, 8))
    if path == "features" and case.sizes[0] < 2:
        pytest.skip("one feature cannot be shared")
    problem = problems.random_problem(case, rng, 14).rounded(dtype)
    net = network(case, problem.params, dtype)
    net.fit(
        problem.X, problem.Y, epochs=1, batch_size=batch_rows, shuffle=False, clip_norm=rule.clip_norm,
        optimizer=getattr(bp, rule.kind)(**rule.hyper_parameters),
    )  # fmt: skip
    batches = [np.arange(first, min(first + batch_rows, 14)) for first in range(0, 14, batch_rows)]
    expected = reference.train(
        case, problem.params, problem.X, problem.Y, batches, rule.kind, rule.hyper_parameters, clip_norm=rule.clip_norm
    )
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL[dtype]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_small_estimators_are_scikit_learn_s(kind, batch_size):
    """Networks whose every layer is a vector or less, in mini-batches that are trained row by row or are not."""
    rng = np.random.default_rng(batch_size)
    for n_features, hidden, solver, activation, dtype in (
        (4, (4,), "adam", "relu", "float64"), (2, (3, 4), "sgd", "tanh", "float64"),
        (8, (8,), "adam", "logistic", "float32"),
        (3, (), "sgd", "identity", "float64"), (4, (5,), "adam", "tanh", "float64"),
    ):  # fmt: skip
        X = rng.standard_normal((22, n_features)).astype(dtype)
        y = {
            "binary": X[:, 0] > 0, "multiclass": np.arange(22) % 3, "multilabel": (X[:, :2] > 0).astype(int),
            "regression": X[:, 0] ** 2,
        }[kind]  # fmt: skip
        name = "MLPRegressor" if kind == "regression" else "MLPClassifier"
        settings = {
            "hidden_layer_sizes": hidden, "solver": solver, "activation": activation, "batch_size": batch_size,
            "max_iter": 8, "random_state": 3,
        }  # fmt: skip
        model, other = (getattr(library, name)(**settings).fit(X, y) for library in (ours, theirs))
        rtol = 1e-9 if dtype == "float64" else 2e-3
        assert model.loss_curve_ == pytest.approx(other.loss_curve_, rel=rtol)
        for mine, their in zip(model.coefs_, other.coefs_, strict=True):
            assert mine == pytest.approx(their, rel=rtol, abs=rtol)


def test_one_row_at_a_time_is_scikit_learn_s():
    """`partial_fit` as a stream calls it: small vectors, one row, three classes."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((60, 4))
    y = np.argmax(X[:, :3], axis=1)
    models = [library.MLPClassifier((4,), random_state=0) for library in (ours, theirs)]
    for i in range(60):
        for model in models:
            model.partial_fit(X[i : i + 1], y[i : i + 1], classes=[0, 1, 2])
    mine, their = models
    assert mine.loss_curve_ == pytest.approx(their.loss_curve_, rel=1e-9)
    assert mine.predict_proba(X) == pytest.approx(their.predict_proba(X), rel=1e-9)


def test_exclusive_or_with_the_default_batch_is_scikit_learn_s():
    """Four rows are a mini-batch of four by default; both stop after as many epochs."""
    X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    settings = {"activation": "tanh", "max_iter": 3000, "random_state": 1, "learning_rate_init": 0.1}
    mine, their = (library.MLPClassifier((4,), **settings).fit(X, y) for library in (ours, theirs))
    assert mine.n_iter_ == their.n_iter_
    assert mine.predict_proba(X) == pytest.approx(their.predict_proba(X), rel=1e-6)
