"""Many networks in one call of the kernels: each is trained or applied by one thread, in memory of the thread's own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import FINISHED, UnknownCodeError, address_of, call_with_helpers, make_ready
from fastbp.engine.cutting import LANE_FILL, seconds_per_step
from fastbp.engine.frame import Frame
from fastbp.engine.interruption import LONG_CALL, call_interruptibly
from fastbp.engine.lanes import lane_key, pieces_of
from fastbp.engine.threads import blas_threads
from fastbp.engine.workspace import aligned_empty
from fastbp.kernels.jobs.crew import lane_elements
from fastbp.kernels.machine.team import ABANDON, CONTROL_LENGTH, REQUEST
from fastbp.kernels.roots import entry
from fastbp.kernels.roots import many as kernel
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.vectors.values import lanes_of
from fastbp.system.memory import require_memory, require_writable_arrays

_NO_RATES = np.zeros(0)


@dataclass(slots=True)
class Validation:
    """What is looked at after each epoch of a network.

    Attributes
    ----------
    frame : Frame
        With the validation data.
    losses : ndarray of float64, shape (n_epochs,)
        Overwritten with their cost after each epoch.
    rule : ndarray of float64 or None
        What early stopping goes by, see `fastbp.kernels.tables.member`; changed in place.
    best : ndarray, shape (n_params,), or None
        Overwritten with the parameters of an epoch whose cost is the lowest so far.
    counted : ndarray of int64, shape (1,)
        How many of the losses are written; the kernel counts them there.
    """

    frame: Frame
    losses: NDArray[np.float64]
    rule: NDArray[np.float64] | None = None
    best: NDArray[Any] | None = None
    counted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass(slots=True)
class Member:
    """One of many networks: a frame that has been told of its data, and what is to be done with it."""

    frame: Frame
    params: NDArray[Any]
    first_step: int = 0  # of an epoch
    rates: NDArray[np.float64] | None = None  # one for each step to take
    validation: Validation | None = None
    out: NDArray[Any] | None = None  # outputs (n, n_outputs)

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Its frames."""
        return (self.frame,) if self.validation is None else (self.frame, self.validation.frame)


class Memory:
    """Memory in which each thread works, large enough for the largest network; made once for many calls."""

    def __init__(self, frames: Sequence[Frame], n_threads: int) -> None:
        self.dtype, self.n_threads = frames[0].dtype, n_threads
        plans = [frame.workspace.plan for frame in frames]
        work = max(int(plan[in_plan.SLOT_SIZE]) for plan in plans)
        grads = max(frame.workspace.n_gradients * frame.n_params for frame in frames)
        costs = max(len(frame.workspace.costs) for frame in frames)
        n_bytes = n_threads * ((work + grads) * self.dtype.itemsize + 8 * costs)
        cure = "Make the layers or the mini-batches smaller, or use fewer threads."
        require_memory(n_bytes, f"What {n_threads} threads need to train networks in", cure)
        kinds = (work, self.dtype), (grads, self.dtype), (costs, np.dtype(np.float64))
        self._arrays = [[aligned_empty(size, kind) for size, kind in kinds] for _ in range(n_threads)]
        self._lanes = [np.zeros(0, self.dtype)] * n_threads

    def make_lanes(self, elements: int) -> None:
        """See to it that each thread has so many numbers for networks side by side."""
        if self._lanes[0].size < elements:
            n_bytes = self.n_threads * elements * self.dtype.itemsize
            require_memory(n_bytes, "What networks side by side are trained in", "Use fewer threads.")
            self._lanes = [aligned_empty(elements, self.dtype) for _ in range(self.n_threads)]

    def table(self, controls: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what the kernels must know of it; each thread has a row of `controls`, too."""
        return np.array(
            [
                [*map(address_of, arrays), address_of(lanes), address_of(control)]
                for arrays, lanes, control in zip(self._arrays, self._lanes, controls, strict=True)
            ]
        )


class Controls:
    """The control vectors of a call, by which another thread than the one that calls can ask for its end."""

    def __init__(self, n_threads: int) -> None:
        self.vector = aligned_empty((1 + n_threads) * CONTROL_LENGTH, np.dtype(np.int64))
        self.vector.fill(0)
        self.each = self.vector.reshape(-1, CONTROL_LENGTH)  # the team's, and one for each thread

    def abandon(self) -> None:
        """Ask the kernel to return soon, wherever it is."""
        self.each[:, REQUEST] = ABANDON


def train_together(
    members: Sequence[Member],
    memory: Memory,
    seconds: float = 0.0,
    deadline: float | None = None,
    controls: Controls | None = None,
) -> None:
    """Take the steps of many networks of one dtype, on all threads that have memory.

    Each frame says what became of its steps, as after `Frame.train`, with the very bits.  A call that is estimated to
    take long can be interrupted; for `deadline` see `call_interruptibly`.
    """
    for member in members:
        require_writable_arrays(member.params, member.frame.state)
        member.frame.status = FINISHED
    _run(entry.TRAIN, members, memory, seconds, deadline, controls)


def outputs_together(members: Sequence[Member], memory: Memory, seconds: float = 0.0) -> None:
    """Write the outputs of many networks of one dtype for the rows that their frames were told of."""
    _run(entry.OUTPUTS, members, memory, seconds, None)


def _run(
    task: int,
    members: Sequence[Member],
    memory: Memory,
    seconds: float,
    deadline: float | None,
    controls: Controls | None = None,
) -> None:
    """Call the kernel."""
    make_ready(memory.dtype, kernel)
    members, pieces = _cut(task, members, memory)
    table = np.array([_row(member) for member in members])
    n_threads = min(memory.n_threads, len(pieces))
    controls = Controls(memory.n_threads) if controls is None else controls
    threads = memory.table(controls.each[1:])
    addresses = np.array([address_of(table), len(pieces), address_of(threads), address_of(pieces)])
    tail = addresses, controls.vector, np.zeros(0, memory.dtype), 0, _NO_RATES
    # what must live until the kernel returns, whatever becomes of the caller
    owned = table, pieces, threads, memory, [(member, _held(member)) for member in members]
    call = functools.partial(call_with_helpers, owned, kernel, controls.vector, task, tail, n_threads)
    calls_blas = any(frame.workspace.calls_blas for member in members for frame in member.frames)
    for member, row in zip(members, table, strict=True):
        if member.validation is not None:
            member.validation.counted = row[in_member.N_VALIDATED :][:1]
    with blas_threads.held_at_one() if calls_blas else contextlib.nullcontext():
        if seconds >= LONG_CALL:
            call_interruptibly(call, controls.each.T, deadline)  # a request is written into all of them
        else:
            call()
    if (table[:, in_member.STATUS] == kernel.UNKNOWN).any():
        raise UnknownCodeError


def _cut(task: int, members: Sequence[Member], memory: Memory) -> tuple[Sequence[Member], NDArray[np.int64]]:
    """Return the networks in the order of the pieces, and the table of these; see to it that there is room for them."""
    n_lanes = lanes_of(memory.dtype.itemsize)
    if task != entry.TRAIN or len(members) < LANE_FILL * n_lanes:
        return members, np.array([[i, 1] for i in range(len(members))], np.int64)
    keys, seconds, elements = list[Hashable | None](), list[float](), 0
    for member in members:
        frame, rates = member.frame, member.rates
        assert rates is not None
        keys.append(lane_key(frame, member.first_step, rates))
        seconds.append(len(rates) * seconds_per_step(_sizes_of(frame), int(frame.workspace.plan[in_plan.BATCH_SIZE])))
    pieces = pieces_of(keys, seconds, n_lanes, memory.n_threads)
    for piece in pieces:
        if len(piece) > 1:
            frame = members[piece[0]].frame
            slot_size = int(frame.workspace.plan[in_plan.SLOT_SIZE])
            elements = max(elements, lane_elements(slot_size, frame.n_params, n_lanes))
    memory.make_lanes(elements)
    counts = np.array([len(piece) for piece in pieces], np.int64)
    table = np.stack([np.cumsum(counts) - counts, counts], axis=1)
    return [members[i] for piece in pieces for i in piece], table


def _sizes_of(frame: Frame) -> list[int]:
    layers = frame.workspace.layers
    return [int(layers[0, in_layer.FAN_IN]), *layers[:, in_layer.FAN_OUT].tolist()]


def _held(member: Member) -> list[Any]:
    """Return the arrays whose addresses a network's frames have."""
    return [(frame.held_arrays, frame.in_use, frame.recorded) for frame in member.frames]


def _row(member: Member) -> list[int]:
    """Return a network's row of the table, and have its frames find their vectors."""
    frame, validation = member.frame, member.validation
    frame.point_to_vectors(member.params)
    frame.addresses[entry.OUT] = 0 if member.out is None else address_of(member.out)
    row = [0] * in_member.MEMBER_COLUMNS
    row[in_member.ADDRESSES], row[in_member.STATUS] = address_of(frame.addresses), kernel.WAITING
    if member.rates is not None:
        row[in_member.FIRST_STEP], row[in_member.N_STEPS] = member.first_step, len(member.rates)
        row[in_member.RATES] = address_of(member.rates)
    if validation is not None:
        validation.frame.point_to_vectors(member.params)
        row[in_member.VALIDATION] = address_of(validation.frame.addresses)
        row[in_member.VAL_LOSSES] = address_of(validation.losses)
        row[in_member.STOPPING] = 0 if validation.rule is None else address_of(validation.rule)
        row[in_member.BEST] = 0 if validation.best is None else address_of(validation.best)
    return row
