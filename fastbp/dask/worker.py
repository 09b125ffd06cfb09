"""What a task shares with the other tasks of its worker: the worker's threads."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import get_worker

from fastbp.engine.cutting import LEAST_SHARED_FLOPS


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
        threads = _of_workers.setdefault(worker, _Threads(worker.state.nthreads))
    taken = threads.take(int(min(flops / LEAST_SHARED_FLOPS, 1e6)))
    try:
        yield taken
    finally:
        threads.give_back(taken)
