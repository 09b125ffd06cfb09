"""Levenberg-Marquardt: J^T J and the gradient of a quadratic cost, and the loop over steps that are tried.

With F = scale sum_x w_x |e_x|^2 / 2 + sum_i ridge_i p_i^2 / 2 over all samples, of which the cost that is reported is a
multiple, a step s from the parameters p solves

    (scale J^T J + diag(ridge) + mu) s = -dF/dp

and is taken if F falls; else mu grows and another is tried.  Trials are made on a copy of the parameters.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.net import Net, field
from fastbp.kernels.layers.normal_equations import Pairs, add_products, lowered, scatter
from fastbp.kernels.layers.side_by_side import add_gradient, derivatives, errors, forward, load_block
from fastbp.kernels.machine import team
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, float32_from_address, from_address, real, shift
from fastbp.kernels.matrix.cholesky import factorize, solve_factored
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks
EQUATIONS = 0  # J^T J, the gradient and the sum of squares
ITERATE = 1  # up to N_WANTED iterations

# addresses behind those of all roots; float64 unless it is said
ROOMS = entry.N_ADDRESSES  # int64, of `fastbp.kernels.layers.side_by_side`
PAIRS = ROOMS + 1  # int64, of `fastbp.kernels.layers.normal_equations`
SIZES = ROOMS + 2  # int64, below
LOW = ROOMS + 3  # each thread's low copies and products, float32 or the network's dtype
SUMS = ROOMS + 4  # each piece's sums of products, likewise
GRADIENTS = ROOMS + 5  # of each piece, (n_pieces, n_params)
HESSIAN = ROOMS + 6  # J^T J: the lower triangle, (n_params, n_params)
FACTOR = ROOMS + 7
VECTORS = ROOMS + 8  # (3, n_params), below
SETTINGS = ROOMS + 9  # below
RECORDS = ROOMS + 10  # (N_WANTED, 4): the cost after each iteration, mu, the gradient's norm, and tries
TRIAL = ROOMS + 11  # parameters that are tried, the network's dtype
N_ADDRESSES = ROOMS + 12

# places in SIZES
N_PAIRS = 0
N_SUMS = 1
IS_MIXED = 2  # 1: products in float32 of a network in float64
LOW_SIZE = 3  # of a thread's slot of LOW
N_LOW = 4  # elements of the rooms of a and d, which are copied
LEFT = 5  # offsets in such a slot
RIGHT = 6
SUM_PIECES = 7
SIZES_LENGTH = 8

# vectors
_SLOPE = 0  # dF/dp
_STEP = 1
RIDGE = 2

# places in SETTINGS
N_WANTED = 0
RULE = 1  # GAIN_RATIO or FIXED_FACTORS
MU_DECREASE = 2
MU_INCREASE = 3
MU_MAX = 4
MIN_GRADIENT = 5
GOAL = 6
SCALE = 7
TOTAL_WEIGHT = 8  # by which sums are divided to be reported
REPORTS_PENALTY = 9  # whether the cost that is reported includes the ridge's
MU = 10  # from here on the state
NU = 11  # by which mu grows next
IS_SCALED = 12  # whether MU is absolute, and not yet a fraction of the largest element of the diagonal
HALF_SQUARES = 13  # sum_x w_x |e_x|^2 / 2 of the parameters, if the next is 1
IS_ASSEMBLED = 14
N_DONE = 15  # results
STOPPED = 16
GRADIENT_NORM = 17
SETTINGS_LENGTH = 18

# rules
GAIN_RATIO = 0
FIXED_FACTORS = 1

# why there are no more iterations
GOES_ON = 0
GOAL_REACHED = 1
SMALL_GRADIENT = 2
LARGE_MU = 3
NOT_FINITE = 4

LEAST_MU = 1e-20  # MATLAB's; a smaller one vanishes beside every number that is not 0

# operations of a region
_EQUATIONS = 0
_SUM = 1
_COST = 2


class _Job(NamedTuple):
    net: Net
    table: Any
    like: Any
    trial: Any
    work: Any
    costs: Any
    gradients: Any
    vectors: Any
    settings: Any
    control: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  EQUATIONS overwrites what its results are, and the work; ITERATE
    all that is not a table, and params.  Returns FINISHED, or UNKNOWN where the tables have a code that the kernels do
    not know; then nothing was overwritten.
    """
    table, reals, doubles = at(addresses, 0), at(like, 0), at(rates, 0)
    net = Net(
        from_address(table[entry.LAYERS], table),
        from_address(table[entry.SEGMENTS], table),
        from_address(table[entry.PLAN], table),
        from_address(table[entry.DATA], table),
        from_address(table[entry.PARAMS], reals),
        from_address(table[entry.SCALARS], doubles),
        at(control, 0),
    )
    job = _Job(
        net,
        table,
        reals,
        from_address(table[TRIAL], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[entry.COSTS], doubles),
        from_address(table[GRADIENTS], doubles),
        from_address(table[VECTORS], doubles),
        from_address(table[SETTINGS], doubles),
        at(control, 0),
    )
    if slot > entry.LEADER:
        _help_with(job, slot)
        return in_scalars.FINISHED
    if not knows(net, True, False):
        return in_scalars.UNKNOWN
    if task == ITERATE:
        _iterate(job)
    else:
        _assemble(job, False)
    team.stop(job.control)
    return in_scalars.FINISHED


@leaf
def _table(job, address):
    """Pointer to one of the tables of integers."""
    return from_address(job.table[address], job.table)


@leaf
def _doubles(job, address):
    """Pointer to float64 numbers."""
    return from_address(job.table[address], job.settings)


# --- pieces -----------------------------------------------------------------------------------------------------------


@leaf
def _do_piece(job, operation, p, n_pieces, slot):
    sizes = _table(job, SIZES)
    if operation == _SUM:
        if sizes[IS_MIXED] != 0:
            sum_piece(float32_from_address(job.table[SUMS]), sizes[N_SUMS], _n_row_pieces(job), p, n_pieces)
        else:
            sum_piece(from_address(job.table[SUMS], job.like), sizes[N_SUMS], _n_row_pieces(job), p, n_pieces)
        return
    net, rooms = _net_of_region(job), _table(job, ROOMS)
    work = shift(job.work, slot * net.plan[in_plan.SLOT_SIZE])
    grad = shift(job.gradients, p * net.plan[in_plan.N_PARAMS])
    if operation == _EQUATIONS:
        for i in range(net.plan[in_plan.N_PARAMS]):
            grad[i] = 0.0
    begin, total = first_block(net, p, n_pieces), 0.0
    for block in range(begin, first_block(net, p + 1, n_pieces)):
        if team.is_abandoned(job.control):
            return
        first = block * net.plan[in_plan.BLOCK_ROWS]
        m = min(net.plan[in_plan.BLOCK_ROWS], net.data[in_data.N_ROWS] - first)
        load_block(net, rooms, first, m, work)
        forward(net, rooms, m, work)
        total += errors(net, rooms, first, m, work)
        if operation == _EQUATIONS:
            derivatives(net, rooms, m, work)
            add_gradient(net, rooms, m, work, grad)
            _add_products_of_block(job, net, p, m, 1 if block > begin else 0, slot, work)
    job.costs[p] = total


@leaf
def _n_row_pieces(job):
    return job.net.plan[in_plan.N_PIECES]


@leaf
def _net_of_region(job):
    """The network with the parameters that the open region is for."""
    net = job.net
    if job.control[team.ADD] == 0:
        return net
    return Net(net.layers, net.segments, net.plan, net.data, job.trial, net.scalars, net.control)


@leaf
def _add_products_of_block(job, net, p, m, add, slot, work):
    """The block's products of pairs of layers in the dtype that they are wanted in."""
    sizes, rooms, table = _table(job, SIZES), _table(job, ROOMS), _table(job, PAIRS)
    room, n_pairs, sums = slot * sizes[LOW_SIZE], sizes[N_PAIRS], p * sizes[N_SUMS]
    if sizes[IS_MIXED] != 0:
        low = shift(float32_from_address(job.table[LOW]), room)
        lowered(sizes[N_LOW], shift(work, rooms[0]), shift(low, 0))
        pairs = Pairs(net, rooms, table, n_pairs, shift(low, -rooms[0]), shift(low, sizes[LEFT]), shift(low, sizes[RIGHT]))
        add_products(pairs, m, add, shift(float32_from_address(job.table[SUMS]), sums))
    else:
        low = shift(from_address(job.table[LOW], job.like), room)
        pairs = Pairs(net, rooms, table, n_pairs, work, shift(low, sizes[LEFT]), shift(low, sizes[RIGHT]))
        add_products(pairs, m, add, shift(from_address(job.table[SUMS], job.like), sums))


_lead, _help_with = shared(_do_piece)


# --- what the leader does ---------------------------------------------------------------------------------------------


@leaf
def _assemble(job, of_trial):
    """J^T J, the gradient and half the sum of squares of the parameters or of the trial, unless abandoned."""
    net, sizes = job.net, _table(job, SIZES)
    n_pieces, n = net.plan[in_plan.N_PIECES], net.plan[in_plan.N_PARAMS]
    job.control[team.ADD] = 1 if of_trial else 0
    _lead(job, _EQUATIONS, n_pieces)
    if team.is_abandoned(job.control):
        return
    if n_pieces > 1:
        _lead(job, _SUM, sizes[SUM_PIECES])
    for p in range(1, n_pieces):
        part = shift(job.gradients, p * n)
        for i in range(n):
            job.gradients[i] += part[i]
    job.settings[HALF_SQUARES] = _sum_of_costs(job)
    table, H = _table(job, PAIRS), _doubles(job, HESSIAN)
    for pair in range(sizes[N_PAIRS]):
        if sizes[IS_MIXED] != 0:
            scatter(net, table, pair, float32_from_address(job.table[SUMS]), H)
        else:
            scatter(net, table, pair, from_address(job.table[SUMS], job.like), H)


@leaf
def _sum_of_costs(job):
    total = 0.0
    for p in range(_n_row_pieces(job)):
        total += job.costs[p]
    return total


@leaf
def _penalty(job, params):
    """sum_i ridge_i p_i^2 / 2."""
    n, total = job.net.plan[in_plan.N_PARAMS], 0.0
    ridge = shift(job.vectors, RIDGE * n)
    for i in range(n):
        total += ridge[i] * np.float64(params[i]) * np.float64(params[i])
    return 0.5 * total


@leaf
def _note_gradient(job, params):
    """dF/dp and its norm, as that of the reported cost."""
    n, total, settings = job.net.plan[in_plan.N_PARAMS], 0.0, job.settings
    slope, ridge = shift(job.vectors, _SLOPE * n), shift(job.vectors, RIDGE * n)
    for i in range(n):
        slope[i] = settings[SCALE] * job.gradients[i] + ridge[i] * np.float64(params[i])
        total += slope[i] * slope[i]
    settings[GRADIENT_NORM] = np.sqrt(total) / settings[TOTAL_WEIGHT]


@leaf
def _reported_cost(job, params):
    settings = job.settings
    penalty = _penalty(job, params) if settings[REPORTS_PENALTY] != 0.0 else 0.0
    return (settings[HALF_SQUARES] + penalty) / settings[TOTAL_WEIGHT]


@leaf
def _largest_diagonal(job):
    n, largest, H = job.net.plan[in_plan.N_PARAMS], 0.0, _doubles(job, HESSIAN)
    ridge = shift(job.vectors, RIDGE * n)
    for i in range(n):
        largest = max(largest, job.settings[SCALE] * H[i * n + i] + ridge[i])
    return largest


@leaf
def _look(job):
    """Whether the goal is reached, or the gradient small enough; STOPPED."""
    settings, cost = job.settings, _reported_cost(job, job.net.params)
    if not is_finite(cost) or not is_finite(settings[GRADIENT_NORM]):
        settings[STOPPED] = NOT_FINITE
    elif cost <= settings[GOAL]:
        settings[STOPPED] = GOAL_REACHED
    elif settings[GRADIENT_NORM] <= settings[MIN_GRADIENT]:
        settings[STOPPED] = SMALL_GRADIENT


@leaf
def _iterate(job):
    """Up to N_WANTED iterations; whenever it returns, params and state are those after the last whole one."""
    settings = job.settings
    settings[N_DONE], settings[STOPPED] = 0.0, GOES_ON
    if settings[IS_ASSEMBLED] == 0.0:
        _assemble(job, False)
        if team.is_abandoned(job.control):
            return
        settings[IS_ASSEMBLED] = 1.0
    _note_gradient(job, job.net.params)
    if settings[IS_SCALED] == 0.0:
        largest = _largest_diagonal(job)
        if largest > 0.0:
            settings[MU] = max(settings[MU] * largest, LEAST_MU)
        settings[IS_SCALED] = 1.0
    _look(job)
    while settings[STOPPED] == GOES_ON and settings[N_DONE] < settings[N_WANTED]:
        if not _take_step(job):
            return
        _look(job)
        if team.is_asked_to_pause(job.control):
            return


@leaf
def _take_step(job):
    """Try steps until one is taken and J^T J known there; False if there is none, or the call was abandoned."""
    settings, params, n = job.settings, job.net.params, job.net.plan[in_plan.N_PARAMS]
    before = settings[SCALE] * settings[HALF_SQUARES] + _penalty(job, params)
    mu, nu, tries = settings[MU], settings[NU], 0
    while True:
        if mu > settings[MU_MAX]:
            settings[STOPPED], settings[MU], settings[NU] = LARGE_MU, mu, nu
            return False
        ratio = _try_step(job, mu, before)
        if team.is_abandoned(job.control):
            return False
        tries += 1
        if ratio > 0.0:
            break
        mu *= settings[MU_INCREASE] if settings[RULE] == FIXED_FACTORS else nu
        nu *= 2.0
    _assemble(job, True)
    if team.is_abandoned(job.control):
        settings[IS_ASSEMBLED] = 0.0
        return False
    for i in range(n):
        params[i] = job.trial[i]
    mu *= settings[MU_DECREASE] if settings[RULE] == FIXED_FACTORS else max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
    settings[MU], settings[NU] = max(mu, LEAST_MU), 2.0
    _note_gradient(job, params)
    record = shift(_doubles(job, RECORDS), 4 * int(settings[N_DONE]))
    record[0], record[1] = _reported_cost(job, params), settings[MU]
    record[2], record[3] = settings[GRADIENT_NORM], float(tries)
    settings[N_DONE] += 1.0
    return True


@leaf
def _try_step(job, mu, before):
    """How much F fell by a step, over how much it was to fall; nothing above 0 if it did not, or there is no step."""
    n, settings = job.net.plan[in_plan.N_PARAMS], job.settings
    slope, step = shift(job.vectors, _SLOPE * n), shift(job.vectors, _STEP * n)
    ridge, L = shift(job.vectors, RIDGE * n), _doubles(job, FACTOR)
    if not factorize(n, _doubles(job, HESSIAN), settings[SCALE], ridge, mu, L):
        return -1.0
    for i in range(n):
        step[i] = -slope[i]
    solve_factored(n, L, step)
    expected = 0.0
    for i in range(n):
        expected += step[i] * (mu * step[i] - slope[i])
        job.trial[i] = real(np.float64(job.net.params[i]) + step[i], job.trial)
    job.control[team.ADD] = 1
    _lead(job, _COST, _n_row_pieces(job))
    fall = before - (settings[SCALE] * _sum_of_costs(job) + _penalty(job, job.trial))
    if not is_finite(fall) or not fall > 0.0:
        return -1.0
    ratio = 2.0 * fall / expected
    return ratio if is_finite(ratio) and ratio > 0.0 else 1.0
