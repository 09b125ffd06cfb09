"""Many networks in one call: each is trained or applied by one thread, with the bits that it has alone.

A network is a piece of a region, see `fastbp.kernels.machine.team`: a thread takes one, does all of its steps in memory
of its own, and takes the next one.  No two threads touch the same numbers, so nothing is shared but the tickets.
"""

from fastbp.kernels.compiler.jit import inlined, leaf, part, root
from fastbp.kernels.jobs import leader
from fastbp.kernels.jobs.job import Job
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, from_address, shift
from fastbp.kernels.roots.entry import COST, DIFFERENTIATING, LEADER, OUT, OUTPUTS, STATE, TRAIN, net_at
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# addresses
MEMBERS = 0  # the tables of `fastbp.kernels.tables.member`
N_MEMBERS = 1  # a number
THREADS = 2
N_ADDRESSES = 3

UNKNOWN = in_scalars.UNKNOWN
WAITING = -1  # status of a network whose turn has not come


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task of `fastbp.kernels.roots.entry`, OUTPUTS, COST or TRAIN, with many networks of one dtype.

    As the leader (slot 0) until it is done with all of them, or as a helper (slot > 0) until none is left.  `like` is
    an empty array of the networks' dtype, `rates` of float64; `first_step` means nothing here.  Overwrites what `entry`
    overwrites, in each network's arrays and in the threads' memory, and what the table of members says.  Where
    `control` asks for a pause, no further network is begun; the request must stand in the threads' own control vectors
    as well.  Returns FINISHED.
    """
    team_control = at(control, 0)
    mode = float_mode()
    if task == TRAIN:
        set_float_mode(mode | FLUSH_DENORMALS)
    if slot > LEADER:
        polls = 0
        while not team.is_stopped(team_control):
            polls += 1
            take_members(task, slot, at(addresses, 0), team_control, at(like, 0), at(rates, 0))
            team.wait(polls)
    else:
        n_members = addresses[N_MEMBERS]
        team.open_region(team_control, n_members)
        take_members(task, slot, at(addresses, 0), team_control, at(like, 0), at(rates, 0))
        team.close_region(team_control, n_members)
        team.stop(team_control)
    set_float_mode(mode)
    return in_scalars.FINISHED


@leaf
def take_members(task, slot, table, control, reals, doubles):
    """Do networks of the open region until none is left."""
    while True:
        p = team.take_piece(control, slot, 0)
        if p == team.NONE:
            return
        member = shift(from_address(table[MEMBERS], table), p * in_member.MEMBER_COLUMNS)
        memory = shift(from_address(table[THREADS], table), slot * in_member.THREAD_COLUMNS)
        if not team.is_asked_to_pause(control):
            do_member(task, member, memory, reals, doubles)
        team.piece_done(control)


@inlined
def job_in(table, memory, reals, doubles):
    """The job of a network, by its own addresses, in the memory of a thread."""
    control = from_address(memory[in_member.CONTROL], table)
    return Job(
        net_at(table, reals, doubles, control),
        from_address(memory[in_member.GRADS], reals),
        from_address(table[STATE], reals),
        from_address(memory[in_member.WORK], reals),
        from_address(memory[in_member.COSTS], doubles),
        from_address(table[OUT], reals),
        control,
    )


@part
def do_member(task, member, memory, reals, doubles):
    """Do the task with one network."""
    job = job_in(from_address(member[in_member.ADDRESSES], member), memory, reals, doubles)
    if not knows(job.net, task in DIFFERENTIATING, task == TRAIN):
        member[in_member.STATUS] = in_scalars.UNKNOWN
        return
    member[in_member.STATUS] = in_scalars.FINISHED
    if task == OUTPUTS:
        leader.outputs(job)
    elif task == COST:
        leader.cost(job)
    elif member[in_member.VALIDATION] == 0:
        rates = from_address(member[in_member.RATES], doubles)
        leader.train(job, member[in_member.FIRST_STEP], member[in_member.N_STEPS], rates)
    else:
        validation = job_in(from_address(member[in_member.VALIDATION], member), memory, reals, doubles)
        if knows(validation.net, False, False):
            train_with_validation(job, validation, member, doubles)
        else:
            member[in_member.STATUS] = in_scalars.UNKNOWN


@leaf
def train_with_validation(job, validation, member, doubles):
    """Train epoch by epoch; after each comes the cost of the validation data, and perhaps the end."""
    net, s = job.net, job.net.scalars
    rates, losses = (
        from_address(member[in_member.RATES], doubles),
        from_address(member[in_member.VAL_LOSSES], doubles),
    )
    batch_size, n_steps = net.plan[in_plan.BATCH_SIZE], member[in_member.N_STEPS]
    steps_per_epoch = (net.data[in_data.N_ROWS] + batch_size - 1) // batch_size
    position, done, epoch = member[in_member.FIRST_STEP], 0, 0
    if position == steps_per_epoch:  # an epoch that was interrupted before its validation
        note_epoch(net, doubles)
    while True:
        m = min(steps_per_epoch - position, n_steps - done)
        if m > 0:
            leader.train(job, position, m, shift(rates, done))
            if s[in_scalars.STATUS] != in_scalars.FINISHED and s[in_scalars.STATUS] != in_scalars.CONVERGED:
                return
        done += m
        if position + m < steps_per_epoch:
            return
        leader.cost(validation)
        if team.is_abandoned(job.control):  # before all of it was counted
            return
        losses[epoch] = validation.net.scalars[in_scalars.COST_SUM]
        epoch += 1
        member[in_member.N_VALIDATED] = epoch
        stops = member[in_member.STOPPING] != 0 and has_waited_enough(job, member, losses[epoch - 1], doubles)
        if stops or s[in_scalars.STATUS] == in_scalars.CONVERGED:
            return
        if done == n_steps or team.is_asked_to_pause(job.control):
            return
        position = 0


@leaf
def note_epoch(net, doubles):
    """Record the sums of an epoch whose steps are all taken."""
    s, sums = net.scalars, from_address(net.plan[in_plan.EPOCH_SUMS], doubles)
    sums[0], sums[1] = s[in_scalars.COST_SUM], s[in_scalars.WEIGHT_SUM]
    s[in_scalars.EPOCHS] = 1.0


@leaf
def has_waited_enough(job, member, loss, doubles):
    """Take note of a validation loss; whether early stopping ends the training: see `Best` of the same rule."""
    rule, best = from_address(member[in_member.STOPPING], doubles), from_address(member[in_member.BEST], job.net.params)
    finite = is_finite(loss)
    if finite and loss < rule[in_member.COUNTED] - rule[in_member.MIN_DELTA]:
        rule[in_member.COUNTED] = loss
        rule[in_member.WAITED] = 0.0
    else:
        rule[in_member.WAITED] += 1.0
    if finite and loss < rule[in_member.LOWEST]:
        rule[in_member.LOWEST] = loss
        rule[in_member.IMPROVED] = 1.0
        if member[in_member.BEST] != 0:
            for i in range(job.net.plan[in_plan.N_PARAMS]):
                best[i] = job.net.params[i]
    return rule[in_member.WAITED] >= rule[in_member.PATIENCE]
