"""The door from Python into the kernels: one compiled function for each dtype, whatever is to be done.

Leader and helpers enter by the same door, so that the first `fit` ever compiles once.
"""

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.jobs import leader
from fastbp.kernels.jobs.addresses import (
    COSTS,
    DATA,
    GRADS,
    LAYERS,
    N_ADDRESSES,
    OUT,
    PARAMS,
    PLAN,
    SCALARS,
    SEGMENTS,
    STATE,
    WORK,
    job_at,
    net_at,
)
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.regions import help_with
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.pointers import at
from fastbp.kernels.machine.random_order import shuffle_rows
from fastbp.kernels.tables import scalars as in_scalars

__all__ = [
    "COST",
    "COSTS",
    "DATA",
    "DIFFERENTIATING",
    "GRADS",
    "LAYERS",
    "LEADER",
    "N_ADDRESSES",
    "OUT",
    "OUTPUTS",
    "PARAMS",
    "PLAN",
    "SCALARS",
    "SEGMENTS",
    "SHUFFLE",
    "STATE",
    "TRACE",
    "TRAIN",
    "VALUE_AND_GRAD",
    "WORK",
    "job_at",
    "lead",
    "net_at",
    "run",
]

# tasks
OUTPUTS = 0
COST = 1
VALUE_AND_GRAD = 2
TRAIN = 3
TRACE = 4
SHUFFLE = 5
DIFFERENTIATING = (VALUE_AND_GRAD, TRAIN, TRACE)

LEADER = 0  # slot of the leader; helpers have slots from 1 on


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    `addresses` are those of the tables and vectors above, so that a call from Python has few arguments to unpack;
    `like` is an empty array of the network's dtype.  Overwrites scalars, params (TRAIN only), grads, state, work,
    costs, out and control; SHUFFLE the order of rows and the random generator's state.  `rates` holds the learning
    rates of the steps to take, the first of which is `first_step` of the epoch; where the plan has EPOCH_SUMS, they go
    on into the next epochs, and TRAIN overwrites what the plan points to, and with SHUFFLES what SHUFFLE does.  Returns
    FINISHED, or UNKNOWN where the tables have a code that the kernels do not know; then nothing was overwritten.
    """
    table, reals, doubles = at(addresses, 0), at(like, 0), at(rates, 0)
    net = net_at(table, reals, doubles, at(control, 0))
    job = job_at(net, table, reals, doubles)
    if slot == LEADER and not knows(net, task in DIFFERENTIATING, task == TRAIN):
        return in_scalars.UNKNOWN
    mode = float_mode()
    if task == TRAIN:
        set_float_mode(mode | FLUSH_DENORMALS)
    if slot > LEADER:
        help_with(job, slot)
    else:
        lead(job, task, first_step, rates)
        team.stop(at(control, 0))
    set_float_mode(mode)
    return in_scalars.FINISHED


@leaf
def lead(job, task, first_step, rates):
    """Do a task from beginning to end."""
    if task == OUTPUTS:
        leader.outputs(job)
    elif task == COST:
        leader.cost(job)
    elif task == VALUE_AND_GRAD:
        leader.value_and_grad(job)
    elif task == TRACE:
        leader.trace(job)
    elif task == SHUFFLE:
        shuffle_rows(job.net)
    else:
        leader.train(job, first_step, rates.size, at(rates, 0))
