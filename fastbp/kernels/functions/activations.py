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
def activation_backward(code, address, n, z, a, delta):
    """delta[i] *= f'(z[i]) for i < n, from the stored `a` where that is possible; overwrites delta only."""
    zero = real(0.0, a)
    one = real(1.0, a)
    if code == SIGMOID:
        for i in range(n):
            delta[i] *= a[i] * (one - a[i])
    elif code == TANH:
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
    """delta[i, j] = a[i, j] (g[i, j] - sum_k g[i, k] a[i, k]) with g = dC/da in `delta` before: the full Jacobian."""
    for i in range(m):
        row = i * n
        mean = real(0.0, a)
        for j in range(n):
            mean += delta[row + j] * a[row + j]
        for j in range(n):
            delta[row + j] = a[row + j] * (delta[row + j] - mean)
