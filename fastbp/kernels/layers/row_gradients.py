"""What each row of a block says of its own cost, from its a and delta: its gradient, the gradient's norm, a product."""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.passes import previous_activation
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.processor import STREAMED_ELEMENTS
from fastbp.kernels.matrix.dense import dense_forward_part
from fastbp.kernels.matrix.one_row import outer_product
from fastbp.kernels.matrix.streaming import STREAMS, stream
from fastbp.kernels.matrix.tiles import TILES, scratch
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan


@leaf
def store_gradient(fan_in, fan_out, a, delta, g, streams):
    """g = [a outer delta; delta], a row's derivative by a layer's weights and biases; past the caches if `streams`."""
    if streams != 0 and STREAMS and fan_in * fan_out >= STREAMED_ELEMENTS:
        _stream_outer_product(fan_in, fan_out, a, delta, g)
    elif TILES:
        outer_product(fan_in, fan_out, a, delta, g)
    else:
        for k in range(fan_in):
            row, a_k = shift(g, k * fan_out), a[k]
            for j in range(fan_out):
                row[j] = a_k * delta[j]
    bias = shift(g, fan_in * fan_out)
    for j in range(fan_out):
        bias[j] = delta[j]


@leaf
def _stream_outer_product(fan_in, fan_out, a, delta, g):
    """g[k, j] = a[k] delta[j], past the caches: some whole rows at a time, or a part of one."""
    buffer = scratch(g, STREAMED_ELEMENTS)
    columns = min(fan_out, STREAMED_ELEMENTS)
    rows = STREAMED_ELEMENTS // columns if columns == fan_out else 1
    for k in range(0, fan_in, rows):
        here = min(rows, fan_in - k)
        for j in range(0, fan_out, columns):
            width = min(columns, fan_out - j)
            outer_product(here, width, shift(a, k), shift(delta, j), buffer)
            stream(here * width, buffer, shift(g, k * fan_out + j))


@leaf
def store_layer_gradients(net, layer, first, m, streams, out, work):
    """out[i, parameters of the layer] = dC_x/dp of row i, for m rows."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    a, stride = previous_activation(net, layer, first, 0, m, work)
    delta = shift(work, field(net, layer, in_layer.DELTA))
    here, n_params = shift(out, field(net, layer, in_layer.WEIGHTS)), net.plan[in_plan.N_PARAMS]
    for i in range(m):
        a_i, delta_i = shift(a, i * stride), shift(delta, i * fan_out)
        store_gradient(fan_in, fan_out, a_i, delta_i, shift(here, i * n_params), streams)


@leaf
def _sum_of_squares(n, x):
    total = real(0.0, x)
    for i in range(n):
        total += x[i] * x[i]
    return total


@leaf
def add_layer_norms(net, layer, first, m, out, work):
    """out[i] += (|a_i|^2 + 1) |delta_i|^2, the squared norm of a row's gradient by a layer's weights and biases."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    a, stride = previous_activation(net, layer, first, 0, m, work)
    delta = shift(work, field(net, layer, in_layer.DELTA))
    for i in range(m):
        inputs = _sum_of_squares(fan_in, shift(a, i * stride)) + real(1.0, a)
        out[i] += inputs * _sum_of_squares(fan_out, shift(delta, i * fan_out))


@leaf
def add_layer_dots(net, layer, first, m, v, u, out, work):
    """out[i] += (a_i @ V + c) . delta_i: the product of a row's gradient and [V c], a layer's part of v; destroys u."""
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    a, stride = previous_activation(net, layer, first, 0, m, work)
    delta, V = shift(work, field(net, layer, in_layer.DELTA)), shift(v, field(net, layer, in_layer.WEIGHTS))
    c = shift(V, fan_in * fan_out)
    dense_forward_part(m, fan_in, fan_out, a, stride, V, u)
    for i in range(m):
        u_i, delta_i, total = shift(u, i * fan_out), shift(delta, i * fan_out), real(0.0, u)
        for j in range(fan_out):
            total += (u_i[j] + c[j]) * delta_i[j]
        out[i] += total
