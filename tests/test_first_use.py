"""Kernels being compiled: what is said of it, in how many threads, and how it ends when something goes wrong."""

import _thread
import logging
import re
import sys
import threading
import time

import numba
import numpy as np
import pytest

from fastbp.command_line.compiling import slow_start_explained
from fastbp.kernels.compiler import jit, leaf_compiler, machine_code, numba_private
from fastbp.kernels.compiler.disk_cache import FIRST_USE
from tests.fresh import run_python

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
LOGGER = "fastbp.kernels.compiler"


def toy(part=jit.part):
    """A root that calls a leaf of a part and the part, new each time."""

    @jit.leaf
    def square(x):
        return x * x

    @part
    def sum_of_squares(n, x):
        total = square(x[0]) - square(x[0])
        for i in range(n):
            total += square(x[i])
        return total

    @jit.root
    def function(x):
        return sum_of_squares(len(x), x) + square(x[0])

    return function


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    return tmp_path


def no_compiler_threads(before):
    """Whether there are as many threads as before; one that has just let go may take a while to end."""
    end = time.monotonic() + 60
    while _thread._count() > before and time.monotonic() < end:
        time.sleep(0.001)
    return _thread._count() <= before and machine_code._crews == machine_code._working == []


# ---- What is said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_learns_of_it_through_logging(cache, caplog, dtype):
    caplog.set_level(logging.INFO, LOGGER)
    x = np.array([2.0, 3.0], dtype)
    assert toy()(x) == 17.0
    assert [(record.name, record.levelname) for record in caplog.records] == [(LOGGER, "INFO")] * 2
    begun, done = caplog.messages
    where = f"they are kept in {cache / 'fastbp'}, so this happens once."
    assert begun == f"Compiling kernels for {dtype}, {FIRST_USE} or less; {where}"
    assert re.fullmatch(rf"Compiled kernels for {dtype} in \d+\.\d seconds\.", done)
    caplog.clear()
    assert toy()(x) == 17.0  # another dispatcher, as in another process
    assert caplog.messages == []


def test_the_command_says_it_once_and_only_if_something_is_compiled(cache, capsys):
    with slow_start_explained():
        assert capsys.readouterr().err == ""
        toy()(np.array([1.0]))
        toy()(np.array([1.0], "float32"))
    assert capsys.readouterr().err == (
        f"compiling the kernels; they are kept on disk, so this happens once and takes {FIRST_USE} for each dtype\n"
    )
    with slow_start_explained():
        toy()(np.array([1.0]))
    assert capsys.readouterr().err == ""
    assert logging.getLogger(LOGGER).handlers == []
    assert logging.getLogger(LOGGER).level == logging.NOTSET


PROGRAM = """
import contextlib, logging, sys
from fastbp.__main__ import main
with contextlib.redirect_stderr(sys.stdout):
    assert main(["warmup", "--dtype", "float32"]) == 0
names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "fastbp"]
assert names and not any(logging.getLogger(name).handlers for name in names) and not logging.root.handlers
"""


@pytest.mark.slow
def test_the_first_and_the_second_process(tmp_path):
    outputs = [run_python(PROGRAM, time_limit=300, FASTBP_CACHE_DIR=str(tmp_path), NUMBA_OPT="0") for _ in range(2)]
    first, second = (output.splitlines() for output in outputs)
    assert [line.partition(" ")[0] for line in first] == ["compiling", "float32:"]
    assert [line.partition(" ")[0] for line in second] == ["float32:"]


# ---- Parts ---------------------------------------------------------------------------------------------------------


def test_parts_are_loaded_from_the_cache_with_their_root(cache):
    x = np.array([2.0, 3.0])
    assert [toy()(x), toy()(x)] == [17.0, 17.0]
    root = toy()
    assert root(x) == 17.0
    assert sum(root.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("processors", [1, 2, 64])
def test_any_number_of_processors(cache, monkeypatch, processors):
    monkeypatch.setattr(machine_code, "count_processors", lambda: processors)
    begun, before = [], _thread._count()
    translate = machine_code._translate

    def watched(translation):
        begun.append(threading.current_thread() is threading.main_thread())
        return translate(translation)

    monkeypatch.setattr(machine_code, "_translate", watched)
    assert toy()(np.array([2.0, 3.0])) == 17.0
    assert len(begun) == 1  # the part
    assert processors > 1 or begun == [True]
    assert no_compiler_threads(before)


def test_the_assembly_of_a_root_has_its_parts(cache):
    root = toy()
    root(np.array([2.0, 3.0]))
    (assembly,) = root.inspect_asm().values()
    assert re.search(r"^\"?sum_of_squares\S*:", assembly.replace("toy.<locals>.", ""), re.MULTILINE)


def test_a_thread_that_cannot_be_started(cache, monkeypatch):
    monkeypatch.setattr(machine_code, "start_thread", lambda *_: False)
    assert toy()(np.array([2.0, 3.0])) == 17.0


def test_what_goes_wrong_in_a_thread_is_raised_by_the_call_and_the_next_one_tries_again(cache, monkeypatch):
    root, before = toy(), _thread._count()
    with monkeypatch.context() as patched:
        patched.setattr(machine_code.Translation, "machine_code", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            root(np.array([2.0, 3.0]))
    assert no_compiler_threads(before)
    assert list(cache.rglob("*.kernel")) == []
    assert root(np.array([2.0, 3.0])) == 17.0


INTERRUPTED = """
import _thread as threading, signal, time
import numpy as np
import fastbp as bp
from fastbp.kernels.compiler import machine_code
begin, left = machine_code.Part.begin, [3]
def begin_and_interrupt(part):
    begin(part)
    left[0] -= 1
    if left[0] == 0:
        signal.raise_signal(signal.SIGINT)
machine_code.Part.begin = begin_and_interrupt
net = bp.Network([300, 400, 10], seed=0)
X, Y = np.ones((5000, 300)), np.ones((5000, 10))  # whose calls are made by a thread of their own
before = threading._count()
try:
    net.fit(X, Y, epochs=1, seed=0)
except KeyboardInterrupt:
    end = time.monotonic() + 60
    while threading._count() > before and time.monotonic() < end:
        time.sleep(0.001)  # one that has just let go may take a while to end
    print(left, threading._count() - before)
net.fit(X, Y, epochs=1, seed=0)
print(left[0] < 0, np.isfinite(net.params).all())
"""


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_leaves_no_thread_and_the_next_fit_compiles(tmp_path):
    output = run_python(INTERRUPTED, time_limit=300, FASTBP_CACHE_DIR=str(tmp_path), NUMBA_OPT="0")
    assert output.splitlines() == ["[0] 0", "True True"]


# ---- Leaves --------------------------------------------------------------------------------------------------------


@jit.leaf
def own_functions(a, b, x, n):
    """Every function of Python's that leaves use."""
    return min(a, b), max(a, b), min(x, n), max(x, n), int(a), n in (1, 5, -7), x in (2, 3)


@pytest.mark.parametrize("b", [1.5, -0.0, 3e9, np.nan])
@pytest.mark.parametrize("a", [1.5, 0.0, -7.9, np.nan])
def test_pythons_own_functions_in_leaves(a, b):
    compiled = numba.njit(lambda a, b, x, n: own_functions(a, b, x, n))
    for x, n in ((3, -7), (-2, 5), (2, 2)):
        expected = own_functions.py_func(a, b, x, n) if a == a else None
        found = compiled(a, b, x, n)
        if expected is not None:
            assert np.array(found).tobytes() == np.array([float(value) for value in expected]).tobytes()
        else:  # Python's min and max return the first argument where a comparison is false
            assert [np.isnan(value) for value in found[:2]] == [True, True]


def test_a_leaf_compiles_nothing_of_numbas_own():
    from numba.core import event

    compiled = numba.njit(lambda a, b, x, n: own_functions(a, b, x, n))
    fresh = jit.leaf(own_functions.py_func)
    compiled = numba.njit(lambda a, b, x, n: fresh(a, b, x, n))
    with event.install_recorder("numba:compile") as recorder:
        compiled(1.0, 2.0, 3, 4)
    names = {record.data["dispatcher"].py_func.__name__ for _, record in recorder.buffer}
    assert names == {"<lambda>", "own_functions"}


def test_a_leaf_that_is_no_part_where_numba_lacks_something(monkeypatch):
    monkeypatch.setattr(numba_private.LEAVES, "missing", ["numba.core.lowering:Lower"])
    marked = []
    monkeypatch.setattr(sys.modules[jit.__name__], "mark_part", marked.append)
    assert jit.part(lambda x: x) is not None
    assert marked == []


SMALL, LARGE = np.array([1.0, 2.0]), np.array([10.0, 20.0])


def test_tables_of_constants_of_two_leaves_are_two():
    @jit.leaf
    def small(i):
        return SMALL[i]

    @jit.leaf
    def large(i):
        return LARGE[i]

    @jit.part
    def both(i):
        return small(i), large(i)

    assert numba.njit(lambda i: (both(i), large(i), small(i)))(1) == ((2.0, 20.0), 20.0, 2.0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "uint64"])
def test_the_smaller_and_the_larger_of_integers(dtype):
    @jit.leaf
    def extremes(a, b):
        return min(a, b), max(a, b)

    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for a, b in ((low, high), (high, low), (1, high), (low, 1)):
        found = numba.njit(lambda a, b: extremes(a, b))(np.dtype(dtype).type(a), np.dtype(dtype).type(b))
        assert found == (min(a, b), max(a, b))


def test_what_a_leaf_calls_has_the_flags_of_the_leaf(monkeypatch):
    """Numba compiles functions of its own, such as `min` of a tuple, once for each set of flags."""

    def smallest(x, y):
        return min((x, y, x + y))

    reordered, exact = jit.leaf(smallest), jit.formula(smallest)
    called, text_of = [], leaf_compiler.text_of

    def watched(codegen, module, *others):
        called.append({name for name in module.globals if "ol_min" in name})
        return text_of(codegen, module, *others)

    monkeypatch.setattr(leaf_compiler, "text_of", watched)
    assert numba.njit(lambda x, y: reordered(x, y) + exact(x, y))(1.0, 2.0) == 2.0
    first, second = called
    assert len(first) == len(second) == 1
    assert first != second


def test_a_leaf_that_raises_is_refused():
    @jit.leaf
    def positive(i, x):
        if i < 0:
            raise ValueError
        return x[i]

    with pytest.raises(Exception, match="a leaf cannot raise"):
        numba.njit(lambda i, x: positive(i, x))(1, SMALL)


DEBUGGED = """
import numba
import numpy as np
from fastbp.kernels.compiler import jit

@jit.leaf
def get(x, i):
    return x[i]

@jit.part
def get_twice(x, i):
    return get(x, i) + get(x, i)

@jit.root
def root(x, i):
    return get_twice(x, i)

print(root(np.ones(2), 1))
if numba.config.BOUNDSCHECK:
    try:
        root(np.ones(2), 2)
    except IndexError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("option", "expected"),
    [("NUMBA_BOUNDSCHECK", ["2.0", "index is out of bounds"]), ("NUMBA_DEBUGINFO", ["2.0"])],
)
def test_leaves_that_are_debugged(tmp_path, option, expected):
    program = tmp_path / "debugged.py"
    program.write_text(DEBUGGED, encoding="utf-8")
    for _ in range(2):
        output = run_python(
            f"import runpy; runpy.run_path({str(program)!r})", FASTBP_CACHE_DIR=str(tmp_path), **{option: "1"}
        )
        assert output.splitlines() == expected


def sum_of(one, other):
    """A leaf that calls two."""
    return jit.leaf(lambda x: one(x) + other(x))


def test_every_leaf_is_looked_at_once_however_many_ways_lead_to_it(monkeypatch):
    tower, looks = [jit.leaf(lambda x: x + 1.0), jit.leaf(lambda x: x + 2.0)], []
    for _ in range(10):  # 144 ways
        tower.append(sum_of(*tower[-2:]))
    look = leaf_compiler.LeafLibrary._add_every_leaf
    monkeypatch.setattr(leaf_compiler.LeafLibrary, "_add_every_leaf", lambda *args: (looks.append(1), look(*args)))
    top = tower[-1]
    assert numba.njit(lambda x: top(x))(0.0) == 55 + 2 * 89
    assert len(looks) == len(tower)
