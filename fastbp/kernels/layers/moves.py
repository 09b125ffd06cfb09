"""From one moved parameter or neuron to the costs, computing only what changes.

The *base* is a block's forward pass with the parameters as they are; all threads read its z, a and costs.  A move
changes z_j of one neuron at first, by h a_k, then the next layer's z by the rank-1 product (a'_j - a_j) W[j, :]; only
the layers after that are computed again.

X lies in place, and Y and the scales w_x / sum w_x are complete arrays, so that nothing is gathered.  The room for
gathered inputs holds four columns of a block instead (see `column`).
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.functions.activations import activation_forward
from fastbp.kernels.functions.losses import loss_of, loss_rows
from fastbp.kernels.layers.net import Net, field, is_softmax, output_runs, starts_from_logits
from fastbp.kernels.layers.passes import activate, finish_softmax, forward_block, forward_neurons, previous_activation
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment

# columns of a block, one number a row
Z_COLUMN = 0  # moved z of the moved neuron
A_COLUMN = 1  # its activation
UP_COLUMN = 2  # z moved up, and the costs there
UP_COST_COLUMN = 3
N_COLUMNS = 4


class MoveJob(NamedTuple):
    """Pointers to everything that a thread needs."""

    task: int
    net: Net  # whose parameters whole passes and the random search may write
    work: Any  # this thread's slot
    base: Net  # the same network, its z and a in another layout
    base_work: Any
    base_costs: Any  # float64, one for each row of a block
    indices: Any
    moved: Any
    changes: Any  # float64
    control: Any


# --- costs ------------------------------------------------------------------------------------------------------------


@leaf
def row_costs(net, first, m, values, work):
    """C_x of the block's samples into the rows' costs in `work`, from the output's z and a in `values`."""
    plan, last = net.plan, net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    z, a = shift(values, field(net, last, in_layer.Z)), shift(values, field(net, last, in_layer.A))
    delta = shift(values, field(net, last, in_layer.DELTA))  # written with the costs, and not needed
    y = shift(from_address(net.data[in_data.Y], net.params), first * n)
    scale = shift(from_address(net.data[in_data.SAMPLE_WEIGHT], net.params), first)
    cost = shift(work, plan[in_plan.COST])
    sums = shift(work, plan[in_plan.SUMS])
    loss_rows(loss_of(plan, net.scalars, output_runs(net), a), m, n, z, a, y, scale, sums, cost, delta)


@leaf
def base_pass(job):
    """The base's z, a and costs; their scaled sum is added to changes[0]."""
    base, first, m = job.base, job.control[team.FIRST], job.control[team.ROWS]
    forward_block(base, first, m, job.base_work)
    row_costs(base, first, m, job.base_work, job.base_work)
    scale, cost = (
        from_address(base.data[in_data.SAMPLE_WEIGHT], base.params),
        shift(job.base_work, base.plan[in_plan.COST]),
    )
    total = 0.0
    for i in range(m):
        scale_i = np.float64(scale[first + i])
        job.base_costs[i] = np.float64(cost[i])
        if scale_i != 0.0:  # a sample of weight 0 does not count, not even where its cost is infinite
            total += scale_i * np.float64(cost[i])
    job.changes[0] += total


@leaf
def change_of_cost(job, first, m):
    """sum_i scale_i (C_i - base C_i), row by row: the rows' differences lose fewer digits than that of the sums."""
    net = job.net
    row_costs(net, first, m, job.work, job.work)
    scale, cost = from_address(net.data[in_data.SAMPLE_WEIGHT], net.params), shift(job.work, net.plan[in_plan.COST])
    total = 0.0
    for i in range(m):
        scale_i = np.float64(scale[first + i])
        if scale_i != 0.0:
            total += scale_i * (np.float64(cost[i]) - job.base_costs[i])
    return total


# --- from the base ----------------------------------------------------------------------------------------------------


@leaf
def column(job, index):
    """One number for each row of a block."""
    return shift(job.work, job.net.plan[in_plan.INPUT] + index * job.net.plan[in_plan.BLOCK_ROWS])


@leaf
def layer_of(net, p):
    """The layer of parameter p."""
    layer = net.plan[in_plan.N_LAYERS] - 1
    while field(net, layer, in_layer.WEIGHTS) > p:
        layer -= 1
    return layer


@leaf
def move_parameter(job, q, first, m):
    """Z_COLUMN = z_j + h a_k for parameter W[k, j], or z_j + h for b[j], with h = moved[q] - w; layer and j."""
    base, p = job.base, job.indices[q]
    layer = layer_of(base, p)
    fan_in, fan_out = field(base, layer, in_layer.FAN_IN), field(base, layer, in_layer.FAN_OUT)
    k = (p - field(base, layer, in_layer.WEIGHTS)) // fan_out
    j = (p - field(base, layer, in_layer.WEIGHTS)) % fan_out
    h = job.moved[q] - base.params[p]
    z, target = shift(job.base_work, field(base, layer, in_layer.Z) + j), column(job, Z_COLUMN)
    if k == fan_in:
        for i in range(m):
            target[i] = z[i * fan_out] + h
    else:
        a_prev, stride = previous_activation(base, layer, first, 0, m, job.base_work)
        a_k = shift(a_prev, k)
        for i in range(m):
            target[i] = z[i * fan_out] + h * a_k[i * stride]
    return layer, j


@leaf
def propagate(job, layer, j, first, m):
    """From the moved z_j of a layer to the network's outputs in `work`; A_COLUMN = f(z_j)."""
    net, work = job.net, job.work
    last = net.plan[in_plan.N_LAYERS] - 1
    z, a = column(job, Z_COLUMN), column(job, A_COLUMN)
    for i in range(m):
        a[i] = z[i]
    segment = field(net, layer, in_layer.FIRST_SEGMENT)
    while net.segments[segment * in_segment.SEGMENT_COLUMNS + in_segment.END] <= j:
        segment += 1
    entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
    activation_forward(
        entry[in_segment.CODE], entry[in_segment.FORWARD], m, a
    )  # softmax is not done there: a remains z
    if layer == last:
        replace_output(job, j, m)
    else:
        move_next_layer(job, layer, j, first, m)
        for later in range(layer + 2, last + 1):
            forward_neurons(net, later, first, 0, m, 0, field(net, later, in_layer.FAN_OUT), work)
    if not starts_from_logits(net):
        finish_softmax(net, 0, m, work)


@leaf
def replace_output(job, j, m):
    """The output layer with neuron j moved: the base's a (of softmax its z, to be normalised again), and z if kept."""
    net, base = job.net, job.base
    last = net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    z_offset, a_offset = field(net, last, in_layer.Z), field(net, last, in_layer.A)
    source = field(base, last, in_layer.Z) if is_softmax(net, last) else field(base, last, in_layer.A)
    replace_column(m, n, j, shift(job.base_work, source), column(job, A_COLUMN), shift(job.work, a_offset))
    if z_offset != a_offset:
        z = shift(job.base_work, field(base, last, in_layer.Z))
        replace_column(m, n, j, z, column(job, Z_COLUMN), shift(job.work, z_offset))


@leaf
def replace_column(m, n, j, source, values, target):
    """target = source (m rows of n), but column j = values."""
    for i in range(m * n):
        target[i] = source[i]
    for i in range(m):
        target[i * n + j] = values[i]


@leaf
def move_next_layer(job, layer, j, first, m):
    """z = base z + (a'_j - a_j) W[j, :] and a = f(z) of the layer after the moved neuron's."""
    net, base = job.net, job.base
    fan_out, n = field(net, layer, in_layer.FAN_OUT), field(net, layer + 1, in_layer.FAN_OUT)
    W_j = shift(base.params, field(net, layer + 1, in_layer.WEIGHTS) + j * n)
    a_j, moved_a_j = shift(job.base_work, field(base, layer, in_layer.A) + j), column(job, A_COLUMN)
    source, z = (
        shift(job.base_work, field(base, layer + 1, in_layer.Z)),
        shift(job.work, field(net, layer + 1, in_layer.Z)),
    )
    for i in range(m):
        d = moved_a_j[i] - a_j[i * fan_out]
        source_row, z_row = shift(source, i * n), shift(z, i * n)
        for k in range(n):
            z_row[k] = source_row[k] + d * W_j[k]
    activate(net, layer + 1, first, 0, m, 0, n, job.work)


# --- kinks ------------------------------------------------------------------------------------------------------------


@formula
def sides_differ(x, y):
    """Whether x and y lie on different sides of 0, or one of them on it."""
    return (x > 0) != (y > 0) or (x < 0) != (y < 0)


@leaf
def has_kink(code):
    """Whether f' or f'' jumps at z = 0; f(z) is then 0 or has the sign of z."""
    return code == codes.RELU or code == codes.LEAKY_RELU or code == codes.ELU


@leaf
def crossings(job, layer, j, first, m):
    """How many z with a kink at 0 lie on another side of it than in the base, and how many a - y with a kink.

    The sides are read off a.  A relu's a does not tell z < 0 from z = 0, but between the two the cost does not change.
    """
    net, base = job.net, job.base
    fan_out = field(net, layer, in_layer.FAN_OUT)
    a, base_a = column(job, A_COLUMN), shift(job.base_work, field(base, layer, in_layer.A) + j)
    total = 0
    for later in range(layer, net.plan[in_plan.N_LAYERS]):
        for segment in range(field(net, later, in_layer.FIRST_SEGMENT), field(net, later, in_layer.END_SEGMENT)):
            entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
            if not has_kink(entry[in_segment.CODE]):
                continue
            if later > layer:
                total += crossings_in_segment(job, later, entry[in_segment.BEGIN], entry[in_segment.END], m)
            elif entry[in_segment.BEGIN] <= j < entry[in_segment.END]:
                for i in range(m):
                    total += 1 if sides_differ(a[i], base_a[i * fan_out]) else 0
    return total + crossings_in_loss(job, first, m)


@leaf
def crossings_in_segment(job, layer, begin, end, m):
    """How many a of neurons [begin, end) have another sign than in the base."""
    fan_out = field(job.net, layer, in_layer.FAN_OUT)
    a, base_a = (
        shift(job.work, field(job.net, layer, in_layer.A)),
        shift(job.base_work, field(job.base, layer, in_layer.A)),
    )
    total = 0
    for i in range(m):
        for j in range(i * fan_out + begin, i * fan_out + end):
            total += 1 if sides_differ(a[j], base_a[j]) else 0
    return total


@leaf
def crossings_in_loss(job, first, m):
    """How many a - y lie on another side of a kink of the loss than in the base.

    The kinks are 0 of the absolute and the quantile loss, and plus and minus the parameter of huber.
    """
    net, last = job.net, job.net.plan[in_plan.N_LAYERS] - 1
    code, n = net.plan[in_plan.LOSS], field(net, last, in_layer.FAN_OUT)
    if code != codes.ABSOLUTE and code != codes.QUANTILE and code != codes.HUBER:
        return 0
    y = shift(from_address(net.data[in_data.Y], net.params), first * n)
    a, base_a = shift(job.work, field(net, last, in_layer.A)), shift(job.base_work, field(job.base, last, in_layer.A))
    kink = loss_of(net.plan, net.scalars, output_runs(net), a).parameter if code == codes.HUBER else real(0.0, a)
    total = 0
    for i in range(m * n):
        d, base_d = a[i] - y[i], base_a[i] - y[i]
        total += 1 if sides_differ(d - kink, base_d - kink) or sides_differ(d + kink, base_d + kink) else 0
    return total
