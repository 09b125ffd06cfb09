"""The solvers 'sgd' and 'adam': the loop over epochs, with scikit-learn's rules for learning rates and for stopping."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import seconds_per_step
from fastbp.engine.many import Member
from fastbp.engine.rows import Data
from fastbp.engine.shuffling import bits_of, kernel_shuffles
from fastbp.model.definition import problem_of
from fastbp.neural_network.errors import diverged, warn
from fastbp.neural_network.held_out import HeldOut, set_aside
from fastbp.neural_network.learner import Learner, Task
from fastbp.system import caller
from fastbp.system.progress import progress_bar
from fastbp.training.optimizers import is_own_schedule, scheduled_rates
from fastbp.training.schedules import Schedule
from fastbp.training.steps import Steps

_LEAST_ADAPTIVE_RATE = 1e-6  # scikit-learn's: below it, 'adaptive' stops instead of dividing by 5
_DEFAULT_BATCH_ROWS = 200  # scikit-learn's batch_size='auto'


def say(text: str) -> None:
    """Write a line of `verbose` to standard output, as scikit-learn's print does."""
    if sys.stdout is not None:  # a program without a console, such as pythonw's, has none; print() knows that, too
        sys.stdout.write(f"{text}\n")


class StochasticFit:
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

    def __init__(self, learner: Learner, task: Task, incremental: bool, *, together: bool = False) -> None:
        self._learner, self._task, self._incremental = learner, task, incremental
        self._net, self._state = task.net, task.state
        # each `fit` goes through a schedule from its start, all calls of `partial_fit` together through one
        self._first_step = 0 if incremental else self._state.step
        if learner.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
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
        self._n_epochs = 1 if incremental else learner.max_iter
        self._done = 0  # epochs of this call
        self._best: NDArray[Any] | None = None

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

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self, on_epoch: Callable[[int, bool], bool], has_callbacks: bool) -> None:
        """Train until the loss or score no longer improves, a callback says so, or `max_iter` epochs are over."""
        est = self._learner
        est.n_iter_ = 0
        self._note_first_score()
        is_watched = has_callbacks or self.is_watched()
        with (
            self._interruptible(),
            progress_bar(self._n_epochs, "epoch", wanted=bool(est.progress and not self._incremental)) as advance,
        ):
            finished = False
            while self._done < self._n_epochs and not finished:
                done = self._done
                if has_callbacks:
                    on_epoch(done, True)
                finished = self._epoch(done) if is_watched else self._several()
                advance(self._done - done, **self._shown())
                finished = (has_callbacks and on_epoch(done, False)) or finished or self._incremental
            if not finished:
                self._warn_of_the_end()
        self._give_back_best()

    def is_watched(self) -> bool:
        """Whether something is looked at after each epoch."""
        return self._incremental or self._held_out is not None or needs_python(self._learner, self._task.data)

    def _warn_of_the_end(self) -> None:
        warn(
            f"Stochastic Optimizer: Maximum iterations ({self._learner.max_iter}) reached and the optimization hasn't "
            "converged yet.",
            ConvergenceWarning,
        )

    def _give_back_best(self) -> None:
        """End with the parameters of the best score, if there is one."""
        if self._learner.early_stopping and self._best is not None:
            self._net.params[...] = self._best

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn Ctrl-C into a warning; what has been learned is kept."""
        try:
            yield
        except KeyboardInterrupt:
            warn("Training interrupted by user.")

    def _epoch(self, epoch: int) -> bool:
        """Train one epoch and record it; return whether training is finished."""
        est = self._learner
        order = self._next_order()
        loss, _ = self._steps.epoch(self._rates(1), order)
        self._steps.end_epoch()
        has_diverged = not np.isfinite(loss)
        if has_diverged and not (est.early_stopping and self._best is not None):
            self._give_up()
        finished = self._note(loss, has_diverged)
        if has_diverged:
            caller.warn(
                f"The loss became NaN or infinite in epoch {epoch + 1}; training stops with the best weights so far.",
                ConvergenceWarning,
            )
        return finished or has_diverged

    def _give_up(self) -> None:
        """Reset the optimizer after an epoch that diverged, and raise the error."""
        self._state.vectors.fill(0)
        raise diverged(f"epoch {self._done + 1} with a learning rate of {self._state.learning_rate:g}")

    def _note(self, loss: float, has_diverged: bool = False) -> bool:
        """Record an epoch; return whether training is finished."""
        est = self._learner
        self._done += 1
        est.n_iter_ += 1
        est.t_ += self._n_train
        est.loss_ = loss
        est.loss_curve_.append(loss)
        if est.verbose:
            say(f"Iteration {est.n_iter_}, loss = {loss:.8f}")
        if self._held_out is not None and self._held_out.has_losses:
            est.validation_loss_curve_.append(np.nan if has_diverged else self._held_out.loss())
        improved = self._note_score(has_diverged) if est.early_stopping else self._note_loss()
        est._no_improvement_count = 0 if improved else est._no_improvement_count + 1
        if has_diverged:
            return True
        if est.solver == "sgd" and est.learning_rate == "invscaling":
            self._state.learning_rate = self._inverse_scaled(est.t_)
        return est._no_improvement_count > est.n_iter_no_change and self._should_stop()

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

    def _next_order(self) -> NDArray[np.int64] | None:
        """Return the rows in this epoch's order: the last one shuffled again, as scikit-learn does."""
        if self._learner.shuffle:
            index = np.arange(self._n_train)
            self._task.rng.shuffle(index)
            self._order = self._order[index]
            return self._order
        return self._train_rows

    def _rates(self, n_epochs: int) -> NDArray[np.float64]:
        """Return the learning rate of each step of so many epochs."""
        est, n_steps = self._learner, self._steps.per_epoch
        if isinstance(est.learning_rate, Schedule):
            first = self._state.step - self._first_step
            rates = scheduled_rates(est.learning_rate, first, n_epochs * n_steps, est.max_iter * n_steps)
            self._state.learning_rate = float(rates[n_steps - 1])
            return rates
        rates = np.full((n_epochs, n_steps), self._state.learning_rate)
        if est.solver == "sgd" and est.learning_rate == "invscaling":
            for epoch in range(1, n_epochs):
                rates[epoch] = self._inverse_scaled(est.t_ + epoch * self._n_train)
        return rates.reshape(-1)

    def _inverse_scaled(self, n_seen: int) -> float:
        """Return the learning rate of 'invscaling' after so many samples."""
        est = self._learner
        rate: float = float(est.learning_rate_init) / (n_seen + 1) ** est.power_t
        return rate

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _note_loss(self) -> bool:
        """Note the training loss, and return whether it improved by `tol`."""
        est, loss = self._learner, self._learner.loss_curve_[-1]
        best = est.best_loss_
        est.best_loss_ = min(best, loss)
        return bool(not loss > best - est.tol)

    def _note_first_score(self) -> None:
        """Let a warm fit with the user's validation data begin with its first parameters as the best so far.

        The validation data, or what is watched, may differ from those of the fit before.  scikit-learn's class, which
        sets rows aside, keeps the best score of its earlier fits instead, and ends with its last parameters if none is
        better.
        """
        est, held_out = self._learner, self._held_out
        if est.early_stopping and held_out is not None and held_out.has_losses and est.t_ > 0:
            score = held_out.score()
            est.best_validation_score_ = -np.inf if np.isnan(score) else score
            self._best = self._net.params.copy()

    def _note_score(self, has_diverged: bool) -> bool:
        """Note the validation score, and return whether it improved by `tol`.  NaN is no improvement."""
        est, held_out = self._learner, self._held_out
        assert held_out is not None
        score = np.nan if has_diverged else held_out.score()
        est.validation_scores_.append(score)
        if est.verbose:
            say(f"Validation score: {score:f}")
        best = est.best_validation_score_
        if score > best:
            est.best_validation_score_ = score
            self._best = self._net.params.copy()
        return bool(score >= best + est.tol)

    def _should_stop(self) -> bool:
        """Say why training stops, or lower the adaptive learning rate and go on."""
        est = self._learner
        what = "Validation score" if est.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change:d} consecutive epochs."
        if est.solver != "sgd" or est.learning_rate != "adaptive":
            ending, stops = "Stopping.", True
        elif self._state.learning_rate <= _LEAST_ADAPTIVE_RATE:
            ending, stops = "Learning rate too small. Stopping.", True
        else:
            self._state.learning_rate /= 5.0
            ending, stops = f"Setting learning rate to {self._state.learning_rate:f}", False
            est._no_improvement_count = 0
        if est.verbose:
            say(f"{message} {ending}")
        return stops

    def _shown(self) -> dict[str, str]:
        """Return what is shown after the progress bar."""
        curve = self._learner.validation_loss_curve_
        losses = {"loss": self._learner.loss_} | ({"val_loss": curve[-1]} if curve else {})
        return {name: f"{loss:.4g}" for name, loss in losses.items()}


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
