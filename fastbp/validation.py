"""Every message that a wrong argument gets, and the conversion of the right ones.

Each function returns what the kernels may rely on, or raises before any kernel runs.  A message names the argument in
backticks, the rule, what came, and the cure.
"""

import contextlib
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fastbp.arrays import DTYPES as DTYPES
from fastbp.arrays import as_array, no_numbers, numeric_array
from fastbp.functions import ACTIVATION_NAMES, LOSS_NAMES, Activation, Loss, is_positive, nearest
from fastbp.names import LossName, OutputName
from fastbp.sparse_rows import Rows, SparseRows, is_sparse, sparse_rows

# Rows of softmax targets must sum to 1: within the rounding of a sum of float32 numbers.
_PROBABILITY_TOLERANCE = 1e-4
MOST_BLAS = (1 << 31) - 1  # what SciPy's BLAS takes as a size or as the distance of two rows
_SMALL = 32  # elements up to which Python's sum is quicker than NumPy's smallest and largest
_FINITE_CHUNK = 1 << 18  # elements that the second look still finds in the cache

Run = tuple[OutputName | Activation, int]  # an activation and the number of neighbouring neurons that have it


# --- numbers ----------------------------------------------------------------------------------------------------------


def positive_integer(value: Any, argument: str, least: int = 1) -> int:
    """Return an int of at least `least`; booleans and floats are refused."""
    try:
        number = operator.index(value)
    except TypeError:
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


# --- architecture -----------------------------------------------------------------------------------------------------


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the layer sizes as ints: at least an input and an output, each of at least 1."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray) or getattr(sizes, "ndim", 1) != 1:
        raise TypeError(f"`sizes` must be a sequence of layer sizes such as [784, 30, 10]; got {sizes!r}.")
    if len(sizes) < 2:
        raise ValueError(f"`sizes` must have at least two entries, the inputs and the outputs; got {list(sizes)}.")
    checked = tuple(positive_integer(size, f"sizes[{i}]") for i, size in enumerate(sizes))
    for i, size in enumerate(checked):
        if size > MOST_BLAS:
            raise ValueError(
                f"`sizes[{i}]` must be at most {MOST_BLAS}, because matrix products count in 32 bits; got {size}."
            )
    return checked


def network_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype."""
    with contextlib.suppress(TypeError, ValueError, SyntaxError):  # whatever NumPy says of a word
        found: np.dtype = np.dtype(dtype)
        if dtype is not None and found in map(np.dtype, DTYPES):  # of another byte order it is not equal
            return found
    raise ValueError(f"`dtype` must be 'float32' or 'float64'; got {dtype!r}.")


def activation_runs(activation: Any, output: Any, sizes: Sequence[int]) -> list[list[Run]]:
    """Return each layer's runs of neurons with one activation, from the arguments of `Network`."""
    n_hidden = len(sizes) - 2
    if isinstance(activation, str | Activation):
        entries = [_activation_name(activation, "activation", softmax=False)] * n_hidden  # also where none is hidden
    elif isinstance(activation, Sequence):
        entries = list(activation)
        if len(entries) != n_hidden:
            raise ValueError(
                f"`activation` must be one name, or a list with one entry for each of the {n_hidden} hidden layers; "
                f"got {len(entries)} entries. The output layer's activation is `output`."
            )
    else:
        raise TypeError(
            f"`activation` must be a name, a bp.Activation, or a list of them; got {type(activation).__name__}."
        )
    runs = [
        _layer_runs(entry, size, f"activation[{i}]" if n_hidden > 1 else "activation", softmax=False)
        for i, (entry, size) in enumerate(zip(entries, sizes[1:-1], strict=True))
    ]
    return [*runs, _layer_runs(output, sizes[-1], "output", softmax=True)]


def _layer_runs(entry: Any, size: int, argument: str, *, softmax: bool) -> list[Run]:
    """Return one layer's runs; they must cover its neurons, and softmax must be alone."""
    if isinstance(entry, str | Activation):
        return [(_activation_name(entry, argument, softmax=softmax), size)]
    if not isinstance(entry, Sequence) or not all(isinstance(run, Sequence) and len(run) == 2 for run in entry):
        raise TypeError(
            f"`{argument}` must be a name, a bp.Activation, or a list of (name, count) that covers the layer's {size} "
            f"neurons; got {entry!r}."
        )
    runs = [
        (
            _activation_name(name, argument, softmax=False),
            positive_integer(count, f"count of {name!r} in {argument}"),
        )
        for name, count in entry
    ]
    total = sum(count for _, count in runs)
    if total != size:
        raise ValueError(f"`{argument}` must cover the layer's {size} neurons; its counts add up to {total}.")
    return runs


def _activation_name(name: Any, argument: str, *, softmax: bool) -> OutputName | Activation:
    """Return a known activation."""
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str) or name not in ACTIVATION_NAMES:
        raise ValueError(
            f"`{argument}` must be the name of an activation; got {name!r}. {nearest(name, ACTIVATION_NAMES)}"
        )
    if name == "softmax" and not softmax:
        raise ValueError(
            f"`{argument}` cannot be 'softmax': softmax normalises a whole output layer, so it is allowed as "
            "`output='softmax'` only. Use 'sigmoid' or 'tanh' in a hidden layer."
        )
    return name


def loss_for_output(loss: Any, output: list[Run]) -> LossName | Loss:
    """Return a known loss that fits the activations of the output layer."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSS_NAMES:
        raise ValueError(f"`loss` must be the name of a loss or a bp.Loss; got {loss!r}. {nearest(loss, LOSS_NAMES)}")
    names = [name.name if isinstance(name, Activation) else name for name, _ in output]
    is_sigmoid = all(isinstance(name, str) and name == "sigmoid" for name, _ in output)  # not one of the user's own
    if loss == "cross_entropy" and output[0][0] != "softmax" and not is_sigmoid:
        raise ValueError(
            "`loss='cross_entropy'` needs outputs that are probabilities: `output='softmax'` for classes of which one "
            f"is true, 'sigmoid' for independent ones; got output {_described(names)}."
        )
    if loss == "poisson" and not all(is_positive(name) for name, _ in output):
        raise ValueError(
            "`loss='poisson'` needs outputs that are positive: 'exp', 'softplus', 'sigmoid' or 'softmax'; got output "
            f"{_described(names)}."
        )
    return loss


def _described(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else repr(names)


# --- data -------------------------------------------------------------------------------------------------------------


def require_finite(array: NDArray[Any], argument: str) -> None:
    """Refuse NaN and infinity, naming the first one."""
    if not all_finite(array):
        place = np.argwhere(~np.isfinite(array))[0]
        value = array[tuple(place)]
        raise ValueError(
            f"`{argument}` must be finite; found {value} at {tuple(int(i) for i in place)}. Impute or drop such rows."
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
    require_finite(array, argument)
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
    takes_labels = softmax and loss == "cross_entropy"
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
    require_finite(array, argument)
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
    if loss == "poisson" and array.min() < 0:
        raise ValueError(f"`{argument}` must be at least 0 for `loss='poisson'`; its smallest value is {array.min()}.")
    if loss != "cross_entropy":
        return
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"`{argument}` must lie in [0, 1] for `loss='cross_entropy'`; it reaches from {array.min()} to "
            f"{array.max()}."
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


def sample_weights(weights: Any, n_rows: int, dtype: np.dtype) -> NDArray[Any] | None:
    """Return sample weights (n,) of at least 0, not all 0, or None."""
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
    if array.max() == 0:
        raise ValueError("`sample_weight` must not be 0 everywhere; no row would count.")
    return array


def flat_params(params: Any, n_params: int, dtype: np.dtype) -> NDArray[Any]:
    """Return a flat, contiguous parameter vector (n_params,)."""
    array = numeric_array(params, "params", dtype)
    if array.shape != (n_params,):
        raise ValueError(f"`params` must have shape ({n_params},), as `net.params` has; got {array.shape}.")
    require_finite(array, "params")
    return np.require(array, requirements=("C", "W"))  # a read-only array has another compiled type


def dropout_rates(dropout: Any, n_hidden: int) -> list[float]:
    """Return one dropout rate for each hidden layer, each in [0, 1)."""
    if isinstance(dropout, Sequence) and not isinstance(dropout, str):
        if len(dropout) != n_hidden:
            raise ValueError(
                f"`dropout` must be one rate, or one for each of the {n_hidden} hidden layers; got {len(dropout)}."
            )
        rates = [real_number(rate, f"dropout[{i}]", 0.0) for i, rate in enumerate(dropout)]
    else:
        rates = [real_number(dropout, "dropout", 0.0)] * n_hidden
    if any(rate >= 1 for rate in rates):
        raise ValueError(f"`dropout` must be below 1, the share of neurons that is dropped; got {max(rates)}.")
    return rates
