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
from fastbp.kernels.layers.net import field, is_softmax, rows_from
from fastbp.kernels.layers.products import affine_product, error_product, linear_product, weights_product
from fastbp.kernels.layers.samples import input_pointer
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.matrix.rows import column_sums
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan


@leaf
def tangent_forward(net, first, i0, i1, of_inputs, has_first, v, work, state):
    """Rz of all layers and Ra of all but the last, along the parameters v or, `of_inputs`, the rows v of inputs.

    For rows [i0, i1) of a block, which are all of them unless `has_first`: the first layer's Rz is there.
    """
    last, m = net.plan[in_plan.N_LAYERS] - 1, i1 - i0
    for layer in range(last + 1):
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        begin = field(net, layer, in_layer.WEIGHTS)
        W, V, Rz = shift(net.params, begin), shift(v, begin), rows_from(net, layer, in_layer.Z, i0, work)
        if layer == 0 and of_inputs:
            linear_product(m, fan_in, fan_out, shift(v, first * fan_in), fan_in, W, False, Rz)
        elif layer == 0:
            if not has_first:
                X, stride = input_pointer(net, first, m, work)
                affine_product(m, fan_in, fan_out, X, stride, V, Rz)
        else:
            if not of_inputs:
                affine_product(m, fan_in, fan_out, kept(net, layer - 1, A, i0, state), fan_in, V, Rz)
            Ra_prev = rows_from(net, layer - 1, in_layer.A, i0, work)
            linear_product(m, fan_in, fan_out, Ra_prev, fan_in, W, not of_inputs, Rz)
        if layer < last:
            Ra, slope = rows_from(net, layer, in_layer.A, i0, work), kept(net, layer, SLOPE, i0, state)
            for i in range(m * fan_out):
                Ra[i] = slope[i] * Rz[i]


@leaf
def outputs_tangent(net, first, i0, i1, work, state, out):
    """Ra of the output layer for rows [i0, i1) of a block, into rows of `out`."""
    last = net.plan[in_plan.N_LAYERS] - 1
    Ra = shift(out, (first + i0) * field(net, last, in_layer.FAN_OUT))
    multiply_by_jacobian(net, i0, i1, rows_from(net, last, in_layer.Z, i0, work), Ra, state)


@leaf
def multiply_by_jacobian(net, i0, i1, u, target, state):
    """target = u times the Jacobian of the output layer's activation, which is symmetric, for rows [i0, i1)."""
    last, m = net.plan[in_plan.N_LAYERS] - 1, i1 - i0
    n = field(net, last, in_layer.FAN_OUT)
    if is_softmax(net, last):
        for i in range(m * n):
            target[i] = u[i]
        softmax_backward(m, n, kept(net, last, A, i0, state), target)
    else:
        slope = kept(net, last, SLOPE, i0, state)
        for i in range(m * n):
            target[i] = slope[i] * u[i]


@leaf
def error_tangent(net, i0, i1, which, work, state):
    """Rdelta of the output layer from its Rz, by one of the kept curvatures, for rows [i0, i1)."""
    last, m = net.plan[in_plan.N_LAYERS] - 1, i1 - i0
    n, D = field(net, last, in_layer.FAN_OUT), kept(net, last, which, i0, state)
    Rz, Rdelta = rows_from(net, last, in_layer.Z, i0, work), rows_from(net, last, in_layer.DELTA, i0, work)
    if is_softmax(net, last):
        apply_curvature(m, n, kept(net, last, A, i0, state), D, Rz, Rdelta)
    else:
        for i in range(m * n):
            Rdelta[i] = D[i] * Rz[i]


@leaf
def tangent_backward(net, first, m, is_exact, add, v, grad, work, state):
    """R{dW} and R{db} of all layers from the output layer's Rdelta; adds to `grad` if `add`, else overwrites it."""
    last = net.plan[in_plan.N_LAYERS] - 1
    for i in range(last + 1):
        layer = last - i
        weights_tangent(net, layer, first, m, 0, field(net, layer, in_layer.FAN_IN), is_exact, add, grad, work, state)
        biases_tangent(net, layer, m, add, grad, work)
        if layer > 0:
            error_tangent_before(net, layer, 0, m, is_exact, v, work, state)


@leaf
def weights_tangent(net, layer, first, m, k0, k1, is_exact, add, grad, work, state):
    """R{dW} for rows [k0, k1) of a layer's weights, from its Rdelta."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    Rdelta = shift(work, field(net, layer, in_layer.DELTA))
    dW = shift(grad, field(net, layer, in_layer.WEIGHTS) + k0 * fan_out)
    if layer == 0:
        X, stride = input_pointer(net, first, m, work)
        weights_product(m, k1 - k0, fan_out, shift(X, k0), stride, Rdelta, add, dW)
        return
    a = shift(kept(net, layer - 1, A, 0, state), k0)
    weights_product(m, k1 - k0, fan_out, a, fan_in, Rdelta, add, dW)
    if is_exact:
        delta, Ra = kept(net, layer, DELTA, 0, state), shift(work, field(net, layer - 1, in_layer.A) + k0)
        weights_product(m, k1 - k0, fan_out, Ra, fan_in, delta, True, dW)


@leaf
def biases_tangent(net, layer, m, add, grad, work):
    """R{db} of a layer, from its Rdelta."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    db = shift(grad, field(net, layer, in_layer.WEIGHTS) + fan_in * fan_out)
    column_sums(m, fan_out, shift(work, field(net, layer, in_layer.DELTA)), fan_out, 1 if add else 0, db)


@leaf
def error_tangent_before(net, layer, i0, i1, is_exact, v, work, state):
    """Rdelta of the layer before `layer`, for rows [i0, i1)."""
    fan_in, fan_out, m = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT), i1 - i0
    begin, before = field(net, layer, in_layer.WEIGHTS), layer - 1
    Rdelta = rows_from(net, layer, in_layer.DELTA, i0, work)
    e = rows_from(net, before, in_layer.DELTA, i0, work)
    error_product(m, fan_in, fan_out, Rdelta, shift(net.params, begin), False, e)
    if is_exact:
        error_product(m, fan_in, fan_out, kept(net, layer, DELTA, i0, state), shift(v, begin), True, e)
    finish_error_tangent(net, before, i0, i1, is_exact, work, state)


@leaf
def finish_error_tangent(net, layer, i0, i1, is_exact, work, state):
    """Rdelta = f' Re + f'' e Rz, in place."""
    slope, bend = kept(net, layer, SLOPE, i0, state), kept(net, layer, BEND, i0, state)
    Rz, Rdelta = rows_from(net, layer, in_layer.Z, i0, work), rows_from(net, layer, in_layer.DELTA, i0, work)
    n = (i1 - i0) * field(net, layer, in_layer.FAN_OUT)
    if is_exact:
        for i in range(n):
            Rdelta[i] = slope[i] * Rdelta[i] + bend[i] * Rz[i]
    else:
        for i in range(n):
            Rdelta[i] *= slope[i]
