"""Matrix products made of register tiles: rows times panels of columns.

A panel of B.T is transposed into a small buffer.  Panels of B are read where they lie, as a rule: to copy them next to
each other first, as BLAS libraries do, took up to a fifth longer from 64 x 64 x 64 to 2048 x 2048 x 256.  Only where
vectors are shorter than AVX-512's, and so panels narrow, those of rows that lie a multiple of 4096 bytes apart are
copied: all cache lines of such a panel fall into one set of the first-level cache, and reading them where they lie took
up to half as long again.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import (
    FAR_BYTES,
    PANEL_COLUMNS,
    PANEL_ELEMENTS,
    PANEL_STEPS,
    STEP_ELEMENTS,
    STEP_TILES,
    TILING,
    VECTOR_BYTES,
)
from fastbp.kernels.matrix.tiles import NOTHING, TILE_VECTORS, scratch, tile, transpose_block
from fastbp.kernels.optimizers.updates import take_step
from fastbp.kernels.vectors.values import lanes, load, store

_MOST_ROWS = TILING.most_rows if TILING else (1,)
_COPIED_ROWS = TILING.copied_rows if TILING else 0
_COPIED_MULTIPLE = FAR_BYTES // VECTOR_BYTES
_MOST_ROWS_1 = _MOST_ROWS[0]
_MOST_ROWS_2 = _MOST_ROWS[min(1, len(_MOST_ROWS) - 1)]
_MOST_ROWS_3 = _MOST_ROWS[-1]


class Matrix(NamedTuple):
    """A matrix whose rows lie `row` elements apart, the numbers of a row side by side."""

    p: Any
    row: Any


class Strided(NamedTuple):
    """A matrix whose rows lie `row` elements apart, and its columns `column` elements."""

    p: Any
    row: Any
    column: Any


class Panel(NamedTuple):
    """Some neighbouring columns of a product."""

    columns: Any
    vectors: Any  # that they take
    last: Any  # how many of them are in the last vector


class Soon(NamedTuple):
    """Matrices whose places are wanted soon: of parameters and the optimizer's state, rows `row` elements apart."""

    row: Any
    w: Any
    s1: Any
    s2: Any


@leaf
def most_rows(vectors):
    """The most rows of a tile of that many vectors."""
    if vectors == 1:
        return _MOST_ROWS_1
    return _MOST_ROWS_2 if vectors == 2 else _MOST_ROWS_3


@leaf
def share(left, most):
    """How many of the rows or vectors that are left the next one takes: the last two share theirs evenly."""
    if left <= most:
        return left
    return most if left >= 2 * most else (left + 1) >> 1


@inlined
def rows_times_panel(m, panel, k, a, b, c0, c, soon):
    """c = c0 + a b for all m rows and one panel of columns; the same places of `soon` are fetched into the cache."""
    most = most_rows(panel.vectors)
    c0_step = max(c0.row, 0)
    i = 0
    while i < m:
        here = share(m - i, most)
        a_i = Strided(shift(a.p, i * a.row), a.row, a.column)
        c0_i, c_i = Matrix(shift(c0.p, i * c0_step), c0.row), Matrix(shift(c.p, i * c.row), c.row)
        tile(here, panel, k, a_i, b, c0_i, c_i, rows_from(soon, i))
        i += here


@inlined
def rows_from(soon, i):
    """The same matrices from row i on."""
    there = i * soon.row
    return Soon(soon.row, shift(soon.w, there), shift(soon.s1, there), shift(soon.s2, there))


@leaf
def rows_times_panel_and_step(m, panel, k, a, b, c0, c, offset, step):
    """The same for a gradient, a few tiles at a time, each time followed by the step of their parameters.

    Where the sums begin with 0 the gradient is not even stored in c, but where the last one was.
    """
    most = STEP_TILES * most_rows(panel.vectors)
    small = scratch(c.p, STEP_ELEMENTS)
    i = 0
    while i < m:
        rows, here = share(m - i, most), offset + i * c.row
        soon = Soon(c.row, shift(step.w, here), shift(step.s1, here), shift(step.s2, here))
        c0_here, g, g_row = small, small, panel.columns
        if c0.row != NOTHING:
            c0_here, g, g_row = shift(c0.p, i * c0.row), shift(c.p, i * c.row), c.row
        a_here = Strided(shift(a.p, i * a.row), a.row, a.column)
        rows_times_panel(rows, panel, k, a_here, b, Matrix(c0_here, c0.row), Matrix(g, g_row), soon)
        take_step(step, here, rows, panel.columns, c.row, g, g_row)
        i += rows


@leaf
def transpose_panel(n_columns, k, source, source_row, target, target_row):
    """target[k, j] = source[j, k] for a panel of columns j."""
    n_lanes = lanes(source)
    for j in range(0, n_columns, n_lanes):
        for step in range(0, k, n_lanes):
            block, there = shift(source, j * source_row + step), shift(target, step * target_row + j)
            transpose_block(min(n_lanes, n_columns - j), min(n_lanes, k - step), block, source_row, there, target_row)


@leaf
def copy_columns(n, k, source, source_row, target, target_row):
    """target[k, j] = source[k, j] for n columns j."""
    n_lanes = lanes(source)
    whole = n // n_lanes * n_lanes
    for i in range(k):
        from_row, to_row = shift(source, i * source_row), shift(target, i * target_row)
        for j in range(0, whole, n_lanes):
            store(load(shift(from_row, j)), shift(to_row, j))
        for j in range(whole, n):
            to_row[j] = from_row[j]


@inlined
def product(m, n, k, a, b, transposed, c0, c, step):
    """C = C0 + A B for A (m, k), which is `Strided`, and B (k, n), or B.T if `transposed`; overwrites C.

    k is at least 1.  The row stride of C0 may be `NOTHING` for C0 = 0, or 0 for one row that is added to all rows; C0
    may be C itself.  With a `step` C is a gradient, and each block of it is followed by the step of its parameters.
    With `NOTHING`, C0 points to any memory in use: to load from pages that were never touched takes a thousand cycles,
    even under an empty mask.
    """
    b_step = 1 if transposed else b.row
    done = 0
    while done < k:
        here = share(k - done, PANEL_STEPS)
        a_here, b_here = Strided(shift(a.p, done * a.column), a.row, a.column), Matrix(shift(b.p, done * b_step), b.row)
        before = c0 if done == 0 else c
        done += here
        _part_of_product(m, n, here, a_here, b_here, transposed, before, c, step.wanted and done == k, step)


@inlined
def _part_of_product(m, n, k, a, b, transposed, c0, c, now, step):
    """The same for a part of the common dimension, whose panels fit into the first-level cache."""
    copies = not transposed and m >= _COPIED_ROWS and b.row % (_COPIED_MULTIPLE * lanes(b.p)) == 0
    side_by_side = scratch(b.p, PANEL_ELEMENTS)
    width = PANEL_COLUMNS if copies else n
    for j in range(0, n, width):
        columns, b_here = min(width, n - j), Matrix(shift(b.p, j * (b.row if transposed else 1)), b.row)
        if copies:
            copy_columns(columns, k, b_here.p, b.row, side_by_side, width)
            b_here = Matrix(side_by_side, width)
        c0_here, c_here = Matrix(shift(c0.p, j), c0.row), Matrix(shift(c.p, j), c.row)
        _panels_of_product(m, columns, k, a, b_here, transposed, side_by_side, c0_here, c_here, j, now, step)


@inlined
def _panels_of_product(m, n, k, a, b, transposed, transposed_panel, c0, c, offset, now, step):
    """The same panel by panel; the parameters of the first column's step are at `offset`."""
    n_lanes = lanes(b.p)
    vectors_left = (n + n_lanes - 1) // n_lanes
    # a few columns behind whole panels are one of their own: half a vector may take half the time
    few_at_end = n // n_lanes % TILE_VECTORS == 0 and 0 < n % n_lanes <= n_lanes // 2
    j = 0
    while vectors_left > 0:
        vectors = TILE_VECTORS if few_at_end and vectors_left > TILE_VECTORS else share(vectors_left, TILE_VECTORS)
        columns = min(vectors * n_lanes, n - j)
        panel = Panel(columns, vectors, columns - (vectors - 1) * n_lanes)
        b_here, row = shift(b.p, j), b.row
        if transposed:
            row = vectors * n_lanes
            transpose_panel(columns, k, shift(b.p, j * b.row), b.row, transposed_panel, row)
            b_here = transposed_panel
        c0_here, c_here = Matrix(shift(c0.p, j), c0.row), Matrix(shift(c.p, j), c.row)
        if now:
            rows_times_panel_and_step(m, panel, k, a, Matrix(b_here, row), c0_here, c_here, offset + j, step)
        else:
            # the result's place in the next tile, whose sums may begin with what is there
            following = shift(c_here.p, share(m, most_rows(vectors)) * c.row)
            soon = Soon(c.row, following, following, following)
            rows_times_panel(m, panel, k, a, Matrix(b_here, row), c0_here, c_here, soon)
        j += columns
        vectors_left -= vectors
