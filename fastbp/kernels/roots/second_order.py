"""Products with second derivatives of the cost and with Jacobians of the outputs, none of which is ever formed.

A product of a block of rows needs the network linearized there, which is either done before each product, or once, and
kept, by the task LINEARIZE.  Rows are shared in pieces, each with a vector of its own; where nearly all weights lie in
the first layer, its products are shared by features instead, and the rows' way through the others in pieces of rows.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.functions.loss_curvature import EXACT, GAUSS_NEWTON
from fastbp.kernels.functions.loss_curvature import FISHER as FISHER_CURVATURE
from fastbp.kernels.jobs.job import bound
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.higher_derivatives import knows_derivatives
from fastbp.kernels.layers.linearization import (
    BEND,
    EVERYTHING,
    FISHER_D,
    GAUSS_NEWTON_D,
    NO_CURVATURE,
    linearize_block,
    state_size,
)
from fastbp.kernels.layers.net import Net, field, rows_from
from fastbp.kernels.layers.passes import forward_features, join_features
from fastbp.kernels.layers.products import linear_product
from fastbp.kernels.layers.samples import input_pointer, inputs_in_place, load_inputs, load_targets
from fastbp.kernels.layers.tangents import (
    biases_tangent,
    error_tangent,
    error_tangent_before,
    multiply_by_jacobian,
    outputs_tangent,
    tangent_backward,
    tangent_forward,
    weights_tangent,
)
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import at, from_address, real, shift
from fastbp.kernels.machine.processor import LEAST_UPPER_ROWS, MOST_LAYER_PIECES
from fastbp.kernels.roots import entry
from fastbp.kernels.roots.entry import net_at
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks: what the vector is multiplied by
HESSIAN = 0  # of the cost, penalties included
GAUSS_NEWTON_MATRIX = 1
FISHER = 2
JACOBIAN = 3  # of the outputs by the parameters: the result goes to OUT
INPUT_JACOBIAN = 4  # of each row's outputs by its inputs; the vector is rows of inputs, the result goes to OUT
TRANSPOSED = 5  # that of JACOBIAN transposed; the vector is rows of outputs
LINEARIZE = 6  # no product: keep in STATE what the others need
KEPT = 8  # added to one of the others: STATE has been kept

# operations of a region
_ROWS = 0
_SUM = 1
_FEATURES = 2
_UPPER = 3
_WEIGHTS = 4

VECTOR = entry.N_ADDRESSES
N_ADDRESSES = entry.N_ADDRESSES + 1


class _Job(NamedTuple):
    net: Net
    task: Any
    is_kept: Any
    grads: Any  # a product for each piece of rows
    state: Any
    work: Any
    v: Any
    out: Any
    control: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  Overwrites grads (the first vector has the product), out, work
    and control, LINEARIZE state.  Returns FINISHED, or UNKNOWN where the tables have a code that the kernels do not
    know, or a derivative is missing; then nothing was overwritten.
    """
    table, reals = at(addresses, 0), at(like, 0)
    net = net_at(table, reals, at(rates, 0), at(control, 0))
    job = _Job(
        net,
        task % KEPT,
        task >= KEPT,
        from_address(table[entry.GRADS], reals),
        from_address(table[entry.STATE], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[VECTOR], reals),
        from_address(table[entry.OUT], reals),
        at(control, 0),
    )
    if slot > entry.LEADER:
        _help_with(job, slot)
        return in_scalars.FINISHED
    if not (knows(net, True, False) and _knows_second(net, job.task)):
        return in_scalars.UNKNOWN
    if net.plan[in_plan.MODE] == in_plan.BY_FEATURES:
        _lead_by_features(job)
    else:
        _lead(job, _ROWS, net.plan[in_plan.N_PIECES])
        if _has_sum(job.task) and net.plan[in_plan.N_PIECES] > 1:
            _lead(job, _SUM, net.plan[in_plan.UPDATE_PIECES])
    if job.task == HESSIAN and net.scalars[in_scalars.L2_PENALTY] != 0.0:
        _add_penalty(net, job.v, job.grads)
    team.stop(job.control)
    return in_scalars.FINISHED


@leaf
def _knows_second(net, task):
    """Whether the derivatives that a task needs are there."""
    exact, any_curvature = task in (HESSIAN, LINEARIZE), task < JACOBIAN or task == LINEARIZE
    lacks_loss = net.plan[in_plan.LOSS] == codes.CUSTOM_LOSS and net.plan[in_plan.LOSS_SECOND] == 0
    return task <= LINEARIZE and (not exact or knows_derivatives(net, 2)) and not (any_curvature and lacks_loss)


@leaf
def _has_sum(task):
    """Whether the result is a vector like the parameters, a sum over rows."""
    return task < JACOBIAN or task == TRANSPOSED


@leaf
def _curvature(task):
    """What linearizing for one product must find out of the loss."""
    if task == LINEARIZE:
        return EVERYTHING
    if task == HESSIAN:
        return EXACT
    if task == GAUSS_NEWTON_MATRIX:
        return GAUSS_NEWTON
    return FISHER_CURVATURE if task == FISHER else NO_CURVATURE


@leaf
def _place_of_curvature(job):
    """Which of the kept arrays holds the curvature that a task multiplies by."""
    if not job.is_kept or job.task == HESSIAN:
        return BEND
    return GAUSS_NEWTON_D if job.task == GAUSS_NEWTON_MATRIX else FISHER_D


@leaf
def _add_penalty(net, v, product):
    """The weights' share of product += l2 v: that of the L1 penalty is 0, but for weights of 0."""
    l2 = real(net.scalars[in_scalars.L2_PENALTY], v)
    for layer in range(net.plan[in_plan.N_LAYERS]):
        begin = field(net, layer, in_layer.WEIGHTS)
        V, target = shift(v, begin), shift(product, begin)
        for i in range(field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT)):
            target[i] += l2 * V[i]


@leaf
def _do_piece(job, operation, p, n_pieces, slot):
    net = job.net
    if operation == _SUM:
        sum_piece(job.grads, net.plan[in_plan.N_PARAMS], net.plan[in_plan.N_PIECES], p, n_pieces)
    elif operation == _ROWS:
        _rows_piece(job, p, n_pieces, shift(job.work, slot * net.plan[in_plan.SLOT_SIZE]))
    elif operation == _FEATURES:
        _features_piece(job, p, n_pieces)
    elif operation == _UPPER:
        _upper_piece(job, p, n_pieces)
    else:
        _weights_piece(job, p)


@leaf
def _state_of_block(job, block, work):
    """Where a block's linearization lies, or goes."""
    if job.is_kept or job.task == LINEARIZE:
        return shift(job.state, block * state_size(job.net))
    return shift(work, job.net.plan[in_plan.EXTRA])


@leaf
def _load(job, first, i0, i1, work):
    """Targets and scales of rows [i0, i1) of a block, where they are needed."""
    if not job.is_kept and _curvature(job.task) != NO_CURVATURE:
        load_targets(job.net, first, i0, i1, job.net.scalars[in_scalars.WEIGHT_FACTOR], work)


# --- by rows ----------------------------------------------------------------------------------------------------------


@leaf
def _rows_piece(job, p, n_pieces, work):
    net, block_rows = job.net, job.net.plan[in_plan.BLOCK_ROWS]
    grad, begin = shift(job.grads, p * net.plan[in_plan.N_PARAMS]), first_block(net, p, n_pieces)
    for block in range(begin, first_block(net, p + 1, n_pieces)):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        m = min(block_rows, net.data[in_data.N_ROWS] - first)
        state = _state_of_block(job, block, work)
        if not (job.is_kept and job.task == INPUT_JACOBIAN):
            load_inputs(net, first, 0, m, 0, field(net, 0, in_layer.FAN_IN), m, work)
        _load(job, first, 0, m, work)
        if not job.is_kept:
            linearize_block(net, _curvature(job.task), first, 0, m, False, work, state)
        if job.task != LINEARIZE:
            _forward(job, first, 0, m, False, work, state)
            if _has_sum(job.task):
                tangent_backward(net, first, m, job.task == HESSIAN, block > begin, job.v, grad, work, state)


@leaf
def _forward(job, first, i0, i1, has_first, work, state):
    """From the vector to rows [i0, i1) of the output layer's tangent of delta, or of a Jacobian's result."""
    net, last = job.net, job.net.plan[in_plan.N_LAYERS] - 1
    if job.task == TRANSPOSED:
        u = shift(job.v, (first + i0) * field(net, last, in_layer.FAN_OUT))
        multiply_by_jacobian(net, i0, i1, u, rows_from(net, last, in_layer.DELTA, i0, work), state)
        return
    tangent_forward(net, first, i0, i1, job.task == INPUT_JACOBIAN, has_first, job.v, work, state)
    if job.task == JACOBIAN or job.task == INPUT_JACOBIAN:
        outputs_tangent(net, first, i0, i1, work, state, job.out)
    else:
        error_tangent(net, i0, i1, _place_of_curvature(job), work, state)


# --- by features ------------------------------------------------------------------------------------------------------


@leaf
def _lead_by_features(job):
    net, n_pieces = job.net, job.net.plan[in_plan.N_PIECES]
    _lead(job, _FEATURES, 2 * n_pieces if _parts_are_apart(job) else n_pieces)
    if team.is_abandoned(job.control):
        return
    _lead(job, _UPPER, max(1, min(net.data[in_data.N_ROWS] // LEAST_UPPER_ROWS, MOST_LAYER_PIECES)))
    if _has_sum(job.task):
        _lead(job, _WEIGHTS, 2 * n_pieces + net.plan[in_plan.N_LAYERS] - 1)


@leaf
def _parts_are_apart(job):
    """Whether parts of z and of Rz are pieces of their own: both are wanted, and neither waits for X to be gathered."""
    wants_both = not job.is_kept and job.task != TRANSPOSED and job.task != LINEARIZE
    return wants_both and inputs_in_place(job.net, job.net.data[in_data.N_ROWS])


@leaf
def _features_piece(job, p, n_all):
    """Some features of X into the workspace, and their parts of the first layer's z and Rz, or one of the two."""
    net, work, m = job.net, job.work, job.net.data[in_data.N_ROWS]
    n_pieces, wants_z = net.plan[in_plan.N_PIECES], True
    wants_tangent = job.task != TRANSPOSED and job.task != LINEARIZE
    if n_all > n_pieces:
        wants_z, wants_tangent, p = p % 2 == 0, p % 2 == 1, p // 2
    fan_in, fan_out = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT)
    k0, k1 = bound(fan_in, n_pieces, p, 1), bound(fan_in, n_pieces, p + 1, 1)
    part = shift(work, net.plan[in_plan.PARTS] + p * m * fan_out)
    if job.is_kept:
        load_inputs(net, 0, 0, m, k0, k1, m, work)
    elif wants_z:
        forward_features(net, 0, m, k0, k1, part, work)
    if wants_tangent:
        X, stride = input_pointer(net, 0, m, work)
        V = shift(job.v, field(net, 0, in_layer.WEIGHTS) + k0 * fan_out)
        linear_product(m, k1 - k0, fan_out, shift(X, k0), stride, V, False, shift(part, n_pieces * m * fan_out))


@leaf
def _upper_piece(job, p, n_pieces):
    """Some rows from the first layer's z and Rz to its Rdelta, through all other layers."""
    net, work, m = job.net, job.work, job.net.data[in_data.N_ROWS]
    i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
    state = _state_of_block(job, 0, work)
    _load(job, 0, i0, i1, work)
    if not job.is_kept:
        join_features(net, 0, i0, i1, m, work)
        linearize_block(net, _curvature(job.task), 0, i0, i1, True, work, state)
    if job.task == LINEARIZE:
        return
    if job.task != TRANSPOSED:
        _join_tangents(net, i0, i1, m, job.v, work)
    _forward(job, 0, i0, i1, True, work, state)
    if _has_sum(job.task):
        last = net.plan[in_plan.N_LAYERS] - 1
        for i in range(last):
            error_tangent_before(net, last - i, i0, i1, job.task == HESSIAN, job.v, work, state)


@leaf
def _join_tangents(net, i0, i1, m, v, work):
    """Rz = b + the parts, in their order, for rows [i0, i1) of the first layer."""
    n, n_pieces = field(net, 0, in_layer.FAN_OUT), net.plan[in_plan.N_PIECES]
    b = shift(v, field(net, 0, in_layer.WEIGHTS) + field(net, 0, in_layer.FAN_IN) * n)
    Rz, parts = shift(work, field(net, 0, in_layer.Z)), shift(work, net.plan[in_plan.PARTS] + n_pieces * m * n)
    for i in range(i0, i1):
        row = shift(Rz, i * n)
        for j in range(n):
            row[j] = b[j]
        for p in range(n_pieces):
            part = shift(parts, (p * m + i) * n)
            for j in range(n):
                row[j] += part[j]


@leaf
def _weights_piece(job, p):
    """The first layer's weights for some features, piece by piece, then those of the others, layer by layer."""
    net, work, m, n_pieces = job.net, job.work, job.net.data[in_data.N_ROWS], 2 * job.net.plan[in_plan.N_PIECES]
    layer, state = max(0, p - n_pieces + 1), _state_of_block(job, 0, work)
    k0, k1 = 0, field(net, layer, in_layer.FAN_IN)
    if layer == 0:
        k0, k1 = bound(k1, n_pieces, p, 1), bound(k1, n_pieces, p + 1, 1)
    weights_tangent(net, layer, 0, m, k0, k1, job.task == HESSIAN, False, job.grads, work, state)
    if k1 == field(net, layer, in_layer.FAN_IN):
        biases_tangent(net, layer, m, False, job.grads, work)


_lead, _help_with = shared(_do_piece)
