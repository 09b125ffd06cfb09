"""When training stops by the validation loss or a metric, and the best parameters so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.training.history import VAL_LOSS
from fastbp.validation.numbers import MOST_STEPS


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss no longer falls, or a metric no longer gets better, and return to the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which training ends.
    min_delta : float
        An epoch counts as an improvement, and patience begins anew, if its validation loss is lower by more than this
        than at the last improvement, or its metric better.
    restore_best : bool
        Whether the network ends with the parameters of its best epoch, `History.best_epoch`, the one with the lowest
        validation loss or the best metric, whatever `min_delta`; otherwise with its last ones.
    monitor : str
        What is watched: ``"val_loss"``, or one of the `metrics` of the fit as the `History` has it, such as
        ``"val_accuracy"``.  A value that is NaN or infinite is no improvement.
    mode : {'min', 'max'}, optional
        Whether less is better, or more.  A metric needs it; of the validation loss less is better.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value.

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
    >>> bp.EarlyStopping(monitor="val_accuracy", mode="max").patience
    10
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    monitor: str = VAL_LOSS
    mode: Literal["min", "max"] | None = None

    def __post_init__(self) -> None:
        """Check the values, and store them in their plain form, which a checkpoint can have."""
        plain = {
            "patience": validation.positive_integer(self.patience, "patience"),
            "min_delta": validation.real_number(self.min_delta, "min_delta", 0.0),
            "restore_best": validation.flag(self.restore_best, "restore_best"),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.monitor, str):
            raise TypeError(
                f"`monitor` must be 'val_loss' or the name of a metric, such as 'val_accuracy'; got {self.monitor!r}."
            )
        if self.mode is not None and (not isinstance(self.mode, str) or self.mode not in ("min", "max")):
            raise ValueError(f"`mode` must be 'min', 'max' or None; got {self.mode!r}.")
        if self.monitor == VAL_LOSS and self.mode == "max":
            raise ValueError(
                "`mode` must be 'min' or None for `monitor='val_loss'`, of which less is better; got 'max'."
            )
        if self.monitor != VAL_LOSS and self.mode is None:
            raise ValueError(
                f"`mode` must say whether more or less is better for `monitor={self.monitor!r}`; got None. Use 'max' "
                "for scikit-learn's scorers, whose larger values are the better ones."
            )

    @property
    def more_is_better(self) -> bool:
        """Whether larger values of what is watched are better."""
        return self.mode == "max"


class Best:
    """The best parameters so far, by what a rule watches, and how long ago they were found."""

    def __init__(self, params: NDArray[Any], rule: EarlyStopping) -> None:
        self._current, self._rule, self._min_delta = params, rule, float(rule.min_delta)
        self._lowest = self._counted = math.inf  # of all epochs; at the last improvement that counted
        self._sign = -1.0 if rule.more_is_better else 1.0
        self.monitor = rule.monitor
        self._waited = 0
        self.params: NDArray[Any] | None = None

    def should_stop(self, value: float) -> bool:
        """Take note of an epoch, by what is watched; return whether patience has run out."""
        if self._is_lowest(self._sign * value) and self._rule.restore_best:
            self.params = self._current.copy()
        return self._waited >= self._rule.patience

    def _is_lowest(self, value: float) -> bool:
        """Take note of a value of which less is better; whether it is the lowest, as `History.best_epoch` has it."""
        is_finite = math.isfinite(value)
        counts = is_finite and value < self._counted - self._min_delta
        self._counted, self._waited = (value, 0) if counts else (self._counted, self._waited + 1)
        is_lowest = is_finite and value < self._lowest
        self._lowest = value if is_lowest else self._lowest
        return is_lowest

    def replay(self, values: NDArray[np.float64], params: NDArray[Any] | None) -> None:
        """Take note of all epochs of an earlier run, whose best parameters are known."""
        for value in values.tolist():
            self._is_lowest(self._sign * value)
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
