"""Anything that holds real numbers made into an array: lists, arrays, data frames; and the messages for what does not.

Data frames of pandas and polars are known by their classes where the user has imported the library.  NumPy makes
objects of a frame whose columns have different types; here each column is converted by itself.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.functions.names import DTypeName

DTYPES: tuple[DTypeName, ...] = ("float32", "float64")
_REAL = "iubf"  # kinds of dtypes that hold real numbers
_MOST_NAMES = 3  # columns that a message lists

_DATES = "Turn dates into numbers, for instance into days since the first one"
_CURES = {
    "M": f"{_DATES}.",
    "m": "Turn it into numbers of a unit, for instance by dividing by numpy.timedelta64(1, 's').",
    "c": "Pass its real and its imaginary part, or its absolute value.",
    "V": "Make its fields columns with numpy.lib.recfunctions.structured_to_unstructured.",
}
_COLUMN_CURES = {
    "pandas": "Convert it with .astype('float64') if it holds numbers, encode classes with pandas.get_dummies, or drop "
    "it.",
    "polars": "Convert it with .cast(polars.Float64) if it holds numbers, encode classes with .to_dummies(), or drop "
    "it.",
}


def numeric_array(values: Any, argument: str, dtype: np.dtype) -> NDArray[Any]:
    """Return an array of the network's dtype; integers, booleans, plain lists and data frames are converted.

    An array of the dtype is returned as it is, whatever its layout, if the kernels can address it.
    """
    array = values if type(values) is np.ndarray else as_array(values, argument, dtype)
    if array.dtype is dtype and array.flags.carray:  # the common case, in one look
        return array
    if array.dtype != dtype:
        if array.dtype.kind in "iub":
            array = array.astype(dtype)
        elif array.dtype.kind == "f":
            raise TypeError(
                f"`{argument}` must have the network's dtype {dtype.name}, because nothing is converted between float "
                f"types silently; got {array.dtype}. Convert it with .astype('{dtype.name}'), or build the network "
                f"with dtype='{array.dtype}'."
                if array.dtype in map(np.dtype, DTYPES)
                else f"`{argument}` must have the network's dtype {dtype.name}; got {array.dtype}. Convert it with "
                f".astype('{dtype.name}')."
            )
        else:
            raise no_numbers(array, argument, f" of dtype {dtype.name}")
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
        array = array.copy() if not array.flags.aligned else array
    return array


def as_array(values: Any, argument: str, dtype: np.dtype) -> NDArray[Any]:
    """Return an array from nested lists, data frames or anything with `__array__`."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(
            f"`{argument}` must not be a masked array, whose mask would be lost. Use .filled() or drop rows."
        )
    library = _library(values)
    if library is not None:
        return _framed(values, library, argument, dtype)
    try:
        array = np.asarray(values)
    except ValueError as error:
        if hasattr(values, "__array__"):
            raise ValueError(f"`{argument}` must be an array of numbers; {type(values).__name__} is none.") from error
        raise ValueError(f"`{argument}` must be an array of numbers; its rows have different lengths.") from error
    if array.dtype.kind == "f" and not hasattr(values, "__array__"):
        return array.astype(dtype)  # Python numbers have no float type of their own
    return array


def no_numbers(array: NDArray[Any], argument: str, of_dtype: str = "") -> TypeError:
    """Return the error of an array that holds no real numbers."""
    kind, cure = array.dtype.kind, f"Convert it with numpy.asarray({argument}, 'float64') if it holds numbers"
    came = f"dtype {array.dtype}"
    if kind == "O" and array.ndim == 0:
        came, cure = type(array.item()).__name__, "Pass an array, nested lists or a data frame."
    elif kind == "O":
        wrong = next((place for place, value in np.ndenumerate(array) if not _is_real(value)), None)
        if wrong is None:
            cure = f"Convert it with numpy.asarray({argument}, 'float64')."
        else:
            came += f" with {type(array[wrong]).__name__} at {wrong}"
            cure = "Encode it as a number, or drop its row or column."
    else:
        cure = _CURES.get(kind, f"{cure}, and encode anything else as numbers.")
    return TypeError(f"`{argument}` must hold real numbers{of_dtype}; got {came}. {cure}")


def _is_real(value: Any) -> bool:
    """Whether an object is a real number."""
    return isinstance(value, int | float | np.integer | np.floating | np.bool_)


# --- data frames ------------------------------------------------------------------------------------------------------


def column_names(values: Any) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns; None of anything else, and where a name is no str."""
    if values is None or type(values) is np.ndarray or _library(values) is None or len(values.shape) != 2:
        return None
    names = tuple(values.columns)
    return names if all(isinstance(name, str) for name in names) else None


def require_columns(values: Any, names: tuple[str, ...], argument: str = "X") -> None:
    """Refuse a data frame whose columns are not those of the fit, in their order."""
    own, names = column_names(values), tuple(map(str, names))  # a user may have set any sequence
    if own is None or own == names:
        return
    if sorted(own) == sorted(names):
        place = next(i for i, pair in enumerate(zip(own, names, strict=True)) if pair[0] != pair[1])
        raise ValueError(
            f"`{argument}` must have its columns in the order of `fit`, because the network knows them by their place; "
            f"column {place} is {own[place]!r} and was {names[place]!r}. Use {argument}[list(net.feature_names)], or "
            "pass an array if the order is right."
        )
    missing, unknown = (list((Counter(one) - Counter(other)).elements()) for one, other in ((names, own), (own, names)))
    raise ValueError(
        f"`{argument}` must have the columns of `fit`, because the network knows them by their place; missing: "
        f"{_listed(missing)}; unknown: {_listed(unknown)}. Use {argument}[list(net.feature_names)], or pass an array "
        "if the columns are the right ones under other names."
    )


def _listed(names: list[str]) -> str:
    """Return the first few names."""
    more = len(names) - _MOST_NAMES
    shown = ", ".join(map(repr, names[:_MOST_NAMES])) or "none"
    return f"{shown} and {more} more" if more > 0 else shown


def _library(values: Any) -> str | None:
    """Return the library whose data frame or series this is, if it is one."""
    for name in _COLUMN_CURES:
        library = sys.modules.get(name)  # without it there are none of its objects
        kinds = getattr(library, "DataFrame", ()), getattr(library, "Series", ())
        if isinstance(values, kinds):
            return name
    return None


def _framed(values: Any, library: str, argument: str, dtype: np.dtype) -> NDArray[Any]:
    """Return a data frame as an array of its columns' common type if they have one of NumPy's, else of `dtype`."""
    if len(values.shape) == 1:
        return _of_series(values, library, dtype)
    if library == "pandas":
        one_type = len(set(values.dtypes)) == 1 and _is_numpys(values.dtypes.iloc[0])
        columns = [values.iloc[:, place] for place in range(values.shape[1])] if not one_type else []
    else:
        one_type = len(set(values.dtypes)) == 1 and values.dtypes[0].is_float()
        columns = values.get_columns()
    if one_type:  # in one go, if possible without a copy
        return np.asarray(values)
    array = np.empty(values.shape, dtype)
    for place, column in enumerate(columns):
        found = _real_dtype(column, library)
        if found is None:
            dates = getattr(column.dtype, "kind", "") == "M" or (library == "polars" and column.dtype.is_temporal())
            raise TypeError(
                f"`{argument}` must hold real numbers, because a network computes with them; its column "
                f"{column.name!r} has dtype {column.dtype}. "
                + (f"{_DATES}, or drop the column." if dates else _COLUMN_CURES[library])
            )
        if found.kind == "f" and not np.can_cast(found, dtype):
            raise TypeError(
                f"`{argument}` must have the network's dtype {dtype.name}, because nothing is converted between float "
                f"types silently; its column {column.name!r} has dtype {column.dtype}. Convert it to {dtype.name}, or "
                f"build the network with dtype='{found.name}'."
            )
        array[:, place] = _as_floats(column, library)
    return array


def _of_series(values: Any, library: str, dtype: np.dtype) -> NDArray[Any]:
    """Return a series as an array: of its own type, or of `dtype` where integers or booleans are missing."""
    found = None if library == "pandas" and _is_numpys(values.dtype) else _real_dtype(values, library)
    if found is None:
        return np.asarray(values)
    missing = values.isna().any() if library == "pandas" else values.null_count()
    return _as_floats(values, library).astype(dtype if missing and found.kind != "f" else found)


def _is_numpys(dtype: Any) -> bool:
    """Whether a column's dtype is one of NumPy's, of real numbers."""
    return isinstance(dtype, np.dtype) and dtype.kind in _REAL


def _real_dtype(column: Any, library: str) -> np.dtype | None:
    """Return NumPy's dtype for a column of real numbers, whatever is missing; None for any other column."""
    if library == "pandas":
        dtype = getattr(getattr(column.dtype, "categories", None), "dtype", column.dtype)
        if getattr(dtype, "kind", "O") not in tuple(_REAL):
            return None
        found: np.dtype = np.dtype(getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)))  # nullable; sparse
        return found
    if column.dtype.is_float():
        return np.dtype(str(column.dtype).lower())
    if column.dtype.is_integer():
        return np.dtype(np.int64)
    return np.dtype(np.bool_) if str(column.dtype) == "Boolean" else None


def _as_floats(column: Any, library: str) -> NDArray[np.float64]:
    """Return a column of real numbers as float64, with NaN where one is missing."""
    if library == "pandas":
        floats: NDArray[np.float64] = column.to_numpy(np.float64, na_value=np.nan)
        return floats
    floats = column.cast(sys.modules[library].Float64).to_numpy()
    return floats
