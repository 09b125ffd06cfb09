"""Checkpoints: files with all that a fit needs to continue, and to end with the bits of an uninterrupted one.

A checkpoint holds the parameters, the optimizer with its vectors, the random numbers, the history, what early stopping
remembers and the position within the epoch; the order of an epoch's rows follows from the random numbers at its
beginning.  The data are not stored; their shapes and a digest of all rows are, for comparison.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.storage.arrays import write_arrays
from fastbp.storage.atomic import PathLike, checked_path, file_status, path_named
from fastbp.storage.networks import describe_names
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.history import History, as_rows
from fastbp.training.optimizers import Optimizer
from fastbp.training.schedules import SCHEDULES, Schedule
from fastbp.training.state import TrainingDivergedError
from fastbp.training.whole_batch import Iterations, WholeBatchOptimizer
from fastbp.validation.data import Targets, all_finite
from fastbp.validation.numbers import positive_integer
from fastbp.validation.sparse_rows import Rows, SparseRows

KIND = "checkpoint"
OF_STEPS, OF_ITERATIONS = 1, 2  # versions of the format, for the two kinds of optimizers; both are written
_DIGEST_BYTES = 1 << 21  # of the rows copied and digested at a time: they stay in the second-level cache
_MOST_RATES = 1 << 16  # compared of a user's own schedule: some milliseconds


@dataclass
class Record:
    """What a fit has done so far, apart from what its `Epochs` hold."""

    best: Best | None
    history: History = field(default_factory=History)
    stopped_by: str | None = None  # why it ended, if it did


# --- the arguments ----------------------------------------------------------------------------------------------------


def checked_checkpoint(checkpoint: Any) -> str:
    """Return the name of a file that can be written."""
    with path_named("checkpoint"):
        name = checked_path(checkpoint)
        status = file_status(name)
    folder = os.path.dirname(name)
    if status is None and folder and not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "`checkpoint` must lie in a folder that exists; there is none", name)
    return name


def checked_interval(every: Any) -> int | float:
    """Return the interval in epochs, an int, or in seconds, a float."""
    if not isinstance(every, timedelta):
        if isinstance(every, float):
            raise TypeError(
                f"`checkpoint_every` must be a number of epochs or a datetime.timedelta; got {every!r}. For seconds "
                f"write timedelta(seconds={every!r})."
            )
        return positive_integer(every, "checkpoint_every")
    if every <= timedelta(0):
        raise ValueError(f"`checkpoint_every` must be longer than no time; got {every!r}.")
    return every.total_seconds()


# --- what a fit is ----------------------------------------------------------------------------------------------------


def digest(array: Rows) -> dict[str, Any]:
    """Return the shape of an array and a digest of all its rows, computed in pieces: about 1 ms a megabyte."""
    found = hashlib.blake2b(digest_size=16)
    if isinstance(array, SparseRows):
        for part in (array.indptr, array.indices, array.values):
            found.update(part.data)
        return {"shape": list(array.shape), "digest": found.hexdigest(), "form": "sparse"}
    step = max(1, _DIGEST_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), step):
        found.update(np.ascontiguousarray(array[first : first + step]).data)
    return {"shape": list(array.shape), "digest": found.hexdigest()}


def describe_data(X: Rows, targets: Targets, sample_weight: NDArray[Any] | None, suffix: str = "") -> dict[str, Any]:
    """Return what a checkpoint says of data, by the names of the arguments."""
    Y = targets.labels if targets.array is None else targets.array
    assert Y is not None
    weights = None if sample_weight is None else digest(sample_weight)
    return {f"X{suffix}": digest(X), f"Y{suffix}": digest(Y), f"sample_weight{suffix}": weights}


def describe_optimizer(optimizer: Optimizer | WholeBatchOptimizer | Schedule, horizon: int) -> dict[str, Any]:
    """Return class and hyper-parameters as plain values; for a user's own schedule, the rates of the fit."""
    values: dict[str, Any] = {"class": type(optimizer).__name__}
    if isinstance(optimizer, Schedule) and type(optimizer) not in SCHEDULES.values():
        return values | _describe_rates(optimizer, horizon)
    for entry in fields(optimizer) if is_dataclass(optimizer) else ():
        value = getattr(optimizer, entry.name)
        values[entry.name] = describe_optimizer(value, horizon) if isinstance(value, Schedule) else value
    return {
        name: value if isinstance(value, int | float | str | dict | None) else repr(value)
        for name, value in values.items()
    }


def _describe_rates(schedule: Schedule, horizon: int) -> dict[str, Any]:
    """Return the first and last learning rate of a fit, and a digest of up to 65536 of them.

    The rates show whatever a schedule depends on, be it attributes, closures or code, and nothing that it only keeps,
    such as a cache.  They are rounded to float32, since another processor may differ in the last bit.
    """
    horizon = max(horizon, 1)
    steps = np.unique(np.linspace(0, horizon - 1, _MOST_RATES).astype(np.int64))
    rates = np.asarray(schedule(steps, horizon), np.float64)
    if rates.shape != steps.shape:
        return {}  # the first epoch will say what is wrong with it
    with np.errstate(over="ignore"):
        rounded = rates.astype(np.float32)
    return {"first_rate": f"{rates[0]:.6g}", "last_rate": f"{rates[-1]:.6g}", "rates": digest(rounded)["digest"]}


# --- writing ----------------------------------------------------------------------------------------------------------


class Checkpoints:
    """Writes the checkpoints of one fit when they are due; without a path, none.

    Parameters
    ----------
    path : str or None
        The file.
    every : int or float
        Epochs, an int, or seconds, a float.
    description : dict
        What the fit is: its `network`, its arguments as `fit`, and its `epochs`.
    epochs : Epochs or Iterations
        The steps and the random numbers.
    record : Record
        The rest.
    """

    def __init__(
        self,
        path: PathLike | None,
        every: int | float,
        description: dict[str, Any],
        epochs: Epochs | Iterations,
        record: Record,
    ) -> None:
        self._path, self._every, self._description = path, every, description
        self._epochs, self._record = epochs, record
        self._last = time.monotonic()
        self._failed = False

    @property
    def are_written(self) -> bool:
        """Whether there are any."""
        return self._path is not None

    @property
    def deadline(self) -> float | None:
        """When the next one is due, if that goes by time."""
        return self._last + self._every if self._path is not None and isinstance(self._every, float) else None

    def take(self) -> None:
        """Write one."""
        if self._path is None or not all_finite(self._epochs.model.params):  # the next step will notice
            return
        progress, arrays = self._epochs.progress()
        record = self._record
        best = None if record.best is None else record.best.params
        nothing = np.zeros(0, self._epochs.model.dtype)
        self._failed = True
        write_arrays(
            self._path,
            KIND,
            OF_ITERATIONS if isinstance(self._epochs, Iterations) else OF_STEPS,
            self._description | progress | {"stopped_by": record.stopped_by},
            arrays | {"best_params": nothing if best is None else best, "history": as_rows(record.history)},
            optional=describe_names(self._epochs.model),
        )
        self._failed = False
        self._last = time.monotonic()

    def after_epoch(self) -> None:
        """Write one if it is due, or if the fit is at its end."""
        deadline = self.deadline
        due = len(self._record.history) % self._every == 0 if deadline is None else time.monotonic() >= deadline
        if due or self._record.stopped_by is not None:
            self.take()

    @contextmanager
    def on_the_way_out(self) -> Iterator[None]:
        """Write one if an exception such as Ctrl-C ends the fit, except a divergence."""
        try:
            yield
        except TrainingDivergedError:
            raise
        except BaseException as error:
            if not self._failed:  # otherwise writing is what raised
                try:
                    self.take()
                except OSError as failure:
                    error.add_note(f"The last checkpoint could not be written: {failure}")
            raise
