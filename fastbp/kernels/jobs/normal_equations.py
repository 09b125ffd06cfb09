"""J^T J, the gradient and the sum of squares of all rows, for the parameters or for others that are tried.

Each piece of rows has sums of its own, which are added in the pieces' order and then scattered into J^T J.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.net import Net
from fastbp.kernels.layers.normal_equations import Pairs, add_products, lowered, scatter
from fastbp.kernels.layers.side_by_side import add_gradient, derivatives, errors, forward, load_block
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan

# places in the sizes of a problem
N_PAIRS = 0
N_SUMS = 1
IS_MIXED = 2  # 1: products in float32 of a network in float64
LOW_SIZE = 3  # of a thread's slot of `low`
N_LOW = 4  # elements of the rooms of a and d, which are copied
LEFT = 5  # offsets in such a slot
RIGHT = 6
SUM_PIECES = 7
SIZES_LENGTH = 8

# operations of a region
_EQUATIONS = 0
_SUM = 1
_COST = 2


class NormalJob(NamedTuple):
    """Pointers to everything that the threads share."""

    net: Net
    trial: Any  # parameters that are tried
    work: Any  # one slot for each thread
    costs: Any  # float64, one for each piece: half the sum of squares
    rooms: Any
    pairs: Any
    sizes: Any
    low: Any  # one slot for each thread: room for products in the network's dtype
    low_32: Any  # the same memory as float32 numbers, for where it is mixed
    sums: Any  # of products, one vector for each piece
    sums_32: Any
    gradients: Any  # float64, one for each piece; then that of all rows
    hessian: Any  # float64, the lower triangle of J^T J
    control: Any


@leaf
def assemble(job, of_trial):
    """J^T J, the gradient and half the sum of squares, which is returned, unless abandoned."""
    net, sizes = job.net, job.sizes
    n_pieces, n = net.plan[in_plan.N_PIECES], net.plan[in_plan.N_PARAMS]
    job.control[team.ADD] = of_trial
    _lead(job, _EQUATIONS, n_pieces)
    if team.is_abandoned(job.control):
        return 0.0
    if n_pieces > 1:
        _lead(job, _SUM, sizes[SUM_PIECES])
    for p in range(1, n_pieces):
        part = shift(job.gradients, p * n)
        for i in range(n):
            job.gradients[i] += part[i]
    for pair in range(sizes[N_PAIRS]):
        if sizes[IS_MIXED] != 0:
            scatter(net, job.pairs, pair, job.sums_32, job.hessian)
        else:
            scatter(net, job.pairs, pair, job.sums, job.hessian)
    return _sum_of_costs(job)


@leaf
def squares_of_trial(job):
    """Half the sum of squares of the parameters that are tried, unless abandoned."""
    job.control[team.ADD] = 1
    _lead(job, _COST, job.net.plan[in_plan.N_PIECES])
    return _sum_of_costs(job)


@leaf
def _sum_of_costs(job):
    total = 0.0
    for p in range(job.net.plan[in_plan.N_PIECES]):
        total += job.costs[p]
    return total


@leaf
def _do_piece(job, operation, p, n_pieces, slot):
    if operation == _SUM:
        _sum_pieces(job, p, n_pieces)
        return
    net, rooms = _net_of_region(job), job.rooms
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
def _sum_pieces(job, p, n_pieces):
    n_sums, n_vectors = job.sizes[N_SUMS], job.net.plan[in_plan.N_PIECES]
    if job.sizes[IS_MIXED] != 0:
        sum_piece(job.sums_32, n_sums, n_vectors, p, n_pieces)
    else:
        sum_piece(job.sums, n_sums, n_vectors, p, n_pieces)


@leaf
def _net_of_region(job):
    """The network with the parameters that the open region is for."""
    net = job.net
    if job.control[team.ADD] == 0:
        return net
    return Net(net.layers, net.segments, net.plan, net.data, job.trial, net.scalars, net.control)


@leaf
def _add_products_of_block(job, net, p, m, add, slot, work):
    """The block's products of pairs of layers, in the dtype that they are wanted in."""
    sizes, begin = job.sizes, job.rooms[0]  # where a and d are
    n_pairs, there = sizes[N_PAIRS], p * sizes[N_SUMS]
    if sizes[IS_MIXED] != 0:
        low = shift(job.low_32, slot * sizes[LOW_SIZE])
        lowered(sizes[N_LOW], shift(work, begin), low)
        left, right = shift(low, sizes[LEFT]), shift(low, sizes[RIGHT])
        pairs_32 = Pairs(net, job.rooms, job.pairs, n_pairs, shift(low, -begin), left, right)
        add_products(pairs_32, m, add, shift(job.sums_32, there))
    else:
        own = shift(job.low, slot * sizes[LOW_SIZE])
        pairs = Pairs(net, job.rooms, job.pairs, n_pairs, work, shift(own, sizes[LEFT]), shift(own, sizes[RIGHT]))
        add_products(pairs, m, add, shift(job.sums, there))


_lead, help_with = shared(_do_piece)
