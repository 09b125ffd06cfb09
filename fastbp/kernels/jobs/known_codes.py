"""Whether the kernels know every code in a network's tables, and whether those codes fit each other.

The leaves choose by `if` and `elif`, and none of them can handle a code that it has no branch for.
A root therefore asks here before it does anything else, and what it does not know it does not compute: it returns the
status `UNKNOWN`.  A new code is entered in the tuples below when every path has a branch for it.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.layers.net import field
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.optimizers.updates import ADAM, ADAMW, RMSPROP, SGD
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment

ELEMENTWISE_ACTIVATIONS = (
    codes.IDENTITY, codes.SIGMOID, codes.TANH, codes.RELU, codes.LEAKY_RELU, codes.ELU, codes.SOFTPLUS, codes.GELU,
    codes.SILU, codes.SINE, codes.EXP,
)  # fmt: skip
# Those whose derivative is computed from z, which must have been kept.
ACTIVATIONS_FROM_Z = (codes.GELU, codes.SILU, codes.SINE, codes.CUSTOM_ACTIVATION)
# Losses that give dC/da, which any output may have.
LOSSES_OF_OUTPUTS = (codes.QUADRATIC, codes.ABSOLUTE, codes.HUBER, codes.LOG_COSH, codes.POISSON, codes.QUANTILE)
OPTIMIZERS = (SGD, ADAM, ADAMW, RMSPROP)


@leaf
def knows(net, differentiates, trains):
    """Whether the form of X, activations, loss and, if it `trains`, the optimizer are known and fit each other.

    What `differentiates` needs z of some activations.
    """
    if net.data[in_data.FORM] != in_data.DENSE and not knows_form(net):
        return False
    last = net.plan[in_plan.N_LAYERS] - 1
    output = -1
    for layer in range(last + 1):
        begin, end = field(net, layer, in_layer.FIRST_SEGMENT), field(net, layer, in_layer.END_SEGMENT)
        has_z = field(net, layer, in_layer.Z) != field(net, layer, in_layer.A)
        for segment in range(begin, end):
            entry = shift(net.segments, segment * in_segment.SEGMENT_COLUMNS)
            if not knows_activation(entry, layer == last and end - begin == 1) or (
                differentiates and not has_z and entry[in_segment.CODE] in ACTIVATIONS_FROM_Z
            ):
                return False
            if layer == last:  # in one run or in several
                output = entry[in_segment.CODE] if segment == begin or output == entry[in_segment.CODE] else -1
    return knows_loss(net, output) and (not trains or net.plan[in_plan.OPTIMIZER] in OPTIMIZERS)


@leaf
def knows_form(net):
    """Whether the form of sparse X is known, and work is cut so that its products can be made."""
    form = net.data[in_data.FORM]
    if net.data[in_data.INDPTR] == 0 or net.data[in_data.INDICES] == 0:
        return False
    return form == in_data.SCATTERED or (form == in_data.NUMBERS and net.plan[in_plan.MODE] != in_plan.BY_FEATURES)


@leaf
def knows_activation(entry, is_output):
    """Whether the activation of a segment is known there; softmax as the whole output layer's only."""
    code = entry[in_segment.CODE]
    if code == codes.CUSTOM_ACTIVATION:
        return entry[in_segment.FORWARD] != 0 and entry[in_segment.BACKWARD] != 0
    return code in ELEMENTWISE_ACTIVATIONS or (code == codes.SOFTMAX and is_output)


@leaf
def knows_loss(net, output):
    """Whether the loss is known and may follow an output activation, -1 for several ones."""
    loss = net.plan[in_plan.LOSS]
    if loss in codes.SOFTMAX_LOSSES:
        return output == codes.SOFTMAX
    if loss in codes.SIGMOID_LOSSES:
        return output == codes.SIGMOID
    if loss == codes.POISSON_DEVIANCE:
        return output == codes.EXP
    if loss == codes.POISSON_OF_LOGITS:
        return knows_poisson_outputs(net)
    if loss == codes.CUSTOM_LOSS:
        return net.plan[in_plan.LOSS_VALUE] != 0 and net.plan[in_plan.LOSS_DERIVATIVE] != 0
    return loss in LOSSES_OF_OUTPUTS


@leaf
def knows_poisson_outputs(net):
    """Whether each output is one whose logarithm can be had from z."""
    last = net.plan[in_plan.N_LAYERS] - 1
    for segment in range(field(net, last, in_layer.FIRST_SEGMENT), field(net, last, in_layer.END_SEGMENT)):
        if net.segments[segment * in_segment.SEGMENT_COLUMNS + in_segment.CODE] not in codes.POISSON_OUTPUTS:
            return False
    return True
