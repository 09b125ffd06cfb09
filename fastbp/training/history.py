"""`History`: what a fit recorded, epoch by epoch; and `EarlyStopping`, which watches it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.system.tables import Table, curve, note

if TYPE_CHECKING:
    from fastbp.plotting.canvas import Axes

VAL_LOSS = "val_loss"  # what early stopping watches by default
STOPPED_BY = ("epochs", "early_stopping", "tolerance", "callback")  # why a whole fit ended


class Epoch(NamedTuple):
    """What an epoch leaves for the record, validation and time apart."""

    loss: float
    learning_rate: float
    columns: Mapping[str, float] = MappingProxyType({})  # what else a whole-batch optimizer records


class _Columns:
    """The columns that only some optimizers record, for type checkers: a misspelt name is none of them.

    Those of an optimizer of one's own are seen by ``history.as_dict()["name"]``.
    """

    gradient_norm: NDArray[np.float64]
    evaluations: NDArray[np.float64]
    mu: NDArray[np.float64]
    tries: NDArray[np.float64]
    gamma: NDArray[np.float64]
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]


@dataclass
class History(_Columns):
    """The record of a fit.

    Whole-batch optimizers such as `LBFGS` have no learning rate and record more: each of their columns is an attribute
    as well, of shape (n_epochs,).

    Attributes
    ----------
    loss : ndarray, shape (n_epochs,)
        Mean cost of each epoch's mini-batches, each before its step, penalties included; with a whole-batch optimizer
        the cost of all rows after the epoch.
    val_loss : ndarray, shape (n_epochs,)
        Cost of the validation data after each epoch; empty without validation data.
    learning_rate : ndarray, shape (n_epochs,)
        Learning rate of each epoch's last step; NaN with a whole-batch optimizer.
    metrics : dict of str to ndarray, each of shape (n_epochs,)
        What `metrics` of the fit were after each epoch, by their names; with validation data with ``val_`` before them.
        Each is an attribute as well: ``history.val_accuracy`` is ``history.metrics["val_accuracy"]``.
    seconds : ndarray, shape (n_epochs,)
        Wall time of each epoch, validation and metrics included.  Short epochs without anything between them are timed
        together, some 50 ms at most, and have equal shares of that time.
    stopped_by : {'epochs', 'early_stopping', 'tolerance', 'callback', 'divergence', 'interruption'}
        Why the fit ended; 'interruption' means by Ctrl-C or another exception.  Whole-batch optimizers have reasons of
        their own beside these.
    monitor : str
        What `best_epoch` goes by: ``"val_loss"``, or the metric that early stopping watched.
    best_epoch : int or None
        The epoch (from 0) with the lowest validation loss, if there were validation data, or with the best metric,
        where early stopping watched one.

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
    _columns: dict[str, list[float]] = field(default_factory=dict)
    _metrics: dict[str, list[float]] = field(default_factory=dict)
    _monitor: tuple[str, bool] = (VAL_LOSS, False)  # what the best epoch goes by, and whether more is better

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state; version 0.1.0 knows no further columns and no metrics."""
        vars(self).update({"_columns": {}, "_metrics": {}, "_monitor": (VAL_LOSS, False)} | state)

    if not TYPE_CHECKING:  # which would take any name

        def __getattr__(self, name: str) -> NDArray[np.float64]:
            """Return a column that only some optimizers have, or a metric."""
            if name.startswith("_"):
                raise AttributeError(name)
            found = self._columns | self._metrics
            if name not in found:
                columns = ", ".join(self.as_dict())
                raise AttributeError(f"a History of this fit has no {name!r}; its columns are {columns}")
            return np.array(found[name])

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
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """Metrics after each epoch, by their names."""
        return {name: np.array(values) for name, values in self._metrics.items()}

    @property
    def monitor(self) -> str:
        """What the best epoch goes by: 'val_loss' or a metric."""
        return self._monitor[0]

    @property
    def best_epoch(self) -> int | None:
        """Epoch (from 0) with the lowest finite validation loss, or the best metric that was watched, or None."""
        name, more_is_better = self._monitor
        watched = watched_values(self, name)
        values = np.where(np.isfinite(watched), -watched if more_is_better else watched, np.inf)
        return int(np.argmin(values)) if values.size and np.isfinite(values.min()) else None

    def __len__(self) -> int:
        return len(self._loss)

    def __repr__(self) -> str:
        last = f", loss {self._loss[-1]:.6g}" if self._loss else ""
        if self._val_loss:
            last += f", val_loss {self._val_loss[-1]:.6g}"
        last += "".join(f", {name} {values[-1]:.6g}" for name, values in self._metrics.items() if values)
        return f"<History of {len(self)} epochs{last}, stopped by {self.stopped_by}>"

    def _repr_html_(self) -> str:
        title = f"history of {len(self)} epochs, stopped by {self.stopped_by}"
        if not self._loss:
            return note(title)
        columns = self.as_dict()
        seconds = columns.pop("seconds")
        rows = [
            (name, f"{values[0]:.6g}", f"{values[-1]:.6g}", f"{np.fmin.reduce(values):.6g}")
            for name, values in columns.items()
        ]
        lines: dict[str, Any] = {name: columns[name] for name in ("loss", "val_loss") if name in columns}
        best = "" if self.best_epoch is None else f"best epoch {self.best_epoch} (from 0)"
        table = Table(["", "first", "last", "lowest"], rows)
        return note(title, curve(lines), table, best, f"{seconds.sum():.3g} seconds in all")

    def as_dict(self) -> dict[str, NDArray[np.float64]]:
        """Return the columns as a dict of arrays, ready for a data frame.

        Returns
        -------
        dict of str to ndarray, each of shape (n_epochs,)
            `loss`, `learning_rate`, `seconds`, `val_loss` where there were validation data, the columns of a
            whole-batch optimizer, and the metrics.

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
        return columns | {name: np.array(values) for name, values in (self._columns | self._metrics).items()}

    def plot(self, ax: Axes | None = None) -> Axes:
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

    def append(
        self,
        loss: float,
        learning_rate: float,
        seconds: float,
        val_loss: float | None,
        columns: Mapping[str, float] = MappingProxyType({}),
        metrics: Mapping[str, float] = MappingProxyType({}),
        epoch: int | None = None,
    ) -> None:
        """Record one epoch, the next or that of this number; once more, it records what is missing of it."""
        n = len(self) if epoch is None else epoch
        for name, value in metrics.items():
            self._metrics.setdefault(name, [])[n:] = [value]
        for name, value in columns.items():
            self._columns.setdefault(name, [])[n:] = [value]
        if val_loss is not None:
            self._val_loss[n:] = [val_loss]
        self._learning_rate[n:], self._seconds[n:], self._loss[n:] = [learning_rate], [seconds], [loss]

    def extend(
        self,
        losses: Sequence[float],
        learning_rates: Sequence[float],
        seconds: Sequence[float],
        columns: Mapping[str, Sequence[float]] = MappingProxyType({}),
        val_losses: Sequence[float] = (),
    ) -> None:
        """Record several epochs, all of them or, if the handler of a signal raises an exception before that, none."""
        further = columns if losses else {}
        lists = [self._columns.setdefault(name, []) for name in further]
        lists += [self._loss, self._learning_rate, self._seconds, self._val_loss]
        values = [*further.values(), losses, learning_rates, seconds, val_losses]
        deque(map(list.extend, lists, values), maxlen=0)  # in one call, within which no handler runs


def watched_values(history: History, name: str) -> NDArray[np.float64]:
    """Return what early stopping watches: the validation loss or a metric, empty before the first epoch."""
    return history.val_loss if name == VAL_LOSS else np.array(history._metrics.get(name, []))


def watch(history: History, name: str, *, more_is_better: bool) -> None:
    """Let the best epoch be the one that early stopping finds."""
    history._monitor = (name, more_is_better)


def measure(history: History, names: Iterable[str]) -> None:
    """Let it have metrics of these names, also before the first epoch."""
    for name in names:
        history._metrics.setdefault(name, [])


def last_losses(history: History) -> dict[str, str]:
    """Return what a progress bar shows: losses and metrics."""
    columns = {"loss": history._loss, "val_loss": history._val_loss} | history._metrics
    return {name: f"{values[-1]:.4g}" for name, values in columns.items() if values}


def as_rows(history: History) -> NDArray[np.float64]:
    """Return loss, learning rate, seconds, where there is one validation loss, further columns and metrics as rows."""
    validation = [history._val_loss] if history._val_loss else []
    columns = history._loss, history._learning_rate, history._seconds, *validation, *history._columns.values()
    return np.array([*columns, *(history._metrics.values() if history._loss else ())])


def from_rows(rows: NDArray[np.float64], columns: Sequence[str] = (), metrics: Sequence[str] = ()) -> History:
    """Return the record that `as_rows` made the rows of; those of `columns` and then of `metrics` are the last."""
    known = rows.tolist()
    # nothing is known of columns and metrics before the first epoch
    end = len(known) - (len(columns) + len(metrics) if rows.size else 0)
    loss, learning_rate, seconds, *val_loss = known[:end]
    further = dict(zip(columns, known[end:], strict=False))
    measured = dict(zip(metrics, known[end + len(columns) :], strict=False))
    return History(loss, val_loss[0] if val_loss else [], learning_rate, seconds, _columns=further, _metrics=measured)


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
