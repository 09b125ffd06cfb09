"""One block of rows through the network, with all samples of a neuron side by side: what J^T J is made from.

Of each layer a block keeps ``a`` (fan_in + 1, m), its inputs with a row of ones for the biases, and ``d`` (n_outputs,
fan_out, m), the derivative of each output by its z.  Where no output depends on another's z the last layer's d is
diagonal, and only that is kept: (n_outputs, m).  With weights, d and the errors ``e`` are those of the cost, times the
root of each sample's weight.  Where these lie in a slot of the workspace says the table of `rooms`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.functions.activations import activation_backward, activation_forward
from fastbp.kernels.layers.net import field, is_softmax
from fastbp.kernels.layers.samples import input_pointer, load_inputs, load_targets
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.matrix.side_by_side import laid_side_by_side, sum_products, weigh_errors, weigh_inputs
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors import elementary as vm

# columns of the table of rooms: offsets in a slot of what a layer keeps; the outputs have a row behind the layers'
A = 0  # of the inputs
Z = 1  # of z, which is where the next layer's inputs are if it is not kept
D = 2
ROOM_COLUMNS = 3
E = 1  # in the row of the outputs: of the errors (n_outputs, m)
ERROR = 2  # and of a layer's delta (fan_out, m), or the gradient of a block (n_params,)


@formula
def room(rooms, layer, column):
    """An offset in a slot."""
    return rooms[layer * ROOM_COLUMNS + column]


@leaf
def load_block(net, rooms, first, m, work):
    """The inputs of the first layer for m samples, and all rows of ones."""
    n = field(net, 0, in_layer.FAN_IN)
    load_inputs(net, first, 0, m, 0, n, m, work)
    X, stride = input_pointer(net, first, m, work)
    laid_side_by_side(m, n, X, stride, shift(work, room(rooms, 0, A)))
    for layer in range(net.plan[in_plan.N_LAYERS]):
        ones = shift(work, room(rooms, layer, A) + field(net, layer, in_layer.FAN_IN) * m)
        one = real(1.0, work)
        for i in range(m):
            ones[i] = one


@leaf
def forward(net, rooms, m, work):
    """All layers' z and a of the block that is loaded."""
    for layer in range(net.plan[in_plan.N_LAYERS]):
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
        z, a = shift(work, room(rooms, layer, Z)), shift(work, room(rooms, layer + 1, A))
        weigh_inputs(fan_in + 1, fan_out, m, W, shift(work, room(rooms, layer, A)), z)
        if room(rooms, layer, Z) != room(rooms, layer + 1, A):
            for i in range(fan_out * m):
                a[i] = z[i]
        if is_softmax(net, layer):
            _softmax(fan_out, m, a, shift(work, room(rooms, layer + 1, E)))
            continue
        for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
            entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
            begin, count = entry[in_segment.BEGIN], entry[in_segment.END] - entry[in_segment.BEGIN]
            activation_forward(entry[in_segment.CODE], entry[in_segment.FORWARD], count * m, shift(a, begin * m))


@leaf
def _softmax(n, m, a, sums):
    """a = softmax(a) of each column; overwrites sums (m,)."""
    for i in range(m):
        sums[i] = a[i]
    for j in range(1, n):
        row = shift(a, j * m)
        for i in range(m):
            sums[i] = row[i] if row[i] > sums[i] else sums[i]
    for j in range(n):
        row = shift(a, j * m)
        for i in range(m):
            row[i] = vm.exp(row[i] - sums[i])
    for i in range(m):
        sums[i] = real(0.0, a)
    for j in range(n):
        row = shift(a, j * m)
        for i in range(m):
            sums[i] += row[i]
    for j in range(n):
        row = shift(a, j * m)
        for i in range(m):
            row[i] /= sums[i]


@leaf
def errors(net, rooms, first, m, work):
    """e = a - y for the block's targets; half the sum of weight times e^2, in float64."""
    n_layers = net.plan[in_plan.N_LAYERS]
    n = field(net, n_layers - 1, in_layer.FAN_OUT)
    load_targets(net, first, 0, m, 1.0, work)
    a, e = shift(work, room(rooms, n_layers, A)), shift(work, room(rooms, n_layers, E))
    scale, total = shift(work, net.plan[in_plan.SCALE]), 0.0
    for j in range(n):
        y, a_j, e_j = shift(work, net.plan[in_plan.TARGET] + j), shift(a, j * m), shift(e, j * m)
        for i in range(m):
            e_j[i] = a_j[i] - y[i * n]
        for i in range(m):
            error = np.float64(e_j[i])
            total += np.float64(scale[i]) * error * error
    return 0.5 * total


@leaf
def derivatives(net, rooms, m, work):
    """Every layer's d of the block, from the last one to the first; e becomes that of the weighted cost."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, scale = field(net, last, in_layer.FAN_OUT), shift(work, net.plan[in_plan.SCALE])
    if net.data[in_data.SAMPLE_WEIGHT] != 0:
        for i in range(m):
            scale[i] = np.sqrt(scale[i])
        _scale_columns(n, m, scale, shift(work, room(rooms, last + 1, E)))
    d = shift(work, room(rooms, last, D))
    if is_softmax(net, last):
        _softmax_derivatives(n, m, shift(work, room(rooms, last + 1, A)), scale, d)
    else:
        one = real(1.0, work)
        for i in range(n * m):
            d[i] = one
        _scale_columns(n, m, scale, d)
        times_derivative(net, rooms, last, m, d, work)
    for back in range(last):
        _derivatives_below(net, rooms, last - back, m, work)


@leaf
def _scale_columns(n, m, scale, x):
    """x[j, i] *= scale[i]."""
    for j in range(n):
        row = shift(x, j * m)
        for i in range(m):
            row[i] *= scale[i]


@leaf
def _softmax_derivatives(n, m, a, scale, d):
    """d[k, j] = scale da_k/dz_j = scale a_k ([j = k] - a_j)."""
    for k in range(n):
        a_k = shift(a, k * m)
        for j in range(n):
            row, a_j, same = shift(d, (k * n + j) * m), shift(a, j * m), real(1.0 if j == k else 0.0, a)
            for i in range(m):
                row[i] = scale[i] * a_k[i] * (same - a_j[i])


@leaf
def _derivatives_below(net, rooms, layer, m, work):
    """d of the layer before `layer`."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, fan_in, fan_out = field(net, last, in_layer.FAN_OUT), field(net, layer, in_layer.FAN_IN), 0
    fan_out = field(net, layer, in_layer.FAN_OUT)
    W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
    above, below = shift(work, room(rooms, layer, D)), shift(work, room(rooms, layer - 1, D))
    for k in range(n):
        d = shift(below, k * fan_in * m)
        if is_diagonal(net, layer):
            slope = shift(above, k * m)
            for j in range(fan_in):
                row, w = shift(d, j * m), W[j * n + k]
                for i in range(m):
                    row[i] = w * slope[i]
        else:
            weigh_errors(fan_in, fan_out, m, W, shift(above, k * fan_out * m), d)
        times_derivative(net, rooms, layer - 1, m, d, work)


@leaf
def times_derivative(net, rooms, layer, m, d, work):
    """d (fan_out, m) *= f'(z) of a layer."""
    z, a = shift(work, room(rooms, layer, Z)), shift(work, room(rooms, layer + 1, A))
    has_z = room(rooms, layer, Z) != room(rooms, layer + 1, A)
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin = entry[in_segment.BEGIN] * m
        count = entry[in_segment.END] * m - begin
        code, address = entry[in_segment.CODE], entry[in_segment.BACKWARD]
        activation_backward(code, address, count, has_z, shift(z, begin), shift(a, begin), shift(d, begin))


@leaf
def is_diagonal(net, layer):
    """Whether a layer is the last one and no output depends on another's z."""
    return layer == net.plan[in_plan.N_LAYERS] - 1 and not is_softmax(net, layer)


@leaf
def is_linear(net, layer):
    """Whether a layer is the last one and its outputs are its z."""
    if layer != net.plan[in_plan.N_LAYERS] - 1:
        return False
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        if net.segments[segment * in_segment.SEGMENT_COLUMNS + in_segment.CODE] != codes.IDENTITY:
            return False
    return True


@leaf
def add_gradient(net, rooms, m, work, grad):
    """grad += sum over samples and outputs of e d a, in float64."""
    n_layers = net.plan[in_plan.N_LAYERS]
    n, delta = field(net, n_layers - 1, in_layer.FAN_OUT), shift(work, room(rooms, n_layers, ERROR))
    e = shift(work, room(rooms, n_layers, E))
    for layer in range(n_layers):
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        d, block = shift(work, room(rooms, layer, D)), shift(delta, fan_out * m)
        if is_diagonal(net, layer):
            for i in range(n * m):
                delta[i] = e[i] * d[i]
        else:
            _sum_of_outputs(n, fan_out, m, e, d, delta)
        sum_products(fan_in + 1, fan_out, m, shift(work, room(rooms, layer, A)), delta, 0, block)
        total = shift(grad, field(net, layer, in_layer.WEIGHTS))
        for i in range((fan_in + 1) * fan_out):
            total[i] += np.float64(block[i])


@leaf
def _sum_of_outputs(n, fan_out, m, e, d, delta):
    """delta[j] = sum_k e[k] d[k, j]."""
    for j in range(fan_out):
        row = shift(delta, j * m)
        d_j = shift(d, j * m)
        for i in range(m):
            row[i] = e[i] * d_j[i]
        for k in range(1, n):
            e_k, d_j = shift(e, k * m), shift(d, (k * fan_out + j) * m)
            for i in range(m):
                row[i] += e_k[i] * d_j[i]
