"""Networks of one architecture trained side by side, each in a lane of the vectors, with the bits that each has alone.

The networks of a group take their steps together; each has rows, random numbers, learning rates and costs of its own.
One that diverges or stops early leaves: it is written back as it then is, and what goes on in its lane is nobody's.
Which networks may form a group is decided by `fastbp.engine.lanes`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.jobs.crew import (
    MOST_LANES,
    N_NOTES,
    crew_of,
    enter,
    first_of,
    has,
    job_of,
    leave,
    member_of,
    net_of,
)
from fastbp.kernels.jobs.leader import begin_epoch, divisor_of_rows, has_finite_params
from fastbp.kernels.jobs.members import notes_validation
from fastbp.kernels.layers.lane_steps import (
    add_penalties,
    gradients_from_networks,
    gradients_to_networks,
    has_penalties,
    has_vector_of_numbers,
    params_to_networks,
    penalty_of_network,
    set_numbers,
    step_by_numbers,
    step_of_all,
    step_of_network,
    takes_equal_step,
    vectors_to_networks,
)
from fastbp.kernels.layers.lane_values import cost_of_network, errors_of_values, has_one_value, load_values
from fastbp.kernels.layers.lanes import (
    errors_from_networks,
    finish_network,
    gather_inputs,
    lane_backward,
    lane_forward,
    outputs_to_networks,
    slot_of,
)
from fastbp.kernels.layers.narrow_lanes import load_row, narrow_row
from fastbp.kernels.layers.samples import load_targets
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.matrix.tiles import scratch
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.vectors.values import lanes

_TERMS = 2 * MOST_LANES * MOST_LANES  # elements of two vectors for each neuron of a narrow layer
_ROW = 2 * MOST_LANES


@leaf
def train_group(members, n, memory, reals, doubles, mode):
    """Train n networks, each as `fastbp.kernels.jobs.members` trains it; costs of validation data in `mode`."""
    crew = crew_of(members, n, memory, reals, scratch(doubles, N_NOTES), mode)
    enter(crew)
    first_step, n_steps = members[in_member.FIRST_STEP], members[in_member.N_STEPS]
    everyone = (1 << n) - 1
    if crew.group.net.plan[in_plan.EPOCH_SUMS] != 0:
        left = _epochs(crew, everyone, first_step, n_steps)
    else:
        left = _steps(crew, everyone, first_step, n_steps, 0)
    for q in range(n):
        if has(left, q):
            leave(crew, q)


# --- epochs -----------------------------------------------------------------------------------------------------------


@leaf
def _epochs(crew, alive, first_step, n_steps):
    """Steps of several epochs, see `fastbp.kernels.jobs.leader`; the networks that are still in their lanes."""
    group = crew.group
    net, batch_size = group.net, group.net.plan[in_plan.BATCH_SIZE]
    steps_per_epoch = (net.data[in_data.N_ROWS] + batch_size - 1) // batch_size
    done, position = 0, first_step
    while done < n_steps and alive != 0:
        if position == 0:
            for q in range(group.n):
                if has(alive, q):
                    job = job_of(crew, q, in_member.ADDRESSES)
                    begin_epoch(job, False, from_address(job.net.plan[in_plan.BEFORE], group.w))
        m = min(steps_per_epoch - position, n_steps - done)
        alive = _steps(crew, alive, position, m, done)
        if alive == 0 or net_of(crew, first_of(alive)).scalars[in_scalars.STATUS] == in_scalars.INTERRUPTED:
            return alive
        done += m
        position += m
        if position == steps_per_epoch:
            for q in range(group.n):
                if has(alive, q) and not _ends_epoch(crew, q):
                    alive &= ~(1 << q)
            position = 0
        if done < n_steps and team.is_asked_to_pause(crew.control):
            _interrupt(crew, alive, True)
            return alive
    return alive


@leaf
def _ends_epoch(crew, q):
    """Record a network's epoch; whether it goes on.  If not, its parameters and so on are taken from its lane."""
    job, member = job_of(crew, q, in_member.ADDRESSES), member_of(crew, q)
    s = job.net.scalars
    leave(crew, q)
    if not has_finite_params(job, False):
        s[in_scalars.STATUS] = in_scalars.DIVERGED
        return False
    sums, k = from_address(job.net.plan[in_plan.EPOCH_SUMS], crew.costs), 2 * np.int64(s[in_scalars.EPOCHS])
    sums[k], sums[k + 1] = s[in_scalars.COST_SUM], s[in_scalars.WEIGHT_SUM]
    s[in_scalars.EPOCHS] += 1.0
    if member[in_member.VALIDATION] == 0:
        return True
    mode = float_mode()
    set_float_mode(crew.mode)
    ends = notes_validation(job, job_of(crew, q, in_member.VALIDATION), member, crew.costs)
    set_float_mode(mode)
    return not ends


@leaf
def _interrupt(crew, alive, between_epochs):
    """Note that the networks that go on were interrupted, as each would have noted it alone."""
    for q in range(crew.group.n):
        if has(alive, q) and not (between_epochs and member_of(crew, q)[in_member.VALIDATION] != 0):
            net_of(crew, q).scalars[in_scalars.STATUS] = in_scalars.INTERRUPTED


# --- steps ------------------------------------------------------------------------------------------------------------


@leaf
def _steps(crew, alive, first_step, n_steps, rate):
    """The same within an epoch; `rate` is the number of the first step's learning rate."""
    net = crew.group.net
    batch_size, n_rows = net.plan[in_plan.BATCH_SIZE], net.data[in_data.N_ROWS]
    for i in range(n_steps):
        first = (first_step + i) * batch_size
        m = min(batch_size, n_rows - first)
        stepping = 0
        for q in range(crew.group.n):
            if has(alive, q) and _begin_step(crew, q, first, m, rate + i):
                stepping |= 1 << q
        if stepping == 0:
            continue
        if crew.is_narrow:
            _narrow_gradients(crew, first, m)
        else:
            _gradients(crew, first, m)
        alive = _take_steps(crew, alive, stepping, m)
        if alive == 0:
            return alive
        if i < n_steps - 1 and team.is_asked_to_pause(crew.control):
            _interrupt(crew, alive, False)
            return alive
    return alive


@leaf
def _begin_step(crew, q, first, m, i):
    """What a network's step needs; whether anything in its mini-batch counts."""
    net = net_of(crew, q)
    s = net.scalars
    divisor = divisor_of_rows(net, first, m)
    crew.divisors[q] = divisor
    s[in_scalars.STEP] += 1.0
    s[in_scalars.LEARNING_RATE] = from_address(member_of(crew, q)[in_member.RATES], crew.costs)[i]
    if divisor == 0.0:  # no gradient to follow, but the schedule goes on
        return False
    s[in_scalars.WEIGHT_FACTOR] = 1.0 / divisor
    if net.plan[in_plan.PER_BATCH] != 0:
        s[in_scalars.L2_PENALTY] = s[in_scalars.BATCH_L2] / divisor
        s[in_scalars.L1_PENALTY] = s[in_scalars.BATCH_L1] / divisor
    crew.powers[2 * q], crew.powers[2 * q + 1] = s[in_scalars.POWER_1], s[in_scalars.POWER_2]
    s[in_scalars.POWER_1] *= s[in_scalars.CONSTANTS]
    s[in_scalars.POWER_2] *= s[in_scalars.CONSTANTS + 1]
    return True


@leaf
def _narrow_gradients(crew, first, m):
    """Costs and gradients of narrow networks' mini-batches."""
    group = crew.group
    terms, scales = scratch(group.w, _TERMS), scratch(group.w, _ROW)
    row_costs = shift(scales, MOST_LANES)
    for q in range(group.n):
        crew.penalties[q] = crew.costs[q] = 0.0
    for q in range(lanes(group.w)):
        scales[q] = real(0.0, group.w)
    for i in range(m):
        for q in range(group.n):
            load_row(group, q, net_of(crew, q), first + i, scales)
        narrow_row(group, i > 0, scales, terms, row_costs)
        for q in range(group.n):
            if scales[q] != 0:  # a sample of weight 0 does not count, not even where its cost is infinite
                crew.costs[q] += np.float64(scales[q]) * np.float64(row_costs[q])


@leaf
def _gradients(crew, first, m):
    """Costs and gradients of the networks' mini-batches."""
    group = crew.group
    penalized, by_lanes = False, has_one_value(group.net)
    for q in range(group.n):
        net = net_of(crew, q)
        gather_inputs(net, first, m, slot_of(group, q))
        if by_lanes:
            load_values(group, q, net, first, m)
        else:
            load_targets(net, first, 0, m, net.scalars[in_scalars.WEIGHT_FACTOR], slot_of(group, q))
        penalized = penalized or has_penalties(net)
    if penalized:
        params_to_networks(group)
    for q in range(group.n):
        crew.penalties[q] = penalty_of_network(group, q, net_of(crew, q))
    lane_forward(group, m)
    if by_lanes:
        errors_of_values(group, m)
        for q in range(group.n):
            crew.costs[q] = cost_of_network(group, q, m)
    else:
        outputs_to_networks(group, m)
        for q in range(group.n):
            crew.costs[q] = finish_network(group, q, net_of(crew, q), first, m)
        errors_from_networks(group, m)
    lane_backward(group, m, by_lanes)
    if penalized:
        gradients_to_networks(group)
        for q in range(group.n):
            add_penalties(group, q, net_of(crew, q))
        gradients_from_networks(group)


@leaf
def _take_steps(crew, alive, stepping, m):
    """The steps of the networks whose cost is finite, and what is noted of them; those that go on."""
    group = crew.group
    taken, diverged = 0, 0
    for q in range(group.n):
        if has(stepping, q):
            if is_finite(crew.costs[q]):
                taken |= 1 << q
            else:
                diverged |= 1 << q
                leave(crew, q)  # as it was before the step
    if taken != 0:
        _update(crew, taken, alive & ~diverged)
    for q in range(group.n):
        if has(stepping, q) and not _ends_step(crew, q, m):
            if not has(diverged, q):
                leave(crew, q)
            alive &= ~(1 << q)
    return alive


@leaf
def _update(crew, taken, alive):
    """The steps of some of the networks that are alive; what becomes of the others' lanes does not matter."""
    group = crew.group
    first = net_of(crew, first_of(taken))
    equal, numbers = True, True
    for q in range(group.n):
        if has(taken, q):
            net = net_of(crew, q)
            equal = equal and takes_equal_step(net, first)
            numbers = numbers and has_vector_of_numbers(net, group.w)
    if taken == alive and equal:
        step_of_all(group, first)
    elif taken == alive and numbers:
        for q in range(group.n):
            if has(taken, q):
                set_numbers(group, q, net_of(crew, q))
        step_by_numbers(group)
    else:
        vectors_to_networks(group)
        for q in range(group.n):
            if has(taken, q):
                step_of_network(group, q, net_of(crew, q), crew.is_narrow)


@leaf
def _ends_step(crew, q, m):
    """Note a network's cost; whether it is finite."""
    net = net_of(crew, q)
    s = net.scalars
    cost = crew.penalties[q] + s[in_scalars.COST_FACTOR] * crew.costs[q]
    if not is_finite(cost):
        s[in_scalars.STATUS] = in_scalars.DIVERGED
        s[in_scalars.STEP] -= 1.0
        s[in_scalars.POWER_1], s[in_scalars.POWER_2] = crew.powers[2 * q], crew.powers[2 * q + 1]
        return False
    s[in_scalars.STATUS] = in_scalars.FINISHED
    counted = np.float64(m) if net.plan[in_plan.PER_BATCH] != 0 else crew.divisors[q]
    s[in_scalars.COST_SUM] += cost * counted
    s[in_scalars.WEIGHT_SUM] += counted
    return True
