"""The fit loop: epochs, mini-batches, validation, early stopping, callbacks, progress, checkpoints.

The kernels take whole epochs of steps, several short ones in one call; Python looks in between epochs where something
is to happen there, and within them for a checkpoint or Ctrl-C.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastbp import validation
from fastbp.engine.threads import thread_count
from fastbp.storage.atomic import PathLike
from fastbp.storage.networks import describe
from fastbp.system.memory import require_writable
from fastbp.system.progress import progress_bar
from fastbp.training.checkpoint import (
    Checkpoints,
    Record,
    SavedFit,
    checked_checkpoint,
    checked_interval,
    describe_data,
    describe_optimizer,
)
from fastbp.training.early_stopping import Best, EarlyStopping
from fastbp.training.history import Callback, History
from fastbp.training.optimizers import Optimizer, require_optimizer
from fastbp.training.state import TrainingDivergedError, state_to_go_on_with
from fastbp.training.steps import Trainer
from fastbp.validation.arrays import column_names, require_columns

if TYPE_CHECKING:
    from fastbp.network import Network

DEFAULT_BATCH_SIZE = 32


def fit(
    net: Network,
    X: ArrayLike,
    Y: ArrayLike,
    epochs: int = 30,
    batch_size: int | Literal["auto"] | None = "auto",
    optimizer: Optimizer | None = None,
    *,
    shuffle: bool = True,
    seed: int | None = None,
    validation_data: tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    early_stopping: EarlyStopping | None = None,
    tol: float | None = None,
    clip_norm: float | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    n_threads: int | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | timedelta = 1,
    resume: bool = False,
) -> History:
    """Train a network by mini-batch gradient descent; the same as ``net.fit(...)``.

    Parameters
    ----------
    net : Network
        The network; its parameters are changed in place.
    X : {array_like, sparse matrix}, shape (n, n_features)
        Inputs, of the network's dtype; integers, booleans, lists, and data frames of pandas and polars are converted.
        The names of a frame's columns, if all are str, become `net.feature_names`: later frames must have the same
        columns in the same order.  Pickles and copies keep the names, the files of `save` do not.
    Y : array_like, shape (n, n_outputs)
        Targets; for softmax with cross-entropy also integer labels (n,).
    epochs : int
        Passes over the data.
    batch_size : int, None or 'auto'
        Rows of a mini-batch: 1 is online learning, None the full batch, 'auto' the smaller of 32 and n.  A last,
        smaller mini-batch is used like the others.
    optimizer : Optimizer, optional
        The rule of a step.  None goes on with the optimizer of the last fit, its state included; the first fit uses
        ``Adam()``.  The same object as in the last fit goes on as well; a new one starts afresh.  A learning rate
        schedule begins with its step 0 in every fit, also where the optimizer goes on, and also one with `n_steps`;
        only `resume` goes on within it.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    seed : int, optional
        Seed of that order and of dropout.  None goes on with the random numbers of the last fit, if there was one.
        The same seed gives the same bits, whatever the number of threads.
    validation_data : tuple, optional
        ``(X_val, Y_val)`` or ``(X_val, Y_val, sample_weight_val)``, whose cost is recorded after each epoch.
    sample_weight : array_like, shape (n,), optional
        How often each row counts.  The gradient of a mini-batch is the sum of the weighted gradients of its rows over
        (its number of rows times the mean weight of all n rows), so that on average a step follows the gradient of
        ``loss_value(X, Y, sample_weight)``, whatever the size of the mini-batches.
    early_stopping : EarlyStopping, optional
        When to stop by the validation loss.
    tol : float, optional
        Stop when the Euclidean norm of the gradient over all data is not above this.  Full-batch training looks at it
        before each step, mini-batch training after each epoch at the price of one more gradient.
    clip_norm : float, optional
        Scale a gradient whose Euclidean norm is larger than this down to it.
    callbacks : sequence of callable
        Each is called as ``callback(net, history)`` after every epoch; one that returns True, Python's or NumPy's, ends
        the training when all were called.  False and None go on; anything else is a TypeError.
    progress : bool
        Show a progress bar on standard error, where that is a terminal or a notebook.
    n_threads : int, optional
        Threads to use; by default as many as the process may.
    checkpoint : str or os.PathLike, optional
        A file to write all of the fit's state to, now and then, at its end and when an exception such as Ctrl-C ends
        it; what was there is replaced.  It is written whole or not at all.
    checkpoint_every : int or datetime.timedelta
        How often: a number of epochs, or a time, after which the step at hand is finished first.
    resume : bool
        Go on from `checkpoint`, if there is such a file; a fresh fit otherwise.  The run ends with the same bits as one
        that was never interrupted, so network, data and arguments must be those of the checkpoint's fit; others are
        refused by name.  Of the data all rows are compared, by a digest that takes about 1 ms a megabyte once a fit, of
        a schedule of your own its learning rates.  Only `epochs` may be another, unless a schedule spans them;
        `optimizer` may be left out, unless its schedule is your own.

    Returns
    -------
    History
        Loss, validation loss, learning rate and time of each epoch, and why training ended.  It is `net.history` as
        well, also while the fit runs and when an exception ends it.  Epochs that were trained together have equal
        shares of their time.

    Raises
    ------
    TypeError, ValueError, OSError
        For a wrong argument; the network is unchanged.  A TypeError also where a callback returns neither a bool nor
        None, and an OSError where a checkpoint cannot be written, for instance on a full disk: the one before it is
        whole, and the network is that of the last finished step.
    FileError
        If a checkpoint to resume from is damaged; the network is unchanged.
    TrainingDivergedError
        If the loss becomes NaN or infinite; the network has the parameters from before that epoch.

    Notes
    -----
    Ctrl-C ends a fit between two steps: the network has the parameters after the last finished step, `net.history` the
    finished epochs, and another fit goes on from there.  It is obeyed within the time of some blocks of at most 1024
    rows; a step of one block is always finished.

    Short epochs are trained together, some 50 ms at a time, unless something is to happen after each: validation,
    a callback, a checkpoint, `tol` with mini-batches, or a schedule of one's own.  The numbers are the same either way.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 8, 1], activation="tanh", output="sigmoid", loss="cross_entropy", seed=0)
    >>> X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> history = net.fit(X, Y, epochs=500, optimizer=bp.Adam(0.05), seed=0)
    >>> net.predict(X).round().ravel()
    array([0., 1., 1., 0.])
    """
    data = net.checked_data(X, Y, sample_weight)
    require_writable(net)
    names = column_names(X) or net.feature_names
    validation_set = None if validation_data is None else _validation_set(net, validation_data, names)
    plan = _Plan(
        epochs=validation.positive_integer(epochs, "epochs", 0),
        batch_rows=batch_rows_for(batch_size, len(data[0])),
        shuffle=validation.flag(shuffle, "shuffle"),
        seed=validation.seed(seed),
        validation_set=validation_set,
        early_stopping=_early_stopping(early_stopping, validation_data),
        tol=None if tol is None else validation.real_number(tol, "tol", 0.0),
        clip_norm=0.0 if clip_norm is None else validation.real_number(clip_norm, "clip_norm", 0.0, open_low=True),
        callbacks=_callbacks(callbacks),
        progress=validation.flag(progress, "progress"),
    )
    require_optimizer(optimizer)
    thread_count(n_threads)  # refuses a wrong one before any random number is drawn
    every = checked_interval(checkpoint_every)
    path = None if checkpoint is None else checked_checkpoint(checkpoint)
    saved = SavedFit(path, net, optimizer) if _resumes(resume, path) and path is not None else None
    if saved is None:
        state = state_to_go_on_with(net, optimizer, plan.seed)
        description = {} if path is None else plan.describe(net, data, state.optimizer)
    else:
        description = plan.describe(net, data, saved.optimizer)
        saved.compare(description)
        state = saved.training_state()
    trainer = Trainer(net, *data, state, plan.batch_rows, plan.clip_norm, plan.tol, n_threads)
    record = Record(Best(net.params, plan.early_stopping) if plan.early_stopping else None)
    if saved is not None:
        saved.restore(trainer, record)
    net.feature_names = names
    return _run(net, trainer, plan, data, record, Checkpoints(path, every, description, trainer, record))


@dataclass(frozen=True)
class _Plan:
    """The checked arguments of a fit."""

    epochs: int
    batch_rows: int
    shuffle: bool
    seed: int | None
    validation_set: Any
    early_stopping: EarlyStopping | None
    tol: float | None
    clip_norm: float
    callbacks: tuple[Callback, ...]
    progress: bool

    def looks_after_each_epoch(self, trainer: Trainer) -> bool:
        """Whether something else than training is to happen between two epochs."""
        watches_gradient = self.tol is not None and not trainer.is_full_batch  # which looks before each step anyway
        return self.validation_set is not None or bool(self.callbacks) or watches_gradient

    def describe(self, net: Network, data: Any, optimizer: Optimizer) -> dict[str, Any]:
        """Return what a checkpoint says of the fit that it is of."""
        arguments = {
            **describe_data(*data),
            "batch_size": self.batch_rows,
            "optimizer": describe_optimizer(optimizer, self.epochs * -(-len(data[0]) // self.batch_rows)),
            "shuffle": self.shuffle,
            "seed": self.seed,
            "early_stopping": None if self.early_stopping is None else asdict(self.early_stopping),
            "tol": self.tol,
            "clip_norm": self.clip_norm,
            "validation_data": self.validation_set is not None,
        }
        if self.validation_set is not None:
            X_val, Y_val, weights = self.validation_set
            arguments |= describe_data(X_val, Y_val, weights, "_val")
        return {"network": describe(net), "fit": arguments, "epochs": self.epochs}


# --- the loop over epochs ---------------------------------------------------------------------------------------------


def _run(net: Network, trainer: Trainer, plan: _Plan, data: Any, record: Record, checkpoints: Checkpoints) -> History:
    """Train from where the record ends: several epochs at once where nothing is to happen between them."""
    net.history = history = record.history
    horizon = plan.epochs * trainer.steps_per_epoch
    disturbed = checkpoints.are_written or plan.looks_after_each_epoch(trainer)
    with (
        progress_bar(plan.epochs, "epoch", wanted=plan.progress, begun=len(history)) as advance,
        trainer.saving_state(),
        _saying_why(history),
        checkpoints.on_the_way_out(),
    ):
        while record.stopped_by is None and len(history) < plan.epochs:
            done, left = len(history), plan.epochs - len(history)
            n_epochs = 1 if disturbed or left == 1 else min(trainer.epochs_at_once(shuffle=plan.shuffle), left)
            if n_epochs > 1:
                (loss, converged), val_loss = trainer.epochs(n_epochs, horizon, history, shuffle=plan.shuffle), None
                record.stopped_by = "tolerance" if converged else None
            else:
                loss, val_loss = _epoch(net, trainer, plan, data, record, horizon, checkpoints)
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


def _epoch(
    net: Network, trainer: Trainer, plan: _Plan, data: Any, record: Record, horizon: int, checkpoints: Checkpoints
) -> tuple[float, float | None]:
    """Train one epoch, look at what is to be looked at, and record it; its loss, and its validation loss if any."""
    history, began = record.history, time.perf_counter()
    loss, rate, converged = trainer.epoch(len(history), horizon, shuffle=plan.shuffle, pauses=checkpoints)
    val_loss = None
    if plan.validation_set is not None:
        val_loss = net.passes.cost(*plan.validation_set, n_threads=trainer.n_threads)
    converged = converged or (plan.tol is not None and trainer.norm_at_most(plan.tol, data))
    exhausted = record.best is not None and val_loss is not None and record.best.should_stop(val_loss)
    history.append(loss, rate, time.perf_counter() - began, val_loss)
    trainer.end_epoch()
    record.stopped_by = "tolerance" if converged else "early_stopping" if exhausted else None
    return loss, val_loss


def _asks_to_stop(callbacks: Sequence[Callback], net: Network, history: History) -> bool:
    """Call all callbacks; whether one of them ends the training."""
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


# --- the arguments ----------------------------------------------------------------------------------------------------


def batch_rows_for(batch_size: Any, n_rows: int) -> int:
    """Return the rows of a mini-batch."""
    if batch_size is None:
        return n_rows
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise ValueError(f"`batch_size` must be an integer, None or 'auto'; got {batch_size!r}.")
        return min(DEFAULT_BATCH_SIZE, n_rows)
    rows = validation.positive_integer(batch_size, "batch_size")
    if rows > n_rows:
        raise ValueError(
            f"`batch_size` must be at most the number of rows of X, {n_rows}; got {rows}. None uses all rows at once."
        )
    return rows


def _early_stopping(rule: Any, validation_data: Any) -> EarlyStopping | None:
    """Return the rule; it needs validation data."""
    if rule is None:
        return None
    if not isinstance(rule, EarlyStopping):
        raise TypeError(f"`early_stopping` must be a bp.EarlyStopping or None; got {rule!r}.")
    if validation_data is None:
        raise ValueError("`early_stopping` needs `validation_data=(X_val, Y_val)` to watch; got none.")
    return rule


def _callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple of callables."""
    if callable(callbacks) or not isinstance(callbacks, Sequence) or not all(callable(c) for c in callbacks):
        raise TypeError("`callbacks` must be a sequence of callables, each called as callback(net, history).")
    return tuple(callbacks)


def _validation_set(net: Network, validation_data: Any, names: tuple[str, ...] | None) -> Any:
    """Return checked validation inputs, targets and weights."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError("`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val).")
    try:
        if names is not None:
            require_columns(validation_data[0], names)
        return net.checked_data(*validation_data, *([None] * (3 - len(validation_data))))
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None


def _resumes(resume: Any, path: str | None) -> bool:
    """Whether there is a checkpoint to go on from."""
    if not isinstance(resume, bool | np.bool_):
        raise TypeError(f"`resume` must be True or False; got {resume!r}. The file is `checkpoint`.")
    if resume and path is None:
        raise ValueError("`resume=True` needs the file to go on from; pass it as `checkpoint`.")
    return bool(resume) and path is not None and os.path.exists(path)
