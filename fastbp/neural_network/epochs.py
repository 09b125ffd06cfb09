"""Epochs of stochastic training: what scikit-learn's Adam and SGD do in a loop of Python, in one call of the kernel.

An epoch takes the rows in the given order, mini-batch by mini-batch; the rows may be sparse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import FINISHED
from fastbp.engine.cutting import inputs_of, seconds_per_step
from fastbp.engine.interruption import StepTime
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.engine.settings import N_CONSTANTS
from fastbp.kernels.optimizers import updates
from fastbp.model.definition import problem_of
from fastbp.network import Network
from fastbp.validation.data import all_finite


@dataclass
class OptimizerState:
    """An optimizer between two calls of `partial_fit`: plain values and arrays, so that it can be pickled."""

    code: int
    constants: NDArray[np.float64]
    n_vectors: int
    vectors: NDArray[Any]  # (n_vectors * n_params,): velocity, or moments
    learning_rate: float
    t: int = 0  # steps taken
    powers: tuple[float, float] = (1.0, 1.0)  # beta_1^t and beta_2^t of Adam

    def fits(self, net: Network) -> bool:
        """Whether the vectors belong to a network of this size and dtype, which the kernels take for granted."""
        return self.vectors.size == max(1, self.n_vectors * net.n_params) and self.vectors.dtype == net.dtype

    def copy(self) -> OptimizerState:
        """Return a state of its own, which can be written to."""
        return replace(self, vectors=np.array(self.vectors))


def sgd_state(net: Network, learning_rate: float, momentum: float, nesterov: bool) -> OptimizerState:
    """Return the state of SGD that has taken no step."""
    return _state(net, updates.SGD, (momentum, float(nesterov)), 1 if momentum > 0 else 0, learning_rate)


def adam_state(net: Network, learning_rate: float, beta_1: float, beta_2: float, epsilon: float) -> OptimizerState:
    """Return the state of Adam that has taken no step; epsilon stands beside sqrt(v), as in scikit-learn."""
    return _state(net, updates.ADAM, (beta_1, beta_2, epsilon, 0.0, 1.0), 2, learning_rate)


def _state(
    net: Network, code: int, constants: tuple[float, ...], n_vectors: int, learning_rate: float
) -> OptimizerState:
    padded = np.zeros(N_CONSTANTS)
    padded[: len(constants)] = constants
    vectors = np.zeros(max(1, n_vectors * net.n_params), net.dtype)
    return OptimizerState(code, padded, n_vectors, vectors, float(learning_rate))


class Epochs:
    """The mini-batches of one data set, and the frame of the kernel that steps through them.

    Parameters
    ----------
    net : Network
        The network; its parameters are changed in place.
    data : Data
        All rows.
    n_train : int
        How many of them an epoch's order names.
    batch_rows : int
        Rows of a mini-batch.
    objective : Objective
        What is minimised.
    state : OptimizerState
        The optimizer; changed in place.
    mean_weight : float
        What the weights of a mini-batch's rows are compared with; 0 for the mean of the mini-batch itself.
    clip_norm : float
        Largest norm of a gradient; 0 for any.
    dropout_seed : int
        Seed of the dropout masks.
    n_threads : int or None
        Threads to use.
    """

    def __init__(
        self,
        net: Network,
        data: Data,
        n_train: int,
        batch_rows: int,
        objective: Objective,
        state: OptimizerState,
        *,
        mean_weight: float = 0.0,
        clip_norm: float = 0.0,
        dropout_seed: int = 0,
        n_threads: int | None = None,
    ) -> None:
        self._net, self._data, self._state = net, data, state
        self._n_train, self._batch_rows = n_train, batch_rows
        self.n_steps = -(-n_train // batch_rows)
        self._frame = frame = objective.make_frame(problem_of(net), data.X, batch_rows, n_train, gradient=True)
        frame.set_optimizer(state.code, state.constants, state.vectors, state.n_vectors, batch_rows)
        frame.set_dropout(net.dropout, dropout_seed)
        frame.set_steps(state.t, state.powers)
        frame.mean_weight, frame.clip_norm = mean_weight, clip_norm
        flops = inputs_of(data.X).flops_per_step(net.sizes, batch_rows)
        self._n_threads = frame.useful_threads(n_threads, flops)
        self._step_time = StepTime(seconds_per_step(net.sizes, batch_rows))
        self._before = net.params.copy()

    def run(self, order: NDArray[np.int64] | None, rates: NDArray[np.float64]) -> float:
        """Train one epoch; its mean loss, or NaN if it diverged: then the parameters are those from before it.

        Parameters
        ----------
        order : ndarray of int64, shape (n_train,), or None
            Rows in the order in which they are used; None for all rows in their own order.
        rates : ndarray of float64, shape (n_steps,)
            Learning rate of each step.
        """
        frame = self._frame
        self._before[...] = self._net.params
        frame.sums, frame.status = 0.0, FINISHED
        try:
            self._steps(order, rates)
        finally:
            self._state.t, self._state.powers = frame.step, frame.powers
        if frame.status != FINISHED or not all_finite(self._net.params):
            self._net.params[...] = self._before
            return math.nan
        cost, weight = frame.sums
        return float(cost / weight) if weight else math.nan

    def _steps(self, order: NDArray[np.int64] | None, rates: NDArray[np.float64]) -> None:
        """Call the kernel; a long call can be interrupted."""
        frame, data = self._frame, self._data
        frame.set_data(data.X, data.targets, data.sample_weight, order)
        rates, status, done = np.ascontiguousarray(rates), FINISHED, 0
        while done < len(rates) and status == FINISHED:
            end = done + self._step_time.steps_to_try(len(rates) - done)
            status = frame.train(
                self._net.params, rates[done:end], self._step_time, first_step=done, n_threads=self._n_threads
            )
            done = end
