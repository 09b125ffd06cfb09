"""`BayesianRegularization`: Levenberg-Marquardt with a penalty on all parameters that the data themselves choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastbp.engine.normal_equations import NormalEquations
from fastbp.engine.rows import Data
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.training.levenberg_marquardt import REASONS, SquaresTrainer, require_squares, store_damping
from fastbp.training.whole_batch import Trainer, WholeBatchOptimizer
from fastbp.validation.numbers import MOST_STEPS, store_number

_FIRST_ALPHA = 1e-3  # of the plain iterations at the beginning, beside a beta of 1
_LEAST_GAMMA = 1e-3  # so that a network whose outputs are constant keeps a finite penalty


@dataclass(frozen=True, slots=True)
class BayesianRegularization(WholeBatchOptimizer):
    """Levenberg-Marquardt with a penalty on all parameters, whose weight follows from the data; MATLAB's ``trainbr``.

    It makes ``beta E_D + alpha E_W`` small, where ``E_D`` is the sum of squared differences between outputs and targets
    and ``E_W`` that of the squares of all parameters.  After each iteration, ``alpha`` and ``beta`` are chosen anew so
    that the data are the most probable (MacKay's evidence), from ``gamma``, the number of parameters that the data
    determine.  So a network that is too large for its data is not fitted to their noise, and no validation data are
    needed: ``1 / (2 beta)`` is the variance of the noise.

    Parameters
    ----------
    mu : float
        What is added to the diagonal of the equations, at the start.
    mu_decrease : float
        What ``mu`` is multiplied by after a step.
    mu_increase : float
        What it is multiplied by after a step that was not taken.
    mu_max : float
        Stop when ``mu`` is larger: no step makes the sum smaller any more.
    min_gradient : float
        Stop when the norm of the gradient of ``(beta E_D + alpha E_W) / (2 n)`` is not above this.
    warmup : int
        Iterations with ``alpha`` 0.001 and ``beta`` 1 at the beginning.  Without them the first choices, made far from
        a fit, often end in a network whose outputs are constant.
    goal : float
        Stop when the cost is not above this.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Pass it to `Network.fit` as `optimizer`; `epochs` is the number of iterations, and some hundred are a good number.
    Several fits from different parameters may find different minima; one that has converged has much the same `gamma`
    as a larger network's.  The loss must be 'quadratic', and the network without penalties of its own.  The targets
    should be scaled to a variance of about 1.

    The `History` has the columns `mu`, `gradient_norm` and `tries`, as with `LevenbergMarquardt`, and `gamma`, `alpha`
    and `beta` as chosen after the iteration; `loss` is the cost of the data without any penalty, and need not fall.
    `stopped_by` may be 'goal', 'min_gradient' or 'mu_max'; validation data are recorded and do not end the fit.

    ``gamma`` is the sum of ``l / (l + alpha)`` over the eigenvalues ``l`` of ``beta J^T J``, which take some ten times
    the time of a step's equations.

    References
    ----------
    MacKay, "Bayesian interpolation", Neural Computation 4 (1992); Foresee and Hagan, "Gauss-Newton approximation to
    Bayesian learning", International Conference on Neural Networks (1997).

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> X = np.linspace(-1, 1, 41).reshape(-1, 1)
    >>> Y = np.sin(2 * np.pi * X) + 0.1 * np.random.default_rng(0).standard_normal(X.shape)
    >>> net = bp.Network([1, 20, 1], activation="tanh", dtype="float64", seed=0)
    >>> history = net.fit(X, Y, epochs=300, optimizer=bp.BayesianRegularization())
    >>> net.n_params, bool(history.gamma[-1] < 15)
    (61, True)
    """

    columns: ClassVar[tuple[str, ...]] = ("mu", "gradient_norm", "tries", "gamma", "alpha", "beta")
    reasons: ClassVar[tuple[str, ...]] = tuple(REASONS.values())

    mu: float = 0.005
    mu_decrease: float = 0.1
    mu_increase: float = 10.0
    mu_max: float = 1e10
    min_gradient: float = 1e-7
    warmup: int = 20
    goal: float = 0.0

    def __post_init__(self) -> None:
        store_damping(self)
        store_number(self, "warmup", "a whole number, 0 or above", "Try 20.")

    def require(self, net: Model) -> None:
        """Raise if it cannot train a network; see `WholeBatchOptimizer.require`.

        Parameters
        ----------
        net : Model
            The network.

        Raises
        ------
        ValueError
            If the loss is not quadratic, or the network has a penalty or dropout.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.BayesianRegularization().require(bp.Network([2, 3, 1]))  # is not refused
        """
        WholeBatchOptimizer.require(self, net)
        require_squares(self, net)
        if net.penalties[0] != 0:
            raise ValueError(
                "`l2_penalty` must be 0 for BayesianRegularization, which finds a penalty of its own; the network has "
                f"{net.penalties[0]:g}. Set it to 0, or train it with bp.LevenbergMarquardt()."
            )

    def trainer(self, net: Model, data: Data, n_threads: int | None) -> Trainer:
        """Return what takes the iterations of one fit; nothing of the network changes yet.

        Parameters
        ----------
        net : Model
            The network.
        data : Data
            All rows.
        n_threads : int or None
            Threads to use; None for as many as the process may.

        Raises
        ------
        MemoryError
            If ``J^T J`` and its factor do not fit into the memory that is available.

        Examples
        --------
        >>> import fastbp as bp
        >>> net, optimizer = bp.Network([1, 1], dtype="float64", seed=0), bp.BayesianRegularization()
        >>> net.fit([[0.0], [1.0], [2.0]], [1, 3, 5], optimizer=optimizer).stopped_by  # calls it
        'min_gradient'
        """
        return BayesianTrainer(self, net, NormalEquations(problem_of(net), data, n_threads))


class BayesianTrainer(SquaresTrainer):
    """A fit in progress; see `SquaresTrainer`."""

    def __init__(self, rule: BayesianRegularization, net: Model, equations: Any) -> None:
        super().__init__(rule, net, equations)
        self._warmup, self._n_taken = rule.warmup, 0
        self._n_targets = self.equations.total_weight * net.sizes[-1]
        self._choose(float(net.n_params), _FIRST_ALPHA, 1.0)

    def _choose(self, gamma: float, alpha: float, beta: float) -> None:
        self._chosen = gamma, alpha, beta
        self.equations.set_objective(beta, alpha)

    def most_at_once(self) -> int:
        """Return 1: after each iteration the penalty is chosen anew."""
        return 1

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take iterations, each in a call of its own."""
        rows = list[list[float]]()
        row = np.zeros((1, 4))
        try:
            while len(rows) < n_epochs and self.stopped_by is None:
                self.equations.n_done = 0
                try:
                    self.iterate(row)
                finally:  # Ctrl-C may come when the iteration is finished
                    if self.equations.n_done:
                        self._note(row, rows)
        finally:
            record(np.array(rows).reshape(-1, 7))

    def _note(self, row: NDArray[np.float64], rows: list[list[float]]) -> None:
        """Choose anew after an iteration, and add its row to those that are recorded."""
        self._n_taken += 1
        if self._n_taken > self._warmup:
            self._choose(*self._evidence())
        rows.append([*row[0].tolist(), *self._chosen])

    def _evidence(self) -> tuple[float, float, float]:
        """Return gamma, alpha and beta for the parameters as they are now."""
        _, alpha, beta = self._chosen
        params = self._net.params.astype(np.float64)
        found = beta * scipy.linalg.eigvalsh(self.equations.hessian, lower=True, check_finite=False)
        eigenvalues = np.maximum(found, 0.0)
        gamma = max(float((eigenvalues / (eigenvalues + alpha)).sum()), _LEAST_GAMMA)
        tiny = np.finfo(np.float64).tiny
        alpha = gamma / (2 * max(float(params @ params), tiny))
        free = self._n_targets - min(gamma, self._n_targets - 1)
        return gamma, alpha, free / (2 * max(self.equations.sum_of_squares, tiny))

    def state(self) -> NDArray[np.float64]:
        """Return what `SquaresTrainer` has, how many iterations were taken, and what was chosen."""
        return np.array([*super().state(), self._n_taken, *self._chosen])

    def restore(self, state: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        if not np.isfinite(state).all():
            return False
        n_taken, gamma, alpha, beta = state[3:].tolist()
        if not (0 <= n_taken <= MOST_STEPS and n_taken == int(n_taken) and min(gamma, alpha, beta) > 0):
            return False
        self._n_taken = int(n_taken)
        self._choose(gamma, alpha, beta)
        return super().restore(state[:3])
