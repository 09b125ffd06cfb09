"""The solvers 'sgd' and 'adam' on rows in memory: what is trained on, in which order, several epochs in a call."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import seconds_per_step
from fastbp.engine.many import Member
from fastbp.engine.rows import Data
from fastbp.engine.shuffling import bits_of, kernel_shuffles
from fastbp.model.definition import problem_of
from fastbp.neural_network.epoch_loop import EpochLoop
from fastbp.neural_network.errors import warn
from fastbp.neural_network.held_out import HeldOut, set_aside
from fastbp.neural_network.learner import Learner, Task
from fastbp.training.optimizers import is_own_schedule
from fastbp.training.schedules import Schedule
from fastbp.training.steps import Steps

_DEFAULT_BATCH_ROWS = 200  # scikit-learn's batch_size='auto'


class StochasticFit(EpochLoop):
    """One call of `fit` or `partial_fit` with a stochastic solver.

    Parameters
    ----------
    learner : Learner
        The estimator: parameters and record.
    task : Task
        The network, the data and what belongs to them.
    incremental : bool
        Whether this is one epoch of `partial_fit`.
    together : bool
        Whether it is trained together with others, by `begin` and `finish` instead of `run`.

    Attributes
    ----------
    dtype : dtype
        Of the network.
    seconds : float
        About how long an epoch takes, pessimistically.
    """

    _steps: Steps

    def __init__(self, learner: Learner, task: Task, incremental: bool, *, together: bool = False) -> None:
        super().__init__(learner, task.net, task.state, incremental)
        self._task = task
        self._train_rows, self._held_out = self._split()
        n_train = len(task.data) if self._train_rows is None else len(self._train_rows)
        self._order = np.arange(n_train) if self._train_rows is None else self._train_rows
        batch_rows = batch_rows_of(learner, n_train)
        if learner.batch_size != "auto" and learner.batch_size > n_train:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        X, make_frame = task.data.X, task.objective.make_frame
        frame = make_frame(problem_of(task.net), X, batch_rows, n_train, gradient=True, has_memory=not together)
        self._steps = Steps(
            task.net,
            task.data,
            task.state,
            batch_rows,
            frame=frame,
            rows=self._train_rows,
            shuffles_again=True,
            mean_weight=self._mean_weight(task.data.sample_weight),
            clip_norm=learner.clip_norm or 0.0,
            dropout_seed=self._dropout_seed(),
            n_threads=1 if together else learner.n_threads,
        )
        self.seconds = self._steps.per_epoch * seconds_per_step(task.net.sizes, batch_rows)
        self.dtype, self._n_train = task.net.dtype, n_train

    # --- preparations -------------------------------------------------------------------------------------------------

    def _split(self) -> tuple[NDArray[np.int64] | None, HeldOut | None]:
        """Return the rows to train on (None for all) and the validation data, as early stopping wants them."""
        task, learner = self._task, self._learner
        if not learner.early_stopping or task.held_out is not None:
            return task.rows, task.held_out
        train, test = set_aside(task.data, learner.validation_fraction, task.rng, task.labels_of(task.data))
        return train, task.watch(task.data.rows(test))

    def _mean_weight(self, weights: NDArray[Any] | None) -> float:
        """Return what the weights of a mini-batch's rows are compared with; 0 for the mini-batch's own mean.

        `partial_fit` does not see all data: there a weight is what a row's gradient is multiplied by.
        """
        if weights is None or not self._task.weighs_by_all_rows:
            return 0.0
        if self._incremental:
            return 1.0
        return float((weights if self._train_rows is None else weights[self._train_rows]).mean(dtype=np.float64))

    def _dropout_seed(self) -> int:
        """Draw a seed, only where there is dropout: without, the random numbers are scikit-learn's."""
        return int(self._task.rng.randint(1 << 31)) if any(rate > 0 for rate in self._net.dropout) else 0

    def is_watched(self) -> bool:
        """Whether something is looked at after each epoch."""
        return self._incremental or self._held_out is not None or needs_python(self._learner, self._task.data)

    def _next_order(self) -> NDArray[np.int64] | None:
        """Return the rows in this epoch's order: the last one shuffled again, as scikit-learn does."""
        if self._learner.shuffle:
            index = np.arange(self._n_train)
            self._task.rng.shuffle(index)
            self._order = self._order[index]
            return self._order
        return self._train_rows

    # --- several epochs in one call of the kernels --------------------------------------------------------------------

    def _certain_epochs(self) -> float:
        """Return how many epochs will be trained, whatever their losses; the last of them may end the training."""
        est = self._learner
        return min(self._n_epochs - self._done, est.n_iter_no_change - est._no_improvement_count + 1)

    def _several(self) -> bool:
        """Train as many of them as make a short call; return whether training is finished."""
        n_epochs = int(max(1, min(self._certain_epochs(), self._steps.most_epochs(shuffle=False))))
        rates = self._rates(n_epochs)
        _, status = self._steps.epochs(rates, self._bits, functools.partial(self._note_all, rates))
        if status == DIVERGED:
            self._give_up()
        return self._is_finished

    # --- together with the fits of other estimators ---

    def begin(self, seconds: float) -> Member:
        """Return what takes the next epochs, as many as are certain and take about so long."""
        certain = self._certain_epochs()
        n_epochs = int(max(1, min(certain, seconds / self.seconds)))
        self._begun = self._rates(n_epochs)
        return self._steps.begin_epochs(self._begun, self._bits)

    def finish(self) -> bool:
        """Record these epochs; return whether the fit is over."""
        losses, status = self._steps.finish_epochs()
        self._note_all(self._begun, losses)
        if status == DIVERGED:
            self._give_up()
        if self._is_finished or self._done < self._n_epochs:
            return self._is_finished
        self._warn_of_the_end()
        return True

    @property
    def _bits(self) -> np.random.BitGenerator | None:
        """The source of the orders of the epochs' rows, if they are random."""
        return bits_of(self._task.rng) if self._learner.shuffle else None

    def _note_all(self, rates: NDArray[np.float64], losses: list[float], *_: Any) -> None:
        """Record the finished epochs of those that were begun with these learning rates."""
        self._is_finished = False
        for loss in losses:
            self._is_finished = self._note(loss)
        if isinstance(self._learner.learning_rate, Schedule):  # that of the last epoch that was begun
            n_steps = (len(losses) + 1) * self._steps.per_epoch
            self._state.learning_rate = float(rates[min(n_steps, len(rates)) - 1])


def needs_python(learner: Learner, data: Data) -> bool:
    """Whether each epoch of a fit ends with something that the kernels do not do, or begins so."""
    weights = data.sample_weight
    return bool(
        learner.early_stopping
        or learner.verbose
        or (learner.shuffle and not kernel_shuffles(len(data)))
        or is_own_schedule(learner.learning_rate)
        or (weights is not None and weights.min() < 0)  # whose sum may be 0 in the midst of several epochs
    )


def batch_rows_of(learner: Learner, n_train: int) -> int:
    """Return the rows of a mini-batch."""
    batch_size = learner.batch_size
    if batch_size == "auto":
        return min(_DEFAULT_BATCH_ROWS, n_train)
    return int(min(batch_size, n_train))
