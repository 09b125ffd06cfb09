"""Dask's collections as partitions: for each one what makes its inputs, its targets and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
from dask.array import Array

from fastbp.validation.arrays import column_names


@dataclass(frozen=True)
class Partitions:
    """What makes the rows of each partition.

    Attributes
    ----------
    sources : list of tuple
        For each partition what is computed as its X, its Y, and its weights or None.
    meta : object
        An empty frame or array like those of X.
    """

    sources: list[tuple[Any, Any, Any]]
    meta: Any

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns of data frames, if all are str."""
        return column_names(self.meta)

    @property
    def has_weights(self) -> bool:
        """Whether the rows have weights."""
        return self.sources[0][2] is not None

    def __len__(self) -> int:
        return len(self.sources)


def partitions_of(
    X: Any,
    Y: Any,
    sample_weight: Any = None,
    *,
    names: tuple[str, str] = ("X", "Y"),
    in_memory: str = "train with Network.fit",
) -> Partitions:
    """Return the partitions of arrays, data frames and series of Dask, which must lie side by side.

    `names` are what X and Y are called in messages, `in_memory` what to do with rows that are in memory.

    Raises
    ------
    TypeError, ValueError
        If one is none of these, or their partitions differ and cannot be made equal.
    """
    given = dict(zip(names, (X, Y), strict=True)) | ({} if sample_weight is None else {"sample_weight": sample_weight})
    for name, collection in given.items():
        require_collection(collection, name, in_memory)
    if isinstance(X, Array):
        X = whole_rows(X)
        given = {name: X if name == "X" else _cut_like(X, other) for name, other in given.items()}
    sources = {name: _delayed(collection) for name, collection in given.items()}
    n_partitions = len(sources["X"])
    for name, found in sources.items():
        if len(found) != n_partitions:
            raise ValueError(
                f"`{name}` must have the partitions of `X`, which has {n_partitions}; got {len(found)}. Make both from "
                f"one collection, or write {name}.rechunk(X.chunks[0]) or {name}.repartition(divisions=X.divisions)."
            )
    if n_partitions == 0:
        raise ValueError("`X` must have at least one partition; got none.")
    weights = sources.get("sample_weight", [None] * n_partitions)
    return Partitions(list(zip(*(sources[name] for name in names), weights, strict=True)), X._meta)


def is_collection(given: Any) -> bool:
    """Whether something is an array, a data frame or a series of Dask, and so neither a bag nor a single value."""
    n_axes = getattr(given, "ndim", None) if dask.is_dask_collection(given) else None  # any attribute, if delayed
    return isinstance(n_axes, int) and n_axes > 0


def require_collection(collection: Any, name: str, in_memory: str = "train with Network.fit") -> None:
    """Refuse what is no array, data frame or series of Dask."""
    if not is_collection(collection):
        raise TypeError(
            f"`{name}` must be an array, a data frame or a series of Dask; got {_kind_of(collection)}. Write "
            f"dask.array.from_array(..., chunks=(100_000, -1)), or {in_memory} what fits into memory."
        )


def _kind_of(given: Any) -> str:
    return type(given).__name__ + (" without axes" if isinstance(given, Array) else "")


def whole_rows(X: Array) -> Array:
    """Return an array whose chunks have whole rows."""
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1)) if X.ndim > 1 else X


def _cut_like(X: Array, other: Any) -> Any:
    """Return an array with the rows of X's chunks, where both are known."""
    if not isinstance(other, Array):
        return other
    other = whole_rows(other)
    known = not any(size != size for size in (*X.chunks[0], *other.chunks[0]))  # NaN stands for an unknown size
    if known and X.chunks[0] != other.chunks[0] and X.shape[0] == other.shape[0]:
        return other.rechunk({0: X.chunks[0]})
    return other


def _delayed(collection: Any) -> list[Any]:
    """Return what makes each partition."""
    made = collection.to_delayed()
    return list(made.ravel()) if isinstance(collection, Array) else list(made)
