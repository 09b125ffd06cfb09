"""The products of a layer for one row, or for a few, in vectors that a kernel holds: no blocks, no panels.

Every z is one chain of fused multiply-adds in the order of the inputs, and every error one in the order of the neurons,
as in the tiles: the bits are those of the products for many rows.  See `fastbp.kernels.layers.lone_rows`.
"""

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.processor import TINY_PRODUCT, VECTOR_BYTES
from fastbp.kernels.matrix.dense import tiny_backward_error, tiny_forward
from fastbp.kernels.matrix.one_row import outer_product
from fastbp.kernels.matrix.tiles import TILES, scratch, transpose_block
from fastbp.kernels.vectors.values import HAS_VECTORS, below, lane_numbers, lanes, load, load_where, splat, store, zeros
from fastbp.kernels.vectors.values import multiply_add as fma

ROWS = 4  # that go through the network together, so that W is read once for them
_BLOCK = 16 * VECTOR_BYTES  # elements of a vector of rows by a vector of columns, at most

# --- one layer forward ------------------------------------------------------------------------------------------------


@leaf
def forward_row(fan_in, n, a, W, z):
    """z = a W + b for one row; overwrites z up to the next whole vector."""
    if not HAS_VECTORS:
        tiny_forward(1, fan_in, n, a, fan_in, W, n, shift(W, fan_in * n), z, n)
        return
    step, j = lanes(a), 0
    while n - j >= 4 * step:
        _four_vectors(fan_in, n, step, a, shift(W, j), shift(z, j))
        j += 4 * step
    if n - j >= 2 * step:
        _two_vectors(fan_in, n, step, a, shift(W, j), shift(z, j))
        j += 2 * step
    if n - j >= step:
        _one_vector(fan_in, n, a, shift(W, j), shift(z, j))
        j += step
    if j < n and n >= step:  # the last vector ends with the row and overlaps the one before it
        _one_vector(fan_in, n, a, shift(W, n - step), shift(z, n - step))
    elif j < n:
        _few_neurons(fan_in, n, a, W, z)


@inlined
def _four_vectors(fan_in, n, step, a, W, z):
    """Four vectors of neurons, whose chains hide each other's latency."""
    b = shift(W, fan_in * n)
    s0, s1, s2, s3 = load(b), load(shift(b, step)), load(shift(b, 2 * step)), load(shift(b, 3 * step))
    for k in range(fan_in):
        x = splat(a[k], s0)
        s0 = fma(x, load(W), s0)
        s1 = fma(x, load(shift(W, step)), s1)
        s2 = fma(x, load(shift(W, 2 * step)), s2)
        s3 = fma(x, load(shift(W, 3 * step)), s3)
        W = shift(W, n)
    store(s0, z)
    store(s1, shift(z, step))
    store(s2, shift(z, 2 * step))
    store(s3, shift(z, 3 * step))


@inlined
def _two_vectors(fan_in, n, step, a, W, z):
    """Two vectors of neurons."""
    b = shift(W, fan_in * n)
    s0, s1 = load(b), load(shift(b, step))
    for k in range(fan_in):
        x = splat(a[k], s0)
        s0 = fma(x, load(W), s0)
        s1 = fma(x, load(shift(W, step)), s1)
        W = shift(W, n)
    store(s0, z)
    store(s1, shift(z, step))


@inlined
def _one_vector(fan_in, n, a, W, z):
    """A vector of neurons."""
    s = load(shift(W, fan_in * n))
    for k in range(fan_in):
        s = fma(splat(a[k], s), load(W), s)
        W = shift(W, n)
    store(s, z)


@inlined
def _few_neurons(fan_in, n, a, W, z):
    """A layer of fewer neurons than a vector has lanes."""
    inside = below(lane_numbers(a), n)
    s = load_where(inside, shift(W, fan_in * n))
    for k in range(fan_in):
        s = fma(splat(a[k], s), load_where(inside, W), s)
        W = shift(W, n)
    store(s, z)


@leaf
def forward_rows(fan_in, n, a, a_row, W, z, z_row):
    """The same for ROWS rows, `a_row` and `z_row` elements apart."""
    if not HAS_VECTORS:
        tiny_forward(ROWS, fan_in, n, a, a_row, W, n, shift(W, fan_in * n), z, z_row)
        return
    step, j = lanes(a), 0
    while n - j >= 2 * step:
        _four_rows_two_vectors(fan_in, n, step, a, a_row, shift(W, j), shift(z, j), z_row)
        j += 2 * step
    if n - j >= step:
        _four_rows(fan_in, n, a, a_row, shift(W, j), shift(z, j), z_row)
        j += step
    if j < n and n >= step:
        _four_rows(fan_in, n, a, a_row, shift(W, n - step), shift(z, n - step), z_row)
    elif j < n:
        _four_rows_of_few(fan_in, n, a, a_row, W, z, z_row)


@inlined
def _four_rows_two_vectors(fan_in, n, step, a, a_row, W, z, z_row):
    """Two vectors of neurons of four rows."""
    b = shift(W, fan_in * n)
    s0, t0 = load(b), load(shift(b, step))
    s1, s2, s3, t1, t2, t3 = s0, s0, s0, t0, t0, t0
    a1, a2, a3 = shift(a, a_row), shift(a, 2 * a_row), shift(a, 3 * a_row)
    for k in range(fan_in):
        w, u = load(W), load(shift(W, step))
        x = splat(a[k], s0)
        s0, t0 = fma(x, w, s0), fma(x, u, t0)
        x = splat(a1[k], s0)
        s1, t1 = fma(x, w, s1), fma(x, u, t1)
        x = splat(a2[k], s0)
        s2, t2 = fma(x, w, s2), fma(x, u, t2)
        x = splat(a3[k], s0)
        s3, t3 = fma(x, w, s3), fma(x, u, t3)
        W = shift(W, n)
    _store_four(s0, s1, s2, s3, z, z_row)
    _store_four(t0, t1, t2, t3, shift(z, step), z_row)


@inlined
def _four_rows(fan_in, n, a, a_row, W, z, z_row):
    """A vector of neurons of four rows."""
    s0 = load(shift(W, fan_in * n))
    s1, s2, s3 = s0, s0, s0
    a1, a2, a3 = shift(a, a_row), shift(a, 2 * a_row), shift(a, 3 * a_row)
    for k in range(fan_in):
        w = load(W)
        s0, s1 = fma(splat(a[k], w), w, s0), fma(splat(a1[k], w), w, s1)
        s2, s3 = fma(splat(a2[k], w), w, s2), fma(splat(a3[k], w), w, s3)
        W = shift(W, n)
    _store_four(s0, s1, s2, s3, z, z_row)


@inlined
def _four_rows_of_few(fan_in, n, a, a_row, W, z, z_row):
    """Four rows of a layer of fewer neurons than a vector has lanes."""
    inside = below(lane_numbers(a), n)
    s0 = load_where(inside, shift(W, fan_in * n))
    s1, s2, s3 = s0, s0, s0
    a1, a2, a3 = shift(a, a_row), shift(a, 2 * a_row), shift(a, 3 * a_row)
    for k in range(fan_in):
        w = load_where(inside, W)
        s0, s1 = fma(splat(a[k], w), w, s0), fma(splat(a1[k], w), w, s1)
        s2, s3 = fma(splat(a2[k], w), w, s2), fma(splat(a3[k], w), w, s3)
        W = shift(W, n)
    _store_four(s0, s1, s2, s3, z, z_row)


@inlined
def _store_four(s0, s1, s2, s3, z, z_row):
    """Store a vector of each of four rows."""
    store(s0, z)
    store(s1, shift(z, z_row))
    store(s2, shift(z, 2 * z_row))
    store(s3, shift(z, 3 * z_row))


@leaf
def copy_row(n, source, target):
    """target[j] = source[j] for n numbers and no more."""
    step = lanes(source)
    if HAS_VECTORS and n >= step:
        for j in range(0, n - step, step):
            store(load(shift(source, j)), shift(target, j))
        store(load(shift(source, n - step)), shift(target, n - step))
        return
    j = 0
    while j < n:  # not `range`, in which the compiler would see a call of memcpy
        target[j] = source[j]
        j += 1


# --- one layer back ---------------------------------------------------------------------------------------------------


@leaf
def weights_gradient(fan_in, n, a, delta, add, dW):
    """dW = a delta^T and db = delta; or these are added."""
    db = shift(dW, fan_in * n)
    if TILES and not add:
        outer_product(fan_in, n, a, delta, dW)
        copy_row(n, delta, db)
        return
    zero, one = real(0.0, a), real(1.0, a)
    for k in range(fan_in + 1):
        row, a_k = shift(dW, k * n), a[k] if k < fan_in else one
        for j in range(n):
            row[j] = a_k * delta[j] + (row[j] if add else zero)


@leaf
def error_behind(fan_in, n, delta, W, error):
    """error = W delta; overwrites it up to the next whole vector."""
    if not TILES or fan_in * n <= TINY_PRODUCT:
        tiny_backward_error(1, fan_in, n, delta, n, W, error, fan_in)
        return
    step, block = lanes(W), scratch(W, _BLOCK)
    for k in range(0, fan_in, step):
        rows = min(step, fan_in - k)
        total = zeros(W)
        for j in range(0, n, step):
            columns = min(step, n - j)
            transpose_block(rows, columns, shift(W, k * n + j), n, block, step)
            for i in range(columns):
                total = fma(splat(delta[j + i], total), load(shift(block, i * step)), total)
        store(total, shift(error, k))
