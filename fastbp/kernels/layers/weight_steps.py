"""Rows of a layer's weights: their gradient, and what follows it while it is in the cache, as a rule their step."""

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.passes import backward_biases, backward_error, backward_weights, finish_error
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.optimizers.updates import Rule, Runs, Step, add_penalty, sum_of_squares, update
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# what a region does with its part of the gradient
KEEP = 0  # it is not complete yet
ADD_PENALTY = 1
STEP = 2  # add the penalty and take the step


@inlined
def backward_rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work):
    """Rows [k0, k1) of a layer's weights: the error behind them (with the old weights), dW, and what is to follow."""
    if layer > 0:
        backward_error(job.net, layer, 0, m, k0, k1, work)
    rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work)
    if layer > 0:
        finish_error(job.net, layer, first, 0, m, k0, k1, work)


@part
def rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work):
    """Rows [k0, k1) of a layer's weights: dW, and what is to follow.  The last rows have the biases behind them."""
    net = job.net
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    weights = field(net, layer, in_layer.WEIGHTS)
    begin, end = weights + k0 * fan_out, weights + k1 * fan_out
    backward_weights(net, layer, first, m, k0, k1, add, grad, step_from(job, begin, then == STEP), work)
    if k1 == fan_in:
        backward_biases(net, layer, m, add, grad, work)
        if then == STEP:
            update_range(job, end, end + fan_out)
    if then == ADD_PENALTY:
        add_penalty_range(job, begin, end)


@leaf
def finish_params(job, begin, end, then):
    """Penalty and, if wanted, the step of parameters [begin, end), whose gradient is complete."""
    add_penalty_range(job, begin, end)
    if then == STEP:
        update_range(job, begin, end)


@leaf
def add_penalty_range(job, begin, end):
    """Add the penalties' gradient to grads[0] for parameters [begin, end); biases have no penalty."""
    net = job.net
    l2, l1 = real(net.scalars[in_scalars.L2_PENALTY], net.params), real(net.scalars[in_scalars.L1_PENALTY], net.params)
    if l2 == 0 and l1 == 0:
        return
    for layer in range(net.plan[in_plan.N_LAYERS]):
        weights = field(net, layer, in_layer.WEIGHTS)
        k0 = max(begin, weights)
        k1 = min(end, weights + field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT))
        if k0 < k1:
            add_penalty(k1 - k0, l2, l1, shift(net.params, k0), shift(job.grads, k0))


@leaf
def step_from(job, begin, wanted):
    """The optimizer's step, with penalties, of the parameters from `begin` on, which must be weights."""
    net = job.net
    s = net.scalars
    second = net.plan[in_plan.N_PARAMS] if net.plan[in_plan.N_STATE_VECTORS] > 1 else 0
    w, s1, s2 = shift(net.params, begin), shift(job.state, begin), shift(job.state, begin + second)
    rates = s[in_scalars.LEARNING_RATE], 1.0 - s[in_scalars.POWER_1], 1.0 - s[in_scalars.POWER_2]
    rule = Rule(net.plan[in_plan.OPTIMIZER], s, *rates)
    return Step(wanted, rule, s[in_scalars.L2_PENALTY], s[in_scalars.L1_PENALTY], w, s1, s2)


@leaf
def update_range(job, begin, end):
    """The optimizer's step, without penalties, for parameters [begin, end), with the gradient in grads[0]."""
    n, g = end - begin, shift(job.grads, begin)
    step = step_from(job, begin, True)
    update(step.rule, Runs(1, n, n, n), g, step.w, step.s1, step.s2)


@leaf
def gradient_norm(job):
    """Euclidean norm of grads[0], in float64; one thread, so that the sum has one order."""
    return sum_of_squares(job.net.plan[in_plan.N_PARAMS], job.grads) ** 0.5
