"""Training of networks whose every layer fits into one vector, against the reference and against the general passes."""

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import cutting, workspace
from fastbp.engine.problem_frames import make_frame
from fastbp.kernels.layers.narrow import trains_narrow
from fastbp.kernels.layers.net import Net
from fastbp.kernels.machine.pointers import at
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.vectors.values import HAS_VECTORS, lanes_of
from fastbp.model.definition import problem_of
from tests import cases, reference
from tests.reference import relative_error
from tests.twins import same_bits, twins

pytestmark = [
    pytest.mark.skipif(not HAS_VECTORS, reason="a processor without masked vectors"),
    pytest.mark.filterwarnings("ignore:`output=.softmax.` with one output"),  # whose numbers are compared all the same
]
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)

OUTPUTS = [
    ("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"), ("identity", "quadratic"), ("tanh", "quadratic"),
    ("sigmoid", "quadratic"), ("relu", "quadratic"), ("leaky_relu", "quadratic"),
]  # fmt: skip
SIZES = [
    [1, 1, 2], [2, 4, 4, 2], [3, 5, 7, 3], [4, 8, 2], [8, 3, 1], [7, 2, 5, 3], [5, 6], [8, 8, 8, 8], [2, 3, 4, 5, 2],
    [16, 16, 16, 16], [2, 16, 16, 2], [13, 9, 11, 10],
]  # fmt: skip


def is_narrow(net, batch_size):
    """Whether fit takes its steps in vectors."""
    frame = make_frame(problem_of(net), batch_size, batch_size, gradient=True)
    w = frame.workspace
    return bool(_asks_the_kernel(w.layers.ravel(), w.segments.ravel(), w.plan, frame.data, frame.scalars))


@numba.njit
def _asks_the_kernel(layers, segments, plan, data, scalars):
    """Whether the kernel, given these tables, trains in vectors; the optimizer is SGD, code 0."""
    table, reals = at(plan, 0), at(scalars, 0)
    return trains_narrow(Net(at(layers, 0), at(segments, 0), table, at(data, 0), reals, reals, table))


def trained(monkeypatch, narrow, sizes, activation, output, loss, dtype, **fit):
    """Parameters and losses after some steps, in vectors or by the general passes."""
    monkeypatch.setattr(cutting, "_MOST_NARROW_ROWS", 1000 if narrow else 0)
    monkeypatch.setattr(cutting, "_MOST_NARROW_PRODUCTS", 1e9)
    net = bp.Network(
        sizes,
        activation,
        output,
        loss,
        dtype=dtype,
        seed=3,
        l2_penalty=fit.pop("l2", 0.0),
        l1_penalty=fit.pop("l1", 0.0),
    )
    net.params[...] += np.linspace(-0.1, 0.1, net.n_params, dtype=dtype)  # biases too
    assert is_narrow(net, fit["batch_size"]) == (narrow and max(sizes) <= lanes_of(net.dtype.itemsize))
    rng = np.random.default_rng(5)
    X, labels = rng.standard_normal((23, sizes[0])).astype(dtype), rng.integers(sizes[-1], size=23)
    Y = labels if output == "softmax" else rng.random((23, sizes[-1])).astype(dtype)
    history = net.fit(X, Y, seed=1, **fit)
    return net.params.copy(), np.array(history.loss)


def agree(monkeypatch, *network, **fit):
    """Both ways give the same numbers but for the rounding."""
    narrow, general = (trained(monkeypatch, way, *network, **fit) for way in (True, False))
    assert relative_error(narrow[0], general[0]) < 10 * cases.VALUE_RTOL[network[-1]]
    assert relative_error(narrow[1], general[1]) < cases.VALUE_RTOL[network[-1]]


@dtypes
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("output", "loss"), [*OUTPUTS[:2], OUTPUTS[2]])
def test_all_widths(sizes, output, loss, dtype, monkeypatch):
    for batch_size in (1, 3):
        agree(
            monkeypatch, sizes, "tanh", output, loss, dtype, epochs=1, batch_size=batch_size, optimizer=bp.SGD(0.05),
            l2=0.01,
        )  # fmt: skip


@dtypes
@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "relu", "leaky_relu"])
@pytest.mark.parametrize(("output", "loss"), OUTPUTS)
def test_all_activations_and_losses(activation, output, loss, dtype, monkeypatch):
    agree(
        monkeypatch, [3, 5, 6, 4], activation, output, loss, dtype, epochs=2, batch_size=2, optimizer=bp.SGD(0.02),
        sample_weight=np.linspace(0, 2, 23).astype(dtype), l1=0.001,
    )  # fmt: skip


@dtypes
@pytest.mark.parametrize("case", cases.OPTIMIZER_CASES, ids=str)
def test_steps_are_those_of_the_reference(case, dtype):
    """Ten steps of each optimizer; with clipping they are made by the general passes."""
    network = cases.Case("3-4-3", [3, 4, 3], "tanh", "softmax", "cross_entropy", l2_penalty=0.05, l1_penalty=0.01)
    problem, net = twins(network, np.random.default_rng(61), 10, dtype)
    assert is_narrow(net, 1) == (lanes_of(net.dtype.itemsize) >= 4)
    expected = reference.train(
        network, problem.params, problem.X, problem.Y, [np.array([i]) for i in range(10)], case.kind,
        case.hyper_parameters, clip_norm=case.clip_norm,
    )  # fmt: skip
    net.fit(
        problem.X, problem.Y, epochs=1, batch_size=1, optimizer=getattr(bp, case.kind)(**case.hyper_parameters),
        shuffle=False, clip_norm=case.clip_norm,
    )  # fmt: skip
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL[dtype]


@dtypes
def test_inputs_and_targets_may_be_strided(dtype):
    """Columns apart, backwards, and of one label or of one-hot rows: the same bits."""
    rng = np.random.default_rng(7)
    X, labels = rng.standard_normal((12, 3)).astype(dtype), rng.integers(4, size=12)
    Y = np.eye(4, dtype=dtype)[labels]
    spread_X, spread_Y = np.zeros((24, 9), dtype), np.zeros((24, 8), dtype)
    spread_X[::2, ::3], spread_Y[::2, ::-2] = X, Y
    forms = [
        (X, labels),
        (X, Y),
        (np.asfortranarray(X), np.asfortranarray(Y)),
        (spread_X[::2, ::3], spread_Y[::2, ::-2]),
    ]
    results = []
    for inputs, targets in forms:
        net = bp.Network([3, 5, 4], "relu", "softmax", "cross_entropy", dtype=dtype, seed=0)
        net.fit(inputs, targets, epochs=2, batch_size=1, seed=1)
        results.append(net.params)
    assert all(same_bits(results[0], params) for params in results[1:])


def test_what_does_not_fit_takes_the_general_passes():
    wide = lanes_of(4) + 1
    assert is_narrow(bp.Network([2, 4, 2], "relu", "identity", dtype="float32"), 1)
    assert not is_narrow(bp.Network([2, 4, 2], "relu", "identity", dtype="float32"), 1000)
    assert not is_narrow(bp.Network([2, wide, 2], "relu", "identity", dtype="float32"), 1)
    assert not is_narrow(bp.Network([wide, 2], "relu", "identity", dtype="float32"), 1)
    assert not is_narrow(bp.Network([2, 4, 2], "gelu", "identity", dtype="float32"), 1)
    assert not is_narrow(bp.Network([2, 4, 2], [[("relu", 2), ("tanh", 2)]], "identity", dtype="float32"), 1)
    assert not is_narrow(bp.Network([2, 4, 2], "relu", "softmax", dtype="float32"), 1)  # with the quadratic loss


@dtypes
@pytest.mark.parametrize("sizes", [[2, 4, 4, 2], [5, 1, 3]], ids=str)
def test_nothing_is_left_beside_the_packed_parameters(sizes, dtype):
    """Every parameter has a place of its own, and a whole number of vectors holds them."""
    net = bp.Network(sizes, "relu", "identity", dtype=dtype, seed=0)
    lanes = lanes_of(net.dtype.itemsize)
    if max(sizes[1:]) > lanes:
        pytest.skip("vectors are shorter than these layers")
    layers = np.zeros((len(sizes) - 1, in_layer.LAYER_COLUMNS), np.int64)
    layers[:, in_layer.FAN_IN], layers[:, in_layer.FAN_OUT] = sizes[:-1], sizes[1:]
    size = workspace.place_packed(layers, lanes)
    places = []
    for row in layers:
        pitch = 1 << row[in_layer.PITCH]
        assert row[in_layer.FAN_OUT] <= pitch < 2 * row[in_layer.FAN_OUT]
        places += [
            row[in_layer.PACKED] + k * pitch + j
            for k in range(row[in_layer.FAN_IN])
            for j in range(row[in_layer.FAN_OUT])
        ]
        blocks = -(-row[in_layer.FAN_IN] * pitch // lanes)
        places += [row[in_layer.PACKED] + blocks * lanes + j for j in range(row[in_layer.FAN_OUT])]
    assert len(set(places)) == net.n_params
    assert size % lanes == 0
    assert max(places) < size


@dtypes
@pytest.mark.parametrize("optimizer", [bp.Adam(0.01, epsilon=1e-300), bp.RMSprop(0.01, epsilon=1e-300)], ids=str)
def test_an_epsilon_may_be_tiny(optimizer, dtype, monkeypatch):
    """No place without a parameter becomes 0 / 0."""
    agree(
        monkeypatch, [3, 5, 3], "tanh", "softmax", "cross_entropy", dtype, epochs=2, batch_size=1, optimizer=optimizer
    )  # fmt: skip


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy warns of the overflow")
def test_a_diverging_step_is_not_taken():
    net = bp.Network([1, 2, 1], "relu", "identity", initializer="zeros", dtype="float64")
    before = net.params.copy()
    X, Y = np.ones((3, 1)), np.array([[1.0], [1e200], [1.0]])
    with pytest.raises(bp.TrainingDivergedError):
        net.fit(X, Y, epochs=1, batch_size=1, optimizer=bp.SGD(1e-3), shuffle=False)
    assert same_bits(net.params, before)
