"""Vector-Jacobian products: the gradient of any function of the outputs, given its derivative at the outputs.

The derivative stands where a loss's targets stand elsewhere; the rest is the backward pass.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.functions.activations import softmax_backward
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.net import Net, field, is_softmax
from fastbp.kernels.layers.passes import (
    backward_biases,
    backward_error,
    backward_weights,
    finish_error,
    forward_block,
    multiply_by_derivative,
)
from fastbp.kernels.layers.samples import load_inputs, load_targets
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import at, from_address, shift
from fastbp.kernels.matrix.dense import dense_backward_error
from fastbp.kernels.optimizers.updates import no_step
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks: the derivatives with respect to what
PARAMS = 0
INPUTS = 1
BOTH = 2

# operations of a region
_ROWS = 0
_SUM = 1

N_ADDRESSES = entry.N_ADDRESSES  # OUT is the derivative by the inputs, GRADS a vector for each piece of rows


class _Job(NamedTuple):
    net: Net
    task: Any
    grads: Any
    work: Any
    out: Any
    control: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  Overwrites grads (the first vector has the sum), out, work and
    control.  Returns FINISHED, or UNKNOWN where the tables have a code that the kernels do not know; then nothing was
    overwritten.
    """
    table, reals = at(addresses, 0), at(like, 0)
    net = Net(
        from_address(table[entry.LAYERS], table),
        from_address(table[entry.SEGMENTS], table),
        from_address(table[entry.PLAN], table),
        from_address(table[entry.DATA], table),
        from_address(table[entry.PARAMS], reals),
        from_address(table[entry.SCALARS], at(rates, 0)),
        at(control, 0),
    )
    job = _Job(
        net,
        task,
        from_address(table[entry.GRADS], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[entry.OUT], reals),
        at(control, 0),
    )
    if slot > entry.LEADER:
        _help_with(job, slot)
        return in_scalars.FINISHED
    if not knows(net, True, False):
        return in_scalars.UNKNOWN
    n_pieces = net.plan[in_plan.N_PIECES]
    _lead(job, _ROWS, n_pieces)
    if task != INPUTS and n_pieces > 1:
        _lead(job, _SUM, net.plan[in_plan.UPDATE_PIECES])
    team.stop(job.control)
    return in_scalars.FINISHED


@leaf
def _do_piece(job, operation, p, n_pieces, slot):
    net = job.net
    if operation == _SUM:
        sum_piece(job.grads, net.plan[in_plan.N_PARAMS], net.plan[in_plan.N_PIECES], p, n_pieces)
        return
    work, block_rows = shift(job.work, slot * net.plan[in_plan.SLOT_SIZE]), net.plan[in_plan.BLOCK_ROWS]
    grad, begin = shift(job.grads, p * net.plan[in_plan.N_PARAMS]), first_block(net, p, n_pieces)
    for block in range(begin, first_block(net, p + 1, n_pieces)):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        rows = min(block_rows, net.data[in_data.N_ROWS] - first)
        load_inputs(net, first, 0, rows, 0, field(net, 0, in_layer.FAN_IN), rows, work)
        load_targets(net, first, 0, rows, 1.0, work)
        forward_block(net, first, rows, work)
        _backward(job, first, rows, 1 if block > begin else 0, grad, work)


@leaf
def _backward(job, first, m, add, grad, work):
    """All layers' delta for one block, and what is wanted of the gradients."""
    net = job.net
    last = net.plan[in_plan.N_LAYERS] - 1
    delta_from_outputs(net, m, work)
    for i in range(last + 1):
        layer = last - i
        if layer > 0:
            backward_error(net, layer, 0, m, 0, field(net, layer, in_layer.FAN_IN), work)
        if job.task != INPUTS:
            fan_in = field(net, layer, in_layer.FAN_IN)
            backward_weights(net, layer, first, m, 0, fan_in, add, grad, no_step(grad), work)
            backward_biases(net, layer, m, add, grad, work)
        if layer > 0:
            finish_error(net, layer, first, 0, m, 0, field(net, layer, in_layer.FAN_IN), work)
    if job.task != PARAMS:
        n, fan_out = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT)
        delta = shift(work, field(net, 0, in_layer.DELTA))
        dense_backward_error(m, n, fan_out, delta, fan_out, net.params, shift(job.out, first * n), n)


@leaf
def delta_from_outputs(net, m, work):
    """delta_L = g * f'(z_L), or softmax's, for m rows; g, the derivative by the outputs, stands where targets do."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    z, a = shift(work, field(net, last, in_layer.Z)), shift(work, field(net, last, in_layer.A))
    delta, g = shift(work, field(net, last, in_layer.DELTA)), shift(work, net.plan[in_plan.TARGET])
    for i in range(m * n):
        delta[i] = g[i]
    if is_softmax(net, last):
        softmax_backward(m, n, a, delta)
    else:
        multiply_by_derivative(net, last, m, 0, n, z, a, delta)


_lead, _help_with = shared(_do_piece)
