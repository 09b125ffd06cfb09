"""The images that a classifier is most wrong about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.canvas import shortened
from fastbp.plotting.classes import class_numbers, class_scores
from fastbp.plotting.display import Display
from fastbp.plotting.mosaic import Grid, as_images, draw_images
from fastbp.validation.matrix_like import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_SHORT_NAME = 5  # letters of names of which two stand in one line


class MistakesDisplay(Display):
    """The images that a classifier is most wrong about, each with its label and what the classifier took it for.

    Parameters
    ----------
    images : ndarray, shape (n, height, width)
        The worst first.
    labels, predictions : ndarray of int, shape (n,)
        What they are, and what they were taken for.
    margins : ndarray, shape (n,)
        By how much the largest output is above that of the right class.
    class_names : sequence
        Names of the classes.

    Attributes
    ----------
    {axes}
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

    images_: list[AxesImage]

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int64],
        predictions: NDArray[np.int64],
        margins: NDArray[Any],
        class_names: Sequence[Any],
    ) -> None:
        self.images, self.labels, self.predictions, self.margins = images, labels, predictions, margins
        self.class_names = list(class_names)

    @classmethod
    def from_network(
        cls,
        net: Model,
        X: MatrixLike,
        y: ArrayLike,
        *,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
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
            How many to draw, if there are that many mistakes.
        shape : tuple of int, optional
            (height, width) of the images; by default they are square.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        return cls.from_predictions(X, y, checked_network(net).predict(X), n_images=n_images, shape=shape, ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike,
        *,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
    ) -> MistakesDisplay:
        """Draw the worst mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : object
            Fitted, with `classes_` and `predict_proba`.
        X, y, n_images, shape, ax
            As for `from_network`.

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        numbers = class_numbers(y, estimator.classes_, len(np.asarray(X)))
        outputs = estimator.predict_proba(X)
        return cls.from_predictions(
            X, numbers, outputs, class_names=estimator.classes_, n_images=n_images, shape=shape, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        X: MatrixLike,
        y: ArrayLike,
        outputs: ArrayLike,
        *,
        class_names: Sequence[Any] | None = None,
        n_images: int = 10,
        shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
    ) -> MistakesDisplay:
        """Draw the worst mistakes of any classifier.

        Parameters
        ----------
        X, y, n_images, shape, ax
            As for `from_network`.
        outputs : array_like, shape (n, n_classes)
            The score of each class, larger for a likelier one; a single column is the second of two classes.
        class_names : sequence, optional
            Names for the titles; by default the numbers of the classes.

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        pixels = np.asarray(X)
        scores = class_scores(outputs, len(pixels))
        labels = class_numbers(y, range(scores.shape[1]), len(pixels))
        margins = scores.max(axis=1) - scores[np.arange(len(labels)), labels]
        worst = np.argsort(-margins, kind="stable")[: validation.positive_integer(n_images, "n_images")]
        worst = worst[margins[worst] > 0]
        images = as_images(pixels[worst], shape)
        names = range(scores.shape[1]) if class_names is None else class_names
        return cls(images, labels[worst], scores[worst].argmax(axis=1), margins[worst], names).plot(ax)

    def _titles(self) -> list[str]:
        """Return what stands above each image."""
        names = self.class_names
        pairs = [
            (shortened(names[label]), shortened(names[k]))
            for label, k in zip(self.labels, self.predictions, strict=True)
        ]
        longest = max((len(name) for pair in pairs for name in pair), default=0)
        between = " as " if longest <= _SHORT_NAME else "\nas "
        return [between.join(pair) for pair in pairs]

    def _figure_size(self) -> tuple[float, float]:
        n_images, height, width = self.images.shape
        return Grid(n_images, height, width, self._titles()).figure_size()

    def _draw(self, ax: Any, is_new: bool) -> None:
        limits = (float(self.images.min()), float(self.images.max())) if len(self.images) else (0.0, 1.0)
        self.images_ = draw_images(ax, self.images, "gray_r", limits, self._titles())
        self._title(ax, "Worst mistakes: true label as predicted label")
