"""The solver 'lbfgs': SciPy's L-BFGS-B on the cost of the whole data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastbp.engine.batch_cost import BatchCost
from fastbp.neural_network.errors import diverged, warn


def minimise(estimator: Any, cost: BatchCost, callback: Callable[[NDArray[Any]], None] | None) -> None:
    """Minimise from the network's parameters and leave the result, `n_iter_` and `loss_` in the estimator.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator, its `_network` ready.
    cost : BatchCost
        The cost as a function of the parameters.
    callback : callable or None
        Called with the parameters after every iteration.

    Raises
    ------
    FitDivergedError
        If the result is not finite; the parameters stay as they were.
    """
    net = estimator._network
    result = scipy.optimize.minimize(
        lambda x: _in_double(cost.value_and_grad(x.astype(net.dtype))),
        net.params,
        method="L-BFGS-B",
        jac=True,
        callback=callback,
        options={
            "maxfun": estimator.max_fun,
            "maxiter": estimator.max_iter,
            "gtol": estimator.tol,
            **_printing(estimator.verbose),
        },
    )
    if not (np.isfinite(result.fun) and np.isfinite(result.x).all()):
        raise diverged("L-BFGS")
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    if result.status != 0:
        warn(_unfinished(result, estimator.n_iter_, estimator.max_iter), ConvergenceWarning)
    estimator.loss_ = result.fun
    net.params[...] = result.x


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
