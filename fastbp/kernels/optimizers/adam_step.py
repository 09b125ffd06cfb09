"""Adam's step in explicit vector instructions, in float32 with AVX-512's estimates of a root and a reciprocal.

Adam's loop waits for the square root and the division, which one unit makes one after the other.  AVX-512 has
estimates of both to 14 bits; one step of Newton's method each makes 27 bits of them, more than float32 has.  The step
is exact to a few units in the last place, for every lane in the same way.

Elsewhere root and division are exact.  AVX2's estimates have 12 bits: the root's takes as long to refine as the root
itself, the reciprocal's is worth 0 to 4 % of a training step, but AMD's and Intel's differ, and so would all bits.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.processor import ADAM_AHEAD, AVX512, TILING
from fastbp.kernels.machine.vector_writer import (
    Mask,
    Vectors,
    call_operation,
    columns_of,
    integer,
    loop,
    members,
    over_columns,
)

IN_VECTORS = TILING is not None  # whether the step is written in vector instructions, in float32 at least

# Between these, the estimate of a root and its refinement are finite; smaller ones are far below any epsilon, and their
# m is practically 0; larger ones belong to gradients above 1e19.
_SMALLEST, _LARGEST = 1e-37, 1e38


def _adam(builder: ir.IRBuilder, real: Any, arguments: list[Any]) -> None:
    """Row by row: whole vectors, then the rest under a mask."""
    rows, n, row, g_row, *numbers, g, w, m, v = arguments
    vectors = Vectors(builder, real)
    constants = [vectors.splat(number) for number in numbers]
    columns = columns_of(vectors, n)

    def one_row(i: Any) -> list[Any]:
        starts = [builder.gep(p, [builder.mul(i, g_row if p is g else row)]) for p in (g, w, m, v)]

        def column(j: Any, mask: Mask | None) -> list[Any]:
            adam_vector(vectors, constants, [builder.gep(p, [j]) for p in starts], mask)
            return []

        return over_columns(vectors, columns, [], column)

    loop(builder, rows, 1, [], one_row)


def adam_vector(vectors: Vectors, constants: list[Any], pointers: list[Any], mask: Mask | None) -> None:
    """The step of one vector of parameters."""
    builder = vectors.builder
    rate, beta_1, gain_1, beta_2, gain_2, epsilon = constants
    g, w, m, v = (vectors.load(p, 0, mask) for p in pointers)
    if vectors.bytes == 8:  # 1 - beta is exact enough; float32's would lose five of its digits
        square = builder.fmul(g, g)
        m = vectors.fma(beta_1, builder.fsub(m, g), g)
        v = vectors.fma(beta_2, builder.fsub(v, square), square)
    else:
        m = vectors.fma(beta_1, m, builder.fmul(gain_1, g))
        v = vectors.fma(beta_2, v, builder.fmul(builder.fmul(gain_2, g), g))
    _, w_there, m_there, v_there = pointers
    vectors.prefetch(builder.gep(w_there, [integer(ADAM_AHEAD)]), write=1)
    vectors.store(m, m_there, 0, mask)
    vectors.store(v, v_there, 0, mask)
    vectors.store(builder.fsub(w, _quotient(vectors, builder.fmul(rate, m), v, epsilon)), w_there, 0, mask)


def _quotient(vectors: Vectors, x: Any, v: Any, epsilon: Any) -> Any:
    """x / (sqrt(v) + epsilon)."""
    builder = vectors.builder
    if vectors.bytes == 8:
        return builder.fdiv(x, builder.fadd(vectors.call_same("sqrt", v), epsilon))
    size = vectors.largest(vectors.smallest(v, _LARGEST), _SMALLEST)
    if TILING is not AVX512:
        return builder.fdiv(x, builder.fadd(vectors.call_same("sqrt", size), epsilon))
    estimate = _estimate(vectors, "rsqrt14", size)
    half = builder.fmul(vectors.number(-0.5), builder.fmul(size, estimate))
    root_inverse = builder.fmul(estimate, vectors.fma(half, estimate, vectors.number(1.5)))
    divisor = vectors.fma(size, root_inverse, epsilon)
    estimate = _estimate(vectors, "rcp14", divisor)
    error = vectors.fma(vectors.negative(divisor), estimate, vectors.number(2.0))
    return builder.fmul(x, builder.fmul(estimate, error))


def _estimate(vectors: Vectors, name: str, x: Any) -> Any:
    """The processor's estimate of 1 / x or 1 / sqrt(x), to 14 bits."""
    every_lane = ir.Constant(ir.IntType(16), 0xFFFF)
    return vectors.call(f"llvm.x86.avx512.{name}.ps.512", vectors.type, [x, vectors.zero, every_lane])


def is_in_vectors(dtype: Any) -> bool:
    """Whether it is for a dtype: for float64 AVX-512 keeps a plain loop, and so the last bits of earlier fits."""
    return IN_VECTORS and (dtype == types.float32 or TILING is not AVX512)


if numba.config.DISABLE_JIT:

    def has_adam_step(p: Any) -> bool:
        """Plain Python has a plain loop."""
        return False

    def adam_step(*arguments: Any) -> None:
        """Never called, see `has_adam_step`."""
        raise NotImplementedError

else:

    @intrinsic
    def has_adam_step(typingctx, p):
        """Whether `adam_step` exists for the dtype of the pointer on this processor, as the compiler knows it."""
        exists = is_in_vectors(p.dtype)

        def codegen(context, builder, signature, args):
            return ir.Constant(ir.IntType(1), exists)

        return types.boolean(p), codegen

    @intrinsic
    def adam_step(typingctx, runs, numbers, g, w, m, v):
        """m = beta_1 m + gain_1 g; v = beta_2 v + gain_2 g^2; w -= rate m / (sqrt(v) + epsilon).

        For some runs of parameters (see `fastbp.kernels.optimizers.updates.Runs`).  The six `numbers` are rate,
        beta_1, gain_1, beta_2, gain_2 and epsilon, in the parameters' dtype.
        """
        real = w.dtype
        signature = types.void(runs, numbers, g, w, m, v)

        def codegen(context, builder, signature, args):
            if is_in_vectors(real):  # elsewhere never called, see `has_adam_step`
                runs, numbers, *pointers = args
                unpacked = [*members(builder, runs), *members(builder, numbers)]
                call_operation("adam", _adam, builder, context.get_value_type(real), [*unpacked, *pointers])
            return context.get_dummy_value()

        return signature, codegen
