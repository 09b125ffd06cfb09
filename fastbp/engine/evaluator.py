"""What a network's evaluator takes: tables, room to work in, an optimizer's state; all of it by one address."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from fastbp.engine.calls import address_of
from fastbp.engine.problem import Problem
from fastbp.engine.settings import Settings
from fastbp.engine.workspace import RowPieces, aligned_empty, make_workspace, rounded
from fastbp.kernels.compiler.jit import c_function
from fastbp.kernels.matrix.few_rows import ROWS
from fastbp.kernels.roots import evaluator
from fastbp.kernels.tables import evaluator as at
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.system.memory import require_memory
from fastbp.system.processors import count_processors

ABI, FUNCTION, ITEMSIZE, TAKES_LABELS, HAS_OPTIMIZER = (
    at.ABI, at.FUNCTION, at.ITEMSIZE, at.TAKES_LABELS, at.HAS_OPTIMIZER,
)  # fmt: skip
VERSION, N_INPUTS, N_OUTPUTS, N_PARAMS, LENGTH = at.VERSION, at.N_INPUTS, at.N_OUTPUTS, at.N_PARAMS, at.LENGTH
OUTPUTS, COST, VALUE_AND_GRAD, INPUT_GRADIENT, JACOBIAN, STEP, LABELS = (
    at.OUTPUTS, at.COST, at.VALUE_AND_GRAD, at.INPUT_GRADIENT, at.JACOBIAN, at.STEP, at.LABELS,
)  # fmt: skip
SCALARS, LEARNING_RATE, STEPS = at.SCALARS, in_scalars.LEARNING_RATE, in_scalars.STEP


_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_int64] * 6)  # which lets go of the GIL


@functools.cache
def function_of(dtype: np.dtype) -> tuple[int, Any]:
    """Return the address of the evaluator of a dtype, compiled or loaded, and what must live as long."""
    if numba.config.DISABLE_JIT:
        return 0, None
    integer, reals = types.int64, types.CPointer(numba.from_dtype(dtype))
    signature = types.float64(integer, types.CPointer(integer), reals, integer, reals, integer)
    return c_function(evaluator.run, signature)


_made: weakref.WeakValueDictionary[int, Evaluator] = weakref.WeakValueDictionary()  # by the addresses of their tables


def _let_all_go() -> None:
    """Take back, in the child of a fork, what calls of the parent's threads had claimed: they will not end here."""
    for evaluator_left in list(_made.values()):
        evaluator_left.forget_calls()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_all_go)


def evaluator_at(address: int) -> Evaluator | None:
    """Return the evaluator whose table lies there; None if there is none any more."""
    return _made.get(address)


class Evaluator(Settings):
    """Everything that an evaluator takes of one network.

    Parameters
    ----------
    problem : Problem
        What the kernels are told of the network.
    params : ndarray, shape (n_params,)
        Its parameters, which the evaluator reads where they lie, and in a step writes to.
    takes_labels : bool
        Whether targets may be labels.

    Attributes
    ----------
    table : ndarray of int64
        What the evaluator takes, see `fastbp.kernels.tables.evaluator`.  Whatever it has addresses of lives as long as
        this array: its base is the evaluator.
    """

    def __init__(self, problem: Problem, params: NDArray[Any], takes_labels: bool) -> None:
        sizes, dtype = problem.sizes, problem.dtype
        made = make_workspace(problem, batch_rows=1, n_rows=1, n_threads=1, gradient=True, cut=RowPieces(1, 1))
        super().__init__(made.plan, len(made.layers))
        self.loss_parameter = problem.loss_parameter
        self.set_penalties(*problem.penalties)
        self.dtype, self.own, self.params = dtype, problem.own, params
        self.sizes = sizes[0], sizes[-1]
        self.function, self._kept = function_of(dtype)
        self._call = _FUNCTION(self.function) if self.function else None
        self._tables = made.layers, made.segments, made.plan
        pitch = rounded(max(sizes[1:]))
        size = max(made.work.size, 2 * ROWS * pitch)
        is_on_stack, processors = size <= evaluator.STACK_ELEMENTS, max(2, count_processors())
        n_slots = 0 if is_on_stack else processors
        require_memory(n_slots * size * dtype.itemsize, f"Room for {n_slots} calls at once", "Make the layers smaller.")
        self._work, self._claims = aligned_empty(n_slots * size, dtype), np.zeros((n_slots + 1) * 8, np.int64)
        self.state = self.grad = np.zeros(0, dtype)
        self.values = values = np.zeros(at.LENGTH, np.int64)
        values[[at.VERSION, at.FUNCTION, at.ITEMSIZE]] = ABI, self.function, dtype.itemsize
        values[[at.N_INPUTS, at.N_OUTPUTS, at.N_PARAMS]] = sizes[0], sizes[-1], problem.n_params
        values[at.TAKES_LABELS] = takes_labels
        self.pointer = address_of(values)
        values[[at.WORK_SIZE, at.N_SLOTS, at.PITCH]] = size, n_slots, pitch
        places = {at.LAYERS: made.layers, at.SEGMENTS: made.segments, at.PLAN: made.plan, at.SCALARS: self.scalars}
        places |= {at.PARAMS: params, at.SLOTS: self._work, at.CLAIMS: self._claims}
        for place, array in places.items():
            values[place] = address_of(array)
        _made[self.pointer] = self

    def set_optimizer(self, code: int, constants: NDArray[np.float64], n_vectors: int, rate: float) -> None:
        """Have it take steps, from a fresh state on."""
        size = self.params.size
        require_memory(
            (n_vectors + 1) * size * self.dtype.itemsize, "The optimizer's state", "Make the layers smaller."
        )
        self.state, self.grad = np.zeros(max(1, n_vectors * size), self.dtype), aligned_empty(size, self.dtype)
        self.set_rule(code, constants, n_vectors, 1)
        self.set_steps(0, (1.0, 1.0))
        self.rate = rate
        places = [at.STATE, at.GRAD, at.HAS_OPTIMIZER]
        self.values[places] = address_of(self.state), address_of(self.grad), 1

    def forget_calls(self) -> None:
        """Have no call that has claimed anything."""
        self._claims.fill(0)

    @property
    def takes_steps(self) -> bool:
        """Whether it has an optimizer."""
        return bool(self.values[at.HAS_OPTIMIZER])

    def call(self, task: int, x: NDArray[Any], y: NDArray[Any] | None, out: NDArray[Any] | None, n: int) -> float:
        """Call the evaluator with valid arrays for n rows."""
        x = np.asarray(x)  # a subclass may say that it lies elsewhere
        y, out = (None if array is None else np.asarray(array) for array in (y, out))
        target = 0 if y is None else address_of(y)
        if self._call is None:
            flat = None if out is None else out.reshape(-1)
            return float(evaluator.run(task, self.values, x.reshape(-1), target, flat, n))
        result: float = self._call(task, self.pointer, address_of(x), target, 0 if out is None else address_of(out), n)
        return result

    @property
    def rate(self) -> float:
        """Learning rate of the steps to come."""
        return float(self.scalars[in_scalars.LEARNING_RATE])

    @rate.setter
    def rate(self, value: float) -> None:
        self.scalars[in_scalars.LEARNING_RATE] = value

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Lend the table to NumPy, whose arrays keep their base alive."""
        return self.values.__array_interface__

    @property
    def table(self) -> NDArray[np.int64]:
        """The table, as an array that keeps this object alive."""
        return np.asarray(self)
