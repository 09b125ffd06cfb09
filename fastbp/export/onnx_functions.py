"""Functions of one number as ONNX graphs compute them, and which of a network's activations they are.

Each library writes gelu, silu, elu and softplus in its own way, of some operators or of seventy.  So a graph's function
is not compared with known spellings: it is computed at a few points, by the operators that the graph has, and has the
name of the activation that has those values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.functions.names import OutputName
from fastbp.kernels.functions.activations import LEAKY_SLOPE

__all__ = ["OPERATORS", "Line", "cost_of", "name_of", "samples_of"]

Samples = NDArray[Any]
Line = tuple[float, float]  # alpha and beta of alpha z + beta

# Dense where activations bend, less so where they do behind a scale, sparse out to where float32 ends; no round
# numbers, at which different functions meet.
_SPANS = ((1.3e-6, 9.7e-4, 24), (1.137e-3, 31.71, 52), (47.3, 1.21e6, 36), (3.7e8, 1e30, 8))
_POSITIVE = np.concatenate([np.geomspace(*span) for span in _SPANS])
GRID: Samples = np.concatenate([-_POSITIVE[::-1], [0.0], _POSITIVE])
_SURE = np.abs(GRID) <= 32  # farther out, a formula may overflow where the activation does not
# Files hold constants such as 0.01 or sqrt(2) in float32, also where the arithmetic is float64: half a unit is 6e-8.
_TOLERANCE = 2e-7
_LEAST = 2  # points on each side of an activation's bend


def _erf(z: Samples) -> Samples:
    from scipy.special import erf  # takes a tenth of a second to import, and is needed here only

    values: Samples = erf(z)
    return values


def _sigmoid(z: Samples) -> Samples:
    tail: Samples = np.exp(-np.abs(z))
    values: Samples = np.where(z < 0, tail, 1.0) / (1 + tail)
    return values


def _softplus(z: Samples) -> Samples:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _elu(z: Samples, alpha: float = 1.0) -> Samples:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _celu(z: Samples, alpha: float = 1.0) -> Samples:
    values: Samples = np.maximum(z, 0) + np.minimum(alpha * np.expm1(np.minimum(z / alpha, 0)), 0)
    return values


def _leaky(z: Samples, slope: Any = LEAKY_SLOPE) -> Samples:
    return np.where(z > 0, z, slope * z)


def _gelu(z: Samples, approximate: bytes = b"none") -> Samples:
    if approximate == b"tanh":
        inner: Samples = np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)
        return z * (0.5 + 0.5 * np.tanh(inner))
    return z * (0.5 + 0.5 * _erf(z * np.sqrt(0.5)))


def _swish(z: Samples, alpha: float = 1.0) -> Samples:
    return z * _sigmoid(alpha * z)


_KNOWN: dict[OutputName, Callable[[Samples], Samples]] = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "silu": _swish,
    "leaky_relu": _leaky,
    "elu": _elu,
    "softplus": _softplus,
    "sine": np.sin,
    "exp": np.exp,
    "identity": lambda z: z,
}

# Operators of ONNX that act on each number by itself -> how many inputs they have (the least, the most), their
# attributes and defaults, and what they do.
OPERATORS: dict[str, tuple[int, int, dict[str, Any], Callable[..., Samples]]] = {
    "Abs": (1, 1, {}, np.abs),
    "Add": (2, 2, {}, np.add),
    "And": (2, 2, {}, np.logical_and),
    "Celu": (1, 1, {"alpha": 1.0}, _celu),
    "Clip": (1, 3, {"min": -np.inf, "max": np.inf}, lambda z, *bounds, **ends: _clip(z, *bounds, **ends)),
    "Cos": (1, 1, {}, np.cos),
    "Div": (2, 2, {}, np.divide),
    "Elu": (1, 1, {"alpha": 1.0}, _elu),
    "Equal": (2, 2, {}, np.equal),
    "Erf": (1, 1, {}, _erf),
    "Exp": (1, 1, {}, np.exp),
    "Gelu": (1, 1, {"approximate": b"none"}, _gelu),
    "Greater": (2, 2, {}, np.greater),
    "GreaterOrEqual": (2, 2, {}, np.greater_equal),
    "LeakyRelu": (1, 1, {"alpha": 0.01}, lambda z, alpha: _leaky(z, alpha)),
    "Less": (2, 2, {}, np.less),
    "LessOrEqual": (2, 2, {}, np.less_equal),
    "Log": (1, 1, {}, np.log),
    "Max": (1, 8, {}, lambda *values: functools.reduce(np.maximum, values)),
    "Min": (1, 8, {}, lambda *values: functools.reduce(np.minimum, values)),
    "Mul": (2, 2, {}, np.multiply),
    "Neg": (1, 1, {}, np.negative),
    "Not": (1, 1, {}, np.logical_not),
    "Or": (2, 2, {}, np.logical_or),
    "PRelu": (2, 2, {}, _leaky),
    "Pow": (2, 2, {}, np.power),
    "Reciprocal": (1, 1, {}, np.reciprocal),
    "Relu": (1, 1, {}, lambda z: np.maximum(z, 0)),
    "Sigmoid": (1, 1, {}, _sigmoid),
    "Sin": (1, 1, {}, np.sin),
    "Softplus": (1, 1, {}, _softplus),
    "Sqrt": (1, 1, {}, np.sqrt),
    "Sub": (2, 2, {}, np.subtract),
    "Swish": (1, 1, {"alpha": 1.0}, _swish),
    "Tanh": (1, 1, {}, np.tanh),
    "Where": (3, 3, {}, np.where),
}


def _clip(z: Samples, lowest: Any = None, highest: Any = None, *, min: float, max: float) -> Samples:
    """Clip by inputs, or by attributes as before opset 11."""
    return np.minimum(np.maximum(z, min if lowest is None else lowest), max if highest is None else highest)


def samples_of(line: Line) -> Samples:
    """Return the values of a straight line; GRID itself for z."""
    alpha, beta = line
    return GRID if line == (1.0, 0.0) else alpha * GRID + beta


def cost_of(inner: Iterable[tuple[Line, ...]]) -> int:
    """Return how many numbers it takes to compute and name functions with these lines in front."""
    return GRID.size * sum(1 + len(_KNOWN) * len(lines) for lines in inner)


def name_of(samples: Samples, inner: tuple[Line, ...]) -> tuple[OutputName, Line] | None:
    """Return the activation f, and the line in front of it, for values f(alpha z + beta) at GRID; None if it is none.

    `inner` are the lines that may stand in front, but for those that move the bends to where GRID is sparse: there,
    different functions have the same values.
    """
    if samples.dtype.kind != "f":
        return None
    direct = _matching(samples, (1.0, 0.0))
    found = [each for line in inner if _is_seen_through(line) for each in _matching(samples, line)]
    if direct:  # or the same one with a line that is almost z
        found = [*direct, *(each for each in found if each[1] == direct[0][1])]
    return min(found)[1:] if len({name for _, name, _ in found}) == 1 else None


def _is_seen_through(line: Line) -> bool:
    """Whether a function behind a line has values where activations bend: elsewhere tanh and Clip are the same."""
    z = samples_of(line)
    bends = (np.abs(z) > 0.3) & (np.abs(z) < 4)
    return all(np.count_nonzero(bends & side) >= _LEAST for side in (z < 0, z > 0))


def _matching(samples: Samples, line: Line) -> list[tuple[float, OutputName, Line]]:
    """Return the activations that have these values but for an error, with that error."""
    values, known = _known_values(line)
    finite = np.isfinite(samples)
    errors = np.where(known & finite, np.abs(samples - values) / np.maximum(1, np.abs(values)), 0.0).max(axis=1)
    is_known = (errors <= _TOLERANCE) & (finite | ~(known & _SURE)).all(axis=1) & (known | ~finite).all(axis=1)
    return [(float(errors[i]), name, line) for i, name in enumerate(_KNOWN) if is_known[i]]


@functools.lru_cache(maxsize=32)
def _known_values(line: Line) -> tuple[Samples, Samples]:
    """Return the values of the activations behind a line, a row for each, and which of them are finite."""
    values = np.stack([function(samples_of(line)) for function in _KNOWN.values()])
    return values, np.isfinite(values)
