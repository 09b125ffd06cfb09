"""Long calls of a kernel that the main thread can leave: Ctrl-C, and any other exception that a signal handler raises.

Python's signal handlers run in the main thread between two of its instructions, never while a kernel runs in it.  So
the main thread has a long call made by another thread and waits, which a signal may end at once; it then asks the
kernel to give up, and lets the exception pass when the kernel has returned.  Kernels look for that request between
blocks of rows and between steps, so what they leave behind is whole.

An exception of a handler may come between any two instructions of the main thread, any number of times.  It breaks
`threading`'s Event and Condition, which consist of many instructions, and it would end any loop that waits.  So threads
are started and waited for by single functions of CPython's, and the last wait is one that no signal ends.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.stopping import current_stop
from fastbp.kernels.machine.team import ABANDON, PAUSE, REQUEST
from fastbp.system.threads import start_thread

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
        Calls the kernel, whose team shares `control`.  It owns every array that the kernel uses.
    control : ndarray of int64
        The team's control vector, used for this call only.
    deadline : float, optional
        Reading of `time.monotonic` at which a training kernel is asked to return after the step at hand.

    Notes
    -----
    Signal handlers run in the main thread only, so elsewhere the call is made directly unless there is a deadline.
    So it is where the system refuses another thread: a call that nothing interrupts is better than none.  What ends
    calls in other threads is a `fastbp.engine.stopping.Stop`.
    """
    stop = current_stop()
    if stop is None:
        _call(call, control, deadline)
        return
    with stop.noting(control):
        _call(call, control, deadline)


def _call(call: Callable[[], Any], control: NDArray[np.int64], deadline: float | None) -> None:
    if deadline is None and threading.current_thread() is not threading.main_thread():
        call()
        return
    elsewhere = _Elsewhere(call)
    unclaimed, end = elsewhere.unclaimed, elsewhere.end
    try:
        begun = elsewhere.start()
        while begun and not elsewhere.is_over(_LONGEST_WAIT if deadline is None else _until(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                control[REQUEST], deadline = PAUSE, None
    except BaseException:
        # More signals may come.  CPython runs their handlers after a call, in a loop's jump back and where a function
        # of Python's begins; there is none of these before each of the two calls below, so neither is passed over.
        control[REQUEST] = ABANDON
        try:
            unclaimed.pop()  # never begun, and now it never will be
        except IndexError:
            _take_lock(end, _WHATEVER_HAPPENS)  # the kernel writes to arrays of the caller's
        elsewhere.give_back_lock()
        raise
    if begun:
        _take_lock(end, _WHATEVER_HAPPENS)
    elsewhere.give_back_lock()
    if not begun:
        call()
    elif elsewhere.error is not None:
        raise elsewhere.error


def _until(deadline: float) -> float:
    """Return the seconds until a deadline, as far as one wait may take."""
    return min(max(deadline - time.monotonic(), 0.0), _LONGEST_WAIT)


# ---- Another thread --------------------------------------------------------------------------------------------------

# CPython's locks as C has them: others run meanwhile, and no signal ends the wait, as it does that of `_thread`'s.
_python = ctypes.CDLL(ctypes.pythonapi._name, handle=ctypes.pythonapi._handle)
_new_lock, _take_lock, _open_lock = (
    _python.PyThread_allocate_lock,
    _python.PyThread_acquire_lock,
    _python.PyThread_release_lock,
)
_new_lock.restype, _new_lock.argtypes = ctypes.c_void_p, []
_take_lock.restype, _take_lock.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]
_open_lock.restype, _open_lock.argtypes = None, [ctypes.c_void_p]
_WHATEVER_HAPPENS = 1  # how to wait: until one has the lock

_spare_locks = list[int]()  # which are taken; they are never freed, so that nobody can have one that is gone


class _Elsewhere:
    """A call made by another thread.

    Attributes
    ----------
    unclaimed : list of callable
        The call, until the other thread takes it to make it, or the caller, so that it is never begun.
    end : int
        Address of a lock of C's that can be taken once, when the call is over.
    error : BaseException or None
        What the call raised.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self.unclaimed = [call]
        self.error: BaseException | None = None
        self._is_over = self._is_left = False
        self._over = _thread.allocate_lock()  # the same, for a wait that signals end
        self._over.acquire()
        try:
            self.end = _spare_locks.pop()
        except IndexError:
            self.end = _new_lock()
            _take_lock(self.end, _WHATEVER_HAPPENS)
        _running.add(weakref.ref(self, _running.discard))

    def start(self) -> bool:
        """Begin the call; return False where no thread can be started, and then the call is never begun."""
        return start_thread(self._run)

    def _run(self) -> None:
        try:
            call = self.unclaimed.pop()
        except IndexError:
            return
        try:
            call()
        except BaseException as error:
            self.error = error
        del call  # and the arrays that it owns
        self._finish()

    def _finish(self) -> None:
        self._is_over = True
        self._over.release()
        _open_lock(self.end)

    def is_over(self, seconds: float) -> bool:
        """Wait at most so long; whether the call is over, which is said once."""
        return self._over.acquire(timeout=seconds)

    def give_back_lock(self) -> None:
        """Let another call have the lock, which is taken, and which the other thread has done with."""
        if not self._is_left:
            _spare_locks.append(self.end)

    def leave_behind(self) -> None:
        """Have a forked child not wait for a thread of its parent's."""
        self._is_left = True
        if not self._is_over:
            self.error = RuntimeError(
                "A process that was forked by a signal's handler while fastbp was at work cannot finish that work: its "
                "threads are the parent's. End the child in the handler, with os._exit."
            )
        with contextlib.suppress(RuntimeError):  # it was just over
            self._over.release()
        _open_lock(self.end)


_running = set[weakref.ref[_Elsewhere]]()


def _leave_all_behind() -> None:
    for running in list(_running):
        elsewhere = running()
        if elsewhere is not None:
            elsewhere.leave_behind()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_behind)
