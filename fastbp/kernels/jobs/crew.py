"""The networks of a group, side by side: who they are, what is noted of each, and how they get into their lanes."""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.jobs.addresses import net_at
from fastbp.kernels.jobs.members import job_in
from fastbp.kernels.layers.lanes import Group
from fastbp.kernels.layers.narrow import trains_narrow
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.matrix.lane_order import put_lane, take_lane
from fastbp.kernels.optimizers.lane_steps import N_NUMBERS
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.vectors.values import lanes

MOST_LANES = 16
N_NOTES = 5 * MOST_LANES  # float64 numbers that are noted of all networks


class Crew(NamedTuple):
    """The networks of a group, and what is noted of each."""

    members: Any  # their rows of the table of members
    memory: Any  # the thread's row of the table of threads
    group: Group
    control: Any
    is_narrow: Any  # whether alone they are trained as `fastbp.kernels.layers.narrow` does
    mode: Any  # of floating-point numbers outside of training
    costs: Any  # of each network's mini-batch, float64
    divisors: Any
    penalties: Any
    powers: Any  # from before the step, two of each network


def lane_elements(slot_size: int, n_params: int, n_lanes: int) -> int:
    """Elements of the room that a group takes."""
    return n_lanes * (2 * slot_size + 4 * n_params + N_NUMBERS + 4 * (-(-n_params // 16) * 16))


@inlined
def member_of(crew, q):
    """A network's row of the table of members."""
    return shift(crew.members, q * in_member.MEMBER_COLUMNS)


@inlined
def job_of(crew, q, column):
    """The job of a network, with the data that it is trained on or with those for its validation."""
    table = from_address(member_of(crew, q)[column], crew.members)
    return job_in(table, crew.memory, crew.group.w, crew.costs)


@inlined
def net_of(crew, q):
    """The tables of a network."""
    table = from_address(member_of(crew, q)[in_member.ADDRESSES], crew.members)
    return net_at(table, crew.group.w, crew.costs, crew.control)


@inlined
def has(networks, q):
    """Whether a network is among those of a set, a number of bits."""
    return (networks >> q) & 1 != 0


@leaf
def first_of(networks):
    """The first network of a set that is not empty."""
    q = 0
    while not has(networks, q):
        q += 1
    return q


@inlined
def crew_of(members, n, memory, reals, notes, mode):
    """Lay out the room of a group; see `lane_elements`."""
    room, control = from_address(memory[in_member.LANES], reals), from_address(memory[in_member.CONTROL], members)
    net = net_at(from_address(members[in_member.ADDRESSES], members), reals, notes, control)
    n_lanes, size = lanes(room), net.plan[in_plan.SLOT_SIZE]
    length = n_lanes * net.plan[in_plan.N_PARAMS]
    slots = shift(room, n_lanes * size)
    w = shift(slots, n_lanes * size)
    numbers = shift(w, 4 * length)
    own = shift(numbers, n_lanes * N_NUMBERS)
    vectors = w, shift(w, length), shift(w, 2 * length), shift(w, 3 * length)
    group = Group(net, n, room, slots, *vectors, numbers, own)
    divisors, penalties, powers = (
        shift(notes, MOST_LANES),
        shift(notes, 2 * MOST_LANES),
        shift(notes, 3 * MOST_LANES),
    )
    return Crew(members, memory, group, control, trains_narrow(net), mode, notes, divisors, penalties, powers)


@leaf
def enter(crew):
    """Parameters and the optimizer's vectors of all networks into their lanes."""
    group = crew.group
    n = group.net.plan[in_plan.N_PARAMS]
    for i in range(4 * n * lanes(group.w)):
        group.w[i] = real(0.0, group.w)
    for i in range(group.net.plan[in_plan.SLOT_SIZE] * lanes(group.w)):
        group.work[i] = real(0.0, group.w)  # what lies in the lanes of no network
    for i in range(N_NUMBERS * lanes(group.w)):
        group.numbers[i] = real(1.0, group.w)
    for q in range(group.n):
        job = job_of(crew, q, in_member.ADDRESSES)
        put_lane(n, job.net.params, q, group.w)
        if job.net.plan[in_plan.N_STATE_VECTORS] > 0:
            put_lane(n, job.state, q, group.s1)
        if job.net.plan[in_plan.N_STATE_VECTORS] > 1:
            put_lane(n, shift(job.state, n), q, group.s2)


@leaf
def leave(crew, q):
    """Parameters and the optimizer's vectors of a network from its lane."""
    group, job = crew.group, job_of(crew, q, in_member.ADDRESSES)
    n = job.net.plan[in_plan.N_PARAMS]
    take_lane(n, group.w, q, job.net.params)
    if job.net.plan[in_plan.N_STATE_VECTORS] > 0:
        take_lane(n, group.s1, q, job.state)
    if job.net.plan[in_plan.N_STATE_VECTORS] > 1:
        take_lane(n, group.s2, q, shift(job.state, n))
