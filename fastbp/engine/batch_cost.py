"""The cost and gradient of a whole data set as a function of the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import inputs_of
from fastbp.engine.objective import Objective
from fastbp.engine.problem import Problem
from fastbp.engine.rows import Data


class BatchCost:
    """Cost and gradient of a whole data set as a function of the parameters, with nothing checked or allocated twice.

    Parameters
    ----------
    problem : Problem
        The network.
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
        self, problem: Problem, data: Data, objective: Objective, *, gradient: bool = True, n_threads: int | None = None
    ) -> None:
        self._has_gradient = gradient
        self._data = data  # whose arrays must live as long as the frame, which has their addresses
        n_rows, weights = len(data), data.sample_weight
        weight = float(n_rows if weights is None else weights.sum(dtype=np.float64))
        self._frame = frame = objective.make_frame(problem, data.X, n_rows, n_rows, gradient=gradient)
        frame.set_data(data.X, data.targets, weights)
        frame.set_penalties(objective.l2 / weight, objective.l1 / weight)
        flops = (3 if gradient else 1) * n_rows * inputs_of(data.X).flops_per_row(problem.sizes)
        self._n_threads = frame.useful_threads(n_threads, flops)

    def cost(self, params: NDArray[Any]) -> float:
        """Cost, penalties included."""
        if self._has_gradient:  # its frame has no room for the threads of a forward pass alone
            return self.value_and_grad(params)[0]
        return self._frame.value(params, n_threads=self._n_threads)

    def value_and_grad(self, params: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), a new array, both with penalties; where the cost is not finite, all NaN."""
        return self._frame.value_and_grad(params, n_threads=self._n_threads)
