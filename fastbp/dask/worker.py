"""What a task shares with the other tasks of its worker: the worker's threads, and what ends the work of a session."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import get_worker

from fastbp.dask.parts import Part
from fastbp.engine.cutting import LEAST_SHARED_FLOPS
from fastbp.engine.stopping import Stop, within
from fastbp.engine.threads import process_limit, set_num_threads


class _Threads:
    """The threads of one worker; those who compute take some, never more than there are."""

    def __init__(self, n_threads: int) -> None:
        self.n_free = n_threads
        self._changed = threading.Condition()

    def take(self, wanted: int) -> int:
        """Return how many of the wanted ones are free, at least one; wait if there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self.n_free > 0)
            taken = min(max(wanted, 1), self.n_free)
            self.n_free -= taken
            return taken

    def give_back(self, n_threads: int) -> None:
        """Let others have them."""
        with self._changed:
            self.n_free += n_threads
            self._changed.notify_all()


_of_workers: weakref.WeakKeyDictionary[Any, _Threads] = weakref.WeakKeyDictionary()  # several may share a process
_door = threading.Lock()


@contextmanager
def threads_for(flops: float) -> Iterator[int]:
    """Give a task as many threads of its worker as so much work is worth and as are free.

    Results do not depend on their number.  A worker has as many as it runs tasks at once (`nthreads`); outside of
    one, it is one thread.
    """
    try:
        worker = get_worker()
    except ValueError:
        yield 1
        return
    with _door:
        threads = _of_workers.get(worker)
        if threads is None:
            threads = _of_workers[worker] = _Threads(worker.state.nthreads)
            _undo_nanny(worker)
    taken = threads.take(int(min(flops / LEAST_SHARED_FLOPS, 1e6)))
    try:
        yield taken
    finally:
        threads.give_back(taken)


def _undo_nanny(worker: Any) -> None:
    """Let kernels have the worker's threads in a process of its own, where nannies set ``OMP_NUM_THREADS=1``."""
    if getattr(worker, "nanny", None) is not None and process_limit.n_threads is None:
        set_num_threads(worker.state.nthreads)


# ---- An end to all tasks of a session --------------------------------------------------------------------------------

_MOST_STOPS = 256  # remembered in a process: those of the sessions that were the last to come
_stops: OrderedDict[str, Stop] = OrderedDict()


def _stop_of(session: str) -> Stop:
    with _door:
        stop = _stops.setdefault(session, Stop())
        _stops.move_to_end(session)
        if len(_stops) > _MOST_STOPS:
            _stops.popitem(last=False)
        return stop


def run_for(session: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, a task of a session, unless the session is given up before or meanwhile."""
    try:
        with within(_stop_of(session)):
            return function(*arguments)
    except Exception as error:
        part = arguments[0] if arguments else None
        if isinstance(part, Part) and not str(error).startswith("In partition "):
            error.add_note(f"It was raised in partition {part.index}.")
        raise


def give_up(session: str) -> None:
    """End the tasks of a session that run in this process, whose kernels return soon, and let none begin."""
    _stop_of(session).set()
