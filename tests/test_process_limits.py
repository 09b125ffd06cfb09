"""How many threads and how much memory a process may have: affinity, control groups, variables, and its own setting."""

import contextlib
import mmap
import multiprocessing
import os
import resource
import threading
from pathlib import Path

import joblib
import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import threads
from fastbp.engine.helpers import helpers
from fastbp.system import control_groups, memory
from tests.fresh import run_python
from tests.twins import same_bits

MIB = 1 << 20
VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@pytest.fixture
def eight_processors(monkeypatch):
    """A machine of eight processors, whose limits are those that a test sets."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_processor_quota", lambda: 64)
    monkeypatch.setattr(threads, "_threads_of_numba", lambda: 64)


# ---- Control groups --------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A function that makes a process with these lines of /proc/self/cgroup, mounts, and files of groups.

    A mount is (root, folder, system, options); a file has its path and its text.
    """

    def make(own, mounts, files):
        lines = (
            f"31 23 0:28 {root} {tmp_path / folder} rw,relatime - {system} {system} {options}\n".replace(
                "a b", "a\\040b"
            )
            for root, folder, system, options in mounts
        )
        (tmp_path / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/a\\040b rw\n" + "".join(lines))
        (tmp_path / "cgroup").write_text("".join(f"{line}\n" for line in own))
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(control_groups, "_OWN", tmp_path / "cgroup")
        monkeypatch.setattr(control_groups, "_MOUNTS", tmp_path / "mountinfo")
        return tmp_path

    return make


def memory_files(version, folder, limit, used, cache):
    """The files of a group's memory."""
    if version == 2:
        counts = {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 3\ninactive_file {cache}"}
    else:
        counts = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used}
        counts["memory.stat"] = f"inactive_file 7\ntotal_inactive_file {cache}"
    return {f"{folder}/{name}": text for name, text in counts.items()}


V2 = ("/", "v2", "cgroup2", "rw,nsdelegate")
CPU, MEMORY = ("/", "cpu", "cgroup", "rw,cpu,cpuacct"), ("/", "mem", "cgroup", "rw,memory")
# name: (own groups, mounts, files, processors)
QUOTAS = {
    "none": (["0::/a"], [V2], {"v2/a/cpu.max": "max 100000"}, 64),
    "own": (["0::/a/b"], [V2], {"v2/a/b/cpu.max": "300000 100000", "v2/a/cpu.max": "max 100000"}, 3),
    "above": (["0::/a/b"], [V2], {"v2/a/b/cpu.max": "300000 100000", "v2/a/cpu.max": "200000 100000"}, 2),
    "of a sibling": (["0::/a"], [V2], {"v2/b/cpu.max": "100000 100000"}, 64),
    "less than one": (["0::/"], [V2], {"v2/cpu.max": "20000 100000"}, 1),
    "version 1": (
        ["1:cpu,cpuacct:/a", "0::/"],
        [CPU],
        {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "50000"},
        5,
    ),
    "version 1, none": (
        ["1:cpuset:/x", "2:cpu:/a"],
        [("/", "set", "cgroup", "rw,cpuset"), CPU],
        {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"},
        64,
    ),
    "both": (
        ["1:cpu:/", "0::/a"],
        [CPU, V2],
        {"cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "100000", "v2/a/cpu.max": "400000 100000"},
        4,
    ),
    "a part is mounted": (
        ["0::/docker/1"],
        [("/other", "other", "cgroup2", "rw"), ("/docker/1", "v2", "cgroup2", "rw")],
        {"v2/cpu.max": "200000 100000", "other/cpu.max": "100000 100000"},
        2,
    ),
    "another name in here": (["0::/pods/1"], [("/../..", "v2", "cgroup2", "rw")], {"v2/cpu.max": "200000 100000"}, 2),
    "a blank": (["0::/a b"], [("/", "a b", "cgroup2", "rw")], {"a b/a b/cpu.max": "200000 100000"}, 2),
    "a colon": (["0::/a:b"], [V2], {"v2/a:b/cpu.max": "200000 100000"}, 2),
    "no group": ([], [V2], {"v2/cpu.max": "200000 100000"}, 64),
    "no mount": (["0::/"], [], {}, 64),
    "nonsense": (["x"], [V2], {"v2/cpu.max": "200000 100000"}, 64),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_smallest_quota_counts(groups, name):
    own, mounts, files, expected = QUOTAS[name]
    groups(own, mounts, files)
    assert threads._processor_quota.__wrapped__() == expected


def test_without_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "_OWN", tmp_path / "missing")
    assert control_groups.folders("cpu", 1) == control_groups.folders("cpu", 2) == []
    assert threads._processor_quota.__wrapped__() == 64
    assert memory._of_control_groups() is None
    assert memory.available_memory() is not None


@pytest.mark.parametrize("version", [1, 2])
def test_available_memory_is_that_of_the_smallest_group(groups, version):
    own, mount, none = {1: ("4:memory:/a/b", MEMORY, 2**63 - 4096), 2: ("0::/a/b", V2, "max")}[version]
    root = mount[1]
    files = memory_files(version, f"{root}/a/b", none, 5, 0) | memory_files(version, f"{root}/a", 1000, 400, 100)
    groups([own, "5:cpu:/c"], [CPU, mount], files | memory_files(version, root, 90000, 0, 0))
    assert memory._of_control_groups() == memory.available_memory() == 700


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("hidden", "left"), [("stat", 600), ("usage", 1000), ("nonsense", 600)])
def test_a_limit_counts_where_the_system_hides_what_is_used(groups, version, hidden, left):
    own, mount = {1: ("4:memory:/a", MEMORY), 2: ("0::/a", V2)}[version]
    files = memory_files(version, f"{mount[1]}/a", 1000, 400, 100)
    _, usage, counts = files
    if hidden == "nonsense":
        files[counts] = "inactive_file"
    else:
        del files[{"stat": counts, "usage": usage}[hidden]]
    groups([own], [mount], files)
    assert memory._of_control_groups() == left


@contextlib.contextmanager
def own_group(controller, **settings):
    """A new control group of version 1 with these settings, or the test is skipped; the file to write a process to."""
    folder = Path(f"/sys/fs/cgroup/{controller}/fastbp-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"needs to make a control group of version 1: {error}")
    try:
        for name, value in settings.items():
            (folder / f"{controller}.{name}").write_text(str(value))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


JOIN = """
import os
with open({file!r}, "w") as file:
    file.write(str(os.getpid()))
"""


def test_a_real_quota_of_version_1():
    with own_group("cpu", cfs_period_us=100000, cfs_quota_us=100000) as file:
        code = JOIN.format(file=str(file)) + "import fastbp as bp; print(bp.get_num_threads())"
        assert run_python(code, **dict.fromkeys(VARIABLES)) == "1\n"


def test_a_real_limit_of_memory_of_version_1():
    with own_group("memory", limit_in_bytes=700 * MIB) as file:
        code = """
import fastbp as bp
from fastbp.system.memory import available_memory
print(available_memory() // 2**20)
try:
    bp.Network([3000, 20000, 3])
except MemoryError as error:
    print(error)
"""
        left, message = run_python(JOIN.format(file=str(file)) + code).splitlines()
    assert 100 < int(left) < 700
    assert message.startswith(
        "A network of 60080003 parameters with layers of 3000, 20000, 3 would take 960640024 bytes"
    )


# ---- Limits of a process ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much is used")
@pytest.mark.parametrize(("limit", "share"), [("RLIMIT_AS", mmap.MAP_SHARED), ("RLIMIT_DATA", mmap.MAP_PRIVATE)])
def test_what_a_limit_of_the_process_leaves_is_what_the_system_gives(limit, share):
    code = f"""
import mmap, resource
import fastbp
from fastbp.system.memory import _sizes, available_memory, Path
used = _sizes(Path("/proc/self/status"))["VmSize"]
resource.setrlimit(resource.{limit}, (used + 300 * 2**20, resource.RLIM_INFINITY))
left = available_memory()
assert left < 2**30 + used, left
def fits(n_bytes):
    try:
        mmap.mmap(-1, n_bytes, flags={share!r} | mmap.MAP_ANONYMOUS).close()
        return True
    except OSError:
        return False
print(fits(left - 2**20), fits(left + 2**20))
"""
    assert run_python(code) == "True False\n"


def test_no_limit_of_the_process(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda name: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory._of_process() is None


# ---- Variables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("value", "expected"), [("3", 3), (" 1 ", 1), ("99", 8), ("0", 8), ("-1", 8), ("many", 8), ("", 8)]
)
def test_variables(eight_processors, monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert bp.get_num_threads() == expected


def test_the_count_is_at_most_that_of_joblib(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert 1 <= bp.get_num_threads() <= joblib.cpu_count()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert bp.get_num_threads() == joblib.cpu_count() == 1


def test_a_worker_is_not_given_the_processors_of_joblib(eight_processors, monkeypatch):
    monkeypatch.setattr(threads, "_is_worker", lambda: True)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "4")  # which its siblings see as well
    assert bp.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert bp.get_num_threads() == 3


def test_the_count_of_numba():
    code = """
import numba, threading
import fastbp as bp
before = threading.active_count(), bp.get_num_threads()
assert not numba.np.ufunc.parallel._is_initialized  # it is asked only where its threads run already
numba.set_num_threads(1)
print(before[1], bp.get_num_threads())
"""
    usual = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    assert run_python(code, NUMBA_NUM_THREADS="2", OMP_NUM_THREADS=str(usual)) == f"{usual} 1\n"


# ---- The process's own setting ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_set():
    yield
    bp.set_num_threads(None)


def test_the_setting_is_for_calls_without_an_argument(eight_processors):
    assert bp.get_num_threads() == 8
    assert bp.set_num_threads(3) is None
    assert bp.get_num_threads() == threads.thread_count(None) == 3
    assert threads.thread_count(5) == 5
    bp.set_num_threads(20)  # as an argument, more than there are processors if that is wanted
    assert bp.get_num_threads() == 20
    bp.set_num_threads(10**9)
    assert bp.get_num_threads() == 64
    bp.set_num_threads(None)
    assert bp.get_num_threads() == 8


def test_a_block(eight_processors):
    bp.set_num_threads(5)
    with bp.num_threads(2) as nothing:
        assert nothing is None
        assert bp.get_num_threads() == 2
        with bp.num_threads(None):
            assert bp.get_num_threads() == 8
            bp.set_num_threads(7)  # until the block is over
            assert bp.get_num_threads() == 7
        assert bp.get_num_threads() == 2
    with contextlib.suppress(ZeroDivisionError), bp.num_threads(1):
        1 / 0  # noqa: B018
    assert bp.get_num_threads() == 5

    @bp.num_threads(3)
    def count():
        return bp.get_num_threads()

    assert [count(), count(), bp.get_num_threads()] == [3, 3, 5]


def test_blocks_of_threads_leave_nothing_behind(eight_processors):
    """They end in the order in which they began, which `with` blocks of a single thread cannot do."""
    first, second = bp.num_threads(2), bp.num_threads(3)
    first.__enter__()
    second.__enter__()
    assert bp.get_num_threads() == 3
    first.__exit__(None, None, None)
    assert bp.get_num_threads() == 3
    second.__exit__(None, None, None)
    assert bp.get_num_threads() == 8


def test_a_setting_holds_in_every_thread(eight_processors):
    counts = []
    with bp.num_threads(3):
        thread = threading.Thread(target=lambda: counts.append(bp.get_num_threads()))
        thread.start()
        thread.join(60)
    assert counts == [3]


@pytest.mark.parametrize(
    "set_count", [bp.set_num_threads, lambda n: bp.num_threads(n).__enter__()], ids=["set", "block"]
)
@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, ValueError, "`n_threads` must be at least 1; got 0."),
        (-1, ValueError, "`n_threads` must be at least 1; got -1."),
        (1.5, TypeError, "`n_threads` must be an integer of at least 1; got 1.5."),
        (True, TypeError, "`n_threads` must be an integer of at least 1; got True."),
        ("2", TypeError, "`n_threads` must be an integer of at least 1; got '2'."),
    ],
    ids=str,
)
def test_a_wrong_setting(eight_processors, set_count, value, kind, message):
    bp.set_num_threads(3)
    with pytest.raises(kind) as caught:
        set_count(value)
    assert str(caught.value) == message
    assert bp.get_num_threads() == 3


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="Numba has no threads then")
@pytest.mark.parametrize("has_private_name", [True, False])
def test_numbas_count_is_read_without_a_lock_that_may_never_be_released(has_private_name):
    """An exception between the lock and its release leaves it with the thread for good; Numba shares it with forks."""
    code = f"""
import threading
import numba
import numpy as np
import fastbp as bp
from numba.np.ufunc import parallel
numba.set_num_threads(1)
if {has_private_name}:
    parallel._backend_init_process_lock.acquire()
else:
    parallel._get_num_threads, parallel.get_num_threads = None, lambda: 1
counts = []
def train():
    numba_count = bp.get_num_threads()
    bp.Network([2, 1], seed=0).fit(np.ones((4, 2)), np.ones(4), epochs=1)
    counts.append(numba_count > 0)
thread = threading.Thread(target=train, daemon=True)
thread.start()
thread.join(200)
print(counts, bp.get_num_threads())
"""
    assert run_python(code) == "[True] 1\n"


@pytest.mark.parametrize("variables", [{}, {"OMP_NUM_THREADS": "2"}], ids=str)
def test_workers_share_the_processors_whatever_their_parent_had_set(variables):
    code = """
import multiprocessing, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
os.sched_getaffinity = lambda process: set(range(8))
import fastbp as bp
def counts(connection):
    with bp.num_threads(5):
        inside = bp.get_num_threads()
    connection.send((bp.get_num_threads(), inside))
    bp.set_num_threads(6)
    connection.send(bp.get_num_threads())
def of_a_child():
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=counts, args=(there,))
    child.start()
    received = here.recv(), here.recv()
    child.join()
    return received
for n_threads in (None, 1, 4):
    bp.set_num_threads(n_threads)
    print(*of_a_child())
if child := os.fork():  # no worker: it is the only one that computes
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(bp.get_num_threads(), flush=True)
os._exit(0)
"""
    usual = int(variables.get("OMP_NUM_THREADS", 1))
    environment = dict.fromkeys(VARIABLES) | variables
    expected = f"({usual}, 5) 6\n(1, 5) 6\n({usual}, 5) 6\n4\n"
    assert run_python(code.replace("for n_threads", "import sys\nfor n_threads").replace(
        "if child", "sys.stdout.flush()\nif child"), **environment) == expected  # fmt: skip


def test_a_network_that_was_used_within_a_block_has_all_threads_again(eight_processors, monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4000, 40)), rng.standard_normal((4000, 3))
    lent, net = [], bp.Network([40, 100, 3], "tanh", seed=0)
    lend = helpers.lend
    monkeypatch.setattr(helpers, "lend", lambda jobs: (lent.append(len(jobs)), lend(jobs)))
    with bp.num_threads(1):
        alone = net.predict(X), *net.value_and_grad(X, Y)
        net.fit(X, Y, epochs=1, batch_size=2000, optimizer=bp.SGD(1e-9), seed=0)
    assert sum(lent) == 0
    with bp.num_threads(3):
        for call in (lambda: net.predict(X), lambda: net.value_and_grad(X, Y)):
            lent.clear()
            call()
            assert lent == [2]
        lent.clear()
        net.fit(X, Y, epochs=1, batch_size=2000, optimizer=bp.SGD(1e-9), seed=0)
        assert set(lent) == {2}
    again = bp.Network([40, 100, 3], "tanh", seed=0)
    assert same_bits(again.predict(X), alone[0])
    assert same_bits(again.value_and_grad(X, Y)[1], alone[2])


@pytest.mark.parametrize(
    ("sizes", "batch_size", "n_pieces"),
    [([784, 30, 10], 10, 4), ([784, 128, 10], 64, 8), ([300, 512, 64], 128, 16), ([40, 100, 3], 2000, 16)],
    ids=str,
)
def test_no_more_threads_than_pieces(sizes, batch_size, n_pieces, monkeypatch):
    """Threads that find no piece would only keep looking, and take pieces from those that have them in their cache."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((batch_size, sizes[0])), rng.standard_normal((batch_size, sizes[-1]))
    lent, params = [], []
    lend = helpers.lend
    monkeypatch.setattr(helpers, "lend", lambda jobs: (lent.append(len(jobs)), lend(jobs)))
    for n_threads in (1, 2, 3, 40):
        lent.clear()
        net = bp.Network(sizes, "tanh", seed=0)
        with bp.num_threads(n_threads):
            net.fit(X, Y, epochs=1, batch_size=batch_size, seed=0)
        params.append(net.params.tobytes())
        assert max(lent, default=0) == min(n_threads, n_pieces) - 1
    assert len(set(params)) == 1
