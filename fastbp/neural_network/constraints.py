"""What parameters may be: stands in for scikit-learn's private validation, word for word, where that is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from scipy import sparse


class InvalidParameterError(ValueError, TypeError):
    """A parameter has a value or a type that is not allowed; both errors, as scikit-learn's."""


class Options:
    """Values of a set."""

    def __init__(self, type: type, options: set[Any]) -> None:
        self.type, self.options = type, options

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is one of the values."""
        return isinstance(val, self.type) and val in self.options

    def __str__(self) -> str:
        return f"a {_name(self.type)} among {{{', '.join(map(repr, self.options))}}}"


class StrOptions(Options):
    """Strings of a set."""

    def __init__(self, options: set[str]) -> None:
        super().__init__(str, options)


class Interval:
    """Numbers between two, without bounds where they are None.

    Parameters
    ----------
    type : {numbers.Integral, numbers.Real}
        Which numbers.
    left, right : float or None
        The bounds.
    closed : {'left', 'both', 'neither'}
        Which bounds belong to it.
    """

    def __init__(self, type: type, left: float | None, right: float | None, *, closed: str) -> None:
        self.type, self.left, self.right, self.closed = type, left, right, closed
        self._with_left, self._with_right = closed in ("left", "both"), closed == "both"

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a number of the kind, and within the bounds."""
        if not isinstance(val, self.type):
            return False
        val = cast(float, val)
        if val != val:  # NaN
            return False
        left, right = -math.inf if self.left is None else self.left, math.inf if self.right is None else self.right
        above = val >= left if self._with_left else val > left
        return bool(above and (val <= right if self._with_right else val < right))

    def __str__(self) -> str:
        kind, shown = ("an int", int) if self.type is Integral else ("a float", float)
        left, right = (
            "-inf" if self.left is None else shown(self.left),
            "inf" if self.right is None else shown(self.right),
        )
        return f"{kind} in the range {'[' if self._with_left else '('}{left}, {right}{']' if self._with_right else ')'}"


class _Instance:
    def __init__(self, type: type) -> None:
        self._type = type

    def is_satisfied_by(self, val: Any) -> bool:
        return isinstance(val, self._type)

    def __str__(self) -> str:
        return f"an instance of {_name(self._type)!r}"


class _Nothing:
    def is_satisfied_by(self, val: Any) -> bool:
        return val is None

    def __str__(self) -> str:
        return "None"


class _Callable:
    def is_satisfied_by(self, val: Any) -> bool:
        return callable(val)

    def __str__(self) -> str:
        return "a callable"


class _Array:
    def is_satisfied_by(self, val: Any) -> bool:
        has_length = any(hasattr(val, name) for name in ("__len__", "shape", "__array__"))
        return has_length and not sparse.issparse(val) and not np.isscalar(val)

    def __str__(self) -> str:
        return "an array-like"


class _OneOf:
    def __init__(self, constraints: Iterable[Any]) -> None:
        self._constraints = list(constraints)

    def is_satisfied_by(self, val: Any) -> bool:
        return any(constraint.is_satisfied_by(val) for constraint in self._constraints)

    def __str__(self) -> str:
        *others, last = map(str, self._constraints)
        return f"{', '.join(others)} or {last}" if others else last


def _name(kind: type) -> str:
    """Return what a type is called in messages."""
    if kind in (Real, Integral):
        return "float" if kind is Real else "int"
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_BOOLEANS = (_Instance(bool), _Instance(np.bool_))
_BY_NAME = {
    "array-like": _Array(),
    "boolean": _OneOf(_BOOLEANS),
    "verbose": _OneOf([Interval(Integral, 0, None, closed="left"), *_BOOLEANS]),
    "random_state": _OneOf(
        [Interval(Integral, 0, 2**32 - 1, closed="both"), _Instance(np.random.RandomState), _Nothing()]
    ),
}


def _constraint(rule: Any) -> Any:
    """Return what a rule of `CONSTRAINTS` says as an object."""
    if rule is None:
        return _Nothing()
    if rule is callable:
        return _Callable()
    if isinstance(rule, type):
        return _Instance(rule)
    return _BY_NAME[rule] if isinstance(rule, str) else rule


def validate_parameter_constraints(constraints: dict[str, list[Any]], params: dict[str, Any], caller_name: str) -> None:
    """Check the parameters of an estimator; those without a rule are a subclass's.

    Raises
    ------
    InvalidParameterError
        If one is not allowed.
    """
    for name, value in params.items():
        allowed = _OneOf(map(_constraint, constraints.get(name, [])))
        if name in constraints and not allowed.is_satisfied_by(value):
            raise InvalidParameterError(
                f"The {name!r} parameter of {caller_name} must be {allowed}. Got {value!r} instead."
            )
