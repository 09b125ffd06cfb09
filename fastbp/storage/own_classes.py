"""The user's classes that an argument lists: files and converters find these by name, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def listed(values: Iterable[Any]) -> list[Any]:
    """Return the values as a list; a single value, which is not iterable, as a list of one.

    Examples
    --------
    >>> listed(3)
    [3]
    """
    try:
        return list(values)
    except TypeError:
        return [values]


def subclasses(values: Iterable[type], is_one: Callable[[type], object], known: str) -> list[type]:
    """Return the argument `custom_classes` as a list, or raise unless each is a class that `is_one` accepts.

    Examples
    --------
    >>> subclasses([bool], lambda cls: issubclass(cls, int), "int")
    [<class 'bool'>]
    >>> subclasses([3], lambda cls: issubclass(cls, int), "int")
    Traceback (most recent call last):
    TypeError: `custom_classes` must be a list of subclasses of int; got an object of the class int.
    """
    found = listed(values)
    for cls in found:
        if not isinstance(cls, type):
            got = f"an object of the class {type(cls).__name__}"
        elif not is_one(cls):
            got = f"the class {cls.__name__}"
        else:
            continue
        raise TypeError(f"`custom_classes` must be a list of subclasses of {known}; got {got}.")
    return found
