"""What later training continues from: the optimizer with its vectors, the steps taken, the random numbers."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, Self

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


def diverged_where_it_begins() -> TrainingDivergedError:
    """Return the error of a fit whose first cost or gradient is not finite."""
    return TrainingDivergedError(
        "The loss or its gradient is NaN or infinite where the fit begins, so that no way leads down from there; the "
        "network has the parameters that it had. Begin with other parameters, or with inputs scaled to mean 0 and "
        "variance 1."
    )


@dataclass
class OptimizerState:
    """What the kernels need of an optimizer between calls: plain values and arrays, which can be pickled.

    Attributes
    ----------
    code : int
        Number by which the kernels know the rule.
    constants : ndarray of float64, shape (N_CONSTANTS,)
        Constants of the rule.
    n_vectors : int
        Number of vectors, each as long as the parameters, that the rule keeps.
    vectors : ndarray, shape (n_vectors * n_params,)
        Velocity or moments, of the network's dtype; one number where there are none.
    step : int
        Steps taken.
    powers : tuple of two floats
        Adam's beta_1 and beta_2 to the power of the steps.
    learning_rate : float
        Of the next steps, where an estimator changes it from epoch to epoch; NaN elsewhere.
    """

    code: int
    constants: NDArray[np.float64]
    n_vectors: int
    vectors: NDArray[Any]
    step: int = 0
    powers: tuple[float, float] = (1.0, 1.0)
    learning_rate: float = math.nan

    def fits(self, net: Model) -> bool:
        """Whether the vectors have the size and dtype for this network; the kernels do not check that."""
        return self.vectors.size == n_numbers(net, self.n_vectors) and self.vectors.dtype == net.dtype

    def forget(self) -> None:
        """Return to the state before the first step."""
        self.vectors.fill(0)
        self.step, self.powers = 0, (1.0, 1.0)

    def copy(self) -> Self:
        """Return a state with vectors of its own, which can be written to."""
        return replace(self, vectors=np.array(self.vectors))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; version 0.1.0 calls the steps of an estimator `t`."""
        known = dict(state)
        if "t" in known:
            known["step"] = known.pop("t")
        vars(self).update(known)


@dataclass(kw_only=True)
class TrainingState(OptimizerState):
    """What a later fit of a network continues from: the optimizer and the random numbers."""

    optimizer: Optimizer
    rng: np.random.Generator
    dropout_seed: int

    def copy(self) -> Self:
        """Return a state with vectors and random numbers of its own."""
        return replace(self, vectors=np.array(self.vectors), rng=copy.deepcopy(self.rng))

    def with_numbers(self, rng: np.random.Generator, dropout_seed: int) -> TrainingState:
        """Return a state with other random numbers and the same vectors; for a short fit, `replace` is slow."""
        return TrainingState(
            self.code,
            self.constants,
            self.n_vectors,
            self.vectors,
            self.step,
            self.powers,
            optimizer=self.optimizer,
            rng=rng,
            dropout_seed=dropout_seed,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; version 0.1.0 stores the optimizer without what the kernels are told of it."""
        super().__setstate__(_told(state["optimizer"]) | state)


def _told(optimizer: Optimizer) -> dict[str, Any]:
    """Return what the kernels are told of an optimizer, by the names of the fields."""
    return {
        "code": optimizer.code,
        "constants": optimizer.kernel_constants(),
        "n_vectors": optimizer.n_state_vectors,
    }


def n_numbers(net: Model, n_vectors: int) -> int:
    """Return how many numbers an optimizer's vectors have: at least one, since the kernels take their address."""
    return max(1, n_vectors * net.n_params)


def state_of(
    optimizer: Optimizer,
    vectors: NDArray[Any],
    rng: np.random.Generator,
    dropout_seed: int,
    step: int = 0,
    powers: tuple[float, float] = (1.0, 1.0),
) -> TrainingState:
    """Return the state of an optimizer that has taken so many steps."""
    return TrainingState(
        **_told(optimizer),
        vectors=vectors,
        step=step,
        powers=powers,
        optimizer=optimizer,
        rng=rng,
        dropout_seed=dropout_seed,
    )


def fresh_state(net: Model, optimizer: Optimizer, rng: np.random.Generator) -> TrainingState:
    """Return the state of an optimizer that has taken no step.

    Raises
    ------
    MemoryError
        If its vectors, a gradient and the copy of the parameters that a fit keeps are too large.
    """
    n_vectors = optimizer.n_state_vectors + 2
    purpose = (
        f"Training {net.n_params} parameters with {type(optimizer).__name__}, which takes {n_vectors} times as many,"
    )
    cure = "Make the layers smaller, use dtype='float32', or bp.SGD without momentum, which keeps no vectors."
    require_memory(n_vectors * net.params.nbytes, purpose, cure)
    vectors = np.zeros(n_numbers(net, optimizer.n_state_vectors), net.dtype)
    return state_of(optimizer, vectors, rng, draw_seed(rng))


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed for dropout."""
    return int(rng.integers(1 << 31))


def continued_state(
    net: Model, old: TrainingState | None, optimizer: Optimizer | None, seed: int | None
) -> TrainingState:
    """Return the state to continue from, or a fresh one if the optimizer is new or there is none yet."""
    new_numbers = seed is not None or old is None
    rng = np.random.default_rng(seed) if old is None or new_numbers else old.rng
    if old is None or not (optimizer is None or optimizer is old.optimizer):
        return fresh_state(net, Adam() if optimizer is None else optimizer, rng)
    dropout_seed = draw_seed(rng) if new_numbers else old.dropout_seed
    return old.with_numbers(rng, dropout_seed)
