"""The solvers 'sgd' and 'adam': the loop over epochs, with scikit-learn's rules for learning rates and for stopping."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.model import Model
from fastbp.neural_network.errors import diverged, warn
from fastbp.neural_network.held_out import HeldOut, set_aside
from fastbp.system import caller
from fastbp.system.progress import progress_bar
from fastbp.training.optimizers import SGD, Adam, padded_constants, scheduled_rates
from fastbp.training.schedules import Schedule
from fastbp.training.state import OptimizerState, n_numbers
from fastbp.training.steps import Steps

_LEAST_ADAPTIVE_RATE = 1e-6  # scikit-learn's: below it, 'adaptive' stops instead of dividing by 5
_DEFAULT_BATCH_ROWS = 200  # scikit-learn's batch_size='auto'


def say(text: str) -> None:
    """Write a line of `verbose` to standard output, as scikit-learn's print does."""
    if sys.stdout is not None:  # a program without a console, such as pythonw's, has none; print() knows that, too
        sys.stdout.write(f"{text}\n")


class Learner(Protocol):
    """What a stochastic fit uses of an estimator.

    It goes by the parameters, and keeps the record in the attributes, for callbacks to see and for Ctrl-C to leave.
    """

    solver: str
    batch_size: Any
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: Any
    warm_start: bool
    warm_start_optimizer: bool
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: float
    clip_norm: float | None
    n_threads: int | None
    progress: bool

    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    validation_loss_curve_: Any
    _no_improvement_count: int  # as scikit-learn calls it; a warm fit goes on with it


@dataclass(frozen=True)
class Task:
    """What a stochastic fit works on.

    Attributes
    ----------
    net : Model
        The network; its parameters are changed in place.
    data : Data
        The training data, valid and in the network's dtype.
    objective : Objective
        What is minimised.
    state : OptimizerState
        The optimizer; changed in place.
    rng : RandomState
        Random numbers.
    held_out : HeldOut or None
        The user's own validation data.
    weighs_by_all_rows : bool
        Whether the weights of a mini-batch are compared with those of all rows, rather than with each other.
    watch : callable
        Returns rows that early stopping has set aside as it looks at them.
    labels_of : callable
        Returns the classes whose shares both parts keep when rows are set aside, or None.
    """

    net: Model
    data: Data
    objective: Objective
    state: OptimizerState
    rng: np.random.RandomState
    held_out: HeldOut | None
    weighs_by_all_rows: bool
    watch: Callable[[Data], HeldOut]
    labels_of: Callable[[Data], NDArray[Any] | None]


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
    """

    def __init__(self, learner: Learner, task: Task, incremental: bool) -> None:
        self._learner, self._task, self._incremental = learner, task, incremental
        self._net, self._state = task.net, task.state
        # each `fit` goes through a schedule from its start, all calls of `partial_fit` together through one
        self._first_step = 0 if incremental else self._state.step
        if learner.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._train_rows, self._held_out = self._split()
        n_train = len(task.data) if self._train_rows is None else len(self._train_rows)
        self._order = np.arange(n_train) if self._train_rows is None else self._train_rows
        self._steps = Steps(
            task.net,
            task.data,
            task.state,
            self._batch_rows(n_train),
            objective=task.objective,
            n_train=n_train,
            mean_weight=self._mean_weight(task.data.sample_weight),
            clip_norm=learner.clip_norm or 0.0,
            dropout_seed=self._dropout_seed(),
            n_threads=learner.n_threads,
        )
        self._n_train = n_train
        self._best: NDArray[Any] | None = None

    # --- preparations -------------------------------------------------------------------------------------------------

    def _split(self) -> tuple[NDArray[np.int64] | None, HeldOut | None]:
        """Return the rows to train on (None for all) and the validation data, as early stopping wants them."""
        task, learner = self._task, self._learner
        if not learner.early_stopping or task.held_out is not None:
            return None, task.held_out
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

    def _batch_rows(self, n_train: int) -> int:
        """Return the rows of a mini-batch."""
        batch_size = self._learner.batch_size
        if batch_size == "auto":
            return min(_DEFAULT_BATCH_ROWS, n_train)
        if batch_size > n_train:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        return int(min(batch_size, n_train))

    def _dropout_seed(self) -> int:
        """Draw a seed, only where there is dropout: without, the random numbers are scikit-learn's."""
        return int(self._task.rng.randint(1 << 31)) if any(rate > 0 for rate in self._net.dropout) else 0

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self, on_epoch: Callable[[int, bool], bool], has_callbacks: bool) -> None:
        """Train until the loss or score no longer improves, a callback says so, or `max_iter` epochs are over."""
        est = self._learner
        n_epochs = 1 if self._incremental else est.max_iter
        est.n_iter_ = 0
        self._note_first_score()
        with (
            self._interruptible(),
            progress_bar(n_epochs, "epoch", wanted=bool(est.progress and not self._incremental)) as advance,
        ):
            for epoch in range(n_epochs):
                if has_callbacks:
                    on_epoch(epoch, True)
                finished = self._epoch(epoch)
                advance(1, **self._shown())
                stopped = on_epoch(epoch, False) if has_callbacks else False
                if finished or stopped or self._incremental:
                    break
            else:
                warn(
                    f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                )
        if est.early_stopping and self._best is not None:
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
        loss, _ = self._steps.epoch(self._rates(), order)
        self._steps.end_epoch()
        has_diverged = not np.isfinite(loss)
        if has_diverged and not (est.early_stopping and self._best is not None):
            self._state.vectors.fill(0)
            raise diverged(f"epoch {epoch + 1} with a learning rate of {self._state.learning_rate:g}")
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
            caller.warn(
                f"The loss became NaN or infinite in epoch {epoch + 1}; training stops with the best weights so far.",
                ConvergenceWarning,
            )
            return True
        if est.solver == "sgd" and est.learning_rate == "invscaling":
            self._state.learning_rate = float(est.learning_rate_init) / (est.t_ + 1) ** est.power_t
        return est._no_improvement_count > est.n_iter_no_change and self._should_stop()

    def _next_order(self) -> NDArray[np.int64] | None:
        """Return the rows in this epoch's order: the last one shuffled again, as scikit-learn does."""
        if self._learner.shuffle:
            index = np.arange(self._n_train)
            self._task.rng.shuffle(index)
            self._order = self._order[index]
            return self._order
        return self._train_rows

    def _rates(self) -> NDArray[np.float64]:
        """Return the learning rate of each step of this epoch."""
        est, n_steps = self._learner, self._steps.per_epoch
        if isinstance(est.learning_rate, Schedule):
            first = self._state.step - self._first_step
            rates = scheduled_rates(est.learning_rate, first, n_steps, est.max_iter * n_steps)
            self._state.learning_rate = float(rates[-1])
            return rates
        return np.full(n_steps, self._state.learning_rate)

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


def optimizer_for(learner: Learner, net: Model, old: OptimizerState | None, incremental: bool) -> OptimizerState:
    """Return a fresh optimizer, or the one to go on with."""
    goes_on = incremental or (learner.warm_start and learner.warm_start_optimizer and learner.loss_curve_)
    if old is not None and goes_on and old.fits(net):
        return old
    if learner.solver == "sgd":
        constants: tuple[float, ...] = learner.momentum, float(learner.nesterovs_momentum)
        state = _fresh_state(net, SGD.code, constants, 1 if learner.momentum > 0 else 0)
    else:
        # the 1 puts epsilon beside sqrt(v), as in scikit-learn
        constants = learner.beta_1, learner.beta_2, learner.epsilon, 0.0, 1.0
        state = _fresh_state(net, Adam.code, constants, 2)
    state.learning_rate = float(learner.learning_rate_init)
    return state


def _fresh_state(net: Model, code: int, constants: tuple[float, ...], n_vectors: int) -> OptimizerState:
    """Return the state of an optimizer that has taken no step."""
    padded = padded_constants(*constants)
    return OptimizerState(code, padded, n_vectors, np.zeros(n_numbers(net, n_vectors), net.dtype))


def initialise_record(learner: Learner, first_pass: bool, has_losses: bool) -> None:
    """Set the attributes that a stochastic fit adds to, unless an earlier fit left them.

    `early_stopping` may have been changed between two warm fits, and users may set `coefs_` by hand: what is missing
    begins afresh.
    """
    known = {} if first_pass else vars(learner)
    fresh = {
        "loss_curve_": [],
        "_no_improvement_count": 0,
        "best_loss_": None if learner.early_stopping else np.inf,
        "validation_scores_": [] if learner.early_stopping else None,
        "best_validation_score_": -np.inf if learner.early_stopping else None,
        "validation_loss_curve_": [] if has_losses else None,
        "t_": 0,
    }
    for name, value in fresh.items():
        if known.get(name) is None:
            setattr(learner, name, value)
