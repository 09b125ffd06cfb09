"""Learning curves: what a fit recorded, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.plotting.canvas import place_legend, whole_numbers
from fastbp.plotting.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

LOSS = "loss (mean cost per sample)"


class LossRecord(Protocol):
    """What is read from the record of a fit, for instance from a `History`."""

    @property
    def loss(self) -> NDArray[np.float64]:
        """Loss of the training data, one value for each epoch."""

    @property
    def val_loss(self) -> NDArray[np.float64]:
        """Loss of the validation data; empty without them."""

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 0, with the lowest validation loss, or the best metric."""

    @property
    def monitor(self) -> str:
        """What the best epoch goes by: 'val_loss' or a metric."""


class HistoryDisplay(Display):
    """A quantity of the training data, and of the validation data, against the epoch.

    Parameters
    ----------
    training : array_like, shape (n_epochs,)
        Values of the training data, one for each epoch.
    validation : array_like, shape (n_epochs,), optional
        Values of the validation data.
    quantity : str
        What the values are, with their unit: the label of the axis.
    best_epoch : int, optional
        The epoch, counted from 0, whose validation value gets a marker.
    best_label : str
        What the legend says of it.
    score : array_like, shape (n_epochs,), optional
        Score of the validation data, which has an axis of its own at the right.
    score_quantity : str
        What the score is: the label of that axis.

    Attributes
    ----------
    {axes}
    lines_ : list of matplotlib lines
        Training, then validation.
    score_ax_ : matplotlib axes or None
        The axes of the score.
    score_line_ : matplotlib line or None
        The score.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import HistoryDisplay
    >>> net = bp.Network([1, 4, 1], activation="tanh", seed=0)
    >>> history = net.fit([[0.0], [1.0]], [[0.0], [1.0]], epochs=5, seed=0)
    >>> display = HistoryDisplay.from_history(history)
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    lines_: list[Line2D]

    def __init__(
        self,
        training: ArrayLike,
        validation: ArrayLike = (),
        *,
        quantity: str = LOSS,
        best_epoch: int | None = None,
        best_label: str = "best",
        score: ArrayLike = (),
        score_quantity: str = "score",
    ) -> None:
        self.training = np.asarray(training, float)
        self.validation = np.asarray(validation, float)
        self.quantity = quantity
        self.best_epoch, self.best_label = best_epoch, best_label
        self.score, self.score_quantity = np.asarray(score, float), score_quantity

    @classmethod
    def from_history(cls, history: LossRecord, *, ax: Axes | None = None) -> HistoryDisplay:
        """Draw the loss of a fit.

        Parameters
        ----------
        history : History
            What `Network.fit` returned.
        {ax}

        {returns}

        Raises
        ------
        {no_matplotlib}
        """
        label = "best" if history.monitor == "val_loss" else f"best {history.monitor}"
        return cls(history.loss, history.val_loss, best_epoch=history.best_epoch, best_label=label).plot(ax)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> HistoryDisplay:
        """Draw the loss of a fitted `MLPClassifier` or `MLPRegressor`, fastbp's or scikit-learn's.

        With validation data given to `fit` their loss is drawn too, and with early stopping the validation score, whose
        best epoch gets a marker.

        Parameters
        ----------
        estimator : object
            Fitted, with a `loss_curve_`.
        {ax}

        {returns}

        Raises
        ------
        AttributeError
            If there is no `loss_curve_`.
        {no_matplotlib}
        """
        if not hasattr(estimator, "loss_curve_"):
            raise AttributeError(
                f"`estimator` must be fitted and have a `loss_curve_`, which the solvers sgd and adam leave; got "
                f"{estimator!r}."
            )
        validation = getattr(estimator, "validation_loss_curve_", None) or ()  # None without validation data
        scores = getattr(estimator, "validation_scores_", None) or ()  # None without early stopping
        has_marker = len(scores) > 0 and len(validation) in (0, len(scores))
        return cls(
            estimator.loss_curve_,
            validation,
            best_epoch=int(np.argmax(scores)) if has_marker else None,
            best_label="best score",
            score=scores,
            score_quantity="validation score (accuracy)" if hasattr(estimator, "classes_") else "validation score (R²)",
        ).plot(ax)

    def _draw(self, ax: Any, is_new: bool) -> None:
        epochs = np.arange(1, len(self.training) + 1)
        self.lines_ = ax.plot(epochs, self.training, color="black", label="training")
        if self.validation.size:
            self.lines_ += ax.plot(epochs, self.validation, color="#D55E00", linestyle="--", label="validation")
            if self.best_epoch is not None:
                best = self.best_epoch
                label = f"{self.best_label}, epoch {best + 1}"
                ax.plot(best + 1, self.validation[best], "o", color="#D55E00", label=label)
        whole_numbers(ax.xaxis)
        ax.set_xlabel("epoch")
        ax.set_ylabel(self.quantity)
        self._title(ax, "Learning curve")
        self._draw_score(ax)
        handles, labels = ax.get_legend_handles_labels()
        if self.score_ax_ is not None:
            above = self.score_ax_.get_legend_handles_labels()
            handles, labels = handles + above[0], labels + above[1]
        place_legend(ax, handles, labels)

    def _draw_score(self, ax: Any) -> None:
        """Draw the score against an axis of its own at the right, below the losses and the legend."""
        self.score_ax_ = self.score_line_ = None
        if not self.score.size:
            return
        self.score_ax_ = twin = ax.twinx()
        epochs = np.arange(1, len(self.score) + 1)
        (self.score_line_,) = twin.plot(epochs, self.score, color="#0072B2", linestyle="-.", label="validation score")
        if self.best_epoch is not None and not self.validation.size:
            best = self.best_epoch
            label = f"{self.best_label}, epoch {best + 1}"
            twin.plot(best + 1, self.score[best], "s", color="#0072B2", label=label)
        twin.set_ylabel(self.score_quantity)
        ax.set_zorder(twin.get_zorder() + 1)
        ax.patch.set_visible(False)
