"""Calls of the root kernel: its arguments in one frame, and its threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.interruption import LONG_CALL, StepTime, call_interruptibly
from fastbp.engine.threads import blas_threads, helpers, thread_count
from fastbp.engine.workspace import DENSE, Inputs, Workspace, control_vector, make_workspace, sparse_inputs
from fastbp.kernels.machine.team import MOST_QUEUES, N_QUEUES, STOP
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.system.memory import require_memory, require_writable_arrays
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows, SparseRows

if TYPE_CHECKING:
    from fastbp.network import Network


# What a frame is for, the rows of the data set and of a gradient, what X is like, and the threads set when its slots
# were made.
Key = tuple[str, int, int, Inputs, int | None]


class UnknownCodeError(RuntimeError):
    """The kernels were told of a loss, activation, optimizer or form of X that they do not know, or that do not fit."""

    def __init__(self) -> None:
        super().__init__(
            "The kernels do not know the loss, an activation, the optimizer or the form of X that they were told of, "
            "or these do not fit each other; nothing was computed. This is an error in fastbp: please report it."
        )


@dataclass
class Frame:
    """Everything that the root kernel takes, allocated once and used for many calls."""

    workspace: Workspace
    dtype: np.dtype
    n_layers: int
    grads: NDArray[Any]
    state: NDArray[Any]
    form: int = in_data.DENSE  # of the X that it is made for
    key: Key | None = None  # of a frame that is kept for further calls
    data: NDArray[np.int64] = field(default_factory=lambda: np.zeros(in_data.DATA_LENGTH, np.int64))
    control: NDArray[np.int64] = field(default_factory=control_vector)

    def __post_init__(self) -> None:
        self.scalars = np.zeros(in_scalars.SCALARS_LENGTH + self.n_layers)
        self.scalars[[in_scalars.TOLERANCE, in_scalars.COST_FACTOR]] = -1.0, 1.0
        self.nothing = np.zeros(0, self.dtype)
        self.no_rates = np.zeros(0)
        self.small_input: NDArray[Any] | None = None
        self.addresses = np.zeros(entry.N_ADDRESSES, np.int64)
        self._arrays: list[NDArray[Any] | None] = [None] * entry.N_ADDRESSES  # which must live as long as the addresses
        w = self.workspace
        self.n_features = int(w.layers[0, in_layer.FAN_IN])
        places = {entry.LAYERS: w.layers, entry.SEGMENTS: w.segments, entry.PLAN: w.plan, entry.WORK: w.work}
        places |= {entry.DATA: self.data, entry.SCALARS: self.scalars, entry.COSTS: w.costs}
        for place, array in places.items():
            self._point(place, array)

    def forget(self) -> None:
        """Let go of the caller's arrays."""
        self.state = self.nothing
        self.data.fill(0)
        for place in (entry.PARAMS, entry.STATE):
            self._point(place, self.nothing)

    def set_data(
        self,
        X: Rows,
        targets: Targets | None = None,
        sample_weight: NDArray[Any] | None = None,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        """Point the kernels to the caller's arrays, which must live until the call is over.

        Their shapes fit unless they were set since they were checked; it is the last look at what the kernels rely on.
        """
        data, (n_rows, n_features) = self.data, X.shape
        Y, labels = (None, None) if targets is None else targets
        if (
            n_features != self.n_features
            or (Y is not None and len(Y) != n_rows)
            or (labels is not None and len(labels) != n_rows)
            or (sample_weight is not None and len(sample_weight) != n_rows)
        ):
            raise ValueError("`X`, its targets and weights must keep their shapes during a call; got other ones.")
        if isinstance(X, SparseRows) == (self.form == in_data.DENSE):  # whose workspace has no room for the other
            raise UnknownCodeError
        data[in_data.N_ROWS] = n_rows
        if isinstance(X, SparseRows):
            data[in_data.X : in_data.X + 3] = address_of(X.values), 0, 0
            data[[in_data.FORM, in_data.INDPTR, in_data.INDICES]] = (
                self.form,
                address_of(X.indptr),
                address_of(X.indices),
            )
        else:
            data[in_data.X : in_data.X + 3] = _matrix(X)
            data[in_data.FORM] = in_data.DENSE
        data[in_data.Y : in_data.Y + 3] = (0, 0, 0) if Y is None else _matrix(Y)
        data[in_data.LABELS] = 0 if labels is None else address_of(labels)
        data[in_data.SAMPLE_WEIGHT] = 0 if sample_weight is None else address_of(sample_weight)
        data[in_data.ORDER] = 0 if order is None else address_of(order)

    def shuffle_rows(self, order: NDArray[np.int64], bits: np.random.BitGenerator) -> None:
        """Overwrite `order` with a random order of 0, 1, ..., as `fastbp.engine.shuffling.permutation` returns it."""
        self.data[in_data.N_ROWS], self.data[in_data.ORDER] = len(order), address_of(order)
        self.set_random(bits)
        with bits.lock:
            run_kernel(entry.SHUFFLE, self.addresses, self.control, self.nothing, 0, self.no_rates)

    def set_random(self, bits: np.random.BitGenerator) -> None:
        """Point the kernels to a random generator, whose lock is to be held while they draw."""
        interface = bits.ctypes
        self.data[in_data.NEXT_UINT32] = ctypes.cast(interface.next_uint32, ctypes.c_void_p).value or 0
        self.data[in_data.RANDOM_STATE] = interface.state_address

    def small_outputs(self, X: NDArray[Any], params: NDArray[Any], n_outputs: int) -> NDArray[Any]:
        """Return the outputs for a few rows, by way of arrays of the frame's own, whose addresses are known."""
        small_input = self.small_input
        if small_input is None:
            self.small_input = small_input = np.empty(X.shape, self.dtype)
            self.small_output = np.empty((len(X), n_outputs), self.dtype)
            self.set_data(small_input)
            self.addresses[entry.OUT] = address_of(self.small_output)
            self.small_call = (entry.OUTPUTS, self.addresses, self.control, self.nothing, 0, self.no_rates)
        small_input[...] = X
        if self._arrays[entry.PARAMS] is not params:
            self._point(entry.PARAMS, params)
        run_kernel(*self.small_call)
        return self.small_output.copy()

    def run(
        self,
        task: int,
        params: NDArray[Any],
        *,
        out: NDArray[Any] | None = None,
        n_threads: int = 1,
        first_step: int = 0,
        rates: NDArray[np.float64] | None = None,
        seconds: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        """Call the root kernel as the leader, with helpers where more than one thread is wanted.

        A call that is reckoned to take long, `seconds`, can be interrupted; for `deadline` see `call_interruptibly`.
        """
        control = self.control
        self.point_to_vectors(params)
        self.addresses[entry.OUT] = 0 if out is None else address_of(out)
        tail = (self.addresses, control, self.nothing, first_step, self.no_rates if rates is None else rates)
        if seconds >= LONG_CALL:
            self.control = control_vector()  # the request in the old one is for this call
            call = functools.partial(self._call, control, task, tail, n_threads)
            call_interruptibly(call, control, deadline)
        elif n_threads == 1 and not self.workspace.calls_blas:
            run_kernel(task, *tail)
        else:
            self._call(control, task, tail, n_threads)

    def train(
        self,
        params: NDArray[Any],
        rates: NDArray[np.float64],
        step_time: StepTime,
        *,
        first_step: int,
        n_threads: int,
        deadline: float | None = None,
    ) -> int:
        """Take steps of an epoch from `first_step` on, one for each rate, and note how long they took; the status."""
        require_writable_arrays(params, self.state)  # between two calls a callback may have changed that
        scalars = self.scalars
        scalars[in_scalars.STATUS] = in_scalars.FINISHED
        began, step_before = time.perf_counter(), scalars[in_scalars.STEP]
        self.run(
            entry.TRAIN,
            params,
            n_threads=n_threads,
            first_step=first_step,
            rates=rates,
            seconds=len(rates) * step_time.seconds,
            deadline=deadline,
        )
        step_time.note(int(scalars[in_scalars.STEP] - step_before), time.perf_counter() - began)
        return int(scalars[in_scalars.STATUS])

    def point_to_vectors(self, params: NDArray[Any]) -> None:
        """Have the kernels find the parameters, the gradient and the optimizer's state."""
        self._point(entry.PARAMS, params)
        self._point(entry.GRADS, self.grads)
        self._point(entry.STATE, self.state)

    def _call(self, control: NDArray[np.int64], task: int, tail: tuple[Any, ...], n_threads: int) -> None:
        """Call the kernel with helpers, and with BLAS held at one thread if it is used."""
        control[N_QUEUES] = min(n_threads, MOST_QUEUES)
        control[STOP] = 0  # the end of a call without helpers is noted as well
        with blas_threads.held_at_one() if self.workspace.calls_blas else contextlib.nullcontext():
            try:
                helpers.lend(
                    [functools.partial(entry.run, task, slot, *tail) for slot in range(1, n_threads)]
                    if n_threads > 1
                    else []
                )
                run_kernel(task, *tail)
            finally:
                control[STOP] = 1
                if n_threads > 1:
                    # A helper may still look at this vector, and must never find another job's pieces in it.
                    self.control = control_vector()

    def _point(self, place: int, array: NDArray[Any]) -> None:
        """Have the kernels find an array at a place of the table of addresses."""
        if self._arrays[place] is not array:
            self._arrays[place] = array
            self.addresses[place] = address_of(array)

    def useful_threads(self, n_threads: int | None, flops: float) -> int:
        """Return how many of the wanted threads can have something to do."""
        is_shared = flops >= self.workspace.least_shared_flops
        if n_threads is None and not is_shared:
            return 1
        wanted = thread_count(n_threads)
        if not is_shared:
            return 1
        return min(wanted, self.workspace.n_slots) if self.workspace.shares_rows else wanted


def run_kernel(task: int, *tail: Any) -> None:
    """Do a task as the leader; what the kernels do not know is an error, never another result."""
    if entry.run(task, entry.LEADER, *tail) != in_scalars.FINISHED:
        raise UnknownCodeError


def address_of(array: NDArray[Any]) -> int:
    """Return the address of an array's first element; quicker than `ctypes.data`."""
    return int(array.__array_interface__["data"][0])


def _matrix(array: NDArray[Any]) -> tuple[int, int, int]:
    """Address, row stride and column stride (in elements) of a matrix; strides of lone rows or columns are made up."""
    row, column = (stride // array.itemsize for stride in array.strides)
    n_rows, n_columns = array.shape
    if n_columns == 1:
        column = 1
    if n_rows == 1:
        row = max(row, n_columns)
    return address_of(array), row, column


def inputs_of(X: Rows) -> Inputs:
    """Return what X is like."""
    return sparse_inputs(*X.shape, len(X.values)) if isinstance(X, SparseRows) else DENSE


def flops_per_row(sizes: tuple[int, ...]) -> int:
    """Flops of one row's forward pass; a gradient has three times as many, less the error into the first layer."""
    return 2 * sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))


def make_frame(
    net: Network,
    batch_rows: int,
    n_rows: int,
    *,
    gradient: bool,
    n_state_vectors: int = 0,
    keep_z: bool = False,
    whole_block: bool = False,
    loss: tuple[int, int, int] | None = None,
    inputs: Inputs | None = None,
) -> Frame:
    """Allocate the frame of a network for batches of `batch_rows` of a data set of `n_rows`.

    `loss` is what the kernels are to be told of the loss, where that is not the network's own; `inputs` is what X is
    like, where it is not dense.
    """
    inputs = inputs or DENSE
    workspace = make_workspace(
        net.sizes,
        net.layer_segments(),
        net.loss_entry() if loss is None else loss,
        net.dtype,
        batch_rows=batch_rows,
        n_rows=n_rows,
        n_threads=thread_count(None),
        gradient=gradient,
        keep_z=keep_z,
        whole_block=whole_block,
        shares_blocks=True,
        inputs=inputs,
    )
    n_gradients = workspace.n_gradients if gradient else 0
    n_bytes = (n_gradients + n_state_vectors) * net.params.nbytes
    require_memory(n_bytes, f"A gradient of {net.n_params} parameters", "Make the layers smaller.")
    grads = np.empty(max(1, n_gradients * net.n_params), net.dtype)
    state = np.zeros(max(1, n_state_vectors * net.n_params), net.dtype)
    frame = Frame(workspace, net.dtype, len(net.sizes) - 1, grads, state, inputs.form)
    frame.scalars[in_scalars.LOSS_PARAMETER] = net.loss_parameter or 0.0
    return frame
