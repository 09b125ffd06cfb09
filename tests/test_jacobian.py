"""Derivatives of outputs against the explicit Jacobian, also where outputs are so large that a - 1 is rounded to a."""

import numpy as np
import pytest

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.plotting import ActivationDisplay
from tests.reference_formulas import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_FEATURES, N_OUTPUTS = 3, 2
# What is added to the outputs' z: small ones, and beyond 2**24 and 2**53, where neighbouring numbers are 2 apart.
SHIFTS = {"float32": (0.0, 3e7, -3e7, 1e30), "float64": (0.0, 3e16, -3e16, 1e100)}
RTOL = {"float32": 1e-4, "float64": 1e-11}


def explicit_jacobian(model, output, X):
    """J = diag(f'(z_L)) W_L^T diag(f'(z_{L-1})) ... W_1^T of each sample, in double precision."""
    layers = [(W.astype(float), b.astype(float)) for W, b in zip(model.coefs_, model.intercepts_, strict=True)]
    names = ["tanh"] * (len(layers) - 1) + [output]
    jacobians = []
    for a in X.astype(float):
        J = np.eye(len(a))
        for (W, b), name in zip(layers, names, strict=True):
            z = a @ W + b
            if name == "softmax":
                a = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
                J = (np.diag(a) - np.outer(a, a)) @ W.T @ J
            else:
                a = np.array([ACTIVATIONS[name].value(z_k) for z_k in z])
                J = np.array([ACTIVATIONS[name].derivative(z_k) for z_k in z])[:, None] * W.T @ J
        jacobians.append(J)
    return np.array(jacobians)


def fitted(output, dtype, hidden=(5, 4)):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, N_FEATURES)).astype(dtype)
    settings = {"activation": "tanh", "dtype": dtype, "random_state": 0, "max_iter": 2}
    if output == "softmax":
        return MLPClassifier(hidden, **settings).fit(X, np.arange(20) % 3), X[:6]
    if output == "sigmoid":
        return MLPClassifier(hidden, **settings).fit(X, np.arange(20) % 2), X[:6]
    model = MLPRegressor("squared_error", hidden, output_activation=output, **settings)
    return model.fit(X, rng.random((20, N_OUTPUTS))), X[:6]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["identity", "relu", "leaky_relu", "softplus", "silu", "gelu"])
def test_input_gradient_of_large_outputs(output, dtype):
    model, X = fitted(output, dtype)
    for shift in SHIFTS[dtype]:
        model.intercepts_[-1][...] = shift + 0.3
        expected = explicit_jacobian(model, output, X)
        np.testing.assert_allclose(model.input_gradient(X), expected, rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize(("dtype", "largest"), [("float32", 87.0), ("float64", 700.0)])
def test_input_gradient_of_exponential_outputs(dtype, largest):
    model, X = fitted("exp", dtype)
    for z in (-largest, -3.0, 0.0, 20.0, 45.0, largest):
        model.coefs_[-1][...] /= 4  # so that the last z stays finite
        model.intercepts_[-1][...] = z - 1
        found, expected = model.input_gradient(X), explicit_jacobian(model, "exp", X)
        # an error of z is one of the exponential's relative error
        np.testing.assert_allclose(found / model.predict(X)[:, :, None], expected / explicit_outputs(model, X),
                                   rtol=1e-3 if dtype == "float32" else 1e-11, atol=RTOL[dtype])  # fmt: skip


def explicit_outputs(model, X):
    a = X.astype(float)
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        a = np.tanh(a @ W + b)
    return np.exp(a @ model.coefs_[-1].astype(float) + model.intercepts_[-1])[:, :, None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_input_gradient_of_probabilities(output, dtype):
    model, X = fitted(output, dtype)
    expected = explicit_jacobian(model, output, X)
    np.testing.assert_allclose(model.input_gradient(X), expected, rtol=RTOL[dtype], atol=0.1 * RTOL[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_input_gradient_against_torch(dtype):
    torch = pytest.importorskip("torch")
    model, X = fitted("identity", dtype)
    model.coefs_[-1][...] *= 1e6
    model.intercepts_[-1][...] = SHIFTS[dtype][1:3]
    parameters = [
        torch.tensor(p, dtype=torch.float64) for pair in zip(model.coefs_, model.intercepts_, strict=True) for p in pair
    ]

    def forward(x):
        W1, b1, W2, b2, W3, b3 = parameters
        return torch.tanh(torch.tanh(x @ W1 + b1) @ W2 + b2) @ W3 + b3

    rows = torch.tensor(X, dtype=torch.float64)
    expected = torch.stack([torch.autograd.functional.jacobian(forward, row) for row in rows]).numpy()
    np.testing.assert_allclose(model.input_gradient(X), expected, rtol=RTOL[dtype], atol=1e6 * RTOL[dtype])


def test_gradient_of_a_linear_model_is_its_coefficients():
    X = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    y = (3e7 + 1e6 * (X @ np.array([1, 2, 3], np.float32))).astype(np.float32)
    settings = {"solver": "lbfgs", "max_iter": 3000, "dtype": "float32", "random_state": 0}
    model = MLPRegressor(hidden_layer_sizes=(), **settings).fit(X, y)
    np.testing.assert_allclose(model.input_gradient(X)[:, 0], np.tile([1e6, 2e6, 3e6], (400, 1)), rtol=1e-5)


def test_outputs_without_a_derivative_are_refused():
    model, X = fitted("exp", "float32")
    model.intercepts_[-1][...] = 1e3
    with pytest.raises(ValueError, match="finite outputs") as caught:
        model.input_gradient(X)
    assert str(caught.value) == (
        "`X` must give finite outputs, because others have no derivative; row 0 gives NaN or infinity. Scale the "
        "inputs as those of `fit` were."
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slopes_of_large_activations(dtype):
    net = bp.Network([1, 2, 1], [[("exp", 1), ("identity", 1)]], initializer="zeros", dtype=dtype)
    net.biases[0][...] = np.log(1e25), 1e25
    report = bp.diagnose(net, np.ones((3, 1), dtype))
    np.testing.assert_allclose(report.layers[0].mean_slope, [1e25, 1.0], rtol=1e-4)
    assert report.ok


def test_drawn_derivatives_of_large_activations():
    display = ActivationDisplay.from_names(["identity", "exp", "softplus"], limits=(-200.0, 200.0))
    np.testing.assert_array_equal(display.curves["identity"][1], 1.0)
    np.testing.assert_allclose(*display.curves["exp"], rtol=1e-13)
    np.testing.assert_allclose(display.curves["softplus"][1], 1 / (1 + np.exp(-display.z)), rtol=1e-12)
    far = ActivationDisplay.from_names("relu", limits=(-1e17, 1e17))
    np.testing.assert_array_equal(far.curves["relu"][1], far.z > 0)
