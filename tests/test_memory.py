"""What a fit needs beside its data: a bound on resident memory, no copy of X, no allocation per step."""

import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import fastbp as bp
from fastbp.kernels.roots import entry
from tests import cases
from tests.fresh import run_python

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="plain Python allocates everywhere")


def peak(call):
    """Bytes that a call needs at most beside what is there already."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@compiled
@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES[1:7:2], ids=str)
def test_steps_allocate_nothing(optimizer):
    """Ten times the steps need more memory only for the order of the rows and the learning rates, 8 bytes each."""
    rng = np.random.default_rng(122)
    net = bp.Network([30, 50, 10], activation="tanh", dropout=0.1, seed=0)
    X, Y = rng.standard_normal((5000, 30)), rng.standard_normal((5000, 10))
    rule = getattr(bp, optimizer.kind)(**optimizer.hyper_parameters | {"learning_rate": 1e-6})

    def fit(n, epochs=1):
        net.fit(X[:n], Y[:n], epochs=epochs, batch_size=1, optimizer=rule, clip_norm=optimizer.clip_norm, n_threads=1)

    fit(500)
    few, many = peak(lambda: fit(500)), peak(lambda: fit(5000))
    assert many - few < 4500 * 8 * 4
    assert net.n_params * 8 > 10_000  # one copy a step would show
    assert peak(lambda: fit(500, epochs=20)) - few < 10_000 + 20 * 500 * 8  # in one call of the kernel
    assert peak(lambda: fit(500, epochs=200)) - few < 10_000 + 200_000  # in several


@compiled
def test_the_runtime_allocates_nothing_in_a_step(monkeypatch):
    """What it allocates is a handle for each array of a call, however many steps the call makes."""
    net = bp.Network([30, 50, 10], activation="gelu", output="softmax", loss="cross_entropy", dropout=0.1, seed=0)
    X, labels = np.ones((6400, 30)), np.zeros(6400, int)
    run, calls = entry.run, []

    def counted(*arguments):
        calls.append(run(*arguments))
        return calls[-1]

    monkeypatch.setattr(entry, "run", counted)

    def allocations_of_a_call(n):
        calls.clear()
        before = rtsys.get_allocation_stats()
        net.fit(X[:n], labels[:n], epochs=1, batch_size=32, n_threads=1)
        after = rtsys.get_allocation_stats()
        assert after.alloc - before.alloc == after.free - before.free
        return (after.alloc - before.alloc) / len(calls)

    _nrt_python.memsys_enable_stats()
    try:
        allocations_of_a_call(64)
        assert allocations_of_a_call(64) == allocations_of_a_call(6400)
        assert len(calls) < 6400 // 32 // 10
    finally:
        _nrt_python.memsys_disable_stats()


def test_repeated_calls_keep_no_memory():
    rng = np.random.default_rng(123)
    net = bp.Network([30, 50, 10], activation="tanh", seed=0)
    X, Y = rng.standard_normal((200, 30)), rng.standard_normal((200, 10))

    def calls(n):
        for _ in range(n):
            net.value_and_grad(X, Y)
            net.predict(X)
            net.loss_value(X, Y)

    calls(3)
    tracemalloc.start()
    try:
        calls(10)
        before, _ = tracemalloc.get_traced_memory()
        calls(200)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < net.n_params * 8  # not even one gradient


def test_calls_of_many_sizes_keep_few_buffers():
    net = bp.Network([30, 50, 10], seed=0)
    tracemalloc.start()
    try:
        for n in range(1, 200):
            net.predict(np.ones((n, 30)))
            net.value_and_grad(np.ones((n, 30)), np.ones((n, 10)))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


# ---- Data ----------------------------------------------------------------------------------------------------------


def in_memory(array, order, path):
    return np.asarray(array, order=order)


def memory_mapped(array, order, path):
    """A read-only file of the array in C or Fortran order."""
    np.save(path, np.asarray(array, order=order))
    mapped = np.load(path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert mapped.flags.f_contiguous == (order == "F")
    return mapped


@compiled
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("place", [in_memory, memory_mapped])
def test_x_is_never_copied_as_a_whole(place, order, dtype, tmp_path):
    bp.warmup(dtype)  # the kernels themselves need memory
    rng = np.random.default_rng(124)
    X = place(rng.standard_normal((40_000, 50)).astype(dtype), order, tmp_path / "X.npy")
    labels = rng.integers(3, size=len(X))
    net = bp.Network([50, 20, 3], "relu", "softmax", "cross_entropy", dtype=dtype, seed=0)
    calls = {
        "mini-batches": lambda: net.fit(X, labels, epochs=2, batch_size=100, validation_data=(X, labels)),
        "one row": lambda: net.fit(X[:5000], labels[:5000], epochs=1, batch_size=1, optimizer=bp.SGD(1e-3)),
        "full batch": lambda: net.fit(X, labels, epochs=2, batch_size=None, tol=1e-9),
        "outputs": lambda: net.predict(X),
        "cost": lambda: net.loss_value(X, labels),
        "gradient": lambda: net.value_and_grad(X, labels),
    }
    for name, call in calls.items():
        assert peak(call) < X.nbytes / 2, name


# ---- Resident memory -----------------------------------------------------------------------------------------------

GROWTH = """
import os
import numpy as np
import fastbp as bp
from fastbp.kernels.roots import entry

def resident(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(what))

def growth_and_bound(sizes, X, batch_size, **arguments):
    labels = np.zeros(len(X), int)
    net = bp.Network(sizes, "relu", "softmax", "cross_entropy", dtype="float32", seed=0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = resident("VmRSS")
    net.fit(X, labels, epochs=2, batch_size=batch_size, seed=0, **arguments)
    grown = resident("VmHWM") - before
    return grown, 6 * net.params.nbytes + 3 * 4 * batch_size * sum(sizes) + 60 * 2**20

bp.warmup("float32")  # which reads the kernels from the disk
"""


@compiled
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is known to Linux only")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_fit_of_many_rows_keeps_to_its_bound(order):
    """Six vectors of parameters, the numbers of a batch three times, and 60 MiB."""
    code = f"""
X = np.ones((80_000, 500), "float32", order={order!r})
grown, bound = growth_and_bound([500, 60, 10], X, 200, optimizer=bp.AdamW(1e-3), clip_norm=1.0)
assert grown <= bound < X.nbytes / 2, (grown, bound)
print("kept")
"""
    assert run_python(GROWTH + code) == "kept\n"


@compiled
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is known to Linux only")
def test_a_fit_of_many_parameters_keeps_to_its_bound():
    code = """
X = np.ones((512, 2000), "float32")
stopping = {"validation_data": (X[:64], np.zeros(64, int)), "early_stopping": bp.EarlyStopping()}
grown, bound = growth_and_bound([2000, 2500, 2000, 10], X, 256, optimizer=bp.Adam(1e-3), clip_norm=1.0, **stopping)
assert grown <= bound, (grown, bound)
assert grown >= 3 * 4 * 10_000_000  # Adam's two moments and a gradient, so that what is measured is the fit
print("kept")
"""
    assert run_python(GROWTH + code) == "kept\n"
