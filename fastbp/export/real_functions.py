"""Activations of real numbers, by their formulas: what bounds of errors and ranges are worked out from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.functions.activations import LEAKY_SLOPE

__all__ = ["REAL_FUNCTIONS", "SLOPES", "Reals", "normal_cdf"]

Reals = NDArray[np.float64]

# The largest slopes, rounded up; of the others at most 1, but of exp, which has none.  An output of softmax changes by
# at most half of what all of its inputs change by.
SLOPES = {"sigmoid": 0.25, "gelu": 1.129, "silu": 1.0999, "softmax": 0.5}


def normal_cdf(z: Any) -> Reals:
    """Return the normal distribution function.

    Examples
    --------
    >>> float(normal_cdf(0.0))
    0.5
    """
    from scipy.special import ndtr  # takes a tenth of a second to import, and is needed here only

    return np.asarray(ndtr(z))


def _softmax(z: Reals) -> Reals:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


REAL_FUNCTIONS: dict[str, Callable[[Reals], Reals]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.maximum(z, LEAKY_SLOPE * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(z, 0.0),
    "gelu": lambda z: z * normal_cdf(z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sine": np.sin,
    "exp": np.exp,
    "softmax": _softmax,
}
