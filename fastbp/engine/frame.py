"""Frames: everything that the root kernel takes for one kind of work, and calls of it with threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import (
    FINISHED,
    UnknownCodeError,
    address_of,
    call_with_helpers,
    matrix,
    other_shapes,
    require_room,
    run_kernel,
)
from fastbp.engine.cutting import Inputs
from fastbp.engine.interruption import LONG_CALL, StepTime, call_interruptibly
from fastbp.engine.settings import Settings
from fastbp.engine.threads import blas_threads, thread_count
from fastbp.engine.workspace import Workspace, control_vector
from fastbp.functions.own import Own
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.system.memory import require_writable_arrays
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows, SparseRows

# What a frame is for, the rows of the data set and of a gradient, what X is like, and the threads set when its slots
# were made.
Key = tuple[str, int, int, Inputs, int | None]


class _Functions(ctypes.Structure):
    """The head of `bitgen_t` in NumPy's C API, which a bit generator's `capsule` holds; `bits.ctypes` takes 20 us."""

    _fields_ = [("state", ctypes.c_void_p), ("next_uint64", ctypes.c_void_p), ("next_uint32", ctypes.c_void_p)]


_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_NOWHERE = 0, 0, 0  # address and strides of an array that there is not


class Frame(Settings):
    """Everything that the root kernel takes, allocated once and used for many calls.

    Parameters
    ----------
    workspace : Workspace
        Tables and buffers.
    dtype : dtype
        float32 or float64.
    grads : ndarray
        Room for as many gradients as the threads write.
    form : int
        Form of the X that it is made for.
    """

    kernel: Any = entry  # the module of the root that it is for; all of them take the same arguments

    def __init__(self, workspace: Workspace, dtype: np.dtype, grads: NDArray[Any], form: int = in_data.DENSE) -> None:
        super().__init__(workspace.plan, len(workspace.layers))
        self.workspace, self.dtype, self.grads, self.form = workspace, dtype, grads, form
        self.key: Key | None = None  # of a frame that is kept for further calls
        self.data, self.control = np.zeros(in_data.DATA_LENGTH, np.int64), control_vector()
        self.nothing = np.zeros(0, self.dtype)
        self.state = self.nothing  # the optimizer's vectors
        self.no_rates = np.zeros(0)
        self.small_input: NDArray[Any] | None = None
        self.addresses = np.zeros(self.kernel.N_ADDRESSES, np.int64)
        self._arrays: list[NDArray[Any] | None] = [None] * len(self.addresses)  # which must live as long as those
        self.in_use: tuple[Any, ...] = ()  # the caller's arrays that the addresses of the data are of, and so on
        self.n_features = int(workspace.layers[0, in_layer.FAN_IN])
        self.n_outputs = int(workspace.layers[-1, in_layer.FAN_OUT])
        self.n_params = int(workspace.plan[in_plan.N_PARAMS])
        w = workspace
        places = {entry.LAYERS: w.layers, entry.SEGMENTS: w.segments, entry.PLAN: w.plan, entry.WORK: w.work}
        places |= {entry.DATA: self.data, entry.SCALARS: self.scalars, entry.COSTS: w.costs}
        for place, array in places.items():
            self._point(place, array)

    def twin(self) -> Self:
        """Return a frame for another network of the same problem; it shares the tables that are only read, and memory.

        A frame and its twins must not be used at the same time unless they have no memory.
        """
        frame, workspace = object.__new__(type(self)), object.__new__(Workspace)  # `copy.copy` takes 4 us longer each
        vars(frame).update(vars(self))
        vars(workspace).update(vars(self.workspace))
        workspace.plan = frame._plan = self._plan.copy()
        frame.workspace = workspace
        frame.data, frame.scalars, frame.addresses = self.data.copy(), self.scalars.copy(), self.addresses.copy()
        frame._arrays = self._arrays.copy()
        for place, array in ((entry.PLAN, frame._plan), (entry.DATA, frame.data), (entry.SCALARS, frame.scalars)):
            frame._point(place, array)
        return frame

    def forget(self) -> None:
        """Let go of the caller's arrays."""
        self.in_use = ()
        self.state = self.nothing
        self.data.fill(0)
        for place in (entry.PARAMS, entry.STATE):
            self._point(place, self.nothing)

    def set_optimizer(
        self, code: int, constants: NDArray[np.float64], vectors: NDArray[Any], n_vectors: int, batch_rows: int
    ) -> None:
        """Tell the kernels of an optimizer, where its state is, and of the rows of its mini-batches."""
        require_room(vectors, "The optimizer's vectors", n_vectors * self.n_params, self.dtype)
        self.state = vectors
        self.set_rule(code, constants, n_vectors, batch_rows)

    def set_data(
        self,
        X: Rows,
        targets: Targets | None = None,
        sample_weight: NDArray[Any] | None = None,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        """Point the kernels to the caller's arrays, which live on until others are set or `in_use` is emptied.

        An `order` names the rows that an epoch takes, which otherwise are all.  The shapes fit unless they were set
        since they were checked; it is the last look at what the kernels rely on.
        """
        data, itemsize = self.data, self.dtype.itemsize
        Y, labels = (None, None) if targets is None else targets
        shape, place = (X.shape, _NOWHERE) if isinstance(X, SparseRows) else matrix(X, itemsize)
        y_shape, y_place = (None, _NOWHERE) if Y is None else matrix(Y, itemsize)
        n_rows, n_features = shape
        if (
            n_features != self.n_features
            or (y_shape is not None and y_shape != (n_rows, self.n_outputs))
            or (labels is not None and len(labels) != n_rows)
            or (sample_weight is not None and len(sample_weight) != n_rows)
        ):
            raise other_shapes()
        if isinstance(X, SparseRows) == (self.form == in_data.DENSE):  # whose workspace has no room for the other
            raise UnknownCodeError
        self.in_use = X, targets, sample_weight, order
        data[in_data.N_ROWS] = n_rows if order is None else len(order)
        if isinstance(X, SparseRows):
            data[in_data.X : in_data.X + 3] = address_of(X.values), 0, 0
            data[[in_data.FORM, in_data.INDPTR, in_data.INDICES]] = (
                self.form,
                address_of(X.indptr),
                address_of(X.indices),
            )
        else:
            data[in_data.X : in_data.X + 3] = place
            data[in_data.FORM] = in_data.DENSE
        data[in_data.Y : in_data.Y + 3] = y_place
        data[in_data.LABELS] = 0 if labels is None else address_of(labels)
        data[in_data.SAMPLE_WEIGHT] = 0 if sample_weight is None else address_of(sample_weight)
        data[in_data.ORDER] = 0 if order is None else address_of(order)

    def shuffle_rows(self, order: NDArray[np.int64], bits: np.random.BitGenerator) -> None:
        """Overwrite `order` with a random order of 0, 1, ..., as `fastbp.engine.shuffling.permutation` returns it."""
        self.data[in_data.N_ROWS], self.data[in_data.ORDER] = len(order), address_of(order)
        self.in_use = (order,)
        self.set_random(bits)
        with bits.lock:
            run_kernel(entry.SHUFFLE, self.addresses, self.control, self.nothing, 0, self.no_rates)

    def set_random(self, bits: np.random.BitGenerator, rows: NDArray[np.int64] | None = None) -> None:
        """Point the kernels to a random generator, whose lock must be held while they draw.

        They shuffle `rows`, as many as the order has, or 0, 1, ...; these are indices into the data, and ours.
        """
        self.in_use += (bits, rows)
        self.data[in_data.ROWS] = 0 if rows is None else address_of(rows)
        functions = _Functions.from_address(_pointer_of(bits.capsule, b"BitGenerator"))
        self.data[in_data.NEXT_UINT32], self.data[in_data.RANDOM_STATE] = functions.next_uint32, functions.state or 0

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

        A call whose estimate `seconds` is long can be interrupted; for `deadline` see `call_interruptibly`.
        """
        control, is_long = self.control, seconds >= LONG_CALL
        self.point_to_vectors(params)
        self.addresses[entry.OUT] = 0 if out is None else address_of(out)
        tail = (self.addresses, control, self.nothing, first_step, self.no_rates if rates is None else rates)
        if is_long or n_threads > 1:
            # A request in the old one is for this call only, and a helper may still look at it when the call is over:
            # it must never find another job's pieces there.
            self.control = control_vector()
        elif not self.workspace.calls_blas:
            run_kernel(task, *tail, kernel=self.kernel)
            return
        with blas_threads.held_at_one() if self.workspace.calls_blas else contextlib.nullcontext():
            if is_long:
                owned = self, self.held_arrays, self.in_use, self.recorded, out
                call = functools.partial(call_with_helpers, owned, self.kernel, control, task, tail, n_threads)
                call_interruptibly(call, control, deadline)
            else:
                call_with_helpers(None, self.kernel, control, task, tail, n_threads)

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
        self.status = FINISHED
        began, step_before = time.perf_counter(), self.step
        self.run(
            entry.TRAIN,
            params,
            n_threads=n_threads,
            first_step=first_step,
            rates=rates,
            seconds=len(rates) * step_time.seconds,
            deadline=deadline,
        )
        step_time.note(self.step - step_before, time.perf_counter() - began)
        return self.status

    own: Sequence[Own] = ()  # the user's functions

    def raise_own_error(self) -> None:
        """Raise if a function of the user's has raised an exception in the last call; here there is none."""

    def run_step(self, *call: Any) -> int:
        """Have the root take a step, by what `step_call` returned; return what it returns."""
        returned: int = entry.run(*call)
        return returned

    def step_call(self, rates: NDArray[np.float64]) -> tuple[Any, ...]:
        """Return the arguments with which the root takes steps alone, at these learning rates, for those in a hurry."""
        return entry.TRAIN, entry.LEADER, self.addresses, self.control, self.nothing, 0, rates

    def value(self, params: NDArray[Any], *, n_threads: int = 1, seconds: float = 0.0) -> float:
        """Cost of the data that were set, penalties included; `seconds` is how long it is estimated to take."""
        self.run(entry.COST, params, n_threads=n_threads, seconds=seconds)
        return self.cost

    def value_and_grad(
        self, params: NDArray[Any], *, n_threads: int = 1, seconds: float = 0.0
    ) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), a new array, both with penalties; where the cost is not finite, all NaN."""
        self.run(entry.VALUE_AND_GRAD, params, n_threads=n_threads, seconds=seconds)
        cost, grad = self.cost, self.grads[: self.n_params].copy()
        if not np.isfinite(cost):
            grad.fill(np.nan)  # the backward pass of an infinite cost is not made
        return cost, grad

    def layer_blocks(self, params: NDArray[Any]) -> tuple[list[list[NDArray[Any]]], NDArray[np.float64]]:
        """Return each layer's z, a and delta, and each row's cost, of a frame that keeps every z and one whole block.

        The kernels scale a row's delta by its weight over the sum of weights.  Here the rows are scaled by 1, so that
        what stays in the workspace is the delta of each row's own cost.
        """
        workspace, n_rows = self.workspace, int(self.data[in_data.N_ROWS])
        workspace.plan[[in_plan.MODE, in_plan.N_PIECES]] = in_plan.BY_ROWS, 1
        self.run(entry.TRACE, params)
        columns = in_layer.Z, in_layer.A, in_layer.DELTA
        blocks = [
            [workspace.layer_block(column, layer, n_rows).copy() for column in columns]
            for layer in range(len(workspace.layers))
        ]
        costs = int(workspace.plan[in_plan.COST])
        return blocks, workspace.work[costs : costs + n_rows].astype(np.float64)

    def point_to_vectors(self, params: NDArray[Any]) -> None:
        """Have the kernels find the parameters, the gradient and the optimizer's state."""
        if self._arrays[entry.PARAMS] is not params:
            require_room(params, "`params`", self.n_params, self.dtype)
            self._point(entry.PARAMS, params)
        self._point(entry.GRADS, self.grads)
        self._point(entry.STATE, self.state)

    @property
    def held_arrays(self) -> tuple[NDArray[Any] | None, ...]:
        """The arrays whose addresses stand in the table."""
        return tuple(self._arrays)

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
        return min(wanted, self.workspace.most_pieces)
