"""Where the parameters lie: one flat vector ``[W1 b1 W2 b2 ...]``.

W of a layer is row-major (fan_in, fan_out) and b lies right behind it, so that ``[W; b]`` is one (fan_in + 1, fan_out)
block.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def count_params(sizes: Sequence[int]) -> int:
    """Return the number of weights and biases of a network with the given layer sizes."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))


def weight_offsets(sizes: Sequence[int]) -> list[int]:
    """Offset of each layer's W in the flat vector; its b follows at offset + fan_in * fan_out."""
    offsets = [0]
    for fan_in, fan_out in pairwise(sizes):
        offsets.append(offsets[-1] + (fan_in + 1) * fan_out)
    return offsets[:-1]


def views(params: NDArray[np.generic], sizes: Sequence[int]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return views of each layer's W (fan_in, fan_out) and b (fan_out,) into a flat vector (n_params,)."""
    weights, biases = [], []
    for offset, (fan_in, fan_out) in zip(weight_offsets(sizes), pairwise(sizes), strict=True):
        end = offset + fan_in * fan_out
        weights.append(params[offset:end].reshape(fan_in, fan_out))
        biases.append(params[end : end + fan_out])
    return weights, biases
