"""The cost and gradient of a whole data set as a function of the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.frame import inputs_of
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.network import Network
from fastbp.neural_network.epochs import Data, Objective


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
        self._net = net
        self._task = entry.VALUE_AND_GRAD if gradient else entry.COST
        n_rows, weights = len(data), data.sample_weight
        weight = float(n_rows if weights is None else weights.sum(dtype=np.float64))
        self._frame = frame = objective.make_frame(net, data.X, n_rows, n_rows, gradient=gradient)
        frame.set_data(data.X, data.targets, weights)
        frame.scalars[[in_scalars.L2_PENALTY, in_scalars.L1_PENALTY]] = objective.l2 / weight, objective.l1 / weight
        flops = (3 if gradient else 1) * n_rows * inputs_of(data.X).flops_per_row(net.sizes)
        self._n_threads = frame.useful_threads(n_threads, flops)

    def cost(self, params: NDArray[Any]) -> float:
        """Cost, penalties included."""
        self._frame.run(self._task, params, n_threads=self._n_threads)
        return float(self._frame.scalars[in_scalars.COST_SUM])

    def value_and_grad(self, params: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), a new array, both with penalties; where the cost is not finite, all NaN."""
        cost = self.cost(params)
        grad = self._frame.grads[: self._net.n_params].copy()
        if not np.isfinite(cost):
            grad.fill(np.nan)  # the backward pass of an infinite cost is not made
        return cost, grad
