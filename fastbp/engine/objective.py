"""`Objective`: what is minimised and what is reported of it, where that is not the network's own loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.engine.frame import Frame, inputs_of, make_frame
from fastbp.validation.sparse_rows import Rows

if TYPE_CHECKING:
    from fastbp.model.model import Model as Network


@dataclass(frozen=True)
class Objective:
    """What is minimised and what is reported of it, as scikit-learn has it."""

    loss_code: int | None  # of the kernels, where it is not the network's own loss
    loss_parameter: float
    cost_factor: float  # what the reported cost of the data is multiplied by
    l2: float  # penalties of a batch as a whole
    l1: float

    def make_frame(self, net: Network, X: Rows, batch_rows: int, n_rows: int, *, gradient: bool) -> Frame:
        """Return a frame whose kernel calls follow this objective: its tables are made for the loss they will name."""
        loss = None if self.loss_code is None else (self.loss_code, 0, 0)
        frame = make_frame(net, batch_rows, n_rows, gradient=gradient, loss=loss, inputs=inputs_of(X))
        frame.set_objective(self.loss_parameter, self.cost_factor, self.l2, self.l1)
        return frame
