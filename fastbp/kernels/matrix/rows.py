"""Operations on rows, in explicit vector instructions: gathering them, and the sums of their columns.

A row may be short, ten classes say, and a plain loop over ten numbers is not worth the compiler's vector code: it runs
one number at a time.  Here a row is read under a mask, so ten numbers are one vector.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import GATHER_AHEAD, LINE_BYTES, SHORT_ROW, SUMMED_VECTORS
from fastbp.kernels.machine.vector_writer import (
    Mask,
    Vectors,
    call_operation,
    columns_of,
    integer,
    loop,
    over_columns,
    where,
)


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
    copy_row = _copy_of_row(v, n)

    def row(i: Any) -> list[Any]:
        later = builder.add(i, ahead)
        later = builder.select(builder.icmp_signed("<", later, last), later, last)
        here, there = (
            builder.gep(source, [builder.mul(source_row, builder.load(builder.gep(order, [k])))]) for k in (i, later)
        )
        copy_row(here, there, builder.gep(target, [builder.mul(target_row, i)]))
        return []

    loop(builder, m, 1, [], row)


def _copy_of_row(v: Vectors, n: Any) -> Callable[[Any, Any, Any], None]:
    """What writes the copying of a row of n numbers from `here` to `to`; the row at `there` is asked for."""
    builder = v.builder
    is_short = builder.icmp_signed("<", n, integer(v.lanes))
    rest, mask = builder.sub(n, integer(v.lanes)), v.first_lanes(n)

    def vector(rows: tuple[Any, ...], j: Any, mask: Mask | None = None) -> list[Any]:
        here, there, to = (builder.gep(p, [j]) for p in rows)
        v.prefetch(there)
        v.store(v.load(here, 0, mask), to, 0, mask)
        return []

    def copy(*rows: Any) -> None:
        with builder.if_else(is_short) as (short, long):
            with short:
                vector(rows, integer(0), mask)
            with long:
                with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
                    loop(builder, rest, v.lanes, [], lambda j: vector(rows, j))
                vector(rows, rest)  # the last one overlaps the one before it: quicker than under a mask

    return copy


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
    """Some vectors of columns at a time, a cache line of each row with AVX2, then vector by vector."""
    m, n, x, x_row, add, sums = arguments
    v = Vectors(builder, real)
    adds = builder.icmp_signed("!=", add, integer(0))

    def columns(j: Any, count: int, mask: Mask | None = None) -> list[Any]:
        here = [builder.gep(sums, [builder.add(j, integer(k * v.lanes))]) for k in range(count)]
        before = where(builder, adds, [v.zero] * count, lambda: [v.load(p, 0, mask) for p in here])
        for p, total in zip(here, _sums_of_rows(v, m, builder.gep(x, [j]), x_row, mask, before), strict=True):
            v.store(total, p, 0, mask)
        return []

    def over_vectors(done: Any) -> list[Any]:
        rest = columns_of(v, builder.sub(n, done))
        return over_columns(v, rest, [], lambda j, mask: columns(builder.add(j, done), 1, mask))

    at_once = SUMMED_VECTORS * v.lanes
    if SUMMED_VECTORS == 1:
        over_vectors(integer(0))
        return
    done = builder.and_(n, integer(-at_once))
    with builder.if_then(builder.icmp_signed(">", done, integer(0))):
        loop(builder, done, at_once, [], lambda j: columns(j, SUMMED_VECTORS))
    over_vectors(done)


def _sums_of_rows(v: Vectors, m: Any, x: Any, x_row: Any, mask: Mask | None, before: list[Any]) -> list[Any]:
    """Some vectors, and m rows of them more: four sums of every fourth row, then the last rows."""
    builder, count = v.builder, len(before)
    even = builder.and_(m, integer(-4))

    def plus_row(i: Any, totals: Any) -> list[Any]:
        row = builder.gep(x, [builder.mul(x_row, i)])
        return [builder.fadd(total, v.load(row, k * v.lanes, mask)) for k, total in enumerate(totals)]

    def four_rows(i: Any, *totals: Any) -> list[Any]:
        return [total for k in range(4) for total in plus_row(builder.add(i, integer(k)), totals[k * count :][:count])]

    def fours() -> list[Any]:
        sums = loop(builder, even, 4, [*before, *[v.zero] * (3 * count)], four_rows)
        fourths = zip(*(sums[k * count :][:count] for k in range(4)), strict=True)
        return [builder.fadd(builder.fadd(a, b), builder.fadd(c, d)) for a, b, c, d in fourths]

    totals = where(builder, builder.icmp_signed(">", even, integer(0)), before, fours)
    left = builder.sub(m, even)

    def rest() -> list[Any]:
        return loop(builder, left, 1, totals, lambda i, *totals: plus_row(builder.add(i, even), totals))

    return where(builder, builder.icmp_signed(">", left, integer(0)), totals, rest)


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
