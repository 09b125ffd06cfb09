"""Learning rates: the loss over them in a trial, and schedules step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.plotting.canvas import (
    MARKERS,
    legend_beside,
    legend_inches,
    place_legend,
    shortened,
    style,
    tidy_log_axis,
    whole_numbers,
)
from fastbp.plotting.display import Display

_Schedule = Callable[[ArrayLike, int], ArrayLike]
_MARKERS_ON_A_LINE = 8


class RangeRecord(Protocol):
    """What is read from the result of `find_learning_rate`."""

    @property
    def learning_rates(self) -> NDArray[np.float64]:
        """Learning rate of each step."""

    @property
    def losses(self) -> NDArray[np.float64]:
        """Running mean of the cost before each step."""

    @property
    def suggestion(self) -> float:
        """The rate at which the loss fell fastest."""


class LearningRateDisplay(Display):
    """The loss in a trial run against its growing learning rate, with the rate that is suggested.

    Parameters
    ----------
    learning_rates : array_like, shape (n_steps,)
        Learning rate of each step.
    losses : array_like, shape (n_steps,)
        Running mean of the mini-batches' cost before each step.
    suggestion : float
        The rate that gets a line and a marker; NaN draws neither.

    Attributes
    ----------
    {axes}
    line_ : matplotlib line
        The loss.
    suggestion_ : matplotlib line or None
        The vertical line at the suggestion.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import LearningRateDisplay
    >>> net = bp.Network([1, 4, 1], activation="tanh", seed=0)
    >>> found = bp.find_learning_rate(net, [[0.0], [1.0]], [[1.0], [3.0]], seed=0)
    >>> display = LearningRateDisplay.from_range(found)
    >>> display.ax_.get_xlabel(), display.ax_.get_xscale()
    ('learning rate', 'log')
    """

    def __init__(self, learning_rates: ArrayLike, losses: ArrayLike, suggestion: float = np.nan) -> None:
        self.learning_rates, self.losses = np.asarray(learning_rates, float), np.asarray(losses, float)
        self.suggestion = float(suggestion)

    @classmethod
    def from_range(cls, found: RangeRecord, *, ax: Any = None) -> LearningRateDisplay:
        """Draw what `find_learning_rate` found.

        Parameters
        ----------
        found : LearningRateRange
            Its result.
        {ax}

        {returns}

        Raises
        ------
        TypeError
            If `found` is something else.
        {no_matplotlib}
        """
        if not all(hasattr(found, name) for name in ("learning_rates", "losses", "suggestion")):
            raise TypeError(
                f"`found` must be what bp.find_learning_rate returned; got {type(found).__name__}. Other rates and "
                "losses go to LearningRateDisplay(learning_rates, losses).plot()."
            )
        return cls(found.learning_rates, found.losses, found.suggestion).plot(ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        (self.line_,) = ax.plot(self.learning_rates, self.losses, color="black", label="loss")
        ax.set_xscale("log")
        tidy_log_axis(ax.xaxis, self.learning_rates)
        self.suggestion_ = None
        if np.isfinite(self.suggestion):
            label = f"suggestion {self.suggestion:.2g}"
            self.suggestion_ = ax.axvline(self.suggestion, color="#D55E00", linestyle="--", label=label)
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss (running mean of the cost)")
        self._title(ax, "Learning rate range test")
        place_legend(ax)


class ScheduleDisplay(Display):
    """The learning rate of each step of a fit, for one schedule or several.

    Parameters
    ----------
    curves : mapping of str to array_like, shape (n_steps,)
        For each name the learning rates of the steps, counted from 0.

    Attributes
    ----------
    {axes}
    lines_ : list of matplotlib lines
        One for each schedule.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import ScheduleDisplay
    >>> display = ScheduleDisplay.from_schedule(bp.OneCycle(0.5), n_steps=100)
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('step', 'learning rate')
    >>> float(display.curves["OneCycle"].max())
    0.5
    """

    def __init__(self, curves: Mapping[str, ArrayLike]) -> None:
        self.curves = {name: np.asarray(rates, float) for name, rates in curves.items()}

    @classmethod
    def from_schedule(
        cls,
        schedule: _Schedule | Sequence[_Schedule] | Mapping[str, _Schedule],
        n_steps: int,
        *,
        log: bool = False,
        ax: Any = None,
    ) -> ScheduleDisplay:
        """Draw a schedule, a list of them, or a dict with names for the legend.

        Parameters
        ----------
        schedule : Schedule, sequence or mapping of Schedule
            Which; a list names them by their classes.
        n_steps : int
            Steps of the whole fit: epochs times mini-batches.
        log : bool
            Whether the learning rate has a logarithmic axis.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        count = validation.positive_integer(n_steps, "n_steps")
        is_log = validation.flag(log, "log")
        named = _named(schedule)
        display = cls({name: _rates(each, count) for name, each in named.items()})
        display._is_log = is_log
        return display.plot(ax)

    _is_log = False

    def _figure_size(self) -> tuple[float, float]:
        labels = [shortened(name) for name in self.curves]
        beside, high = legend_inches(labels) if legend_beside(labels) else (0.0, 0.0)
        return 6.0 + beside, max(4.0, high)

    def _draw(self, ax: Any, is_new: bool) -> None:
        self.lines_ = []
        for number, (name, rates) in enumerate(self.curves.items()):
            every = max(1, len(rates) // _MARKERS_ON_A_LINE)
            looks: dict[str, Any] = style(number)
            if len(self.curves) > 1:  # told apart without colour
                begin = number * every // len(self.curves)
                looks |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 5, "markevery": (begin, every)}
            self.lines_ += ax.plot(np.arange(len(rates)), rates, label=shortened(name), **looks)
        if self._is_log:
            ax.set_yscale("log")
            tidy_log_axis(ax.yaxis, np.concatenate([*self.curves.values()]))
        whole_numbers(ax.xaxis)
        ax.set_xlabel("step")
        ax.set_ylabel("learning rate")
        self._title(ax, "Learning rate schedules" if len(self.curves) > 1 else "Learning rate schedule")
        place_legend(ax)


def _named(schedule: Any) -> dict[str, _Schedule]:
    """Return the schedules by their names, which differ."""
    if isinstance(schedule, Mapping):
        named = {str(name): each for name, each in schedule.items()}
    else:
        several = list(schedule) if isinstance(schedule, list | tuple) else [schedule]
        kinds = [type(each).__name__ for each in several]
        names = [
            f"{kind} {1 + kinds[:i].count(kind)}" if kinds.count(kind) > 1 else kind for i, kind in enumerate(kinds)
        ]
        named = dict(zip(names, several, strict=True))
    wrong = next((each for each in named.values() if not callable(each) or isinstance(each, type)), None)
    if wrong is not None or not named:
        got = "none" if wrong is None else repr(wrong)
        raise TypeError(
            "`schedule` must be a schedule such as bp.OneCycle(0.1), or a list or dict of them, one at least; got "
            f"{got}."
        )
    return named


def _rates(schedule: _Schedule, n_steps: int) -> NDArray[np.float64]:
    """Return the learning rates of all steps."""
    rates = np.asarray(schedule(np.arange(n_steps), n_steps), float)
    if rates.shape != (n_steps,):
        raise ValueError(
            f"`schedule` must return a learning rate for each of the {n_steps} steps; got the shape {rates.shape} from "
            f"{schedule!r}."
        )
    return rates
