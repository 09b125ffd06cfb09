"""Calls of functions by their addresses: those that a user has compiled, and a random generator's.

A user's scalar formulas are compiled into loops over an array (`fastbp.functions`), and a kernel calls such a loop by
its address.  So the kernels need no compilation of their own for a user's function, and come from the disk cache.
"""

import ctypes
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if numba.config.DISABLE_JIT:

    def _function(address: int, n_pointers: int, p: Any, result: Any = None) -> Any:
        real_pointer = ctypes.POINTER(np.ctypeslib.as_ctypes_type(p.dtype))
        return ctypes.CFUNCTYPE(result, ctypes.c_int64, *[real_pointer] * n_pointers)(address), real_pointer

    def _call(address: int, n: int, *views: Any, result: Any = None) -> Any:
        function, pointer = _function(address, len(views), views[0], result)
        return function(n, *[view.ctypes.data_as(pointer) for view in views])

    def call_activation_forward(address: int, n: int, a: Any) -> None:
        """Plain Python twin."""
        _call(address, n, a)

    def call_activation_backward(address: int, n: int, z: Any, a: Any, delta: Any) -> None:
        """Plain Python twin."""
        _call(address, n, z, a, delta)

    def call_values(address: int, n: int, z: Any, out: Any) -> None:
        """Plain Python twin."""
        _call(address, n, z, out)

    def call_loss_value(address: int, n: int, a: Any, y: Any) -> Any:
        """Plain Python twin."""
        return _call(address, n, a, y, result=ctypes.c_double)

    def call_loss_derivative(address: int, n: int, a: Any, y: Any, delta: Any) -> None:
        """Plain Python twin."""
        _call(address, n, a, y, delta)

    def call_evaluator(address: int, task: int, table: Any, x: Any, y: int, out: Any, n: int) -> float:
        """Without compiled code there is none."""
        raise NotImplementedError

    def next_uint32(address: int, state: int) -> int:
        """Plain Python twin."""
        return int(ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)(int(address))(int(state)))

else:

    def _codegen(returns_double: bool) -> Any:
        def codegen(context, builder, signature, args):
            address, *rest = args
            returned = ir.DoubleType() if returns_double else ir.VoidType()
            function_type = ir.FunctionType(returned, [value.type for value in rest])
            result = builder.call(builder.inttoptr(address, function_type.as_pointer()), rest)
            return result if returns_double else context.get_dummy_value()

        return codegen

    @intrinsic
    def call_activation_forward(typingctx, address, n, a):
        """a[i] = f(a[i]) for i < n."""
        return types.void(types.int64, types.int64, a), _codegen(False)

    @intrinsic
    def call_activation_backward(typingctx, address, n, z, a, delta):
        """delta[i] *= f'(z[i]) for i < n."""
        return types.void(types.int64, types.int64, z, a, delta), _codegen(False)

    @intrinsic
    def call_values(typingctx, address, n, z, out):
        """out[i] = f(z[i]) for i < n."""
        return types.void(types.int64, types.int64, z, out), _codegen(False)

    @intrinsic
    def call_loss_value(typingctx, address, n, a, y):
        """Sum over i < n of the loss of (a[i], y[i]), in float64."""
        return types.float64(types.int64, types.int64, a, y), _codegen(True)

    @intrinsic
    def call_loss_derivative(typingctx, address, n, a, y, delta):
        """delta[i] = dC/da of (a[i], y[i]) for i < n."""
        return types.void(types.int64, types.int64, a, y, delta), _codegen(False)

    @intrinsic
    def call_evaluator(typingctx, address, task, table, x, y, out, n):
        """What the evaluator at an address returns, see `fastbp.kernels.roots.evaluator`."""
        return types.float64(types.int64, types.int64, table, x, types.int64, out, types.int64), _codegen(True)

    @intrinsic
    def next_uint32(typingctx, address, state):
        """32 random bits of a NumPy bit generator, by the address of its `next_uint32` and that of its state."""

        def codegen(context, builder, signature, args):
            state_type = ir.IntType(8).as_pointer()
            function_type = ir.FunctionType(ir.IntType(32), [state_type])
            function = builder.inttoptr(args[0], function_type.as_pointer())
            bits = builder.call(function, [builder.inttoptr(args[1], state_type)])
            return builder.zext(bits, ir.IntType(64))

        return types.int64(types.int64, types.int64), codegen
