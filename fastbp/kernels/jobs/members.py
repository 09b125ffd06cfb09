"""One of many networks that are trained in one call: its job, and its validation data and early stopping."""

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.jobs import leader
from fastbp.kernels.jobs.addresses import OUT, STATE, net_at
from fastbp.kernels.jobs.job import Job
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import from_address, shift
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars


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


@leaf
def train(job, first_step, n_steps, rates):
    """Take steps as `fastbp.kernels.roots.entry` does: with denormals flushed, unlike costs of validation data."""
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    leader.train(job, first_step, n_steps, rates)
    set_float_mode(mode)


@leaf
def train_with_validation(job, validation, member, doubles):
    """Train epoch by epoch; after each comes the cost of the validation data, and perhaps the end."""
    net, s = job.net, job.net.scalars
    rates = from_address(member[in_member.RATES], doubles)
    batch_size, n_steps = net.plan[in_plan.BATCH_SIZE], member[in_member.N_STEPS]
    steps_per_epoch = (net.data[in_data.N_ROWS] + batch_size - 1) // batch_size
    position, done = member[in_member.FIRST_STEP], 0
    if position == steps_per_epoch:  # an epoch that was interrupted before its validation
        note_epoch(net, doubles)
    while True:
        m = min(steps_per_epoch - position, n_steps - done)
        if m > 0:
            train(job, position, m, shift(rates, done))
            if s[in_scalars.STATUS] != in_scalars.FINISHED and s[in_scalars.STATUS] != in_scalars.CONVERGED:
                return
        done += m
        if position + m < steps_per_epoch:
            return
        if notes_validation(job, validation, member, doubles) or s[in_scalars.STATUS] == in_scalars.CONVERGED:
            return
        if done == n_steps or team.is_asked_to_pause(job.control):
            return
        position = 0


@leaf
def notes_validation(job, validation, member, doubles):
    """Record the cost of the validation data after an epoch; whether training ends here.

    It is not recorded where the caller no longer wants it: not all of it was counted.
    """
    leader.cost(validation)
    if team.is_abandoned(job.control):
        return True
    loss, epoch = validation.net.scalars[in_scalars.COST_SUM], member[in_member.N_VALIDATED]
    from_address(member[in_member.VAL_LOSSES], doubles)[epoch] = loss
    member[in_member.N_VALIDATED] = epoch + 1
    return member[in_member.STOPPING] != 0 and has_waited_enough(job, member, loss, doubles)


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
