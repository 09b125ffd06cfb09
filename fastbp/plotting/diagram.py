"""A drawing of a small network with the numbers of one sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.network import Network
from fastbp.plotting.canvas import NEGATIVE, POSITIVE, axes_or_new, checked_network, pyplot
from fastbp.trace import Trace

_MOST_WEIGHTS = 60  # whose numbers a page has room for
_RADIUS = 0.27
_APART = 2.2  # distance of two layers, in distances of two neurons
_ARROWS = ("weights", "steps")


class NetworkDisplay:
    """Neurons as circles with a and delta, weights as arrows whose widths and styles are magnitudes and signs.

    Arrows of weights point forward, the way that a goes; arrows of steps point backward, the way that delta goes.
    Positive ones are solid, negative ones dashed.  A neuron's bias, or its step, stands below it.

    Parameters
    ----------
    sizes : tuple of int
        Layer sizes, inputs first.
    x : ndarray, shape (n_features,)
        The sample.
    trace : Trace
        Its trace.
    numbers : list of (ndarray, ndarray)
        For each layer what the arrows (fan_in, fan_out) and the texts below the neurons (fan_out,) show.
    arrows : {'weights', 'steps'}
        Which of the two that is.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the drawing is.
    figure_ : matplotlib figure
        The figure of the axes.
    arrows_ : list of matplotlib patches
        One for each weight, in the order of `Network.params` without biases.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import NetworkDisplay
    >>> net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid", seed=0)
    >>> display = NetworkDisplay.from_network(net, [[-0.9, 0.1]], [[1.0]], arrows="steps", learning_rate=0.1)
    >>> len(display.arrows_)
    3
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        x: NDArray[Any],
        trace: Trace,
        numbers: list[tuple[NDArray[Any], NDArray[Any]]],
        arrows: str,
    ) -> None:
        self.sizes, self.x, self.trace, self.numbers, self.arrows = sizes, x, trace, numbers, arrows

    @classmethod
    def from_network(
        cls,
        net: Network,
        X: ArrayLike,
        Y: ArrayLike,
        *,
        arrows: str = "weights",
        learning_rate: float = 1.0,
        ax: Any = None,
    ) -> NetworkDisplay:
        """Draw a network and one sample.

        Parameters
        ----------
        net : Network
            A network of 60 weights at most.
        X, Y : array_like, shapes (1, n_features) and (1, n_outputs)
            The sample.
        arrows : {'weights', 'steps'}
            What the arrows show: the weights, or the steps ``-learning_rate * dC/dW`` of gradient descent.
        learning_rate : float
            Of the steps.
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        NetworkDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value; for a network too large to draw.
        ImportError
            If matplotlib is not installed.
        """
        pyplot()  # before the work
        net = checked_network(net)
        n_weights = sum(W.size for W in net.weights)
        if n_weights > _MOST_WEIGHTS:
            raise ValueError(
                f"`net` must have at most {_MOST_WEIGHTS} weights to be drawn with its numbers; got {n_weights}. "
                "FirstLayerDisplay and WeightHistoryDisplay show larger ones."
            )
        if arrows not in _ARROWS:
            raise ValueError(f"`arrows` must be 'weights' or 'steps'; got {arrows!r}.")
        rate = validation.real_number(learning_rate, "learning_rate", 0.0, open_low=True)
        x = net.checked_inputs(X)
        if len(x) != 1:
            raise ValueError(f"`X` must have one row, the sample to draw; got {len(x)}.")
        trace = net.trace(X, Y)
        if arrows == "weights":
            numbers = [(W.copy(), b.copy()) for W, b in zip(net.weights, net.biases, strict=True)]
        else:
            numbers = [(-rate * layer.dW, -rate * layer.db) for layer in trace.layers]
        return cls(net.sizes, x[0], trace, numbers, arrows).plot(ax)

    def plot(self, ax: Any = None) -> NetworkDisplay:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        NetworkDisplay
            This display, with `ax_`, `figure_` and `arrows_`.
        """
        ax = axes_or_new(ax, (1.2 * _APART * len(self.sizes), 1.1 * max(self.sizes) + 1.0))
        places = [_column(layer, size) for layer, size in enumerate(self.sizes)]
        largest = max(float(np.abs(arrows).max()) for arrows, _ in self.numbers) or 1.0
        self.arrows_ = [
            self._arrow(ax, places[layer][i], places[layer + 1][j], float(arrows[i, j]), largest, (i + 2 * j) % 4)
            for layer, (arrows, _) in enumerate(self.numbers)
            for i, j in np.ndindex(arrows.shape)
        ]
        for i, place in enumerate(places[0]):
            _neuron(ax, place, f"x{i + 1}\n{number_text(self.x[i])}")
        for layer, (trace, (_, below)) in enumerate(zip(self.trace.layers, self.numbers, strict=True)):
            for j, place in enumerate(places[layer + 1]):
                _neuron(ax, place, f"a {number_text(trace.a[0, j])}\n" + rf"$\delta$ {number_text(trace.delta[0, j])}")
                text = f"b {number_text(below[j], self.arrows == 'steps')}"
                ax.text(place[0], place[1] - _RADIUS - 0.03, text, ha="center", va="top", fontsize=8, color="0.25")
        self._finish(ax, places)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _arrow(self, ax: Any, start: Any, end: Any, value: float, largest: float, shift: int) -> Any:
        """Draw one weight or step between two neurons, with its number on it."""
        from matplotlib.patches import FancyArrowPatch

        is_step = self.arrows == "steps"
        patch = FancyArrowPatch(
            end if is_step else start,
            start if is_step else end,
            arrowstyle="-|>",
            mutation_scale=10,
            shrinkA=22,
            shrinkB=22,
            linewidth=0.6 + 3.4 * abs(value) / largest,
            linestyle="--" if value < 0 else "-",
            color=NEGATIVE if value < 0 else POSITIVE,
            zorder=1,
        )
        ax.add_patch(patch)
        along = 0.3 + 0.12 * shift  # neighbours' numbers at different places, so that they do not cover each other
        x, y = (1 - along) * np.asarray(start) + along * np.asarray(end)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        ax.text(x, y, number_text(value, is_step), ha="center", va="center", fontsize=8, bbox=box, zorder=2)
        return patch

    def _finish(self, ax: Any, places: Any) -> None:
        """Set limits, titles of the columns, and what the arrows mean."""
        rows = max(self.sizes)
        top = (rows - 1) / 2 + 0.4
        names = ["inputs", *[f"layer {i + 1}" for i in range(len(self.sizes) - 2)], "outputs"]
        for layer, name in enumerate(names):
            ax.text(places[layer][0][0], top, name, ha="center", va="bottom", fontsize=9, color="0.25")
        ax.set_xlim(-0.5, places[-1][0][0] + 0.5)
        ax.set_ylim(-(rows - 1) / 2 - 0.65, top + 0.2)
        ax.set_aspect("equal")
        ax.set_axis_off()
        what = "weights, forward" if self.arrows == "weights" else "steps of the weights, backward"
        ax.set_title(f"arrows: {what}; solid +, dashed -; cost {self.trace.cost:.3g}", fontsize="medium")


def _column(layer: int, size: int) -> list[tuple[float, float]]:
    """Return the places of a layer's neurons, top to bottom."""
    return [(_APART * layer, (size - 1) / 2 - i) for i in range(size)]


def _neuron(ax: Any, place: tuple[float, float], text: str) -> None:
    """Draw a circle with a text."""
    from matplotlib.patches import Circle

    ax.add_patch(Circle(place, _RADIUS, facecolor="white", edgecolor="black", linewidth=1.2, zorder=3))
    ax.text(*place, text, ha="center", va="center", fontsize=8, zorder=4)


def number_text(value: float, signed: bool = False) -> str:
    """Return a number with two significant digits, small ones without an exponent as long as that is short."""
    text = f"{value:+.2g}" if signed else f"{value:.2g}"
    if "e-0" in text and abs(value) >= 1e-4:
        text = np.format_float_positional(value, precision=2, fractional=False, trim="-", sign=signed)
    return text
