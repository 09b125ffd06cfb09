"""Matrix products by SciPy's BLAS, called from compiled code without Python.

The addresses come from `scipy.linalg.cython_blas`; they are registered with LLVM under names of our own, so that a
kernel that calls them can be cached on disk.  All matrices are row-major; BLAS is column-major, so each product is
asked for as its transpose.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import get_cython_function_address, intrinsic

for _name in ("sgemm", "dgemm"):
    binding.add_symbol(f"fastbp_{_name}", get_cython_function_address("scipy.linalg.cython_blas", _name))

_INT = ir.IntType(32)  # cython_blas takes 32-bit integers, whatever BLAS is underneath
_CHAR = ir.IntType(8)

if numba.config.DISABLE_JIT:

    def gemm(
        trans_a: bool,
        trans_b: bool,
        m: int,
        n: int,
        k: int,
        a: Any,
        lda: int,
        b: Any,
        ldb: int,
        beta: int,
        c: Any,
        ldc: int,
    ) -> None:
        """NumPy twin of the compiled `gemm` below."""

        def matrix(p: Any, rows: int, columns: int, stride: int) -> Any:
            return np.lib.stride_tricks.as_strided(p, (rows, columns), (stride * p.itemsize, p.itemsize))

        left = matrix(a, k, m, lda).T if trans_a else matrix(a, m, k, lda)
        right = matrix(b, n, k, ldb).T if trans_b else matrix(b, k, n, ldb)
        result = matrix(c, m, n, ldc)
        result[...] = left @ right + (result if beta else 0)

else:

    @intrinsic
    def gemm(typingctx, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
        """C = op(A) @ op(B) + beta C, row-major, with C (m, n), op(A) (m, k), op(B) (k, n); overwrites C.

        `a b c` are pointers, `lda ldb ldc` the elements from one row to the next, `beta` 0 or 1.
        """
        dtype = c.dtype
        name = "fastbp_sgemm" if dtype == types.float32 else "fastbp_dgemm"
        signature = types.void(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc)

        def codegen(context, builder, signature, args):
            trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc = args
            real = context.get_value_type(dtype)

            def by_reference(value: Any, llvm_type: Any) -> Any:
                with builder.goto_entry_block():
                    slot = builder.alloca(llvm_type)
                builder.store(value, slot)
                return slot

            def integer(value: Any) -> Any:
                return by_reference(builder.trunc(value, _INT), _INT)

            def letter(transposed: Any) -> Any:
                return by_reference(builder.select(transposed, _CHAR(ord("T")), _CHAR(ord("N"))), _CHAR)

            pointers = [_CHAR.as_pointer()] * 2 + [_INT.as_pointer()] * 3
            pointers += [real.as_pointer()] * 2 + [_INT.as_pointer(), real.as_pointer(), _INT.as_pointer()]
            pointers += [real.as_pointer()] * 2 + [_INT.as_pointer()]
            module = builder.module
            function = module.globals.get(name)
            if function is None:
                function = ir.Function(module, ir.FunctionType(ir.VoidType(), pointers), name)
            # row-major C = op(A) op(B) is column-major C.T = op(B).T op(A).T
            builder.call(
                function,
                [
                    letter(trans_b),
                    letter(trans_a),
                    integer(n),
                    integer(m),
                    integer(k),
                    by_reference(real(1.0), real),
                    b,
                    integer(ldb),
                    a,
                    integer(lda),
                    by_reference(builder.sitofp(beta, real), real),
                    c,
                    integer(ldc),
                ],
            )
            return context.get_dummy_value()

        return signature, codegen
