"""The few operations on floats that Numba has no vectorisable function for.

The functions of `fastbp.kernels.vectors.elementary` are made of them.  Each becomes a handful of instructions that LLVM
can do for a whole vector at once: no call, no branch, no table.  Each works for float32 and float64 and stays in that
type, where a Python constant or an integer would turn a float32 into a float64.

Each also takes a vector of `fastbp.kernels.vectors.values`, lane by lane: one formula serves numbers and vectors.

The layout of a float is the IEEE 754 one: a sign bit, the exponent plus `bias`, then `fraction` bits.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, typeof_impl

from fastbp.kernels.compiler.jit import formula
from fastbp.kernels.machine.vector_writer import declared
from fastbp.kernels.vectors.values import Lanes


class Format(NamedTuple):
    """A floating-point format."""

    real: ir.Type
    integer: ir.Type
    fraction: int  # bits after the binary point
    bias: int  # of the exponent
    sqrt_half: int  # bits of sqrt(1/2)

    @property
    def rounder(self) -> float:
        """Return 1.5 * 2**fraction: adding it rounds to an integer, which the low bits of the sum then hold."""
        return 1.5 * 2.0**self.fraction

    @property
    def is_single(self) -> bool:
        """Whether it is that of float32."""
        return self.fraction == 23

    def of_lanes(self, dtype: Any) -> "Format":
        """The same format for each lane of a vector."""
        return self._replace(real=Lanes("real", dtype).llvm, integer=Lanes("integer", dtype).llvm)


_SCALARS = {
    types.float32: Format(ir.FloatType(), ir.IntType(32), 23, 127, 0x3F3504F3),
    types.float64: Format(ir.DoubleType(), ir.IntType(64), 52, 1023, 0x3FE6A09E667F3BCD),
}
FORMATS: dict[Any, Format] = _SCALARS | {Lanes("real", t): f.of_lanes(t) for t, f in _SCALARS.items()}


def filled(kind: ir.Type, number: float) -> ir.Constant:
    """A constant, in every lane where the type is that of a vector."""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def _call(builder: ir.IRBuilder, name: str, *arguments: Any) -> Any:
    """Call the LLVM intrinsic that takes numbers or vectors of one type and gives one."""
    kind = arguments[0].type
    element, lanes = (kind.element, f"v{kind.count}") if isinstance(kind, ir.VectorType) else (kind, "")
    full_name = f"{name}.{lanes}{element.intrinsic_name}"
    function_type = ir.FunctionType(kind, [kind] * len(arguments))
    return builder.call(declared(builder.module, function_type, full_name), arguments)


class Elementary:
    """A function that is a plain one when Python calls it, and a formula in compiled code.

    ``@Elementary`` makes one of the plain function, ``@name.formula`` gives it the formula.

    Parameters
    ----------
    plain : callable
        The plain function.
    """

    def __init__(self, plain: Callable[..., Any]) -> None:
        self._plain = plain
        self.compiled: Any = None
        functools.update_wrapper(self, plain)

    def __call__(self, *arguments: Any) -> Any:
        """Call it from Python."""
        return self._plain(*arguments)

    def formula(self, source: Callable[..., Any]) -> Any:
        """Decorate the formula that compiled code runs."""
        self.compiled = formula(source)
        return self.compiled


@typeof_impl.register(Elementary)
def _type_of_elementary(function: Elementary, context: Any) -> Any:
    """To compiled code it is its formula."""
    return types.Dispatcher(function.compiled)


def constant(single: float, double: float | None = None) -> Any:
    """Make a function whose value at z is a constant of z's type: `single` in float32, `double` in float64.

    With one argument both are that number, rounded to the type.  ``of(real)`` is the constant of an LLVM type.
    """

    @intrinsic
    def value(typingctx, z):
        def codegen(context, builder, signature, args):
            return filled(FORMATS[z].real, single if double is None or FORMATS[z].is_single else double)

        return (z(z), codegen) if z in FORMATS else None

    value.of = lambda real: single if double is None or isinstance(real, ir.FloatType) else double
    return value


def polynomial(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """Make a function for c[0] + c[1] z + c[2] z**2 + ..., by Horner's rule; one tuple of coefficients per type."""

    @intrinsic
    def value(typingctx, z):
        def codegen(context, builder, signature, args):
            real = FORMATS[z].real
            coefficients = single if FORMATS[z].is_single else double
            total = filled(real, coefficients[-1])
            for c in coefficients[-2::-1]:
                total = _multiply_add(builder, total, args[0], filled(real, c))
            return total

        return (z(z), codegen) if z in FORMATS else None

    value.of = lambda real: single if isinstance(real, ir.FloatType) else double
    return value


def _multiply_add(builder, a, b, c):
    """a * b + c, rounded once where the processor has an instruction for that."""
    return _call(builder, "llvm.fmuladd", a, b, c)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once where the processor has an instruction for that."""

    def codegen(context, builder, signature, args):
        return _multiply_add(builder, *args)

    return (a(a, a, a), codegen) if a in FORMATS and a == b == c else None


@intrinsic
def select(typingctx, condition, a, b):
    """a where the condition holds, else b; both have been computed, there is no branch."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    mask = a.of_kind("mask") if isinstance(a, Lanes) else types.boolean
    return (a(mask, a, a), codegen) if a in FORMATS and a == b else None


@intrinsic
def lesser(typingctx, a, b):
    """a if a < b else b: the smaller one, and b where one of them is NaN."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return (a(a, a), codegen) if a in FORMATS and a == b else None


@intrinsic
def greater(typingctx, a, b):
    """a if a > b else b: the greater one, and b where one of them is NaN."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return (a(a, a), codegen) if a in FORMATS and a == b else None


@intrinsic
def with_sign(typingctx, a, z):
    """|a| with the sign of z."""

    def codegen(context, builder, signature, args):
        return _call(builder, "llvm.copysign", *args)

    return (a(a, a), codegen) if a in FORMATS and a == z else None


@intrinsic
def round_product(typingctx, z, c):
    """The integer nearest to z * c, as a float; for |z * c| below 2**(fraction - 1)."""

    def codegen(context, builder, signature, args):
        rounder = filled(args[0].type, FORMATS[z].rounder)
        return builder.fsub(_multiply_add(builder, args[0], args[1], rounder), rounder)

    return (z(z, z), codegen) if z in FORMATS and z == c else None


def _integer_bits(builder, float_format, n, offset):
    """n + offset in the low bits of an integer, for a float n whose value is an integer; the rest is not zero."""
    rounder = filled(float_format.real, float_format.rounder + offset)
    return builder.bitcast(builder.fadd(n, rounder), float_format.integer)


@intrinsic
def power_of_two(typingctx, n):
    """2**n for a float n whose value is an integer, such that 2**n is a normal number."""

    def codegen(context, builder, signature, args):
        f = FORMATS[n]
        bits = _integer_bits(builder, f, args[0], f.bias)
        return builder.bitcast(builder.shl(bits, filled(f.integer, f.fraction)), f.real)

    return (n(n), codegen) if n in FORMATS else None


@intrinsic
def halves_of_power_of_two(typingctx, n):
    """(u, v) with u * v = 2**n, both normal numbers: a product with u, then v is rounded once, also if subnormal.

    n is a float whose value is an integer with |n| < 2 * bias.
    """

    def codegen(context, builder, signature, args):
        f = FORMATS[n]
        shift = filled(f.integer, f.fraction)
        both = _integer_bits(builder, f, args[0], 2 * f.bias)
        first = builder.lshr(both, filled(f.integer, 1))
        second = builder.sub(both, first)
        halves = [builder.bitcast(builder.shl(half, shift), f.real) for half in (first, second)]
        return context.make_tuple(builder, signature.return_type, halves)

    return (types.UniTuple(n, 2)(n), codegen) if n in FORMATS else None


@intrinsic
def fraction_and_exponent(typingctx, x):
    """(m, k) with x = m * 2**k and sqrt(1/2) <= m < sqrt(2), k as a float; for normal x > 0."""

    def codegen(context, builder, signature, args):
        f = FORMATS[x]
        one = f.bias << f.fraction

        def word(value):
            return filled(f.integer, value)

        # Moving sqrt(1/2) to 1 makes m's range that of one exponent.
        moved = builder.add(builder.bitcast(args[0], f.integer), word(one - f.sqrt_half))
        m = builder.add(builder.and_(moved, word((1 << f.fraction) - 1)), word(f.sqrt_half))
        # The bits of 2**fraction + (k + bias), which is cheaper than a conversion of 64-bit integers.
        k = builder.or_(builder.lshr(moved, word(f.fraction)), word((f.bias + f.fraction) << f.fraction))
        k = builder.fsub(builder.bitcast(k, f.real), filled(f.real, 2.0**f.fraction + f.bias))
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(m, f.real), k])

    return (types.UniTuple(x, 2)(x), codegen) if x in FORMATS else None


@intrinsic
def is_odd(typingctx, n):
    """Whether n is odd, for a float n whose value is an integer below 2**(fraction - 1)."""

    def codegen(context, builder, signature, args):
        f = FORMATS[n]
        bits = _integer_bits(builder, f, args[0], 0)
        return builder.trunc(bits, ir.IntType(1))

    return (types.boolean(n), codegen) if n in FORMATS else None


@intrinsic
def negate_in_upper_half(typingctx, a, n):
    """-a where n mod 4 is 2 or 3, else a; n as for `is_odd`."""

    def codegen(context, builder, signature, args):
        f = FORMATS[a]
        sign = 1 << (f.integer.width - 1)
        bits = builder.shl(_integer_bits(builder, f, args[1], 0), ir.Constant(f.integer, f.integer.width - 2))
        flip = builder.and_(bits, ir.Constant(f.integer, sign))
        return builder.bitcast(builder.xor(builder.bitcast(args[0], f.integer), flip), f.real)

    return (a(a, a), codegen) if a in FORMATS and a == n else None
