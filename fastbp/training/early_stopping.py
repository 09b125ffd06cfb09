"""When training stops by the validation loss, and the best parameters so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.validation.numbers import MOST_STEPS


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss no longer falls, and return to the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which training ends.
    min_delta : float
        An epoch counts as an improvement, and patience begins anew, if its validation loss is lower by more than this
        than at the last improvement.
    restore_best : bool
        Whether the network ends with the parameters of its best epoch, `History.best_epoch`, the one with the lowest
        validation loss, whatever `min_delta`; otherwise with its last ones.

    References
    ----------
    Prechelt, "Early stopping -- but when?", Neural Networks: Tricks of the Trade (1998).

    Examples
    --------
    >>> import fastbp as bp
    >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
    >>> net, stopping = bp.Network([1, 1], initializer="zeros"), bp.EarlyStopping(patience=3, min_delta=0.01)
    >>> history = net.fit(X, Y, epochs=1000, validation_data=(X, Y), early_stopping=stopping, optimizer=bp.SGD(0.5))
    >>> history.stopped_by, len(history.loss) < 50
    ('early_stopping', True)
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        validation.positive_integer(self.patience, "patience")
        validation.real_number(self.min_delta, "min_delta", 0.0)
        validation.flag(self.restore_best, "restore_best")


class Best:
    """The best parameters so far, by validation loss, and how long ago they were found."""

    def __init__(self, params: NDArray[Any], rule: EarlyStopping) -> None:
        self._current, self._rule, self._min_delta = params, rule, float(rule.min_delta)
        self._lowest = self._counted = math.inf  # of all epochs; at the last improvement that counted
        self._waited = 0
        self.params: NDArray[Any] | None = None

    def should_stop(self, val_loss: float) -> bool:
        """Take note of an epoch; return whether patience has run out."""
        if self._is_lowest(val_loss) and self._rule.restore_best:
            self.params = self._current.copy()
        return self._waited >= self._rule.patience

    def _is_lowest(self, val_loss: float) -> bool:
        """Take note of a validation loss; whether it is the lowest one, as `History.best_epoch` has it."""
        is_finite = math.isfinite(val_loss)
        counts = is_finite and val_loss < self._counted - self._min_delta
        self._counted, self._waited = (val_loss, 0) if counts else (self._counted, self._waited + 1)
        is_lowest = is_finite and val_loss < self._lowest
        self._lowest = val_loss if is_lowest else self._lowest
        return is_lowest

    def replay(self, val_losses: NDArray[np.float64], params: NDArray[Any] | None) -> None:
        """Take note of all epochs of an earlier run, whose best parameters are known."""
        for val_loss in val_losses.tolist():
            self._is_lowest(val_loss)
        self.params = params

    # --- where the kernel takes note ----------------------------------------------------------------------------------

    def as_vector(self) -> NDArray[np.float64]:
        """Return what the kernel goes by, see `fastbp.kernels.tables.member`: it changes that as `_is_lowest` does."""
        patience = min(self._rule.patience, MOST_STEPS)  # any int may come, and no fit has so many epochs
        return np.array([self._lowest, self._counted, self._waited, self._min_delta, patience, 0.0], np.float64)

    @property
    def keeps_params(self) -> bool:
        """Whether the best parameters are wanted at the end."""
        return self._rule.restore_best

    def take_over(self, vector: NDArray[np.float64], params: NDArray[Any] | None) -> bool:
        """Take note of what the kernel has, and of the best parameters that it found; whether patience has run out."""
        self._lowest, self._counted, waited, *_, improved = vector.tolist()
        self._waited = int(waited)
        if improved and params is not None:
            self.params = params
        return self._waited >= self._rule.patience

    def restore(self) -> None:
        """Give the network its best parameters back."""
        if self.params is not None:
            self._current[...] = self.params
