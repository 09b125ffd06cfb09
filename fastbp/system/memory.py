"""Memory: what a call is going to allocate is computed before, and refused where it cannot fit or is not ours to write.

A system that lends memory which it does not have ends the whole process when it is used; an error before is better.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.system.control_groups import folders

_SMALL = 1 << 28  # bytes, 256 MiB: below that nobody looks how much there is
_GIB = 1 << 30
# Limits of a process, and the line of /proc/self/status that counts against them.
_RESOURCES = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}


def require_memory(n_bytes: int, purpose: str, cure: str) -> None:
    """Raise MemoryError if so many bytes are not available.

    Parameters
    ----------
    n_bytes : int
        What will be allocated.
    purpose : str
        What for: the subject of the message.
    cure : str
        A sentence that says what would need less.
    """
    if n_bytes < _SMALL:
        return
    available = available_memory()
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"{purpose} would take {n_bytes} bytes ({n_bytes / _GIB:.1f} GiB) of memory, and {available} "
            f"({available / _GIB:.1f} GiB) are available. {cure}"
        )


class _HasParams(Protocol):
    """A network, as far as its memory goes."""

    @property
    def params(self) -> NDArray[Any]:
        """All parameters."""

    @property
    def n_params(self) -> int:
        """How many they are."""

    @property
    def dtype(self) -> np.dtype:
        """Their type."""

    @property
    def weights(self) -> Sequence[NDArray[Any]]:
        """Each layer's weights, views into them."""

    @property
    def biases(self) -> Sequence[NDArray[Any]]:
        """Each layer's biases, views into them."""


def require_writable(net: _HasParams) -> None:
    """Refuse to write to parameters that are read-only: the kernels write to memory, and ask no flag of an array."""
    require_writable_arrays(net.params, *net.weights, *net.biases)
    require_own_shape(net)


def require_own_shape(net: _HasParams) -> None:
    """Refuse parameters that were given another shape or dtype in place, as NumPy's arrays let anybody do."""
    params = net.params
    if params.shape != (net.n_params,) or params.dtype != net.dtype:
        raise ValueError(
            f"`net.params` must keep its shape ({net.n_params},) and its dtype {net.dtype}, because the kernels go by "
            f"them; it has shape {params.shape} and dtype {params.dtype}. Set them back, and change a copy instead."
        )


def require_writable_arrays(*arrays: NDArray[Any]) -> None:
    """Do the same for single arrays of a network."""
    if not all(array.flags.writeable for array in arrays):
        raise ValueError(
            "`net.params` must be writable to be trained or set; the array, or one of `net.weights` and `net.biases`, "
            "is read-only. Train copy.deepcopy(net), whose parameters are its own, or call setflags(write=True)."
        )


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written to, for the functions of others."""
    view = array.view()
    view.flags.writeable = False
    return view


def available_memory() -> int | None:
    """Return the bytes that this process can still have, swap included, or None where the system does not say."""
    limits = [limit for limit in (_of_machine(), _of_control_groups(), _of_process()) if limit is not None]
    return min(limits, default=None)


def _of_machine() -> int | None:
    """Return what the machine has left; where that is unknown, all that it has."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        sizes = _sizes(Path("/proc/meminfo"))
        return sizes["MemAvailable"] + sizes["SwapFree"]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _sizes(file: Path) -> dict[str, int]:
    """Return the sizes in bytes that a file of /proc holds in lines such as ``VmSize:  1234 kB``."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0].removesuffix(":"): 1024 * int(words[1]) for words in lines if words[2:] == ["kB"]}


def _of_control_groups() -> int | None:
    """Return what the Linux control groups of this process leave it: the smallest of its own and those above."""
    left = []
    for group in folders("memory", 2):
        with contextlib.suppress(OSError, ValueError):  # 'max' instead of a limit raises ValueError
            left.append(_left_in(group, "memory.max", "memory.current", "inactive_file"))
    for group in folders("memory", 1):
        with contextlib.suppress(OSError, ValueError):  # no limit is a number near 2^63
            left.append(_left_in(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    return min(left, default=None)


def _left_in(group: Path, limit: str, usage: str, file_cache: str) -> int:
    """Return the limit of a control group less what it uses; the cache of files can be given up.

    Where the system hides what is used, as some sandboxes do, the limit counts all the same.
    """
    most, used = int((group / limit).read_text()), 0
    with contextlib.suppress(OSError, ValueError):
        used = int((group / usage).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(counts.get(file_cache, 0))
    return max(0, most - max(0, used))


def _of_process() -> int | None:
    """Return what the process's own limits leave it, as set by ``ulimit -v`` and ``-d``; Linux says what is used."""
    left = []
    with contextlib.suppress(ImportError, OSError, KeyError):
        import resource  # not on Windows

        sizes = _sizes(Path("/proc/self/status"))
        for name, used in _RESOURCES.items():
            most, _ = resource.getrlimit(getattr(resource, name))
            if most != resource.RLIM_INFINITY:
                left.append(max(0, most - sizes[used]))
    return min(left, default=None)
