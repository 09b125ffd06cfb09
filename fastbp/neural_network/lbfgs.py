"""The solver 'lbfgs': SciPy's L-BFGS-B on the cost of the whole data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy
import scipy.optimize
from numpy.typing import NDArray

from fastbp.engine.batch_cost import BatchCost
from fastbp.neural_network.errors import diverged


class Settings(Protocol):
    """The parameters of an estimator that the solver goes by."""

    max_fun: int
    max_iter: int
    tol: float
    verbose: Any


class Minimum(NamedTuple):
    """What was found."""

    params: NDArray[np.float64]
    loss: float
    n_iter: int
    shortfall: str | None  # why it is no minimum, if it is none


def minimise(
    start: NDArray[Any], cost: BatchCost, settings: Settings, callback: Callable[[NDArray[Any]], None] | None
) -> Minimum:
    """Minimise from some parameters on.

    Parameters
    ----------
    start : ndarray, shape (n_params,)
        The first parameters, of the network's dtype; they stay as they are.
    cost : BatchCost
        The cost as a function of the parameters.
    settings : Settings
        When to stop, and whether to print.
    callback : callable or None
        Called with the parameters after every iteration.

    Raises
    ------
    FitDivergedError
        If the result is not finite.
    """
    result = scipy.optimize.minimize(
        lambda x: _in_double(cost.value_and_grad(x.astype(start.dtype))),
        start,
        method="L-BFGS-B",
        jac=True,
        callback=callback,
        options={
            "maxfun": settings.max_fun,
            "maxiter": settings.max_iter,
            "gtol": settings.tol,
            **_printing(settings.verbose),
        },
    )
    if not (np.isfinite(result.fun) and np.isfinite(result.x).all()):
        raise diverged("L-BFGS")
    n_iter = min(result.nit, settings.max_iter)
    shortfall = _unfinished(result, n_iter, settings.max_iter) if result.status != 0 else None
    return Minimum(result.x, result.fun, n_iter, shortfall)


def _in_double(value_and_grad: tuple[float, NDArray[Any]]) -> tuple[float, NDArray[np.float64]]:
    cost, grad = value_and_grad
    return cost, grad.astype(np.float64, copy=False)


def _unfinished(result: Any, n_iter: int, max_iter: int) -> str:
    """Return the text of scikit-learn's `_check_optimize_result`, whose warning would point at this module."""
    cure = f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
    return (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n{result.message}\n"
        f"{cure if n_iter == max_iter else ''}\n"
        "You might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )


def _printing(verbose: Any) -> dict[str, int]:
    """Return the option by which SciPy prints; from 1.15 on it has none."""
    major, minor = (int(part) for part in scipy.__version__.split(".")[:2])
    if (major, minor) >= (1, 15):
        return {}
    return {"iprint": 1 if verbose is True or verbose >= 1 else -1}
