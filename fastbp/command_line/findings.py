"""What is found out about a table: which columns can be learned from, and whether the target is a class or a number."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.command_line.options import UsageError
from fastbp.neural_network.table_columns import LARGEST, as_words, number_or_nan

__all__ = ["Columns", "Target", "find_columns", "find_target", "require_range", "row_number"]

_MOST_CLASSES = 20  # of whole numbers that are taken for classes
_ROWS_OF_A_CLASS = 5  # at least, on average; fewer, and the numbers are taken for a quantity
_NAMES_OF_NUMBERS = {"", "unnamed: 0", "id", "index", "no", "nr", "row", "rownames"}
_NEARLY_ALL = 0.9  # of values, which are meant to be numbers
_FEW_WORDS = 10  # different words that are no id even if each is in one row
# Texts as CSV files have them: 2024-07-31, 31.7.2024, 7/31/24, also with a time behind, and a time alone.
_DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d\d))([T ].*)?|\d{1,2}:\d\d(:\d\d.*)?"
)
_DATES = "left out, having dates or times; make numbers of them, such as the day of the year"


class Columns(NamedTuple):
    """Columns to learn from, the words of each, and what is to be said of others, with the names that it is true of."""

    numbers: list[str]
    words: list[str]
    categories: list[list[str]]
    notes: dict[str, list[str]]


class Target(NamedTuple):
    """What is to be predicted: a value for each row, which rows have one, and how that was decided."""

    task: str
    y: NDArray[Any]
    is_known: NDArray[np.bool_]
    reason: str


# --- columns ----------------------------------------------------------------------------------------------------------


def find_columns(frame: Any, held_out: Any, most_words: int) -> Columns:
    """Return the columns to learn from.

    Parameters
    ----------
    frame, held_out : DataFrame
        The rows to learn from and those held out, without the target.  Of the latter only this is looked at: whether a
        column has something else than numbers.
    most_words : int
        Of a column of words so many get a column of their own, those that are in most rows.

    Returns
    -------
    Columns
        The columns.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"a": [1, 2, 4], "b": ["x", "y", "x"], "c": [0, 0, 0]})
    >>> find_columns(frame, frame, 100)
    Columns(numbers=['a'], words=['b'], categories=[['x', 'y']], notes={'left out, being always 0': ['c']})
    """
    found = Columns([], [], [], {})
    for name in frame.columns:
        word = _first_word(frame[name]) or _first_word(held_out[name])
        if not word:
            _require_small(name, frame[name], held_out[name])
        reason = _add(found, name, frame[[name]], most_words, word)
        if reason:
            found.notes.setdefault(reason, []).append(name)
    return found


def row_number(frame: Any) -> str:
    """Return the name of a column that only counts the rows, as programs write it in front; else nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> row_number(pd.DataFrame({"id": [1, 2, 3], "a": [1, 2, 3]}))
    'id'
    """
    name = str(frame.columns[0])
    if name.lower() not in _NAMES_OF_NUMBERS:
        return ""
    numbers = number_or_nan(frame[name])
    return name if len(numbers) > 1 and (np.diff(numbers) == 1).all() else ""


def require_range(X: NDArray[np.float64], dtype: Any, origin: str) -> None:
    """Raise if a standardised number is too large for the type of a network's numbers."""
    is_wrong = (np.abs(X) > np.finfo(dtype).max).any(axis=1)
    if is_wrong.any():
        raise UsageError(
            f"{origin} must have numbers nearer to those learned from, for a network of {np.dtype(dtype)}; row "
            f"{int(is_wrong.argmax())}, counted from 0, has one too large"
        )


def _first_word(column: Any) -> str:
    """Return the first value of a column that is no number, as a text in quotes; nothing if there is none."""
    is_word = np.isnan(number_or_nan(column)) & column.notna().to_numpy()
    return repr(str(column.iloc[int(is_word.argmax())])) if is_word.any() else ""


def _require_small(name: str, *parts: Any) -> None:
    """Raise if a number of a column, whose rows are named by their places in the table, is too large to be squared."""
    for column in parts:
        numbers = number_or_nan(column)
        if (np.abs(numbers) >= LARGEST).any():
            place = int((np.abs(numbers) >= LARGEST).argmax())
            raise UsageError(
                f"column {name!r} must have numbers below {LARGEST:g}; row {column.index[place]}, counted from 0, has "
                f"{numbers[place]:g}; leave such values empty, or the column out with --drop"
            )


def _add(found: Columns, name: str, column: Any, most_words: int, word: str) -> str:
    """Add a column to those that are found; return what is to be said of it."""
    series = column[name]
    if series.isna().all():
        return "left out, having no values"
    if series.dtype.kind in "mM":
        return _DATES
    numbers = number_or_nan(series)
    if not word:
        return _add_numbers(found, name, numbers)
    if series.dropna().map(lambda value: bool(_DATE.fullmatch(str(value).strip()))).all():
        return _DATES
    words, counts = np.unique(as_words(column)[:, 0].astype(str), return_counts=True)
    if len(words) == 1:
        return f"left out, being always {str(words[0])!r}"
    if np.isfinite(numbers).mean() >= _NEARLY_ALL:
        return f"left out, having nearly only numbers but something else, such as {word}; leave these empty"
    if len(words) > max(_FEW_WORDS, len(series) / 2):
        return f"left out, having {len(words)} different words in {len(series)} rows, as an id has"
    kept = words[np.argsort(-counts, kind="stable")[:most_words]]
    found.words.append(name)
    found.categories.append(sorted(kept.tolist()))
    if len(kept) < len(words):
        return f"{len(words)} different words, of which the {len(kept)} most frequent are used (--max-categories)"
    return ""


def _add_numbers(found: Columns, name: str, numbers: NDArray[np.float64]) -> str:
    known = numbers[~np.isnan(numbers)]
    has_missing = len(known) < len(numbers)
    if (known == known[0]).all() and not has_missing:
        return f"left out, being always {known[0]:g}"
    found.numbers.append(name)
    if has_missing:
        return f"{len(numbers) - len(known)} of {len(numbers)} numbers missing, for which the median is taken"
    return ""


# --- target -----------------------------------------------------------------------------------------------------------


def find_target(column: Any, name: str, told: str) -> Target:
    """Return what is to be predicted, and whether that is a class or a number.

    Parameters
    ----------
    column : Series
        The values of all rows.
    name : str
        The column's name.
    told : {"auto", "classification", "regression"}
        The task, or that it is to be found out.

    Returns
    -------
    Target
        The values of the rows that have one, as words, int64 or float64.

    Raises
    ------
    UsageError
        If nothing can be learned of them.

    Examples
    --------
    >>> import pandas as pd
    >>> find_target(pd.Series(["no", "yes", None]), "answer", "auto").y
    array(['no', 'yes'], dtype='<U3')
    """
    is_known = column.notna().to_numpy()
    if not is_known.any():
        raise UsageError(f"target {name!r} has no values; choose another --target")
    if column.dtype.kind in "mM":
        raise UsageError(f"target {name!r} has dates or times; make numbers or words of them")
    known = column[is_known]
    numbers = number_or_nan(known)
    if column.dtype.kind == "b" or np.isnan(numbers).any() or _says_true(known):
        task, reason = "classification", "words" if column.dtype.kind != "b" else "true and false"
        if told == "regression":
            raise UsageError(
                f"target {name!r} must have numbers for --task regression; it has {_word_of(known, numbers)!r}"
            )
        y = as_words(known.to_frame(name))[:, 0].astype(str)
    else:
        task, reason = _task_of_numbers(numbers)
        task = task if told == "auto" else told
        y = _checked_numbers(numbers, name, task)
    _check_variety(y, name, task)
    return Target(task, y, is_known, reason)


def _says_true(known: Any) -> bool:
    """Whether words such as True are meant, which `number_or_nan` takes for numbers."""
    return known.dtype.kind not in "iuf" and set(known.map(lambda value: str(value).strip().lower())) <= {
        "true",
        "false",
    }


def _word_of(known: Any, numbers: NDArray[np.float64]) -> str:
    row = int(np.isnan(numbers).argmax())
    return str(known.iloc[row])


def _task_of_numbers(numbers: NDArray[np.float64]) -> tuple[str, str]:
    distinct = len(np.unique(numbers))
    if not (numbers == np.floor(numbers)).all():
        return "regression", "numbers that are not whole"
    if distinct <= min(_MOST_CLASSES, max(2, len(numbers) // _ROWS_OF_A_CLASS)):
        return "classification", f"{distinct} different whole numbers"
    return "regression", f"{distinct} different numbers"


def _checked_numbers(numbers: NDArray[np.float64], name: str, task: str) -> NDArray[Any]:
    """Return numbers as classes or as a quantity."""
    wrong = np.abs(numbers) >= (LARGEST if task == "regression" else 2.0**53)
    if wrong.any():
        bound = f"{LARGEST:g}" if task == "regression" else "2^53"
        raise UsageError(f"target {name!r} must have numbers below {bound}; it has {numbers[wrong][0]:g}")
    if task == "regression":
        return numbers
    if not (numbers == np.floor(numbers)).all():
        found = numbers[numbers != np.floor(numbers)][0]
        raise UsageError(
            f"target {name!r} must have words or whole numbers for --task classification; it has {found:g}"
        )
    return numbers.astype(np.int64)


def _check_variety(y: NDArray[Any], name: str, task: str) -> None:
    distinct = len(np.unique(y))
    if distinct == 1:
        raise UsageError(f"target {name!r} is always {y[0].item()!r}, so that there is nothing to learn")
    if task == "classification" and distinct > max(2, len(y) / 2):
        other = "" if y.dtype.kind == "U" else ", or pass --task regression"
        raise UsageError(
            f"target {name!r} has {distinct} classes in {len(y)} rows, as an id has; choose another --target{other}"
        )
