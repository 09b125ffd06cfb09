"""Data that a network is to be applied to, checked."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.functions.own import Activation, Loss
from fastbp.model.definition import Definition
from fastbp.validation.arrays import require_columns
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import Rows, as_dense


def checked_rows(net: Definition, X: MatrixLike, argument: str = "X") -> Rows:
    """Return valid inputs, sparse or not, with the columns that the network was fitted on, or raise."""
    if net.feature_names is not None:
        require_columns(X, net.feature_names, argument)
    return validation.inputs(X, net.sizes[0], net.dtype, argument)


def checked_inputs(net: Definition, X: MatrixLike, argument: str = "X") -> NDArray[Any]:
    """Return the same as an array."""
    return as_dense(checked_rows(net, X, argument))


def checked(
    net: Definition, X: MatrixLike, Y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], validation.Targets, NDArray[Any] | None]:
    """Return valid inputs, as an array, targets and weights, or raise."""
    rows, targets, weights = checked_data(net, X, Y, sample_weight)
    return as_dense(rows), targets, weights


def checked_data(
    net: Definition, X: MatrixLike, Y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Rows, validation.Targets, NDArray[Any] | None]:
    """Return valid inputs, sparse or not, targets and weights, or raise.

    They are views that were made before they were looked at: if the user sets the shape of an array of theirs, at
    any time, these keep what was checked.
    """
    rows = checked_rows(net, X)
    n_rows = len(rows)
    targets = validation.targets(Y, n_rows, net.sizes[-1], net.dtype, net.loss, softmax=net.has_softmax)
    weights = validation.sample_weights(sample_weight, n_rows, net.dtype)
    return rows, targets, weights


def require_derivatives(net: Definition, order: int, method: str, *, of_loss: bool = False) -> None:
    """Refuse what needs second or third derivatives of a user's own functions that have none.

    Parameters
    ----------
    net : Definition
        The network.
    order : int
        2, or 3 for the third derivatives of activations as well.
    method : str
        What needs them.
    of_loss : bool
        Whether the loss's second derivative is needed.
    """
    for activation in {name for runs in net.activations for name, _ in runs if isinstance(name, Activation)}:
        for name in ("d2f", "d3f")[: order - 1]:
            if getattr(activation, name) is None:
                raise ValueError(
                    f"`{method}` needs `{name}` of bp.Activation {activation.name!r}, a derivative that it was made "
                    f"without. Pass {name}=..., a function compiled by Numba, when you make it."
                )
    if of_loss and isinstance(net.loss, Loss) and net.loss.second_derivative is None:
        raise ValueError(
            f"`{method}` needs the second derivative of bp.Loss {net.loss.name!r}, which was made without. Pass "
            "second_derivative=..., a function (a, y) -> d2C/da2 compiled by Numba, when you make it."
        )
