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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.model import Model
from fastbp.storage.arrays import FileContent, are_counts, read_arrays, write_arrays
from fastbp.storage.atomic import FileError, checked_path, file_status, path_named
from fastbp.storage.networks import describe
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.history import STOPPED_BY, History, as_rows, from_rows
from fastbp.training.optimizers import OPTIMIZERS, Optimizer
from fastbp.training.schedules import SCHEDULES, Schedule
from fastbp.training.state import TrainingDivergedError, TrainingState, n_numbers, state_of
from fastbp.validation.data import Targets, all_finite
from fastbp.validation.numbers import MOST_STEPS, positive_integer
from fastbp.validation.sparse_rows import Rows, SparseRows

_KIND, _VERSION = "checkpoint", 1
_FIELDS = ("network", "fit", "epochs", "step", "position", "powers", "rng", "dropout_seed", "stopped_by")
_ARRAYS = ("params", "before_epoch", "best_params", "vectors", "sums", "history")
_DIGEST_BYTES = 1 << 21  # of the rows copied and digested at a time: they stay in the second-level cache
_MOST_LETTERS = 1000  # of what a checkpoint has, in a message: it may have anything
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


def describe_optimizer(optimizer: Optimizer | Schedule, horizon: int) -> dict[str, Any]:
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


def _optimizer(content: FileContent, description: Any) -> Optimizer:
    """Return the optimizer that a file describes."""

    def build(kinds: Mapping[str, Any], entry: Any) -> Any:
        if not isinstance(entry, dict) or entry.get("class") not in kinds:
            name = entry.get("class") if isinstance(entry, dict) else entry
            content.fail(f"it needs the optimizer or schedule {name!r} of your own. Pass it to fit as `optimizer`.")
        values = {key: value for key, value in entry.items() if key != "class"}
        if isinstance(values.get("learning_rate"), dict):
            values["learning_rate"] = build(SCHEDULES, values["learning_rate"])
        return kinds[entry["class"]](**values)

    try:
        optimizer: Optimizer = build(OPTIMIZERS, description)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FileError):
            raise
        content.fail(f"its optimizer is impossible: {error}", error)
    return optimizer


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
    epochs : Epochs
        The steps and the random numbers.
    record : Record
        The rest.
    """

    def __init__(
        self, path: str | None, every: int | float, description: dict[str, Any], epochs: Epochs, record: Record
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
        if self._path is None or not all_finite(self._epochs.steps.model.params):  # the next step will notice
            return
        progress, arrays = self._epochs.progress()
        record = self._record
        best = None if record.best is None else record.best.params
        nothing = np.zeros(0, self._epochs.steps.model.dtype)
        self._failed = True
        write_arrays(
            self._path,
            _KIND,
            _VERSION,
            self._description | progress | {"stopped_by": record.stopped_by},
            arrays | {"best_params": nothing if best is None else best, "history": as_rows(record.history)},
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


# --- reading ----------------------------------------------------------------------------------------------------------


class SavedFit:
    """A fit that a checkpoint holds, for another fit to continue.

    Raises
    ------
    ValueError
        If it is a fit of another network, with other data or other arguments.
    FileError
        If the file is damaged, cut off, of another kind or newer.
    """

    def __init__(self, path: str, net: Model, optimizer: Optimizer | None) -> None:
        self._content = read_arrays(path, {_KIND: _VERSION})
        self._content.require_names(_ARRAYS, _FIELDS)
        self._net = net
        for what in ("network", "fit"):
            if not isinstance(self._content.description[what], dict):
                self._content.fail(f"its `{what}` must be an object.")
        self._compare("network", describe(net))
        saved = self._content.description["fit"].get("optimizer")
        self.optimizer = _optimizer(self._content, saved) if optimizer is None else optimizer

    def compare(self, description: dict[str, Any]) -> None:
        """Raise unless the fit has the arguments and data of the checkpoint's."""
        saved, epochs = self._integer("epochs", 0), description["epochs"]
        if isinstance(self.optimizer.learning_rate, Schedule) and epochs != saved:
            self._refuse("epochs", saved, epochs, " A learning rate schedule spans a whole fit.")
        self._compare("fit", description["fit"])
        n_epochs = self._history_array().shape[1]
        if epochs < n_epochs:
            raise ValueError(
                f"`epochs` must be at least {n_epochs}, the epochs that the checkpoint {self._content.path!r} has "
                f"behind it; got {epochs}."
            )

    def _compare(self, what: str, own: dict[str, Any]) -> None:
        """Raise at the first difference between a part of the description and the fit's own."""
        saved = self._content.description[what]
        for name in own:
            if name not in saved:
                self._content.fail(f"its `{what}` must have a field {name!r}.")
            if not _may_differ(saved[name], own[name]):
                kinds = [_form(value).__name__ for value in (saved[name], own[name])]
                self._content.fail(f"its `{what}` has for {name!r} a {kinds[0]}, where a {kinds[1]} must be.")
            if saved[name] != _plain(own[name]):
                self._refuse(name, saved[name], own[name])

    def _refuse(self, name: str, saved: Any, own: Any, why: str = "") -> None:
        """Raise the error of a difference."""
        where = f"The checkpoint {self._content.path!r} is of a fit with"
        cure = "Resume with the network, data and arguments of that fit, or start afresh with resume=False."
        shapes = [value.get("shape") if isinstance(value, dict) else None for value in (saved, own)]
        if shapes[0] is not None and not are_counts(shapes[0]):
            self._content.fail(f"its `{name}` has an impossible shape {shapes[0]!r}.")
        forms = [value.get("form") if isinstance(value, dict) else None for value in (saved, own)]
        if forms[0] != forms[1] and shapes[0] == shapes[1]:
            words = ("sparse", "dense") if forms[0] else ("dense", "sparse")
            raise ValueError(f"{where} a {words[0]} `{name}`, and this fit's is {words[1]}. {cure}")
        if shapes[0] is not None and shapes[0] == shapes[1]:
            raise ValueError(f"{where} other values in `{name}` of the same shape. {cure}")
        if shapes != [None, None]:
            saved, own = ("none" if s is None else f"shape {tuple(s)}" for s in shapes)
            raise ValueError(f"{where} another `{name}`: {saved}, and this fit's has {own}. {cure}")
        text = repr(saved) if len(repr(saved)) <= _MOST_LETTERS else f"{repr(saved)[:_MOST_LETTERS]}..."
        raise ValueError(f"{where} `{name}` {text}, and this fit has {own!r}.{why} {cure}")

    def training_state(self) -> TrainingState:
        """Return the optimizer's state and the random numbers."""
        content, optimizer = self._content, self.optimizer
        powers = content.description["powers"]
        if (
            not isinstance(powers, list)
            or len(powers) != 2
            or not all(type(p) is float and 0 <= p <= 1 for p in powers)
        ):
            content.fail(f"its `powers` must be two numbers from 0 to 1; they are {powers!r}.")
        rng = np.random.default_rng(0)
        try:
            rng.bit_generator.state = content.description["rng"]
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            content.fail(f"its `rng` is no state of a random number generator: {error}", error)
        length = n_numbers(self._net, optimizer.n_state_vectors)
        vectors = content.take("vectors", (length,), self._net.dtype, finite=False)
        most = MOST_STEPS // 2  # a fit that goes on from there does not come to where it would count for ever
        step, seed = self._integer("step", 0, most), self._integer("dropout_seed", 0, (1 << 31) - 1)
        return state_of(optimizer, vectors, rng, seed, step, (powers[0], powers[1]))

    def restore(self, epochs: Epochs, record: Record) -> None:
        """Bring network, steps and record to where the fit was; everything is checked before anything changes."""
        content, dtype, n_params = self._content, self._net.dtype, (self._net.n_params,)
        params, before = (content.take(name, n_params, dtype) for name in ("params", "before_epoch"))
        sums = content.take("sums", (2,), np.float64, finite=False)
        position = self._integer("position", 0, min(epochs.steps.per_epoch, epochs.state.step))
        history = from_rows(self._history_array())
        reason = content.description["stopped_by"]
        if reason is not None and (not isinstance(reason, str) or reason not in STOPPED_BY):
            content.fail(f"its `stopped_by` is unknown: {reason!r}.")
        if record.best is not None:
            has_params = content.arrays["best_params"].size > 0
            record.best.replay(history.val_loss, content.take("best_params", n_params, dtype) if has_params else None)
        record.history = history
        record.stopped_by = None if reason == "epochs" else reason  # there may be more epochs now
        self._net.params[...] = params
        epochs.steps.resume(position, before, sums)

    def _history_array(self) -> NDArray[np.float64]:
        array = self._content.arrays["history"]
        if array.ndim != 2 or array.shape[0] not in (3, 4):
            self._content.fail(f"its array 'history' must have 3 or 4 rows; it has shape {array.shape}.")
        return self._content.take("history", array.shape, np.float64, finite=False)

    def _integer(self, name: str, least: int, most: int | None = None) -> int:
        value = self._content.description[name]
        if type(value) is not int or value < least or (most is not None and value > most):
            end = "" if most is None else f" to {most}"
            self._content.fail(f"its `{name}` must be an integer from {least}{end}; it is {value!r}.")
        return value


def _form(value: Any) -> type:
    """Return the kind of a plain value, as JSON tells them apart."""
    return float if isinstance(value, int | float) else list if isinstance(value, tuple) else type(value)


def _may_differ(saved: Any, own: Any) -> bool:
    """Whether two fits can differ so: by values of one kind, or by one that is missing or of a user's own."""
    return _form(saved) is _form(own) or saved is None or own is None or {_form(saved), _form(own)} == {str, dict}


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value
