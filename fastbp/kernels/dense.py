"""Dense layers: the three matrix products of a layer, each by a plain loop where it is tiny and by BLAS elsewhere.

All matrices are row-major pointers with a row stride; the products take a range of neurons, so that several threads
can share one layer.
"""

from fastbp.kernels.blas import gemm
from fastbp.kernels.jit import leaf
from fastbp.kernels.pointers import real, shift

# Multiply-adds below which a plain loop beats the call of BLAS (about 30 ns with a small-matrix kernel, up to 1 us
# without); measured over shapes from 1 x 2 x 2 to 32 x 16 x 16.
TINY_PRODUCT = 64


@leaf
def fill_rows(m, n, b, z, z_stride):
    """z[i, j] = b[j].  Contiguous rows are copied in runs that double, so that short rows cost no loop each."""
    for j in range(n):
        z[j] = b[j]
    if z_stride == n:
        done, total = n, m * n
        while done < total:
            run = min(done, total - done)
            target = shift(z, done)
            for i in range(run):
                target[i] = z[i]
            done += run
        return
    for i in range(1, m):
        z_row = shift(z, i * z_stride)
        for j in range(n):
            z_row[j] = b[j]


@leaf
def dense_forward(m, fan_in, n, a_prev, a_stride, W, W_stride, b, z, z_stride):
    """z = a_prev @ W + b for m rows and n neurons; overwrites z."""
    fill_rows(m, n, b, z, z_stride)
    if m * fan_in * n > TINY_PRODUCT:
        gemm(False, False, m, n, fan_in, a_prev, a_stride, W, W_stride, 1, z, z_stride)
        return
    for i in range(m):
        z_row = shift(z, i * z_stride)
        for k in range(fan_in):
            a_ik = a_prev[i * a_stride + k]
            W_row = shift(W, k * W_stride)
            for j in range(n):
                z_row[j] += a_ik * W_row[j]


@leaf
def dense_backward_weights(m, n_inputs, fan_out, a_prev, a_stride, delta, add, dW):
    """dW = a_prev.T @ delta for n_inputs rows of the weights; adds to dW if `add` is 1, else overwrites it."""
    if m * n_inputs * fan_out > TINY_PRODUCT:
        gemm(True, False, n_inputs, fan_out, m, a_prev, a_stride, delta, fan_out, add, dW, fan_out)
        return
    if add == 0:
        for k in range(n_inputs * fan_out):
            dW[k] = real(0.0, dW)
    for i in range(m):
        delta_row = shift(delta, i * fan_out)
        for k in range(n_inputs):
            a_ik = a_prev[i * a_stride + k]
            dW_row = shift(dW, k * fan_out)
            for j in range(fan_out):
                dW_row[j] += a_ik * delta_row[j]


@leaf
def dense_backward_biases(m, fan_out, ones, delta, add, db):
    """db = sum over rows of delta, a product with m ones; adds to db if `add` is 1, else overwrites it."""
    if m * fan_out > TINY_PRODUCT:
        gemm(False, False, 1, fan_out, m, ones, m, delta, fan_out, add, db, fan_out)
        return
    if add == 0:
        for j in range(fan_out):
            db[j] = real(0.0, db)
    for i in range(m):
        delta_row = shift(delta, i * fan_out)
        for j in range(fan_out):
            db[j] += delta_row[j]


@leaf
def dense_backward_error(m, n_inputs, fan_out, delta, W, error, error_stride):
    """error = delta @ W.T for n_inputs rows of the weights; overwrites error."""
    if m * n_inputs * fan_out > TINY_PRODUCT:
        gemm(False, True, m, n_inputs, fan_out, delta, fan_out, W, fan_out, 0, error, error_stride)
        return
    for i in range(m):
        delta_row = shift(delta, i * fan_out)
        for k in range(n_inputs):
            W_row = shift(W, k * fan_out)
            total = real(0.0, error)
            for j in range(fan_out):
                total += delta_row[j] * W_row[j]
            error[i * error_stride + k] = total
