"""Scores over partitions: sums of a few numbers, never all predictions in one place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_array

from fastbp.dask.estimator_rows import vanish
from fastbp.dask.parts import Blueprint, Part, count_rows
from fastbp.dask.tasks import Terms, writable
from fastbp.dask.worker import threads_for
from fastbp.engine.cutting import inputs_of
from fastbp.model.model import passes_of
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.sklearn_private import check_sample_weight

Moments = tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def right(part: Part, blueprint: Blueprint, params: NDArray[Any]) -> Terms:
    """Return the weight of the rows whose predicted label is right, or all of several labels."""
    found = _outputs(part, blueprint, params)
    if found is None:
        return (0.0,)
    out, weights = found
    assert part.data is not None
    if not np.isfinite(out).all():
        return (np.nan,)
    array, labels = part.data.targets
    is_right = out.argmax(axis=1) == labels if array is None else ((out > 0.5) == (array > 0.5)).all(axis=1)
    return (float(weights[is_right].sum()),)


def moments(part: Part, blueprint: Blueprint, params: NDArray[Any]) -> Terms:
    """Return weight, mean and sum of squared deviations of the targets, and of squared errors, as a list of one."""
    found = _outputs(part, blueprint, params)
    if found is None:
        return ([],)
    out, weights = found
    assert part.data is not None
    return ([_moments_of(np.asarray(part.data.targets.array, np.float64), out, weights)],)


def _moments_of(y: NDArray[np.float64], out: NDArray[Any], weights: NDArray[np.float64]) -> Moments:
    """Return the moments of targets and outputs (n, n_outputs)."""
    w, total = weights[:, None], float(weights.sum())
    mean = (w * y).sum(axis=0) / total
    with np.errstate(over="ignore", invalid="ignore"):  # errors whose squares are infinite: the score is -inf
        errors = (w * (y - out) ** 2).sum(axis=0)
    return total, mean, (w * (y - mean) ** 2).sum(axis=0), errors


def _outputs(part: Part, blueprint: Blueprint, params: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]] | None:
    """Return outputs and weights of the rows; None where none counts."""
    data = part.rows()
    if data is None:
        return None
    model = blueprint.model_of(writable(params))
    with threads_for(len(data) * inputs_of(data.X).flops_per_row(model.sizes)) as n_threads:
        out = passes_of(model).outputs(data.X, n_threads)
    weights = np.ones(len(data)) if data.sample_weight is None else data.sample_weight.astype(np.float64)
    return out, weights


def r2_of(parts: list[Moments]) -> float:
    """Return the coefficient of determination, as scikit-learn's `r2_score` averages it over outputs.

    The moments of the partitions are put together by the formulas of Chan, Golub & LeVeque, "Algorithms for computing
    the sample variance", The American Statistician 37 (1983), equation 2.1.
    """
    total, mean, spread, errors = parts[0]
    for n, m, s, e in parts[1:]:
        delta = m - mean
        spread = spread + s + delta**2 * (total * n / (total + n))
        mean, total, errors = mean + delta * (n / (total + n)), total + n, errors + e
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1.0 - errors / spread
    scores = np.where((spread != 0) | np.isnan(errors), scores, np.where(errors == 0, 1.0, 0.0))
    return float(scores.mean())


# ---- Scores of rows that need no classes of the model's, as scikit-learn's `score` takes them ----------------------


class Scored(NamedTuple):
    """What the score of all rows needs of a partition."""

    n_rows: int
    weight: float
    right: float  # weight of the rows whose labels are right
    moments: Moments | None  # of a regressor
    problem: TypeError | ValueError | None = None  # what is wrong with the partition


def scored(index: int, local: BaseMLP, X: Any, y: Any, sample_weight: Any) -> list[Scored]:
    """Return that, as a list of one; of none where no row counts."""
    try:
        n_rows, n_targets = count_rows(X), count_rows(y)
        if n_rows != n_targets:
            raise ValueError(f"`y` must have a row for each of the {n_rows} rows of `X`; got {n_targets}.")
        if n_rows == 0:
            return []
        weights = np.ones(n_rows)
        if sample_weight is not None:
            weights = np.asarray(sample_weight)
            if vanish(weights, n_rows):
                return []
            weights = check_sample_weight(weights, np.empty((n_rows, 1)))
        total = float(weights.sum())
        if total == 0.0:
            raise ValueError("`sample_weight` must not have the sum 0 where not all are 0. Choose other partitions.")
        predicted = local.predict(X)
        if is_classifier(local):
            right = accuracy_score(np.asarray(y), predicted, sample_weight=weights, normalize=False)
            return [Scored(n_rows, total, float(right), None)]
        array = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y").reshape(n_rows, -1)
        local._check_known(array)
        out = check_array(predicted, ensure_2d=False, input_name="predictions").reshape(n_rows, -1)
        return [Scored(n_rows, total, 0.0, _moments_of(array, out, weights))]
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return [Scored(0, 0.0, 0.0, None, kind(f"In partition {index}: {error}"))]


def score_of(found: list[Scored]) -> float:
    """Return the score of all rows, or raise what is wrong with the first partition that has a problem.

    R^2 of a single row is NaN, as scikit-learn's.
    """
    for one in found:
        if one.problem is not None:
            raise one.problem
    if not found:
        raise ValueError("`X` must have at least one row whose weight is not 0; got none.")
    parts = [one.moments for one in found if one.moments is not None]
    if parts:
        return r2_of(parts) if sum(one.n_rows for one in found) > 1 else float("nan")
    return sum(one.right for one in found) / sum(one.weight for one in found)
