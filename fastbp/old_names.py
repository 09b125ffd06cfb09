"""Where classes and functions went: pickles of earlier versions name a class by the module that it was in.

The modules of the table are found where nothing else of the name is, that is by `pickle`, joblib and their kin.
Nothing in fastbp imports them, and none of them is made before somebody asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

# by the module of the version that is named: the modules in which its classes are now
_HOMES = {
    # 0.1.0
    "diagnostics": ("inspection.diagnostics",),
    "files": ("storage.atomic",),
    "gradient_check": ("inspection.gradient_check",),
    "gradient_times": ("inspection.gradient_times",),
    "history": ("training.history", "training.early_stopping"),
    "layer_arrays": ("model.layer_arrays",),
    "learning_rate_finder": ("training.learning_rate_finder",),
    "neural_network.epochs": ("training.state",),
    "nielsen_costs": ("nielsen.costs",),
    "optimizers": ("training.optimizers",),
    "perturbation": ("derivatives.perturbation",),
    "schedules": ("training.schedules",),
    "threads": ("engine.threads",),
    "torch_parameters": ("export.torch", "loading"),
    "trace": ("model.trace",),
    "trainer": ("training.state",),
    "weight_history": ("inspection.weight_history",),
}


class _Finder(MetaPathFinder, Loader):
    """Finds the modules of the table, and fills them with what is in the modules of now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make a module of the table."""
        package, _, name = fullname.partition(".")
        return spec_from_loader(fullname, self) if package == "fastbp" and name in _HOMES else None

    def exec_module(self, module: ModuleType) -> None:
        """Give a module the classes and functions that it had."""
        for home in _HOMES[module.__name__.partition(".")[2]]:
            names = vars(import_module(f"fastbp.{home}"))
            vars(module).update({name: value for name, value in names.items() if callable(value) and name[0] != "_"})


def register() -> None:
    """Have Python ask here for modules that it finds nowhere else."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
