"""One training at a time: a second one of the same network is refused, whoever asks and from wherever.

There is no lock: a signal handler, which may come at any moment and wants the same network, gets an error and never
waits.  Who is training is noted here and not in the network, so that its copies, its pickles and the processes that are
forked from this one are free.
"""

from __future__ import annotations

import operator
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import compress, repeat
from typing import TypeVar

_Result = TypeVar("_Result")


# By the address of the network, which lives as long as its training: what trains it, and in which thread.
trainings: dict[int, tuple[str, threading.Thread]] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=trainings.clear)  # a child's networks are copies that nobody else trains


def alone(owner: object, call: str, work: Callable[[], _Result]) -> _Result:
    """Return ``work()``, a training of `owner` by the method or function `call`.

    Raises
    ------
    RuntimeError
        If another training of the same object is running, in whatever thread.
    """
    key, turn = id(owner), (call, threading.current_thread())  # another call of the same is another tuple
    try:
        while trainings.setdefault(key, turn) is not turn:  # in one go, also among threads
            require_idle(owner, call)  # again if it has just ended
        return work()
    finally:  # no call is made here: the exceptions of signal handlers come with calls, and would keep the note
        try:
            if trainings[key] is turn:
                del trainings[key]
        except KeyError:  # a fork has emptied it
            pass


def alone_with_all(owners: Sequence[object], call: str, work: Callable[[], _Result]) -> _Result:
    """Return ``work()``, a training of several objects at once; see `alone`."""
    turn, noted = (call, threading.current_thread()), list[int]()
    mine = compress(noted, map(operator.is_, map(trainings.get, noted), repeat(turn)))  # of all that will be noted
    taken_back = map(trainings.pop, mine, repeat(None))
    try:
        for owner in owners:
            noted.append(id(owner))
            while trainings.setdefault(id(owner), turn) is not turn:
                require_idle(owner, call)
        return work()
    finally:  # in one call of C's, for the same reason
        deque(taken_back, maxlen=0)


def require_idle(owner: object, call: str) -> None:
    """Refuse what must not be done beside a training of `owner`; nothing is noted."""
    turn = trainings.get(id(owner))
    if turn is not None:
        running, thread = turn
        here = thread is threading.current_thread()
        where = "here, and made this call in a callback or signal handler" if here else f"in thread {thread.name!r}"
        raise RuntimeError(
            f"`{call}` must have the network to itself, because two trainings at once lose each other's steps; "
            f"`{running}` is running {where}. Wait until it is over, or train a copy, copy.deepcopy(net)."
        )
