"""Frames for derivatives by the inputs up to the second, and for the gradients of functions of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import LEAST_SHARED_FLOPS, inputs_of, may_call_blas
from fastbp.engine.derived import DerivedFrame, make_derived, of_outputs
from fastbp.engine.problem import Problem
from fastbp.engine.workspace import RowPieces, aligned_empty, rounded
from fastbp.kernels.layers import input_tangents as in_places
from fastbp.kernels.roots import entry
from fastbp.kernels.roots import laplacian as kernel
from fastbp.validation.sparse_rows import Rows

LAPLACIAN, DERIVATIVES, GRADIENT, HESSIAN = kernel.LAPLACIAN, kernel.DERIVATIVES, kernel.GRADIENT, kernel.HESSIAN

# Numbers of a layer's rows of one block, values, tangents and Laplacians: they stay in the second-level cache.
_BLOCK_ELEMENTS = 1 << 14
_MOST_BLOCK_ROWS = 256
_MOST_PIECES = 1 << 12
# A gradient of its own for each piece, as in `cutting`.
_MOST_GRADIENTS = 16
_GRADIENT_ELEMENTS = 1 << 18
# Forward passes are kept for their gradient up to so many bytes; beyond that they are made again block by block.
_MOST_KEPT_BYTES = 1 << 26
_SLOW_FLOPS_PER_SECOND = 1e10  # of the products of second derivatives, pessimistically


class InputFrame(DerivedFrame):
    """A frame of the root for derivatives by the inputs."""

    kernel = kernel
    places: NDArray[np.int64]
    kept: NDArray[Any] | None = None
    seconds_per_row = 0.0
    flops_per_row = 0

    def call(
        self,
        task: int,
        params: NDArray[Any],
        X: Rows,
        *,
        directions: NDArray[Any],
        out: NDArray[Any] | None = None,
        jacobians: NDArray[Any] | None = None,
        laplacians: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Do a task of the root for all rows of X; arrays as the root has them, contiguous and of the right dtype."""
        self.set_data(X)
        self._point(kernel.PLACES, self.places)
        results = (kernel.DIRECTIONS, directions), (kernel.JACOBIANS, jacobians), (kernel.LAPLACIANS, laplacians)
        for place, array in (*results, (kernel.KEPT, self.kept)):
            if array is None:
                self.addresses[place] = 0
                self._arrays[place] = None
            else:
                self._point(place, array)
        factor = 3 * len(X) if task == GRADIENT else len(X)
        threads = self.useful_threads(n_threads, factor * self.flops_per_row)
        flat = None if out is None else out.reshape(-1)
        try:
            self.run(task, params, out=flat, n_threads=threads, seconds=factor * self.seconds_per_row)
        finally:
            for place, _ in (*results, (entry.PARAMS, None)):  # the caller's arrays, or results that are his now
                self._arrays[place] = None

    @property
    def gradient(self) -> NDArray[Any]:
        """The gradient of the last call, a copy."""
        return self.grads[: self.n_params].copy()


def maker(n_tangents: int, *, keeps: bool = False, hessian: bool = False) -> Callable[[Problem, Rows], InputFrame]:
    """Return what makes a frame for derivatives in some directions.

    Parameters
    ----------
    n_tangents : int
        Directions.
    keeps : bool
        For gradients; the forward pass is kept where that takes little memory.
    hessian : bool
        For all second derivatives.
    """

    def make(problem: Problem, X: Rows) -> InputFrame:
        widths, n_rows, r = problem.sizes[1:], len(X), n_tangents
        rows_of_row = max(r + 2, widths[-1] if hessian else 0)  # of a row of X
        block_rows = max(1, min(_BLOCK_ELEMENTS // (rows_of_row * max(widths)), _MOST_BLOCK_ROWS, n_rows))
        n_blocks = -(-n_rows // block_rows)
        flops = 2 * problem.sizes[0] * widths[0] + 2 * (r + 2) * sum(m * n for m, n in pairwise(widths))
        seconds = (r + 2) * inputs_of(X).seconds_per_row(problem.sizes)
        if hessian:
            flops += 2 * widths[-1] * r**2 * sum(widths)
            seconds += 2 * widths[-1] * r**2 * sum(widths) / _SLOW_FLOPS_PER_SECOND
        n_pieces = _n_pieces(n_blocks, n_rows * flops, problem.n_params if keeps else 0)
        places, extra = _places(problem, r, block_rows, rows_of_row)
        n_kept = n_blocks * int(places[in_places.BLOCK_SIZE])
        is_kept = keeps and n_kept * problem.dtype.itemsize <= _MOST_KEPT_BYTES
        if not is_kept:
            extra += int(places[in_places.BLOCK_SIZE])
        cut = RowPieces(block_rows, n_pieces, extra)
        frame = make_derived(InputFrame, of_outputs(problem), X, cut, n_vectors=n_pieces if keeps else 0)
        # whose products have more rows than a forward pass
        frame.workspace.calls_blas = may_call_blas(problem.sizes, rows_of_row * block_rows) or (
            hessian and may_call_blas((r, max(widths)), r)
        )
        frame.places, frame.kept = places, aligned_empty(n_kept, problem.dtype) if is_kept else None
        frame.flops_per_row, frame.seconds_per_row = flops, seconds
        return frame

    return make


def _n_pieces(n_blocks: int, flops: int, n_params: int) -> int:
    """Into how many pieces the rows are cut: for a gradient, of so many parameters, few, since each has its own."""
    if not n_params:
        return min(n_blocks, _MOST_PIECES)
    if 3 * flops < LEAST_SHARED_FLOPS:
        return 1
    return min(n_blocks, _MOST_GRADIENTS, max(2, _GRADIENT_ELEMENTS // n_params))


def _places(problem: Problem, r: int, block_rows: int, rows_of_row: int) -> tuple[NDArray[np.int64], int]:
    """Lay out the region of a block and the scratch of a slot; the elements of the scratch, without a region."""
    widths = problem.sizes[1:]
    places = np.zeros(in_places.FIRST_PLACE + in_places.PLACES_OF_LAYER * len(widths), np.int64)
    places[in_places.N_TANGENTS] = r
    offset, row = 0, block_rows * max(widths)
    for place, elements in (
        (in_places.POST, (r + 1) * row),
        (in_places.D1, row),
        (in_places.D2, row),
        (in_places.D3, row),
        (in_places.SQUARES, row),
        (in_places.ERROR, rows_of_row * row),
        (in_places.OTHER_ERROR, rows_of_row * row),
        (in_places.SPREAD, (r + 1) * block_rows * widths[0]),
    ):
        places[place] = offset
        offset += rounded(elements)
    places[in_places.REGION] = offset
    offset = 0
    for layer, (width, runs) in enumerate(zip(widths, problem.segments, strict=True)):
        first = in_places.FIRST_PLACE + in_places.PLACES_OF_LAYER * layer
        places[first + in_places.PRE] = places[first + in_places.VALUE] = offset
        offset += rounded((1 if layer == 0 else r + 2) * block_rows * width)
        if any(run.needs_z for run in runs):
            places[first + in_places.VALUE] = offset
            offset += rounded(block_rows * width)
    places[in_places.BLOCK_SIZE] = offset
    return places, int(places[in_places.REGION])
