"""`NormalEquations`: J^T J of a quadratic cost and the steps of Levenberg-Marquardt, with all that the kernel takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import require_room
from fastbp.engine.cutting import normal_pieces
from fastbp.engine.derived import DerivedFrame, make_derived
from fastbp.engine.parameters import count_params, weight_offsets
from fastbp.engine.problem import Problem
from fastbp.engine.rows import Data
from fastbp.engine.threads import blas_threads, most_threads, thread_count
from fastbp.engine.workspace import RowPieces, aligned_empty, rounded
from fastbp.kernels.jobs import normal_equations as in_sizes
from fastbp.kernels.layers import normal_equations as in_pairs
from fastbp.kernels.layers import side_by_side as in_rooms
from fastbp.kernels.roots import normal_equations as kernel
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import plan as in_plan
from fastbp.system.memory import require_memory, require_writable_arrays

_STATE = slice(kernel.MU, kernel.UNIT + 1)  # what an iteration continues from, besides the parameters
_NORMAL_PRODUCTS_PER_SECOND = 4e9  # multiply-adds, pessimistically


class NormalFrame(DerivedFrame):
    """The arguments of the kernel."""

    kernel = kernel

    def point(self, place: int, array: NDArray[Any]) -> None:
        """Have the kernel find an array of its own, which lives as long as the frame."""
        self._point(place, array)


class Shape(NamedTuple):
    """How much there is to compute and to keep, from the layers alone."""

    pairs: NDArray[np.int64]  # the kernels' table of pairs of layers
    n_sums: int
    most_inputs: int  # rows of the left and of the right factor of a product
    most_outputs: int
    products_per_row: int  # multiply-adds


def shape_of(problem: Problem) -> Shape:
    """Return what follows from sizes and output activation of a network."""
    sizes = problem.sizes
    last, n = len(sizes) - 2, sizes[-1]
    is_softmax = problem.segments[-1][0].code == codes.SOFTMAX
    is_linear = all(run.code == codes.IDENTITY for run in problem.segments[-1])
    pairs, offset, products = [], 0, 0
    for layer in range(last + 1):
        for other in range(layer, last + 1):
            p, q = sizes[layer] + 1, sizes[other] + 1
            fan_out, other_fan_out = sizes[layer + 1], sizes[other + 1]
            if layer != other:
                shape = p * q, fan_out * other_fan_out
            elif layer == last and not is_softmax:
                shape = (p, p) if is_linear else (p * (p + 1) // 2, n)
            else:
                shape = p * (p + 1) // 2, fan_out * (fan_out + 1) // 2
            pairs.append((layer, other, *shape, offset))
            offset += rounded(shape[0] * shape[1])
            products += shape[0] * shape[1] + shape[0] + shape[1] * n
    table = np.array(pairs, np.int64)
    most_inputs, most_outputs = (int(table[:, column].max()) for column in (in_pairs.N_INPUTS, in_pairs.N_OUTPUTS))
    return Shape(table, offset, most_inputs, most_outputs, products + 2 * n * count_params(sizes))


class Rooms(NamedTuple):
    """Where everything of a block lies, as the kernels' table has it, and how much room it takes."""

    table: NDArray[np.int64]  # offsets
    n_low: int  # elements of what products are made of, which begin at 0
    size: int


def rooms_of(problem: Problem, rows: int) -> Rooms:
    """Lay out a block of rows."""
    sizes, table = problem.sizes, np.zeros((len(problem.sizes), in_rooms.ROOM_COLUMNS), np.int64)
    last, n, offset = len(sizes) - 2, sizes[-1], 0

    def place(layer: int, column: int, elements: int) -> None:
        nonlocal offset
        table[layer, column] = offset
        offset += rounded(elements)

    is_softmax = problem.segments[-1][0].code == codes.SOFTMAX
    for layer in range(last + 1):
        place(layer, in_rooms.A, (sizes[layer] + 1) * rows)
    for layer in range(last + 1):
        is_diagonal = layer == last and not is_softmax
        place(layer, in_rooms.D, n * rows * (1 if is_diagonal else sizes[layer + 1]))
    n_low = offset
    place(last + 1, in_rooms.A, n * rows)
    for layer, runs in enumerate(problem.segments):
        if any(run.needs_z for run in runs):
            place(layer, in_rooms.Z, sizes[layer + 1] * rows)
        else:
            table[layer, in_rooms.Z] = table[layer + 1, in_rooms.A]
    place(last + 1, in_rooms.E, n * rows)
    widest = max(sizes[1:]) * rows + max((p + 1) * q for p, q in pairwise(sizes))
    place(last + 1, in_rooms.ERROR, widest)
    return Rooms(table, n_low, offset)


def _rows_that_count(data: Data) -> NDArray[np.int64] | None:
    """Return the rows that have a weight, or None for all; the outputs of the others may be anything."""
    weights = data.sample_weight
    return None if weights is None or weights.all() else np.flatnonzero(weights)


def require_memory_of_equations(n_params: int, n_bytes: int) -> None:
    """Raise a MemoryError if the equations of so many parameters do not fit."""
    cure = "Make the layers smaller, or train with bp.LBFGS(), which keeps some vectors as long as the parameters."
    require_memory(n_bytes, f"J^T J and its factor for {n_params} parameters", cure)


def ridge_of(problem: Problem, total_weight: float) -> NDArray[np.float64]:
    """Return the L2 penalty on each parameter, as what is added to the diagonal of J^T J."""
    ridge, sizes = np.zeros(problem.n_params), problem.sizes
    for offset, p, q in zip(weight_offsets(sizes), sizes, sizes[1:], strict=False):
        ridge[offset : offset + p * q] = problem.penalties[0] * total_weight
    return ridge


class NormalEquations:
    """J^T J, the gradient and the cost of a network on some data, and Levenberg-Marquardt's iterations.

    With e_x the differences between outputs and targets, all are those of F = scale sum_x w_x |e_x|^2 / 2 + penalties;
    the cost that is reported is without `scale`, and divided by the sum of the weights.

    Parameters
    ----------
    problem : Problem
        The network; its loss must be quadratic.
    data : Data
        All rows.  The arrays live on until `end`.
    n_threads : int or None
        Threads to use.
    is_mixed : bool
        Whether the products of J^T J are made in float32 for a network in float64.

    Attributes
    ----------
    n_threads : int
        Threads that can have something to do.
    seconds : float
        About how long an iteration takes, pessimistically.
    total_weight : float
        Sum of the samples' weights, or their number.
    """

    def __init__(self, problem: Problem, data: Data, n_threads: int | None, *, is_mixed: bool = False) -> None:
        order = _rows_that_count(data)
        shape, n, n_rows = shape_of(problem), problem.n_params, len(data) if order is None else len(order)
        factors_per_row = shape.most_inputs + shape.most_outputs
        rows, n_pieces = normal_pieces(n_rows, shape.products_per_row, shape.n_sums, factors_per_row)
        rooms, low_dtype = rooms_of(problem, rows), np.dtype(np.float32) if is_mixed else problem.dtype
        left = rounded(rooms.n_low) if is_mixed else 0
        right = left + rounded(shape.most_inputs * rows)
        low_size = right + rounded(shape.most_outputs * rows)
        n_low = min(most_threads(), n_pieces) * low_size
        n_bytes = 16 * n * n + 8 * n_pieces * n + (n_pieces * shape.n_sums + n_low) * low_dtype.itemsize
        require_memory_of_equations(n, n_bytes)
        cut = RowPieces(rows, n_pieces, rooms.size)
        self._frame = frame = make_derived(NormalFrame, problem, data.X, cut)
        self._problem = problem
        plan, n_slots = frame.workspace.plan, frame.workspace.n_slots
        sizes = np.zeros(in_sizes.SIZES_LENGTH, np.int64)
        places = [
            in_sizes.N_PAIRS,
            in_sizes.N_SUMS,
            in_sizes.IS_MIXED,
            in_sizes.LOW_SIZE,
            in_sizes.N_LOW,
            in_sizes.LEFT,
        ]
        sizes[places] = len(shape.pairs), shape.n_sums, is_mixed, low_size, rooms.n_low, left
        sizes[[in_sizes.RIGHT, in_sizes.SUM_PIECES]] = right, max(1, min(16, shape.n_sums >> 12))
        self.settings = np.zeros(kernel.SETTINGS_LENGTH)
        self._gradients, self._vectors = np.zeros((n_pieces, n)), np.zeros((3, n))
        self._hessian, self._trial = np.zeros(n * n), np.zeros(n, problem.dtype)
        arrays = {
            kernel.ROOMS: rooms.table + int(plan[in_plan.EXTRA]),
            kernel.PAIRS: shape.pairs,
            kernel.SIZES: sizes,
            kernel.LOW: aligned_empty(n_slots * low_size, low_dtype),
            kernel.SUMS: aligned_empty(n_pieces * shape.n_sums, low_dtype),
            kernel.GRADIENTS: self._gradients,
            kernel.HESSIAN: self._hessian,
            kernel.FACTOR: aligned_empty(n * n, np.dtype(np.float64)),
            kernel.VECTORS: self._vectors,
            kernel.SETTINGS: self.settings,
            kernel.TRIAL: self._trial,
        }
        for place, array in arrays.items():
            frame.point(place, array)
        self.seconds = n_rows * shape.products_per_row / _NORMAL_PRODUCTS_PER_SECOND + n**3 / 6e9
        self.n_threads = min(thread_count(n_threads), n_slots)
        self._hold: AbstractContextManager[None] | None = None
        weights = data.sample_weight
        frame.set_data(data.X, data.targets, weights, order)
        self.total_weight = float(len(data) if weights is None else weights.sum(dtype=np.float64))
        self.set_objective()

    def forget_iterations(self) -> None:
        """Take note that what the last call did is not to count."""
        self.settings[[kernel.N_DONE, kernel.IS_ASSEMBLED]] = 0.0

    def end(self) -> None:
        """Let go of the data and of BLAS's threads, when there are no more calls."""
        self._frame.forget()
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.__exit__(None, None, None)

    # ---- The objective -----------------------------------------------------------------------------------------------

    def set_objective(self, scale: float = 1.0, ridge: float | None = None) -> None:
        """Set what is made smaller.

        Parameters
        ----------
        scale : float
            What the sum of squares is multiplied by.
        ridge : float, optional
            Half of it times the square of every parameter is added; by default the network's L2 penalty is, which is
            on weights alone and part of the cost that is reported.
        """
        settings = self.settings
        settings[[kernel.SCALE, kernel.TOTAL_WEIGHT]] = scale, self.total_weight
        settings[kernel.REPORTS_PENALTY] = ridge is None
        self._vectors[kernel.RIDGE] = ridge_of(self._problem, self.total_weight) if ridge is None else ridge

    def set_rule(
        self,
        *,
        mu: float,
        by_gain_ratio: bool,
        factors: tuple[float, float],
        mu_max: float,
        min_gradient: float,
        goal: float,
    ) -> None:
        """Set how `mu` changes, by which `factors` where that is fixed, and when to stop."""
        settings = self.settings
        settings[kernel.RULE] = kernel.GAIN_RATIO if by_gain_ratio else kernel.FIXED_FACTORS
        settings[[kernel.MU_DECREASE, kernel.MU_INCREASE]] = factors
        settings[[kernel.MU_MAX, kernel.MIN_GRADIENT, kernel.GOAL]] = mu_max, min_gradient, goal
        settings[[kernel.MU, kernel.NU]] = mu, 2.0
        settings[kernel.UNIT] = not by_gain_ratio
        settings[kernel.IS_ASSEMBLED] = 0.0

    @property
    def state(self) -> NDArray[np.float64]:
        """A copy of what an iteration continues from, besides the parameters: (3,)."""
        return self.settings[_STATE].copy()

    @state.setter
    def state(self, values: NDArray[np.float64]) -> None:
        self.settings[_STATE] = values
        self.settings[kernel.IS_ASSEMBLED] = 0.0

    # ---- Calls -------------------------------------------------------------------------------------------------------

    def equations(self, params: NDArray[Any]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return half the sum of squares, its gradient and the lower triangle of J^T J, without scale and penalties."""
        self._frame.run(kernel.EQUATIONS, params, n_threads=self.n_threads, seconds=self.seconds)
        n = self._problem.n_params
        return float(self.settings[kernel.HALF_SQUARES]), self._gradients[0].copy(), self.hessian.copy().reshape(n, n)

    def half_squares(self, params: NDArray[Any]) -> float:
        """Return half the sum of squares alone, the same number as with the equations."""
        self._trial[...] = params
        self.settings[kernel.IS_ASSEMBLED] = 0.0
        self._frame.run(kernel.SQUARES, params, n_threads=self.n_threads, seconds=self.seconds)
        return float(self.settings[kernel.HALF_SQUARES])

    @property
    def hessian(self) -> NDArray[np.float64]:
        """J^T J of the last parameters, (n_params, n_params), whose lower triangle is filled in; a view."""
        n = self._problem.n_params
        return self._hessian.reshape(n, n)

    def iterate(self, params: NDArray[Any], records: NDArray[np.float64], seconds: float) -> None:
        """Take as many iterations as `records` (n, 4) has rows, or fewer; `n_done` are finished, whatever ends it.

        A row is the cost after the iteration, mu, the norm of the gradient there, and how many steps were tried;
        `seconds` is how long all of it is estimated to take.  From the first call on BLAS is held at one thread.
        """
        require_writable_arrays(params)  # between two calls a callback may have changed that
        require_room(params, "`net.params`", self._problem.n_params, self._problem.dtype)
        settings = self.settings
        settings[kernel.N_WANTED], settings[kernel.N_DONE] = len(records), 0.0
        if not np.array_equal(self._trial, params):  # others than those after the last iteration
            settings[kernel.IS_ASSEMBLED] = 0.0
        if self._hold is None:
            self._hold = blas_threads.held_at_one()
            self._hold.__enter__()
        self._frame.point(kernel.RECORDS, records)
        self._frame.run(kernel.ITERATE, params, n_threads=self.n_threads, seconds=seconds)

    @property
    def sum_of_squares(self) -> float:
        """The weighted sum of e_x^2 at the last parameters."""
        return 2.0 * float(self.settings[kernel.HALF_SQUARES])

    @property
    def n_done(self) -> int:
        """Iterations of the last call that are finished."""
        return int(self.settings[kernel.N_DONE])

    @n_done.setter
    def n_done(self, number: int) -> None:
        self.settings[kernel.N_DONE] = number

    @property
    def stopped(self) -> int:
        """Why the last call took no more iterations, as the kernel's module names it."""
        return int(self.settings[kernel.STOPPED])
