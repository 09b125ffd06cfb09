"""Activation functions with their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.derivatives.outputs import output_slopes
from fastbp.functions.activations import OF_LAYERS
from fastbp.functions.names import ActivationName, OutputName
from fastbp.functions.own import Activation
from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.canvas import COLORS, MARKERS, legend_beside, legend_inches, place_legend, shortened
from fastbp.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_POINTS = 241


class ActivationDisplay(Display):
    """Activation functions as solid lines, their derivatives as dashed ones, both as the kernels compute them.

    Parameters
    ----------
    z : ndarray, shape (n,)
        Weighted inputs.
    curves : dict
        For each name the pair ``(f(z), f'(z))``.

    Attributes
    ----------
    {axes}
    lines_ : list of matplotlib lines
        For each function its own line, then that of its derivative.

    Examples
    --------
    >>> from fastbp.plotting import ActivationDisplay
    >>> display = ActivationDisplay.from_names(["sigmoid", "tanh"])
    >>> float(display.curves["sigmoid"][1].max())
    0.25
    """

    lines_: list[Line2D]

    def __init__(self, z: NDArray[Any], curves: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        self.z, self.curves = z, curves

    @classmethod
    def from_names(
        cls,
        names: Sequence[ActivationName | Activation],
        *,
        limits: tuple[float, float] = (-4.0, 4.0),
        ax: Axes | None = None,
    ) -> ActivationDisplay:
        """Draw activations by name, or one's own.

        Parameters
        ----------
        names : sequence of str or Activation
            Which; softmax, a function of the whole layer, has no curve.
        limits : tuple of float
            Range of z.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            For an unknown name.
        {no_matplotlib}
        """
        chosen: list[Any] = [names] if isinstance(names, str | Activation) else list(names)
        z = np.linspace(*limits, _POINTS)
        return cls(z, {_name(activation): _curve(activation, z) for activation in chosen}).plot(ax)

    @classmethod
    def from_network(
        cls, net: Model, *, limits: tuple[float, float] = (-4.0, 4.0), ax: Axes | None = None
    ) -> ActivationDisplay:
        """Draw the activations of a network, each once.

        Parameters
        ----------
        net : Network
            The network.
        limits : tuple of float
            Range of z.
        {ax}

        {returns}

        Raises
        ------
        TypeError
            If `net` is no network.
        {no_matplotlib}
        """
        runs = [activation for layer in checked_network(net).activations for activation, _ in layer]
        names: list[Any] = [name for name in dict.fromkeys(runs) if name not in OF_LAYERS]
        return cls.from_names(names, limits=limits, ax=ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        self.lines_ = []
        ax.axhline(0, color="0.8", linewidth=0.8)
        ax.axvline(0, color="0.8", linewidth=0.8)
        for number, (name, (value, derivative)) in enumerate(self.curves.items()):
            looks: dict[str, Any] = {"color": COLORS[number % len(COLORS)]}
            if len(self.curves) > 1:  # told apart without colour
                looks |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 5, "markevery": (8 * number + 5, 40)}
            self.lines_ += ax.plot(self.z, value, label=shortened(name), **looks)
            self.lines_ += ax.plot(
                self.z, derivative, linestyle="--", label=f"derivative of {shortened(name)}", **looks
            )
        ax.set_xlabel("weighted input z (no unit)")
        ax.set_ylabel("f(z) and f'(z) (no unit)")
        self._title(ax, "Activation functions and their derivatives")
        place_legend(ax, largest=8)

    def _figure_size(self) -> tuple[float, float]:
        labels = self._labels()
        beside, high = legend_inches(labels) if legend_beside(labels) else (0.0, 0.0)
        return 6.0 + beside, max(4.0, high)

    def _labels(self) -> list[str]:
        """Return what the legend says, in its order."""
        return [f"{what}{shortened(name)}" for name in self.curves for what in ("", "derivative of ")]


def _name(activation: str | Activation) -> str:
    return activation.name if isinstance(activation, Activation) else activation


def _curve(activation: OutputName | Activation, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return f(z) and f'(z) by a network of one neuron whose weighted input is its input."""
    if activation in OF_LAYERS:
        raise ValueError(f"`names` must be functions of one z; {activation} is one of the whole layer.")
    net = Model([1, 1], output=activation, initializer="zeros")
    net.params = [1.0, 0.0]
    return net.predict(z[:, None])[:, 0], output_slopes(net, z[:, None])[:, 0]
