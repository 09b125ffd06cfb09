"""What L-BFGS knows of the curvature: the last steps and the changes of the gradient, all in float64.

J. Nocedal, "Updating quasi-Newton matrices with limited storage", Mathematics of Computation 35 (1980).
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift

LEAST_CURVATURE = 2.2e-16  # s.y over y.y: what is not above it is rounding, or a cost that is not convex there


class Pairs(NamedTuple):
    """Pairs of a step s and the change y of the gradient; the oldest gives its place to the next."""

    n: Any  # parameters
    most: Any  # pairs that are kept
    counts: Any  # how many there are, and the place of the next
    gamma: Any  # s.y / y.y of the last one, at place 0
    rho: Any  # 1 / s.y of each
    s: Any  # (most, n)
    y: Any


@leaf
def dot(n, a, b):
    """sum a b, in float64."""
    total = 0.0
    for i in range(n):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@leaf
def add_multiple(n, c, x, add_d):
    """add_d += c x."""
    for i in range(n):
        add_d[i] += c * x[i]


@leaf
def largest(n, x):
    """max abs(x)."""
    found = 0.0
    for i in range(n):
        found = max(found, abs(x[i]))
    return found


@leaf
def descent(pairs, g, alpha, d):
    """d = -H g, where H is the inverse Hessian as far as the pairs know it (algorithm 7.4 of Nocedal and Wright).

    Overwrites alpha (most,) and d.
    """
    n, most, count, after = pairs.n, pairs.most, int(pairs.counts[0]), int(pairs.counts[1])
    for i in range(n):
        d[i] = -g[i]
    if count == 0:
        return
    for i in range(count):
        k = (after + most - 1 - i) % most
        alpha[k] = pairs.rho[k] * dot(n, shift(pairs.s, k * n), d)
        add_multiple(n, -alpha[k], shift(pairs.y, k * n), d)
    for i in range(n):
        d[i] *= pairs.gamma[0]
    for i in range(count):
        k = (after + most - count + i) % most
        beta = pairs.rho[k] * dot(n, shift(pairs.y, k * n), d)
        add_multiple(n, alpha[k] - beta, shift(pairs.s, k * n), d)


@leaf
def remember(pairs, x, x_new, g, g_new):
    """Note the step from x to x_new and what it did to the gradient, if it tells of a positive curvature."""
    n, k = pairs.n, int(pairs.counts[1])
    s, y = shift(pairs.s, k * n), shift(pairs.y, k * n)
    for i in range(n):
        s[i] = np.float64(x_new[i]) - np.float64(x[i])
        y[i] = np.float64(g_new[i]) - g[i]
    s_y, y_y = dot(n, s, y), dot(n, y, y)
    if s_y > LEAST_CURVATURE * y_y:
        pairs.rho[k] = 1.0 / s_y
        pairs.gamma[0] = s_y / y_y
        pairs.counts[0] = min(pairs.counts[0] + 1.0, np.float64(pairs.most))
        pairs.counts[1] = np.float64((k + 1) % pairs.most)
