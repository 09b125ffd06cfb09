"""Products of matrices that have a neuron in each row and a sample in each column: samples lie side by side.

Each is machine code of its own, because a product takes much of the stack.
"""

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.matrix.blas import gemm
from fastbp.kernels.matrix.products import Matrix, Strided, product, transpose_panel
from fastbp.kernels.matrix.tiles import NOTHING, TILES
from fastbp.kernels.optimizers.updates import no_step
from fastbp.kernels.vectors.values import lanes


@leaf
def laid_side_by_side(m, n, rows, stride, columns):
    """columns[j, i] = rows[i, j] for m samples i of n numbers."""
    if TILES and m % lanes(rows) == 0:  # whole vectors are written
        transpose_panel(m, n, rows, stride, columns, m)
        return
    for j in range(n):
        column = shift(columns, j * m)
        for i in range(m):
            column[i] = rows[i * stride + j]


@leaf
def weigh_inputs(n_inputs, fan_out, m, W, a, z):
    """z (fan_out, m) = W.T @ a for W (n_inputs, fan_out); the biases are a row of W, to which a row of ones belongs."""
    _times(fan_out, n_inputs, m, Strided(W, 1, fan_out), a, z)


@leaf
def weigh_errors(n_inputs, fan_out, m, W, delta, error):
    """error (n_inputs, m) = W @ delta for W (n_inputs, fan_out)."""
    _times(n_inputs, fan_out, m, Strided(W, fan_out, 1), delta, error)


@part
def _times(p, k, m, a, b, c):
    """c (p, m) = a @ b for b (k, m) and a (p, k), which is `Strided` and has its rows or its columns side by side."""
    if TILES:
        product(p, m, k, a, Matrix(b, m), False, Matrix(b, NOTHING), Matrix(c, m), no_step(c))
        return
    has_rows = a.column == 1  # also where there is one row alone
    gemm(not has_rows, False, p, m, k, a.p, k if has_rows else a.column, b, m, 0, c, m)


@part
def sum_products(p, q, m, a, b, add, c):
    """c (p, q) = a @ b.T for a (p, m) and b (q, m), whose sum is over the samples; adds to c if `add` is 1."""
    if TILES:
        before = Matrix(b, NOTHING) if add == 0 else Matrix(c, q)
        product(p, q, m, Strided(a, m, 1), Matrix(b, m), True, before, Matrix(c, q), no_step(c))
        return
    gemm(False, True, p, q, m, a, m, b, m, add, c, q)
