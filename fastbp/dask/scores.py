"""Scores over partitions: sums of a few numbers, never all predictions in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.parts import Blueprint, Part
from fastbp.dask.tasks import Terms, writable
from fastbp.dask.worker import threads_for
from fastbp.engine.cutting import inputs_of
from fastbp.model.model import passes_of

Moments = tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def right(part: Part, blueprint: Blueprint, params: NDArray[Any]) -> Terms:
    """Return the weight of the rows whose predicted label is right, or all of several labels."""
    found = _outputs(part, blueprint, params)
    if found is None:
        return (0.0,)
    out, weights = found
    assert part.data is not None
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
    y = np.asarray(part.data.targets.array, np.float64)
    w = weights[:, None]
    total = float(weights.sum())
    mean = (w * y).sum(axis=0) / total
    with np.errstate(over="ignore", invalid="ignore"):  # errors whose squares are infinite: the score is -inf
        errors = (w * (y - out) ** 2).sum(axis=0)
    return ([(total, mean, (w * (y - mean) ** 2).sum(axis=0), errors)],)


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
    scores = np.where(spread != 0, scores, np.where(errors == 0, 1.0, 0.0))
    return float(scores.mean())
