"""Which classes a classifier confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.network import Network
from fastbp.plotting.canvas import axes_or_new, checked_network
from fastbp.plotting.classes import class_numbers, class_scores


class ConfusionDisplay:
    """How many samples of each class were taken for which class.

    Right ones stand on the diagonal, without a shade; the mistakes are shaded by their number.

    Parameters
    ----------
    counts : ndarray of int, shape (n_classes, n_classes)
        Row: the class; column: what it was taken for.
    class_names : sequence
        Names of the classes.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the table is.
    figure_ : matplotlib figure
        The figure of the axes.
    image_ : matplotlib image
        The shades.
    text_ : dict
        The matplotlib text of each (row, column) with a count.

    Examples
    --------
    >>> from fastbp.plotting import ConfusionDisplay
    >>> ConfusionDisplay.from_predictions([0, 1, 2, 2], [0, 1, 1, 2], classes=[0, 1, 2]).counts
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 1, 1]])
    """

    def __init__(self, counts: NDArray[np.int64], class_names: Sequence[Any]) -> None:
        self.counts, self.class_names = counts, list(class_names)

    @classmethod
    def from_network(cls, net: Network, X: ArrayLike, y: ArrayLike, *, ax: Any = None) -> ConfusionDisplay:
        """Count and draw the mistakes of a network.

        Parameters
        ----------
        net : Network
            A network with an output for each class, or one for the second of two.
        X : array_like, shape (n, n_features)
            Samples.
        y : array_like of int, shape (n,)
            Their classes, counted from 0.
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        ConfusionDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        ImportError
            If matplotlib is not installed.
        """
        outputs = checked_network(net).predict(X)
        scores = class_scores(outputs, len(outputs))
        return cls.from_predictions(y, scores.argmax(axis=1), classes=range(scores.shape[1]), ax=ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, y: ArrayLike, *, ax: Any = None) -> ConfusionDisplay:
        """Count and draw the mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : object
            Fitted, with `classes_` and `predict`.
        X, y, ax
            As for `from_network`.

        Returns
        -------
        ConfusionDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        ImportError
            If matplotlib is not installed.
        """
        return cls.from_predictions(y, estimator.predict(X), classes=estimator.classes_, ax=ax)

    @classmethod
    def from_predictions(
        cls, y: ArrayLike, predictions: ArrayLike, *, classes: Sequence[Any], ax: Any = None
    ) -> ConfusionDisplay:
        """Count and draw the mistakes of any classifier.

        Parameters
        ----------
        y, predictions : array_like, shape (n,)
            Classes, and what the samples were taken for.
        classes : sequence
            All classes, in the order of rows and columns.
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        ConfusionDisplay
            The drawn display.

        Raises
        ------
        ValueError
            If there are other labels than the classes, or not as many predictions as labels.
        ImportError
            If matplotlib is not installed.
        """
        n_rows, n_classes = len(np.asarray(y)), len(classes)
        labels = class_numbers(y, classes, n_rows)
        taken = class_numbers(predictions, classes, n_rows, "predictions")
        counts = np.bincount(n_classes * labels + taken, minlength=n_classes**2)
        return cls(counts.reshape(n_classes, n_classes), classes).plot(ax)

    def plot(self, ax: Any = None) -> ConfusionDisplay:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        ConfusionDisplay
            This display, with `ax_`, `figure_`, `image_` and `text_`.
        """
        ax = axes_or_new(ax, (5.0, 4.5))
        mistakes = np.where(np.eye(len(self.counts), dtype=bool), 0, self.counts)
        highest = max(1, int(mistakes.max()))
        self.image_ = ax.imshow(mistakes, cmap="Greys", vmin=0, vmax=1.4 * highest)
        self.text_ = {}
        for row, column in np.argwhere(self.counts):
            count = self.counts[row, column]
            looks = {"fontweight": "bold"} if row == column else {}
            dark = mistakes[row, column] > 0.7 * highest
            where = int(row), int(column)
            color = "white" if dark else "black"
            self.text_[where] = ax.text(column, row, f"{count}", ha="center", va="center", color=color, **looks)
        ax.set_xticks(range(len(self.counts)), self.class_names)
        ax.set_yticks(range(len(self.counts)), self.class_names)
        ax.set_xlabel("taken for (class)")
        ax.set_ylabel("is (class)")
        right = int(np.trace(self.counts))
        ax.set_title(f"{right} of {self.counts.sum()} right", fontsize="medium")
        self.ax_, self.figure_ = ax, ax.figure
        return self
