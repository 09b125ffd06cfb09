"""`MatrixLike`: the type of everything that is taken for inputs X."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatrixLike"]


class SupportsArray(Protocol):
    """What makes an array of itself: NumPy's arrays, tensors, data frames and series."""

    def __array__(self) -> NDArray[Any]: ...


class SupportsNumPy(Protocol):
    """The arrays of pandas' own, such as ``frame.values`` may be, whose base class declares no `__array__`."""

    def to_numpy(self) -> NDArray[Any]:
        """Return it as an array."""


class SupportsCSR(Protocol):
    """A sparse matrix of SciPy's, of any format."""

    def tocsr(self) -> Any:
        """Return it as CSR."""


_Number = float | np.bool_ | np.integer[Any] | np.floating[Any]  # of which int and bool are, too
# NumPy's ArrayLike has the sparse matrices not, and has texts, which no network takes: a `str` is no MatrixLike.
MatrixLike = (
    SupportsArray
    | SupportsNumPy
    | SupportsCSR
    | Sequence[_Number]
    | Sequence[Sequence[_Number]]
    | Sequence[SupportsArray]
)
