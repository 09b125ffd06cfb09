"""First, second and third derivatives of activations, as arrays of their own.

Backpropagation multiplies f' into an error that is there already (see `activations`).  What goes further, products with
second derivatives and Laplacians, uses each of them several times.
"""

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.functions.activations import activation_backward
from fastbp.kernels.machine.calls import call_values
from fastbp.kernels.machine.pointers import real
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.tables.codes import CUSTOM_ACTIVATION, ELU, EXP, GELU, SIGMOID, SILU, SINE, SOFTPLUS, TANH
from fastbp.kernels.vectors import elementary as vm


@part
def activation_derivatives(entry, order, n, has_z, z, a, d1, d2, d3):
    """d1[i] = f'(z[i]) for i < n, and from order 2 on d2[i] = f'', of order 3 also d3[i] = f'''; overwrites these.

    `entry` is the activation's place in the table of segments; of a user's own the derivatives must be there.  At a
    kink it is those of the branch that f' takes.  Softmax is no function of one z.
    """
    code = entry[in_segment.CODE]
    one = real(1.0, a)
    for i in range(n):
        d1[i] = one
    activation_backward(code, entry[in_segment.BACKWARD], n, has_z, z, a, d1)
    if order >= 2:
        _second(entry, n, z, a, d1, d2)
    if order >= 3:
        _third(entry, n, z, a, d1, d2, d3)


@leaf
def _second(entry, n, z, a, d1, d2):
    code = entry[in_segment.CODE]
    zero, one, two = real(0.0, a), real(1.0, a), real(2.0, a)
    if code == SIGMOID:
        for i in range(n):
            d2[i] = d1[i] * (one - two * a[i])
    elif code == TANH:
        for i in range(n):
            d2[i] = -two * a[i] * d1[i]
    elif code == ELU:
        for i in range(n):
            d2[i] = zero if a[i] > zero else d1[i]
    elif code == SOFTPLUS:  # 1 - f' is exp(-a)
        for i in range(n):
            d2[i] = d1[i] * vm.exp(-a[i])
    elif code == GELU:
        for i in range(n):
            d2[i] = vm.normal_pdf(z[i]) * (two - z[i] * z[i])
    elif code == SILU:
        for i in range(n):
            s, rest = vm.logistic(z[i]), vm.logistic(-z[i])
            d2[i] = s * rest * (two + z[i] * (rest - s))
    elif code == SINE:
        for i in range(n):
            d2[i] = -a[i]
    elif code == EXP:
        for i in range(n):
            d2[i] = a[i]
    elif code == CUSTOM_ACTIVATION:
        call_values(entry[in_segment.SECOND], n, z, d2)
    else:  # pieces of lines
        for i in range(n):
            d2[i] = zero


@leaf
def _third(entry, n, z, a, d1, d2, d3):
    code = entry[in_segment.CODE]
    zero, one, two = real(0.0, a), real(1.0, a), real(2.0, a)
    three, four, six = real(3.0, a), real(4.0, a), real(6.0, a)
    if code == SIGMOID:
        for i in range(n):
            d3[i] = d1[i] * (one - six * d1[i])
    elif code == TANH:
        for i in range(n):
            d3[i] = d1[i] * (four - six * d1[i])
    elif code == ELU:
        for i in range(n):
            d3[i] = d2[i]
    elif code == SOFTPLUS:
        for i in range(n):
            d3[i] = d2[i] * (one - two * d1[i])
    elif code == GELU:
        for i in range(n):
            square = z[i] * z[i]
            d3[i] = vm.normal_pdf(z[i]) * z[i] * (square - four)
    elif code == SILU:
        for i in range(n):
            s, rest = vm.logistic(z[i]), vm.logistic(-z[i])
            skew, slope = rest - s, s * rest
            d3[i] = slope * (skew * (three + z[i] * skew) - two * z[i] * slope)
    elif code == SINE:
        for i in range(n):
            d3[i] = -d1[i]
    elif code == EXP:
        for i in range(n):
            d3[i] = a[i]
    elif code == CUSTOM_ACTIVATION:
        call_values(entry[in_segment.THIRD], n, z, d3)
    else:
        for i in range(n):
            d3[i] = zero
