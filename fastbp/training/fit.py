"""The fit loop: epochs, mini-batches, validation, early stopping, callbacks, progress, checkpoints.

A call of the kernel takes a whole epoch, or several short ones.  It returns to Python after each epoch if something
else has to happen there, and within an epoch for a checkpoint or Ctrl-C.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp.engine.rows import Data
from fastbp.model.checks import checked_data
from fastbp.model.model import passes_of
from fastbp.storage.networks import describe
from fastbp.system.alone import alone
from fastbp.system.memory import require_writable
from fastbp.system.progress import progress_bar
from fastbp.training.checkpoint import (
    Checkpoints,
    Record,
    SavedFit,
    describe_data,
)
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.history import Callback, History
from fastbp.training.optimizers import Optimizer
from fastbp.training.plan import Plan, batch_rows_for
from fastbp.training.state import TrainingDivergedError, continued_state
from fastbp.training.steps import Steps
from fastbp.training.trained import TrainedModel, training_state_of
from fastbp.validation.arrays import column_names, require_columns


def fit(net: TrainedModel, X: ArrayLike, data: Any, plan: Plan) -> History:
    """Train a network by mini-batch gradient descent; see `fastbp.Network.fit`.

    `data` are valid rows, targets and weights, and `X` what the rows were made of, which may have names of columns.
    """
    return alone(net, "fit", functools.partial(_fit, net, X, data, plan))


def _fit(net: TrainedModel, X: ArrayLike, data: Any, plan: Plan) -> History:
    """Do that, while no other training of the network runs."""
    require_writable(net)
    names = column_names(X) or net.feature_names
    validation_set = None if plan.validation_data is None else _validation_set(net, plan.validation_data, names)
    batch_rows = batch_rows_for(plan.batch_size, len(data[0]))
    path: Any = plan.checkpoint
    saved = SavedFit(path, net, plan.optimizer) if plan.resume else None
    optimizer = None if saved is None else saved.optimizer
    state = None
    if optimizer is None:
        state = continued_state(net, training_state_of(net), plan.optimizer, plan.seed)
        optimizer = state.optimizer
    description = {} if path is None else _description(net, plan, data, validation_set, batch_rows, optimizer)
    if saved is not None:
        saved.compare(description)
        state = saved.training_state()
    assert state is not None
    rows = Data(*data)
    steps = Steps(
        net,
        rows,
        state,
        batch_rows,
        mean_weight=rows.mean_weight,
        clip_norm=plan.clip_norm,
        tol=plan.tol,
        dropout_seed=state.dropout_seed,
        n_threads=plan.n_threads,
    )
    epochs = Epochs(steps, state, plan.epochs, shuffle=plan.shuffle)
    record = Record(Best(net.params, plan.early_stopping) if plan.early_stopping else None)
    if saved is not None:
        saved.restore(epochs, record)
    net.feature_names = names
    run = _Run(net, epochs, plan, validation_set, record)
    return run.train(Checkpoints(path, plan.checkpoint_every, description, epochs, record))


def _description(
    net: TrainedModel, plan: Plan, data: Any, validation_set: Any, batch_rows: int, optimizer: Optimizer
) -> dict[str, Any]:
    """Return how a checkpoint describes its fit."""
    arguments = {**describe_data(*data), **plan.describe(len(data[0]), batch_rows, optimizer)}
    if validation_set is not None:
        arguments |= describe_data(validation_set[0], validation_set[1], validation_set[2], "_val")
    return {"network": describe(net), "fit": arguments, "epochs": plan.epochs}


# --- the loop over epochs ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """A fit in progress."""

    net: TrainedModel
    epochs: Epochs
    plan: Plan
    validation_set: Any
    record: Record

    def train(self, checkpoints: Checkpoints) -> History:
        """Train from where the record ends, several epochs at once if nothing has to happen between them."""
        net, plan, record = self.net, self.plan, self.record
        net.history = history = record.history
        with (
            progress_bar(plan.epochs, "epoch", wanted=plan.progress, begun=len(history)) as advance,
            self.epochs.saving_state(net),
            _saying_why(history),
            checkpoints.on_the_way_out(),
        ):
            while record.stopped_by is None and len(history) < plan.epochs:
                done = len(history)
                loss, val_loss = self._next(checkpoints)
                shown = {} if val_loss is None else {"val_loss": f"{val_loss:.4g}"}
                advance(len(history) - done, loss=f"{loss:.4g}", **shown)
                if _asks_to_stop(plan.callbacks, net, history):
                    record.stopped_by = record.stopped_by or "callback"
                if len(history) == plan.epochs:
                    record.stopped_by = record.stopped_by or "epochs"
                checkpoints.after_epoch()
        history.stopped_by = record.stopped_by or "epochs"
        if record.best is not None:
            record.best.restore()
        return history

    def _next(self, checkpoints: Checkpoints) -> tuple[float, float | None]:
        """Train an epoch, or several; return the last loss, and the validation loss if any."""
        epochs, plan, history = self.epochs, self.plan, self.record.history
        left = plan.epochs - len(history)
        looks = checkpoints.are_written or plan.looks_after_each_epoch(is_full_batch=epochs.steps.is_full_batch)
        n_epochs = 1 if looks or left == 1 else min(epochs.most_at_once(), left)
        if n_epochs == 1:
            return self._epoch(checkpoints)
        loss, converged = epochs.several(n_epochs, history)
        self.record.stopped_by = "tolerance" if converged else None
        return loss, None

    def _epoch(self, checkpoints: Checkpoints) -> tuple[float, float | None]:
        """Train one epoch, check whether to stop, and record it; return its loss, and its validation loss if any."""
        epochs, plan, record = self.epochs, self.plan, self.record
        history, began = record.history, time.perf_counter()
        loss, rate, converged = epochs.one(len(history), checkpoints)
        val_loss = None
        if self.validation_set is not None:
            val_loss = passes_of(self.net).cost(*self.validation_set, n_threads=epochs.steps.n_threads)
        converged = converged or (plan.tol is not None and epochs.norm_at_most(plan.tol))
        exhausted = record.best is not None and val_loss is not None and record.best.should_stop(val_loss)
        history.append(loss, rate, time.perf_counter() - began, val_loss)
        epochs.end_one()
        record.stopped_by = "tolerance" if converged else "early_stopping" if exhausted else None
        return loss, val_loss


def _asks_to_stop(callbacks: Sequence[Callback], net: TrainedModel, history: History) -> bool:
    """Call all callbacks; return whether one of them ends the training."""
    stops = False
    for i, callback in enumerate(callbacks):
        answer = callback(net, history)
        if answer is not None and not isinstance(answer, bool | np.bool_):
            name = getattr(callback, "__name__", type(callback).__name__)
            raise TypeError(
                f"`callbacks[{i}]` must return True to end the training, or False or None to go on, because another "
                f"value does not say which; {name} returned {type(answer).__name__}. Write bool(...) around it, or "
                "return nothing."
            )
        stops = stops or bool(answer)
    return stops


@contextmanager
def _saying_why(history: History) -> Iterator[None]:
    """Say in the history what kind of exception ended the fit."""
    try:
        yield
    except BaseException as error:
        history.stopped_by = "divergence" if isinstance(error, TrainingDivergedError) else "interruption"
        raise


def _validation_set(net: TrainedModel, validation_data: Any, names: tuple[str, ...] | None) -> Any:
    """Return checked validation inputs, targets and weights."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError("`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val).")
    try:
        if names is not None:
            require_columns(validation_data[0], names)
        return checked_data(net, *validation_data, *([None] * (3 - len(validation_data))))
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None
