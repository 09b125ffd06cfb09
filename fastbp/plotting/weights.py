"""Every weight over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp.inspection.weight_history import WeightHistory, parameter_sample
from fastbp.plotting.canvas import place_legend, style, whole_numbers
from fastbp.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_MOST_LINES = 1000  # more lines than these cover each other, and take seconds to draw


class WeightHistoryDisplay(Display):
    """Parameters against the epoch: a line for each, those of one layer's weights or biases in one style.

    Parameters
    ----------
    values : array_like, shape (n_epochs + 1, n_lines)
        Values before the first epoch and after each.
    names : sequence of str, length n_lines
        What each column is; columns whose names begin alike up to the bracket, such as ``W1[``, are drawn alike.

    Attributes
    ----------
    {axes}
    lines_ : list of matplotlib lines
        One for each column, in order.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import WeightHistoryDisplay
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> weights = bp.WeightHistory(net)
    >>> history = net.fit([[0.5, -1.0]], [[1.0]], epochs=5, seed=0, callbacks=[weights])
    >>> len(WeightHistoryDisplay.from_history(weights).lines_)
    13
    """

    lines_: list[Line2D]

    def __init__(self, values: ArrayLike, names: Sequence[str]) -> None:
        self.values = np.asarray(values)
        self.names = list(names)

    @classmethod
    def from_history(
        cls, weight_history: WeightHistory, *, sample: int | None = None, seed: int = 0, ax: Axes | None = None
    ) -> WeightHistoryDisplay:
        """Draw what a callback recorded.

        Parameters
        ----------
        weight_history : WeightHistory
            The callback, after the fit.
        sample : int, optional
            Draw this many of the recorded parameters, chosen at random, instead of all.
        seed : int
            Seed of the choice.
        {ax}

        {returns}

        Raises
        ------
        TypeError
            If `weight_history` is something else.
        ValueError
            If there are more than 1000 lines to draw, or fewer parameters than `sample`.
        {no_matplotlib}
        """
        if not isinstance(weight_history, WeightHistory):
            raise TypeError(
                "`weight_history` must be a bp.WeightHistory that was among the callbacks of a fit; got "
                f"{type(weight_history).__name__}."
            )
        n_recorded = len(weight_history.names)
        n_lines = n_recorded if sample is None else sample
        if n_lines > _MOST_LINES:
            raise ValueError(
                f"`weight_history` has {n_recorded} parameters, and lines can be told apart for {_MOST_LINES} at most; "
                f"got {n_lines} to draw. sample=100 draws a hundred of them, chosen at random."
            )
        chosen = parameter_sample(n_recorded, sample, seed)
        return cls(weight_history.values[:, chosen], [weight_history.names[i] for i in chosen]).plot(ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        epochs = np.arange(len(self.values))
        groups = [name.split("[")[0] for name in self.names]
        order = list(dict.fromkeys(groups))
        self.lines_ = []
        for i, group in enumerate(groups):
            label = group if i == groups.index(group) else None
            self.lines_ += ax.plot(epochs, self.values[:, i], linewidth=1, label=label, **style(order.index(group)))
        whole_numbers(ax.xaxis)
        ax.set_xlabel("epoch")
        ax.set_ylabel("weight or bias (no unit)")
        self._title(ax, "Weights and biases over the epochs")
        place_legend(ax, beside=True, title="layer")
