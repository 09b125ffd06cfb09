"""The time of one gradient against the number of parameters, by backpropagation and by n + 1 forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp.inspection.gradient_times import measure_gradient
from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.canvas import place_legend, pyplot, tidy_log_axis
from fastbp.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class GradientTimesDisplay(Display):
    """Seconds of one gradient against n, both axes in powers of ten.

    Parameters
    ----------
    n_params : array_like, shape (n_networks,)
        Numbers of parameters.
    backpropagation, perturbation : array_like, shape (n_networks,)
        Seconds of one gradient.

    Attributes
    ----------
    {axes}
    lines_ : list of matplotlib lines
        Perturbation, backpropagation, and backpropagation times (n + 1) / 3.

    Examples
    --------
    >>> from fastbp.plotting import GradientTimesDisplay
    >>> display = GradientTimesDisplay([5, 160, 1314], [2e-6, 8e-6, 3e-5], [5e-6, 5e-4, 1e-2]).plot()
    >>> display.ax_.get_xscale(), display.ax_.get_yscale()
    ('log', 'log')
    """

    lines_: list[Line2D]

    def __init__(self, n_params: ArrayLike, backpropagation: ArrayLike, perturbation: ArrayLike) -> None:
        self.n_params = np.asarray(n_params)
        self.backpropagation = np.asarray(backpropagation, float)
        self.perturbation = np.asarray(perturbation, float)

    @classmethod
    def from_networks(
        cls, networks: Sequence[Model], *, n_rows: int = 100, n_threads: int | None = None, ax: Axes | None = None
    ) -> GradientTimesDisplay:
        """Measure and draw.

        Parameters
        ----------
        networks : sequence of Network
            Networks of growing size.
        n_rows : int
            Samples of the batch.
        n_threads : int, optional
            Threads to use; by default as many as the process may.
        {ax}

        {returns}

        Raises
        ------
        TypeError
            If one of them is no network.
        {no_matplotlib}
        """
        pyplot()  # say before the work, not after it, that matplotlib is missing
        times = [measure_gradient(checked_network(net), n_rows, n_threads=n_threads) for net in networks]
        return cls(
            [each.n_params for each in times],
            [each.backpropagation for each in times],
            [each.perturbation for each in times],
        ).plot(ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        n = self.n_params
        theory = self.backpropagation * (n + 1) / 3
        self.lines_ = ax.loglog(n, self.perturbation, "s-", color="#D55E00", label="n + 1 forward passes")
        self.lines_ += ax.loglog(n, self.backpropagation, "o-", color="black", label="backpropagation")
        self.lines_ += ax.loglog(n, theory, ":", color="0.5", label="backpropagation times (n + 1) / 3")
        ax.set_xlabel("parameters n (number)")
        ax.set_ylabel("time of one gradient (seconds)")
        tidy_log_axis(ax.xaxis, n)
        tidy_log_axis(ax.yaxis, np.concatenate([self.perturbation, self.backpropagation, theory]))
        ax.grid(visible=True, which="major", color="0.9")
        self._title(ax, "Time of one gradient")
        place_legend(ax, beside=False)
