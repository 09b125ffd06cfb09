"""Calls of the root kernel: what it says of them, and how arrays are described to it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.helpers import helpers
from fastbp.kernels.machine.team import CONTROL_LENGTH, MOST_QUEUES, N_QUEUES, STOP
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import scalars as in_scalars

# What a training kernel says of its last step, and what any root returns.
FINISHED = in_scalars.FINISHED  # all steps that were asked for
CONVERGED = in_scalars.CONVERGED  # the gradient is within the tolerance; the step was not taken
DIVERGED = in_scalars.DIVERGED  # the cost is not finite; the step was not taken
INTERRUPTED = in_scalars.INTERRUPTED  # an early return was asked for; the steps that were taken are whole


class UnknownCodeError(RuntimeError):
    """The kernels were told of a loss, activation, optimizer or form of X that they do not know, or that do not fit."""

    def __init__(self) -> None:
        super().__init__(
            "The kernels do not know the loss, an activation, the optimizer or the form of X that they were told of, "
            "or these do not fit each other; nothing was computed. This is an error in fastbp: please report it."
        )


def other_shapes() -> ValueError:
    """Return the error of arrays whose shapes were set since they were checked."""
    return ValueError("`X`, its targets and weights must keep their shapes during a call; got other ones.")


def require_room(array: NDArray[Any], name: str, n_numbers: int, dtype: np.dtype) -> None:
    """Refuse a vector of parameters or of an optimizer that is too short: the kernels go by the network alone."""
    if array.nbytes < n_numbers * dtype.itemsize:
        raise ValueError(
            f"{name} must be {n_numbers} numbers of {dtype}, to fit the network; got {array.size} of {array.dtype}."
        )


_ready = set[tuple[str, np.dtype]]()  # root kernels that are in memory


def make_ready(dtype: np.dtype, kernel: Any = entry) -> None:
    """Have a root kernel of a dtype compiled, or loaded, by the thread that asks.

    A user's thread can be interrupted while it compiles, and what goes wrong is raised there; a helper's cannot.
    """
    if (kernel.__name__, dtype) not in _ready:
        control = np.zeros(CONTROL_LENGTH, np.int64)
        control[STOP] = 1  # a helper that comes when all is over
        addresses, rates = np.zeros(kernel.N_ADDRESSES, np.int64), np.zeros(0)
        kernel.run(0, entry.LEADER + 1, addresses, control, np.zeros(0, dtype), 0, rates)
        _ready.add((kernel.__name__, dtype))


def run_kernel(task: int, *tail: Any, kernel: Any = entry) -> None:
    """Do a task as the leader; what the kernels do not know is an error, never another result."""
    if kernel.run(task, entry.LEADER, *tail) != FINISHED:
        raise UnknownCodeError


def call_with_helpers(
    owned: Any, kernel: Any, control: NDArray[np.int64], task: int, tail: tuple[Any, ...], n_threads: int
) -> None:
    """Call a kernel with helpers; `owned` is what must live until it returns, whatever becomes of the caller."""
    control[N_QUEUES] = min(n_threads, MOST_QUEUES)
    control[STOP] = 0  # the end of a call without helpers is noted as well
    jobs = [functools.partial(kernel.run, task, slot, *tail) for slot in range(n_threads - 1, 0, -1)]
    try:
        if jobs:
            helpers.lend(jobs)
        run_kernel(task, *tail, kernel=kernel)
    finally:
        control[STOP] = 1
        jobs.clear()


def address_of(array: NDArray[Any]) -> int:
    """Return the address of an array's first element; quicker than `ctypes.data`."""
    return int(array.__array_interface__["data"][0])


def matrix(array: NDArray[Any], itemsize: int) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """Return a matrix's shape, and its address, row stride and column stride (in elements).

    All of it is asked for at once: others may set the shape of an array of theirs, and what was checked must be what is
    used.  Strides of lone rows or columns are made up.
    """
    known = array.__array_interface__
    shape, strides = known["shape"], known["strides"]
    n_rows, n_columns = shape
    row, column = (n_columns, 1) if strides is None else (strides[0] // itemsize, strides[1] // itemsize)
    if n_columns == 1:
        column = 1
    if n_rows == 1:
        row = max(row, n_columns)
    return shape, (known["data"][0], row, column)
