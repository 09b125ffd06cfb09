"""What a thread of a team does: the operations of a job, each cut into pieces.

`run_piece` does piece p of the open region, whatever its operation is; `parallel` has a region done, alone or together
with the helpers; `help_with` is all that a helper does.
"""

import numpy as np

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.jobs.features import features_piece, upper_layers_piece, weights_piece
from fastbp.kernels.jobs.job import bound, region_argument
from fastbp.kernels.layers.net import field, starts_from_logits
from fastbp.kernels.layers.passes import finish_softmax, forward_block, forward_neurons, output_error, weighted_cost
from fastbp.kernels.layers.samples import load_inputs, load_targets
from fastbp.kernels.layers.weight_steps import KEEP, backward_rows_of_weights, finish_params, update_range
from fastbp.kernels.machine import team
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import MOST_PARAMS_AT_ONCE, PATIENCE, PIECE_ALIGNMENT
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

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
FORWARD_OF_ROWS = 12  # piece: some rows of the first layer, whose inputs are sparse rows


@part
def run_piece(job, p, n_pieces, slot):
    """Do piece p of the open region with the workspace slot of this thread."""
    operation = region_argument(job, team.OPERATION)
    if operation == GRADIENT_OF_ROWS:
        _gradient_piece(job, p, n_pieces, slot)
    elif operation == SUM_AND_UPDATE:
        _sum_piece(job, p, n_pieces)
    elif operation == UPDATE_ONLY:
        n = job.net.plan[in_plan.N_PARAMS]
        update_range(job, bound(n, n_pieces, p, PIECE_ALIGNMENT), bound(n, n_pieces, p + 1, PIECE_ALIGNMENT))
    elif operation in (OUTPUTS_OF_ROWS, COSTS_OF_ROWS):
        _forward_piece(job, p, n_pieces, slot, operation)
    elif operation == FEATURES:
        features_piece(job, p, n_pieces)
    elif operation == UPPER_LAYERS:
        upper_layers_piece(job, p, n_pieces)
    elif operation == WEIGHTS_BY_FEATURES:
        weights_piece(job, p)
    else:
        _layer_piece(job, operation, p, n_pieces)


# --- by rows ----------------------------------------------------------------------------------------------------------


@part
def gradient_of_rows(job, first, m, grad, slot, then):
    """Sum over samples [first, first + m) of scale C_x, its gradient into grad, block by block; NaN if abandoned.

    `then` is what follows where the gradient is complete and the cost finite: `KEEP`, or with grads[0] another.
    """
    net, work = job.net, shift(job.work, slot * job.net.plan[in_plan.SLOT_SIZE])
    n_params = net.plan[in_plan.N_PARAMS]
    at_once = n_params <= MOST_PARAMS_AT_ONCE  # the step of all layers in one go
    cost = 0.0
    for start in range(first, first + m, net.plan[in_plan.BLOCK_ROWS]):
        rows = min(net.plan[in_plan.BLOCK_ROWS], first + m - start)
        load_inputs(net, start, 0, rows, 0, field(net, 0, in_layer.FAN_IN), rows, work)
        load_targets(net, start, 0, rows, net.scalars[in_scalars.WEIGHT_FACTOR], work)
        forward_block(net, start, rows, work)
        output_error(net, 0, rows, work)
        cost += weighted_cost(net, rows, work)
        if team.is_abandoned(job.control):
            return np.nan
        add, after = 1 if start > first else 0, then if start + rows == first + m and is_finite(cost) else KEEP
        for i in range(net.plan[in_plan.N_LAYERS]):
            layer = net.plan[in_plan.N_LAYERS] - 1 - i
            fan_in, layer_after = field(net, layer, in_layer.FAN_IN), KEEP if at_once else after
            backward_rows_of_weights(job, layer, start, rows, 0, fan_in, add, layer_after, grad, work)
        if at_once and after != KEEP:
            finish_params(job, 0, n_params, after)
    return cost


@leaf
def _gradient_piece(job, p, n_pieces, slot):
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
    grad = shift(job.grads, p * job.net.plan[in_plan.N_PARAMS])
    job.costs[p] = gradient_of_rows(job, first + i0, i1 - i0, grad, slot, KEEP)


@leaf
def _sum_piece(job, p, n_pieces):
    """grads[0] = sum over pieces of their gradients, in the pieces' order; then the step, if it is wanted here."""
    n = job.net.plan[in_plan.N_PARAMS]
    begin, end = bound(n, n_pieces, p, PIECE_ALIGNMENT), bound(n, n_pieces, p + 1, PIECE_ALIGNMENT)
    total = shift(job.grads, begin)
    for q in range(1, region_argument(job, team.ADD)):
        part = shift(job.grads, q * n + begin)
        for i in range(end - begin):
            total[i] += part[i]
    finish_params(job, begin, end, region_argument(job, team.UPDATE))


@leaf
def _forward_piece(job, p, n_pieces, slot, operation):
    """Some blocks of rows: their outputs to `out`, or the sum of their costs to `costs`."""
    net, work = job.net, shift(job.work, slot * job.net.plan[in_plan.SLOT_SIZE])
    last = net.plan[in_plan.N_LAYERS] - 1
    n_outputs = field(net, last, in_layer.FAN_OUT)
    n_rows, block_rows = net.data[in_data.N_ROWS], net.plan[in_plan.BLOCK_ROWS]
    n_blocks = (n_rows + block_rows - 1) // block_rows
    cost = 0.0
    for block in range(n_blocks * p // n_pieces, n_blocks * (p + 1) // n_pieces):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        rows = min(block_rows, n_rows - first)
        load_inputs(net, first, 0, rows, 0, field(net, 0, in_layer.FAN_IN), rows, work)
        forward_block(net, first, rows, work)
        if operation == OUTPUTS_OF_ROWS:
            if starts_from_logits(net):
                finish_softmax(net, 0, rows, work)
            a, out = shift(work, field(net, last, in_layer.A)), shift(job.out, first * n_outputs)
            for i in range(rows * n_outputs):
                out[i] = a[i]
        else:
            load_targets(net, first, 0, rows, net.scalars[in_scalars.WEIGHT_FACTOR], work)
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
        fan_out = field(net, layer, in_layer.FAN_OUT)
        j0, j1 = bound(fan_out, n_pieces, p, PIECE_ALIGNMENT), bound(fan_out, n_pieces, p + 1, PIECE_ALIGNMENT)
        forward_neurons(net, layer, first, 0, m, j0, j1, work)
    elif operation == BACKWARD:
        _backward_piece(job, layer, first, m, p, n_pieces)
    else:
        i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
        if operation == FORWARD_OF_ROWS:
            forward_neurons(net, 0, first, i0, i1, 0, field(net, 0, in_layer.FAN_OUT), work)
        elif operation == LOAD:
            load_inputs(net, first, i0, i1, 0, field(net, 0, in_layer.FAN_IN), m, work)
            load_targets(net, first, i0, i1, net.scalars[in_scalars.WEIGHT_FACTOR], work)
        else:
            if not starts_from_logits(net):
                finish_softmax(net, i0, i1, work)
            output_error(net, i0, i1, work)


@leaf
def _backward_piece(job, layer, first, m, p, n_pieces):
    """Some rows of a layer's weights, by the region's arguments."""
    fan_in = field(job.net, layer, in_layer.FAN_IN)
    k0, k1 = bound(fan_in, n_pieces, p, PIECE_ALIGNMENT), bound(fan_in, n_pieces, p + 1, PIECE_ALIGNMENT)
    add, then = region_argument(job, team.ADD), region_argument(job, team.UPDATE)
    backward_rows_of_weights(job, layer, first, m, k0, k1, add, then, job.grads, job.work)


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
    control, patience = job.control, PATIENCE
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
