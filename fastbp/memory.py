"""Memory: what a call is going to allocate is computed before, and refused where it cannot fit or is not ours to write.

A system that lends memory which it does not have ends the whole process when it is used; an error before is better.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

_SMALL = 1 << 28  # bytes, 256 MiB: below that nobody looks how much there is
_GIB = 1 << 30
_CGROUPS = Path("/sys/fs/cgroup")


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
    def weights(self) -> Sequence[NDArray[Any]]:
        """Each layer's weights, views into them."""

    @property
    def biases(self) -> Sequence[NDArray[Any]]:
        """Each layer's biases, views into them."""


def require_writable(net: _HasParams) -> None:
    """Refuse to write to parameters that are read-only: the kernels write to memory, and ask no flag of an array."""
    require_writable_arrays(net.params, *net.weights, *net.biases)


def require_writable_arrays(*arrays: NDArray[Any]) -> None:
    """Do the same for single arrays of a network."""
    if not all(array.flags.writeable for array in arrays):
        raise ValueError(
            "`net.params` must be writable to be trained or set; the array, or one of `net.weights` and `net.biases`, "
            "is read-only. Train copy.deepcopy(net), whose parameters are its own, or call setflags(write=True)."
        )


def available_memory() -> int | None:
    """Return the bytes that this process can still have, swap included, or None where the system does not say."""
    limits = [limit for limit in (_of_machine(), _of_control_groups()) if limit is not None]
    return min(limits, default=None)


def _of_machine() -> int | None:
    """Return what the machine has left; where that is unknown, all that it has."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        kibibytes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
        return 1024 * (kibibytes["MemAvailable"] + kibibytes["SwapFree"])
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_control_groups() -> int | None:
    """Return what the Linux control groups of this process leave it: the smallest of its own and those above."""
    left = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        group = _CGROUPS / own[3:].strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(_CGROUPS):
                with contextlib.suppress(OSError, ValueError):  # 'max' instead of a limit raises ValueError
                    left.append(_left_in(folder))
    return min(left, default=None)


def _left_in(group: Path) -> int:
    """Return the limit of a control group less what it uses; the cache of files can be given up."""
    limit = int((group / "memory.max").read_text())
    used = int((group / "memory.current").read_text())
    counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return max(0, limit - used + int(counts.get("inactive_file", 0)))
