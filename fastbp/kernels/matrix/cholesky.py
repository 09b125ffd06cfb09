"""Symmetric positive definite equations in float64: a plain loop for small ones, SciPy's LAPACK for others.

Addresses of LAPACK's functions are registered with LLVM as those of BLAS are, see `fastbp.kernels.matrix.blas`.  A
matrix is row-major and only its lower triangle is read or written; to LAPACK, which is column-major, that is the upper
one.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import get_cython_function_address, intrinsic

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift

for _name in ("dpotrf", "dpotrs"):
    binding.add_symbol(f"fastbp_{_name}", get_cython_function_address("scipy.linalg.cython_lapack", _name))

MOST_BY_LOOP = 16  # rows up to which the loop is as quick as a call of LAPACK; for 31 it takes twice as long

_INT = ir.IntType(32)
_CHAR = ir.IntType(8)
_DOUBLE = ir.DoubleType()

if numba.config.DISABLE_JIT:

    def _matrix(n: int, a: Any) -> Any:
        return a[: n * n].reshape(n, n)

    def potrf(n: int, a: Any) -> int:
        """NumPy twin of the compiled one below."""
        lower = np.tril(_matrix(n, a))
        try:
            factor = np.linalg.cholesky(lower + np.tril(lower, -1).T)
        except np.linalg.LinAlgError:
            return 1
        _matrix(n, a)[np.tril_indices(n)] = factor[np.tril_indices(n)]
        return 0

    def potrs(n: int, a: Any, b: Any) -> None:
        """NumPy twin of the compiled one below."""
        factor = np.tril(_matrix(n, a))
        b[:n] = np.linalg.solve(factor.T, np.linalg.solve(factor, b[:n]))

else:

    def _by_reference(builder: Any, value: Any, llvm_type: Any) -> Any:
        with builder.goto_entry_block():
            slot = builder.alloca(llvm_type)
        builder.store(value, slot)
        return slot

    def _declared(builder: Any, name: str, pointers: Any) -> Any:
        function = builder.module.globals.get(name)
        return function or ir.Function(builder.module, ir.FunctionType(ir.VoidType(), pointers), name)

    @intrinsic
    def potrf(typingctx, n, a):
        """The lower triangle of `a` becomes its factor; 0, or the row from which on there is none."""

        def codegen(context, builder, signature, args):
            number, info = _INT.as_pointer(), _by_reference(builder, _INT(0), _INT)
            pointers = [_CHAR.as_pointer(), number, _DOUBLE.as_pointer(), number, number]
            upper = _by_reference(builder, _CHAR(ord("U")), _CHAR)
            n_rows = _by_reference(builder, builder.trunc(args[0], _INT), _INT)
            builder.call(_declared(builder, "fastbp_dpotrf", pointers), [upper, n_rows, args[1], n_rows, info])
            return builder.sext(builder.load(info), ir.IntType(64))

        return types.int64(n, types.CPointer(types.float64)), codegen

    @intrinsic
    def potrs(typingctx, n, a, b):
        """`b` becomes the solution of the equations of the matrix whose factor `a` holds."""

        def codegen(context, builder, signature, args):
            number, real = _INT.as_pointer(), _DOUBLE.as_pointer()
            pointers = [_CHAR.as_pointer(), number, number, real, number, real, number, number]
            upper = _by_reference(builder, _CHAR(ord("U")), _CHAR)
            n_rows = _by_reference(builder, builder.trunc(args[0], _INT), _INT)
            one, info = _by_reference(builder, _INT(1), _INT), _by_reference(builder, _INT(0), _INT)
            arguments = [upper, n_rows, one, args[1], n_rows, args[2], n_rows, info]
            builder.call(_declared(builder, "fastbp_dpotrs", pointers), arguments)
            return context.get_dummy_value()

        real = types.CPointer(types.float64)
        return types.void(n, real, real), codegen


@leaf
def factorize(n, A, scale, diagonal, mu, L):
    """L L.T = scale A + diag(diagonal) + mu; whether that is positive definite.  Overwrites the lower triangle of L."""
    for i in range(n):
        source, target = shift(A, i * n), shift(L, i * n)
        for j in range(i + 1):
            target[j] = scale * source[j]
        target[i] += diagonal[i] + mu
    return potrf(n, L) == 0 if n > MOST_BY_LOOP else _factorize_by_loop(n, L)


@leaf
def _factorize_by_loop(n, L):
    """The same of the lower triangle in place."""
    for i in range(n):
        row = shift(L, i * n)
        for j in range(i + 1):
            other = shift(L, j * n)
            rest = row[j]
            for k in range(j):
                rest -= row[k] * other[k]
            if j < i:
                row[j] = rest / other[j]
            elif rest > 0.0:
                row[i] = np.sqrt(rest)
            else:
                return False
    return True


@leaf
def solve_factored(n, L, b):
    """`b` becomes the solution x of L L.T x = b."""
    if n > MOST_BY_LOOP:
        potrs(n, L, b)
        return
    for i in range(n):
        row = shift(L, i * n)
        rest = b[i]
        for k in range(i):
            rest -= row[k] * b[k]
        b[i] = rest / row[i]
    for back in range(n):
        i = n - 1 - back
        row = shift(L, i * n)
        x = b[i] / row[i]
        b[i] = x
        for k in range(i):
            b[k] -= x * row[k]
