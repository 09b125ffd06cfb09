"""A compiled network made of a network, or the reason why that cannot be."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import evaluator as ev
from fastbp.export.njit import CompiledNetwork, handle_of
from fastbp.functions.losses import facts_of_loss
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.system.memory import require_own_shape, require_writable


class SteppingRule(Protocol):
    """The type of an `Optimizer` whose steps compiled code can take, for annotations; those live in a room above."""

    code: ClassVar[int]

    @property
    def learning_rate(self) -> Any:
        """The learning rate, which has to be a number."""

    @property
    def n_state_vectors(self) -> int:
        """Number of vectors, as long as the parameters, kept from step to step."""

    def kernel_constants(self) -> NDArray[np.float64]:
        """Return the constants of the rule."""


def compile_network(net: Model, optimizer: SteppingRule | None = None) -> CompiledNetwork:
    """Return a network for compiled code, see `fastbp.Network.compiled`."""
    require_own_shape(net)
    evaluator = ev.Evaluator(problem_of(net), net.params, net.has_softmax and facts_of_loss(net.loss).takes_labels)
    if optimizer is not None:
        _set_optimizer(net, evaluator, optimizer)
    return handle_of(evaluator)


def _set_optimizer(net: Model, evaluator: ev.Evaluator, optimizer: Any) -> None:
    """Have the evaluator take steps, or say why it cannot."""
    constants = getattr(optimizer, "kernel_constants", None)
    if constants is None or isinstance(optimizer, type):
        raise TypeError(
            f"`optimizer` must be a bp.SGD, bp.Adam, bp.AdamW or bp.RMSprop, whose steps compiled code can take; got "
            f"{optimizer!r}. Others work in `fit`."
        )
    rate = optimizer.learning_rate
    if not isinstance(rate, int | float):
        raise ValueError(
            f"`optimizer` must have a number as its learning rate, which all steps in compiled code have; got {rate!r}."
            " Call `set_learning_rate` of the compiled network between steps instead."
        )
    if any(net.dropout):
        raise ValueError(
            f"`optimizer` must be None for a network with dropout, which steps in compiled code have not; got dropout "
            f"{net.dropout}. Train it by `fit` or `step`."
        )
    require_writable(net)
    evaluator.set_optimizer(optimizer.code, constants(), optimizer.n_state_vectors, rate)
