"""The matrix products of whole layers that may add to what is there: for tangents, which are sums of two."""

from fastbp.kernels.compiler.jit import part
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.processor import TINY_PRODUCT
from fastbp.kernels.matrix.blas import gemm
from fastbp.kernels.matrix.dense import (
    dense_backward_error,
    dense_backward_weights,
    dense_forward,
    dense_forward_part,
)
from fastbp.kernels.matrix.products import Matrix, Strided, product
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.optimizers.updates import no_step


@part
def affine_product(m, fan_in, fan_out, a, a_stride, V, Rz):
    """Rz = a @ V + b, with b right behind V; overwrites Rz."""
    dense_forward(m, fan_in, fan_out, a, a_stride, V, fan_out, shift(V, fan_in * fan_out), Rz, fan_out)


@part
def linear_product(m, fan_in, fan_out, Ra, Ra_stride, W, add, Rz):
    """Rz = Ra @ W, or Rz += Ra @ W."""
    if m * fan_in * fan_out <= TINY_PRODUCT:
        for i in range(m):
            row, source = shift(Rz, i * fan_out), shift(Ra, i * Ra_stride)
            for j in range(fan_out):
                total = row[j] if add else real(0.0, Rz)
                for k in range(fan_in):
                    total += source[k] * W[k * fan_out + j]
                row[j] = total
    elif not add:
        dense_forward_part(m, fan_in, fan_out, Ra, Ra_stride, W, Rz)
    elif TILES:
        here = Matrix(Rz, fan_out)
        product(m, fan_out, fan_in, Strided(Ra, Ra_stride, 1), Matrix(W, fan_out), False, here, here, no_step(Rz))
    else:
        gemm(False, False, m, fan_out, fan_in, Ra, Ra_stride, W, fan_out, 1, Rz, fan_out)


@part
def error_product(m, fan_in, fan_out, delta, W, add, e):
    """e = delta @ W.T, or e += delta @ W.T."""
    if not add:
        dense_backward_error(m, fan_in, fan_out, delta, fan_out, W, e, fan_in)
    elif m * fan_in * fan_out <= TINY_PRODUCT:
        for i in range(m):
            for k in range(fan_in):
                for j in range(fan_out):
                    e[i * fan_in + k] += delta[i * fan_out + j] * W[k * fan_out + j]
    elif TILES:
        here = Matrix(e, fan_in)
        product(m, fan_in, fan_out, Strided(delta, fan_out, 1), Matrix(W, fan_out), True, here, here, no_step(e))
    else:
        gemm(False, True, m, fan_in, fan_out, delta, fan_out, W, fan_out, 1, e, fan_in)


@part
def weights_product(m, n_inputs, fan_out, a, a_stride, delta, add, dW):
    """dW = a.T @ delta for n_inputs rows of the weights, or dW += a.T @ delta."""
    dense_backward_weights(m, n_inputs, fan_out, a, a_stride, delta, fan_out, 1 if add else 0, dW, no_step(dW))
