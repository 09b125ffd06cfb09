"""A row through the network and back, by itself: no blocks, no pieces, no threads.

Every z is one chain of fused multiply-adds in the order of the inputs, and every error one in the order of the neurons,
as in the tiles of `fastbp.kernels.matrix`: the bits are those of the passes for many rows.

A layer's numbers may be followed by others up to the next whole vector, so that all stores are of whole vectors.
"""

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.activations import activation_forward, softmax_backward
from fastbp.kernels.functions.losses import loss_of, loss_rows
from fastbp.kernels.functions.softmax_of_short_rows import softmax
from fastbp.kernels.layers.net import field, is_softmax, output_runs, starts_from_logits
from fastbp.kernels.layers.passes import multiply_by_derivative
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.processor import TINY_PRODUCT, VECTOR_BYTES
from fastbp.kernels.matrix.dense import tiny_backward_error, tiny_forward
from fastbp.kernels.matrix.one_row import outer_product
from fastbp.kernels.matrix.tiles import TILES, scratch, transpose_block
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors import elementary as vm
from fastbp.kernels.vectors.values import (
    HAS_VECTORS,
    below,
    choose,
    lane_numbers,
    lanes,
    load,
    load_where,
    splat,
    store,
    zeros,
)
from fastbp.kernels.vectors.values import (
    multiply_add as fma,
)

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


# --- activations ------------------------------------------------------------------------------------------------------


@leaf
def activate_row(net, layer, z, a):
    """a = f(z) for a row of a layer whose activation is not softmax; a may be z, and has room for whole vectors."""
    n = field(net, layer, in_layer.FAN_OUT)
    first, end = field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)
    entry = shift(net.segments, first * in_segment.SEGMENT_COLUMNS)
    if HAS_VECTORS and end - first == 1 and _activate_vectors(entry[in_segment.CODE], n, z, a):
        return
    if field(net, layer, in_layer.Z) != field(net, layer, in_layer.A):
        for j in range(n):
            a[j] = z[j]
    for segment in range(first, end):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin = entry[in_segment.BEGIN]
        activation_forward(
            entry[in_segment.CODE], entry[in_segment.FORWARD], entry[in_segment.END] - begin, shift(a, begin)
        )


@leaf
def _activate_vectors(code, n, z, a):
    """The same in whole vectors; False where it is another activation than these."""
    step = lanes(z)
    if code == codes.TANH:
        for j in range(0, n, step):
            store(vm.tanh(load(shift(z, j))), shift(a, j))
    elif code == codes.RELU:
        zero = zeros(z)
        for j in range(0, n, step):
            x = load(shift(z, j))
            store(choose(x < zero, zero, x), shift(a, j))
    elif code == codes.SIGMOID:
        for j in range(0, n, step):
            store(vm.logistic(load(shift(z, j))), shift(a, j))
    elif code == codes.IDENTITY:
        for j in range(0, n, step):
            store(load(shift(z, j)), shift(a, j))
    else:
        return False
    return True


# --- outputs ----------------------------------------------------------------------------------------------------------


@inlined
def weights_of(net, layer):
    """Pointer to a layer's W, behind which b lies."""
    return shift(net.params, field(net, layer, in_layer.WEIGHTS))


@part
def outputs_of_rows(net, x, m, pitch, work, out):
    """The outputs of 1 row, or of ROWS rows; `work` has room for two layers of m rows, `pitch` elements apart."""
    here, there = work, shift(work, ROWS * pitch)
    a, a_row = x, field(net, 0, in_layer.FAN_IN)
    for layer in range(net.plan[in_plan.N_LAYERS]):
        fan_in, n, W = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT), weights_of(net, layer)
        if m == 1:
            forward_row(fan_in, n, a, W, here)
        else:
            forward_rows(fan_in, n, a, a_row, W, here, pitch)
        for i in range(m):
            row = shift(here, i * pitch)
            if is_softmax(net, layer):
                softmax(1, n, row, row)
            else:
                activate_row(net, layer, row, row)
        a, a_row = here, pitch
        here, there = there, here
    n = field(net, net.plan[in_plan.N_LAYERS] - 1, in_layer.FAN_OUT)
    for i in range(m):
        copy_row(n, shift(a, i * pitch), shift(out, i * n))


# --- the cost of a row, and its gradient ------------------------------------------------------------------------------


@leaf
def keep_layers(net, x, work):
    """Every layer's z and a for a row, in `work`; softmax, which its cross-entropy makes, is left out."""
    a = x
    for layer in range(net.plan[in_plan.N_LAYERS]):
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        z = shift(work, field(net, layer, in_layer.Z))
        forward_row(fan_in, n, a, weights_of(net, layer), z)
        a = shift(work, field(net, layer, in_layer.A))
        if not is_softmax(net, layer):
            activate_row(net, layer, z, a)


@leaf
def keep_softmax(net, work):
    """The softmax that `keep_layers` has left out, if there is one."""
    last = net.plan[in_plan.N_LAYERS] - 1
    if is_softmax(net, last):
        z, a = shift(work, field(net, last, in_layer.Z)), shift(work, field(net, last, in_layer.A))
        softmax(1, field(net, last, in_layer.FAN_OUT), z, a)


@part
def cost_of_row(net, x, y, work):
    """The row's cost, and its scaled dC/dz of the output layer; the scale lies in `work`.

    Every layer's z and a stay there for `backward_row`.
    """
    keep_layers(net, x, work)
    if not starts_from_logits(net):
        keep_softmax(net, work)
    last = net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    z, a = shift(work, field(net, last, in_layer.Z)), shift(work, field(net, last, in_layer.A))
    delta, cost = shift(work, field(net, last, in_layer.DELTA)), shift(work, net.plan[in_plan.COST])
    scale, sums = shift(work, net.plan[in_plan.SCALE]), shift(work, net.plan[in_plan.SUMS])
    loss_rows(loss_of(net.plan, net.scalars, output_runs(net), a), 1, n, z, a, y, scale, sums, cost, delta)
    if not starts_from_logits(net):
        times_slope(net, last, n, z, a, delta)
    return cost[0]


@leaf
def _times_slope_in_vectors(code, n, a, delta):
    """delta *= f'(z) from a = f(z), in whole vectors; False where it is another activation than these.

    The factors are multiplied in the order in which the compiler has put them in `activation_backward`.
    """
    step, zero, one = lanes(a), zeros(a), splat(1.0, zeros(a))
    if code == codes.TANH:
        for j in range(0, n, step):
            here, y = shift(delta, j), load(shift(a, j))
            store(load(here) * (one + y) * (one - y), here)
    elif code == codes.RELU:
        for j in range(0, n, step):
            here = shift(delta, j)
            d = load(here)
            store(choose(load(shift(a, j)) > zero, d, zero * d), here)  # 0 times infinity is NaN
    elif code == codes.SIGMOID:
        for j in range(0, n, step):
            here, y = shift(delta, j), load(shift(a, j))
            store(load(here) * y * (one - y), here)
    else:
        return False
    return True


@leaf
def times_slope(net, layer, n, z, a, delta):
    """delta = J^T delta with J = da/dz of a row of a layer; softmax's is no diagonal matrix."""
    if is_softmax(net, layer):
        softmax_backward(1, n, a, delta)
        return
    first = field(net, layer, in_layer.FIRST_SEGMENT)
    if HAS_VECTORS and field(net, layer, in_layer.END_SEGMENT) - first == 1:
        code = net.segments[first * in_segment.SEGMENT_COLUMNS + in_segment.CODE]
        if code == codes.IDENTITY:
            return
        if field(net, layer, in_layer.Z) == field(net, layer, in_layer.A) and _times_slope_in_vectors(
            code, n, a, delta
        ):
            return
    multiply_by_derivative(net, layer, 1, 0, n, z, a, delta)


@part
def outputs_to_differentiate(net, x, work):
    """Every layer's z and a for a row, without a target."""
    keep_layers(net, x, work)
    keep_softmax(net, work)


@part
def slope_of_output(net, output, work):
    """Row `output` of da/dz of the output layer, in place of its delta; z and a must lie in `work`."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n = field(net, last, in_layer.FAN_OUT)
    z, a = shift(work, field(net, last, in_layer.Z)), shift(work, field(net, last, in_layer.A))
    delta = shift(work, field(net, last, in_layer.DELTA))
    for j in range(n):
        delta[j] = real(1.0, work) if j == output else real(0.0, work)
    times_slope(net, last, n, z, a, delta)


@part
def backward_row(net, x, differentiates, add, grad, to_inputs, dx, work):
    """From the output layer's delta to `grad`, if it `differentiates`, and with `to_inputs` to `dx`, both overwritten.

    With `add` the row's gradient is added to what is in `grad`.
    """
    for i in range(net.plan[in_plan.N_LAYERS]):
        layer = net.plan[in_plan.N_LAYERS] - 1 - i
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        delta = shift(work, field(net, layer, in_layer.DELTA))
        a = x if layer == 0 else shift(work, field(net, layer - 1, in_layer.A))
        if differentiates:
            _weights_gradient(fan_in, n, a, delta, add, shift(grad, field(net, layer, in_layer.WEIGHTS)))
        if layer > 0:
            error = shift(work, field(net, layer - 1, in_layer.DELTA))
            _error_behind(fan_in, n, delta, weights_of(net, layer), error)
            z = shift(work, field(net, layer - 1, in_layer.Z))
            times_slope(net, layer - 1, fan_in, z, a, error)
        elif to_inputs:
            room = shift(work, net.plan[in_plan.INPUT])  # whole vectors
            _error_behind(fan_in, n, delta, weights_of(net, layer), room)
            copy_row(fan_in, room, dx)


@leaf
def _weights_gradient(fan_in, n, a, delta, add, dW):
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
def _error_behind(fan_in, n, delta, W, error):
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
