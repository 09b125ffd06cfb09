"""Linux control groups: in which ones this process is, for the limits that a container or a service puts on it.

The groups of version 2 are one tree; those of version 1 are a tree for each controller, such as ``cpu`` and
``memory``; a system may have both.  A limit of a group holds for all groups below it.  joblib's ``cpu_count`` knows the
root of what is mounted and no group below it: a container's own group, but not that of a service or of a batch job.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_OWN = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mountinfo")


def folders(controller: str, version: int) -> list[Path]:
    """Return the folders of this process's group and of those above it, as far as they can be seen; none elsewhere.

    Parameters
    ----------
    controller : str
        ``cpu`` or ``memory``.
    version : {1, 2}
        Of the control groups.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        own = _own_group(controller, version)
        mounts = list(_mounts(controller, version))
        if own is None or not mounts:
            return []
        for root, mount in mounts:
            if own.is_relative_to(root) and ".." not in own.parts:
                group = mount / own.relative_to(root)
                return [group, *(folder for folder in group.parents if folder.is_relative_to(mount))]
        return [mounts[0][1]]  # its group has another name in here, as in a container
    return []


def _own_group(controller: str, version: int) -> PurePosixPath | None:
    """Return the name of this process's group: lines are id:controllers:/name, and 0::/name in version 2."""
    for line in _OWN.read_text().splitlines():
        number, controllers, name = line.split(":", 2)
        if (number, controllers) == ("0", "") if version == 2 else controller in controllers.split(","):
            return PurePosixPath(name)
    return None


def _mounts(controller: str, version: int) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield which group is seen at which folder: see proc_pid_mountinfo(5)."""
    for line in _MOUNTS.read_text().splitlines():
        place, _, system = line.partition(" - ")
        kind, _, options = system.split(" ")[:3]
        if kind == "cgroup2" if version == 2 else kind == "cgroup" and controller in options.split(","):
            root, mount = (_unescaped(field) for field in place.split(" ")[3:5])
            yield PurePosixPath(root), Path(mount)


def _unescaped(field: str) -> str:
    """Return a name in which blanks and the like are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
