"""Numbers of many networks put side by side, and back: ``[network][i]`` and ``[i][lane]``."""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.matrix.tiles import transpose_block
from fastbp.kernels.vectors.values import lanes


@leaf
def to_lanes(n, n_networks, source, source_row, target):
    """target[i, q] = source[q, i] for n numbers of each network; 0 in the lanes of none."""
    n_lanes = lanes(source)
    for i in range(0, n, n_lanes):
        transpose_block(
            n_networks, min(n_lanes, n - i), shift(source, i), source_row, shift(target, i * n_lanes), n_lanes
        )


@leaf
def from_lanes(n, n_networks, source, target, target_row):
    """target[q, i] = source[i, q]; rows of target have room for whole vectors."""
    n_lanes = lanes(source)
    for i in range(0, n, n_lanes):
        transpose_block(
            min(n_lanes, n - i), n_networks, shift(source, i * n_lanes), n_lanes, shift(target, i), target_row
        )


@leaf
def take_lane(n, source, q, target):
    """target[i] = source[i, q], and no more than n numbers."""
    n_lanes = lanes(source)
    for i in range(n):
        target[i] = source[i * n_lanes + q]


@leaf
def put_lane(n, source, q, target):
    """target[i, q] = source[i]."""
    n_lanes = lanes(source)
    for i in range(n):
        target[i * n_lanes + q] = source[i]
