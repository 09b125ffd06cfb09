"""One block of rows through the network: the forward pass, the output error, the backward pass.

The four equations of backpropagation stand here.  A layer takes a range of neurons, ``[j0, j1)`` on its output side or
``[k0, k1)`` on its input side, so that one thread can do all of a layer or several threads a part each.

`net` is a `fastbp.kernels.layers.net.Net`: everything about the network and the step that a pass needs.  `work` is one
slot of the workspace; it holds X, Y, and z, a, delta of each layer for one block.
"""

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.activations import activation_backward, activation_forward, softmax_backward
from fastbp.kernels.functions.dropout import dropout_key, multiply, multiply_by_mask
from fastbp.kernels.functions.losses import loss_of, loss_rows
from fastbp.kernels.functions.softmax_of_short_rows import softmax
from fastbp.kernels.layers.net import field, is_softmax, output_runs, starts_from_logits
from fastbp.kernels.layers.samples import input_pointer, load_inputs
from fastbp.kernels.layers.sparse import multiplies_numbers, sparse_backward_weights, sparse_forward
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.team import is_abandoned
from fastbp.kernels.matrix.dense import dense_backward_error, dense_backward_weights, dense_forward, dense_forward_part
from fastbp.kernels.matrix.rows import column_sums
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment

# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def previous_activation(net, layer, first, i0, i1, work):
    """Pointer to the inputs of a layer for rows [i0, i1) of a block, of layer 0 for all of them; their row stride."""
    if layer == 0:
        return input_pointer(net, first, i1, work)
    stride = field(net, layer - 1, in_layer.STRIDE)
    return shift(work, field(net, layer - 1, in_layer.A) + i0 * stride), stride


@part
def forward_neurons(net, layer, first, i0, i1, j0, j1, work):
    """z = a_prev @ W + b and a = f(z) for neurons [j0, j1) of a layer; softmax is left to `finish_softmax`."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
    stride = field(net, layer, in_layer.STRIDE)
    z = shift(work, field(net, layer, in_layer.Z) + i0 * stride + j0)
    b = shift(W, fan_in * fan_out + j0)
    if layer == 0 and multiplies_numbers(net):
        sparse_forward(net, first + i0, i1 - i0, j1 - j0, shift(W, j0), fan_out, b, z, stride)
        activate(net, layer, first, i0, i1, j0, j1, work)
        return
    a_prev, a_stride = previous_activation(net, layer, first, i0, i1, work)
    dense_forward(i1 - i0, fan_in, j1 - j0, a_prev, a_stride, shift(W, j0), fan_out, b, z, stride)
    activate(net, layer, first, i0, i1, j0, j1, work)


@leaf
def forward_features(net, first, m, k0, k1, part, work):
    """part = X @ W of the first layer for features [k0, k1) alone, without the biases."""
    fan_out = field(net, 0, in_layer.FAN_OUT)
    load_inputs(net, first, 0, m, k0, k1, m, work)
    X, stride = input_pointer(net, first, m, work)
    W = shift(net.params, field(net, 0, in_layer.WEIGHTS) + k0 * fan_out)
    dense_forward_part(m, k1 - k0, fan_out, shift(X, k0), stride, W, part)


@leaf
def join_features(net, first, i0, i1, m, work):
    """z = b + the parts, in their order, and a = f(z) for rows [i0, i1) of the first layer, of a block of m."""
    fan_out = field(net, 0, in_layer.FAN_OUT)
    b = shift(net.params, field(net, 0, in_layer.WEIGHTS) + field(net, 0, in_layer.FAN_IN) * fan_out)
    z, parts = shift(work, field(net, 0, in_layer.Z)), shift(work, net.plan[in_plan.PARTS])
    for i in range(i0, i1):
        row = shift(z, i * fan_out)
        for j in range(fan_out):
            row[j] = b[j]
        for p in range(net.plan[in_plan.N_PIECES]):
            part = shift(parts, (p * m + i) * fan_out)
            for j in range(fan_out):
                row[j] += part[j]
    activate(net, 0, first, i0, i1, 0, fan_out, work)


@inlined
def activate(net, layer, first, i0, i1, j0, j1, work):
    """a = f(z) for rows [i0, i1) and neurons [j0, j1) of a layer, and dropout."""
    stride, m = field(net, layer, in_layer.STRIDE), i1 - i0
    z = shift(work, field(net, layer, in_layer.Z) + i0 * stride)
    a = shift(work, field(net, layer, in_layer.A) + i0 * stride)
    if field(net, layer, in_layer.Z) != field(net, layer, in_layer.A) and not is_softmax(net, layer):
        for i in range(m):
            for j in range(j0, j1):
                a[i * stride + j] = z[i * stride + j]
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin, end = max(j0, entry[in_segment.BEGIN]), min(j1, entry[in_segment.END])
        if end - begin == stride:  # the whole layer is one run
            activation_forward(entry[in_segment.CODE], entry[in_segment.FORWARD], m * stride, a)
        elif begin < end:
            for i in range(m):
                activation_forward(
                    entry[in_segment.CODE], entry[in_segment.FORWARD], end - begin, shift(a, i * stride + begin)
                )
    if net.plan[in_plan.HAS_DROPOUT] != 0:
        drop(net, layer, first + i0, m, j0, j1, a)


@leaf
def drop(net, layer, first, m, j0, j1, values):
    """Multiply neurons [j0, j1) of `values` by the layer's dropout mask of this step."""
    rate = net.scalars[in_scalars.DROPOUT + layer]
    if rate > 0.0:
        fan_out = field(net, layer, in_layer.FAN_OUT)
        key = dropout_key(net.plan[in_plan.DROPOUT_SEED], int(net.scalars[in_scalars.STEP]), layer)
        for i in range(m):
            row = shift(values, i * field(net, layer, in_layer.STRIDE) + j0)
            multiply_by_mask(key, rate, (first + i) * fan_out + j0, j1 - j0, row)


@leaf
def forward_block(net, first, m, work):
    """All layers' z and a for samples [first, first + m), unless abandoned; X must have been loaded.

    Softmax before its cross-entropy is left to the loss, which makes both in one pass.
    """
    n_layers = net.plan[in_plan.N_LAYERS]
    for layer in range(n_layers):
        if is_abandoned(net.control):
            return
        forward_neurons(net, layer, first, 0, m, 0, field(net, layer, in_layer.FAN_OUT), work)
    if not starts_from_logits(net):
        finish_softmax(net, 0, m, work)


@leaf
def finish_softmax(net, i0, i1, work):
    """a = softmax(z) for rows [i0, i1) of the output layer, if it has softmax."""
    last = net.plan[in_plan.N_LAYERS] - 1
    if is_softmax(net, last):
        n = field(net, last, in_layer.FAN_OUT)
        z, a = shift(work, field(net, last, in_layer.Z) + i0 * n), shift(work, field(net, last, in_layer.A) + i0 * n)
        softmax(i1 - i0, n, z, a)


# --- output error -----------------------------------------------------------------------------------------------------


@leaf
def output_error(net, i0, i1, work):
    """Each row's cost, and delta_L = scale dC_x/dz_L, for rows [i0, i1) of a block."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, m = field(net, last, in_layer.FAN_OUT), i1 - i0
    z = shift(work, field(net, last, in_layer.Z) + i0 * n)
    a = shift(work, field(net, last, in_layer.A) + i0 * n)
    delta = shift(work, field(net, last, in_layer.DELTA) + i0 * n)
    y = shift(work, net.plan[in_plan.TARGET] + i0 * n)
    scale, cost = shift(work, net.plan[in_plan.SCALE] + i0), shift(work, net.plan[in_plan.COST] + i0)
    sums = shift(work, net.plan[in_plan.SUMS] + 2 * i0)
    loss_rows(loss_of(net.plan, net.scalars, output_runs(net), a), m, n, z, a, y, scale, sums, cost, delta)
    if starts_from_logits(net):
        return
    if is_softmax(net, last):
        softmax_backward(m, n, a, delta)
    else:
        multiply_by_derivative(net, last, m, 0, n, z, a, delta)


@leaf
def multiply_by_derivative(net, layer, m, j0, j1, z, a, delta):
    """delta *= f'(z) for neurons [j0, j1) of a layer; `z a delta` point to m whole rows of the layer."""
    stride = field(net, layer, in_layer.STRIDE)
    has_z = field(net, layer, in_layer.Z) != field(net, layer, in_layer.A)
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin, end = max(j0, entry[in_segment.BEGIN]), min(j1, entry[in_segment.END])
        if end - begin == stride:
            activation_backward(entry[in_segment.CODE], entry[in_segment.BACKWARD], m * stride, has_z, z, a, delta)
        elif begin < end:
            for i in range(m):
                k = i * stride + begin
                activation_backward(
                    entry[in_segment.CODE],
                    entry[in_segment.BACKWARD],
                    end - begin,
                    has_z,
                    shift(z, k),
                    shift(a, k),
                    shift(delta, k),
                )


@leaf
def weighted_cost(net, m, work):
    """Sum over a block's rows of scale * C_x, in float64."""
    total = 0.0
    for i in range(m):
        scale = np.float64(work[net.plan[in_plan.SCALE] + i])
        if scale != 0.0:  # a sample of weight 0 does not count, not even where its cost is infinite
            total += scale * np.float64(work[net.plan[in_plan.COST] + i])
    return total


# --- backward ---------------------------------------------------------------------------------------------------------


@inlined
def backward_weights(net, layer, first, m, k0, k1, add, grad, step, work):
    """dW = a_prev.T @ delta for rows [k0, k1) of a layer's weights, and their step if it is wanted."""
    fan_out = field(net, layer, in_layer.FAN_OUT)
    delta = shift(work, field(net, layer, in_layer.DELTA))
    dW = shift(grad, field(net, layer, in_layer.WEIGHTS) + k0 * fan_out)
    stride = field(net, layer, in_layer.STRIDE)
    if layer == 0 and multiplies_numbers(net):
        sparse_backward_weights(net, first, m, k0, k1, fan_out, delta, stride, add, dW, step)
        return
    a_prev, a_stride = previous_activation(net, layer, first, 0, m, work)
    dense_backward_weights(m, k1 - k0, fan_out, shift(a_prev, k0), a_stride, delta, stride, add, dW, step)


@inlined
def backward_biases(net, layer, m, add, grad, work):
    """db = sum of delta over the rows."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    delta = shift(work, field(net, layer, in_layer.DELTA))
    db = shift(grad, field(net, layer, in_layer.WEIGHTS) + fan_in * fan_out)
    column_sums(m, fan_out, delta, field(net, layer, in_layer.STRIDE), add, db)


@inlined
def backward_error(net, layer, i0, i1, k0, k1, work):
    """delta @ W.T for rows [i0, i1), neurons [k0, k1) of the layer before `layer`; `finish_error` follows."""
    fan_out, stride = field(net, layer, in_layer.FAN_OUT), field(net, layer, in_layer.STRIDE)
    error_stride = field(net, layer - 1, in_layer.STRIDE)
    delta = shift(work, field(net, layer, in_layer.DELTA) + i0 * stride)
    W = shift(net.params, field(net, layer, in_layer.WEIGHTS) + k0 * fan_out)
    error = shift(work, field(net, layer - 1, in_layer.DELTA) + i0 * error_stride + k0)
    dense_backward_error(i1 - i0, k1 - k0, fan_out, delta, stride, W, error, error_stride)


@leaf
def finish_error(net, layer, first, i0, i1, k0, k1, work):
    """delta_prev *= f'(z_prev) for the same; with dropout it destroys their a, which the weights' gradient needs."""
    stride, m = field(net, layer - 1, in_layer.STRIDE), i1 - i0
    z = shift(work, field(net, layer - 1, in_layer.Z) + i0 * stride)
    a = shift(work, field(net, layer - 1, in_layer.A) + i0 * stride)
    error = shift(work, field(net, layer - 1, in_layer.DELTA) + i0 * stride)
    dropped = net.plan[in_plan.HAS_DROPOUT] != 0 and net.scalars[in_scalars.DROPOUT + layer - 1] > 0.0
    if dropped:
        # a is a kept neuron's output over 1 - rate; f' wants the output itself.  The scaled a is no longer needed.
        keep = real(1.0 - net.scalars[in_scalars.DROPOUT + layer - 1], a)
        for i in range(m):
            multiply(keep, k1 - k0, shift(a, i * stride + k0))
    multiply_by_derivative(net, layer - 1, m, k0, k1, z, a, error)
    if dropped:
        drop(net, layer - 1, first + i0, m, k0, k1, error)
