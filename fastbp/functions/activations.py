"""One row of facts for each activation: what the layers above the kernels know of it beside its name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbp.functions.names import OutputName
from fastbp.functions.own import Activation
from fastbp.kernels.tables import codes


class ActivationFacts(NamedTuple):
    """What is to be known of an activation."""

    name: str
    code: int  # by which the kernels know it
    from_z: bool = False  # f' is computed from z, not from a
    output_from_z: bool = False  # an output's is, where a is near a limit; a hidden layer's z would be one more array
    positive: bool = False  # every value is positive, as some losses need
    rough: bool = False  # f' or, as elu's, f'' jumps, enough to spoil a difference; of the known ones at z = 0
    largest_slope: float = 1.0  # of f'; that of most is 1 or a little more
    never_flat: bool = False  # f' is near 0 nowhere, or for single values of z only
    can_die: bool = False  # f is exactly 0 for all z < 0
    whole_layer: bool = False  # a function of all z of the output layer, not of one z: for the output only


ACTIVATIONS: dict[OutputName, ActivationFacts] = {
    "identity": ActivationFacts("identity", codes.IDENTITY, never_flat=True),
    "sigmoid": ActivationFacts("sigmoid", codes.SIGMOID, output_from_z=True, positive=True, largest_slope=0.25),
    "tanh": ActivationFacts("tanh", codes.TANH, output_from_z=True),
    "relu": ActivationFacts("relu", codes.RELU, rough=True, can_die=True),
    "leaky_relu": ActivationFacts("leaky_relu", codes.LEAKY_RELU, rough=True, never_flat=True),
    "elu": ActivationFacts("elu", codes.ELU, output_from_z=True, rough=True),
    "softplus": ActivationFacts("softplus", codes.SOFTPLUS, positive=True),
    "gelu": ActivationFacts("gelu", codes.GELU, from_z=True),
    "silu": ActivationFacts("silu", codes.SILU, from_z=True),
    "sine": ActivationFacts("sine", codes.SINE, from_z=True, never_flat=True),
    "exp": ActivationFacts("exp", codes.EXP, positive=True),
    "softmax": ActivationFacts("softmax", codes.SOFTMAX, positive=True, largest_slope=0.25, whole_layer=True),
}
ACTIVATION_NAMES = tuple(ACTIVATIONS)
OF_ONE_Z = tuple(name for name, facts in ACTIVATIONS.items() if not facts.whole_layer)  # what any neuron may have
OF_LAYERS = tuple(name for name, facts in ACTIVATIONS.items() if facts.whole_layer)


def facts_of_activation(activation: OutputName | Activation) -> ActivationFacts:
    """Return the row of a known activation; of a user's own, whose kinks nobody knows, what is sure."""
    if isinstance(activation, Activation):
        return ActivationFacts(
            activation.name, codes.CUSTOM_ACTIVATION, from_z=True, positive=activation.positive, rough=True
        )
    return ACTIVATIONS[activation]


def activation_entry(
    activation: OutputName | Activation, is_output: bool, dtype: np.dtype
) -> tuple[int, int, int, bool, int, int]:
    """Return what a segment says of a known activation after its neurons."""
    facts = facts_of_activation(activation)
    f, df, d2f, d3f = activation.addresses(dtype) if isinstance(activation, Activation) else (0, 0, 0, 0)
    return facts.code, f, df, facts.from_z or (is_output and facts.output_from_z), d2f, d3f
