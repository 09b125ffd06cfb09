"""The fit loop: epochs, mini-batches, validation, early stopping, callbacks, progress, checkpoints.

A call of the kernel takes a whole epoch, or several short ones.  It returns to Python after each epoch if something
else has to happen there, and within an epoch for a checkpoint or Ctrl-C.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.rows import Data
from fastbp.model.checks import checked_data
from fastbp.model.model import passes_of
from fastbp.storage.networks import describe
from fastbp.system.alone import alone
from fastbp.system.memory import require_writable
from fastbp.system.progress import progress_bar
from fastbp.training.checkpoint import Checkpoints, Record, describe_data
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.frames import Frames
from fastbp.training.history import VAL_LOSS, Callback, History, last_losses, measure, watch
from fastbp.training.metrics import Metrics
from fastbp.training.optimizers import Optimizer
from fastbp.training.plan import Plan, batch_rows_for
from fastbp.training.saved_fit import SavedFit
from fastbp.training.state import TrainingDivergedError, continued_state
from fastbp.training.steps import Steps
from fastbp.training.trained import TrainedModel, training_state_of
from fastbp.training.whole_batch import Iterations, WholeBatchOptimizer
from fastbp.validation.arrays import column_names, require_columns
from fastbp.validation.matrix_like import MatrixLike

_MOST_TRIES = 100  # to record an epoch, in a storm of signals


def fit(net: TrainedModel, X: MatrixLike, data: Any, plan: Plan) -> History:
    """Train a network; see `fastbp.Network.fit`.

    `data` are valid rows, targets and weights, and `X` what the rows were made of, which may have names of columns.
    """
    return alone(net, "fit", functools.partial(_fit, net, X, data, plan))


def _fit(net: TrainedModel, X: MatrixLike, data: Any, plan: Plan) -> History:
    """Do that, while no other training of the network runs."""
    require_writable(net)
    names = column_names(X) or net.feature_names
    chosen = None if plan.validation_data is None else validation_set(net, plan.validation_data, names)
    return fit_checked(net, Data(*data), plan, chosen, names)


def fit_checked(
    net: TrainedModel, data: Data, plan: Plan, validation_data: Data | None, names: tuple[str, ...] | None
) -> History:
    """Train a network that nobody else trains, whose data were checked and have columns of these names."""
    saved = SavedFit(plan.checkpoint, net, plan.optimizer) if plan.resume and plan.checkpoint is not None else None
    rule = plan.optimizer if saved is None else saved.optimizer
    names = names if saved is None else saved.names(names)
    prepare = Preparation(net, plan, data, validation_data, saved)
    epochs = prepare.iterations(rule) if isinstance(rule, WholeBatchOptimizer) else prepare.epochs(rule)
    watched = None if validation_data is None else functools.partial(_cost, net, validation_data, epochs.n_threads)
    rows = data if validation_data is None else validation_data
    metrics = Metrics(net, plan.measured, rows, epochs.n_threads) if plan.measured else None
    return train_epochs(net, epochs, plan, watched, saved, prepare.description, names, metrics)


def _cost(net: TrainedModel, data: Data, n_threads: int) -> float:
    """Return the cost of validation data."""
    return passes_of(net).cost(data.X, data.targets, data.sample_weight, n_threads=n_threads)


def train_epochs(
    net: TrainedModel,
    epochs: Epochs | Iterations,
    plan: Plan,
    validation_cost: Callable[[], float] | None,
    saved: SavedFit | None,
    description: dict[str, Any],
    names: tuple[str, ...] | None,
    metrics: Metrics | None = None,
) -> History:
    """Train a network that nobody else trains by epochs that were prepared, from where a checkpoint ends, if any.

    `description` is what checkpoints say of the fit, which was compared with `saved`; `names` are of the columns.
    """
    rule = epochs.rule if isinstance(epochs, Iterations) else None
    stopping, ends_as = plan.early_stopping, "early_stopping"
    if isinstance(rule, WholeBatchOptimizer) and stopping is None and validation_cost is not None:
        stopping, ends_as = rule.validation_rule(), "max_fail"
    record = Record(Best(net.params, stopping) if stopping else None)
    if saved is not None:
        saved.restore(epochs, record)
    if stopping is not None:
        watch(record.history, stopping.monitor, more_is_better=stopping.more_is_better)
    measure(record.history, (metric.column for metric in plan.measured))
    net.feature_names = names
    run = _Run(net, epochs, plan, validation_cost, metrics, record, ends_as)
    return run.train(Checkpoints(plan.checkpoint, plan.checkpoint_every, description, epochs, record))


@dataclass(slots=True)
class Preparation:
    """What comes before the first epoch: the optimizer's state, compared with a checkpoint's if there is one."""

    net: TrainedModel
    plan: Plan
    data: Data
    validation_data: Data | None
    saved: SavedFit | None
    rows: NDArray[np.int64] | None = None  # to train on, checked; None for all
    description: dict[str, Any] = field(default_factory=dict)  # of a checkpoint

    def iterations(self, rule: WholeBatchOptimizer) -> Iterations:
        """Return the epochs of a whole-batch optimizer."""
        n_rows = len(self.data)
        self.plan.require_whole_batch(rule, n_rows)
        rule.require(self.net)
        self._describe(rule, n_rows)
        trainer = rule.trainer(self.net, self.data, self.plan.n_threads)
        return Iterations(self.net, rule, trainer, rule.columns, rule.reasons)

    def epochs(self, rule: Optimizer | None, frames: Frames | None = None) -> Epochs:
        """Return the epochs of any other optimizer; together with those of other networks, who have such frames."""
        net, plan, saved, data = self.net, self.plan, self.saved, self.data
        n_rows = len(data) if self.rows is None else len(self.rows)
        batch_rows = batch_rows_for(plan.batch_size, n_rows)
        if saved is None:
            state = continued_state(net, training_state_of(net), rule, plan.seed)
            self._describe(state.optimizer, batch_rows)
        else:
            assert rule is not None
            self._describe(rule, batch_rows)
            state = saved.training_state(rule)
        steps = Steps(
            net,
            data,
            state,
            batch_rows,
            rows=self.rows,
            frame=None if frames is None else frames.take(net, data, self.rows, batch_rows),
            mean_weight=data.mean_weight_of(self.rows),
            clip_norm=plan.clip_norm,
            tol=plan.tol,
            dropout_seed=state.dropout_seed,
            n_threads=plan.n_threads if frames is None else 1,
        )
        return Epochs(steps, state, plan.epochs, shuffle=plan.shuffle, tol=plan.tol)

    def compare(self, rule: Optimizer | WholeBatchOptimizer) -> None:
        """Raise unless the checkpoint is one of this fit."""
        n_rows = len(self.data) if self.rows is None else len(self.rows)
        is_whole = isinstance(rule, WholeBatchOptimizer)
        self._describe(rule, n_rows if is_whole else batch_rows_for(self.plan.batch_size, n_rows))

    def _describe(self, rule: Optimizer | WholeBatchOptimizer, batch_rows: int) -> None:
        """Note how a checkpoint describes this fit, and compare it with one."""
        plan, validation_data = self.plan, self.validation_data
        if plan.checkpoint is None:
            return
        data = self.data if self.rows is None else self.data.rows(self.rows)
        arguments = {**_describe_data(data), **plan.describe(len(data), batch_rows, rule)}
        if validation_data is not None:
            arguments |= _describe_data(validation_data, "_val")
        self.description = {"network": describe(self.net), "fit": arguments, "epochs": plan.epochs}
        if self.saved is not None:
            self.saved.compare(self.description)


def _describe_data(data: Data, suffix: str = "") -> dict[str, Any]:
    return describe_data(data.X, data.targets, data.sample_weight, suffix)


# --- the loop over epochs ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """A fit in progress."""

    net: TrainedModel
    epochs: Epochs | Iterations
    plan: Plan
    validation_cost: Callable[[], float] | None
    metrics: Metrics | None
    record: Record
    ends_as: str  # when what early stopping watches ends it

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
                self._next(checkpoints)
                if len(history) > done:
                    advance(len(history) - done, **last_losses(history))
                    if _asks_to_stop(plan.callbacks, net, history):
                        record.stopped_by = record.stopped_by or "callback"
                if len(history) == plan.epochs:
                    record.stopped_by = record.stopped_by or "epochs"
                checkpoints.after_epoch()
        history.stopped_by = record.stopped_by or "epochs"
        if record.best is not None:
            record.best.restore()
        return history

    def _next(self, checkpoints: Checkpoints) -> None:
        """Train an epoch, or several."""
        epochs, plan, history = self.epochs, self.plan, self.record.history
        left = plan.epochs - len(history)
        looks = checkpoints.are_written or plan.looks_after_each_epoch or epochs.watches_gradient
        n_epochs = 1 if looks else min(epochs.most_at_once(), left)
        if looks or n_epochs < epochs.fewest_together:
            self._epoch(checkpoints)
        else:
            epochs.several(n_epochs, history)
            self.record.stopped_by = epochs.stopped_by

    def _epoch(self, checkpoints: Checkpoints) -> None:
        """Train one epoch, check whether to stop, and record it."""
        epochs, record = self.epochs, self.record
        history, began = record.history, time.perf_counter()
        epoch = epochs.one(len(history), checkpoints)
        if epoch is None:
            record.stopped_by = epochs.stopped_by
            return
        val_loss = None if self.validation_cost is None else self.validation_cost()
        metrics = {} if self.metrics is None else self.metrics()
        exhausted = False
        if record.best is not None:
            watched = val_loss if record.best.monitor == VAL_LOSS else metrics[record.best.monitor]
            exhausted = watched is not None and record.best.should_stop(watched)
        ends_as = epochs.stopped_by or (self.ends_as if exhausted else None)
        seconds, number = time.perf_counter() - began, len(history)
        raised: BaseException | None = None
        for _ in range(_MOST_TRIES):  # the handler of a signal, such as Ctrl-C's, may raise an exception anywhere here
            try:
                history.append(epoch.loss, epoch.learning_rate, seconds, val_loss, epoch.columns, metrics, number)
                epochs.end_one()
                record.stopped_by = ends_as
                break
            except BaseException as error:
                raised = raised or error
        if raised is not None:
            raise raised


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


def require_pair(validation_data: Any) -> None:
    """Refuse what cannot be validation data, whatever it has."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError("`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val).")


def validation_set(net: TrainedModel, validation_data: Any, names: tuple[str, ...] | None) -> Data:
    """Return checked validation data."""
    require_pair(validation_data)
    try:
        if names is not None:
            require_columns(validation_data[0], names)
        return Data(*checked_data(net, *validation_data, *([None] * (3 - len(validation_data)))))
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None
