"""Long calls of a kernel that the main thread can leave: Ctrl-C, and any other exception that a signal handler raises.

Python's signal handlers run in the main thread between two of its instructions, never while a kernel runs in it.  So
the main thread has a long call made by another thread and waits, which a signal may end at once; it then asks the
kernel to give up, and lets the exception pass when the kernel has returned.  Kernels look for that request between
blocks of rows and between steps, so what they leave behind is whole.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.machine.team import ABANDON, PAUSE, REQUEST

# A call that is estimated to be shorter is made directly: Ctrl-C waits for it.  Another thread costs some 0.1 ms.
LONG_CALL = 0.05  # seconds
_FEWEST_TIMED = 8  # steps that tell how long the others will take, but for this factor
_CAUTION = 2.0
_LONGEST_WAIT = 0.1  # seconds; on Windows a signal is noticed between two waits only


class StepTime:
    """How long a training step takes: as estimated, and from the first steps on as measured.

    A call that may be long is made by a thread of its own, which costs 0.1 ms, and its helpers may come some ms late.
    Most steps are much quicker than estimated: after a few of them the rest of an epoch can often be taken directly.
    """

    def __init__(self, estimated: float) -> None:
        self.seconds = estimated
        self._is_measured = False

    def steps_to_try(self, n_steps: int) -> int:
        """Return how many of `n_steps` to take in the next call: all, or as many as show how long they take."""
        if self._is_measured or n_steps * self.seconds < LONG_CALL:
            return n_steps
        few = int(LONG_CALL / 4 / self.seconds)
        return few if few >= _FEWEST_TIMED else n_steps

    def steps_of_short_call(self) -> int:
        """Return how many steps a call may take that Ctrl-C waits for."""
        return int(LONG_CALL / self.seconds)

    def note(self, n_steps: int, seconds: float) -> None:
        """Take note that `n_steps`, those that were taken and not those asked for, took so long."""
        if not self._is_measured and n_steps >= _FEWEST_TIMED:
            self._is_measured = True
            self.seconds = min(self.seconds, _CAUTION * seconds / n_steps)


def call_interruptibly(call: Callable[[], Any], control: NDArray[np.int64], deadline: float | None = None) -> None:
    """Make a long call of a kernel so that a signal handler's exception can end it.

    Parameters
    ----------
    call : callable
        Calls the kernel, whose team shares `control`.
    control : ndarray of int64
        The team's control vector, used for this call only.
    deadline : float, optional
        Reading of `time.monotonic` at which a training kernel is asked to return after the step at hand.

    Notes
    -----
    Signal handlers run in the main thread only, so elsewhere the call is made directly unless there is a deadline.
    So it is where the system refuses another thread: a call that nothing interrupts is better than none.
    """
    if deadline is None and threading.current_thread() is not threading.main_thread():
        call()
        return
    elsewhere = _Elsewhere(call)
    try:
        begun = elsewhere.start()
        while begun and not elsewhere.is_over(_LONGEST_WAIT if deadline is None else _until(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                control[REQUEST], deadline = PAUSE, None
    except BaseException:
        control[REQUEST] = ABANDON
        elsewhere.wait_whatever_happens()
        raise
    if begun:
        elsewhere.raise_its_error()
    else:
        call()


def _until(deadline: float) -> float:
    """Return the seconds until a deadline, as far as one wait may take."""
    return min(max(deadline - time.monotonic(), 0.0), _LONGEST_WAIT)


class _Elsewhere:
    """A call made by another thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._over = threading.Event()
        self._first: dict[str, str] = {}  # who came first: the other thread, which calls, or one who gave up
        self._error: BaseException | None = None

    def start(self) -> bool:
        """Begin the call; return False where no thread can be started, and then the call is never begun."""
        try:
            threading.Thread(target=self._run, name="fastbp-leader", daemon=True).start()
        except RuntimeError:  # too many threads or processes, an interpreter that ends or that allows none
            if self._is_first("caller"):
                return False
            raise  # by a signal's handler, for the call has begun
        return True

    def _run(self) -> None:
        if not self._is_first("leader"):
            return
        try:
            self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()

    def _is_first(self, who: str) -> bool:
        """Whether the call is for `who` to make or to leave; asked again, the answer is the same."""
        return self._first.setdefault("", who) == who

    def is_over(self, seconds: float) -> bool:
        """Wait at most so long; whether the call is over."""
        return self._over.wait(seconds)

    def wait_whatever_happens(self) -> None:
        """Wait for the end, or make sure that the call is never begun; the arrays it writes to must not be freed."""
        if self._is_first("caller"):
            return
        while not self._over.is_set():
            with contextlib.suppress(BaseException):  # more signals: the exception of the first one is on its way
                self._over.wait(_LONGEST_WAIT)

    def raise_its_error(self) -> None:
        """Raise what the call raised."""
        if self._error is not None:
            raise self._error
