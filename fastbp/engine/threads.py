"""How many threads, and how they are lent to a job.

The caller's thread leads a job; helper threads, started once and kept, join it if they come in time (see
`fastbp.kernels.machine.team`).  Nothing here uses a threading runtime of Numba's or OpenMP's, so a forked child simply
starts helpers of its own, and any number of Python threads may train at once.
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

from fastbp.system import control_groups
from fastbp.system.processors import count_processors
from fastbp.validation.numbers import positive_integer

_MOST_HELPERS = 63
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
_PROCESSOR_VARIABLES = ("LOKY_MAX_CPU_COUNT",)  # joblib's, for a process and its workers together

# ---- How many ------------------------------------------------------------------------------------------------------


def available_threads() -> int:
    """Return how many threads this process may use.

    The smallest of: the processors of its affinity mask, the quotas of its Linux control groups, ``OMP_NUM_THREADS``,
    ``NUMBA_NUM_THREADS`` and ``LOKY_MAX_CPU_COUNT`` where they are set, and what `numba.set_num_threads` was given.
    """
    limits = [count_processors()]
    for variable in _THREAD_VARIABLES + _PROCESSOR_VARIABLES:
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return min(*limits, _processor_quota(), _threads_of_numba())


@functools.cache
def _processor_quota() -> int:
    """Return how many processors' time the control groups have; read once, for a file takes longer than a step."""
    quotas = []
    for group in control_groups.folders("cpu", 2):
        with contextlib.suppress(OSError, ValueError):  # 'max' instead of a quota raises ValueError
            quota, period = (group / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
    for group in control_groups.folders("cpu", 1):
        with contextlib.suppress(OSError, ValueError):
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:  # -1 is none
                quotas.append(int(quota) / int(period))
    return max(1, round(min(quotas))) if quotas else _MOST_HELPERS + 1


def _threads_of_numba() -> int:
    """Return the count of `numba.set_num_threads`; asking Numba before it has one would start its threads."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if getattr(parallel, "_is_initialized", False):
        return int(parallel.get_num_threads())  # type: ignore[union-attr]
    return _MOST_HELPERS + 1


def thread_count(n_threads: Any) -> int:
    """Return the number of threads that an argument `n_threads` asks for; None means `get_num_threads`."""
    if n_threads is not None:
        return min(positive_integer(n_threads, "n_threads"), _MOST_HELPERS + 1)
    limit = process_limit.n_threads
    if limit is None:
        return _usual_threads()
    if process_limit.process != os.getpid() and _is_worker():  # inherited by a fork: its siblings have it too
        return min(limit, _usual_threads())
    return limit


def _usual_threads() -> int:
    """Return how many threads are used where no number is given."""
    if _is_worker() and not any(os.environ.get(variable) for variable in _THREAD_VARIABLES):
        return 1
    return min(available_threads(), _MOST_HELPERS + 1)


def _is_worker() -> bool:
    """Whether this is a child process of multiprocessing, on which all pools of processes are built."""
    process = sys.modules.get("multiprocessing.process")  # which every such child has imported
    return process is not None and process.parent_process() is not None


class _ProcessLimit:
    """The number of threads that a program has set for its process: the newest of the blocks that are being run."""

    def __init__(self) -> None:
        self._numbers: dict[object, tuple[int | None, int]] = {}  # and who set it; of each block, in their order
        self._reset_lock()
        self.set(None, "process")
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_lock)

    def _reset_lock(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come in between

    def set(self, n_threads: int | None, block: object = None) -> None:
        """Set the number of a block that begins, or without one that of the newest."""
        with self._lock:
            self._numbers[next(reversed(self._numbers)) if block is None else block] = n_threads, os.getpid()
            self._update()

    def end(self, block: object) -> None:
        """Forget the number of a block, which need not be the newest: threads may be in blocks of their own."""
        with self._lock:
            self._numbers.pop(block, None)
            self._update()

    def _update(self) -> None:
        self.n_threads, self.process = next(reversed(self._numbers.values()))


process_limit = _ProcessLimit()


def get_num_threads() -> int:
    """Return how many threads a call uses that is given no `n_threads`.

    Returns
    -------
    n_threads : int
        The number of `set_num_threads` or `num_threads`, if there is one.  Otherwise the smallest of: the processors
        that this process may run on; the quota of its Linux control groups, as a container has; the environment
        variables ``OMP_NUM_THREADS``, ``NUMBA_NUM_THREADS`` and ``LOKY_MAX_CPU_COUNT``; and what
        ``numba.set_num_threads`` was given.  In a child process of multiprocessing, concurrent.futures, joblib or loky
        it is 1, because its siblings have the other processors; unless ``OMP_NUM_THREADS`` or ``NUMBA_NUM_THREADS`` say
        otherwise, as joblib does in its workers where there are more processors than workers.

    See Also
    --------
    set_num_threads : Set it for the process.
    num_threads : Set it for a block of code.

    Notes
    -----
    A network that is too small for several threads is computed by one.  Results do not depend on the number.

    Examples
    --------
    >>> import fastbp as bp
    >>> bp.get_num_threads() >= 1
    True
    """
    return thread_count(None)


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads this process uses in calls that are given no `n_threads`.

    Parameters
    ----------
    n_threads : int or None
        At least 1; more than 64 are counted as 64.  None: as many as the process may, as before the first call.

    Raises
    ------
    TypeError, ValueError
        If `n_threads` is no such number.

    See Also
    --------
    num_threads : The same for a block of code.
    get_num_threads : The number in use, and where it comes from if none was set.

    Notes
    -----
    It holds in all threads of the process.  A child process that multiprocessing forks uses at most as many, and one
    that it spawns begins without.  Fits that are running are not changed.  threadpoolctl's limits are those of BLAS and
    OpenMP libraries, none of which fastbp's threads belong to: they do not change this number.

    Examples
    --------
    >>> import fastbp as bp
    >>> bp.set_num_threads(1)
    >>> bp.get_num_threads()
    1
    >>> bp.set_num_threads(None)
    """
    process_limit.set(None if n_threads is None else thread_count(n_threads))


@contextlib.contextmanager
def num_threads(n_threads: int | None) -> Iterator[None]:
    """Set how many threads this process uses, until a block of code is over.

    Parameters
    ----------
    n_threads : int or None
        As for `set_num_threads`.

    Returns
    -------
    context manager
        For a ``with`` statement; or a decorator, for a function.

    Raises
    ------
    TypeError, ValueError
        If `n_threads` is no such number.

    See Also
    --------
    set_num_threads : Set it for good.

    Notes
    -----
    It holds in all threads of the process, so that a pool of threads within the block obeys it.  Of several blocks that
    are run at once the one that began last counts.

    Examples
    --------
    >>> import fastbp as bp
    >>> with bp.num_threads(1):
    ...     bp.get_num_threads()
    1
    """
    number, block = None if n_threads is None else thread_count(n_threads), object()
    try:
        process_limit.set(number, block)
        yield
    finally:
        process_limit.end(block)


# ---- Helpers -------------------------------------------------------------------------------------------------------


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
        try:
            while True:
                jobs.get()()
        finally:  # an error of a job ends the thread, and another one may be started
            with self._lock:
                if jobs is self._jobs:
                    self._started -= 1

    def lend(self, jobs: list[Callable[[], None]]) -> None:
        """Give each job to a helper thread, as far as there are any; one that is late finds its job over."""
        with self._lock:
            while self._started < min(len(jobs), _MOST_HELPERS) and self._start():
                self._started += 1
            n_helpers = self._started
        for job in jobs[:n_helpers]:  # the others would never be taken
            self._jobs.put(job)

    def _start(self) -> bool:
        """Start a thread; return False where the system refuses it: the leader does the work, and the next job asks."""
        name = f"fastbp-helper-{self._started + 1}"
        try:
            threading.Thread(target=self._work, args=(self._jobs,), name=name, daemon=True).start()
        except RuntimeError:  # too many threads or processes, an interpreter that ends or that allows none
            return False
        return True


# ---- BLAS ----------------------------------------------------------------------------------------------------------


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
