"""The first layer's weights as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.display import Display
from fastbp.plotting.mosaic import as_images, draw_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_MOST_IMAGES = 400


class FirstLayerDisplay(Display):
    """What each neuron of the first layer looks for: its weights as an image, black negative, white positive.

    Parameters
    ----------
    images : ndarray, shape (n_neurons, height, width)
        Each neuron's weights.

    Attributes
    ----------
    {axes}
    images_ : list of matplotlib images
        One for each neuron, in order, row by row.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import FirstLayerDisplay
    >>> net = bp.Network([64, 6, 10], seed=0)
    >>> FirstLayerDisplay.from_network(net).images.shape
    (6, 8, 8)
    """

    images_: list[AxesImage]

    def __init__(self, images: NDArray[Any]) -> None:
        self.images = images

    @classmethod
    def from_network(
        cls, net: Model, *, shape: tuple[int, int] | None = None, ax: Axes | None = None
    ) -> FirstLayerDisplay:
        """Draw the first layer of a network.

        Parameters
        ----------
        net : Network
            A network whose inputs are the pixels of images, row by row.
        shape : tuple of int, optional
            (height, width) of the images; by default they are square.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit the inputs, or there are more than 400 neurons.
        {no_matplotlib}
        """
        return cls(_neurons(checked_network(net).weights[0], shape)).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, shape: tuple[int, int] | None = None, ax: Axes | None = None
    ) -> FirstLayerDisplay:
        """Draw the first layer of a fitted `MLPClassifier` or `MLPRegressor`, fastbp's or scikit-learn's.

        Parameters
        ----------
        estimator : object
            Fitted, with `coefs_`.
        shape, ax
            As for `from_network`.

        {returns}

        Raises
        ------
        AttributeError, ValueError
            If it has no `coefs_`, or as for `from_network`.
        {no_matplotlib}
        """
        if not hasattr(estimator, "coefs_"):
            raise AttributeError(f"`estimator` must be fitted and have `coefs_`; got {estimator!r}.")
        return cls(_neurons(estimator.coefs_[0], shape)).plot(ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        limit = float(np.abs(self.images).max()) or 1.0
        self.images_ = draw_images(ax, self.images, "gray", (-limit, limit))
        bar = ax.figure.colorbar(self.images_[0], ax=ax, shrink=0.8)
        bar.set_label("weight (no unit)")
        self._title(ax, "Weights of the first layer")


def _neurons(W: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """Return each neuron's weights as an image (n_neurons, height, width)."""
    if W.shape[1] > _MOST_IMAGES:
        raise ValueError(
            f"The first layer must have at most {_MOST_IMAGES} neurons to be drawn; got {W.shape[1]}. "
            f"FirstLayerDisplay(images).plot() draws a choice of them."
        )
    return as_images(np.array(W.T), shape)
