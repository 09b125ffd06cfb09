"""Validation data of a fit: its loss and its score after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import check_scoring

from fastbp.neural_network.epochs import Data
from fastbp.neural_network.passes import BatchCost
from fastbp.sparse_rows import SparseRows


class HeldOut:
    """Rows that are not trained on.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator.
    data : Data
        The rows, valid and in the network's dtype.
    y : array_like or None
        Their targets as the user gave them, for a scorer; None to decode those of `data`.
    with_losses : bool
        Whether the loss is wanted after each epoch.
    """

    def __init__(self, estimator: Any, data: Data, y: Any, *, with_losses: bool) -> None:
        self._estimator, self._data = estimator, data
        self.has_losses = with_losses
        by_loss = estimator.scoring == "loss"
        self._cost = (
            BatchCost(
                estimator._network,
                data,
                estimator._objective(with_penalties=False),
                gradient=False,
                n_threads=estimator.n_threads,
            )
            if with_losses or by_loss
            else None
        )
        uses_scorer = estimator.scoring is not None and not by_loss and estimator.early_stopping
        self._scorer = check_scoring(estimator, estimator.scoring) if uses_scorer else None
        if uses_scorer:
            self._y = estimator._decoded_targets(data) if y is None else y
            self._probe = _without_feature_names(estimator)

    def loss(self) -> float:
        """Mean loss without penalties; NaN if it is not finite."""
        assert self._cost is not None
        cost = self._cost.cost(self._estimator._network.params)
        return cost if np.isfinite(cost) else np.nan

    def score(self) -> float:
        """Return what early stopping maximises: `scoring`, by default the estimator's `score`; it may be NaN."""
        est, data = self._estimator, self._data
        if est.scoring == "loss":
            return -self.loss()
        if self._scorer is not None:
            X = data.X.to_scipy() if isinstance(data.X, SparseRows) else data.X
            weights = {} if data.sample_weight is None else {"sample_weight": data.sample_weight}
            return float(self._scorer(self._probe, X, self._y, **weights))
        out: NDArray[Any] = est._network.passes.outputs(data.X, est.n_threads)
        if not np.isfinite(out).all():
            return np.nan
        return float(est._score_of_outputs(out, data))


def _without_feature_names(estimator: Any) -> Any:
    """Return the same estimator without feature names, which the rows inside of a fit have no longer."""
    probe = object.__new__(type(estimator))
    vars(probe).update({name: value for name, value in vars(estimator).items() if name != "feature_names_in_"})
    return probe
