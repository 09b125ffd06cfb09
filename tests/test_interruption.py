"""Ctrl-C during long calls, and other exceptions of signal handlers: obeyed soon, and everything is left whole."""

import re
import signal
import threading
import time

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import interruption
from fastbp.kernels.machine import team
from tests.fresh import run_python
from tests.twins import same_bits

PATIENCE = 5.0  # seconds, on a busy machine; a call that is not interrupted takes many times as long

SETTING = """
import os, signal, threading, time
import numpy as np, fastbp as bp

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((400_000, 32)).astype("float32"), rng.integers(10, size=400_000)
def network():
    return bp.Network([32, 128, 128, 10], "tanh", "softmax", "cross_entropy", dtype="float32", seed=0)
net = network()
few = X[:64], Y[:64]
net.fit(*few, epochs=1, seed=0)  # compiled, and BLAS found, before the clock starts
bp.finite_difference_gradient(network(), *few[:1], Y[:64], dtype="float32")
bp.node_perturbation(network(), *few)
bp.random_weight_search(network(), *few, n_steps=2)
net.per_sample_gradient_norms(*few)

def latency(call, seconds=0.3):
    '''How long a call goes on after Ctrl-C.'''
    sent = []
    def press():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(seconds, press)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    finally:
        timer.cancel()
    raise AssertionError("not interrupted")
"""

CALLS = {
    "predict": "many(lambda: net.predict(X))",
    "loss_value": "many(lambda: net.loss_value(X, Y))",
    "value_and_grad": "many(lambda: net.value_and_grad(X, Y))",
    "fit, full batch": "net.fit(X, Y, epochs=10**6, batch_size=None)",
    "fit, mini-batches": "net.fit(X, Y, epochs=10**6)",
    "fit, online": "net.fit(X, Y, epochs=10**6, batch_size=1)",
    "finite_difference_gradient": "bp.finite_difference_gradient(net, X, Y)",
    "node_perturbation": "bp.node_perturbation(net, X[:20000], Y[:20000])",
    "input_jacobian": "many(lambda: net.input_jacobian(X[:100_000]))",
    "per_sample_gradient_norms": "many(lambda: net.per_sample_gradient_norms(X, Y))",
    "vjp": "many(lambda: net.vjp(X, np.ones((400_000, 10), 'f4')))",
    "fit, epochs together": "net.fit(*few, epochs=10**6, batch_size=None)",
    "step": "many(lambda: net.step(*few))",
    "find_learning_rate": "bp.find_learning_rate(net, X, Y, batch_size=None, n_steps=10**6)",
    "random_weight_search": "bp.random_weight_search(net, X, Y, n_steps=10**9)",
}


def test_long_calls_obey_ctrl_c():
    calls = ", ".join(f"{name!r}: lambda: {call}" for name, call in CALLS.items())
    code = f"""
def many(call):
    for _ in range(10**6):
        call()
for name, call in {{{calls}}}.items():
    before = net.params.copy()
    times = [latency(call, seconds) for seconds in (0.15, 0.3)]
    print(f"{{name}}: {{max(times):.3f}}")
    assert np.isfinite(net.params).all()
    changes = name.startswith(("fit", "step")) or name == "random_weight_search"
    assert changes or (net.params == before).all()
"""
    output = run_python(SETTING + code)
    times = dict(re.findall(r"(.+): (.+)", output))
    assert list(times) == list(CALLS)
    assert max(map(float, times.values())) < PATIENCE, output


def test_a_fit_goes_on_from_the_last_finished_step():
    code = """
arguments = dict(batch_size=500, optimizer=bp.SGD(0.05, momentum=0.9), shuffle=False)
latency(lambda: net.fit(X, Y, epochs=10**6, seed=1, **arguments), 0.5)
state = net._training_state
epochs, steps = divmod(state.step, 800)
unrecorded = epochs - len(net.history)  # 1 where Ctrl-C came between the last step of an epoch and its record
assert net.history.stopped_by == "interruption" and 0 <= unrecorded <= (steps == 0), (len(net.history), state.step)
twin = network()
twin.fit(*few, epochs=1, seed=0)
if epochs:
    twin.fit(X, Y, epochs=epochs, seed=1, **arguments)
if steps:
    twin.fit(X[:500 * steps], Y[:500 * steps], epochs=1, **(arguments if epochs else arguments | {"seed": 1}))
assert state.step == twin._training_state.step
assert net.params.tobytes() == twin.params.tobytes()
assert state.vectors.tobytes() == twin._training_state.vectors.tobytes()
net.fit(X[:5000], Y[:5000], epochs=1, **arguments)
twin.fit(X[:5000], Y[:5000], epochs=1, **arguments)
assert net.params.tobytes() == twin.params.tobytes()
print("whole")
"""
    assert run_python(SETTING + code) == "whole\n"


def test_interrupted_and_resumed_again_and_again():
    code = """
import random, tempfile
path = os.path.join(tempfile.mkdtemp(), "checkpoint")
chance = random.Random(0)
arguments = dict(epochs=5, batch_size=64, seed=0)
X, Y = X[:150_000], Y[:150_000]
net = network()
history = net.fit(X, Y, **arguments)
presses, resumed = 0, network()
while True:
    try:
        latency(lambda: resumed.fit(X, Y, checkpoint=path, resume=True, **arguments), chance.uniform(0.02, 0.2))
        presses += 1
        resumed = network()
        assert presses < 400
    except AssertionError as error:
        assert str(error) == "not interrupted"
        break
assert presses > 1
assert resumed.params.tobytes() == net.params.tobytes()
assert resumed.history.loss.tobytes() == history.loss.tobytes()
print("whole")
"""
    assert run_python(SETTING + code) == "whole\n"


def test_a_second_ctrl_c_does_not_tear_anything():
    code = """
def handler(number, frame):
    presses.append(number)
    if armed:
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, handler)
for _ in range(3):
    net = network()
    net.fit(*few, epochs=1, seed=0)
    presses, armed = [], True
    timers = [threading.Timer(0.2 + 0.0005 * i, os.kill, (os.getpid(), signal.SIGINT)) for i in range(8)]
    for timer in timers:
        timer.start()
    try:
        try:
            net.fit(X, Y, epochs=1000, batch_size=None)
        except KeyboardInterrupt:
            armed = False
    except KeyboardInterrupt:  # one came before it was disarmed
        armed = False
    for timer in timers:
        timer.join()
    assert len(presses) > 1
    assert np.isfinite(net.params).all()
    before = net.params.copy()
    time.sleep(0.2)
    assert (net.params == before).all()  # nobody writes any more
print("whole")
"""
    assert run_python(SETTING + code) == "whole\n"


def test_blas_gets_its_threads_back():
    code = """
from threadpoolctl import ThreadpoolController
def threads():
    return [library.num_threads for library in ThreadpoolController().lib_controllers]
before = threads()
for i in range(3):
    latency(lambda: net.fit(X, Y, epochs=10**6, batch_size=512), 0.05 + 0.03 * i)
    assert threads() == before, (before, threads())
print("as before")
"""
    assert run_python(SETTING + code, OPENBLAS_NUM_THREADS="2") == "as before\n"


def test_where_ctrl_c_is_ignored_a_fit_is_the_same():
    """As in the background of a shell script: the signal comes in the middle, and does nothing."""
    code = """
arguments = dict(epochs=2, batch_size=500, seed=1)
X, Y = X[:100_000], Y[:100_000]
expected = network()
expected_history = expected.fit(X, Y, **arguments)
assert signal.signal(signal.SIGINT, signal.SIG_IGN) is signal.default_int_handler
net, sent = network(), []
def press(net, history):
    os.kill(os.getpid(), signal.SIGINT)
    sent.append(threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)))  # within the second epoch
    sent[-1].start()
history = net.fit(X, Y, **arguments, callbacks=[press])
for timer in sent:
    timer.join()
assert (len(sent), history.stopped_by) == (2, "epochs")
assert net.params.tobytes() == expected.params.tobytes()
assert history.loss.tobytes() == expected_history.loss.tobytes()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
print("the same bits")
"""
    assert run_python(SETTING + code) == "the same bits\n"


# ---- The mechanism ---------------------------------------------------------------------------------------------------


class AlarmError(Exception):
    """What a handler raises."""


def raise_alarm(number, frame):
    raise AlarmError


@pytest.fixture
def alarm():
    """SIGALRM raises AlarmError after a while."""
    old = signal.signal(signal.SIGALRM, raise_alarm)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


def kernel(control, log, until=team.ABANDON):
    """Stands for a kernel that runs until it is asked to return."""

    def run():
        end = time.monotonic() + 60
        while control[team.REQUEST] < until and time.monotonic() < end:
            time.sleep(0.001)
        log.append((threading.current_thread() is threading.main_thread(), int(control[team.REQUEST])))

    return run


def test_any_exception_of_a_handler_ends_a_call(alarm):
    control, log = np.zeros(team.CONTROL_LENGTH, np.int64), []
    alarm(0.05)
    with pytest.raises(AlarmError):
        interruption.call_interruptibly(kernel(control, log), control)
    assert log == [(False, team.ABANDON)]  # it has returned before the exception passes


def test_a_deadline_asks_for_a_pause_and_raises_nothing():
    control, log = np.zeros(team.CONTROL_LENGTH, np.int64), []
    interruption.call_interruptibly(kernel(control, log, team.PAUSE), control, time.monotonic() + 0.02)
    assert log == [(False, team.PAUSE)]


def test_other_threads_make_their_calls_themselves():
    control, log = np.zeros(team.CONTROL_LENGTH, np.int64), []
    control[team.REQUEST] = team.ABANDON
    here = []

    def call():
        here.append(threading.current_thread())

    thread = threading.Thread(target=interruption.call_interruptibly, args=(call, control))
    thread.start()
    thread.join(60)
    assert here == [thread]
    assert log == []


def test_what_a_call_raises_is_raised():
    control = np.zeros(team.CONTROL_LENGTH, np.int64)
    with pytest.raises(ZeroDivisionError):
        interruption.call_interruptibly(lambda: 1 / 0, control)


def test_a_call_that_was_given_up_is_never_begun(monkeypatch):
    control, begun = np.zeros(team.CONTROL_LENGTH, np.int64), []

    def interrupted(*_):
        raise KeyboardInterrupt  # before the thread is there

    with monkeypatch.context() as patched:
        patched.setattr(interruption, "start_thread", interrupted)
        with pytest.raises(KeyboardInterrupt):
            interruption.call_interruptibly(lambda: begun.append(1), control)
    assert begun == []


def test_short_calls_start_no_thread(monkeypatch):
    net = bp.Network([4, 8, 2], seed=0)
    X = np.random.default_rng(0).standard_normal((1000, 4))
    monkeypatch.setattr(interruption, "call_interruptibly", None)
    monkeypatch.setattr("fastbp.engine.frame.call_interruptibly", None)
    net.predict(X)
    net.fit(X, X[:, :2], epochs=5, seed=0)
    net.value_and_grad(X, X[:, :2])


@pytest.mark.parametrize("batch_size", [7, None])
def test_a_paused_epoch_has_the_bits_of_a_whole_one(batch_size, monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((500, 4)), rng.standard_normal((500, 2))
    expected, net = (bp.Network([4, 8, 2], "tanh", seed=0, dropout=0.3) for _ in range(2))
    expected_history = expected.fit(X, Y, epochs=3, seed=0, batch_size=batch_size)
    monkeypatch.setattr("fastbp.engine.frame.LONG_CALL", 0.0)

    def call(run, control, deadline):
        control[team.REQUEST] = team.PAUSE  # a pause after every step
        run()

    monkeypatch.setattr("fastbp.engine.frame.call_interruptibly", call)
    history = net.fit(X, Y, epochs=3, seed=0, batch_size=batch_size)
    assert same_bits(net.params, expected.params)
    assert same_bits(history.loss, expected_history.loss)


def test_a_pause_does_not_make_steps_seem_quicker(monkeypatch):
    """The time of a call is that of the steps it took, however many were asked for."""
    noted = []
    monkeypatch.setattr(interruption.StepTime, "note", lambda self, n_steps, seconds: noted.append(n_steps))
    monkeypatch.setattr("fastbp.engine.frame.LONG_CALL", 0.0)

    def call(run, control, deadline):
        control[team.REQUEST] = team.PAUSE  # a pause after every step
        run()

    monkeypatch.setattr("fastbp.engine.frame.call_interruptibly", call)
    bp.Network([4, 8, 2], "tanh", seed=0).fit(np.ones((500, 4)), np.ones((500, 2)), epochs=1, batch_size=10, seed=0)
    assert noted == [1] * 50


def test_steps_are_timed_by_the_first_of_them():
    step_time = interruption.StepTime(0.001)
    assert step_time.steps_to_try(49) == 49  # shorter than a long call
    assert step_time.steps_to_try(1000) == 12  # a quarter of one
    step_time.note(1, 1e-9)  # too few steps to judge by
    assert step_time.steps_to_try(1000) == 12
    step_time.note(10, 0.001)
    assert step_time.steps_to_try(1000) == 1000
    assert step_time.seconds == pytest.approx(0.0002)  # twice as long, for caution
    slow = interruption.StepTime(0.001)
    slow.note(10, 60.0)  # compiled on the way
    assert slow.seconds == 0.001


def test_an_abandoned_step_is_not_taken(monkeypatch):
    rng = np.random.default_rng(0)
    for sizes, n in (([4, 8, 2], 500), ([16, 64, 64, 2], 4000), ([64, 600, 600, 10], 300)):  # by rows, pieces, neurons
        X, Y = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
        net = bp.Network(sizes, "tanh", seed=0)
        net.fit(X, Y, epochs=1, batch_size=None, seed=0)
        before, step = net.params.copy(), net._training_state.step
        vectors, powers = net._training_state.vectors.copy(), net._training_state.powers
        with monkeypatch.context() as patched:
            patched.setattr("fastbp.engine.frame.LONG_CALL", 0.0)

            def call(run, control, deadline):
                control[team.REQUEST] = team.ABANDON
                run()
                raise KeyboardInterrupt

            patched.setattr("fastbp.engine.frame.call_interruptibly", call)
            with pytest.raises(KeyboardInterrupt):
                net.fit(X, Y, epochs=1, batch_size=None)
        assert same_bits(net.params, before)
        assert same_bits(net._training_state.vectors, vectors)
        assert (net._training_state.step, net._training_state.powers) == (step, powers)
        assert len(net.history) == 0
