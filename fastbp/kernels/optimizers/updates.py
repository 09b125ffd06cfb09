"""Optimizers on runs of neighbouring parameters, and the gradients of the penalties.

`w` are parameters, `g` their gradient, `s1 s2` the optimizer's state vectors (dummies where it has fewer).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.machine.pointers import nowhere, real, shift
from fastbp.kernels.optimizers.adam_step import adam_step, has_adam_step

SGD = 0  # the codes of fastbp.training.optimizers
ADAM = 1
ADAMW = 2
RMSPROP = 3


class Rule(NamedTuple):
    """How the optimizer changes a parameter in a step."""

    optimizer: Any  # its code
    constants: Any  # the optimizer's own, see `fastbp.training.optimizers`; float64
    rate: Any  # the learning rate; float64
    correction_1: Any  # 1 - beta_1^t and 1 - beta_2^t; float64
    correction_2: Any


class Runs(NamedTuple):
    """Runs of neighbouring parameters, the rows of a block of weights, and where their gradient lies."""

    rows: Any
    n: Any  # parameters of a run
    row: Any  # elements from one run to the next
    g_row: Any  # the same in the gradient


class Step(NamedTuple):
    """A step of the optimizer on some parameters, or none."""

    wanted: Any
    rule: Rule
    l2: Any  # penalties; float64
    l1: Any
    w: Any  # the parameters, and the optimizer's state vectors (dummies where it has fewer)
    s1: Any
    s2: Any


@leaf
def no_step(p):
    """A step that is not wanted; `p` is any pointer to parameters."""
    return Step(False, Rule(0, nowhere(), 0.0, 0.0, 0.0), 0.0, 0.0, p, p, p)


@leaf
def take_step(step, offset, rows, n, row, g, g_row):
    """Penalties' gradient and the step of the block of `rows` by n parameters at `offset`; overwrites g, w, s1, s2.

    The rows of parameters are `row` apart, those of g `g_row`.
    """
    w, s1, s2 = shift(step.w, offset), shift(step.s1, offset), shift(step.s2, offset)
    if n == row and n == g_row:  # all in one run
        rows, n = 1, rows * n
    if step.l2 != 0.0 or step.l1 != 0.0:
        for i in range(rows):
            add_penalty(n, real(step.l2, w), real(step.l1, w), shift(w, i * row), shift(g, i * g_row))
    update(step.rule, Runs(rows, n, row, g_row), g, w, s1, s2)


@part
def update(rule, runs, g, w, s1, s2):
    """One optimizer step on some runs of parameters; overwrites w, s1, s2.

    All arithmetic on parameters is in the parameters' dtype.
    """
    code, constants, learning_rate, correction_1, correction_2 = rule
    rows, n, row, g_row = runs
    if code == SGD:
        rate, momentum = real(learning_rate, w), real(constants[0], w)
        for i in range(rows):
            k = i * row
            _sgd(n, rate, momentum, constants[1] != 0.0, shift(g, i * g_row), shift(w, k), shift(s1, k))
    elif code == RMSPROP:
        rate, rho, gain = real(learning_rate, w), real(constants[0], w), real(1.0 - constants[0], w)
        epsilon, momentum = real(constants[1], w), real(constants[2], w)
        for i in range(rows):
            k = i * row
            _rmsprop(
                n, rate, rho, gain, epsilon, momentum, shift(g, i * g_row), shift(w, k), shift(s1, k), shift(s2, k)
            )
    else:
        if code == ADAMW:
            keep = real(1.0 - learning_rate * constants[3], w)
            for i in range(rows):
                _decay(n, keep, shift(w, i * row))
        # With constants[4] epsilon stands beside sqrt(v) instead of sqrt(v/c2), as before section 2.1 of Kingma and Ba.
        # lr m/c1 / (sqrt(v/c2) + eps) = (lr sqrt(c2)/c1) m / (sqrt(v) + eps sqrt(c2)): one division fewer in the loop
        root = math.sqrt(correction_2)
        rate = real(learning_rate * root / correction_1, w)
        # 1 - beta in float64: in float32 it would lose five of its digits
        beta_1, gain_1 = real(constants[0], w), real(1.0 - constants[0], w)
        beta_2, gain_2 = real(constants[1], w), real(1.0 - constants[1], w)
        epsilon = real(constants[2] * (root if constants[4] == 0.0 else 1.0), w)
        numbers = rate, beta_1, gain_1, beta_2, gain_2, epsilon
        if has_adam_step(w):
            adam_step(runs, numbers, g, w, s1, s2)
            return
        for i in range(rows):
            k = i * row
            g_i, w_i, m, v = shift(g, i * g_row), shift(w, k), shift(s1, k), shift(s2, k)
            _adam(n, numbers, g_i, w_i, m, v)


@leaf
def _sgd(n, rate, momentum, nesterov, g, w, v):
    """v = momentum v - rate g; w += v, with Nesterov w += momentum v - rate g (Sutskever et al. 2013)."""
    if momentum == 0:
        for i in range(n):
            w[i] -= rate * g[i]
    elif nesterov:
        for i in range(n):
            v_new = momentum * v[i] - rate * g[i]
            v[i] = v_new
            w[i] += momentum * v_new - rate * g[i]
    else:
        for i in range(n):
            v_new = momentum * v[i] - rate * g[i]
            v[i] = v_new
            w[i] += v_new


@leaf
def _decay(n, keep, w):
    """w *= keep: the weight decay of AdamW."""
    for i in range(n):
        w[i] *= keep


@leaf
def _adam(n, numbers, g, w, m, v):
    """m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g^2; w -= rate m / (sqrt(v) + epsilon)."""
    rate, beta_1, gain_1, beta_2, gain_2, epsilon = numbers
    for i in range(n):
        m_new = beta_1 * m[i] + gain_1 * g[i]
        v_new = beta_2 * v[i] + gain_2 * (g[i] * g[i])
        m[i] = m_new
        v[i] = v_new
        w[i] -= rate * m_new / (math.sqrt(v_new) + epsilon)


@leaf
def _rmsprop(n, rate, rho, gain, epsilon, momentum, g, w, s, b):
    """s = rho s + (1 - rho) g^2; step = g / (sqrt(s) + epsilon), or b = momentum b + step; w -= rate step."""
    if momentum == 0:
        for i in range(n):
            s_new = rho * s[i] + gain * (g[i] * g[i])
            s[i] = s_new
            w[i] -= rate * g[i] / (math.sqrt(s_new) + epsilon)
    else:
        for i in range(n):
            s_new = rho * s[i] + gain * (g[i] * g[i])
            s[i] = s_new
            b_new = momentum * b[i] + g[i] / (math.sqrt(s_new) + epsilon)
            b[i] = b_new
            w[i] -= rate * b_new


@leaf
def add_penalty(n, l2, l1, w, add_g):
    """add_g += l2 w + l1 sign(w): the gradient of l2/2 sum w^2 + l1 sum |w|."""
    zero = real(0.0, w)
    for i in range(n):
        add_g[i] += l2 * w[i] + (l1 if w[i] > zero else (-l1 if w[i] < zero else zero))


@leaf
def penalty(n, l2, l1, w):
    """l2/2 sum w^2 + l1 sum |w|, in float64."""
    squares = 0.0
    magnitudes = 0.0
    for i in range(n):
        x = np.float64(w[i])
        squares += x * x
        magnitudes += abs(x)
    return 0.5 * l2 * squares + l1 * magnitudes


@leaf
def sum_of_squares(n, g):
    """sum g^2 in float64; inf or NaN where the gradient is not finite."""
    total = 0.0
    for i in range(n):
        x = np.float64(g[i])
        total += x * x
    return total


@leaf
def multiply_gradient(factor, n, g):
    """g[i] *= factor."""
    c = real(factor, g)
    for i in range(n):
        g[i] *= c
