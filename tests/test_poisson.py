"""Poisson's loss where outputs underflow: from logits, on every way on which a loss is computed."""

import mpmath
import numba
import numpy as np
import pytest
import sklearn.linear_model
from scipy import sparse

import fastbp as bp
from fastbp.neural_network import MLPRegressor
from tests import cases

OUTPUTS = ("exp", "softplus", "sigmoid", "softmax")
LOW = {"float32": -110.0, "float64": -800.0}


def exact(outputs, z, y):
    """The cost and dC/dz of one row, from numbers of many digits."""
    with mpmath.workdps(60):
        z = [mpmath.mpf(float(z_j)) for z_j in z]
        total = sum(map(mpmath.exp, z))
        values = {
            "exp": mpmath.exp, "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
            "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softmax": lambda x: mpmath.exp(x) / total,
        }  # fmt: skip
        slopes = {  # of log a
            "exp": lambda x: mpmath.mpf(1), "softplus": lambda x: 1 / (1 + mpmath.exp(-x)) / values["softplus"](x),
            "sigmoid": lambda x: 1 / (1 + mpmath.exp(x)),
        }  # fmt: skip
        a = [values[name](x) for name, x in zip(outputs, z, strict=True)]
        cost = sum(a_j - y_j * mpmath.log(a_j) for a_j, y_j in zip(a, y, strict=True))
        if outputs[0] == "softmax":
            return float(cost), [float(a_j * sum(y) - y_j) for a_j, y_j in zip(a, y, strict=True)]
        return float(cost), [
            float((a_j - y_j) * slopes[name](x)) for name, a_j, y_j, x in zip(outputs, a, y, z, strict=True)
        ]


def problem(output, dtype, *, n_rows):
    """A network whose outputs are exp and so on of its inputs, rows with logits near and far, and counts."""
    n = 3
    runs = [("exp", 1), ("softplus", 1), ("sigmoid", 1)] if output == "mixed" else output
    net = bp.Network([n, n], output=runs, loss="poisson", dtype=dtype, initializer="zeros")
    net.weights[0] = np.eye(n, dtype=dtype)
    low = LOW[dtype]
    X = np.resize(
        np.array([[low, 0.5, 2.0], [-1.0, low, low / 2], [0.25, -3.0, low], [-42.0, -38.0, -41.0]]), (n_rows, n)
    )
    Y = np.resize(np.array([[1.0, 0.0, 2.0], [3.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), (n_rows, n))
    names = ["exp", "softplus", "sigmoid"] if output == "mixed" else [output] * n
    results = [exact(names, x, y) for x, y in zip(X, Y, strict=True)]
    return net, X.astype(dtype), Y.astype(dtype), np.array([r[0] for r in results]), np.array([r[1] for r in results])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n_rows", [1, 3, 24])
@pytest.mark.parametrize("output", [*OUTPUTS, "mixed"])
def test_the_loss_is_computed_from_logits(output, n_rows, dtype):
    net, X, Y, costs, deltas = problem(output, dtype, n_rows=n_rows)
    rtol = {"rtol": 1e-5 if dtype == "float32" else 1e-13, "atol": 1e-6 if dtype == "float32" else 1e-15}
    gradient = np.concatenate([(X.T.astype(float) @ deltas).ravel(), deltas.sum(axis=0)]) / n_rows
    for inputs in (X, np.asfortranarray(X), sparse.csr_array(X)):
        assert net.loss_value(inputs, Y) == pytest.approx(costs.mean(), rel=rtol["rtol"])
        cost, grad = net.value_and_grad(inputs, Y)
        assert cost == pytest.approx(costs.mean(), rel=rtol["rtol"])
        np.testing.assert_allclose(grad, gradient, rtol["rtol"], np.abs(gradient).max() * rtol["rtol"])
    trace = net.trace(X, Y)
    assert trace.cost == pytest.approx(costs.mean(), rel=rtol["rtol"])
    np.testing.assert_allclose(trace.layers[-1].delta, deltas, **rtol)
    rate = 2.0**-10
    before = net.params.astype(float)
    history = net.fit(X, Y, epochs=1, batch_size=None, optimizer=bp.SGD(rate))
    assert history.loss[0] == pytest.approx(costs.mean(), rel=rtol["rtol"])
    np.testing.assert_allclose((before - net.params) / rate, gradient, rtol=1e-2 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("reuse_layers", [False, True])
@pytest.mark.parametrize("output", [*OUTPUTS, "mixed"])
def test_perturbation_sees_the_same_cost(output, reuse_layers):
    net, X, Y, _, deltas = problem(output, "float64", n_rows=4)
    gradient = np.concatenate([(X.T @ deltas).ravel(), deltas.sum(axis=0)]) / 4
    found = bp.finite_difference_gradient(net, X, Y, scheme="central", reuse_layers=reuse_layers).gradient
    np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


def test_estimators_are_scikit_learn_s_regression_and_survive_logits_far_out():
    """Without a hidden layer, exp is scikit-learn's log link."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = rng.poisson(np.exp(0.5 + X @ [0.6, -0.4])).astype(float)
    settings = {"hidden_layer_sizes": (), "loss": "poisson", "alpha": 0.0, "random_state": 0}
    model = MLPRegressor(**settings, solver="lbfgs", tol=1e-10, max_iter=5000).fit(X, y)
    theirs = sklearn.linear_model.PoissonRegressor(alpha=0.0, tol=1e-10, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0].ravel(), theirs.coef_, rtol=1e-4)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-4)
    model = MLPRegressor(**settings, solver="sgd", learning_rate_init=1e-12, dtype="float32")
    ones = np.ones((8, 1), "float32")
    model.partial_fit(ones, ones[:, 0])
    model.coefs_[0][...], model.intercepts_[0][...] = -200.0, 0.0
    model.partial_fit(ones, ones[:, 0])
    assert model.loss_curve_[-1] == pytest.approx(199.0, rel=1e-5)  # log 1 - z - 1 + exp(z)


def test_an_output_of_ones_own_is_still_computed_from_its_value():
    square = bp.Activation("square", numba.njit(lambda z: 1 + z * z), numba.njit(lambda z: 2 * z), positive=True)
    net = bp.Network([1, 2], output=[("exp", 1), (square, 1)], loss="poisson", initializer="zeros")
    net.biases[0] = [0.5, 2.0]
    cost, grad = net.value_and_grad([[0.0]], [[2.0, 3.0]])
    assert cost == pytest.approx(np.exp(0.5) - 2 * 0.5 + 5 - 3 * np.log(5), rel=1e-14)
    np.testing.assert_allclose(grad[2:], [np.exp(0.5) - 2, (1 - 3 / 5) * 4], rtol=1e-14)
