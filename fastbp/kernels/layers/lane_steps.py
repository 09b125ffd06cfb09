"""The optimizer's step of many networks at once: in one go where it is the same for all, else network by network."""

import math

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.layers.lanes import S1, S2, G, W, own_row, own_vector
from fastbp.kernels.layers.net import field
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.matrix.lane_order import from_lanes, put_lane, to_lanes
from fastbp.kernels.optimizers.adam_step import has_adam_step
from fastbp.kernels.optimizers.lane_steps import lane_adam_step
from fastbp.kernels.optimizers.updates import ADAM, Rule, Runs, add_penalty, penalty, update
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.vectors.values import lanes

_N_CONSTANTS = 5


@leaf
def has_penalties(net):
    """Whether a network has a penalty."""
    return net.scalars[in_scalars.L2_PENALTY] != 0.0 or net.scalars[in_scalars.L1_PENALTY] != 0.0


@leaf
def params_to_networks(group):
    """The parameters into the networks' own rooms."""
    n = group.net.plan[in_plan.N_PARAMS]
    from_lanes(n, group.n, group.w, own_vector(group, 0, W), own_row(n))


@leaf
def penalty_of_network(group, q, net):
    """l2/2 sum W^2 + l1 sum |W| over a network's weights, which must be in its own room."""
    l2, l1, w = net.scalars[in_scalars.L2_PENALTY], net.scalars[in_scalars.L1_PENALTY], own_vector(group, q, W)
    total = 0.0
    if l2 != 0.0 or l1 != 0.0:
        for layer in range(net.plan[in_plan.N_LAYERS]):
            n = field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT)
            total += penalty(n, l2, l1, shift(w, field(net, layer, in_layer.WEIGHTS)))
    return total


@part
def add_penalties(group, q, net):
    """Add the penalties' gradient in a network's own room, where its parameters and gradient are."""
    w, g = own_vector(group, q, W), own_vector(group, q, G)
    l2, l1 = real(net.scalars[in_scalars.L2_PENALTY], w), real(net.scalars[in_scalars.L1_PENALTY], w)
    if l2 == 0 and l1 == 0:
        return
    for layer in range(net.plan[in_plan.N_LAYERS]):
        n = field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT)
        begin = field(net, layer, in_layer.WEIGHTS)
        add_penalty(n, l2, l1, shift(w, begin), shift(g, begin))


@leaf
def gradients_to_networks(group):
    """The gradients into the networks' own rooms."""
    n = group.net.plan[in_plan.N_PARAMS]
    from_lanes(n, group.n, group.g, own_vector(group, 0, G), own_row(n))


@leaf
def gradients_from_networks(group):
    """The gradients from there."""
    n = group.net.plan[in_plan.N_PARAMS]
    to_lanes(n, group.n, own_vector(group, 0, G), own_row(n), group.g)


@leaf
def rule_of(net):
    """The optimizer's rule of a network at this step."""
    s = net.scalars
    rates = s[in_scalars.LEARNING_RATE], 1.0 - s[in_scalars.POWER_1], 1.0 - s[in_scalars.POWER_2]
    return Rule(net.plan[in_plan.OPTIMIZER], s, *rates)


@leaf
def takes_equal_step(net, other):
    """Whether the steps of two networks have the same numbers, bit by bit."""
    s, t = net.scalars, other.scalars
    differ = 0
    for i in range(_N_CONSTANTS):
        differ += 0 if s[in_scalars.CONSTANTS + i] == t[in_scalars.CONSTANTS + i] else 1
    for i in (in_scalars.LEARNING_RATE, in_scalars.POWER_1, in_scalars.POWER_2):
        differ += 0 if s[i] == t[i] else 1
    return differ == 0


@part
def step_of_all(group, net):
    """The step, with the numbers of one network for all of them; overwrites w, s1, s2."""
    n = group.net.plan[in_plan.N_PARAMS] * lanes(group.w)
    update(rule_of(net), Runs(1, n, n, n), group.g, group.w, group.s1, group.s2)


@leaf
def has_vector_of_numbers(net, p):
    """Whether networks whose steps differ can take them at once."""
    return net.plan[in_plan.OPTIMIZER] == ADAM and has_adam_step(p)


@leaf
def set_numbers(group, q, net):
    """What a network's step takes into its lane of the numbers."""
    _, constants, rate, correction_1, correction_2 = rule_of(net)
    root = math.sqrt(correction_2)
    numbers, w, n_lanes = shift(group.numbers, q), group.w, lanes(group.w)
    numbers[0] = real(rate * root / correction_1, w)
    numbers[n_lanes] = real(constants[0], w)
    numbers[2 * n_lanes] = real(1.0 - constants[0], w)
    numbers[3 * n_lanes] = real(constants[1], w)
    numbers[4 * n_lanes] = real(1.0 - constants[1], w)
    numbers[5 * n_lanes] = real(constants[2] * (root if constants[4] == 0.0 else 1.0), w)


@leaf
def step_by_numbers(group):
    """Each network's own step, with `numbers`."""
    n = group.net.plan[in_plan.N_PARAMS] * lanes(group.w)
    lane_adam_step(n, group.numbers, group.g, group.w, group.s1, group.s2)


@leaf
def vectors_to_networks(group):
    """Parameters, gradient and the optimizer's vectors into the networks' own rooms."""
    n = group.net.plan[in_plan.N_PARAMS]
    params_to_networks(group)
    gradients_to_networks(group)
    if group.net.plan[in_plan.N_STATE_VECTORS] > 0:
        from_lanes(n, group.n, group.s1, own_vector(group, 0, S1), own_row(n))
    if group.net.plan[in_plan.N_STATE_VECTORS] > 1:
        from_lanes(n, group.n, group.s2, own_vector(group, 0, S2), own_row(n))


@part
def step_of_network(group, q, net, whole_vectors):
    """A network's own step, in its own room, and back into its lane; with zeros behind it that make whole vectors."""
    n = net.plan[in_plan.N_PARAMS]
    length = own_row(n) if whole_vectors else n
    w, g = own_vector(group, q, W), own_vector(group, q, G)
    s1, s2 = own_vector(group, q, S1), own_vector(group, q, S2)
    update(rule_of(net), Runs(1, length, length, length), g, w, s1, s2)
    put_lane(n, w, q, group.w)
    if net.plan[in_plan.N_STATE_VECTORS] > 0:
        put_lane(n, s1, q, group.s1)
    if net.plan[in_plan.N_STATE_VECTORS] > 1:
        put_lane(n, s2, q, group.s2)
