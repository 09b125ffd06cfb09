"""The door for compiled code: a network by one address, as a function of C that any code may call.

The function knows no network: one compilation for each dtype serves all of them.  It allocates nothing, calls nothing
of Python's, raises nothing, and leaves the caller's float mode as it was.
"""

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, root
from fastbp.kernels.jobs.leader import penalty_of
from fastbp.kernels.layers.lone_rows import (
    backward_row,
    cost_of_row,
    outputs_of_rows,
    outputs_to_differentiate,
    slope_of_output,
)
from fastbp.kernels.layers.net import Net, field
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import from_address, nowhere, real, shift
from fastbp.kernels.machine.team import fetch_add, yield_processor
from fastbp.kernels.matrix.few_rows import ROWS
from fastbp.kernels.matrix.tiles import scratch
from fastbp.kernels.optimizers.updates import Rule, Runs, add_penalty, update
from fastbp.kernels.tables import evaluator as at
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

STACK_ELEMENTS = 4096  # of a call's memory that lie on the stack: 16 KiB of float32, 32 of float64
CLAIM_WORDS = 8  # a cache line


@root
def run(task, net, x, y, out, n):
    """Do a task of `fastbp.kernels.tables.evaluator` for n rows of x; overwrites `out`, and in STEP the parameters.

    OUTPUTS     out (n, n_outputs)
    COST        returns the mean cost of the rows, with penalties
    VALUE_AND_GRAD  the same, and its gradient in out (n_params,); NaN where the cost is not finite
    INPUT_GRADIENT  out (n, n_inputs): the gradient of each row's own cost, without penalties
    JACOBIAN    out (n, n_outputs, n_inputs)
    STEP        one step of the optimizer on all rows, unless the cost is not finite; returns the cost before it

    `net` points to the network's numbers of that table, and `y` is the address of the targets, 0 where there are none.
    Returns NaN where a label is none of the network's.
    """
    if net[at.WORK_SIZE] <= STACK_ELEMENTS:
        return evaluate(task, net, x, y, out, n, scratch(x, STACK_ELEMENTS))
    slot = claimed(net)
    work = shift(from_address(net[at.SLOTS], x), slot * net[at.WORK_SIZE])
    result = evaluate(task, net, x, y, out, n, work)
    let_go(net, slot)
    return result


@inlined
def evaluate(task, table, x, y, out, n, work):
    """The same in a memory of its own."""
    net = net_of(table, x)
    if task == at.OUTPUTS:
        outputs(net, table, x, out, n, work)
        return 0.0
    return differentiate(task, table, net, x, y, out, n, work)


@inlined
def net_of(table, x):
    """The network as the passes see it; it has no data and no control."""
    return Net(
        from_address(table[at.LAYERS], table),
        from_address(table[at.SEGMENTS], table),
        from_address(table[at.PLAN], table),
        table,
        from_address(table[at.PARAMS], x),
        from_address(table[at.SCALARS], nowhere()),
        table,
    )


@inlined
def outputs(net, table, x, out, n, work):
    """The outputs for n rows: ROWS at a time, then one by one."""
    n_inputs, n_outputs, pitch = table[at.N_INPUTS], table[at.N_OUTPUTS], table[at.PITCH]
    i = 0
    while i < n:
        m = ROWS if n - i >= ROWS else 1
        outputs_of_rows(net, shift(x, i * n_inputs), m, pitch, work, shift(out, i * n_outputs))
        i += m


@leaf
def differentiate(task, table, net, x, y, out, n, work):
    """All tasks but the outputs."""
    if task >= at.LABELS:
        task -= at.LABELS
        if not are_labels(y, n, table[at.N_OUTPUTS], table):
            return np.nan
        has_labels = True
    else:
        has_labels = False
    if task == at.STEP:
        return step(table, net, x, y, has_labels, n, work)
    if task == at.INPUT_GRADIENT or task == at.JACOBIAN:
        by_inputs(task, table, net, x, y, has_labels, out, n, work)
        return 0.0
    return cost_and_gradient(table, net, x, y, has_labels, task == at.VALUE_AND_GRAD, out, n, work)


@leaf
def are_labels(y, n, n_outputs, table):
    """Whether all labels are those of outputs."""
    labels, n_wrong = from_address(y, table), 0
    for i in range(n):
        if labels[i] < 0 or labels[i] >= n_outputs:
            n_wrong += 1
    return n_wrong == 0


@leaf
def target_of_row(net, y, has_labels, i, n_outputs, work):
    """Pointer to a row's target; a label becomes the row that is 1 there and 0 elsewhere."""
    if not has_labels:
        return shift(from_address(y, work), i * n_outputs)
    target, label = shift(work, net.plan[in_plan.TARGET]), from_address(y, net.layers)[i]
    for j in range(n_outputs):
        target[j] = real(1.0, work) if j == label else real(0.0, work)
    return target


@leaf
def cost_and_gradient(table, net, x, y, has_labels, differentiates, grad, n, work):
    """Mean cost of n rows, with penalties, and its gradient if it `differentiates`."""
    n_inputs, n_outputs = table[at.N_INPUTS], table[at.N_OUTPUTS]
    scale = real(1.0 / n, work)
    work[net.plan[in_plan.SCALE]] = scale
    cost = 0.0
    for i in range(n):
        row, target = shift(x, i * n_inputs), target_of_row(net, y, has_labels, i, n_outputs, work)
        cost += np.float64(scale) * np.float64(cost_of_row(net, row, target, work))
        if differentiates:
            backward_row(net, row, True, i > 0, grad, False, grad, work)
    cost += penalty_of(net)
    if differentiates:
        if is_finite(cost):
            add_penalties(net, grad)
        else:
            for i in range(table[at.N_PARAMS]):
                grad[i] = real(np.nan, grad)
    return cost


@leaf
def add_penalties(net, grad):
    """Add the penalties' gradient; biases have no penalty."""
    l2, l1 = real(net.scalars[in_scalars.L2_PENALTY], grad), real(net.scalars[in_scalars.L1_PENALTY], grad)
    if l2 == 0 and l1 == 0:
        return
    for layer in range(net.plan[in_plan.N_LAYERS]):
        begin = field(net, layer, in_layer.WEIGHTS)
        n = field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT)
        add_penalty(n, l2, l1, shift(net.params, begin), shift(grad, begin))


@leaf
def by_inputs(task, table, net, x, y, has_labels, out, n, work):
    """Derivatives by the inputs, row by row: of the cost, or of each output."""
    n_inputs, n_outputs = table[at.N_INPUTS], table[at.N_OUTPUTS]
    work[net.plan[in_plan.SCALE]] = real(1.0, work)
    for i in range(n):
        row = shift(x, i * n_inputs)
        if task == at.INPUT_GRADIENT:
            cost_of_row(net, row, target_of_row(net, y, has_labels, i, n_outputs, work), work)
            backward_row(net, row, False, False, out, True, shift(out, i * n_inputs), work)
            continue
        outputs_to_differentiate(net, row, work)
        for j in range(n_outputs):
            slope_of_output(net, j, work)
            target = shift(out, (i * n_outputs + j) * n_inputs)
            backward_row(net, row, False, False, out, True, target, work)


# --- a step -----------------------------------------------------------------------------------------------------------


@leaf
def step(table, net, x, y, has_labels, n, work):
    """One step of the optimizer on all rows; steps of several threads are taken one after the other."""
    if table[at.HAS_OPTIMIZER] == 0:
        return np.nan
    claim = shift(from_address(table[at.CLAIMS], table), table[at.N_SLOTS] * CLAIM_WORDS)
    while not is_claimed(claim):
        yield_processor()
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)  # as in training
    grad = from_address(table[at.GRAD], x)
    cost = cost_and_gradient(table, net, x, y, has_labels, True, grad, n, work)
    if is_finite(cost):
        s, plan, size = net.scalars, net.plan, table[at.N_PARAMS]
        s[in_scalars.STEP] += 1.0
        s[in_scalars.POWER_1] *= s[in_scalars.CONSTANTS]
        s[in_scalars.POWER_2] *= s[in_scalars.CONSTANTS + 1]
        corrections = 1.0 - s[in_scalars.POWER_1], 1.0 - s[in_scalars.POWER_2]
        rule = Rule(plan[in_plan.OPTIMIZER], s, s[in_scalars.LEARNING_RATE], *corrections)
        state = from_address(table[at.STATE], x)
        second = size if plan[in_plan.N_STATE_VECTORS] > 1 else 0
        update(rule, Runs(1, size, size, size), grad, net.params, state, shift(state, second))
    set_float_mode(mode)
    fetch_add(claim, -1)
    return cost


# --- memory for wide networks -----------------------------------------------------------------------------------------


@inlined
def is_claimed(claim):
    """Take what a word stands for; False if another call has it."""
    if fetch_add(claim, 1) == 0:
        return True
    fetch_add(claim, -1)
    return False


@leaf
def claimed(table):
    """A slot that no other call has, waited for if need be."""
    claims, slot = from_address(table[at.CLAIMS], table), 0
    while not is_claimed(shift(claims, slot * CLAIM_WORDS)):
        slot += 1
        if slot == table[at.N_SLOTS]:
            slot = 0
            yield_processor()
    return slot


@inlined
def let_go(table, slot):
    """Leave a slot to other calls."""
    fetch_add(shift(from_address(table[at.CLAIMS], table), slot * CLAIM_WORDS), -1)
