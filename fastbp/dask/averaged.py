"""Steps on mini-batches of each partition, and the mean of what they lead to.

In a round all partitions p begin with the same parameters and vectors of the optimizer.  Each takes its next steps, at
most `average_every`, on n_p of its rows; then, with N the sum of the n_p,

    parameters = sum over p of n_p / N * parameters_p,

and likewise each vector of the optimizer.  The count of steps goes on with that of the longest walk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.exact import Cost, diverged, norm_of
from fastbp.dask.parts import Blueprint
from fastbp.dask.rows import AllRows
from fastbp.dask.walks import Walk, walk
from fastbp.model.model import Model
from fastbp.training.plan import Plan
from fastbp.training.state import TrainingState, draw_seed
from fastbp.training.whole_batch import RATE
from fastbp.validation.numbers import MOST_STEPS

_NUMBERS = 6  # of the state, before the optimizer's vectors


class Averaged:
    """A fit by averaged walks, in progress; see `fastbp.training.whole_batch.Trainer`.

    Parameters
    ----------
    net : Model
        The network; its parameters change when an epoch is finished.
    rows : AllRows
        The rows.
    state : TrainingState
        The optimizer, which changes then, too.
    plan : Plan
        The arguments of the fit.
    batch_rows : int
        Rows of a mini-batch.
    average_every : int or None
        Steps of a round; None for an epoch.
    """

    columns = (RATE,)
    n_threads = 1

    def __init__(
        self,
        net: Model,
        rows: AllRows,
        state: TrainingState,
        plan: Plan,
        batch_rows: int,
        average_every: int | None,
    ) -> None:
        self._net, self._rows, self._state, self._plan, self._batch_rows = net, rows, state, plan, batch_rows
        self._per_epoch = max(math.ceil(n / batch_rows) for n in rows.n_rows)  # steps of the longest walk
        self._per_round = self._per_epoch if average_every is None else min(average_every, self._per_epoch)
        self._blueprint = rows.session.constant(Blueprint(net, net.penalties))
        self._cost = Cost(net, rows)
        self._seed = draw_seed(state.rng) if plan.shuffle else 0
        self._n_taken = 0
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        """Return how many epochs end soon enough for Ctrl-C, which ends them at any time."""
        return 1

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take epochs; the loss of each is the mean over its steps, as in `Network.fit`."""
        rows = list[tuple[float, float]]()
        try:
            while len(rows) < n_epochs and self.stopped_by is None:
                rows.append(self._epoch())
                if self._plan.tol is not None:
                    _, grad = self._cost.value_and_grad(self._net.params)
                    self.stopped_by = "tolerance" if norm_of(grad) <= self._plan.tol else None
        finally:
            record(np.array(rows, np.float64).reshape(-1, 2))

    def _epoch(self) -> tuple[float, float]:
        """Take the rounds of an epoch; return its loss and its last learning rate.  Only then anything changes."""
        net, state, epoch, n = self._net, self._state, self._n_taken, self._per_epoch
        rates = state.optimizer.learning_rates(epoch * n, n, self._plan.epochs * n)
        params, vectors, step, powers = net.params, state.vectors, state.step, state.powers
        cost = weight = 0.0
        for first in range(0, n, self._per_round):
            here = rates[first : first + self._per_round]
            plan = self._walk(step, powers, here, first)
            params, vectors, cost_here, weight_here = self._round(plan, params, vectors)
            cost, weight, step = cost + cost_here, weight + weight_here, step + len(here)
            for _ in here:
                powers = powers[0] * float(state.constants[0]), powers[1] * float(state.constants[1])
            if not (math.isfinite(cost) and np.isfinite(params).all()):
                state.forget()
                raise diverged(epoch, float(here[0]))
        net.params[...] = params
        state.vectors[...] = vectors
        state.step, state.powers, self._n_taken = step, powers, epoch + 1
        return (cost / weight if weight else math.nan), float(rates[-1])

    def _walk(self, step: int, powers: tuple[float, float], rates: NDArray[np.float64], first: int) -> Walk:
        state, plan = self._state, self._plan
        return Walk(
            state.code,
            state.constants,
            state.n_vectors,
            step,
            powers,
            self._batch_rows,
            rates,
            first,
            self._n_taken,
            self._seed if plan.shuffle else None,
            state.dropout_seed,
            self._rows.mean_weight,
            plan.clip_norm,
        )

    def _round(
        self, plan: Walk, params: NDArray[Any], vectors: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], float, float]:
        """Return the mean parameters and vectors of a round, and the sums of costs and weights."""
        places = [plan.rows_of(n) for n in self._rows.n_rows]
        walked = [place.stop - place.start for place in places]
        shares = [n / sum(walked) for n in walked]
        arguments = self._rows.session.vector(vectors), plan
        params, vectors, cost, weight = self._rows.sum_of(
            walk, params, *arguments, of_part=lambda i: (shares[i],), blueprint=self._blueprint
        )
        return params, vectors, cost, weight

    def state(self) -> NDArray[np.float64]:
        """Return what continues: epochs and steps taken, powers, seeds, the optimizer's vectors."""
        state = self._state
        powers = [min(power, 1.0) for power in state.powers]  # RMSprop's mean nothing, and may overflow
        numbers = [self._n_taken, state.step, *powers, self._seed, state.dropout_seed]
        return np.concatenate([numbers, state.vectors.astype(np.float64)])

    def restore(self, values: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        n_taken, step, power_1, power_2, seed, dropout_seed = values[:_NUMBERS].tolist()
        counts = [(n_taken, MOST_STEPS), (step, MOST_STEPS), (seed, 1 << 31), (dropout_seed, 1 << 31)]
        if not all(0 <= n <= most and n == int(n) for n, most in counts) or not np.isfinite(values).all():
            return False
        if not (0 <= power_1 <= 1 and 0 <= power_2 <= 1):
            return False
        state = self._state
        self._n_taken, self._seed, state.dropout_seed = int(n_taken), int(seed), int(dropout_seed)
        state.step, state.powers = int(step), (power_1, power_2)
        state.vectors[...] = values[_NUMBERS:]
        return True

    def end(self) -> None:
        """Nothing is to be let go of."""
