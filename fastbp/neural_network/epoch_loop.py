"""The loop over the epochs of 'sgd' and 'adam', with scikit-learn's rules for learning rates and for stopping."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp.model.model import Model
from fastbp.neural_network.errors import diverged, warn
from fastbp.neural_network.held_out import HeldOut
from fastbp.neural_network.learner import Learner
from fastbp.system import caller
from fastbp.system.progress import progress_bar
from fastbp.training.optimizers import scheduled_rates
from fastbp.training.schedules import Schedule
from fastbp.training.state import OptimizerState

_LEAST_ADAPTIVE_RATE = 1e-6  # scikit-learn's: below it, 'adaptive' stops instead of dividing by 5


def say(text: str) -> None:
    """Write a line of `verbose` to standard output, as scikit-learn's print does."""
    if sys.stdout is not None:  # a program without a console, such as pythonw's, has none; print() knows that, too
        sys.stdout.write(f"{text}\n")


class EpochSteps(Protocol):
    """What takes the steps of an epoch, such as `fastbp.training.steps.Steps`."""

    per_epoch: int

    def epoch(self, rates: NDArray[np.float64], order: NDArray[np.int64] | None = None) -> tuple[float, int]:
        """Take them; return their mean cost, NaN if it diverged, and a status."""

    def end_epoch(self) -> None:
        """Begin a new epoch with the next step."""


class EpochLoop(ABC):
    """One call of `fit` or `partial_fit` with a stochastic solver.

    Parameters
    ----------
    learner : Learner
        The estimator: parameters and record.
    net : Model
        The network; its parameters are changed in place.
    state : OptimizerState
        The optimizer; changed in place.
    incremental : bool
        Whether this is one epoch of `partial_fit`.
    """

    _steps: EpochSteps
    _held_out: HeldOut | None
    _n_train: int  # rows of an epoch

    def __init__(self, learner: Learner, net: Model, state: OptimizerState, incremental: bool) -> None:
        self._learner, self._net, self._state, self._incremental = learner, net, state, incremental
        # each `fit` goes through a schedule from its start, all calls of `partial_fit` together through one
        self._first_step = 0 if incremental else state.step
        self._n_epochs = 1 if incremental else learner.max_iter
        self._done = 0  # epochs of this call
        self._best: NDArray[Any] | None = None
        if learner.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")

    @abstractmethod
    def is_watched(self) -> bool:
        """Whether something is looked at after each epoch."""

    @abstractmethod
    def _next_order(self) -> NDArray[np.int64] | None:
        """Return the rows in this epoch's order; None for their own, or where it is made elsewhere."""

    @abstractmethod
    def _several(self) -> bool:
        """Train several epochs that nobody watches; return whether training is finished."""

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
