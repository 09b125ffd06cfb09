"""One row of facts for each loss: what the layers above the kernels know of it beside its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import numpy as np

from fastbp.functions.names import LossName, OutputName
from fastbp.functions.own import Activation, Loss
from fastbp.kernels.tables import codes

Range = Literal["any", "non_negative", "probabilities"]


class Parameter(NamedTuple):
    """The parameter that a loss has."""

    default: float
    low: float  # both bounds are excluded
    high: float


class LossFacts(NamedTuple):
    """What is to be known of a loss."""

    name: str
    code: int  # by which the kernels know it, after an output that does not match it
    parameter: Parameter | None = None
    # Where dC/da or its derivative jumps: values of a - y, from the loss's parameter; None for nowhere.
    kinks: Callable[[float], tuple[float, ...]] | None = None
    matching: tuple[OutputName, ...] = ()  # outputs with which dC/dz is a - y, without f'
    only_matching: bool = False  # whether it is defined for no others
    codes_of_outputs: tuple[tuple[OutputName, int], ...] = ()  # the code, where it depends on all outputs
    # Codes of variants, after some outputs: their gradient is the loss's, and their cost what scikit-learn reports.
    reported: tuple[tuple[OutputName, int], ...] = ()
    positive_outputs: bool = False  # whether every output must be positive
    targets: Range = "any"
    takes_labels: bool = False  # after an output that is a distribution over classes


LOSSES: dict[LossName, LossFacts] = {
    "quadratic": LossFacts("quadratic", codes.QUADRATIC),
    "cross_entropy": LossFacts(
        "cross_entropy",
        codes.SOFTMAX_CROSS_ENTROPY,
        matching=("softmax", "sigmoid"),
        only_matching=True,
        codes_of_outputs=(("softmax", codes.SOFTMAX_CROSS_ENTROPY), ("sigmoid", codes.SIGMOID_CROSS_ENTROPY)),
        reported=(  # from probabilities that are clipped
            ("softmax", codes.CLIPPED_SOFTMAX_CROSS_ENTROPY),
            ("sigmoid", codes.CLIPPED_SIGMOID_CROSS_ENTROPY),
        ),
        targets="probabilities",
        takes_labels=True,
    ),
    "absolute": LossFacts("absolute", codes.ABSOLUTE, kinks=lambda _: (0.0,)),
    "huber": LossFacts(
        "huber", codes.HUBER, Parameter(1.0, 0.0, np.inf), kinks=lambda parameter: (-parameter, parameter)
    ),
    "log_cosh": LossFacts("log_cosh", codes.LOG_COSH),
    "poisson": LossFacts(
        "poisson",
        codes.POISSON,
        matching=("exp",),
        codes_of_outputs=tuple((name, codes.POISSON_OF_LOGITS) for name in ("exp", "softplus", "sigmoid", "softmax")),
        reported=(("exp", codes.POISSON_DEVIANCE),),  # half the deviance
        positive_outputs=True,
        targets="non_negative",
    ),
    "quantile": LossFacts("quantile", codes.QUANTILE, Parameter(0.5, 0.0, 1.0), kinks=lambda _: (0.0,)),
}
LOSS_NAMES = tuple(LOSSES)
PARAMETERS = {name: facts.parameter for name, facts in LOSSES.items() if facts.parameter is not None}


def facts_of_loss(loss: LossName | Loss) -> LossFacts:
    """Return the row of a known loss; of a user's own what is sure, which is little."""
    return LossFacts(loss.name, codes.CUSTOM_LOSS) if isinstance(loss, Loss) else LOSSES[loss]


def loss_entry(
    loss: LossName | Loss, outputs: Iterable[OutputName | Activation], dtype: np.dtype
) -> tuple[int, int, int]:
    """Code and addresses of a known loss after the activations of all outputs."""
    if isinstance(loss, Loss):
        return (codes.CUSTOM_LOSS, *loss.addresses(dtype)[:2])
    facts = LOSSES[loss]
    found = {dict[object, int](facts.codes_of_outputs).get(output, facts.code) for output in outputs}
    return found.pop() if len(found) == 1 else facts.code, 0, 0


def second_derivative_of_loss(loss: LossName | Loss, dtype: np.dtype) -> int:
    """Return the address of the second derivative of a user's loss; 0 where there is none."""
    return loss.addresses(dtype)[2] if isinstance(loss, Loss) else 0


def reported_code(loss: LossName | Loss, output: OutputName | Activation) -> int | None:
    """Code of what scikit-learn reports of a loss after an output's activation; None where it is the loss itself."""
    return dict[object, int](facts_of_loss(loss).reported).get(output)
