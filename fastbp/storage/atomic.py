"""Files whole or not at all: names that are checked, writing that cannot leave half a file, one error for bad ones."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from fastbp.system.whole_files import Place, cure, write_whole

__all__ = [
    "FileError",
    "PathLike",
    "checked_path",
    "file_status",
    "kind_of",
    "path_named",
    "printable",
    "words_of",
    "write_atomically",
]

PathLike = str | os.PathLike[str]

_MOST_REASON = 400  # characters of a hostile file's text that an error repeats


class FileError(ValueError):
    """A file that cannot be loaded: damaged, cut off, hostile, of another kind, or written by a newer fastbp.

    Parameters
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it.

    Examples
    --------
    >>> import fastbp as bp
    >>> print(bp.FileError("net.safetensors", "it is empty."))
    The file 'net.safetensors' cannot be loaded: it is empty.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"The file {self.path!r} cannot be loaded: {printable(self.reason)}"


def printable(reason: str) -> str:
    r"""Return a text with words of an untrusted file as an error may show it: short, and without control characters.

    Examples
    --------
    >>> printable("its loss is \x1b.")
    'its loss is \\x1b.'
    """
    text = reason if len(reason) <= _MOST_REASON else f"{reason[:_MOST_REASON]}..."
    if text.isprintable():  # a name from the file may be anything, and must not move a terminal's cursor
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def kind_of(value: Any) -> str:
    """Return what an error says that it got, where that may be a class in place of an object.

    Examples
    --------
    >>> kind_of(3), kind_of(int)
    ('int', 'the class int')
    """
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def words_of(error: BaseException) -> str:
    """Return the kind of another's exception and what it says, if it says anything, without a full stop.

    Examples
    --------
    >>> words_of(KeyError("a")), words_of(EOFError())
    ("KeyError: 'a'", 'EOFError')
    """
    text = printable(str(error)).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- paths ------------------------------------------------------------------------------------------------------------


def checked_path(path: Any) -> str:
    """Return a path as a str that the system can take.

    Examples
    --------
    >>> from pathlib import Path
    >>> checked_path(Path("net.safetensors"))
    'net.safetensors'
    """
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise TypeError(f"`path` must be the name of a file, a str or os.PathLike[str]; got {type(path).__name__}.")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise ValueError(f"`path` must be a name that a file can have; got {name!r}.")
    return name


def file_status(path: str) -> os.stat_result | None:
    """Return the status of a file, or None if there is none; folders, devices and pipes are refused.

    Examples
    --------
    >>> file_status("no such file")
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "`path` must be the name of a file, not of a folder", path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"`path` must be a regular file, not a device or pipe; got {path!r}.")
    return status


@contextlib.contextmanager
def path_named(argument: str) -> Iterator[None]:
    """Have the errors of this module speak of a path as the argument that it came as.

    Examples
    --------
    >>> with path_named("filename"):
    ...     checked_path(3)
    Traceback (most recent call last):
    TypeError: `filename` must be the name of a file, a str or os.PathLike[str]; got int.
    """
    try:
        yield
    except OSError as error:
        reason = str(error.strerror).replace("`path`", f"`{argument}`")
        raise type(error)(error.errno, reason, error.filename) from None
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("`path`", f"`{argument}`")) from None


# --- writing ----------------------------------------------------------------------------------------------------------


def write_atomically(path: PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole, or leave everything as it was.

    A new file is written in the same folder, flushed to the disk and renamed.  Whoever opens `path` at any time finds
    the old file or the new one; whoever has the old one open keeps it.  A symbolic link stays one: what it points to is
    replaced.  A file that is replaced passes on its permissions; a new one gets the usual ones.  Where the process is
    killed, a file ``.fastbp-*.part`` may be left behind, which the next process removes that writes into the folder.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    write : callable
        ``write(file)`` writes the content into an open binary file.

    Raises
    ------
    TypeError, ValueError
        If `path` is no name that a file can have.
    OSError
        If the folder does not exist, the disk is full, and so on.  A file that was there before is whole, and nothing
        is left behind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(os.path.join(folder, "note"), lambda file: file.write(b"what is learned"))
    ...     os.listdir(folder)
    ['note']
    """
    name = checked_path(path)
    old = file_status(name)
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        reason = "`path` must lie in a folder that exists; os.makedirs can create it"
        raise FileNotFoundError(errno.ENOENT, reason, name)
    mode = None if old is None else stat.S_IMODE(old.st_mode)
    try:
        write_whole(Place(folder), os.path.basename(target), write, mode=mode)
    except OSError as error:
        if error.errno is None:
            raise
        reason = f"{os.strerror(error.errno)}; the file was not written, and one that was there is as it was"
        raise OSError(error.errno, reason + cure(error), name) from error
