"""A row of a narrow network, forward and backward, in vectors: see `fastbp.kernels.narrow` for how weights are packed.

`w` are the packed parameters, `g` the packed gradient; `a` has room for a vector of each layer, the input first.
"""

from fastbp.kernels import tables as t
from fastbp.kernels import vector_math as vm
from fastbp.kernels.activations import LEAKY_SLOPE
from fastbp.kernels.jit import leaf
from fastbp.kernels.lane_sums import sum_of_columns, sum_of_rows
from fastbp.kernels.passes import field
from fastbp.kernels.pointers import from_address, real, shift
from fastbp.kernels.short_rows import softmax_of_block
from fastbp.kernels.vectors import (
    added,
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

ACTIVATIONS = (t.IDENTITY, t.SIGMOID, t.TANH, t.RELU, t.LEAKY_RELU)  # whose derivative is made from a alone

# --- what is known here ---------------------------------------------------------------------------------------------


@leaf
def knows_network(net):
    """Whether the activations and the loss that the tables name are among those here, each layer having but one."""
    last = net.plan[t.N_LAYERS] - 1
    for layer in range(last + 1):
        if field(net, layer, t.END_SEGMENT) - field(net, layer, t.FIRST_SEGMENT) != 1:
            return False
        if layer < last and code_of(net, layer) not in ACTIVATIONS:
            return False
    output, loss = code_of(net, last), net.plan[t.LOSS]
    if loss in t.SOFTMAX_LOSSES:
        return output == t.SOFTMAX
    if loss in t.SIGMOID_LOSSES:
        return output == t.SIGMOID
    return loss == t.QUADRATIC and output in ACTIVATIONS


# --- forward --------------------------------------------------------------------------------------------------------


@leaf
def activation(code, z):
    """f(z)."""
    zero = splat(0.0, z)
    if code == t.RELU:
        return choose(z < zero, zero, z)
    if code == t.SIGMOID:
        return vm.logistic(z)
    if code == t.TANH:
        return vm.tanh(z)
    if code == t.LEAKY_RELU:
        return choose(z > zero, z, splat(LEAKY_SLOPE, z) * z)
    return z


@leaf
def times_derivative(code, a, delta):
    """delta f'(z), from a = f(z)."""
    zero, one = splat(0.0, a), splat(1.0, a)
    if code == t.RELU:
        return choose(a > zero, delta, zero * delta)  # as in `activations`, 0 times infinity is NaN
    if code == t.SIGMOID:
        return delta * (a * (one - a))
    if code == t.TANH:
        return delta * ((one - a) * (one + a))
    if code == t.LEAKY_RELU:
        return delta * choose(a > zero, one, splat(LEAKY_SLOPE, a))
    return delta


@leaf
def code_of(net, layer):
    """The activation of a layer."""
    return net.segments[field(net, layer, t.FIRST_SEGMENT) * t.SEGMENT_COLUMNS + t.CODE]


@leaf
def input_row(net, sample, a):
    """Store row `sample` of X as the input, and return it."""
    n, column = field(net, 0, t.FAN_IN), net.data[t.X_COLUMN]
    x = shift(from_address(net.data[t.X], net.params), sample * net.data[t.X_ROW])
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
    n_layers = net.plan[t.N_LAYERS]
    lane, n_lanes = lane_numbers(w), lanes(w)
    a_prev = input_row(net, sample, a)
    z = a_prev
    for layer in range(n_layers):
        pitch = field(net, layer, t.PITCH)
        row, rows = shifted_right(lane, pitch), n_lanes >> pitch
        fan_in = field(net, layer, t.FAN_IN)
        W = shift(w, field(net, layer, t.PACKED))
        z = zeros(w)
        k = 0
        while k < fan_in:
            z = z + permuted(a_prev, added(row, k)) * load(W)
            W = shift(W, n_lanes)
            k += rows
        z = sum_of_columns(z, pitch, lane, n_lanes) + load(W)
        if layer < n_layers - 1:
            a_prev = choose(below(lane, field(net, layer, t.FAN_OUT)), activation(code_of(net, layer), z), zeros(w))
            store(a_prev, shift(a, (layer + 1) * n_lanes))
    return z


# --- the output -------------------------------------------------------------------------------------------------------


@leaf
def target_row(net, sample, a):
    """Row `sample` of Y; of a label the row that is 1 there."""
    n_layers = net.plan[t.N_LAYERS]
    n = field(net, n_layers - 1, t.FAN_OUT)
    lane = lane_numbers(a)
    if net.data[t.LABELS] != 0:
        label = from_address(net.data[t.LABELS], net.layers)[sample]
        zero = zeros(a)
        return choose(equal(lane, label), splat(1.0, zero), zero)
    y = shift(from_address(net.data[t.Y], net.params), sample * net.data[t.Y_ROW])
    column = net.data[t.Y_COLUMN]
    if column != 1:
        row = shift(a, n_layers * lanes(a))  # the place of the last layer, whose a nobody reads
        for j in range(n):
            row[j] = shift(y, j * column)[0]
        return load_where(below(lane, n), row)
    return load_where(below(lane, n), y)


@leaf
def softmax_cross_entropy(z, y, clip, is_clipped, pitch, n, p):
    """The row's cost, and a - y; see `fastbp.kernels.losses`.  The block's other rows hold no numbers of use."""
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
    """The row's cost, and a - y; see `fastbp.kernels.losses`."""
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
    return real(0.5, p) * first(sum_of_rows(d * d, pitch, lane)), times_derivative(code, a, d)


@leaf
def output_row(net, sample, z, scale, a):
    """The row's cost, and delta_L = scale dC_x/dz_L; `knows_network` has seen that the loss is one of these."""
    last = net.plan[t.N_LAYERS] - 1
    n, pitch, loss = field(net, last, t.FAN_OUT), field(net, last, t.PITCH), net.plan[t.LOSS]
    y = target_row(net, sample, a)
    clip = real(net.scalars[t.LOSS_PARAMETER], a)
    if loss in t.SOFTMAX_LOSSES:
        cost, delta = softmax_cross_entropy(z, y, clip, loss != t.SOFTMAX_CROSS_ENTROPY, pitch, n, a)
    elif loss in t.SIGMOID_LOSSES:
        cost, delta = sigmoid_cross_entropy(z, y, clip, loss != t.SIGMOID_CROSS_ENTROPY, pitch, n, a)
    else:
        cost, delta = quadratic(code_of(net, last), z, y, pitch, n, a)
    return cost, choose(below(lane_numbers(a), n), splat(scale, z) * delta, zeros(a))


# --- backward -------------------------------------------------------------------------------------------------------


@leaf
def backward_row(net, w, a, delta, add, g):
    """The gradient of a row from its delta_L; added to what is in g if `add`, else it overwrites g."""
    lane, n_lanes = lane_numbers(w), lanes(w)
    for i in range(net.plan[t.N_LAYERS]):
        layer = net.plan[t.N_LAYERS] - 1 - i
        pitch, fan_in, here = field(net, layer, t.PITCH), field(net, layer, t.FAN_IN), field(net, layer, t.PACKED)
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
