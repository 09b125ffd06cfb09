"""`Averaged`: a fit by walks on each partition and the mean of where they lead; see `fastbp.dask.walks`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.exact import Cost, diverged, norm_of
from fastbp.dask.rows import AllRows
from fastbp.dask.walks import Rounds
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
        self._net, self._state, self._plan = net, state, plan
        self._rounds = Rounds(
            net,
            rows,
            state,
            batch_rows,
            average_every,
            mean_weight=rows.mean_weight,
            clip_norm=plan.clip_norm,
            seed=draw_seed(state.rng) if plan.shuffle else None,
            dropout_seed=state.dropout_seed,
        )
        self._cost = Cost(net, rows)
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
                self._epoch(rows)
                if self._plan.tol is not None:
                    _, grad = self._cost.value_and_grad(self._net.params)
                    self.stopped_by = "tolerance" if norm_of(grad) <= self._plan.tol else None
        finally:
            record(np.array(rows, np.float64).reshape(-1, 2))

    def _epoch(self, rows: list[tuple[float, float]]) -> None:
        """Take one, and append its loss and its last learning rate."""
        net, state, epoch, n = self._net, self._state, self._n_taken, self._rounds.per_epoch
        rates = state.optimizer.learning_rates(epoch * n, n, self._plan.epochs * n)
        before = net.params.copy(), state.vectors.copy(), state.step, state.powers
        n_rows = len(rows)
        try:
            loss = self._rounds.epoch(epoch, rates)
            if math.isfinite(loss):
                self._n_taken = epoch + 1
                rows.append((loss, float(rates[-1])))  # now it is taken
        except BaseException:  # Ctrl-C may come between any two lines
            if len(rows) == n_rows:
                net.params[...], state.vectors[...], state.step, state.powers = before
                self._n_taken = epoch
            raise
        if len(rows) == n_rows:
            state.forget()
            raise diverged(epoch, float(rates[0]))

    def state(self) -> NDArray[np.float64]:
        """Return what continues: epochs and steps taken, powers, seeds, the optimizer's vectors."""
        state = self._state
        powers = [min(power, 1.0) for power in state.powers]  # RMSprop's mean nothing, and may overflow
        numbers = [self._n_taken, state.step, *powers, self._rounds.seed or 0, self._rounds.dropout_seed]
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
        self._n_taken, self._rounds.dropout_seed = int(n_taken), int(dropout_seed)
        self._rounds.seed = int(seed) if self._plan.shuffle else None
        state.dropout_seed = self._rounds.dropout_seed
        state.step, state.powers = int(step), (power_1, power_2)
        state.vectors[...] = values[_NUMBERS:]
        return True

    def end(self) -> None:
        """Nothing is to be let go of."""
