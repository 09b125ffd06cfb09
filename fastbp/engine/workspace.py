"""Where everything lies: the tables and buffers that the kernels work with.

Parameters are one flat vector ``[W1 b1 W2 b2 ...]``, W of a layer row-major (fan_in, fan_out) and b right behind it, so
that ``[W; b]`` is one (fan_in + 1, fan_out) block.  All z, a and delta of a block of rows are one workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import cutting
from fastbp.engine.cutting import DENSE, Inputs
from fastbp.engine.parameters import weight_offsets
from fastbp.engine.problem import Problem
from fastbp.kernels.compiler.numba_private import say_what_is_missing
from fastbp.kernels.layers.narrow import narrow_elements
from fastbp.kernels.machine.processor import LINE_BYTES
from fastbp.kernels.machine.target import require_instructions
from fastbp.kernels.machine.team import CONTROL_LENGTH
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors.values import lanes_of
from fastbp.system.memory import require_memory


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
    def most_pieces(self) -> int:
        """How many threads can have something to do at a time."""
        if self.shares_rows:
            return self.n_slots
        sizes = [int(self.layers[0, in_layer.FAN_IN]), *(int(width) for width in self.layers[:, in_layer.FAN_OUT])]
        return cutting.most_pieces(sizes, int(self.plan[in_plan.MODE]), int(self.plan[in_plan.N_PIECES]))

    @property
    def least_shared_flops(self) -> int:
        """Flops of a call from which on threads share it; a first layer is cut along its inputs where that pays."""
        return cutting.least_shared_flops(int(self.plan[in_plan.MODE]))

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


class RowPieces(NamedTuple):
    """How rows are cut for a root of its own: from the problem alone, never from the threads."""

    block_rows: int  # of one pass
    n_pieces: int  # into which the blocks are shared
    extra: int = 0  # elements that the root keeps in each thread's slot besides z, a and delta


def aligned_empty(elements: int, dtype: np.dtype) -> NDArray[Any]:
    """Return an array that begins with a cache line, as vector loads and stores like it."""
    spare = LINE_BYTES // dtype.itemsize
    array = np.empty(elements + spare, dtype)
    first = -array.ctypes.data % LINE_BYTES // dtype.itemsize
    return array[first : first + elements]


def control_vector() -> NDArray[np.int64]:
    """Return a fresh control vector of a team."""
    control = aligned_empty(CONTROL_LENGTH, np.dtype(np.int64))
    control.fill(0)
    return control


def place_packed(layers: NDArray[np.int64], lanes: int) -> int:
    """Lay out the packed parameters of a narrow network in the table of layers; their number."""
    offset = 0
    for row in layers:
        pitch = int(row[in_layer.FAN_OUT] - 1).bit_length()
        row[[in_layer.PITCH, in_layer.PACKED]] = pitch, offset
        offset += (-(-(int(row[in_layer.FAN_IN]) << pitch) // lanes) + 1) * lanes
    return offset


def make_workspace(
    problem: Problem,
    *,
    batch_rows: int,
    n_rows: int,
    n_threads: int,
    gradient: bool,
    keep_z: bool = False,
    whole_block: bool = False,
    shares_blocks: bool = False,
    inputs: Inputs = DENSE,
    cut: RowPieces | None = None,
) -> Workspace:
    """Lay out tables and buffers.

    Parameters
    ----------
    problem : Problem
        What the kernels are told of the network.
    batch_rows : int
        Rows of one gradient.
    n_rows : int
        Rows of the data set.
    n_threads : int
        Threads that will share the work; each needs a slot where rows are shared.  0 if the slots lie elsewhere.
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
    cut : RowPieces, optional
        How the rows are cut, where that is not as for a gradient or a forward pass.
    """
    say_what_is_missing()  # nobody calls a kernel without a workspace
    require_instructions()
    sizes, dtype = problem.sizes, problem.dtype
    if cut is None:
        mode, n_pieces, rows = _cut(sizes, batch_rows, inputs, gradient, whole_block)
    else:
        mode, n_pieces, rows = in_plan.BY_ROWS, cut.n_pieces, cut.block_rows
    if shares_blocks and not (gradient or whole_block) and cut is None:
        rows = cutting.block_rows_for_all_threads(sizes, n_rows, rows)
    is_wide = mode == in_plan.BY_NEURONS
    strides = [cutting.row_stride(width, dtype) if is_wide else width for width in sizes[1:-1]] + [sizes[-1]]
    layers, segments, offset = _layer_tables(problem, strides, rows, gradient, keep_z)
    plan = np.zeros(in_plan.PLAN_LENGTH, np.int64)
    loss_places = [in_plan.LOSS, in_plan.LOSS_VALUE, in_plan.LOSS_DERIVATIVE]
    plan[in_plan.N_LAYERS], plan[loss_places] = len(sizes) - 1, problem.loss
    plan[in_plan.LOSS_SECOND] = problem.loss_second
    offset = _place_rows(plan, sizes, 0 if inputs.is_by_numbers else sizes[0], rows, offset)
    if mode == in_plan.BY_FEATURES:
        plan[in_plan.PARTS] = offset
        offset += rounded(n_pieces * rows * sizes[1])
    n_params = problem.n_params
    if cut is not None:
        plan[in_plan.EXTRA] = offset
        offset += rounded(cut.extra)
    elif gradient and cutting.may_be_narrow(sizes, dtype, batch_rows):
        packed_size = place_packed(layers, lanes_of(dtype.itemsize))
        plan[[in_plan.NARROW, in_plan.PACKED_SIZE]] = offset, packed_size
        offset += rounded(narrow_elements(len(sizes) - 1, packed_size, lanes_of(dtype.itemsize)))
    plan[in_plan.BLOCK_ROWS] = rows
    plan[in_plan.SLOT_SIZE] = offset
    plan[[in_plan.MODE, in_plan.N_PIECES, in_plan.N_PARAMS]] = mode, n_pieces, n_params
    plan[in_plan.UPDATE_PIECES] = cutting.update_pieces(n_params)
    n_forward = n_pieces if cut is not None else cutting.forward_pieces(n_rows, rows)
    plan[in_plan.FORWARD_PIECES] = n_forward
    most_useful = max(n_pieces, 1 if gradient else n_forward)
    n_slots = min(n_threads, most_useful) if mode == in_plan.BY_ROWS and not whole_block else min(n_threads, 1)
    n_bytes = n_slots * offset * np.dtype(dtype).itemsize
    cure = "Pass fewer rows, or make the layers smaller."
    require_memory(n_bytes, f"The activations of {n_slots} x {rows} rows", cure)
    work = aligned_empty(n_slots * offset, dtype)
    costs, calls_blas = np.zeros(max(n_pieces, n_forward)), cutting.may_call_blas(sizes, rows)
    return Workspace(layers, segments, plan, work, costs, n_slots, calls_blas)


def _cut(
    sizes: tuple[int, ...], batch_rows: int, inputs: Inputs, gradient: bool, whole_block: bool
) -> tuple[int, int, int]:
    """Return mode and number of pieces of a gradient or a forward pass, and the rows of a block."""
    mode, n_pieces = cutting.gradient_pieces(sizes, batch_rows, inputs) if gradient else (in_plan.BY_ROWS, 1)
    if whole_block:
        return mode, n_pieces, batch_rows
    widths = sizes[1:] if inputs.is_by_numbers else sizes  # the inputs of sparse rows lie nowhere
    return mode, n_pieces, cutting.block_rows_for(widths, batch_rows, shared=mode != in_plan.BY_ROWS)


def _place_rows(plan: NDArray[np.int64], sizes: tuple[int, ...], n_inputs: int, rows: int, offset: int) -> int:
    """Lay out what a slot has of the samples, from an offset on; return the first free one."""
    for column, width in (
        (in_plan.INPUT, n_inputs),
        (in_plan.TARGET, sizes[-1]),
        (in_plan.SCALE, 1),
        (in_plan.COST, 1),
        (in_plan.SUMS, 2),
    ):
        plan[column] = offset
        offset += rounded(rows * width)
    return offset


def rounded(elements: int) -> int:
    """Buffers begin on their own cache lines: multiples of 16 elements."""
    return -(-elements // 16) * 16


def _layer_tables(
    problem: Problem, strides: Sequence[int], rows: int, gradient: bool, keep_z: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Tables of layers and segments, and the first free offset of a slot."""
    sizes, layer_segments = problem.sizes, problem.segments
    keeps_logits = problem.loss[0] in codes.LOSSES_FROM_LOGITS
    n_layers = len(sizes) - 1
    layers = np.zeros((n_layers, in_layer.LAYER_COLUMNS), np.int64)
    segments = np.zeros((sum(len(runs) for runs in layer_segments), in_segment.SEGMENT_COLUMNS), np.int64)
    offset = n_segments = 0
    for layer, runs in enumerate(layer_segments):
        block = rounded(rows * strides[layer])
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
            segments[n_segments] = run.begin, run.end, run.code, run.forward, run.backward, run.second, run.third
            n_segments += 1
    layers[:, in_layer.WEIGHTS] = weight_offsets(sizes)
    return layers, segments, offset
