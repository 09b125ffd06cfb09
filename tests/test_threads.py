"""The same bits whatever the number of threads, from other threads, and in forked children."""

import dataclasses
import inspect
import multiprocessing
import os

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import cutting
from fastbp.engine.helpers import helpers
from fastbp.engine.problem_frames import make_frame
from fastbp.engine.threads import thread_count
from fastbp.kernels.machine.team import CONTROL_LENGTH, STOP
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.tables import plan as in_plan
from fastbp.model.definition import problem_of
from tests import cases, problems
from tests.fresh import run_python
from tests.twins import network, same_bits

THREADS = (1, 2, 3, 4)
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)

# name: (case, rows of a batch, mode, pieces of rows)
SHAPES = {
    "small": (cases.Case("", [5, 8, 3], "tanh"), 32, in_plan.BY_ROWS, 1),
    "pieces-of-rows": (cases.Case("", [20, 100, 10], "relu", "softmax", "cross_entropy"), 600, in_plan.BY_ROWS, 4),
    "wide": (
        cases.Case("", [64, 600, 600, 10], ["relu", [("tanh", 250), ("silu", 350)]], "softmax", "cross_entropy"),
        128, in_plan.BY_NEURONS, 1,
    ),
    "first-layer": (
        cases.Case("", [300, 40, 10], "relu", "softmax", "cross_entropy", 0.01), 100, in_plan.BY_FEATURES, 3,
    ),
    "rows-further-apart": (
        cases.Case("", [12, 1024, 512, 3], ["relu", [("tanh", 250), ("silu", 262)]], "softmax", "cross_entropy"),
        40, in_plan.BY_NEURONS, 1,
    ),
    "wide-penalties": (cases.Case("", [64, 500, 300, 2], "sigmoid", "identity", "quadratic", 0.1, 0.01), 200,
                       in_plan.BY_NEURONS, 1),
}  # fmt: skip
shapes = pytest.mark.parametrize("name", SHAPES)


def data_and_params(case, n, dtype):
    """Random X, Y and params."""
    rng = np.random.default_rng(51)
    params = problems.random_params(case, rng)
    X, Y = problems.random_data(case, rng, n)
    return X.astype(dtype), Y.astype(dtype), params


@dtypes
@shapes
def test_same_gradient(name, dtype):
    case, n, mode, n_pieces = SHAPES[name]
    assert cutting.gradient_pieces(case.sizes, n) == (mode, n_pieces)
    X, Y, params = data_and_params(case, n, dtype)
    net = network(case, params, dtype)
    results = [net.value_and_grad(X, Y, n_threads=n_threads) for n_threads in THREADS for _ in range(3)]
    for cost, grad in results:
        assert cost == results[0][0]
        assert same_bits(grad, results[0][1])


@dtypes
@shapes
def test_same_outputs_and_cost(name, dtype):
    case, *_ = SHAPES[name]
    X, Y, params = data_and_params(case, 3000, dtype)
    net = network(case, params, dtype)
    expected = net.predict(X, n_threads=1), net.loss_value(X, Y, n_threads=1)
    for n_threads in THREADS[1:]:
        assert same_bits(net.predict(X, n_threads=n_threads), expected[0])
        assert net.loss_value(X, Y, n_threads=n_threads) == expected[1]


@pytest.mark.parametrize(
    ("sizes", "n_rows", "n_pieces"),
    [([20, 30, 2], 60, 1), ([64, 600, 600, 10], 16, 1), ([64, 600, 600, 10], 60, 2), ([64, 600, 600, 10], 256, 8)],
    ids=str,
)
def test_a_forward_pass_of_one_block_is_shared(sizes, n_rows, n_pieces):
    net = bp.Network(sizes, seed=0)
    frame = make_frame(problem_of(net), n_rows, n_rows, gradient=False)
    assert frame.workspace.plan[in_plan.FORWARD_PIECES] == n_pieces
    X = np.random.default_rng(1).standard_normal((n_rows, sizes[0]))
    expected = net.predict(X, n_threads=1)
    if TILES:  # a BLAS may sum one row's products in another order than those of many
        assert same_bits(np.concatenate([net.predict(row[None]) for row in X]), expected)
    for n_threads in THREADS:
        assert same_bits(net.predict(X, n_threads=n_threads), expected)


def fitted(case, optimizer, dtype, n_threads, batch_size, n, **keywords):
    """Everything that three epochs leave behind."""
    X, Y, params = data_and_params(case, n, dtype)
    net = network(case, params, dtype, **keywords)
    history = net.fit(
        X, Y, epochs=3, batch_size=batch_size, optimizer=getattr(bp, optimizer.kind)(**optimizer.hyper_parameters),
        clip_norm=optimizer.clip_norm, seed=3, validation_data=(X, Y), n_threads=n_threads,
    )  # fmt: skip
    return net.params, history.loss, history.val_loss, net._training_state.vectors


def test_every_optimizer_is_among_the_cases():
    kinds = {name for name in bp.__all__ if inspect.isclass(getattr(bp, name)) and is_rule(getattr(bp, name))}
    assert {optimizer.kind for optimizer in cases.OPTIMIZER_CASES} == kinds
    assert {case[2] for case in SHAPES.values()} == {in_plan.BY_ROWS, in_plan.BY_NEURONS, in_plan.BY_FEATURES}


def is_rule(kind):
    return issubclass(kind, bp.Optimizer) and kind is not bp.Optimizer


@pytest.mark.parametrize("with_everything", [False, True], ids=["plain", "with-everything"])
@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_same_training_for_every_optimizer(optimizer, with_everything):
    """In both ways of sharing the work; alone, and with dropout, clipping and penalties at once."""
    for name, n in (("pieces-of-rows", 1500), ("wide-penalties", 450)):
        case, batch_size, *_ = SHAPES[name]
        rule, keywords = optimizer, {}
        if with_everything:
            case = dataclasses.replace(case, l2_penalty=0.05, l1_penalty=0.02)
            rule, keywords = dataclasses.replace(optimizer, clip_norm=0.05), {"dropout": 0.3}
        results = [fitted(case, rule, "float32", n_threads, batch_size, n, **keywords) for n_threads in THREADS]
        for result in results[1:]:
            assert all(same_bits(ours, first) for ours, first in zip(result, results[0], strict=True))


@dtypes
@shapes
def test_same_training_with_dropout(name, dtype):
    case, batch_size, *_ = SHAPES[name]
    n = batch_size * 2 + 7
    optimizer = cases.OPTIMIZER_CASES[4]
    results = [fitted(case, optimizer, dtype, n_threads, batch_size, n, dropout=0.3) for n_threads in THREADS]
    for result in results[1:]:
        assert all(same_bits(ours, first) for ours, first in zip(result, results[0], strict=True))


def test_many_jobs_in_a_row_with_helpers():
    """Helpers that come late find their job over: thousands of short jobs, each with parameters of its own."""
    case, n, *_ = SHAPES["pieces-of-rows"]
    X, Y, params = data_and_params(case, n, "float64")
    net = network(case, params)
    several = [params * factor for factor in (0.5, 1.0, 2.0)]
    expected = [net.value_and_grad(X, Y, p, n_threads=1) for p in several]
    for i in range(600):
        cost, grad = net.value_and_grad(X, Y, several[i % 3], n_threads=1 + i % 4)
        assert cost == expected[i % 3][0]
        assert same_bits(grad, expected[i % 3][1])


def test_a_late_helper_cannot_join_the_next_job(monkeypatch):
    case, n, *_ = SHAPES["pieces-of-rows"]
    X, Y, params = data_and_params(case, n, "float64")
    net = network(case, params)
    lent = []
    monkeypatch.setattr(helpers, "lend", lent.extend)  # helpers that are as late as can be
    net.value_and_grad(X, Y, n_threads=2)
    lent_to = [argument for job in lent for argument in job.args if isinstance(argument, np.ndarray)]
    monkeypatch.undo()
    net.value_and_grad(X, Y, n_threads=1)
    frames = [frame for spare in net._passes._spare.values() for frame in spare]
    assert frames
    assert not any(frame.control is argument for frame in frames for argument in lent_to)


def test_a_helper_does_not_find_its_job_over_at_the_beginning(monkeypatch):
    """The end of a call without helpers must not keep them from the next job of the same frame."""
    stopped = []
    net = bp.Network([64, 100, 10], output="softmax", loss="cross_entropy", dtype="float32", seed=0)
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((1000, 64), np.float32), rng.integers(10, size=1000)

    def lend(jobs):
        arrays = [argument for job in jobs for argument in job.args if np.shape(argument) == (CONTROL_LENGTH,)]
        stopped.extend(array[STOP] for array in arrays)

    monkeypatch.setattr(helpers, "lend", lend)
    for n_threads in (1, 2, 1, 2):
        # A callback keeps the epochs apart, so that the same frame shuffles before each.
        net.fit(X, labels, epochs=2, batch_size=200, n_threads=n_threads, seed=0, callbacks=[lambda *_: None])
    assert len(stopped) == 4
    assert not any(stopped)


def test_thread_count_is_that_of_the_machine():
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= thread_count(None) <= available
    assert thread_count(3) == 3


# ---- Other threads and processes -----------------------------------------------------------------------------------


SETTING = """
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
net = bp.Network([64, 300, 300, 10], "tanh", "softmax", "cross_entropy", seed=0)
X, labels = rng.standard_normal((700, 64)), rng.integers(10, size=700)
expected = net.predict(X, n_threads=2), *net.value_and_grad(X, labels, n_threads=2)
def agree(i=0):
    for n_threads in (1, 2, 3):
        outputs, (cost, grad) = net.predict(X, n_threads=n_threads), net.value_and_grad(X, labels, n_threads=n_threads)
        assert outputs.tobytes() == expected[0].tobytes()
        assert cost == expected[1] and grad.tobytes() == expected[2].tobytes()
    return True
"""


def test_blas_is_held_at_one_thread_by_every_thread():
    code = """
import threading
from fastbp.engine.threads import blas_threads
from threadpoolctl import ThreadpoolController
def threads():
    return [library.num_threads for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
def hold():
    with blas_threads.held_at_one():
        found.append(min(threads()))  # SciPy's own; NumPy's is left alone
before, found = threads(), []
hold()
for _ in range(2):
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
assert threads() == before
print(*found)
"""
    assert run_python(code, OPENBLAS_NUM_THREADS="2") == "1 1 1\n"


def test_eight_python_threads_share_one_network():
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    print(all(pool.map(agree, range(64))))
"""
    assert run_python(SETTING + code) == "True\n"


def test_eight_python_threads_train_networks_of_their_own():
    code = """
from concurrent.futures import ThreadPoolExecutor
def trained(i):
    net = bp.Network([64, 80, 10], "tanh", "softmax", "cross_entropy", seed=i % 2)
    net.fit(X, labels, epochs=2, seed=0, n_threads=1 + i % 3, batch_size=350)
    return net.params.tobytes()
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(trained, range(32)))
print(len(set(results[::2])), len(set(results[1::2])), len(set(results)))
"""
    assert run_python(SETTING + code) == "1 1 2\n"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_forked_child():
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
for _ in range(5):
    child = os.fork()
    if child == 0:
        try:
            agree()
            os._exit(0)
        except BaseException:
            os._exit(1)
    agree()
    _, status = os.waitpid(child, 0)
    assert status == 0, status
print("done")
"""
    assert run_python(SETTING + code) == "done\n"


def test_forked_while_other_threads_are_computing():
    code = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
stop = threading.Event()
def work():
    while not stop.is_set():
        agree()
thread = threading.Thread(target=work)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        try:
            agree()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
thread.join()
print("done")
"""
    assert run_python(SETTING + code) == "done\n"


def test_blas_keeps_its_threads():
    code = """
from threadpoolctl import ThreadpoolController
def threads():
    return [library.num_threads for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
before = threads()
agree()
try:
    net.fit(X, labels, epochs=3, callbacks=[lambda net, history: 1 / 0])
except ZeroDivisionError:
    pass
assert threads() == before, (before, threads())
print("done")
"""
    assert run_python(SETTING + code) == "done\n"
