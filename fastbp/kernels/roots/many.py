"""Many networks in one call: each is trained or applied by one thread, with the bits that it has alone.

A piece of the region, see `fastbp.kernels.machine.team`, is a network, or some that are trained side by side in the
lanes of the vectors: a thread takes one, does all of its steps in memory of its own, and takes the next one.  No two
threads touch the same numbers, so nothing is shared but the tickets.
"""

from fastbp.kernels.compiler.jit import leaf, part, root
from fastbp.kernels.jobs import leader
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.lanes import train_group
from fastbp.kernels.jobs.members import job_in, train, train_with_validation
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.pointers import at, from_address, shift
from fastbp.kernels.roots.entry import DIFFERENTIATING, LEADER, OUTPUTS, TRAIN
from fastbp.kernels.tables import member as in_member
from fastbp.kernels.tables import scalars as in_scalars

# addresses
MEMBERS = 0  # the tables of `fastbp.kernels.tables.member`
N_PIECES = 1  # a number
THREADS = 2
PIECES = 3
N_ADDRESSES = 4

UNKNOWN = in_scalars.UNKNOWN
WAITING = -1  # status of a network whose turn has not come


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task of `fastbp.kernels.roots.entry`, OUTPUTS or TRAIN, with many networks of one dtype.

    As the leader (slot 0) until it is done with all of them, or as a helper (slot > 0) until none is left.  `like` is
    an empty array of the networks' dtype, `rates` of float64; `first_step` means nothing here.  Overwrites what `entry`
    overwrites, in each network's arrays and in the threads' memory, and what the table of members says.  Where
    `control` asks for a pause, no further network is begun but the leader's first, so that every call comes further;
    the request must stand in the threads' own control vectors as well.  Returns FINISHED.
    """
    team_control = at(control, 0)
    if slot > LEADER:
        polls = 0
        while not team.is_stopped(team_control):
            polls += 1
            take_members(task, slot, at(addresses, 0), team_control, at(like, 0), at(rates, 0))
            team.wait(polls)
    else:
        n_pieces = addresses[N_PIECES]
        team.open_region(team_control, n_pieces)
        take_members(task, slot, at(addresses, 0), team_control, at(like, 0), at(rates, 0))
        team.close_region(team_control, n_pieces)
        team.stop(team_control)
    return in_scalars.FINISHED


@leaf
def take_members(task, slot, table, control, reals, doubles):
    """Do pieces of the open region until none is left."""
    must_begin = slot == LEADER
    while True:
        p = team.take_piece(control, slot, 0)
        if p == team.NONE:
            return
        piece = shift(from_address(table[PIECES], table), p * in_member.PIECE_COLUMNS)
        first, n = piece[in_member.FIRST_MEMBER], piece[in_member.N_MEMBERS]
        member = shift(from_address(table[MEMBERS], table), first * in_member.MEMBER_COLUMNS)
        memory = shift(from_address(table[THREADS], table), slot * in_member.THREAD_COLUMNS)
        if not team.is_asked_to_pause(control) or (must_begin and not team.is_abandoned(control)):
            if n > 1:
                train_side_by_side(member, n, memory, reals, doubles)
            else:
                do_member(task, member, memory, reals, doubles)
            must_begin = False
        team.piece_done(control)


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
    elif member[in_member.VALIDATION] == 0:
        rates = from_address(member[in_member.RATES], doubles)
        train(job, member[in_member.FIRST_STEP], member[in_member.N_STEPS], rates)
    else:
        validation = job_in(from_address(member[in_member.VALIDATION], member), memory, reals, doubles)
        if knows(validation.net, False, False):
            train_with_validation(job, validation, member, doubles)
        else:
            member[in_member.STATUS] = in_scalars.UNKNOWN


@part
def train_side_by_side(members, n, memory, reals, doubles):
    """Train n networks whose tables are the same, each in a lane of the vectors; see `fastbp.kernels.jobs.lanes`."""
    known = 0
    for q in range(n):
        member = shift(members, q * in_member.MEMBER_COLUMNS)
        job = job_in(from_address(member[in_member.ADDRESSES], member), memory, reals, doubles)
        known += 1 if knows(job.net, True, True) else 0
    if known == n:
        for q in range(n):
            members[q * in_member.MEMBER_COLUMNS + in_member.STATUS] = in_scalars.FINISHED
        mode = float_mode()
        set_float_mode(mode | FLUSH_DENORMALS)
        train_group(members, n, memory, reals, doubles, mode)
        set_float_mode(mode)
    else:
        for q in range(n):
            members[q * in_member.MEMBER_COLUMNS + in_member.STATUS] = in_scalars.UNKNOWN
