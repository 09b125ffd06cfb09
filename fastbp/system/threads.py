"""Threads, started by one function of Python's: so that a signal's handler finds a thread started or not."""

import _thread
from collections.abc import Callable
from typing import Any


def start_thread(work: Callable[..., object], *arguments: Any) -> bool:
    """Start a thread, which no exit waits for; return False where the system refuses it.

    `threading.Thread.start` goes on to wait for the thread, and an exception of a signal's handler leaves it there with
    a lock that is held for ever or with an error of its own.
    """
    try:
        _thread.start_new_thread(work, arguments)
    except RuntimeError as error:  # too many threads or processes, an interpreter that ends or that allows none
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # by a handler: the thread may be there
        return False
    return True
