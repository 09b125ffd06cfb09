"""Python's own functions in leaves: `min`, `max`, `int` and `in`, written where they stand.

Numba compiles a function of its own for each of them and for each number and type of its arguments, down to machine
code: thirteen for the leaves, which took longer than all formulas together.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

Writer = Callable[..., Any]


def _extreme(sign: str) -> Writer:
    """Return what writes ``b if b < a else a``, or the same with >, as Numba has it."""

    def write(context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
        a, b = args
        compare = builder.fcmp_ordered if isinstance(sig.return_type, types.Float) else builder.icmp_signed
        return builder.select(compare(sign, b, a), b, a)

    return write


def _integer(context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
    """Write the integer part of a number."""
    return context.cast(builder, args[0], sig.args[0], sig.return_type)


def _contains(context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
    """Write whether an integer is one of a tuple."""
    found = ir.Constant(ir.IntType(1), 0)
    for i in range(sig.args[0].count):
        found = builder.or_(found, builder.icmp_signed("==", builder.extract_value(args[0], i), args[1]))
    return found


def _is_number(kind: Any) -> bool:
    """Whether a type is of signed integers or real numbers."""
    return isinstance(kind, types.Float) or (isinstance(kind, types.Integer) and kind.signed)


_EXTREMES: dict[Any, Writer] = {min: _extreme("<"), max: _extreme(">")}


def signature_of(function: Any, args: Any) -> Any:
    """Return the types of a call that is written here, or None: two signed numbers of one type, or one number."""
    name = getattr(function, "typing_key", None)
    if name not in (min, max, int) or not all(_is_number(arg) for arg in args):
        return None
    plain = [types.unliteral(arg) for arg in args]
    if name is int:
        return types.int64(*plain) if plain == [types.float64] else None
    return plain[0](*plain) if len(plain) == 2 and plain[0] == plain[1] else None


def writer_of(function: Any, sig: Any) -> Writer | None:
    """Return what writes a call with these types, or None."""
    name, args = getattr(function, "typing_key", None), sig.args
    if name is operator.contains:
        is_here = isinstance(args[0], types.UniTuple) and args[0].dtype == types.unliteral(args[1]) == types.int64
        return _contains if is_here else None
    if signature_of(function, args) != sig:
        return None
    return _integer if name is int else _EXTREMES[name]
