"""Epochs of stochastic training: what scikit-learn's Adam and SGD do in a loop of Python, in one call of the kernel.

An epoch takes the rows in the given order, mini-batch by mini-batch; the rows may be sparse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.frame import Frame, inputs_of, make_frame
from fastbp.engine.interruption import StepTime
from fastbp.kernels.optimizers import updates
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.training.optimizers import N_CONSTANTS
from fastbp.validation.data import Targets, all_finite
from fastbp.validation.sparse_rows import Rows


@dataclass(frozen=True)
class Data:
    """Rows as the kernels take them."""

    X: Rows  # (n, n_features), of the network's dtype
    targets: Targets
    sample_weight: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def rows(self, index: Any) -> Data:
        """Return some rows."""
        X, (array, labels), weight = self.X[index], self.targets, self.sample_weight
        targets = Targets(None if array is None else array[index], None if labels is None else labels[index])
        return Data(X, targets, None if weight is None else weight[index])


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
        plan, scalars = frame.workspace.plan, frame.scalars
        plan[in_plan.PER_BATCH] = 1
        names = [in_scalars.LOSS_PARAMETER, in_scalars.COST_FACTOR, in_scalars.BATCH_L2, in_scalars.BATCH_L1]
        scalars[names] = self.loss_parameter, self.cost_factor, self.l2, self.l1
        return frame


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
        self._frame = frame = objective.make_frame(net, data.X, batch_rows, n_train, gradient=True)
        frame.state = state.vectors
        plan, scalars = frame.workspace.plan, frame.scalars
        plan[[in_plan.OPTIMIZER, in_plan.N_STATE_VECTORS, in_plan.BATCH_SIZE]] = state.code, state.n_vectors, batch_rows
        plan[[in_plan.HAS_DROPOUT, in_plan.DROPOUT_SEED]] = any(rate > 0 for rate in net.dropout), dropout_seed
        scalars[in_scalars.CONSTANTS : in_scalars.CONSTANTS + N_CONSTANTS] = state.constants
        scalars[[in_scalars.STEP, in_scalars.POWER_1, in_scalars.POWER_2]] = state.t, *state.powers
        scalars[[in_scalars.MEAN_WEIGHT, in_scalars.CLIP_NORM]] = mean_weight, clip_norm
        scalars[in_scalars.DROPOUT : in_scalars.DROPOUT + len(net.dropout)] = net.dropout
        flops = inputs_of(data.X).flops_per_step(net.sizes, batch_rows)
        self._n_threads = frame.useful_threads(n_threads, flops)
        # as reckoned for `Trainer`: it only decides whether a call is long enough to be made interruptible
        self._step_time = StepTime(3 * batch_rows * passes_of(net).row_seconds + 1e-9 * net.n_params)
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
        scalars = self._frame.scalars
        self._before[...] = self._net.params
        scalars[[in_scalars.COST_SUM, in_scalars.WEIGHT_SUM, in_scalars.STATUS]] = 0.0, 0.0, in_scalars.FINISHED
        try:
            self._steps(order, rates)
        finally:
            self._state.t = int(scalars[in_scalars.STEP])
            self._state.powers = float(scalars[in_scalars.POWER_1]), float(scalars[in_scalars.POWER_2])
        if scalars[in_scalars.STATUS] != in_scalars.FINISHED or not all_finite(self._net.params):
            self._net.params[...] = self._before
            return math.nan
        return (
            float(scalars[in_scalars.COST_SUM] / scalars[in_scalars.WEIGHT_SUM])
            if scalars[in_scalars.WEIGHT_SUM]
            else math.nan
        )

    def _steps(self, order: NDArray[np.int64] | None, rates: NDArray[np.float64]) -> None:
        """Call the kernel; a long call can be interrupted."""
        frame, data = self._frame, self._data
        frame.set_data(data.X, data.targets, data.sample_weight, order)
        if order is not None:
            frame.data[in_data.N_ROWS] = self._n_train
        rates, status, done = np.ascontiguousarray(rates), in_scalars.FINISHED, 0
        while done < len(rates) and status == in_scalars.FINISHED:
            end = done + self._step_time.steps_to_try(len(rates) - done)
            status = frame.train(
                self._net.params, rates[done:end], self._step_time, first_step=done, n_threads=self._n_threads
            )
            done = end
