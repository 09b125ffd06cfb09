"""Frames of a problem: allocated for it, and where it has functions of the user's own, watched for their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import DIVERGED, make_ready
from fastbp.engine.cutting import DENSE, Inputs
from fastbp.engine.frame import Frame
from fastbp.engine.problem import Problem
from fastbp.engine.threads import most_threads
from fastbp.engine.workspace import make_workspace
from fastbp.functions.own import Own, counts_of, raising_for, require_none_raised
from fastbp.kernels.roots import entry
from fastbp.system.memory import require_memory


class WatchedFrame(Frame):
    """A frame of a network with functions of the user's own: an exception of theirs is an error of the call.

    While it trains, such an exception ends the steps as a cost that is not finite does, so that whoever takes the steps
    gives back the parameters from before them; then `raise_own_error` raises it.
    """

    def __init__(self, own: Sequence[Own], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.own, self._counts = own, counts_of(own)

    def run(self, task: int, params: NDArray[Any], **keywords: Any) -> None:
        """Call the root kernel."""
        self._counts = counts_of(self.own)
        super().run(task, params, **keywords)
        if task != entry.TRAIN or self.kernel is not entry:  # other roots have tasks of their own by that number
            self.raise_own_error()
        elif counts_of(self.own) != self._counts:
            self.status = DIVERGED

    def run_step(self, *call: Any) -> int:
        """Have the root take a step."""
        self._counts = counts_of(self.own)
        returned = super().run_step(*call)
        if counts_of(self.own) != self._counts:
            self.status = DIVERGED
        return returned

    def small_outputs(self, X: NDArray[Any], params: NDArray[Any], n_outputs: int) -> NDArray[Any]:
        """Return the outputs for a few rows."""
        with raising_for(self.own):
            return super().small_outputs(X, params, n_outputs)

    def raise_own_error(self) -> None:
        """Raise if one of the user's functions has raised an exception in the last call."""
        require_none_raised(self.own, self._counts)


def make_frame(
    problem: Problem,
    batch_rows: int,
    n_rows: int,
    *,
    gradient: bool,
    keep_z: bool = False,
    whole_block: bool = False,
    inputs: Inputs = DENSE,
    has_memory: bool = True,
) -> Frame:
    """Allocate the frame of a problem for batches of `batch_rows` of a data set of `n_rows`.

    `inputs` is what X is like; for the others see `make_workspace`.  A frame that has no memory to work in must be
    given some by who calls the kernels.
    """
    workspace = make_workspace(
        problem,
        batch_rows=batch_rows,
        n_rows=n_rows,
        n_threads=most_threads() if has_memory else 0,
        gradient=gradient,
        keep_z=keep_z,
        whole_block=whole_block,
        shares_blocks=True,
        inputs=inputs,
    )
    make_ready(problem.dtype)
    n_params, n_gradients = problem.n_params, workspace.n_gradients if gradient and has_memory else 0
    n_bytes = n_gradients * n_params * problem.dtype.itemsize
    require_memory(n_bytes, f"A gradient of {n_params} parameters", "Make the layers smaller.")
    grads = np.empty(max(1, n_gradients * n_params), problem.dtype)
    arguments = workspace, problem.dtype, grads, inputs.form
    frame = WatchedFrame(problem.own, *arguments) if problem.own else Frame(*arguments)
    frame.loss_parameter = problem.loss_parameter
    frame.set_penalties(*problem.penalties)
    return frame
