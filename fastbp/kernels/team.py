"""Sharing the pieces of a job between threads, without a threading runtime.

One thread, the leader, runs a job from beginning to end.  Where there is work for several it publishes a *region*: an
operation with its arguments and a number of pieces.  Threads that have joined the job take pieces from a common ticket,
and so does the leader; when all are done it goes on.  So a job never waits for a thread that has not joined, is late or
has died; a region costs one to two microseconds; and as pieces are made by the problem alone and every sum over pieces
has a fixed order, who does which piece changes no bit of the result.

The threads share one int64 vector, `control`.  The words that several threads write lie on cache lines of their own.
The ticket holds three numbers in one word, so that they are always read together: the region's number, how many pieces
it has, and the next piece to take.
"""

import os
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp.kernels.denormals import IS_X86
from fastbp.kernels.jit import leaf
from fastbp.kernels.pointers import shift

TICKET = 0
DONE = 8  # pieces of the region that are finished
STOP = 16  # 1 when the job is over
REQUEST = 17  # what the caller asks for while the job runs: written by Python, see below
OPERATION = 24  # the region's operation and arguments: written by the leader before the ticket
LAYER = 25
FIRST = 26
ROWS = 27
ADD = 28
UPDATE = 29
CONTROL_LENGTH = 32

# requests
PAUSE = 1  # return after the step at hand
ABANDON = 2  # return as soon as possible; a step that cannot be finished is not taken

_POLLS_BEFORE_YIELD = 64  # some 2 to 4 us: a yield costs less than that where nobody waits for the processor

_PIECE_BITS = 20
_PIECE_MASK = (1 << _PIECE_BITS) - 1
_REGION_MASK = (1 << 22) - 1

if numba.config.DISABLE_JIT:

    def load(p: Any) -> int:
        """Plain Python twin."""
        return int(p[0])

    def store(p: Any, value: int) -> None:
        """Plain Python twin."""
        p[0] = value

    def fetch_add(p: Any, value: int) -> int:
        """Plain Python twin; one thread only."""
        old = int(p[0])
        p[0] = old + value
        return old

    def pause() -> None:
        """Plain Python twin."""

    def yield_processor() -> None:
        """Plain Python twin."""

else:

    @intrinsic
    def load(typingctx, p):
        """Atomic load of an int64."""

        def codegen(context, builder, signature, args):
            return builder.load_atomic(args[0], "seq_cst", 8)

        return types.int64(p), codegen

    @intrinsic
    def store(typingctx, p, value):
        """Atomic store of an int64."""

        def codegen(context, builder, signature, args):
            builder.store_atomic(args[1], args[0], "seq_cst", 8)
            return context.get_dummy_value()

        return types.void(p, types.int64), codegen

    @intrinsic
    def fetch_add(typingctx, p, value):
        """Atomic p[0] += value; the value before."""

        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

        return types.int64(p, types.int64), codegen

    @intrinsic
    def pause(typingctx):
        """Tell the processor that this is a waiting loop."""

        def codegen(context, builder, signature, args):
            if IS_X86:
                void = ir.FunctionType(ir.VoidType(), [])
                builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), void), [])
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def yield_processor(typingctx):
        """Let another thread run, where the system has POSIX's sched_yield."""

        def codegen(context, builder, signature, args):
            if os.name == "posix":
                function_type = ir.FunctionType(ir.IntType(32), [])
                builder.call(cgutils.get_or_insert_function(builder.module, function_type, "sched_yield"), [])
            return context.get_dummy_value()

        return types.void(), codegen


@leaf
def pieces_open(ticket):
    """Whether the region of a ticket has pieces that nobody has taken."""
    return (ticket & _PIECE_MASK) < ((ticket >> _PIECE_BITS) & _PIECE_MASK)


@leaf
def take_piece(control):
    """The next piece of the open region, or -1 if there is none."""
    if not pieces_open(load(control)):
        return -1
    ticket = fetch_add(control, 1)
    return ticket & _PIECE_MASK if pieces_open(ticket) else -1


@leaf
def region_size(control):
    """How many pieces the open region has; only for a thread that holds an unfinished piece of it."""
    return (load(control) >> _PIECE_BITS) & _PIECE_MASK


@leaf
def open_region(control, n_pieces):
    """Publish a region; its operation and arguments must stand in `control`, and the last region must be finished."""
    region = ((load(control) >> (2 * _PIECE_BITS)) + 1) & _REGION_MASK
    store(shift(control, DONE), 0)
    store(control, (region << (2 * _PIECE_BITS)) | (n_pieces << _PIECE_BITS))


@leaf
def piece_done(control):
    """Count a finished piece."""
    fetch_add(shift(control, DONE), 1)


@leaf
def close_region(control, n_pieces):
    """Wait until every piece is finished."""
    polls = 0
    while load(shift(control, DONE)) < n_pieces:
        polls += 1
        wait(polls)


@leaf
def wait(polls):
    """Pass a moment in a waiting loop; from time to time leave the processor to a thread that may have the piece."""
    if polls % _POLLS_BEFORE_YIELD == 0:
        yield_processor()
    else:
        pause()


@leaf
def stop(control):
    """Tell the helpers that the job is over."""
    store(shift(control, STOP), 1)


@leaf
def is_stopped(control):
    """Whether the job is over."""
    return load(shift(control, STOP)) != 0


@leaf
def is_asked_to_pause(control):
    """Whether the caller wants to have a look after this step."""
    return load(shift(control, REQUEST)) >= PAUSE


@leaf
def is_abandoned(control):
    """Whether the caller no longer wants the results."""
    return load(shift(control, REQUEST)) == ABANDON
