"""Sharing the pieces of a job between threads, without a threading runtime.

One thread, the leader, runs a job from beginning to end.  Where there is work for several it publishes a *region*: an
operation with its arguments and a number of pieces.  Threads that have joined the job take pieces by tickets,
and so does the leader; when all are done it goes on.  So a job never waits for a thread that has not joined, is late or
has died; a region costs one to two microseconds; and as pieces are made by the problem alone and every sum over pieces
has a fixed order, who does which piece changes no bit of the result.

A region's pieces lie in *queues*, one for each thread, and a thread empties its own queue before it helps in others.
So the same thread does the same pieces in every step, and finds their parameters in its own cache.

The threads share one int64 vector, `control`.  The words that several threads write lie on cache lines of their own.
A queue's ticket holds three numbers in one word, so that they are always read together: the region's number, the end of
the queue's pieces, and the next piece to take.
"""

import os
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import POLLS_BEFORE_YIELD
from fastbp.kernels.machine.target import TARGET
from fastbp.kernels.machine.vector_writer import declared

MOST_QUEUES = 16
QUEUE_WORDS = 8  # a cache line; queue i's ticket is word QUEUE_WORDS * i
DONE = QUEUE_WORDS * MOST_QUEUES  # pieces of the region that are finished
STOP = DONE + 8  # 1 when the job is over
REQUEST = STOP + 1  # what the caller asks for while the job runs: written by Python, see below
N_QUEUES = STOP + 8  # written before the job begins: one for each thread that may join; 0 counts as 1
OPERATION = N_QUEUES + 1  # the region's operation and arguments: written by the leader before the tickets
N_PIECES = OPERATION + 1
LAYER = OPERATION + 2
FIRST = OPERATION + 3
ROWS = OPERATION + 4
ADD = OPERATION + 5
UPDATE = OPERATION + 6
NEXT = OPERATION + 7  # the first sample of the next mini-batch and how many it has, 0 if unknown
NEXT_ROWS = OPERATION + 8
CONTROL_LENGTH = N_QUEUES + 16

# requests
PAUSE = 1  # return after the step at hand
ABANDON = 2  # return as soon as possible; a step that cannot be finished is not taken

NONE = -1  # instead of a piece: none is left
SOON = -2  # the last one will be taken by another thread

_PIECE_BITS = 20
_PIECE_MASK = (1 << _PIECE_BITS) - 1
_REGION_MASK = (1 << 22) - 1

_INT32 = ir.IntType(32)
_WHOLE_SYSTEM = 15  # Arm's SY, the one kind of `isb` there is

if numba.config.DISABLE_JIT:

    def load_word(p: Any) -> int:
        """Plain Python twin."""
        return int(p[0])

    def store_word(p: Any, value: int) -> None:
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
    def load_word(typingctx, p):
        """Atomic load of an int64."""

        def codegen(context, builder, signature, args):
            return builder.load_atomic(args[0], "seq_cst", 8)

        return types.int64(p), codegen

    @intrinsic
    def store_word(typingctx, p, value):
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
            if TARGET.is_x86:
                void = ir.FunctionType(ir.VoidType(), [])
                builder.call(declared(builder.module, void, "llvm.x86.sse2.pause"), [])
            elif TARGET.is_arm:  # `yield` does nothing on most processors; `isb` takes some 20 ns, as `pause` does
                barrier = ir.FunctionType(ir.VoidType(), [_INT32])
                builder.call(declared(builder.module, barrier, "llvm.aarch64.isb"), [_INT32(_WHOLE_SYSTEM)])
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def yield_processor(typingctx):
        """Let another thread run, where the system has POSIX's sched_yield."""

        def codegen(context, builder, signature, args):
            if os.name == "posix":
                function_type = ir.FunctionType(ir.IntType(32), [])
                builder.call(declared(builder.module, function_type, "sched_yield"), [])
            return context.get_dummy_value()

        return types.void(), codegen


@leaf
def pieces_left(ticket):
    """How many pieces of the queue of a ticket are not yet taken."""
    return ((ticket >> _PIECE_BITS) & _PIECE_MASK) - (ticket & _PIECE_MASK)


@leaf
def region_of(ticket):
    """The number of the region that a ticket is for."""
    return (ticket >> (2 * _PIECE_BITS)) & _REGION_MASK


@leaf
def queues_of(control):
    """How many queues the regions of this job have."""
    return max(1, control[N_QUEUES])


@leaf
def take_piece(control, slot, patience):
    """The next piece of the open region for the thread in a slot; `NONE` or `SOON` if there is none for it.

    Its own queue's first, then others'.  But the last piece of a queue whose thread is at work is left to it, while the
    caller has patience: it will take it soon, and has its parameters in its cache.
    """
    n_queues, answer = queues_of(control), NONE
    region = region_of(load_word(shift(control, slot % n_queues * QUEUE_WORDS)))
    for i in range(n_queues):
        number = (slot + i) % n_queues
        queue = shift(control, number * QUEUE_WORDS)
        ticket = load_word(queue)
        left = pieces_left(ticket)
        if left > 0 and region_of(ticket) == region:  # else its own queue is about to be opened
            begun = (ticket & _PIECE_MASK) != control[N_PIECES] * number // n_queues
            if i > 0 and left == 1 and begun and patience > 0:
                answer = SOON
            else:
                ticket = fetch_add(queue, 1)
                if pieces_left(ticket) > 0:
                    return ticket & _PIECE_MASK
    return answer


@leaf
def open_region(control, n_pieces):
    """Publish a region; its operation and arguments must stand in `control`, and the last region must be finished."""
    region = (region_of(load_word(control)) + 1) & _REGION_MASK
    n_queues = queues_of(control)
    control[N_PIECES] = n_pieces
    store_word(shift(control, DONE), 0)
    for i in range(n_queues):
        begin, end = n_pieces * i // n_queues, n_pieces * (i + 1) // n_queues
        store_word(shift(control, i * QUEUE_WORDS), (region << (2 * _PIECE_BITS)) | (end << _PIECE_BITS) | begin)


@leaf
def piece_done(control):
    """Count a finished piece."""
    fetch_add(shift(control, DONE), 1)


@leaf
def close_region(control, n_pieces):
    """Wait until every piece is finished."""
    polls = 0
    while load_word(shift(control, DONE)) < n_pieces:
        polls += 1
        wait(polls)


@leaf
def wait(polls):
    """Pass a moment in a waiting loop; from time to time leave the processor to a thread that may have the piece."""
    if polls % POLLS_BEFORE_YIELD == 0:
        yield_processor()
    else:
        pause()


@leaf
def stop(control):
    """Tell the helpers that the job is over."""
    store_word(shift(control, STOP), 1)


@leaf
def is_stopped(control):
    """Whether the job is over."""
    return load_word(shift(control, STOP)) != 0


@leaf
def is_asked_to_pause(control):
    """Whether the caller wants to have a look after this step."""
    return load_word(shift(control, REQUEST)) >= PAUSE


@leaf
def is_abandoned(control):
    """Whether the caller no longer wants the results."""
    return load_word(shift(control, REQUEST)) == ABANDON
