"""The cost and gradient of a whole data set as a function of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.frame import inputs_of
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data

if TYPE_CHECKING:
    from fastbp.model.model import Model as Network


class BatchCost:
    """Cost and gradient of a whole data set as a function of the parameters, with nothing checked or allocated twice.

    Parameters
    ----------
    net : Network
        The network; its own parameters are not used.
    data : Data
        All rows.
    objective : Objective
        What is minimised; its penalties are divided by the sum of the sample weights.
    gradient : bool
        Whether gradients are wanted, or costs only.
    n_threads : int or None
        Threads to use.
    """

    def __init__(
        self, net: Network, data: Data, objective: Objective, *, gradient: bool = True, n_threads: int | None = None
    ) -> None:
        self._has_gradient = gradient
        n_rows, weights = len(data), data.sample_weight
        weight = float(n_rows if weights is None else weights.sum(dtype=np.float64))
        self._frame = frame = objective.make_frame(net, data.X, n_rows, n_rows, gradient=gradient)
        frame.set_data(data.X, data.targets, weights)
        frame.set_penalties(objective.l2 / weight, objective.l1 / weight)
        flops = (3 if gradient else 1) * n_rows * inputs_of(data.X).flops_per_row(net.sizes)
        self._n_threads = frame.useful_threads(n_threads, flops)

    def cost(self, params: NDArray[Any]) -> float:
        """Cost, penalties included."""
        if self._has_gradient:  # its frame has no room for the threads of a forward pass alone
            return self.value_and_grad(params)[0]
        return self._frame.value(params, n_threads=self._n_threads)

    def value_and_grad(self, params: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), a new array, both with penalties; where the cost is not finite, all NaN."""
        return self._frame.value_and_grad(params, n_threads=self._n_threads)
