"""How many threads, and how they are lent to a job.

The caller's thread leads a job; helper threads, started once and kept, join it if they come in time (see
`fastbp.kernels.team`).  Nothing here uses a threading runtime of Numba's or OpenMP's, so a forked child simply starts
helpers of its own, and any number of Python threads may train at once.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastbp.validation import positive_integer

_MOST_HELPERS = 63


def available_threads() -> int:
    """Return how many threads this process may use.

    The smallest of: the processors of its affinity mask, the quota of its Linux control group, and
    ``OMP_NUM_THREADS`` and ``NUMBA_NUM_THREADS`` where they are set.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        limits.append(max(1, round(int(quota) / int(period))))  # 'max' instead of a quota raises ValueError
    return min(limits)


def thread_count(n_threads: Any) -> int:
    """Return the number of threads that an argument `n_threads` asks for; None means all that are available."""
    if n_threads is None:
        return min(available_threads(), _MOST_HELPERS + 1)
    return min(positive_integer(n_threads, "n_threads"), _MOST_HELPERS + 1)


class _Helpers:
    """Threads that wait for jobs to help with; a fork leaves them behind, and the child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def _reset(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._started = 0

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _work(self, jobs: "queue.SimpleQueue[Callable[[], None]]") -> None:
        while True:
            jobs.get()()

    def lend(self, jobs: list[Callable[[], None]]) -> None:
        """Give each job to a helper thread; one that is late finds its job over."""
        with self._lock:
            while self._started < min(len(jobs), _MOST_HELPERS):
                self._started += 1
                name = f"fastbp-helper-{self._started}"
                threading.Thread(target=self._work, args=(self._jobs,), name=name, daemon=True).start()
        for job in jobs:
            self._jobs.put(job)


class _BlasThreads:
    """SciPy's BLAS held at one thread while jobs run: one number for the process, restored after the last job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._found: list[tuple[Any, int]] = []
        self._libraries: list[Any] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        for library, n_threads in self._found if self._users else []:
            library.set_num_threads(n_threads)
        self._users = 0

    def _find(self) -> list[Any]:
        if self._libraries is None:
            from threadpoolctl import ThreadpoolController

            libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
            of_scipy = [lib for lib in libraries if "scipy" in lib.filepath]
            self._libraries = of_scipy or libraries
        return self._libraries

    @contextlib.contextmanager
    def held_at_one(self) -> Iterator[None]:
        """Hold BLAS at one thread; nested and concurrent uses count."""
        with self._lock:
            if self._users == 0:
                self._found = [(library, library.get_num_threads()) for library in self._find()]
                for library, n_threads in self._found:
                    if n_threads != 1:
                        library.set_num_threads(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    for library, n_threads in self._found:
                        if n_threads != 1:
                            library.set_num_threads(n_threads)


helpers = _Helpers()
blas_threads = _BlasThreads()
