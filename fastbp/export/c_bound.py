"""How far outputs in C may be from Python's where products and sums are rounded apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.export.real_functions import REAL_FUNCTIONS, SLOPES, Reals
from fastbp.model.model import Model

__all__ = ["error_bounds"]

# Roundings of both formulas together: that of `elementary`'s docstring, 0.4 ulp more without fused multiply-adds.
_ROUNDINGS = 16.0
_ROUNDINGS_OF_A_SUM = 2.0  # of both sums together, for each term


def error_bounds(net: Model, X: NDArray[Any]) -> Reals:
    """Return a bound of the distance of each output from that of `predict`, by running error analysis.

    Each layer passes on the errors of its inputs, through |W| and the largest slope of its activation, and adds its own
    roundings: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.3.

    Parameters
    ----------
    net : Network
        A network with built-in activations.
    X : ndarray, shape (n, n_features)
        Inputs.

    Returns
    -------
    ndarray, shape (n, n_outputs), float64
        The bounds.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> bool(error_bounds(bp.Network([2, 3, 1], "tanh", dtype="float32", seed=0), np.ones((1, 2)))[0, 0] < 1e-5)
    True
    """
    unit, smallest = float(np.finfo(net.dtype).eps) / 2, float(np.finfo(net.dtype).tiny)
    a, error = X.astype(np.float64), np.zeros(X.shape)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for W, b, runs in zip(net.weights, net.biases, net.activations, strict=True):
            W, b, roundings = W.astype(np.float64), b.astype(np.float64), _ROUNDINGS_OF_A_SUM * unit * (len(W) + 2)
            z = a @ W + b
            error = (error * (1 + roundings) + roundings * np.abs(a)) @ np.abs(W) + roundings * np.abs(b) + smallest
            values, errors, begin = [], [], 0
            for activation, count in runs:
                here = slice(begin, begin + count)
                value, passed = _passed(str(activation), z[:, here], error[:, here], unit)
                values.append(value)
                errors.append(passed + smallest)
                begin += count
            a, error = np.concatenate(values, axis=1), np.concatenate(errors, axis=1)
    return error


def _passed(name: str, z: Reals, error: Reals, unit: float) -> tuple[Reals, Reals]:
    """Return f(z), and a bound of its error from that of z."""
    value = REAL_FUNCTIONS[name](z)
    roundings = _ROUNDINGS * unit * (1 + (z * z / 2 if name == "gelu" else 0))
    if name in ("exp", "softmax"):
        spread = error if name == "exp" else 2 * error.max(axis=1, keepdims=True)
        return value, value * (np.expm1(spread) + roundings * (1 if name == "exp" else z.shape[1]))
    size = np.maximum(np.abs(value), 1) if name == "sine" else np.abs(value)
    return value, SLOPES.get(name, 1.0) * error + roundings * size
