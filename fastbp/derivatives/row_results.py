"""Results with a row for each row of X: the array that they go to, and blocks of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import first_order as tasks
from fastbp.engine.threads import thread_count
from fastbp.model.model import Model, passes_of
from fastbp.validation.data import Targets
from fastbp.validation.results import result_array
from fastbp.validation.sparse_rows import Rows, SparseRows

FEWER = "Pass fewer rows at a time."
_BLOCK_BYTES = 1 << 23  # of a block of rows: what a C library gives out again and again without asking for fresh pages


def result_for(
    net: Model,
    rows: Rows,
    shape: tuple[int, ...],
    purpose: str,
    cure: str,
    out: NDArray[Any] | None = None,
    *read: NDArray[Any] | None,
) -> NDArray[Any]:
    """Return the array for a result of some shape for each row: the caller's `out`, or a new one.

    `read` are arrays besides X and the parameters that it must not overlap; for the others see `result_array`.
    """
    parts = (rows.values, rows.indptr, rows.indices) if isinstance(rows, SparseRows) else (rows,)
    return result_array(out, (len(rows), *shape), net.dtype, purpose, cure, net.params, *read, *parts)


def blocks_of(
    net: Model,
    task: tasks.Task,
    params: NDArray[Any],
    X: Rows,
    targets: Targets | None,
    shape: tuple[int, ...],
    rows: int | None,
    n_threads: int | None,
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Return an iterator over blocks of rows of a result of some shape for each row, of valid data."""
    if rows is None:
        rows = max(1, _BLOCK_BYTES // (math.prod(shape) * net.dtype.itemsize))
    step = validation.positive_integer(rows, "rows")
    if n_threads is not None:
        thread_count(n_threads)  # refuse wrong ones now, not with the first block

    def blocks() -> Iterator[tuple[slice, NDArray[Any]]]:
        for first in range(0, len(X), step):
            here = slice(first, min(first + step, len(X)))
            part, some = X[here], None
            if targets is not None:
                some = Targets(*(array if array is None else array[here] for array in targets))
            out = result_for(net, part, shape, "A block", "Pass a smaller `rows`.")
            tasks.compute(task, passes_of(net), params, part, some, out, n_threads)
            yield here, out

    return blocks()
