"""How work is laid out and cut, and how long it is estimated to take: all numbers that tune it, in one place.

Those of the kernels themselves are in `fastbp.kernels.machine.processor`.  Each was found by measuring, and decides how
quickly a result comes.  Into how many pieces a gradient is cut decides its last bits as well, so that follows from
the problem alone, never from the threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastbp.engine.parameters import count_params
from fastbp.kernels.machine.processor import (
    FAR_BYTES,
    FLOPS_OF_A_STEP,
    LEAST_PIECE_NEURONS,
    LINE_BYTES,
    MOST_LAYER_PIECES,
)
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.vectors.values import HAS_VECTORS, lanes_of
from fastbp.validation.sparse_rows import Rows, SparseRows

# ---- Blocks ----------------------------------------------------------------------------------------------------------

# A block's activations should stay in a core's second-level cache: 2^16 numbers are 256 or 512 KiB.
_BLOCK_ELEMENTS = 1 << 16
_LEAST_BLOCK_ROWS = 64
_MOST_BLOCK_ROWS = 1024
_LARGE_PARAMS = 1 << 18  # weights that do not stay in the second-level cache: more rows for each time they are read
# A forward pass that is shared has so many blocks at least, unless they would have fewer rows than this, for which it
# does not pay to read the weights once more: the more so where they come from memory.
_FORWARD_BLOCKS = 8
_LEAST_FORWARD_ROWS = 32
_PARAMS_IN_MEMORY = 1 << 21
_MOST_FORWARD_PIECES = 1 << 12

# ---- Pieces of a gradient and of an update ---------------------------------------------------------------------------

# Flops of a gradient below which one thread does all of it: some 40 us, twenty times the cost of sharing the work.
LEAST_SHARED_FLOPS = 1 << 22
# A gradient of its own for each piece of rows pays while all pieces' gradients fit into the second-level caches and a
# piece has enough rows to be worth the sum over pieces.
_GRADIENT_ELEMENTS = 1 << 18
_LEAST_PIECE_ROWS = 32
_MOST_ROW_PIECES = 16
# Cutting the first layer along its inputs pays where nearly all parameters are its weights, because the steps of the
# other layers are a piece each; and where a step takes some 10 us, several times what its three regions cost.
_FIRST_SHARE = 0.9
_MOST_FEATURE_PIECES = 8
_LEAST_FEATURES = 96
_LEAST_FLOPS_BY_FEATURES = 1 << 19
_FLOPS_OF_A_FEATURE_PIECE = 400_000  # some 4 us
_UPDATE_ELEMENTS = 1 << 11  # parameters of one piece of an update, or up to half as many: some 1 to 2 us
_MOST_UPDATE_PIECES = 16

# J^T J: rows of a block, for each of which all sums are read; multiply-adds and rows of a piece, so that it takes 50 us
# at least and its sums pay; numbers of a block's two factors, 32 MiB of float64, of which each row of a wide layer has
# the square of its width; and numbers that more than four pieces may add up at a time, 64 MiB of float64.
_NORMAL_BLOCK_ROWS = 256
_SMALL_NORMAL_BLOCK_ROWS = 128
_LEAST_NORMAL_BLOCK_ROWS = 16
_LARGE_NORMAL_SUMS = 1 << 15
_LEAST_NORMAL_PRODUCTS = 1 << 19
_LEAST_NORMAL_ROWS = 192
_NORMAL_FACTORS = 1 << 22
_NORMAL_SUMS = 1 << 23

# ---- Which kernels ---------------------------------------------------------------------------------------------------

# A narrow network is trained row by row up to so many rows of a mini-batch and multiply-adds of its forward pass;
# measured from 2-4-4-2 to 16-16-16-10.
_MOST_NARROW_ROWS = 4
_MOST_NARROW_PRODUCTS = 1500
# Sparse rows that are fuller than this are made dense block by block: tiles multiply so much faster.
_MOST_DENSITY = 0.15
# The outputs of a few rows are computed by way of arrays whose addresses are known.
SMALL_INPUT = 1 << 10  # elements of X up to which copying is quicker than asking for its address
SMALL_FLOPS = 1 << 16  # that no thread would share, and no thread of a BLAS either
# Networks of one architecture are trained side by side in the lanes of vectors where that takes at least a sixth less
# time than one after the other: measured from 2-4-4-2 to 10-32-32-1, mini-batches of 1 to 128 rows, with AVX2 and
# AVX-512.  Wider layers fill the vectors alone, and what a group reads must stay in the second-level cache.
MOST_LANE_NUMBERS = {4: 5000, 8: 2000}  # of a network's parameters, z, a and delta of a mini-batch; by bytes of each
MOST_NARROW_PARAMS = 10  # of a network that alone is trained row by row, for each lane
LANE_FILL = 0.75  # share of the lanes that must have a network: empty ones take as long
LANE_GAIN = 1.5  # what full lanes gain, about; and which share of a group's time does not depend on their number
LANE_FIXED_SHARE = 0.75
LANE_LATENESS = 4 / 3  # how much longer than all work shared by all threads a group may take
# Outputs of many networks at once go by their evaluators, without a frame for each, up to some 0.6 ms of the kernels;
# other threads wait so long for the GIL.  A row takes as long as so many parameters, however few a network has.
MOST_PARAMS_TIMES_ROWS = 1 << 25
PARAMS_OF_A_ROW = 1 << 10
FEWEST_SHUFFLED_ROWS = 1 << 9  # for whose random order a call of the kernel pays
# A product of at most this many multiply-adds is never shared by a BLAS between its threads (OpenBLAS begins at 2^18).
_SERIAL_PRODUCT = 1 << 15

# ---- Memory ----------------------------------------------------------------------------------------------------------

# Behind rows of z, a and delta that are a multiple of `FAR_BYTES` long; worth 3 % of the products of 1024 and 2048
# neurons.
_PAD_BYTES = 3 * LINE_BYTES

# ---- Seconds ---------------------------------------------------------------------------------------------------------

# Estimates of how long a call takes: a slow core's matrix products, and each neuron's activation.  Wrong by a factor of
# five at most on common machines, which the 0.3 s within which Ctrl-C should be obeyed allow for.
_PRODUCT_FLOPS_PER_SECOND = 3e10
_SECONDS_PER_NEURON = 2e-9
_SECONDS_PER_ROW = 2e-8
# How long a step is estimated to take beyond its gradient.
_SECONDS_PER_STEP = 1e-6
_SECONDS_PER_UPDATE = 1e-9  # of one parameter, from memory
# How long measuring one move of a parameter or a neuron is estimated to take: pessimistic, for the first call only.
_MOVED_FLOPS_PER_SECOND = 5e9
_SECONDS_PER_MOVE = 1e-6
# A round of many networks' training, after which the progress bar moves, and the steps that it takes at most: 8 MiB of
# learning rates.
SECONDS_OF_ROUND = 1.0
SECONDS_OF_SHOWN_ROUND = 0.2
STEPS_OF_ROUND = 1 << 20
# A call of the perturbation kernel takes about this long, so that Ctrl-C is obeyed soon.
SECONDS_OF_MOVES = 0.05


class Inputs(NamedTuple):
    """What X is like, as far as it matters for how work is laid out and cut."""

    form: int = in_data.DENSE  # see `fastbp.kernels.tables.data`
    density: float = 1.0  # share of X that is multiplied: of sparse rows a power of 2, so that few kinds are told apart

    @property
    def is_by_numbers(self) -> bool:
        """Whether the first layer's products run over the numbers of sparse rows."""
        return self.form == in_data.NUMBERS

    def flops_per_row(self, sizes: Sequence[int]) -> int:
        """Flops of one row's forward pass; a gradient has three times as many, less the error into the first layer."""
        return 2 * int(sizes[0] * sizes[1] * self.density) + 2 * sum(m * n for m, n in pairwise(sizes[1:]))

    def flops_per_step(self, sizes: Sequence[int], rows: int) -> int:
        """Flops of a gradient over some rows; with few numbers in each, what the weights' step takes counts as well."""
        step = FLOPS_OF_A_STEP * count_params(sizes) if self.is_by_numbers else 0
        return 3 * rows * self.flops_per_row(sizes) + step

    def seconds_per_row(self, sizes: Sequence[int]) -> float:
        """Return about how long the forward pass of one row takes; a gradient takes three times that."""
        if not self.is_by_numbers:  # rows that are made dense block by block are multiplied as such
            return _seconds_per_row(sizes, DENSE.flops_per_row(sizes))
        return _seconds_per_row(sizes[1:], self.flops_per_row(sizes))


DENSE = Inputs()


def inputs_of(X: Rows) -> Inputs:
    """Return what X is like: products run over the numbers of sparse X unless dense ones are quicker."""
    if not isinstance(X, SparseRows):
        return DENSE
    n_rows, n_features = X.shape
    density = len(X.values) / max(1, n_rows * n_features)
    if density > _MOST_DENSITY:
        return Inputs(in_data.SCATTERED)
    return Inputs(in_data.NUMBERS, 2.0 ** math.ceil(math.log2(max(density, 1 / n_features))))


# ---- How much at once ------------------------------------------------------------------------------------------------


def block_rows_for(sizes: Sequence[int], n_rows: int, *, shared: bool = False) -> int:
    """Rows of one pass: few enough that a block stays in the cache, enough to make the matrix products worth it.

    A block that is `shared` by all threads has more.
    """
    least = _LEAST_BLOCK_ROWS if count_params(sizes) < _LARGE_PARAMS else 4 * _LEAST_BLOCK_ROWS
    rows = max(least, min(_MOST_BLOCK_ROWS, _BLOCK_ELEMENTS // sum(sizes)))
    return max(1, min(n_rows, max(rows, 4 * _LEAST_BLOCK_ROWS) if shared else rows))


def block_rows_for_all_threads(sizes: Sequence[int], n_rows: int, block_rows: int) -> int:
    """Rows of a block of a forward pass: fewer where otherwise there would be a block or two, and much to be done."""
    n_params = count_params(sizes)
    if 2 * n_rows * n_params < LEAST_SHARED_FLOPS:
        return block_rows
    least = _LEAST_FORWARD_ROWS if n_params < _PARAMS_IN_MEMORY else 2 * _LEAST_FORWARD_ROWS
    return min(block_rows, max(least, -(-n_rows // _FORWARD_BLOCKS)))


def row_stride(width: int, dtype: np.dtype) -> int:
    """Elements from one row of a wide layer's z, a and delta to the next."""
    itemsize = np.dtype(dtype).itemsize
    return width + _PAD_BYTES // itemsize if width * itemsize % FAR_BYTES == 0 else width


# ---- Into how many pieces --------------------------------------------------------------------------------------------


def gradient_pieces(sizes: Sequence[int], rows: int, inputs: Inputs = DENSE) -> tuple[int, int]:
    """Mode and number of row pieces of a gradient over `rows` rows: from the problem alone, never from the threads."""
    n_params = count_params(sizes)
    flops = 6 * rows * n_params
    if inputs.is_by_numbers:  # much less is multiplied, but all weights take their step
        flops = inputs.flops_per_step(sizes, rows)
        if flops < LEAST_SHARED_FLOPS:
            return in_plan.BY_ROWS, 1
    else:
        features = _feature_pieces(sizes, rows)
        if features >= 2:
            return in_plan.BY_FEATURES, features
        if flops < LEAST_SHARED_FLOPS:
            return in_plan.BY_ROWS, 1
    worthwhile = min(rows // _LEAST_PIECE_ROWS, 2 * flops // LEAST_SHARED_FLOPS, _GRADIENT_ELEMENTS // n_params)
    if worthwhile >= 2:  # for two threads as for four or eight
        return in_plan.BY_ROWS, min(_MOST_ROW_PIECES, 1 << (worthwhile.bit_length() - 1))
    return in_plan.BY_NEURONS, 1


def _feature_pieces(sizes: Sequence[int], rows: int) -> int:
    """Into how many pieces the first layer is cut along its inputs, or 0 where that does not pay."""
    n_weights = sizes[0] * sizes[1]
    work = (4 * rows + FLOPS_OF_A_STEP) * n_weights
    one_block = rows <= block_rows_for(sizes, rows, shared=True)
    if n_weights < _FIRST_SHARE * count_params(sizes) or work < _LEAST_FLOPS_BY_FEATURES or not one_block:
        return 0
    return min(_MOST_FEATURE_PIECES, sizes[0] // _LEAST_FEATURES, work // _FLOPS_OF_A_FEATURE_PIECE)


def most_pieces(sizes: Sequence[int], mode: int, n_pieces: int) -> int:
    """Return how many pieces a gradient has at most at a time: more threads than that would only look on."""
    if mode != in_plan.BY_NEURONS:
        return n_pieces
    return max(1, min(max(sizes) // LEAST_PIECE_NEURONS, MOST_LAYER_PIECES))


def least_shared_flops(mode: int) -> int:
    """Flops of a call from which on threads share it; a first layer is cut along its inputs where that pays."""
    return 0 if mode == in_plan.BY_FEATURES else LEAST_SHARED_FLOPS


def is_shared(sizes: Sequence[int], batch_rows: int, inputs: Inputs) -> bool:
    """Whether several threads share a step."""
    mode, n_pieces = gradient_pieces(sizes, batch_rows, inputs)
    is_large = inputs.flops_per_step(sizes, batch_rows) >= least_shared_flops(mode)
    return is_large and most_pieces(sizes, mode, n_pieces) > 1


def forward_pieces(n_rows: int, block_rows: int) -> int:
    """Into how many pieces the blocks of a data set are cut for a forward pass."""
    return min(-(-n_rows // block_rows), _MOST_FORWARD_PIECES)


def update_pieces(n_params: int) -> int:
    """Into how many pieces the parameters are cut where they are updated on their own."""
    return min(1 << (n_params // _UPDATE_ELEMENTS).bit_length(), _MOST_UPDATE_PIECES)


# ---- By which kernels ------------------------------------------------------------------------------------------------


def may_be_narrow(sizes: Sequence[int], dtype: np.dtype, batch_rows: int) -> bool:
    """Whether training row by row through vectors, see `fastbp.kernels.layers.narrow`, gets room: by sizes alone.

    Whether it is done so is decided by the kernel, which knows what it was told of loss, activations and optimizer.
    """
    if not HAS_VECTORS or max(sizes) > lanes_of(dtype.itemsize):
        return False
    return batch_rows <= _MOST_NARROW_ROWS and (
        batch_rows == 1 or batch_rows * count_params(sizes) <= _MOST_NARROW_PRODUCTS
    )


def normal_pieces(n_rows: int, products_per_row: int, n_sums: int, factors_per_row: int) -> tuple[int, int]:
    """Return the rows of a block and the number of pieces for J^T J.

    They follow from the rows that count, and from its products: multiply-adds for a row, sums, and numbers of a row in
    the two factors.
    """
    most_rows = _NORMAL_BLOCK_ROWS if n_sums > _LARGE_NORMAL_SUMS else _SMALL_NORMAL_BLOCK_ROWS
    most_rows = max(_LEAST_NORMAL_BLOCK_ROWS, min(most_rows, _NORMAL_FACTORS // factors_per_row // 16 * 16))
    n_blocks = math.ceil(n_rows / most_rows)
    rows = math.ceil(n_rows / n_blocks / 16) * 16  # whole vectors; all blocks about as long
    n_blocks = math.ceil(n_rows / rows)
    by_work = min(n_rows * products_per_row // _LEAST_NORMAL_PRODUCTS, n_rows // _LEAST_NORMAL_ROWS)
    most = min(n_blocks, by_work, max(4, _NORMAL_SUMS // n_sums), _MOST_ROW_PIECES)
    return rows, 1 if most < 2 else most if most < 4 else most // 4 * 4  # that few threads have equal shares


def may_call_blas(sizes: Sequence[int], rows: int) -> bool:
    """Whether a product of a block of rows is so large that a BLAS might use threads of its own."""
    return not TILES and any(rows * fan_in * fan_out > _SERIAL_PRODUCT for fan_in, fan_out in pairwise(sizes))


# ---- How long --------------------------------------------------------------------------------------------------------


def _seconds_per_row(widths: Sequence[int], flops: int) -> float:
    return _SECONDS_PER_ROW + sum(widths) * _SECONDS_PER_NEURON + flops / _PRODUCT_FLOPS_PER_SECOND


def seconds_per_step(sizes: Sequence[int], batch_rows: int) -> float:
    """Return about how long a step on a mini-batch of dense rows takes."""
    gradient = 3 * batch_rows * DENSE.seconds_per_row(sizes)
    return gradient + _SECONDS_PER_STEP + _SECONDS_PER_UPDATE * count_params(sizes)


def seconds_per_move(sizes: Sequence[int], rows: int) -> float:
    """Return about how long it takes to measure one move on some rows, pessimistically."""
    return _SECONDS_PER_MOVE + rows * DENSE.flops_per_row(sizes) / _MOVED_FLOPS_PER_SECOND
