"""A disk cache for compiled kernels that can only help.

Numba's own cache looks at the date of one file, so that it misses an edit of a kernel that the cached one calls; it
raises at import where no folder is writable, and at the first call where a file is torn.  Here

* a file's name holds a digest of *every* kernel source file, of the versions of fastbp, Numba and llvmlite, of the
  argument types and of the processor, so that a file made for anything else is never opened;
* a file begins with the digest of the rest, so that a torn or edited file is noticed;
* every failure to read or write means "not cached", never an error.

A cache file holds machine code: the folder belongs to the user and to nobody else.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.serialize import dumps

from fastbp.version import __version__

_DIGEST_LENGTH = 32  # bytes of a SHA-256


@functools.cache
def source_stamp() -> str:
    """Digest of all kernel sources and of every version that the machine code depends on."""
    digest = hashlib.sha256()
    for part in (__version__, numba.__version__, llvmlite.__version__, sys.version, str(sys.maxsize)):
        digest.update(part.encode() + b"\0")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _candidate_folders() -> Iterator[Path]:
    """Folders to try, best first: the user's choice, the user's cache folder, a private temporary folder."""
    for variable in ("FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "fastbp"
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"]) / "fastbp"
    elif sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        yield Path(os.environ["LOCALAPPDATA"]) / "fastbp" / "Cache"
    else:
        with contextlib.suppress(RuntimeError):  # no home folder
            yield Path.home() / ".cache" / "fastbp"
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"fastbp-{user}"


def _is_private(folder: Path) -> bool:
    """Whether only this user can write into the folder: its files are executed."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def cache_folder() -> Path | None:
    """The folder of the cached kernels, or None where there is no folder to write to."""
    for folder in _candidate_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _is_private(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    return None


class KernelCache(_Cache):
    """The cache of one root kernel: one file for each signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}".replace("fastbp.kernels.", "")
        self._enabled = True

    def __repr__(self) -> str:
        return f"KernelCache({self._name})"

    @property
    def cache_path(self) -> str:
        """The folder, or an empty string."""
        return str(cache_folder() or "")

    def enable(self) -> None:
        """Use the cache."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write."""
        self._enabled = False

    def flush(self) -> None:
        """Delete this kernel's files."""
        folder = cache_folder()
        if folder is not None:
            for path in folder.glob(f"{self._name}-*.kernel"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or None."""
        target_context.refresh()
        if not self._enabled:
            return None
        try:
            content = self._path(sig, target_context.codegen()).read_bytes()
            digest, payload = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
            if hashlib.sha256(payload).digest() != digest:
                return None
            return CompileResultCacheImpl.rebuild(None, target_context, pickle.loads(payload))
        except Exception:  # whatever is wrong with a cache, compiling again is right
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled kernel of a signature, if that is possible."""
        if not self._enabled or cache_folder() is None:
            return
        with contextlib.suppress(Exception):  # a full or read-only disk: the kernel works without a cache
            payload = dumps(CompileResultCacheImpl.reduce(None, data))
            self._write(self._path(sig, data.codegen), hashlib.sha256(payload).digest() + payload)

    def _path(self, sig: Any, codegen: Any) -> Path:
        folder = cache_folder()
        if folder is None:
            raise FileNotFoundError
        key = repr((source_stamp(), str(sig), codegen.magic_tuple()))
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.kernel"

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        """Write under a temporary name, then rename: a reader sees the whole file or none."""
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            try:
                file = os.fdopen(handle, "wb")
            except BaseException:
                os.close(handle)  # nobody else will
                raise
            with file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
