"""Walks: steps on mini-batches of one partition, from parameters that all begin with, and the mean of where they lead.

In a round all partitions p begin with the same parameters and vectors of the optimizer.  Each takes its next steps, at
most `average_every`, on n_p of its rows; then, with N the sum of the n_p,

    parameters = sum over p of n_p / N * parameters_p,

and likewise each vector of the optimizer.  The count of steps goes on with that of the longest walk, and
Adam's powers with those of the walk that took most of them: where all weights of a mini-batch are 0, none is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.parts import Blueprint, Part
from fastbp.dask.rows import AllRows
from fastbp.dask.tasks import Terms
from fastbp.dask.worker import threads_for
from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import inputs_of
from fastbp.engine.objective import Objective
from fastbp.model.model import Model
from fastbp.training.state import OptimizerState
from fastbp.training.steps import Steps

_MASK = (1 << 31) - 1  # of a seed for dropout


@dataclass(frozen=True)
class Walk:
    """What all walks of a round have in common.

    Attributes
    ----------
    code, constants, n_vectors, step, powers
        The optimizer, as `OptimizerState` has it, before the round.
    batch_rows : int
        Rows of a mini-batch; a smaller partition is one.
    rates : ndarray of float64
        Learning rate of each step of the longest walk.
    first_step, epoch : int
        Where the round begins in an epoch, and which epoch it is.
    seed : int or None
        What the orders of the rows are made of; None for their own order.
    dropout_seed : int
        What the masks are made of.
    mean_weight, clip_norm, objective
        As `Steps` has them.
    """

    code: int
    constants: NDArray[np.float64]
    n_vectors: int
    step: int
    powers: tuple[float, float]
    batch_rows: int
    rates: NDArray[np.float64]
    first_step: int
    epoch: int
    seed: int | None
    dropout_seed: int
    mean_weight: float
    clip_norm: float
    objective: Objective | None

    def rows_of(self, n_rows: int) -> slice:
        """Return which places in a partition's order this round comes to."""
        batch_rows = min(self.batch_rows, max(n_rows, 1))
        first = self.first_step * batch_rows
        return slice(min(first, n_rows), min(first + len(self.rates) * batch_rows, n_rows))


def walk(
    part: Part, blueprint: Blueprint, params: NDArray[Any], vectors: NDArray[Any], plan: Walk, share: float
) -> Terms:
    """Return `share` times parameters and the optimizer's vectors after the walk, sums of cost and weight, and powers.

    The order of the rows depends on the seed, the epoch and the number of the partition alone.  A walk that diverges
    has a cost of NaN.
    """
    data, n_rows = part.data, len(part)
    if part.problem is not None:
        raise part.problem
    if data is None or share == 0.0:
        return np.zeros_like(params), np.zeros_like(vectors), 0.0, 0.0, []
    order = np.arange(n_rows)
    if plan.seed is not None:
        order = np.random.default_rng([plan.seed, plan.epoch, part.index]).permutation(n_rows)
    order = order[plan.rows_of(n_rows)]
    model = blueprint.model_of(np.array(params))
    state = OptimizerState(plan.code, plan.constants, plan.n_vectors, np.array(vectors), plan.step, plan.powers)
    batch_rows = min(plan.batch_rows, n_rows, len(order))
    with threads_for(inputs_of(data.X).flops_per_step(model.sizes, batch_rows)) as n_threads:
        steps = Steps(
            model,
            data,
            state,
            batch_rows,
            objective=plan.objective,
            n_train=len(order),
            mean_weight=plan.mean_weight,
            clip_norm=plan.clip_norm,
            dropout_seed=(plan.dropout_seed + 0x9E3779B1 * part.index) & _MASK,
            n_threads=n_threads,
        )
        rates = np.ascontiguousarray(plan.rates[: steps.per_epoch])
        _, status = steps.epoch(rates, order)
    cost, weight = steps.sums.tolist()
    if status == DIVERGED:
        cost = math.nan
    scale = params.dtype.type(share)
    return scale * model.params, scale * state.vectors, cost, weight, [state.powers]


class Rounds:
    """The rounds of one fit.

    Parameters
    ----------
    net : Model
        The network, with its penalties; its parameters change when an epoch is finished.
    rows : AllRows
        The rows.
    state : OptimizerState
        The optimizer, which changes then, too.
    batch_rows : int
        Rows of a mini-batch.
    average_every : int or None
        Steps of a round; None for an epoch.
    mean_weight, clip_norm, objective
        As `fastbp.training.steps.Steps` has them.

    Attributes
    ----------
    per_epoch : int
        Steps of the longest walk.
    seed : int or None
        What the orders of the rows are made of.
    dropout_seed : int
        What the masks are made of.
    """

    def __init__(
        self,
        net: Model,
        rows: AllRows,
        state: OptimizerState,
        batch_rows: int,
        average_every: int | None,
        *,
        mean_weight: float,
        clip_norm: float,
        seed: int | None,
        dropout_seed: int,
        objective: Objective | None = None,
    ) -> None:
        self._net, self._rows, self._state, self._batch_rows = net, rows, state, batch_rows
        self._mean_weight, self._clip_norm, self._objective = mean_weight, clip_norm, objective
        self.seed, self.dropout_seed = seed, dropout_seed
        self.per_epoch = max(math.ceil(n / batch_rows) for n in rows.n_rows)
        self._per_round = self.per_epoch if average_every is None else min(average_every, self.per_epoch)
        self._blueprint = rows.session.constant(Blueprint(net, net.penalties))

    def epoch(self, number: int, rates: NDArray[np.float64]) -> float:
        """Take an epoch, counted from 0, with a learning rate for each step; return its mean cost.

        NaN or infinity means that it diverged, and that nothing has changed.
        """
        net, state = self._net, self._state
        params, vectors, step, powers = net.params, state.vectors, state.step, state.powers
        cost = weight = 0.0
        for first in range(0, self.per_epoch, self._per_round):
            here = rates[first : first + self._per_round]
            plan = self._walk(step, powers, here, first, number)
            params, vectors, cost_here, weight_here, powers = self._round(plan, params, vectors)
            cost, weight, step = cost + cost_here, weight + weight_here, step + len(here)
            if not (math.isfinite(cost) and np.isfinite(params).all()):
                return math.nan
        net.params[...] = params
        state.vectors[...] = vectors
        state.step, state.powers = step, powers
        return cost / weight

    def _walk(self, step: int, powers: tuple[float, float], rates: NDArray[np.float64], first: int, epoch: int) -> Walk:
        state = self._state
        return Walk(
            state.code,
            state.constants,
            state.n_vectors,
            step,
            powers,
            self._batch_rows,
            rates,
            first,
            epoch,
            self.seed,
            self.dropout_seed,
            self._mean_weight,
            self._clip_norm,
            self._objective,
        )

    def _round(
        self, plan: Walk, params: NDArray[Any], vectors: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], float, float, tuple[float, float]]:
        """Return the mean parameters and vectors of a round, the sums of costs and weights, and the powers."""
        places = [plan.rows_of(n) for n in self._rows.n_rows]
        walked = [place.stop - place.start for place in places]
        shares = [n / sum(walked) for n in walked]
        arguments = self._rows.session.vector(vectors), plan
        params, vectors, cost, weight, powers = self._rows.sum_of(
            walk, params, *arguments, of_part=lambda i: (shares[i],), blueprint=self._blueprint
        )
        # No step is taken where all weights of a mini-batch are 0: the smallest powers are those of the most steps.
        return params, vectors, cost, weight, min(powers)
