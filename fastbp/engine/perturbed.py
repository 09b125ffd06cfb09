"""`Perturbed`: a network and its data as the perturbation kernel takes them, and calls of it with threads."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import FINISHED, UnknownCodeError, address_of, matrix, other_shapes, require_room
from fastbp.engine.helpers import helpers
from fastbp.engine.problem import Problem
from fastbp.engine.settings import Settings
from fastbp.engine.workspace import control_vector, make_workspace, rounded
from fastbp.functions.own import raising_for
from fastbp.kernels.layers.moves import N_COLUMNS
from fastbp.kernels.machine import team
from fastbp.kernels.roots import perturbation as kernel
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan


class Perturbed:
    """The arguments of the perturbation kernel, allocated once and used for many calls.

    Parameters
    ----------
    problem : Problem
        The network.
    X : ndarray, shape (n, n_features)
        Inputs, of the problem's dtype; each row is contiguous.
    Y : ndarray, shape (n, n_outputs)
        Targets; contiguous, of the same dtype.
    scale : ndarray, shape (n,)
        What each row's cost counts for, of the same dtype.
    n_threads : int
        Threads to use.
    """

    def __init__(
        self, problem: Problem, X: NDArray[Any], Y: NDArray[Any], scale: NDArray[Any], *, n_threads: int
    ) -> None:
        n_rows, self._problem = len(scale), problem
        self._n_threads, self._rows = n_threads, (X, Y, scale)  # which must live as long as their addresses
        workspace = functools.partial(make_workspace, problem, batch_rows=n_rows, n_rows=n_rows, n_threads=1)
        # the moved passes keep as little as possible; the base keeps every z
        moved, base = workspace(gradient=False), workspace(gradient=False, keep_z=True)
        plan, rows = moved.plan, moved.block_rows
        plan[in_plan.INPUT] = plan[in_plan.SLOT_SIZE]
        plan[in_plan.SLOT_SIZE] += rounded(N_COLUMNS * rows)
        self.block_rows = rows
        settings = Settings(plan, len(moved.layers))
        settings.set_penalties(*problem.penalties)
        settings.loss_parameter = problem.loss_parameter
        work = np.zeros(n_threads * int(plan[in_plan.SLOT_SIZE]), problem.dtype)
        self._tables = moved.layers, moved.segments, plan, _data_table(problem.sizes, X, Y, scale), settings.scalars
        self._buffers = work, base.layers, base.plan, base.work, np.zeros(rows)
        self._no_moves = np.zeros(0, np.int64), np.zeros(0, problem.dtype)

    def base_pass(self, params: NDArray[Any], cost: NDArray[np.float64], first: int, rows: int) -> None:
        """Take `rows` rows from `first` on through the network as it is, and add their cost to `cost`, (1,)."""
        self.call(kernel.BASE, params, *self._no_moves, cost, first, rows)

    def call(
        self,
        task: int,
        params: NDArray[Any],
        indices: NDArray[np.int64],
        moved: NDArray[Any],
        changes: NDArray[np.float64],
        first: int = 0,
        rows: int = 0,
    ) -> None:
        """Call the root kernel as the leader, with helpers where there are moves to share.

        The tasks and their arguments are those of `fastbp.kernels.roots.perturbation`; BLAS must be held at one thread
        and `base_pass` called for the same rows before.
        """
        require_room(params, "`params`", self._problem.n_params, self._problem.dtype)
        control = control_vector()
        control[[team.FIRST, team.ROWS]] = first, rows
        arguments = (*self._tables, params, *self._buffers, indices, moved, changes.reshape(-1), control)
        alone = self._n_threads == 1 or len(indices) < 2 or task in (kernel.BASE, kernel.SEARCH)
        slots = range(0) if alone else range(self._n_threads - 1, 0, -1)
        jobs = [functools.partial(kernel.run, task, slot, *arguments) for slot in slots]
        own = self._problem.own
        try:
            if jobs:
                helpers.lend(jobs)
            with raising_for(own) if own else contextlib.nullcontext():
                if kernel.run(task, kernel.LEADER, *arguments) != FINISHED:
                    raise UnknownCodeError
        finally:
            control[team.STOP] = 1
            jobs.clear()


def _data_table(sizes: tuple[int, ...], X: NDArray[Any], Y: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.int64]:
    """Describe the rows to the kernel."""
    data, itemsize = np.zeros(in_data.DATA_LENGTH, np.int64), scale.itemsize
    shape, data[in_data.X : in_data.X + 3] = matrix(X, itemsize)
    y_shape, data[in_data.Y : in_data.Y + 3] = matrix(Y, itemsize)
    n_rows = len(scale)
    if shape != (n_rows, sizes[0]) or y_shape != (n_rows, sizes[-1]):
        raise other_shapes()
    data[in_data.SAMPLE_WEIGHT] = address_of(scale)
    data[in_data.N_ROWS] = n_rows
    return data
