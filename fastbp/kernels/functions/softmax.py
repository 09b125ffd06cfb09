"""Softmax, and softmax with cross-entropy: probabilities, cost and error of a row in one pass over it.

A row that fits into one vector, that is up to 16 classes, never leaves the registers between its largest logit and its
error.  The exponential is that of `fastbp.kernels.vectors.exponential`, with its polynomials,
written for vectors.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.vector_writer import Vectors, call_operation, integer, loop, mask_of
from fastbp.kernels.vectors.exponential import EXP_LOW, EXPM1_SERIES, LN2_HIGH, LN2_LOW, LOG2_E


def _exponential(v: Vectors, x: Any) -> Any:
    """exp(x) for vectors of x <= 0; NaN stays NaN."""
    builder = v.builder
    low = v.number(EXP_LOW.of(v.real))
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    n = v.call_same("rint", builder.fmul(x, v.number(LOG2_E.of(v.real))))
    minus_n = v.negative(n)
    r = v.fma(minus_n, v.number(LN2_LOW.of(v.real)), v.fma(minus_n, v.number(LN2_HIGH.of(v.real)), x))
    *others, highest = EXPM1_SERIES.of(v.real)
    series = v.number(highest)
    for coefficient in reversed(others):
        series = v.fma(series, r, v.number(coefficient))
    one_and_q = builder.fadd(v.number(1.0), v.fma(builder.fmul(r, r), series, r))
    # 2**n in two halves, so that neither leaves the range of normal numbers
    whole = builder.fptosi(n, v.integers)
    half = builder.ashr(whole, v.integer(1))
    powers = (v.power_of_two(part) for part in (half, builder.sub(whole, half)))
    for power in powers:
        one_and_q = builder.fmul(one_and_q, power)
    return one_and_q


def _largest(v: Vectors, x: Any, y: Any) -> Any:
    """max(x, y) lane by lane; where one is NaN, the other or NaN."""
    return v.builder.select(v.builder.fcmp_ordered("<", x, y), y, x)


def _row_of_one_vector(v: Vectors, n: Any, z: Any, a: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Probabilities of a row that fits into one vector; mask, logits, outputs, largest logit and sum."""
    builder = v.builder
    mask = v.first_lanes(n)
    logits = v.load(z, 0, mask)
    maximum = v.across(lambda x, y: _largest(v, x, y), v.choose(mask, logits, v.number(float("-inf"))))
    powers = v.choose(mask, _exponential(v, builder.fsub(logits, maximum)), v.zero)
    total = v.across(builder.fadd, powers)
    outputs = builder.fmul(powers, builder.fdiv(v.number(1.0), total))
    v.store(outputs, a, 0, mask)
    return mask, logits, outputs, maximum, total


def _row_of_many(v: Vectors, n: Any, z: Any, a: Any) -> tuple[Any, Any]:
    """Probabilities of a longer row; largest logit and sum."""
    builder = v.builder
    lowest = v.number(float("-inf"))

    def larger(j: Any, largest: Any) -> list[Any]:
        mask = mask_of(v, j, n)
        return [_largest(v, largest, v.choose(mask, v.load(builder.gep(z, [j]), 0, mask), lowest))]

    (largest,) = loop(builder, n, v.lanes, [lowest], larger)
    maximum = v.across(lambda x, y: _largest(v, x, y), largest)

    def power(j: Any, total: Any) -> list[Any]:
        mask = mask_of(v, j, n)
        powers = _exponential(v, builder.fsub(v.load(builder.gep(z, [j]), 0, mask), maximum))
        v.store(powers, builder.gep(a, [j]), 0, mask)
        return [builder.fadd(total, v.choose(mask, powers, v.zero))]

    (totals,) = loop(builder, n, v.lanes, [v.zero], power)
    total = v.across(builder.fadd, totals)
    factor = builder.fdiv(v.number(1.0), total)

    def scale(j: Any) -> list[Any]:
        mask, p = mask_of(v, j, n), builder.gep(a, [j])
        v.store(builder.fmul(v.load(p, 0, mask), factor), p, 0, mask)
        return []

    loop(builder, n, v.lanes, [], scale)
    return maximum, total


def _by_length(builder: ir.IRBuilder, v: Vectors, n: Any, short: Any, long: Any) -> None:
    """Write both cases of a row: one vector, or more."""
    blocks = [builder.append_basic_block(name) for name in ("short", "long", "both")]
    builder.cbranch(builder.icmp_signed("<=", n, integer(v.lanes)), blocks[0], blocks[1])
    for block, write in zip(blocks, (short, long), strict=False):
        builder.position_at_end(block)
        write()
        builder.branch(blocks[2])
    builder.position_at_end(blocks[2])


def _softmax(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    m, n, z, a = arguments
    v = Vectors(builder, real)

    def row(i: Any) -> list[Any]:
        z_row, a_row = (builder.gep(p, [builder.mul(n, i)]) for p in (z, a))
        _by_length(
            builder,
            v,
            n,
            lambda: _row_of_one_vector(v, n, z_row, a_row),
            lambda: _row_of_many(v, n, z_row, a_row),
        )
        return []

    loop(builder, m, 1, [], row)


def _cross_entropy(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    m, n, z, y, scale, a, cost, total_of_row, targets_of_row, delta = arguments
    v = Vectors(builder, real)

    def row(i: Any) -> list[Any]:
        z_row, y_row, a_row, delta_row = (builder.gep(p, [builder.mul(n, i)]) for p in (z, y, a, delta))
        factor = v.splat(builder.load(builder.gep(scale, [i])))

        def part(p: Any, mask: Any, logits: Any, outputs: Any, maximum: Any) -> tuple[Any, Any]:
            targets = v.load(builder.gep(y_row, [p]), 0, mask)
            v.store(builder.fmul(factor, builder.fsub(outputs, targets)), builder.gep(delta_row, [p]), 0, mask)
            # 0 times an infinite logit is 0: a class of probability 0 that is not the target costs nothing
            counts = builder.fcmp_unordered("!=", targets, v.zero)
            product = builder.fmul(targets, builder.fsub(maximum, logits))
            return builder.select(counts, product, v.zero), targets

        def finish(costs: Any, targets: Any, total: Any) -> None:
            for number, p in (
                (v.across(builder.fadd, costs), cost),
                (v.across(builder.fadd, targets), targets_of_row),
                (total, total_of_row),
            ):
                builder.store(builder.extract_element(number, ir.Constant(ir.IntType(32), 0)), builder.gep(p, [i]))

        def short() -> None:
            mask, logits, outputs, maximum, total = _row_of_one_vector(v, n, z_row, a_row)
            finish(*part(integer(0), mask, logits, outputs, maximum), total)

        def long() -> None:
            maximum, total = _row_of_many(v, n, z_row, a_row)

            def column(j: Any, costs: Any, targets: Any) -> list[Any]:
                mask = mask_of(v, j, n)
                logits, outputs = (v.load(builder.gep(p, [j]), 0, mask) for p in (z_row, a_row))
                more_costs, more_targets = part(j, mask, logits, outputs, maximum)
                return [builder.fadd(costs, more_costs), builder.fadd(targets, more_targets)]

            costs, targets = loop(builder, n, v.lanes, [v.zero, v.zero], column)
            finish(costs, targets, total)

        _by_length(builder, v, n, short, long)
        return []

    loop(builder, m, 1, [], row)


if numba.config.DISABLE_JIT:

    def _matrix(p: Any, m: int, n: int) -> Any:
        return p[: m * n].reshape(m, n)

    def softmax_rows(m: int, n: int, z: Any, a: Any) -> None:
        """NumPy twin."""
        logits = _matrix(z, m, n)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        _matrix(a, m, n)[...] = powers / powers.sum(axis=1, keepdims=True)

    def cross_entropy_rows(
        m: int, n: int, z: Any, y: Any, scale: Any, a: Any, cost: Any, total: Any, target: Any, delta: Any
    ) -> None:
        """NumPy twin."""
        softmax_rows(m, n, z, a)
        logits, outputs, targets, errors = (_matrix(p, m, n) for p in (z, a, y, delta))
        maximum = logits.max(axis=1, keepdims=True)
        errors[...] = scale[:m, None] * (outputs - targets)
        total[:m] = np.exp(logits - maximum).sum(axis=1)
        target[:m] = targets.sum(axis=1)
        cost[:m] = np.where(targets != 0, targets * (maximum - logits), 0).sum(axis=1)

else:

    @intrinsic
    def softmax_rows(typingctx, m, n, z, a):
        """a[i, j] = exp(z[i, j] - max_k z[i, k]) / sum_k ... for m rows of n; a may be z."""

        def codegen(context, builder, signature, args):
            call_operation("softmax", _softmax, builder, context.get_value_type(a.dtype), list(args))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, z, a), codegen

    @intrinsic
    def cross_entropy_rows(typingctx, m, n, z, y, scale, a, cost, total, target, delta):
        """a = softmax(z), delta = scale (a - y); the row's cost is cost + target log(total).

        cost = sum_j y_j (max z - z_j), target = sum_j y_j, total = sum_j exp(z_j - max z), for m rows of n.
        """

        def codegen(context, builder, signature, args):
            call_operation("cross_entropy", _cross_entropy, builder, context.get_value_type(a.dtype), list(args))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, z, y, scale, a, cost, total, target, delta), codegen
