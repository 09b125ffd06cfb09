"""The plan of the house, and what in a folder of sources does not keep to it: every rule gives a list of violations.

Every import counts, also one for types only and one that is made inside a function: a reader has to follow them all.
"""

import ast
import copy
import sys
from pathlib import Path

# Top to bottom: a file imports from its own room and from lower floors, never from a room beside its own.
FLOORS = (
    ("__main__",),
    ("command_line",),
    ("__init__",),
    ("dask", "digits", "environment", "loading", "nielsen2", "old_names"),
    ("warmup",),
    ("neural_network", "nielsen"),
    ("network",),
    ("training",),
    ("plotting",),
    ("inspection", "export"),
    ("derivatives", "storage"),
    ("model",),
    ("engine",),
    ("validation",),
    ("functions",),
    ("kernels",),
    ("system", "version"),
)
KERNEL_FLOORS = (
    ("roots",),
    ("jobs",),
    ("layers",),
    ("functions", "matrix"),
    ("optimizers",),
    ("vectors",),
    ("machine",),
    ("tables",),
    ("compiler",),
)
# Libraries that not everybody needs or has, and the only rooms, or files, that may import them.
IMPORTERS = {
    "matplotlib": {"plotting"},
    "sklearn": {
        "neural_network",
        "digits",
        "plotting",
        "training.metrics",
        "training.scorers",
        "dask.estimator_base",
        "dask.estimators",
        "dask.scores",
        "command_line",
    },
    "tqdm": {"system.progress"},
    "threadpoolctl": {"engine.threads"},
    "onnx": {"export.onnx"},
    "pandas": {"neural_network.table_columns"},
    "pyarrow": {"command_line.reading"},
    "skl2onnx": {"neural_network"},
    "dask": {"dask"},
    "distributed": {"dask"},
    "torch": set(),
    "joblib": {"neural_network"},
    # which knows the user's line; where matplotlib's are kept quiet; where a report says what scikit-learn warns of
    "warnings": {"system.caller", "plotting", "command_line.train"},
}
# What everybody may import of Numba; the rest is its inside, which one file asks for by name.
PUBLIC_OF_NUMBA = {"numba", "numba.types", "numba.extending"}
# Packages whose own file may hold more than a docstring: others would import in a circle what is in them.
FILLED = {
    "fastbp",
    "fastbp.dask",
    "fastbp.functions",
    "fastbp.neural_network",
    "fastbp.nielsen",
    "fastbp.plotting",
    "fastbp.validation",
}
# Calls that import by a string, which no rule sees, and the files that may make them.
BY_STRING = {
    "import_module": {"fastbp.old_names"},
    "__import__": set(),
    "resolve_name": {
        "fastbp.kernels.compiler.numba_private",
        "fastbp.neural_network.converters",
        "fastbp.neural_network.sklearn_private",
    },
}
# What writes a file, and who may: all others write by way of `write_whole`. The command closes its output.
WRITES = {
    *("write_text", "write_bytes", "tofile", "savetxt", "savez", "savez_compressed", "savefig", "to_csv", "memmap"),
    *("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory", "copyfile", "truncate"),
    *("os.replace", "os.rename", "json.dump", "pickle.dump", "np.save", "shutil.move"),
    *("os.O_CREAT", "os.O_WRONLY", "os.O_RDWR", "os.O_TRUNC"),
}
WRITERS = {
    "fastbp.system.whole_files",
    "fastbp.command_line.main",
    "fastbp.command_line.writing",  # NumPy's writer is handed a file of `write_whole`
}
# The tables that describe a problem to the kernels, and who beside the kernels knows their columns.
TABLES = "fastbp.kernels.tables"
TABLE_IMPORTERS = {
    "engine": {"codes", "data", "evaluator", "layer", "member", "plan", "scalars", "segment"},
    "functions": {"codes"},
}


class House:
    """All sources below a folder ``fastbp``.

    Parameters
    ----------
    folder : Path
        The package's folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.files = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self.trees, self.imports, self.arrows = {}, {}, {}
        self._read({name: path.read_text(encoding="utf-8") for name, path in self.files.items()})

    def with_sources(self, sources):
        """This house with more sources, or others, by their files; its own syntax trees are not looked at again.

        What a rule says of a tree it says of each alone, so that nothing new can be found in the old ones.
        """
        more = copy.copy(self)
        of_names = {}
        for path, source in sources.items():
            parts = Path("fastbp", path).with_suffix("").parts
            of_names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = self.folder / path, source
        more.files = self.files | {name: path for name, (path, _) in of_names.items()}
        more.trees, more.imports, more.arrows = {}, dict(self.imports), dict(self.arrows)
        more._read({name: source for name, (_, source) in of_names.items()})
        return more

    def _read(self, sources):
        for name, source in sources.items():
            self.trees[name] = ast.parse(source, str(self.files[name]))
        for name in sources:
            self.imports[name] = set(self._imports(self.trees[name]))
            self.arrows[name] = {there for there in self.imports[name] if there.split(".")[0] == "fastbp"}

    def _imports(self, tree):
        """Every module that a source imports, by its whole name; of a name in a module, that module."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    own = alias.name.split(".")[0] == "fastbp"
                    assert not own or alias.name == "fastbp", f"line {node.lineno}: write `from ... import ...`"
                    yield alias.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"line {node.lineno}: a relative import hides where it goes"
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    is_module = whole in self.files or node.module == "numba"
                    yield whole if is_module else node.module

    # --- rules --------------------------------------------------------------------------------------------------------

    def without_a_floor(self):
        """Files that stand in no room."""
        homes = {room for floor in FLOORS for room in floor}
        of_kernels = {room for floor in KERNEL_FLOORS for room in floor}
        return [
            name
            for name in self.files
            if room_of(name) not in homes
            or (room_of(name) == "kernels" and name.count(".") > 1 and name.split(".")[2] not in of_kernels)
            or (room_of(name) == "kernels" and name.count(".") == 2 and self.files[name].name != "__init__.py")
            or name.count(".") > (3 if room_of(name) == "kernels" else 2)
        ]

    def upward(self):
        """Imports from the floor of a file or from one above it, but for those from its own room."""
        return [
            f"{here} imports {there}"
            for here, found in self.arrows.items()
            for there in sorted(found)
            if not (is_below(room_of(there), room_of(here), FLOORS) and self._is_below_in_kernels(there, here))
        ]

    @staticmethod
    def _is_below_in_kernels(there, here):
        if room_of(there) != "kernels" or room_of(here) != "kernels" or here == "fastbp.kernels":
            return True
        if there == "fastbp.kernels":  # all of them, for where they are; an attribute of it would be no arrow
            return here == "fastbp.kernels.compiler.disk_cache"
        return is_below(there.split(".")[2], here.split(".")[2], KERNEL_FLOORS)

    def circles(self):
        """Files that import each other, directly or by way of others, in a list for each circle."""
        reached = {name: self._reached_from(name) for name in self.files}
        circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in self.files}
        return sorted(sorted(circle) for circle in circles if circle)

    def _reached_from(self, name):
        """All that a file imports, directly or by way of others; itself only if it is in a circle."""
        reached, waiting = set(), [name]
        while waiting:
            found = (self.arrows.get(waiting.pop(), set()) & set(self.files)) - reached
            reached |= found
            waiting += found
        return reached

    def foreign_importers(self):
        """Files that import a library, or a part of one, that only others may import."""
        return [
            f"{here} imports {there}"
            for here, found in self.imports.items()
            for there in sorted(found)
            for library, allowed in IMPORTERS.items()
            if (there == library or there.startswith(f"{library}."))
            and not {room_of(here), here.removeprefix("fastbp.")} & allowed
        ]

    def numbas_inside(self):
        """Files that import what Numba does not promise, or reach it as an attribute."""
        return [
            f"{here} imports {there}"
            for here, found in self.imports.items()
            for there in sorted(found)
            if there.split(".")[0] == "numba" and there not in PUBLIC_OF_NUMBA
        ] + [
            f"{here} uses numba.{node.attr}"
            for here, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "numba"
            and (node.attr.startswith("_") or node.attr in {"core", "np", "cpython", "experimental"})
            and node.attr != "__version__"
        ]

    def private_imports(self):
        """Files that import a name which another library does not promise."""
        own = {"fastbp", *sys.stdlib_module_names}
        return [
            f"{here} imports {module}.{alias.name}"
            for here, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in [getattr(node, "module", "")]
            for alias in node.names
            if (module or alias.name).partition(".")[0] not in own
            and any(part.startswith("_") for part in f"{module}.{alias.name}".split(".") if part != "__version__")
        ]

    def imports_by_string(self):
        """Files that import where no rule sees it."""
        return [
            f"{here} calls {name}"
            for here, tree in self.trees.items()
            for name, allowed in BY_STRING.items()
            if here not in allowed
            and any(getattr(node, "attr", getattr(node, "id", None)) == name for node in ast.walk(tree))
        ]

    def writers(self):
        """Files that write one by themselves, so that a full disk or a kill may leave half of it."""
        return [
            f"{here} writes by {name}"
            for here, tree in self.trees.items()
            if here not in WRITERS
            for node in ast.walk(tree)
            if (name := _writing_name(node)) is not None
        ]

    def filled_packages(self):
        """Packages that import something in their own file, so that all their files do, in a circle."""
        return [
            name
            for name, path in self.files.items()
            if path.name == "__init__.py" and self.imports[name] and name not in FILLED
        ]

    def readers_of_tables(self):
        """Files outside the kernels that know a column of a table which only the engine writes."""
        return [
            f"{here} imports {there}"
            for here, found in self.arrows.items()
            for there in sorted(found)
            if there.startswith(TABLES)
            and room_of(here) != "kernels"
            and there.removeprefix(f"{TABLES}.") not in TABLE_IMPORTERS.get(room_of(here), set())
        ]


def _writing_name(node):
    """What a node of a syntax tree writes a file by, or None."""
    if isinstance(node, ast.Attribute):
        module = f"{node.value.id}." if isinstance(node.value, ast.Name) else ""
        return next((name for name in (node.attr, module + node.attr) if name in WRITES), None)
    if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) in ("open", "fdopen"):
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        return "open" if any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes) else None
    return None


def room_of(name):
    """The room of ``fastbp.x.y``; `fastbp` itself is `__init__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_below(there, here, floors):
    """Whether a room is on a lower floor than another, or is that room itself."""
    level = {room: i for i, floor in enumerate(floors) for room in floor}
    return there == here or level.get(there, -1) > level.get(here, len(floors))
