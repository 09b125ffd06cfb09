"""Predictions as CSV, Parquet or ``.npz``, whole or not at all, and a look whether a file can be written."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.command_line.options import UsageError
from fastbp.command_line.reading import pyarrow_needed
from fastbp.neural_network.table_columns import import_pandas
from fastbp.storage.atomic import checked_path, file_status, write_atomically

__all__ = ["require_format", "require_other", "require_place", "write_predictions"]

_FORMATS = (".csv", ".parquet", ".npz")
_ROWS_AT_ONCE = 10_000  # of text, between which a reader that has gone, such as head, is noticed


def require_place(path: str) -> None:
    """Raise, before anything takes long, unless a file can be written there."""
    try:
        status = file_status(checked_path(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"{path} cannot be written: {reason.replace('`path`', 'it')}") from error
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"{path} cannot be written: its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK) or (status is not None and not os.access(path, os.W_OK)):
        raise UsageError(f"{path} cannot be written: Permission denied")


def require_other(option: str, path: str | None, *others: str | None) -> None:
    """Raise if the file that an option names to be written is one of those that are read or written beside it."""
    for other in others:
        if path is not None and other is not None and _is_same(path, other):
            raise UsageError(f"argument {option}: must be another file than {other}; got {path!r}")


def _is_same(path: str, other: str) -> bool:
    """Whether two names are of one file, which need not be there yet."""
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return os.path.realpath(path) == os.path.realpath(other) if "\0" not in path + other else False


def require_format(path: str) -> None:
    """Raise unless predictions can be written to such a file, or to standard output."""
    if path == "-":
        if sys.stdout is None:
            raise UsageError("standard output is closed; pass a file with --output")
        return
    if not path.lower().endswith(_FORMATS):
        raise UsageError(f"argument --output: must end in .csv, .parquet or .npz, or be -; got {path!r}")
    pyarrow_needed(path)
    require_place(path)


def write_predictions(path: str, predicted: NDArray[Any], probabilities: NDArray[Any] | None, classes: Any) -> None:
    """Write a prediction for each row.

    Parameters
    ----------
    path : str
        The file, or ``-`` for CSV on standard output.
    predicted : ndarray of shape (n,)
        Words or numbers, which CSV has with all their digits.
    probabilities : ndarray of shape (n, n_classes), optional
        A column for each class; in ``.npz`` the arrays `probabilities` and `classes`.
    classes : array-like of shape (n_classes,)
        Their names.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    arrays: dict[str, Any] = {"prediction": predicted}
    columns = dict(arrays)
    if probabilities is not None:
        arrays |= {"probabilities": probabilities, "classes": np.asarray(classes)}
        columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    if path == "-":
        for text in _texts(columns):
            sys.stdout.write(text)
        return
    try:
        if path.lower().endswith(".parquet"):
            buffer = io.BytesIO()
            import_pandas().DataFrame(columns).to_parquet(buffer, index=False)
            write_atomically(path, lambda file: file.write(buffer.getbuffer()))
        elif path.lower().endswith(".npz"):
            write_atomically(path, lambda file: np.savez(file, **arrays))
        else:
            write_atomically(path, lambda file: [file.write(text.encode()) for text in _texts(columns)])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"{path} cannot be written: {reason}") from error


def _texts(columns: dict[str, NDArray[Any]]) -> Iterator[str]:
    """Yield the text of a CSV file part by part."""
    yield _text([list(columns)])
    n_rows = len(next(iter(columns.values())))
    for begin in range(0, n_rows, _ROWS_AT_ONCE):
        parts = [_plain(column[begin : begin + _ROWS_AT_ONCE]) for column in columns.values()]
        yield _text(zip(*parts, strict=True))


def _text(rows: Iterable[Any]) -> str:
    values = list(rows)
    text = _written(values, csv.QUOTE_MINIMAL)
    return _written(values, csv.QUOTE_ALL) if "\r" in text else text  # which `csv` leaves bare, and readers end rows at


def _written(rows: list[Any], quoting: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=quoting).writerows(rows)
    return buffer.getvalue()


def _plain(column: NDArray[Any]) -> list[Any]:
    """Return values whose texts are as short as they can be without losing a bit."""
    return [str(value) for value in column] if column.dtype == np.float32 else list(column.tolist())
