"""Dropout by a hash: whether a neuron is dropped depends on the seed, the step, the layer, the row and the neuron only.

So no mask is stored, and any number of threads draws the same mask.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.machine.pointers import real


@formula
def _mix(x):
    """A bijection of 32-bit integers that passes the avalanche test: 'lowbias32' of Wellons (2018)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@leaf
def dropout_key(seed, step, layer):
    """One 32-bit key for each mask."""
    key = _mix(np.uint32(seed & 0xFFFFFFFF))
    key = _mix(np.uint32(key ^ np.uint32(step & 0xFFFFFFFF)))
    return _mix(np.uint32(key + np.uint32(0x9E3779B9) * np.uint32(layer + 1)))


@leaf
def multiply_by_mask(key, rate, first_index, n, values):
    """values[i] *= 0 with probability `rate`, else 1 / (1 - rate); neuron i has the number first_index + i."""
    threshold = np.uint32(rate * 4294967296.0)
    zero, keep = real(0.0, values), real(1.0 / (1.0 - rate), values)
    for i in range(n):
        h = _mix(np.uint32(_mix(np.uint32(first_index + i)) ^ key))
        values[i] *= zero if h < threshold else keep


@leaf
def multiply(factor, n, values):
    """values[i] *= factor."""
    for i in range(n):
        values[i] *= factor
