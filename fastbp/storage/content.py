"""`FileContent`: what a file of named arrays holds, to be taken by those who know what it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.storage.atomic import FileError
from fastbp.validation.data import all_finite

__all__ = ["FileContent"]


@dataclass(frozen=True)
class FileContent:
    """What a file holds: its kind, its format's version, the description, arrays to be taken by name, and more.

    `optional` is a further description that may be passed over, empty in most files.

    Examples
    --------
    >>> content = FileContent("x", "note", 1, {"n": 2}, {"x": np.zeros(2)})
    >>> content.require_names({"x"}, {"n"})
    >>> content.take("x", (2,), "float64")
    array([0., 0.])
    """

    path: str
    kind: str
    version: int
    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    optional: dict[str, Any] = field(default_factory=dict)

    def fail(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        """Raise the error of this file; a reason that ends with another error's text gets its full stop here."""
        raise FileError(self.path, reason if reason.endswith(".") else f"{reason}.") from cause

    def require_names(self, arrays: Iterable[str], fields: Iterable[str]) -> None:
        """Raise unless the file has exactly these arrays, and the description exactly these fields."""
        for what, expected, found in (("arrays", arrays, self.arrays), ("fields", fields, self.description)):
            wrong = sorted(set(expected) ^ set(found))
            if wrong:
                self.fail(
                    f"a {self.kind} must have the {what} {', '.join(sorted(expected))}; there "
                    f"is {'no' if wrong[0] in expected else 'also'} {wrong[0]!r}."
                )

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike, *, finite: bool = True) -> NDArray[Any]:
        """Return an array: writable, contiguous, of this shape and dtype, without NaN and infinity unless allowed."""
        array = self.arrays.get(name)
        if array is None:
            self.fail(f"there is no array {name!r}.")
        if array.shape != shape or array.dtype != np.dtype(dtype):
            self.fail(
                f"its array {name!r} must have shape {shape} and dtype {np.dtype(dtype)}; it has {array.shape} and "
                f"{array.dtype}."
            )
        with np.errstate(invalid="ignore"):  # a signalling NaN warns where it is compared
            if finite and array.dtype.kind == "f" and not all_finite(array):
                self.fail(f"its array {name!r} holds NaN or infinity.")
        return array if array.flags.aligned else array.copy()
