"""Whose memory is it: what is read-only is never written, and nothing that a user changes during a call is an index."""

import copy
import gc
import pickle
import weakref

import joblib
import numpy as np
import pytest

import fastbp as bp
from fastbp.engine.batch_cost import BatchCost
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.definition import problem_of
from fastbp.validation.data import Targets
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


def test_the_cost_of_a_data_set_keeps_it_alive():
    """The kernels have no more than the addresses of its arrays."""
    net, objective = bp.Network([6, 2], seed=0), Objective(None, 0.0, 1.0, 0.0, 0.0)
    data = Data(X.copy(), Targets(Y.copy(), None))
    arrays = [weakref.ref(array) for array in (data.X, data.targets.array)]
    cost = BatchCost(problem_of(net), data, objective, gradient=False)
    del data
    gc.collect()
    assert all(array() is not None for array in arrays)
    assert cost.cost(net.params) == pytest.approx(net.loss_value(X, Y))


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
    assert twin._training_state.vectors.flags.writeable
    assert not np.shares_memory(twin._training_state.vectors, net._training_state.vectors)
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
    net._training_state.vectors.setflags(write=False)
    with pytest.raises(ValueError, match="must be writable"):
        net.fit(X, Y, epochs=1)
    pickle.loads(pickle.dumps(net)).fit(X, Y, epochs=1)  # whose vectors are its own


# ---- What a user changes during a call -------------------------------------------------------------------------------

LABELS = np.arange(40) % 3
WEIGHTS = np.linspace(0.5, 2.0, 40)
NEVER_A_LABEL = 10**7  # that many numbers further on there is no memory of ours


def classifier():
    return bp.Network([6, 5, 3], "tanh", "softmax", "cross_entropy", seed=0)


@pytest.mark.parametrize("dtype_of_labels", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("value", [NEVER_A_LABEL, -1, 2])
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_labels_are_those_of_the_beginning(batch_size, value, dtype_of_labels):
    """A callback that writes to `y` changes nothing: the labels were copied when they were looked at."""
    results = []
    for changes in (False, True):
        y, y_val, net = LABELS.astype(dtype_of_labels), LABELS.astype(dtype_of_labels), classifier()

        def relabel(net, history, y=y, y_val=y_val, changes=changes):
            if changes:
                y[:] = y_val[::7] = np.array(value).astype(y.dtype)

        history = net.fit(
            X, y, epochs=3, batch_size=batch_size, seed=0, validation_data=(X, y_val), callbacks=[relabel]
        )
        results.append((net.params.copy(), history.loss, history.val_loss))
    for plain, changed in zip(*results, strict=True):
        assert np.array_equal(plain, changed)


def test_labels_that_change_far_outside_end_no_process():
    """Ten million rows away there is no memory, so this runs in a process of its own."""
    code = f"""
import numpy as np, fastbp as bp
X, y = np.zeros((2000, 20)), np.arange(2000) % 5
net = bp.Network([20, 30, 5], "tanh", "softmax", "cross_entropy", seed=0)
def relabel(net, history):
    y[:] = {NEVER_A_LABEL}
history = net.fit(X, y, epochs=3, validation_data=(X, y), callbacks=[relabel])
print(len(history))
"""
    assert run_python(code) == "3\n"


@pytest.mark.parametrize("shape", [(240, 1), (1, 240), (240,)], ids=str)
def test_shapes_are_those_of_the_beginning(shape):
    """An array's shape can be set where it is: its views keep theirs."""
    results = []
    for changes in (False, True):
        net, arrays = bp.Network([6, 5, 2], "tanh", seed=0), [X.copy(), Y.copy(), WEIGHTS.copy()]

        def reshape(net, history, arrays=arrays, changes=changes):
            if changes and len(history) == 1:
                arrays[0].shape, arrays[1].shape, arrays[2].shape = shape, (80, 1), (1, 40)

        history = net.fit(
            arrays[0], arrays[1], epochs=3, batch_size=4, seed=0, sample_weight=arrays[2], callbacks=[reshape],
            validation_data=(arrays[0], arrays[1], arrays[2]),
        )  # fmt: skip
        results.append((net.params.copy(), history.loss, history.val_loss))
    for plain, changed in zip(*results, strict=True):
        assert np.array_equal(plain, changed)


def test_another_thread_may_write_to_everything_at_any_time():
    """Every call with every array under another thread's hands: a number or an error, and the process lives."""
    code = f"""
import sys, threading, numpy as np, fastbp as bp
from fastbp.neural_network import MLPClassifier
sys.setswitchinterval(1e-5)
rng = np.random.default_rng(0)
n = 30_000
X, y, w = rng.standard_normal((n, 20)), np.arange(n) % 5, np.ones(n)
net = bp.Network([20, 30, 5], "tanh", "softmax", "cross_entropy", seed=0)
over, right = threading.Event(), y.copy()
def scribble():
    values = [{NEVER_A_LABEL}, -1, -(1 << 62), 0]
    i = 0
    while not over.is_set():
        y[:] = values[i % 4]
        X[i % n] = w[i % n] = [1.0, 1e300, np.nan, 0.0][i % 4]
        net.params[i % net.n_params] = 0.01
        y[:] = right
        i += 1
writer = threading.Thread(target=scribble)
writer.start()
calls = [
    lambda: net.fit(X, y, epochs=2, sample_weight=w, validation_data=(X, y, w)),
    lambda: net.fit(X, y, epochs=1, batch_size=7, sample_weight=w),
    lambda: net.loss_value(X, y, w),
    lambda: net.value_and_grad(X, y, sample_weight=w),
    lambda: net.predict(X),
    lambda: net.trace(X[:500], y[:500], w[:500]),
    lambda: bp.node_perturbation(net, X[:20], y[:20]),
    lambda: bp.finite_difference_gradient(net, X[:20], y[:20]),
    lambda: bp.find_learning_rate(net, X, y),
    lambda: bp.random_weight_search(net, X, y, 50),
    lambda: MLPClassifier((8,), max_iter=2, batch_size=500).fit(X, y, w),
]
import warnings
warnings.simplefilter("ignore")
done = 0
try:
    for call in calls * 4:
        try:
            call()
        except (ValueError, ArithmeticError):
            pass
        done += 1
finally:
    over.set()
    writer.join()
print(done == 4 * len(calls))
"""
    assert run_python(code, time_limit=300) == "True\n"


def test_another_thread_may_set_shapes_while_they_are_looked_at():
    """The long look for NaN lies between check and kernel: what was checked is a view, whose shape nobody sets."""
    code = """
import sys, threading, numpy as np, fastbp as bp
from fastbp.neural_network import MLPRegressor
sys.setswitchinterval(1e-5)
net = bp.Network([500, 2], initializer="zeros")
model = MLPRegressor(hidden_layer_sizes=(), max_iter=1, solver="sgd", random_state=0)
import warnings
warnings.simplefilter("ignore")
model.fit(np.ones((4, 500)), np.ones((4, 2)))
over = threading.Event()
arrays = []
def reshape():
    while not over.is_set():
        for array in list(arrays):
            array.shape = (array.size, 1)
            array.shape = (4000, array.size // 4000)
writer = threading.Thread(target=reshape)
writer.start()
wrong = 0
try:
    for _ in range(10):
        X, Y, w = np.ones((4000, 500)), np.ones((4000, 2)), np.ones(4000)
        arrays[:] = [X, Y]
        for call in (lambda: net.predict(X), lambda: model.predict(X)):
            try:
                wrong += call().shape != (4000, 2)
            except ValueError:
                pass
        for call in (lambda: net.loss_value(X, Y, w), lambda: net.fit(X, Y, epochs=1), lambda: model.fit(X, Y)):
            try:
                call()
            except (ValueError, IndexError):
                pass
finally:
    over.set()
    writer.join()
print(wrong)
"""
    assert run_python(code, time_limit=300) == "0\n"
