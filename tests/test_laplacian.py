"""Laplacians, Hessians by the inputs and gradients of physics losses, against Taylor series and the complex step."""

import copy
import itertools
import json
import signal
import threading

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import frame
from fastbp.engine import input_derivatives as engine
from fastbp.system import memory
from tests import cases, jets
from tests.fresh import run_python
from tests.twins import same_bits

TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

MORE_CASES = (
    cases.Case("one-layer", [3, 2], output="softmax"),
    cases.Case("one-feature", [1, 9, 7, 2], "gelu"),
    cases.Case("many-features", [11, 4, 6, 3], "silu", "softmax"),
    cases.Case("one-layer-many-features", [7, 2], output="exp"),
    cases.Case("wide-layers", [2, 40, 37, 1], "tanh"),
    cases.Case("narrow-in-the-middle", [4, 9, 1, 9, 2], "sine", "tanh"),
)
OUTPUT_CASES = tuple(
    cases.Case(f"output-{name}", [3, 5, 4], "tanh", name) for name in (*cases.ACTIVATION_NAMES, "softmax")
)
CASES = (*cases.ACTIVATION_CASES, *OUTPUT_CASES, *cases.NETWORK_CASES, *MORE_CASES)
BENT_CASES = tuple(
    case
    for case in CASES
    if not {name for names in case.neuron_activations for name in names} <= {"identity", "relu", "leaky_relu"}
)


def network(case, dtype="float64", n_rows=13):
    """A network with weights that are not small, and inputs."""
    rng = np.random.default_rng(7)
    net = bp.Network(case.sizes, **case.keywords, dtype=dtype, seed=3)
    net.params = (net.params + 0.2 * rng.standard_normal(net.n_params)).astype(dtype)
    return net, rng.standard_normal((n_rows, case.sizes[0])).astype(dtype)


def close(actual, expected, dtype="float64"):
    """Compare with a tolerance that is relative to the largest number."""
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected.real, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max()))


def directions_of(case):
    """Every parameter by itself, or of many some random directions of length 1."""
    if case.n_params < 130:
        return np.eye(case.n_params)
    directions = np.random.default_rng(5).standard_normal((20, case.n_params))
    return directions / np.linalg.norm(directions, axis=1)[:, None]


def squared(u, du, lap):
    """A cost in which everything is multiplied by everything: sum of (lap + u sum du)^2 over rows and outputs."""
    return ((lap + u * du.sum(axis=2)) ** 2).sum() / len(u)


def squared_residual(X, u, du, lap):
    """The same as a residual."""
    s = du.sum(axis=2)
    r = lap + u * s
    return (r * r).sum(axis=1), 2 * r * s, (2 * r * u)[:, :, None] * np.ones_like(du), 2 * r


# ---- The oracle itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.ACTIVATION_NAMES)
def test_each_derivative_of_the_oracle_is_that_of_the_function_before(name):
    z = np.linspace(-3, 3, 41) + 0.0123
    functions = jets.complex_step.ACTIVATIONS[name], *jets.DERIVATIVES[name]
    for f, derivative in itertools.pairwise(functions):
        exact = f(z + 1j * jets.STEP).imag / jets.STEP
        np.testing.assert_allclose(derivative(z + 0j).real, exact, rtol=1e-12, atol=1e-14)


# ---- Derivatives by the inputs ---------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_first_derivatives_and_laplacians(case, dtype):
    net, X = network(case, dtype)
    params, X64, before = net.params.astype(float), X.astype(float), X.copy()
    value, jacobian, laplacian = jets.derivatives(case, params, X64)
    found = net.input_derivatives(X)
    close(found.value, value, dtype)
    close(found.jacobian, jacobian, dtype)
    close(found.laplacian, laplacian, dtype)
    close(net.laplacian(X), laplacian, dtype)
    close(net.input_hessian(X), jets.hessians(case, params, X64), dtype)
    assert same_bits(X, before)


@pytest.mark.parametrize("case", MORE_CASES, ids=str)
def test_fourth_order_differences_of_the_outputs(case):
    net, X = network(case)
    h, weights = 2e-3, {-2: -1, -1: 16, 0: -30, 1: 16, 2: -1}
    differences = sum(w * net.predict(X + k * h * axis) for axis in np.eye(X.shape[1]) for k, w in weights.items()) / (
        12 * h * h
    )
    np.testing.assert_allclose(net.laplacian(X), differences, rtol=1e-6, atol=1e-7)


def test_hessians_are_symmetric_and_have_the_laplacian_as_trace():
    net, X = network(MORE_CASES[2], n_rows=50)
    hessian = net.input_hessian(X)
    assert same_bits(hessian, hessian.transpose(0, 1, 3, 2).copy())
    close(np.trace(hessian, axis1=2, axis2=3), net.laplacian(X))


def test_networks_of_relu_are_pieces_of_planes():
    net, X = network(cases.Case("relu", [4, 8, 8, 2], "relu"))
    assert not net.laplacian(X).any()
    assert not net.input_hessian(X).any()
    assert net.input_derivatives(X).jacobian.any()


def test_a_laplacian_of_many_inputs_costs_no_more_than_the_first_layer_is_wide():
    """784 inputs and 5 neurons: 5 directions; compared with the trace of all second derivatives of a few."""
    net, X = network(cases.Case("784-5-3", [784, 5, 3], "tanh"), n_rows=3)
    made, make = [], engine.maker
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "maker", lambda n, **keywords: made.append(n) or make(n, **keywords))
        laplacian = net.laplacian(X)
    assert made == [5]
    close(laplacian, np.trace(net.input_hessian(X), axis1=2, axis2=3))


def test_what_predict_takes():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    net, X = network(MORE_CASES[2])
    X[np.abs(X) < 1] = 0
    for kind in (scipy_sparse.csr_array, np.ndarray.tolist, np.asfortranarray):
        close(net.laplacian(kind(X)), net.laplacian(X))
        close(net.input_derivatives(kind(X)).jacobian, net.input_derivatives(X).jacobian)
        close(net.input_hessian(kind(X)), net.input_hessian(X))
        _, grad = net.residual_value_and_grad(kind(X), squared_residual)
        close(grad, net.residual_value_and_grad(X, squared_residual)[1])
    strided = np.zeros((len(X), 2 * X.shape[1]))[:, ::2]
    strided[...] = X
    close(net.laplacian(strided), net.laplacian(X))


# ---- Gradients -------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("case", BENT_CASES, ids=str)
def test_gradients_of_physics_losses(case, dtype):
    net, X = network(case, dtype, n_rows=5)
    params, X64 = net.params.astype(float), X.astype(float)
    cost, grad = net.residual_value_and_grad(X, squared_residual)
    expected = squared(*jets.derivatives(case, params, X64)).real
    assert cost == pytest.approx(expected, rel=100 * TOLERANCE[dtype])
    directions = directions_of(case)
    close(grad @ directions.T.astype(dtype), jets.slopes(case, params, X64, squared, directions), dtype)


def test_first_derivatives_of_relu_networks_can_be_learned():
    case = cases.Case("relu", [3, 8, 6, 2], ["relu", "leaky_relu"])
    net, X = network(case)

    def cost(u, du, lap):
        return (du**2 + u[:, :, None]).sum()

    grad = net.linearize_inputs(X).gradient(np.full((len(X), 2), 3.0), 2 * net.input_derivatives(X).jacobian)
    close(grad, jets.slopes(case, net.params, X, cost, np.eye(net.n_params)))


def test_jax_agrees():
    jax = pytest.importorskip("jax")
    numpy = jax.numpy
    with jax.enable_x64(True):
        net, X = network(cases.Case("2-16-12-1", [2, 16, 12, 1], "tanh"), n_rows=30)

        def u(params, x):
            for W, b in params[:-1]:
                x = numpy.tanh(x @ W + b)
            return (x @ params[-1][0] + params[-1][1])[0]

        def cost(params):
            def laplacian(x):
                return numpy.trace(jax.hessian(u, 1)(params, x))

            return ((jax.vmap(laplacian)(numpy.asarray(X)) - 1) ** 2).mean()

        params = [(numpy.asarray(W), numpy.asarray(b)) for W, b in zip(net.weights, net.biases, strict=True)]
        expected, by_layer = jax.value_and_grad(cost)(params)
        gradient = np.concatenate([np.ravel(part) for layer in by_layer for part in layer])

    def residual(X, u, du, lap):
        return (lap[:, 0] - 1) ** 2, None, None, 2 * (lap - 1)

    found, grad = net.residual_value_and_grad(X, residual)
    assert found == pytest.approx(float(expected), rel=1e-12)
    close(grad, gradient)


def test_weights_are_how_often_a_row_counts():
    net, X = network(MORE_CASES[2])
    weights = np.arange(len(X)) % 3 * 1.0
    rows = np.repeat(np.arange(len(X)), weights.astype(int))
    cost, grad = net.residual_value_and_grad(X, squared_residual, sample_weight=weights)
    expected, of_copies = net.residual_value_and_grad(X[rows], squared_residual)
    assert cost == pytest.approx(expected, rel=1e-12)
    close(grad, of_copies)


def test_other_parameters_than_the_networks_own():
    net, X = network(MORE_CASES[2])
    other = copy.deepcopy(net)
    other.params = 0.7 * net.params
    before = net.params.copy()
    cost, grad = net.residual_value_and_grad(X, squared_residual, other.params)
    expected, of_other = other.residual_value_and_grad(X, squared_residual)
    assert cost == expected
    assert same_bits(grad, of_other)
    assert same_bits(net.params, before)


def test_neither_penalties_nor_dropout_count():
    settings = {"activation": "tanh", "seed": 0}
    plain = bp.Network([2, 6, 6, 1], **settings)
    net = bp.Network([2, 6, 6, 1], **settings, l2_penalty=0.3, l1_penalty=0.1, dropout=0.5)
    X = np.random.default_rng(0).standard_normal((9, 2))
    assert same_bits(net.laplacian(X), plain.laplacian(X))
    found, expected = (each.residual_value_and_grad(X, squared_residual) for each in (net, plain))
    assert found[0] == expected[0]
    assert same_bits(found[1], expected[1])


def test_the_axis_of_a_single_output_may_be_left_out():
    net, X = network(cases.Case("2-5-1", [2, 5, 1], "tanh"))

    def short(X, u, du, lap):
        terms, *errors = squared_residual(X, u, du, lap)
        return terms[:, None], *(error[:, 0] for error in errors)

    found, expected = (net.residual_value_and_grad(X, each) for each in (short, squared_residual))
    assert found[0] == expected[0]
    assert same_bits(found[1], expected[1])


def test_a_linearization_keeps_what_it_was_made_for():
    net, X = network(MORE_CASES[2])
    at = net.linearize_inputs(X)
    assert repr(at) == "<InputLinearization: 13 rows, 11 inputs, 3 outputs>"
    found = net.input_derivatives(X)
    for mine, expected in zip((at.value, at.jacobian, at.laplacian), found, strict=True):
        assert same_bits(mine, expected)
    errors = [np.ones_like(each) for each in found]
    before = at.gradient(*errors)
    X[...] = 0
    net.params = 0 * net.params
    at.laplacian[...] = 0
    for _ in range(2):
        assert same_bits(at.gradient(*errors), before)
    close(at.gradient(of_value=errors[0]) + at.gradient(None, errors[1]) + at.gradient(of_laplacian=errors[2]), before)


def test_a_linearization_serves_several_threads():
    net, X = network(MORE_CASES[4], n_rows=300)
    at = net.linearize_inputs(X)
    errors = [np.full((300, 1), float(k)) for k in range(4)]
    expected, found = [at.gradient(of_laplacian=error) for error in errors], [None] * 4

    def work(k):
        for _ in range(20):
            found[k] = at.gradient(of_laplacian=errors[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, theirs in zip(found, expected, strict=True):
        assert same_bits(mine, theirs)


# ---- Pieces, threads, memory -----------------------------------------------------------------------------------------


@dtypes
def test_threads_change_no_bit(dtype):
    net, X = network(cases.Case("3-64-64-2", [3, 64, 64, 2], "tanh"), dtype, n_rows=1500)
    results = []
    for n_threads in (1, 2, 3, None):
        cost, grad = net.residual_value_and_grad(X, squared_residual, n_threads=n_threads)
        few = X[:400], n_threads
        results.append(
            (
                np.array(cost),
                grad,
                net.laplacian(X, n_threads=n_threads),
                *net.input_derivatives(X, n_threads=n_threads),
                net.input_hessian(few[0], n_threads=n_threads),
                net.linearize_inputs(X, n_threads=n_threads).gradient(of_value=np.ones((1500, 2), dtype)),
            )
        )
    for other in results[1:]:
        assert all(map(same_bits, other, results[0]))


@dtypes
def test_a_forward_pass_that_is_made_again_has_the_same_bits(dtype, monkeypatch):
    case = cases.Case("3-64-64-2", [3, 64, 64, 2], [[("gelu", 30), ("tanh", 34)], "tanh"], "sigmoid")
    net, X = network(case, dtype, n_rows=300)
    expected = net.residual_value_and_grad(X, squared_residual)
    monkeypatch.setattr(engine, "_MOST_KEPT_BYTES", 0)
    again = copy.deepcopy(net).residual_value_and_grad(X, squared_residual)
    assert again[0] == expected[0]
    assert same_bits(again[1], expected[1])


def test_results_that_do_not_fit_are_refused(monkeypatch):
    net, X = network(cases.Case("400-3-2", [400, 3, 2], "tanh"), n_rows=300)
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
    n_bytes = 300 * 2 * 400 * 400 * 8
    with pytest.raises(MemoryError) as caught:
        net.input_hessian(X)
    assert str(caught.value) == (
        f"The second derivatives by the inputs would take {n_bytes} bytes (0.7 GiB) of memory, and 1048576 (0.0 GiB) "
        "are available. Pass fewer rows at a time."
    )


def test_small_and_large_calls_of_one_network_alternate():
    net, X = network(cases.Case("2-20-1", [2, 20, 1], "tanh"), n_rows=900)
    expected = [net.laplacian(X[:n]) for n in (1, 7, 900)]
    for _ in range(3):
        for n, result in zip((1, 7, 900), expected, strict=True):
            assert same_bits(net.laplacian(X[:n]), result)
            np.testing.assert_allclose(net.laplacian(X)[:n], result, rtol=1e-12, atol=1e-13)


PROGRAM = """
import json
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
X, results = rng.normal(size=(5, 3)), []
def residual(X, u, du, lap):
    r = lap + u
    return (r * r).sum(axis=1), 2 * r, du, 2 * r
for hidden, output in ((["tanh", [("gelu", 1), ("sine", 3)]], "identity"), (["softplus", "silu"], "softmax")):
    net = bp.Network([3, 4, 4, 2], hidden, output, seed=0)
    cost, grad = net.residual_value_and_grad(X, residual)
    for array in (cost, grad, net.laplacian(X), *net.input_derivatives(X), net.input_hessian(X)):
        results += np.ravel(array).tolist()
wide, X = bp.Network([9, 3, 2], "tanh", seed=0), rng.normal(size=(3, 9))
results += wide.laplacian(X).ravel().tolist() + wide.input_hessian(X[:1]).ravel().tolist()
print(json.dumps(results))
"""


def test_plain_python_agrees_with_compiled():
    plain, compiled = (json.loads(run_python(PROGRAM, NUMBA_DISABLE_JIT=disabled)) for disabled in "10")
    np.testing.assert_allclose(plain, compiled, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends signals")
def test_calls_can_be_interrupted(monkeypatch):
    """Again and again, until a signal's handler raises: within a call or between two."""

    class StopError(Exception):
        pass

    def handler(*_):
        raise StopError

    def many(call):
        while True:
            call()

    net, X = network(cases.Case("9-64-64-2", [9, 64, 64, 2], "tanh"), n_rows=2000)
    at = net.linearize_inputs(X)
    calls = (
        lambda: net.laplacian(X),
        lambda: net.input_hessian(X),
        lambda: net.residual_value_and_grad(X, squared_residual),
        lambda: at.gradient(of_laplacian=at.laplacian),
    )
    monkeypatch.setattr(frame, "LONG_CALL", 0.0)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for call in calls:
            expected = call()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(StopError):
                many(call)
            again = call()
            assert all(map(same_bits, map(np.asarray, again), map(np.asarray, expected)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- Functions of the user's -----------------------------------------------------------------------------------------


@numba.njit
def sine(z):
    return np.sin(z)


@numba.njit
def cosine(z):
    return np.cos(z)


@numba.njit
def minus_sine(z):
    return -np.sin(z)


@numba.njit
def minus_cosine(z):
    return -np.cos(z)


@dtypes
def test_own_activations_with_all_derivatives(dtype):
    own = bp.Activation("my sine", sine, cosine, d2f=minus_sine, d3f=minus_cosine)
    net, X = network(cases.Case("built in", [3, 6, 5, 2], [[("sine", 2), ("tanh", 4)], "sine"]), dtype)
    twin = bp.Network([3, 6, 5, 2], [[(own, 2), ("tanh", 4)], own], dtype=dtype)
    twin.params = net.params
    for mine, theirs in zip(twin.input_derivatives(X), net.input_derivatives(X), strict=True):
        close(mine, theirs, dtype)
    close(twin.laplacian(X), net.laplacian(X), dtype)
    close(twin.input_hessian(X), net.input_hessian(X), dtype)
    found, expected = (each.residual_value_and_grad(X, squared_residual)[1] for each in (twin, net))
    close(found, expected, dtype)


def test_own_activations_without_derivatives_are_refused():
    message = (
        "`{}` needs `{}` of bp.Activation 'my sine', a derivative that it was made without. Pass {}=..., a function "
        "compiled by Numba, when you make it."
    )
    bare, more = bp.Activation("my sine", sine, cosine), bp.Activation("my sine", sine, cosine, d2f=minus_sine)
    net = bp.Network([2, 3, 1], bare)
    for method in ("laplacian", "input_derivatives", "input_hessian", "linearize_inputs"):
        with pytest.raises(ValueError, match="d2f") as caught:
            getattr(net, method)(np.ones((1, 2)))
        assert str(caught.value) == message.format(method, "d2f", "d2f")
    net = bp.Network([2, 3, 1], more)
    net.laplacian(np.ones((1, 2)))
    with pytest.raises(ValueError, match="d3f") as caught:
        net.residual_value_and_grad(np.ones((1, 2)), squared_residual)
    assert str(caught.value) == message.format("residual_value_and_grad", "d3f", "d3f")


def test_an_exception_in_an_own_derivative_is_an_error():
    @numba.njit
    def raising(z):
        if z > 50:
            raise ValueError
        return -np.sin(z)

    net = bp.Network([1, 1], output=bp.Activation("fragile", sine, cosine, d2f=raising), initializer="zeros")
    net.params = [1.0, 0.0]
    assert net.laplacian([[1.0]])[0, 0] == pytest.approx(-np.sin(1))
    with pytest.raises(RuntimeError, match=r"^`d2f` of bp.Activation 'fragile' must return a number"):
        net.laplacian([[100.0]])


# ---- Wrong input -----------------------------------------------------------------------------------------------------

GOOD = (np.ones(4), np.ones((4, 2)), np.ones((4, 2, 3)), np.ones((4, 2)))
FOUR = (
    "`residual` must return four things: the cost of each row (n,) and the cost's derivatives by u (n, n_outputs), du "
    "(n, n_outputs, n_features) and lap (n, n_outputs), None for those that are 0; got {}."
)
NOT_FINITE = "`residual(...)[1]` must be finite; found {} at (1, 0). Impute or drop such rows."


def with_one(place, value):
    """A right answer with one wrong thing."""
    return tuple(value if k == place else each for k, each in enumerate(GOOD))


def not_finite():
    values = np.ones((4, 2))
    values[1, 0] = np.nan
    return values


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, FOUR.format("NoneType")),
        (GOOD[0], TypeError, FOUR.format("ndarray")),
        (GOOD[:3], ValueError, FOUR.format(3)),
        (
            with_one(0, np.ones(5)),
            ValueError,
            "`residual(...)[0]` must be the cost of each row, of shape (4,); got shape (5,).",
        ),
        (
            with_one(1, np.ones((4, 1))),
            ValueError,
            "`residual(...)[1]` must have the shape (4, 2) of what it is the derivative by; got (4, 1).",
        ),
        (
            with_one(2, np.ones((4, 3, 2))),
            ValueError,
            "`residual(...)[2]` must have the shape (4, 2, 3) of what it is the derivative by; got (4, 3, 2).",
        ),
        (
            with_one(3, np.ones(4)),
            ValueError,
            "`residual(...)[3]` must have the shape (4, 2) of what it is the derivative by; got (4,).",
        ),
        (with_one(1, not_finite()), ValueError, NOT_FINITE.format("nan")),
        (
            with_one(3, np.ones((4, 2), np.float32)),
            TypeError,
            "`residual(...)[3]` must have the network's dtype float64, because nothing is converted between float "
            "types silently; got float32. Convert it with .astype('float64'), or build the network with "
            "dtype='float32'.",
        ),
    ],
)
def test_what_a_residual_returns_is_checked(returned, error, message):
    net = bp.Network([3, 4, 2], "tanh", seed=0)
    with pytest.raises(error) as caught:
        net.residual_value_and_grad(np.ones((4, 3)), lambda *_: returned)
    assert str(caught.value) == message
    cost, grad = net.residual_value_and_grad(np.ones((4, 3)), lambda *_: GOOD)  # nothing is broken
    assert cost == 1
    assert np.isfinite(grad).all()


def test_wrong_arguments():
    net, X = bp.Network([3, 4, 2], "tanh", seed=0), np.ones((4, 3))
    with pytest.raises(TypeError, match=r"^`residual` must be a function \(X, u, du, lap\); got int\.$"):
        net.residual_value_and_grad(X, 3)
    for method in (net.laplacian, net.input_derivatives, net.input_hessian, net.linearize_inputs):
        with pytest.raises(ValueError, match=r"^`X` must have shape \(n_samples, 3\) to fit the first layer; got"):
            method(X[:, :2])
        with pytest.raises(ValueError, match=r"^`X` must be finite; found nan at \(0, 0\)"):
            method(np.nan * X)
        with pytest.raises(TypeError, match=r"^`X` must have the network's dtype float64"):
            method(X.astype(np.float32))
        with pytest.raises(ValueError, match="`n_threads` must be"):
            method(X, n_threads=0)
    with pytest.raises(ValueError, match=r"^`params` must have shape \(26,\), as `net\.params` has; got \(3,\)\.$"):
        net.linearize_inputs(X, params=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"^`sample_weight` must have shape \(4,\)"):
        net.residual_value_and_grad(X, squared_residual, sample_weight=[1.0])
    with pytest.raises(ValueError, match=r"^One of `of_value`, `of_jacobian` and `of_laplacian` must be given; got n"):
        net.linearize_inputs(X).gradient()
    with pytest.raises(ValueError, match=r"^`of_jacobian` must have the shape \(4, 2, 3\) of what it is the derivati"):
        net.linearize_inputs(X).gradient(of_jacobian=np.ones((4, 3, 2)))


def test_laplacians_of_pieces_of_lines_cannot_be_learned():
    net = bp.Network([3, 4, 2], "relu", seed=0)
    with pytest.raises(ValueError, match="Laplacian") as caught:
        net.residual_value_and_grad(np.ones((4, 3)), squared_residual)
    assert str(caught.value) == (
        "The derivative by the Laplacian must be None for a network whose activations are all pieces of lines "
        "(identity, relu, leaky_relu): its Laplacian is 0 whatever the parameters are, so that nothing can be learned "
        "from it. Use tanh, sine, silu, gelu or softplus."
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cost_that_is_not_finite_has_no_gradient(bad):
    net, X = network(cases.Case("2-5-1", [2, 5, 1], "tanh"))

    def residual(X, u, du, lap):
        terms = np.ones(len(X))
        terms[3] = bad
        return terms, bad * u, None, None

    cost, grad = net.residual_value_and_grad(X, residual)
    assert not np.isfinite(cost)
    assert grad.shape == net.params.shape
    assert np.isnan(grad).all()
    weights = np.ones(len(X))
    weights[3] = 0
    cost, _ = net.residual_value_and_grad(X, lambda X, *_: (residual(X, 0, 0, 0)[0], None, None, None), None, weights)
    assert cost == 1


def test_an_exception_of_a_residual_passes():
    net, X = network(cases.Case("2-5-1", [2, 5, 1], "tanh"))

    def residual(X, u, du, lap):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        net.residual_value_and_grad(X, residual)
