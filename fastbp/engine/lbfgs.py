"""Frames of the root that minimises a cost by L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import make_ready, require_room
from fastbp.engine.cutting import inputs_of
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import WatchedFrame
from fastbp.engine.threads import most_threads
from fastbp.engine.workspace import make_workspace
from fastbp.kernels.roots import lbfgs as kernel
from fastbp.system.memory import require_memory, require_writable_arrays
from fastbp.validation.sparse_rows import Rows


def require_memory_of_pairs(n_params: int, history: int) -> None:
    """Raise a MemoryError if so many pairs do not fit."""
    n_bytes = 8 * (kernel.memory_length(n_params, history) + kernel.scratch_length(n_params, history))
    purpose = f"The last {history} steps of L-BFGS with {n_params} parameters"
    require_memory(n_bytes, purpose, "Pass a smaller `history`, or make the layers smaller.")


class LbfgsFrame(WatchedFrame):
    """A frame in which L-BFGS takes its iterations.

    Attributes
    ----------
    memory : ndarray of float64
        What one iteration leaves to the next.
    tried : ndarray, shape (n_params,)
        A copy of the parameters, on which steps are tried.  Where it differs from them between two calls, they were
        changed by somebody else, and the memory tells nothing of them.
    """

    kernel = kernel

    def begin(self, params: NDArray[Any], history: int) -> None:
        """Prepare a fit of these parameters, which changes them in place, with so many pairs of steps."""
        n_params, scratch = self.n_params, kernel.scratch_length(self.n_params, history)
        require_memory_of_pairs(n_params, history)
        self.tried = params.copy()
        self.memory = np.zeros(kernel.memory_length(n_params, history))
        self._point(kernel.ACCEPTED, params)
        self._point(kernel.MEMORY, self.memory)
        self._point(kernel.SCRATCH, np.zeros(scratch))

    def iterate(self, rules: NDArray[np.float64], record: NDArray[np.float64], n_threads: int, seconds: float) -> None:
        """Take iterations, which are estimated to take so long; `epochs_done` of them are in the record."""
        params = self._arrays[kernel.ACCEPTED]
        assert params is not None
        require_writable_arrays(params)  # between two calls a callback may have changed that
        require_room(params, "`net.params`", self.n_params, self.dtype)
        self._point(kernel.RECORD, record)
        self.run(0, self.tried, n_threads=n_threads, rates=rules, seconds=seconds)

    def forget(self) -> None:
        """Let go of all that belongs to a fit."""
        super().forget()
        self.tried, self.memory = self.nothing, self.no_rates
        for place in (kernel.ACCEPTED, kernel.MEMORY, kernel.SCRATCH, kernel.RECORD):
            self._point(place, self.nothing)


def make_lbfgs(problem: Problem, X: Rows) -> LbfgsFrame:
    """Allocate a frame for all rows of X."""
    inputs, n_rows = inputs_of(X), len(X)
    workspace = make_workspace(
        problem,
        batch_rows=n_rows,
        n_rows=n_rows,
        n_threads=most_threads(),
        gradient=True,
        inputs=inputs,
    )
    make_ready(problem.dtype, kernel)
    n_params = problem.n_params
    n_bytes = workspace.n_gradients * n_params * problem.dtype.itemsize
    require_memory(n_bytes, f"A gradient of {n_params} parameters", "Make the layers smaller.")
    grads = np.empty(max(1, workspace.n_gradients * n_params), problem.dtype)
    frame = LbfgsFrame(problem.own, workspace, problem.dtype, grads, inputs.form)
    frame.loss_parameter = problem.loss_parameter
    frame.set_penalties(*problem.penalties)
    return frame
