"""What the residual of a physics loss returns, and derivatives of a cost by outputs and their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.validation.arrays import as_array, no_numbers, numeric_array
from fastbp.validation.data import require_finite

_MUST_RETURN = (
    "`residual` must return four things: the cost of each row (n,) and the cost's derivatives by u (n, n_outputs), du "
    "(n, n_outputs, n_features) and lap (n, n_outputs), None for those that are 0"
)


def residual_result(result: Any) -> tuple[Any, Any, Any, Any]:
    """Return the four things that a residual returns, or raise."""
    if not isinstance(result, tuple | list):
        raise TypeError(f"{_MUST_RETURN}; got {type(result).__name__}.")
    if len(result) != 4:
        raise ValueError(f"{_MUST_RETURN}; got {len(result)}.")
    terms, of_value, of_jacobian, of_laplacian = result
    return terms, of_value, of_jacobian, of_laplacian


def residual_terms(terms: Any, n_rows: int, dtype: np.dtype) -> NDArray[np.float64]:
    """Return the costs of rows (n,), which may be infinite or NaN."""
    array = terms if type(terms) is np.ndarray else as_array(terms, "residual(...)[0]", dtype)
    if array.dtype.kind not in "iubf":
        raise no_numbers(array, "residual(...)[0]")
    if array.shape == (n_rows, 1):
        array = array.reshape(n_rows)
    if array.shape != (n_rows,):
        raise ValueError(
            f"`residual(...)[0]` must be the cost of each row, of shape ({n_rows},); got shape {array.shape}."
        )
    return array.astype(np.float64)


def output_errors(values: Any, shape: tuple[int, ...], dtype: np.dtype, argument: str) -> NDArray[Any] | None:
    """Return derivatives by something of the outputs, contiguous, finite and of its shape, or None for 0.

    Of a single output its axis may be missing.
    """
    if values is None:
        return None
    array = numeric_array(values, argument, dtype).view(np.ndarray)
    if shape[1] == 1 and array.shape == (shape[0], *shape[2:]):
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(
            f"`{argument}` must have the shape {shape} of what it is the derivative by; got {array.shape}."
        )
    require_finite(array, argument)
    return array if array.flags.carray else np.array(array, order="C")
