"""The rows of an estimator's fit: what the partitions hold is found out first, then each is checked as locally."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.partitions import Partitions
from fastbp.dask.parts import Part, count_rows
from fastbp.dask.session import Session
from fastbp.engine.rows import Data
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.data import data_of_rows

_PIECE_NUMBERS = 1 << 19  # 4 MiB in float64: less than half of what Dask warns of


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
    problem : TypeError or None
        What is wrong with the targets.
    """

    index: int
    n_rows: int
    X: Any
    y: Any
    labels: NDArray[Any] | None
    counts: NDArray[np.int64] | None
    problem: TypeError | None = None


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
        try:
            labels, counts = np.unique(values, return_counts=True)
        except TypeError as error:
            text = f"In partition {index}: `y` must hold labels that can be sorted, of which none is missing; {error}."
            return [Seen(index, n_rows, None, None, None, None, TypeError(text))]
    return [Seen(index, n_rows, first, y[:1] if labels is None else None, labels, counts)]


def seen_in(session: Session, partitions: Partitions, *, with_labels: bool) -> list[Seen]:
    """Return what the partitions hold that have rows.

    Raises
    ------
    TypeError, ValueError
        If none has, or if labels cannot be sorted.
    """
    tasks = [session.task(look, i, X, y, with_labels) for i, (X, y, _) in enumerate(partitions.sources)]
    found: list[Seen] = session.result(session.task(chain, tasks))
    found = [seen for seen in found if seen.n_rows]
    for seen in found:
        if seen.problem is not None:
            raise seen.problem
    if not found:
        raise ValueError("`X` must have at least one row; all its partitions are empty.")
    return found


def chain(lists: list[list[Any]]) -> list[Any]:
    """Return the members of all lists."""
    return [each for one in lists for each in one]


def balanced(seen: list[Seen]) -> dict[Any, float]:
    """Return the weight of each class that ``class_weight='balanced'`` stands for."""
    _, labels, counts = examples(seen)
    if counts is None:
        raise ValueError(
            "`class_weight` must be None where `y` has several labels, whose combinations no partition knows; got "
            "'balanced'. Pass `sample_weight`."
        )
    return {label: float(counts.sum() / (len(counts) * count)) for label, count in zip(labels, counts, strict=True)}


def examples(seen: list[Seen]) -> tuple[Any, NDArray[Any], NDArray[np.int64] | None]:
    """Return rows, and a target for each of them, from which an estimator learns all that it must know of the data.

    Of labels there is one of each, and the third member is how often it is there.
    """
    first = seen[0]
    if first.labels is None:
        return first.X, np.asarray(first.y), None
    labels = np.unique(np.concatenate([one.labels for one in seen if one.labels is not None]))
    if not len(labels):
        raise ValueError(f"In partition {first.index}: `y` must hold class labels; got only NaN or infinity.")
    counts = np.zeros(len(labels), np.int64)
    for one in seen:
        assert one.labels is not None
        assert one.counts is not None
        counts[np.searchsorted(labels, one.labels)] += one.counts
    times = np.zeros(len(labels), np.intp)
    X = first.X.iloc[times] if hasattr(first.X, "iloc") else first.X[times]
    return X, labels, counts


def pieces_of(session: Session, X: Any, y: Any, sample_weight: Any) -> Partitions:
    """Return rows in memory as partitions that are each small enough for a message to the cluster."""
    members = [each if each is None or hasattr(each, "shape") else np.asarray(each) for each in (X, y, sample_weight)]
    n_rows = [count_rows(each) for each in members if each is not None]
    cuts = [0, max(n_rows)]
    if len(set(n_rows)) == 1:  # or else the error names one partition
        n_per_piece = max(1, _PIECE_NUMBERS // max(1, math.prod(members[0].shape[1:])))
        cuts = [*range(0, max(n_rows[0], 1), n_per_piece), n_rows[0]]
    sources = [
        tuple(None if each is None else session.constant(_between(each, *ends)) for each in members)
        for ends in itertools.pairwise(cuts)
    ]
    return Partitions(cast(Any, sources), None)


def _between(rows: Any, first: int, end: int) -> Any:
    return rows.iloc[first:end] if hasattr(rows, "iloc") else rows[first:end]


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
    if weights is not None and weights.any() and not weights.sum(dtype=np.float64):
        text = "`sample_weight` must not have the sum 0 in a partition where not all are 0. Choose other partitions."
        return Part(index, None, 0.0, ValueError(f"In partition {index}: {text}"))
    return Part(index, data, float(n_rows) if weights is None else float(weights.sum(dtype=np.float64)))


def _checked(template: BaseMLP, X: Any, y: Any, sample_weight: NDArray[Any] | None) -> Data:
    """Return rows as the local class takes them; all of a partition's weights may be 0."""
    y = np.asarray(y)
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y  # what a column means was said once
    valid, targets = template._checked(X, y, reset=False)
    template._check_known(targets)
    no_row_counts = sample_weight is not None and vanish(sample_weight, len(y))
    if not hasattr(template, "classes_"):
        template._learn_targets(targets, incremental=True)
    if no_row_counts:  # which scikit-learn's check of all rows refuses
        weights: NDArray[Any] | None = np.zeros(len(y))
    else:
        weights = template._weights_of_rows(targets, sample_weight, valid, incremental=False)
    dtype = template._network.dtype
    return data_of_rows(valid, template._encoded(targets, dtype), weights, dtype)


def vanish(weights: NDArray[Any], n_rows: int) -> bool:
    """Whether weights are 0 for all of so many rows."""
    return weights.shape == (n_rows,) and weights.dtype.kind in "biuf" and not weights.any()


def counts_aside(n_rows: list[int], fraction: float) -> list[int]:
    """Return how many rows of each partition are set aside: together a share of all, however small they are."""
    ends = np.ceil(fraction * np.cumsum(n_rows) - 1e-9).astype(int)
    counts: list[int] = np.diff(ends, prepend=0).tolist()
    return counts


def without(part: Part, counts: Sequence[int], seed: int) -> Part:
    """Return the rows of a part that are trained on, if so many of each part are set aside."""
    return _chosen(part, counts[part.index], seed, aside=False)


def aside(part: Part, counts: Sequence[int], seed: int) -> Part:
    """Return the rows of a part that are set aside."""
    return _chosen(part, counts[part.index], seed, aside=True)


def _chosen(part: Part, n_aside: int, seed: int, *, aside: bool) -> Part:
    """Return one of two shares of a part's rows, which seed and partition alone choose."""
    if part.data is None:
        return part
    order = np.random.default_rng([seed, part.index]).permutation(len(part))
    rows = np.sort(order[:n_aside] if aside else order[n_aside:])
    if not len(rows):
        return Part(part.index, None, 0.0)
    data = part.data.rows(rows)
    weights = data.sample_weight
    return Part(part.index, data, float(len(rows)) if weights is None else float(weights.sum(dtype=np.float64)))
