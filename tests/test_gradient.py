"""Value and gradient of `bp.Network` against the oracles: the reference, the complex step, differences, SciPy."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings

import fastbp as bp
from fastbp.engine import cutting
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.twins import network, reference_value_and_gradient, same_bits, twins, value_and_gradient

# Nearer to a kink than this, rounding the parameters to float32 may change the side.
FLOAT32_MARGIN = 1e-4
RANDOM_RTOL = 1e-9  # random networks may be badly scaled: a wide margin over rounding, far below any mistake
N_RANDOM = 200


def assert_agree(actual, expected, dtype="float64"):
    """Value and gradient agree to the rounding of a dtype."""
    (value, grad), (expected_value, expected_grad) = actual, expected
    assert isinstance(value, float)
    assert grad.dtype == dtype
    assert value == pytest.approx(expected_value, rel=cases.VALUE_RTOL[dtype], abs=cases.VALUE_RTOL[dtype])
    assert relative_error(grad, expected_grad) < cases.GRADIENT_RTOL[dtype]


# ---- The tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_reference(case, weighted, dtype):
    rng = np.random.default_rng(11)
    problem, net = twins(case, rng, 6, dtype, weighted=weighted, margin=FLOAT32_MARGIN)
    assert_agree(value_and_gradient(problem, net), reference_value_and_gradient(problem), dtype)
    loss = net.loss_value(problem.X, problem.Y, problem.sample_weight)
    assert loss == pytest.approx(reference.cost(*problem.arguments), rel=cases.VALUE_RTOL[dtype])


@pytest.mark.parametrize("case", cases.SMOOTH_CASES, ids=str)
def test_complex_step(case):
    problem, net = twins(case, np.random.default_rng(12), 3, weighted=True)
    _, grad = value_and_gradient(problem, net)
    assert relative_error(grad, reference.complex_step_gradient(*problem.arguments)) < cases.GRADIENT_RTOL["float64"]


@pytest.mark.parametrize("case", [case for case in cases.KINKED_CASES if case.n_params < 300], ids=str)
def test_fourth_order_differences(case):
    problem, net = twins(case, np.random.default_rng(13), 2, margin=cases.KINK_MARGIN)
    _, grad = value_and_gradient(problem, net)
    assert relative_error(grad, reference.fourth_order_gradient(*problem.arguments)) < cases.FOURTH_ORDER_RTOL


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("output", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "cross_entropy")])
def test_saturated_outputs_keep_their_digits(output, loss, dtype):
    case = cases.Case("saturated", [3, 4], output=output, loss=loss)
    z = np.array([[800.0, -800.0, 30.0, 0.0], [-40.0, 40.0, 41.0, -38.0], [1e4, 1e4, -1e4, 0.0]])
    params = reference.pack([(z, np.zeros(4))])
    Y = np.eye(4)[[1, 2, 0]]
    problem = problems.Problem(case, params, np.eye(3), Y).rounded(dtype)
    actual = value_and_gradient(problem, network(case, params, dtype))
    assert_agree(actual, reference_value_and_gradient(problem), dtype)


# ---- Random networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(0, N_RANDOM, 20))
def test_random_networks_against_complex_step(chunk):
    for seed in range(chunk, chunk + 20):
        rng = np.random.default_rng(seed)
        case = problems.random_network_case(rng)
        problem, net = twins(case, rng, 1 + seed % 3, weighted=seed % 2 == 0, margin=1e-9)
        _, grad = value_and_gradient(problem, net)
        error = relative_error(grad, reference.complex_step_gradient(*problem.arguments))
        assert error < RANDOM_RTOL, f"seed {seed}: {case}, {case.activation}, {case.output}"


@given(problem=problems.problems(margin=1e-9))
@settings(max_examples=100)
def test_random_networks_against_reference(problem):
    net = network(problem.case, problem.params)
    value, grad = value_and_gradient(problem, net)
    expected_value, expected_grad = reference_value_and_gradient(problem)
    assert value == pytest.approx(expected_value, rel=RANDOM_RTOL, abs=RANDOM_RTOL)
    assert relative_error(grad, expected_grad) < RANDOM_RTOL


@pytest.mark.parametrize("seed", range(5))
def test_directional_derivative_of_a_larger_network(seed):
    rng = np.random.default_rng(seed)
    case = cases.Case("larger", [20, 40, 30, 10], ["tanh", "silu"], "softmax", "cross_entropy", l2_penalty=0.01)
    problem, net = twins(case, rng, 8)
    direction = rng.standard_normal(case.n_params)
    _, grad = value_and_gradient(problem, net)
    expected = reference.directional_derivative(*problem.arguments[:4], direction)
    assert grad @ direction == pytest.approx(expected, rel=1e-11)


# ---- Many rows: blocks, pieces of rows, pieces of neurons ------------------------------------------------------------

# name: (case, rows, mode, several pieces, several blocks a piece); by neurons from 2^17 parameters on
LARGE = {
    "one-piece": (cases.Case("", [3, 6, 2]), 3000, in_plan.BY_ROWS, 1, 3),
    "pieces-of-rows": (cases.Case("", [20, 60, 5], "silu", "softmax", "cross_entropy"), 3000, in_plan.BY_ROWS, 8, 1),
    "pieces-of-blocks": (cases.Case("", [600, 40, 100], "tanh", "identity", "log_cosh"), 3000, in_plan.BY_ROWS, 8, 5),
    "pieces-of-neurons": (
        cases.Case(
            "", [30, 300, 400, 5], [[("tanh", 50), ("relu", 183), ("gelu", 67)], "softplus"], "softmax",
            "cross_entropy", l2_penalty=0.1, l1_penalty=0.01,
        ),
        1500, in_plan.BY_NEURONS, 1, 6,
    ),
    "one-block-of-neurons": (cases.Case("", [64, 340, 320, 10], "elu", "sigmoid"), 70, in_plan.BY_NEURONS, 1, 1),
    "rows-further-apart": (
        cases.Case("", [8, 1024, 4], [[("tanh", 500), ("gelu", 524)]], "softmax", "cross_entropy", 0.1), 60,
        in_plan.BY_NEURONS, 1, 1,
    ),
    "pieces-of-features": (
        cases.Case("", [400, 20, 12, 5], ["silu", "tanh"], "softmax", "cross_entropy", 0.1, 0.01), 200,
        in_plan.BY_FEATURES, 4, 1,
    ),
    "features-and-no-hidden-layer": (cases.Case("", [333, 3], (), "identity", "huber"), 256, in_plan.BY_FEATURES, 2, 1),
}  # fmt: skip


def large_twins(case, n, dtype="float64"):
    """As `twins`, without a look at kinks, which would take the slow reference through all rows."""
    rng = np.random.default_rng(17)
    problem = problems.Problem(
        case, problems.random_params(case, rng), *problems.random_data(case, rng, n), rng.random(n)
    )
    return problem.rounded(dtype), network(case, problem.params, dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", LARGE)
def test_many_rows_are_the_mean_of_few(name, dtype):
    case, n, mode, n_pieces, n_blocks = LARGE[name]
    problem, net = large_twins(case, n, dtype)
    assert cutting.gradient_pieces(case.sizes, n) == (mode, n_pieces)
    block_rows = cutting.block_rows_for(case.sizes, n, shared=mode != in_plan.BY_ROWS)
    assert -(-n // (n_pieces if mode == in_plan.BY_ROWS else 1) // block_rows) == n_blocks
    expected = mean_of_chunks(problem, net, 5)
    for n_threads in (1, 2):
        assert_agree(value_and_gradient(problem, net, n_threads=n_threads), expected, dtype)


def mean_of_chunks(problem, net, n_rows):
    """Value and gradient as the weighted mean over chunks of rows, each too small to be shared or cut."""
    assert cutting.gradient_pieces(net.sizes, n_rows) == (in_plan.BY_ROWS, 1)
    value, grad, total = 0.0, np.zeros(net.n_params), problem.sample_weight.sum(dtype=np.float64)
    for first in range(0, len(problem.X), n_rows):
        rows = slice(first, first + n_rows)
        w = problem.sample_weight[rows]
        chunk_value, chunk_grad = net.value_and_grad(problem.X[rows], problem.Y[rows], sample_weight=w, n_threads=1)
        share = w.sum(dtype=np.float64) / total
        value += share * chunk_value  # the penalties count once in each chunk, as they do in the batch
        grad += share * chunk_grad
    return value, grad


@pytest.mark.parametrize("name", ["pieces-of-rows", "one-block-of-neurons"])
def test_large_networks_against_the_reference(name):
    case, n, *_ = LARGE[name]
    problem, net = large_twins(case, n)
    rng = np.random.default_rng(19)
    rows = np.sort(rng.choice(n, 50, replace=False))
    sample_weight = np.zeros(n)
    sample_weight[rows] = 1.0  # all rows are passed, but few have a weight: the reference needs only those
    direction = rng.standard_normal(case.n_params)
    value, grad = net.value_and_grad(problem.X, problem.Y, sample_weight=sample_weight)
    few = case, problem.params, problem.X[rows], problem.Y[rows]
    assert value == pytest.approx(reference.cost(*few), rel=cases.VALUE_RTOL["float64"])
    assert grad @ direction == pytest.approx(reference.directional_derivative(*few, direction), rel=1e-10)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_layers_whose_rows_lie_further_apart(dtype):
    """Rows of 4096 bytes, or twice as many, have a gap behind them; the gradient beside NumPy's products."""
    sizes, n = [30, 1024, 512, 1024, 3], 300
    net = bp.Network(sizes, "tanh", "identity", "quadratic", dtype=dtype, seed=4)
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((n, sizes[0])).astype(dtype), rng.standard_normal((n, sizes[-1])).astype(dtype)
    frame = net._passes.training_frame(n, X)
    assert (frame.workspace.layers[:, in_layer.STRIDE] > sizes[1:]).tolist() == [True, dtype == "float64", True, False]
    a = [X.astype(np.float64)]
    for W, b in zip(net.weights, net.biases, strict=True):
        z = a[-1] @ W.astype(np.float64) + b
        a.append(z if len(a) == len(sizes) - 1 else np.tanh(z))
    delta, expected = (a[-1] - Y) / n, []
    for layer in range(len(sizes) - 2, -1, -1):
        expected = [(a[layer].T @ delta).ravel(), delta.sum(axis=0), *expected]
        delta = delta @ net.weights[layer].T.astype(np.float64) * (1 - a[layer] ** 2)
    for n_threads in (1, 2):
        _, grad = net.value_and_grad(X, Y, n_threads=n_threads)
        assert relative_error(grad, np.concatenate(expected)) < cases.GRADIENT_RTOL[dtype]


# ---- Arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_params_argument_leaves_the_network_alone(dtype):
    case = cases.NETWORK_CASES[7]
    problem, net = twins(case, np.random.default_rng(3), 4, dtype)
    before = net.params.copy()
    other = (problem.params * 0.5).astype(dtype)
    value, grad = net.value_and_grad(problem.X, problem.Y, other)
    assert same_bits(net.params, before)
    net.params = other
    again, same = net.value_and_grad(problem.X, problem.Y)
    assert value == again
    assert same_bits(grad, same)


def test_each_gradient_is_a_new_array():
    problem, net = twins(cases.NETWORK_CASES[3], np.random.default_rng(3))
    _, first = value_and_gradient(problem, net)
    kept = first.copy()
    net.params *= 2
    _, second = value_and_gradient(problem, net)
    assert not np.shares_memory(first, second)
    assert same_bits(first, kept)


def test_infinite_cost_has_a_gradient_of_nan():
    net = bp.Network([1, 1], initializer="zeros")
    net.params[0] = 1e200
    cost, grad = net.value_and_grad([[1.0]], [[1.0]])
    assert cost == np.inf
    assert np.isnan(grad).all()


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG"])
def test_scipy_minimizes_with_it(method):
    rng = np.random.default_rng(5)
    net = bp.Network([2, 3, 1], activation="tanh", seed=3, l2_penalty=1e-3)  # keeps the problem well conditioned
    X = rng.standard_normal((40, 2))
    Y = np.sin(X[:, :1]) * X[:, 1:]
    start = net.params.copy()
    result = scipy.optimize.minimize(lambda p: net.value_and_grad(X, Y, p), start, jac=True, method=method)
    assert result.fun < 0.2 * net.loss_value(X, Y)
    assert np.linalg.norm(result.jac) < 1e-3
    assert same_bits(net.params, start)


def test_scipy_solves_least_squares_exactly():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((30, 4))
    Y = rng.standard_normal((30, 2))
    net = bp.Network([4, 2], seed=0)
    result = scipy.optimize.minimize(
        lambda p: net.value_and_grad(X, Y, p), net.params, jac=True, method="BFGS", options={"gtol": 1e-10}
    )
    net.params = result.x
    solution = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), Y)[0]
    assert relative_error(net.weights[0], solution[:4]) < 1e-7
    assert relative_error(net.biases[0], solution[4]) < 1e-7
