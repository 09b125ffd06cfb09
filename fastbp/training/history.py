"""`History`: what a fit recorded, epoch by epoch; and `EarlyStopping`, which watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

STOPPED_BY = ("epochs", "early_stopping", "tolerance", "callback")  # why a whole fit ended


@dataclass
class History:
    """The record of a fit.

    Attributes
    ----------
    loss : ndarray, shape (n_epochs,)
        Mean cost of each epoch's mini-batches, each before its step, penalties included.
    val_loss : ndarray, shape (n_epochs,)
        Cost of the validation data after each epoch; empty without validation data.
    learning_rate : ndarray, shape (n_epochs,)
        Learning rate of each epoch's last step.
    seconds : ndarray, shape (n_epochs,)
        Wall time of each epoch, validation included.  Short epochs without anything between them are timed together,
        some 50 ms at most, and have equal shares of that time.
    stopped_by : {'epochs', 'early_stopping', 'tolerance', 'callback', 'divergence', 'interruption'}
        Why the fit ended; 'interruption' means by Ctrl-C or another exception.
    best_epoch : int or None
        With validation data, the epoch (from 0) with the lowest validation loss.

    Examples
    --------
    >>> import fastbp as bp
    >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> history = net.fit(X, Y, epochs=3, optimizer=bp.SGD(0.5), validation_data=(X, Y))
    >>> len(history.loss), history.best_epoch, history.stopped_by
    (3, 2, 'epochs')
    """

    _loss: list[float] = field(default_factory=list)
    _val_loss: list[float] = field(default_factory=list)
    _learning_rate: list[float] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    stopped_by: str = "epochs"

    @property
    def loss(self) -> NDArray[np.float64]:
        """Mean cost of each epoch's mini-batches."""
        return np.array(self._loss)

    @property
    def val_loss(self) -> NDArray[np.float64]:
        """Cost of the validation data after each epoch."""
        return np.array(self._val_loss)

    @property
    def learning_rate(self) -> NDArray[np.float64]:
        """Learning rate of each epoch's last step."""
        return np.array(self._learning_rate)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Wall time of each epoch."""
        return np.array(self._seconds)

    @property
    def best_epoch(self) -> int | None:
        """Epoch (from 0) with the lowest finite validation loss, or None."""
        values = np.where(np.isfinite(self.val_loss), self.val_loss, np.inf)
        return int(np.argmin(values)) if values.size and np.isfinite(values.min()) else None

    def __len__(self) -> int:
        return len(self._loss)

    def __repr__(self) -> str:
        last = f", loss {self._loss[-1]:.6g}" if self._loss else ""
        if self._val_loss:
            last += f", val_loss {self._val_loss[-1]:.6g}"
        return f"<History of {len(self)} epochs{last}, stopped by {self.stopped_by}>"

    def as_dict(self) -> dict[str, NDArray[np.float64]]:
        """Return the columns as a dict of arrays, ready for a data frame.

        Returns
        -------
        dict of str to ndarray, each of shape (n_epochs,)
            `loss`, `learning_rate`, `seconds`, and `val_loss` where there were validation data.

        Examples
        --------
        >>> import fastbp as bp
        >>> history = bp.Network([1, 1], seed=0).fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3)
        >>> list(history.as_dict())
        ['loss', 'learning_rate', 'seconds']
        """
        columns = {"loss": self.loss, "learning_rate": self.learning_rate, "seconds": self.seconds}
        if self._val_loss:
            columns["val_loss"] = self.val_loss
        return columns

    def plot(self, ax: Any = None) -> Any:
        """Draw loss against epoch with matplotlib and return the axes; see `fastbp.plotting.HistoryDisplay`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default new ones.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> import fastbp as bp
        >>> history = bp.Network([1, 1], seed=0).fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=3)
        >>> axes = history.plot()
        """
        from fastbp.plotting import HistoryDisplay

        return HistoryDisplay.from_history(self, ax=ax).ax_

    def append(self, loss: float, learning_rate: float, seconds: float, val_loss: float | None) -> None:
        """Record one epoch."""
        self._loss.append(loss)
        self._learning_rate.append(learning_rate)
        self._seconds.append(seconds)
        if val_loss is not None:
            self._val_loss.append(val_loss)

    def extend(self, losses: list[float], learning_rates: list[float], seconds: list[float]) -> None:
        """Record several epochs."""
        self._loss += losses
        self._learning_rate += learning_rates
        self._seconds += seconds


def as_rows(history: History) -> NDArray[np.float64]:
    """Return loss, learning rate, seconds and, where there is one, validation loss as rows."""
    columns = history._loss, history._learning_rate, history._seconds, history._val_loss
    return np.array(columns if history._val_loss else columns[:3])


def from_rows(rows: NDArray[np.float64]) -> History:
    """Return the record that `as_rows` made the rows of."""
    loss, learning_rate, seconds, *val_loss = rows.tolist()
    return History(loss, val_loss[0] if val_loss else [], learning_rate, seconds)


class Callback(Protocol):
    """The type of what `fit` calls after every epoch: ``callback(net, history)``.

    It is called with the network, whose parameters are those after the epoch, and the `History` up to it.  Returning
    True ends the training; returning nothing goes on.  Functions, lambdas, `WeightHistory` and `DiagnosticWatch` are
    such callbacks; nothing has to inherit from this class, which is for annotations.

    Examples
    --------
    >>> import fastbp as bp
    >>> def is_good(net: bp.Network, history: bp.History) -> bool:
    ...     return bool(history.loss[-1] < 0.1)
    >>> callbacks: list[bp.Callback] = [is_good]
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> net.fit([[0.0], [1.0]], [1, 3], epochs=1000, optimizer=bp.SGD(0.5), callbacks=callbacks).stopped_by
    'callback'
    """

    def __call__(self, net: Any, history: History, /) -> bool | np.bool_ | None:
        """Look at an epoch's result; whether to stop."""
