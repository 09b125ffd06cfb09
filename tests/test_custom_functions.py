"""A user's own activations and losses: twins of the built-in ones, mixed with them, refused where they are wrong."""

import math
import pickle
import sys

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.kernels.roots import entry
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.twins import network, same_bits, value_and_gradient


@numba.njit
def tanh(z):
    return math.tanh(z)


@numba.njit
def tanh_derivative(z):
    return 1 / math.cosh(z) ** 2


@numba.njit
def softplus(z):
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


@numba.njit
def logistic(z):
    return 1 / (1 + math.exp(-z))


@numba.njit
def leaky(z):
    return z if z > 0 else 0.01 * z


@numba.njit
def leaky_derivative(z):
    return 1.0 if z > 0 else 0.01


@numba.njit
def half_square(a, y):
    return (a - y) ** 2 / 2


@numba.njit
def difference(a, y):
    return a - y


@numba.njit
def log_cosh(a, y):
    return math.log(math.cosh(a - y))


@numba.njit
def tanh_of_difference(a, y):
    return math.tanh(a - y)


@numba.njit
def poisson(a, y):
    return a - y * math.log(a)


@numba.njit
def poisson_derivative(a, y):
    return 1 - y / a


TANH = bp.Activation("my tanh", tanh, tanh_derivative)
SOFTPLUS = bp.Activation("my softplus", softplus, logistic, positive=True)
LEAKY = bp.Activation("my leaky relu", leaky, leaky_derivative)
QUADRATIC = bp.Loss("my quadratic", half_square, difference)
LOG_COSH = bp.Loss("my log cosh", log_cosh, tanh_of_difference)
POISSON = bp.Loss("my poisson", poisson, poisson_derivative)

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
# the reference's twin, and what replaces its names
TWINS = {
    "hidden": (cases.Case("", [4, 6, 5, 3], "tanh"), {"activation": TANH}),
    "one-layer": (cases.Case("", [4, 6, 5, 3], ["leaky_relu", "gelu"]), {"activation": [LEAKY, "gelu"]}),
    "mixed": (
        cases.Case("", [4, 6, 5, 3], [[("tanh", 2), ("relu", 1), ("softplus", 3)], "tanh"]),
        {"activation": [[(TANH, 2), ("relu", 1), (SOFTPLUS, 3)], "tanh"]},
    ),
    "output": (
        cases.Case("", [4, 6, 3], "silu", [("softplus", 1), ("exp", 2)], "poisson"),
        {"output": [(SOFTPLUS, 1), ("exp", 2)]},
    ),
    "loss": (cases.Case("", [4, 6, 3], "tanh", "sigmoid", "quadratic"), {"loss": QUADRATIC}),
    "loss-of-softmax": (cases.Case("", [4, 6, 3], "tanh", "softmax", "log_cosh"), {"loss": LOG_COSH}),
    "everything": (
        cases.Case("", [4, 6, 3], "tanh", "softplus", "poisson", 0.1, 0.01),
        {"activation": TANH, "output": SOFTPLUS, "loss": POISSON},
    ),
}  # fmt: skip
twins = pytest.mark.parametrize("name", TWINS)


def pair(name, dtype, n=9):
    """A problem, the built-in network of it, and its twin of a user's functions."""
    case, own = TWINS[name]
    problem = problems.random_problem(case, np.random.default_rng(111), n, weighted=True, margin=1e-4).rounded(dtype)
    twin = bp.Network(case.sizes, **case.keywords | own, dtype=dtype)
    twin.params = problem.params
    return problem, network(case, problem.params, dtype), twin


@dtypes
@twins
def test_a_twin_has_the_same_value_and_gradient(name, dtype):
    problem, built_in, twin = pair(name, dtype)
    value, grad = value_and_gradient(problem, twin)
    assert grad.dtype == dtype
    assert value == pytest.approx(value_and_gradient(problem, built_in)[0], rel=cases.VALUE_RTOL[dtype])
    assert relative_error(grad, reference.gradient(*problem.arguments)) < cases.GRADIENT_RTOL[dtype]
    assert relative_error(twin.predict(problem.X), built_in.predict(problem.X)) < cases.VALUE_RTOL[dtype]
    for own, theirs in zip(
        twin.trace(problem.X, problem.Y).layers, built_in.trace(problem.X, problem.Y).layers, strict=True
    ):
        assert relative_error(own.delta, theirs.delta) < cases.GRADIENT_RTOL[dtype]


@dtypes
@twins
def test_a_twin_trains_the_same(name, dtype):
    problem, built_in, twin = pair(name, dtype)
    for net in (built_in, twin):
        net.fit(problem.X, problem.Y, epochs=5, batch_size=4, optimizer=bp.SGD(0.05, momentum=0.5), seed=2)
    assert relative_error(twin.params, built_in.params) < cases.TRAJECTORY_RTOL[dtype]


@dtypes
def test_a_wide_twin(dtype):
    """Pieces of neurons cut through the runs of one activation."""
    rng = np.random.default_rng(112)
    sizes, n = [40, 300, 300, 5], 100
    runs = [[("tanh", 70), ("relu", 130), ("softplus", 100)], "tanh"]
    own = [[(TANH, 70), ("relu", 130), (SOFTPLUS, 100)], TANH]
    X, Y = rng.standard_normal((n, 40)).astype(dtype), rng.standard_normal((n, 5)).astype(dtype)
    built_in = bp.Network(sizes, runs, seed=0, dtype=dtype)
    twin = bp.Network(sizes, own, loss=QUADRATIC, seed=0, dtype=dtype)
    cost, grad = built_in.value_and_grad(X, Y)
    for n_threads in (1, 2):
        twin_cost, twin_grad = twin.value_and_grad(X, Y, n_threads=n_threads)
        assert twin_cost == pytest.approx(cost, rel=cases.VALUE_RTOL[dtype])
        assert relative_error(twin_grad, grad) < cases.GRADIENT_RTOL[dtype]


def test_no_kernel_is_compiled_for_them():
    net = bp.Network([1, 2, 1], seed=0)
    net.fit([[1.0]], [[1.0]], epochs=1)
    before = list(entry.run.signatures)
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z * z))
    quartic = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))
    own = bp.Network([1, 2, 1], activation=cube, loss=quartic, seed=0)
    own.fit([[1.0]], [[1.0]], epochs=1)
    own.predict([[1.0]])
    assert entry.run.signatures == before


def test_a_function_is_compiled_once_for_each_dtype():
    own = bp.Activation("tanh once", tanh, tanh_derivative)
    first = own.addresses(np.dtype("float64"))
    assert own.addresses(np.dtype("float64")) == first
    assert own.addresses(np.dtype("float32")) != first


def test_pickled_with_its_network():
    problem, _, twin = pair("everything", "float64")
    again = pickle.loads(pickle.dumps(twin))
    assert same_bits(again.predict(problem.X), twin.predict(problem.X))


# ---- What fits and what does not -----------------------------------------------------------------------------------


def check(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_poisson_takes_own_activations_that_are_positive():
    bp.Network([2, 1], output=SOFTPLUS, loss="poisson")
    check(
        lambda: bp.Network([2, 1], output=TANH, loss="poisson"),
        ValueError,
        "`loss='poisson'` needs outputs that are positive: 'exp', 'softplus', 'sigmoid' or 'softmax'; got output "
        "'my tanh'.",
    )


@pytest.mark.parametrize(
    "name",
    [
        "my logistic",
        "sigmoid",
        "softmax",
    ],
)
def test_cross_entropy_takes_no_own_activation(name):
    """Its error a - y is that of the built-in functions."""
    half = bp.Activation(name, numba.njit(lambda z: z / 2), numba.njit(lambda z: 0.5))
    with pytest.raises(ValueError, match=r"^`loss='cross_entropy'` needs outputs that are probabilities"):
        bp.Network([2, 1], output=half, loss="cross_entropy")


def test_plain_python_functions_are_refused():
    rule = "must be a function compiled by Numba, because the kernels call it without Python; got function. "
    cure = "Put @numba.njit above its definition."
    check(
        lambda: bp.Activation("own", lambda z: z, tanh),
        TypeError,
        f"`f` of a bp.Activation {rule}{cure}",
    )
    check(lambda: bp.Activation("own", tanh, lambda z: z), TypeError, f"`df` of a bp.Activation {rule}{cure}")
    check(lambda: bp.Loss("own", lambda a, y: a, difference), TypeError, f"`value` of a bp.Loss {rule}{cure}")
    check(lambda: bp.Loss("own", half_square, lambda a, y: a), TypeError,
          f"`derivative` of a bp.Loss {rule}{cure}")  # fmt: skip


def test_wrong_derivatives_are_refused():
    check(
        lambda: bp.Activation("own", tanh, logistic),
        ValueError,
        "`df` must be the derivative of `f`; at 3.993 it gives 0.981897, and a central difference of `f` gives "
        "0.00135876 (wrong at 83 of 83 points).",
    )
    check(
        lambda: bp.Loss("own", half_square, tanh_of_difference),
        ValueError,
        "`derivative` must be the derivative of `value`; at 1.954 it gives 0.990761, and a "
        "central difference of `value` gives 2.6864 (wrong at 41 of 41 points).",
    )
    nowhere = numba.njit(lambda z: math.nan * z)
    check(
        lambda: bp.Activation("own", nowhere, nowhere),
        ValueError,
        "`f` must be finite somewhere between -4 and 4; it is not at any of 83 points.",
    )


def test_functions_that_are_not_defined_everywhere_are_checked_where_they_are():
    logarithm = bp.Activation("log", numba.njit(lambda z: math.log(z)), numba.njit(lambda z: 1 / z))
    net = bp.Network([1, 1], output=logarithm, initializer="zeros")
    net.biases[0][...] = math.e
    assert net.predict([[1.0]])[0, 0] == pytest.approx(1.0)


# ---- Exceptions ------------------------------------------------------------------------------------------------------


@numba.njit
def steep(z):
    if z > 50:
        raise ValueError("too steep")
    return z


@numba.njit
def steep_derivative(z):
    if z < -50:
        raise ValueError("too deep")
    return 1.0


@numba.njit
def gap(a, y):
    if a > 60:
        raise ValueError("too far")
    return (a - y) ** 2 / 2


@numba.njit
def gap_derivative(a, y):
    if a < -60:
        raise ValueError("too far below")
    return a - y


STEEP, GAP = bp.Activation("steep", steep, steep_derivative), bp.Loss("gap", gap, gap_derivative)


def raised(name, kind):
    return (
        f"`{name}` of bp.{kind} must return a number whatever it is given, because the kernels cannot pass on an "
        "exception; it raised one during this call. Return math.nan or math.inf there; called by itself, it raises the "
        "exception again."
    )


F, DF = raised("f", "Activation 'steep'"), raised("df", "Activation 'steep'")
VALUE, DERIVATIVE = raised("value", "Loss 'gap'"), raised("derivative", "Loss 'gap'")
ROWS = np.zeros((3000, 1))  # shared by threads
CALLS = {
    "predict a row": lambda net, x: net.predict([[x]]),
    "predict": lambda net, x: net.predict(ROWS + x),
    "cost": lambda net, x: net.loss_value([[x]], [[1.0]]),
    "gradient": lambda net, x: net.value_and_grad(ROWS + x, ROWS),
    "trace": lambda net, x: net.trace([[x]], [[1.0]]),
    "fit": lambda net, x: net.fit(ROWS + x, ROWS, epochs=2, optimizer=bp.SGD(1e-5)),
    "fit several epochs": lambda net, x: net.fit(ROWS[:4] + x, ROWS[:4], epochs=9, optimizer=bp.SGD(1e-5)),
    "fit all rows": lambda net, x: net.fit(ROWS + x, ROWS, epochs=2, batch_size=None, optimizer=bp.SGD(1e-5)),
    "step": lambda net, x: [net.step([[x]], [[0.0]], optimizer=bp.SGD(1e-5)) for _ in range(2)],
    "differences": lambda net, x: bp.finite_difference_gradient(net, [[x]], [[0.0]]),
    "nodes": lambda net, x: bp.node_perturbation(net, [[x]], [[0.0]]),
    "rates": lambda net, x: bp.find_learning_rate(net, ROWS + x, ROWS, highest=1e-5),
}
FORWARD_ONLY = {"predict a row", "predict", "cost", "differences", "nodes"}


def identity_of(kind, dtype):
    """A network of one number whose output is its input, in a hidden layer or in the loss of a user's own."""
    settings = {"activation": STEEP} if kind == "activation" else {"activation": "identity", "loss": GAP}
    net = bp.Network([1, 1, 1], **settings, dtype=dtype, seed=0)
    net.params = np.array([1, 0, 1, 0], dtype)
    return net


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["activation", "loss"])
def test_an_exception_of_theirs_is_an_error_of_the_call(kind, call, dtype, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROWS", ROWS.astype(dtype))
    net = identity_of(kind, dtype)
    CALLS[call](net, 3.0)
    net = identity_of(kind, dtype)
    before = net.params.copy()
    messages = {"activation": (F, DF), "loss": (VALUE, DERIVATIVE)}[kind]
    for x, message in zip((100.0, -100.0), messages, strict=True):
        if (message == DF and call in FORWARD_ONLY) or (kind == "loss" and call.startswith("predict")):
            continue
        if message == DERIVATIVE and call in FORWARD_ONLY:
            continue
        with pytest.raises(RuntimeError) as caught:
            CALLS[call](net, x)
        assert str(caught.value) == message
        assert np.array_equal(net.params, before)
        assert net.predict([[3.0]]) == 3.0  # the error was that call's
    CALLS[call](net, 3.0)


def test_an_exception_of_theirs_beside_another_network():
    """Networks that share an activation are told of what it raises in their own calls only, one after the other."""
    first = identity_of("activation", "float64")
    second = bp.Network([1, 1, 1], first.activations[0][0][0], seed=0)
    second.predict([[1.0]])
    with pytest.raises(RuntimeError):
        first.predict([[100.0]])
    assert np.isfinite(second.predict([[1.0]])).all()
    assert second.step([[1.0]], [[1.0]]) > 0


def test_numba_s_own_exceptions_are_errors_as_well():
    """Its division by zero is one, unless it is compiled with NumPy's rules."""
    inverse = bp.Activation("inverse", numba.njit(lambda z: 1 / z), numba.njit(lambda z: -1 / z**2))
    net = bp.Network([1, 1], output=inverse, initializer="zeros")
    with pytest.raises(RuntimeError, match=r"`f` of bp\.Activation 'inverse' must return a number"):
        net.predict([[1.0]])
    net.biases[0][0] = 2.0
    assert net.predict([[1.0]]) == 0.5


def test_names_in_the_representation():
    assert repr(bp.Network([2, 1], loss=QUADRATIC)) == "<Network 2-1, loss my quadratic, 3 parameters, float64>"
    assert bp.Network([2, 3, 1], activation=TANH).activations == (((TANH, 3),), (("identity", 1),))


def test_positive_must_be_a_bool():
    """A second derivative in its place would go unnoticed."""
    with pytest.raises(TypeError, match=r"`positive` of a bp.Activation must be True or False; got .*d2f="):
        bp.Activation("my softplus", softplus, logistic, logistic)
