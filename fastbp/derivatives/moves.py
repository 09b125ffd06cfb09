"""Calls of the perturbation kernel: a network, its data and its threads, for any number of moves.

The arithmetic is in the dtype that the caller chooses: parameters, inputs and targets are converted to it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import parameters
from fastbp.engine.cutting import DENSE, LEAST_SHARED_FLOPS, SECONDS_OF_MOVES, seconds_per_move
from fastbp.engine.perturbed import Perturbed
from fastbp.engine.threads import blas_threads, thread_count
from fastbp.kernels.roots import perturbation as kernel
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.system.memory import require_memory, require_own_shape
from fastbp.validation.data import Targets

# of n steps: returns their parameters and samples, (2 n,), and their random numbers, (n,)
Draw = Callable[[int], tuple[NDArray[np.int64], NDArray[Any]]]


class Moves:
    """Measures what moves of parameters or neurons do to a network's cost; the network itself is left alone.

    Parameters
    ----------
    net : Network
        The network.
    X, targets, sample_weight
        Valid data, as `fastbp.model.checks.checked` returns them.
    dtype : dtype
        What everything is computed in.
    n_threads : int or None
        Threads to use.
    whole_passes : bool
        Whether parameters are moved by whole passes, for which each thread needs a copy of them.
    """

    def __init__(
        self,
        net: Model,
        X: NDArray[Any],
        targets: Targets,
        sample_weight: NDArray[Any] | None,
        *,
        dtype: np.dtype,
        n_threads: int | None,
        whole_passes: bool = False,
    ) -> None:
        require_own_shape(net)
        n_rows = len(X)
        self._dtype, self._n_rows = dtype, n_rows
        self._sizes = net.sizes
        threads = thread_count(n_threads)
        flops = n_rows * DENSE.flops_per_row(net.sizes) * net.n_params
        self._n_threads = threads if flops >= LEAST_SHARED_FLOPS else 1
        n_copies = self._n_threads if whole_passes else 1
        n_bytes = n_copies * net.n_params * dtype.itemsize
        require_memory(
            n_bytes, f"A copy of {net.n_params} parameters for each of {n_copies} threads", "Use fewer threads."
        )
        self._params = np.tile(net.params.astype(dtype), n_copies)
        self._w = self._params[: net.n_params]
        self._penalties = net.penalties
        self._is_weight = np.ones(net.n_params, bool)
        for biases in parameters.views(self._is_weight, net.sizes)[1]:
            biases[...] = False
        weights = np.ones(n_rows) if sample_weight is None else sample_weight.astype(np.float64)
        self._kernel = Perturbed(
            problem_of(net, dtype),
            _in_place(X, dtype),
            _target_array(targets, n_rows, net.sizes[-1], dtype),
            (weights / weights.sum()).astype(dtype),
            n_threads=self._n_threads,
        )

    def measure(
        self,
        task: int,
        indices: NDArray[np.int64],
        moved: Sequence[NDArray[Any]],
        changes: Sequence[NDArray[np.float64]],
        advance: Callable[[int], None] = lambda moves: None,
    ) -> float:
        """Measure moves block by block; return the cost without moves, penalties included.

        Parameters
        ----------
        task : int
            WHOLE_PASSES, FROM_BASE, CROSSINGS or NEURONS of `fastbp.kernels.roots.perturbation`.
        indices : ndarray, shape (n_moves,)
            Parameters, or neurons counted from the first layer on.
        moved : sequence of ndarray
            For each measurement the values (n_moves,) that the parameters are moved to; of NEURONS the step.
        changes : sequence of ndarray
            For each measurement its results, one row for each move; they are added to.
        advance : callable
            Called with how many moves were measured on a block; their sum is `n_measurements`.
        """
        cost = np.zeros(1)
        with blas_threads.held_at_one():
            for first in range(0, self._n_rows, self._kernel.block_rows):
                rows = min(self._kernel.block_rows, self._n_rows - first)
                self._kernel.base_pass(self._params, cost, first, rows)
                for values, results in zip(moved, changes, strict=True):
                    for part in self._slices(len(indices), rows):
                        own = values if task == kernel.NEURONS else values[part]
                        self._kernel.call(task, self._params, indices[part], own, results[part], first, rows)
                        advance(part.stop - part.start)
        if task in (kernel.WHOLE_PASSES, kernel.FROM_BASE):
            for values, results in zip(moved, changes, strict=True):
                self._add_penalty_changes(indices, values, results)
        l2, l1 = self._penalties
        w = self._w[self._is_weight].astype(np.float64)
        return float(cost[0]) + float(0.5 * l2 * (w @ w) + l1 * np.abs(w).sum())

    def n_measurements(self, n_moves: int, n_measures: int) -> int:
        """Return how many moves on blocks of rows are measured in all."""
        return n_moves * n_measures * -(-self._n_rows // self._kernel.block_rows)

    def _add_penalty_changes(
        self, indices: NDArray[np.int64], moved: NDArray[Any], changes: NDArray[np.float64]
    ) -> None:
        """Add what moving the weights among some parameters does to the penalties."""
        l2, l1 = self._penalties
        if l2 == 0 and l1 == 0:
            return
        w, values = self._w[indices].astype(np.float64), moved.astype(np.float64)
        change = 0.5 * l2 * (values - w) * (values + w) + l1 * (np.abs(values) - np.abs(w))
        changes += np.where(self._is_weight[indices], change, 0.0)

    def crossings(self, indices: NDArray[np.int64], moved: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """How many kinks, of activations, loss and L1 penalty, the moves of each parameter cross, (n_moves,)."""
        counts = np.zeros(indices.size)
        self.measure(kernel.CROSSINGS, indices, moved, [counts] * len(moved))
        if self._penalties[1] > 0:
            for values in moved:
                counts += self._is_weight[indices] & (np.sign(values) != np.sign(self._w[indices]))
        return counts

    def search(self, params: NDArray[Any], n_steps: int, draw: Draw) -> int:
        """Take steps of the random weight search on `params`, in place; return how many were kept.

        ``draw(n)`` returns the next n steps' parameters and samples, (2 n,), and random numbers, (n,).
        """
        kept = np.zeros(1)
        with blas_threads.held_at_one():
            for part in self._slices(n_steps, 2):
                indices, numbers = draw(part.stop - part.start)
                self._kernel.call(kernel.SEARCH, params, indices, numbers, kept)
        return int(kept[0])

    def _slices(self, n_moves: int, rows: int) -> Iterator[slice]:
        """Ranges of moves, each the work of one call.

        The first is cut for a pessimistic speed, the later ones follow the clock; results do not depend on how
        the moves are cut into calls.
        """
        size = max(self._n_threads, int(SECONDS_OF_MOVES / seconds_per_move(self._sizes, rows)))
        begin = 0
        while begin < n_moves:
            end = min(begin + size, n_moves)
            began = time.perf_counter()
            yield slice(begin, end)
            pace = SECONDS_OF_MOVES / max(time.perf_counter() - began, 1e-9)
            size = max(self._n_threads, int(size * min(max(pace, 0.25), 2.0)))
            begin = end


def _in_place(X: NDArray[Any], dtype: np.dtype) -> NDArray[Any]:
    """Return X in a dtype and with contiguous rows, as the passes use it without gathering; itself if it is so."""
    n_features = X.shape[1]
    if X.dtype == dtype and X.strides[1] == X.itemsize and X.strides[0] >= n_features * X.itemsize:
        return X
    return np.ascontiguousarray(X, dtype)


def _target_array(targets: Targets, n_rows: int, n_outputs: int, dtype: np.dtype) -> NDArray[Any]:
    """Return targets (n, n_outputs) as a contiguous array; labels become one-hot rows."""
    if targets.array is not None:
        return np.ascontiguousarray(targets.array, dtype)
    Y = np.zeros((n_rows, n_outputs), dtype)
    Y[np.arange(n_rows), targets.labels] = 1
    return Y
