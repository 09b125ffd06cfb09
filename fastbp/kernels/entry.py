"""The door from Python into the kernels: one compiled function for each dtype, whatever is to be done.

Leader and helpers enter by the same door, so that the first `fit` ever compiles once.
"""

from fastbp.kernels import team, training
from fastbp.kernels.denormals import DENORMALS_ARE_ZERO, FLUSH_TO_ZERO, float_mode, set_float_mode
from fastbp.kernels.jit import leaf, root
from fastbp.kernels.passes import Net
from fastbp.kernels.pointers import at
from fastbp.kernels.regions import Job, help_with

# tasks
OUTPUTS = 0
COST = 1
VALUE_AND_GRAD = 2
TRAIN = 3
TRACE = 4

LEADER = 0  # slot of the leader; helpers have slots from 1 on


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
    grads,
    state,
    work,
    costs,
    out,
    control,
    first_step,
    rates,
):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    The tables are described in `fastbp.kernels.tables`.  Overwrites scalars, params (TRAIN only), grads, state, work,
    costs, out and control.  `rates` holds the learning rates of the steps to take, the first of which is `first_step`
    of the epoch.
    """
    net = Net(at(layers, 0), at(segments, 0), at(plan, 0), at(data, 0), at(params, 0), at(scalars, 0), at(control, 0))
    job = Job(net, at(grads, 0), at(state, 0), at(work, 0), at(costs, 0), at(out, 0), at(control, 0))
    mode = float_mode()
    if task == TRAIN:
        set_float_mode(mode | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO)
    if slot > LEADER:
        help_with(job, slot)
    else:
        lead(job, task, first_step, rates)
        team.stop(at(control, 0))
    set_float_mode(mode)


@leaf
def lead(job, task, first_step, rates):
    """Do a task from beginning to end."""
    if task == OUTPUTS:
        training.outputs(job)
    elif task == COST:
        training.cost(job)
    elif task == VALUE_AND_GRAD:
        training.value_and_grad(job)
    elif task == TRACE:
        training.trace(job)
    else:
        training.train(job, first_step, rates.size, at(rates, 0))
