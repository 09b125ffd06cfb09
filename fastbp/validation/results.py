"""Arrays for large results: the caller's own, checked before anything is written to it, or new ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.system.memory import require_memory


def result_array(
    out: Any, shape: tuple[int, ...], dtype: np.dtype, purpose: str, cure: str, *read: NDArray[Any] | None
) -> NDArray[Any]:
    """Return the array that a result goes to.

    Parameters
    ----------
    out : ndarray or None
        The caller's; None for a new one.
    shape : tuple of int
        The result's.
    dtype : dtype
        The result's.
    purpose : str
        What it holds: the subject of the message where memory is short.
    cure : str
        A sentence that says what would need less memory.
    *read : ndarray or None
        Arrays that are read while it is written.

    Raises
    ------
    TypeError, ValueError
        If it is no array, or not one that can be written to as it is.
    MemoryError
        If a new one does not fit.
    """
    if out is None:
        require_memory(math.prod(shape) * dtype.itemsize, purpose, cure)
        return np.empty(shape, dtype)
    if type(out) is not np.ndarray:
        raise TypeError(f"`out` must be a NumPy array to write to; got {type(out).__name__}.")
    array = out[...]  # whose shape nobody else can set
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"`out` must have the shape {shape} and the dtype {dtype} of the result; got {array.shape} and "
            f"{array.dtype}. Make it with np.empty({shape}, {dtype.name!r})."
        )
    if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable and array.dtype.isnative):
        raise ValueError(
            "`out` must be contiguous (in C order), aligned and writeable, since the kernels write straight into it; "
            f"got one that is not. Make it with np.empty({shape}, {dtype.name!r})."
        )
    if any(other is not None and np.may_share_memory(array, other) for other in read):
        raise ValueError("`out` must not overlap an array that is read meanwhile, such as X; got one that does.")
    return array
