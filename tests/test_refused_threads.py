"""Where the system refuses another thread, the caller's does the work alone, and the next call asks again."""

import functools
import os
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import frame, helpers, interruption
from fastbp.kernels.machine import team
from fastbp.system import threads
from tests.fresh import run_python
from tests.twins import same_bits

SECONDS = 60  # a limit that is never reached

# The two ways in which threads are started, and what they compute.
WORK = """
import os, resource, threading
import numpy as np
import fastbp as bp
from fastbp.engine import frame as jobs
from fastbp.engine.helpers import helpers
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
print(names(), helpers._offers.qsize())
resource.setrlimit(resource.RLIMIT_NPROC, most)
assert work(3) == expected
print(names())
"""
    assert run_python(WORK + code) == "can't start new thread\n[] 0\n['fastbp-helper-1', 'fastbp-helper-2']\n"


no_stack = pytest.mark.skipif(sys.platform != "linux", reason="needs a system that takes a stack of any size for real")


@no_stack
def test_threads_that_are_refused_for_a_while():
    """No thread can have a stack of 2^60 bytes, and the system says so with the error of any limit."""
    code = """
expected = work(1)
threading.stack_size(1 << 60)
for _ in range(2):
    assert work(3) == expected
assert helpers.n_started == helpers._offers.qsize() == 0
threading.stack_size(0)
assert work(3) == expected
print(names())
"""
    assert run_python(WORK + code) == "['fastbp-helper-1', 'fastbp-helper-2']\n"


@no_stack
def test_threads_that_are_refused_at_random():
    code = """
from fastbp.engine import helpers as module, interruption
from fastbp.system.threads import start_thread
chance, answers = np.random.default_rng(1), []
def start(*arguments):
    threading.stack_size(1 << 60 if chance.random() < 0.5 else 0)
    answers.append(start_thread(*arguments))
    return answers[-1]
expected = work(1)
module.start_thread = interruption.start_thread = start
for i in range(40):
    if i % 4 == 0:
        helpers._reset()  # the helpers have to be started again
    assert work(2 + i % 3) == expected
assert answers.count(False) > 20 and answers.count(True) > 20
print("the same bits")
"""
    assert run_python(WORK + code) == "the same bits\n"


@no_stack
def test_a_refusal_is_told_from_an_error_of_a_signals_handler(monkeypatch):
    done = threading.Event()
    assert threads.start_thread(done.set)
    assert done.wait(SECONDS)
    threading.stack_size(1 << 60)
    try:
        assert not threads.start_thread(done.set)
    finally:
        threading.stack_size(0)

    def interrupted(work, arguments):
        raise RuntimeError("of the handler")

    monkeypatch.setattr(threads._thread, "start_new_thread", interrupted)
    with pytest.raises(RuntimeError, match=r"^of the handler$"):
        threads.start_thread(done.set)


@pytest.fixture
def refused(monkeypatch):
    for module in (helpers, interruption):
        monkeypatch.setattr(module, "start_thread", lambda *_: False)


def test_no_job_waits_for_a_helper_that_is_not_there(refused):
    own = helpers.Helpers()
    for _ in range(3):
        own.lend([lambda: None] * 2)
    assert (own.n_started, own._offers.qsize()) == (0, 0)


def test_a_helper_whose_job_fails_is_replaced(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: None)
    own = helpers.Helpers()
    begun = threading.Event()

    def fail():
        begun.set()
        raise MemoryError

    own.lend([fail])
    assert begun.wait(SECONDS)
    end = time.monotonic() + SECONDS
    while own.n_started and time.monotonic() < end:
        time.sleep(0.001)
    assert own.n_started == 0
    done = threading.Event()
    own.lend([done.set])
    assert done.wait(SECONDS)
    assert own.n_started == 1


# ---- Helpers that come late ------------------------------------------------------------------------------------------


class Held:
    """Something that a job keeps alive."""


def test_a_job_that_nobody_took_is_let_go_of_with_the_call():
    own, gate, done = helpers.Helpers(), threading.Event(), threading.Event()
    own.lend([gate.wait])  # the only helper is at work
    held = Held()
    jobs = [functools.partial(id, held)]
    alive = weakref.ref(held)
    own.lend(jobs)
    assert own._offers.qsize() >= 1
    del held
    assert alive() is not None
    jobs.clear()
    assert alive() is None
    gate.set()
    own.lend([done.set])  # the empty offer before it does no harm
    assert done.wait(SECONDS)


def test_a_helper_holds_nothing_of_a_job_that_it_has_done():
    own, held, done = helpers.Helpers(), Held(), threading.Event()
    alive = weakref.ref(held)
    own.lend([functools.partial(id, held)])
    own.lend([done.set])
    assert done.wait(SECONDS)
    del held
    assert alive() is None


def test_offers_do_not_pile_up_where_helpers_do_not_come():
    own, gate = helpers.Helpers(), threading.Event()
    own.lend([gate.wait, gate.wait])
    for _ in range(2000):
        jobs = [int, int]
        own.lend(jobs)
        jobs.clear()
    assert 100 < own._offers.qsize() < 1000
    gate.set()
    end = time.monotonic() + SECONDS
    while own._offers.qsize() and time.monotonic() < end:
        time.sleep(0.001)
    done = threading.Barrier(3, timeout=SECONDS)
    own.lend([done.wait, done.wait])  # both take part again
    done.wait()


@pytest.mark.parametrize("call", ["predict", "value_and_grad", "finite_difference_gradient"])
def test_calls_take_back_what_no_helper_has_taken(monkeypatch, call):
    lent = []
    monkeypatch.setattr(helpers.helpers, "lend", lent.append)  # helpers that never come
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4000, 40)), rng.standard_normal((4000, 3))
    net = bp.Network([40, 100, 3], "tanh", seed=0)
    if call == "predict":
        net.predict(X, n_threads=3)
    elif call == "value_and_grad":
        net.value_and_grad(X, Y, n_threads=3)
    else:
        bp.finite_difference_gradient(net, X[:50], Y[:50], n_threads=3)
    assert lent
    assert not any(lent)


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
    def press(*_):
        signal.raise_signal(signal.SIGINT)
        return False

    monkeypatch.setattr(interruption, "start_thread", press)
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
    start = threads.start_thread

    def started_and_interrupted(*arguments):
        start(*arguments)
        assert begun.wait(SECONDS)
        raise RuntimeError("of the handler")

    def kernel():
        begun.set()
        end = time.monotonic() + SECONDS
        while control[team.REQUEST] != team.ABANDON and time.monotonic() < end:
            time.sleep(0.001)
        log.append(int(control[team.REQUEST]))

    monkeypatch.setattr(interruption, "start_thread", started_and_interrupted)
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
