"""Metrics of a fit: what a user wants to know after each epoch, by functions and by scikit-learn's scorers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.rows import Data
from fastbp.model.model import Model, passes_of
from fastbp.storage.atomic import kind_of, words_of
from fastbp.system.memory import read_only
from fastbp.training.history import History

if TYPE_CHECKING:
    from fastbp.training.scorers import Scored

Given = Mapping[str, str | Callable[..., Any]]  # as a user passes them

_FORMS = (
    "the name of one of scikit-learn's scorers, a scorer (estimator, X, y) or a function (Y_true, Y_pred) that "
    "returns a number"
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, checked.

    Attributes
    ----------
    name : str
        The user's name of it.
    column : str
        Its name in the `History`: with validation data ``val_`` and the name.
    function : callable
        The function or scorer.
    is_scorer : bool
        Whether it is called with an estimator, inputs and targets.
    takes_weights : bool
        Whether it takes sample weights.
    scorer_name : str or None
        The name that the user gave in place of a scorer.
    """

    name: str
    column: str
    function: Callable[..., Any]
    is_scorer: bool
    takes_weights: bool
    scorer_name: str | None = None


# --- the argument -----------------------------------------------------------------------------------------------------


def checked_metrics(metrics: Any, *, of_validation: bool) -> tuple[Metric, ...]:
    """Return the metrics of validation data, or of the rows that are trained on."""
    if metrics is None:
        return ()
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"`metrics` must be a dict of names and metrics, such as {{'accuracy': 'accuracy'}}; got "
            f"{type(metrics).__name__}."
        )
    prefix = "val_" if of_validation else ""
    for name in metrics:
        if not isinstance(name, str):
            raise TypeError(f"`metrics` must have str as names; got {name!r}.")
        if not name.isprintable() or not name:
            raise ValueError(f"`metrics` must have names that can be printed; got {name!r}.")
        if f"{prefix}{name}".startswith("_"):
            raise ValueError(
                "`metrics` must have names without an underscore before them, because each is an attribute of the "
                f"History; got {name!r}."
            )
    found = tuple(_checked(name, prefix + name, value) for name, value in metrics.items())
    require_free((metric.column for metric in found), lambda column: hasattr(History, column), "every History has")
    return found


def require_free(columns: Any, is_taken: Callable[[str], bool], whose: str) -> None:
    """Refuse metrics whose columns are something else already."""
    for column in columns:
        if is_taken(column):
            raise ValueError(
                f"`metrics` must have names of their own, and {column!r} is what {whose} anyway. Use another name."
            )


def _checked(name: str, column: str, value: Any) -> Metric:
    """Return one metric."""
    if isinstance(value, str):
        from sklearn.metrics import get_scorer

        try:
            scorer = get_scorer(value)
        except (ValueError, TypeError):
            raise ValueError(
                f"`metrics[{name!r}]` must be {_FORMS}; scikit-learn has no scorer {value!r}. "
                "sklearn.metrics.get_scorer_names() lists them."
            ) from None
        return Metric(name, column, scorer, True, takes_weights(scorer), value)
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"`metrics[{name!r}]` must be {_FORMS}; got {kind_of(value)}.")
    is_scorer = _is_scorer(value)
    if is_scorer is None:
        raise TypeError(f"`metrics[{name!r}]` must be {_FORMS}; it takes other arguments: {inspect.signature(value)}.")
    return Metric(name, column, value, is_scorer, takes_weights(value))


def _is_scorer(function: Callable[..., Any]) -> bool | None:
    """Whether a callable takes three arguments as a scorer does, or two as a function; None if neither."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some written in C have none
        return False
    names = [*signature.parameters]
    if (names[:1] == ["estimator"] or names[1:2] == ["X"]) and _binds(signature, 3):  # even if it can do without y
        return True
    for n_arguments, answer in ((2, False), (3, True)):
        if _binds(signature, n_arguments):
            return answer
    return None


def _binds(signature: inspect.Signature, n_arguments: int) -> bool:
    """Whether a callable takes so many arguments by their places."""
    try:
        signature.bind(*[None] * n_arguments)
    except TypeError:
        return False
    return True


def takes_weights(function: Any) -> bool:
    """Whether a function or scorer takes ``sample_weight``; of scikit-learn's scorers the metric inside it says so."""
    try:
        parameters = inspect.signature(getattr(function, "_score_func", function)).parameters
    except (TypeError, ValueError):  # a function of C without a signature
        return False
    return "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def describe_metrics(metrics: tuple[Metric, ...]) -> dict[str, Any]:
    """Return what a checkpoint says of the metrics: columns and scorers' names, and of a fit without them nothing."""
    return {"metrics": [[metric.column, metric.scorer_name] for metric in metrics]} if metrics else {}


# --- after each epoch -------------------------------------------------------------------------------------------------


class Metrics:
    """The metrics of one network on some rows; called, it returns their values as they are then.

    Parameters
    ----------
    net : Model
        The network.
    metrics : tuple of Metric
        What is wanted.
    data : Data
        The rows, valid and in the network's dtype.
    n_threads : int or None
        Threads for the forward pass, of which there is one for all metrics.
    """

    def __init__(self, net: Model, metrics: tuple[Metric, ...], data: Data, n_threads: int | None) -> None:
        self._net, self._metrics, self._data, self._n_threads = net, metrics, data, n_threads
        self._scored: Scored | None = None
        if any(metric.is_scorer for metric in metrics):
            from fastbp.training.scorers import Scored

            self._scored = Scored(net, data)
        array, labels = data.targets
        self._targets = _shown(array if labels is None else labels)
        self._weights = {} if data.sample_weight is None else {"sample_weight": read_only(data.sample_weight)}

    def __call__(self) -> dict[str, float]:
        """Return the values by the names of their columns."""
        outputs = passes_of(self._net).outputs(self._data.X, self._n_threads)
        outputs.flags.writeable = False  # all metrics look at the same array
        if self._scored is not None:
            self._scored.set_outputs(outputs)
        return {metric.column: self._value(metric, outputs) for metric in self._metrics}

    def _value(self, metric: Metric, outputs: NDArray[Any]) -> float:
        """Return one value, or raise the error of the metric."""
        weights = self._weights if metric.takes_weights else {}
        try:
            if metric.is_scorer:
                assert self._scored is not None
                found = self._scored.score(metric.function, weights)
            else:
                found = metric.function(self._targets, _shown(outputs), **weights)
            number = found[()] if isinstance(found, np.ndarray) and found.ndim == 0 else found
            if isinstance(number, Real | np.bool_):
                return float(number)
        except Exception as error:
            raise RuntimeError(
                f"`metrics[{metric.name!r}]` must return a number; it raised {words_of(error)}. {_cure(metric)}The "
                "network has the parameters after the epoch at hand, which is not recorded."
            ) from error
        came = f"an array of shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise TypeError(
            f"`metrics[{metric.name!r}]` must return a number; it returned {came}. Return a float, numpy.nan where "
            "there is none. The network has the parameters after the epoch at hand, which is not recorded."
        )


def _cure(metric: Metric) -> str:
    """Return what may help, where one of scikit-learn's functions was passed that a scorer would have called right."""
    module = getattr(metric.function, "__module__", None) or ""
    if metric.is_scorer or not module.startswith("sklearn."):
        return ""
    return (
        "It was called with targets and outputs. For a metric of labels pass the name of a scorer, or "
        f"sklearn.metrics.make_scorer({getattr(metric.function, '__name__', 'function')}). "
    )


def _shown(array: NDArray[Any] | None) -> NDArray[Any]:
    """Return targets or outputs as functions get them: nobody can write to them, and one output has one dimension."""
    assert array is not None
    return read_only(array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array)
