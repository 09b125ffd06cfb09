"""What moving one parameter or one neuron does to the cost: the root of gradients by perturbation.

Moves are measured on one block of rows after another, either by a whole forward pass each or from the block's base (see
`fastbp.kernels.layers.moves`).  Each thread has a slot of `work`, and for whole passes its own copy of the parameters.
A move's result does not depend on the other moves, so it does not depend on the threads either.
"""

from fastbp.kernels.compiler.jit import formula, leaf, root
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.layers.moves import (
    UP_COLUMN,
    UP_COST_COLUMN,
    Z_COLUMN,
    MoveJob,
    base_pass,
    change_of_cost,
    column,
    crossings,
    layer_of,
    move_parameter,
    propagate,
    row_costs,
)
from fastbp.kernels.layers.net import Net, field
from fastbp.kernels.layers.passes import forward_block
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import at, real, shift
from fastbp.kernels.machine.processor import MOST_MOVE_PIECES
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks
BASE = 0  # the forward pass of a block with the parameters as they are
WHOLE_PASSES = 1  # add to changes[q]: the change of the block's cost when parameter indices[q] becomes moved[q]
FROM_BASE = 2  # the same, computing only what changes
CROSSINGS = 3  # add to changes[q]: how many kinks lie between the base and the moved parameter
NEURONS = 4  # changes[q, rows of the block] = dC_x/dz of neuron indices[q], by central differences
SEARCH = 5  # random weight search: parameter indices[s], sample indices[n_steps + s], random number moved[s]

LEADER = 0  # slot of the leader


@root
def run(
    task,
    slot,
    layers,
    segments,
    plan,
    data,
    scalars,
    params,
    work,
    base_layers,
    base_plan,
    base_work,
    base_costs,
    indices,
    moved,
    changes,
    control,
):
    """Do a task as the leader (slot 0), or help with its moves (slot > 0) until the leader says that it is over.

    The block is the `team.ROWS` rows from `team.FIRST` of `control` on.  Overwrites work, base_work and base_costs
    (BASE only), changes and control; params are overwritten by SEARCH, and put back by WHOLE_PASSES.  Returns FINISHED,
    or UNKNOWN where the tables have a code that the kernels do not know; then nothing was overwritten.
    """
    own = slot * plan[in_plan.N_PARAMS] if task == WHOLE_PASSES else 0
    net = Net(at(layers, 0), at(segments, 0), at(plan, 0), at(data, 0), at(params, own), at(scalars, 0), at(control, 0))
    base = Net(
        at(base_layers, 0),
        at(segments, 0),
        at(base_plan, 0),
        at(data, 0),
        at(params, 0),
        at(scalars, 0),
        at(control, 0),
    )
    job = MoveJob(
        task,
        net,
        at(work, slot * plan[in_plan.SLOT_SIZE]),
        base,
        at(base_work, 0),
        at(base_costs, 0),
        at(indices, 0),
        at(moved, 0),
        at(changes, 0),
        at(control, 0),
    )
    if slot > LEADER:
        help_with(job, indices.size)
        return in_scalars.FINISHED
    if not (knows(net, False, False) and knows(base, False, False)):
        return in_scalars.UNKNOWN
    if task == BASE:
        base_pass(job)
    elif task == SEARCH:
        search(job, moved.size)
    else:
        n_pieces = min(indices.size, MOST_MOVE_PIECES)
        team.open_region(job.control, n_pieces)
        take_pieces(job, indices.size)
        team.close_region(job.control, n_pieces)
    team.stop(job.control)
    return in_scalars.FINISHED


@leaf
def help_with(job, n_moves):
    """Help the leader until the job is over."""
    polls = 0
    while not team.is_stopped(job.control):
        polls += 1
        take_pieces(job, n_moves)
        team.wait(polls)


@leaf
def take_pieces(job, n_moves):
    """Do pieces of the moves until none is left."""
    control = job.control
    while True:
        p = team.take_piece(control, 0, 0)  # one queue: the moves take very different times
        if p < 0:
            return
        n_pieces = control[team.N_PIECES]
        for q in range(n_moves * p // n_pieces, n_moves * (p + 1) // n_pieces):
            measure(job, q, control[team.FIRST], control[team.ROWS])
        team.piece_done(control)


@leaf
def measure(job, q, first, m):
    """Measure move q on the block [first, first + m)."""
    if job.task == WHOLE_PASSES:
        net, p = job.net, job.indices[q]
        w = net.params[p]
        net.params[p] = job.moved[q]
        forward_block(net, first, m, job.work)
        net.params[p] = w
        job.changes[q] += change_of_cost(job, first, m)
    elif job.task == NEURONS:
        neuron_derivative(job, q, first, m)
    else:
        layer, j = move_parameter(job, q, first, m)
        propagate(job, layer, j, first, m)
        if job.task == FROM_BASE:
            job.changes[q] += change_of_cost(job, first, m)
        else:
            job.changes[q] += crossings(job, layer, j, first, m)


# --- neurons ----------------------------------------------------------------------------------------------------------


@formula
def difference(x, y):
    """x - y, as stored: without the fast-math flags by which (z + h) - (z - h) would become 2 h."""
    return x - y


@leaf
def neuron_derivative(job, q, first, m):
    """changes[q, i] = (C_i(z_j + h) - C_i(z_j - h)) / 2h; h = moved[0], times max(1, |z_j|) if moved[1] is not 0."""
    net, base = job.net, job.base
    layer, j = 0, job.indices[q]
    while j >= field(net, layer, in_layer.FAN_OUT):
        j -= field(net, layer, in_layer.FAN_OUT)
        layer += 1
    fan_out = field(net, layer, in_layer.FAN_OUT)
    z_j = shift(job.base_work, field(base, layer, in_layer.Z) + j)
    z, up, up_cost = column(job, Z_COLUMN), column(job, UP_COLUMN), column(job, UP_COST_COLUMN)
    cost, out = shift(job.work, net.plan[in_plan.COST]), shift(job.changes, q * net.data[in_data.N_ROWS] + first)
    one, h = real(1.0, z), job.moved[0]
    for sign in range(2):
        for i in range(m):
            z_i = z_j[i * fan_out]
            step = h * max(one, abs(z_i)) if job.moved[1] != 0 else h
            z[i] = z_i - step if sign == 1 else z_i + step
        propagate(job, layer, j, first, m)
        row_costs(net, first, m, job.work, job.work)
        if sign == 0:
            for i in range(m):
                up[i] = z[i]
                up_cost[i] = cost[i]
    for i in range(m):
        out[i] = float(difference(up_cost[i], cost[i])) / float(difference(up[i], z[i]))


# --- random weight search ---------------------------------------------------------------------------------------------


@leaf
def search(job, n_steps):
    """Move one weight, look at one sample, keep the move if its cost fell; changes[0] counts the moves kept."""
    net = job.net
    cost = shift(job.work, net.plan[in_plan.COST])
    for s in range(n_steps):
        p, i = job.indices[s], job.indices[n_steps + s]
        forward_block(net, i, 1, job.work)
        row_costs(net, i, 1, job.work, job.work)
        before = float(cost[0])
        w = net.params[p]
        net.params[p] = w + job.moved[s]
        forward_block(net, i, 1, job.work)
        row_costs(net, i, 1, job.work, job.work)
        if float(cost[0]) + change_of_penalty(net, p, w) < before:
            job.changes[0] += 1.0
        else:
            net.params[p] = w


@leaf
def change_of_penalty(net, p, w):
    """How much the penalties grew when parameter p, which was w, got the value that it has."""
    layer, moved, before = layer_of(net, p), float(net.params[p]), float(w)
    if p >= field(net, layer, in_layer.WEIGHTS) + field(net, layer, in_layer.FAN_IN) * field(
        net, layer, in_layer.FAN_OUT
    ):
        return 0.0  # a bias
    l2, l1 = net.scalars[in_scalars.L2_PENALTY], net.scalars[in_scalars.L1_PENALTY]
    return 0.5 * l2 * (moved - before) * (moved + before) + l1 * (abs(moved) - abs(before))
