"""Threads that help with jobs: started once, kept, and never waited for.

A signal's handler, a `__del__` or a callback of the garbage collector may predict in the middle of anything here, and
an exception of such a handler may leave it anywhere.  So there is no lock, and nothing that a lost instruction could
put out of step: a helper counts as long as it exists, and whatever is done to a list or a queue is one operation of
Python's, which is done or not.
"""

import os
import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from fastbp.system.threads import start_thread

MOST_HELPERS = 63
_MOST_WAITING = 4 * MOST_HELPERS  # offers that no helper has come for: more would not be taken any sooner

Jobs: TypeAlias = list[partial[Any]] | list[Callable[[], object]]


class _Helper:
    """A helper thread; nobody but the thread holds on to this object."""

    def __init__(self, number: int, offers: "queue.SimpleQueue[Jobs]") -> None:
        self._number, self._offers = number, offers

    def work(self) -> None:
        """Take one job of each offer, for ever; an error of a job ends the thread, and another one may be started."""
        threading.current_thread().name = f"fastbp-helper-{self._number}"
        while True:
            _take_one(self._offers.get())


def _take_one(jobs: Jobs) -> None:
    """Do a job, if one is left; nothing of it is held afterwards."""
    try:
        job = jobs.pop()
    except IndexError:
        return
    job()


class Helpers:
    """Threads that wait for jobs to help with; a fork leaves them behind, and the child starts its own."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._offers: queue.SimpleQueue[Jobs] = queue.SimpleQueue()
        self._alive = set[weakref.ref[_Helper]]()

    @property
    def n_started(self) -> int:
        """How many helper threads there are."""
        return len(self._alive)

    def lend(self, jobs: Jobs) -> None:
        """Offer jobs to as many helpers, as far as there are any; each takes one of the list, from its end.

        The caller empties the list when it has done all the work, for a helper may come late, and until then the list
        keeps alive what the jobs work on.
        """
        wanted = min(len(jobs), MOST_HELPERS)
        while len(self._alive) < wanted and self._start():
            pass
        if self._offers.qsize() < _MOST_WAITING:
            for _ in range(min(len(self._alive), wanted)):  # others would never be taken
                self._offers.put(jobs)

    def _start(self) -> bool:
        """Start a thread; return False where the system refuses it: the leader does the work, and the next job asks."""
        alive = self._alive
        helper = _Helper(len(alive) + 1, self._offers)
        alive.add(weakref.ref(helper, alive.discard))
        return start_thread(helper.work)


helpers = Helpers()
