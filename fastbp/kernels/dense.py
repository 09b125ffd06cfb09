"""Dense layers: the three matrix products of a layer, by tiles of our own or, where the matrices are large, by BLAS.

All matrices are row-major pointers with a row stride; the products take a range of neurons, so that several threads
can share one layer.
"""

from fastbp.kernels.blas import gemm
from fastbp.kernels.jit import leaf
from fastbp.kernels.pointers import shift
from fastbp.kernels.products import product
from fastbp.kernels.tiles import NOTHING, TILES

# Elements of the largest matrix of a product up to which tiles are quicker than BLAS, which copies both matrices into
# an order of its own: 4 MiB of float32.
MOST_BY_TILES = 1 << 20


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
def uses_tiles(m, fan_in, fan_out):
    """Whether a layer's products for m rows are made of tiles: they beat BLAS while the matrices stay in the caches."""
    return TILES and max(fan_in * fan_out, m * max(fan_in, fan_out)) <= MOST_BY_TILES


@leaf
def dense_forward(tiles, m, fan_in, n, a_prev, a_stride, W, W_stride, b, z, z_stride):
    """z = a_prev @ W + b for m rows and n neurons; overwrites z."""
    if tiles:
        product(m, n, fan_in, a_prev, a_stride, 1, W, W_stride, False, b, 0, z, z_stride)
        return
    fill_rows(m, n, b, z, z_stride)
    gemm(False, False, m, n, fan_in, a_prev, a_stride, W, W_stride, 1, z, z_stride)


@leaf
def dense_backward_weights(tiles, m, n_inputs, fan_out, a_prev, a_stride, delta, add, dW):
    """dW = a_prev.T @ delta for n_inputs rows of the weights; adds to dW if `add` is 1, else overwrites it."""
    if tiles:
        before = NOTHING if add == 0 else fan_out
        product(n_inputs, fan_out, m, a_prev, 1, a_stride, delta, fan_out, False, dW, before, dW, fan_out)
        return
    gemm(True, False, n_inputs, fan_out, m, a_prev, a_stride, delta, fan_out, add, dW, fan_out)


@leaf
def dense_backward_biases(tiles, m, fan_out, ones, delta, add, db):
    """db = sum over rows of delta, a product with m ones; adds to db if `add` is 1, else overwrites it."""
    if tiles:
        before = NOTHING if add == 0 else fan_out
        product(1, fan_out, m, ones, m, 1, delta, fan_out, False, db, before, db, fan_out)
        return
    gemm(False, False, 1, fan_out, m, ones, m, delta, fan_out, add, db, fan_out)


@leaf
def dense_backward_error(tiles, m, n_inputs, fan_out, delta, W, error, error_stride):
    """error = delta @ W.T for n_inputs rows of the weights; overwrites error."""
    if tiles:
        product(m, n_inputs, fan_out, delta, fan_out, 1, W, fan_out, True, error, NOTHING, error, error_stride)
        return
    gemm(False, True, m, n_inputs, fan_out, delta, fan_out, W, fan_out, 0, error, error_stride)
