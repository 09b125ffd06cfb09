"""Derivatives by the inputs up to the second, and the gradient of any function of them: what physics losses are of.

The first derivatives, the Laplacian and all second derivatives of every output; and, given the derivative of a cost by
values, first derivatives and Laplacians, its derivative by the parameters.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.row_pieces import first_block, shared, sum_piece
from fastbp.kernels.layers.higher_derivatives import knows_derivatives
from fastbp.kernels.layers.input_hessians import hessian_rows
from fastbp.kernels.layers.input_tangents import (
    BLOCK_SIZE,
    ERROR,
    N_TANGENTS,
    POST,
    REGION,
    VALUE,
    Tangents,
    backward_rows,
    forward_rows,
    place,
    scratch_of,
    spread_directions,
)
from fastbp.kernels.layers.net import Net, field
from fastbp.kernels.layers.samples import load_inputs
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import at, from_address, real, shift
from fastbp.kernels.roots import entry
from fastbp.kernels.roots.entry import net_at
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks
LAPLACIAN = 0  # into LAPLACIANS
DERIVATIVES = 1  # into OUT, JACOBIANS and LAPLACIANS; and into KEPT, if it is there
GRADIENT = 2  # from OUT, JACOBIANS and LAPLACIANS, errors here; those that are not there are 0
HESSIAN = 3  # into OUT

# operations of a region
_ROWS = 0
_SUM = 1

# addresses behind those of `entry`; OUT is the values (n, n_outputs), or their errors
PLACES = entry.N_ADDRESSES  # table of `fastbp.kernels.layers.input_tangents`
DIRECTIONS = PLACES + 1  # (r, fan_out of the first layer)
JACOBIANS = PLACES + 2  # (n, n_outputs, r)
LAPLACIANS = PLACES + 3  # (n, n_outputs)
KEPT = PLACES + 4  # the regions of all blocks, or nothing
N_ADDRESSES = PLACES + 5


class _Job(NamedTuple):
    net: Net
    task: Any
    addresses: Any
    places: Any
    directions: Any
    grads: Any
    work: Any
    out: Any
    jacobians: Any
    laplacians: Any
    kept: Any
    control: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  Overwrites what the task names, of GRADIENT grads (the first
    vector has the sum), work and control.  Returns FINISHED, or UNKNOWN where the tables have a code that the kernels
    do not know or a function of the user's lacks a derivative; then nothing was overwritten.
    """
    table, reals = at(addresses, 0), at(like, 0)
    net = net_at(table, reals, at(rates, 0), at(control, 0))
    job = _Job(
        net,
        task,
        table,
        from_address(table[PLACES], table),
        from_address(table[DIRECTIONS], reals),
        from_address(table[entry.GRADS], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[entry.OUT], reals),
        from_address(table[JACOBIANS], reals),
        from_address(table[LAPLACIANS], reals),
        from_address(table[KEPT], reals),
        at(control, 0),
    )
    if slot > entry.LEADER:
        _help_with(job, slot)
        return in_scalars.FINISHED
    if not knows(net, True, False) or not knows_derivatives(net, 3 if task == GRADIENT else 2):
        return in_scalars.UNKNOWN
    n_pieces = net.plan[in_plan.N_PIECES]
    _lead(job, _ROWS, n_pieces)
    if task == GRADIENT and n_pieces > 1:
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
    scratch = shift(work, net.plan[in_plan.EXTRA])
    begin, spread = first_block(net, p, n_pieces), 0
    for block in range(begin, first_block(net, p + 1, n_pieces)):
        if team.is_abandoned(job.control):
            return
        first = block * block_rows
        rows = min(block_rows, net.data[in_data.N_ROWS] - first)
        region = shift(scratch, job.places[REGION])
        if job.addresses[KEPT] != 0:
            region = shift(job.kept, block * job.places[BLOCK_SIZE])
        t = Tangents(net, job.places, job.directions, work, scratch, region)
        load_inputs(net, first, 0, rows, 0, field(net, 0, in_layer.FAN_IN), rows, work)
        if spread != rows:
            spread_directions(t, rows)
            spread = rows
        _do_block(job, t, first, rows, 1 if block > begin else 0, p)


@leaf
def _do_block(job, t, first, m, add, p):
    last = job.net.plan[in_plan.N_LAYERS] - 1
    n_outputs, r = field(job.net, last, in_layer.FAN_OUT), job.places[N_TANGENTS]
    if job.task != GRADIENT or job.addresses[KEPT] == 0:
        forward_rows(t, first, m, job.task == LAPLACIAN)
    if job.task == GRADIENT:
        _load_errors(job, first, m, n_outputs, r, scratch_of(t, ERROR))
        backward_rows(t, first, m, add, shift(job.grads, p * job.net.plan[in_plan.N_PARAMS]))
    elif job.task == HESSIAN:
        hessian_rows(t, m, shift(job.out, first * n_outputs * r * r))
    else:
        post, to = shift(scratch_of(t, POST), r * m * n_outputs), shift(job.laplacians, first * n_outputs)
        for j in range(m * n_outputs):
            to[j] = post[j]
        if job.task == DERIVATIVES:
            _write_first_derivatives(job, t, first, m, n_outputs, r)


@leaf
def _write_first_derivatives(job, t, first, m, n, r):
    """The values of a block's outputs, and their tangents, a row's side by side."""
    last, size = job.net.plan[in_plan.N_LAYERS] - 1, m * n
    a, to = shift(t.region, place(t, last, VALUE)), shift(job.out, first * n)
    for j in range(size):
        to[j] = a[j]
    tangents, to = scratch_of(t, POST), shift(job.jacobians, first * n * r)
    for i in range(r):
        for j in range(size):
            to[j * r + i] = tangents[i * size + j]


@leaf
def _load_errors(job, first, m, n, r, e):
    """The errors of a block's outputs, of their tangents and of their Laplacians, as rows of a layer."""
    size, zero = m * n, real(0.0, e)
    for j in range((r + 2) * size):
        e[j] = zero
    if job.addresses[entry.OUT] != 0:
        of_values = shift(job.out, first * n)
        for j in range(size):
            e[j] = of_values[j]
    if job.addresses[JACOBIANS] != 0:
        of_tangents = shift(job.jacobians, first * n * r)
        for i in range(r):
            for j in range(size):
                e[(1 + i) * size + j] = of_tangents[j * r + i]
    if job.addresses[LAPLACIANS] != 0:
        of_laplacians, to = shift(job.laplacians, first * n), shift(e, (1 + r) * size)
        for j in range(size):
            to[j] = of_laplacians[j]


_lead, _help_with = shared(_do_piece)
