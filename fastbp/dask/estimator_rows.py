"""The rows of an estimator's fit: what the partitions hold is found out first, then each is checked as locally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.partitions import Partitions
from fastbp.dask.parts import Part, count_rows
from fastbp.dask.session import Session
from fastbp.engine.rows import Data
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.data import data_of_rows


@dataclass(frozen=True)
class Seen:
    """What a partition holds.

    Attributes
    ----------
    index, n_rows : int
        Its number, and its rows.
    X : object or None
        Its first row, as it came; None where there is none.
    y : object or None
        Its first target, where labels are not wanted.
    labels, counts : ndarray
        The different targets and how often they are there, of one column and where they are wanted.
    """

    index: int
    n_rows: int
    X: Any
    y: Any
    labels: NDArray[Any] | None
    counts: NDArray[np.int64] | None


def look(index: int, X: Any, y: Any, with_labels: bool) -> list[Seen]:
    """Return what a partition holds, as a list of one."""
    n_rows = count_rows(X)
    if n_rows == 0 or count_rows(y) == 0:
        return [Seen(index, 0, None, None, None, None)]
    first = X.iloc[:1] if hasattr(X, "iloc") else X[:1]
    values = np.asarray(y)
    labels = counts = None
    if with_labels and (values.ndim == 1 or values.shape[1] == 1):
        values = values.ravel()
        if values.dtype.kind in "f" and not np.isfinite(values).all():
            values = values[np.isfinite(values)]  # the partition's own check will name them
        labels, counts = np.unique(values, return_counts=True)
    return [Seen(index, n_rows, first, y[:1] if labels is None else None, labels, counts)]


def seen_in(session: Session, partitions: Partitions, *, with_labels: bool) -> list[Seen]:
    """Return what the partitions hold that have rows.

    Raises
    ------
    ValueError
        If none has.
    """
    tasks = [session.task(look, i, X, y, with_labels) for i, (X, y, _) in enumerate(partitions.sources)]
    found: list[Seen] = session.result(session.task(_chain, tasks))
    found = [seen for seen in found if seen.n_rows]
    if not found:
        raise ValueError("`X` must have at least one row; all its partitions are empty.")
    return found


def _chain(lists: list[list[Seen]]) -> list[Seen]:
    return [seen for one in lists for seen in one]


def examples(seen: list[Seen]) -> tuple[Any, NDArray[Any], NDArray[np.int64] | None]:
    """Return rows, and a target for each of them, from which an estimator learns all that it must know of the data.

    Of labels there is one of each, and the third member is how often it is there.
    """
    first = seen[0]
    if first.labels is None:
        return first.X, np.asarray(first.y), None
    labels = np.unique(np.concatenate([one.labels for one in seen if one.labels is not None]))
    counts = np.zeros(len(labels), np.int64)
    for one in seen:
        assert one.labels is not None
        assert one.counts is not None
        counts[np.searchsorted(labels, one.labels)] += one.counts
    times = np.zeros(len(labels), np.intp)
    X = first.X.iloc[times] if hasattr(first.X, "iloc") else first.X[times]
    return X, labels, counts


def make_estimator_part(index: int, template: BaseMLP, X: Any, y: Any, sample_weight: Any) -> Part:
    """Return the rows of a partition, checked and encoded by an estimator that knows classes and features."""
    try:
        n_rows, n_targets = count_rows(X), count_rows(y)
        if n_rows != n_targets:
            raise ValueError(f"`y` must have a row for each of the {n_rows} rows of `X`; got {n_targets}.")
        if n_rows == 0:
            return Part(index, None, 0.0)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        data = _checked(template, X, y, weights)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return Part(index, None, 0.0, kind(f"In partition {index}: {error}"))
    weights = data.sample_weight
    return Part(index, data, float(n_rows) if weights is None else float(weights.sum(dtype=np.float64)))


def _checked(template: BaseMLP, X: Any, y: Any, sample_weight: NDArray[Any] | None) -> Data:
    """Return rows as the local class takes them; all of a partition's weights may be 0."""
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y  # what a column means was said once
    valid, targets = template._checked(X, y, reset=False)
    template._check_known(targets)
    if not hasattr(template, "classes_"):
        template._learn_targets(targets, incremental=True)
    weights = template._weights_of_rows(targets, sample_weight, valid, incremental=False)
    dtype = template._network.dtype
    return data_of_rows(valid, template._encoded(targets, dtype), weights, dtype)


def without(part: Part, fraction: float, seed: int) -> Part:
    """Return the rows of a part that are trained on, if a share of them is set aside."""
    return _chosen(part, fraction, seed, aside=False)


def aside(part: Part, fraction: float, seed: int) -> Part:
    """Return the rows of a part that are set aside."""
    return _chosen(part, fraction, seed, aside=True)


def _chosen(part: Part, fraction: float, seed: int, *, aside: bool) -> Part:
    """Return one of two shares of a part's rows, which seed and partition alone choose."""
    if part.data is None:
        return part
    n_rows = len(part)
    n_aside = round(fraction * n_rows)
    order = np.random.default_rng([seed, part.index]).permutation(n_rows)
    rows = np.sort(order[:n_aside] if aside else order[n_aside:])
    if not len(rows):
        return Part(part.index, None, 0.0)
    data = part.data.rows(rows)
    weights = data.sample_weight
    return Part(part.index, data, float(len(rows)) if weights is None else float(weights.sum(dtype=np.float64)))
