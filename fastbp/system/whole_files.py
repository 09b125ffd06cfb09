"""The one writer of files: whoever opens a file, at any time and after any accident, finds the old one or the new one.

A file is written under another name in the same folder, ``.fastbp-<system>-<random>.part``, and renamed.  What a killed
process left of it is removed by the next writer into the folder.  That one must tell the dead from the living: a writer
holds an advisory lock on its file until it is renamed, and the system takes the lock back however the process ends.  A
process number would say less, for it is used again, and the same one lives on another machine.

Where such locks are shared by all machines that see a disk, they suffice; where they are not, a free lock says
something only on the system that gave it.  So a name says which system and which mount wrote it, and a file of another
one is left alone until nobody has written to it for a day.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_fcntl: Any
try:
    import fcntl as _fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    _fcntl = None

_PRIVATE, _USUAL = 0o600, 0o666  # the umask takes away from the latter
_IS_WINDOWS = os.name == "nt"
_MODE_BY_HANDLE = os.chmod in os.supports_fd
# With the system's mark; without it as earlier versions wrote them, the last ones for compiled kernels.
_PART = re.compile(
    r"\.fastbp-([0-9a-f]{8})-[0-9a-f]{16}\.part|(?:\.fastbp-|[\w.]+-[0-9a-f]{24}\.kernel\.)[0-9a-f]{16}\.part"
)
_FORGOTTEN = 24 * 3600.0  # seconds after which a file is stale that no lock tells of: no write waits for so long
_EVERY = 60.0  # seconds between two looks into a folder, which may hold very many files
_looked: dict[str, float] = {}  # when, by the folders' paths
_MOST_FOLDERS = 1000  # that are remembered
_TRIES = 3  # to have a file before another process takes it for a stale one
_WAITS = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0)  # seconds: virus scanners and indexers close a new file soon
_PAUSE = 0.05  # seconds between two looks whether a turn has come
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Place:
    """A folder to write to, by its path or by a descriptor of it.

    Parameters
    ----------
    path : str
        The folder.
    handle : int, optional
        Its descriptor: then whoever exchanges a folder of the path gains nothing.
    """

    def __init__(self, path: str, handle: int | None = None) -> None:
        self.path, self.handle = path, handle

    def _at(self, name: str) -> str:
        """Return what stands for a file of the folder where its descriptor is given as well."""
        return os.path.join(self.path, name) if self.handle is None else name

    def open(self, name: str, flags: int, mode: int = _PRIVATE) -> int:
        """Open a file; return its descriptor."""
        return os.open(self._at(name), flags, mode, dir_fd=self.handle)

    def names(self) -> list[str]:
        """Return the names of all files."""
        return os.listdir(self.path if self.handle is None else self.handle)

    def status(self, name: str) -> os.stat_result:
        """Return what is known of a file, or of a link."""
        return os.stat(self._at(name), dir_fd=self.handle, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.unlink(self._at(name), dir_fd=self.handle)

    def rename(self, old: str, new: str) -> None:
        """Give a file the name of another one, which it replaces; on Windows, as soon as nobody has that open."""
        for seconds in _WAITS if _IS_WINDOWS else ():
            try:
                return self._rename(old, new)
            except PermissionError:
                time.sleep(seconds)
        return self._rename(old, new)

    def _rename(self, old: str, new: str) -> None:
        os.replace(self._at(old), self._at(new), src_dir_fd=self.handle, dst_dir_fd=self.handle)

    def flush(self) -> None:
        """Make a renaming last through a loss of power, where the system can do that."""
        with contextlib.suppress(OSError):
            handle = os.open(self.path, os.O_RDONLY) if self.handle is None else os.dup(self.handle)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_whole(
    place: Place, name: str, write: Callable[[BinaryIO], object], *, mode: int | None = None, lasts: bool = True
) -> None:
    """Write a file whole, or leave everything as it was.

    Parameters
    ----------
    place : Place
        The folder.
    name : str
        The file's name in it.
    write : callable
        ``write(file)`` writes the content into an open binary file.
    mode : int, optional
        The file's permissions; until it has all of them, it is its owner's alone.  By default the usual ones.
    lasts : bool
        Whether to wait until the disk has it.  Without, a loss of power may leave half a file.

    Raises
    ------
    OSError
        If the disk is full, and so on.  A file that was there before is whole, and nothing is left behind.
    """
    file, part = _created(place, _USUAL if mode is None else _PRIVATE)
    lock = None
    try:
        with file:
            lock = os.dup(file.fileno()) if _fcntl else None  # closing may fail, and is to do so before the renaming
            _remove_stale(place, part, os.fstat(file.fileno()).st_mtime)  # first: it may make the room that is needed
            write(file)
            file.flush()
            if mode is not None:
                _set_mode(place, part, file, mode)
            if lasts:
                os.fsync(file.fileno())
        place.rename(part, name)
    except BaseException:
        _remove_silently(place, part)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    if lasts:
        place.flush()


def cure(error: OSError) -> str:
    """Return what else is to be said of an error in writing, as half a sentence, or nothing."""
    if _IS_WINDOWS and isinstance(error, PermissionError):
        return "; Windows replaces no file that a program has open, as `load` with mmap=True does"
    return ""


def _created(place: Place, mode: int) -> tuple[BinaryIO, str]:
    """Create a file of a new name and lock it; return both."""
    for tries_left in reversed(range(_TRIES)):
        part = f".fastbp-{_mark(place)}-{secrets.token_hex(8)}.part"
        file = None
        try:
            file = open(part, "xb", opener=lambda name, flags: place.open(name, flags, mode))  # noqa: SIM115 - returned
            if _is_kept(place, part, file) or tries_left == 0:
                return file, part
        except BaseException:
            if file is not None:
                file.close()
            _remove_silently(place, part)
            raise
        file.close()
        _remove_silently(place, part)
    raise AssertionError("the last try returns")


def _is_kept(place: Place, part: str, file: BinaryIO) -> bool:
    """Lock a new file; return False where another process saw it before, without a lock, and removes it."""
    if _lock(file.fileno(), exclusive=True) is False:
        return False
    try:
        place.status(part)
    except FileNotFoundError:
        return False
    return True


def _remove_silently(place: Place, part: str) -> None:
    with contextlib.suppress(OSError):
        place.remove(part)


def _set_mode(place: Place, part: str, file: BinaryIO, mode: int) -> None:
    if _MODE_BY_HANDLE:
        os.chmod(file.fileno(), mode)
    elif place.handle is None:
        os.chmod(os.path.join(place.path, part), mode)


def _lock(handle: int, *, exclusive: bool) -> bool | None:
    """Lock a file without waiting; return whether that worked, or None where there are no locks."""
    if _fcntl is None:
        return None
    try:
        _fcntl.flock(handle, (_fcntl.LOCK_EX if exclusive else _fcntl.LOCK_SH) | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks have none
        return None
    return True


@contextlib.contextmanager
def turn(place: Place, name: str, most_seconds: float) -> Iterator[bool]:
    """Keep other processes waiting that ask for a turn by the same name of a file, which is made and stays.

    Yields whether that is so: not where others take longer than may be waited for, or where there are no locks.  The
    system takes the lock back however the process ends.
    """
    deadline = time.monotonic() + most_seconds
    with contextlib.ExitStack() as stack:
        has_it: bool | None = None
        with contextlib.suppress(OSError):  # a full disk
            handle = place.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
            stack.callback(os.close, handle)
            has_it = _lock(handle, exclusive=True)
            while has_it is False and time.monotonic() < deadline:
                time.sleep(_PAUSE)
                has_it = _lock(handle, exclusive=True)
        yield bool(has_it)


# ---- What killed processes left ------------------------------------------------------------------------------------


@functools.cache
def _running_system() -> str:
    """Return what tells this system, since it was started, from all others; nothing where that is unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    return ""


def _mark(place: Place) -> str:
    """Return eight digits for the system and the mount: where they are the same, locks are. Zeros: they are unknown."""
    if not _running_system():
        return "0" * 8
    device = os.stat(place.path if place.handle is None else place.handle).st_dev
    return hashlib.sha256(f"{_running_system()} {device}".encode()).hexdigest()[:8]


def _remove_stale(place: Place, own: str, now: float) -> None:
    """Remove what killed processes of this user left, now and then; `now` is by the disk's clock."""
    began = time.monotonic()
    if began - _looked.get(place.path, -_EVERY) < _EVERY:
        return
    if len(_looked) >= _MOST_FOLDERS:
        _looked.clear()
    _looked[place.path] = began
    with contextlib.suppress(OSError):  # a folder that can be written to and not read
        for name in place.names():
            match = _PART.fullmatch(name)
            if match and name != own:
                with contextlib.suppress(OSError):
                    _remove_if_stale(place, name, now, is_here=match[1] == _mark(place) != "0" * 8)


def _remove_if_stale(place: Place, name: str, now: float, *, is_here: bool) -> None:
    """Remove a file whose writer is gone; `is_here`: its locks are those of this system."""
    if _fcntl is None:
        if _is_forgotten(place.status(name), now):
            place.remove(name)
        return
    handle = place.open(name, _LOOK)
    try:
        status = os.fstat(handle)
        is_free = _lock(handle, exclusive=False)  # None: nobody knows
        is_stale = (is_here and is_free) or (is_free is not False and _is_forgotten(status, now))
        if is_stale and stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            place.remove(name)  # still locked, so that its writer, if it only begins, sees that it is gone
    finally:
        os.close(handle)


def _is_forgotten(status: os.stat_result, now: float) -> bool:
    return now - status.st_mtime > _FORGOTTEN
