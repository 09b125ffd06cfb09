"""Where everything lies: offsets of the parameters, and the tables and buffers that the kernels work with.

Parameters are one flat vector ``[W1 b1 W2 b2 ...]``, W of a layer row-major (fan_in, fan_out) and b right behind it, so
that ``[W; b]`` is one (fan_in + 1, fan_out) block.  All z, a and delta of a block of rows are one workspace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.parameters import count_params, weight_offsets
from fastbp.functions.segments import Segment
from fastbp.kernels.layers.narrow import narrow_elements
from fastbp.kernels.machine.team import CONTROL_LENGTH
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.optimizers.updates import FLOPS_OF_A_STEP
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors.values import VECTORS, lanes_of
from fastbp.system.memory import require_memory

# A block's activations should stay in a core's second-level cache: 2^16 numbers are 256 or 512 KiB.
_BLOCK_ELEMENTS = 1 << 16
_LEAST_BLOCK_ROWS = 64
_MOST_BLOCK_ROWS = 1024
_LARGE_PARAMS = 1 << 18  # weights that do not stay in the second-level cache: more rows for each time they are read
# Flops of a gradient below which one thread does all of it: some 40 us, twenty times the cost of sharing the work.
LEAST_SHARED_FLOPS = 1 << 22
# A gradient of its own for each piece of rows pays while all pieces' gradients fit into the second-level caches and a
# piece has enough rows to be worth the sum over pieces.
_GRADIENT_ELEMENTS = 1 << 18
_LEAST_PIECE_ROWS = 32
_MOST_PIECES = 16
# Cutting the first layer along its inputs pays where nearly all parameters are its weights, because the steps of the
# other layers are a piece each; and where a step takes some 10 us, several times what its three regions cost.
_FIRST_SHARE = 0.9
_MOST_FEATURE_PIECES = 8
_LEAST_FEATURES = 96
_LEAST_FLOPS_BY_FEATURES = 1 << 19
_FLOPS_OF_A_PIECE = 400_000  # some 4 us
_MOST_FORWARD_PIECES = 1 << 12
# A forward pass that is shared has so many blocks at least, unless they would have fewer rows than this, for which it
# does not pay to read the weights once more: the more so where they come from memory.
_FORWARD_BLOCKS = 8
_LEAST_FORWARD_ROWS = 32
_PARAMS_IN_MEMORY = 1 << 21
# A product of at most this many multiply-adds is never shared by a BLAS between its threads (OpenBLAS begins at 2^18).
_SERIAL_PRODUCT = 1 << 15
# A narrow network is trained row by row up to so many rows of a mini-batch and multiply-adds of its forward pass;
# measured from 2-4-4-2 to 16-16-16-10.
_MOST_NARROW_ROWS = 4
_MOST_NARROW_PRODUCTS = 1500
_LINE_BYTES = 64
_PAGE_BYTES = 4096  # rows that are a multiple of it apart fall into one set of the first-level cache
_PAD_BYTES = 3 * _LINE_BYTES  # behind such rows of z, a and delta; worth 3 % of the products of 1024 and 2048 neurons
# Sparse rows that are fuller than this are made dense block by block: tiles multiply so much faster.
_MOST_DENSITY = 0.15
_UPDATE_ELEMENTS = 1 << 11  # parameters of one piece of an update, or up to half as many: some 1 to 2 us


class Inputs(NamedTuple):
    """What X is like, as far as it matters for how work is laid out and cut."""

    form: int = in_data.DENSE  # see `fastbp.kernels.tables.codes`
    density: float = 1.0  # share of X that is multiplied: of sparse rows a power of 2, so that few kinds are told apart

    @property
    def is_by_numbers(self) -> bool:
        """Whether the first layer's products run over the numbers of sparse rows."""
        return self.form == in_data.NUMBERS

    def flops_per_row(self, sizes: Sequence[int]) -> int:
        """Flops of one row's forward pass."""
        return 2 * int(sizes[0] * sizes[1] * self.density) + 2 * sum(m * n for m, n in pairwise(sizes[1:]))

    def flops_per_step(self, sizes: Sequence[int], rows: int) -> int:
        """Flops of a gradient over some rows; with few numbers in each, what the weights' step takes counts as well."""
        step = FLOPS_OF_A_STEP * count_params(sizes) if self.is_by_numbers else 0
        return 3 * rows * self.flops_per_row(sizes) + step


DENSE = Inputs()


@dataclass
class Workspace:
    """Tables and buffers of one network for one kind of work; the arguments of the root kernel."""

    layers: NDArray[np.int64]
    segments: NDArray[np.int64]
    plan: NDArray[np.int64]
    work: NDArray[Any]  # (n_slots * slot size,), the network's dtype
    costs: NDArray[np.float64]
    n_slots: int
    calls_blas: bool  # whether a product is so large that a BLAS might use threads of its own

    @property
    def shares_rows(self) -> bool:
        """Whether threads share rows, each with a slot of its own, rather than one block."""
        return int(self.plan[in_plan.MODE]) == in_plan.BY_ROWS

    @property
    def least_shared_flops(self) -> int:
        """Flops of a call from which on threads share it; a first layer is cut along its inputs where that pays."""
        return 0 if int(self.plan[in_plan.MODE]) == in_plan.BY_FEATURES else LEAST_SHARED_FLOPS

    @property
    def n_gradients(self) -> int:
        """How many gradients the threads write: one for each piece of rows, or one together."""
        return int(self.plan[in_plan.N_PIECES]) if self.shares_rows else 1

    @property
    def block_rows(self) -> int:
        """Rows of one pass through the network."""
        return int(self.plan[in_plan.BLOCK_ROWS])

    def layer_block(self, column: int, layer: int, rows: int) -> NDArray[Any]:
        """View (rows, fan_out) of a layer's z, a or delta of the block in slot 0."""
        offset, stride = self.layers[layer, column], self.layers[layer, in_layer.STRIDE]
        return self.work[offset : offset + rows * stride].reshape(rows, stride)[
            :, : self.layers[layer, in_layer.FAN_OUT]
        ]


def aligned_empty(elements: int, dtype: np.dtype) -> NDArray[Any]:
    """Return an array that begins with a cache line, as vector loads and stores like it."""
    spare = _LINE_BYTES // dtype.itemsize
    array = np.empty(elements + spare, dtype)
    first = -array.ctypes.data % _LINE_BYTES // dtype.itemsize
    return array[first : first + elements]


def control_vector() -> NDArray[np.int64]:
    """Return a fresh control vector of a team."""
    control = aligned_empty(CONTROL_LENGTH, np.dtype(np.int64))
    control.fill(0)
    return control


def sparse_inputs(n_rows: int, n_features: int, n_numbers: int) -> Inputs:
    """Return what sparse X is like: products run over its numbers unless it is so full that dense ones are quicker."""
    density = n_numbers / max(1, n_rows * n_features)
    if density > _MOST_DENSITY:
        return Inputs(in_data.SCATTERED)
    return Inputs(in_data.NUMBERS, 2.0 ** math.ceil(math.log2(max(density, 1 / n_features))))


def block_rows_for(sizes: Sequence[int], n_rows: int, *, shared: bool = False) -> int:
    """Rows of one pass: few enough that a block stays in the cache, enough to make the matrix products worth it.

    A block that is `shared` by all threads has more.
    """
    least = _LEAST_BLOCK_ROWS if count_params(sizes) < _LARGE_PARAMS else 4 * _LEAST_BLOCK_ROWS
    rows = max(least, min(_MOST_BLOCK_ROWS, _BLOCK_ELEMENTS // sum(sizes)))
    return max(1, min(n_rows, max(rows, 4 * _LEAST_BLOCK_ROWS) if shared else rows))


def _rows_for_all_threads(sizes: Sequence[int], n_rows: int, block_rows: int) -> int:
    """Rows of a block of a forward pass: fewer where otherwise there would be a block or two, and much to be done."""
    n_params = count_params(sizes)
    if 2 * n_rows * n_params < LEAST_SHARED_FLOPS:
        return block_rows
    least = _LEAST_FORWARD_ROWS if n_params < _PARAMS_IN_MEMORY else 2 * _LEAST_FORWARD_ROWS
    return min(block_rows, max(least, -(-n_rows // _FORWARD_BLOCKS)))


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
    if worthwhile >= 2:
        return in_plan.BY_ROWS, min(
            _MOST_PIECES, 1 << (worthwhile.bit_length() - 1)
        )  # for two threads as for four or eight
    return in_plan.BY_NEURONS, 1


def _feature_pieces(sizes: Sequence[int], rows: int) -> int:
    """Into how many pieces the first layer is cut along its inputs, or 0 where that does not pay."""
    n_weights = sizes[0] * sizes[1]
    work = (4 * rows + FLOPS_OF_A_STEP) * n_weights
    one_block = rows <= block_rows_for(sizes, rows, shared=True)
    if n_weights < _FIRST_SHARE * count_params(sizes) or work < _LEAST_FLOPS_BY_FEATURES or not one_block:
        return 0
    return min(_MOST_FEATURE_PIECES, sizes[0] // _LEAST_FEATURES, work // _FLOPS_OF_A_PIECE)


def may_be_narrow(sizes: Sequence[int], dtype: np.dtype, batch_rows: int) -> bool:
    """Whether training row by row through vectors, see `fastbp.kernels.layers.narrow`, gets room: by sizes alone.

    Whether it is done so is decided by the kernel, which knows what it was told of loss, activations and optimizer.
    """
    if not VECTORS or max(sizes) > lanes_of(dtype.itemsize):
        return False
    return batch_rows <= _MOST_NARROW_ROWS and (
        batch_rows == 1 or batch_rows * count_params(sizes) <= _MOST_NARROW_PRODUCTS
    )


def pack(layers: NDArray[np.int64], lanes: int) -> int:
    """Lay out the packed parameters of a narrow network in the table of layers; their number."""
    offset = 0
    for row in layers:
        pitch = int(row[in_layer.FAN_OUT] - 1).bit_length()
        row[[in_layer.PITCH, in_layer.PACKED]] = pitch, offset
        offset += (-(-(int(row[in_layer.FAN_IN]) << pitch) // lanes) + 1) * lanes
    return offset


def make_workspace(
    sizes: Sequence[int],
    layer_segments: Sequence[Sequence[Segment]],
    loss: tuple[int, int, int],
    dtype: np.dtype,
    *,
    batch_rows: int,
    n_rows: int,
    n_threads: int,
    gradient: bool,
    keep_z: bool = False,
    whole_block: bool = False,
    shares_blocks: bool = False,
    inputs: Inputs = DENSE,
) -> Workspace:
    """Lay out tables and buffers.

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes, input first.
    layer_segments : sequence of sequence of Segment
        Each layer's runs of neurons with one activation.
    loss : tuple of int
        Code, and the addresses of a user's value and derivative.
    dtype : dtype
        float32 or float64.
    batch_rows : int
        Rows of one gradient.
    n_rows : int
        Rows of the data set.
    n_threads : int
        Threads that will share the work; each needs a slot where rows are shared.
    gradient : bool
        Whether deltas are needed, or a forward pass only.
    keep_z : bool
        Keep every layer's z, not only those that a derivative or a loss needs.
    whole_block : bool
        Make the block as large as the batch.
    shares_blocks : bool
        Whether the threads of a forward pass share its blocks, of which there should be enough for them.
    inputs : Inputs
        What X is like.
    """
    mode, n_pieces = gradient_pieces(sizes, batch_rows, inputs) if gradient else (in_plan.BY_ROWS, 1)
    # the inputs of sparse rows lie nowhere
    widths = sizes[1:] if inputs.is_by_numbers else sizes
    rows = batch_rows if whole_block else block_rows_for(widths, batch_rows, shared=mode != in_plan.BY_ROWS)
    if shares_blocks and not (gradient or whole_block):
        rows = _rows_for_all_threads(sizes, n_rows, rows)
    keeps_logits = loss[0] in codes.LOSSES_FROM_LOGITS
    strides = [_stride(width, dtype) if mode == in_plan.BY_NEURONS else width for width in sizes[1:-1]] + [sizes[-1]]
    layers, segments, offset = _layer_tables(sizes, strides, layer_segments, rows, gradient, keep_z, keeps_logits)
    plan = np.zeros(in_plan.PLAN_LENGTH, np.int64)
    plan[[in_plan.N_LAYERS, in_plan.LOSS, in_plan.LOSS_VALUE, in_plan.LOSS_DERIVATIVE]] = (len(sizes) - 1, *loss)
    n_outputs = sizes[-1]
    for column, width in (
        (in_plan.INPUT, 0 if inputs.is_by_numbers else sizes[0]),
        (in_plan.TARGET, n_outputs),
        (in_plan.SCALE, 1),
        (in_plan.COST, 1),
        (in_plan.SUMS, 2),
    ):
        plan[column] = offset
        offset += _rounded(rows * width)
    if mode == in_plan.BY_FEATURES:
        plan[in_plan.PARTS] = offset
        offset += _rounded(n_pieces * rows * sizes[1])
    n_params = count_params(sizes)
    if gradient and may_be_narrow(sizes, dtype, batch_rows):
        packed_size = pack(layers, lanes_of(dtype.itemsize))
        plan[[in_plan.NARROW, in_plan.PACKED_SIZE]] = offset, packed_size
        offset += _rounded(narrow_elements(len(sizes) - 1, packed_size, lanes_of(dtype.itemsize)))
    plan[in_plan.BLOCK_ROWS] = rows
    plan[in_plan.SLOT_SIZE] = offset
    plan[[in_plan.MODE, in_plan.N_PIECES, in_plan.N_PARAMS]] = mode, n_pieces, n_params
    plan[in_plan.UPDATE_PIECES] = min(1 << (n_params // _UPDATE_ELEMENTS).bit_length(), _MOST_PIECES)
    n_forward = min(-(-n_rows // rows), _MOST_FORWARD_PIECES)
    plan[in_plan.FORWARD_PIECES] = n_forward
    most_useful = max(n_pieces, 1 if gradient else n_forward)
    n_slots = min(n_threads, most_useful) if mode == in_plan.BY_ROWS and not whole_block else 1
    n_bytes = n_slots * offset * np.dtype(dtype).itemsize
    cure = "Pass fewer rows, or make the layers smaller."
    require_memory(n_bytes, f"The activations of {n_slots} x {rows} rows", cure)
    work = aligned_empty(n_slots * offset, dtype)
    calls_blas = not TILES and any(rows * fan_in * fan_out > _SERIAL_PRODUCT for fan_in, fan_out in pairwise(sizes))
    return Workspace(layers, segments, plan, work, np.zeros(max(n_pieces, n_forward)), n_slots, calls_blas)


def _rounded(elements: int) -> int:
    """Buffers begin on their own cache lines: multiples of 16 elements."""
    return -(-elements // 16) * 16


def _stride(width: int, dtype: np.dtype) -> int:
    """Elements from one row of a wide layer's z, a and delta to the next."""
    itemsize = np.dtype(dtype).itemsize
    return width + _PAD_BYTES // itemsize if width * itemsize % _PAGE_BYTES == 0 else width


def _layer_tables(
    sizes: Sequence[int],
    strides: Sequence[int],
    layer_segments: Sequence[Sequence[Segment]],
    rows: int,
    gradient: bool,
    keep_z: bool,
    keeps_logits: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Tables of layers and segments, and the first free offset of a slot."""
    n_layers = len(sizes) - 1
    layers = np.zeros((n_layers, in_layer.LAYER_COLUMNS), np.int64)
    segments = np.zeros((sum(len(runs) for runs in layer_segments), in_segment.SEGMENT_COLUMNS), np.int64)
    offset = n_segments = 0
    for layer, runs in enumerate(layer_segments):
        block = _rounded(rows * strides[layer])
        row = layers[layer]
        row[[in_layer.FAN_IN, in_layer.FAN_OUT, in_layer.STRIDE]] = sizes[layer], sizes[layer + 1], strides[layer]
        needs_z = keep_z or (gradient and any(run.needs_z for run in runs))
        separate_z = needs_z or (keeps_logits and layer == n_layers - 1)
        row[in_layer.A] = offset
        row[in_layer.Z] = offset + block if separate_z else offset
        offset += 2 * block if separate_z else block
        row[in_layer.DELTA] = offset
        if gradient or layer == n_layers - 1:  # the output's delta is written with its cost
            offset += block
        row[[in_layer.FIRST_SEGMENT, in_layer.END_SEGMENT]] = n_segments, n_segments + len(runs)
        for run in runs:
            segments[n_segments] = run.begin, run.end, run.code, run.forward, run.backward
            n_segments += 1
    layers[:, in_layer.WEIGHTS] = weight_offsets(sizes)
    return layers, segments, offset
