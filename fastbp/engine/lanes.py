"""Which networks are trained side by side, each in a lane of the vectors: those with the same tables, where it pays.

Each network gets the bits that it has alone (see `fastbp.kernels.jobs.lanes`), so that nothing but the time depends on
what is decided here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import (
    LANE_FILL,
    LANE_FIXED_SHARE,
    LANE_GAIN,
    LANE_LATENESS,
    MOST_LANE_NUMBERS,
    MOST_NARROW_PARAMS,
)
from fastbp.engine.frame import Frame
from fastbp.kernels.machine.processor import MOST_PARAMS_AT_ONCE
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.optimizers.lane_steps import may_differ
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors.values import lanes_of

# Hidden activations that look at one number at a time, whatever the others are.  Not sine, whose formula for all
# depends on the largest of them, nor the user's own, of which nothing is known.
_FROM_A = (
    *(codes.IDENTITY, codes.SIGMOID, codes.TANH, codes.RELU),
    *(codes.LEAKY_RELU, codes.ELU, codes.SOFTPLUS, codes.EXP),
)
_FROM_Z = (codes.GELU, codes.SILU)
# Where z is kept, these look first whether any number is near their limit.
_LOOK_AROUND = (codes.SIGMOID, codes.TANH, codes.ELU)
# Narrow networks: hidden activations, and outputs whose quadratic loss has one order of factors on all processors.
_NARROW = (codes.IDENTITY, codes.SIGMOID, codes.TANH, codes.RELU, codes.LEAKY_RELU)
_NARROW_OUTPUTS = (codes.IDENTITY, codes.RELU, codes.LEAKY_RELU)
_LEAST_EPSILON = 1e-30  # of `fastbp.kernels.layers.narrow`
# What must be the same in two plans; the rest are addresses, or follow from these.
_PLAN = [
    *(in_plan.N_LAYERS, in_plan.LOSS, in_plan.LOSS_VALUE, in_plan.LOSS_DERIVATIVE, in_plan.BLOCK_ROWS),
    *(in_plan.SLOT_SIZE, in_plan.N_PARAMS, in_plan.OPTIMIZER, in_plan.BATCH_SIZE, in_plan.N_STATE_VECTORS),
    *(in_plan.PER_BATCH, in_plan.NARROW, in_plan.PACKED_SIZE, in_plan.SHUFFLES),
]

_POWERS = in_scalars.POWER_1, in_scalars.POWER_2


def lane_key(frame: Frame, first_step: int, rates: NDArray[np.float64]) -> Hashable | None:
    """Return what networks must have in common to be trained side by side; None for one that is trained alone.

    `frame` has been told of everything; its steps begin with `first_step` of an epoch and have these learning rates.
    """
    workspace, scalars = frame.workspace, frame.scalars
    plan: list[Any] = workspace.plan.tolist()
    n_rows, batch_rows = int(frame.data[in_data.N_ROWS]), plan[in_plan.BATCH_SIZE]
    if (
        not TILES
        or plan[in_plan.MODE] != in_plan.BY_ROWS
        or plan[in_plan.N_PIECES] != 1
        or batch_rows > plan[in_plan.BLOCK_ROWS]
        or plan[in_plan.N_PARAMS] > MOST_PARAMS_AT_ONCE
        or plan[in_plan.HAS_DROPOUT]
        or frame.data[in_data.FORM] != in_data.DENSE
        or scalars[in_scalars.CLIP_NORM] > 0.0
        or scalars[in_scalars.TOLERANCE] >= 0.0
        or first_step * batch_rows >= n_rows
        or not _knows(plan, workspace.layers, workspace.segments, scalars)
        or not _pays(plan, workspace.layers, frame.dtype)
    ):
        return None
    numbers: Hashable = None
    if not may_differ(plan[in_plan.OPTIMIZER], frame.dtype.itemsize):
        of_steps = scalars[[*range(in_scalars.CONSTANTS, in_scalars.CONSTANTS + 5), *_POWERS]]
        numbers = of_steps.tobytes(), rates.tobytes()
    return (
        *(workspace.layers.tobytes(), workspace.segments.tobytes(), *(plan[place] for place in _PLAN)),
        *(plan[in_plan.EPOCH_SUMS] != 0, n_rows, first_step, len(rates), numbers),
        float(scalars[in_scalars.LOSS_PARAMETER]),
    )


def _knows(plan: list[Any], layers: NDArray[np.int64], segments: NDArray[np.int64], scalars: NDArray[Any]) -> bool:
    """Whether the passes through lanes know the activations of hidden layers, and of a narrow network all it has."""
    *hidden, output = [segments[row[in_layer.FIRST_SEGMENT] : row[in_layer.END_SEGMENT]] for row in layers]
    every = set[int]()
    for row, runs in zip(layers, hidden, strict=False):
        of_layer = set(runs[:, in_segment.CODE].tolist())
        has_z = row[in_layer.Z] != row[in_layer.A]
        if not of_layer <= {*_FROM_A, *_FROM_Z} or (has_z and not of_layer.isdisjoint(_LOOK_AROUND)):
            return False
        every |= of_layer
    if (layers[:, in_layer.STRIDE] != layers[:, in_layer.FAN_OUT]).any():
        return False
    if not plan[in_plan.NARROW] or not every <= set(_NARROW):
        return True  # also where a narrow network is not trained as such: the lanes have both ways
    loss, output_code = plan[in_plan.LOSS], int(output[0, in_segment.CODE])
    is_known = loss in (*codes.SOFTMAX_LOSSES, *codes.SIGMOID_LOSSES) or (
        loss == codes.QUADRATIC and output_code in _NARROW_OUTPUTS
    )
    return (
        is_known
        and len(segments) == len(layers)
        and scalars[in_scalars.L2_PENALTY] == 0.0
        and scalars[in_scalars.L1_PENALTY] == 0.0
        and min(scalars[in_scalars.CONSTANTS + 1 : in_scalars.CONSTANTS + 3]) >= _LEAST_EPSILON
    )


def _pays(plan: list[Any], layers: NDArray[np.int64], dtype: np.dtype) -> bool:
    """Whether a network in a lane is trained more quickly than alone."""
    n_params = plan[in_plan.N_PARAMS]
    if plan[in_plan.NARROW]:
        return bool(n_params <= MOST_NARROW_PARAMS * lanes_of(dtype.itemsize))
    width = int(layers[0, in_layer.FAN_IN]) + 2 * int(layers[:, in_layer.FAN_OUT].sum())
    return bool(plan[in_plan.BATCH_SIZE] * width + n_params <= MOST_LANE_NUMBERS[dtype.itemsize])


def pieces_of(
    keys: Sequence[Hashable | None], seconds: Sequence[float], n_lanes: int, n_threads: int
) -> list[list[int]]:
    """Cut the work into pieces: the numbers of networks that are trained side by side, or of one alone.

    `seconds` is how long each takes alone, relative to the others.  A group is one piece, for one thread: where the
    other threads would wait for it, its networks are trained alone.
    """
    by_key: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            by_key.setdefault(key, []).append(i)
    groups = [
        members[start : start + n_lanes]
        for members in by_key.values()
        for start in range(0, len(members), n_lanes)
        if len(members) - start >= LANE_FILL * n_lanes
    ]

    def cost(group: list[int]) -> float:
        fill = len(group) / n_lanes
        return seconds[group[0]] * n_lanes / LANE_GAIN * (LANE_FIXED_SHARE + (1.0 - LANE_FIXED_SHARE) * fill)

    groups.sort(key=cost)
    in_group = {i for group in groups for i in group}
    total = sum(map(cost, groups)) + sum(time for i, time in enumerate(seconds) if i not in in_group)
    while groups and cost(groups[-1]) > LANE_LATENESS * total / n_threads:
        dropped = groups.pop()
        total += sum(seconds[i] for i in dropped) - cost(dropped)
        in_group -= set(dropped)
    return [*reversed(groups), *([i] for i in range(len(keys)) if i not in in_group)]
