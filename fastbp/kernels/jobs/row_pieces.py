"""Roots whose threads share rows once: each piece some blocks of rows, and nothing that one piece needs of another.

Where pieces add to one result, each has a vector of its own, and these are summed in the pieces' order, each thread
some of the numbers.  `shared` builds what such a root needs from the function that does one piece.
"""

from collections.abc import Callable
from typing import Any

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.jobs.job import bound
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import PIECE_ALIGNMENT
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan


@leaf
def first_block(net, p, n_pieces):
    """The first block of piece p of all rows, cut at whole blocks; of p = n_pieces the number of blocks."""
    block_rows = net.plan[in_plan.BLOCK_ROWS]
    return (net.data[in_data.N_ROWS] + block_rows - 1) // block_rows * p // n_pieces


@leaf
def sum_piece(vectors, n, n_vectors, p, n_pieces):
    """vectors[0] += all the other vectors of n numbers, in their order, for piece p of the numbers."""
    begin, end = bound(n, n_pieces, p, PIECE_ALIGNMENT), bound(n, n_pieces, p + 1, PIECE_ALIGNMENT)
    total = shift(vectors, begin)
    for q in range(1, n_vectors):
        part = shift(vectors, q * n + begin)
        for i in range(end - begin):
            total[i] += part[i]


def shared(do_piece: Callable[..., None]) -> tuple[Any, Any]:
    """Return two leaves: ``lead(job, operation, n_pieces)`` has an operation done, ``help_with(job, slot)`` helps.

    Parameters
    ----------
    do_piece : leaf
        ``do_piece(job, operation, p, n_pieces, slot)`` does piece p with the workspace slot of this thread; `job` is
        a named tuple with a pointer `control`.
    """

    @leaf
    def take_pieces(job, slot):
        """Do pieces of the open region until none is left."""
        control = job.control
        while True:
            p = team.take_piece(control, 0, 0)  # one queue: no piece is made again in another region
            if p < 0:
                return
            do_piece(job, control[team.OPERATION], p, control[team.N_PIECES], slot)
            team.piece_done(control)

    @leaf
    def lead(job, operation, n_pieces):
        """Have an operation done, alone or together with the helpers."""
        control = job.control
        control[team.OPERATION] = operation
        if n_pieces == 1:
            do_piece(job, operation, 0, 1, 0)
            return
        team.open_region(control, n_pieces)
        take_pieces(job, 0)
        team.close_region(control, n_pieces)

    @leaf
    def help_with(job, slot):
        """Help the leader until the job is over."""
        polls = 0
        while not team.is_stopped(job.control):
            polls += 1
            take_pieces(job, slot)
            team.wait(polls)

    return lead, help_with
