"""What a stochastic fit works on: the estimator's parameters and record, the data, the optimizer's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.model import Model
from fastbp.neural_network.held_out import HeldOut
from fastbp.training.optimizers import SGD, Adam, padded_constants
from fastbp.training.state import OptimizerState, n_numbers


class Learner(Protocol):
    """What a stochastic fit uses of an estimator.

    It goes by the parameters, and keeps the record in the attributes, for callbacks to see and for Ctrl-C to leave.
    """

    solver: str
    batch_size: Any
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: Any
    warm_start: bool
    warm_start_optimizer: bool
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: float
    clip_norm: float | None
    n_threads: int | None
    progress: bool

    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    validation_loss_curve_: Any
    _no_improvement_count: int  # as scikit-learn calls it; a warm fit goes on with it


@dataclass(frozen=True)
class Task:
    """What a stochastic fit works on.

    Attributes
    ----------
    net : Model
        The network; its parameters are changed in place.
    data : Data
        The training data, valid and in the network's dtype.
    objective : Objective
        What is minimised.
    state : OptimizerState
        The optimizer; changed in place.
    rng : RandomState
        Random numbers.
    held_out : HeldOut or None
        The user's own validation data.
    weighs_by_all_rows : bool
        Whether the weights of a mini-batch are compared with those of all rows, rather than with each other.
    watch : callable
        Returns rows that early stopping has set aside as it looks at them.
    labels_of : callable
        Returns the classes whose shares both parts keep when rows are set aside, or None.
    rows : ndarray of int64 or None
        Valid indices of the rows to train on, without early stopping; None for all.
    """

    net: Model
    data: Data
    objective: Objective
    state: OptimizerState
    rng: np.random.RandomState
    held_out: HeldOut | None
    weighs_by_all_rows: bool
    watch: Callable[[Data], HeldOut]
    labels_of: Callable[[Data], NDArray[Any] | None]
    rows: NDArray[np.int64] | None = None


def optimizer_for(learner: Learner, net: Model, old: OptimizerState | None, incremental: bool) -> OptimizerState:
    """Return a fresh optimizer, or the one to go on with."""
    goes_on = incremental or (learner.warm_start and learner.warm_start_optimizer and learner.loss_curve_)
    if old is not None and goes_on and old.fits(net):
        return old
    if learner.solver == "sgd":
        constants: tuple[float, ...] = learner.momentum, float(learner.nesterovs_momentum)
        state = _fresh_state(net, SGD.code, constants, 1 if learner.momentum > 0 else 0)
    else:
        # the 1 puts epsilon beside sqrt(v), as in scikit-learn
        constants = learner.beta_1, learner.beta_2, learner.epsilon, 0.0, 1.0
        state = _fresh_state(net, Adam.code, constants, 2)
    state.learning_rate = float(learner.learning_rate_init)
    return state


def _fresh_state(net: Model, code: int, constants: tuple[float, ...], n_vectors: int) -> OptimizerState:
    """Return the state of an optimizer that has taken no step."""
    padded = padded_constants(*constants)
    return OptimizerState(code, padded, n_vectors, np.zeros(n_numbers(net, n_vectors), net.dtype))


def initialise_record(learner: Learner, first_pass: bool, has_losses: bool) -> None:
    """Set the attributes that a stochastic fit adds to, unless an earlier fit left them.

    `early_stopping` may have been changed between two warm fits, and users may set `coefs_` by hand: what is missing
    begins afresh.
    """
    known = {} if first_pass else vars(learner)
    fresh = {
        "loss_curve_": [],
        "_no_improvement_count": 0,
        "best_loss_": None if learner.early_stopping else np.inf,
        "validation_scores_": [] if learner.early_stopping else None,
        "best_validation_score_": -np.inf if learner.early_stopping else None,
        "validation_loss_curve_": [] if has_losses else None,
        "t_": 0,
    }
    for name, value in fresh.items():
        if known.get(name) is None:
            setattr(learner, name, value)
