"""One block of rows through the network together with derivatives by the inputs: forward, and backward through them.

Each row of X is carried through the layers as r + 2 rows: the value, its derivatives in r directions of the inputs
(tangents), and the sum of the second derivatives in these directions (of all inputs the Laplacian)::

    z = a_prev W + b        dz_i = t_prev_i W                lz = l_prev W
    a = f(z)                t_i  = f'(z) dz_i                l  = f'(z) lz + f''(z) sum_i dz_i^2

In a block of m rows the values come first, then the tangents of one direction after the other, then the Laplacians, so
that one product serves all of them and everything else runs over m fan_out numbers at once.  Backward, an error e of
each of these rows becomes that of the rows before the activation::

    e_z = f' e_a + f'' sum_i dz_i e_t_i + (f'' lz + f''' sum_i dz_i^2) e_l
    e_dz_i = f' e_t_i + 2 f'' dz_i e_l          e_lz = f' e_l

`region` holds the rows z, dz, lz of all layers and the values a; `scratch` what is needed for one layer at a time.
"""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.functions.activations import activation_forward
from fastbp.kernels.functions.softmax_of_short_rows import softmax
from fastbp.kernels.layers.higher_derivatives import layer_derivatives
from fastbp.kernels.layers.net import field, is_softmax
from fastbp.kernels.layers.products import affine_product, error_product, linear_product, weights_product
from fastbp.kernels.layers.samples import input_pointer
from fastbp.kernels.layers.softmax_tangents import softmax_error_rows, softmax_post_rows
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.matrix.dense import fill_rows
from fastbp.kernels.matrix.rows import column_sums
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment

# The table of places: numbers, offsets within the scratch, and for each layer two offsets within the region.
N_TANGENTS = 0  # directions
BLOCK_SIZE = 1  # elements of the region of one block
POST = 2  # tangents and Laplacians behind the activations of a layer
D1 = 3  # f', f'', f''' of a layer
D2 = 4
D3 = 5
SQUARES = 6  # sum of dz_i^2
ERROR = 7  # errors of a layer's rows, and of another one's
OTHER_ERROR = 8
SPREAD = 9  # dz and lz of the first layer: the same for all rows
REGION = 10  # of the block at hand, where it is not kept for later
FIRST_PLACE = 11
PRE = 0  # of a layer: z, dz, lz (of the first layer z only)
VALUE = 1  # a, where it has a place of its own, else z's
PLACES_OF_LAYER = 2

_CHUNK = 512  # numbers of a layer that are finished at a time: all that belongs to them stays in the first-level cache


class Tangents(NamedTuple):
    """A network, the table of places, and the directions as rows of the first layer's dz, (r, fan_out)."""

    net: Any
    places: Any
    directions: Any
    work: Any  # this thread's slot
    scratch: Any  # the part of it that is laid out by the table of places
    region: Any


@formula
def place(t, layer, column):
    """Offset of a layer's rows within the region."""
    return t.places[FIRST_PLACE + PLACES_OF_LAYER * layer + column]


@leaf
def scratch_of(t, column):
    """Pointer to a part of the scratch."""
    return shift(t.scratch, t.places[column])


# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def spread_directions(t, m):
    """dz and lz of the first layer for m rows."""
    n, r = field(t.net, 0, in_layer.FAN_OUT), t.places[N_TANGENTS]
    rows = scratch_of(t, SPREAD)
    for i in range(r):
        fill_rows(m, n, shift(t.directions, i * n), shift(rows, i * m * n), n)
    lz = shift(rows, r * m * n)
    for j in range(m * n):
        lz[j] = real(0.0, lz)


@leaf
def slopes_of(t, layer, m):
    """Pointer to dz and lz of a layer."""
    if layer == 0:
        return scratch_of(t, SPREAD)
    return shift(t.region, place(t, layer, PRE) + m * field(t.net, layer, in_layer.FAN_OUT))


@leaf
def weigh_rows(t, layer, first, m, skipped):
    """z = a_prev W + b, dz_i = t_prev_i W, lz = l_prev W; without the first `skipped` directions."""
    net, r = t.net, t.places[N_TANGENTS]
    k, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
    pre = shift(t.region, place(t, layer, PRE))
    if layer == 0:
        X, stride = input_pointer(net, first, m, t.work)
        affine_product(m, k, n, X, stride, W, pre)
        return
    a_prev = shift(t.region, place(t, layer - 1, VALUE))
    affine_product(m, k, n, a_prev, k, W, pre)
    post = shift(scratch_of(t, POST), skipped * m * k)
    rows = (r + 1 - skipped) * m
    linear_product(rows, k, n, post, k, W, False, shift(pre, (1 + skipped) * m * n))


@leaf
def activate_rows(net, layer, m, z, a):
    """a = f(z) for m rows of a layer without softmax; where a has no place of its own, z is overwritten."""
    n = field(net, layer, in_layer.FAN_OUT)
    if field(net, layer, in_layer.Z) != field(net, layer, in_layer.A):
        for j in range(m * n):
            a[j] = z[j]
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin, end = entry[in_segment.BEGIN], entry[in_segment.END]
        rows, length = (1, m * n) if end - begin == n else (m, end - begin)
        for i in range(rows):
            activation_forward(entry[in_segment.CODE], entry[in_segment.FORWARD], length, shift(a, i * n + begin))


@leaf
def finish_rows(t, layer, order, m, activates, skipped, wants_tangents):
    """f' and f'' (and f''' of order 3) at a layer, and the rows behind its activation; a = f(z) if it `activates`.

    Without the first `skipped` directions, which then must not count; tangents are stored only where they are wanted.
    """
    net, r = t.net, t.places[N_TANGENTS] - skipped
    n = field(net, layer, in_layer.FAN_OUT)
    size = m * n
    z, a = shift(t.region, place(t, layer, PRE)), shift(t.region, place(t, layer, VALUE))
    dz, post = shift(slopes_of(t, layer, m), skipped * size), shift(scratch_of(t, POST), skipped * size)
    if is_softmax(net, layer):
        if activates:
            softmax(m, n, z, a)
        softmax_post_rows(m, n, r, a, dz, post)
        return
    d1, d2, d3 = scratch_of(t, D1), scratch_of(t, D2), scratch_of(t, D3)
    squares = scratch_of(t, SQUARES)
    at_once = max(1, _CHUNK // n)
    for i in range(0, m, at_once):
        rows, k = min(at_once, m - i), i * n
        if activates:
            activate_rows(net, layer, rows, shift(z, k), shift(a, k))
        here = shift(d1, k), shift(d2, k), shift(d3, k)
        layer_derivatives(net, layer, order, rows, shift(z, k), shift(a, k), *here)
        _post_rows(rows * n, size, r, shift(dz, k), *here[:2], shift(squares, k), shift(post, k), wants_tangents)


@leaf
def _post_rows(length, size, r, dz, d1, d2, squares, post, wants_tangents):
    """t_i = f' dz_i and l = f' lz + f'' sum_i dz_i^2 for some numbers of a layer; directions lie `size` apart."""
    for j in range(length):
        squares[j] = real(0.0, squares)
    for i in range(r):
        dz_i, t_i = shift(dz, i * size), shift(post, i * size)
        if wants_tangents:
            for j in range(length):
                squares[j] += dz_i[j] * dz_i[j]
                t_i[j] = d1[j] * dz_i[j]
        else:
            for j in range(length):
                squares[j] += dz_i[j] * dz_i[j]
    lz, laplacian = shift(dz, r * size), shift(post, r * size)
    for j in range(length):
        laplacian[j] = d1[j] * lz[j] + d2[j] * squares[j]


@leaf
def is_bent(net, layer):
    """Whether a layer's activation is more than pieces of lines."""
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        code = net.segments[segment * in_segment.SEGMENT_COLUMNS + in_segment.CODE]
        if code != codes.IDENTITY and code != codes.RELU and code != codes.LEAKY_RELU:
            return True
    return False


@leaf
def forward_rows(t, first, m, only_laplacian):
    """All layers for samples [first, first + m); X must have been loaded and the directions spread.

    Of the output layer only what the Laplacian needs, if that is wanted alone.
    """
    last, r = t.net.plan[in_plan.N_LAYERS] - 1, t.places[N_TANGENTS]
    is_short = only_laplacian and not is_bent(t.net, last) and last > 0
    for layer in range(last + 1):
        skipped = r if is_short and layer == last else 0
        weigh_rows(t, layer, first, m, skipped)
        finish_rows(t, layer, 2, m, True, skipped, layer < last - 1 or not is_short)


# --- backward ---------------------------------------------------------------------------------------------------------


@leaf
def error_before(t, layer, m, e):
    """The errors of a layer's rows before its activation from those behind it, in place; derivatives must stand."""
    net, r, n = t.net, t.places[N_TANGENTS], field(t.net, layer, in_layer.FAN_OUT)
    size, dz = m * n, slopes_of(t, layer, m)
    d1, d2, d3 = scratch_of(t, D1), scratch_of(t, D2), scratch_of(t, D3)
    if is_softmax(net, layer):
        softmax_error_rows(m, n, r, shift(t.region, place(t, layer, VALUE)), dz, e, d1, d2)
        return
    squares = scratch_of(t, SQUARES)
    for k in range(0, size, _CHUNK):
        here = shift(d1, k), shift(d2, k), shift(d3, k), shift(squares, k)
        _error_rows(min(_CHUNK, size - k), size, r, shift(dz, k), *here, shift(e, k))


@leaf
def _error_rows(length, size, r, dz, d1, d2, d3, squares, e):
    """The same for some numbers of a layer; directions lie `size` apart."""
    lz, e_l, two = shift(dz, r * size), shift(e, (r + 1) * size), real(2.0, e)
    for j in range(length):
        e[j] = e[j] * d1[j] + e_l[j] * (d2[j] * lz[j] + d3[j] * squares[j])
    for i in range(r):
        dz_i, e_i = shift(dz, i * size), shift(e, (1 + i) * size)
        for j in range(length):
            bent, before = d2[j] * dz_i[j], e_i[j]
            e[j] += bent * before
            e_i[j] = d1[j] * before + two * bent * e_l[j]
    for j in range(length):
        e_l[j] *= d1[j]


@leaf
def add_gradient(t, layer, first, m, add, e, grad):
    """A layer's part of the gradient from the errors before its activation; adds to it if `add` is 1.

    What lies before the layer must stand: the values a_prev, and tangents and Laplacians.
    """
    net, r = t.net, t.places[N_TANGENTS]
    k, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    dW = shift(grad, field(net, layer, in_layer.WEIGHTS))
    rest = shift(e, m * n)
    if layer == 0:
        X, stride = input_pointer(net, first, m, t.work)
        weights_product(m, k, n, X, stride, e, add == 1, dW)
        for i in range(r):
            column_sums(m, n, shift(rest, i * m * n), n, 1, shift(dW, i * n))
    else:
        a_prev = shift(t.region, place(t, layer - 1, VALUE))
        weights_product(m, k, n, a_prev, k, e, add == 1, dW)
        weights_product((r + 1) * m, k, n, scratch_of(t, POST), k, rest, True, dW)
    column_sums(m, n, e, n, add, shift(dW, k * n))


@leaf
def backward_rows(t, first, m, add, grad):
    """The gradient from the errors of the output layer's rows, which stand in the scratch; `forward_rows` was made."""
    net, r = t.net, t.places[N_TANGENTS]
    last = net.plan[in_plan.N_LAYERS] - 1
    finish_rows(t, last, 3, m, False, 0, False)
    e, other = scratch_of(t, ERROR), scratch_of(t, OTHER_ERROR)
    error_before(t, last, m, e)
    for i in range(last + 1):
        layer = last - i
        if layer == 0:
            add_gradient(t, layer, first, m, add, e, grad)
        else:
            k, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
            finish_rows(t, layer - 1, 3, m, False, 0, True)
            add_gradient(t, layer, first, m, add, e, grad)
            W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
            error_product((r + 2) * m, k, n, e, W, False, other)
            error_before(t, layer - 1, m, other)
            e, other = other, e
