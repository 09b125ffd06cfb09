"""Which members of a class have pages, and where the source of a name stands."""

import importlib
import inspect
import re
from pathlib import Path


def _class_of(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _owner(cls, name):
    return next((base for base in cls.__mro__ if name in vars(base)), None)


def _is_own(cls, name):
    """Whether fastbp says what a member is, not the class of another library that is its base."""
    owner = _owner(cls, name)
    if owner is None or not owner.__module__.startswith("fastbp"):
        return False
    return bool(getattr(getattr(cls, name, None), "__doc__", None))


def own_methods(full_name, methods):
    """Return the public methods that a class of fastbp defines itself; its own come first, then its bases'."""
    cls = _class_of(full_name)
    names = (name for name in _in_order(cls, methods) if name != "__init__" and not _is_routing(name))
    return [name for name in names if _is_own(cls, name)]


def _is_routing(name):
    """Whether this is one of the methods that scikit-learn adds to each estimator for metadata routing."""
    return name.startswith("set_") and name.endswith("_request")


def own_attributes(full_name, attributes):
    """Return the documented properties that a class of fastbp defines itself; fields are in its own text."""
    cls = _class_of(full_name)
    own = [name for name in _in_order(cls, attributes) if _is_own(cls, name)]
    return [name for name in own if isinstance(inspect.getattr_static(cls, name), property)]


def shown_name(module, name):
    """Return a page's heading: of modules whose names stand elsewhere too, such as `fit`, with the module."""
    return f"{module.removeprefix('fastbp.')}.{name}" if module in ("fastbp.dask", "fastbp.nielsen") else name


def signature_to_show(app, what, name, found, options, signature, returned):
    """Return no signature for a class that fastbp makes and users only read, whose arguments are its own."""
    return ("", "") if what == "class" and re.search(r"[(\s]_\w", signature or "") else None


def _in_order(cls, names):
    places = {}
    for base in cls.__mro__:
        for name in vars(base):
            places.setdefault(name, len(places))
    return sorted(names, key=lambda name: places.get(name, len(places)))


def source_of(info, forge, root):
    """Return the address of the lines that define a name, or None where there are none."""
    try:
        found = importlib.import_module(info["module"])
        for part in info["fullname"].split("."):
            found = getattr(found, part)
        found = inspect.unwrap(found.fget if isinstance(found, property) else found)
        path = inspect.getsourcefile(found)
        lines, first = inspect.getsourcelines(found)
    except (AttributeError, ImportError, OSError, TypeError):
        return None
    try:
        inside = Path(path).resolve().relative_to(root)
    except ValueError:  # of another library
        return None
    return f"{forge}/blob/main/{inside.as_posix()}#L{first}-L{first + len(lines) - 1}"
