"""A mini-batch through many networks of one architecture at once: a network in each lane of the vectors.

No product is too small for that, as every number of a network is a vector here.  Parameters, gradient and the
optimizer's vectors lie as ``[parameter][lane]``, and of a slot of the workspace there is one as ``[element][lane]``.

Each network gets the bits that it has alone: the products are the same chains of multiply-adds, activations and the
sums over rows look at one lane at a time, and the output layer, whose costs are sums over neurons, is each network's
own: its z are put where the network would have computed them, and its delta taken from there.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.activations import activation_backward, activation_forward
from fastbp.kernels.layers.net import Net, field, starts_from_logits
from fastbp.kernels.layers.passes import activate, finish_softmax, output_error, weighted_cost
from fastbp.kernels.layers.samples import row_of
from fastbp.kernels.machine.pointers import from_address, shift
from fastbp.kernels.machine.processor import TINY_PRODUCT
from fastbp.kernels.matrix.dense import tiny_backward_error
from fastbp.kernels.matrix.lane_order import from_lanes, to_lanes
from fastbp.kernels.matrix.lane_products import NO_START, Grid, lane_product
from fastbp.kernels.matrix.rows import column_sums, gather_rows
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors.values import lanes

# vectors of parameters in a network's own room
W, G, S1, S2 = 0, 1, 2, 3


class Group(NamedTuple):
    """Networks side by side."""

    net: Net  # the first one, whose tables describe them all
    n: Any  # how many there are, at most as many as a vector has lanes
    work: Any  # a slot of the workspace, each element of it a vector
    slots: Any  # a slot for each network
    w: Any  # parameters, gradient, the optimizer's two vectors, each number a vector
    g: Any
    s1: Any
    s2: Any
    numbers: Any  # what the optimizer's step takes, a vector of each
    own: Any  # room for four vectors of parameters of each network, `own_row` elements long


@inlined
def slot_of(group, q):
    """The slot of a network."""
    return shift(group.slots, q * group.net.plan[in_plan.SLOT_SIZE])


@inlined
def place_of(group, offset, p):
    """Pointer to the vectors of an element of a slot, or of the parameters."""
    return shift(p, offset * lanes(p))


@leaf
def own_row(n_params):
    """Elements of a vector of parameters in a network's own room: whole vectors."""
    return (n_params + 15) // 16 * 16


@leaf
def own_vector(group, q, vector):
    """Pointer to a vector of parameters in a network's own room."""
    row = own_row(group.net.plan[in_plan.N_PARAMS])
    return shift(group.own, (vector * lanes(group.w) + q) * row)


@leaf
def _inputs(group, layer):
    """Pointer to the inputs of a layer."""
    if layer == 0:
        return place_of(group, group.net.plan[in_plan.INPUT], group.work)
    return place_of(group, field(group.net, layer - 1, in_layer.A), group.work)


# --- samples ----------------------------------------------------------------------------------------------------------


@leaf
def gather_inputs(net, first, m, work):
    """Rows of X for samples [first, first + m) of a network into its slot."""
    n, column = field(net, 0, in_layer.FAN_IN), net.data[in_data.X_COLUMN]
    X, target = from_address(net.data[in_data.X], net.params), shift(work, net.plan[in_plan.INPUT])
    order = from_address(net.data[in_data.ORDER], net.layers)
    if column == 1 and net.data[in_data.ORDER] != 0:
        gather_rows(m, n, X, net.data[in_data.X_ROW], shift(order, first), target, n)
        return
    for i in range(m):
        source, row = shift(X, row_of(net, first + i, order) * net.data[in_data.X_ROW]), shift(target, i * n)
        for j in range(n):
            row[j] = source[j * column]


# --- forward ----------------------------------------------------------------------------------------------------------


@part
def lane_forward(group, m):
    """From the inputs in the slots to every z and a but the a of the output layer."""
    net = group.net
    n_lanes, last = lanes(group.w), net.plan[in_plan.N_LAYERS] - 1
    source = shift(group.slots, net.plan[in_plan.INPUT])
    to_lanes(m * field(net, 0, in_layer.FAN_IN), group.n, source, net.plan[in_plan.SLOT_SIZE], _inputs(group, 0))
    for layer in range(last + 1):
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        weights = place_of(group, field(net, layer, in_layer.WEIGHTS), group.w)
        b, z = shift(weights, fan_in * n * n_lanes), place_of(group, field(net, layer, in_layer.Z), group.work)
        a_prev = Grid(_inputs(group, layer), fan_in * n_lanes, n_lanes)
        weights, z_grid = Grid(weights, n * n_lanes, n_lanes), Grid(z, n * n_lanes, n_lanes)
        lane_product(m, n, fan_in, a_prev, weights, Grid(b, 0, n_lanes), z_grid)
        if layer < last:
            _activate(group, layer, m)


@leaf
def _activate(group, layer, m):
    """a = f(z) of a hidden layer, all of whose activations look at one number at a time."""
    net = group.net
    n = field(net, layer, in_layer.FAN_OUT) * lanes(group.w)
    z, a = (
        place_of(group, field(net, layer, in_layer.Z), group.work),
        place_of(group, field(net, layer, in_layer.A), group.work),
    )
    if field(net, layer, in_layer.Z) != field(net, layer, in_layer.A):
        for i in range(m * n):
            a[i] = z[i]
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        code, begin = entry[in_segment.CODE], entry[in_segment.BEGIN] * lanes(group.w)
        length = entry[in_segment.END] * lanes(group.w) - begin
        if length == n:
            activation_forward(code, 0, m * n, a)
        else:
            for i in range(m):
                activation_forward(code, 0, length, shift(a, i * n + begin))


# --- the output -------------------------------------------------------------------------------------------------------


@leaf
def outputs_to_networks(group, m):
    """The output layer's z into the networks' slots."""
    net = group.net
    last = net.plan[in_plan.N_LAYERS] - 1
    here = place_of(group, field(net, last, in_layer.Z), group.work)
    there = shift(group.slots, field(net, last, in_layer.Z))
    from_lanes(m * field(net, last, in_layer.FAN_OUT), group.n, here, there, net.plan[in_plan.SLOT_SIZE])


@part
def finish_network(group, q, net, first, m):
    """From a network's z of the output layer to its delta; its cost."""
    work, last = slot_of(group, q), net.plan[in_plan.N_LAYERS] - 1
    activate(net, last, first, 0, m, 0, field(net, last, in_layer.FAN_OUT), work)
    if not starts_from_logits(net):
        finish_softmax(net, 0, m, work)
    output_error(net, 0, m, work)
    return weighted_cost(net, m, work)


@leaf
def errors_from_networks(group, m):
    """The output layer's delta from the networks' slots."""
    net = group.net
    last = net.plan[in_plan.N_LAYERS] - 1
    there = place_of(group, field(net, last, in_layer.DELTA), group.work)
    here = shift(group.slots, field(net, last, in_layer.DELTA))
    to_lanes(m * field(net, last, in_layer.FAN_OUT), group.n, here, net.plan[in_plan.SLOT_SIZE], there)


# --- backward ---------------------------------------------------------------------------------------------------------


@part
def lane_backward(group, m, by_lanes):
    """From the output layer's delta to all gradients; overwrites g.

    That delta lies in the networks' slots as well, unless it was computed `by_lanes`.
    """
    net = group.net
    n_lanes = lanes(group.w)
    for i in range(net.plan[in_plan.N_LAYERS]):
        layer = net.plan[in_plan.N_LAYERS] - 1 - i
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        weights = field(net, layer, in_layer.WEIGHTS)
        delta, dW = (
            place_of(group, field(net, layer, in_layer.DELTA), group.work),
            place_of(group, weights, group.g),
        )
        rows, nothing = Grid(delta, n * n_lanes, n_lanes), Grid(delta, NO_START, 0)
        columns = Grid(_inputs(group, layer), n_lanes, fan_in * n_lanes)
        lane_product(fan_in, n, m, columns, rows, nothing, Grid(dW, n * n_lanes, n_lanes))
        if n % n_lanes == 0:
            column_sums(m, n * n_lanes, delta, n * n_lanes, 0, shift(dW, fan_in * n * n_lanes))
        else:
            _biases_of_networks(group, layer, m, delta, by_lanes)
        if layer > 0:
            error = place_of(group, field(net, layer - 1, in_layer.DELTA), group.work)
            if m * fan_in * n > TINY_PRODUCT:
                W_T = Grid(place_of(group, weights, group.w), n_lanes, n * n_lanes)
                lane_product(m, fan_in, n, rows, W_T, nothing, Grid(error, fan_in * n_lanes, n_lanes))
            else:
                _error_of_networks(group, layer, m, delta, error)
            _multiply_by_derivative(group, layer - 1, m, error)


@leaf
def _biases_of_networks(group, layer, m, delta, by_lanes):
    """db network by network, where a row is no whole vectors: then the compiler adds its rows in another order."""
    net = group.net
    n, here, size = (
        field(net, layer, in_layer.FAN_OUT),
        field(net, layer, in_layer.DELTA),
        net.plan[in_plan.SLOT_SIZE],
    )
    biases = field(net, layer, in_layer.WEIGHTS) + field(net, layer, in_layer.FAN_IN) * n
    if by_lanes or layer < net.plan[in_plan.N_LAYERS] - 1:  # else the output layer's delta is there
        from_lanes(m * n, group.n, delta, shift(group.slots, here), size)
    for q in range(group.n):
        column_sums(m, n, shift(slot_of(group, q), here), n, 0, shift(own_vector(group, q, G), biases))
    sums, row = shift(own_vector(group, 0, G), biases), own_row(net.plan[in_plan.N_PARAMS])
    to_lanes(n, group.n, sums, row, place_of(group, biases, group.g))


@leaf
def _error_of_networks(group, layer, m, delta, error):
    """The error behind a layer network by network, where it is so small that the compiler orders its sums."""
    net, size, row = group.net, group.net.plan[in_plan.SLOT_SIZE], own_row(group.net.plan[in_plan.N_PARAMS])
    fan_in, n, weights = (
        field(net, layer, in_layer.FAN_IN),
        field(net, layer, in_layer.FAN_OUT),
        field(net, layer, in_layer.WEIGHTS),
    )
    here, there = field(net, layer, in_layer.DELTA), field(net, layer - 1, in_layer.DELTA)
    from_lanes(m * n, group.n, delta, shift(group.slots, here), size)
    from_lanes(fan_in * n, group.n, place_of(group, weights, group.w), own_vector(group, 0, G), row)
    for q in range(group.n):
        work = slot_of(group, q)
        tiny_backward_error(m, fan_in, n, shift(work, here), n, own_vector(group, q, G), shift(work, there), fan_in)
    to_lanes(m * fan_in, group.n, shift(group.slots, there), size, error)


@leaf
def _multiply_by_derivative(group, layer, m, delta):
    """delta *= f'(z) of a hidden layer."""
    net = group.net
    n = field(net, layer, in_layer.FAN_OUT) * lanes(group.w)
    z, a = (
        place_of(group, field(net, layer, in_layer.Z), group.work),
        place_of(group, field(net, layer, in_layer.A), group.work),
    )
    has_z = field(net, layer, in_layer.Z) != field(net, layer, in_layer.A)
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        code, begin = entry[in_segment.CODE], entry[in_segment.BEGIN] * lanes(group.w)
        length = entry[in_segment.END] * lanes(group.w) - begin
        if length == n:
            activation_backward(code, 0, m * n, has_z, z, a, delta)
        else:
            for i in range(m):
                k = i * n + begin
                activation_backward(code, 0, length, has_z, shift(z, k), shift(a, k), shift(delta, k))
