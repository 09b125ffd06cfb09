"""Forks while another thread compiles or loads a kernel: they wait, so that the child finds no lock held for ever.

Numba has one lock for all that compiles, and llvmlite one for LLVM.  A child that is forked while another thread holds
them has nobody who would give them back, and its own first call would wait for ever.  So the thread that forks holds
both across the fork.  It waits as long as a compilation takes; a fork from within one, as a handler of a signal may
make it, has them already.
"""

import operator
import os
import threading
from typing import Any

from fastbp.kernels.compiler.machine_code import leave_threads_behind, wait_until_nothing_is_translated
from fastbp.kernels.compiler.numba_private import LOCKS

# A fork never waits longer for a lock: a thread may have been ended by an exception when it had one and had not noted
# it.  Compiling takes less on a busy machine; the child gets new locks then.
_LONGEST_WAIT = 120.0  # seconds
_LONGEST_TRANSLATION = 10.0  # seconds, of one part of a root

_held: dict[int, list[list[Any]]] = {}  # the locks that each thread has taken for its fork, and for forks around it
_waits = [_LONGEST_WAIT]  # for how long the next fork does


def _owners() -> list[Any]:
    """Return whose `_lock` they are; Numba's comes first, for who has that one takes llvmlite's."""
    return [vars(LOCKS)[name] for name in ("global_compiler_lock", "lib._lock")]


def _hold() -> None:
    """Take the locks, as far as they are to be had."""
    locks, taken = [owner._lock for owner in _owners()], list[Any]()
    _held.setdefault(threading.get_ident(), []).append(taken)
    take = operator.methodcaller("acquire", True, _waits[0])
    # in one operation of Python's, so that what a signal's handler raises leaves no lock that is taken and not noted
    taken.extend(filter(take, locks[:1]))
    wait_until_nothing_is_translated(_LONGEST_TRANSLATION)  # which needs the other lock
    taken.extend(filter(take, locks[1:]))
    _waits[0] = _LONGEST_WAIT if len(taken) == len(locks) else 0.0  # in vain once is enough


def _give_back() -> bool:
    """Give back what was taken for this fork; return whether that is all there is."""
    here = threading.get_ident()
    taken = _held[here].pop() if here in _held else []
    if not _held.get(here):
        _held.pop(here, None)
    for lock in reversed(taken):
        lock.release()
    return len(taken) == len(_owners())


def _begin_child() -> None:
    """Have no lock that is held by a thread of the parent's."""
    if not _give_back():
        for owner in _owners():
            owner._lock = threading.RLock()
        _waits[0] = _LONGEST_WAIT
    here = threading.get_ident()
    for thread in [thread for thread in _held if thread != here]:
        del _held[thread]
    leave_threads_behind()


def hold_locks_across_forks() -> None:
    """Have every fork of this process hold the compilers' locks."""
    if LOCKS.is_whole and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_give_back, after_in_child=_begin_child)
