"""Whether the kernels know every code in a network's tables, and whether those codes fit each other.

The leaves choose by `if` and `elif`, and none of them could do anything sensible with a code that it has no branch for.
A root therefore asks here before it does anything else, and what it does not know it does not compute: it returns the
status `tables.UNKNOWN`.  A new code is entered in the tuples below when every path has a branch for it.
"""

from fastbp.kernels import tables as t
from fastbp.kernels.jit import leaf
from fastbp.kernels.passes import field
from fastbp.kernels.pointers import shift
from fastbp.kernels.updates import ADAM, ADAMW, RMSPROP, SGD

ELEMENTWISE_ACTIVATIONS = (
    t.IDENTITY, t.SIGMOID, t.TANH, t.RELU, t.LEAKY_RELU, t.ELU, t.SOFTPLUS, t.GELU, t.SILU, t.SINE, t.EXP,
)  # fmt: skip
# Those whose derivative is computed from z, which must have been kept.
ACTIVATIONS_FROM_Z = (t.GELU, t.SILU, t.SINE, t.CUSTOM_ACTIVATION)
# Losses that give dC/da, which any output may have.
LOSSES_OF_OUTPUTS = (t.QUADRATIC, t.ABSOLUTE, t.HUBER, t.LOG_COSH, t.POISSON, t.QUANTILE)
OPTIMIZERS = (SGD, ADAM, ADAMW, RMSPROP)


@leaf
def knows(net, differentiates, trains):
    """Whether the form of X, activations, loss and, if it `trains`, the optimizer are known and fit each other.

    What `differentiates` needs z of some activations.
    """
    if net.data[t.FORM] != t.DENSE and not knows_form(net):
        return False
    last = net.plan[t.N_LAYERS] - 1
    output = -1
    for layer in range(last + 1):
        begin, end = field(net, layer, t.FIRST_SEGMENT), field(net, layer, t.END_SEGMENT)
        has_z = field(net, layer, t.Z) != field(net, layer, t.A)
        for segment in range(begin, end):
            entry = shift(net.segments, segment * t.SEGMENT_COLUMNS)
            if not knows_activation(entry, layer == last and end - begin == 1) or (
                differentiates and not has_z and entry[t.CODE] in ACTIVATIONS_FROM_Z
            ):
                return False
            if layer == last:  # in one run or in several
                output = entry[t.CODE] if segment == begin or output == entry[t.CODE] else -1
    return knows_loss(net, output) and (not trains or net.plan[t.OPTIMIZER] in OPTIMIZERS)


@leaf
def knows_form(net):
    """Whether the form of sparse X is known, and work is cut so that its products can be made."""
    form = net.data[t.FORM]
    if net.data[t.INDPTR] == 0 or net.data[t.INDICES] == 0:
        return False
    return form == t.SCATTERED or (form == t.NUMBERS and net.plan[t.MODE] != t.BY_FEATURES)


@leaf
def knows_activation(entry, is_output):
    """Whether the activation of a segment is known there; softmax as the whole output layer's only."""
    code = entry[t.CODE]
    if code == t.CUSTOM_ACTIVATION:
        return entry[t.FORWARD] != 0 and entry[t.BACKWARD] != 0
    return code in ELEMENTWISE_ACTIVATIONS or (code == t.SOFTMAX and is_output)


@leaf
def knows_loss(net, output):
    """Whether the loss is known and may follow an output activation, -1 for several ones."""
    loss = net.plan[t.LOSS]
    if loss in t.SOFTMAX_LOSSES:
        return output == t.SOFTMAX
    if loss in t.SIGMOID_LOSSES:
        return output == t.SIGMOID
    if loss == t.POISSON_DEVIANCE:
        return output == t.EXP
    if loss == t.CUSTOM_LOSS:
        return net.plan[t.LOSS_VALUE] != 0 and net.plan[t.LOSS_DERIVATIVE] != 0
    return loss in LOSSES_OF_OUTPUTS
