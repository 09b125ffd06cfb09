"""The state from which a later fit goes on: the optimizer with its vectors, the steps taken, the random numbers."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.model import Model
from fastbp.system.memory import require_memory
from fastbp.training.optimizers import Adam, Optimizer


class TrainingDivergedError(FloatingPointError):
    """The loss became NaN or infinite; the network has the parameters from before that epoch.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> try:
    ...     net.fit([[1.0]], [[1.0]], epochs=2000, optimizer=bp.SGD(10.0))
    ... except bp.TrainingDivergedError:
    ...     print("try a smaller learning rate")
    try a smaller learning rate
    """


@dataclass
class TrainingState:
    """What a later fit needs to go on: the optimizer with its vectors, the steps taken, the random numbers."""

    optimizer: Optimizer
    vectors: NDArray[Any]
    step: int
    powers: tuple[float, float]
    rng: np.random.Generator
    dropout_seed: int

    def copy(self) -> TrainingState:
        """Return a state whose vectors and random numbers are its own."""
        return replace(self, vectors=np.array(self.vectors), rng=copy.deepcopy(self.rng))


def fresh_state(net: Model, optimizer: Optimizer, rng: np.random.Generator) -> TrainingState:
    """Return the state of an optimizer that has taken no step.

    Raises
    ------
    MemoryError
        If its vectors, a gradient and the copy of the parameters that a fit keeps do not fit.
    """
    n_vectors = optimizer.n_state_vectors + 2
    purpose = (
        f"Training {net.n_params} parameters with {type(optimizer).__name__}, which takes {n_vectors} times as many,"
    )
    cure = "Make the layers smaller, use dtype='float32', or bp.SGD without momentum, which keeps no vectors."
    require_memory(n_vectors * net.params.nbytes, purpose, cure)
    vectors = np.zeros(max(1, optimizer.n_state_vectors * net.n_params), net.dtype)
    return TrainingState(optimizer, vectors, 0, (1.0, 1.0), rng, draw_seed(rng))


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed for dropout."""
    return int(rng.integers(1 << 31))


def state_to_go_on_with(
    net: Model, old: TrainingState | None, optimizer: Optimizer | None, seed: int | None
) -> TrainingState:
    """Return the state to go on from, or a fresh one where there is a new optimizer or none yet."""
    new_numbers = seed is not None or old is None
    rng = np.random.default_rng(seed) if old is None or new_numbers else old.rng
    if old is None or not (optimizer is None or optimizer is old.optimizer):
        return fresh_state(net, Adam() if optimizer is None else optimizer, rng)
    dropout_seed = draw_seed(rng) if new_numbers else old.dropout_seed
    return TrainingState(old.optimizer, old.vectors, old.step, old.powers, rng, dropout_seed)
