"""How many processors this process may run on."""

import os


def count_processors() -> int:
    """Return the number of processors in the process's affinity mask; where there is none, of all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
