"""Which classes a classifier confuses, with scikit-learn's own display underneath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.canvas import lay_out, shortened
from fastbp.plotting.classes import class_numbers, class_scores
from fastbp.plotting.display import Display
from fastbp.validation.matrix_like import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

_LEAST_CELL = 0.4  # inches
_WIDE_TABLE = 4.0
_DIGIT_WIDTH = 0.7  # of a bold digit, in font sizes
_DIGIT_INCHES = 10 / 72 * _DIGIT_WIDTH  # at 10 points
_NAME_SIZES = (10, 8, 7, 6, 5, 4)  # points
_NAME_HEIGHT = 0.75  # of a cell's side, at most
_LETTER_INCHES = 10 / 72 * 0.58  # of a name, on average


class ConfusionDisplay(Display):
    """How many samples of each class were taken for which class.

    Right ones stand on the diagonal, without a shade; the mistakes are shaded by their number.  The figure is as large
    as the numbers and the names of the classes need; in given axes the numbers become as small as these need.

    Parameters
    ----------
    counts : ndarray of int, shape (n_classes, n_classes)
        Row: the class; column: what it was taken for.
    class_names : sequence
        Names of the classes.

    Attributes
    ----------
    {axes}
    confusion_ : sklearn.metrics.ConfusionMatrixDisplay
        With `confusion_matrix`, `im_` and `text_`.
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

    image_: AxesImage
    confusion_: Any
    text_: dict[tuple[int, int], Text]

    def __init__(self, counts: NDArray[np.int64], class_names: Sequence[Any]) -> None:
        self.counts, self.class_names = counts, list(class_names)

    @classmethod
    def from_network(cls, net: Model, X: MatrixLike, y: ArrayLike, *, ax: Axes | None = None) -> ConfusionDisplay:
        """Count and draw the mistakes of a network.

        Parameters
        ----------
        net : Network
            A network with an output for each class, or one for the second of two.
        X : array_like, shape (n, n_features)
            Samples.
        y : array_like of int, shape (n,)
            Their classes, counted from 0.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        outputs = checked_network(net).predict(X)
        scores = class_scores(outputs, len(outputs))
        return cls.from_predictions(y, scores.argmax(axis=1), classes=range(scores.shape[1]), ax=ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: MatrixLike, y: ArrayLike, *, ax: Axes | None = None) -> ConfusionDisplay:
        """Count and draw the mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : object
            Fitted, with `classes_` and `predict`.
        X, y, ax
            As for `from_network`.

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        {no_matplotlib}
        """
        return cls.from_predictions(y, estimator.predict(X), classes=estimator.classes_, ax=ax)

    @classmethod
    def from_predictions(
        cls, y: ArrayLike, predictions: ArrayLike, *, classes: Sequence[Any], ax: Axes | None = None
    ) -> ConfusionDisplay:
        """Count and draw the mistakes of any classifier.

        Parameters
        ----------
        y, predictions : array_like, shape (n,)
            Classes, and what the samples were taken for.
        classes : sequence
            All classes, in the order of rows and columns.
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If a label is none of the classes, or there are not as many predictions as labels.
        {no_matplotlib}
        """
        n_rows, n_classes = len(np.asarray(y)), len(classes)
        labels = class_numbers(y, classes, n_rows)
        taken = class_numbers(predictions, classes, n_rows, "predictions")
        counts = np.bincount(n_classes * labels + taken, minlength=n_classes**2)
        return cls(counts.reshape(n_classes, n_classes), classes).plot(ax)

    def _longest_name(self) -> float:
        """Return the inches of the longest name of a class."""
        return _LETTER_INCHES * max(len(shortened(name)) for name in self.class_names)

    def _cell_of_new(self) -> float:
        """Return the inches of a cell's side in a new figure."""
        longest, n_classes = self._longest_name(), len(self.class_names)
        cell = max(_LEAST_CELL, _DIGIT_INCHES * (len(str(self.counts.max(initial=0))) + 1))
        # if there are few classes, cells are as wide as the names, which then stand beside each other
        return max(cell, longest) if n_classes * longest <= _WIDE_TABLE else cell

    def _figure_size(self) -> tuple[float, float]:
        longest, cell = self._longest_name(), self._cell_of_new()
        table, below = cell * len(self.class_names), 0.75 * longest if longest > cell else 0.2
        return max(4.0, table + longest + 0.8), max(3.5, table + below + 0.9)

    def _draw(self, ax: Any, is_new: bool) -> None:
        from sklearn.metrics import ConfusionMatrixDisplay

        names = [shortened(name) for name in self.class_names]
        display = ConfusionMatrixDisplay(self.counts, display_labels=names)
        display.plot(ax=ax, cmap="Greys", colorbar=False, values_format="d")
        self.confusion_, self.image_ = display, display.im_
        right, total = int(np.trace(self.counts)), int(self.counts.sum())
        share = f"accuracy {right / total:.3f}, " if total else ""
        self._title(ax, f"{share}{right} of {total} correct")
        for text in display.text_.flat:
            text.set_in_layout(False)  # within the cells anyway, and there are many
        self._draw_names(ax, is_new)
        self._shade_mistakes(ax)

    def _draw_names(self, ax: Any, is_new: bool) -> None:
        """Make the names so small that they stand beside each other, slanted if they are wider than a cell."""
        names = [shortened(name) for name in self.class_names]
        place, is_slanted = ax.get_position(original=True), False
        cell = self._cell_of_new() if is_new else _cell_in(ax, len(names))
        for size in _NAME_SIZES:
            ax.tick_params(labelsize=size)
            if not is_slanted and self._longest_name() * size / 10 > cell:
                ax.set_xticks(ax.get_xticks(), names, rotation=45, ha="right", rotation_mode="anchor")
                is_slanted = True
            if not is_new:  # the cells are as large as the names leave them room
                if ax.figure.get_layout_engine() is None:
                    ax.set_position(place)
                lay_out(ax)
                cell = _cell_in(ax, len(names))
            if size <= _NAME_HEIGHT * 72 * cell and (is_slanted or self._longest_name() * size / 10 <= cell):
                break

    def _shade_mistakes(self, ax: Any) -> None:
        """Shade the mistakes only, since the many right ones would make them pale, and keep every number readable."""
        mistakes = np.where(np.eye(len(self.counts), dtype=bool), 0, self.counts)
        highest = max(1, int(mistakes.max(initial=0)))
        self.image_.set_data(mistakes)
        self.image_.set_clim(0, 1.4 * highest)
        size = _font_size(ax, self.counts)
        self.text_ = {}
        for (row, column), text in np.ndenumerate(self.confusion_.text_):
            if not self.counts[row, column]:
                text.set_visible(False)
                continue
            text.set(color="white" if mistakes[row, column] > 0.7 * highest else "black", fontsize=size)
            text.set_fontweight("bold" if row == column else "normal")
            self.text_[row, column] = text


def _cell_in(ax: Any, n_classes: int) -> float:
    """Return the inches of a cell's side in axes."""
    box = ax.get_window_extent()
    return float(min(box.width, box.height) / ax.figure.dpi / n_classes)


def _font_size(ax: Any, counts: NDArray[np.int64]) -> float:
    """Return the size in points at which the longest number fits into a cell."""
    cell = 72 * _cell_in(ax, len(counts))
    return float(np.clip(cell / (_DIGIT_WIDTH * (len(str(counts.max(initial=0))) + 0.7)), 4.0, 10.0))
