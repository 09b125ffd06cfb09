"""Whose memory is it: what is read-only is never written, and what a user changes during a call is never an index."""

import copy
import pickle

import joblib
import numpy as np
import pytest

import fastbp as bp
from tests import cases
from tests.fresh import run_python

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
X = np.random.default_rng(0).standard_normal((40, 6))
Y = X[:, :2] - X[:, 2:4]
READ_ONLY = (
    "`net.params` must be writable to be trained or set; the array, or one of `net.weights` and `net.biases`, is "
    "read-only. Train copy.deepcopy(net), whose parameters are its own, or call setflags(write=True)."
)


def trained(dtype="float64"):
    """A network that has been trained, and so has an optimizer with two vectors."""
    net = bp.Network([6, 5, 2], "tanh", dtype=dtype, seed=0)
    net.fit(X.astype(dtype), Y.astype(dtype), epochs=2, seed=0)
    return net


# ---- Networks from elsewhere -----------------------------------------------------------------------------------------


def from_buffers(net):
    """A pickle whose arrays lie in bytes outside of it, as shared memory and ray hand them over."""
    buffers = []
    data = pickle.dumps(net, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


def from_memory_map(net, folder):
    """joblib's file, its arrays mapped read-only."""
    joblib.dump(net, folder / "net.joblib")
    return joblib.load(folder / "net.joblib", mmap_mode="r")


WAYS = {
    "deepcopy": lambda net, folder: copy.deepcopy(net),
    "copy": lambda net, folder: copy.copy(net),
    "pickle": lambda net, folder: pickle.loads(pickle.dumps(net)),
    "buffers": lambda net, folder: from_buffers(net),
    "memory map": from_memory_map,
}


@dtypes
@pytest.mark.parametrize("way", WAYS)
def test_a_network_owns_its_parameters_however_it_came(way, dtype, tmp_path):
    net = trained(dtype)
    before = net.params.copy()
    twin = WAYS[way](net, tmp_path)
    assert type(twin.params) is np.ndarray
    assert twin.params.flags.writeable
    assert twin.params.flags.owndata
    assert not np.shares_memory(twin.params, net.params)
    assert twin.training_state.vectors.flags.writeable
    assert not np.shares_memory(twin.training_state.vectors, net.training_state.vectors)
    data = X.astype(dtype), Y.astype(dtype)
    twin.fit(*data, epochs=2)
    assert np.array_equal(net.params, before)
    net.fit(*data, epochs=2)
    assert np.array_equal(net.params, twin.params)  # the optimizer and the random numbers went on in both


def test_no_bytes_are_written_through_a_pickle():
    """`bytes` never change; the old parameters lay in them."""
    net = trained()
    buffers = []
    data = pickle.dumps(net, protocol=5, buffer_callback=buffers.append)
    kept = [bytes(buffer) for buffer in buffers]
    expected = [bytearray(part) for part in kept]
    pickle.loads(data, buffers=kept).fit(X, Y, epochs=2)
    assert [bytearray(part) for part in kept] == expected


def test_networks_that_joblib_maps_are_trained_in_its_workers():
    """joblib maps arrays above a megabyte, so that all workers have them once, to be read."""
    code = """
import joblib, numpy as np, fastbp as bp
net = bp.Network([100, 600, 600, 1], seed=0)
X = np.random.default_rng(0).normal(size=(64, 100))
def train(net):
    return float(net.fit(X, X[:, 0], epochs=1, seed=0).loss[0])
losses = joblib.Parallel(n_jobs=2)(joblib.delayed(train)(net) for _ in range(2))
print(losses[0] == losses[1] == train(net))
"""
    assert run_python(code) == "True\n"


# ---- Read-only parameters --------------------------------------------------------------------------------------------


def set_params(net):
    net.params = np.zeros(net.n_params)


WRITERS = {
    "fit": lambda net: net.fit(X, Y, epochs=1),
    "find_learning_rate": lambda net: bp.find_learning_rate(net, X, Y),
    "random_weight_search": lambda net: bp.random_weight_search(net, X, Y, 10),
    "params": set_params,
    "load_torch_state_dict": lambda net: net.load_torch_state_dict(bp.Network([6, 5, 2], seed=1).torch_state_dict()),
}


@pytest.mark.parametrize("freeze", [lambda net: net.params, lambda net: net.weights[0], lambda net: net.biases[-1]])
@pytest.mark.parametrize("writer", WRITERS)
def test_read_only_parameters_are_not_written(writer, freeze):
    net = bp.Network([6, 5, 2], "tanh", seed=0)
    freeze(net).setflags(write=False)
    before = net.params.copy()
    with pytest.raises(ValueError, match="must be writable") as caught:
        WRITERS[writer](net)
    assert str(caught.value) == READ_ONLY
    assert np.array_equal(net.params, before)
    net.predict(X), net.value_and_grad(X, Y), bp.check_gradient(net, X, Y)  # what only reads goes on


def test_a_callback_that_makes_them_read_only_ends_the_fit():
    net = bp.Network([6, 5, 2], "tanh", seed=0)
    after_first = []

    def freeze(net, history):
        after_first.append(net.params.copy())
        net.params.setflags(write=False)

    with pytest.raises(ValueError, match="must be writable"):
        net.fit(X, Y, epochs=3, callbacks=[freeze])
    assert len(net.history) == 1
    assert np.array_equal(net.params, after_first[0])


def test_the_optimizer_s_vectors_are_not_written_either():
    net = trained()
    net.training_state.vectors.setflags(write=False)
    with pytest.raises(ValueError, match="must be writable"):
        net.fit(X, Y, epochs=1)
    pickle.loads(pickle.dumps(net)).fit(X, Y, epochs=1)  # whose vectors are its own
