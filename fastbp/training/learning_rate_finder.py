"""`find_learning_rate`: a short trial run with a growing learning rate, which leaves the network as it was."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.engine.rows import Data
from fastbp.model.checks import checked_data
from fastbp.model.definition import require_network
from fastbp.model.model import Model
from fastbp.plotting.rates import LearningRateDisplay
from fastbp.system.alone import alone
from fastbp.system.memory import require_writable
from fastbp.system.tables import Table, curve, note
from fastbp.training.optimizers import Adam, Optimizer, require_optimizer
from fastbp.training.plan import batch_rows_for
from fastbp.training.state import fresh_state
from fastbp.training.steps import Steps
from fastbp.validation.matrix_like import MatrixLike

_SMOOTHING = 0.9  # share of the old mean in the running mean of the loss
_BLOWN_UP = 4.0  # the trial ends when the smoothed loss is this many times its lowest value


@dataclass(frozen=True, repr=False)
class LearningRateRange:
    """The result of `find_learning_rate`.

    Attributes
    ----------
    learning_rates : ndarray, shape (n_steps,)
        Learning rate of each step of the trial.
    losses : ndarray, shape (n_steps,)
        Running mean of the mini-batches' cost before each step.
    suggestion : float
        The rate at which the loss fell fastest, per factor of the rate; NaN where not a single loss was finite.

    Examples
    --------
    >>> import fastbp as bp
    >>> found = bp.find_learning_rate(bp.Network([1, 1], seed=0), [[0.0], [1.0]], [[1.0], [3.0]], n_steps=50, seed=0)
    >>> len(found.learning_rates) == len(found.losses), found.suggestion in found.learning_rates
    (True, True)
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float

    def __repr__(self) -> str:
        return f"<LearningRateRange: {self._trial()}, suggestion {self.suggestion:.3g}>"

    def _repr_html_(self) -> str:
        rows = [("suggestion", f"{self.suggestion:.3g}")]
        if len(self.losses):
            lowest = int(np.argmin(self.losses))
            rows.append(("lowest loss", f"{self.losses[lowest]:.6g}"))
            rows.append(("its learning rate", f"{self.learning_rates[lowest]:.3g}"))
        table = Table(["quantity", "value"], rows)
        return note(f"learning rate range: {self._trial()}", curve({"loss": self.losses}), table)

    def _trial(self) -> str:
        """Return how far the trial went."""
        rates = self.learning_rates
        reach = f" from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else ""
        return f"{len(rates)} steps{reach}"

    def plot(self, ax: Any = None) -> LearningRateDisplay:
        """Draw the loss against the learning rate, with the suggestion.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default new ones.

        Returns
        -------
        fastbp.plotting.LearningRateDisplay
            The drawn display, which has the axes as `ax_`.

        Raises
        ------
        TypeError
            If `ax` is something else than axes.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import fastbp as bp
        >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
        >>> found = bp.find_learning_rate(bp.Network([1, 1], seed=0), X, Y, n_steps=50, seed=0)
        >>> found.plot().ax_.get_xscale()
        'log'
        """
        return LearningRateDisplay.from_range(self, ax=ax)


def find_learning_rate(
    net: Model,
    X: MatrixLike,
    Y: ArrayLike,
    *,
    optimizer: Optimizer | None = None,
    batch_size: int | Literal["auto"] | None = "auto",
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_steps: int = 200,
    sample_weight: ArrayLike | None = None,
    seed: int | None = None,
    n_threads: int | None = None,
) -> LearningRateRange:
    """Train for some steps with a learning rate that grows from step to step, and look where the loss falls.

    Parameters
    ----------
    net : Network
        The network; its parameters and its training state are the same afterwards.
    X, Y, batch_size, sample_weight, n_threads
        As for `fastbp.training.fit`.
    optimizer : Optimizer, optional
        The rule of a step, ``Adam()`` by default; its learning rate is not used.
    lowest, highest : float
        First and last learning rate per step, growing by a constant factor.
    n_steps : int
        Steps of the trial; it ends early when the loss blows up.
    seed : int, optional
        Seed of the order of the rows.

    Returns
    -------
    LearningRateRange
        Rates, losses, and a suggestion.

    Raises
    ------
    TypeError, ValueError
        For a wrong argument.
    RuntimeError
        If the network is being trained.

    References
    ----------
    Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> X = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> net = bp.Network([1, 16, 1], activation="tanh", seed=0)
    >>> found = bp.find_learning_rate(net, X, X**2, seed=0)
    >>> 1e-4 < found.suggestion < 1
    True
    """
    require_network(net)
    require_optimizer(optimizer)
    data = Data(*checked_data(net, X, Y, sample_weight))
    require_writable(net)
    n_rows = len(data)
    batch_rows = batch_rows_for(batch_size, n_rows)
    low = validation.real_number(lowest, "lowest", 0.0, open_low=True)
    high = validation.real_number(highest, "highest", low, open_low=True)
    count = validation.positive_integer(n_steps, "n_steps", 3)
    rng = np.random.default_rng(validation.seed(seed))
    rates = np.geomspace(low, high, count)
    optimizer = Adam() if optimizer is None else optimizer
    trial = functools.partial(_trial, net, data, rates, optimizer, batch_rows, rng, n_threads)
    losses = alone(net, "find_learning_rate", trial)
    rates = rates[: len(losses)]
    return LearningRateRange(rates, losses, _steepest(rates, losses))


def _trial(
    net: Model,
    data: Data,
    rates: NDArray[np.float64],
    optimizer: Optimizer,
    batch_rows: int,
    rng: np.random.Generator,
    n_threads: int | None,
) -> NDArray[np.float64]:
    """Return the losses of the trial; the network has its parameters again."""
    before = net.params.copy()
    state = fresh_state(net, optimizer, rng)
    steps = Steps(
        net,
        data,
        state,
        batch_rows,
        mean_weight=data.mean_weight,
        dropout_seed=state.dropout_seed,
        n_threads=n_threads,
    )
    try:
        return _losses(steps, rates, rng)
    finally:
        net.params[...] = before


def _losses(steps: Steps, rates: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the running mean of the loss at each step, corrected for its start, until the loss blows up.

    With sample weights it is that of the rows' losses by their weights: a mini-batch of light rows costs little
    whatever the rate.
    """
    losses: list[float] = []
    mean = weight = 0.0
    n_weightless = 0
    data, penalties = steps.data, steps.model.penalties
    order = rng.permutation(len(data))
    for i, rate in enumerate(rates):
        index = i % steps.per_epoch
        if index == 0:
            order = rng.permutation(len(data))
        rows = order[index * steps.batch_rows : (index + 1) * steps.batch_rows]
        penalty = _penalty(steps.model.weights, *penalties)
        cost = steps.single_step(index, float(rate), order) - penalty
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * cost
        weight = _SMOOTHING * weight + (1 - _SMOOTHING) * _relative_weight(data, rows)
        if weight == 0:  # nothing has counted yet: as long as that lasts, the loss is what it is then
            n_weightless += 1
            continue
        smoothed = mean / weight + penalty
        if not math.isfinite(smoothed) or smoothed > _BLOWN_UP * min(losses, default=math.inf):
            break
        losses.append(smoothed)
    return np.array(losses[:1] * n_weightless + losses)


def _penalty(weights: Iterable[NDArray[Any]], l2: float, l1: float) -> float:
    """L2 and L1 penalty of the weights as they are."""
    if l2 == 0 and l1 == 0:
        return 0.0
    doubles = [W.astype(np.float64) for W in weights]
    return float(sum(0.5 * l2 * (W * W).sum() + l1 * np.abs(W).sum() for W in doubles))


def _relative_weight(data: Data, rows: NDArray[np.int64]) -> float:
    """Mean weight of some rows over that of all rows; 1 without weights."""
    weights = data.sample_weight
    return 1.0 if weights is None else float(weights[rows].mean(dtype=np.float64) / data.mean_weight)


def _steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Return the rate at which the loss falls fastest against the logarithm of the rate."""
    if len(losses) < 3:
        return float(rates[0]) if len(rates) else float("nan")
    width = max(1, len(losses) // 20)  # a difference over a tenth of the trial: mini-batches make neighbours noisy
    fall = losses[2 * width :] - losses[: -2 * width]
    return float(rates[width + int(np.argmin(fall))])
