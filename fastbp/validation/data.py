"""Every message that a wrong argument gets, and the conversion of the right ones.

Each function returns what the kernels may rely on, or raises before any kernel runs.  A message names the argument in
backticks, the rule, what came, and the cure.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fastbp.functions.losses import facts_of_loss
from fastbp.functions.names import LossName
from fastbp.functions.own import Loss
from fastbp.validation.architecture import MOST_BLAS
from fastbp.validation.arrays import as_array, column_names, no_numbers, numeric_array
from fastbp.validation.sparse_rows import Rows, SparseRows, is_sparse, sparse_rows

# Rows of softmax targets must sum to 1: within the rounding of a sum of float32 numbers.
_PROBABILITY_TOLERANCE = 1e-4
_SMALL = 32  # elements up to which Python's sum is quicker than NumPy's smallest and largest
_FINITE_CHUNK = 1 << 18  # elements that the second look still finds in the cache


# --- numbers ----------------------------------------------------------------------------------------------------------


# --- architecture -----------------------------------------------------------------------------------------------------


# --- data -------------------------------------------------------------------------------------------------------------


def require_finite(array: NDArray[Any], argument: str, given: Any = None) -> None:
    """Refuse NaN and infinity, naming the first one; and its column, where a data frame is given."""
    if not all_finite(array):
        place = np.argwhere(~np.isfinite(array))[0]
        names = column_names(given)
        found = f"{array[tuple(place)]}{'' if names is None else f' in column {names[place[-1]]!r}'}"
        raise ValueError(
            f"`{argument}` must be finite; found {found} at {tuple(int(i) for i in place)}. Impute or drop such rows."
        )


def all_finite(array: NDArray[Any]) -> bool:
    """Whether no element is NaN or infinite, without a temporary of the array's size."""
    if array.size <= _SMALL and math.isfinite(sum(array.ravel().tolist())):
        return True  # the quickest look for a row or two; a sum may overflow, then look closer
    flat = array.reshape(-1) if array.flags.c_contiguous or not array.size else array
    for first in range(0, len(flat), _FINITE_CHUNK):
        part = flat[first : first + _FINITE_CHUNK]
        if part.ndim == 1 and math.isfinite(np.einsum("i->", part)):  # the quickest sum there is
            continue
        if not (math.isfinite(part.min()) and math.isfinite(part.max())):  # a sum may overflow; both pass NaN on
            return False
    return True


def inputs(X: Any, n_features: int, dtype: np.dtype, argument: str = "X") -> Rows:
    """Return X as (n, n_features), finite, at least one row; a sparse matrix as sparse rows."""
    is_small = type(X) is np.ndarray and X.dtype is dtype and X.ndim == 2 and 0 < X.size <= _SMALL
    if is_small and X.shape[1] == n_features and X.flags.carray and math.isfinite(sum(X.ravel().tolist())):
        return cast("NDArray[Any]", X)  # a row or two in one look
    if type(X) is not np.ndarray and is_sparse(X):
        return _sparse_inputs(X, n_features, dtype, argument)
    array = numeric_array(X, argument, dtype).view(np.ndarray)  # a view, whose shape only we can set, is looked at
    if array.ndim != 2 or array.shape[1] != n_features:
        hint = ""
        if array.ndim == 1 and array.size == n_features:
            hint = f" A single sample is one row: {argument}.reshape(1, -1)."
        elif array.ndim == 1 and n_features == 1:
            hint = f" A single feature is one column: {argument}.reshape(-1, 1)."
        raise ValueError(
            f"`{argument}` must have shape (n_samples, {n_features}) to fit the first layer; got {array.shape}.{hint}"
        )
    if len(array) == 0:
        raise ValueError(f"`{argument}` must have at least one row; got shape {array.shape}.")
    require_finite(array, argument, X)
    if array.strides[0] > MOST_BLAS * array.itemsize:  # some columns of a very wide array
        array = array.copy()
    return array


def _sparse_inputs(X: Any, n_features: int, dtype: np.dtype, argument: str) -> SparseRows:
    """Return a sparse matrix as rows of the dtype, under the same rules."""
    rows = sparse_rows(X, argument)
    if rows.shape[1] != n_features or not len(rows):
        raise ValueError(
            f"`{argument}` must have shape (n_samples, {n_features}) to fit the first layer, and at least one row; got "
            f"{rows.shape}."
        )
    values = numeric_array(rows.values, argument, dtype)
    if not all_finite(values):
        e = int(np.argmin(np.isfinite(values)))
        place = int(np.searchsorted(rows.indptr, e, "right")) - 1, int(rows.indices[e])
        raise ValueError(f"`{argument}` must be finite; found {values[e]} at {place}. Impute or drop such rows.")
    return SparseRows(rows.indptr, rows.indices, values, n_features)


class Targets(NamedTuple):
    """Targets as the kernels take them: either an array (n, n_outputs) or labels (n,), the other one None.

    Labels are indices that the kernels do not look at: they are never an array of the user's.
    """

    array: NDArray[Any] | None
    labels: NDArray[np.int64] | None


def targets(
    Y: Any,
    n_rows: int,
    n_outputs: int,
    dtype: np.dtype,
    loss: LossName | Loss,
    *,
    softmax: bool,
    argument: str = "Y",
) -> Targets:
    """Return Y as an array (n, n_outputs), or as labels (n,) for softmax with cross-entropy."""
    takes_labels = softmax and facts_of_loss(loss).takes_labels
    raw = Y if type(Y) is np.ndarray else as_array(Y, argument, dtype)
    if takes_labels and raw.ndim == 1 and raw.dtype.kind in "iu":
        return Targets(None, _labels(raw, n_rows, n_outputs, argument))
    array = numeric_array(raw, argument, dtype).view(np.ndarray)
    if array.ndim == 1 and n_outputs == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_outputs):
        labels = f", or integer labels of shape ({n_rows},)" if takes_labels else ""
        hint = ""
        if array.ndim == 1 and not takes_labels and raw.dtype.kind in "iu":
            hint = " Integer labels need `output='softmax'` and `loss='cross_entropy'`."
        raise ValueError(
            f"`{argument}` must have shape ({n_rows}, {n_outputs}), a row for each row of X{labels}; got {raw.shape}."
            + hint
        )
    require_finite(array, argument, Y)
    _check_range(array, loss, softmax=softmax, argument=argument)
    return Targets(array, None)


def _labels(raw: NDArray[Any], n_rows: int, n_outputs: int, argument: str) -> NDArray[np.int64]:
    """Return integer labels (n,) in [0, n_outputs): always an array of our own, since the kernels index with them."""
    labels = np.array(raw, np.int64)  # first a copy, then a look: what is checked is what is used
    if labels.shape != (n_rows,):
        raise ValueError(f"`{argument}` must have one label for each of the {n_rows} rows of X; got {len(labels)}.")
    if (wrong := (labels < 0) | (labels >= n_outputs)).any():
        place = int(np.argmax(wrong))
        cure = "Map the classes with numpy.unique(y, return_inverse=True)."
        if n_outputs == 1:
            cure = "A softmax of one output is always 1: use `output='sigmoid'`, or one output for each class."
        raise ValueError(
            f"`{argument}` must hold labels from 0 to {n_outputs - 1}, one for each output; got {raw[place]} at "
            f"{place}. {cure}"
        )
    return labels


def _check_range(array: NDArray[Any], loss: LossName | Loss, *, softmax: bool, argument: str) -> None:
    """Refuse targets that a loss is not defined for."""
    allowed = facts_of_loss(loss).targets
    if allowed == "non_negative" and array.min() < 0:
        raise ValueError(f"`{argument}` must be at least 0 for `loss={loss!r}`; its smallest value is {array.min()}.")
    if allowed != "probabilities":
        return
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"`{argument}` must lie in [0, 1] for `loss={loss!r}`; it reaches from {array.min()} to {array.max()}."
        )
    if softmax:
        sums = array.sum(axis=1, dtype=np.float64)
        wrong = np.abs(sums - 1) > _PROBABILITY_TOLERANCE
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"`{argument}` must have rows that sum to 1 for softmax with cross-entropy; row {place} sums to "
                f"{sums[place]:.6g}. Use `output='sigmoid'` for classes that do not exclude each other."
            )


def sample_weights(weights: Any, n_rows: int, dtype: np.dtype, *, may_vanish: bool = False) -> NDArray[Any] | None:
    """Return sample weights (n,) of at least 0, not all 0 unless they may be, or None."""
    if weights is None:
        return None
    array = as_array(weights, "sample_weight", dtype)
    if array.dtype.kind not in "iubf":
        raise no_numbers(array, "sample_weight")
    array = array.view(np.ndarray)  # see `inputs`
    if array.shape != (n_rows,):
        raise ValueError(f"`sample_weight` must have shape ({n_rows},), a weight for each row of X; got {array.shape}.")
    array = np.ascontiguousarray(array, dtype)
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError("`sample_weight` must be finite and at least 0; a weight is how often a row counts.")
    if array.max() == 0 and not may_vanish:
        raise ValueError("`sample_weight` must not be 0 everywhere; no row would count.")
    return array


def flat_params(params: Any, n_params: int, dtype: np.dtype, argument: str = "params") -> NDArray[Any]:
    """Return a flat, contiguous vector (n_params,), laid out as the parameters."""
    array = numeric_array(params, argument, dtype)
    if array.shape != (n_params,):
        raise ValueError(f"`{argument}` must have shape ({n_params},), as `net.params` has; got {array.shape}.")
    require_finite(array, argument)
    return np.require(array, requirements=("C", "W"))  # a read-only array has another compiled type
