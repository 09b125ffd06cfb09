"""A network of tanh layers by what users write into their own compiled functions: plain loops, or `np.dot`.

The parameters are arguments, because they change; `x` is one row and `y` its target, the cost half the squared error.
Each `*_calls` function makes `n` calls, of which each depends on the one before: `x[0]` is its first value plus a tenth
of what the call returned.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from bench.shapes import BETA_1, BETA_2, EPSILON, LEARNING_RATE

# Numba's own choice beside `error_model`, as its documentation advises for loops.
_njit = numba.njit(fastmath=True, error_model="numpy")

# --- plain loops ------------------------------------------------------------------------------------------------------


@_njit
def forward(x: Any, params: Any, sizes: Any, a: Any) -> int:
    """Each layer's a into a row of `a`; where the last layer's weights begin."""
    for k in range(sizes[0]):
        a[0, k] = x[k]
    begin, here = 0, 0
    for layer in range(len(sizes) - 1):
        fan_in, n, here = sizes[layer], sizes[layer + 1], begin
        b = here + fan_in * n
        for j in range(n):
            a[layer + 1, j] = params[b + j]
        for k in range(fan_in):
            for j in range(n):
                a[layer + 1, j] += a[layer, k] * params[here + k * n + j]
        if layer < len(sizes) - 2:
            for j in range(n):
                a[layer + 1, j] = math.tanh(a[layer + 1, j])
        begin = b + n
    return here


@_njit
def predict_by_loops(x: Any, params: Any, sizes: Any, a: Any, out: Any) -> float:
    """The outputs; returns the first one."""
    forward(x, params, sizes, a)
    for j in range(len(out)):
        out[j] = a[len(sizes) - 1, j]
    return float(out[0])


@_njit
def gradient_by_loops(x: Any, y: Any, params: Any, sizes: Any, a: Any, delta: Any, grad: Any) -> float:
    """The cost, and its gradient."""
    here, cost = forward(x, params, sizes, a), 0.0
    last = len(sizes) - 1
    for j in range(sizes[last]):
        delta[last, j] = a[last, j] - y[j]
        cost += 0.5 * delta[last, j] ** 2
    for layer in range(last - 1, -1, -1):
        fan_in, n = sizes[layer], sizes[layer + 1]
        for k in range(fan_in):
            for j in range(n):
                grad[here + k * n + j] = a[layer, k] * delta[layer + 1, j]
        for j in range(n):
            grad[here + fan_in * n + j] = delta[layer + 1, j]
        if layer > 0:
            for k in range(fan_in):
                error = a.dtype.type(0)
                for j in range(n):
                    error += params[here + k * n + j] * delta[layer + 1, j]
                delta[layer, k] = error * (1 - a[layer, k] ** 2)
            here -= (sizes[layer - 1] + 1) * fan_in
    return cost


@_njit
def adam(t: int, params: Any, grad: Any, m: Any, v: Any) -> None:
    """Step t, counted from 1."""
    one = params.dtype.type(1)
    beta_1, beta_2 = params.dtype.type(BETA_1), params.dtype.type(BETA_2)
    rate, scale = params.dtype.type(LEARNING_RATE / (1 - BETA_1**t)), params.dtype.type(1 / (1 - BETA_2**t))
    epsilon = params.dtype.type(EPSILON)
    for i in range(len(params)):
        m[i] = beta_1 * m[i] + (one - beta_1) * grad[i]
        v[i] = beta_2 * v[i] + (one - beta_2) * grad[i] * grad[i]
        params[i] -= rate * m[i] / (np.sqrt(v[i] * scale) + epsilon)


@_njit
def loops_predict_calls(n: int, x: Any, params: Any, sizes: Any, a: Any, out: Any) -> None:
    """Outputs."""
    first = x[0]
    for _ in range(n):
        x[0] = first + 0.1 * predict_by_loops(x, params, sizes, a, out)
    x[0] = first


@_njit
def loops_gradient_calls(
    n: int, x: Any, y: Any, params: Any, sizes: Any, a: Any, delta: Any, grad: Any, cost: Any
) -> None:
    """Costs and gradients."""
    first = x[0]
    for _ in range(n):
        cost[0] = gradient_by_loops(x, y, params, sizes, a, delta, grad)
        x[0] = first + 0.1 * cost[0]
    x[0] = first


@_njit
def loops_step_calls(
    n: int, t: int, x: Any, y: Any, params: Any, sizes: Any, a: Any, delta: Any, grad: Any, m: Any, v: Any, cost: Any
) -> None:
    """Steps t + 1 to t + n of Adam."""
    first = x[0]
    for i in range(n):
        cost[0] = gradient_by_loops(x, y, params, sizes, a, delta, grad)
        adam(t + i + 1, params, grad, m, v)
        x[0] = first + 0.1 * cost[0]
    x[0] = first


# --- np.dot -----------------------------------------------------------------------------------------------------------


@_njit
def predict_by_dot(x: Any, W: Any, b: Any) -> Any:
    """The outputs."""
    a = x
    for layer in range(len(W) - 1):
        a = np.tanh(np.dot(a, W[layer]) + b[layer])
    return np.dot(a, W[len(W) - 1]) + b[len(W) - 1]


@_njit
def gradient_by_dot(x: Any, y: Any, W: Any, b: Any, dW: Any, db: Any) -> float:
    """The cost, and its gradient."""
    activations = [x]
    for layer in range(len(W) - 1):
        activations.append(np.tanh(np.dot(activations[layer], W[layer]) + b[layer]))
    delta = np.dot(activations[-1], W[len(W) - 1]) + b[len(W) - 1] - y
    cost = 0.5 * np.sum(delta**2)
    for layer in range(len(W) - 1, -1, -1):
        dW[layer][:] = np.outer(activations[layer], delta)
        db[layer][:] = delta
        if layer > 0:
            delta = np.dot(W[layer], delta) * (1 - activations[layer] ** 2)
    return float(cost)


@_njit
def dot_predict_calls(n: int, x: Any, W: Any, b: Any, out: Any) -> None:
    """Outputs."""
    first = x[0]
    for _ in range(n):
        out[:] = predict_by_dot(x, W, b)
        x[0] = first + 0.1 * out[0]
    x[0] = first


@_njit
def dot_gradient_calls(n: int, x: Any, y: Any, W: Any, b: Any, dW: Any, db: Any, cost: Any) -> None:
    """Costs and gradients."""
    first = x[0]
    for _ in range(n):
        cost[0] = gradient_by_dot(x, y, W, b, dW, db)
        x[0] = first + 0.1 * cost[0]
    x[0] = first


@_njit
def dot_step_calls(
    n: int, t: int, x: Any, y: Any, W: Any, b: Any, dW: Any, db: Any, params: Any, grad: Any, m: Any, v: Any, cost: Any
) -> None:
    """Steps t + 1 to t + n of Adam; W, b, dW and db are views of `params` and `grad`."""
    first = x[0]
    for i in range(n):
        cost[0] = gradient_by_dot(x, y, W, b, dW, db)
        adam(t + i + 1, params, grad, m, v)
        x[0] = first + 0.1 * cost[0]
    x[0] = first
