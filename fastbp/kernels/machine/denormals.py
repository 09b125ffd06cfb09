"""Flushing denormal numbers to zero while a kernel trains.

Adam's moments of a neuron that no longer learns shrink by 0.9 a step until they are denormal, and there they stay:
0.9 times the smallest denormal rounds to itself.  Every operation on such a number costs an x86 processor some 150
cycles; a step of a small network took twice its time.  A training step loses nothing below 1e-38, so it runs with
denormals flushed to zero.  The mode belongs to the thread and is put back when the kernel returns.

On x86 the mode stands in the register MXCSR, on 64-bit Arm in FPCR; other processors are left as they are.
"""

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.target import TARGET
from fastbp.kernels.machine.vector_writer import declared

# Bits of the mode: on x86 one for results and one for operands (Intel's manual, volume 1, 10.2.3.3 and 10.2.3.4), on
# Arm FZ for both (Arm's manual for the A-profile, FPCR).
if TARGET.is_x86:
    FLUSH_DENORMALS = 1 << 15 | 1 << 6
elif TARGET.is_arm:
    FLUSH_DENORMALS = 1 << 24
else:
    FLUSH_DENORMALS = 0

if numba.config.DISABLE_JIT:

    def float_mode() -> int:
        """Plain Python twin."""
        return 0

    def set_float_mode(mode: int) -> None:
        """Plain Python twin."""

else:
    _INT, _INT64 = ir.IntType(32), ir.IntType(64)

    def _x86(builder, name, slot):
        """Move the control register to or from memory."""
        byte = ir.IntType(8).as_pointer()
        function = declared(builder.module, ir.FunctionType(ir.VoidType(), [byte]), f"llvm.x86.sse.{name}")
        builder.call(function, [builder.bitcast(slot, byte)])

    @intrinsic
    def float_mode(typingctx):
        """Control register of this thread's floating-point unit; 0 on processors other than x86 and Arm."""

        def codegen(context, builder, signature, args):
            if TARGET.is_x86:
                with builder.goto_entry_block():
                    slot = builder.alloca(_INT)
                _x86(builder, "stmxcsr", slot)
                return builder.zext(builder.load(slot), _INT64)
            if TARGET.is_arm:
                read = ir.FunctionType(_INT64, [])
                return builder.call(declared(builder.module, read, "llvm.aarch64.get.fpcr"), [])
            return context.get_constant(types.int64, 0)

        return types.int64(), codegen

    @intrinsic
    def set_float_mode(typingctx, mode):
        """Set that register; does nothing on processors other than x86 and Arm."""

        def codegen(context, builder, signature, args):
            if TARGET.is_x86:
                with builder.goto_entry_block():
                    slot = builder.alloca(_INT)
                builder.store(builder.trunc(args[0], _INT), slot)
                _x86(builder, "ldmxcsr", slot)
            elif TARGET.is_arm:
                write = ir.FunctionType(ir.VoidType(), [_INT64])
                builder.call(declared(builder.module, write, "llvm.aarch64.set.fpcr"), args)
            return context.get_dummy_value()

        return types.void(types.int64), codegen
