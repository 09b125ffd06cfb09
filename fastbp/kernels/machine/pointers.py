"""Pointers into arrays, stack-free and unchecked: what the kernels address memory with.

A slice of an array costs a reference count, and an index into it a test for negative values.  A kernel that does its
work in 200 ns can afford neither, and BLAS wants addresses anyway.  So kernels take pointers: ``p[i]`` is the i-th
element, ``shift(p, k)`` the pointer k elements further on.

With ``NUMBA_DISABLE_JIT=1`` a pointer is a one-dimensional view, and the same kernels run as plain Python.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

if numba.config.DISABLE_JIT:

    def at(array: Any, offset: int) -> Any:
        """View of a contiguous array from its element `offset` on."""
        return array.reshape(-1)[offset:]

    def shift(p: Any, offset: int) -> Any:
        """View from element `offset` of `p` on; a negative one goes back, as in an array with negative strides."""
        return p[offset:] if offset >= 0 else from_address(p.ctypes.data + int(offset) * p.itemsize, p)

    def from_address(address: int, like: Any) -> Any:
        """View of the memory at `address` with the dtype of `like`; as long as the address space allows."""
        if address == 0:
            return np.zeros(0, like.dtype)
        code = np.ctypeslib.as_ctypes_type(like.dtype)
        length = 1 << 40
        return np.ctypeslib.as_array((code * length).from_address(int(address)))

    def _to(numbers: Any) -> Any:
        """Make a function from an address to a view of the numbers of a dtype there."""
        return lambda address: from_address(address, np.zeros(0, numbers))

    int32_from_address, int64_from_address = _to(np.int32), _to(np.int64)
    float32_from_address, float64_from_address = _to(np.float32), _to(np.float64)

    def nowhere() -> Any:
        """No float64 numbers."""
        return np.zeros(0)

    def real(value: float, p: Any) -> Any:
        """A number in the dtype of the view `p`."""
        return p.dtype.type(value)

else:

    @intrinsic
    def at(typingctx, array, offset):
        """Pointer to element `offset` of a contiguous array (flat index)."""
        signature = types.CPointer(array.dtype)(array, offset)

        def codegen(context, builder, signature, args):
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return builder.gep(data, [args[1]])

        return signature, codegen

    @intrinsic
    def shift(typingctx, p, offset):
        """Pointer `offset` elements after `p`."""

        def codegen(context, builder, signature, args):
            return builder.gep(args[0], [args[1]])

        return p(p, offset), codegen

    @intrinsic
    def from_address(typingctx, address, like):
        """Pointer to the memory at an integer address, with the dtype of the array `like`."""
        pointer_type = types.CPointer(like.dtype)

        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(pointer_type))

        return pointer_type(address, like), codegen

    def _to(numbers: Any) -> Any:
        """Make a function from an address, an integer or a pointer to anything, to a pointer to numbers of a type."""
        pointer_type = types.CPointer(numbers)

        @intrinsic
        def numbers_from_address(typingctx, address):
            def codegen(context, builder, signature, args):
                convert = builder.inttoptr if isinstance(address, types.Integer) else builder.bitcast
                return convert(args[0], context.get_value_type(pointer_type))

            return pointer_type(address), codegen

        return numbers_from_address

    int32_from_address, int64_from_address = _to(types.int32), _to(types.int64)
    float32_from_address, float64_from_address = _to(types.float32), _to(types.float64)

    @intrinsic
    def nowhere(typingctx):
        """Pointer to float64 numbers that are never read."""

        def codegen(context, builder, signature, args):
            return context.get_constant_null(signature.return_type)

        return types.CPointer(types.float64)(), codegen

    @intrinsic
    def real(typingctx, value, p):
        """A number in the dtype that `p` points to: a bare constant would lift float32 arithmetic to float64."""

        def codegen(context, builder, signature, args):
            return context.cast(builder, args[0], signature.args[0], signature.return_type)

        return p.dtype(value, p), codegen
