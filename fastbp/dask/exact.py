"""Steps by the gradient of all rows, summed over the partitions: the result of one machine on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask import tasks
from fastbp.dask.rows import AllRows
from fastbp.engine.objective import Objective
from fastbp.model.model import Model
from fastbp.training.gradient_steps import GradientSteps, add_penalties
from fastbp.training.plan import Plan
from fastbp.training.state import TrainingDivergedError, TrainingState
from fastbp.training.trained import keep_training_state
from fastbp.training.whole_batch import RATE, Iterations
from fastbp.validation.numbers import MOST_STEPS

_NUMBERS = 4  # of the state, before the optimizer's vectors: epochs and steps taken, powers


class Cost:
    """The cost of all rows, penalties included, as a function of the parameters.

    Parameters
    ----------
    net : Model
        The network, which has the penalties.
    rows : AllRows
        The rows.
    objective : Objective, optional
        What is minimised, if it is not the network's own loss and penalties; its penalties are divided by the sum of
        the weights.
    """

    def __init__(self, net: Model, rows: AllRows, objective: Objective | None = None) -> None:
        self._net, self._rows, self._penalties = net, rows, net.penalties
        self._objective = None if objective is None else replace(objective, l2=0.0, l1=0.0)
        if objective is not None:
            self._penalties = objective.l2 / rows.total_weight, objective.l1 / rows.total_weight

    def value_and_grad(self, params: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), in the network's dtype and ours."""
        cost, grad = self._rows.sum_of(tasks.gradient, params, self._objective, of_part=self._share)
        with np.errstate(all="ignore"):  # callers look whether they are finite
            return float(cost) + add_penalties(self._net.sizes, self._penalties, params, grad), grad

    def cost(self, params: NDArray[Any]) -> float:
        """Cost."""
        (cost,) = self._rows.sum_of(tasks.cost, params, self._objective, of_part=self._share)
        with np.errstate(all="ignore"):
            return float(cost) + add_penalties(self._net.sizes, self._penalties, params, np.zeros_like(params))

    def _share(self, i: int) -> tuple[float]:
        """Return the share of a partition in the weight of all."""
        return (self._rows.weights[i] / self._rows.total_weight,)


def norm_of(grad: NDArray[Any]) -> float:
    """Return the Euclidean norm of a gradient (n_params,)."""
    return math.sqrt(np.einsum("i,i->", grad, grad, dtype=np.float64))


def diverged(epoch: int, rate: float) -> TrainingDivergedError:
    """Return the error of an epoch, counted from 0, with such a learning rate."""
    return TrainingDivergedError(
        f"The loss became NaN or infinite in epoch {epoch + 1} with a learning rate of {rate:g}. The network has the "
        "parameters from before that epoch, and the optimizer's state was reset. Try a smaller learning rate, "
        "clip_norm=1.0, or inputs scaled to mean 0 and variance 1."
    )


class FullBatch:
    """A fit by steps on all rows, in progress; see `fastbp.training.whole_batch.Trainer`."""

    columns = (RATE,)
    n_threads = 1

    def __init__(self, net: Model, rows: AllRows, state: TrainingState, plan: Plan) -> None:
        self._net, self._state, self._plan = net, state, plan
        self._cost = Cost(net, rows)
        self._steps = GradientSteps(net, state, plan.clip_norm)
        self._n_taken = 0
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        """Return how many epochs end soon enough for Ctrl-C, which ends them at any time."""
        return 1

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take steps, each on all rows; its loss is the cost before it, as in `Network.fit`."""
        rows = list[tuple[float, float]]()
        try:
            while len(rows) < n_epochs and self.stopped_by is None:
                self._step(rows)
        finally:
            record(np.array(rows, np.float64).reshape(-1, 2))

    def _step(self, rows: list[tuple[float, float]]) -> None:
        """Take one, and append cost and learning rate."""
        net, state, plan, epoch = self._net, self._state, self._plan, self._n_taken
        (rate,) = state.optimizer.learning_rates(epoch, 1, plan.epochs)
        cost, grad = self._cost.value_and_grad(net.params)
        if not (math.isfinite(cost) and np.isfinite(grad).all()):
            state.forget()
            raise diverged(epoch, rate)
        if plan.tol is not None and norm_of(grad) <= plan.tol:
            self.stopped_by = "tolerance"
            rows.append((cost, rate))
            return
        before = net.params.copy(), state.vectors.copy(), state.step, state.powers
        n_rows = len(rows)
        try:
            self._steps.step(net.params, grad, rate)
            if np.isfinite(net.params).all():
                self._n_taken = epoch + 1
                rows.append((cost, rate))  # now it is taken
        except BaseException:  # Ctrl-C may come between any two lines
            if len(rows) == n_rows:
                net.params[...], state.vectors[...], state.step, state.powers = before
                self._n_taken = epoch
            raise
        if len(rows) == n_rows:
            net.params[...] = before[0]
            state.forget()
            raise diverged(epoch, rate)

    def state(self) -> NDArray[np.float64]:
        """Return what continues: epochs and steps taken, powers, the optimizer's vectors."""
        state = self._state
        powers = [min(power, 1.0) for power in state.powers]  # RMSprop's mean nothing, and may overflow
        return np.concatenate([[self._n_taken, state.step, *powers], state.vectors.astype(np.float64)])

    def restore(self, values: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        n_taken, step, *powers = values[:_NUMBERS].tolist()
        counts = all(0 <= n <= MOST_STEPS and n == int(n) for n in (n_taken, step))
        if not counts or not all(0 <= power <= 1 for power in powers) or not np.isfinite(values).all():
            return False
        state = self._state
        self._n_taken, state.step, state.powers = int(n_taken), int(step), (powers[0], powers[1])
        state.vectors[...] = values[_NUMBERS:]
        return True

    def end(self) -> None:
        """Nothing is to be let go of."""


class SteppedEpochs(Iterations):
    """The epochs of a fit by steps: from its beginning on, another fit of the network continues from its optimizer."""

    def __init__(self, net: Model, state: TrainingState, trainer: Any) -> None:
        super().__init__(net, state.optimizer, trainer, trainer.columns)
        self._state = state

    @contextmanager
    def saving_state(self, net: Any) -> Iterator[None]:
        """Let the network have the optimizer's state, whatever ends the training."""
        keep_training_state(net, self._state)
        with super().saving_state(net):
            yield
