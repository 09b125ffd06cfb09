"""Outputs, costs and gradients of whole data sets: dense ones in one call of the kernel, sparse ones chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.jobs import Frame, flops_per_row
from fastbp.kernels import entry
from fastbp.kernels import tables as t
from fastbp.network import Network
from fastbp.neural_network.epochs import DENSE_CHUNK_BYTES, Data, Objective


def chunk_rows(X: Any, dtype: np.dtype) -> int:
    """Rows of sparse inputs that are made dense at a time."""
    n_rows, n_features = X.shape
    return max(1, min(int(n_rows), int(DENSE_CHUNK_BYTES // (n_features * dtype.itemsize))))


def outputs(net: Network, X: Any, n_threads: int | None) -> NDArray[Any]:
    """Return outputs (n, n_outputs) for valid inputs of the network's dtype, sparse or not."""
    if isinstance(X, np.ndarray):
        return net.passes.outputs(X, n_threads)
    rows, out = chunk_rows(X, net.dtype), np.empty((X.shape[0], net.sizes[-1]), net.dtype)
    for first in range(0, X.shape[0], rows):
        part = X[first : first + rows].toarray()
        out[first : first + rows] = net.passes.outputs(part, n_threads)
    return out


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
        self._net, self._data = net, data
        self._is_dense = isinstance(data.X, np.ndarray)
        self._rows = len(data) if self._is_dense else chunk_rows(data.X, net.dtype)
        self._task = entry.VALUE_AND_GRAD if gradient else entry.COST
        self._weight = self._weight_of(data)
        self._penalties = objective.l2 / self._weight, objective.l1 / self._weight
        self._frame = self._make_frame(objective, gradient)
        flops = (3 if gradient else 1) * self._rows * flops_per_row(net.sizes)
        self._n_threads = self._frame.useful_threads(n_threads, flops)

    def _make_frame(self, objective: Objective, gradient: bool) -> Frame:
        frame = objective.make_frame(self._net, self._rows, self._rows, gradient=gradient)
        if self._is_dense:
            frame.set_data(self._data.X, self._data.targets, self._data.sample_weight)
            frame.scalars[[t.L2_PENALTY, t.L1_PENALTY]] = self._penalties
        return frame

    @staticmethod
    def _weight_of(data: Data) -> float:
        return float(len(data) if data.sample_weight is None else data.sample_weight.sum(dtype=np.float64))

    def cost(self, params: NDArray[Any]) -> float:
        """Cost, penalties included."""
        return self._run(params, None)

    def value_and_grad(self, params: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), a new array, both with penalties; where the cost is not finite, all NaN."""
        grad = np.zeros(self._net.n_params, self._net.dtype)
        cost = self._run(params, grad)
        if not np.isfinite(cost):
            grad.fill(np.nan)  # the backward pass of an infinite cost is not made
        return cost, grad

    def _run(self, params: NDArray[Any], add_grad: NDArray[Any] | None) -> float:
        frame, total = self._frame, 0.0
        for share, is_first in self._shares():
            if not self._is_dense:  # the penalties of the whole once, with the first chunk
                whole = self._penalties if is_first else (0.0, 0.0)
                frame.scalars[[t.L2_PENALTY, t.L1_PENALTY]] = [penalty / share for penalty in whole]
            frame.run(self._task, params, n_threads=self._n_threads)
            total += share * float(frame.scalars[t.COST_SUM])
            if add_grad is not None:
                add_grad += share * frame.grads[: self._net.n_params]
        return total

    def _shares(self) -> Iterator[tuple[float, bool]]:
        """Point the frame to each chunk that counts; its share of the weight, and whether it is the first one."""
        if self._is_dense:
            yield 1.0, True
            return
        is_first = True
        for first in range(0, len(self._data), self._rows):
            part = self._data.rows(slice(first, first + self._rows))
            self._frame.set_data(part.X, part.targets, part.sample_weight)
            weight = self._weight_of(part)
            if weight != 0:
                yield weight / self._weight, is_first
                is_first = False
