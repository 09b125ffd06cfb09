"""Second derivatives of every output by all pairs of directions of the inputs.

With g_k = da_k/da of a layer, by backpropagation from output k, each layer adds what its activations bend::

    d2a_k / dx_i dx_v = sum over layers of sum_j g_kj f''(z_j) dz_ij dz_vj

so that one pass forward with tangents and one backward for each output are enough.
"""

from fastbp.kernels.compiler.jit import leaf, part
from fastbp.kernels.layers.input_tangents import (
    D1,
    D2,
    ERROR,
    N_TANGENTS,
    OTHER_ERROR,
    POST,
    VALUE,
    finish_rows,
    is_bent,
    place,
    scratch_of,
    slopes_of,
)
from fastbp.kernels.layers.net import field, is_softmax
from fastbp.kernels.layers.products import error_product
from fastbp.kernels.layers.softmax_tangents import add_softmax_hessian
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.matrix.blas import gemm
from fastbp.kernels.matrix.products import Matrix, Strided, product
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.optimizers.updates import no_step
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan

_FEW = 8  # directions whose pairs are summed by plain loops


@leaf
def hessian_rows(t, m, hessian):
    """hessian (m, n_outputs, r, r) for a block of m rows, of which `forward_rows` was made; overwrites it."""
    net, r = t.net, t.places[N_TANGENTS]
    last = net.plan[in_plan.N_LAYERS] - 1
    n_outputs = field(net, last, in_layer.FAN_OUT)
    for j in range(m * n_outputs * r * r):
        hessian[j] = real(0.0, hessian)
    g, other = scratch_of(t, ERROR), scratch_of(t, OTHER_ERROR)
    finish_rows(t, last, 2, m, False, 0, False)
    if is_softmax(net, last):
        _softmax_outputs(t, last, m, g, hessian)
    else:
        for j in range(n_outputs * m * n_outputs):
            g[j] = real(0.0, g)
        for k in range(n_outputs):
            for x in range(m):
                g[(k * m + x) * n_outputs + k] = real(1.0, g)
        _bend(t, last, n_outputs, m, g, hessian)
    for i in range(last):
        layer = last - i
        k, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
        error_product(n_outputs * m, k, n, g, W, False, other)
        finish_rows(t, layer - 1, 2, m, False, 0, False)
        _bend(t, layer - 1, n_outputs, m, other, hessian)
        g, other = other, g
    _mirror(m * n_outputs, r, hessian)


@leaf
def _softmax_outputs(t, layer, m, g, hessian):
    """What softmax adds, and g_k = p_k (1 at k - p): that of z instead of a."""
    n, r = field(t.net, layer, in_layer.FAN_OUT), t.places[N_TANGENTS]
    for x in range(m):
        p = shift(t.region, place(t, layer, VALUE) + x * n)
        dz = shift(slopes_of(t, layer, m), x * n)
        for k in range(n):
            add_softmax_hessian(n, r, m * n, p, dz, k, scratch_of(t, POST), shift(hessian, (x * n + k) * r * r))
            row = shift(g, (k * m + x) * n)
            for j in range(n):
                row[j] = -p[k] * p[j]
            row[k] += p[k]


@leaf
def _bend(t, layer, n_outputs, m, g, hessian):
    """What a layer's activations add, and then g *= f'."""
    n, r = field(t.net, layer, in_layer.FAN_OUT), t.places[N_TANGENTS]
    size, bends = m * n, is_bent(t.net, layer)
    for k in range(n_outputs):
        for x in range(m):
            here = shift(g, k * size + x * n)
            if bends:
                to = shift(hessian, (x * n_outputs + k) * r * r)
                _add_pairs(
                    n, r, size, here, shift(scratch_of(t, D2), x * n), shift(slopes_of(t, layer, m), x * n), t, to
                )
        g_k, d1 = shift(g, k * size), scratch_of(t, D1)
        for j in range(size):
            g_k[j] *= d1[j]


@part
def _add_products(r, n, weighted, dz, size, hessian):
    """hessian (r, r) += weighted @ dz.T for r rows of n numbers each, those of dz `size` apart."""
    if TILES:
        here = Matrix(hessian, r)
        product(r, r, n, Strided(weighted, n, 1), Matrix(dz, size), True, here, here, no_step(hessian))
        return
    gemm(False, True, r, r, n, weighted, n, dz, size, 1, hessian, r)


@leaf
def _add_pairs(n, r, size, g, d2, dz, t, hessian):
    """hessian (r, r) += sum_j g_j f''_j dz_ij dz_vj for one row and output; on and above the diagonal at least."""
    weighted = scratch_of(t, POST)
    for i in range(r):
        to, dz_i = shift(weighted, i * n), shift(dz, i * size)
        for j in range(n):
            to[j] = g[j] * d2[j] * dz_i[j]
    if r >= _FEW:
        _add_products(r, n, weighted, dz, size, hessian)
        return
    for i in range(r):
        w_i = shift(weighted, i * n)
        for v in range(i, r):
            dz_v, total = shift(dz, v * size), real(0.0, g)
            for j in range(n):
                total += w_i[j] * dz_v[j]
            hessian[i * r + v] += total


@leaf
def _mirror(count, r, hessian):
    """Copy what stands above the diagonals to below them: sums in another order could differ in the last bit."""
    for q in range(count):
        H = shift(hessian, q * r * r)
        for i in range(r):
            for v in range(i + 1, r):
                H[v * r + i] = H[i * r + v]
