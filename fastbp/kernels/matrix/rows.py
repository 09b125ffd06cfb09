"""Operations on rows, in explicit vector instructions: gathering them, and the sums of their columns.

A row may be short, ten classes say, and a plain loop over ten numbers is not worth the compiler's vector code: it runs
one number at a time.  Here a row is read under a mask, so ten numbers are one vector.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import GATHER_AHEAD, LINE_BYTES, SHORT_ROW
from fastbp.kernels.machine.vector_writer import INT, Vectors, call_operation, integer, loop, mask_of


def _gather(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    n = arguments[1]
    with builder.if_else(builder.icmp_signed("<=", n, integer(SHORT_ROW))) as (short, long):
        with short:
            _gather_short_rows(builder, arguments)
        with long:
            _gather_long_rows(builder, real, arguments)


def _gather_short_rows(builder: ir.IRBuilder, arguments: list[Any]) -> None:
    m, n, source, source_row, order, target, target_row = arguments

    def row(i: Any) -> list[Any]:
        here = builder.gep(source, [builder.mul(source_row, builder.load(builder.gep(order, [i])))])
        to = builder.gep(target, [builder.mul(target_row, i)])

        def element(j: Any) -> list[Any]:
            builder.store(builder.load(builder.gep(here, [j])), builder.gep(to, [j]))
            return []

        return loop(builder, n, 1, [], element)

    loop(builder, m, 1, [], row)


def _gather_long_rows(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    m, n, source, source_row, order, target, target_row = arguments
    v = Vectors(builder, real)
    ahead = builder.add(integer(1), builder.sdiv(integer(GATHER_AHEAD), n))
    last = builder.sub(m, integer(1))

    def row(i: Any) -> list[Any]:
        later = builder.add(i, ahead)
        later = builder.select(builder.icmp_signed("<", later, last), later, last)
        here, there = (
            builder.gep(source, [builder.mul(source_row, builder.load(builder.gep(order, [k])))]) for k in (i, later)
        )
        to = builder.gep(target, [builder.mul(target_row, i)])

        def column(j: Any) -> list[Any]:
            mask = mask_of(v, j, n)
            v.prefetch(builder.gep(there, [j]))
            v.store(v.load(builder.gep(here, [j]), 0, mask), builder.gep(to, [j]), 0, mask)
            return []

        return loop(builder, n, v.lanes, [], column)

    loop(builder, m, 1, [], row)


def _fetch(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    m, n, source, source_row, order = arguments
    v = Vectors(builder, real)

    def row(i: Any) -> list[Any]:
        here = builder.gep(source, [builder.mul(source_row, builder.load(builder.gep(order, [i])))])

        def column(j: Any) -> list[Any]:
            v.prefetch(builder.gep(here, [j]), near=2)
            return []

        return loop(builder, n, LINE_BYTES // v.bytes, [], column)

    loop(builder, m, 1, [], row)


def _column_sums(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    m, n, x, x_row, add, sums = arguments
    v = Vectors(builder, real)
    even = builder.and_(m, integer(-4))
    more = builder.icmp_signed(">", even, integer(0))

    def column(j: Any) -> list[Any]:
        mask = mask_of(v, j, n)
        start = builder.gep(x, [j])
        added = v.first_lanes(builder.select(builder.icmp_signed("!=", add, integer(0)), builder.sub(n, j), integer(0)))
        before = v.load(builder.gep(sums, [j]), 0, added)

        def four_rows(i: Any, *totals: Any) -> list[Any]:
            rows = [builder.gep(start, [builder.mul(x_row, builder.add(i, integer(k)))]) for k in range(4)]
            return [builder.fadd(total, v.load(p, 0, mask)) for total, p in zip(totals, rows, strict=True)]

        entry = builder.block
        quick, slow = builder.append_basic_block("quick"), builder.append_basic_block("slow")
        builder.cbranch(more, quick, slow)
        builder.position_at_end(quick)
        totals = loop(builder, even, 4, [before, v.zero, v.zero, v.zero], four_rows)
        total = builder.fadd(builder.fadd(totals[0], totals[1]), builder.fadd(totals[2], totals[3]))
        quick_end = builder.block
        builder.branch(slow)
        builder.position_at_end(slow)
        first = builder.phi(v.type)
        first.add_incoming(before, entry)
        first.add_incoming(total, quick_end)
        i0 = builder.phi(INT)
        i0.add_incoming(integer(0), entry)
        i0.add_incoming(even, quick_end)
        here = builder.block
        rest, end = builder.append_basic_block("rest"), builder.append_basic_block("end")
        left = builder.sub(m, i0)
        builder.cbranch(builder.icmp_signed(">", left, integer(0)), rest, end)
        builder.position_at_end(rest)

        def one_row(i: Any, total: Any) -> list[Any]:
            row = builder.gep(start, [builder.mul(x_row, builder.add(i, i0))])
            return [builder.fadd(total, v.load(row, 0, mask))]

        (final,) = loop(builder, left, 1, [first], one_row)
        rest_end = builder.block
        builder.branch(end)
        builder.position_at_end(end)
        result = builder.phi(v.type)
        result.add_incoming(first, here)
        result.add_incoming(final, rest_end)
        v.store(result, builder.gep(sums, [j]), 0, mask)
        return []

    loop(builder, n, v.lanes, [], column)


if numba.config.DISABLE_JIT:

    def _matrix(p: Any, m: int, n: int, row: int) -> Any:
        """View of m rows of n, `row` elements apart."""
        return np.lib.stride_tricks.as_strided(p, (m, n), (row * p.itemsize, p.itemsize))

    def gather_rows(m: int, n: int, source: Any, source_row: int, order: Any, target: Any, target_row: int) -> None:
        """NumPy twin."""
        for i in range(m):
            target[i * target_row : i * target_row + n] = shift(source, order[i] * source_row)[:n]

    def fetch_rows(m: int, n: int, source: Any, source_row: int, order: Any) -> None:
        """NumPy twin: does nothing."""

    def column_sums(m: int, n: int, x: Any, x_row: int, add: int, sums: Any) -> None:
        """NumPy twin."""
        sums[:n] = (sums[:n] if add else 0) + _matrix(x, m, n, x_row).sum(axis=0)

else:

    @intrinsic
    def gather_rows(typingctx, m, n, source, source_row, order, target, target_row):
        """target[i, :] = source[order[i], :] for m rows of n; overwrites target."""
        i = types.int64

        def codegen(context, builder, signature, args):
            call_operation("gather", _gather, builder, context.get_value_type(target.dtype), list(args))
            return context.get_dummy_value()

        return types.void(i, i, source, i, order, target, i), codegen

    @intrinsic
    def fetch_rows(typingctx, m, n, source, source_row, order):
        """Ask for the cache lines of source[order[i], :] for m rows of n, into the second-level cache."""
        i = types.int64

        def codegen(context, builder, signature, args):
            call_operation("fetch", _fetch, builder, context.get_value_type(source.dtype), list(args))
            return context.get_dummy_value()

        return types.void(i, i, source, i, order), codegen

    @intrinsic
    def column_sums(typingctx, m, n, x, x_row, add, sums):
        """sums[j] = sum_i x[i, j]; added to what is there if `add` is 1."""
        i = types.int64

        def codegen(context, builder, signature, args):
            call_operation("column_sums", _column_sums, builder, context.get_value_type(x.dtype), list(args))
            return context.get_dummy_value()

        return types.void(i, i, x, i, i, sums), codegen
