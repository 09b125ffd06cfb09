"""Vectors as values: a kernel written with them says which numbers stay in registers, lane by lane.

Where all neurons of a layer fit into one vector, a plain loop over four of them costs more than the arithmetic.  Here a
variable holds a whole vector: reals (the dtype's numbers), integers of the same width, or a mask.  ``+ - * /``, ``<``
``==`` and ``>`` work lane by lane, and so do the formulas of `fastbp.kernels.vectors.elementary`.

    load store load_where store_where     a vector in memory
    fetch                     ask for it ahead of time
    zeros like splat          a vector of one number
    lanes                     how many numbers a vector holds
    lane_numbers              0, 1, 2, ...
    below equal added multiplied low_bits exclusive shifted_right shifted_left     integers, and one number
    summed                    two vectors of integers
    choose                    lanes of one vector or the other
    multiply_add              x y + z, rounded once where the processor has an instruction for that
    permuted                  lane i is lane index[i] of x
    first                     the number in lane 0
    any_lane                  whether a mask is set anywhere

With ``NUMBA_DISABLE_JIT=1`` a vector is a NumPy array of as many numbers, and the same kernels run as plain Python.
"""

import operator
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from fastbp.kernels.machine.processor import TILING, VECTOR_BYTES
from fastbp.kernels.machine.vector_writer import Vectors, integer

# Whether kernels may use vectors: without masks and fused multiply-adds they would be no gain.
HAS_VECTORS = TILING is not None or bool(numba.config.DISABLE_JIT)
_BYTES = 64 if numba.config.DISABLE_JIT else VECTOR_BYTES  # plain Python has the longest vectors


def lanes_of(itemsize: int) -> int:
    """Return how many numbers of a dtype a vector holds."""
    return _BYTES // itemsize


class Lanes(types.Type):
    """Numba's type of a vector; `kind` is "real", "integer" or "mask", `dtype` that of the reals beside it."""

    def __init__(self, kind: str, dtype: Any) -> None:
        self.kind, self.dtype = kind, dtype
        super().__init__(name=f"Lanes({kind}, {dtype})")

    @property
    def llvm(self) -> Any:
        """LLVM's type of it."""
        bits = self.dtype.bitwidth
        element = {"integer": ir.IntType(bits), "mask": ir.IntType(1)}.get(self.kind)
        element = element or (ir.FloatType() if bits == 32 else ir.DoubleType())
        return ir.VectorType(element, 8 * _BYTES // bits)

    def of_kind(self, kind: str) -> "Lanes":
        """The type of another kind with as many lanes."""
        return Lanes(kind, self.dtype)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    """A vector is one LLVM value."""

    def __init__(self, manager: Any, numba_type: Lanes) -> None:
        super().__init__(manager, numba_type, numba_type.llvm)


def _writer(builder: ir.IRBuilder, numba_type: Lanes) -> Vectors:
    return Vectors(builder, ir.FloatType() if numba_type.dtype.bitwidth == 32 else ir.DoubleType())


def _same_reals(x: Any) -> Any:
    """The type of a function from a vector of reals to another one."""
    return x if isinstance(x, Lanes) and x.kind == "real" else None


def _operator(function: Any, write: Any, result: str = "real") -> None:
    """Let an operator of Python work on two vectors of reals."""

    @type_callable(function)
    def typed(context):
        def result_of(x, y):
            return x.of_kind(result) if x == y and isinstance(x, Lanes) and x.kind == "real" else None

        return result_of

    @lower_builtin(function, Lanes, Lanes)
    def lower(context, builder, sig, args):
        return write(builder, *args)


if not numba.config.DISABLE_JIT:
    _operator(operator.add, lambda builder, x, y: builder.fadd(x, y))
    _operator(operator.sub, lambda builder, x, y: builder.fsub(x, y))
    _operator(operator.mul, lambda builder, x, y: builder.fmul(x, y))
    _operator(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))
    _operator(operator.lt, lambda builder, x, y: builder.fcmp_ordered("<", x, y), "mask")
    _operator(operator.gt, lambda builder, x, y: builder.fcmp_ordered(">", x, y), "mask")

    _operator(operator.eq, lambda builder, x, y: builder.fcmp_ordered("==", x, y), "mask")

    @type_callable(operator.neg)
    def _typed_negative(context):
        return _same_reals

    @lower_builtin(operator.neg, Lanes)
    def _lower_negative(context, builder, sig, args):
        return builder.fneg(args[0])

    @type_callable(abs)
    def _typed_magnitude(context):
        return _same_reals

    @lower_builtin(abs, Lanes)
    def _lower_magnitude(context, builder, sig, args):
        return _writer(builder, sig.args[0]).call_same("fabs", args[0])


if numba.config.DISABLE_JIT:

    def lanes(p: Any) -> int:
        """NumPy twin."""
        return lanes_of(p.itemsize)

    def lane_numbers(p: Any) -> Any:
        """NumPy twin."""
        return np.arange(lanes_of(p.itemsize))

    def zeros(p: Any) -> Any:
        """NumPy twin."""
        return np.zeros(lanes_of(p.itemsize), p.dtype)

    def splat(value: float, x: Any) -> Any:
        """NumPy twin."""
        return np.full_like(x, value)

    def load(p: Any) -> Any:
        """NumPy twin."""
        return p[: lanes_of(p.itemsize)].copy()

    def load_where(mask: Any, p: Any) -> Any:
        """NumPy twin; like the compiled one it touches no memory outside the mask."""
        x = zeros(p)
        for i in np.flatnonzero(mask):
            x[i] = p[i]
        return x

    def store(x: Any, p: Any) -> None:
        """NumPy twin."""
        p[: x.size] = x

    def store_where(mask: Any, x: Any, p: Any) -> None:
        """NumPy twin."""
        for i in np.flatnonzero(mask):
            p[i] = x[i]

    def fetch(p: Any) -> None:
        """NumPy twin: does nothing."""

    def first(x: Any) -> Any:
        """NumPy twin."""
        return x[0]

    def any_lane(mask: Any) -> bool:
        """NumPy twin."""
        return bool(np.any(mask))

    def multiply_add(x: Any, y: Any, z: Any) -> Any:
        """NumPy twin, which rounds twice."""
        return x * y + z

    def permuted(x: Any, index: Any) -> Any:
        """NumPy twin."""
        return x[index % x.size]

    def choose(mask: Any, x: Any, y: Any) -> Any:
        """NumPy twin."""
        return np.where(mask, x, y)

    below, equal, added, multiplied, summed = operator.lt, operator.eq, operator.add, operator.mul, operator.add
    low_bits, exclusive = operator.and_, operator.xor
    shifted_right, shifted_left = operator.rshift, operator.lshift

else:

    @intrinsic
    def lanes(typingctx, p):
        """How many numbers of the dtype of the pointer a vector holds."""
        count = lanes_of(p.dtype.bitwidth // 8)

        def codegen(context, builder, signature, args):
            return integer(count)

        return types.int64(p), codegen

    @intrinsic
    def lane_numbers(typingctx, p):
        """Integers 0, 1, 2, ... in a vector for the dtype of the pointer."""
        result = Lanes("integer", p.dtype)

        def codegen(context, builder, signature, args):
            return ir.Constant(result.llvm, list(range(result.llvm.count)))

        return result(p), codegen

    @intrinsic
    def zeros(typingctx, p):
        """A vector of zeros of the dtype of the pointer."""
        result = Lanes("real", p.dtype)

        def codegen(context, builder, signature, args):
            return _writer(builder, result).zero

        return result(p), codegen

    @intrinsic
    def splat(typingctx, value, x):
        """A vector like x with one number, of any dtype, in all lanes."""

        def codegen(context, builder, signature, args):
            number = context.cast(builder, args[0], signature.args[0], x.dtype)
            return _writer(builder, x).splat(number)

        return x(value, x), codegen

    @intrinsic
    def load(typingctx, p):
        """The vector that begins at p."""
        result = Lanes("real", p.dtype)

        def codegen(context, builder, signature, args):
            return _writer(builder, result).load(args[0])

        return result(p), codegen

    @intrinsic
    def load_where(typingctx, mask, p):
        """The same under a mask: 0 where it is not set, without touching the memory there."""
        result = Lanes("real", p.dtype)

        def codegen(context, builder, signature, args):
            writer = _writer(builder, result)
            return writer.load(args[1], 0, writer.mask(args[0]))

        return result(mask, p), codegen

    @intrinsic
    def store(typingctx, x, p):
        """Store a vector at p."""

        def codegen(context, builder, signature, args):
            _writer(builder, x).store(args[0], args[1])
            return context.get_dummy_value()

        return types.void(x, p), codegen

    @intrinsic
    def store_where(typingctx, mask, x, p):
        """Store a vector at p where the mask is set."""

        def codegen(context, builder, signature, args):
            writer = _writer(builder, x)
            writer.store(args[1], args[2], 0, writer.mask(args[0]))
            return context.get_dummy_value()

        return types.void(mask, x, p), codegen

    @intrinsic
    def fetch(typingctx, p):
        """Ask for the cache line at p."""

        def codegen(context, builder, signature, args):
            _writer(builder, Lanes("real", p.dtype)).prefetch(args[0])
            return context.get_dummy_value()

        return types.void(p), codegen

    @intrinsic
    def summed(typingctx, x, y):
        """The sum of two vectors of integers."""

        def codegen(context, builder, signature, args):
            return builder.add(*args)

        return x(x, y), codegen

    @intrinsic
    def first(typingctx, x):
        """The number in lane 0."""

        def codegen(context, builder, signature, args):
            return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

        return x.dtype(x), codegen

    @intrinsic
    def any_lane(typingctx, mask):
        """Whether a mask is set in any lane."""

        def codegen(context, builder, signature, args):
            bits = builder.bitcast(args[0], ir.IntType(mask.llvm.count))
            return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

        return types.boolean(mask), codegen

    @intrinsic
    def multiply_add(typingctx, x, y, z):
        """x y + z, rounded once where the processor has an instruction for that."""

        def codegen(context, builder, signature, args):
            return _writer(builder, x).fma(*args)

        return x(x, x, x), codegen

    @intrinsic
    def permuted(typingctx, x, index):
        """Lane i of the result is lane index[i] of x; only the low bits of an index are used."""

        def codegen(context, builder, signature, args):
            return _writer(builder, x).permuted(*args)

        return x(x, index), codegen

    @intrinsic
    def choose(typingctx, mask, x, y):
        """x where the mask is set, y elsewhere."""

        def codegen(context, builder, signature, args):
            return builder.select(*args)

        return x(mask, x, y), codegen

    def _integers(name: str, write: Any, kind: str, text: str) -> Any:
        """An operation on a vector of integers and one number."""

        def typed(typingctx, index, n):
            def codegen(context, builder, signature, args):
                number = builder.trunc(args[1], index.llvm.element) if index.dtype.bitwidth < 64 else args[1]
                return write(builder, args[0], _writer(builder, index).splat(number, index.llvm))

            return index.of_kind(kind)(index, types.int64), codegen

        typed.__name__, typed.__doc__ = name, text
        return intrinsic(typed)

    below = _integers("below", lambda b, i, n: b.icmp_signed("<", i, n), "mask", "index < n.")
    equal = _integers("equal", lambda b, i, n: b.icmp_signed("==", i, n), "mask", "index == n.")
    added = _integers("added", lambda b, i, n: b.add(i, n), "integer", "index + n.")
    multiplied = _integers("multiplied", lambda b, i, n: b.mul(i, n), "integer", "index * n.")
    low_bits = _integers("low_bits", lambda b, i, n: b.and_(i, n), "integer", "index & n.")
    exclusive = _integers("exclusive", lambda b, i, n: b.xor(i, n), "integer", "index ^ n.")
    shifted_right = _integers("shifted_right", lambda b, i, n: b.lshr(i, n), "integer", "index >> n.")
    shifted_left = _integers("shifted_left", lambda b, i, n: b.shl(i, n), "integer", "index << n.")
