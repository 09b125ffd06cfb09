"""Copies that go past the caches: for results that are larger than these, and are not read soon.

An ordinary store to memory first reads the line that it is about to overwrite.  A store that streams does not, but only
whole lines are worth it: so a result is made in a small buffer and copied from there, line by line.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.processor import AVX2, AVX512, LINE_BYTES, TILING
from fastbp.kernels.machine.vector_writer import INT32, Vectors, call_operation, integer, loop

STREAMS = TILING in (AVX2, AVX512)  # whether there are such stores; nobody has measured Arm's


def _stream(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    n, source, target = arguments
    v = Vectors(builder, real)
    per_line = LINE_BYTES // v.bytes
    address = builder.ptrtoint(target, n.type)
    to_line = builder.and_(builder.sub(integer(0), address), integer(LINE_BYTES - 1))
    head = builder.sdiv(to_line, integer(v.bytes))
    head = builder.select(builder.icmp_signed("<", head, n), head, n)
    lines = builder.and_(builder.sub(n, head), integer(-per_line))
    hint = builder.module.add_metadata([ir.Constant(INT32, 1)])

    def one_by_one(begin: Any, end: Any) -> None:
        with builder.if_then(builder.icmp_signed("<", begin, end)):

            def element(j: Any) -> list[Any]:
                place = builder.add(begin, j)
                builder.store(builder.load(builder.gep(source, [place])), builder.gep(target, [place]))
                return []

            loop(builder, builder.sub(end, begin), 1, [], element)

    def line(j: Any) -> list[Any]:
        place = builder.add(head, j)
        here, there = builder.gep(source, [place]), builder.gep(target, [place])
        for offset in range(0, per_line, v.lanes):
            store = builder.store(v.load(here, offset), v.pointer(there, offset))
            store.align = v.lanes * v.bytes
            store.set_metadata("nontemporal", hint)
        return []

    one_by_one(integer(0), head)
    with builder.if_then(builder.icmp_signed(">", lines, integer(0))):
        loop(builder, lines, per_line, [], line)
    one_by_one(builder.add(head, lines), n)


if numba.config.DISABLE_JIT:

    def stream(n: int, source: Any, target: Any) -> None:
        """NumPy twin."""
        target[:n] = source[:n]

else:

    @intrinsic
    def stream(typingctx, n, source, target):
        """target[j] = source[j] for j < n, whole lines past the caches; where `STREAMS`."""

        def codegen(context, builder, signature, args):
            call_operation("stream", _stream, builder, context.get_value_type(target.dtype), list(args))
            return context.get_dummy_value()

        return types.void(types.int64, source, target), codegen
