"""What is used of Numba's inside: the only file that imports it.

Numba promises nothing of these names, so each is tried, and stands in a group that is used whole or not at all:

``leaves``
    Numba's passes, to compile a leaf without machine code.  Without them leaves are compiled as any function of Numba's
    is, which takes several times as long.
``roots``
    The class that is made to look for garbage less often while it compiles.
``disk``
    How compiled code is written down and read.  Without it kernels are compiled in each process.
``formulas``
    The registry by which a call of a plain function becomes one of a compiled one.  Without it the public one is used.

`MISSING` has the names that are not there.
"""

from __future__ import annotations

import functools
import importlib
from types import SimpleNamespace
from typing import Any

from fastbp.system import caller

# group -> (module, its names), all of them needed
NAMES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "leaves": (
        ("numba._dynfunc", ("make_function",)),
        ("numba.core.codegen", ("JITCodeLibrary",)),
        ("numba.core.compiler", ("CompilerBase",)),
        ("numba.core.compiler_machinery", ("LoweringPass", "PassManager", "register_pass")),
        (
            "numba.core.typed_passes",
            ("IRLegalization", "NativeLowering", "NoPythonBackend", "NopythonTypeInference", "PreLowerStripPhis"),
        ),
        ("numba.core.types", ("BaseFunction",)),
        (
            "numba.core.untyped_passes",
            ("DeadBranchPrune", "FixupArgs", "GenericRewrites", "ReconstructSSA", "TranslateByteCode"),
        ),
    ),
    "roots": (("numba.core.compiler", ("Compiler",)),),
    "disk": (
        ("numba.core.caching", ("CompileResultCacheImpl", "_Cache")),
        ("numba.core.serialize", ("dumps",)),
    ),
    "formulas": (("numba.core.typing.templates", ("infer_global",)),),
}
_SLOWER = {
    "leaves": "the first call compiles several times as long",
    "roots": "the first call compiles a little longer",
    "disk": "each process compiles the kernels again",
    "formulas": "the first call compiles a little longer",
}


def _found(module: str, name: str) -> Any:
    """Return a name of a module, or None where this Numba has no such module or name."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _group(name: str) -> Any:
    """Return the names of a group, or None where one is missing."""
    values = {key: _found(module, key) for module, keys in NAMES[name] for key in keys}
    absent = [f"{module}.{key}" for module, keys in NAMES[name] for key in keys if values[key] is None]
    if absent:
        MISSING[name] = absent
        return None
    return SimpleNamespace(**values)


MISSING: dict[str, list[str]] = {}  # by group, the names that this Numba does not have
leaves, roots, disk, formulas = map(_group, NAMES)


@functools.cache
def warn_if_slower() -> None:
    """Say once, to who first needs a kernel, what this Numba does not have and what is slower for it."""
    if not MISSING:
        return
    names = ", ".join(name for absent in MISSING.values() for name in absent)
    effects = ", and ".join(dict.fromkeys(_SLOWER[group] for group in MISSING))
    caller.warn(
        f"This Numba does not have what fastbp uses of its inside to compile quickly: {names}. All results are the "
        f"same, but {effects}. A newer fastbp may know this Numba."
    )
