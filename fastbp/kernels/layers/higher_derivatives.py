"""First, second and third derivatives of a whole layer's activations, and whether they are there."""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.functions.higher_derivatives import activation_derivatives
from fastbp.kernels.layers.net import field
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment


@leaf
def layer_derivatives(net, layer, order, m, z, a, d1, d2, d3):
    """f', f'' and f''' up to some order for m rows of a layer without softmax, all of which lie row behind row."""
    n = field(net, layer, in_layer.FAN_OUT)
    has_z = field(net, layer, in_layer.Z) != field(net, layer, in_layer.A)
    for segment in range(field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        begin, end = entry[in_segment.BEGIN], entry[in_segment.END]
        rows, length = (1, m * n) if end - begin == n else (m, end - begin)
        for i in range(rows):
            k = i * n + begin
            pointers = shift(z, k), shift(a, k), shift(d1, k), shift(d2, k), shift(d3, k)
            activation_derivatives(entry, order, length, has_z, *pointers)


@leaf
def knows_derivatives(net, order):
    """Whether every user's own activation has derivatives up to some order."""
    last = net.plan[in_plan.N_LAYERS] - 1
    for segment in range(field(net, last, in_layer.END_SEGMENT)):
        entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
        if entry[in_segment.CODE] == codes.CUSTOM_ACTIVATION and (
            (order >= 2 and entry[in_segment.SECOND] == 0) or (order >= 3 and entry[in_segment.THIRD] == 0)
        ):
            return False
    return True
