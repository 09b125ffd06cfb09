"""`TrainedModel`: a model that remembers how it was trained."""

from __future__ import annotations

from typing import Any

from fastbp.derivatives.input_derivatives import DerivativesByInputs
from fastbp.derivatives.outputs import OutputDerivatives
from fastbp.derivatives.samples import SampleDerivatives
from fastbp.derivatives.second_order import SecondOrder
from fastbp.training.history import History
from fastbp.training.state import TrainingState


class TrainedModel(OutputDerivatives, SampleDerivatives, SecondOrder, DerivativesByInputs):
    """The part of a `fastbp.Network` that remembers its training."""

    # Of the last fit, and None before it: Any, so that nobody has to ask a network that was fitted whether it was.
    history: History | Any = None
    _training_state: TrainingState | None = None  # from which another fit goes on

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state; a copy of a network has an optimizer of its own."""
        known = dict(state)
        old = known.get("training_state")
        if isinstance(old, TrainingState):  # as version 0.1.0 calls it, and not an attribute of the user's
            known["_training_state"] = known.pop("training_state")
        super().__setstate__(known)
        if self._training_state is not None:
            self._training_state = self._training_state.copy()


def history_of(net: TrainedModel) -> History:
    """Return the record of the last fit, of a network that was fitted."""
    history: History | None = net.history
    assert history is not None
    return history


def training_state_of(net: TrainedModel) -> TrainingState | None:
    """Return the state from which another fit continues, if there is one."""
    return net._training_state


def keep_training_state(net: TrainedModel, state: TrainingState) -> None:
    """Let another fit continue from a state."""
    net._training_state = state
