"""Whether numbers are finite, asked so that the compiler does not answer for them."""

import numpy as np

from fastbp.kernels.compiler.jit import leaf

_LARGEST_FLOAT = 1.7976931348623157e308


@leaf
def is_finite(x):
    """Whether x is neither NaN nor infinite.

    Not math.isfinite: that is x - x == 0, and where x is a sum, reassociation makes it true of every x.
    """
    return abs(x) <= _LARGEST_FLOAT


@leaf
def all_finite(n, x):
    """Whether no element is NaN or infinite."""
    n_wrong = 0
    for i in range(n):
        n_wrong += 0 if is_finite(np.float64(x[i])) else 1
    return n_wrong == 0
