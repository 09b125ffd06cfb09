"""Matrix products made of register tiles: rows times panels of columns.

A panel of B.T is transposed into a small buffer.  Panels of B are read where they lie: to copy them next to each other
first, as BLAS libraries do, was never quicker and took up to a fifth longer, from 64 x 64 x 64 to 2048 x 2048 x 256.
"""

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import PANEL_ELEMENTS, PANEL_STEPS, STEP_ELEMENTS, STEP_TILES, TILING
from fastbp.kernels.matrix.tiles import NOTHING, VECTORS, scratch, tile, transpose_block
from fastbp.kernels.optimizers.updates import take_step
from fastbp.kernels.vectors.values import lanes

_MOST_ROWS = TILING.most_rows if TILING else (1,)
_MOST_ROWS_1 = _MOST_ROWS[0]
_MOST_ROWS_2 = _MOST_ROWS[min(1, len(_MOST_ROWS) - 1)]
_MOST_ROWS_3 = _MOST_ROWS[-1]


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
def rows_times_panel(m, vectors, last, k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, w_row, w, s1, s2):
    """c = c0 + a b for all m rows and one panel of columns.

    The same places of `w s1 s2`, whose rows are `w_row` apart, are fetched into the cache.
    """
    most = most_rows(vectors)
    c0_step = max(c0_row, 0)
    i = 0
    while i < m:
        here = share(m - i, most)
        a_i, c0_i, c_i = shift(a, i * a_row), shift(c0, i * c0_step), shift(c, i * c_row)
        w_i, s1_i, s2_i = shift(w, i * w_row), shift(s1, i * w_row), shift(s2, i * w_row)
        tile(here, vectors, k, a_i, a_row, a_column, b, b_row, c0_i, c0_row, c_i, c_row, last, w_row, w_i, s1_i, s2_i)
        i += here


@leaf
def rows_times_panel_and_step(
    m, columns, vectors, last, k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, offset, step
):
    """The same for a gradient, a few tiles at a time, each time followed by the step of their parameters.

    Where the sums begin with 0 the gradient is not even stored in c, but where the last one was.
    """
    most = STEP_TILES * most_rows(vectors)
    small = scratch(c, STEP_ELEMENTS)
    i = 0
    while i < m:
        rows, here = share(m - i, most), offset + i * c_row
        w, s1, s2 = shift(step.w, here), shift(step.s1, here), shift(step.s2, here)
        c0_here, g, g_row = small, small, columns
        if c0_row != NOTHING:
            c0_here, g, g_row = shift(c0, i * c0_row), shift(c, i * c_row), c_row
        a_here = shift(a, i * a_row)
        rows_times_panel(
            rows, vectors, last, k, a_here, a_row, a_column, b, b_row, c0_here, c0_row, g, g_row, c_row, w, s1, s2
        )
        take_step(step, here, rows, columns, c_row, g, g_row)
        i += rows


@leaf
def transpose_panel(n_columns, k, source, source_row, target, target_row):
    """target[k, j] = source[j, k] for a panel of columns j."""
    lane = lanes(source)
    for j in range(0, n_columns, lane):
        for step in range(0, k, lane):
            block, there = shift(source, j * source_row + step), shift(target, step * target_row + j)
            transpose_block(min(lane, n_columns - j), min(lane, k - step), block, source_row, there, target_row)


@inlined
def product(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row, step):
    """C = C0 + A B for A (m, k) and B (k, n), rows of which are `b_row` apart, or B.T so if `transposed`; overwrites C.

    k is at least 1.  `c0_row` may be `NOTHING` for C0 = 0, or 0 for one row that is added to all rows; C0 may be C
    itself.  With a `step` C is a gradient, and each block of it is followed by the step of its parameters.  With
    `NOTHING`, `c0` is any memory in use: to load from pages that were never touched, even under an empty mask, takes a
    thousand cycles.
    """
    b_step = 1 if transposed else b_row
    done = 0
    while done < k:
        here = share(k - done, PANEL_STEPS)
        a_here, b_here = shift(a, done * a_column), shift(b, done * b_step)
        before, before_row = (c0, c0_row) if done == 0 else (c, c_row)
        done += here
        now = step.wanted and done == k
        _part_of_product(
            m, n, here, a_here, a_row, a_column, b_here, b_row, transposed, before, before_row, c, c_row, now, step
        )


@inlined
def _part_of_product(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row, now, step):
    """The same for a part of the common dimension, whose panels fit into the first-level cache."""
    lane = lanes(b)
    vectors_left = (n + lane - 1) // lane
    # a few columns behind whole panels are one of their own: half a vector may take half the time
    few_at_end = n // lane % VECTORS == 0 and 0 < n % lane <= lane // 2
    panel = scratch(b, PANEL_ELEMENTS)
    j = 0
    while vectors_left > 0:
        vectors = VECTORS if few_at_end and vectors_left > VECTORS else share(vectors_left, VECTORS)
        columns = min(vectors * lane, n - j)
        last = columns - (vectors - 1) * lane
        b_here, row = shift(b, j), b_row
        if transposed:
            row = vectors * lane
            transpose_panel(columns, k, shift(b, j * b_row), b_row, panel, row)
            b_here = panel
        c0_here, c_here = shift(c0, j), shift(c, j)
        if now:
            rows_times_panel_and_step(
                m, columns, vectors, last, k, a, a_row, a_column, b_here, row, c0_here, c0_row, c_here, c_row, j, step
            )
        else:
            rows_times_panel(
                m, vectors, last, k, a, a_row, a_column, b_here, row, c0_here, c0_row, c_here, c_row,
                c_row, c_here, c_here, c_here
            )  # fmt: skip
        j += columns
        vectors_left -= vectors
