"""A row of a narrow network, forward and backward, in vectors; `fastbp.kernels.layers.narrow` packs the weights.

`w` are the packed parameters, `g` the packed gradient; `a` has room for a vector of each layer, the input first.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.functions.activations import LEAKY_SLOPE, NEAR_LIMIT
from fastbp.kernels.functions.softmax_of_short_rows import softmax_of_block
from fastbp.kernels.layers.net import field
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors import elementary as vm
from fastbp.kernels.vectors.lane_sums import sum_of_columns, sum_of_rows
from fastbp.kernels.vectors.values import (
    added,
    any_lane,
    below,
    choose,
    equal,
    first,
    lane_numbers,
    lanes,
    load,
    load_where,
    low_bits,
    permuted,
    shifted_left,
    shifted_right,
    splat,
    store,
    zeros,
)

ACTIVATIONS = (
    codes.IDENTITY,
    codes.SIGMOID,
    codes.TANH,
    codes.RELU,
    codes.LEAKY_RELU,
)  # whose derivative needs a alone

# --- what is known here ---------------------------------------------------------------------------------------------


@leaf
def knows_network(net):
    """Whether the activations and the loss that the tables name are among those here, each layer having but one."""
    last = net.plan[in_plan.N_LAYERS] - 1
    for layer in range(last + 1):
        if field(net, layer, in_layer.END_SEGMENT) - field(net, layer, in_layer.FIRST_SEGMENT) != 1:
            return False
        if layer < last and code_of(net, layer) not in ACTIVATIONS:
            return False
    output, loss = code_of(net, last), net.plan[in_plan.LOSS]
    if loss in codes.SOFTMAX_LOSSES:
        return output == codes.SOFTMAX
    if loss in codes.SIGMOID_LOSSES:
        return output == codes.SIGMOID
    return loss == codes.QUADRATIC and output in ACTIVATIONS


# --- forward --------------------------------------------------------------------------------------------------------


@leaf
def activation(code, z):
    """f(z)."""
    zero = splat(0.0, z)
    if code == codes.RELU:
        return choose(z < zero, zero, z)
    if code == codes.SIGMOID:
        return vm.logistic(z)
    if code == codes.TANH:
        return vm.tanh(z)
    if code == codes.LEAKY_RELU:
        return choose(z > zero, z, splat(LEAKY_SLOPE, z) * z)
    return z


@leaf
def times_derivative(code, a, delta):
    """delta f'(z), from a = f(z)."""
    zero, one = splat(0.0, a), splat(1.0, a)
    if code == codes.RELU:
        return choose(a > zero, delta, zero * delta)  # as in `activations`, 0 times infinity is NaN
    if code == codes.SIGMOID:
        return delta * (a * (one - a))
    if code == codes.TANH:
        return delta * ((one - a) * (one + a))
    if code == codes.LEAKY_RELU:
        return delta * choose(a > zero, one, splat(LEAKY_SLOPE, a))
    return delta


@leaf
def times_derivative_of_output(code, z, a, delta):
    """delta f'(z): as above, but where a is near 1 or -1, its distance from there is computed from z."""
    zero, one, two, limit = splat(0.0, a), splat(1.0, a), splat(2.0, a), splat(1.0 - NEAR_LIMIT, a)
    size = abs(a)
    if any_lane(size > limit):
        if code == codes.SIGMOID:
            return delta * (a * choose(size > limit, vm.logistic(zero - z), one - a))
        if code == codes.TANH:
            return delta * (choose(size > limit, two * vm.logistic(zero - two * abs(z)), one - size) * (one + size))
    return times_derivative(code, a, delta)


@leaf
def code_of(net, layer):
    """The activation of a layer."""
    return net.segments[field(net, layer, in_layer.FIRST_SEGMENT) * in_segment.SEGMENT_COLUMNS + in_segment.CODE]


@leaf
def input_row(net, sample, a):
    """Store row `sample` of X as the input, and return it."""
    n, column = field(net, 0, in_layer.FAN_IN), net.data[in_data.X_COLUMN]
    x = shift(from_address(net.data[in_data.X], net.params), sample * net.data[in_data.X_ROW])
    lane = lane_numbers(x)
    if column == 1:
        row = load_where(below(lane, n), x)
    else:
        for k in range(n):
            a[k] = shift(x, k * column)[0]
        row = load_where(below(lane, n), a)
    store(row, a)
    return row


@leaf
def forward_row(net, sample, w, a):
    """z of the output layer for one row; the a of all layers before it are stored."""
    n_layers = net.plan[in_plan.N_LAYERS]
    lane, n_lanes = lane_numbers(w), lanes(w)
    a_prev = input_row(net, sample, a)
    z = a_prev
    for layer in range(n_layers):
        pitch = field(net, layer, in_layer.PITCH)
        row, rows = shifted_right(lane, pitch), n_lanes >> pitch
        fan_in = field(net, layer, in_layer.FAN_IN)
        W = shift(w, field(net, layer, in_layer.PACKED))
        z = zeros(w)
        k = 0
        while k < fan_in:
            z = z + permuted(a_prev, added(row, k)) * load(W)
            W = shift(W, n_lanes)
            k += rows
        z = sum_of_columns(z, pitch, lane, n_lanes) + load(W)
        if layer < n_layers - 1:
            a_prev = choose(
                below(lane, field(net, layer, in_layer.FAN_OUT)), activation(code_of(net, layer), z), zeros(w)
            )
            store(a_prev, shift(a, (layer + 1) * n_lanes))
    return z


# --- the output -------------------------------------------------------------------------------------------------------


@leaf
def target_row(net, sample, a):
    """Row `sample` of Y; for a label the row that is 1 there and 0 elsewhere."""
    n_layers = net.plan[in_plan.N_LAYERS]
    n = field(net, n_layers - 1, in_layer.FAN_OUT)
    lane = lane_numbers(a)
    if net.data[in_data.LABELS] != 0:
        label = from_address(net.data[in_data.LABELS], net.layers)[sample]
        zero = zeros(a)
        return choose(equal(lane, label), splat(1.0, zero), zero)
    y = shift(from_address(net.data[in_data.Y], net.params), sample * net.data[in_data.Y_ROW])
    column = net.data[in_data.Y_COLUMN]
    if column != 1:
        row = shift(a, n_layers * lanes(a))  # the place of the last layer's a, which is never read
        for j in range(n):
            row[j] = shift(y, j * column)[0]
        return load_where(below(lane, n), row)
    return load_where(below(lane, n), y)


@leaf
def softmax_cross_entropy(z, y, clip, is_clipped, pitch, n, p):
    """The row's cost, and a - y; see `fastbp.kernels.functions.losses`.  The block's other rows are not used."""
    lane = lane_numbers(p)
    inside = below(low_bits(lane, (1 << pitch) - 1), n)
    a, largest, total = softmax_of_block(z, inside, pitch, lane)
    if is_clipped:
        probability = min(max(first(sum_of_rows(y * a, pitch, lane)), clip), real(1.0, p) - clip)
        return -vm.log(probability), a - y
    # 0 times an infinite logit is 0: a class of probability 0 that is not the target costs nothing
    costs = choose(abs(y) > zeros(p), y * (largest - z), zeros(p))
    cost = first(sum_of_rows(costs, pitch, lane)) + first(sum_of_rows(y, pitch, lane)) * vm.log(first(total))
    return cost, a - y


@leaf
def sigmoid_cross_entropy(z, y, clip, is_clipped, pitch, n, p):
    """The row's cost, and a - y; see `fastbp.kernels.functions.losses`."""
    lane, zero, one = lane_numbers(p), zeros(p), splat(1.0, zeros(p))
    a = vm.logistic(z)
    if is_clipped:
        low, high = splat(clip, zero), splat(real(1.0, p) - clip, zero)
        q = choose(a < low, low, choose(a > high, high, a))
        costs = zero - vm.log(y * q + (one - y) * (one - q))
    else:
        costs = vm.log1p(vm.exp(-abs(z))) + (choose(z > zero, z, zero) - y * z)
    cost = first(sum_of_rows(choose(below(lane, n), costs, zero), pitch, lane))
    return cost, a - y


@leaf
def quadratic(code, z, y, pitch, n, p):
    """The row's cost ||a - y||^2 / 2, and (a - y) f'(z)."""
    lane = lane_numbers(p)
    a = activation(code, z)
    d = choose(below(lane, n), a - y, zeros(p))
    return real(0.5, p) * first(sum_of_rows(d * d, pitch, lane)), times_derivative_of_output(code, z, a, d)


@leaf
def output_row(net, sample, z, scale, a):
    """The row's cost, and delta_L = scale dC_x/dz_L; `knows_network` has seen that the loss is one of these."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, pitch, loss = field(net, last, in_layer.FAN_OUT), field(net, last, in_layer.PITCH), net.plan[in_plan.LOSS]
    y = target_row(net, sample, a)
    clip = real(net.scalars[in_scalars.LOSS_PARAMETER], a)
    if loss in codes.SOFTMAX_LOSSES:
        cost, delta = softmax_cross_entropy(z, y, clip, loss != codes.SOFTMAX_CROSS_ENTROPY, pitch, n, a)
    elif loss in codes.SIGMOID_LOSSES:
        cost, delta = sigmoid_cross_entropy(z, y, clip, loss != codes.SIGMOID_CROSS_ENTROPY, pitch, n, a)
    else:
        cost, delta = quadratic(code_of(net, last), z, y, pitch, n, a)
    return cost, choose(below(lane_numbers(a), n), splat(scale, z) * delta, zeros(a))


# --- backward -------------------------------------------------------------------------------------------------------


@leaf
def backward_row(net, w, a, delta, add, g):
    """The gradient of a row from its delta_L; added to what is in g if `add`, else it overwrites g."""
    lane, n_lanes = lane_numbers(w), lanes(w)
    for i in range(net.plan[in_plan.N_LAYERS]):
        layer = net.plan[in_plan.N_LAYERS] - 1 - i
        pitch, fan_in, here = (
            field(net, layer, in_layer.PITCH),
            field(net, layer, in_layer.FAN_IN),
            field(net, layer, in_layer.PACKED),
        )
        row, rows = shifted_right(lane, pitch), n_lanes >> pitch
        dW = shift(g, here)
        a_prev = load(shift(a, layer * n_lanes))
        delta_of_column = permuted(delta, low_bits(lane, (1 << pitch) - 1))
        k = 0
        while k < fan_in:
            add_or_store(add, permuted(a_prev, added(row, k)) * delta_of_column, dW)
            dW = shift(dW, n_lanes)
            k += rows
        add_or_store(add, delta, dW)
        if layer > 0:
            error = error_behind(fan_in, pitch, shift(w, here), delta_of_column)
            delta = times_derivative(code_of(net, layer - 1), a_prev, error)


@leaf
def add_or_store(add, x, p):
    """The vector at p becomes x, or x more."""
    if add:
        store(load(p) + x, p)
    else:
        store(x, p)


@leaf
def error_behind(fan_in, pitch, W, delta_of_column):
    """W delta: element k in lane k, 0 beyond fan_in."""
    lane, n_lanes = lane_numbers(W), lanes(W)
    rows = n_lanes >> pitch
    error = zeros(W)
    k = 0
    while k < fan_in:
        # the sum of row i of the block stands in lane i 2^pitch; it belongs into lane k + i
        sums = sum_of_rows(load(W) * delta_of_column, pitch, lane)
        behind_k = added(lane, -k)
        error = choose(below(behind_k, 0), error, permuted(sums, shifted_left(behind_k, pitch)))
        W = shift(W, n_lanes)
        k += rows
    return choose(below(lane, fan_in), error, zeros(W))
