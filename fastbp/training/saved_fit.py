"""`SavedFit`: what a checkpoint holds, compared with the fit that is to go on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.model import Model
from fastbp.storage.arrays import are_counts, read_arrays
from fastbp.storage.atomic import FileError, PathLike
from fastbp.storage.content import FileContent
from fastbp.storage.networks import describe, names_of
from fastbp.training.bayesian_regularization import BayesianRegularization
from fastbp.training.checkpoint import KIND, OF_ITERATIONS, OF_STEPS, Record
from fastbp.training.epochs import Epochs
from fastbp.training.history import STOPPED_BY, from_rows, watched_values
from fastbp.training.lbfgs import LBFGS
from fastbp.training.levenberg_marquardt import LevenbergMarquardt
from fastbp.training.optimizers import OPTIMIZERS, Optimizer
from fastbp.training.schedules import SCHEDULES, Schedule
from fastbp.training.state import TrainingState, n_numbers, state_of
from fastbp.training.whole_batch import Iterations, WholeBatchOptimizer
from fastbp.validation.numbers import MOST_STEPS

_OF_ALL = (("network", "fit", "epochs", "stopped_by"), ("params", "best_params", "history"))
_FIELDS = {
    OF_STEPS: (*_OF_ALL[0], "step", "position", "powers", "rng", "dropout_seed"),
    OF_ITERATIONS: _OF_ALL[0],
}
_ARRAYS = {
    OF_STEPS: (*_OF_ALL[1], "before_epoch", "vectors", "sums"),
    OF_ITERATIONS: (*_OF_ALL[1], "state", "pending"),
}
# Those that a file may name.
_WHOLE_BATCH: tuple[type[WholeBatchOptimizer], ...] = (LBFGS, LevenbergMarquardt, BayesianRegularization)
_KINDS: Mapping[str, Any] = OPTIMIZERS | {kind.__name__: kind for kind in _WHOLE_BATCH}
_OF_SOME = ("metrics",)  # of what a file says of its fit, where there are any
_MOST_LETTERS = 1000  # of what a checkpoint has, in a message: it may have anything


def _optimizer(content: FileContent, description: Any) -> Optimizer | WholeBatchOptimizer:
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
        optimizer: Optimizer | WholeBatchOptimizer = build(_KINDS, description)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FileError):
            raise
        content.fail(f"its optimizer is impossible: {error}", error)
    return optimizer


class SavedFit:
    """A fit that a checkpoint holds, for another fit to continue.

    Raises
    ------
    ValueError
        If it is a fit of another network, with other data or other arguments.
    FileError
        If the file is damaged, cut off, of another kind or newer.
    """

    def __init__(
        self,
        path: PathLike,
        net: Model,
        optimizer: Optimizer | WholeBatchOptimizer | None,
        *,
        in_iterations: bool | None = None,
    ) -> None:
        self._content = content = read_arrays(path, {KIND: OF_ITERATIONS})
        content.require_names(_ARRAYS[content.version], _FIELDS[content.version])
        self._net = net
        for what in ("network", "fit"):
            if not isinstance(self._content.description[what], dict):
                self._content.fail(f"its `{what}` must be an object.")
        self._compare("network", describe(net))
        saved = self._content.description["fit"].get("optimizer")
        self.optimizer = _optimizer(self._content, saved) if optimizer is None else optimizer
        is_whole = isinstance(self.optimizer, WholeBatchOptimizer)
        self._in_iterations = is_whole if in_iterations is None else in_iterations
        self._columns = self.optimizer.columns if isinstance(self.optimizer, WholeBatchOptimizer) else ()
        self._metrics: list[str] = []

    def compare(self, description: dict[str, Any]) -> None:
        """Raise unless the fit has the arguments and data of the checkpoint's."""
        saved, epochs = self._integer("epochs", 0), description["epochs"]
        if isinstance(getattr(self.optimizer, "learning_rate", None), Schedule) and epochs != saved:
            self._refuse("epochs", saved, epochs, " A learning rate schedule spans a whole fit.")
        nothing = {name: None for name in _OF_SOME if name in self._content.description["fit"]}
        self._compare("fit", nothing | description["fit"])
        self._metrics = [name for name, _ in description["fit"].get("metrics", [])]
        version, needed = self._content.version, OF_ITERATIONS if self._in_iterations else OF_STEPS
        if version != needed:
            self._content.fail(f"it has version {version} of its format, and its optimizer needs version {needed}.")
        n_epochs = self._history_array().shape[1]
        if epochs < n_epochs:
            raise ValueError(
                f"`epochs` must be at least {n_epochs}, the epochs that the checkpoint {self._content.path!r} has "
                f"behind it; got {epochs}."
            )

    def names(self, own: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return the names of the columns, of this fit's data frame or else of the checkpoint's; both must agree."""
        saved = names_of(self._content, self._net)
        if saved is not None and own is not None and saved != tuple(own):
            self._refuse("feature_names", list(saved), list(own))
        return saved if own is None else own

    def _compare(self, what: str, own: dict[str, Any]) -> None:
        """Raise at the first difference between a part of the description and the fit's own."""
        saved = self._content.description[what]
        for name in own:
            if name not in saved and name not in _OF_SOME:
                self._content.fail(f"its `{what}` must have a field {name!r}.")
            theirs = saved.get(name)
            if not _may_differ(theirs, own[name]):
                kinds = [_form(value).__name__ for value in (theirs, own[name])]
                self._content.fail(f"its `{what}` has for {name!r} a {kinds[0]}, where a {kinds[1]} must be.")
            if theirs != _plain(own[name]):
                self._refuse(name, theirs, own[name])

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
        texts = [repr(value) for value in (saved, own)]
        saved, own = (text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..." for text in texts)
        raise ValueError(f"{where} `{name}` {saved}, and this fit has {own}.{why} {cure}")

    def training_state(self, optimizer: Optimizer) -> TrainingState:
        """Return the optimizer's state and the random numbers."""
        content = self._content
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

    def restore(self, epochs: Epochs | Iterations, record: Record) -> None:
        """Bring network, steps and record to where the fit was; everything is checked before anything changes."""
        content, dtype, n_params = self._content, self._net.dtype, (self._net.n_params,)
        params = content.take("params", n_params, dtype)
        history = from_rows(self._history_array(), self._columns, self._metrics)
        reasons = (*STOPPED_BY, *(epochs.reasons if isinstance(epochs, Iterations) else ()))
        reason = content.description["stopped_by"]
        if reason is not None and (not isinstance(reason, str) or reason not in reasons):
            content.fail(f"its `stopped_by` is unknown: {reason!r}.")
        resume = self._iterations(epochs) if isinstance(epochs, Iterations) else self._steps(epochs)
        if record.best is not None:
            has_params = content.arrays["best_params"].size > 0
            best_params = content.take("best_params", n_params, dtype) if has_params else None
            record.best.replay(watched_values(history, record.best.monitor), best_params)
        record.history = history
        record.stopped_by = None if reason == "epochs" else reason  # there may be more epochs now
        self._net.params[...] = params
        resume()

    def _steps(self, epochs: Epochs) -> Callable[[], None]:
        """Return what continues within an epoch."""
        before = self._content.take("before_epoch", (self._net.n_params,), self._net.dtype)
        sums = self._content.take("sums", (2,), np.float64, finite=False)
        position = self._integer("position", 0, min(epochs.steps.per_epoch, epochs.state.step))
        return partial(epochs.steps.resume, position, before, sums)

    def _iterations(self, epochs: Iterations) -> Callable[[], None]:
        """Return what continues with the next iteration."""
        content, name = self._content, type(epochs.rule).__name__
        pending = content.arrays["pending"]
        if pending.ndim != 2 or len(pending) > 1:
            content.fail(f"its array 'pending' must have at most one row; it has shape {pending.shape}.")
        pending = content.take("pending", (len(pending), epochs.row_length), np.float64, finite=False)
        state = content.take("state", epochs.trainer.state().shape, np.float64, finite=False)
        if not epochs.trainer.restore(state):
            content.fail(f"its array 'state' is no state of {name}.")
        return partial(epochs.pending.extend, pending.tolist())

    def _history_array(self) -> NDArray[np.float64]:
        array = self._content.arrays["history"]
        # nothing is known of them before the first epoch
        own = len(self._columns) + len(self._metrics) if array.size else 0
        if array.ndim != 2 or array.shape[0] - own not in (3, 4):
            self._content.fail(
                f"its array 'history' must have {3 + own} or {4 + own} rows; it has shape {array.shape}."
            )
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
