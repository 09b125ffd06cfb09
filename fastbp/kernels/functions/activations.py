"""Activation functions on runs of neighbouring neurons: the value and the derivative, side by side.

Both work in place, and the derivative is multiplied into the error that is already there: the Hadamard product of
``delta_l = (delta_{l+1} @ W_{l+1}.T) * f'(z_l)`` costs no pass of its own.
"""

import math

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.machine.calls import call_activation_backward, call_activation_forward
from fastbp.kernels.machine.pointers import real
from fastbp.kernels.tables.codes import (
    CUSTOM_ACTIVATION,
    ELU,
    EXP,
    GELU,
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SILU,
    SINE,
    SOFTPLUS,
    TANH,
)
from fastbp.kernels.vectors import elementary as vm

LEAKY_SLOPE = 0.01  # for z < 0: Maas, Hannun & Ng (2013).  The scale of elu is 1: Clevert et al. (2016), equation 16.
# Nearer to a limit of 1 or -1, a's distance from it has lost three digits: it is computed from z, if that was kept.
NEAR_LIMIT = 1e-3


@part
def activation_forward(code, address, n, a):
    """a[i] = f(a[i]) for i < n: `a` holds z before and a after."""
    zero = real(0.0, a)
    if code == SIGMOID:
        for i in range(n):
            a[i] = vm.logistic(a[i])
    elif code == TANH:
        for i in range(n):
            a[i] = vm.tanh(a[i])
    elif code == RELU:
        for i in range(n):
            a[i] = zero if a[i] < zero else a[i]  # in this order NaN stays NaN
    elif code == LEAKY_RELU:
        slope = real(LEAKY_SLOPE, a)
        for i in range(n):
            a[i] = max(a[i], slope * a[i])
    elif code == ELU:
        for i in range(n):
            a[i] = a[i] if a[i] > zero else vm.expm1(a[i])
    elif code == SOFTPLUS:
        for i in range(n):
            a[i] = vm.softplus(a[i])
    elif code == GELU:
        for i in range(n):
            a[i] = a[i] * vm.normal_cdf(a[i])
    elif code == SILU:
        for i in range(n):
            a[i] = a[i] * vm.logistic(a[i])
    elif code == SINE:
        _sine_forward(n, a)
    elif code == EXP:
        for i in range(n):
            a[i] = vm.exp(a[i])
    elif code == CUSTOM_ACTIVATION:
        call_activation_forward(address, n, a)


@part
def activation_backward(code, address, n, has_z, z, a, delta):
    """delta[i] *= f'(z[i]) for i < n, from the stored `a` where that is possible; overwrites delta only.

    Unless `has_z`, z is a, and f' of sigmoid, tanh and elu has as few digits as 1 - |a|.
    """
    zero = real(0.0, a)
    one = real(1.0, a)
    if code == SIGMOID:
        if has_z and _is_near_limit(n, one, a):
            _saturated_sigmoid_backward(n, z, a, delta)
        else:
            for i in range(n):
                delta[i] *= a[i] * (one - a[i])
    elif code == TANH:
        if has_z and _is_near_limit(n, one, a):
            _saturated_tanh_backward(n, z, a, delta)
        else:
            for i in range(n):
                delta[i] *= (one - a[i]) * (one + a[i])
    elif code == RELU:
        for i in range(n):
            delta[i] *= one if a[i] > zero else zero  # a product: a choice written back in place is not vectorised
    elif code == LEAKY_RELU:
        slope = real(LEAKY_SLOPE, a)
        for i in range(n):
            positive = one if a[i] > zero else zero
            delta[i] *= positive + slope * (one - positive)
    elif code == ELU:
        if has_z and _is_near_limit(n, -one, a):
            _saturated_elu_backward(n, z, a, delta)
        else:
            for i in range(n):
                delta[i] *= one if a[i] > zero else one + a[i]
    elif code == SOFTPLUS:
        for i in range(n):
            delta[i] *= -vm.expm1(-a[i])
    elif code == GELU:
        for i in range(n):
            delta[i] *= vm.normal_cdf(z[i]) + z[i] * vm.normal_pdf(z[i])
    elif code == SILU:
        for i in range(n):
            s = vm.logistic(z[i])
            delta[i] *= s * (one + z[i] * (one - s))
    elif code == SINE:
        _sine_backward(n, z, delta)
    elif code == EXP:
        for i in range(n):
            delta[i] *= a[i]
    elif code == CUSTOM_ACTIVATION:
        call_activation_backward(address, n, z, a, delta)


@leaf
def _largest_magnitude(n, z):
    """max |z[i]|."""
    largest = real(0.0, z)
    for i in range(n):
        largest = max(largest, abs(z[i]))
    return largest


@leaf
def _is_near_limit(n, sign, a):
    """Whether an |a[i]| is near 1 or beyond; for `sign` -1 whether an a[i] is near -1."""
    zero, one = real(0.0, a), real(1.0, a)
    limit, found = one - real(NEAR_LIMIT, a), zero
    for i in range(n):  # a sum, since the flags of the kernels let a sum be vectorised and a maximum not
        size = -a[i] if sign < zero else abs(a[i])
        found += one if size > limit else zero
    return found > zero


# In the following three each element's result depends on that element alone, as if there were one formula.


@leaf
def _saturated_sigmoid_backward(n, z, a, delta):
    """delta[i] *= a (1 - a); 1 - a is f(-z) near a = 1."""
    one = real(1.0, a)
    limit = one - real(NEAR_LIMIT, a)
    for i in range(n):
        rest = vm.logistic(-z[i])
        delta[i] *= a[i] * (rest if a[i] > limit else one - a[i])


@leaf
def _saturated_tanh_backward(n, z, a, delta):
    """delta[i] *= (1 - |a|) (1 + |a|); 1 - |a| is 2 / (1 + exp(2 |z|)) near |a| = 1."""
    one, two = real(1.0, a), real(2.0, a)
    limit = one - real(NEAR_LIMIT, a)
    for i in range(n):
        size = abs(a[i])
        rest = two * vm.logistic(-two * abs(z[i]))
        delta[i] *= (rest if size > limit else one - size) * (one + size)


@leaf
def _saturated_elu_backward(n, z, a, delta):
    """delta[i] *= 1 for z > 0, 1 + a below; 1 + a is exp(z) near a = -1."""
    zero, one = real(0.0, a), real(1.0, a)
    limit = real(NEAR_LIMIT, a) - one
    for i in range(n):
        rest = vm.exp(z[i])
        slope = rest if a[i] < limit else one + a[i]
        delta[i] *= one if a[i] > zero else slope


@leaf
def _sine_forward(n, a):
    """a[i] = sin(a[i]); by the C library where an argument is beyond the range of the vectorised sine."""
    if _largest_magnitude(n, a) <= vm.sin_limit(a[0]):
        for i in range(n):
            a[i] = vm.sin(a[i])
    else:
        for i in range(n):
            a[i] = math.sin(a[i])


@leaf
def _sine_backward(n, z, delta):
    """delta[i] *= cos(z[i])."""
    if _largest_magnitude(n, z) <= vm.sin_limit(z[0]):
        for i in range(n):
            delta[i] *= vm.cos(z[i])
    else:
        for i in range(n):
            delta[i] *= math.cos(z[i])


@leaf
def softmax_backward(m, n, a, delta):
    """delta[i, j] = a[i, j] (g[i, j] - sum_k g[i, k] a[i, k]) with g = dC/da in `delta` before: the full Jacobian.

    First the g of the most probable class is subtracted from all g of the row, which changes nothing, as sum_k a[i, k]
    is 1: where that a is 1, its term would be all of the sum, and the difference would have no digits left.
    """
    for i in range(m):
        row = i * n
        top = row
        for j in range(n):
            top = row + j if a[row + j] > a[top] else top
        g_top = delta[top]
        mean = real(0.0, a)
        for j in range(n):
            delta[row + j] -= g_top
            mean += delta[row + j] * a[row + j]
        for j in range(n):
            delta[row + j] = a[row + j] * (delta[row + j] - mean)
