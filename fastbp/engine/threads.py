"""How many threads a job may have, and BLAS held at one while fastbp has its own.

The caller's thread leads a job; helper threads join it if they come in time (see `fastbp.engine.helpers` and
`fastbp.kernels.machine.team`).  Nothing here uses a threading runtime of Numba's or OpenMP's, so a forked child simply
starts helpers of its own, and any number of Python threads may train at once.
"""

import contextlib
import ctypes
import functools
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastbp.engine.helpers import MOST_HELPERS
from fastbp.system import control_groups
from fastbp.system.processors import count_processors
from fastbp.validation.numbers import positive_integer

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
_PROCESSOR_VARIABLES = ("LOKY_MAX_CPU_COUNT",)  # joblib's, for a process and its workers together

# ---- How many ------------------------------------------------------------------------------------------------------


def available_threads() -> int:
    """Return how many threads this process may use.

    The smallest of: the processors of its affinity mask, the quotas of its Linux control groups, ``OMP_NUM_THREADS``,
    ``NUMBA_NUM_THREADS`` and ``LOKY_MAX_CPU_COUNT`` where they are set, and what `numba.set_num_threads` was given.
    """
    return min(thread_limits().values())


def thread_limits() -> dict[str, int]:
    """Return the limits of `available_threads` by what sets them; one above `MOST_HELPERS` is none."""
    limits = {"processors": count_processors()}
    for variable in _THREAD_VARIABLES + _PROCESSOR_VARIABLES:
        value = os.environ.get(variable, "").split(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            limits[variable] = int(value)
    limits["quota"] = _processor_quota()
    limits["numba.set_num_threads"] = _threads_of_numba()
    return limits


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
    return max(1, round(min(quotas))) if quotas else MOST_HELPERS + 1


def _threads_of_numba() -> int:
    """Return the count of `numba.set_num_threads`; asking Numba before it has one would start its threads.

    The public function first takes a lock that processes share.  Where a signal's exception, or the end of a fork, came
    between the lock and its release, nobody else would ever get it, and every fit of another thread would wait.
    """
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if not getattr(parallel, "_is_initialized", False):
        return MOST_HELPERS + 1
    count = int((getattr(parallel, "_get_num_threads", None) or parallel.get_num_threads)())
    return count if count > 0 else MOST_HELPERS + 1


def thread_count(n_threads: Any) -> int:
    """Return the number of threads that an argument `n_threads` asks for; None means `get_num_threads`."""
    if n_threads is not None:
        return min(positive_integer(n_threads, "n_threads"), MOST_HELPERS + 1)
    most = most_threads()
    if process_limit.n_threads is not None:
        return most
    return 1 if _is_dask_task() else max(1, most // pool_workers())


def most_threads() -> int:
    """Return how many threads the process uses where no number is given: what memory that is kept has to be for."""
    limit = process_limit.n_threads
    if limit is None:
        return _usual_threads()
    if process_limit.process != os.getpid() and _is_worker():  # inherited by a fork: its siblings have it too
        return min(limit, _usual_threads())
    return limit


def _usual_threads() -> int:
    """Return how many threads are used where none were set either."""
    if _is_worker() and not any(os.environ.get(variable) for variable in _THREAD_VARIABLES):
        return 1
    return min(available_threads(), MOST_HELPERS + 1)


def pool_workers() -> int:
    """Return how many worker threads of multiprocessing's pools there are, in one of them; elsewhere 1.

    joblib's backend 'threading' is such a pool.  Its worker processes are told how many threads each may use, its
    worker threads are not; so they share the processors in the same way.
    """
    dummy = sys.modules.get("multiprocessing.dummy")  # which every such pool has imported
    if dummy is None or not isinstance(threading.current_thread(), dummy.DummyProcess):
        return 1
    return sum(isinstance(thread, dummy.DummyProcess) for thread in threading.enumerate())


def _is_dask_task() -> bool:
    """Whether this thread runs a task of a Dask worker, which runs one in each of its threads."""
    distributed = sys.modules.get("distributed")  # which every worker has imported
    try:
        return distributed is not None and distributed.get_worker() is not None
    except (AttributeError, ValueError):  # it is just being imported; this is no worker's thread
        return False


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
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def _reset_lock(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come in between

    def _reset_after_fork(self) -> None:
        self._reset_lock()
        self._update()  # which another thread may have been about to do

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
        otherwise, as joblib does in its workers where there are more processors than workers.  Worker threads of
        joblib and of multiprocessing's ``ThreadPool`` share what the process may use, each the same part.  A task of a
        Dask worker has 1, whatever the environment says, because the worker runs one task in each of its threads.

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
    """SciPy's BLAS held at one thread while jobs run: one number for the process, restored after the last job.

    A signal's handler may use it between any two instructions of the same thread, so the lock lets that thread in
    again, and each step leaves a state that a whole use in between does not disturb.  A job is held by the thread that
    asks for it, also where another one does the work: that one must not wait for a lock of the first, which waits for
    it.  An exception of a handler may come between a hold and the block that ends it; such a hold is forgotten when its
    object is gone.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holds: list[tuple[weakref.ref[_Hold], int]] = []  # and the thread that asked
        self._found: list[tuple[_ThreadSetting, int]] | None = None  # the counts to restore
        self._settings: list[_ThreadSetting] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def _reset_after_fork(self) -> None:
        self._lock = threading.RLock()
        here = threading.get_ident()
        self._holds = [(hold, thread) for hold, thread in self._holds if thread == here]
        self._restore_unless_held()

    def _find(self) -> list[_ThreadSetting]:
        if self._settings is None:
            try:
                from threadpoolctl import ThreadpoolController
            except ImportError:  # a signal's handler while this thread is just importing it
                return []

            libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
            chosen = [library for library in libraries if _of_scipy(library)] or libraries
            self._settings = [_ThreadSetting(library) for library in chosen]
        return self._settings

    def held_at_one(self) -> "_Hold":
        """Hold BLAS at one thread in a ``with`` block; nested and concurrent uses count."""
        return _Hold(self)

    def begin(self, hold: "_Hold") -> None:
        """Set the counts of the libraries that have more than one thread."""
        with self._lock:
            self._holds.append((weakref.ref(hold), threading.get_ident()))
            if self._found is None:
                settings = self._find()
                found = [(setting, setting.get()) for setting in settings]
                if self._found is None:  # else a handler's hold is there by now
                    self._found = found if settings else None
            self._set_where_many(self._found, lambda n_threads: 1)

    def end(self, hold: "_Hold") -> None:
        """Restore the counts, if it was the last hold."""
        with self._lock:
            self._holds = [entry for entry in self._holds if entry[0]() not in (None, hold)]
            self._restore_unless_held()

    def _restore_unless_held(self) -> None:
        if not self._holds:
            self._set_where_many(self._found, lambda n_threads: n_threads)
            self._found = None

    @staticmethod
    def _set_where_many(found: list[tuple[_ThreadSetting, int]] | None, count: Callable[[int], int]) -> None:
        """Set the counts of the libraries that had more than one thread."""
        for setting, n_threads in found or []:
            if n_threads != 1:
                setting.set(count(n_threads))


class _Hold:
    """One use of BLAS at one thread."""

    def __init__(self, blas: _BlasThreads) -> None:
        self._blas = blas

    def __enter__(self) -> None:
        self._blas.begin(self)

    def __exit__(self, *_: object) -> None:
        self._blas.end(self)


blas_threads = _BlasThreads()
