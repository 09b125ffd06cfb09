"""Initial parameters: random weights whose spread fits the sizes of the layers.

An initializer fills one layer as a block of shape (fan_in + 1, fan_out): the weights, and the biases as the
last row. Read row by row that is the layer's part of the flat parameters. All numbers are drawn in float64
and rounded afterwards, so that a float32 and a float64 network of one seed begin at the same point.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.functions.names import InitializerName, nearest
from fastbp.system.memory import require_memory

__all__ = ["INITIALIZERS", "initialize", "names"]

Block = NDArray[np.float64]


def _zeros(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """Weights and biases 0. All neurons of a hidden layer then stay equal: for single layers only."""
    return np.zeros((fan_in + 1, fan_out))


def _uniform(fan_in: int, fan_out: int, rng: np.random.Generator, variance: float) -> Block:
    """Weights uniform on (-r, r) with r = sqrt(3 variance); biases 0."""
    block = _zeros(fan_in, fan_out, rng)
    limit = math.sqrt(3.0 * variance)
    block[:-1] = rng.uniform(-limit, limit, size=(fan_in, fan_out))
    return block


def _normal(fan_in: int, fan_out: int, rng: np.random.Generator, variance: float) -> Block:
    """Weights normal with mean 0; biases 0."""
    block = _zeros(fan_in, fan_out, rng)
    block[:-1] = math.sqrt(variance) * rng.standard_normal((fan_in, fan_out))
    return block


def _glorot_uniform(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """Glorot and Bengio, AISTATS 2010, equation 16: r = sqrt(6 / (fan_in + fan_out))."""
    return _uniform(fan_in, fan_out, rng, variance=2.0 / (fan_in + fan_out))


def _glorot_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """Glorot and Bengio, AISTATS 2010, equation 12: the variance is 2 / (fan_in + fan_out)."""
    return _normal(fan_in, fan_out, rng, variance=2.0 / (fan_in + fan_out))


def _he_uniform(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """He, Zhang, Ren and Sun, ICCV 2015, equation 10, the variance only: r = sqrt(6 / fan_in)."""
    return _uniform(fan_in, fan_out, rng, variance=2.0 / fan_in)


def _he_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """He, Zhang, Ren and Sun, ICCV 2015, equation 10: the variance is 2 / fan_in."""
    return _normal(fan_in, fan_out, rng, variance=2.0 / fan_in)


def _scaled_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """LeCun, Bottou, Orr and Mueller, "Efficient BackProp", 1998, equation 16: the variance is 1 / fan_in."""
    return _normal(fan_in, fan_out, rng, variance=1.0 / fan_in)


def _standard_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Block:
    """Nielsen, "Neural networks and deep learning", 2015, chapter 1: the variance is 1, biases too."""
    return rng.standard_normal((fan_in + 1, fan_out))


INITIALIZERS: dict[InitializerName, Callable[[int, int, np.random.Generator], Block]] = {
    "glorot_uniform": _glorot_uniform,
    "glorot_normal": _glorot_normal,
    "he_uniform": _he_uniform,
    "he_normal": _he_normal,
    "standard_normal": _standard_normal,
    "scaled_normal": _scaled_normal,
    "zeros": _zeros,
}


def names() -> tuple[InitializerName, ...]:
    """Return the names of all initializers.

    Examples
    --------
    >>> "he_normal" in names()
    True
    """
    return tuple(INITIALIZERS)


def initialize(
    name: InitializerName, sizes: Sequence[int], rng: np.random.Generator, dtype: DTypeLike
) -> NDArray[np.floating[Any]]:
    """Draw the parameters of a network.

    Parameters
    ----------
    name : str
        The distribution of the weights of a layer with `fan_in` inputs and `fan_out` neurons:

        * ``"glorot_uniform"``, ``"glorot_normal"``: variance ``2 / (fan_in + fan_out)``, for tanh;
        * ``"he_uniform"``, ``"he_normal"``: variance ``2 / fan_in``, for relu and its relatives;
        * ``"scaled_normal"``: variance ``1 / fan_in``;
        * ``"standard_normal"``: variance 1, biases too;
        * ``"zeros"``: all 0.

        All but ``"standard_normal"`` set the biases to 0.
    sizes : sequence of int
        Numbers of inputs and of neurons in each layer, at least two, each above 0.
    rng : numpy.random.Generator
        Source of the random numbers. They are drawn layer by layer and advance it.
    dtype : dtype
        float32 or float64. Numbers are drawn in float64 and rounded.

    Returns
    -------
    numpy.ndarray of `dtype`, shape (n_params,)
        For each layer its weights, shape (fan_in, fan_out), row by row, then its biases.

    Raises
    ------
    ValueError
        If there is no initializer of that name.
    MemoryError
        If the parameters do not fit into the memory that is available.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> params = initialize("glorot_uniform", [2, 3, 1], rng, "float32")
    >>> params.shape, params.dtype
    ((13,), dtype('float32'))
    >>> params[6:9]
    array([0., 0., 0.], dtype=float32)
    """
    if not isinstance(name, str) or name not in INITIALIZERS:
        raise ValueError(f"`initializer` must be the name of an initializer; got {name!r}. {nearest(name, names())}")
    fill = INITIALIZERS[name]
    layers = list(itertools.pairwise(sizes))
    n_params = sum((fan_in + 1) * fan_out for fan_in, fan_out in layers)
    drawn = 8 * max(fan_in * fan_out for fan_in, fan_out in layers)  # in float64, a layer at a time
    purpose = f"A network of {n_params} parameters with layers of {', '.join(map(str, sizes))}"
    require_memory(n_params * np.dtype(dtype).itemsize + drawn, purpose, "Make the layers smaller, or use 'float32'.")
    params = np.empty(n_params, dtype=dtype)
    start = 0
    for fan_in, fan_out in layers:
        stop = start + (fan_in + 1) * fan_out
        params[start:stop] = fill(fan_in, fan_out, rng).ravel()
        start = stop
    return params
