"""What a thread of a team does: the operations of a job, each cut into pieces.

`run_piece` does piece p of the open region, whatever its operation is; `parallel` has a region done, alone or together
with the helpers; `help_with` is a helper's whole life.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels import tables as t
from fastbp.kernels import team
from fastbp.kernels.jit import leaf
from fastbp.kernels.passes import (
    Net,
    backward_biases,
    backward_error,
    backward_weights,
    fetch_inputs,
    field,
    finish_error,
    finish_softmax,
    forward_block,
    forward_features,
    forward_neurons,
    join_features,
    load_inputs,
    load_targets,
    output_error,
    starts_from_logits,
    weighted_cost,
)
from fastbp.kernels.pointers import real, shift
from fastbp.kernels.updates import Step, add_penalty, sum_of_squares, update

# operations of a region
GRADIENT_OF_ROWS = 0  # piece: some rows through the whole network, into a gradient of the piece's own
SUM_AND_UPDATE = 1  # piece: a range of parameters; sums the pieces' gradients, adds the penalty, takes the step
UPDATE_ONLY = 2  # piece: a range of parameters; takes the step with the clipped gradient
LOAD = 3  # piece: some rows of X and Y into the workspace
FORWARD = 4  # piece: some neurons of a layer
OUTPUT = 5  # piece: some rows of the output layer
BACKWARD = 6  # piece: some rows of a layer's weights: their gradient, the error behind them, their step
OUTPUTS_OF_ROWS = 7  # piece: some blocks of rows through the network, into `out`
COSTS_OF_ROWS = 8  # piece: some blocks of rows through the network, their cost into `costs`
FEATURES = 9  # piece: some features of X into the workspace, and their part of the first layer's z
UPPER_LAYERS = 10  # piece: some rows from the first layer's z to its delta; their cost into `costs`
WEIGHTS_BY_FEATURES = 11  # piece: the first layer's weights of some features, or those of another layer: as BACKWARD

# what a region does with its part of the gradient
KEEP = 0  # it is not complete yet
ADD_PENALTY = 1
STEP = 2  # add the penalty and take the step

_MOST_AT_ONCE = 1 << 13  # parameters whose step waits for all layers' gradients: some 32 KiB of float32
_FETCH_FEATURES = 24  # rows of weights between which a part of the next mini-batch is fetched
_ALIGN = 16  # a piece of neurons or parameters begins at a multiple of this: a whole cache line of float32


_LARGEST_FLOAT = 1.7976931348623157e308


class Job(NamedTuple):
    """Pointers to everything that the threads of a job share."""

    net: Net
    grads: Any  # one gradient for each piece of rows
    state: Any  # the optimizer's state vectors
    work: Any  # one slot for each thread
    costs: Any  # float64, one for each piece
    out: Any  # outputs (n, n_outputs)
    control: Any  # see `fastbp.kernels.team`


@leaf
def is_finite(x):
    """Whether x is neither NaN nor infinite.

    Not math.isfinite: that is x - x == 0, and where x is a sum, reassociation makes it true of every x.
    """
    return abs(x) <= _LARGEST_FLOAT


@leaf
def bound(total, n_pieces, p, align):
    """Where piece p of a range begins: multiples of `align`, the last piece ends at `total`."""
    if p == n_pieces:
        return total
    return (total * p // n_pieces) // align * align


@leaf
def region_argument(job, index):
    """An argument of the open region."""
    return job.control[index]


@leaf
def run_piece(job, p, n_pieces, slot):
    """Do piece p of the open region with the workspace slot of this thread."""
    operation = region_argument(job, team.OPERATION)
    if operation == GRADIENT_OF_ROWS:
        _gradient_piece(job, p, n_pieces, slot)
    elif operation == SUM_AND_UPDATE:
        _sum_piece(job, p, n_pieces)
    elif operation == UPDATE_ONLY:
        n = job.net.plan[t.N_PARAMS]
        update_range(job, bound(n, n_pieces, p, _ALIGN), bound(n, n_pieces, p + 1, _ALIGN))
    elif operation in (OUTPUTS_OF_ROWS, COSTS_OF_ROWS):
        _forward_piece(job, p, n_pieces, slot, operation)
    elif operation == FEATURES:
        _features_piece(job, p, n_pieces)
    elif operation == UPPER_LAYERS:
        _upper_layers_piece(job, p, n_pieces)
    elif operation == WEIGHTS_BY_FEATURES:
        _weights_piece(job, p)
    else:
        _layer_piece(job, operation, p, n_pieces)


# --- by rows ----------------------------------------------------------------------------------------------------------


@leaf
def gradient_of_rows(job, first, m, grad, slot, then):
    """Sum over samples [first, first + m) of scale C_x, its gradient into grad, block by block; NaN if abandoned.

    `then` is what follows where the gradient is complete and the cost finite: `KEEP`, or with grads[0] another.
    """
    net, work = job.net, shift(job.work, slot * job.net.plan[t.SLOT_SIZE])
    n_params = net.plan[t.N_PARAMS]
    at_once = n_params <= _MOST_AT_ONCE  # the step of all layers in one go
    cost = 0.0
    for start in range(first, first + m, net.plan[t.BLOCK_ROWS]):
        rows = min(net.plan[t.BLOCK_ROWS], first + m - start)
        load_inputs(net, start, 0, rows, 0, field(net, 0, t.FAN_IN), rows, work)
        load_targets(net, start, 0, rows, net.scalars[t.WEIGHT_FACTOR], work)
        forward_block(net, start, rows, work)
        output_error(net, 0, rows, work)
        cost += weighted_cost(net, rows, work)
        if team.is_abandoned(job.control):
            return np.nan
        add, after = 1 if start > first else 0, then if start + rows == first + m and is_finite(cost) else KEEP
        for i in range(net.plan[t.N_LAYERS]):
            layer = net.plan[t.N_LAYERS] - 1 - i
            fan_in, layer_after = field(net, layer, t.FAN_IN), KEEP if at_once else after
            backward_rows_of_weights(job, layer, start, rows, 0, fan_in, add, layer_after, grad, work)
        if at_once and after != KEEP:
            finish_params(job, 0, n_params, after)
    return cost


@leaf
def _gradient_piece(job, p, n_pieces, slot):
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
    grad = shift(job.grads, p * job.net.plan[t.N_PARAMS])
    job.costs[p] = gradient_of_rows(job, first + i0, i1 - i0, grad, slot, KEEP)


@leaf
def _sum_piece(job, p, n_pieces):
    """grads[0] = sum over pieces of their gradients, in the pieces' order; then the step, if it is wanted here."""
    n = job.net.plan[t.N_PARAMS]
    begin, end = bound(n, n_pieces, p, _ALIGN), bound(n, n_pieces, p + 1, _ALIGN)
    total = shift(job.grads, begin)
    for q in range(1, region_argument(job, team.ADD)):
        part = shift(job.grads, q * n + begin)
        for i in range(end - begin):
            total[i] += part[i]
    finish_params(job, begin, end, region_argument(job, team.UPDATE))


@leaf
def _forward_piece(job, p, n_pieces, slot, operation):
    """Some blocks of rows: their outputs to `out`, or the sum of their costs to `costs`."""
    net, work = job.net, shift(job.work, slot * job.net.plan[t.SLOT_SIZE])
    last = net.plan[t.N_LAYERS] - 1
    n_outputs = field(net, last, t.FAN_OUT)
    n_rows, block_rows = net.data[t.N_ROWS], net.plan[t.BLOCK_ROWS]
    n_blocks = (n_rows + block_rows - 1) // block_rows
    cost = 0.0
    for block in range(n_blocks * p // n_pieces, n_blocks * (p + 1) // n_pieces):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        rows = min(block_rows, n_rows - first)
        load_inputs(net, first, 0, rows, 0, field(net, 0, t.FAN_IN), rows, work)
        forward_block(net, first, rows, work)
        if operation == OUTPUTS_OF_ROWS:
            if starts_from_logits(net):
                finish_softmax(net, 0, rows, work)
            a, out = shift(work, field(net, last, t.A)), shift(job.out, first * n_outputs)
            for i in range(rows * n_outputs):
                out[i] = a[i]
        else:
            load_targets(net, first, 0, rows, net.scalars[t.WEIGHT_FACTOR], work)
            output_error(net, 0, rows, work)
            cost += weighted_cost(net, rows, work)
    if operation == COSTS_OF_ROWS:
        job.costs[p] = cost


# --- by neurons -------------------------------------------------------------------------------------------------------


@leaf
def _layer_piece(job, operation, p, n_pieces):
    """A piece of one layer's work on the one block that all threads share (slot 0)."""
    net, work = job.net, job.work
    layer, first, m = (
        region_argument(job, team.LAYER),
        region_argument(job, team.FIRST),
        region_argument(job, team.ROWS),
    )
    if operation == FORWARD:
        fan_out = field(net, layer, t.FAN_OUT)
        j0, j1 = bound(fan_out, n_pieces, p, _ALIGN), bound(fan_out, n_pieces, p + 1, _ALIGN)
        forward_neurons(net, layer, first, 0, m, j0, j1, work)
    elif operation == BACKWARD:
        _backward_piece(job, layer, first, m, p, n_pieces)
    else:
        i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
        if operation == LOAD:
            load_inputs(net, first, i0, i1, 0, field(net, 0, t.FAN_IN), m, work)
            load_targets(net, first, i0, i1, net.scalars[t.WEIGHT_FACTOR], work)
        else:
            if not starts_from_logits(net):
                finish_softmax(net, i0, i1, work)
            output_error(net, i0, i1, work)


@leaf
def _backward_piece(job, layer, first, m, p, n_pieces):
    """Some rows of a layer's weights, by the region's arguments."""
    fan_in = field(job.net, layer, t.FAN_IN)
    k0, k1 = bound(fan_in, n_pieces, p, _ALIGN), bound(fan_in, n_pieces, p + 1, _ALIGN)
    add, then = region_argument(job, team.ADD), region_argument(job, team.UPDATE)
    backward_rows_of_weights(job, layer, first, m, k0, k1, add, then, job.grads, job.work)


@leaf
def backward_rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work):
    """Rows [k0, k1) of a layer's weights: the error behind them (with the old weights), dW, and what is to follow."""
    if layer > 0:
        backward_error(job.net, layer, 0, m, k0, k1, work)
    rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work)
    if layer > 0:
        finish_error(job.net, layer, first, 0, m, k0, k1, work)


@leaf
def rows_of_weights(job, layer, first, m, k0, k1, add, then, grad, work):
    """Rows [k0, k1) of a layer's weights: dW, and what is to follow.  The last rows have the biases behind them."""
    net = job.net
    fan_in, fan_out = field(net, layer, t.FAN_IN), field(net, layer, t.FAN_OUT)
    weights = field(net, layer, t.WEIGHTS)
    begin, end = weights + k0 * fan_out, weights + k1 * fan_out
    backward_weights(net, layer, first, m, k0, k1, add, grad, step_from(job, begin, then == STEP), work)
    if k1 == fan_in:
        backward_biases(net, layer, m, add, grad, work)
        if then == STEP:
            update_range(job, end, end + fan_out)
    if then == ADD_PENALTY:
        add_penalty_range(job, begin, end)


# --- by features ------------------------------------------------------------------------------------------------------


@leaf
def _features_piece(job, p, n_pieces):
    """Some features of X into the workspace, and their part of the first layer's z."""
    net, work = job.net, job.work
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    fan_in = field(net, 0, t.FAN_IN)
    k0, k1 = bound(fan_in, n_pieces, p, 1), bound(fan_in, n_pieces, p + 1, 1)
    forward_features(net, first, m, k0, k1, shift(work, net.plan[t.PARTS] + p * m * field(net, 0, t.FAN_OUT)), work)


@leaf
def _upper_layers_piece(job, p, n_pieces):
    """Rows from the first layer's z to its delta, through all other layers."""
    net, work, n_layers = job.net, job.work, job.net.plan[t.N_LAYERS]
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
    join_features(net, first, i0, i1, m, work)
    for layer in range(1, n_layers):
        forward_neurons(net, layer, first, i0, i1, 0, field(net, layer, t.FAN_OUT), work)
    load_targets(net, first, i0, i1, net.scalars[t.WEIGHT_FACTOR], work)
    if not starts_from_logits(net):
        finish_softmax(net, i0, i1, work)
    output_error(net, i0, i1, work)
    for i in range(n_layers - 1):
        layer = n_layers - 1 - i
        fan_in = field(net, layer, t.FAN_IN)
        backward_error(net, layer, i0, i1, 0, fan_in, work)
        finish_error(net, layer, first, i0, i1, 0, fan_in, work)


@leaf
def _weights_piece(job, p):
    """The weights of some features, piece by piece for the first layer, then layer by layer for the others: dW, step.

    Between the rows of weights the next mini-batch is fetched from memory, for the thread that will gather it here.
    """
    net = job.net
    n_pieces = net.plan[t.N_PIECES]
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    then = region_argument(job, team.UPDATE)
    if p >= n_pieces:
        layer = p - n_pieces + 1
        rows_of_weights(job, layer, first, m, 0, field(net, layer, t.FAN_IN), 0, then, job.grads, job.work)
        return
    fan_in, coming = field(net, 0, t.FAN_IN), region_argument(job, team.NEXT_ROWS)
    k0, k1 = bound(fan_in, n_pieces, p, 1), bound(fan_in, n_pieces, p + 1, 1)
    n_chunks = max(1, (k1 - k0) // _FETCH_FEATURES)
    for chunk in range(n_chunks):
        begin, end = k0 + bound(k1 - k0, n_chunks, chunk, 1), k0 + bound(k1 - k0, n_chunks, chunk + 1, 1)
        i0, i1 = coming * chunk // n_chunks, coming * (chunk + 1) // n_chunks
        fetch_inputs(net, region_argument(job, team.NEXT), i0, i1, k0, k1)
        rows_of_weights(job, 0, first, m, begin, end, 0, then, job.grads, job.work)


# --- the step ---------------------------------------------------------------------------------------------------------


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
    l2, l1 = real(net.scalars[t.L2_PENALTY], net.params), real(net.scalars[t.L1_PENALTY], net.params)
    if l2 == 0 and l1 == 0:
        return
    for layer in range(net.plan[t.N_LAYERS]):
        weights = field(net, layer, t.WEIGHTS)
        k0 = max(begin, weights)
        k1 = min(end, weights + field(net, layer, t.FAN_IN) * field(net, layer, t.FAN_OUT))
        if k0 < k1:
            add_penalty(k1 - k0, l2, l1, shift(net.params, k0), shift(job.grads, k0))


@leaf
def step_from(job, begin, wanted):
    """The optimizer's step, with penalties, of the parameters from `begin` on, which must be weights."""
    net = job.net
    s = net.scalars
    second = net.plan[t.N_PARAMS] if net.plan[t.N_STATE_VECTORS] > 1 else 0
    w, s1, s2 = shift(net.params, begin), shift(job.state, begin), shift(job.state, begin + second)
    rates = s[t.LEARNING_RATE], 1.0 - s[t.POWER_1], 1.0 - s[t.POWER_2]
    return Step(wanted, net.plan[t.OPTIMIZER], s, *rates, s[t.L2_PENALTY], s[t.L1_PENALTY], w, s1, s2)


@leaf
def update_range(job, begin, end):
    """The optimizer's step, without penalties, for parameters [begin, end), with the gradient in grads[0]."""
    n, g = end - begin, shift(job.grads, begin)
    step = step_from(job, begin, True)
    rates = step.rate, step.correction_1, step.correction_2
    update(step.optimizer, step.constants, *rates, 1, n, n, n, g, step.w, step.s1, step.s2)


@leaf
def gradient_norm(job):
    """Euclidean norm of grads[0], in float64; one thread, so that the sum has one order."""
    return sum_of_squares(job.net.plan[t.N_PARAMS], job.grads) ** 0.5


# --- teams ------------------------------------------------------------------------------------------------------------


@leaf
def parallel(job, operation, n_pieces):
    """Have a region done; its arguments stand in `control`.  One piece costs no atomic operation."""
    control = job.control
    control[team.OPERATION] = operation
    if n_pieces == 1:
        run_piece(job, 0, 1, 0)
        return
    team.open_region(control, n_pieces)
    take_pieces(job, 0)
    team.close_region(control, n_pieces)


@leaf
def take_pieces(job, slot):
    """Do pieces of the open region until none is left."""
    control, patience = job.control, team.PATIENCE
    while True:
        p = team.take_piece(control, slot, patience)
        if p == team.NONE:
            return
        if p == team.SOON:
            patience -= 1
            team.pause()
        else:
            run_piece(job, p, control[team.N_PIECES], slot)
            team.piece_done(control)


@leaf
def help_with(job, slot):
    """Help the leader until the job is over."""
    polls = 0
    while not team.is_stopped(job.control):
        polls += 1
        take_pieces(job, slot)
        team.wait(polls)
