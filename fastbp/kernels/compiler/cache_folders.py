"""The folders of compiled kernels: where they are, and which of them are trusted.

What lies there is executed.  So a folder is used only if it belongs to the user or to root and nobody else can write to
it or exchange it, see `trust`, and of a file in it the same is asked.  Folder and file are judged by the descriptors
through which they are used: whoever exchanges a folder or a link after the look gains nothing.

A folder that the user cannot write to is read all the same, as one that was filled when a container was built; what is
compiled then goes to the next one.  A folder that is passed over is said once, through `logging`.
"""

import contextlib
import logging
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastbp.kernels.compiler.trust import HAS_HANDLES, open_folder, require_trust
from fastbp.system.whole_files import Place, turn, write_whole

_logger = logging.getLogger("fastbp.kernels.cache_folders")  # a public name, wherever this file stands
_said: set[str] = set()

_PRIVATE, _READABLE = 0o700, 0o755  # modes that a new folder gets, as far as the umask lets it
# Links are not followed, and a pipe in the place of a file is not waited for.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# Each version, processor and choice of options has files of its own: about three for each dtype, of half a megabyte.
_KERNEL = re.compile(r"[\w.<>]+-[0-9a-f]{24}\.kernel")
_MOST_KERNELS = 128
_TURN = "warmup.lock"
_HOUR = 3600.0  # seconds
_LATELY = 3 * 24 * _HOUR  # what is used daily is kept, whatever else there is


def say_once(message: str) -> None:
    """Say why a folder or a file of compiled kernels is not used, so that a slow start has an explanation."""
    if message not in _said:
        _said.add(message)
        _logger.warning(message)


def pass_over(path: Path, error: OSError) -> None:
    """Say that a folder or a file is passed over, and why."""
    say_once(f"{path} is passed over as a place for compiled kernels: {error.strerror or error}.")


class Folder:
    """An open folder, which nobody but the user and root can change; it is made where it is missing.

    Parameters
    ----------
    path : Path
        The folder.
    mode : int
        What it and those above it get where they are made.

    Raises
    ------
    OSError
        If it cannot be opened or made, or is not to be trusted.
    """

    def __init__(self, path: Path, mode: int = _PRIVATE) -> None:
        self.path, self._handle = path, None
        if HAS_HANDLES:
            self._handle = open_folder(str(path), mode)
        else:
            path.mkdir(parents=True, exist_ok=True, mode=mode)
            require_trust(path.stat())
        self._place = Place(str(path), self._handle)
        try:
            self._mode = os.stat(path if self._handle is None else self._handle).st_mode
            self.is_writable = self._may_write()
        except BaseException:
            self.close()
            raise

    def _may_write(self) -> bool:
        if self._handle is None:
            return os.access(self.path, os.W_OK | os.X_OK)
        by_whom = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self._handle, **by_whom)

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = self._place.handle = None

    def names(self) -> list[str]:
        """Return the names of all files."""
        return self._place.names()

    def kernel_sizes(self) -> list[int]:
        """Return the bytes of each kernel."""
        sizes = []
        for name in self.names():
            if _KERNEL.fullmatch(name):
                with contextlib.suppress(OSError):  # another process may just have removed it
                    sizes.append(self._place.status(name).st_size)
        return sizes

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._place.remove(name)

    def read(self, name: str) -> bytes:
        """Return the content of a regular file that nobody but the user and root can change."""
        with open(name, "rb", opener=lambda name, _: self._place.open(name, _READ)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            require_trust(status)
            content = file.read()
            if os.utime in os.supports_fd and time.time() - status.st_mtime > _HOUR:
                with contextlib.suppress(OSError):  # of somebody else, or on a disk that is read-only
                    os.utime(file.fileno())  # that it was used: not every system writes that down itself
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file that a reader sees whole or not at all; who may read the folder may read it."""
        mode = 0o600 | self._mode & (stat.S_IRGRP | stat.S_IROTH)
        write_whole(self._place, name, lambda file: file.write(content), mode=mode, lasts=False)
        self._remove_old()

    def turn(self, most_seconds: float) -> contextlib.AbstractContextManager[bool]:
        """Keep other processes waiting that are about to fill the folder; see `whole_files.turn`."""
        return turn(self._place, _TURN, most_seconds)

    def _remove_old(self) -> None:
        """Remove the kernels that were used longest ago where there are too many, but none that was used lately.

        Another process may be about to read one: it compiles again.
        """
        found = [name for name in self.names() if _KERNEL.fullmatch(name)]
        if len(found) <= _MOST_KERNELS:
            return
        used = {}
        for name in found:
            with contextlib.suppress(OSError):  # another process removes old ones as well
                status = self._place.status(name)
                used[name] = max(status.st_mtime, status.st_atime)
        for name in sorted(used, key=used.__getitem__)[: len(found) - _MOST_KERNELS]:
            if time.time() - used[name] > _LATELY:
                with contextlib.suppress(OSError):
                    self.remove(name)


def folders() -> Iterator[Folder]:
    """Yield the folders to look into, best first; the last one, and none but that, is to be written to."""
    for path, mode in _candidates():
        try:
            folder = Folder(path, mode)
        except OSError as error:
            pass_over(path, error)
            continue
        with folder:
            yield folder
            if folder.is_writable:
                return


def writable_folder() -> str:
    """Return the path of the folder that is written to, or an empty string."""
    return next((str(folder.path) for folder in folders() if folder.is_writable), "")


class FolderState(NamedTuple):
    """What is known of a folder; `reason` says why it is passed over, and is empty where it is not."""

    path: str
    exists: bool
    is_writable: bool  # or can be made
    n_kernels: int
    n_bytes: int
    reason: str


def folder_states() -> list[FolderState]:
    """Return the state of each folder that would be looked into, in order; none is made, and nothing is said."""
    states = []
    for path, mode in _candidates():
        states.append(_state(path, mode))
        if states[-1].is_writable:
            break
    return states


def _state(path: Path, mode: int) -> FolderState:
    if not os.path.lexists(path):
        above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path)
        return FolderState(str(path), False, os.access(above, os.W_OK | os.X_OK), 0, 0, "")
    try:
        folder = Folder(path, mode)
    except OSError as error:
        return FolderState(str(path), True, False, 0, 0, error.strerror or str(error))
    with folder:
        sizes = folder.kernel_sizes()
        return FolderState(str(path), True, folder.is_writable, len(sizes), sum(sizes), "")


def _candidates() -> Iterator[tuple[Path, int]]:
    """Yield folders to try and the modes to make them with.

    The user's choice, which may be meant for others as well; the user's cache folder; a private temporary folder.
    """
    for variable in ("FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "fastbp", _READABLE
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"]) / "fastbp", _PRIVATE
    elif sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        yield Path(os.environ["LOCALAPPDATA"]) / "fastbp" / "Cache", _PRIVATE
    else:
        with contextlib.suppress(RuntimeError):  # no home folder
            yield Path.home() / ".cache" / "fastbp", _PRIVATE
    user = str(os.geteuid()) if hasattr(os, "geteuid") else "user"
    with contextlib.suppress(OSError):  # where nothing can be written, there is no folder for temporary files either
        yield Path(tempfile.gettempdir()) / f"fastbp-{user}", _PRIVATE
