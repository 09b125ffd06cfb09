"""Column-vector notation made into rows: lists of (x, y) columns, and weights (n_l, n_{l-1}) with biases (n_l, 1).

In this notation a layer is ``a = f(w a_prev + b)``, so that ``w`` is W transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import parameters

# --- parameters -------------------------------------------------------------------------------------------------------


def read_parameters(weights: Any, biases: Any, sizes: Sequence[int], params: NDArray[Any]) -> None:
    """Write lists of weights (n_l, n_{l-1}) and biases (n_l, 1) into a flat parameter vector."""
    for name, values in (("weights", weights), ("biases", biases)):
        if not isinstance(values, list | tuple) or len(values) != len(sizes) - 1:
            raise ValueError(
                f"`{name}` must be a list of {len(sizes) - 1} arrays to fit the sizes {list(sizes)}; "
                f"got {_described(values)}."
            )
    W_views, b_views = parameters.views(params, sizes)
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        W_views[layer][...] = _fitting(weights[layer], f"weights[{layer}]", (fan_out, fan_in)).T
        b_views[layer][...] = _fitting(biases[layer], f"biases[{layer}]", (fan_out, 1)).ravel()


def _fitting(values: Any, name: str, shape: tuple[int, int]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be an array of shape {shape} to fit the sizes; got {_described(array)}.")
    return array


def as_lists(params: NDArray[Any], sizes: Sequence[int]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return new lists of weights (n_l, n_{l-1}) and biases (n_l, 1) from a flat vector of parameters or a gradient."""
    weights, biases = parameters.views(params, sizes)
    return [W.T.copy(order="C") for W in weights], [b.reshape(-1, 1).copy() for b in biases]


def means(lists: Sequence[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Return the mean of the samples' arrays, layer by layer."""
    return [sum(layer[1:], start=layer[0]) / len(lists) for layer in zip(*lists, strict=True)]


# --- data -------------------------------------------------------------------------------------------------------------


def pairs(data: Any, argument: str) -> list[Any]:
    """Return the samples as a list, the same one if it is a list: iterators such as zip objects are used up."""
    if isinstance(data, list):
        samples = data
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict):
        samples = list(data)
    else:
        raise TypeError(f"`{argument}` must be a list of pairs (x, y); got {_described(data)}.")
    if not samples:
        raise ValueError(f"`{argument}` must have at least one pair (x, y); got an empty list.")
    return samples


def or_none(data: Any) -> Any:
    """Return data that may be left out; an empty list is as good as None."""
    return None if isinstance(data, Sized) and len(data) == 0 else data


def vectors(
    samples: Sequence[Any], argument: str, sizes: Sequence[int], dtype: np.dtype
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return X (n, n_inputs) and Y (n, n_outputs) of a list of (x, y), both of them columns."""
    n_inputs, n_outputs = sizes[0], sizes[-1]
    form = f"a list of (x, y) with columns x of shape ({n_inputs}, 1) and y of shape ({n_outputs}, 1)"
    xs, ys = _halves(samples, argument, form)
    X = _rows(xs, n_inputs, dtype, "x", argument, form)
    return X, _rows(ys, n_outputs, dtype, "y", argument, form)


def labelled(
    samples: Sequence[Any], argument: str, sizes: Sequence[int], dtype: np.dtype
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return X (n, n_inputs) and labels (n,) of a list of (x, label)."""
    form = f"a list of (x, label) with columns x of shape ({sizes[0]}, 1) and labels 0 to {sizes[-1] - 1}"
    xs, labels = _halves(samples, argument, form)
    X = _rows(xs, sizes[0], dtype, "x", argument, form)
    arrays = [np.asarray(label) for label in labels]
    for index, array in enumerate(arrays):
        if array.size != 1 or array.dtype.kind not in "biuf":
            hint = " The label of a vector y is y.argmax()." if array.size == sizes[-1] else ""
            raise ValueError(f"`{argument}` must be {form}; item {index} has label {_described(labels[index])}.{hint}")
    return X, np.array([array.item() for array in arrays])


def one_hot(labels: NDArray[Any], argument: str, n_outputs: int, dtype: np.dtype) -> NDArray[Any]:
    """Return vectors (n, n_outputs) that are 1 at the label and 0 elsewhere."""
    known = np.isin(labels, np.arange(n_outputs))
    if not known.all():
        index = int(np.argmin(known))
        raise ValueError(
            f"`{argument}` must have labels from 0 to {n_outputs - 1}, one for each output; item {index} has "
            f"{labels[index]}."
        )
    eye: NDArray[Any] = np.eye(n_outputs, dtype=dtype)[labels.astype(np.int64)]
    return eye


def column(value: Any, argument: str, size: int) -> NDArray[Any]:
    """Return an array of columns (size, m), usually one."""
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[0] != size or array.dtype.kind not in "biuf":
        hint = _hint(array, argument, size)
        raise ValueError(f"`{argument}` must be a column of shape ({size}, 1); got {_described(value)}.{hint}")
    return array


# --- how the samples of a list are looked at --------------------------------------------------------------------------


def _halves(samples: Sequence[Any], argument: str, form: str) -> tuple[list[Any], list[Any]]:
    """Return all first and all second entries of the pairs."""
    xs, ys = [], []
    for index, sample in enumerate(samples):
        if not _is_pair(sample):
            raise ValueError(f"`{argument}` must be {form}; item {index} is {_described(sample)}.")
        xs.append(sample[0])
        ys.append(sample[1])
    return xs, ys


def _is_pair(sample: Any) -> bool:
    if isinstance(sample, np.ndarray):
        return sample.shape == (2,) and bool(sample.dtype == object)  # a row of an object array
    return isinstance(sample, tuple | list) and len(sample) == 2


def _rows(columns: list[Any], size: int, dtype: np.dtype, part: str, argument: str, form: str) -> NDArray[Any]:
    """Return the columns as the rows of one matrix of the network's dtype."""
    arrays = [value if isinstance(value, np.ndarray) else np.asarray(value) for value in columns]
    for index, array in enumerate(arrays):
        if array.shape != (size, 1) or array.dtype.kind not in "biuf":
            raise ValueError(
                f"`{argument}` must be {form}; item {index} has {part} = {_described(columns[index])}."
                + _hint(array, part, size)
            )
    rows = np.concatenate(arrays, dtype=dtype, casting="same_kind").reshape(len(arrays), size)
    if not validation.all_finite(rows):
        index, place = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise ValueError(f"`{argument}` must be finite; item {index} has {part}[{place}] = {rows[index, place]}.")
    return rows


def _described(value: Any) -> str:
    """Say what a value is, in few words."""
    if isinstance(value, np.ndarray):
        kind = "" if value.dtype.kind in "biuf" else f" and dtype {value.dtype}"
        return f"an array of shape {value.shape}{kind}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of length {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"an object of type {type(value).__name__}"


def _hint(array: NDArray[Any], name: str, size: int) -> str:
    """Return the sentence that tells how to make a column, where that is plain."""
    if array.dtype.kind not in "biuf":
        return ""
    if array.size == size and array.ndim > 0:
        return f" A column is {name}.reshape(-1, 1)."
    if array.ndim == 0 and array.dtype.kind in "iu" and 0 <= int(array) < size:
        return f" The column of a label is vectorized_result({int(array)}{'' if size == 10 else f', {size}'})."
    return ""
