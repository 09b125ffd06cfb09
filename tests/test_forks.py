"""Forks at any moment: the child computes, whatever another thread of its parent's was doing.

Each program runs in a process of its own with a time limit, which a child that waits for ever runs into.
"""

import multiprocessing

import numba
import pytest

from tests.fresh import run_python

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

SETTING = """
import os, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
import numpy as np
import fastbp as bp

def child(work):
    '''The id of a forked process that works, and says by its exit status whether it was right.'''
    process = os.fork()
    if process == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return process

def status(process):
    return os.waitpid(process, 0)[1]

def fork_beside(first, work, delay):
    '''Fork a child that works while a thread does something for the first time; whether all was right.'''
    results = []
    thread = threading.Thread(target=lambda: results.append(first()))
    thread.start()
    time.sleep(delay)
    process = child(work)
    thread.join()
    return results == [True] and status(process) == 0
"""

# The time that it takes on this machine, now, is divided into as many moments as there are trials.
TRIALS = """
began = time.perf_counter()
assert status(child(first)) == 0
seconds = time.perf_counter() - began
for i in range(n_trials):
    process = child(lambda: fork_beside(first, work, seconds * (i + 0.5) / n_trials))
    assert status(process) == 0, i
print("computed")
"""


@compiled
def test_forks_while_a_thread_loads_the_kernels():
    """Each trial is a process that has used no kernel yet."""
    code = """
n_trials = 8
X = np.ones((4, 3))
def first():
    return bp.Network([3, 4, 1], "tanh", seed=0).predict(X).shape == (4, 1)
work = first
"""
    run_python("import fastbp as bp\nbp.warmup('float64')", time_limit=300)  # the disk has them
    assert run_python(SETTING + code + TRIALS) == "computed\n"


TOY = """
from fastbp.kernels.compiler import forks, jit, machine_code
machine_code.count_processors = lambda: 2
def toy():
    '''A root with two parts, new each time, and compiled each time.'''
    @jit.leaf
    def square(x):
        return x * x
    @jit.part
    def total(n, x):
        s = square(x[0]) - square(x[0])
        for i in range(n):
            s += square(x[i])
        return s
    @jit.part
    def count(n, x):
        s = 0.0
        for i in range(n):
            s += 1.0
        return s
    @jit.root
    def function(x):
        return total(len(x), x) + count(len(x), x)
    function._cache.disable()
    return function
def first(dtype="float64"):
    return toy()(np.array([2.0, 3.0], dtype)) == 15.0
def work():
    return first("float32")
"""


@compiled
def test_forks_while_a_thread_compiles():
    assert run_python(SETTING + TOY + "n_trials = 4\n" + TRIALS) == "computed\n"


@compiled
def test_a_fork_waits_until_another_thread_has_compiled():
    """And for no more than that: the child finds the locks free."""
    code = """
from fastbp.kernels.compiler.numba_private import LOCKS
lock, log = vars(LOCKS)["global_compiler_lock._lock"], []
held, go = threading.Event(), threading.Event()
def compile_for_long():
    with lock:
        held.set()
        go.wait()
        time.sleep(0.2)
        log.append("compiled")
thread = threading.Thread(target=compile_for_long)
thread.start()
held.wait()
go.set()
process = child(lambda: log == ["compiled"] and first())
log.append("forked")
thread.join()
print(log, status(process), lock._is_owned(), forks._held)
"""
    output = run_python(SETTING + TOY + code)
    assert output == "['compiled', 'forked'] 0 False {}\n"


@compiled
def test_a_lock_that_nobody_gives_back_stops_no_fork():
    """The first fork waits in vain, the others do not; each child has locks of its own."""
    code = """
from fastbp.kernels.compiler.numba_private import LOCKS
forks._waits[0] = forks._LONGEST_WAIT = 0.2
thread = threading.Thread(target=vars(LOCKS)["global_compiler_lock._lock"].acquire)
thread.start()
thread.join()
forks._LONGEST_WAIT = 1e9
print([status(child(lambda: first() and status(child(lambda: True)) == 0)) for _ in range(2)], forks._waits)
"""
    assert run_python(SETTING + TOY + code) == "[0, 0] [0.0]\n"


@compiled
@pytest.mark.parametrize("moment", ["begin", "machine_code"])
def test_a_fork_from_within_a_compilation(moment):
    """As a handler of a signal may make it: the child compiles something else, or ends what its parent began."""
    code = f"""
processes, begun, step = [], [], machine_code.Part.{moment}
def fork_and_step(part):
    if machine_code._crews and not begun:  # while threads wait for parts
        begun.append(1)
        processes.append(child(work))
        process = os.fork()
        processes.append(process)
    return step(part)
machine_code.Part.{moment} = fork_and_step
right = first()
if processes[1] == 0:
    os._exit(0 if right and work() else 1)
print(right, [status(process) for process in processes], machine_code._crews, machine_code._working)
"""
    assert run_python(SETTING + TOY + code) == "True [0, 0] [] []\n"


FIT = """
rng = np.random.default_rng(0)
X, labels = rng.standard_normal((3000, 64)), rng.integers(3, size=3000)
def network():
    return bp.Network([64, 100, 3], "tanh", "softmax", "cross_entropy", seed=0)
def trained(epochs=2, **arguments):
    net = network()
    net.fit(X, labels, epochs=epochs, batch_size=1500, seed=0, n_threads=2, **arguments)
    return net.params.tobytes()
expected = trained(), network().predict(X, n_threads=2).tobytes()
def right():
    return (trained(), network().predict(X, n_threads=2).tobytes()) == expected
"""


@pytest.mark.parametrize("long_call", [0.0, 10.0], ids=["in-a-thread-of-its-own", "directly"])
def test_forks_during_fits_in_another_thread_and_in_the_main_thread(long_call):
    code = f"""
from fastbp.engine import frame
frame.LONG_CALL = {long_call}
for forks_in_main in (True, False):
    statuses, results, over = [], [], []
    def fork():
        for _ in range(4):
            statuses.append(status(child(right)))
        over.append(1)
    def fit():
        results.append(right())
        while not over:
            results.append(right())
    thread = threading.Thread(target=fit if forks_in_main else fork)
    thread.start()
    (fork if forks_in_main else fit)()
    thread.join()
    assert statuses == [0] * 4 and all(results), (statuses, results)
print("the same bits")
"""
    assert run_python(SETTING + FIT + code) == "the same bits\n"


def test_a_child_that_a_callback_forks_ends_the_fit_with_the_same_bits():
    code = """
children = []
def fork(net, history):
    if len(history) == 2:
        children.append(os.fork())
last = trained(4)
right_here = trained(4, callbacks=[fork]) == last
if children == [0]:
    os._exit(0 if right_here and right() else 1)
print(right_here, status(children[0]), right())
"""
    assert run_python(SETTING + FIT + code) == "True 0 True\n"


def test_a_child_has_helpers_of_its_own():
    """Its parent's are gone, and what is lent to them nobody would take."""
    code = """
from fastbp.engine.helpers import helpers
def is_helped():
    helped = threading.Event()
    helpers.lend([helped.set])
    return helped.wait(60)
print(is_helped(), status(child(is_helped)), is_helped())
"""
    assert run_python(SETTING + code) == "True 0 True\n"
