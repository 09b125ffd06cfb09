"""Where the system refuses another thread, the caller's does the work alone, and the next call asks again."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import frame, interruption
from fastbp.engine.threads import _Helpers
from fastbp.kernels.machine import team
from tests.fresh import run_python
from tests.twins import same_bits

SECONDS = 60  # a limit that is never reached

# The two ways in which threads are started, and what they compute.
WORK = """
import os, resource, threading
import numpy as np
import fastbp as bp
from fastbp.engine import frame as jobs
from fastbp.engine.threads import helpers
jobs.LONG_CALL = 0.0  # every call is made by a thread of its own, where there is one
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4000, 40)), rng.standard_normal((4000, 3))
def work(n_threads):
    net = bp.Network([40, 100, 3], "tanh", seed=0)
    history = net.fit(X, Y, epochs=2, seed=0, n_threads=n_threads)
    cost, grad = net.value_and_grad(X, Y, n_threads=n_threads)
    moved = bp.finite_difference_gradient(net, X[:50], Y[:50], n_threads=n_threads).gradient
    outputs = net.predict(X, n_threads=n_threads)
    return [a.tobytes() for a in (net.params, history.loss, grad, moved, outputs)]
def names():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("fastbp-helper"))
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root's processes have no limit")
def test_a_real_limit_of_threads():
    """The limit is another user's, who may have one thread; afterwards it is lifted."""
    code = """
expected = work(1)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
most = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (1, most[1]))
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(error)
for n_threads in (1, 3, 3):
    assert work(n_threads) == expected
print(names(), helpers._jobs.qsize())
resource.setrlimit(resource.RLIMIT_NPROC, most)
assert work(3) == expected
print(names())
"""
    assert run_python(WORK + code) == "can't start new thread\n[] 0\n['fastbp-helper-1', 'fastbp-helper-2']\n"


# name: what starting the second helper, or any thread, raises
REFUSALS = {
    "limit": "can't start new thread",
    "end": "can't create new thread at interpreter shutdown",
    "no-daemons": "daemon threads are disabled in this (sub)interpreter",
}


@pytest.mark.parametrize("reason", REFUSALS)
@pytest.mark.parametrize("n_granted", [0, 1])
def test_threads_that_are_refused_for_a_while(reason, n_granted):
    code = f"""
expected = work(1)
start, started = threading.Thread.start, []
def refuse(thread):
    if thread.name.startswith("fastbp-helper") and len(started) < {n_granted}:
        started.append(thread)
        return start(thread)
    raise RuntimeError({REFUSALS[reason]!r})
threading.Thread.start = refuse
for _ in range(2):
    assert work(3) == expected
assert helpers._started == {n_granted}
threading.Thread.start = start
assert work(3) == expected
print(names())
"""
    assert run_python(WORK + code) == "['fastbp-helper-1', 'fastbp-helper-2']\n"


@pytest.fixture
def refused(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_no_job_waits_for_a_helper_that_is_not_there(refused):
    own = _Helpers()
    for _ in range(3):
        own.lend([lambda: None] * 2)
    assert (own._started, own._jobs.qsize()) == (0, 0)


def test_a_helper_whose_job_fails_is_replaced(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    own, seen = _Helpers(), []
    begun = threading.Event()

    def fail():
        seen.append(threading.current_thread())
        begun.set()
        raise MemoryError

    own.lend([fail])
    assert begun.wait(SECONDS)
    seen[0].join(SECONDS)
    assert own._started == 0
    done = threading.Event()
    own.lend([done.set])
    assert done.wait(SECONDS)


# ---- Long calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline", [None, 0.0])
def test_a_long_call_is_made_by_the_caller(refused, deadline):
    control, here = np.zeros(team.CONTROL_LENGTH, np.int64), []
    interruption.call_interruptibly(lambda: here.append(threading.current_thread()), control, deadline)
    assert here == [threading.main_thread()]
    assert control[team.REQUEST] == 0


def test_what_the_callers_call_raises_passes(refused):
    """It must not be waited for: nobody else is going to end the call."""
    control = np.zeros(team.CONTROL_LENGTH, np.int64)
    for error in (ZeroDivisionError, KeyboardInterrupt):

        def fail(error=error):
            raise error

        with pytest.raises(error):
            interruption.call_interruptibly(fail, control)


def test_a_signal_while_a_thread_is_refused_passes(monkeypatch):
    def press(thread):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", press)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = []
    try:
        with pytest.raises(KeyboardInterrupt):
            interruption.call_interruptibly(lambda: begun.append(1), np.zeros(team.CONTROL_LENGTH, np.int64))
    finally:
        signal.signal(signal.SIGINT, old)
    assert begun == []


def test_an_error_of_a_signals_handler_is_no_refusal(monkeypatch):
    """A RuntimeError that comes when the call has begun ends it, and it is not made again."""
    control, log, begun = np.zeros(team.CONTROL_LENGTH, np.int64), [], threading.Event()
    start = threading.Thread.start

    def started_and_interrupted(thread):
        start(thread)
        assert begun.wait(SECONDS)
        raise RuntimeError("of the handler")

    def kernel():
        begun.set()
        end = time.monotonic() + SECONDS
        while control[team.REQUEST] != team.ABANDON and time.monotonic() < end:
            time.sleep(0.001)
        log.append(int(control[team.REQUEST]))

    monkeypatch.setattr(threading.Thread, "start", started_and_interrupted)
    with pytest.raises(RuntimeError, match=r"^of the handler$"):
        interruption.call_interruptibly(kernel, control)
    assert log == [team.ABANDON]


def test_a_fit_with_checkpoints_that_cannot_have_a_thread(refused, monkeypatch, tmp_path):
    """Each of its calls has a deadline, and without another thread nobody can ask the kernel to stop then."""
    monkeypatch.setattr(frame, "LONG_CALL", 0.0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((500, 4)), rng.standard_normal((500, 2))
    nets = [bp.Network([4, 8, 2], "tanh", seed=0) for _ in range(2)]
    nets[0].fit(X, Y, epochs=3, batch_size=7, seed=0, checkpoint=tmp_path / "checkpoint")
    monkeypatch.undo()
    nets[1].fit(X, Y, epochs=3, batch_size=7, seed=0)
    assert same_bits(nets[0].params, nets[1].params)
