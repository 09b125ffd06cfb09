"""Training steps of a narrow network: one whose every layer fits into one vector.

A step of a 2-4-4-2 network is some 200 multiply-adds: less than it costs to look up the tables and to begin the loops
of the general passes.  Here z, a and delta of a row are one vector each and never leave the registers between the input
and the gradient.

Weights are *packed*: the rows of a layer's W lie 2^pitch elements apart, the next power of two from fan_out on, so that
a vector holds a block of several whole rows; b has a vector of its own.  Lane i of a block is W[k0 + row_i, column_i],
and so

    z = sum over blocks of  W_block * a[k0 + row],  summed over the lanes of each column, + b
    dW_block = a[k0 + row] * delta[column]
    e[k0 + row] = W_block * delta[column],  summed over the lanes of each row

Lanes beyond fan_in and fan_out hold 0 in W, b, a, delta and the gradient, so that they stay 0 in every optimizer.
"""

import numpy as np

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.layers.narrow_rows import backward_row, forward_row, knows_network, output_row
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.samples import row_of
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.optimizers.updates import RMSPROP, SGD, Rule, Runs, add_penalty, penalty, update
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.vectors.values import lanes

# Packed vectors: the parameters, their gradient, the optimizer's two; behind them lie a of each layer, input first.
_W, _G, _S1, _S2, _A = 0, 1, 2, 3, 4
# A smaller epsilon could be 0 in float32, and 0 / (0 + epsilon) must be 0 where there is no parameter.
_LEAST_EPSILON = 1e-30


def narrow_elements(n_layers: int, packed_size: int, n_lanes: int) -> int:
    """Elements of the workspace that training takes."""
    return _A * packed_size + (n_layers + 1) * n_lanes


@leaf
def trains_narrow(net):
    """Whether steps are made here: there is room, X is dense, the codes are known, and no step needs a whole gradient.

    Decided from the kernel's tables, and only here.
    """
    s, optimizer = net.scalars, net.plan[in_plan.OPTIMIZER]
    if net.plan[in_plan.NARROW] == 0 or net.plan[in_plan.HAS_DROPOUT] != 0 or net.data[in_data.FORM] != in_data.DENSE:
        return False
    if not knows_network(net):
        return False
    epsilon = s[in_scalars.CONSTANTS + (1 if optimizer == RMSPROP else 2)]
    if optimizer != SGD and epsilon < _LEAST_EPSILON:
        return False
    return s[in_scalars.CLIP_NORM] <= 0.0 and s[in_scalars.TOLERANCE] < 0.0


@leaf
def packed(job, vector):
    """Pointer to one of the packed vectors."""
    plan = job.net.plan
    return shift(job.work, plan[in_plan.NARROW] + vector * plan[in_plan.PACKED_SIZE])


@leaf
def biases_at(net, layer, p):
    """Offset of b in a packed vector: behind the last block of W."""
    n = field(net, layer, in_layer.FAN_IN) << field(net, layer, in_layer.PITCH)
    n_lanes = lanes(p)
    return field(net, layer, in_layer.PACKED) + (n + n_lanes - 1) // n_lanes * n_lanes


# --- packing ----------------------------------------------------------------------------------------------------------


@leaf
def pack(job):
    """Copy parameters and the optimizer's state into packed vectors."""
    n, size = job.net.plan[in_plan.N_PARAMS], job.net.plan[in_plan.PACKED_SIZE]
    for i in range(_A * size):
        packed(job, _W)[i] = real(0.0, job.work)
    _copy(job.net, job.net.params, packed(job, _W), True)
    for vector in range(job.net.plan[in_plan.N_STATE_VECTORS]):
        _copy(job.net, shift(job.state, vector * n), packed(job, _S1 + vector), True)


@leaf
def unpack(job):
    """Copy them back."""
    n = job.net.plan[in_plan.N_PARAMS]
    _copy(job.net, job.net.params, packed(job, _W), False)
    for vector in range(job.net.plan[in_plan.N_STATE_VECTORS]):
        _copy(job.net, shift(job.state, vector * n), packed(job, _S1 + vector), False)


@leaf
def _copy(net, plain, packed_vector, inwards):
    """Copy a vector in the parameters' layout to its packed form, or back."""
    for layer in range(net.plan[in_plan.N_LAYERS]):
        fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        for k in range(fan_in + 1):
            row = shift(plain, field(net, layer, in_layer.WEIGHTS) + k * fan_out)
            here = field(net, layer, in_layer.PACKED) + (k << field(net, layer, in_layer.PITCH))
            packed_row = shift(packed_vector, here if k < fan_in else biases_at(net, layer, plain))
            for j in range(fan_out):
                if inwards:
                    packed_row[j] = row[j]
                else:
                    row[j] = packed_row[j]


@leaf
def unpack_params(job, out):
    """Copy the packed parameters to `out`."""
    _copy(job.net, out, packed(job, _W), False)


@leaf
def packed_params(job):
    """Pointer to the packed parameters; the gaps between them hold zeros."""
    return packed(job, _W)


# --- the step ---------------------------------------------------------------------------------------------------------


@leaf
def narrow_penalty(net, w):
    """l2/2 sum W^2 + l1 sum |W| over all weights."""
    l2, l1 = net.scalars[in_scalars.L2_PENALTY], net.scalars[in_scalars.L1_PENALTY]
    total = 0.0
    if l2 != 0.0 or l1 != 0.0:
        for layer in range(net.plan[in_plan.N_LAYERS]):
            begin = field(net, layer, in_layer.PACKED)
            total += penalty(biases_at(net, layer, w) - begin, l2, l1, shift(w, begin))
    return total


@leaf
def add_narrow_penalty(net, w, g):
    """Add the penalties' gradient to g; biases have no penalty."""
    l2, l1 = real(net.scalars[in_scalars.L2_PENALTY], w), real(net.scalars[in_scalars.L1_PENALTY], w)
    if l2 == 0 and l1 == 0:
        return
    for layer in range(net.plan[in_plan.N_LAYERS]):
        begin = field(net, layer, in_layer.PACKED)
        add_penalty(biases_at(net, layer, w) - begin, l2, l1, shift(w, begin), shift(g, begin))


@leaf
def narrow_gradient(job, first_row, m):
    """Sum over samples [first_row, first_row + m) of scale C_x, and its gradient, packed; without penalties."""
    net = job.net
    w, g, a = packed(job, _W), packed(job, _G), packed(job, _A)
    order = from_address(net.data[in_data.ORDER], net.layers)
    weights = from_address(net.data[in_data.SAMPLE_WEIGHT], net.params)
    cost = 0.0
    for i in range(m):
        sample = row_of(net, first_row + i, order)
        weight = np.float64(weights[sample]) if net.data[in_data.SAMPLE_WEIGHT] != 0 else 1.0
        scale = real(weight * net.scalars[in_scalars.WEIGHT_FACTOR], w)
        z = forward_row(net, sample, w, a)
        cost_of_row, delta = output_row(net, sample, z, scale, a)
        if scale != 0:  # a sample of weight 0 does not count, not even where its cost is infinite
            cost += np.float64(scale) * np.float64(cost_of_row)
        backward_row(net, w, a, delta, i > 0, g)
    return cost


@part
def narrow_step(job, first_row, m):
    """One optimizer step on samples [first_row, first_row + m); the cost before the step, and a status."""
    net = job.net
    s, plan = net.scalars, net.plan
    w, g = packed(job, _W), packed(job, _G)
    penalties = narrow_penalty(net, w)
    cost = penalties + s[in_scalars.COST_FACTOR] * narrow_gradient(job, first_row, m)
    if not is_finite(cost):
        return cost, in_scalars.DIVERGED
    add_narrow_penalty(net, w, g)
    corrections = 1.0 - s[in_scalars.POWER_1], 1.0 - s[in_scalars.POWER_2]
    s1, s2 = packed(job, _S1), packed(job, _S2)
    n = plan[in_plan.PACKED_SIZE]
    rule = Rule(plan[in_plan.OPTIMIZER], s, s[in_scalars.LEARNING_RATE], *corrections)
    update(rule, Runs(1, n, n, n), g, w, s1, s2)
    return cost, in_scalars.FINISHED
