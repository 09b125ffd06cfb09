"""A disk cache for compiled kernels that can only help.

Numba's own cache looks at the date of one file, so that it misses an edit of a kernel that the cached one calls; it
raises at import where no folder is writable, and at the first call where a file is torn.  Here

* a file's name holds a digest of *every* kernel source file, of the versions of fastbp, Numba and llvmlite, of the
  argument types, of the processor and of the compiler's options, so that a file made for anything else is never opened;
* a file begins with the digest of the rest, so that a torn or edited file is noticed;
* every failure to read or write means "not cached", never an error.

A cache file holds machine code: see `cache_folders` for whom to believe.
"""

import contextlib
import functools
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

from fastbp import kernels
from fastbp.kernels.compiler.cache_folders import folders, pass_over, say_once, writable_folder
from fastbp.kernels.compiler.numba_private import CACHE as NUMBA
from fastbp.version import __version__

# How long the kernels of a dtype are compiled for training, predictions and gradients where none is kept, on the
# machine of the README's tables, rounded.  A test sees to it that every text says the same.
FIRST_USE = "about 10 seconds"

_DIGEST_LENGTH = 32  # bytes of a SHA-256
_SOURCES = Path(kernels.__path__[0])

# What changes the machine code of a kernel beside its source, types and processor: attributes of `numba.config`, which
# environment variables set (NUMBA_OPT, ...) and programs may.
_COMPILER_OPTIONS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "DEBUGINFO_DEFAULT",
    "BOUNDSCHECK",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
    "DEBUG_NRT",
    "USING_SVML",
)


@functools.cache
def source_stamp() -> str:
    """Digest of all kernel sources and of every version that the machine code depends on."""
    digest = hashlib.sha256()
    for part in (__version__, numba.__version__, llvmlite.__version__, sys.version, str(sys.maxsize)):
        digest.update(part.encode() + b"\0")
    for path in sorted(_SOURCES.rglob("*.py")):
        digest.update(path.relative_to(_SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compiler_options() -> tuple[tuple[str, str], ...]:
    """Return Numba's options as they are now; one that another version of Numba lacks is None."""
    return tuple((name, repr(getattr(numba.config, name, None))) for name in _COMPILER_OPTIONS)


_loaded: dict[str, Any] = {}  # what keeps the machine code of parts alive, by their names


def load_parts(codegen: Any, parts: Iterable[tuple[str, bytes]]) -> None:
    """Make machine code known to the roots that call it; parts come before those that call them."""
    for name, machine_code in parts:
        if name not in _loaded:
            empty = llvmlite.binding.parse_assembly("").as_bitcode()
            _loaded[name] = codegen.unserialize_library((name, "object", (machine_code, empty)))


class KernelCache:
    """The cache of one root kernel: one file for each signature.

    It has what Numba's dispatchers want of a cache.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}".replace("fastbp.kernels.", "")
        self._enabled = True

    def __repr__(self) -> str:
        return f"KernelCache({self._name})"

    @property
    def cache_path(self) -> str:
        """The folder that is written to, or an empty string."""
        return writable_folder()

    @property
    def _is_used(self) -> bool:
        return self._enabled and NUMBA.is_whole

    def enable(self) -> None:
        """Use the cache."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write."""
        self._enabled = False

    def flush(self) -> None:
        """Delete this kernel's files."""
        for folder in folders():
            for name in folder.names():
                if name.startswith(f"{self._name}-") and name.endswith(".kernel"):
                    with contextlib.suppress(OSError):
                        folder.remove(name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or None."""
        target_context.refresh()
        if not self._is_used:
            return None
        with contextlib.suppress(Exception):  # whatever is wrong with a cache, compiling again is right
            for payload in self._payloads(self._file_name(sig, target_context.codegen())):
                with contextlib.suppress(Exception):
                    parts, rest = pickle.loads(payload)
                    load_parts(target_context.codegen(), parts)
                    return NUMBA.CompileResultCacheImpl.rebuild(None, target_context, rest)
        return None

    @staticmethod
    def _payloads(name: str) -> Iterator[bytes]:
        """Yield what the whole files of a name hold, the best folder's first."""
        for folder in folders():
            try:
                content = folder.read(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                pass_over(folder.path / name, error)
                continue
            digest, payload = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
            if hashlib.sha256(payload).digest() == digest:
                yield payload

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled kernel of a signature, if that is possible."""
        if not self._is_used:
            return
        with contextlib.suppress(Exception):  # a full or read-only disk: the kernel works without a cache
            parts = getattr(data.library, "parts", ())
            payload = NUMBA.dumps((parts, NUMBA.CompileResultCacheImpl.reduce(None, data)))
            self._write(self._file_name(sig, data.codegen), hashlib.sha256(payload).digest() + payload)

    @staticmethod
    def _write(name: str, content: bytes) -> None:
        """Write into the folder for it, if there is one."""
        for folder in folders():
            if folder.is_writable:
                try:
                    folder.write(name, content)
                except OSError as error:
                    pass_over(folder.path, error)
                return
        say_once(
            "Compiled kernels can be kept nowhere, so each process compiles them again. The environment variable "
            "FASTBP_CACHE_DIR names a folder for them, which must belong to the user or to root."
        )

    def _file_name(self, sig: Any, codegen: Any) -> str:
        key = repr((source_stamp(), str(sig), codegen.magic_tuple(), compiler_options()))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.kernel"
