"""`Plan`: the arguments of a fit, checked as far as possible without its data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from fastbp import validation
from fastbp.engine.threads import thread_count
from fastbp.storage.atomic import PathLike
from fastbp.training.checkpoint import checked_checkpoint, checked_interval, describe_optimizer
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.history import VAL_LOSS, Callback
from fastbp.training.metrics import Metric, checked_metrics, describe_metrics, require_free
from fastbp.training.optimizers import Optimizer, require_optimizer
from fastbp.training.whole_batch import WholeBatchOptimizer

DEFAULT_BATCH_SIZE = 32


@dataclass(slots=True)  # not frozen, which takes 3 us longer; nothing writes to it after it is made
class Plan:
    """The arguments of `Network.fit` but the data to learn from; see there.

    `batch_size` and `validation_data` are checked with those data.
    """

    epochs: int
    batch_size: int | Literal["auto"] | None
    optimizer: Optimizer | WholeBatchOptimizer | None
    shuffle: bool
    seed: int | None
    validation_data: Any
    early_stopping: EarlyStopping | None
    tol: float | None
    clip_norm: float  # 0 for any norm; the caller's None
    callbacks: Sequence[Callback]
    progress: bool
    n_threads: int | None
    checkpoint: PathLike | None
    checkpoint_every: int | float  # epochs, an int, or seconds, a float; the caller's timedelta
    resume: bool
    metrics: Any = None  # what a user passes
    measured: tuple[Metric, ...] = field(init=False, default=())  # the same, checked

    def __post_init__(self) -> None:
        """Check every argument by itself, and store it in its plain form."""
        self.epochs = validation.positive_integer(self.epochs, "epochs", 0)
        self.shuffle = validation.flag(self.shuffle, "shuffle")
        self.seed = validation.seed(self.seed)
        if self.metrics is not None:
            self.measured = checked_metrics(self.metrics, of_validation=self.validation_data is not None)
        columns = [metric.column for metric in self.measured]
        self.early_stopping = _early_stopping(self.early_stopping, self.validation_data, columns)
        self.tol = None if self.tol is None else validation.real_number(self.tol, "tol", 0.0)
        self.clip_norm = clip_norm_for(self.clip_norm)
        self.callbacks = _callbacks(self.callbacks)
        self.progress = validation.flag(self.progress, "progress")
        if not isinstance(self.optimizer, WholeBatchOptimizer):
            require_optimizer(self.optimizer)
        thread_count(self.n_threads)  # refuses a wrong one before any random number is drawn
        self.checkpoint_every = checked_interval(self.checkpoint_every)
        self.checkpoint = None if self.checkpoint is None else checked_checkpoint(self.checkpoint)
        self.resume = _resumes(self.resume, self.checkpoint)

    @property
    def looks_after_each_epoch(self) -> bool:
        """Whether somebody looks at the network between two epochs."""
        return self.validation_data is not None or bool(self.callbacks) or bool(self.measured)

    def require_whole_batch(self, rule: WholeBatchOptimizer, n_rows: int) -> None:
        """Refuse what cannot be with a whole-batch optimizer."""
        name = type(rule).__name__
        require_free((metric.column for metric in self.measured), rule.columns.__contains__, f"{name} records")
        if self.batch_size not in (None, "auto") and batch_rows_for(self.batch_size, n_rows) != n_rows:
            raise ValueError(
                f"`batch_size` must be None or 'auto' with {name}, which looks at all {n_rows} rows in every step; got "
                f"{self.batch_size}. Use bp.Adam() for mini-batches."
            )
        if self.clip_norm:
            raise ValueError(
                f"`clip_norm` must be None with {name}, which chooses the length of a step itself; got "
                f"{self.clip_norm:g}."
            )
        if self.tol is not None:
            raise ValueError(
                f"`tol` must be None with {name}, which has bounds of its own to stop at; got {self.tol:g}. See its "
                "arguments."
            )

    def describe(self, n_rows: int, batch_rows: int, optimizer: Optimizer | WholeBatchOptimizer) -> dict[str, Any]:
        """Return what a checkpoint says of these arguments."""
        return {
            "batch_size": batch_rows,
            "optimizer": describe_optimizer(optimizer, self.epochs * -(-n_rows // batch_rows)),
            "shuffle": self.shuffle,
            "seed": self.seed,
            "early_stopping": None if self.early_stopping is None else _describe_stopping(self.early_stopping),
            "tol": self.tol,
            "clip_norm": self.clip_norm,
            "validation_data": self.validation_data is not None,
            **describe_metrics(self.measured),
        }


def clip_norm_for(clip_norm: Any) -> float:
    """Return the largest norm of a gradient; 0 for any."""
    return 0.0 if clip_norm is None else validation.real_number(clip_norm, "clip_norm", 0.0, open_low=True)


def checked_batch_size(batch_size: Any) -> int | Literal["auto"] | None:
    """Return it, which the number of rows may still forbid."""
    if batch_size is None:
        return None
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise ValueError(f"`batch_size` must be an integer, None or 'auto'; got {batch_size!r}.")
        return "auto"
    return validation.positive_integer(batch_size, "batch_size")


def batch_rows_for(batch_size: Any, n_rows: int) -> int:
    """Return the rows of a mini-batch."""
    rows = checked_batch_size(batch_size)
    if rows is None:
        return n_rows
    if rows == "auto":
        return min(DEFAULT_BATCH_SIZE, n_rows)
    if rows > n_rows:
        raise ValueError(
            f"`batch_size` must be at most the number of rows of X, {n_rows}; got {rows}. None uses all rows at once."
        )
    return rows


def _early_stopping(rule: Any, validation_data: Any, metrics: Sequence[str]) -> EarlyStopping | None:
    """Return the rule; it needs validation data, or the metric that it watches."""
    if rule is None:
        return None
    if not isinstance(rule, EarlyStopping):
        raise TypeError(f"`early_stopping` must be a bp.EarlyStopping or None; got {rule!r}.")
    if rule.monitor != VAL_LOSS and rule.monitor not in metrics:
        there_is = f"its metrics are {', '.join(map(repr, metrics))}" if metrics else "it has no such metrics"
        raise ValueError(
            f"`early_stopping` must watch 'val_loss' or one of the fit's metrics; got monitor={rule.monitor!r}, and "
            f"{there_is}."
        )
    if validation_data is None and rule.monitor == VAL_LOSS:
        raise ValueError("`early_stopping` needs `validation_data=(X_val, Y_val)` to watch; got none.")
    return rule


def _describe_stopping(rule: EarlyStopping) -> dict[str, Any]:
    """Return its values, in the form that earlier releases know where it watches what they can."""
    values = asdict(rule)
    if rule.monitor == VAL_LOSS:
        del values["monitor"], values["mode"]
    return values


def _callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple of callables."""
    if callable(callbacks) or not isinstance(callbacks, Sequence) or not all(callable(c) for c in callbacks):
        raise TypeError("`callbacks` must be a sequence of callables, each called as callback(net, history).")
    return tuple(callbacks)


def _resumes(resume: Any, path: PathLike | None) -> bool:
    """Whether there is a checkpoint to go on from."""
    if not isinstance(resume, bool | np.bool_):
        raise TypeError(f"`resume` must be True or False; got {resume!r}. The file is `checkpoint`.")
    if resume and path is None:
        raise ValueError("`resume=True` needs the file to go on from; pass it as `checkpoint`.")
    return bool(resume) and path is not None and os.path.exists(path)
