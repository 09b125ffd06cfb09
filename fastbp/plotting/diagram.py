"""A drawing of a network: a small one with the numbers of one sample, a large one layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.model.checks import checked_inputs
from fastbp.model.definition import checked_network
from fastbp.model.description import activation_text
from fastbp.model.model import Model
from fastbp.model.trace import Trace
from fastbp.plotting.canvas import NEGATIVE, POSITIVE, pyplot
from fastbp.plotting.display import Display
from fastbp.plotting.layer_boxes import LayerBoxes
from fastbp.plotting.number_places import number_places
from fastbp.validation.matrix_like import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import FancyArrowPatch

_MOST_WEIGHTS = 60  # whose numbers a page has room for
_THINNER = 0.55  # lines of many arrows, as a share of the others'
_MOST_CIRCLES = 30  # of a layer
_RADIUS = 0.27
_APART = 2.2  # least distance of two layers, in distances of two neurons
_APART_DENSE = 0.85  # times the square root of the number of weights between them, whose numbers need room
_INCHES = 1.2  # from one neuron to the next
_DIGIT, _HEIGHT = 0.075, 0.13  # of the numbers at 8 points, in distances of two neurons
_LEAST_SCALE = 0.4  # of the texts in given axes, as a share of their size in a new figure
_BOXES, _LEAST_BOXES_SCALE = (9, 7, 5), 0.6  # how many of a deep network are drawn, and what they may shrink to
_ARROWS = ("weights", "steps")
_DETAILS = ("auto", "weights", "neurons", "layers")
# what is drawn neuron by neuron unless asked for: more do not fit onto a page
_MOST_NEURONS = {"weights": 12, "neurons": 8}  # of a layer
_MOST_LAYERS = {"weights": 8, "neurons": 5}  # inputs included


class NetworkDisplay(Display):
    """Neurons as circles with a and delta, weights as arrows whose widths and styles are magnitudes and signs.

    Arrows of weights point forward, the way that a goes; arrows of steps point backward, the way that delta goes.
    Positive ones are solid, negative ones dashed.  A neuron's bias, or its step, stands below it.  Where there is no
    room for the numbers of the weights only their arrows are drawn, and of a large network a box for each layer.

    Parameters
    ----------
    sizes : tuple of int
        Layer sizes, inputs first.
    x : ndarray, shape (n_features,), or None
        The sample.
    trace : Trace or None
        Its trace; without one a box is drawn for each layer.
    numbers : list of (ndarray, ndarray)
        For each layer what the arrows (fan_in, fan_out) and the texts below the neurons (fan_out,) show.
    arrows : {'weights', 'steps'}
        Which of the two `numbers` are.
    activations : sequence of str
        What the boxes say of each layer's activation.
    detail : {'auto', 'weights', 'neurons', 'layers'}
        What is drawn, as for `from_network`.

    Attributes
    ----------
    {axes}
    arrows_ : list of matplotlib patches
        One for each weight, in the order of `Network.params` without biases; between boxes one for each layer.
    detail_ : {'weights', 'neurons', 'layers'}
        What was drawn.

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
        x: NDArray[Any] | None,
        trace: Trace | None,
        numbers: list[tuple[NDArray[Any], NDArray[Any]]],
        arrows: Literal["weights", "steps"],
        activations: Sequence[str] = (),
        detail: Literal["auto", "weights", "neurons", "layers"] = "auto",
    ) -> None:
        self.sizes, self.x, self.trace, self.numbers, self.arrows = sizes, x, trace, numbers, arrows
        self.activations, self.detail = list(activations), detail
        self._most_boxes = _BOXES[0]

    @classmethod
    def from_network(
        cls,
        net: Model,
        X: MatrixLike | None = None,
        Y: ArrayLike | None = None,
        *,
        arrows: Literal["weights", "steps"] = "weights",
        learning_rate: float = 1.0,
        detail: Literal["auto", "weights", "neurons", "layers"] = "auto",
        ax: Axes | None = None,
    ) -> NetworkDisplay:
        """Draw a network and one sample.

        Parameters
        ----------
        net : Network
            The network.
        X, Y : array_like, shapes (1, n_features) and (1, n_outputs), optional
            The sample; without it a box is drawn for each layer.
        arrows : {'weights', 'steps'}
            What the arrows show: the weights, or the steps ``-learning_rate * dC/dW`` of gradient descent.
        learning_rate : float
            The learning rate of the steps.
        detail : {'auto', 'weights', 'neurons', 'layers'}
            ``"weights"`` writes every weight onto its arrow, for 60 of them at most; ``"neurons"`` draws the arrows
            without numbers, for 30 neurons a layer at most; ``"layers"`` draws a box with the counts of each layer.
            ``"auto"`` takes the first of these that can be read.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value; for a network too large for the detail asked for.
        {no_matplotlib}
        """
        pyplot()  # say before the work, not after it, that matplotlib is missing
        net = checked_network(net)
        if arrows not in _ARROWS:
            raise ValueError(f"`arrows` must be 'weights' or 'steps'; got {arrows!r}.")
        if (X is None) != (Y is None):
            raise ValueError("`X` and `Y` must be given together, as the sample to draw, or not at all.")
        _check_detail(detail, net.sizes, has_sample=X is not None)
        rate = validation.real_number(learning_rate, "learning_rate", 0.0, open_low=True)
        activations = [activation_text(runs) for runs in net.activations]
        if X is None or Y is None:
            return cls(net.sizes, None, None, [], arrows, activations, detail).plot(ax)
        x = checked_inputs(net, X)
        if len(x) != 1:
            raise ValueError(f"`X` must have one row, the sample to draw; got {len(x)}.")
        trace = net.trace(X, Y)
        if arrows == "weights":
            numbers = [(W.copy(), b.copy()) for W, b in zip(net.weights, net.biases, strict=True)]
        else:
            numbers = [(-rate * layer.dW, -rate * layer.db) for layer in trace.layers]
        return cls(net.sizes, x[0], trace, numbers, arrows, activations, detail).plot(ax)

    def _extent(self, detail: str) -> tuple[float, float]:
        """Return width and height of the drawing, in inches of a new figure."""
        if detail == "layers":
            return LayerBoxes(self.sizes, self.activations, self._most_boxes).size
        return _INCHES * (_places(self.sizes, detail)[-1][0][0] + 1.0), _INCHES * (max(self.sizes) + 0.25)

    def _chosen(self, ax: Any = None) -> str:
        """Return the detail to draw: of those that fit the network, and given axes, the finest."""
        if self.detail != "auto" and self.trace is not None:
            return self.detail
        fitting = [
            detail
            for detail in ("weights", "neurons")
            if self.trace is not None
            and max(self.sizes) <= _MOST_NEURONS[detail]
            and len(self.sizes) <= _MOST_LAYERS[detail]
            and (detail == "neurons" or _count_weights(self.sizes) <= _MOST_WEIGHTS)
            and (ax is None or self._room_in(ax, detail) >= _LEAST_SCALE)
        ]
        return fitting[0] if fitting else "layers"

    def _figure_size(self) -> tuple[float, float]:
        width, height = self._extent(self._chosen())
        return max(4.0, width), height + 0.3

    def _boxes_in(self, ax: Any) -> int:
        """Return how many boxes can be read in given axes, or the fewest that are drawn."""
        for self._most_boxes in _BOXES:
            if self._room_in(ax, "layers") >= _LEAST_BOXES_SCALE:
                break
        return self._most_boxes

    def _room_in(self, ax: Any, detail: str) -> float:
        """Return the size that the drawing has in given axes, as a share of its size in a new figure."""
        width, height = self._extent(detail)
        box = ax.get_window_extent()
        return float(min(box.width / width, box.height / height) / ax.figure.dpi)

    def _draw(self, ax: Any, is_new: bool) -> None:
        self.detail_ = self._chosen(None if is_new else ax)
        self._scale = 1.0
        self._most_boxes = _BOXES[0]
        if not is_new:
            self._most_boxes = self._boxes_in(ax)
            least = 0.1 if self.detail_ == "layers" else _LEAST_SCALE
            self._scale = float(np.clip(self._room_in(ax, self.detail_), least, 1.0))
        if self.detail_ == "layers":
            self.arrows_ = LayerBoxes(self.sizes, self.activations, self._most_boxes).draw(ax, self._scale)
            ax.set_aspect("equal")
            ax.set_axis_off()
            shape = (
                "-".join(map(str, self.sizes))
                if len(self.sizes) <= _MOST_LAYERS["weights"]
                else f"{len(self.sizes)} layers"
            )
            n_params = _count_weights(self.sizes) + sum(self.sizes[1:])
            self._title(ax, f"{shape}: {n_params:,} parameters")
            return
        self._draw_neurons(ax)

    def _draw_neurons(self, ax: Any) -> None:
        """Draw every neuron and arrow, with the numbers of the arrows if these are asked for."""
        assert self.trace is not None
        assert self.x is not None
        places = _places(self.sizes, self.detail_)
        largest = max(float(np.abs(arrows).max()) for arrows, _ in self.numbers) or 1.0
        self.arrows_ = []
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
        self._finish(ax, places, self.trace.cost)

    def _draw_arrows(self, ax: Any, left: Any, right: Any, values: NDArray[Any], largest: float) -> None:
        """Draw the weights or steps between two layers, with their numbers on them."""
        if self.detail_ == "neurons":
            for (i, j), value in np.ndenumerate(values):
                self.arrows_.append(self._arrow(ax, np.array(left[i]), np.array(right[j]), float(value), largest))
            return
        is_step = self.arrows == "steps"
        starts, ends = (np.repeat(left, len(right), axis=0), np.tile(right, (len(left), 1)))
        texts = [number_text(float(value), is_step) for value in values.ravel()]
        widths = np.array([_DIGIT * (len(text) + 1) for text in texts])
        along = number_places(starts, ends, widths, _HEIGHT, _RADIUS + 0.12)
        angles = np.degrees(np.arctan2(*(ends - starts).T[::-1]))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
        looks = {
            "ha": "center",
            "va": "center",
            "bbox": box,
            "zorder": 2,
            "fontsize": 8 * self._scale,
            "color": "black",
        }
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

        thinner = 1.0 if self.detail_ == "weights" else _THINNER
        rim = (_RADIUS + 0.02) * (end - start) / np.linalg.norm(end - start)  # from a neuron's centre to its edge
        from_left = start + rim, end - rim
        patch = FancyArrowPatch(
            *(from_left if self.arrows == "weights" else from_left[::-1]),
            arrowstyle="-|>",
            mutation_scale=10 * self._scale * thinner,
            shrinkA=0,
            shrinkB=0,
            linewidth=(0.6 + 3.4 * abs(value) / largest) * thinner,
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
        ax.text(*place, text, ha="center", va="center", fontsize=8 * self._scale, color="black", zorder=4)

    def _finish(self, ax: Any, places: Any, cost: float) -> None:
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
        self._title(ax, f"arrows: {what}; solid +, dashed -; cost {cost:.3g}")


def _count_weights(sizes: tuple[int, ...]) -> int:
    return sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))


def _check_detail(detail: str, sizes: tuple[int, ...], *, has_sample: bool) -> None:
    """Raise unless a network can be drawn in this detail."""
    if detail not in _DETAILS:
        raise ValueError(f"`detail` must be 'auto', 'weights', 'neurons' or 'layers'; got {detail!r}.")
    if detail in ("weights", "neurons") and not has_sample:
        raise ValueError(f"`X` and `Y` must be a sample for detail={detail!r}. Without one, 'layers' can be drawn.")
    n_weights, widest = _count_weights(sizes), max(sizes)
    if detail == "weights" and n_weights > _MOST_WEIGHTS:
        raise ValueError(
            f"`net` must have at most {_MOST_WEIGHTS} weights to be drawn with its numbers; got {n_weights}. "
            "detail='auto' draws larger ones."
        )
    if detail == "neurons" and widest > _MOST_CIRCLES:
        raise ValueError(
            f"`net` must have at most {_MOST_CIRCLES} neurons a layer to be drawn neuron by neuron; got {widest}. "
            "detail='auto' draws larger ones."
        )


def _places(sizes: tuple[int, ...], detail: str) -> list[list[tuple[float, float]]]:
    """Return the places of each layer's neurons, top to bottom."""
    dense = _APART_DENSE if detail == "weights" else _APART_DENSE / 2  # arrows without numbers need less room
    apart = [max(_APART, dense * math.sqrt(fan_in * fan_out)) for fan_in, fan_out in pairwise(sizes)]
    columns = accumulate([0.0, *apart])
    return [[(x, (size - 1) / 2 - i) for i in range(size)] for x, size in zip(columns, sizes, strict=True)]


def number_text(value: float, signed: bool = False) -> str:
    """Return a number with two significant digits, small ones without an exponent where that is short."""
    text = f"{value:+.2g}" if signed else f"{value:.2g}"
    if "e-0" in text and abs(value) >= 1e-4:
        text = np.format_float_positional(value, precision=2, fractional=False, trim="-", sign=signed)
    return text
