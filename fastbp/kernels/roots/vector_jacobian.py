"""First derivatives beyond the gradient of the cost: of any function of the outputs, of each output, row by row.

In a vector-Jacobian product the derivative by the outputs stands where a loss's targets stand elsewhere; the rest is
the backward pass.  What each row has of its own (its gradient, its outputs' derivatives) is written where it belongs,
once; threads share rows, and nothing that one row has depends on another.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.functions.activations import softmax_backward
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.net import Net, field, is_softmax
from fastbp.kernels.layers.output_errors import (
    errors_before,
    forward_for_outputs,
    input_jacobian_back,
    input_jacobian_forward,
    input_jacobian_of_paths,
    jacobian_block,
    slopes,
    transpose_last_weights,
    weights_of_paths,
)
from fastbp.kernels.layers.passes import (
    backward_biases,
    backward_error,
    backward_weights,
    finish_error,
    forward_block,
    multiply_by_derivative,
    output_error,
)
from fastbp.kernels.layers.row_gradients import add_layer_dots, add_layer_norms, store_layer_gradients
from fastbp.kernels.layers.samples import load_inputs, load_targets
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import at, from_address, real, shift
from fastbp.kernels.optimizers.updates import no_step
from fastbp.kernels.roots import entry
from fastbp.kernels.roots.entry import net_at
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks: vector-Jacobian products, with respect to what
PARAMS = 0
INPUTS = 1
BOTH = 2
# of each row's own cost
INPUT_GRADIENT = 3  # out (n, n_features)
SAMPLE_GRADIENTS = 4  # out (n, n_params)
NORMS = 5  # out (n,): the squares of their norms
DOTS = 6  # out (n,): their products with the vector
# of the outputs
SLOPES = 7  # out (n, n_outputs): f'(z) of the output layer, which must not be softmax
INPUT_JACOBIAN = 8  # out (n, n_outputs, n_features)
JACOBIAN = 9  # out (n, n_outputs, n_params)

# ways to the Jacobian by the inputs
BACK = 0
FORWARD = 1
PATHS = 2  # of a network with one hidden layer

# operations of a region
_ROWS = 0
_SUM = 1

# Besides the addresses of `entry`, of which OUT is for what has a row for each row of X, and GRADS has a vector of
# parameters for each piece of rows:
VECTOR = entry.N_ADDRESSES  # address of a vector like the parameters
WAY = VECTOR + 1
HALF = VECTOR + 2  # elements of one of the two parts of EXTRA that hold the outputs' derivatives by a layer
PAST_CACHES = VECTOR + 3  # 1: OUT is larger than the caches
N_ADDRESSES = VECTOR + 4


class _Job(NamedTuple):
    net: Net
    task: Any
    grads: Any
    work: Any
    out: Any
    control: Any
    vector: Any
    way: Any
    half: Any
    streams: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  Overwrites grads (the first vector has the sum), out, work and
    control.  Returns FINISHED, or UNKNOWN where the tables have a code that the kernels do not know; then nothing was
    overwritten.
    """
    table, reals = at(addresses, 0), at(like, 0)
    net = net_at(table, reals, at(rates, 0), at(control, 0))
    job = _Job(
        net,
        task,
        from_address(table[entry.GRADS], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[entry.OUT], reals),
        at(control, 0),
        from_address(table[VECTOR], reals),
        table[WAY],
        table[HALF],
        table[PAST_CACHES],
    )
    if slot > entry.LEADER:
        _help_with(job, slot)
        return in_scalars.FINISHED
    if not knows(net, True, False):
        return in_scalars.UNKNOWN
    n_pieces = net.plan[in_plan.N_PIECES]
    _lead(job, _ROWS, n_pieces)
    if task in (PARAMS, BOTH) and n_pieces > 1:
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
    begin = first_block(net, p, n_pieces)
    if job.task >= INPUT_JACOBIAN:
        _prepare(job, work)
    for block in range(begin, first_block(net, p + 1, n_pieces)):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        rows = min(block_rows, net.data[in_data.N_ROWS] - first)
        load_inputs(net, first, 0, rows, 0, field(net, 0, in_layer.FAN_IN), rows, work)
        if job.task >= SLOPES:
            _outputs(job, first, rows, work)
        else:
            load_targets(net, first, 0, rows, 1.0, work)
            forward_block(net, first, rows, work)
            if job.task <= BOTH:
                delta_from_outputs(net, rows, work)
            else:
                output_error(net, 0, rows, work)
            add = 1 if block > begin else 0
            _backward(job, first, rows, add, shift(job.grads, p * net.plan[in_plan.N_PARAMS]), work)


# --- from one delta for each row --------------------------------------------------------------------------------------


@leaf
def _backward(job, first, m, add, grad, work):
    """All layers' delta for one block, and what is wanted of the gradients."""
    net = job.net
    last = net.plan[in_plan.N_LAYERS] - 1
    if job.task in (NORMS, DOTS):
        for i in range(m):
            job.out[first + i] = real(0.0, work)
    for i in range(last + 1):
        layer = last - i
        if layer > 0:
            backward_error(net, layer, 0, m, 0, field(net, layer, in_layer.FAN_IN), work)
        _of_layer(job, layer, first, m, add, grad, work)
        if layer > 0:
            finish_error(net, layer, first, 0, m, 0, field(net, layer, in_layer.FAN_IN), work)
    if job.task in (INPUTS, BOTH, INPUT_GRADIENT):
        n, fan_out = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT)
        errors_before(m, n, fan_out, shift(work, field(net, 0, in_layer.DELTA)), net.params, shift(job.out, first * n))


@leaf
def _of_layer(job, layer, first, m, add, grad, work):
    """What is wanted of a layer whose delta is known."""
    net = job.net
    if job.task in (PARAMS, BOTH):
        fan_in = field(net, layer, in_layer.FAN_IN)
        backward_weights(net, layer, first, m, 0, fan_in, add, grad, no_step(grad), work)
        backward_biases(net, layer, m, add, grad, work)
    elif job.task == SAMPLE_GRADIENTS:
        out = shift(job.out, first * net.plan[in_plan.N_PARAMS])
        store_layer_gradients(net, layer, first, m, job.streams, out, work)
    elif job.task == NORMS:
        add_layer_norms(net, layer, first, m, shift(job.out, first), work)
    elif job.task == DOTS:
        u = shift(work, net.plan[in_plan.EXTRA])
        add_layer_dots(net, layer, first, m, job.vector, u, shift(job.out, first), work)


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


# --- of all outputs ---------------------------------------------------------------------------------------------------


@leaf
def _third_part(job, work):
    """What a slot keeps of the weights, behind the outputs' derivatives by two layers."""
    return shift(work, job.net.plan[in_plan.EXTRA] + 2 * job.half)


@leaf
def _prepare(job, work):
    """What all blocks of a piece use of the weights."""
    if job.way == PATHS:
        weights_of_paths(job.net, _third_part(job, work))
    elif job.way == BACK and not is_softmax(job.net, job.net.plan[in_plan.N_LAYERS] - 1):
        transpose_last_weights(job.net, _third_part(job, work))


@leaf
def _outputs(job, first, m, work):
    """Derivatives of the outputs of one block."""
    net = job.net
    last = net.plan[in_plan.N_LAYERS] - 1
    k, n_in = field(net, last, in_layer.FAN_OUT), field(net, 0, in_layer.FAN_IN)
    forward_for_outputs(net, first, m, work)
    d, third = shift(work, net.plan[in_plan.EXTRA]), _third_part(job, work)
    e, out = shift(d, job.half), shift(job.out, first * k * n_in)
    if job.task == SLOPES:
        f, out = slopes(net, last, m, work), shift(job.out, first * k)
        for i in range(m * k):
            out[i] = f[i]
    elif job.task == JACOBIAN:
        out = shift(job.out, first * k * net.plan[in_plan.N_PARAMS])
        jacobian_block(net, first, m, d, e, third, job.streams, out, work)
    elif job.way == PATHS:
        input_jacobian_of_paths(net, m, third, out, work)
    elif job.way == FORWARD:
        input_jacobian_forward(net, m, d, e, out, work)
    else:
        input_jacobian_back(net, m, d, e, third, out, work)


_lead, _help_with = shared(_do_piece)
