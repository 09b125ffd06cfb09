"""The rules of the house: which module may import which, how long files and functions are, what an import does."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from tests.fresh import run_python

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "fastbp").rglob("*.py"))
KERNELS = sorted((ROOT / "fastbp" / "kernels").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
NINTH_DECILE_LINES = 30

# Top to bottom; a module imports only modules that stand below it. A new one needs a place here.
ROOMS = (
    "__main__",
    "__init__",
    "digits",
    "neural_network",
    "nielsen2",
    "nielsen",
    "nielsen_training",
    "nielsen_files",
    "nielsen_costs",
    "columns",
    "plotting",
    "export",
    "torch_parameters",
    "warmup",
    "diagnostics",
    "gradient_times",
    "perturbation",
    "gradient_check",
    "moves",
    "learning_rate_finder",
    "training",
    "checkpoint",
    "storage",
    "stepper",
    "trainer",
    "shuffling",
    "history",
    "weight_history",
    "network",
    "layer_arrays",
    "jacobian",
    "trace",
    "definition",
    "portable",
    "passes",
    "jobs",
    "optimizers",
    "schedules",
    "initializers",
    "array_files",
    "files",
    "threads",
    "interruption",
    "layout",
    "validation",
    "arrays",
    "sparse_rows",
    "functions",
    "names",
    "caller",
    "memory",
    "control_groups",
    "progress",
    "kernels",
    "version",
)
# Rooms of several files, which import each other.
PACKAGES = {"kernels", "neural_network", "plotting"}
# Imports against that order, made when they are needed: methods that are a door to a room above.
DOORS = {
    ("network", "training"),
    ("network", "stepper"),
    ("portable", "storage"),
    ("portable", "export"),
    ("portable", "torch_parameters"),
    ("storage", "neural_network"),
    ("history", "plotting"),
}
# Libraries that not everybody needs or has, and the only modules that may import them.
IMPORTERS = {
    "matplotlib": {"plotting"},
    "sklearn": {"neural_network", "digits", "plotting"},
    "tqdm": {"progress"},
    "threadpoolctl": {"threads"},
    "onnx": {"export"},
    "skl2onnx": {"neural_network"},
    "dask": set(),
    "torch": set(),
    "joblib": set(),
    "warnings": {"caller", "plotting"},  # which knows the user's line; and where matplotlib's are kept quiet
}


def tree(path):
    """Its syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room(path):
    """The room that a file belongs to."""
    parts = path.relative_to(ROOT / "fastbp").with_suffix("").parts
    return parts[0]


def is_for_types(node):
    """Whether a statement is ``if TYPE_CHECKING``."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node, inside_function=False):
    """Every import that runs below a node, as (dotted name, whether it is made in a function)."""
    for child in ast.iter_child_nodes(node):
        if is_for_types(child):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside_function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import hides where it goes"
            yield from ((f"{child.module}.{alias.name}", inside_function) for alias in child.names)
        yield from imports(child, inside_function or isinstance(child, ast.FunctionDef | ast.Lambda))


def room_of_import(name):
    """The room of ``fastbp.x.y``; `fastbp` itself is `__init__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "__init__"


# ---- Imports -------------------------------------------------------------------------------------------------------


def test_every_module_has_its_place():
    assert {room(path) for path in LIBRARY} <= set(ROOMS)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    here = room(path)
    for name, inside_function in imports(tree(path)):
        if name.split(".")[0] != "fastbp":
            continue
        there = room_of_import(name)
        down = ROOMS.index(there) > ROOMS.index(here) or here == there in PACKAGES
        assert down or (inside_function and (here, there) in DOORS), f"{here} imports {name}"


def test_kernels_import_each_other_in_one_direction():
    below = {}
    for path in KERNELS:
        names = [name.split(".") for name, _ in imports(tree(path))]
        below[path.stem] = {name[2] for name in names if name[:2] == ["fastbp", "kernels"]}
    order = []
    while below:
        free = {name for name, others in below.items() if not others & set(below)}
        assert free, f"these import each other: {sorted(below)}"
        order += sorted(free)
        below = {name: others for name, others in below.items() if name not in free}
    assert order[-1] in {"entry", "perturbation"}  # the roots


@pytest.mark.parametrize("library", IMPORTERS)
def test_optional_libraries_have_one_importer(library):
    importers = {room(path) for path in LIBRARY for name, _ in imports(tree(path)) if name.split(".")[0] == library}
    assert importers <= IMPORTERS[library]


# ---- Length and form -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIBRARY + BENCH, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_FILE_LINES


def function_lengths():
    """Lines of every function, with its signature and without its docstring."""
    lengths = {}
    for path in LIBRARY + BENCH:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node, clean=False) is not None
                docstring = first.end_lineno - first.lineno + 1 if documented else 0
                length = node.end_lineno - node.lineno + 1 - docstring
                lengths[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length
    return lengths


def test_functions_are_short():
    lengths = function_lengths()
    assert {name: n for name, n in lengths.items() if n > MOST_FUNCTION_LINES} == {}
    assert np.quantile(list(lengths.values()), 0.9) <= NINTH_DECILE_LINES


def calls(node, names):
    """Line numbers of the uses of a name or an attribute of that name."""
    return [
        child.lineno
        for child in ast.walk(node)
        if (isinstance(child, ast.Name) and child.id in names)
        or (isinstance(child, ast.Attribute) and child.attr in names)
    ]


def test_nothing_prints():
    printing = {room(path) for path in LIBRARY if calls(tree(path), {"print"})}
    assert printing <= {"__main__", "nielsen"}


def test_only_one_place_has_the_compilers_options():
    compilers = {"njit", "jit", "cfunc", "vectorize", "guvectorize", "prange", "generated_jit"}
    using = {path.stem for path in KERNELS if calls(tree(path), compilers)}
    assert using <= {"jit", "leaf_compiler", "disk_cache"}


def test_names_and_comments_are_ascii():
    for path in LIBRARY:
        for node in ast.walk(tree(path)):
            assert not isinstance(node, ast.Name) or node.id.isascii(), f"{path.name}: {node.id}"


# ---- Public names --------------------------------------------------------------------------------------------------


def test_public_names_are_those_of_all():
    assert len(set(bp.__all__)) == len(bp.__all__)
    found = {name for name, value in vars(bp).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert found <= set(bp.__all__)
    assert all(hasattr(bp, name) for name in bp.__all__)


def public_objects():
    """Every public class, function and method, by its name."""
    for name in bp.__all__:
        value = getattr(bp, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            yield from (
                (f"{name}.{key}", member)
                for key, member in vars(value).items()
                if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
            )


PUBLIC = dict(public_objects())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    text = inspect.getdoc(PUBLIC[name])
    assert text
    assert not text.startswith(f"{name}(")  # what a dataclass without docstring says of itself


@pytest.mark.parametrize(
    "name", [name for name, value in PUBLIC.items() if inspect.isfunction(value) and "." not in name]
)
def test_public_functions_document_their_arguments(name):
    text = inspect.getdoc(PUBLIC[name])
    for argument in inspect.signature(PUBLIC[name]).parameters:
        assert re.search(rf"^(\w+, )*{argument}(, \w+)*( : |$)", text, re.MULTILINE), f"{name}: {argument}"


def test_version_has_three_numbers():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(a|b|rc|dev)\d*)*", bp.__version__)


# ---- What an import does -------------------------------------------------------------------------------------------


def test_import_compiles_nothing_and_loads_only_what_it_needs():
    code = """
import sys, threading, warnings
import numpy, scipy.linalg
from numba.core import event
numpy.zeros(1) @ numpy.zeros(1)
before = numpy.geterr(), list(warnings.filters), threading.active_count()
with event.install_recorder("numba:compile") as recorder:
    import fastbp
assert not recorder.buffer, recorder.buffer
assert (numpy.geterr(), list(warnings.filters), threading.active_count()) == before
late = {"sklearn", "matplotlib", "dask", "torch", "tqdm", "joblib", "onnx", "pandas", "threadpoolctl"}
print(*sorted(late & set(sys.modules)))
"""
    assert run_python(code) == "\n"


def test_import_works_where_nothing_can_be_written(tmp_path):
    code = "import fastbp; print(fastbp.Network([1, 1], initializer='zeros').n_params)"
    nowhere = str(tmp_path / "missing" / "folder")
    variables = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR", "TMPDIR"), nowhere)
    assert run_python(code, **variables) == "2\n"
