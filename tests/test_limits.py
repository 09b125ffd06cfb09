"""Sizes beyond 32 bits and beyond the memory: they work, or are refused before anything is allocated."""

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import workspace as layout
from fastbp.engine.problem import Problem
from fastbp.functions.segments import Segment
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.system import memory
from tests.twins import same_bits

GIB = 1 << 30


@pytest.fixture
def eight_gib(monkeypatch):
    """A machine with 8 GiB left, on which NumPy must not be asked for more."""
    monkeypatch.setattr(memory, "available_memory", lambda: 8 * GIB)
    for name in ("empty", "zeros"):
        monkeypatch.setattr(np, name, guarded(getattr(np, name)))


def guarded(make):
    def guarded_make(shape, *arguments, **rest):
        assert np.prod(np.atleast_1d(shape), dtype=float) < GIB
        return make(shape, *arguments, **rest)

    return guarded_make


def error_of(call, kind=MemoryError):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# ---- Memory ----------------------------------------------------------------------------------------------------------


def test_parameters_that_do_not_fit(eight_gib):
    assert error_of(lambda: bp.Network([100_000, 100_000])) == (
        "A network of 10000100000 parameters with layers of 100000, 100000 would take 160000800000 bytes (149.0 GiB) "
        "of memory, and 8589934592 (8.0 GiB) are available. Make the layers smaller, or use 'float32'."
    )
    most = (1 << 31) - 1
    assert "A network of 4611686016279904256 parameters" in error_of(lambda: bp.Network([most, most], dtype="float32"))
    assert "A network of 9223372032559808512 parameters" in error_of(lambda: bp.Network([most, most, most]))


def test_more_than_2_to_the_31_parameters_are_refused_with_their_number(eight_gib):
    message = error_of(lambda: bp.Network([50_000, 50_000], dtype="float32"))
    assert message.startswith("A network of 2500050000 parameters with layers of 50000, 50000 would take 30000200000 ")


def test_training_that_does_not_fit(monkeypatch):
    net = bp.Network([4000, 10_000], initializer="zeros", dtype="float32")  # 160 MB, and nothing is written to them
    monkeypatch.setattr(memory, "available_memory", lambda: 600 * 1024**2)
    X, Y = np.zeros((1, 4000), "f4"), np.zeros((1, 10_000), "f4")
    assert error_of(lambda: net.fit(X, Y, epochs=1)) == (
        "Training 40010000 parameters with Adam, which takes 4 times as many, would take 640160000 bytes (0.6 GiB) of "
        "memory, and 629145600 (0.6 GiB) are available. Make the layers smaller, use dtype='float32', or bp.SGD "
        "without momentum, which keeps no vectors."
    )
    assert net._training_state is None


def test_outputs_that_do_not_fit(eight_gib):
    net = bp.Network([1, 100_000], dtype="float32", seed=0)
    X = np.broadcast_to(np.float32(1), (100_000, 1))  # 4 bytes
    assert error_of(lambda: net.predict(X)) == (
        "The outputs of 100000 rows would take 40000000000 bytes (37.3 GiB) of memory, and 8589934592 (8.0 GiB) are "
        "available. Predict fewer rows at a time."
    )


def test_a_trace_that_does_not_fit(eight_gib):
    net = bp.Network([1, 3000, 1], seed=0)
    X = np.broadcast_to(1.0, (400_000, 1))
    message = error_of(lambda: net.trace(X, X))
    assert message.startswith("The activations of 1 x 400000 rows would take 28")
    assert message.endswith("are available. Pass fewer rows, or make the layers smaller.")


def test_perturbations_that_do_not_fit(eight_gib):
    net = bp.Network([1, 3000, 1], seed=0)
    X = np.broadcast_to(1.0, (400_000, 1))
    assert error_of(lambda: bp.node_perturbation(net, X, X)) == (
        "The errors of 3001 neurons for 400000 rows would take 19206400000 bytes (17.9 GiB) of memory, and 8589934592 "
        "(8.0 GiB) are available. Pass fewer rows at a time."
    )


def test_copies_for_threads_that_do_not_fit(monkeypatch):
    net = bp.Network([1000, 2000], initializer="zeros", seed=0)  # 16 MB
    monkeypatch.setattr(memory, "available_memory", lambda: 900 * 1024**2)
    X, Y = np.zeros((1, 1000)), np.zeros((1, 2000))
    assert error_of(lambda: bp.finite_difference_gradient(net, X, Y, n_threads=64)) == (
        "A copy of 2002000 parameters for each of 64 threads would take 1025024000 bytes (1.0 GiB) of memory, and "
        "943718400 (0.9 GiB) are available. Use fewer threads."
    )


def test_what_fits_is_not_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    bp.Network([10, 10], seed=0).predict(np.zeros((10, 10)))  # the memory is not looked up where little is needed
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.require_memory(1 << 60, "All", "None.")  # where it is unknown how much there is


# ---- 32 bits ---------------------------------------------------------------------------------------------------------


def test_layers_beyond_32_bits_are_refused():
    assert error_of(lambda: bp.Network([4, 1 << 31]), ValueError) == (
        "`sizes[1]` must be at most 2147483647, because matrix products count in 32 bits; got 2147483648."
    )


def test_rows_further_apart_than_32_bits(tmp_path):
    """Some columns of an array whose rows are 2^31 + 64 numbers long: a sparse file, of which a few pages are read."""
    try:
        wide = np.memmap(tmp_path / "wide", np.float32, "w+", shape=(3, (1 << 31) + 64))
    except (OSError, ValueError) as error:
        pytest.skip(f"needs a file system with sparse files of 24 GiB: {error}")
    rng = np.random.default_rng(0)
    small = rng.standard_normal((3, 8)).astype("f4")
    wide[:, 5:13] = small
    X, Y = wide[:, 5:13], rng.standard_normal((3, 2)).astype("f4")
    net = bp.Network([8, 40, 2], "tanh", dtype="float32", seed=0)
    for part in (slice(None), slice(0, 2), slice(2, 3)):
        assert same_bits(net.predict(X[part]), net.predict(small[part]))
        assert same_bits(net.value_and_grad(X[part], Y[part])[1], net.value_and_grad(small[part], Y[part])[1])
    assert same_bits(
        bp.finite_difference_gradient(net, X, Y).gradient, bp.finite_difference_gradient(net, small, Y).gradient
    )
    twin = bp.Network([8, 40, 2], "tanh", dtype="float32", seed=0)
    for one, inputs in ((net, X), (twin, small)):
        one.fit(inputs, Y, epochs=3, batch_size=2, seed=0)
    assert same_bits(net.params, twin.params)


def test_targets_further_apart_than_32_bits(tmp_path):
    try:
        wide = np.memmap(tmp_path / "wide", np.float32, "w+", shape=(3, (1 << 31) + 64))
    except (OSError, ValueError) as error:
        pytest.skip(f"needs a file system with sparse files of 24 GiB: {error}")
    rng = np.random.default_rng(0)
    X, small = rng.standard_normal((3, 8)).astype("f4"), rng.standard_normal((3, 2)).astype("f4")
    wide[:, 7:9] = small
    net = bp.Network([8, 5, 2], "tanh", dtype="float32", seed=0)
    assert same_bits(net.value_and_grad(X, wide[:, 7:9])[1], net.value_and_grad(X, small)[1])


def test_offsets_beyond_32_bits_are_counted_in_64(monkeypatch):
    """Batch times width passes 2^31: the tables of such a workspace are right, without the workspace itself."""
    monkeypatch.setattr(layout, "require_memory", lambda *arguments: None)
    monkeypatch.setattr(np, "empty", lambda n, dtype: np.broadcast_to(np.zeros(1, dtype), n).view(Unwritten))
    sizes = [3, 100_000, 1]
    segments = [[Segment(0, size, codes.TANH)] for size in sizes[1:]]
    problem = Problem(sizes, np.dtype("f4"), segments, loss=(codes.QUADRATIC, 0, 0))
    workspace = layout.make_workspace(
        problem, batch_rows=50_000, n_rows=50_000, n_threads=1,
        gradient=True, whole_block=True,
    )  # fmt: skip
    assert workspace.plan[in_plan.SLOT_SIZE] > 2 * 5_000_000_000  # a and delta
    assert workspace.layers[0, in_layer.DELTA] == 5_000_000_000
    assert workspace.layers.dtype == workspace.plan.dtype == np.int64


class Unwritten(np.ndarray):
    """Any number of elements, none of which exists."""

    def __setitem__(self, key, value):
        pass
