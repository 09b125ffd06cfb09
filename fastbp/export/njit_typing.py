"""Numba's view of a compiled network: a type, and the methods that a user's compiled code may call.

The type is the same for all networks of a dtype, so that a user's function is compiled once, and with ``cache=True``
once for all processes.  A value of it is the network's table (see `fastbp.engine.evaluator`), an array that keeps alive
all that it has addresses of; the evaluator is called by its address in there, so that nothing of the network or of the
kernels is part of the user's machine code.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import NativeValue, box, intrinsic, models, register_model, typeof_impl, unbox
from numpy.typing import NDArray

from fastbp.engine import evaluator as ev
from fastbp.engine.calls import address_of
from fastbp.export import njit_messages as say
from fastbp.export.njit import CompiledNetwork, handle_of

TABLE = types.Array(types.int64, 1, "C")
_WORD = ir.IntType(64)
ROWS = -1  # instead of a place of the table: as many as x has rows


class CompiledNetworkType(types.Type):  # type: ignore[misc] # without stubs
    """Numba's type of a `fastbp.CompiledNetwork`; its name has the version of what machine code knows of it."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"fastbp.CompiledNetwork({dtype}, version {ev.ABI})")


@functools.cache
def type_of(dtype: np.dtype) -> CompiledNetworkType:
    """Return the type of a network's dtype."""
    return CompiledNetworkType(numba.from_dtype(dtype))


@typeof_impl.register(CompiledNetwork)  # type: ignore[untyped-decorator]
def _typeof(handle: CompiledNetwork, context: Any) -> CompiledNetworkType:
    """Tell Numba the type of a handle, which is no constant."""
    if context.purpose.name == "constant":
        raise numba.TypingError(say.CONSTANT)
    return type_of(handle.dtype)


@register_model(CompiledNetworkType)
class _Model(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, [("table", TABLE)])


@unbox(CompiledNetworkType)
def _unboxed(numba_type, handle, c):  # type: ignore[no-untyped-def]
    table = c.pyapi.object_getattr_string(handle, "_table")
    native = c.unbox(TABLE, table)
    c.pyapi.decref(table)
    value = c.context.make_helper(c.builder, numba_type)
    value.table = native.value
    return NativeValue(value._getvalue(), is_error=native.is_error, cleanup=native.cleanup)


@box(CompiledNetworkType)
def _boxed(numba_type, value, c):  # type: ignore[no-untyped-def]
    table = c.box(TABLE, c.context.make_helper(c.builder, numba_type, value).table)
    make = c.pyapi.unserialize(c.pyapi.serialize_object(_handle_of_table))
    handle = c.pyapi.call_function_objargs(make, (table,))
    c.pyapi.decref(make)
    c.pyapi.decref(table)
    return handle


def _handle_of_table(table: NDArray[np.int64]) -> CompiledNetwork:
    """Return a handle of the network whose table it is."""
    evaluator = ev.evaluator_at(address_of(table))
    if evaluator is None:  # of `network_at`, which does not keep alive what it found
        raise ValueError(say.NO_NETWORK)
    return handle_of(evaluator)


# --- what is called ---------------------------------------------------------------------------------------------------


def _number(context: Any, builder: Any, net_type: Any, net: Any, place: Any) -> Any:
    """Read a number of the table, at a place that is known or computed."""
    table = context.make_helper(builder, net_type, net).table
    data = context.make_array(TABLE)(context, builder, table).data
    return builder.load(builder.gep(data, [ir.Constant(_WORD, place) if isinstance(place, int) else place]))


@intrinsic
def number(typingctx, net, place):  # type: ignore[no-untyped-def]
    """Read a number of the table."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _number(context, builder, net, args[0], args[1])

    return types.int64(net, types.int64), codegen


@intrinsic
def address_of_table(typingctx, net):  # type: ignore[no-untyped-def]
    """Return where the table lies, by which others find the network."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        table = context.make_helper(builder, net, args[0]).table
        return builder.ptrtoint(context.make_array(TABLE)(context, builder, table).data, _WORD)

    return types.int64(net), codegen


@intrinsic
def evaluate(typingctx, task, net, x, y, out, n):  # type: ignore[no-untyped-def]
    """Call the evaluator; x, y and out may be arrays, y a number as well, y and out None."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        number_type = context.get_value_type(net.dtype).as_pointer()

        def address(numba_type: Any, value: Any) -> Any:
            if isinstance(numba_type, types.Array):
                return builder.ptrtoint(context.make_array(numba_type)(context, builder, value).data, _WORD)
            if isinstance(numba_type, types.Number):
                kind = types.int64 if isinstance(numba_type, types.Integer) else net.dtype
                with builder.goto_entry_block():
                    slot = builder.alloca(context.get_value_type(kind))
                builder.store(context.cast(builder, value, numba_type, kind), slot)
                return builder.ptrtoint(slot, _WORD)
            return ir.Constant(_WORD, 0)

        reals = [
            builder.inttoptr(address(numba_type, value), number_type)
            for numba_type, value in ((x, args[2]), (out, args[4]))
        ]
        table = context.make_helper(builder, net, args[1]).table
        data = context.make_array(TABLE)(context, builder, table).data
        values = [args[0], data, reals[0], address(y, args[3]), reals[1], args[5]]
        function_type = ir.FunctionType(ir.DoubleType(), [value.type for value in values])
        function = _number(context, builder, net, args[1], ev.FUNCTION)
        return builder.call(builder.inttoptr(function, function_type.as_pointer()), values)

    return types.float64(types.int64, net, x, y, out, types.int64), codegen


def _shape_check(*places: int) -> Any:
    """Make what looks whether an array has a shape: numbers of the table, or the rows of x."""

    @intrinsic
    def fits(typingctx, net, x, array):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            shape = context.make_array(array)(context, builder, args[2]).shape
            rows = builder.extract_value(context.make_array(x)(context, builder, args[1]).shape, 0)
            same = ir.Constant(ir.IntType(1), 1)
            for axis, place in enumerate(places):
                expected = rows if place == ROWS else _number(context, builder, net, args[0], place)
                equal = builder.icmp_signed("==", builder.extract_value(shape, axis), expected)
                same = builder.and_(same, equal)
            return same

        return types.boolean(net, x, array), codegen

    return fits


INPUT_FITS = {1: _shape_check(ev.N_INPUTS), 2: _shape_check(ROWS, ev.N_INPUTS)}
OUTPUT_FITS = {1: _shape_check(ev.N_OUTPUTS), 2: _shape_check(ROWS, ev.N_OUTPUTS)}
PARAMS_FIT = _shape_check(ev.N_PARAMS)
JACOBIAN_FITS = {2: _shape_check(ev.N_OUTPUTS, ev.N_INPUTS), 3: _shape_check(ROWS, ev.N_OUTPUTS, ev.N_INPUTS)}
LABELS_FIT = _shape_check(ROWS)


@intrinsic
def rows_of(typingctx, x):  # type: ignore[no-untyped-def]
    """How many rows an array of one row, or of rows, has."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if x.ndim == 1:
            return ir.Constant(_WORD, 1)
        return builder.extract_value(context.make_array(x)(context, builder, args[0]).shape, 0)

    return types.int64(x), codegen
