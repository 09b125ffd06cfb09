"""The solver 'lm': Levenberg-Marquardt on the squared error of the whole data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.batch_cost import BatchCost
from fastbp.engine.normal_equations import NormalEquations
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.definition import problem_of
from fastbp.network import Network
from fastbp.neural_network.errors import diverged
from fastbp.training.levenberg_marquardt import LevenbergMarquardt, SquaresTrainer, sums_in_float32
from fastbp.training.state import TrainingDivergedError


class Settings(Protocol):
    """The parameters of an estimator that the solver goes by."""

    loss: Any
    dropout: Any
    l1_penalty: float
    max_iter: int
    tol: float
    n_threads: int | None


class Minimum(NamedTuple):
    """What was found; the parameters are the network's."""

    losses: list[float]  # after each iteration
    loss: float
    shortfall: str | None  # why it is no minimum, if it is none


def require_squares(settings: Settings) -> None:
    """Refuse what the solver cannot train."""
    refused = {
        "loss": (settings.loss != "squared_error", "'squared_error'", "it needs a sum of squares", "'lbfgs'"),
        "dropout": (np.any(settings.dropout), "0", "it compares the costs of steps with each other", "'adam'"),
        "l1_penalty": (settings.l1_penalty != 0, "0", "it needs a sum of squares", "'lbfgs'"),
    }
    for name, (is_refused, allowed, why, solver) in refused.items():
        if is_refused:
            raise ValueError(
                f"`{name}` must be {allowed} for solver='lm', because {why}; got {getattr(settings, name)!r}. Use "
                f"solver={solver}."
            )


def minimise(
    net: Network,
    data: Data,
    objective: Objective,
    settings: Settings,
    callback: Callable[[NDArray[Any]], None] | None,
) -> Minimum:
    """Minimise the cost of some rows; see `minimise_by`."""
    n_rows, weights = len(data), data.sample_weight
    weight = float(n_rows if weights is None else weights.sum(dtype=np.float64))
    problem = replace(problem_of(net), penalties=(objective.l2 / weight, 0.0))
    rule = rule_of(settings)
    equations = NormalEquations(problem, data, settings.n_threads, is_mixed=sums_in_float32(rule, net))

    def cost(params: NDArray[Any]) -> float:
        return BatchCost(problem, data, objective, gradient=False, n_threads=settings.n_threads).cost(params)

    return minimise_by(equations, cost, net, objective, settings, callback)


def rule_of(settings: Settings) -> LevenbergMarquardt:
    """Return the rule that the parameters of an estimator ask for."""
    return LevenbergMarquardt(min_gradient=settings.tol)


def minimise_by(
    equations: NormalEquations,
    cost: Callable[[NDArray[Any]], float],
    net: Network,
    objective: Objective,
    settings: Settings,
    callback: Callable[[NDArray[Any]], None] | None,
) -> Minimum:
    """Minimise from a network's parameters on, which become those that were found.

    Parameters
    ----------
    equations : NormalEquations
        The equations of all rows; they are let go of.
    cost : callable
        Returns the cost of all rows, penalties included.
    net : Network
        The network.
    objective : Objective
        Its penalties, and what is reported.
    settings : Settings
        When to stop.
    callback : callable or None
        Called with the parameters after every iteration.

    Raises
    ------
    FitDivergedError
        If the loss is not finite at the first parameters.
    """
    trainer = SquaresTrainer(rule_of(settings), net, equations)
    losses = list[float]()

    def record(rows: NDArray[np.float64]) -> None:
        losses.extend(rows[:, 0].tolist())
        if len(rows) and objective.cost_factor != 1:  # then there is one row
            own = equations.sum_of_squares / (2 * equations.total_weight)
            losses[-1] += (objective.cost_factor - 1) * own

    try:
        while len(losses) < settings.max_iter and trainer.stopped_by is None:
            n_done, alone = len(losses), callback is not None or objective.cost_factor != 1
            trainer.advance(1 if alone else min(trainer.most_at_once(), settings.max_iter - n_done), record)
            if callback is not None and len(losses) > n_done:
                callback(net.params)
    except TrainingDivergedError:
        raise diverged("Levenberg-Marquardt") from None
    except StopIteration:  # a callback asks for it
        pass
    finally:
        trainer.end()
    loss = losses[-1] if losses else cost(net.params)
    unfinished = f"lm failed to converge after {len(losses)} iteration(s): the largest number, max_iter, is reached."
    is_unfinished = trainer.stopped_by is None and len(losses) == settings.max_iter
    return Minimum(losses, loss, unfinished if is_unfinished else None)
