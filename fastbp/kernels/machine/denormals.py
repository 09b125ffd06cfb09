"""Flushing denormal numbers to zero while a kernel trains.

Adam's moments of a neuron that no longer learns shrink by 0.9 a step until they are denormal, and there they stay:
0.9 times the smallest denormal rounds to itself.  Every operation on such a number costs the processor some 150 cycles;
a step of a small network took twice its time.  A training step loses nothing below 1e-38, so it runs with denormals
flushed to zero.  The mode belongs to the thread and is put back when the kernel returns.
"""

import platform

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH_TO_ZERO = 0x8000  # bits of the x86 control register MXCSR: results, and operands
DENORMALS_ARE_ZERO = 0x0040

if numba.config.DISABLE_JIT:

    def float_mode() -> int:
        """Plain Python twin."""
        return 0

    def set_float_mode(mode: int) -> None:
        """Plain Python twin."""

else:
    _INT = ir.IntType(32)

    def _call(builder, name, slot):
        byte = ir.IntType(8).as_pointer()
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(ir.VoidType(), [byte]))
        builder.call(function, [builder.bitcast(slot, byte)])

    @intrinsic
    def float_mode(typingctx):
        """Control register of this thread's floating-point unit; 0 on processors other than x86."""

        def codegen(context, builder, signature, args):
            if not IS_X86:
                return context.get_constant(types.int32, 0)
            with builder.goto_entry_block():
                slot = builder.alloca(_INT)
            _call(builder, "llvm.x86.sse.stmxcsr", slot)
            return builder.load(slot)

        return types.int32(), codegen

    @intrinsic
    def set_float_mode(typingctx, mode):
        """Set that register; does nothing on processors other than x86."""

        def codegen(context, builder, signature, args):
            if IS_X86:
                with builder.goto_entry_block():
                    slot = builder.alloca(_INT)
                builder.store(builder.trunc(args[0], _INT), slot)
                _call(builder, "llvm.x86.sse.ldmxcsr", slot)
            return context.get_dummy_value()

        return types.void(types.int64), codegen
