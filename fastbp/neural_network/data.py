"""Valid arrays as the kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fastbp.engine.rows import Data
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows, sparse_rows


def flat(coefs: list[NDArray[Any]], intercepts: list[NDArray[Any]]) -> NDArray[Any]:
    """Return all parameters as the network's flat vector."""
    return np.concatenate([part.ravel() for pair in zip(coefs, intercepts, strict=True) for part in pair])


def in_dtype(X: Any, dtype: np.dtype) -> Rows:
    """Return inputs as the kernels take them: a contiguous array, or sparse rows, of the network's dtype."""
    if sparse.issparse(X):
        return sparse_rows(X).astype(dtype)
    return np.ascontiguousarray(X, dtype).view(np.ndarray)


def data_of_rows(X: Any, targets: Targets, weights: NDArray[Any] | None, dtype: np.dtype) -> Data:
    """Return valid data as the kernels take them."""
    weights = None if weights is None else np.ascontiguousarray(weights, dtype)
    return Data(in_dtype(X, dtype), targets, weights)
