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
from fastbp.kernels.matrix.few_rows import ROWS, copy_row, error_behind, forward_row, forward_rows, weights_gradient
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors import elementary as vm
from fastbp.kernels.vectors.values import (
    HAS_VECTORS,
    choose,
    lanes,
    load,
    splat,
    store,
    zeros,
)

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
            weights_gradient(fan_in, n, a, delta, add, shift(grad, field(net, layer, in_layer.WEIGHTS)))
        if layer > 0:
            error = shift(work, field(net, layer - 1, in_layer.DELTA))
            error_behind(fan_in, n, delta, weights_of(net, layer), error)
            z = shift(work, field(net, layer - 1, in_layer.Z))
            times_slope(net, layer - 1, fan_in, z, a, error)
        elif to_inputs:
            room = shift(work, net.plan[in_plan.INPUT])  # whole vectors
            error_behind(fan_in, n, delta, weights_of(net, layer), room)
            copy_row(fan_in, room, dx)
