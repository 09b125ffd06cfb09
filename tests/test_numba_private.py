"""Numba's private names: all in one file, and fastbp works without any of them."""

import ast
import inspect
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.kernels.compiler import disk_cache, jit, numba_private
from fastbp.system import caller
from tests.fresh import ROOT, run_python

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


def strings(path):
    """The strings of a source, but for its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


NAME = re.compile(r"(numba|llvmlite)\.[\w.]+:\w+(\.\w+)*")
NAMES = [text for text in strings(ROOT / numba_private.__file__) if NAME.fullmatch(text)]

HIDE = """
import pkgutil, sys, warnings
whole, hidden = pkgutil.resolve_name, set()
def resolve_name(name):
    if name in hidden:
        raise AttributeError(name)
    return whole(name)
pkgutil.resolve_name = resolve_name
"""


def test_no_other_file_finds_numbas_private_names():
    pattern = re.compile(r"numba\.(core|_)|llvmlite\.binding\.ffi")
    users = {path.stem for path in (ROOT / "fastbp").rglob("*.py") if any(map(pattern.match, strings(path)))}
    assert users == {"numba_private"}
    own = {"loss", "missing", "trial", "is_being_tried"}
    found = [name for group in numba_private.GROUPS for name in vars(group) if name not in own]
    assert found == [name.rpartition(":")[2] for name in NAMES]
    assert [group.missing for group in numba_private.GROUPS] == [[]] * len(numba_private.GROUPS)


@compiled
def test_an_import_without_one_of_the_names_is_silent_and_takes_the_other_path():
    code = f"""{HIDE}
for name in {NAMES}:
    for module in [module for module in sys.modules if module.partition(".")[0] == "fastbp"]:
        del sys.modules[module]
    hidden = {{name}}
    import fastbp
    from fastbp.kernels.compiler import jit, numba_private
    groups = numba_private.GROUPS
    root, leaf = jit.root(lambda x: x), jit.leaf(lambda x: x)
    print(
        name,
        [group.missing for group in groups if not group.is_whole] == [[name]],
        [group.is_whole for group in groups].index(False),
        int(leaf._compiler.pipeline_class.__name__ != "LeafCompiler"),
        int(root._compiler.pipeline_class.__name__ != "RootCompiler"),
        int(not root._cache._is_used),
    )
"""
    ways = {0: "0 1 1 0", 1: "1 0 1 0", 2: "2 0 0 1", 4: "4 0 0 0"}  # the group, and what is not used
    lines = run_python(code).splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "True"] for name in NAMES]
    for line in lines:
        way = line.split(maxsplit=2)[2]
        assert way == ways[int(way[0])]
    assert {line.split()[2] for line in lines} == {"0", "1", "2", "4"}


USE = """
import fastbp as bp
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    net = bp.Network([3, 5, 2], "tanh", dtype="float32", seed=0)
    cost, gradient = net.value_and_grad([[1.0, 2, 3], [2, 3, 1]], [[1.0, 0], [0, 1]])  # here
    net.fit([[1.0, 2, 3]] * 4, [[1.0, 0]] * 4, epochs=2, batch_size=2, seed=0)
print(cost.hex(), gradient.tobytes().hex(), net.params.tobytes().hex())
for warning in caught:
    print(warning.category.__name__, warning.filename, warning.lineno)
    print(warning.message)
"""


LACKING = {"leaves": numba_private.LEAVES, "roots": numba_private.ROOTS, "cache": numba_private.CACHE}


def without(group):
    """A program that uses fastbp without the names of a group, and these names."""
    names = [name for name in NAMES if hasattr(group, name.rpartition(":")[2])]
    return f"{HIDE}hidden = {set(names)}\n{USE}", names


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """For each group what the program without it prints, and its cache; of 'none' with all names.

    Each compiles for long, in one thread, so two of them run at once: the longest one beside all the others.
    Unoptimised, as compiling takes longest without the names.
    """
    codes = {way: without(group)[0] for way, group in LACKING.items()} | {"none": HIDE + USE}
    caches = {way: tmp_path_factory.mktemp(way) for way in codes}
    with ThreadPoolExecutor(2) as pool:
        found = {
            way: pool.submit(run_python, code, time_limit=400, FASTBP_CACHE_DIR=str(caches[way]), NUMBA_OPT="0")
            for way, code in codes.items()
        }
    return {way: (found[way], caches[way]) for way in codes}


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("way", LACKING)
def test_without_a_group_the_results_are_the_same_and_one_warning_says_what_is_slower(outputs, way):
    group, (code, names), (output, cache) = LACKING[way], without(LACKING[way]), outputs[way]
    results, place, message = output.result().splitlines()
    assert results == outputs["none"][0].result().strip()
    line = next(i for i, text in enumerate(code.splitlines(), 1) if text.endswith("# here"))
    assert place == f"UserWarning <string> {line}"
    shown = ", ".join(name.replace(":", ".") for name in names)
    assert message == (
        f"Numba {numba.__version__} lacks what fastbp uses of it ({shown}): {group.loss}. The results "
        "are right all the same. A newer fastbp, or another Numba, cures that."
    )
    kept = list(cache.rglob("*.kernel"))
    assert bool(kept) == (group is not numba_private.CACHE)


# ---- What only a dispatcher has ------------------------------------------------------------------------------------


@pytest.fixture
def groups(monkeypatch):
    """The groups, which are whole again afterwards."""
    for group in numba_private.GROUPS:
        monkeypatch.setattr(group, "missing", [])
    monkeypatch.setattr(numba_private, "_said", set())


class Bare:
    """A dispatcher without private attributes."""


@compiled
def test_a_dispatcher_without_private_attributes(groups, monkeypatch):
    monkeypatch.setattr(numba, "njit", lambda **options: lambda function: Bare())
    root, leaf = jit.root(abs), jit.leaf(abs)
    jit.root(abs), jit.leaf(abs)
    assert vars(leaf) == vars(root) == {}
    text = (
        r"\(numba.core.dispatcher.Dispatcher._cache, numba.core.dispatcher.Dispatcher.get_call_template\): compiled "
        "kernels are not kept on disk, so that each process compiles them again; some kernels are compiled again"
    )
    with pytest.warns(UserWarning, match=text) as caught:
        numba_private.say_what_is_missing()
    numba_private.say_what_is_missing()  # in silence
    assert [warning.filename for warning in caught] == [__file__]


# ---- When and where it is said -------------------------------------------------------------------------------------

MISSING = "numba.core.compiler:Compiler"


@compiled
def test_work_goes_on_after_a_warning_that_is_an_error(groups, monkeypatch):
    """It is said once, also where the user's filter makes an error of it, and before a kernel is called."""
    monkeypatch.setattr(numba_private.ROOTS, "missing", [MISSING])
    net = bp.Network([2, 1], seed=0)
    with pytest.raises(UserWarning, match="lacks what fastbp uses of it"):
        net.predict([[1.0, 2.0]])
    assert net.predict([[1.0, 2.0]]).shape == (1, 1)


@compiled
@pytest.mark.parametrize("n_rows", [1, 1 << 15], ids=["at-once", "in-threads-of-its-own"])
def test_it_is_said_in_the_users_thread_whoever_compiles(groups, monkeypatch, n_rows):
    monkeypatch.setattr(numba_private.ROOTS, "missing", [MISSING])
    net, X = bp.Network([64, 256, 64], seed=0), np.ones((n_rows, 64))
    threads = []

    def warn(message):
        threads.append(threading.current_thread().name)
        caller.warn(message)

    def work():
        net.predict(X)

    monkeypatch.setattr(numba_private, "warn", warn)
    thread = threading.Thread(target=work, name="the user's")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread.start()
        thread.join()
    assert threads == ["the user's"]
    assert [warning.filename for warning in caught] == [__file__]


def test_plain_python_lacks_nothing(groups, monkeypatch):
    monkeypatch.setattr(numba_private.ROOTS, "missing", [MISSING])
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    numba_private.say_what_is_missing()  # warnings are errors here


def test_the_cache_has_what_numba_asks_of_one():
    asked = numba.core.caching._Cache.__abstractmethods__
    assert asked <= set(dir(disk_cache.KernelCache))
    for name in asked - {"cache_path"}:
        theirs, ours = (
            inspect.signature(getattr(cls, name)) for cls in (numba.core.caching._Cache, disk_cache.KernelCache)
        )
        assert list(ours.parameters) == list(theirs.parameters)


# ---- Names that do otherwise than they did -------------------------------------------------------------------------

CHANGED = """
import pkgutil, sys, warnings
import numpy as np

whole, hidden = pkgutil.resolve_name, None

def changed(*args, **kwargs):
    raise TypeError("an argument that is not known")

def resolve_name(name):
    return changed if name == hidden else whole(name)

pkgutil.resolve_name = resolve_name

def compiler():
    for module in [module for module in sys.modules if module.startswith("fastbp")]:
        del sys.modules[module]
    from fastbp.kernels.compiler import jit, numba_private
    return jit, numba_private

def work(jit):
    half = jit.formula(lambda x: 0.5 * x)
    part = jit.part(lambda a, i: (half(a[i]), i))
    leaf = jit.leaf(lambda a: part(a, 1))
    root = jit.root(lambda a: leaf(a))
    return root(np.array([1.0, 3.0]))

def warned(private):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        private.say_what_is_missing()
        private.say_what_is_missing()
    return [str(warning.message) for warning in caught]
"""


# Asked of the class that has them, not of the group; below they are changed there; a cache can
# fail in silence; and the locks are taken by forks only.
ELSEWHERE = ("_cfn", "_get_arg_packer", "_finalize_final_module", "_set_compiled_object", "_customize_tm_options",
             "_module_pass_manager", "DefaultPassBuilder", "CompileResultCacheImpl", "dumps", "_lock")  # fmt: skip


@compiled
@pytest.mark.slow
def test_a_name_that_takes_other_arguments_is_not_used(tmp_path):
    asked = [name for name in NAMES if not name.endswith(ELSEWHERE)]
    code = f"""{CHANGED}
for hidden in {asked}:
    jit, private = compiler()
    print(hidden, work(jit), [i for i, group in enumerate(private.GROUPS) if not group.works], len(warned(private)))
"""
    lines = run_python(code, time_limit=300, FASTBP_CACHE_DIR=str(tmp_path), NUMBA_OPT="0").splitlines()
    groups = [int(name == "numba.core.compiler:Compiler") for name in asked]
    assert lines == [f"{name} (1.5, 1) [{group}] 1" for name, group in zip(asked, groups, strict=True)]


# Methods of Numba's classes that ours call, or have Numba call; those of our own stand for what they ask of Numba.
METHODS = (
    "leaf_compiler:LeafLibrary._raise_if_finalized",
    "leaf_compiler:LeafLibrary.add_linking_library",
    "leaf_compiler:LowerLeaf.run_pass",
    "leaf_lowering:Convention._get_arg_packer",
    "leaf_lowering:LeafContext.like",
    "leaf_lowering:LeafContext.insert_func_defn",
    "leaf_lowering:LeafLower.lower_inst",
    "machine_code:Translation.__init__",
    "machine_code:Translation.machine_code",
    "root_compiler:RootLibrary._finalize_final_module",
    "root_compiler:RootLibrary._set_compiled_object",
    "root_compiler:RootLibrary.enable_object_caching",
)


@compiled
@pytest.mark.slow
def test_a_method_that_takes_other_arguments_is_not_used(tmp_path):
    code = f"""{CHANGED}
import importlib
for name in {METHODS}:
    jit, private = compiler()
    module, _, path = name.partition(":")
    owner = importlib.import_module(f"fastbp.kernels.compiler.{{module}}")
    owner, method = getattr(owner, path.split(".")[0]), path.split(".")[1]
    getattr(owner, method)  # it is there
    setattr(owner, method, changed)
    print(name, work(jit), [i for i, group in enumerate(private.GROUPS) if not group.works])
    print(*warned(private))
"""
    lines = run_python(code, time_limit=300, FASTBP_CACHE_DIR=str(tmp_path), NUMBA_OPT="0").splitlines()
    assert lines[::2] == [f"{name} (1.5, 1) [0]" for name in METHODS]
    text = (
        f"Numba {numba.__version__} lacks what fastbp uses of it (in a trial TypeError, an argument that is not known)"
        f": {numba_private.LEAVES.loss}. The results are right all the same. A newer fastbp, or another Numba, cures "
        "that."
    )
    assert lines[1::2] == [text] * len(METHODS)


@compiled
def test_a_cache_of_which_numba_asks_more_is_not_used(groups, monkeypatch):
    class Cache:
        def load_overload(self, sig, target_context, further):
            pass

        def forget(self):
            pass

    assert not numba_private.stands_in(disk_cache.KernelCache, Cache)
    assert numba_private.CACHE.missing == [
        "numba.core.caching:NullCache.forget as it was",
        "numba.core.caching:NullCache.load_overload as it was",
    ]
    assert not disk_cache.KernelCache(abs)._is_used


@compiled
def test_constants_are_left_to_numba_where_even_that_fails(groups, monkeypatch):
    calls = []

    def fail():
        calls.append(None)
        raise TypeError("an argument: not known")

    monkeypatch.setattr(jit, "_compile_a_little", fail)
    monkeypatch.setattr(numba_private.LEAVES, "trial", jit._try_leaves)
    assert not numba_private.LEAVES.works
    assert not numba_private.LEAVES.works  # and is not tried again
    assert len(calls) == 2
    said = ["in a trial TypeError, an argument, not known"]
    assert (numba_private.LEAVES.missing, numba_private.LITERALS.missing) == (said, said)


@compiled
def test_what_compiles_and_returns_something_else_is_not_used(groups, monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_NAME", None)  # it runs on the processor at hand
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    monkeypatch.setattr(jit, "formula", lambda function: jit.leaf(lambda x: 2.0 * x))
    monkeypatch.setattr(numba_private.LEAVES, "trial", jit._try_leaves)
    assert not numba_private.LEAVES.works
    assert numba_private.LEAVES.missing == ["in a trial ValueError, (3.5, 3) expected, (14.0, 3) returned"]
