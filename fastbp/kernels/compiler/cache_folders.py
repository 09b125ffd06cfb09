"""The folders of compiled kernels: where they are, and which of them are trusted.

What lies there is executed.  So a folder is used only if it belongs to the user or to root and nobody else can write to
it, and of a file in it the same is asked.  Folder and file are judged by the descriptors through which they are used:
whoever exchanges a folder or a link after the look gains nothing.

A folder that the user cannot write to is read all the same, as one that was filled when a container was built; what is
compiled then goes to the next one.  A folder that is passed over is said once, through `logging`.
"""

import contextlib
import logging
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_logger = logging.getLogger("fastbp.kernels.cache_folders")  # a public name, wherever this file stands
_said: set[str] = set()

_PRIVATE, _READABLE = 0o700, 0o755  # modes that a new folder gets, as far as the umask lets it
_HAS_HANDLES = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")  # not on Windows
# Links are not followed, and a pipe in the place of a file is not waited for.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def say_once(message: str) -> None:
    """Say why a folder or a file of compiled kernels is not used, so that a slow start has an explanation."""
    if message not in _said:
        _said.add(message)
        _logger.warning(message)


def pass_over(path: Path, error: OSError) -> None:
    """Say that a folder or a file is passed over, and why."""
    say_once(f"{path} is passed over as a place for compiled kernels: {error.strerror or error}.")


def require_trust(status: os.stat_result) -> None:
    """Raise PermissionError, with the reason, where somebody else but the user and root can change a folder or file."""
    if not hasattr(os, "geteuid"):
        return
    user = os.geteuid()
    if status.st_uid not in (user, 0):
        raise PermissionError(f"it belongs to user {status.st_uid}, and neither to this one, {user}, nor to root")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionError(f"others than its owner may write to it, mode {mode:o}; `chmod go-w` cures that")


def _file_of(handle: int, mode: str) -> IO[bytes]:
    """Return the file of a descriptor, which is closed where that fails: a folder in the place of a file, no memory."""
    try:
        return os.fdopen(handle, mode)
    except BaseException:
        os.close(handle)  # nobody else will
        raise


class Folder:
    """An open folder, which nobody but the user and root can change.

    Raises
    ------
    OSError
        If it cannot be opened or is not to be trusted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY) if _HAS_HANDLES else None
        try:
            status = os.stat(path if self._handle is None else self._handle)
            require_trust(status)
        except BaseException:
            self.close()
            raise
        self._mode = status.st_mode
        by_whom = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
        self.is_writable = os.access(path, os.W_OK | os.X_OK, **by_whom)

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _at(self, name: str) -> str:
        """Return what stands for a file of the folder where its handle is given as well."""
        return str(self.path / name) if self._handle is None else name

    def names(self) -> list[str]:
        """Return the names of all files."""
        return os.listdir(self.path if self._handle is None else self._handle)

    def read(self, name: str) -> bytes:
        """Return the content of a regular file that nobody but the user and root can change."""
        handle = os.open(self._at(name), _READ, dir_fd=self._handle)
        with _file_of(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            require_trust(status)
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write under a temporary name, then rename: a reader sees the whole file or none.

        Who may read the folder may read the file.
        """
        temporary = f"{name}.{secrets.token_hex(8)}.part"
        handle = os.open(self._at(temporary), _CREATE, 0o600, dir_fd=self._handle)
        try:
            with _file_of(handle, "wb") as file:
                file.write(content)
                if hasattr(os, "fchmod"):
                    os.fchmod(handle, 0o600 | self._mode & (stat.S_IRGRP | stat.S_IROTH))
            self._rename(temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(temporary)
            raise

    def _rename(self, old: str, new: str) -> None:
        os.replace(self._at(old), self._at(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.unlink(self._at(name), dir_fd=self._handle)


def folders() -> Iterator[Folder]:
    """Yield the folders to look into, best first; the last one, and none but that, is to be written to."""
    for path, mode in _candidates():
        try:
            path.mkdir(parents=True, exist_ok=True, mode=mode)
            folder = Folder(path)
        except OSError as error:
            pass_over(path, error)
            continue
        with folder:
            yield folder
            if folder.is_writable:
                return


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
