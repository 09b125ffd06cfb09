"""Tables from files: CSV, also packed by gzip, Parquet and ``.npz``; what is wrong with a file is one line."""

from __future__ import annotations

import codecs
import os
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fastbp.command_line.options import UsageError
from fastbp.digits import read_npz
from fastbp.neural_network.table_columns import import_pandas

__all__ = ["Format", "add_options", "pyarrow_needed", "read_table"]

_TEXT, _PACKED = (".csv", ".tsv", ".txt"), (".csv.gz", ".tsv.gz", ".txt.gz")
_PARQUET, _ARRAYS = (".parquet",), (".npz",)
_OF_PANDAS = "Error tokenizing data. C error: "  # before what is wrong with a row
_OTHER_DELIMITERS = (";", "\t", "|")


class Format(NamedTuple):
    """How a file is to be read, as the options say."""

    delimiter: str | None
    encoding: str
    features_name: str


def add_options(parser: Any) -> None:
    """Add the options of `Format` to a parser."""
    add = parser.add_argument
    add("--delimiter", type=_delimiter, metavar="SIGN", help="between values of a CSV file: ';', or tab (',')")
    add("--encoding", type=_encoding, default="utf-8", metavar="NAME", help="of a CSV file (%(default)s)")
    add("--features-name", default="X", metavar="NAME", help="array of an .npz file with the inputs (%(default)s)")


def _delimiter(text: str) -> str:
    sign = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(sign) != 1 or sign in '"\r\n' or not sign.isascii():  # pandas takes one byte
        raise UsageError(f"argument --delimiter: must be one sign of ASCII, or tab; got {text!r}")
    return sign


def _encoding(text: str) -> str:
    try:
        "".encode(text)
        return codecs.lookup(text).name
    except (LookupError, UnicodeError, ValueError) as error:
        raise UsageError(f"argument --encoding: must be one that Python knows; got {text!r}") from error


def pyarrow_needed(path: str) -> None:
    """Raise if a file is to be in Parquet and the library for it is missing."""
    if not path.lower().endswith(_PARQUET):
        return
    try:
        import pyarrow  # noqa: F401 - pandas uses it
    except ImportError as error:
        raise UsageError(f'{path} needs the `pyarrow` package: pip install "fastbp[tables]"') from error


def read_table(path: str, how: Format, *, target: str | None = None, words: Iterable[str] = ()) -> Any:
    """Return a file's table as a data frame of pandas.

    Parameters
    ----------
    path : str
        The file, whose name tells its format.
    how : Format
        What the options say of it.
    target : str, optional
        The array of an ``.npz`` file that becomes the last column, if it is wanted.
    words : iterable of str
        Columns of a CSV file whose values are left as they are written.

    Returns
    -------
    DataFrame
        With distinct names of columns, all of them str.

    Raises
    ------
    UsageError
        If the file cannot be read; the message is one line.
    """
    name = path.lower()
    if not name.endswith(_TEXT + _PACKED + _PARQUET + _ARRAYS):
        raise UsageError(f"{path} must end in .csv, .csv.gz, .tsv, .txt, .parquet or .npz, which tells its format")
    pyarrow_needed(path)
    try:
        pandas = import_pandas()
        if name.endswith(_ARRAYS):
            return _arrays(path, how, target, pandas)
        with open(path, "rb") as file:
            if name.endswith(_PARQUET):
                return _named(_parquet(file, pandas), path)
            return _text(file, path, how, set(words), pandas)
    except ImportError as error:
        raise UsageError(str(error).rstrip(".")) from error
    except UnicodeError as error:
        raise UsageError(
            f"{path} is no text in the encoding {how.encoding}; pass another one with --encoding, such as latin-1"
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or _first_line(error)}") from error
    except (ValueError, EOFError, zlib.error, MemoryError) as error:
        reason = _first_line(error)
        raise UsageError(reason if reason.startswith(path) else f"{path} cannot be read: {reason}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip().removeprefix(_OF_PANDAS)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


# --- formats ----------------------------------------------------------------------------------------------------------


def _parquet(file: BinaryIO, pandas: Any) -> Any:
    """Return the table of a Parquet file."""
    try:
        return pandas.read_parquet(file)
    except (KeyError, TypeError, NotImplementedError, AttributeError, RecursionError) as error:  # damaged, or unknown
        raise ValueError(f"pandas cannot make a table of it ({_first_line(error)})") from error


def _text(file: BinaryIO, path: str, how: Format, words: set[str], pandas: Any) -> Any:
    """Return the table of a CSV file."""
    delimiter = how.delimiter or ("\t" if ".tsv" in os.path.basename(path).lower() else ",")
    options = {
        "sep": delimiter,
        "encoding": how.encoding,
        "skipinitialspace": True,
        "compression": "gzip" if path.lower().endswith(".gz") else None,
    }
    try:
        header = pandas.read_csv(file, header=None, nrows=1, dtype=object, keep_default_na=False, **options)
    except pandas.errors.EmptyDataError as error:
        raise UsageError(f"{path} is empty") from error
    names = [str(name) for name in header.iloc[0]]
    _check_header(path, names, delimiter)
    file.seek(0)
    # a column is looked at as a whole, and a number is read to its last bit, as newer versions always do
    exact: dict[str, Any] = {"low_memory": False} | ({} if _is_exact(pandas) else {"float_precision": "round_trip"})
    frame = pandas.read_csv(file, dtype=_as_written(words, names), **exact, **options)
    if not isinstance(frame.index, pandas.RangeIndex):
        raise UsageError(f"{path} must have as many values in each row as names in the first; rows have more")
    return _named(frame, path)


def _as_written(words: set[str], names: list[str]) -> dict[str, Any]:
    """Return the type of columns of words, among them those to which pandas gives a name."""
    given = {name or f"Unnamed: {i}" for i, name in enumerate(names)}
    return dict.fromkeys(words & given, object)


def _is_exact(pandas: Any) -> bool:
    """Whether pandas reads numbers as Python does without being told to."""
    major, minor = pandas.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (3, 1)


def _check_header(path: str, names: list[str], delimiter: str) -> None:
    """Raise unless the first row can be that of names."""
    if any(sign < "\t" for name in names for sign in name):
        raise UsageError(f"{path} must be a table of text; its first row has signs that no text has")
    if len(names) == 1:
        other = next((sign for sign in (",", *_OTHER_DELIMITERS) if sign != delimiter and sign in names[0]), None)
        if other:
            told = "tab" if other == "\t" else f"'{other}'"
            raise UsageError(f"{path} has only one column, {names[0]!r}; pass --delimiter {told}")
    _check_distinct(path, [name for name in names if name])
    if all(_is_number(name) for name in names) and names != [str(i) for i in range(len(names))]:
        raise UsageError(f"{path} must have the columns' names in its first row, which has only numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_distinct(path: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"{path} must have different names for its columns; {twice[0]!r} stands there twice")


def _named(frame: Any, path: str) -> Any:
    """Return a data frame whose columns' names are str, and different."""
    frame.columns = [str(name) for name in frame.columns]
    _check_distinct(path, list(frame.columns))
    return frame.reset_index(drop=True)


def _arrays(path: str, how: Format, target: str | None, pandas: Any) -> Any:
    """Return the table of an ``.npz`` file: columns x0, x1, ... and the target."""
    wanted = [how.features_name, *([] if target is None else [target])]
    arrays = read_npz(Path(path), wanted)
    X = arrays[how.features_name]
    if X.ndim < 2 or X.dtype.kind not in "biuf" or X[0:1].size == 0:
        raise UsageError(
            f"{path}: {how.features_name} must hold numbers, a row for each sample; got {X.dtype} of shape {X.shape}"
        )
    X = X.reshape(len(X), -1)
    X = X.astype(X.dtype.newbyteorder("="), copy=False)  # pandas has no other order of bytes
    frame = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    if target is not None:
        y = arrays[target]
        if y.shape not in ((len(X),), (len(X), 1)) or y.dtype.kind not in "biufU":
            raise UsageError(
                f"{path}: {target} must hold one number or word for each of the {len(X)} rows; got {y.dtype} of shape "
                f"{y.shape}"
            )
        if target in frame.columns:
            raise UsageError(f"{path}: {target} must be no name of a column, which are x0, x1, ...")
        frame[target] = y.ravel().astype(y.dtype.newbyteorder("="), copy=False)
    return frame
