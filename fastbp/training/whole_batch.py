"""Optimizers that look at all rows at once: the base of their rules, what runs one, and the epochs of such a fit."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.rows import Data
from fastbp.model.model import Model
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.history import Epoch, History

Rows = NDArray[np.float64]  # of iterations: the loss, then the columns of the rule
RATE = "learning_rate"  # the column that every history has


@dataclass(frozen=True, slots=True)
class WholeBatchOptimizer(ABC):
    """The base of optimizers whose every step looks at all rows, and takes no learning rate.

    `Network.fit` takes them like any `Optimizer`.  An epoch is one iteration of the rule; its loss is the cost after
    it, of all rows and with penalties.  Every fit begins afresh, and has to name its rule.

    Attributes
    ----------
    columns : tuple of str
        What is recorded of each iteration beside the loss, as attributes of the `History`.
    reasons : tuple of str
        What `History.stopped_by` may be beside the reasons that every fit has.

    Examples
    --------
    >>> import fastbp as bp
    >>> issubclass(bp.WholeBatchOptimizer, bp.Optimizer), issubclass(bp.Adam, bp.WholeBatchOptimizer)
    (False, False)
    """

    columns: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def trainer(self, net: Model, data: Data, n_threads: int | None) -> Trainer:
        """Return what takes the iterations of one fit; nothing of the network changes yet.

        Parameters
        ----------
        net : Model
            The network, which `require` has not refused.
        data : Data
            All rows.
        n_threads : int or None
            Threads to use; None for as many as the process may.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.WholeBatchOptimizer.trainer.__isabstractmethod__
        True
        """

    def require(self, net: Model) -> None:
        """Raise if the rule cannot train a network; for the rules that override it, this is the first line.

        Parameters
        ----------
        net : Model
            The network.

        Raises
        ------
        ValueError
            If the network has dropout, by which two costs of the same parameters differ.

        Examples
        --------
        >>> import fastbp as bp
        >>> class Rule(bp.WholeBatchOptimizer):
        ...     def trainer(self, net, data, n_threads): ...
        >>> Rule().require(bp.Network([2, 3, 1]))  # is not refused
        """
        name = type(self).__name__
        if any(net.dropout):
            raise ValueError(
                f"`dropout` must be 0 for {name}, which compares the costs of steps with each other; the network has "
                f"{net.dropout}. Make it without dropout, or train it with bp.Adam()."
            )

    def validation_rule(self) -> EarlyStopping | None:
        """Return when a fit with validation data and without `early_stopping` ends, as 'max_fail'; None for never.

        Returns
        -------
        EarlyStopping or None
            Here None.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.LBFGS().validation_rule() is None, bp.LevenbergMarquardt(max_fail=3).validation_rule().patience
        (True, 3)
        """
        return None


class Trainer(Protocol):
    """A fit by a whole-batch rule, in progress.

    The network's parameters are at all times those after the last accepted step: trials are made on a copy, and a
    step is accepted in one go.  What the rule knows beside them is its state, from which another trainer continues
    with the same bits.

    Attributes
    ----------
    n_threads : int
        Threads that can have something to do.
    stopped_by : str or None
        Why there are no more iterations, one of the rule's `reasons`, or None while there may be.
    """

    n_threads: int
    stopped_by: str | None

    def most_at_once(self) -> int:
        """Return how many iterations make a call so short that Ctrl-C may wait for it; at least 1."""

    def advance(self, n_epochs: int, record: Callable[[Rows], None]) -> None:
        """Take so many iterations, or fewer and say why in `stopped_by`.

        Whatever ends the call, Ctrl-C included, `record` is called once, with the rows (n, 1 + n_columns) of the n
        iterations that are finished: the loss after each, and the columns.  An iteration that Ctrl-C ends leaves the
        state from before it.

        Raises
        ------
        TrainingDivergedError
            If the cost is not finite where the fit begins.
        """

    def state(self) -> NDArray[np.float64]:
        """Return a copy of all that continues, (n_numbers,), always as long; the parameters are not part of it."""

    def restore(self, state: NDArray[np.float64]) -> bool:
        """Continue from a state that a file holds, and may be anything; return False where it is impossible."""

    def end(self) -> None:
        """Let go of the data, when the fit is over; called once."""


class Iterations:
    """The epochs of a fit by a trainer, each an iteration.

    Parameters
    ----------
    net : Model
        The network; its parameters are changed in place.
    rule : Optimizer or WholeBatchOptimizer
        The rule.
    trainer : Trainer
        What takes its iterations.
    columns : sequence of str
        What the trainer's rows have behind the loss.  A 'learning_rate', which comes first, goes to the history's own.
    reasons : sequence of str
        What the trainer may be stopped by.

    Attributes
    ----------
    pending : list of list of float
        Iterations that are finished and not recorded: one, if what follows it was interrupted.
    """

    watches_gradient = False  # between epochs

    def __init__(
        self, net: Model, rule: Any, trainer: Trainer, columns: Sequence[str], reasons: Sequence[str] = ()
    ) -> None:
        self.model, self.rule, self.trainer, self.reasons = net, rule, trainer, tuple(reasons)
        self.has_rates = columns[:1] == (RATE,)
        self.columns = tuple(columns[self.has_rates :])
        self.pending = list[list[float]]()
        self._n_left = 0  # of these, when the epoch at hand is recorded

    @property
    def row_length(self) -> int:
        """Numbers of a row."""
        return 1 + self.has_rates + len(self.columns)

    @property
    def n_threads(self) -> int:
        """Threads that can have something to do."""
        return self.trainer.n_threads

    @property
    def stopped_by(self) -> str | None:
        """Why the rule has come to its end, if it has."""
        return self.trainer.stopped_by

    def one(self, epoch: int, pauses: Any) -> Epoch | None:
        """Take an iteration; None if the rule is at its end before it.  There is no pause within it."""
        if not self.pending:
            self.trainer.advance(1, self._wait)
        self._n_left = len(self.pending) - 1
        return self._epoch(self.pending[0]) if self.pending else None

    def end_one(self) -> None:
        """End the epoch, which is recorded; once more, nothing is left to do."""
        del self.pending[: len(self.pending) - self._n_left]

    def most_at_once(self) -> int:
        """Return how many epochs `several` may take."""
        return 1 if self.pending else self.trainer.most_at_once()

    @property
    def fewest_together(self) -> int:
        """Epochs that `several` may take: one as well, which is then recorded whatever follows it."""
        return 2 if self.pending else 1

    def several(self, n_epochs: int, history: History) -> None:
        """Take several iterations, at most; whatever ends the call, the finished ones are recorded."""
        began = time.perf_counter()

        def record(rows: Rows) -> None:
            epochs = [self._epoch(row) for row in rows.tolist()]
            seconds = (time.perf_counter() - began) / max(1, len(epochs))
            columns = {name: [epoch.columns[name] for epoch in epochs] for name in self.columns}
            losses, rates = [epoch.loss for epoch in epochs], [epoch.learning_rate for epoch in epochs]
            history.extend(losses, rates, [seconds] * len(epochs), columns)

        self.trainer.advance(n_epochs, record)

    def _wait(self, rows: Rows) -> None:
        self.pending += rows.tolist()

    def _epoch(self, row: list[float]) -> Epoch:
        loss, *columns = row
        rate = columns.pop(0) if self.has_rates else math.nan
        return Epoch(loss, rate, dict(zip(self.columns, columns, strict=True)))

    # --- to continue later --------------------------------------------------------------------------------------------

    @contextmanager
    def saving_state(self, net: Any) -> Iterator[None]:
        """End the trainer, however the training ends; an error is raised before it, as with `Epochs`."""
        yield
        self.trainer.end()

    def progress(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return how far training has come, as plain values and as arrays."""
        pending = np.array(self.pending).reshape(-1, self.row_length)
        return {}, {"params": self.model.params, "state": self.trainer.state(), "pending": pending}
