"""Columns of data frames as numbers and as words, the same for a file of text and for one that knows types."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "as_numbers", "as_words", "import_pandas", "number_or_nan"]

LARGEST = 1e100  # squares of larger numbers, which standardising needs, may be infinite
_TRUTH = {"true": 1.0, "false": 0.0}


def import_pandas() -> Any:
    """Return pandas.

    Examples
    --------
    >>> import_pandas().__name__
    'pandas'
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError('Tables need the `pandas` package: pip install "fastbp[tables]".') from error
    return pandas


def as_numbers(frame: Any, places: Any = None) -> NDArray[np.float64]:
    """Return the columns of a data frame as numbers, NaN where one is missing.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Numbers, booleans (1 and 0), or words that are such.
    places : sequence of int, shape (n,), optional
        What an error calls each row, where these are some of a table's; by default 0, 1, ...

    Returns
    -------
    ndarray of float64, shape (n, n_columns)
        The numbers.

    Raises
    ------
    ValueError
        If something is no number, or its absolute value is 1e100 or more.

    Examples
    --------
    >>> import pandas as pd
    >>> as_numbers(pd.DataFrame({"a": ["1", None], "b": [True, False]}))
    array([[ 1.,  1.],
           [nan,  0.]])
    """
    numbers = np.empty(frame.shape, np.float64)
    for i, name in enumerate(frame.columns):
        column = frame[name]
        numbers[:, i] = number_or_nan(column)
        wrong = (np.isnan(numbers[:, i]) & column.notna().to_numpy()) | (np.abs(numbers[:, i]) >= LARGEST)
        if wrong.any():
            row = int(wrong.argmax())
            place = row if places is None else places[row]
            raise ValueError(
                f"`X` must have numbers below {LARGEST:g} in the column {name!r}, or nothing where one is missing; row "
                f"{place}, counted from 0, has {_short(column.iloc[row])}."
            )
    return numbers


def number_or_nan(column: Any) -> NDArray[np.float64]:
    """Return a column of a data frame as numbers, NaN where it has none.

    Parameters
    ----------
    column : Series of shape (n,)
        Anything.

    Returns
    -------
    ndarray of float64, shape (n,)
        The numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> number_or_nan(pd.Series(["1e3", "x", None, "True"]))
    array([1000.,   nan,   nan,    1.])
    """
    if column.dtype.kind in "biuf":
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    if column.dtype.kind in "mM":  # dates, of which pandas would make nanoseconds
        return np.full(len(column), np.nan)
    codes, distinct = _factorized(column)
    return np.array([*map(_number, distinct), np.nan], np.float64)[codes]  # -1, the last one, is missing


def _number(value: Any) -> float:
    """Return the number that a value is, or that its text means, else NaN."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and (text.lower() in _TRUTH or not text.isascii() or "_" in text):
        return _TRUTH.get(text.lower(), np.nan)  # Python also reads 1_000, which is no number in a table
    try:
        return float(text)
    except OverflowError:  # an integer
        return np.inf
    except (TypeError, ValueError):
        return np.nan


def as_words(frame: Any) -> NDArray[np.object_]:
    """Return the columns of a data frame as words, the empty one where one is missing.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Anything; a whole number is written without a point, whatever its type.

    Returns
    -------
    ndarray of str, shape (n, n_columns)
        The words.

    Examples
    --------
    >>> import pandas as pd
    >>> as_words(pd.DataFrame({"a": [1.0, None], "b": ["x", "y"]}))
    array([['1', 'x'],
           ['', 'y']], dtype=object)
    """
    words = np.empty(frame.shape, object)
    for i, name in enumerate(frame.columns):
        codes, distinct = _factorized(frame[name])
        words[:, i] = np.array([*map(_word, distinct), ""], object)[codes]
    return words


def _word(value: Any) -> str:
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def _factorized(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Return each row's place among the distinct values, -1 where nothing is, and these."""
    pandas = import_pandas()
    try:
        codes, distinct = pandas.factorize(column.astype(object))
    except TypeError:  # lists and the like, which cannot be looked up
        codes, distinct = pandas.factorize(column.map(str, na_action="ignore").astype(object))
    return codes, list(distinct)


def _short(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:60]}..."
