"""Loss functions: the value and the derivative from one definition, side by side.

`loss_rows` writes each row's value ``C_x`` and the scaled ``dC_x/da``; the two cross-entropies start from the logits z
and write the scaled ``dC_x/dz = a - y`` at once, so that they lose nothing where an output is saturated.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.softmax_of_short_rows import softmax_cross_entropy
from fastbp.kernels.machine.calls import call_loss_derivative, call_loss_value
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables.codes import (
    ABSOLUTE,
    CLIPPED_SIGMOID_CROSS_ENTROPY,
    CLIPPED_SOFTMAX_CROSS_ENTROPY,
    CUSTOM_LOSS,
    HUBER,
    LOG_COSH,
    POISSON,
    POISSON_DEVIANCE,
    QUADRATIC,
    QUANTILE,
    SIGMOID_CROSS_ENTROPY,
    SOFTMAX_CROSS_ENTROPY,
)
from fastbp.kernels.vectors import elementary as vm


class Loss(NamedTuple):
    """Which loss it is."""

    code: Any
    value: Any  # addresses of a user's compiled loss
    derivative: Any
    parameter: Any  # in the network's dtype


@inlined
def loss_of(plan, scalars, p):
    """The network's loss; `p` is any pointer to the network's dtype."""
    parameter = real(scalars[in_scalars.LOSS_PARAMETER], p)
    return Loss(plan[in_plan.LOSS], plan[in_plan.LOSS_VALUE], plan[in_plan.LOSS_DERIVATIVE], parameter)


@part
def loss_rows(loss, m, n, z, a, y, scale, sums, cost, delta):
    """cost[i] = C_x of row i, delta[i, :] = scale[i] dC_x/da (or dC_x/dz, see the module); overwrites both.

    `z a y delta` are m rows of n, `scale` and `cost` have m elements; `sums`, 2 m elements, is destroyed.  Softmax with
    cross-entropy also makes a = softmax(z).
    """
    code, value_address, derivative_address, parameter = loss
    if code == SOFTMAX_CROSS_ENTROPY:
        _softmax_cross_entropy(m, n, z, a, y, scale, sums, cost, delta)
        return
    if code == CLIPPED_SOFTMAX_CROSS_ENTROPY:
        _clipped_softmax_cross_entropy(m, n, parameter, z, a, y, scale, sums, cost, delta)
        return
    if code == QUADRATIC:
        _quadratic(m, n, a, y, scale, cost, delta)
        return
    for i in range(m):
        row = i * n
        a_row, y_row, delta_row = shift(a, row), shift(y, row), shift(delta, row)
        if code == SIGMOID_CROSS_ENTROPY:
            cost[i] = _sigmoid_cross_entropy(n, shift(z, row), a_row, y_row, scale[i], delta_row)
        elif code == CLIPPED_SIGMOID_CROSS_ENTROPY:
            cost[i] = _clipped_sigmoid_cross_entropy(n, parameter, a_row, y_row, scale[i], delta_row)
        elif code == POISSON_DEVIANCE:
            cost[i] = _poisson_deviance(n, a_row, y_row, scale[i], delta_row)
        elif code == CUSTOM_LOSS:
            cost[i] = call_loss_value(value_address, n, a_row, y_row)
            call_loss_derivative(derivative_address, n, a_row, y_row, delta_row)
            for j in range(n):
                delta_row[j] *= scale[i]
        else:
            cost[i] = _elementwise(code, parameter, n, a_row, y_row, scale[i], delta_row)


@leaf
def _quadratic(m, n, a, y, scale, cost, delta):
    """1/2 sum_j (a_j - y_j)^2; delta = a - y: the differences of all rows in one loop, which rows may be short for."""
    half = real(0.5, a)
    for i in range(m * n):
        delta[i] = a[i] - y[i]
    for i in range(m):
        row = shift(delta, i * n)
        total = real(0.0, a)
        for j in range(n):
            total += row[j] * row[j]
            row[j] *= scale[i]
        cost[i] = half * total


@leaf
def _softmax_cross_entropy(m, n, z, a, y, scale, sums, cost, delta):
    """sum_j y_j (log sum_k exp z_k - z_j), the logarithms of all rows in one loop; delta = a - y."""
    total, target = sums, shift(sums, m)
    softmax_cross_entropy(m, n, z, y, scale, a, cost, total, target, delta)
    for i in range(m):
        cost[i] += target[i] * vm.log(total[i])


@leaf
def _sigmoid_cross_entropy(n, z, a, y, scale, delta):
    """sum_j softplus(z_j) - y_j z_j; delta = a - y."""
    cost = real(0.0, a)
    for j in range(n):
        # softplus(z) - y z = softplus(-|z|) + max(z, 0) - y z: the form that does not cancel for large |z|
        cost += vm.log1p(vm.exp(-abs(z[j]))) + (max(z[j], real(0.0, a)) - y[j] * z[j])
        delta[j] = scale * (a[j] - y[j])
    return cost


@leaf
def _clipped_softmax_cross_entropy(m, n, clip, z, a, y, scale, sums, cost, delta):
    """-log p of the class that y names, p clipped to [clip, 1 - clip]; delta = a - y, as if nothing were clipped."""
    softmax_cross_entropy(m, n, z, y, scale, a, cost, sums, shift(sums, m), delta)
    one = real(1.0, a)
    for i in range(m):
        p = real(0.0, a)
        for j in range(n):
            p += y[i * n + j] * a[i * n + j]
        cost[i] = min(max(p, clip), one - clip)
    for i in range(m):
        cost[i] = -vm.log(cost[i])


@leaf
def _clipped_sigmoid_cross_entropy(n, clip, a, y, scale, delta):
    """-sum_j log q_j with q = p where y is 1 and 1 - p where y is 0, p as above; delta = a - y.  y is 0 or 1."""
    cost, one = real(0.0, a), real(1.0, a)
    for j in range(n):
        p = min(max(a[j], clip), one - clip)
        cost -= vm.log(y[j] * p + (one - y[j]) * (one - p))
        delta[j] = scale * (a[j] - y[j])
    return cost


@leaf
def _poisson_deviance(n, a, y, scale, delta):
    """sum_j y_j log(y_j / a_j) - y_j + a_j, half the deviance; delta = a - y where a = exp(z)."""
    cost, zero = real(0.0, a), real(0.0, a)
    for j in range(n):
        d = a[j] - y[j]
        cost += d + (y[j] * vm.log(y[j] / a[j]) if y[j] != zero else zero)
        delta[j] = scale * d
    return cost


@leaf
def _elementwise(code, parameter, n, a, y, scale, delta):
    """Sum over n outputs of the losses that look at one output at a time; delta = scale dC/da."""
    zero, one, half = real(0.0, a), real(1.0, a), real(0.5, a)
    cost = zero
    if code == ABSOLUTE:
        for j in range(n):
            d = a[j] - y[j]
            cost += abs(d)
            delta[j] = scale if d > zero else (-scale if d < zero else scale * d)
    elif code == HUBER:
        for j in range(n):
            d = a[j] - y[j]
            c = min(max(d, -parameter), parameter)  # d inside the threshold, the threshold with its sign outside
            cost += c * (d - half * c)
            delta[j] = scale * c
    elif code == QUANTILE:
        for j in range(n):
            d = y[j] - a[j]
            slope = parameter if d > zero else parameter - one
            cost += slope * d
            delta[j] = -scale * (slope if d != zero else d)
    elif code == LOG_COSH:
        for j in range(n):
            d = a[j] - y[j]
            cost += vm.log_cosh(d)
            delta[j] = scale * vm.tanh(d)
    elif code == POISSON:
        for j in range(n):
            cost += a[j] - (y[j] * vm.log(a[j]) if y[j] != zero else zero)
            delta[j] = scale * (one - y[j] / a[j])
    else:
        return real(np.nan, a)  # not reached, see `fastbp.kernels.jobs.known_codes`: a cost that no step would follow
    return cost
