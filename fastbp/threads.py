"""How many threads, and how they are lent to a job.

The caller's thread leads a job; helper threads, started once and kept, join it if they come in time (see
`fastbp.kernels.team`).  Nothing here uses a threading runtime of Numba's or OpenMP's, so a forked child simply starts
helpers of its own, and any number of Python threads may train at once.
"""

import contextlib
import ctypes
import functools
import itertools
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastbp.validation import positive_integer

_MOST_HELPERS = 63
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def available_threads() -> int:
    """Return how many threads this process may use.

    The smallest of: the processors of its affinity mask, the quota of its Linux control group, and
    ``OMP_NUM_THREADS`` and ``NUMBA_NUM_THREADS`` where they are set.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for variable in _THREAD_VARIABLES:
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return min(*limits, _processor_quota())


@functools.cache
def _processor_quota() -> int:
    """Return how many processors' time the Linux control group has; read once, for a file takes longer than a step."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))  # 'max' instead of a quota raises ValueError
    return _MOST_HELPERS + 1


def thread_count(n_threads: Any) -> int:
    """Return the number of threads that an argument `n_threads` asks for; None means all that are available.

    In a child process of multiprocessing, concurrent.futures, joblib or loky None means one thread, because its
    siblings have the other processors; unless ``OMP_NUM_THREADS`` or ``NUMBA_NUM_THREADS`` say otherwise, as joblib
    does in its workers where there are more processors than workers.
    """
    if n_threads is None:
        if _is_worker() and not any(os.environ.get(variable) for variable in _THREAD_VARIABLES):
            return 1
        return min(available_threads(), _MOST_HELPERS + 1)
    return min(positive_integer(n_threads, "n_threads"), _MOST_HELPERS + 1)


def _is_worker() -> bool:
    """Whether this is a child process of multiprocessing, on which all pools of processes are built."""
    process = sys.modules.get("multiprocessing.process")  # which every such child has imported
    return process is not None and process.parent_process() is not None


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


class _ThreadSetting:
    """The thread count of one BLAS library, to read and to write from any thread.

    threadpoolctl finds the library.  Its own setter lets only the first thread that ever used it change OpenBLAS's
    count and silently does nothing in others, so OpenBLAS's function is called directly; its name has a prefix and a
    suffix in some builds.
    """

    def __init__(self, library: Any) -> None:
        self.get: Callable[[], int] = library.get_num_threads
        self.set: Callable[[int], Any] = library.set_num_threads
        if library.internal_api == "openblas" and getattr(library, "threading_layer", "") != "openmp":
            handle = ctypes.CDLL(library.filepath)
            for prefix, suffix in itertools.product(("scipy_", ""), ("", "64_", "_64")):
                with contextlib.suppress(AttributeError):
                    self.set = getattr(handle, f"{prefix}openblas_set_num_threads{suffix}")
                    self.get = getattr(handle, f"{prefix}openblas_get_num_threads{suffix}")
                    return


def _of_scipy(library: Any) -> bool:
    """Whether a library was installed with SciPy, whose BLAS the kernels call, and not with NumPy."""
    return any(part.startswith("scipy") for part in Path(library.filepath).parent.parts)


class _BlasThreads:
    """SciPy's BLAS held at one thread while jobs run: one number for the process, restored after the last job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._found: list[tuple[_ThreadSetting, int]] = []
        self._settings: list[_ThreadSetting] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        for setting, n_threads in self._found if self._users else []:
            setting.set(n_threads)
        self._users = 0

    def _find(self) -> list[_ThreadSetting]:
        if self._settings is None:
            from threadpoolctl import ThreadpoolController

            libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
            chosen = [library for library in libraries if _of_scipy(library)] or libraries
            self._settings = [_ThreadSetting(library) for library in chosen]
        return self._settings

    @contextlib.contextmanager
    def held_at_one(self) -> Iterator[None]:
        """Hold BLAS at one thread; nested and concurrent uses count."""
        with self._lock:
            if self._users == 0:
                self._found = [(setting, setting.get()) for setting in self._find()]
                self._set_where_many([1] * len(self._found))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._set_where_many([n_threads for _, n_threads in self._found])

    def _set_where_many(self, counts: list[int]) -> None:
        """Set the counts of the libraries that had more than one thread."""
        for (setting, found), count in zip(self._found, counts, strict=True):
            if found != 1:
                setting.set(count)


helpers = _Helpers()
blas_threads = _BlasThreads()
