"""Levenberg-Marquardt by J^T J, gradient and cost that are sums over partitions."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastbp.dask import tasks
from fastbp.dask.rows import AllRows
from fastbp.engine.parameters import views
from fastbp.engine.threads import blas_threads
from fastbp.kernels.roots.normal_equations import (
    GOAL_REACHED,
    GOES_ON,
    LARGE_MU,
    LEAST_MU,
    NOT_FINITE,
    SMALL_GRADIENT,
)
from fastbp.model.model import Model
from fastbp.system.memory import require_memory


class SummedEquations:
    """J^T J, gradient and cost of all rows, and iterations by them.

    It stands in for `fastbp.engine.normal_equations.NormalEquations`.

    A step that is tried is a round: cost, gradient and J^T J together, which the next step needs if it is taken.

    Parameters
    ----------
    net : Model
        The network; its loss is quadratic.
    rows : AllRows
        The rows.
    is_mixed : bool
        Whether the products of J^T J are made in float32 for a network in float64.
    l2_penalty : float, optional
        In place of the network's.
    """

    n_threads = 1
    seconds = 1.0  # an iteration is a call of its own

    def __init__(self, net: Model, rows: AllRows, *, is_mixed: bool = False, l2_penalty: float | None = None) -> None:
        self._net, self._rows, self._is_mixed = net, rows, is_mixed
        self._l2_penalty = net.penalties[0] if l2_penalty is None else l2_penalty
        n = net.n_params
        cure = "Make the layers smaller, or train with bp.LBFGS(), which keeps some vectors as long as the parameters."
        require_memory(24 * n * n, f"J^T J and its factor for {n} parameters", cure)
        self.total_weight = rows.total_weight
        self.n_done, self.stopped = 0, GOES_ON
        self._at: NDArray[np.float64] | None = None  # the parameters that the following are of; None if of none
        self._half_squares, self._gradient = 0.0, np.zeros(n)
        self.hessian = np.zeros((n, n))  # the lower triangle
        self.set_objective()

    # ---- The objective, see `NormalEquations` ----

    def set_objective(self, scale: float = 1.0, ridge: float | None = None) -> None:
        """Set what is made smaller."""
        self._scale, self._reports_penalty = scale, ridge is None
        self._ridge = np.full(self._net.n_params, 0.0 if ridge is None else ridge)
        if ridge is None:
            for W in views(self._ridge, self._net.sizes)[0]:
                W[...] = self._l2_penalty * self.total_weight

    def set_rule(
        self,
        *,
        mu: float,
        by_gain_ratio: bool,
        factors: tuple[float, float],
        mu_max: float,
        min_gradient: float,
        goal: float,
    ) -> None:
        """Set how mu changes, and when to stop."""
        self._by_gain_ratio, self._factors = by_gain_ratio, factors
        self._mu_max, self._min_gradient, self._goal = mu_max, min_gradient, goal
        self._mu, self._nu, self._unit = mu, 2.0, float(not by_gain_ratio)

    @property
    def state(self) -> NDArray[np.float64]:
        """What an iteration continues from, besides the parameters: (3,)."""
        return np.array([self._mu, self._nu, self._unit])

    @state.setter
    def state(self, values: NDArray[np.float64]) -> None:
        self._mu, self._nu, self._unit = values.tolist()
        self._at = None

    @property
    def sum_of_squares(self) -> float:
        """The weighted sum of e_x^2 at the last parameters."""
        return 2.0 * self._half_squares

    def forget_iterations(self) -> None:
        """Take note that what the last call did is not to count."""
        self.n_done, self._at = 0, None

    def end(self) -> None:
        """Nothing is to be let go of."""

    # ---- Iterations ----

    def iterate(self, params: NDArray[np.float64], records: NDArray[np.float64], seconds: float) -> None:
        """Take as many iterations as there are records, or fewer; see `NormalEquations.iterate`."""
        self.n_done, self.stopped = 0, GOES_ON
        if self._at is None or not np.array_equal(self._at, params):
            self._take(params, *self._assembled(params))
        slope = self._slope(params)
        self._look(params, slope)
        if self._unit == 0.0 and self.stopped == GOES_ON:
            largest = float((self._scale * self.hessian.diagonal() + self._ridge).max(initial=0.0))
            if not np.isfinite(largest):
                self.stopped = NOT_FINITE
                return
            self._unit = largest if largest > 0.0 else 1.0
            self._mu = max(self._mu * self._unit, LEAST_MU)
        while self.stopped == GOES_ON and self.n_done < len(records):
            if not self._step(params, records):
                return
            self._look(params, self._slope(params))

    def _step(self, params: NDArray[np.float64], records: NDArray[np.float64]) -> bool:
        """Try steps until one is taken; whether there is one.  Whatever ends it otherwise leaves all as it was."""
        before, slope = self._value(params, self._half_squares), self._slope(params)
        mu, nu, tries = self._mu, self._nu, 0
        decrease, increase = self._factors
        while True:
            if mu > self._mu_max * self._unit or not np.isfinite(mu):
                self.stopped, self._mu, self._nu = LARGE_MU, mu, nu
                return False
            tries += 1
            step = self._solution(slope, mu)
            if step is not None:
                trial = (params.astype(np.float64) + step).astype(params.dtype)
                found = self._assembled(trial)
                fall = before - self._value(trial, found[0])
                if np.isfinite(fall) and fall > 0.0 and np.isfinite(found[1]).all():
                    break
            mu, nu = mu * (nu if self._by_gain_ratio else increase), nu * 2.0
        ratio = 2.0 * fall / float(step @ (mu * step - slope))
        ratio = ratio if np.isfinite(ratio) and ratio > 0.0 else 1.0
        mu *= max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3) if self._by_gain_ratio else decrease
        self._mu, self._nu = max(mu, LEAST_MU), 2.0
        self._take(trial, *found)
        params[...] = trial
        norm = float(np.linalg.norm(self._slope(params))) / self.total_weight
        records[self.n_done] = self._reported_cost(params), self._mu, norm, tries
        self.n_done += 1
        return True

    def _solution(self, slope: NDArray[np.float64], mu: float) -> NDArray[np.float64] | None:
        """Solve ``(scale J^T J + ridge + mu) step = -slope``; None where that is not positive definite."""
        matrix = self._scale * self.hessian
        matrix[np.diag_indices_from(matrix)] += self._ridge + mu
        with blas_threads.held_at_one():  # so that the bits do not depend on how many there are
            try:
                factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
            except scipy.linalg.LinAlgError:
                return None
            step: NDArray[np.float64] = -scipy.linalg.cho_solve(factor, slope, check_finite=False)
        return step

    def _look(self, params: NDArray[np.float64], slope: NDArray[np.float64]) -> None:
        """Say whether the goal is reached, or the gradient small enough."""
        cost, norm = self._reported_cost(params), float(np.linalg.norm(slope)) / self.total_weight
        if not (np.isfinite(cost) and np.isfinite(norm)):
            self.stopped = NOT_FINITE
        elif cost <= self._goal:
            self.stopped = GOAL_REACHED
        elif norm <= self._min_gradient:
            self.stopped = SMALL_GRADIENT

    # ---- Sums ----

    def _assembled(self, params: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        half_squares, gradient, packed = self._rows.sum_of(tasks.equations, params, self._is_mixed)
        return half_squares, gradient, packed

    def _take(
        self, at: NDArray[np.float64], half_squares: float, gradient: NDArray[np.float64], packed: NDArray[np.float64]
    ) -> None:
        """Take note of what was found at some parameters."""
        self._at, self._half_squares, self._gradient = at.copy(), half_squares, gradient
        self.hessian[np.tril_indices(len(at))] = packed

    def _penalty(self, params: NDArray[np.float64]) -> float:
        p = params.astype(np.float64)
        return 0.5 * float((self._ridge * p) @ p)

    def _value(self, params: NDArray[np.float64], half_squares: float) -> float:
        """Return what is made smaller."""
        return self._scale * half_squares + self._penalty(params)

    def _reported_cost(self, params: NDArray[np.float64]) -> float:
        penalty = self._penalty(params) if self._reports_penalty else 0.0
        return (self._half_squares + penalty) / self.total_weight

    def _slope(self, params: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._scale * self._gradient + self._ridge * params
