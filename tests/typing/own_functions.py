"""Activations and losses of one's own, and networks in compiled code: what Numba decorates."""

import numba
import numpy as np
from numpy.typing import NDArray

import fastbp as bp


@numba.njit
def f(z: float) -> float:
    """Return the value."""
    return z**3


@numba.njit
def df(z: float) -> float:
    """Return the derivative."""
    return 3 * z**2


@numba.njit
def value(a: float, y: float) -> float:
    """Return the loss of an output."""
    return (a - y) ** 4


@numba.njit(fastmath=False)
def derivative(a: float, y: float) -> float:
    """Return its derivative."""
    return 4 * (a - y) ** 3


cube, quartic = bp.Activation("cube", f, df), bp.Loss("quartic", value, derivative)
square = bp.Activation("square", numba.njit(lambda z: z * z), numba.njit(lambda z: 2 * z), positive=True)
bp.Activation("cube", f, df, d2f=numba.njit(lambda z: 6 * z), d3f=numba.njit(lambda z: 6.0))
net = bp.Network([2, 3, 4, 1], ["relu", cube], square, loss=quartic)
bp.Network([2, 3, 4, 1], [[("relu", 1), (cube, 2)], "tanh"], [("sigmoid", 1)])
functions: list[bp.Activation | bp.Loss] = [cube, square, quartic]
twin: bp.Network = bp.load("net.safetensors", custom_functions=functions)

handle = net.compiled(bp.Adam(0.01))
x, y, out = np.zeros(2), np.zeros(1), np.zeros(1)
handle.predict(x, out)
cost: float = handle.step(x, y)
handle.set_learning_rate(0.001)
address: int = handle.pointer


@numba.njit
def learn(net: bp.CompiledNetwork, X: NDArray[np.float64], Y: NDArray[np.float64]) -> float:
    """Take a step on each row and return the sum of their costs."""
    total = 0.0
    for i in range(len(X)):
        total += net.step(X[i], Y[i])
    return total


@numba.njit
def output(pointer: int, x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Fill an output by the address of a network."""
    bp.network_at(pointer, np.float64).predict(x, out)
