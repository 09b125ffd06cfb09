"""A compiled network as a function of C in a form that other libraries ask for."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numba
import numpy as np
import scipy
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.engine import evaluator as ev

_WORD = ir.IntType(64)


class _Data(ctypes.c_void_p):
    """A pointer that keeps alive what it points to."""

    owner: Any = None


@intrinsic
def _number_at(typingctx, table, place):  # type: ignore[no-untyped-def]
    """Read a number of a table."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(builder.gep(builder.bitcast(args[0], _WORD.as_pointer()), [args[1]]))

    return types.int64(types.voidptr, types.int64), codegen


@intrinsic
def _output(typingctx, function, table, x):  # type: ignore[no-untyped-def]
    """Call the evaluator of a network with one output for one row."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        with builder.goto_entry_block():
            out = builder.alloca(ir.DoubleType())
        words = builder.bitcast(args[1], _WORD.as_pointer())
        task, nothing, one = (ir.Constant(_WORD, number) for number in (ev.OUTPUTS, 0, 1))
        values = [task, words, args[2], nothing, out, one]
        function_type = ir.FunctionType(ir.DoubleType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], function_type.as_pointer()), values)
        return builder.load(out)

    return types.float64(types.int64, types.voidptr, types.CPointer(types.float64)), codegen


@functools.cache
def _integrand() -> Any:
    """Return ``double f(int n, double *x, void *net)``, compiled once in a process."""

    @numba.cfunc(types.float64(types.intc, types.CPointer(types.float64), types.voidptr))
    def output(n, x, net):  # type: ignore[no-untyped-def]
        if n != _number_at(net, ev.N_INPUTS):
            return np.nan
        return _output(_number_at(net, ev.FUNCTION), net, x)

    return output


def low_level_callable(evaluator: ev.Evaluator) -> Any:
    """Return a float64 network of one output as SciPy's integrators call it; see `CompiledNetwork`."""
    return scipy.LowLevelCallable(_integrand().ctypes, _data_of(evaluator))


def _data_of(evaluator: ev.Evaluator) -> _Data:
    """Return the pointer that goes with it."""
    data = _Data(evaluator.pointer)
    data.owner = evaluator
    return data
