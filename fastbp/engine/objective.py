"""`Objective`: what is minimised and what is reported of it, where that is not the network's own loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastbp.engine.cutting import inputs_of
from fastbp.engine.frame import Frame
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import make_frame
from fastbp.validation.sparse_rows import Rows


@dataclass(frozen=True)
class Objective:
    """What is minimised and what is reported of it, as scikit-learn has it."""

    loss_code: int | None  # of the kernels, where it is not the network's own loss
    loss_parameter: float
    cost_factor: float  # what the reported cost of the data is multiplied by
    l2: float  # penalties of a batch as a whole
    l1: float

    def make_frame(
        self, problem: Problem, X: Rows, batch_rows: int, n_rows: int, *, gradient: bool, has_memory: bool = True
    ) -> Frame:
        """Return a frame whose kernel calls follow this objective: its tables are made for the loss they will name."""
        loss = problem.loss if self.loss_code is None else (self.loss_code, 0, 0)
        own = replace(problem, loss=loss, loss_parameter=self.loss_parameter, penalties=(0.0, 0.0))
        frame = make_frame(own, batch_rows, n_rows, gradient=gradient, inputs=inputs_of(X), has_memory=has_memory)
        frame.set_objective(self.cost_factor, self.l2, self.l1)
        return frame
