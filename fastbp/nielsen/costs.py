"""The logistic function and the two cost classes of Nielsen's text; see `fastbp.nielsen`, which has them all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from fastbp.functions.names import LossName


def sigmoid(z: ArrayLike) -> Any:
    """Return the logistic function ``1 / (1 + exp(-z))`` of each element of `z`, without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    return expit(z)


def sigmoid_prime(z: ArrayLike) -> Any:
    """Return the derivative of the logistic function, ``sigmoid(z) (1 - sigmoid(z))``, at each element of `z`.

    Examples
    --------
    >>> sigmoid_prime(np.array([0.0, 15.0])).round(9)
    array([2.50e-01, 3.06e-07])
    """
    a = sigmoid(z)
    return a * (1 - a)


def vectorized_result(j: int, n_outputs: int = 10) -> NDArray[np.float64]:
    """Return the column (`n_outputs`, 1) that is 1 at `j` and 0 elsewhere.

    Examples
    --------
    >>> vectorized_result(2).ravel()
    array([0., 0., 1., 0., 0., 0., 0., 0., 0., 0.])
    """
    e = np.zeros((n_outputs, 1))
    e[j] = 1.0
    return e


class QuadraticCost:
    """The cost ``1/2 sum (a - y)^2`` of one sample.

    Examples
    --------
    >>> QuadraticCost.fn(np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]]))
    np.float64(2.5)
    """

    @staticmethod
    def fn(a: NDArray[Any], y: NDArray[Any]) -> Any:
        """Return the cost of outputs `a` with targets `y`, both (n_outputs, 1).

        Examples
        --------
        >>> QuadraticCost.fn(np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]]))
        np.float64(2.5)
        """
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    def delta(z: NDArray[Any], a: NDArray[Any], y: NDArray[Any]) -> Any:
        """Return dC/dz of the output layer (n_outputs, 1), with weighted inputs `z`, outputs `a` and targets `y`.

        Examples
        --------
        >>> QuadraticCost.delta(np.array([[0.0]]), np.array([[0.5]]), np.array([[1.0]]))
        array([[-0.125]])
        """
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """The cost ``-sum (y log a + (1 - y) log (1 - a))`` of one sample.

    Examples
    --------
    >>> CrossEntropyCost.fn(np.array([[0.5], [1.0]]), np.array([[1.0], [1.0]]))
    np.float64(0.693147)
    """

    @staticmethod
    def fn(a: NDArray[Any], y: NDArray[Any]) -> Any:
        """Return the cost of outputs `a` with targets `y`, both (n_outputs, 1).

        Examples
        --------
        >>> CrossEntropyCost.fn(np.array([[0.5], [1.0]]), np.array([[1.0], [1.0]]))
        np.float64(0.693147)
        """
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 is NaN, and counts as the 0 that it is
            return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    def delta(z: NDArray[Any], a: NDArray[Any], y: NDArray[Any]) -> Any:
        """Return dC/dz of the output layer (n_outputs, 1), `a` - `y`; `z` is there because other costs need it.

        Examples
        --------
        >>> CrossEntropyCost.delta(np.array([[0.0]]), np.array([[0.5]]), np.array([[1.0]]))
        array([[-0.5]])
        """
        return a - y


COMPILED_LOSSES: dict[type, LossName] = {
    QuadraticCost: "quadratic",
    CrossEntropyCost: "cross_entropy",
}  # what the kernels call them


def as_class(cost: Any) -> type:
    """Return the class of a cost, which may be a class or an instance."""
    return cost if isinstance(cost, type) else type(cost)


def name_in_files(cost: Any) -> str:
    """Return the name by which a file knows a cost, or raise if a file cannot hold it."""
    found = as_class(cost)
    if found not in COMPILED_LOSSES:
        raise TypeError(
            "`cost` must be QuadraticCost or CrossEntropyCost for the network to be saved, since a file holds no code; "
            f"got {found.__name__}. Set one of them before, and your own again after loading: the weights do not "
            "depend on it."
        )
    return found.__name__
