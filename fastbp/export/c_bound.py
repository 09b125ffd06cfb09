"""How far outputs in C may be from Python's where products and sums are rounded apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.model import Model

__all__ = ["error_bounds"]

_Array = NDArray[Any]
# The largest slope of the activations that have one above 1, and of sigmoid.
_SLOPES = {"gelu": 1.129, "silu": 1.0999, "sigmoid": 0.25}
# Roundings of both formulas together: that of `elementary`'s docstring, 0.4 ulp more without fused multiply-adds.
_ROUNDINGS = 16.0
_ROUNDINGS_OF_A_SUM = 2.0  # of both sums together, for each term


def error_bounds(net: Model, X: _Array) -> _Array:
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


def _passed(name: str, z: _Array, error: _Array, unit: float) -> tuple[_Array, _Array]:
    """Return f(z), and a bound of its error from that of z."""
    value = _VALUES[name](z)
    roundings = _ROUNDINGS * unit * (1 + (z * z / 2 if name == "gelu" else 0))
    if name in ("exp", "softmax"):
        spread = error if name == "exp" else 2 * error.max(axis=1, keepdims=True)
        return value, value * (np.expm1(spread) + roundings * (1 if name == "exp" else z.shape[1]))
    size = np.maximum(np.abs(value), 1) if name == "sine" else np.abs(value)
    return value, _SLOPES.get(name, 1.0) * error + roundings * size


def _softmax(z: _Array) -> _Array:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _normal_cdf(z: _Array) -> _Array:
    from scipy.special import ndtr  # takes a tenth of a second to import, and is needed here only

    return np.asarray(ndtr(z))


_VALUES: dict[str, Callable[[_Array], _Array]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, z / 100),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(z, 0),
    "gelu": lambda z: z * _normal_cdf(z),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sine": np.sin,
    "exp": np.exp,
    "softmax": _softmax,
}
