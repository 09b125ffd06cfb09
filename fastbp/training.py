"""The fit loop: epochs, mini-batches, validation, early stopping, callbacks, progress.

The kernels take whole runs of steps; Python looks in a few times a second, so that Ctrl-C is obeyed, and between
epochs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.history import EarlyStopping, History
from fastbp.optimizers import Adam, Optimizer, require_optimizer
from fastbp.trainer import NoPauses, Trainer, TrainingState, draw_seed, fresh_state

if TYPE_CHECKING:
    from fastbp.network import Network

DEFAULT_BATCH_SIZE = 32
Callback = Callable[["Network", History], Any]


def fit(
    net: Network,
    X: ArrayLike,
    Y: ArrayLike,
    epochs: int = 30,
    batch_size: int | str | None = "auto",
    optimizer: Optimizer | None = None,
    *,
    shuffle: bool = True,
    seed: int | None = None,
    validation_data: tuple[Any, ...] | None = None,
    sample_weight: ArrayLike | None = None,
    early_stopping: EarlyStopping | None = None,
    tol: float | None = None,
    clip_norm: float | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    n_threads: int | None = None,
) -> History:
    """Train a network by mini-batch gradient descent; the same as ``net.fit(...)``.

    Parameters
    ----------
    net : Network
        The network; its parameters are changed in place.
    X : array_like, shape (n, n_features)
        Inputs, of the network's dtype; integers and lists are converted.
    Y : array_like, shape (n, n_outputs)
        Targets; for softmax with cross-entropy also integer labels (n,).
    epochs : int
        Passes over the data.
    batch_size : int, None or 'auto'
        Rows of a mini-batch: 1 is online learning, None the full batch, 'auto' the smaller of 32 and n.  A last,
        smaller mini-batch is used like the others.
    optimizer : Optimizer, optional
        The rule of a step.  None goes on with the optimizer of the last fit, its state included; the first fit uses
        ``Adam()``.  The same object as in the last fit goes on as well; a new one starts afresh.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    seed : int, optional
        Seed of that order and of dropout.  None goes on with the random numbers of the last fit, if there was one.
        The same seed gives the same bits, whatever the number of threads.
    validation_data : tuple, optional
        ``(X_val, Y_val)`` or ``(X_val, Y_val, sample_weight_val)``, whose cost is recorded after each epoch.
    sample_weight : array_like, shape (n,), optional
        How often each row counts.
    early_stopping : EarlyStopping, optional
        When to stop by the validation loss.
    tol : float, optional
        Stop when the Euclidean norm of the gradient over all data is not above this.  Full-batch training looks at it
        before each step, mini-batch training after each epoch at the price of one more gradient.
    clip_norm : float, optional
        Scale a gradient whose Euclidean norm is larger than this down to it.
    callbacks : sequence of callable
        Each is called as ``callback(net, history)`` after every epoch; one that returns True ends the training.
    progress : bool
        Show a progress bar on standard error.
    n_threads : int, optional
        Threads to use; by default as many as the process may.

    Returns
    -------
    History
        Loss, validation loss, learning rate and time of each epoch, and why training ended.

    Raises
    ------
    TypeError, ValueError
        For a wrong argument; the network is unchanged.
    TrainingDivergedError
        If the loss becomes NaN or infinite; the network has the parameters from before that epoch.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 8, 1], activation="tanh", output="sigmoid", loss="cross_entropy", seed=0)
    >>> X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> history = net.fit(X, Y, epochs=500, optimizer=bp.Adam(0.05), seed=0)
    >>> net.predict(X).round().ravel()
    array([0., 1., 1., 0.])
    """
    data = net.checked(X, Y, sample_weight)
    batch_rows = batch_rows_for(batch_size, len(data[0]))
    plan = _Plan(
        epochs=validation.positive_integer(epochs, "epochs", 0),
        batch_rows=batch_rows,
        shuffle=validation.flag(shuffle, "shuffle"),
        early_stopping=_early_stopping(early_stopping, validation_data),
        tol=None if tol is None else validation.real_number(tol, "tol", 0.0),
        clip_norm=0.0 if clip_norm is None else validation.real_number(clip_norm, "clip_norm", 0.0, open_low=True),
        callbacks=_callbacks(callbacks),
        progress=validation.flag(progress, "progress"),
    )
    validation_set = None if validation_data is None else _validation_set(net, validation_data)
    state = _training_state(net, optimizer, validation.seed(seed))
    trainer = Trainer(net, *data, state, batch_rows, plan.clip_norm, plan.tol, n_threads)
    return _run(net, trainer, plan, data, validation_set)


@dataclass(frozen=True)
class _Plan:
    """The checked arguments of a fit."""

    epochs: int
    batch_rows: int
    shuffle: bool
    early_stopping: EarlyStopping | None
    tol: float | None
    clip_norm: float
    callbacks: tuple[Callback, ...]
    progress: bool


# --- the loop over epochs ---------------------------------------------------------------------------------------------


def _run(net: Network, trainer: Trainer, plan: _Plan, data: Any, validation_set: Any) -> History:
    """Train epoch by epoch."""
    history = History()
    horizon = trainer.state.step + plan.epochs * trainer.steps_per_epoch
    best = _Best(net, plan.early_stopping) if plan.early_stopping else None
    with _progress_bar(plan.epochs, plan.progress) as show, trainer.saving_state():
        for epoch in range(plan.epochs):
            began = time.perf_counter()
            loss, rate, converged = trainer.epoch(epoch, horizon, shuffle=plan.shuffle, pauses=NoPauses())
            trainer.end_epoch()
            val_loss = None
            if validation_set is not None:
                val_loss = net.passes.cost(*validation_set, n_threads=trainer.n_threads)
            history.append(loss, rate, time.perf_counter() - began, val_loss)
            show(loss, val_loss)
            reasons = {
                "tolerance": converged or (plan.tol is not None and trainer.norm_at_most(plan.tol, data)),
                "early_stopping": best is not None and val_loss is not None and best.should_stop(val_loss),
                "callback": [True for callback in plan.callbacks if callback(net, history) is True] != [],
            }
            if any(reasons.values()):
                history.stopped_by = next(reason for reason, holds in reasons.items() if holds)
                break
    if best is not None:
        best.restore()
    return history


class _Best:
    """The best parameters so far, by validation loss."""

    def __init__(self, net: Network, rule: EarlyStopping) -> None:
        self._net, self._rule = net, rule
        self._loss = math.inf
        self._params: NDArray[Any] | None = None
        self._waited = 0

    def should_stop(self, val_loss: float) -> bool:
        """Take note of an epoch; whether patience is at its end."""
        if val_loss < self._loss - self._rule.min_delta:
            self._loss, self._waited = val_loss, 0
            if self._rule.restore_best:
                self._params = self._net.params.copy()
        else:
            self._waited += 1
        return self._waited >= self._rule.patience

    def restore(self) -> None:
        """Give the network its best parameters back."""
        if self._params is not None:
            self._net.params[...] = self._params


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


def _validation_set(net: Network, validation_data: Any) -> Any:
    """Return checked validation inputs, targets and weights."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise TypeError("`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val).")
    try:
        return net.checked(*validation_data, *([None] * (3 - len(validation_data))))
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None


def _training_state(net: Network, optimizer: Any, seed: int | None) -> TrainingState:
    """Return the state to go on from, or a fresh one where there is a new optimizer or none yet."""
    require_optimizer(optimizer)
    old: TrainingState | None = net.training_state
    new_numbers = seed is not None or old is None
    rng = np.random.default_rng(seed) if old is None or new_numbers else old.rng
    if old is None or not (optimizer is None or optimizer is old.optimizer):
        return fresh_state(net, Adam() if optimizer is None else optimizer, rng)
    dropout_seed = draw_seed(rng) if new_numbers else old.dropout_seed
    return TrainingState(old.optimizer, old.vectors, old.step, old.powers, rng, dropout_seed)


@contextmanager
def _progress_bar(epochs: int, wanted: bool) -> Iterator[Callable[[float, float | None], None]]:
    """Give a function that shows an epoch's losses, on a bar if one is wanted."""
    if not wanted:
        yield lambda loss, val_loss: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=epochs, unit="epoch") as bar:

        def show(loss: float, val_loss: float | None) -> None:
            losses = {"loss": f"{loss:.4g}"} | ({} if val_loss is None else {"val_loss": f"{val_loss:.4g}"})
            bar.set_postfix(losses)
            bar.update()

        yield show
