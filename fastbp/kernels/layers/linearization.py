"""What of a block of rows its products with second derivatives need: the network linearized at its parameters.

For each layer four arrays like its z: a, f', the bend f'' e with e = delta_next @ W_next.T, and delta.  Of the output
layer it is a, f', the curvature D of the loss (see `fastbp.kernels.functions.loss_curvature`), delta, and two more D.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.functions.activations import softmax_backward
from fastbp.kernels.functions.loss_curvature import EXACT, FISHER, GAUSS_NEWTON, loss_curvature
from fastbp.kernels.functions.losses import loss_of, loss_rows
from fastbp.kernels.layers.higher_derivatives import layer_derivatives
from fastbp.kernels.layers.net import field, is_softmax, output_runs, rows_from, starts_from_logits
from fastbp.kernels.layers.passes import finish_softmax, forward_neurons
from fastbp.kernels.layers.products import error_product
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan

# what is kept of a layer
A = 0
SLOPE = 1
BEND = 2  # of the output layer the curvature D, which is EXACT unless one alone was asked for
DELTA = 3
GAUSS_NEWTON_D = 4  # these two of the output layer only
FISHER_D = 5
N_KEPT = 4
N_KEPT_OF_OUTPUTS = 6

EVERYTHING = -1  # all three curvatures of the loss
NO_CURVATURE = -2  # none


@leaf
def kept(net, layer, which, i0, state):
    """Pointer to row i0 of what is kept of a layer, in a block's part of the state."""
    rows, offset = net.plan[in_plan.BLOCK_ROWS], 0
    for before in range(layer):
        offset += N_KEPT * _rounded(rows * field(net, before, in_layer.FAN_OUT))
    n = field(net, layer, in_layer.FAN_OUT)
    return shift(state, offset + which * _rounded(rows * n) + i0 * n)


@leaf
def state_size(net):
    """Elements of what is kept of a block; the same as `fastbp.engine.second_order.state_size`."""
    total = 0
    for layer in range(net.plan[in_plan.N_LAYERS]):
        arrays = N_KEPT_OF_OUTPUTS if layer == net.plan[in_plan.N_LAYERS] - 1 else N_KEPT
        total += arrays * _rounded(net.plan[in_plan.BLOCK_ROWS] * field(net, layer, in_layer.FAN_OUT))
    return total


@leaf
def _rounded(elements):
    """Arrays begin on their own cache lines."""
    return (elements + 15) // 16 * 16


@leaf
def linearize_block(net, kind, first, i0, i1, has_first, work, state):
    """Keep what products of a kind need of rows [i0, i1) of a block; X, targets and scales must have been loaded.

    With `has_first` the first layer's z and a are there.  Overwrites z, a and delta of the workspace.
    """
    last = net.plan[in_plan.N_LAYERS] - 1
    is_exact = kind in (EXACT, EVERYTHING)
    for layer in range(1 if has_first else 0, last + 1):
        forward_neurons(net, layer, first, i0, i1, 0, field(net, layer, in_layer.FAN_OUT), work)
    for layer in range(last):
        keep_activations(net, layer, i0, i1, is_exact, work, state)
    linearize_outputs(net, kind, i0, i1, is_exact, work, state)
    if is_exact:
        for i in range(last):
            keep_errors(net, last - i, i0, i1, work, state)


@leaf
def keep_activations(net, layer, i0, i1, is_exact, work, state):
    """a, f' and, where it is wanted, f'' of a layer without softmax."""
    z, a = rows_from(net, layer, in_layer.Z, i0, work), rows_from(net, layer, in_layer.A, i0, work)
    target, slope = kept(net, layer, A, i0, state), kept(net, layer, SLOPE, i0, state)
    bend, m = kept(net, layer, BEND, i0, state), i1 - i0
    for i in range(m * field(net, layer, in_layer.FAN_OUT)):
        target[i] = a[i]
    layer_derivatives(net, layer, 2 if is_exact else 1, m, z, a, slope, bend, bend)


@leaf
def keep_errors(net, layer, i0, i1, work, state):
    """delta of the layer before `layer`, and its bend, which held f''."""
    before, n, m = layer - 1, field(net, layer, in_layer.FAN_IN), i1 - i0
    e = rows_from(net, before, in_layer.DELTA, i0, work)
    W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
    error_product(m, n, field(net, layer, in_layer.FAN_OUT), kept(net, layer, DELTA, i0, state), W, False, e)
    slope, bend, delta = (
        kept(net, before, SLOPE, i0, state),
        kept(net, before, BEND, i0, state),
        kept(net, before, DELTA, i0, state),
    )
    for i in range(m * n):
        bend[i] *= e[i]
        delta[i] = slope[i] * e[i]


@leaf
def linearize_outputs(net, kind, i0, i1, is_exact, work, state):
    """What is kept of the output layer."""
    last, m = net.plan[in_plan.N_LAYERS] - 1, i1 - i0
    n, softmax_output = field(net, last, in_layer.FAN_OUT), is_softmax(net, last)
    z, a = rows_from(net, last, in_layer.Z, i0, work), rows_from(net, last, in_layer.A, i0, work)
    y, scale = shift(work, net.plan[in_plan.TARGET] + i0 * n), shift(work, net.plan[in_plan.SCALE] + i0)
    delta, slope = kept(net, last, DELTA, i0, state), kept(net, last, SLOPE, i0, state)
    if not (is_exact and starts_from_logits(net)):  # else the loss makes the softmax
        finish_softmax(net, i0, i1, work)
    loss = loss_of(net.plan, net.scalars, output_runs(net), a)
    if is_exact:
        sums, cost = shift(work, net.plan[in_plan.SUMS] + 2 * i0), shift(work, net.plan[in_plan.COST] + i0)
        loss_rows(loss, m, n, z, a, y, scale, sums, cost, delta)
        if softmax_output and not starts_from_logits(net):
            softmax_backward(m, n, a, delta)
    # f'' lies where a curvature that is written later will
    bend = kept(net, last, FISHER_D, i0, state)
    if softmax_output:
        target = kept(net, last, A, i0, state)
        for i in range(m * n):
            target[i] = a[i]
    else:
        layer_derivatives(net, last, 2 if is_exact else 1, m, z, a, slope, bend, bend)
    keep_curvatures(net, kind, i0, i1, loss, work, state)
    if is_exact and not (softmax_output or starts_from_logits(net)):
        for i in range(m * n):
            delta[i] *= slope[i]


@leaf
def keep_curvatures(net, kind, i0, i1, loss, work, state):
    """The loss's curvature of a kind, or every one that it has."""
    last, second = net.plan[in_plan.N_LAYERS] - 1, net.plan[in_plan.LOSS_SECOND]
    n, m = field(net, last, in_layer.FAN_OUT), i1 - i0
    z, a = rows_from(net, last, in_layer.Z, i0, work), rows_from(net, last, in_layer.A, i0, work)
    y, scale = shift(work, net.plan[in_plan.TARGET] + i0 * n), shift(work, net.plan[in_plan.SCALE] + i0)
    delta, slope = kept(net, last, DELTA, i0, state), kept(net, last, SLOPE, i0, state)
    bend = kept(net, last, FISHER_D, i0, state)
    first_kind, end_kind = (EXACT, FISHER + 1) if kind == EVERYTHING else (kind, kind + 1)
    for each in range(max(0, first_kind), end_kind):
        D = kept(net, last, BEND if kind != EVERYTHING or each == EXACT else _place_of(each), i0, state)
        loss_curvature(each, loss, second, m, n, z, a, y, scale, slope, bend, delta, D)


@leaf
def _place_of(kind):
    return GAUSS_NEWTON_D if kind == GAUSS_NEWTON else FISHER_D
