"""`SummedEquations`: Levenberg-Marquardt's iterations by J^T J that is summed over the partitions and solved here."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastbp.dask import tasks
from fastbp.dask.rows import AllRows
from fastbp.engine.normal_equations import require_memory_of_equations, ridge_of
from fastbp.engine.threads import blas_threads
from fastbp.kernels.roots import normal_equations as kernel
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.system.memory import require_writable_arrays


class _Sums(NamedTuple):
    """The sums of all rows at some parameters, without scale and penalties."""

    params: NDArray[Any]  # a copy
    half_squares: float
    gradient: NDArray[np.float64]
    hessian: NDArray[np.float64]  # the lower triangle of J^T J


class _Damping(NamedTuple):
    """What an iteration continues from beside the parameters; see `fastbp.kernels.roots.normal_equations`."""

    mu: float
    nu: float
    unit: float


class SummedEquations:
    """What `fastbp.engine.normal_equations.NormalEquations` is to a fit on one machine, with the rules of its kernel.

    Parameters
    ----------
    net : Model
        The network; its loss must be quadratic.
    rows : AllRows
        The rows.
    is_mixed : bool
        Whether the products of J^T J are made in float32 for a network in float64.
    l2_penalty : float, optional
        In place of the network's.

    Raises
    ------
    MemoryError
        If J^T J and its factor do not fit into this machine's memory.
    """

    n_threads = 1
    seconds = 1.0  # of an iteration: each is a call

    def __init__(self, net: Model, rows: AllRows, *, is_mixed: bool, l2_penalty: float | None = None) -> None:
        self._problem, self._rows, self._is_mixed = problem_of(net), rows, is_mixed
        if l2_penalty is not None:
            self._problem = replace(self._problem, penalties=(l2_penalty, 0.0))
        n = net.n_params
        require_memory_of_equations(n, 32 * n * n)  # they, their factor, and as many numbers on their way here
        self.total_weight = rows.total_weight
        self.stopped, self.n_done = kernel.GOES_ON, 0
        self._sums: _Sums | None = None
        self._hold: AbstractContextManager[None] | None = None
        self.set_objective()

    # ---- The objective; see `NormalEquations` ------------------------------------------------------------------------

    def set_objective(self, scale: float = 1.0, ridge: float | None = None) -> None:
        """Set what is made smaller."""
        self._scale, self._reports_penalty = scale, ridge is None
        of_network = ridge_of(self._problem, self.total_weight)
        self._ridge = of_network if ridge is None else np.full(len(of_network), ridge)

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
        """Set how `mu` changes and when to stop."""
        self._by_gain_ratio, self._factors = by_gain_ratio, factors
        self._mu_max, self._min_gradient, self._goal = mu_max, min_gradient, goal
        self._damping = _Damping(mu, 2.0, float(not by_gain_ratio))

    @property
    def state(self) -> NDArray[np.float64]:
        """A copy of what an iteration continues from, besides the parameters: (3,)."""
        return np.array(self._damping)

    @state.setter
    def state(self, values: NDArray[np.float64]) -> None:
        self._damping, self._sums = _Damping(*values.tolist()), None

    @property
    def hessian(self) -> NDArray[np.float64]:
        """J^T J of the last parameters, (n_params, n_params), whose lower triangle is filled in."""
        return self._known.hessian

    @property
    def sum_of_squares(self) -> float:
        """The weighted sum of e_x^2 at the last parameters."""
        return 2.0 * self._known.half_squares

    @property
    def _known(self) -> _Sums:
        assert self._sums is not None
        return self._sums

    def forget_iterations(self) -> None:
        """Take note that what the last call did is not to count."""
        self.n_done, self._sums = 0, None

    def end(self) -> None:
        """Let go of BLAS's threads, when there are no more calls."""
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.__exit__(None, None, None)

    # ---- Iterations --------------------------------------------------------------------------------------------------

    def iterate(self, params: NDArray[Any], records: NDArray[np.float64], seconds: float) -> None:
        """Take as many iterations as `records` (n, 4) has rows, or fewer; `n_done` are finished, whatever ends it."""
        require_writable_arrays(params)  # between two calls a callback may have changed that
        if self._hold is None:
            self._hold = blas_threads.held_at_one()  # by their number the bits of a factor would change
            self._hold.__enter__()
        self.n_done, self.stopped = 0, kernel.GOES_ON
        with np.errstate(all="ignore"):  # the rules look whether numbers are finite
            if self._sums is None or not np.array_equal(self._sums.params, params):
                self._sums = self._sums_at(params)
            self._look()
            if self._damping.unit == 0.0 and self.stopped == kernel.GOES_ON:
                self._scale_mu()
            while self.stopped == kernel.GOES_ON and self.n_done < len(records):
                before = params.copy(), self._sums, self._damping, self.n_done
                try:
                    self._take_step(params, records)
                except BaseException:  # Ctrl-C may come between any two lines
                    params[...], self._sums, self._damping, self.n_done = before
                    raise

    def _take_step(self, params: NDArray[Any], records: NDArray[np.float64]) -> None:
        """Try steps until one is taken, and J^T J known there."""
        (mu, nu, unit), slope, tries = self._damping, self._slope(), 0
        decrease, increase = self._factors
        before = self._scale * self._known.half_squares + self._penalty(params)
        while True:
            if mu > self._mu_max * unit or not math.isfinite(mu):
                self._damping, self.stopped = _Damping(mu, nu, unit), kernel.LARGE_MU
                return
            trial, ratio = self._try_step(params, slope, mu, before)
            tries += 1
            if ratio > 0.0:
                sums = self._sums_at(trial)
                if math.isfinite(float(np.sum((self._scale * sums.gradient) ** 2))):
                    break
            mu *= nu if self._by_gain_ratio else increase
            nu *= 2.0
        gain = 2.0 * ratio - 1.0
        mu *= max(1.0 / 3.0, 1.0 - gain * gain * gain) if self._by_gain_ratio else decrease
        self._damping, self._sums = _Damping(max(mu, kernel.LEAST_MU), 2.0, unit), sums
        params[...] = trial
        self._look()
        records[self.n_done] = self._cost(), self._damping.mu, self._gradient_norm(), tries
        self.n_done += 1

    def _try_step(
        self, params: NDArray[Any], slope: NDArray[np.float64], mu: float, before: float
    ) -> tuple[NDArray[Any], float]:
        """Return the parameters after a step, and how much F fell over how much it was to fall.

        The latter is nothing above 0 if it did not, or there is no step.
        """
        matrix = self._scale * self._known.hessian
        matrix.ravel()[:: len(params) + 1] += self._ridge + mu
        # The lower triangle by rows is LAPACK's upper one by columns.
        factor, info = lapack.dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
        if info != 0:
            return params, -1.0
        step, _ = lapack.dpotrs(factor, -slope, lower=0)
        trial = (params.astype(np.float64) + step).astype(params.dtype)
        (half_squares,) = self._rows.sum_of(tasks.half_squares, trial, self._is_mixed)
        fall = before - (self._scale * half_squares + self._penalty(trial))
        if not (math.isfinite(fall) and fall > 0.0):
            return trial, -1.0
        expected = float(np.sum(step * (mu * step - slope)))
        ratio = 2.0 * fall / expected if expected != 0.0 else math.inf
        return trial, ratio if math.isfinite(ratio) and ratio > 0.0 else 1.0

    def _look(self) -> None:
        """Whether the goal is reached, or the gradient small enough."""
        cost, norm = self._cost(), self._gradient_norm()
        if not (math.isfinite(cost) and math.isfinite(norm)):
            self.stopped = kernel.NOT_FINITE
        elif cost <= self._goal:
            self.stopped = kernel.GOAL_REACHED
        elif norm <= self._min_gradient:
            self.stopped = kernel.SMALL_GRADIENT

    def _scale_mu(self) -> None:
        """Make mu a number to add, from a fraction of the largest element of the diagonal."""
        largest = float(np.max(self._scale * self.hessian.diagonal() + self._ridge))
        if not math.isfinite(largest):
            self.stopped = kernel.NOT_FINITE
            return
        unit = largest if largest > 0.0 else 1.0
        self._damping = _Damping(max(self._damping.mu * unit, kernel.LEAST_MU), self._damping.nu, unit)

    # ---- Sums --------------------------------------------------------------------------------------------------------

    def _sums_at(self, params: NDArray[Any]) -> _Sums:
        """Sum up over all rows."""
        half_squares, gradient, packed = self._rows.sum_of(tasks.equations, params, self._is_mixed)
        n = len(params)
        hessian = np.zeros((n, n))
        for i in range(n):
            begin = i * (i + 1) // 2
            hessian[i, : i + 1] = packed[begin : begin + i + 1]
        return _Sums(params.copy(), half_squares, gradient, hessian)

    def _penalty(self, params: NDArray[Any]) -> float:
        """Half of the ridge times the squares; pairwise, which is in the same order wherever the arrays lie."""
        return 0.5 * float(np.sum(self._ridge * params.astype(np.float64) ** 2))

    def _cost(self) -> float:
        """Return what is reported."""
        penalty = self._penalty(self._known.params) if self._reports_penalty else 0.0
        return (self._known.half_squares + penalty) / self.total_weight

    def _slope(self) -> NDArray[np.float64]:
        """Return the gradient of what is made smaller."""
        return self._scale * self._known.gradient + self._ridge * self._known.params.astype(np.float64)

    def _gradient_norm(self) -> float:
        return math.sqrt(float(np.sum(self._slope() ** 2))) / self.total_weight
