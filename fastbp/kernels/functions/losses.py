"""Loss functions: the value and the derivative from one definition, side by side.

`loss_rows` writes each row's value ``C_x`` and the scaled ``dC_x/da``; the two cross-entropies, and Poisson's loss
after any output of fastbp's, start from the logits z and write the scaled ``dC_x/dz`` at once, so that they lose
nothing where an output is saturated or underflows.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.softmax_of_short_rows import softmax, softmax_cross_entropy
from fastbp.kernels.machine.calls import call_loss_derivative, call_loss_value
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.tables.codes import (
    ABSOLUTE,
    CLIPPED_SIGMOID_CROSS_ENTROPY,
    CLIPPED_SOFTMAX_CROSS_ENTROPY,
    CUSTOM_LOSS,
    EXP,
    HUBER,
    LOG_COSH,
    POISSON,
    POISSON_DEVIANCE,
    POISSON_OF_LOGITS,
    QUADRATIC,
    QUANTILE,
    SIGMOID_CROSS_ENTROPY,
    SOFTMAX,
    SOFTMAX_CROSS_ENTROPY,
    SOFTPLUS,
)
from fastbp.kernels.vectors import elementary as vm

LOG_IS_Z = -40.0  # below it the logarithms of softplus(z) and of sigmoid(z) are z to the last digit of float64


class Loss(NamedTuple):
    """Which loss it is."""

    code: Any
    value: Any  # addresses of a user's compiled loss
    derivative: Any
    parameter: Any  # in the network's dtype
    runs: Any  # the outputs' entries in the table of segments, and how many there are
    n_runs: Any


@inlined
def loss_of(plan, scalars, runs, p):
    """The network's loss, with its `output_runs`; `p` is any pointer to the network's dtype."""
    parameter = real(scalars[in_scalars.LOSS_PARAMETER], p)
    return Loss(plan[in_plan.LOSS], plan[in_plan.LOSS_VALUE], plan[in_plan.LOSS_DERIVATIVE], parameter, *runs)


@part
def loss_rows(loss, m, n, z, a, y, scale, sums, cost, delta):
    """cost[i] = C_x of row i, delta[i, :] = scale[i] dC_x/da (or dC_x/dz, see the module); overwrites both.

    `z a y delta` are m rows of n, `scale` and `cost` have m elements; `sums`, 2 m elements, is destroyed.  Softmax with
    cross-entropy or Poisson's loss also makes a = softmax(z).
    """
    code, value_address, derivative_address, parameter, runs, n_runs = loss
    if code == SOFTMAX_CROSS_ENTROPY:
        _softmax_cross_entropy(m, n, z, a, y, scale, sums, cost, delta)
        return
    if code == CLIPPED_SOFTMAX_CROSS_ENTROPY:
        _clipped_softmax_cross_entropy(m, n, parameter, z, a, y, scale, sums, cost, delta)
        return
    if code == QUADRATIC:
        _quadratic(m, n, a, y, scale, cost, delta)
        return
    if code == POISSON_OF_LOGITS and runs[in_segment.CODE] == SOFTMAX:
        softmax(m, n, z, a)
    for i in range(m):
        row = i * n
        a_row, y_row, delta_row = shift(a, row), shift(y, row), shift(delta, row)
        if code == SIGMOID_CROSS_ENTROPY:
            cost[i] = _sigmoid_cross_entropy(n, shift(z, row), a_row, y_row, scale[i], delta_row)
        elif code == CLIPPED_SIGMOID_CROSS_ENTROPY:
            cost[i] = _clipped_sigmoid_cross_entropy(n, parameter, a_row, y_row, scale[i], delta_row)
        elif code == POISSON_DEVIANCE:
            cost[i] = _poisson_deviance(n, shift(z, row), a_row, y_row, scale[i], delta_row)
        elif code == POISSON_OF_LOGITS:
            cost[i] = _poisson_of_logits(runs, n_runs, shift(z, row), a_row, y_row, scale[i], delta_row)
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
def _poisson_deviance(n, z, a, y, scale, delta):
    """sum_j y_j (log y_j - z_j) - y_j + a_j, half the deviance; delta = a - y where a = exp(z)."""
    cost, zero = real(0.0, a), real(0.0, a)
    for j in range(n):
        d = a[j] - y[j]
        cost += d + (y[j] * (vm.log(y[j]) - z[j]) if y[j] != zero else zero)
        delta[j] = scale * d
    return cost


@leaf
def _poisson_of_logits(runs, n_runs, z, a, y, scale, delta):
    """sum_j a_j - y_j log a_j over the outputs of all runs; delta = scale dC/dz."""
    cost = real(0.0, a)
    for run in range(n_runs):
        entry = shift(runs, run * in_segment.SEGMENT_COLUMNS)
        code, begin = entry[in_segment.CODE], entry[in_segment.BEGIN]
        n = entry[in_segment.END] - begin
        pointers = shift(z, begin), shift(a, begin), shift(y, begin), scale, shift(delta, begin)
        if code == EXP:
            cost += _poisson_after_exp(n, *pointers)
        elif code == SOFTPLUS:
            cost += _poisson_after_softplus(n, *pointers)
        elif code == SOFTMAX:
            cost += _poisson_after_softmax(n, *pointers)
        else:
            cost += _poisson_after_sigmoid(n, *pointers)
    return cost


@leaf
def _poisson_after_exp(n, z, a, y, scale, delta):
    """log a_j = z_j; dC/dz = a - y."""
    cost, zero = real(0.0, a), real(0.0, a)
    for j in range(n):
        cost += a[j] - (y[j] * z[j] if y[j] != zero else zero)
        delta[j] = scale * (a[j] - y[j])
    return cost


@leaf
def _poisson_after_softplus(n, z, a, y, scale, delta):
    """dC/dz = s - y s / a with s = sigmoid(z) = 1 - exp(-a); s / a is 1 where log a is z."""
    cost, zero, one, low = real(0.0, a), real(0.0, a), real(1.0, a), real(LOG_IS_Z, a)
    for j in range(n):
        s = -vm.expm1(-a[j])
        log_a, ratio = vm.log(a[j]), s / a[j]
        cost += a[j] - (y[j] * (z[j] if z[j] < low else log_a) if y[j] != zero else zero)
        delta[j] = scale * (s - (y[j] * (one if z[j] < low else ratio) if y[j] != zero else zero))
    return cost


@leaf
def _poisson_after_softmax(n, z, a, y, scale, delta):
    """log a_j = z_j - max z + log max a; dC/dz = a sum_k y_k - y, as sum_j a_j is 1 whatever z is."""
    top, sum_of_y, zero = 0, real(0.0, a), real(0.0, a)
    for j in range(n):
        top = j if a[j] > a[top] else top
        sum_of_y += y[j]
    cost, z_top, log_top = zero, z[top], vm.log(a[top])
    for j in range(n):
        cost += a[j] - (y[j] * ((z[j] - z_top) + log_top) if y[j] != zero else zero)
        delta[j] = scale * (a[j] * sum_of_y - y[j])
    return cost


@leaf
def _poisson_after_sigmoid(n, z, a, y, scale, delta):
    """dC/dz = (a - y) (1 - a), where 1 - a is sigmoid(-z)."""
    cost, zero, low = real(0.0, a), real(0.0, a), real(LOG_IS_Z, a)
    for j in range(n):
        log_a = vm.log(a[j])
        cost += a[j] - (y[j] * (z[j] if z[j] < low else log_a) if y[j] != zero else zero)
        delta[j] = scale * ((a[j] - y[j]) * vm.logistic(-z[j]))
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
