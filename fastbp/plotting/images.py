"""Many small images in one picture: the first layer's weights, and the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.network import Network
from fastbp.plotting.canvas import axes_or_new, checked_network

_GAP = 0.12  # between images, as a share of an image's side
_TITLE = 0.28  # height of a title, as a share of an image's height
_MOST_IMAGES = 400


class FirstLayerDisplay:
    """What each neuron of the first layer looks for: its weights as an image, black negative, white positive.

    Parameters
    ----------
    images : ndarray, shape (n_neurons, height, width)
        Each neuron's weights.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the images are.
    figure_ : matplotlib figure
        The figure of the axes.
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

    def __init__(self, images: NDArray[Any]) -> None:
        self.images = images

    @classmethod
    def from_network(cls, net: Network, *, shape: tuple[int, int] | None = None, ax: Any = None) -> FirstLayerDisplay:
        """Draw the first layer of a network.

        Parameters
        ----------
        net : Network
            A network whose inputs are the pixels of images, row by row.
        shape : tuple of int, optional
            (height, width) of the images; by default they are square.
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        FirstLayerDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit the inputs, or there are more than 400 neurons.
        ImportError
            If matplotlib is not installed.
        """
        return cls(_neurons(checked_network(net).weights[0], shape)).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, shape: tuple[int, int] | None = None, ax: Any = None
    ) -> FirstLayerDisplay:
        """Draw the first layer of a fitted `MLPClassifier` or `MLPRegressor`, fastbp's or scikit-learn's.

        Parameters
        ----------
        estimator : object
            Fitted, with `coefs_`.
        shape, ax
            As for `from_network`.

        Returns
        -------
        FirstLayerDisplay
            The drawn display.

        Raises
        ------
        AttributeError, ValueError
            If it has no `coefs_`, or as for `from_network`.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(estimator, "coefs_"):
            raise AttributeError(f"`estimator` must be fitted and have `coefs_`; got {estimator!r}.")
        return cls(_neurons(estimator.coefs_[0], shape)).plot(ax)

    def plot(self, ax: Any = None) -> FirstLayerDisplay:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        FirstLayerDisplay
            This display, with `ax_`, `figure_` and `images_`.
        """
        ax = axes_or_new(ax)
        limit = float(np.abs(self.images).max()) or 1.0
        self.images_ = draw_images(ax, self.images, "gray", (-limit, limit))
        bar = ax.figure.colorbar(self.images_[0], ax=ax, shrink=0.8)
        bar.set_label("weight (no unit)")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class MistakesDisplay:
    """The images that a classifier is most wrong about, each with its label and what the classifier took it for.

    Parameters
    ----------
    images : ndarray, shape (n, height, width)
        The worst first.
    labels, predictions : ndarray of int, shape (n,)
        What they are, and what they were taken for.
    margins : ndarray, shape (n,)
        By how much the largest output is above that of the right class.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the images are.
    figure_ : matplotlib figure
        The figure of the axes.
    images_ : list of matplotlib images
        In order, row by row.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.digits import embedded_digits
    >>> from fastbp.plotting import MistakesDisplay
    >>> X, y = embedded_digits()[:2]
    >>> net = bp.Network([64, 10], output="softmax", loss="cross_entropy", seed=0)
    >>> MistakesDisplay.from_network(net, X, y, n_images=8).images.shape
    (8, 8, 8)
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        predictions: NDArray[np.int64],
        margins: NDArray[Any],
    ) -> None:
        self.images, self.labels, self.predictions, self.margins = images, labels, predictions, margins

    @classmethod
    def from_network(
        cls,
        net: Network,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Any = None,
    ) -> MistakesDisplay:
        """Draw the worst mistakes of a network.

        Parameters
        ----------
        net : Network
            A network with an output for each class.
        X : array_like, shape (n, n_pixels)
            Images, one a row.
        y : array_like of int, shape (n,)
            Their classes, counted from 0.
        n_images : int
            How many to draw, if there are as many mistakes.
        shape : tuple of int, optional
            (height, width) of the images; by default they are square.
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        MistakesDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        ImportError
            If matplotlib is not installed.
        """
        return cls.from_predictions(X, y, checked_network(net).predict(X), n_images=n_images, shape=shape, ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Any = None,
    ) -> MistakesDisplay:
        """Draw the worst mistakes of a fitted classifier whose classes are 0, 1, 2, ...

        Parameters
        ----------
        estimator : object
            Fitted, with `predict_proba`.
        X, y, n_images, shape, ax
            As for `from_network`.

        Returns
        -------
        MistakesDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        ImportError
            If matplotlib is not installed.
        """
        return cls.from_predictions(X, y, estimator.predict_proba(X), n_images=n_images, shape=shape, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        outputs: ArrayLike,
        *,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Any = None,
    ) -> MistakesDisplay:
        """Draw the worst mistakes of any classifier.

        Parameters
        ----------
        X, y, n_images, shape, ax
            As for `from_network`.
        outputs : array_like, shape (n, n_classes)
            What the classifier gave each class, the more the likelier.

        Returns
        -------
        MistakesDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        ImportError
            If matplotlib is not installed.
        """
        scores, pixels = np.asarray(outputs), np.asarray(X)
        labels = class_numbers(y, len(pixels), scores.shape[1])
        margins = scores.max(axis=1) - scores[np.arange(len(labels)), labels]
        worst = np.argsort(-margins, kind="stable")[: validation.positive_integer(n_images, "n_images")]
        worst = worst[margins[worst] > 0]
        images = as_images(pixels[worst], shape)
        return cls(images, labels[worst], scores[worst].argmax(axis=1), margins[worst]).plot(ax)

    def plot(self, ax: Any = None) -> MistakesDisplay:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        MistakesDisplay
            This display, with `ax_`, `figure_` and `images_`.
        """
        ax = axes_or_new(ax)
        titles = [f"{label} as {taken}" for label, taken in zip(self.labels, self.predictions, strict=True)]
        limits = (float(self.images.min()), float(self.images.max())) if len(self.images) else (0.0, 1.0)
        self.images_ = draw_images(ax, self.images, "gray_r", limits, titles)
        ax.set_title("worst mistakes: what it is, as what it was taken", fontsize="medium")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def class_numbers(y: ArrayLike, n_rows: int, n_classes: int) -> NDArray[np.int64]:
    """Return checked labels (n_rows,), counted from 0."""
    labels = np.asarray(y)
    if labels.shape != (n_rows,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"`y` must hold an integer from 0 to {n_classes - 1} for each of the {n_rows} rows of X; got "
            f"{labels.dtype} {labels.shape}."
        )
    return labels.astype(np.int64)


def as_images(rows: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """Return rows of pixels as images (n, height, width)."""
    n_pixels = rows.shape[1]
    side = math.isqrt(n_pixels)
    height, width = (side, side) if shape is None else shape
    if height * width != n_pixels:
        what = "square" if shape is None else f"{shape}"
        raise ValueError(f"`shape` must be (height, width) with {n_pixels} pixels in all; {what} does not fit.")
    return rows.reshape(-1, height, width)


def _neurons(W: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """Return each neuron's weights as an image (n_neurons, height, width)."""
    if W.shape[1] > _MOST_IMAGES:
        raise ValueError(
            f"The first layer must have at most {_MOST_IMAGES} neurons to be drawn; got {W.shape[1]}. "
            f"FirstLayerDisplay(images).plot() draws a choice of them."
        )
    return as_images(np.array(W.T), shape)


def draw_images(
    ax: Any, images: NDArray[Any], cmap: str, limits: tuple[float, float], titles: Sequence[str] = ()
) -> list[Any]:
    """Draw images in rows into one pair of axes, and return them."""
    n_images = len(images)
    n_columns = max(1, math.ceil(math.sqrt(1.4 * n_images)))  # a little wider than high, as figures are
    height, width = images.shape[1:]
    step_x, step_y = width * (1 + _GAP), height * (1 + _GAP + (_TITLE if titles else 0.0))
    drawn = []
    for number, image in enumerate(images):
        row, column = divmod(number, n_columns)
        left, top = column * step_x, row * step_y
        extent = (left, left + width, top + height, top)
        drawn.append(ax.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent))
        if titles:
            ax.text(left + width / 2, top - 0.04 * height, titles[number], ha="center", va="bottom", fontsize=9)
    n_rows = math.ceil(n_images / n_columns)
    ax.set_xlim(-_GAP * width, max(1, n_columns) * step_x)
    ax.set_ylim(max(1, n_rows) * step_y, -(_GAP + (_TITLE if titles else 0.0)) * height)
    ax.set_axis_off()
    return drawn
