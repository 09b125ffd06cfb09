"""How large the inputs and activations of a network become: seen in data, and proven by interval arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.export.real_functions import REAL_FUNCTIONS, Reals
from fastbp.model.model import Model

__all__ = ["OF_UNIT", "POSITIVE", "Ranges", "find_ranges"]

MARGIN = 1.25  # of what the data reach: what comes later reaches a little further
OF_UNIT = ("tanh", "sigmoid", "sine", "softmax")  # within -1 to 1; 1 itself becomes the largest number
POSITIVE = ("relu", "sigmoid", "softplus", "exp", "softmax")
_LOWEST = {"gelu": -0.17, "silu": -0.2785}  # their minima, which lie at about -0.75 and -1.28, rounded down


@dataclass(frozen=True, eq=False)
class Ranges:
    """How far inputs and activations reach.

    Attributes
    ----------
    low, high : ndarray of float64, shape (n_features,)
        Bounds of each input.
    names : tuple of str
        What the inputs are called.
    z, outputs : tuple of float
        Largest absolute values of each layer.
    """

    low: Reals
    high: Reals
    names: tuple[str, ...]
    z: tuple[float, ...]
    outputs: tuple[float, ...]

    @property
    def of_inputs(self) -> Reals:
        """Of each input."""
        return np.maximum(abs(self.low), abs(self.high))

    @property
    def inputs(self) -> float:
        """Of all inputs."""
        return float(self.of_inputs.max())


def find_ranges(net: Model, X: NDArray[Any] | None, input_range: tuple[ArrayLike, ArrayLike] | None) -> Ranges:
    """Return the ranges that data show, with a margin, but no larger ones than are possible.

    Parameters
    ----------
    net : Network
    X : ndarray, shape (n, n_features), optional
        Typical rows.
    input_range : (low, high), optional
        Bounds of the inputs: numbers, or arrays (n_features,).  Without `X` all ranges are proven from them.
    """
    n_features = net.sizes[0]
    if input_range is not None:
        low, high = _checked_range(input_range, n_features)
    elif X is not None:
        ends = X.min(axis=0).clip(None, 0), X.max(axis=0).clip(0)
        with np.errstate(over="ignore"):  # what is beyond all formats is refused where points are chosen
            low, high = (np.nan_to_num(MARGIN * end.astype(np.float64)) for end in ends)
    else:
        raise ValueError(
            "`calibration` must be rows of typical inputs, from which the binary points of fixed-point numbers are "
            "chosen, or `input_range` the (low, high) of the inputs; got neither. Pass calibration=X_train."
        )
    names = net.feature_names or tuple(f"x[{i}]" for i in range(n_features))
    z, outputs = _proven(net, low, high)
    if X is not None:
        seen_z, seen = _seen(net, X)
        z = tuple(min(one, MARGIN * other) for one, other in zip(z, seen_z, strict=True))
        outputs = tuple(min(one, MARGIN * other) for one, other in zip(outputs, seen, strict=True))
    return Ranges(low, high, names, z, outputs)


def _checked_range(input_range: Any, n_features: int) -> tuple[Reals, Reals]:
    """Return bounds for each input."""
    rule = f"`input_range` must be (low, high), numbers or arrays of shape ({n_features},), with low not above high"
    try:
        low, high = (np.broadcast_to(_numbers(bound), (n_features,)) for bound in input_range)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{rule}; got {input_range!r}.") from error
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError(f"{rule}, all finite; got {input_range!r}.")
    return low, high


def _numbers(bound: Any) -> Reals:
    """Return a bound as real numbers, or raise."""
    array = np.asarray(bound)
    if array.dtype.kind not in "iufO":  # no text that reads like a number, and no complex one
        raise TypeError
    return array.astype(np.float64)


def _seen(net: Model, X: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Return the largest |z| and |a| of each layer for rows of inputs."""
    a, zs, outputs = X.astype(np.float64), [], []
    with np.errstate(over="ignore"):
        for W, b, runs in zip(net.weights, net.biases, net.activations, strict=True):
            z = a @ W.astype(np.float64) + b
            ends = np.cumsum([count for _, count in runs])[:-1]
            parts = np.split(z, ends, axis=1)
            a = np.hstack([REAL_FUNCTIONS[str(name)](part) for (name, _), part in zip(runs, parts, strict=True)])
            zs.append(float(abs(z).max()))
            outputs.append(_largest([name for name, _ in runs], float(abs(a).max())))
    return zs, outputs


def _largest(names: list[Any], found: float) -> float:
    """Return 1 where all of a layer is within -1 to 1: it costs nothing, and no later row is cut off."""
    return 1 / MARGIN if all(name in OF_UNIT for name in names) else found


def _proven(net: Model, low: Reals, high: Reals) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the largest |z| and |a| that each layer can have, by interval arithmetic."""
    zs, outputs = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for W, b, runs in zip(net.weights, net.biases, net.activations, strict=True):
            up, down = W.astype(np.float64).clip(0), W.astype(np.float64).clip(None, 0)
            low, high = low @ up + high @ down + b, high @ up + low @ down + b
            low, high = np.nan_to_num(low, nan=-np.inf, neginf=-np.inf), np.nan_to_num(high, nan=np.inf, posinf=np.inf)
            zs.append(float(max(abs(low).max(), abs(high).max())))
            ends = np.cumsum([count for _, count in runs])[:-1]
            bounds = [
                _image(str(name), *part)
                for (name, _), part in zip(
                    runs, zip(np.split(low, ends), np.split(high, ends), strict=True), strict=True
                )
            ]
            low, high = (np.concatenate(ends) for ends in zip(*bounds, strict=True))
            outputs.append(float(max(abs(low).max(), abs(high).max())))
    return tuple(zs), tuple(outputs)


def _image(name: str, low: Reals, high: Reals) -> tuple[Reals, Reals]:
    """Return bounds of an activation's values for z from low to high."""
    if name in ("sine", "softmax"):
        return np.full(len(low), -1.0 if name == "sine" else 0.0), np.ones(len(low))
    function = REAL_FUNCTIONS[name]
    ends = function(low), function(high)
    least = np.minimum(*ends)
    if name in _LOWEST:
        least = np.where(low < 0, np.minimum(least, _LOWEST[name]), least)
    return least, np.maximum(*ends)
