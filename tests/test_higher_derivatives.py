"""Second and third derivatives of activations and losses: the built-in ones against mpmath, and a user's own."""

import math
import pickle
import re

import mpmath
import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.functions.activations import activation_entry
from fastbp.kernels.compiler import jit
from fastbp.kernels.functions.activations import activation_forward
from fastbp.kernels.functions.higher_derivatives import activation_derivatives
from fastbp.kernels.machine.pointers import at
from fastbp.kernels.tables import segment as in_segment
from tests import cases
from tests.reference import relative_error
from tests.twins import network

# ---- The built-in ones -----------------------------------------------------------------------------------------------

FORMULAS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: z if z > 0 else mpmath.mpf(0),
    "leaky_relu": lambda z: z if z > 0 else z * mpmath.mpf("0.01"),
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "sine": mpmath.sin,
    "exp": mpmath.exp,
}
NEAR = np.linspace(-5, 5, 31) + 0.0137  # where derivatives have roots: compared with the largest
FAR = np.array([-80.0, -30.0, -17.5, -9.0, -6.5, 6.5, 9.0, 17.5, 30.0, 80.0])  # there each with itself
RTOL_FAR = 1000.0  # of eps: exp(-z^2 / 2) at 30


@numba.njit(fastmath=jit.FAST_MATH, **jit._COMMON)
def all_derivatives(entry, z, a, d1, d2, d3):
    activation_forward(entry[in_segment.CODE], entry[in_segment.FORWARD], z.size, at(a, 0))
    activation_derivatives(at(entry, 0), 3, z.size, True, at(z, 0), at(a, 0), at(d1, 0), at(d2, 0), at(d3, 0))


def derivatives(activation, z):
    """f', f'' and f''' as the kernels have them."""
    code, forward, backward, _, second, third = activation_entry(activation, False, z.dtype)
    entry = np.zeros(in_segment.SEGMENT_COLUMNS, np.int64)
    entry[in_segment.CODE], entry[in_segment.FORWARD], entry[in_segment.BACKWARD] = code, forward, backward
    entry[in_segment.SECOND], entry[in_segment.THIRD] = second, third
    results = np.full((3, z.size), np.nan, z.dtype)
    all_derivatives(entry, z, z.copy(), *results)
    return results


def exact(name, z):
    """The same by mpmath, which expands f to many digits."""
    with mpmath.workdps(230):
        return np.array([[float(mpmath.diff(FORMULAS[name], mpmath.mpf(float(x)), n)) for x in z] for n in (1, 2, 3)])


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", cases.ACTIVATION_NAMES)
def test_built_in_activations_have_mpmaths_derivatives(name, dtype):
    eps, near = float(np.finfo(dtype).eps), NEAR.astype(dtype)
    found, expected = derivatives(name, near), exact(name, near)
    for k in range(3):
        largest = max(1.0, np.abs(expected[k]).max())
        np.testing.assert_allclose(found[k], expected[k], rtol=0, atol=20 * eps * largest)
    far = FAR.astype(dtype)
    found, expected = derivatives(name, far), exact(name, far)
    with np.errstate(over="ignore"):
        tiny = max(
            float(np.finfo(dtype).tiny) * 1e4, 1e-200
        )  # where the vectorised functions may give 0, or mpmath noise
    atol = 20 * eps if name == "sine" else tiny
    np.testing.assert_allclose(found, expected, rtol=RTOL_FAR * eps, atol=atol)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_at_a_kink_they_are_those_of_one_branch(dtype):
    zero = np.zeros(1, dtype)
    assert derivatives("relu", zero)[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert derivatives("leaky_relu", zero)[:, 0].tolist() == [float(np.asarray(0.01, dtype)), 0.0, 0.0]
    assert derivatives("elu", zero)[:, 0].tolist() == [1.0, 1.0, 1.0]


# ---- A user's own ----------------------------------------------------------------------------------------------------


@numba.njit
def tanh(z):
    return math.tanh(z)


@numba.njit
def d_tanh(z):
    return 1 / math.cosh(z) ** 2


@numba.njit
def d2_tanh(z):
    return -2 * math.tanh(z) / math.cosh(z) ** 2


@numba.njit
def d3_tanh(z):
    return (4 - 6 / math.cosh(z) ** 2) / math.cosh(z) ** 2


@numba.njit
def log_cosh(a, y):
    return math.log(math.cosh(a - y))


@numba.njit
def d_log_cosh(a, y):
    return math.tanh(a - y)


@numba.njit
def d2_log_cosh(a, y):
    return 1 / math.cosh(a - y) ** 2


@numba.njit
def raising(z):
    if z > 100:
        raise ValueError("too large")
    return -2 * math.tanh(z) / math.cosh(z) ** 2


@numba.njit
def raising_loss(a, y):
    if y > 100:
        raise ValueError("too large")
    return 1 / math.cosh(a - y) ** 2


TANH = bp.Activation("my tanh", tanh, d_tanh, d2f=d2_tanh, d3f=d3_tanh)
LOG_COSH = bp.Loss("my log cosh", log_cosh, d_log_cosh, second_derivative=d2_log_cosh)


def whole(message):
    """A pattern of a whole message."""
    return f"^{re.escape(message)}$"


def data(dtype="float64", n=6):
    rng = np.random.default_rng(4)
    return rng.standard_normal((n, 3)).astype(dtype), rng.standard_normal((n, 2)).astype(dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_own_activations_have_their_derivatives(dtype):
    z = NEAR.astype(dtype)
    np.testing.assert_allclose(derivatives(TANH, z), exact("tanh", z), atol=20 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(
    ("activation", "output", "loss", "twin_output", "twin_loss"),
    [
        (TANH, "identity", "quadratic", "identity", "quadratic"),
        ([[(TANH, 2), ("gelu", 3)]], TANH, "huber", "tanh", "huber"),
        ("tanh", "softmax", LOG_COSH, "softmax", "log_cosh"),
        (TANH, [("sigmoid", 1), (TANH, 1)], LOG_COSH, [("sigmoid", 1), ("tanh", 1)], "log_cosh"),
    ],
    ids=["hidden", "mixed", "loss of softmax", "everything"],
)
def test_products_of_own_functions_are_those_of_the_built_in(activation, output, loss, twin_output, twin_loss, dtype):
    X, Y = data(dtype)
    hidden = [[("tanh", 2), ("gelu", 3)]] if isinstance(activation, list) else "tanh"
    net = bp.Network([3, 5, 2], activation, output, loss, dtype=dtype, seed=1)
    twin = bp.Network([3, 5, 2], hidden, twin_output, twin_loss, dtype=dtype, seed=1)
    v = np.random.default_rng(2).standard_normal(net.n_params).astype(dtype)
    at, twins = net.linearize(X, Y), twin.linearize(X, Y)
    for found, expected in (
        (net.hvp(X, Y, v), twin.hvp(X, Y, v)),
        (net.gnvp(X, Y, v), twin.gnvp(X, Y, v)),
        (net.jvp(X, v), twin.jvp(X, v)),
        (at.hvp(v), twins.hvp(v)),
        (at.gnvp(v), twins.gnvp(v)),
    ):
        assert relative_error(found, expected) < cases.GRADIENT_RTOL[dtype]


def test_without_them_what_needs_them_is_refused():
    X, Y = data()
    plain = bp.Activation("plain", tanh, d_tanh)
    net = bp.Network([3, 5, 2], plain, seed=1)
    v = np.ones(net.n_params)
    for method, call in {
        "hvp": lambda: net.hvp(X, Y, v),
        "linearize": lambda: net.linearize(X, Y),
    }.items():
        message = (
            f"`{method}` needs `d2f` of bp.Activation 'plain', a derivative that it was made without. Pass d2f=..., a "
            "function compiled by Numba, when you make it."
        )
        with pytest.raises(ValueError, match=whole(message)):
            call()
    # first derivatives are all that the others need
    twin = bp.Network([3, 5, 2], "tanh", seed=1)
    np.testing.assert_allclose(net.gnvp(X, Y, v), twin.gnvp(X, Y, v), rtol=1e-12)
    np.testing.assert_allclose(net.fisher_vp(X, v), twin.fisher_vp(X, v), rtol=1e-12)
    np.testing.assert_allclose(net.jvp(X, v), twin.jvp(X, v), rtol=1e-12)
    losing = bp.Network([3, 5, 2], "tanh", loss=bp.Loss("plain", log_cosh, d_log_cosh), seed=1)
    for method, call in {
        "hvp": lambda: losing.hvp(X, Y, v),
        "gnvp": lambda: losing.gnvp(X, Y, v),
        "linearize": lambda: losing.linearize(X, Y),
    }.items():
        message = (
            f"`{method}` needs the second derivative of bp.Loss 'plain', which was made without. Pass "
            "second_derivative=..., a function (a, y) -> d2C/da2 compiled by Numba, when you make it."
        )
        with pytest.raises(ValueError, match=whole(message)):
            call()
    np.testing.assert_allclose(losing.jvp(X, v), twin.jvp(X, v), rtol=1e-13)


def test_wrong_ones_are_refused():
    for make, start in {
        lambda: bp.Activation("own", tanh, d_tanh, d2f=d3_tanh): "`d2f` must be the derivative of `df`; at ",
        lambda: bp.Activation("own", tanh, d_tanh, d2f=d2_tanh, d3f=tanh): "`d3f` must be the derivative of `d2f`; at ",
        lambda: bp.Activation("own", tanh, d_tanh, d3f=d3_tanh): "`d3f` of a bp.Activation must come with `d2f`, ",
        lambda: bp.Loss("own", log_cosh, d_log_cosh, log_cosh): (
            "`second_derivative` must be the derivative of `derivative`; at "
        ),
    }.items():
        with pytest.raises(ValueError, match=f"^{re.escape(start)}"):
            make()
    for name, make in {
        "d2f": lambda: bp.Activation("own", tanh, d_tanh, d2f=lambda z: z),
        "d3f": lambda: bp.Activation("own", tanh, d_tanh, d2f=d2_tanh, d3f=lambda z: z),
        "second_derivative": lambda: bp.Loss("own", log_cosh, d_log_cosh, lambda a, y: a),
    }.items():
        with pytest.raises(TypeError, match=f"^`{name}` of a bp.(Activation|Loss) must be a function compiled"):
            make()


def test_exceptions_within_them_are_errors_of_the_call():
    X, Y = data()
    rest = (
        "must return a number whatever it is given, because the kernels cannot pass on an exception; it raised one "
        "during this call. Return math.nan or math.inf there; called by itself, it raises the exception again."
    )
    net = bp.Network([3, 5, 2], bp.Activation("own", tanh, d_tanh, d2f=raising), seed=1)
    v = np.ones(net.n_params)
    expected = net.hvp(X, Y, v)
    for call in (lambda: net.hvp(1e4 * X, Y, v), lambda: net.linearize(1e4 * X, Y)):
        with pytest.raises(RuntimeError, match=whole(f"`d2f` of bp.Activation 'own' {rest}")):
            call()
    np.testing.assert_array_equal(net.hvp(X, Y, v), expected)  # and nothing is left of it
    assert np.isfinite(net.gnvp(1e4 * X, Y, v)).all()  # which does not call it
    net = bp.Network([3, 5, 2], "tanh", loss=bp.Loss("own", log_cosh, d_log_cosh, raising_loss), seed=1)
    for call in (lambda: net.hvp(X, 1e3 + Y, v), lambda: net.gnvp(X, 1e3 + Y, v), lambda: net.linearize(X, 1e3 + Y)):
        with pytest.raises(RuntimeError, match=whole(f"`second_derivative` of bp.Loss 'own' {rest}")):
            call()


def test_pickles_keep_them():
    X, Y = data()
    net = bp.Network([3, 5, 2], TANH, loss=LOG_COSH, seed=1)
    v = np.ones(net.n_params)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.hvp(X, Y, v), net.hvp(X, Y, v))
    copy = pickle.loads(pickle.dumps(TANH))
    assert copy.d2f is not None
    assert copy.d3f(0.5) == d3_tanh(0.5)


def test_a_network_of_a_case_takes_its_loss_parameter():
    case = cases.Case("", [3, 5, 2], loss="huber", loss_parameter=0.3)
    net = network(case)
    X, _ = data()
    near = net.predict(X) + 0.29
    far = net.predict(X) + 0.31
    v = np.ones(net.n_params)
    assert np.abs(net.gnvp(X, near, v)).max() > 0
    np.testing.assert_array_equal(net.gnvp(X, far, v), 0 * v)
