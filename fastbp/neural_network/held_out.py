"""Validation data of a fit: how they are passed or set aside, and their loss and score after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from fastbp.engine.batch_cost import BatchCost
from fastbp.engine.rows import Data
from fastbp.training.metrics import takes_weights
from fastbp.validation.sparse_rows import SparseRows

# --- passed to `fit` --------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """Validation data as a user passes them to `fit`, not yet checked."""

    argument: str  # which one they are, for messages
    X: Any
    y: Any
    sample_weight: Any = None


def given(eval_set: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> Given | None:
    """Return the validation data of a fit in either convention, or None."""
    separate = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    passed = [f"`{name}`" for name, value in separate.items() if value is not None]
    if eval_set is not None:
        if passed:
            raise ValueError(
                f"Validation data must be passed once, as `eval_set` or as `X_val` and `y_val`; got `eval_set` and "
                f"{' and '.join(passed)}."
            )
        return Given("`eval_set`", *_only_set(eval_set))
    if not passed:
        return None
    if X_val is None or y_val is None:
        raise ValueError(
            f"`X_val` and `y_val` must be passed together, being inputs and their targets; got only "
            f"{' and '.join(passed)}."
        )
    return Given("`X_val` and `y_val`", X_val, y_val, sample_weight_val)


def _only_set(eval_set: Any) -> tuple[Any, ...]:
    """Return the members of ``(X_val, y_val)`` or ``(X_val, y_val, sample_weight_val)``, also out of a list of one."""
    rule = "`eval_set` must be (X_val, y_val) or (X_val, y_val, sample_weight_val), or a list of one such tuple; got "
    if not isinstance(eval_set, tuple | list):
        raise TypeError(f"{rule}{type(eval_set).__name__}.")
    sets = [member for member in eval_set if _is_set(member)]
    if len(sets) > 1 and len(sets) == len(eval_set):
        raise ValueError(
            f"{rule}{len(sets)} of them. A fit watches one validation set: pass that one, and ask for the loss of "
            "others with `loss_gradient`."
        )
    members = tuple(sets[0] if len(sets) == len(eval_set) == 1 else eval_set)
    if len(members) not in (2, 3):
        raise TypeError(f"{rule}{type(eval_set).__name__} of {len(members)}.")
    return members


def _is_set(member: Any) -> bool:
    """Whether a member of an `eval_set` is itself a set, not a table of numbers: then its first member is a table."""
    return isinstance(member, tuple | list) and len(member) in (2, 3) and _n_axes(member[0]) > 1


def _n_axes(X: Any) -> int:
    """Return the number of axes of an array, a frame, a sparse matrix or nested lists, which may be ragged."""
    if hasattr(X, "shape"):
        return len(X.shape)
    return 1 + _n_axes(X[0]) if isinstance(X, tuple | list) and len(X) else 0


# --- set aside --------------------------------------------------------------------------------------------------------


def set_aside(
    data: Data, fraction: float, rng: np.random.RandomState, labels: NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on and those to validate with, which are scikit-learn's.

    Parameters
    ----------
    data : Data
        All rows.
    fraction : float
        The share of them to validate with.
    rng : RandomState
        The source of random numbers.
    labels : ndarray or None
        The classes whose shares both parts keep.
    """
    rows = np.arange(len(data))
    train, test = train_test_split(rows, random_state=rng, test_size=fraction, stratify=labels)
    if len(test) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    if data.sample_weight is None:
        return train, test
    counts = data.sample_weight != 0
    if counts[train].any() and counts[test].any():
        return train, test
    # scikit-learn raises here, which bagging of small samples soon meets: draw again, from the rows that count
    candidates = np.flatnonzero(counts)
    if len(candidates) < 2:
        raise ValueError(
            "`early_stopping` needs two rows or more with a weight other than 0, to train on and to validate with; got "
            f"{len(candidates)}. Pass validation data, or set early_stopping=False."
        )
    n_test = min(math.ceil(fraction * len(candidates)), len(candidates) - 1)
    test = rng.permutation(candidates)[:n_test]
    return np.setdiff1d(rows, test), test


# --- looked at after each epoch ---------------------------------------------------------------------------------------


class HeldOut:
    """Rows that are not trained on.

    Parameters
    ----------
    params : ndarray, shape (n_params,)
        The parameters, as they are at each look.
    cost : BatchCost or None
        Their mean loss without penalties, where it is wanted.
    score : callable or None
        Returns what early stopping maximises; None for minus the loss.
    has_losses : bool
        Whether the loss is wanted after each epoch: of the user's own rows, not of those set aside.
    """

    def __init__(
        self, params: NDArray[Any], cost: BatchCost | None, score: Callable[[], float] | None, *, has_losses: bool
    ) -> None:
        self._params, self._cost, self._score = params, cost, score
        self.has_losses = has_losses

    def loss(self) -> float:
        """Mean loss without penalties; NaN if it is not finite."""
        assert self._cost is not None
        cost = self._cost.cost(self._params)
        return cost if np.isfinite(cost) else np.nan

    def score(self) -> float:
        """Return what early stopping maximises; it may be NaN."""
        return -self.loss() if self._score is None else self._score()


class ScorerOfRows:
    """A scorer of scikit-learn's kind on rows that are not trained on; called, it returns the score as it is then.

    Parameters
    ----------
    estimator : estimator
        The estimator, at whose predictions the scorer looks.
    scoring : str or callable
        The scorer or its name.
    data : Data
        The rows, valid and in the network's dtype.
    y : ndarray
        Their targets, as a user passes them to `fit`.
    """

    def __init__(self, estimator: BaseEstimator, scoring: Any, data: Data, y: NDArray[Any]) -> None:
        self._scorer = check_scoring(estimator, scoring)
        self._data, self._y = data, y
        self._probe = _without_feature_names(estimator)
        passes_weights = data.sample_weight is not None and takes_weights(self._scorer)
        self._weights = {"sample_weight": data.sample_weight} if passes_weights else {}

    def __call__(self) -> float:
        """Return the score."""
        data = self._data
        # a copy: a scorer may change in place what SciPy gives it
        X = data.X.to_scipy().copy() if isinstance(data.X, SparseRows) else data.X
        return float(self._scorer(self._probe, X, self._y, **self._weights))


def _without_feature_names(estimator: Any) -> Any:
    """Return the same estimator without feature names: inside a fit, the rows no longer have any."""
    probe = object.__new__(type(estimator))
    vars(probe).update({name: value for name, value in vars(estimator).items() if name != "feature_names_in_"})
    return probe
