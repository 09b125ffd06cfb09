"""Many threads and processes at once: the bits of one thread, no abort, no hang, no setting left behind.

Each program runs in a process of its own with a time limit.
"""

import importlib
import multiprocessing

import pytest

from tests.fresh import run_python

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")

# Spawned processes import the main module again, so all of it is in functions.
SETTING = """
import os, sys, time, warnings
import numpy as np
import fastbp as bp
from fastbp.engine.threads import thread_count

def problem():
    rng = np.random.default_rng(0)
    return rng.standard_normal((700, 64)).astype("float32"), rng.integers(10, size=700)

X, Y = problem()

def network(seed=0):
    return bp.Network([64, 200, 10], "tanh", "softmax", "cross_entropy", dtype="float32", seed=seed)

def trained(i, n_threads=None):
    net = network(i % 3)
    net.fit(X, Y, epochs=1, batch_size=350, seed=0, n_threads=n_threads)
    net.fit(X, Y, epochs=2, seed=0, n_threads=n_threads)
    return net.params.tobytes()

def predicted(i, n_threads=None):
    return network().predict(X, n_threads=n_threads).tobytes()

def blas():
    from threadpoolctl import threadpool_info
    return [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
"""

THREADS = """
from concurrent.futures import ThreadPoolExecutor
shared = network()
before = blas()
expected = [trained(i, 1) for i in range(3)], shared.predict(X, n_threads=1).tobytes()
assert blas() == before, (before, blas())

def work(i):
    if i % 2:
        return shared.predict(X, n_threads=1 + i % 3).tobytes() == expected[1]
    return trained(i, 1 + i % 4) == expected[0][i % 3]

with ThreadPoolExecutor(16) as pool:
    assert all(pool.map(work, range(96)))
assert blas() == before, (before, blas())
print("the same bits")
"""


def has_tbb():
    """Whether Numba finds the library of Intel's Threading Building Blocks."""
    try:
        importlib.import_module("numba.np.ufunc.tbbpool")
    except ImportError:
        return False
    return True


# Numba's threading layers that are there: fastbp uses none of them.
LAYERS = [
    "workqueue",
    "omp",
    pytest.param("tbb", marks=pytest.mark.skipif(not has_tbb(), reason="needs tbb")),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_sixteen_threads_train_and_predict(layer):
    assert run_python(SETTING + THREADS, NUMBA_THREADING_LAYER=layer, OPENBLAS_NUM_THREADS="2") == "the same bits\n"


@needs_fork
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_beside_a_users_own_parallel_code(layer):
    """A user's prange runs in turn with fastbp, before and after a fork of fastbp's own."""
    code = """
import numba
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads

@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(x.size):
        s += x[i]
    return s

expected = trained(0, 1)
for _ in range(3):
    assert total(np.ones(10000)) == 10000
    assert trained(0, 2) == expected
child = os.fork()
if child == 0:
    os._exit(0 if trained(0, 2) == expected else 1)
assert os.waitpid(child, 0)[1] == 0
print("the same bits")
"""
    assert run_python(SETTING + code, NUMBA_THREADING_LAYER=layer) == "the same bits\n"


POOLS = """
def report(i):
    return trained(i), predicted(i), thread_count(None), trained(i, 2)

def check(results, most_threads=1):
    expected = [trained(i, 1) for i in range(3)], predicted(0, 1)
    for i, (params, outputs, n_threads, on_two) in enumerate(results):
        assert params == on_two == expected[0][i % 3] and outputs == expected[1], i
        assert n_threads <= most_threads, n_threads

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
    trained(0, 2)  # there are helper threads, which a fork leaves behind
    before = blas()
    begin()
    assert blas() == before, (before, blas())
    print("the same bits")
"""

BEGIN = {
    "pool-fork": "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(3) as pool:\n"
    "    check(pool.map(report, range(9)))",
    "pool-spawn": "import multiprocessing\nwith multiprocessing.get_context('spawn').Pool(2) as pool:\n"
    "    check(pool.map(report, range(4)))",
    "futures-fork": "import multiprocessing, concurrent.futures\n"
    "with concurrent.futures.ProcessPoolExecutor(3, multiprocessing.get_context('fork')) as pool:\n"
    "    check(pool.map(report, range(9)))",
    "futures-spawn": "import multiprocessing, concurrent.futures\n"
    "with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('spawn')) as pool:\n"
    "    check(pool.map(report, range(4)))",
    "joblib-loky": "import joblib\ncheck(joblib.Parallel(n_jobs=os.cpu_count())"
    "(joblib.delayed(report)(i) for i in range(6)))",
    "joblib-multiprocessing": "import joblib\ncheck(joblib.Parallel(n_jobs=2, backend='multiprocessing')"
    "(joblib.delayed(report)(i) for i in range(6)))",
    "joblib-threading": "import joblib\ncheck(joblib.Parallel(n_jobs=8, backend='threading')"
    "(joblib.delayed(report)(i) for i in range(24)), thread_count(None))",
    "loky": "from joblib.externals import loky\n"
    "check(loky.get_reusable_executor(2).map(report, range(6)))",
}  # fmt: skip


@pytest.mark.parametrize("name", BEGIN)
def test_pools(name, tmp_path):
    if "fork" in name and "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    body = "\n".join(f"    {line}" for line in BEGIN[name].splitlines())
    program = tmp_path / "program.py"  # a file: spawned processes import it
    program.write_text(f"{SETTING}\ndef begin():\n{body}\n{POOLS}")
    code = f"""
import os, runpy, sys
sys.path.insert(0, os.getcwd())
sys.argv = [{str(program)!r}]
os.environ["PYTHONPATH"] = os.getcwd()
os.execv(sys.executable, [sys.executable, "-W", "error", {str(program)!r}])
"""
    variables = {"OMP_NUM_THREADS": None, "NUMBA_NUM_THREADS": None, "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    assert run_python(code, **variables) == "the same bits\n"


def test_an_explicit_number_of_threads_counts_in_a_worker():
    code = """
import multiprocessing
def count(n_threads):
    return thread_count(n_threads)
if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        counts = pool.map(count, [None, 1, 3])
        os.environ["OMP_NUM_THREADS"] = "2"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        counts += pool.map(count, [None])
    print(*counts, thread_count(None) == min(2, len(os.sched_getaffinity(0))))
"""
    output = run_python(SETTING + code, OMP_NUM_THREADS=None, NUMBA_NUM_THREADS=None)
    assert output.split()[:3] == ["1", "1", "3"]
    assert int(output.split()[3]) <= 2
    assert output.split()[4] == "True"


@needs_fork
def test_fork_after_a_threaded_fit_again_and_again():
    code = """
warnings.simplefilter("ignore", DeprecationWarning)
before = blas()
expected = trained(0, 1)
for _ in range(4):
    assert trained(0, 2) == expected
    child = os.fork()
    if child == 0:
        grandchild = os.fork() if trained(0, 2) == expected else -1
        if grandchild == 0:
            os._exit(0 if trained(0, 2) == expected and blas() == before else 1)
        os._exit(1 if grandchild < 0 else min(os.waitpid(grandchild, 0)[1], 1))
    assert os.waitpid(child, 0)[1] == 0
assert blas() == before
print("the same bits")
"""
    assert run_python(SETTING + code, OPENBLAS_NUM_THREADS="2") == "the same bits\n"


@needs_fork
def test_a_fork_during_a_long_call_of_the_main_thread():
    """The main thread waits for a leader of its own; another thread forks, and the child computes."""
    code = """
import threading
warnings.simplefilter("ignore", DeprecationWarning)
expected = trained(0, 1)
big = np.tile(X, (300, 1))
statuses = []
def fork():
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if trained(0, 2) == expected and np.isfinite(network().predict(big)).all() else 1)
        statuses.append(os.waitpid(child, 0)[1])
thread = threading.Thread(target=fork)
thread.start()
net = network()
outputs = net.predict(big).tobytes()
while thread.is_alive():
    assert net.predict(big, n_threads=2).tobytes() == outputs
thread.join()
assert statuses == [0] * 3, statuses
print("the same bits")
"""
    assert run_python(SETTING + code) == "the same bits\n"


def test_worker_threads_are_interrupted_by_nobody():
    """Ctrl-C is for the main thread: a fit of another thread goes on, and ends with its bits."""
    code = """
import signal, threading
expected = []
big, labels = np.tile(X, (200, 1)), np.tile(Y, 200)
def fit():
    net = network()
    net.fit(big, labels, epochs=3, seed=0)
    expected.append(net.params.tobytes())
fit()
thread = threading.Thread(target=fit)
try:
    thread.start()
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    pass
thread.join()
assert expected[0] == expected[1]
print("the same bits")
"""
    assert run_python(SETTING + code) == "the same bits\n"
