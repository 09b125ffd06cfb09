"""The fit of an estimator on partitions: the local class's loop, with steps that are taken on the workers."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.exact import Cost
from fastbp.dask.rows import AllRows
from fastbp.dask.walks import Rounds
from fastbp.engine.calls import DIVERGED, FINISHED
from fastbp.engine.objective import Objective
from fastbp.model.model import Model
from fastbp.neural_network.epoch_loop import EpochLoop, EpochSteps
from fastbp.neural_network.held_out import HeldOut
from fastbp.neural_network.learner import Learner
from fastbp.training.gradient_steps import GradientSteps
from fastbp.training.state import OptimizerState


class PartitionedFit(EpochLoop):
    """One call of `fit` with a stochastic solver, on partitions.

    Parameters
    ----------
    learner, net, state
        As `EpochLoop` has them.
    steps : EpochSteps
        Steps on the workers.
    held_out : HeldOut or None
        What early stopping and the user look at.
    n_train : int
        Rows of an epoch.
    """

    def __init__(
        self,
        learner: Learner,
        net: Model,
        state: OptimizerState,
        steps: EpochSteps,
        held_out: HeldOut | None,
        n_train: int,
    ) -> None:
        super().__init__(learner, net, state, incremental=False)
        self._steps, self._held_out, self._n_train = steps, held_out, n_train

    def is_watched(self) -> bool:
        """Return that something is looked at after each epoch: it is long enough."""
        return True

    def _next_order(self) -> None:
        return None  # it is made on the workers

    def _several(self) -> bool:
        raise NotImplementedError


class AveragedEpochs:
    """Epochs of walks on the partitions; see `EpochSteps`."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds, self._number = rounds, 0
        self.per_epoch = rounds.per_epoch

    def epoch(self, rates: NDArray[np.float64], order: None = None) -> tuple[float, int]:
        """Take an epoch."""
        loss = self._rounds.epoch(self._number, rates)
        return loss, FINISHED if np.isfinite(loss) else DIVERGED

    def end_epoch(self) -> None:
        """Go on to the next one."""
        self._number += 1


class ExactEpochs:
    """Epochs of one step on all rows; see `EpochSteps`."""

    per_epoch = 1

    def __init__(
        self, net: Model, rows: AllRows, state: OptimizerState, objective: Objective, clip_norm: float
    ) -> None:
        self._net, self._cost = net, Cost(net, rows, objective)
        self._steps = GradientSteps(net, state, clip_norm)

    def epoch(self, rates: NDArray[np.float64], order: None = None) -> tuple[float, int]:
        """Take a step; return the cost before it."""
        net = self._net
        cost, grad = self._cost.value_and_grad(net.params)
        if not (np.isfinite(cost) and np.isfinite(grad).all()):
            return np.nan, DIVERGED
        before = net.params.copy()
        self._steps.step(net.params, grad, float(rates[0]))
        if not np.isfinite(net.params).all():
            net.params[...] = before
            return np.nan, DIVERGED
        return cost, FINISHED

    def end_epoch(self) -> None:
        """Nothing is to be done."""


def without_penalties(objective: Objective) -> Objective:
    """Return what is reported of rows that are not trained on."""
    return dataclasses.replace(objective, l2=0.0, l1=0.0)
