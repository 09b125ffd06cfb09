"""Binary file objects of users: open files, buffers in memory, members of archives, sockets' files; and bytes.

Nothing is asked of them but `read` or `write`: they need not seek, and may take or give fewer bytes than they are asked
for.  What is read is kept only as far as it comes, so that a wrong length takes no memory.
"""

from __future__ import annotations

import errno
import inspect
import io
import operator
import os
from typing import Any, Protocol, SupportsIndex

from fastbp.storage.atomic import PathLike, kind_of, words_of
from fastbp.system.memory import require_memory

__all__ = [
    "BrokenStreamError",
    "Destination",
    "Reader",
    "ReadsBytes",
    "Source",
    "WritesBytes",
    "as_destination",
    "as_reader",
]

_CHUNK = 1 << 20  # bytes at a time
_TEXT = "because the file holds bytes; open it with mode"


class WritesBytes(Protocol):
    """A binary file object to write to."""

    def write(self, data: bytes, /) -> Any:
        """Take some bytes; return how many, or None for all."""


class ReadsBytes(Protocol):
    """A binary file object to read from."""

    def read(self, n_bytes: int, /) -> Any:
        """Return at most so many bytes; none at the end."""


Destination = PathLike | WritesBytes
Source = PathLike | ReadsBytes | bytes | bytearray | memoryview


class BrokenStreamError(Exception):
    """What a file object's `read` raises of its own: a broken archive, say."""


# --- the arguments ----------------------------------------------------------------------------------------------------


def as_destination(path: Any) -> WritesBytes | None:
    """Return an open file object to write to, or None for anything that must be the name of a file.

    Examples
    --------
    >>> as_destination("net.safetensors")
    >>> as_destination(io.StringIO())
    Traceback (most recent call last):
    TypeError: `path` must be a binary file object, because the file holds bytes; open it with mode 'wb'; got StringIO.
    """
    if _is_name(path):
        return None
    if isinstance(path, type) or not callable(getattr(path, "write", None)):
        raise TypeError(
            "`path` must be the name of a file, a str or os.PathLike[str], or a binary file object to write to; got "
            f"{kind_of(path)}."
        )
    _require_open(path, "writable", "'wb'")
    destination: WritesBytes = path
    return destination


def as_reader(path: Any) -> Reader | None:
    """Return what reads a file object or bytes, or None for anything that must be the name of a file.

    Examples
    --------
    >>> as_reader("net.safetensors")
    >>> as_reader(b"abc").read(2)
    bytearray(b'ab')
    """
    if _is_name(path):
        return None
    if isinstance(path, bytes | bytearray | memoryview):
        has_gaps = isinstance(path, memoryview) and not path.c_contiguous
        return Reader(io.BytesIO(bytes(path) if has_gaps else path), f"<{type(path).__name__}>")
    if isinstance(path, type) or not callable(getattr(path, "read", None)):
        raise TypeError(
            "`path` must be the name of a file, a str or os.PathLike[str], a binary file object or the bytes of a "
            f"file; got {kind_of(path)}."
        )
    _require_open(path, "readable", "'rb'")
    name = getattr(path, "name", None)
    return Reader(path, name if isinstance(name, str) else f"<{type(path).__name__}>")


def _is_name(path: Any) -> bool:
    return isinstance(path, str) or (isinstance(path, os.PathLike) and not isinstance(path, type))


def _require_open(file: Any, ability: str, mode: str) -> None:
    """Refuse what is text, closed, or open for something else, as far as it tells."""
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"`path` must be a binary file object, {_TEXT} {mode}; got {type(file).__name__}.")
    if getattr(file, "closed", False) is True:
        raise ValueError(f"`path` must be an open file object; got a closed {type(file).__name__}.")
    able = getattr(file, ability, None)
    if callable(able) and able() is False:
        raise ValueError(
            f"`path` must be {ability}; got a {type(file).__name__} that is not. Open it with mode {mode}."
        )


# --- writing ----------------------------------------------------------------------------------------------------------


def write_bytes(file: WritesBytes, content: memoryview) -> None:
    """Write all bytes to a file object, however few it takes at a time.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> write_bytes(file, memoryview(b"abc"))
    >>> file.getvalue()
    b'abc'
    """
    done = 0
    while done < len(content):
        part = bytes(content[done : done + _CHUNK])
        try:
            taken = file.write(part)
        except TypeError as error:
            kind = type(file).__name__
            raise TypeError(
                f"`path` must be a binary file object, {_TEXT} 'wb'; {kind}.write takes no bytes: {error}."
            ) from error
        if taken is None and isinstance(file, io.RawIOBase):
            raise BlockingIOError(errno.EAGAIN, "`path` must be a file object that waits until it can write")
        n_taken = len(part) if taken is None else _count(file, taken)  # what says nothing has taken all
        if n_taken <= 0:
            raise OSError(errno.EIO, f"`path` must take all bytes; after {done} of {len(content)} it took no more")
        done += min(n_taken, len(part))


def _count(file: WritesBytes, taken: Any) -> int:
    """Return how many bytes a `write` says that it has taken."""
    if isinstance(taken, SupportsIndex) and not isinstance(taken, bool):
        return operator.index(taken)
    if inspect.iscoroutine(taken):
        taken.close()  # which nobody will wait for, and Python would warn of that
    raise TypeError(
        "`path` must be a file object whose write returns how many bytes it took, or None for all; "
        f"{type(file).__name__}.write returned {type(taken).__name__}."
    )


# --- reading ----------------------------------------------------------------------------------------------------------


class Reader:
    """Reads a file object to the end of what is wanted.

    Parameters
    ----------
    file : binary file object
        The file, from where it stands.
    name : str
        What errors call it.
    """

    def __init__(self, file: ReadsBytes, name: str) -> None:
        self._file, self.name = file, name

    def read(self, n_bytes: int) -> bytearray:
        """Return so many bytes, or all that there are; memory is taken as they come.

        Parameters
        ----------
        n_bytes : int
            How many.

        Raises
        ------
        TypeError, ValueError, OSError
            If the file object gives anything else than bytes, or raises an OSError.
        MemoryError
            If more than a chunk has come, and what is to follow does not fit into the memory that is available.
        BrokenStreamError
            If it raises any other exception.
        """
        found = bytearray()
        while len(found) < n_bytes:
            part = self._part(min(_CHUNK, n_bytes - len(found)))
            if not part:
                break
            if len(found) < _CHUNK <= len(found) + len(part):  # once, when it is known that much comes
                require_memory(n_bytes - len(found), "The rest of the file", "Pass its name.")
            found += part
        return found

    def _part(self, n_bytes: int) -> Any:
        """Return some bytes; none at the end."""
        kind = type(self._file).__name__
        try:
            part = self._file.read(n_bytes)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise BrokenStreamError(f"reading it raised {words_of(error)}") from error
        if isinstance(part, str):
            raise TypeError(f"`path` must be a binary file object, {_TEXT} 'rb'; {kind}.read returned text.")
        part = part.tobytes() if isinstance(part, memoryview) else part  # whose length may not be in bytes
        if part is None:
            raise BlockingIOError(errno.EAGAIN, "`path` must be a file object that waits until there are bytes")
        if not isinstance(part, bytes | bytearray):
            if inspect.iscoroutine(part):
                part.close()
            raise TypeError(
                f"`path` must be a binary file object; {kind}.read returned {type(part).__name__} in place of bytes."
            )
        if len(part) > n_bytes:
            raise ValueError(
                f"`path` must be a file object whose read(n) returns at most n bytes; {kind}.read({n_bytes}) returned "
                f"{len(part)}."
            )
        return part
