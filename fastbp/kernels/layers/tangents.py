"""Pearlmutter's R operator: derivatives of both passes along a direction of the parameters, or of the inputs.

Where W moves along V, R{z} = a @ V + R{a} @ W and R{a} = f' R{z}; backward R{e} = R{delta} @ W.T + delta @ V.T,
R{delta} = f' R{e} + f'' e R{z} and R{dW} = a.T @ R{delta} + R{a}.T @ delta; without the terms with delta that is the
product of the transposed Jacobian.  Rz, Ra and Rdelta lie where z, a and delta of the workspace did.

Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.functions.activations import softmax_backward
from fastbp.kernels.functions.loss_curvature import apply_curvature
from fastbp.kernels.layers.linearization import BEND, DELTA, SLOPE, A, kept
from fastbp.kernels.layers.net import field, is_softmax
from fastbp.kernels.layers.products import affine_product, error_product, linear_product, weights_product
from fastbp.kernels.layers.samples import input_pointer
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.matrix.rows import column_sums
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan


@leaf
def tangent_forward(net, first, m, of_inputs, has_first, v, work, state):
    """Rz of all layers and Ra of all but the last, along the parameters v or, `of_inputs`, the rows v of inputs.

    With `has_first` the first layer's Rz is there.
    """
    last = net.plan[in_plan.N_LAYERS] - 1
    for layer in range(last + 1):
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        begin = field(net, layer, in_layer.WEIGHTS)
        W, V, Rz = shift(net.params, begin), shift(v, begin), shift(work, field(net, layer, in_layer.Z))
        if layer == 0 and of_inputs:
            linear_product(m, fan_in, fan_out, shift(v, first * fan_in), fan_in, W, False, Rz)
        elif layer == 0:
            if not has_first:
                X, stride = input_pointer(net, first, m, work)
                affine_product(m, fan_in, fan_out, X, stride, V, Rz)
        else:
            if not of_inputs:
                affine_product(m, fan_in, fan_out, kept(net, layer - 1, A, state), fan_in, V, Rz)
            Ra_prev = shift(work, field(net, layer - 1, in_layer.A))
            linear_product(m, fan_in, fan_out, Ra_prev, fan_in, W, not of_inputs, Rz)
        if layer < last:
            Ra, slope = shift(work, field(net, layer, in_layer.A)), kept(net, layer, SLOPE, state)
            for i in range(m * fan_out):
                Ra[i] = slope[i] * Rz[i]


@leaf
def outputs_tangent(net, first, m, work, state, out):
    """Ra of the output layer into rows of `out`."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, Rz = field(net, last, in_layer.FAN_OUT), shift(work, field(net, last, in_layer.Z))
    Ra = shift(out, first * n)
    multiply_by_jacobian(net, m, Rz, Ra, state)


@leaf
def multiply_by_jacobian(net, m, u, target, state):
    """target = u times the Jacobian of the output layer's activation, which is symmetric, for m rows."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    if is_softmax(net, last):
        for i in range(m * n):
            target[i] = u[i]
        softmax_backward(m, n, kept(net, last, A, state), target)
    else:
        slope = kept(net, last, SLOPE, state)
        for i in range(m * n):
            target[i] = slope[i] * u[i]


@leaf
def error_tangent(net, m, which, work, state):
    """Rdelta of the output layer from its Rz, by one of the kept curvatures."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, D = field(net, last, in_layer.FAN_OUT), kept(net, last, which, state)
    Rz, Rdelta = shift(work, field(net, last, in_layer.Z)), shift(work, field(net, last, in_layer.DELTA))
    if is_softmax(net, last):
        apply_curvature(m, n, kept(net, last, A, state), D, Rz, Rdelta)
    else:
        for i in range(m * n):
            Rdelta[i] = D[i] * Rz[i]


@leaf
def tangent_backward(net, first, m, is_exact, skips_first, add, v, grad, work, state):
    """R{dW} and R{db} of all layers from the output layer's Rdelta; adds to `grad` if `add`, else overwrites it.

    With `skips_first` the first layer's weights are left to the caller, its Rdelta is there.
    """
    last = net.plan[in_plan.N_LAYERS] - 1
    for i in range(last + 1):
        layer = last - i
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        begin, Rdelta = field(net, layer, in_layer.WEIGHTS), shift(work, field(net, layer, in_layer.DELTA))
        dW = shift(grad, begin)
        if layer > 0:
            before = layer - 1
            weights_product(m, fan_in, fan_out, kept(net, before, A, state), fan_in, Rdelta, add, dW)
            e = shift(work, field(net, before, in_layer.DELTA))
            error_product(m, fan_in, fan_out, Rdelta, shift(net.params, begin), False, e)
            if is_exact:
                delta, Ra = kept(net, layer, DELTA, state), shift(work, field(net, before, in_layer.A))
                weights_product(m, fan_in, fan_out, Ra, fan_in, delta, True, dW)
                error_product(m, fan_in, fan_out, delta, shift(v, begin), True, e)
            finish_error_tangent(net, before, m, is_exact, work, state)
        elif not skips_first:
            X, stride = input_pointer(net, first, m, work)
            weights_product(m, fan_in, fan_out, X, stride, Rdelta, add, dW)
        column_sums(m, fan_out, Rdelta, fan_out, 1 if add else 0, shift(dW, fan_in * fan_out))


@leaf
def finish_error_tangent(net, layer, m, is_exact, work, state):
    """Rdelta = f' Re + f'' e Rz, in place."""
    slope, bend = kept(net, layer, SLOPE, state), kept(net, layer, BEND, state)
    Rz, Rdelta = shift(work, field(net, layer, in_layer.Z)), shift(work, field(net, layer, in_layer.DELTA))
    n = m * field(net, layer, in_layer.FAN_OUT)
    if is_exact:
        for i in range(n):
            Rdelta[i] = slope[i] * Rdelta[i] + bend[i] * Rz[i]
    else:
        for i in range(n):
            Rdelta[i] *= slope[i]
