"""The bound that the documentation states for the gradient, on thousands of random networks, saturated ones too."""

import collections

import mpmath
import numpy as np
import pytest

import fastbp as bp
from tests import cases, problems
from tests.complex_step import cost_and_gradient
from tests.twins import network

N_NETWORKS = 2000
BOUND = 1e-12  # of a network's largest derivative
ULP = 2.0**-52
NEAR_TARGET = 1e-3  # a - y, which the two cross-entropies and Poisson's loss begin with, has three digits less
SMALLEST = 1e-200  # what the complex step itself can tell from 0


def random_problem(rng):
    """Any network with weights from a tenth of the usual size to fifteen times that, and a few rows."""
    case = problems.random_network_case(rng)
    n = int(rng.integers(1, 6))
    X, Y = problems.random_data(case, rng, n)
    params = problems.random_params(case, rng) * 10 ** rng.uniform(-1, 1.2)
    sample_weight = rng.uniform(0.2, 3, n) if rng.random() < 0.3 else None
    return problems.Problem(case, params, X, Y, sample_weight)


def moved(problem, rng):
    """The same with every number moved by one unit in the last place."""
    arrays = problem.params, problem.X, problem.Y
    return [array * (1 + ULP * rng.choice([-1, 1], array.shape)) for array in arrays]


def is_at_its_target(problem, net):
    """Whether every output is so near its target that their difference has lost digits."""
    if problem.case.loss not in ("cross_entropy", "poisson"):
        return False
    return np.abs(net.predict(problem.X) - problem.Y).max() < NEAR_TARGET


def judged(problem, rng):
    """How a network's gradient compares with the complex step's."""
    case, weights = problem.case, problem.sample_weight
    net = network(case, problem.params)
    cost, grad = net.value_and_grad(problem.X, problem.Y, sample_weight=weights)
    expected_cost, expected, rounding = cost_and_gradient(case, problem.params, problem.X, problem.Y, weights)
    if not (np.isfinite(expected_cost) and np.isfinite(expected).all()):
        return "overflow"
    if not (np.isfinite(cost) and np.isfinite(grad).all()):
        return "not finite"
    largest = np.abs(expected).max()
    error = (np.abs(grad - expected) - rounding - SMALLEST).max()
    if error <= BOUND * largest:
        return "held"
    condition = max(
        np.abs(cost_and_gradient(case, *moved(problem, rng), weights)[1] - expected).max() for _ in range(4)
    )
    if error <= 20 * condition:
        return "ill conditioned"
    return "at its target" if is_at_its_target(problem, net) else "above"


@pytest.mark.filterwarnings("ignore:`output=.softmax.` with one output")
def test_the_gradient_s_error_is_below_1e_12_of_its_largest_derivative():
    found = collections.Counter()
    with np.errstate(all="ignore"):
        for seed in range(N_NETWORKS):
            rng = np.random.default_rng(seed)
            problem = random_problem(rng)
            if problems.kink_distance(problem) > 1e-6:
                found[judged(problem, rng)] += 1
    assert not found["above"] + found["not finite"], found
    assert found["held"] > 0.99 * N_NETWORKS, found  # what is excused is rare


# ---- Saturated outputs, each against numbers of many digits ----------------------------------------------------------

SLOPES = {
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)) / (1 + mpmath.exp(z)),
    "tanh": lambda z: mpmath.sech(z) ** 2,
    "elu": lambda z: mpmath.exp(z) if z < 0 else mpmath.mpf(1),
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("name", SLOPES)
def test_the_derivative_of_a_saturated_output(name, n, dtype):
    """Three digits are lost at most, where a is just far enough from its limit."""
    largest = 40 if dtype == "float32" else 350
    z = np.linspace(-largest, largest, n + 2)[1:-1] if n > 1 else np.array([-30.0 if name == "elu" else 30.0])
    net = bp.Network([1, n], output=name, loss="quadratic", dtype=dtype, initializer="zeros")
    net.biases[0] = z.astype(dtype)
    X, Y = np.zeros((1, 1), dtype), np.full((1, n), 3.0, dtype)
    with mpmath.workdps(50):
        slopes = np.array([float(SLOPES[name](mpmath.mpf(float(value)))) for value in net.biases[0]])
    expected = (net.predict(X)[0].astype(float) - 3) * slopes
    gradients = [net.value_and_grad(X, Y)[1][n:], net.trace(X, Y).layers[0].delta[0]]
    for gradient in gradients:
        np.testing.assert_allclose(gradient, expected, rtol=1e-4 if dtype == "float32" else 3e-13)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_narrow_step_has_the_derivative_of_a_saturated_output(name, dtype):
    """Two steps of one row each; the weight begins at 0, so that it shows all their digits."""
    z = 15.0 if dtype == "float32" else 30.0
    net = bp.Network([2, 1], output=name, loss="quadratic", dtype=dtype, initializer="zeros")
    net.biases[0] = [z]
    X, Y = np.array([[0.0, 1.0]] * 2, dtype), np.full((2, 1), 3.0, dtype)
    with mpmath.workdps(50):
        expected = 2.0 * float(SLOPES[name](mpmath.mpf(z)))
    net.fit(X, Y, epochs=1, batch_size=1, optimizer=bp.SGD(1.0), shuffle=False)
    assert float(net.weights[0][1, 0]) == pytest.approx(2 * expected, rel=1e-5 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("loss", ["absolute", "quantile", "quadratic", "huber", "log_cosh"])
def test_softmax_that_is_saturated(loss):
    """Its whole Jacobian, with outputs that round to 1."""
    z = [0.0, -37.0, -45.0]
    net = bp.Network([1, 3], output="softmax", loss=loss, initializer="zeros")
    net.biases[0] = z
    Y = [[1.75, -0.5, 1.5]]
    with mpmath.workdps(120):

        def cost(*logits):
            total = sum(map(mpmath.exp, logits))
            d = [mpmath.exp(z_j) / total - y for z_j, y in zip(logits, Y[0], strict=True)]
            return sum(
                {
                    "absolute": abs, "quadratic": lambda x: x * x / 2, "log_cosh": lambda x: mpmath.log(mpmath.cosh(x)),
                    "quantile": lambda x: abs(x) / 2, "huber": lambda x: x * x / 2 if abs(x) < 1 else abs(x) - 0.5,
                }[loss](x) for x in d
            )  # fmt: skip

        h = mpmath.mpf(10) ** -20
        expected = []
        for j in range(3):
            sides = [cost(*(z_k + sign * h * (k == j) for k, z_k in enumerate(map(mpmath.mpf, z)))) for sign in (1, -1)]
            expected.append(float((sides[0] - sides[1]) / (2 * h)))
    np.testing.assert_allclose(net.value_and_grad([[0.0]], Y)[1][3:], expected, rtol=1e-13)
