"""Two products of a layer for one row alone: its outputs, and its weights' gradient, which go through W row by row.

A tile of one row would go through W by panels, a cache line here and there, and have too few sums at once to hide how
long a multiply-add takes.  Every element is the same chain of fused multiply-adds as in the tiles, bit by bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import ONE_ROW_COLUMNS, ONE_ROW_VECTORS, STEP_ELEMENTS
from fastbp.kernels.machine.vector_writer import Mask, Vectors, call_operation, integer, loop, where
from fastbp.kernels.matrix.tiles import scratch
from fastbp.kernels.optimizers.updates import take_step


class _Place(NamedTuple):
    """Where a vector begins in a row: at a number that is computed, and a constant further on."""

    start: Any
    offset: int


def _over_columns(v: Vectors, n: Any, write: Callable[[list[_Place], Mask | None], None]) -> None:
    """Write what is done to some vectors of columns, given their places, for all n columns.

    The last vector of a row ends with the row and overlaps the one before it; only a row below a vector has a mask.
    """
    builder = v.builder
    last = builder.sub(n, integer(v.lanes))
    mask = v.first_lanes(n)
    # all columns but the last 1 to 8 vectors
    done = builder.and_(builder.sub(n, integer(1)), integer(-ONE_ROW_VECTORS * v.lanes))

    def neighbours(j: Any, count: int) -> list[_Place]:
        return [_Place(j, i * v.lanes) for i in range(count)]

    def whole(j: Any) -> list[Any]:
        write(neighbours(j, ONE_ROW_VECTORS), None)
        return []

    with builder.if_else(builder.icmp_signed("<", last, integer(0))) as (short, long):
        with short:
            write([_Place(integer(0), 0)], mask)
        with long:
            with builder.if_then(builder.icmp_signed(">", done, integer(0))):
                loop(builder, done, ONE_ROW_VECTORS * v.lanes, [], whole)
            vectors_left = builder.sdiv(builder.add(builder.sub(n, done), integer(v.lanes - 1)), integer(v.lanes))
            for count in range(1, ONE_ROW_VECTORS + 1):
                with builder.if_then(builder.icmp_signed("==", vectors_left, integer(count))):
                    write([*neighbours(done, count - 1), _Place(last, 0)], None)


def _forward(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    fan_in, n, a, W, W_row, has_b, b, z = arguments
    v = Vectors(builder, real)
    starts_from_b = builder.icmp_signed("!=", has_b, integer(0))

    def sums(places: list[_Place], mask: Mask | None) -> None:
        def at(p: Any) -> list[Any]:
            return [v.load(builder.gep(p, [start]), offset, mask) for start, offset in places]

        def step(k: Any, *totals: Any) -> list[Any]:
            element, row = v.splat(builder.load(builder.gep(a, [k]))), at(builder.gep(W, [builder.mul(k, W_row)]))
            return [v.fma(element, vector, total) for vector, total in zip(row, totals, strict=True)]

        first = where(builder, starts_from_b, [v.zero] * len(places), lambda: at(b))
        for place, total in zip(places, loop(builder, fan_in, 1, first, step), strict=True):
            v.store(total, builder.gep(z, [place.start]), place.offset, mask)

    _over_columns(v, n, sums)


def _outer_product(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    rows, n, a, delta, g = arguments
    v = Vectors(builder, real)

    def products(places: list[_Place], mask: Mask | None) -> None:
        vectors = [v.load(builder.gep(delta, [start]), offset, mask) for start, offset in places]

        def row(k: Any) -> list[Any]:
            element, here = v.splat(builder.load(builder.gep(a, [k]))), builder.gep(g, [builder.mul(k, n)])
            for (start, offset), vector in zip(places, vectors, strict=True):
                v.store(v.fma(element, vector, v.zero), builder.gep(here, [start]), offset, mask)
            return []

        loop(builder, rows, 1, [], row)

    _over_columns(v, n, products)


if numba.config.DISABLE_JIT:

    def forward_row(fan_in: int, n: int, a: Any, W: Any, W_row: int, has_b: int, b: Any, z: Any) -> None:
        """Never called: there are no tiles."""
        raise NotImplementedError

    def outer_product(rows: int, n: int, a: Any, delta: Any, g: Any) -> None:
        """Never called: there are no tiles."""
        raise NotImplementedError

else:

    @intrinsic
    def forward_row(typingctx, fan_in, n, a, W, W_row, has_b, b, z):
        """z = a W + b for one row, without b if `has_b` is 0; overwrites z."""
        i = types.int64

        def codegen(context, builder, signature, args):
            call_operation("forward_row", _forward, builder, context.get_value_type(z.dtype), list(args))
            return context.get_dummy_value()

        return types.void(i, i, a, W, i, i, b, z), codegen

    @intrinsic
    def outer_product(typingctx, rows, n, a, delta, g):
        """g[k, j] = a[k] delta[j] for contiguous rows of n; overwrites g."""
        i = types.int64

        def codegen(context, builder, signature, args):
            call_operation("outer_product", _outer_product, builder, context.get_value_type(g.dtype), list(args))
            return context.get_dummy_value()

        return types.void(i, i, a, delta, g), codegen


@leaf
def outer_product_and_step(n_inputs, n, a, delta, dW, step):
    """dW[k, j] = a[k] delta[j] for n_inputs rows of weights; or, if it is wanted, their `step`, and dW is left alone.

    A few rows at a time: their gradient stays in the first-level cache, and their parameters are one run.
    """
    if not step.wanted:
        outer_product(n_inputs, n, a, delta, dW)
        return
    small = scratch(dW, STEP_ELEMENTS)
    columns = min(n, ONE_ROW_COLUMNS)
    rows = STEP_ELEMENTS // columns
    for k in range(0, n_inputs, rows):
        here = min(rows, n_inputs - k)
        for j in range(0, n, columns):
            width = min(columns, n - j)
            outer_product(here, width, shift(a, k), shift(delta, j), small)
            take_step(step, k * n + j, here, width, n, small, width)
