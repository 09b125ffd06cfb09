"""The rules of the house: which module may import which, how long files and functions are, what an import does."""

import ast
import inspect
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
import fastbp.dask as on_dask
from tests.fresh import run_python
from tests.house import House

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "fastbp").rglob("*.py"))
KERNELS = sorted((ROOT / "fastbp" / "kernels").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 60
NINTH_DECILE_LINES = 30

HOUSE = House(ROOT / "fastbp")


def room(path):
    """The room that a file belongs to."""
    return path.relative_to(ROOT / "fastbp").with_suffix("").parts[0]


def tree(path):
    """Its syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


# ---- Imports -------------------------------------------------------------------------------------------------------

RULES = [
    House.without_a_floor,
    House.upward,
    House.circles,
    House.foreign_importers,
    House.numbas_inside,
    House.private_imports,
    House.readers_of_tables,
    House.imports_by_string,
    House.filled_packages,
    House.writers,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_to_its_plan(rule):
    assert rule(HOUSE) == []


def test_kernels_end_in_the_roots():
    imported = {there for here, found in HOUSE.arrows.items() if here.startswith("fastbp.kernels") for there in found}
    on_top = {name for name in HOUSE.files if name.startswith("fastbp.kernels.")} - imported
    packages = {name for name in on_top if HOUSE.files[name].name == "__init__.py"}
    assert {name.split(".")[2] for name in on_top - packages} == {"roots"}


# Sources that are planted beside the library's own, each with the rules that they break and what is said of them.
PLANTED = {
    "a flat module": ({"extra": ""}, {"without_a_floor": ["fastbp.extra"]}),
    "a kernel in no room": ({"kernels.extra": ""}, {"without_a_floor": ["fastbp.kernels.extra"]}),
    "up": (
        {"engine.extra": "from fastbp.model.trace import Trace"},
        {"upward": ["fastbp.engine.extra imports fastbp.model.trace"]},
    ),
    "up, to the face": ({"model.extra": "import fastbp as bp"}, {"upward": ["fastbp.model.extra imports fastbp"]}),
    "up, for types only": (
        {"engine.extra": "if TYPE_CHECKING:\n    from fastbp.network import Network"},
        {"upward": ["fastbp.engine.extra imports fastbp.network"]},
    ),
    "up, inside a function": (
        {"storage.extra": "def load():\n    from fastbp import training\n"},
        {"upward": ["fastbp.storage.extra imports fastbp.training"]},
    ),
    "to a room beside": (
        {"inspection.extra": "from fastbp.export import onnx"},
        {"upward": ["fastbp.inspection.extra imports fastbp.export.onnx"]},
    ),
    "up, in the kernels": (
        {"kernels.machine.extra": "from fastbp.kernels.jobs import leader"},
        {"upward": ["fastbp.kernels.machine.extra imports fastbp.kernels.jobs.leader"]},
    ),
    "a circle": (
        {
            "model.extra": "from fastbp.model import more",
            "model.more": "def f():\n    from fastbp.model.extra import g",
        },
        {"circles": [["fastbp.model.extra", "fastbp.model.more"]]},
    ),
    "a library": (
        {"model.extra": "import matplotlib.pyplot"},
        {"foreign_importers": ["fastbp.model.extra imports matplotlib.pyplot"]},
    ),
    "Numba's inside": (
        {"kernels.machine.extra": "from numba.core.typing import Signature"},
        {"numbas_inside": ["fastbp.kernels.machine.extra imports numba.core.typing"]},
    ),
    "Numba's inside, by its package": (
        {"kernels.machine.extra": "from numba import core"},
        {"numbas_inside": ["fastbp.kernels.machine.extra imports numba.core"]},
    ),
    "Numba's inside, as an attribute": (
        {"kernels.machine.extra": "import numba\nx = numba.core.types"},
        {"numbas_inside": ["fastbp.kernels.machine.extra uses numba.core"]},
    ),
    "a private name of another library": (
        {"neural_network.extra": "from sklearn.base import _fit_context"},
        {"private_imports": ["fastbp.neural_network.extra imports sklearn.base._fit_context"]},
    ),
    "a private file of another library": (
        {"neural_network.extra": "from sklearn.utils._param_validation import Interval"},
        {"private_imports": ["fastbp.neural_network.extra imports sklearn.utils._param_validation.Interval"]},
    ),
    "an import by a string": (
        {"model.extra": "import importlib\nx = importlib.import_module('fastbp.network')"},
        {"imports_by_string": ["fastbp.model.extra calls import_module"]},
    ),
    "half a file": (
        {
            "model.extra": "import os\nfrom pathlib import Path\ndef f(path, x):\n    Path(path).write_text('x')\n"
            "    open(path, 'rb'), path.open(mode='ab'), x.replace('a', 'b'), os.replace(path, path)\n",
        },
        {"writers": [f"fastbp.model.extra writes by {name}" for name in ("write_text", "open", "os.replace")]},
    ),
    "a package that imports what is in it": (
        {"model.__init__": "from fastbp.model.model import Model"},
        {"filled_packages": ["fastbp.model"]},
    ),
    "a room in a room": (
        {"kernels.machine.deep": "", "kernels.machine.deeper.extra": ""},
        {"without_a_floor": ["fastbp.kernels.machine.deeper.extra"]},
    ),
    "all kernels, for an attribute": (
        {"kernels.machine.extra": "from fastbp import kernels"},
        {"upward": ["fastbp.kernels.machine.extra imports fastbp.kernels"]},
    ),
    "two circles": (
        {
            name: f"from fastbp.model import {other}"
            for name, other in [("model.a1", "a2"), ("model.a2", "a1"), ("model.b1", "b2"), ("model.b2", "b1")]
        },
        {"circles": [["fastbp.model.a1", "fastbp.model.a2"], ["fastbp.model.b1", "fastbp.model.b2"]]},
    ),
    "a table": (
        {"training.extra": "from fastbp.kernels.tables import plan as in_plan"},
        {"readers_of_tables": ["fastbp.training.extra imports fastbp.kernels.tables.plan"]},
    ),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_violation_is_found(kind):
    sources, expected = PLANTED[kind]
    house = HOUSE.with_sources({Path(*name.split(".")).with_suffix(".py"): source for name, source in sources.items()})
    assert {rule.__name__: found for rule in RULES if (found := rule(house))} == expected


def test_a_violation_is_found_in_a_file_on_disk(tmp_path):
    sources, expected = PLANTED["half a file"]
    folder = tmp_path / "fastbp"
    shutil.copytree(ROOT / "fastbp", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model" / "extra.py").write_text(*sources.values(), encoding="utf-8")
    house = House(folder)
    assert {rule.__name__: found for rule in RULES if (found := rule(house))} == expected


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
    assert printing <= {"command_line", "environment", "nielsen"}


def test_only_one_place_has_the_compilers_options():
    compilers = {"njit", "jit", "cfunc", "vectorize", "guvectorize", "prange", "generated_jit"}
    using = {path.stem for path in KERNELS if calls(tree(path), compilers)}
    assert using <= {"jit", "leaf_compiler", "disk_cache", "numba_private"}


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
    named = [(name, getattr(bp, name)) for name in bp.__all__]
    named += [(f"dask {name}", getattr(on_dask, name)) for name in on_dask.__all__]
    for name, value in named:
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
