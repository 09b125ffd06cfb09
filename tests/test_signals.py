"""Handlers of signals that compute, raise, or come in storms: no hang, no crash, and the exception is the handler's.

Each program runs in a process of its own with a time limit; how many signals come is bounded, and nothing that is
asserted depends on when they do.
"""

import multiprocessing
import signal

import pytest

from tests.fresh import run_python

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that sends signals")

SETTING = """
import gc, os, signal, threading, time
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
X, labels = rng.standard_normal((3000, 64)), rng.integers(3, size=3000)
def network(seed=0, hidden=100):
    return bp.Network([64, hidden, 3], "tanh", "softmax", "cross_entropy", seed=seed)
def trained(seed=0, n_threads=2):
    net = network(seed)
    net.fit(X, labels, epochs=2, batch_size=1500, seed=0, n_threads=n_threads)
    return net.params.tobytes()
"""

# What runs beside the main program: as often as it is asked to, in the middle of whatever that one does.
BESIDE = """
from fastbp.engine import frame
other, few = network(1), X[:300]
def results():
    gradient = bp.finite_difference_gradient(network(1, 4), X[:4], labels[:4], n_threads=2).gradient
    return other.predict(X, n_threads=2).tobytes(), trained(1), other.predict(few).tobytes(), gradient.tobytes()
expected, beside = (trained(), network().predict(X).tobytes()), results()
done, wrong, busy = [0], [], [False]
def work():
    if busy[0]:
        return
    busy[0], long_call = True, frame.LONG_CALL
    frame.LONG_CALL = 0.0 if done[0] % 2 else 10.0  # every second time each call is made by another thread
    try:
        if results() != beside:
            wrong.append(done[0])
    finally:
        busy[0], frame.LONG_CALL = False, long_call
        done[0] += 1
"""

MAIN = """
rounds = 0
while done[0] < 80:
    assert (trained(), network().predict(X, n_threads=2).tobytes()) == expected
    bp.finite_difference_gradient(network(1, 4), X[:4], labels[:4], n_threads=2)
    rounds += 1
print(wrong, rounds > 0)
"""


def test_a_handler_predicts_and_trains_in_the_middle_of_everything():
    """The timer is set again when the handler is done, so that the main program goes on however slow all is."""
    code = """
def tick(number, frame):
    work()
    signal.setitimer(signal.ITIMER_REAL, 0.001 if done[0] < 80 else 0)
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001)
"""
    assert run_python(SETTING + BESIDE + code + MAIN) == "[] True\n"


def test_a_handler_while_blas_is_held_at_one_thread():
    """On a processor without AVX2 every product is BLAS's; the count is restored by whoever is last."""
    code = """
from fastbp.engine.threads import blas_threads
from threadpoolctl import ThreadpoolController
def counts():
    return [library.num_threads for library in ThreadpoolController().lib_controllers]
before, seen = counts(), []
one = [setting for setting in blas_threads._find()]
def tick(number, frame):
    with blas_threads.held_at_one():
        seen.append({setting.get() for setting in one})
    if len(seen) % 3 == 0 and armed[0]:
        raise InterruptedError
armed = [False]
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
uses = 0
while len(seen) < 300:
    try:
        armed[0] = True
        for _ in range(50):
            with blas_threads.held_at_one():
                held = {setting.get() for setting in one}
                assert held == {1}, held
                uses += 1
        armed[0] = False
    except InterruptedError:
        armed[0] = False
signal.setitimer(signal.ITIMER_REAL, 0)
with blas_threads.held_at_one():
    pass
assert counts() == before, (counts(), before)
print(set().union(*seen), uses > 0)
"""
    assert run_python(SETTING + code, OPENBLAS_NUM_THREADS="2") == "{1} True\n"


def test_garbage_that_predicts_when_it_is_collected():
    code = """
class Predicts:
    def __init__(self):
        self.circle = self
    def __del__(self):
        work()
gc.set_threshold(50)
def litter(phase, info):
    if phase == "stop" and done[0] < 80 and not busy[0]:
        Predicts()
gc.callbacks.append(litter)
"""
    main = MAIN.replace("    rounds += 1", "    rounds += 1\n    gc.collect()")
    assert run_python(SETTING + BESIDE + code + main) == "[] True\n"


# ---- Handlers that raise ---------------------------------------------------------------------------------------------

CALLS = {
    "predict": "net.predict(big, n_threads=2)",
    "value_and_grad": "net.value_and_grad(big, many, n_threads=2)",
    "fit, full batch": "net.fit(big, many, epochs=1, batch_size=None, n_threads=2)",
    "fit, mini-batches": "net.fit(big, many, epochs=1, n_threads=2)",
}


def test_two_signals_at_once_end_a_long_call_by_an_exception_of_theirs():
    """SIGINT and SIGTERM with no time or up to 1 ms in between; the call is repeated until they have come.

    A handler may run long after its signal was sent, so it is the handlers that are waited for.
    """
    calls = ", ".join(f"{name!r}: lambda: {call}" for name, call in CALLS.items())
    code = f"""
import _thread, traceback
big, many = np.tile(X, (20, 1)), np.tile(labels, 20)
net = network()
calls = {{{calls}}}
handled, found = [], {{}}
def interrupt(number, frame):
    handled.append(number)
    raise KeyboardInterrupt
def leave(number, frame):
    handled.append(number)
    raise SystemExit(3)
signal.signal(signal.SIGINT, interrupt)
signal.signal(signal.SIGTERM, leave)
net.fit(X, labels, epochs=1, seed=0)
from fastbp.engine import frame
frame.LONG_CALL = 0.0
def press(delay, gap):
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGINT)
    end = time.perf_counter() + gap
    while time.perf_counter() < end:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
def again(call, trial):
    arguments = 0.003 * (trial % 7), (0.0, 3e-5, 1e-4, 1e-3)[trial % 4]
    _thread.start_new_thread(press, arguments)  # the start of a `threading.Thread` does not stand such a signal
    while True:
        call()
for name, call in calls.items():
    for trial in range(12):
        wanted = len(handled) + 2
        try:
            try:
                again(call, trial)
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt | SystemExit):
                    traceback.print_exc()
                found.setdefault(type(error).__name__, []).append(name)
                while len(handled) < wanted:
                    time.sleep(0.001)
        except BaseException as error:
            found.setdefault(type(error).__name__, []).append(name)
            assert len(handled) == wanted, handled
assert set(found) <= {{"KeyboardInterrupt", "SystemExit"}}, found
assert np.isfinite(net.params).all()
print(len(handled))
"""
    assert run_python(SETTING + code) == f"{2 * 12 * len(CALLS)}\n"


STORM = """
class AlarmError(Exception):
    pass
quiet, raised = [True], [0]
def alarm(number, frame):
    if not quiet[0]:
        raised[0] += 1
        raise AlarmError
signal.signal(signal.SIGALRM, alarm)
def interrupted(call, first, period, look=lambda: None):
    '''Make a call in a storm of signals; whether one of them ended it.'''
    signal.setitimer(signal.ITIMER_REAL, first, period)
    came = False
    try:
        quiet[0] = False
        call()
        quiet[0] = True
    except AlarmError:
        quiet[0] = True  # the first thing that is done: no handler comes in between
        came = True
    look()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return came
"""


@pytest.mark.parametrize("period", [5e-5, 1e-5])
def test_no_storm_of_exceptions_ends_the_wait_for_a_kernel(period):
    """What stands for the kernel takes a while to return when it is asked to; it must have returned, or never begun."""
    code = f"""
from fastbp.engine import interruption
from fastbp.kernels.machine import team
early = []
for i in range(40):
    control, begun, ended = np.zeros(team.CONTROL_LENGTH, np.int64), [], []
    def kernel():
        begun.append(1)
        end = time.monotonic() + 60
        while control[team.REQUEST] != team.ABANDON and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(0.01)
        ended.append(1)
    def look():
        if len(begun) != len(ended):
            early.append(i)
    while not interrupted(
        lambda: interruption.call_interruptibly(kernel, control), (0.0001, 0.002, 0.01)[i % 3], {period}, look
    ):
        pass
print(early, raised[0] >= 40)
"""
    assert run_python(SETTING + STORM + code) == "[] True\n"


def test_a_storm_of_exceptions_crashes_nothing():
    """The arrays are gone at once: a kernel that went on would write into others, or into nothing."""
    code = """
net, twin = network(), network()
net.fit(X, labels, epochs=1, seed=0)
twin.fit(X, labels, epochs=1, seed=0)
from fastbp.engine import frame
frame.LONG_CALL = 0.0
big, many = np.tile(X, (10, 1)), np.tile(labels, 10)
expected = net.value_and_grad(X, labels), net.predict(X).tobytes()
def predict():
    while True:
        net.predict(big.copy(), n_threads=2)
def differentiate():
    while True:
        net.value_and_grad(big.copy(), many.copy(), n_threads=2)
def train():
    network().fit(big.copy(), many.copy(), epochs=10**6, n_threads=2, batch_size=3000)
for i in range(90):
    call = (predict, differentiate, train)[i % 3]
    assert interrupted(call, (0.0005, 0.004, 0.02)[i // 3 % 3], 5e-5)
cost, gradient = net.value_and_grad(X, labels)
assert (cost, gradient.tobytes()) == (expected[0][0], expected[0][1].tobytes())
assert net.predict(X).tobytes() == expected[1]
assert net.params.tobytes() == twin.params.tobytes()
print("as before")
"""
    assert run_python(SETTING + STORM + code) == "as before\n"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_child_that_a_handler_forks_does_not_wait_for_its_parents_threads():
    """It may end in the handler; if it goes back into the call, it hears that nobody will finish that one."""
    code = """
from fastbp.engine import interruption
from fastbp.kernels.machine import team
expected = trained()
children, stop, started = [], [], []
def kernel():
    started.append(1)
    while not stop:
        time.sleep(0.001)
def tick(number, frame):
    child = os.fork()
    if child == 0:
        if len(children) == 0:
            os._exit(0 if trained() == expected else 1)
        children.append(0)
        return
    children.append(child)
    if len(children) == 2:
        stop.append(1)
signal.signal(signal.SIGALRM, tick)
control = np.zeros(team.CONTROL_LENGTH, np.int64)
def press():
    while not started:
        time.sleep(0.001)
    for n in (1, 2):
        os.kill(os.getpid(), signal.SIGALRM)
        while len(children) < n:
            time.sleep(0.001)
threading.Thread(target=press).start()
try:
    interruption.call_interruptibly(kernel, control)
except RuntimeError as error:
    os._exit(0 if str(error).startswith("A process that was forked by a signal's handler") and 0 in children else 2)
print([os.waitpid(child, 0)[1] for child in children])
"""
    assert run_python("import warnings\nwarnings.simplefilter('ignore')\n" + SETTING + code) == "[0, 0]\n"
