"""A drawing of a small network with the numbers of one sample."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.model.checks import checked_inputs
from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.model.trace import Trace
from fastbp.plotting.canvas import NEGATIVE, POSITIVE, pyplot
from fastbp.plotting.display import Display
from fastbp.plotting.number_places import number_places
from fastbp.validation.matrix_like import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import FancyArrowPatch

_MOST_WEIGHTS = 60  # whose numbers a page has room for
_RADIUS = 0.27
_APART = 2.2  # least distance of two layers, in distances of two neurons
_APART_DENSE = 0.85  # times the square root of the number of weights between them, whose numbers need room
_INCHES = 1.2  # from one neuron to the next
_DIGIT, _HEIGHT = 0.075, 0.13  # of the numbers at 8 points, in distances of two neurons
_ARROWS = ("weights", "steps")


class NetworkDisplay(Display):
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
        Which of the two `numbers` are.

    Attributes
    ----------
    {axes}
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

    arrows_: list[FancyArrowPatch]

    def __init__(
        self,
        sizes: tuple[int, ...],
        x: NDArray[Any],
        trace: Trace,
        numbers: list[tuple[NDArray[Any], NDArray[Any]]],
        arrows: Literal["weights", "steps"],
    ) -> None:
        self.sizes, self.x, self.trace, self.numbers, self.arrows = sizes, x, trace, numbers, arrows

    @classmethod
    def from_network(
        cls,
        net: Model,
        X: MatrixLike,
        Y: ArrayLike,
        *,
        arrows: Literal["weights", "steps"] = "weights",
        learning_rate: float = 1.0,
        ax: Axes | None = None,
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
            The learning rate of the steps.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value; for a network too large to draw.
        {no_matplotlib}
        """
        pyplot()  # say before the work, not after it, that matplotlib is missing
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
        x = checked_inputs(net, X)
        if len(x) != 1:
            raise ValueError(f"`X` must have one row, the sample to draw; got {len(x)}.")
        trace = net.trace(X, Y)
        if arrows == "weights":
            numbers = [(W.copy(), b.copy()) for W, b in zip(net.weights, net.biases, strict=True)]
        else:
            numbers = [(-rate * layer.dW, -rate * layer.db) for layer in trace.layers]
        return cls(net.sizes, x[0], trace, numbers, arrows).plot(ax)

    def _extent(self) -> tuple[float, float]:
        """Return width and height of the drawing, in distances of two neurons."""
        return _places(self.sizes)[-1][0][0] + 1.0, max(self.sizes) + 0.25

    def _figure_size(self) -> tuple[float, float]:
        width, height = self._extent()
        return _INCHES * width, _INCHES * height + 0.3

    def _scale_in(self, ax: Any) -> float:
        """Return the size of the texts in given axes, as a share of their size in a new figure."""
        width, height = self._extent()
        box = ax.get_window_extent()
        inches = min(box.width / width, box.height / height) / ax.figure.dpi
        return float(np.clip(inches / _INCHES, 0.4, 1.0))

    def _draw(self, ax: Any, is_new: bool) -> None:
        places = _places(self.sizes)
        self._scale = 1.0 if is_new else self._scale_in(ax)
        largest = max(float(np.abs(arrows).max()) for arrows, _ in self.numbers) or 1.0
        self.arrows_: list[Any] = []
        for layer, (arrows, _) in enumerate(self.numbers):
            self._draw_arrows(ax, places[layer], places[layer + 1], arrows, largest)
        for i, place in enumerate(places[0]):
            self._neuron(ax, place, f"x{i + 1}\n{number_text(self.x[i])}")
        for layer, (trace, (_, below)) in enumerate(zip(self.trace.layers, self.numbers, strict=True)):
            for j, place in enumerate(places[layer + 1]):
                a, delta = number_text(trace.a[0, j]), number_text(trace.delta[0, j])
                self._neuron(ax, place, f"a {a}\n" + rf"$\delta$ {delta}")
                looks = {"ha": "center", "va": "top", "fontsize": 8 * self._scale, "color": "0.25"}
                bias = number_text(below[j], self.arrows == "steps")
                ax.text(place[0], place[1] - _RADIUS - 0.03, f"b {bias}", **looks)
        self._finish(ax, places)

    def _draw_arrows(self, ax: Any, left: Any, right: Any, values: NDArray[Any], largest: float) -> None:
        """Draw the weights or steps between two layers, with their numbers on them."""
        is_step = self.arrows == "steps"
        starts, ends = (np.repeat(left, len(right), axis=0), np.tile(right, (len(left), 1)))
        texts = [number_text(float(value), is_step) for value in values.ravel()]
        widths = np.array([_DIGIT * (len(text) + 1) for text in texts])
        along = number_places(starts, ends, widths, _HEIGHT, _RADIUS + 0.12)
        angles = np.degrees(np.arctan2(*(ends - starts).T[::-1]))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
        looks = {"ha": "center", "va": "center", "bbox": box, "zorder": 2, "fontsize": 8 * self._scale}
        looks |= {"rotation_mode": "anchor", "transform_rotates_text": True}
        for start, end, value, text, share, angle in zip(
            starts, ends, values.ravel(), texts, along, angles, strict=True
        ):
            self.arrows_.append(self._arrow(ax, start, end, float(value), largest))
            place = (1 - share) * start + share * end
            ax.text(*place, text, rotation=angle, **looks)

    def _arrow(self, ax: Any, start: Any, end: Any, value: float, largest: float) -> Any:
        """Draw one weight or step between two neurons."""
        from matplotlib.patches import FancyArrowPatch

        rim = (_RADIUS + 0.02) * (end - start) / np.linalg.norm(end - start)  # from a neuron's centre to its edge
        from_left = start + rim, end - rim
        patch = FancyArrowPatch(
            *(from_left if self.arrows == "weights" else from_left[::-1]),
            arrowstyle="-|>",
            mutation_scale=10 * self._scale,
            shrinkA=0,
            shrinkB=0,
            linewidth=0.6 + 3.4 * abs(value) / largest,
            linestyle="--" if value < 0 else "-",
            color=NEGATIVE if value < 0 else POSITIVE,
            zorder=1,
        )
        ax.add_patch(patch)
        return patch

    def _neuron(self, ax: Any, place: tuple[float, float], text: str) -> None:
        """Draw a circle with a text."""
        from matplotlib.patches import Circle

        ax.add_patch(Circle(place, _RADIUS, facecolor="white", edgecolor="black", linewidth=1.2, zorder=3))
        ax.text(*place, text, ha="center", va="center", fontsize=8 * self._scale, zorder=4)

    def _finish(self, ax: Any, places: Any) -> None:
        """Set limits, titles of the columns, and what the arrows mean."""
        rows = max(self.sizes)
        top = (rows - 1) / 2 + 0.4
        names = ["inputs", *[f"layer {i + 1}" for i in range(len(self.sizes) - 2)], "outputs"]
        for layer, name in enumerate(names):
            looks = {"ha": "center", "va": "bottom", "fontsize": 9 * self._scale, "color": "0.25"}
            ax.text(places[layer][0][0], top, name, **looks)
        ax.set_xlim(-0.5, places[-1][0][0] + 0.5)
        ax.set_ylim(-(rows - 1) / 2 - 0.65, top + 0.2)
        ax.set_aspect("equal")
        ax.set_axis_off()
        what = "weights, forward" if self.arrows == "weights" else "steps of the weights, backward"
        ax.set_title(f"arrows: {what}; solid +, dashed -; cost {self.trace.cost:.3g}", fontsize="medium")


def _places(sizes: tuple[int, ...]) -> list[list[tuple[float, float]]]:
    """Return the places of each layer's neurons, top to bottom."""
    apart = [max(_APART, _APART_DENSE * math.sqrt(fan_in * fan_out)) for fan_in, fan_out in pairwise(sizes)]
    columns = accumulate([0.0, *apart])
    return [[(x, (size - 1) / 2 - i) for i in range(size)] for x, size in zip(columns, sizes, strict=True)]


def number_text(value: float, signed: bool = False) -> str:
    """Return a number with two significant digits, small ones without an exponent where that is short."""
    text = f"{value:+.2g}" if signed else f"{value:.2g}"
    if "e-0" in text and abs(value) >= 1e-4:
        text = np.format_float_positional(value, precision=2, fractional=False, trim="-", sign=signed)
    return text
