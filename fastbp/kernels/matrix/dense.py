"""Dense layers: the three matrix products of a layer, by tiles of our own or, on lesser processors, by BLAS.

All matrices are row-major pointers with a row stride; the products take a range of neurons, so that several threads
can share one layer.
"""

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.processor import TINY_PRODUCT
from fastbp.kernels.matrix.blas import gemm
from fastbp.kernels.matrix.one_row import forward_row, outer_product_and_step
from fastbp.kernels.matrix.products import Matrix, Strided, product
from fastbp.kernels.matrix.tiles import NOTHING, TILES
from fastbp.kernels.optimizers.updates import no_step, take_step


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


@inlined
def dense_forward(m, fan_in, n, a_prev, a_stride, W, W_stride, b, z, z_stride):
    """z = a_prev @ W + b for m rows and n neurons; overwrites z."""
    if m * fan_in * n <= TINY_PRODUCT:
        tiny_forward(m, fan_in, n, a_prev, a_stride, W, W_stride, b, z, z_stride)
        return
    if TILES and m == 1:
        forward_row(fan_in, n, a_prev, W, W_stride, 1, b, z)
        return
    if TILES:
        a, c = Strided(a_prev, a_stride, 1), Matrix(z, z_stride)
        product(m, n, fan_in, a, Matrix(W, W_stride), False, Matrix(b, 0), c, no_step(z))
        return
    fill_rows(m, n, b, z, z_stride)
    gemm(False, False, m, n, fan_in, a_prev, a_stride, W, W_stride, 1, z, z_stride)


@leaf
def dense_forward_part(m, n_inputs, fan_out, a_prev, a_stride, W, z):
    """z = a_prev @ W for n_inputs of a layer's inputs and all its neurons, without the biases; overwrites z."""
    if TILES and m == 1:
        forward_row(n_inputs, fan_out, a_prev, W, fan_out, 0, W, z)
        return
    if TILES:
        a, b, zero, c = Strided(a_prev, a_stride, 1), Matrix(W, fan_out), Matrix(W, NOTHING), Matrix(z, fan_out)
        product(m, fan_out, n_inputs, a, b, False, zero, c, no_step(z))
        return
    gemm(False, False, m, fan_out, n_inputs, a_prev, a_stride, W, fan_out, 0, z, fan_out)


@leaf
def tiny_forward(m, fan_in, n, a_prev, a_stride, W, W_stride, b, z, z_stride):
    """The same by a plain loop."""
    for i in range(m):
        z_row = shift(z, i * z_stride)
        for j in range(n):
            z_row[j] = b[j]
        for k in range(fan_in):
            a_ik = a_prev[i * a_stride + k]
            W_row = shift(W, k * W_stride)
            for j in range(n):
                z_row[j] += a_ik * W_row[j]


@inlined
def dense_backward_weights(m, n_inputs, fan_out, a_prev, a_stride, delta, stride, add, dW, step):
    """dW = a_prev.T @ delta for n_inputs rows of the weights; adds to dW if `add` is 1, else overwrites it.

    Then their `step`, where it is wanted: by tiles block by block, so that a block's gradient never leaves the cache.
    """
    if m * n_inputs * fan_out <= TINY_PRODUCT:
        _tiny_backward_weights(m, n_inputs, fan_out, a_prev, a_stride, delta, stride, add, dW)
    elif TILES and m == 1 and add == 0:
        outer_product_and_step(n_inputs, fan_out, a_prev, delta, dW, step)
        return
    elif TILES:
        c0, c0_row = (delta, NOTHING) if add == 0 else (dW, fan_out)
        a, b, before, c = Strided(a_prev, 1, a_stride), Matrix(delta, stride), Matrix(c0, c0_row), Matrix(dW, fan_out)
        product(n_inputs, fan_out, m, a, b, False, before, c, step)
        return
    else:
        gemm(True, False, n_inputs, fan_out, m, a_prev, a_stride, delta, stride, add, dW, fan_out)
    if step.wanted:
        take_step(step, 0, n_inputs, fan_out, fan_out, dW, fan_out)


@leaf
def _tiny_backward_weights(m, n_inputs, fan_out, a_prev, a_stride, delta, stride, add, dW):
    """The same by a plain loop."""
    if add == 0:
        for k in range(n_inputs * fan_out):
            dW[k] = real(0.0, dW)
    for i in range(m):
        delta_row = shift(delta, i * stride)
        for k in range(n_inputs):
            a_ik = a_prev[i * a_stride + k]
            dW_row = shift(dW, k * fan_out)
            for j in range(fan_out):
                dW_row[j] += a_ik * delta_row[j]


@inlined
def dense_backward_error(m, n_inputs, fan_out, delta, stride, W, error, error_stride):
    """error = delta @ W.T for n_inputs rows of the weights; overwrites error."""
    if m * n_inputs * fan_out <= TINY_PRODUCT:
        tiny_backward_error(m, n_inputs, fan_out, delta, stride, W, error, error_stride)
        return
    if TILES:
        a, b, zero, c = Strided(delta, stride, 1), Matrix(W, fan_out), Matrix(W, NOTHING), Matrix(error, error_stride)
        product(m, n_inputs, fan_out, a, b, True, zero, c, no_step(error))
        return
    gemm(False, True, m, n_inputs, fan_out, delta, stride, W, fan_out, 0, error, error_stride)


@leaf
def tiny_backward_error(m, n_inputs, fan_out, delta, stride, W, error, error_stride):
    """The same by a plain loop."""
    for i in range(m):
        delta_row = shift(delta, i * stride)
        for k in range(n_inputs):
            W_row = shift(W, k * fan_out)
            total = real(0.0, error)
            for j in range(fan_out):
                total += delta_row[j] * W_row[j]
            error[i * error_stride + k] = total
