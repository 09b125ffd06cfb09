"""Single numbers, checked."""

import contextlib
import math
import numbers
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.functions.names import DTypeName
from fastbp.validation.arrays import DTYPES

FloatDType = DTypeName | type[float] | type[np.float32] | np.dtype[Any]  # as the argument of a network


def positive_integer(value: Any, argument: str, least: int = 1) -> int:
    """Return an int of at least `least`; booleans and floats are refused."""
    try:
        number = operator.index(value)
    except (TypeError, ValueError):  # the latter from arrays of Dask
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"`{argument}` must be an integer of at least {least}; got {value!r}.")
    if number < least:
        raise ValueError(f"`{argument}` must be at least {least}; got {number}.")
    return number


def real_number(value: Any, argument: str, low: float, high: float = np.inf, *, open_low: bool = False) -> float:
    """Return a finite float in [low, high], or in (low, high] with `open_low`."""
    rule = f"above {low:g}" if open_low else f"at least {low:g}"
    if np.isfinite(high):
        rule += f" and at most {high:g}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"`{argument}` must be a number {rule}; got {value!r}.")
    try:
        number = float(value)
    except OverflowError:  # an int of more than 308 digits
        number = math.inf
    if not np.isfinite(number) or number < low or (open_low and number == low) or number > high:
        raise ValueError(f"`{argument}` must be {rule}; got {value!r}.")
    return number


def flag(value: Any, argument: str) -> bool:
    """Return a bool; anything else that merely has a truth value is refused."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{argument}` must be True or False; got {type(value).__name__}.")
    return bool(value)


def seed(value: Any, argument: str = "seed") -> int | None:
    """Return a seed: an integer of at least 0, or None for a fresh one."""
    return None if value is None else positive_integer(value, argument, 0)


def network_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype."""
    with contextlib.suppress(TypeError, ValueError, SyntaxError, DeprecationWarning):  # whatever NumPy says of a word
        found: np.dtype = np.dtype(dtype)
        if dtype is not None and found in map(np.dtype, DTYPES):  # of another byte order it is not equal
            return found
    raise ValueError(f"`dtype` must be 'float32' or 'float64'; got {dtype!r}.")


_RULES: dict[str, Callable[[float], bool]] = {
    "a finite number above 0": lambda value: value > 0,
    "a finite number, 0 or above": lambda value: value >= 0,
    "a finite number above 1": lambda value: value > 1,
    "a finite number, 1 or above": lambda value: value >= 1,
    "a number in [0, 1)": lambda value: 0 <= value < 1,
    "a number in (0, 1)": lambda value: 0 < value < 1,
    "a number in (0, 1]": lambda value: 0 < value <= 1,
    "a whole number above 0": lambda value: value > 0,
    "a whole number, 0 or above": lambda value: value >= 0,
}


MOST_STEPS = 1 << 53  # that the kernels can count, in float64: one more would be none


def store_number(owner: object, name: str, rule: str, cure: str) -> None:
    """Check the number in the field `name` of a frozen dataclass and store it as a plain int or float.

    Plain numbers keep the representation, equality and every file format free of NumPy's scalar types.

    Parameters
    ----------
    owner : object
        The dataclass instance, in its ``__post_init__``.
    name : str
        The field.
    rule : str
        What the value must be, a key of the table of rules.
    cure : str
        A sentence that says what to pass instead.

    Raises
    ------
    TypeError
        If the value is no number, or not a whole one where the rule asks for it.
    ValueError
        If the number breaks the rule.
    """
    value = getattr(owner, name)
    message = f"`{name}` must be {rule}; got {value!r}. {cure}"
    whole = rule.startswith("a whole number")
    # bool is an int to Python, but True as a learning rate is a mistake.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
        raise TypeError(message)
    convert: Callable[[Any], float] = int if whole else float
    try:
        number = convert(value)
        allowed = math.isfinite(number) and _RULES[rule](number)
    except OverflowError:  # an int of more than 308 digits
        allowed = False
    if not allowed:
        raise ValueError(message)
    if whole and number > MOST_STEPS:  # all whole numbers here are steps
        raise ValueError(f"`{name}` must be at most 2**53, the largest step that is counted; got {value!r}. {cure}")
    object.__setattr__(owner, name, number)
