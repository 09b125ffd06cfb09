"""The commonest output of networks side by side, one identity output with the quadratic loss, in all lanes at once.

Its cost is no sum over neurons, so that each lane gets the bits of `fastbp.kernels.functions.losses`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.layers.lanes import place_of, slot_of
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.passes import weighted_cost
from fastbp.kernels.layers.samples import row_of
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.matrix.lane_order import from_lanes
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors.in_order import minus, times
from fastbp.kernels.vectors.values import lanes, load, splat, store


@leaf
def has_one_value(net):
    """Whether a network has one identity output and the quadratic loss."""
    last = net.plan[in_plan.N_LAYERS] - 1
    entry = shift(net.segments, field(net, last, in_layer.FIRST_SEGMENT) * in_segment.SEGMENT_COLUMNS)
    return (
        net.plan[in_plan.LOSS] == codes.QUADRATIC
        and field(net, last, in_layer.FAN_OUT) == 1
        and entry[in_segment.CODE] == codes.IDENTITY
        and field(net, last, in_layer.Z) == field(net, last, in_layer.A)
    )


@leaf
def load_values(group, q, net, first, m):
    """The targets of m samples of a network, and the scales of their costs, into its lane."""
    n_lanes, data = lanes(group.w), net.data
    order, factor = from_address(data[in_data.ORDER], net.layers), net.scalars[in_scalars.WEIGHT_FACTOR]
    y, scale = (
        shift(place_of(group, net.plan[in_plan.TARGET], group.work), q),
        shift(place_of(group, net.plan[in_plan.SCALE], group.work), q),
    )
    Y, row = from_address(data[in_data.Y], net.params), data[in_data.Y_ROW]
    for i in range(m):
        y[i * n_lanes] = Y[row_of(net, first + i, order) * row]
        scale[i * n_lanes] = real(factor, scale)
    if data[in_data.SAMPLE_WEIGHT] != 0:
        weights = from_address(data[in_data.SAMPLE_WEIGHT], net.params)
        for i in range(m):
            weight = np.float64(weights[row_of(net, first + i, order)])
            scale[i * n_lanes] = real(weight * factor, scale)


@part
def errors_of_values(group, m):
    """delta = scale (a - y); each row's cost (a - y)^2 / 2 and its scale go into the networks' slots."""
    net, n_lanes, size = group.net, lanes(group.w), group.net.plan[in_plan.SLOT_SIZE]
    last = net.plan[in_plan.N_LAYERS] - 1
    a, delta = (
        place_of(group, field(net, last, in_layer.A), group.work),
        place_of(group, field(net, last, in_layer.DELTA), group.work),
    )
    y, scale, cost = (
        place_of(group, net.plan[in_plan.TARGET], group.work),
        place_of(group, net.plan[in_plan.SCALE], group.work),
        place_of(group, net.plan[in_plan.COST], group.work),
    )
    for i in range(0, m * n_lanes, n_lanes):
        d = minus(load(shift(a, i)), load(shift(y, i)))
        store(times(d, load(shift(scale, i))), shift(delta, i))
        store(times(splat(0.5, d), times(d, d)), shift(cost, i))
    from_lanes(m, group.n, scale, shift(group.slots, net.plan[in_plan.SCALE]), size)
    from_lanes(m, group.n, cost, shift(group.slots, net.plan[in_plan.COST]), size)


@part
def cost_of_network(group, q, m):
    """The sum of a network's costs over the rows, whose order is the compiler's."""
    return weighted_cost(group.net, m, slot_of(group, q))
