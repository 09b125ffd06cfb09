"""Long calls of a kernel that another thread can end, as Ctrl-C ends those of the main thread.

A thread that works within a `Stop` notes the control vectors of its long calls in it.  Whoever sets the stop asks all
these kernels to give up, which they do between blocks of rows and between steps; the thread then gets an exception, so
that nobody uses what it has half done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.machine.team import ABANDON, REQUEST

_here = threading.local()


class StoppedError(RuntimeError):
    """Raised in a thread whose work another one has ended."""


class Stop:
    """What ends the work of all threads that are `within` it, once and for all."""

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._controls = dict[int, NDArray[np.int64]]()
        self._is_set = False

    def set(self) -> None:
        """Ask the kernels that run to give up, and let none begin."""
        with self._door:
            self._is_set = True
            for control in self._controls.values():
                control[REQUEST] = ABANDON

    def check(self) -> None:
        """Raise if it is set."""
        if self._is_set:
            raise StoppedError("This work was given up, because nobody waits for it any more.")

    @contextmanager
    def noting(self, control: NDArray[np.int64]) -> Iterator[None]:
        """Be able to end a call whose team shares `control`; raise before or after it where that was asked for."""
        with self._door:
            self.check()
            self._controls[id(control)] = control
        try:
            yield
        finally:
            with self._door:
                del self._controls[id(control)]
        self.check()


@contextmanager
def within(stop: Stop) -> Iterator[None]:
    """Have this thread's long calls end when `stop` is set.

    Raises
    ------
    StoppedError
        If it is, or was before.
    """
    stop.check()
    before, _here.stop = current_stop(), stop
    try:
        yield
    finally:
        _here.stop = before
    stop.check()


def current_stop() -> Stop | None:
    """Return what may end this thread's work, or None."""
    stop: Stop | None = getattr(_here, "stop", None)
    return stop
