"""Pieces of a gradient that is shared by features: where nearly all weights lie in the first layer.

Each thread has some features, that is columns of X and rows of W, for itself: it finds them, and the moments of those
weights, in its own cache, from pass to pass and from step to step.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.jobs.job import bound, region_argument
from fastbp.kernels.layers.net import field, starts_from_logits
from fastbp.kernels.layers.passes import (
    backward_error,
    finish_error,
    finish_softmax,
    forward_features,
    forward_neurons,
    join_features,
    output_error,
)
from fastbp.kernels.layers.samples import fetch_inputs, load_targets
from fastbp.kernels.layers.weight_steps import rows_of_weights
from fastbp.kernels.machine import team
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import FETCH_FEATURES
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars


@leaf
def features_piece(job, p, n_pieces):
    """Some features of X into the workspace, and their part of the first layer's z."""
    net, work = job.net, job.work
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    fan_in = field(net, 0, in_layer.FAN_IN)
    k0, k1 = bound(fan_in, n_pieces, p, 1), bound(fan_in, n_pieces, p + 1, 1)
    forward_features(
        net, first, m, k0, k1, shift(work, net.plan[in_plan.PARTS] + p * m * field(net, 0, in_layer.FAN_OUT)), work
    )


@leaf
def upper_layers_piece(job, p, n_pieces):
    """Rows from the first layer's z to its delta, through all other layers."""
    net, work, n_layers = job.net, job.work, job.net.plan[in_plan.N_LAYERS]
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    i0, i1 = m * p // n_pieces, m * (p + 1) // n_pieces
    join_features(net, first, i0, i1, m, work)
    for layer in range(1, n_layers):
        forward_neurons(net, layer, first, i0, i1, 0, field(net, layer, in_layer.FAN_OUT), work)
    load_targets(net, first, i0, i1, net.scalars[in_scalars.WEIGHT_FACTOR], work)
    if not starts_from_logits(net):
        finish_softmax(net, i0, i1, work)
    output_error(net, i0, i1, work)
    for i in range(n_layers - 1):
        layer = n_layers - 1 - i
        fan_in = field(net, layer, in_layer.FAN_IN)
        backward_error(net, layer, i0, i1, 0, fan_in, work)
        finish_error(net, layer, first, i0, i1, 0, fan_in, work)


@leaf
def weights_piece(job, p):
    """The weights of some features, piece by piece for the first layer, then layer by layer for the others: dW, step.

    Between the rows of weights the next mini-batch is fetched from memory, for the thread that will gather it here.
    """
    net = job.net
    n_pieces = net.plan[in_plan.N_PIECES]
    first, m = region_argument(job, team.FIRST), region_argument(job, team.ROWS)
    then = region_argument(job, team.UPDATE)
    if p >= n_pieces:
        layer = p - n_pieces + 1
        rows_of_weights(job, layer, first, m, 0, field(net, layer, in_layer.FAN_IN), 0, then, job.grads, job.work)
        return
    fan_in, coming = field(net, 0, in_layer.FAN_IN), region_argument(job, team.NEXT_ROWS)
    k0, k1 = bound(fan_in, n_pieces, p, 1), bound(fan_in, n_pieces, p + 1, 1)
    n_chunks = max(1, (k1 - k0) // FETCH_FEATURES)
    for chunk in range(n_chunks):
        begin, end = k0 + bound(k1 - k0, n_chunks, chunk, 1), k0 + bound(k1 - k0, n_chunks, chunk + 1, 1)
        i0, i1 = coming * chunk // n_chunks, coming * (chunk + 1) // n_chunks
        fetch_inputs(net, region_argument(job, team.NEXT), i0, i1, k0, k1)
        rows_of_weights(job, 0, first, m, begin, end, 0, then, job.grads, job.work)
