"""A walk: steps on mini-batches of one partition, from parameters that all partitions begin with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.parts import Blueprint, Part
from fastbp.dask.tasks import Terms
from fastbp.dask.worker import threads_for
from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import inputs_of
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
    mean_weight, clip_norm : float
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

    def rows_of(self, n_rows: int) -> slice:
        """Return which places in a partition's order this round comes to."""
        batch_rows = min(self.batch_rows, max(n_rows, 1))
        first = self.first_step * batch_rows
        return slice(min(first, n_rows), min(first + len(self.rates) * batch_rows, n_rows))


def walk(
    part: Part, blueprint: Blueprint, params: NDArray[Any], vectors: NDArray[Any], plan: Walk, share: float
) -> Terms:
    """Return `share` times the parameters and the optimizer's vectors after the walk, and the sums of cost and weight.

    The order of the rows depends on the seed, the epoch and the number of the partition alone.  A walk that diverges
    has a cost of NaN.
    """
    data, n_rows = part.data, len(part)
    if part.problem is not None:
        raise part.problem
    if data is None or share == 0.0:
        return np.zeros_like(params), np.zeros_like(vectors), 0.0, 0.0
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
    return scale * model.params, scale * state.vectors, cost, weight
