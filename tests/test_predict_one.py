"""`Network.predict_one`: the outputs of one row, with the bits of `predict`."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.export import one_row as door
from fastbp.kernels.roots import one_row
from tests import cases
from tests.twins import network, same_bits, twins

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@numba.njit
def cube(z):
    return z * z * z


@numba.njit
def cube_derivative(z):
    return 3 * z * z


CUBE = bp.Activation("cube", cube, cube_derivative)

# ---- The numbers ---------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_bits_are_those_of_predict(case, dtype):
    problem, net = twins(case, np.random.default_rng(1), 9, dtype)
    out = np.empty(case.sizes[-1], dtype)
    for x, expected in zip(problem.X, net.predict(problem.X), strict=True):
        assert net.predict_one(x, out) is out
        assert same_bits(out, expected)
        assert same_bits(net.predict_one(x), expected)


@dtypes
@pytest.mark.parametrize(
    ("sizes", "settings"),
    [
        ([300, 20, 3], {}),
        ([7, 1200, 5], {}),  # more than the stack has room for
        ([600, 600, 10], {"output": "softmax", "loss": "cross_entropy"}),  # goes the way of predict
        ([3, 5, 2], {"activation": CUBE}),
    ],
    ids=["many inputs", "wide", "large", "own activation"],
)
def test_all_ways_have_the_bits_of_predict(sizes, settings, dtype):
    net = bp.Network(sizes, dtype=dtype, seed=0, **settings)
    X = np.random.default_rng(2).standard_normal((8, sizes[0])).astype(dtype)
    out = np.full(sizes[-1], np.nan, dtype)
    for x, expected in zip(X, net.predict(X), strict=True):
        assert same_bits(net.predict_one(x, out), expected)
        assert same_bits(net.predict_one(x), expected)


@dtypes
def test_it_sees_the_parameters_of_now(dtype):
    net = bp.Network([3, 4, 2], "tanh", dtype=dtype, seed=0)
    X, Y = np.random.default_rng(3).standard_normal((2, 5, 3)).astype(dtype)
    x = X[0]
    net.predict_one(x)

    def agrees():
        return same_bits(net.predict_one(x), net.predict(x[None])[0])

    before = net.predict_one(x)
    net.fit(X, Y[:, :2], epochs=3)
    assert agrees()
    assert not same_bits(before, net.predict_one(x))
    net.step(X, Y[:, :2])
    assert agrees()
    net.params[...] = 0.5
    assert agrees()
    net.weights[0] = np.ones((3, 4), dtype)
    assert agrees()


def test_copies_have_their_own():
    net = bp.Network([3, 4, 2], "tanh", seed=0)
    x = np.array([1.0, -2.0, 0.5])
    expected = net.predict_one(x)
    for other in (copy.deepcopy(net), copy.copy(net), pickle.loads(pickle.dumps(net))):
        assert same_bits(other.predict_one(x), expected)
        other.params[...] = 0.1
        assert not same_bits(other.predict_one(x), expected)
        assert same_bits(net.predict_one(x), expected)


# ---- Arguments -----------------------------------------------------------------------------------------------------


@dtypes
def test_the_input_stays_unless_it_is_the_output(dtype):
    net = bp.Network([3, 8, 3], "tanh", dtype=dtype, seed=0)
    frozen = np.array([0.5, -1.0, 2.0], dtype)
    frozen.setflags(write=False)
    expected = net.predict(frozen[None])[0]
    assert same_bits(net.predict_one(frozen), expected)
    row = np.stack([frozen, frozen])[1]  # a view
    assert same_bits(net.predict_one(row, row), expected)
    both = np.concatenate([frozen, np.zeros(1, dtype)])
    assert same_bits(net.predict_one(both[:3], both[1:]), expected)
    assert same_bits(both, np.concatenate([frozen[:1], expected]))


@dtypes
def test_values_are_not_looked_at(dtype):
    net = bp.Network([2, 3, 1], "tanh", dtype=dtype, seed=0)
    assert np.isnan(net.predict_one(np.array([np.nan, 1.0], dtype))).all()
    assert np.isfinite(net.predict_one(np.array([np.inf, 1.0], dtype))).all()


@dtypes
def test_numbers_may_lie_at_odd_addresses(dtype):
    net = bp.Network([3, 8, 2], "tanh", dtype=dtype, seed=0)
    size = np.dtype(dtype).itemsize
    values = np.array([0.5, -1.0, 2.0], dtype)
    expected = net.predict(values[None])[0]
    for _ in range(2):  # before Numba has seen such arrays, and afterwards
        x, out = (np.zeros(n * size + 1, np.uint8)[1:].view(dtype) for n in (3, 2))
        x[:] = values
        assert not x.flags.aligned
        assert same_bits(net.predict_one(x, out), expected)
        assert same_bits(net.predict_one(values), expected)


def messages(dtype, other):
    """Wrong arguments of a 3-4-2 network, and what is said of them."""
    x, out = np.ones(3, dtype), np.empty(2, dtype)
    of_x = f"`x` must be a contiguous {dtype} array of shape (3,), because nothing is converted here; got "
    of_out = (
        f"`out` must be a contiguous, writeable {dtype} array of shape (2,), because nothing is converted here; got "
    )
    cure = ". `predict` takes rows of every kind."
    frozen = np.empty(2, dtype)
    frozen.setflags(write=False)
    swapped = np.ones(3, x.dtype.newbyteorder())
    return [
        ((x.astype(other), out), TypeError, f"{of_x}{other} (3,){cure}"),
        ((x[None], out), TypeError, f"{of_x}{dtype} (1, 3){cure}"),
        ((np.array(1, dtype), out), TypeError, f"{of_x}{dtype} (){cure}"),
        ((np.ones(6, dtype)[::2], out), TypeError, f"{of_x}{dtype} (3,) that is not contiguous{cure}"),
        ((x[::-1], out), TypeError, f"{of_x}{dtype} (3,) that is not contiguous{cure}"),
        ((swapped, out), TypeError, f"{of_x}{swapped.dtype} (3,){cure}"),
        (([1.0, 2.0, 3.0], out), TypeError, f"{of_x}list{cure}"),
        ((None, out), TypeError, f"{of_x}NoneType{cure}"),
        ((np.ones(3, int), out), TypeError, f"{of_x}int64 (3,){cure}"),
        ((x, np.empty(2, other)), TypeError, f"{of_out}{other} (2,){cure}"),
        ((x, np.empty(4, dtype)[::2]), TypeError, f"{of_out}{dtype} (2,) that is not contiguous{cure}"),
        ((x, frozen), TypeError, f"{of_out}{dtype} (2,) that is read-only{cure}"),
        ((x, [0.0, 0.0]), TypeError, f"{of_out}list{cure}"),
        ((x[:2], out), ValueError, "`x` must have shape (3,) to fit the first layer; got (2,)."),
        ((np.ones(4, dtype), out), ValueError, "`x` must have shape (3,) to fit the first layer; got (4,)."),
        ((np.ones(0, dtype), out), ValueError, "`x` must have shape (3,) to fit the first layer; got (0,)."),
        ((x, np.empty(1, dtype)), ValueError, "`out` must have shape (2,) to have room for the outputs; got (1,)."),
        ((x, np.empty(3, dtype)), ValueError, "`out` must have shape (2,) to have room for the outputs; got (3,)."),
    ]


@dtypes
@pytest.mark.parametrize("activation", ["tanh", pytest.param(CUBE, marks=compiled)], ids=["compiled", "by predict"])
def test_wrong_arguments(activation, dtype):
    """Nothing is written, and nothing is compiled for them."""
    net = bp.Network([3, 4, 2], activation, dtype=dtype, seed=0)
    net.predict_one(np.ones(3, dtype))
    other = next(name for name in cases.DTYPES if name != dtype)
    for arguments, kind, message in messages(dtype, other):
        out = np.asarray(arguments[1])
        if out.flags.writeable:
            out[...] = 7
        for _ in range(2):
            with pytest.raises(kind) as caught:
                net.predict_one(*arguments)
            assert str(caught.value) == message
        assert not out.flags.writeable or isinstance(arguments[1], list) or (out == 7).all()
    if not numba.config.DISABLE_JIT:
        assert len(one_row.run.of(np.dtype(dtype)).signatures) == 1


def test_subclasses_are_arrays_or_refused(tmp_path):
    net = bp.Network([3, 4, 2], seed=0)
    row = np.memmap(tmp_path / "row", dtype=np.float64, mode="w+", shape=3)
    assert same_bits(net.predict_one(row), net.predict(np.zeros((1, 3)))[0])
    masked = np.ma.masked_array(np.ones(3), [0, 1, 0])
    message = r"^`x` must not be a masked array, whose mask would be lost\. Use \.filled\(\)\.$"
    for _ in range(2):
        net.predict_one(np.ones(3))
        with pytest.raises(TypeError, match=message):
            net.predict_one(masked)
    with pytest.raises(TypeError, match=message.replace("x", "out", 1)):
        net.predict_one(np.ones(3), masked[:2])


# ---- What it costs, and who lives how long --------------------------------------------------------------------------


@compiled
def test_a_call_allocates_nothing_that_stays():
    net = bp.Network([3, 40, 2], "tanh", seed=0)
    x, out = np.ones(3), np.empty(2)
    net.predict_one(x, out)

    def calls(n):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(n):
            net.predict_one(x, out)
        return sys.getallocatedblocks() - before

    calls(10)
    assert calls(1000) <= calls(10) + 10
    assert sys.getrefcount(out) == sys.getrefcount(x)


@compiled
def test_one_call_of_the_kernel_and_one_description(monkeypatch):
    made, calls = [], []
    run = one_row.run.of(np.dtype("float64"))
    evaluator = door.Evaluator
    monkeypatch.setattr(door, "Evaluator", lambda *a, **k: made.append(1) or evaluator(*a, **k))
    monkeypatch.setitem(one_row.run.made, np.dtype("float64"), lambda *a: calls.append(1) or run(*a))
    net = bp.Network([3, 4, 2], seed=0)
    for _ in range(5):
        net.predict_one(np.ones(3), np.empty(2))
    assert (len(made), len(calls)) == (1, 5)


def test_nothing_holds_a_network_that_nobody_has():
    net = bp.Network([3, 4, 2], seed=0)
    net.predict_one(np.ones(3))
    kept, gone = net.predict_one, weakref.ref(net)
    del net
    gc.collect()
    assert kept(np.ones(3)).shape == (2,)  # the method has the network
    del kept
    gc.collect()
    assert gone() is None


def test_what_is_called_keeps_the_parameters():
    net = network(cases.ALL_CASES[0])
    x = np.ones(net.sizes[0])
    expected, call = net.predict_one(x), net._one_row
    del net
    gc.collect()
    [np.full(100, 7.0) for _ in range(1000)]  # elsewhere, if anything was freed
    assert same_bits(call(x, None), expected)


@pytest.mark.parametrize("sizes", [[3, 8, 2], [3, 3000, 2]], ids=["on the stack", "wide"])
def test_threads_may_predict_at_once(sizes):
    net = bp.Network(sizes, "tanh", seed=0)
    X = np.random.default_rng(4).standard_normal((50, 3))
    expected, wrong = net.predict(X), []

    def work():
        out = np.empty(2)
        for _ in range(20):
            for x, row in zip(X, expected, strict=True):
                if not same_bits(net.predict_one(x, out), row):
                    wrong.append(x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_an_own_function_that_raises_is_an_error():
    @numba.njit
    def picky(z):
        if z > 100:
            raise ValueError("too large")
        return z

    net = bp.Network([1, 1, 1], bp.Activation("picky", picky, numba.njit(lambda z: 1.0)), initializer="zeros")
    net.weights[0] = [[1.0]]
    assert net.predict_one(np.array([1.0])).shape == (1,)
    with pytest.raises(RuntimeError, match="picky"):
        net.predict_one(np.array([1000.0]))
