"""Matrix products made of register tiles: panels of columns, packed where that pays, times rows."""

from fastbp.kernels.jit import leaf
from fastbp.kernels.pointers import shift
from fastbp.kernels.simd import TILING
from fastbp.kernels.tiles import VECTORS, copy_panel, scratch, tile, transpose_block
from fastbp.kernels.vectors import lanes

# Steps of the common dimension for which a panel of b stays in the first-level cache: 256 x 48 float32 are 48 KiB.
_PANEL_STEPS = 256
_PANEL_ELEMENTS = _PANEL_STEPS * 48
_PACK_ROWS = 64  # rows for which copying a panel of b next to each other pays
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
def rows_times_panel(m, vectors, last, k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row):
    """c = c0 + a b for all m rows and one panel of columns; the rows are shared out evenly among the tiles."""
    most = most_rows(vectors)
    if m <= most:
        tile(m, vectors, k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, last)
        return
    tiles = (m + most - 1) // most
    rows, longer = m // tiles, m % tiles  # the first `longer` tiles have a row more
    c0_step = max(c0_row, 0)
    i = 0
    for number in range(tiles):
        here = rows + 1 if number < longer else rows
        a_here, c0_here, c_here = shift(a, i * a_row), shift(c0, i * c0_step), shift(c, i * c_row)
        tile(here, vectors, k, a_here, a_row, a_column, b, b_row, c0_here, c0_row, c_here, c_row, last)
        i += here


@leaf
def transpose_panel(n_columns, k, source, source_row, target, target_row):
    """target[k, j] = source[j, k] for a panel of columns j."""
    lane = lanes(source)
    for j in range(0, n_columns, lane):
        for step in range(0, k, lane):
            block, there = shift(source, j * source_row + step), shift(target, step * target_row + j)
            transpose_block(min(lane, n_columns - j), min(lane, k - step), block, source_row, there, target_row)


@leaf
def product(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row):
    """C = C0 + A B for A (m, k) and B (k, n), rows of which are `b_row` apart, or B.T so if `transposed`; overwrites C.

    `c0_row` may be `NOTHING` for C0 = 0, or 0 for one row that is added to all rows; C0 may be C itself.
    """
    if k <= _PANEL_STEPS:
        _part_of_product(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row)
        return
    n_parts = (k + _PANEL_STEPS - 1) // _PANEL_STEPS
    b_step = 1 if transposed else b_row
    for part in range(n_parts):
        k0, k1 = k * part // n_parts, k * (part + 1) // n_parts
        a_here, b_here = shift(a, k0 * a_column), shift(b, k0 * b_step)
        if part == 0:
            _part_of_product(m, n, k1, a_here, a_row, a_column, b_here, b_row, transposed, c0, c0_row, c, c_row)
        else:
            _part_of_product(m, n, k1 - k0, a_here, a_row, a_column, b_here, b_row, transposed, c, c_row, c, c_row)


@leaf
def _part_of_product(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row):
    """The same for a part of the common dimension, whose panels fit into the first-level cache."""
    lane = lanes(b)
    vectors_left = (n + lane - 1) // lane
    panels_left = (vectors_left + VECTORS - 1) // VECTORS
    packed = not transposed and m >= _PACK_ROWS and panels_left > 1
    panel = scratch(b, _PANEL_ELEMENTS)
    j = 0
    while panels_left > 0:
        vectors = (vectors_left + panels_left - 1) // panels_left  # panels of about the same width
        columns = min(vectors * lane, n - j)
        last = columns - (vectors - 1) * lane
        b_here, row = shift(b, j), b_row
        if transposed:
            row = vectors * lane
            transpose_panel(columns, k, shift(b, j * b_row), b_row, panel, row)
            b_here = panel
        elif packed:
            row = vectors * lane
            copy_panel(vectors, k, b_here, b_row, panel, last)
            b_here = panel
        rows_times_panel(m, vectors, last, k, a, a_row, a_column, b_here, row, shift(c0, j), c0_row, shift(c, j), c_row)
        j += columns
        vectors_left -= vectors
        panels_left -= 1
