"""Laws that every network obeys: averages, weights, permutations, layouts of the inputs, dtypes, copies."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp as bp
from fastbp.engine import parameters
from tests import cases, problems
from tests.reference import relative_error
from tests.twins import network, same_bits, twins, value_and_gradient

LAW_RTOL = {"float32": 2e-5, "float64": 1e-12}  # two orders of summation of a few rows
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
all_cases = pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)


def pair(net, X, Y, sample_weight=None):
    """Gradient and cost in one vector."""
    cost, grad = net.value_and_grad(X, Y, sample_weight=sample_weight)
    return np.append(grad, cost)


# ---- Averages ------------------------------------------------------------------------------------------------------


@dtypes
@all_cases
def test_laws_of_the_average(case, dtype):
    problem, net = twins(case, np.random.default_rng(41), 6, dtype)
    X, Y, rtol = problem.X, problem.Y, LAW_RTOL[dtype]
    batch = pair(net, X, Y)
    assert relative_error(np.mean([pair(net, X[[i]], Y[[i]]) for i in range(6)], axis=0), batch) < rtol
    order = [3, 1, 5, 0, 2, 4]
    assert relative_error(pair(net, X[order], Y[order]), batch) < rtol
    twice = [0, 1, 1, 2, 3, 4, 5]
    assert relative_error(pair(net, X, Y, [1, 2, 1, 1, 1, 1]), pair(net, X[twice], Y[twice])) < rtol
    assert relative_error(pair(net, X, Y, [3, 0, 3, 0, 0, 3]), pair(net, X[[0, 2, 5]], Y[[0, 2, 5]])) < rtol
    assert relative_error(pair(net, X, Y, np.full(6, 7.0)), batch) < rtol


@dtypes
def test_a_row_of_weight_zero_does_not_count_even_if_its_cost_is_infinite(dtype):
    net = bp.Network([1, 1], seed=0, dtype=dtype)
    huge = np.array([[1.0], [np.finfo(dtype).max]], dtype)
    Y = np.array([[0.5], [0.0]], dtype)
    expected_cost, expected = net.value_and_grad(huge[:1], Y[:1])
    cost, grad = net.value_and_grad(huge, Y, sample_weight=[1.0, 0.0])
    assert cost == pytest.approx(expected_cost)
    assert relative_error(grad, expected) < LAW_RTOL[dtype]


@dtypes
@pytest.mark.parametrize("loss", ["cross_entropy", "quadratic"])
def test_softmax_ignores_a_shift_of_the_logits(loss, dtype):
    case = cases.Case("softmax", [3, 5, 4], "tanh", "softmax", loss)
    problem, net = twins(case, np.random.default_rng(42), 6, dtype)
    outputs, expected = net.predict(problem.X), value_and_gradient(problem, net)
    for shift in (-3.0, 0.5, 20.0):
        net.params = problem.params
        net.biases[-1][...] += shift
        assert relative_error(net.predict(problem.X), outputs) < 10 * LAW_RTOL[dtype]
        cost, grad = value_and_gradient(problem, net)
        assert cost == pytest.approx(expected[0], rel=10 * LAW_RTOL[dtype])
        assert relative_error(grad, expected[1]) < 10 * LAW_RTOL[dtype]


@dtypes
def test_labels_are_one_hot_rows(dtype):
    case = cases.Case("labels", [5, 7, 4], "relu", "softmax", "cross_entropy")
    rng = np.random.default_rng(43)
    net = network(case, problems.random_params(case, rng), dtype)
    X, labels = rng.standard_normal((50, 5)).astype(dtype), rng.integers(4, size=50)
    one_hot = np.eye(4, dtype=dtype)[labels]
    expected = pair(net, X, one_hot)
    for kind in (labels, labels.astype(np.uint8), labels.astype(np.int32), labels.tolist(), labels[::-1][::-1]):
        assert same_bits(pair(net, X, kind), expected)
    assert net.loss_value(X, labels) == net.loss_value(X, one_hot)
    assert same_bits(trained(net, X, labels), trained(net, X, one_hot))


def trained(net, X, Y, **settings):
    """Parameters after two epochs; the network stays as it is."""
    before = net.params.copy()
    net.fit(X, Y, epochs=2, batch_size=min(16, len(X)), optimizer=bp.Adam(0.01), seed=5, **settings)
    after = net.params.copy()
    net.params = before
    return after


# ---- The flat vector -----------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_views_are_the_flat_vector(sizes):
    params = np.arange(float(parameters.count_params(sizes)))
    weights, biases = parameters.views(params, sizes)
    assert [W.shape for W in weights] == list(itertools.pairwise(sizes))
    assert [b.shape for b in biases] == [(size,) for size in sizes[1:]]
    packed = np.concatenate([part.ravel() for both in zip(weights, biases, strict=True) for part in both])
    assert same_bits(packed, params)
    assert all(np.shares_memory(view, params) for view in weights + biases)


def test_writing_into_views_and_vector_changes_the_network():
    net = bp.Network([2, 3, 1], seed=0)
    net.weights[0][1, 2] = 17.0
    assert net.params[5] == 17.0
    net.params[6] = 18.0
    assert net.biases[0][0] == 18.0
    vector = net.params
    net.params = np.arange(13.0)
    assert net.params is vector
    assert net.weights[1][2, 0] == 11.0


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_whole_and_independent(duplicate):
    net = bp.Network([2, 3, 1], seed=0, l2_penalty=0.5, dropout=0.25)
    X, Y = np.ones((4, 2)), np.ones((4, 1))
    net.fit(X, Y, epochs=2, seed=1)
    net.predict(X)
    kept = net.params.copy()
    twin = duplicate(net)
    assert same_bits(twin.params, kept)
    other = twin.predict(-X)
    assert same_bits(other, net.predict(-X))
    assert twin.value_and_grad(X, Y)[0] == net.value_and_grad(X, Y)[0]
    assert twin.fit(X, Y, epochs=2).loss.tolist() == net.fit(X, Y, epochs=2).loss.tolist()
    assert same_bits(twin.params, net.params)
    kept = net.params.copy()
    twin.weights[0][...] = 0.0
    assert np.array_equal(twin.params[:6], np.zeros(6))
    assert same_bits(net.params, kept)


# ---- Inputs as they come -------------------------------------------------------------------------------------------


def overlapping(values):
    """The rows of a sliding window over the values: each begins one element after the one before."""
    flat = np.ascontiguousarray(values).reshape(-1)
    n, k = values.shape
    return np.lib.stride_tricks.sliding_window_view(flat, k)[:n]


def unaligned(values):
    """The same values, one byte off."""
    raw = np.empty(values.nbytes + 1, np.uint8)
    view = raw[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


def in_a_record(values):
    """A field of records: its strides are no multiples of its elements."""
    records = np.zeros(len(values), [("tag", "u1"), ("row", values.dtype, values.shape[1:])])
    records["row"] = values
    return records["row"]


def between(values):
    """Every second row and third column of a larger array."""
    larger = np.full((2 * len(values), 3 * values.shape[1]), np.nan, values.dtype)
    larger[::2, 1::3] = values
    return larger[::2, 1::3]


def read_only(values):
    """A copy that cannot be written to."""
    values = values.copy()
    values.flags.writeable = False
    return values


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": lambda values: np.ascontiguousarray(values.T).T,
    "rows-backwards": lambda values: values[::-1].copy()[::-1],
    "columns-backwards": lambda values: values[:, ::-1].copy()[:, ::-1],
    "both-backwards": lambda values: values[::-1, ::-1].copy()[::-1, ::-1],
    "strided": between,
    "padded-rows": lambda values: np.pad(values, ((0, 0), (0, 3)))[:, : values.shape[1]],
    "overlapping": overlapping,
    "one-row-for-all": lambda values: np.broadcast_to(values[:1], values.shape),
    "one-column-for-all": lambda values: np.broadcast_to(values[:, :1], values.shape),
    "one-number-for-all": lambda values: np.broadcast_to(values[:1, :1], values.shape),
    "read-only": read_only,
    "unaligned": unaligned,
    "in-a-record": in_a_record,
}


@dtypes
@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_agree_with_contiguous_arrays(name, n, dtype):
    rng = np.random.default_rng(44)
    net = bp.Network([6, 9, 4], activation="tanh", seed=0, dtype=dtype)
    X, Y = (LAYOUTS[name](rng.standard_normal((n, k)).astype(dtype)) for k in (6, 4))
    plain_X, plain_Y = np.array(X, order="C"), np.array(Y, order="C")
    before = X.tobytes(), Y.tobytes()
    # BLAS may round in another order where the rows lie apart from each other.
    rtol = LAW_RTOL[dtype]
    assert relative_error(net.predict(X), net.predict(plain_X)) < rtol
    assert relative_error(pair(net, X, Y), pair(net, plain_X, plain_Y)) < rtol
    assert net.loss_value(X, Y) == pytest.approx(net.loss_value(plain_X, plain_Y), rel=rtol)
    assert relative_error(trained(net, X, Y), trained(net, plain_X, plain_Y)) < cases.TRAJECTORY_RTOL[dtype]
    assert (X.tobytes(), Y.tobytes()) == before


@dtypes
def test_sample_weight_and_labels_of_any_layout(dtype):
    rng = np.random.default_rng(45)
    net = bp.Network([6, 9, 4], "tanh", "softmax", "cross_entropy", seed=0, dtype=dtype)
    X, labels, w = rng.standard_normal((40, 6)).astype(dtype), rng.integers(4, size=40), rng.random(40)
    expected = pair(net, X, labels, w)
    assert same_bits(pair(net, X, np.repeat(labels, 2)[::2], np.repeat(w, 3)[::3]), expected)
    assert same_bits(pair(net, X, labels[::-1].copy()[::-1], w[::-1].copy()[::-1]), expected)
    assert same_bits(pair(net, X, labels, w.tolist()), expected)


def test_memory_mapped(tmp_path):
    rng = np.random.default_rng(46)
    net = bp.Network([6, 9, 4], seed=0)
    X, Y = rng.standard_normal((300, 6)), rng.standard_normal((300, 4))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    mapped_X, mapped_Y = (np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "Y.npy"))
    assert same_bits(pair(net, mapped_X, mapped_Y), pair(net, X, Y))
    assert same_bits(trained(net, mapped_X, mapped_Y), trained(net, X, Y))
    assert type(net.predict(mapped_X)) is np.ndarray


@dtypes
def test_integers_booleans_and_lists_are_converted(dtype):
    rng = np.random.default_rng(47)
    net = bp.Network([3, 5, 2], activation="tanh", seed=0, dtype=dtype)
    X, Y = rng.integers(-3, 4, (7, 3)), rng.integers(0, 2, (7, 2))
    expected = pair(net, X.astype(dtype), Y.astype(dtype))
    for kind in ("int8", "int16", "int32", "int64"):
        assert same_bits(pair(net, X.astype(kind), Y.astype(kind.replace("int", "uint"))), expected)
    assert same_bits(pair(net, X, Y.astype(bool)), expected)
    assert same_bits(pair(net, X.tolist(), Y.tolist()), expected)
    assert same_bits(pair(net, X.astype(float).tolist(), [tuple(row) for row in Y.astype(float)]), expected)
    single = bp.Network([3, 1], seed=0, dtype=dtype)
    column = Y[:, :1].astype(dtype)
    assert same_bits(pair(single, X, Y[:, 0]), pair(single, X, column))


# ---- dtype in is dtype out, and nothing is modified ----------------------------------------------------------------


@dtypes
@all_cases
def test_dtype_in_is_dtype_out_and_inputs_stay_as_they_are(case, dtype):
    problem, net = twins(case, np.random.default_rng(48), 6, dtype, weighted=True)
    arrays = problem.params, problem.X, problem.Y, problem.sample_weight
    kept = [array.copy() for array in arrays]
    for array in arrays[1:]:
        array.flags.writeable = False
    X, Y, w = arrays[1:]
    assert net.predict(X).dtype == dtype
    assert net.value_and_grad(X, Y, problem.params, w)[1].dtype == dtype
    assert isinstance(net.loss_value(X, Y, w), float)
    assert net.trace(X, Y, w).layers[0].dW.dtype == dtype
    net.fit(X, Y, epochs=2, batch_size=4, validation_data=(X, Y, w), sample_weight=w, seed=0)
    assert net.params.dtype == dtype
    assert all(same_bits(array, copied) for array, copied in zip(arrays, kept, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float64"), "float32", float])
def test_network_knows_every_spelling_of_its_dtype(dtype):
    net = bp.Network([2, 3, 1], dtype=dtype)
    assert net.dtype == net.params.dtype == net.weights[0].dtype == np.dtype(dtype)
