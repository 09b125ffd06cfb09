"""The door for networks that are trained side by side, one in each lane of the vectors."""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, root
from fastbp.kernels.jobs.leader import begin_epoch, divisor_of_rows, has_finite_params
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
from fastbp.kernels.layers.lanes import (
    Group,
    errors_from_networks,
    finish_network,
    lane_backward,
    lane_forward,
    load_network,
    outputs_to_networks,
)
from fastbp.kernels.layers.narrow import trains_narrow
from fastbp.kernels.layers.narrow_lanes import load_row, narrow_row
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, from_address, nowhere, real, shift
from fastbp.kernels.matrix.lane_order import put_lane, take_lane
from fastbp.kernels.matrix.tiles import scratch
from fastbp.kernels.optimizers.lane_steps import N_NUMBERS
from fastbp.kernels.roots.entry import job_at, net_at
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.vectors.values import lanes

# of a network in the table of networks
ADDRESSES = 0  # address of its table of addresses
RATES = 1  # address of its learning rates
COLUMNS = 2


class Crew(NamedTuple):
    """The networks of a group, and what is noted of each."""

    networks: Any  # the table of networks
    group: Group
    control: Any
    is_narrow: Any  # whether alone they are trained as `fastbp.kernels.layers.narrow` does
    costs: Any  # of each network's mini-batch, float64
    divisors: Any
    penalties: Any
    powers: Any  # from before the step, two of each network


def lane_elements(slot_size: int, n_params: int, n_lanes: int) -> int:
    """Elements of the room that a group takes."""
    return n_lanes * (2 * slot_size + 4 * n_params + N_NUMBERS + 4 * ((n_params + 15) // 16 * 16))


@inlined
def job_of(crew, q):
    """The job of a network."""
    table = from_address(crew.networks[COLUMNS * q + ADDRESSES], crew.networks)
    return job_at(net_at(table, crew.group.w, crew.costs, crew.control), table, crew.group.w, crew.costs)


@inlined
def net_of(crew, q):
    """The tables of a network."""
    table = from_address(crew.networks[COLUMNS * q + ADDRESSES], crew.networks)
    return net_at(table, crew.group.w, crew.costs, crew.control)


@inlined
def has(networks, q):
    """Whether a network is among those of a set, a number of bits."""
    return (networks >> q) & 1 != 0


@root
def run(networks, control, like, room, first_step, n_steps):
    """Train the networks of a group, see `fastbp.kernels.roots.entry`."""
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    train_group(at(networks, 0), networks.size // COLUMNS, at(control, 0), at(room, 0), first_step, n_steps)
    set_float_mode(mode)
    return in_scalars.FINISHED


@leaf
def train_group(networks, n, control, room, first_step, n_steps):
    """Steps [first_step, first_step + n_steps) of n networks, as `fastbp.kernels.jobs.leader.train` takes them."""
    doubles = scratch(nowhere(), 80)
    table = from_address(networks[ADDRESSES], networks)
    net = net_at(table, room, doubles, control)
    n_lanes, size, n_params = lanes(room), net.plan[in_plan.SLOT_SIZE], net.plan[in_plan.N_PARAMS]
    slots = shift(room, n_lanes * size)
    w, length = shift(slots, n_lanes * size), n_lanes * n_params
    numbers = shift(w, 4 * length)
    group = Group(
        net, n, room, slots, w, shift(w, length), shift(w, 2 * length), shift(w, 3 * length), numbers,
        shift(numbers, n_lanes * N_NUMBERS),
    )  # fmt: skip
    crew = Crew(
        networks, group, control, trains_narrow(net), doubles, shift(doubles, 16), shift(doubles, 32), shift(doubles, 48)
    )
    _enter(crew)
    alive = (1 << n) - 1
    if net.plan[in_plan.EPOCH_SUMS] != 0:
        alive = _epochs(crew, alive, first_step, n_steps)
    else:
        alive = _steps(crew, alive, first_step, n_steps, 0)
    for q in range(n):
        if has(alive, q):
            _leave(crew, q)


@leaf
def _enter(crew):
    """Parameters and the optimizer's vectors of all networks into their lanes."""
    group = crew.group
    n = group.net.plan[in_plan.N_PARAMS]
    for i in range(4 * n * lanes(group.w)):
        group.w[i] = real(0.0, group.w)
    for i in range(N_NUMBERS * lanes(group.w)):
        group.numbers[i] = real(1.0, group.w)
    for q in range(group.n):
        job = job_of(crew, q)
        put_lane(n, job.net.params, q, group.w)
        if job.net.plan[in_plan.N_STATE_VECTORS] > 0:
            put_lane(n, job.state, q, group.s1)
        if job.net.plan[in_plan.N_STATE_VECTORS] > 1:
            put_lane(n, shift(job.state, n), q, group.s2)


@leaf
def _leave(crew, q):
    """Parameters and the optimizer's vectors of a network from its lane."""
    group, job = crew.group, job_of(crew, q)
    n = job.net.plan[in_plan.N_PARAMS]
    take_lane(n, group.w, q, job.net.params)
    if job.net.plan[in_plan.N_STATE_VECTORS] > 0:
        take_lane(n, group.s1, q, job.state)
    if job.net.plan[in_plan.N_STATE_VECTORS] > 1:
        take_lane(n, group.s2, q, shift(job.state, n))


@leaf
def _epochs(crew, alive, first_step, n_steps):
    """Steps of several epochs, see `fastbp.kernels.jobs.leader`; the networks that have not diverged."""
    group = crew.group
    net, n = group.net, group.net.plan[in_plan.N_PARAMS]
    batch_size = net.plan[in_plan.BATCH_SIZE]
    steps_per_epoch = (net.data[in_data.N_ROWS] + batch_size - 1) // batch_size
    done, position = 0, first_step
    while done < n_steps and alive != 0:
        if position == 0:
            for q in range(group.n):
                if has(alive, q):
                    job = job_of(crew, q)
                    begin_epoch(job, False, from_address(job.net.plan[in_plan.BEFORE], group.w))
        m = min(steps_per_epoch - position, n_steps - done)
        alive = _steps(crew, alive, position, m, done)
        if _is_interrupted(crew, alive):
            return alive
        done += m
        position += m
        if position == steps_per_epoch:
            for q in range(group.n):
                if has(alive, q):
                    take_lane(n, group.w, q, net_of(crew, q).params)
                    if not _end_epoch(crew, q):
                        _leave(crew, q)
                        alive &= ~(1 << q)
            position = 0
        if done < n_steps and team.is_asked_to_pause(crew.control):
            _interrupt(crew, alive)
            return alive
    return alive


@leaf
def _end_epoch(crew, q):
    """Record a network's epoch; whether its parameters are finite."""
    job = job_of(crew, q)
    s = job.net.scalars
    if not has_finite_params(job, False):
        s[in_scalars.STATUS] = in_scalars.DIVERGED
        return False
    sums, k = from_address(job.net.plan[in_plan.EPOCH_SUMS], crew.costs), 2 * int(s[in_scalars.EPOCHS])
    sums[k], sums[k + 1] = s[in_scalars.COST_SUM], s[in_scalars.WEIGHT_SUM]
    s[in_scalars.EPOCHS] += 1.0
    return True


@leaf
def _is_interrupted(crew, alive):
    """Whether the networks that go on were interrupted: all of them are."""
    for q in range(crew.group.n):
        if has(alive, q):
            return net_of(crew, q).scalars[in_scalars.STATUS] == in_scalars.INTERRUPTED
    return False


@leaf
def _interrupt(crew, alive):
    """Note that the networks that go on were interrupted."""
    for q in range(crew.group.n):
        if has(alive, q):
            net_of(crew, q).scalars[in_scalars.STATUS] = in_scalars.INTERRUPTED


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
            _gradients(crew, stepping, first, m)
        alive = _take_steps(crew, alive, stepping, m)
        if alive == 0:
            return alive
        if i < n_steps - 1 and team.is_asked_to_pause(crew.control):
            _interrupt(crew, alive)
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
    s[in_scalars.LEARNING_RATE] = from_address(crew.networks[COLUMNS * q + RATES], crew.costs)[i]
    if divisor == 0.0:
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
    terms = scratch(group.w, 3 * 16 * 16)
    scales, row_costs = scratch(group.w, 17), scratch(group.w, 18)
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
def _gradients(crew, stepping, first, m):
    """Costs and gradients of the networks' mini-batches."""
    group = crew.group
    penalized = False
    for q in range(group.n):
        net = net_of(crew, q)
        load_network(group, q, net, first, m)
        penalized = penalized or has_penalties(net)
    if penalized:
        params_to_networks(group)
    lane_forward(group, m)
    outputs_to_networks(group, m)
    for q in range(group.n):
        net = net_of(crew, q)
        crew.penalties[q] = penalty_of_network(group, q, net)
        crew.costs[q] = finish_network(group, q, net, first, m)
    errors_from_networks(group, m)
    lane_backward(group, m)
    if penalized:
        gradients_to_networks(group)
        for q in range(group.n):
            add_penalties(group, q, net_of(crew, q))
        gradients_from_networks(group)


@leaf
def _take_steps(crew, alive, stepping, m):
    """The steps of the networks whose cost is finite, and what is noted of them; those that go on."""
    group = crew.group
    taken, equal = 0, True
    for q in range(group.n):
        net = net_of(crew, q)
        if has(stepping, q) and is_finite(crew.costs[q]):
            taken |= 1 << q
        equal = equal and takes_equal_step(net, group.net)
    if taken == (1 << group.n) - 1 and equal:
        step_of_all(group)
    elif taken == (1 << group.n) - 1 and _have_numbers(crew):
        for q in range(group.n):
            set_numbers(group, q, net_of(crew, q))
        step_by_numbers(group)
    else:
        vectors_to_networks(group)
        for q in range(group.n):
            if has(taken, q):
                step_of_network(group, q, net_of(crew, q), crew.is_narrow)
    for q in range(group.n):
        if has(stepping, q) and not _end_step(crew, q, m):
            _leave(crew, q)
            alive &= ~(1 << q)
    return alive


@leaf
def _have_numbers(crew):
    """Whether networks whose steps differ can take them at once."""
    for q in range(crew.group.n):
        if not has_vector_of_numbers(net_of(crew, q), crew.group.w):
            return False
    return True


@leaf
def _end_step(crew, q, m):
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
    counted = float(m) if net.plan[in_plan.PER_BATCH] != 0 else crew.divisors[q]
    s[in_scalars.COST_SUM] += cost * counted
    s[in_scalars.WEIGHT_SUM] += counted
    return True
