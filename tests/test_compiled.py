"""A network inside compiled code: the same bits as outside, for all networks, and no wrong argument goes through."""

import ctypes
import re
import threading
import warnings

import numba
import numpy as np
import pytest
import scipy.integrate

import fastbp as bp
from fastbp.engine import evaluator as ev
from fastbp.engine.calls import address_of
from fastbp.engine.cutting import gradient_pieces
from fastbp.kernels.compiler.jit import root
from fastbp.kernels.roots.evaluator import STACK_ELEMENTS, run
from fastbp.kernels.tables.plan import BY_FEATURES
from tests import complex_step, reference
from tests.cases import ALL_CASES, COMPLEX_STEP_RTOL, DTYPES, GRADIENT_RTOL, OPTIMIZER_CASES, VALUE_RTOL, Case
from tests.problems import random_problem

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
N_ROWS = 6  # four together, two alone

# Layers that are less than a vector, some vectors, and some vectors and a rest, in both dtypes.
SHAPE_CASES = tuple(
    Case("-".join(map(str, sizes)), sizes, activation, output, loss)
    for sizes in ([1, 3], [5, 8, 16, 1], [3, 31, 65, 7], [9, 127, 4, 34])
    for activation, output, loss in (
        ("tanh", "identity", "quadratic"), ("relu", "softmax", "cross_entropy"), ("sigmoid", "sigmoid", "cross_entropy")
    )
    if output != "softmax" or sizes[-1] > 1
)  # fmt: skip
WIDE = Case("wide", [40, 500, 700, 3], "tanh", "softmax", "cross_entropy")  # more than the stack has room for


@numba.njit
def predict(net, x, out):
    net.predict(x, out)


@numba.njit
def by_rows(net, X, Y, out, grads, dX, jacobians):
    costs = np.empty(len(X))
    for i in range(len(X)):
        net.predict(X[i], out[i])
        costs[i] = net.value_and_grad(X[i], Y[i], grads[i])
        if net.loss_value(X[i], Y[i]) != costs[i]:
            raise ValueError("the cost is another without its gradient")
        net.input_gradient(X[i], Y[i], dX[i])
        net.input_jacobian(X[i], jacobians[i])
    return costs


@numba.njit
def together(net, X, Y, out, grad, dX, jacobians):
    net.predict(X, out)
    net.input_gradient(X, Y, dX)
    net.input_jacobian(X, jacobians)
    cost = net.value_and_grad(X, Y, grad)
    if net.loss_value(X, Y) != cost:
        raise ValueError("the cost is another without its gradient")
    return cost


@numba.njit
def steps(net, X, Y, n):
    costs = np.empty(n)
    for i in range(n):
        costs[i] = net.step(X[i % len(X)], Y[i % len(X)])
    return costs


@numba.njit(parallel=True)
def in_parallel(net, X, Y, out, grads):
    for i in numba.prange(len(X)):
        net.predict(X[i], out[i])
        net.value_and_grad(X[i], Y[i], grads[i])


def network_of(case, dtype, seed=0):
    """A network of a case, rows and targets."""
    problem = random_problem(case, np.random.default_rng(seed), N_ROWS)
    net = bp.Network(case.sizes, dtype=dtype, **case.keywords)
    net.params[...] = problem.params
    return net, problem.X.astype(dtype), problem.Y.astype(dtype)


def results(net, n):
    """Arrays of NaN for all that is computed of n rows."""
    n_inputs, n_outputs = net.sizes[0], net.sizes[-1]
    shapes = (n, n_outputs), (n, net.n_params), (n, n_inputs), (n, n_outputs, n_inputs)
    return [np.full(shape, np.nan, net.dtype) for shape in shapes]


def same(actual, expected):
    """The same bits; in plain Python, where NumPy sums in its own order, nearly the same."""
    if numba.config.DISABLE_JIT:
        dtype = np.asarray(expected).dtype.name
        assert reference.relative_error(actual, expected) <= GRADIENT_RTOL[dtype]
    else:
        np.testing.assert_array_equal(actual, expected)


# ---- The same numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*ALL_CASES, *SHAPE_CASES, WIDE], ids=str)
def test_one_row_has_the_bits_of_the_network(case, dtype):
    net, X, Y = network_of(case, dtype)
    out, grads, dX, jacobians = results(net, N_ROWS)
    costs = by_rows(net.compiled(), X, Y, out, grads, dX, jacobians)
    for i in range(N_ROWS):
        cost, grad = net.value_and_grad(X[i : i + 1], Y[i : i + 1])
        same(out[i], net.predict(X[i : i + 1])[0])
        same(costs[i], cost)
        same(grads[i], grad)
    same(out, net.predict(X))
    assert reference.relative_error(dX, net.input_gradient(X, Y)) <= GRADIENT_RTOL[dtype]
    assert reference.relative_error(jacobians, net.input_jacobian(X)) <= GRADIENT_RTOL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row_of_a_large_first_layer_is_summed_in_another_order(dtype):
    """The network cuts such a layer along its inputs; its outputs have the same bits all the same."""
    case = Case("first", [400, 60, 2], "tanh", "identity", "quadratic")
    net, X, Y = network_of(case, dtype)
    assert gradient_pieces(case.sizes, 1)[0] == BY_FEATURES
    out, grads, dX, jacobians = results(net, 1)
    costs = by_rows(net.compiled(), X[:1], Y[:1], out, grads, dX, jacobians)
    cost, grad = net.value_and_grad(X[:1], Y[:1])
    same(out, net.predict(X[:1]))
    assert costs[0] == pytest.approx(cost, rel=VALUE_RTOL[dtype])
    assert reference.relative_error(grads[0], grad) <= GRADIENT_RTOL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*ALL_CASES, *SHAPE_CASES, WIDE], ids=str)
def test_rows_together(case, dtype):
    net, X, Y = network_of(case, dtype)
    out, (grad, *_), dX, jacobians = results(net, N_ROWS)
    cost = together(net.compiled(), X, Y, out, grad, dX, jacobians)
    single_out, grads, single_dX, single_jacobians = results(net, N_ROWS)
    costs = by_rows(net.compiled(), X, Y, single_out, grads, single_dX, single_jacobians)
    np.testing.assert_array_equal(out, single_out)
    np.testing.assert_array_equal(dX, single_dX)
    np.testing.assert_array_equal(jacobians, single_jacobians)
    expected_cost, expected = net.value_and_grad(X, Y)
    assert reference.relative_error(grad, expected) <= GRADIENT_RTOL[dtype] / 10
    assert cost == pytest.approx(expected_cost, rel=VALUE_RTOL[dtype])
    assert cost == pytest.approx(costs.mean(), rel=VALUE_RTOL[dtype])


@pytest.mark.parametrize("case", [case for case in ALL_CASES if case.smooth], ids=str)
def test_derivatives_by_the_complex_step(case):
    """Independent of all kernels: formulas in complex numbers."""
    net, X, Y = network_of(case, "float64")
    out, (grad, *_), dX, jacobians = results(net, N_ROWS)
    cost = together(net.compiled(), X, Y, out, grad, dX, jacobians)
    expected_cost, expected, rounding = complex_step.cost_and_gradient(case, net.params, X, Y)
    expected_jacobians, expected_dX = complex_step.by_inputs(case, net.params, X, Y)
    assert cost == pytest.approx(expected_cost, rel=COMPLEX_STEP_RTOL)
    assert (np.abs(grad - expected) <= COMPLEX_STEP_RTOL * np.abs(expected).max() + rounding).all()
    assert reference.relative_error(jacobians, expected_jacobians) <= 10 * COMPLEX_STEP_RTOL
    assert reference.relative_error(dX, expected_dX) <= 10 * COMPLEX_STEP_RTOL


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_ones_own(dtype):
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    quartic = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))
    net = bp.Network([3, 6, 2], [[("tanh", 2), (cube, 4)]], loss=quartic, dtype=dtype, seed=0)
    X = np.random.default_rng(0).standard_normal((N_ROWS, 3)).astype(dtype)
    out, (grad, *_), dX, jacobians = results(net, N_ROWS)
    cost = together(net.compiled(), X, X[:, :2].copy(), out, grad, dX, jacobians)
    expected_cost, expected = net.value_and_grad(X, X[:, :2])
    assert cost == pytest.approx(expected_cost, rel=VALUE_RTOL[dtype])
    assert reference.relative_error(grad, expected) <= GRADIENT_RTOL[dtype]
    np.testing.assert_allclose(out, net.predict(X), rtol=VALUE_RTOL[dtype])


@numba.njit
def with_labels(net, X, labels, grad, dx):
    first = net.value_and_grad(X[0], labels[0], grad)
    net.input_gradient(X[0], labels[0], dx)
    return first, net.loss_value(X, labels), net.value_and_grad(X, labels, grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels(dtype):
    net = bp.Network([3, 5, 4], "tanh", "softmax", "cross_entropy", dtype=dtype, seed=0)
    X = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    labels, grad, dx = np.array([3, 0, 1, 1]), np.empty(net.n_params, dtype), np.empty(3, dtype)
    first, value, cost = with_labels(net.compiled(), X, labels, grad, dx)
    expected_cost, expected = net.value_and_grad(X, labels)
    assert first == pytest.approx(net.loss_value(X[:1], labels[:1]), rel=VALUE_RTOL[dtype])
    assert value == cost == pytest.approx(expected_cost, rel=VALUE_RTOL[dtype])
    assert reference.relative_error(grad, expected) <= GRADIENT_RTOL[dtype]
    assert reference.relative_error(dx, net.input_gradient(X[:1], labels[:1])[0]) <= GRADIENT_RTOL[dtype]


def test_a_cost_that_is_not_finite():
    net = bp.Network([2, 2], "relu", loss="quadratic", seed=0)
    handle, grad, x = net.compiled(bp.SGD(0.1)), np.zeros(net.n_params), np.array([np.nan, 1.0])
    before, out = net.params.copy(), np.zeros(2)
    assert np.isnan(handle.value_and_grad(x, np.ones(2), grad))
    assert np.isnan(grad).all()
    assert np.isnan(handle.step(x, np.ones(2)))
    assert handle.n_steps == 0
    np.testing.assert_array_equal(net.params, before)
    predict(handle, x, out)
    assert np.isnan(out).all()


# ---- Steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in OPTIMIZER_CASES if case.clip_norm is None], ids=str)
@pytest.mark.parametrize("sizes", [[3, 5, 2], [4, 40, 30, 3]], ids=["narrow", "wide"])
def test_steps_are_those_of_the_network(sizes, case, dtype):
    net, twin = (bp.Network(sizes, "tanh", dtype=dtype, seed=0, l2_penalty=1e-3) for _ in range(2))
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, sizes[0])).astype(dtype), rng.standard_normal((5, sizes[-1])).astype(dtype)
    handle, rule = net.compiled(getattr(bp, case.kind)(**case.hyper_parameters)), getattr(bp, case.kind)
    costs, rule = steps(handle, X, Y, 20), rule(**case.hyper_parameters)
    expected = [twin.step(X[i % 5][None], Y[i % 5][None], optimizer=rule) for i in range(20)]
    assert handle.n_steps == 20
    if sizes[1] > 16 and not numba.config.DISABLE_JIT:  # the steps of narrow networks sum in another order
        np.testing.assert_array_equal(costs, expected)
        np.testing.assert_array_equal(net.params, twin.params)
    np.testing.assert_allclose(costs, expected, rtol={"float32": 1e-3, "float64": 1e-9}[dtype])
    assert reference.relative_error(net.params, twin.params) <= {"float32": 1e-3, "float64": 1e-9}[dtype]


def test_a_step_on_rows_and_another_learning_rate():
    net = bp.Network([2, 1], initializer="zeros")
    handle = net.compiled(bp.SGD(1.0))

    @numba.njit
    def two_steps(net, X, Y):
        first = net.step(X, Y)
        rate, done = net.learning_rate, net.n_steps
        net.set_learning_rate(0.25)
        second = net.step(X[0], Y[0, 0])
        return first, second, rate, done, net.learning_rate, net.n_steps, net.pointer

    found = two_steps(handle, np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[2.0], [0.0]]))
    assert found == (1.0, 0.0, 1.0, 1, 0.25, 2, handle.pointer)
    np.testing.assert_array_equal(net.params, [1.0, 0.0, 1.0])  # the first row's error is 0 now
    assert handle.learning_rate == 0.25


# ---- Threads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [SHAPE_CASES[5], WIDE], ids=["on the stack", "in slots"])
def test_many_threads(case):
    net, X, Y = network_of(case, "float32")
    X, Y = np.tile(X, (6, 1)), np.tile(Y, (6, 1))
    handle, (expected, expected_grads, dX, jacobians) = net.compiled(), results(net, len(X))
    assert (handle._evaluator.values[ev.at.WORK_SIZE] > STACK_ELEMENTS) == (case is WIDE)
    by_rows(handle, X, Y, expected, expected_grads, dX, jacobians)
    out, grads, *_ = results(net, len(X))
    if not numba.config.DISABLE_JIT:
        in_parallel(handle, X, Y, out, grads)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(grads, expected_grads)
    found = [results(net, len(X)) for _ in range(5)]
    threads = [threading.Thread(target=by_rows, args=(handle, X, Y, *arrays)) for arrays in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out, grads, *_ in found:
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(grads, expected_grads)
    assert not handle._evaluator._claims.any()


@compiled
def test_steps_of_threads_are_all_taken():
    net = bp.Network([3, 5, 2], "tanh", seed=0)
    handle, X, Y = net.compiled(bp.Adam()), np.ones((4, 3)), np.ones((4, 2))
    free = numba.njit(nogil=True)(lambda net, X, Y: [net.step(X[i % 4], Y[i % 4]) for i in range(200)])
    free(handle, X, Y)
    threads = [threading.Thread(target=free, args=(handle, X, Y)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handle.n_steps == 1000
    assert np.isfinite(net.params).all()


# ---- C -------------------------------------------------------------------------------------------------------------


@compiled
def test_the_function_of_c():
    net, X, Y = network_of(SHAPE_CASES[4], "float32")
    handle, (out, (grad, *_), *_) = net.compiled(), results(net, N_ROWS)
    real, integer, nowhere = ctypes.c_float, ctypes.c_int64, ctypes.c_void_p
    pointer = ctypes.POINTER(real)
    evaluate = ctypes.CFUNCTYPE(ctypes.c_double, integer, nowhere, pointer, nowhere, pointer, integer)(handle.address)
    x, y = X.ctypes.data_as(pointer), Y.ctypes.data_as(nowhere)
    assert evaluate(0, handle.pointer, x, None, out.ctypes.data_as(pointer), N_ROWS) == 0.0
    np.testing.assert_array_equal(out, net.predict(X))
    cost, expected = net.value_and_grad(X[:1], Y[:1])
    assert evaluate(2, handle.pointer, x, y, grad.ctypes.data_as(pointer), 1) == cost
    np.testing.assert_array_equal(grad, expected)
    label = np.array([Y.shape[1]])  # one too many
    grad[:] = 1
    assert np.isnan(evaluate(2 + 16, handle.pointer, x, label.ctypes.data_as(nowhere), grad.ctypes.data_as(pointer), 1))
    assert (grad == 1).all()
    assert np.isnan(evaluate(5, handle.pointer, x, y, None, 1))  # no optimizer


@compiled
def test_a_callback_that_gets_a_pointer():
    net = bp.Network([2, 8, 2], "tanh", seed=0)

    @numba.cfunc("void(double, CPointer(double), CPointer(double), voidptr)")
    def rhs(t, u, du, p):
        bp.network_at(p, np.float64).predict(numba.carray(u, (2,)), numba.carray(du, (2,)))

    u, du, handle = np.array([0.5, -1.0]), np.zeros(2), net.compiled()
    pointer = ctypes.POINTER(ctypes.c_double)
    rhs.ctypes(0.0, u.ctypes.data_as(pointer), du.ctypes.data_as(pointer), handle.pointer)
    np.testing.assert_array_equal(du, net.predict(u[None])[0])

    @numba.njit
    def out_of(pointer):
        net = bp.network_at(pointer, np.float32)
        return net.n_inputs

    with pytest.raises(ValueError, match=r"^`pointer` must be that of a compiled network of this `dtype`, and of this"):
        out_of(handle.pointer)
    with pytest.raises(ValueError, match=r"^`pointer` must be the pointer of a compiled network that is alive\.$"):
        out_of(0)
    assert bp.network_at(handle.pointer, np.float64).pointer == handle.pointer
    with pytest.raises(ValueError, match=r"^`pointer` must be that of a compiled network of this `dtype`, and of this"):
        bp.network_at(handle.pointer, np.float32)
    with pytest.raises(
        ValueError, match=r"^`pointer` must be the pointer of a compiled network that is alive; got 8\.$"
    ):
        bp.network_at(8, np.float64)
    with pytest.raises(TypeError, match=r"^`pointer` must be the pointer of a compiled network that is alive; got "):
        bp.network_at([8], np.float64)
    with pytest.raises(numba.TypingError, match="`network_at` takes the pointer of a compiled network"):
        numba.njit(lambda p: bp.network_at(p, np.int64).n_inputs)(1)


@compiled
def test_scipy_integrates_a_network():
    net = bp.Network([2, 5, 1], "exp", initializer="glorot_uniform", seed=0)
    W, (u, c) = net.weights[0], (net.weights[1][:, 0], net.biases[1][0])
    net.biases[0][...] = np.linspace(-0.5, 0.5, 5)
    found, _ = scipy.integrate.nquad(net.compiled().low_level_callable(), [[0, 1], [0, 2]])
    # the integral of exp(w1 x + w2 y + b) over the rectangle
    parts = np.exp(net.biases[0]) * np.expm1(W[0]) / W[0] * np.expm1(2 * W[1]) / W[1]
    assert found == pytest.approx(u @ parts + 2 * c, rel=1e-10)
    with pytest.raises(ValueError, match=r"^`low_level_callable` needs a float64 network with one output"):
        bp.Network([2, 5, 2], seed=0).compiled().low_level_callable()
    with warnings.catch_warnings(action="ignore", category=scipy.integrate.IntegrationWarning):
        of_one_variable, _ = scipy.integrate.quad(net.compiled().low_level_callable(), 0, 1)
    assert np.isnan(of_one_variable)


# ---- Wrong arguments -----------------------------------------------------------------------------------------------

NET = bp.Network([3, 4, 2], seed=0)
x3, x4, y2, out2, grad26 = np.ones(3), np.ones(4), np.ones(2), np.ones(2), np.ones(26)
X_SHAPE = "`x` must have shape (n_inputs,) or (n, n_inputs) to fit the network's first layer."
Y_SHAPE = "`y` must have shape (n_outputs,) for one row of `x` and (n, n_outputs) for n rows to fit the network."
OUT_SHAPE = "`out` must have shape (n_outputs,) for one row of `x` and (n, n_outputs) for n rows."
LABELS = "`y` must be targets in the network's dtype, 1.0 instead of 1; labels are for softmax with cross-entropy."
NO_OPTIMIZER = "`step` and `set_learning_rate` need an optimizer: make the network by `net.compiled(bp.Adam())`."
WRONG_SHAPES = {
    "x": ("predict", (x4, out2), X_SHAPE),
    "out": ("predict", (x3, x3.copy()), OUT_SHAPE),
    "rows": ("predict", (np.ones((2, 3)), np.ones((3, 2))), OUT_SHAPE),
    "y": ("loss_value", (x3, x3), Y_SHAPE),
    "a number for two outputs": ("loss_value", (x3, 1.0), Y_SHAPE),
    "label": ("loss_value", (x3, 1), LABELS),
    "labels": ("loss_value", (np.ones((2, 3)), np.array([0, 1])), LABELS),
    "grad": (
        "value_and_grad", (x3, y2, np.ones(25)),
        "`grad` must have shape (n_params,), a number for each of the network's parameters.",
    ),
    "dx": ("input_gradient", (x3, y2, x4.copy()), "`out` must have the shape of `x`."),
    "jacobian": (
        "input_jacobian", (x3, np.ones((3, 2))),
        "`out` must have shape (n_outputs, n_inputs) for one row of `x` and (n, n_outputs, n_inputs) for n rows.",
    ),
    "no rows": ("loss_value", (np.ones((0, 3)), np.ones((0, 2))), "`x` must have at least one row."),
    "no optimizer": ("step", (x3, y2), NO_OPTIMIZER),
    "no optimizer's rate": ("set_learning_rate", (0.5,), NO_OPTIMIZER),
}  # fmt: skip


def calling(method, n_arguments):
    """A compiled function that calls a method."""
    names = ", ".join("abc"[:n_arguments])
    scope = {}
    exec(f"def call(net, {names}): return net.{method}({names})", scope)
    return numba.njit(scope["call"])


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
def test_another_shape(wrong):
    method, arguments, message = WRONG_SHAPES[wrong]
    handle, before = NET.compiled(), [np.copy(argument) for argument in arguments]
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared below
        getattr(handle, method)(*arguments)
    assert str(error.value).startswith(message)
    if not numba.config.DISABLE_JIT:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            calling(method, len(arguments))(handle, *arguments)
        assert str(error.value) == message
    for argument, old in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, old)


def test_labels_that_the_network_has_not():
    handle = bp.Network([3, 4, 2], "tanh", "softmax", "cross_entropy", seed=0).compiled()
    message = r"^`y` must hold labels from 0 to n_outputs - 1\.$"
    for y in (2**70, -(2**70)):
        with pytest.raises(ValueError, match=message):
            handle.loss_value(x3, y)
    with pytest.raises(TypeError, match=r"got bool\. Labels must be int64\.$"):
        handle.loss_value(x3, True)
    for x, y in (
        (x3, 2),
        (x3, -1),
        (x3, np.uint64(2**63 + 1)),
        (np.ones((2, 3)), np.array([1, 2])),
        (np.ones((2, 3)), np.array([-1, 0])),
    ):
        with pytest.raises(ValueError, match=message):
            handle.loss_value(x, y)
        with pytest.raises(ValueError, match=message):
            numba.njit(lambda net, x, y: net.loss_value(x, y))(handle, x, y)
    with pytest.raises(
        ValueError, match=r"^`y` must be one label for one row of `x`, and labels of shape \(n,\) for n"
    ):
        handle.loss_value(np.ones((2, 3)), np.array([1]))


read_only = np.ones(2)
read_only.flags.writeable = False
WRONG_TYPES = {
    "dtype of x": (
        "predict",
        (np.ones(3, "float32"), out2),
        "`x` of a compiled network must be a C-contiguous array of",
    ),
    "a list": ("predict", ([1.0, 2.0, 3.0], out2), "`x` of a compiled network must be"),
    "layout of x": ("predict", (np.ones(6)[::2], out2), "`x` of a compiled network must be"),
    "layout of rows": ("predict", (np.ones((2, 3), order="F"), np.ones((2, 2))), "`x` of a compiled network must be"),
    "dimensions of out": ("predict", (x3, np.ones((1, 2))), "`out` of a compiled network must be"),
    "read-only out": ("predict", (x3, read_only), "that can be written to"),
    "dtype of y": ("loss_value", (x3, np.ones(2, "float32")), "`y` of a compiled network must be"),
    "dtype of grad": ("value_and_grad", (x3, y2, np.ones(26, "float32")), "`grad` of a compiled network must be"),
}


@pytest.mark.parametrize("wrong", WRONG_TYPES)
def test_another_type(wrong):
    method, arguments, message = WRONG_TYPES[wrong]
    with pytest.raises((TypeError, ValueError)) as error:
        getattr(NET.compiled(), method)(*arguments)
    assert (OUT_SHAPE if wrong == "dimensions of out" else message) in str(error.value)
    if not numba.config.DISABLE_JIT and wrong != "a list":
        with pytest.raises(numba.TypingError) as error:
            calling(method, len(arguments))(NET.compiled(), *arguments)
        assert message in str(error.value)


def test_the_whole_text_of_a_wrong_type():
    text = (
        "`x` of a compiled network must be a C-contiguous array of float64 with one dimension; got an array of float32 "
        "with shape (3,)."
    )
    with pytest.raises(TypeError) as error:
        NET.compiled().predict(np.ones(3, "float32"), out2)
    assert str(error.value) == text


@compiled
def test_rows_that_numba_does_not_know_to_be_contiguous():
    def row_by_row(net, X, out):
        for x in X:
            net.predict(x, out)

    message = r"float64, 1d, A\)\. Take a row by `X\[i\]`, which Numba knows to be contiguous, not by `for x in X`\."
    with pytest.raises(numba.TypingError, match=message):
        numba.njit(row_by_row)(NET.compiled(), np.ones((2, 3)), out2)


def test_masks_are_not_lost():
    soft = bp.Network([3, 4, 2], "tanh", "softmax", "cross_entropy", seed=0).compiled()
    masked, labels = np.ma.masked_array(np.ones(3), [0, 1, 0]), np.ma.masked_array([0, 1], [0, 1])
    for call in (
        lambda: soft.predict(masked, out2),
        lambda: soft.loss_value(x3, masked[:2]),
        lambda: soft.loss_value(np.ones((2, 3)), labels),
    ):
        with pytest.raises(TypeError, match=r"got a masked array, whose mask would be lost\."):
            call()


def test_what_a_subclass_says_of_its_memory_is_not_believed():
    class Elsewhere(np.ndarray):
        __array_interface__ = {"data": (8, False), "shape": (3,), "typestr": "<f8", "version": 3}  # noqa: RUF012

    NET.compiled().predict(x3.view(Elsewhere), out2)
    same(out2, NET.predict(x3[None])[0])


def test_no_rows_have_no_mean_but_derivatives():
    handle, nothing = NET.compiled(), np.ones((0, 3))
    handle.input_gradient(nothing, np.ones((0, 2)), nothing.copy())
    handle.predict(nothing, np.ones((0, 2)))


@compiled
def test_a_handle_is_an_argument():
    handle = NET.compiled()
    message = r"A compiled network must be an argument of a compiled function, or in one that is, because it has addr"

    @numba.njit
    def of_a_default(x, out, net=handle):
        net.predict(x, out)

    for function in (numba.njit(lambda x, out: handle.predict(x, out)), of_a_default):
        with pytest.raises(numba.TypingError, match=message):
            function(x3, out2)
    of_a_default(x3, out2, handle)
    np.testing.assert_array_equal(out2, NET.predict(x3[None])[0])


@compiled
def test_handles_in_lists():
    @numba.njit
    def of_all(nets, x, out):
        nets.append(nets[0])
        for i in range(len(nets)):
            nets[i].predict(x, out[i])
        return nets

    net, out = bp.Network([3, 5, 2], "tanh", seed=1), np.empty((3, 2))
    found = of_all(numba.typed.List([net.compiled(), NET.compiled()]), x3, out)
    np.testing.assert_array_equal(out, np.stack([each.predict(x3[None])[0] for each in (net, NET, net)]))
    assert [each.n_params for each in found] == [32, 26, 32]


def test_what_cannot_be_compiled():
    with pytest.raises(TypeError, match=r"^`optimizer` must be a bp\.SGD, bp\.Adam, bp\.AdamW or bp\.RMSprop, whose"):
        NET.compiled(bp.LBFGS())
    with pytest.raises(TypeError, match=r"^`optimizer` must be a bp"):
        NET.compiled(bp.Adam)
    with pytest.raises(ValueError, match=r"^`optimizer` must have a number as its learning rate, which all steps in"):
        NET.compiled(bp.Adam(bp.Constant(0.1)))
    with pytest.raises(
        ValueError, match=r"^`optimizer` must be None for a network with dropout, which steps in compiled"
    ):
        bp.Network([3, 4, 2], dropout=0.5).compiled(bp.Adam())
    with pytest.raises(TypeError, match=r"^A bp\.CompiledNetwork must be made by `Network\.compiled`\.$"):
        bp.CompiledNetwork()


def test_read_only_parameters():
    net = bp.Network([3, 2], seed=0)
    handle = net.compiled(bp.SGD(0.1))
    net.params.flags.writeable = False
    handle.predict(x3, out2)
    np.testing.assert_array_equal(out2, net.predict(x3[None])[0])
    with pytest.raises(ValueError, match=r"^`net\.params` must be writable for a step; it is read-only\."):
        handle.step(x3, y2)
    net.compiled().predict(x3, out2)
    with pytest.raises(ValueError, match="read-only"):
        net.compiled(bp.SGD(0.1))


# ---- What it is made of --------------------------------------------------------------------------------------------


@compiled
def test_the_evaluator_allocates_nothing_and_needs_no_python():
    fresh = root(run.py_func)  # code from the cache cannot be looked at
    fresh._cache.disable()
    real, integer = numba.types.CPointer(numba.float32), numba.int64
    signature = (integer, numba.types.CPointer(integer), real, integer, real, integer)
    fresh.compile(signature)
    code, name = fresh.inspect_llvm(signature), fresh.overloads[signature].fndesc.llvm_func_name
    assert "NRT_" not in code
    start = re.search(rf"^define .*@{re.escape(name)}\(", code, re.MULTILINE).start()
    calls = re.findall(r"call .*?@\"?([\w.$]+)", code[start : code.index("\n}", start)])
    assert calls
    assert not [call for call in calls if call.startswith(("Py", "numba", "NRT"))]


@compiled
def test_the_users_function_allocates_nothing():
    predict(NET.compiled(), x3, out2)
    assert "NRT_Allocate" not in predict.inspect_llvm(predict.signatures[-1])


def test_the_table_is_a_struct_of_eight_numbers_and_more():
    handle = NET.compiled()
    values = np.ctypeslib.as_array((ctypes.c_int64 * 8).from_address(handle.pointer))
    np.testing.assert_array_equal(values, [1, handle.address, 3, 2, 26, 8, 0, 0])
    assert address_of(handle._table) == handle.pointer
