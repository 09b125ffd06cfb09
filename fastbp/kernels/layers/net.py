"""A network as the passes see it: its tables and parameters, and questions to the tables."""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment


class Net(NamedTuple):
    """Pointers to a network's tables and parameters, and what a step adds to them."""

    layers: Any  # the tables of `fastbp.kernels.tables`
    segments: Any
    plan: Any
    data: Any
    params: Any
    scalars: Any
    control: Any  # see `fastbp.kernels.machine.team`


@formula
def field(net, layer, column):
    """Entry of the table of layers."""
    return net.layers[layer * in_layer.LAYER_COLUMNS + column]


@formula
def rows_from(net, layer, column, i0, work):
    """Pointer to row i0 of a layer's z, a or delta, where rows lie without gaps."""
    return shift(work, field(net, layer, column) + i0 * field(net, layer, in_layer.FAN_OUT))


@leaf
def is_softmax(net, layer):
    """Whether a layer's activation is softmax, which covers the whole layer."""
    return (
        net.segments[field(net, layer, in_layer.FIRST_SEGMENT) * in_segment.SEGMENT_COLUMNS + in_segment.CODE]
        == codes.SOFTMAX
    )


@leaf
def output_runs(net):
    """Pointer to the output layer's entries in the table of segments; their number."""
    last = net.plan[in_plan.N_LAYERS] - 1
    begin = field(net, last, in_layer.FIRST_SEGMENT)
    return shift(net.segments, begin * in_segment.SEGMENT_COLUMNS), field(net, last, in_layer.END_SEGMENT) - begin


@leaf
def starts_from_logits(net):
    """Whether the loss gives dC/dz at once."""
    return net.plan[in_plan.LOSS] in codes.LOSSES_FROM_LOGITS
