"""The door for steps on few rows: their values copied to where the kernels find them, and looked at."""

import numba
import numpy as np

from fastbp.kernels.compiler.jit import typed_root
from fastbp.kernels.machine.finite import is_finite


def _types(real):
    """Types of the arguments for networks of a dtype: rows may lie apart and be read-only."""
    given, own = numba.types.Array(real, 2, "A", readonly=True), numba.types.Array(real, 2, "C")
    return given, given, own, own


@typed_root(_types)
def run(X, Y, x, y):
    """x = X and y = Y; whether their shapes are equal, else nothing is written, and all values finite."""
    if X.shape != x.shape or Y.shape != y.shape:
        return False
    n_wrong = 0
    for i in range(x.shape[0]):
        for k in range(x.shape[1]):
            x[i, k] = X[i, k]
            n_wrong += 0 if is_finite(np.float64(x[i, k])) else 1
        for j in range(y.shape[1]):
            y[i, j] = Y[i, j]
            n_wrong += 0 if is_finite(np.float64(y[i, j])) else 1
    return n_wrong == 0
