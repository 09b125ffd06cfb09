"""Gradients of a fitted estimator: of its loss for its parameters, and of its outputs for their inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils.validation import validate_data

from fastbp.engine.batch_cost import BatchCost
from fastbp.model.definition import problem_of
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.validation.data import all_finite
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import as_dense, sparse_rows

SPARSE_FORMATS = ("csr", "csc")


class Gradients:
    """The methods of an estimator that differentiate it."""

    def loss_gradient(
        self: Any, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        """Return the loss of some data and its gradient, penalties included, at the model's parameters.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        loss : float
            What training reports of these data as one mini-batch.
        coef_gradients : list of ndarray
            The gradient with respect to each array of `coefs_`.
        intercept_gradients : list of ndarray
            The gradient with respect to each array of `intercepts_`.

        Examples
        --------
        >>> from fastbp.neural_network import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit([[0], [1]], [1.0, 3.0])
        >>> loss, coef_gradients, intercept_gradients = model.loss_gradient([[0.5]], [2.0])
        >>> [gradient.shape for gradient in coef_gradients]
        [(1, 3), (3, 1)]
        """
        net = self.network_
        data = self._checked_data(X, y, sample_weight)
        cost = BatchCost(problem_of(net), data, self._objective(), n_threads=self.n_threads)
        loss, grad = cost.value_and_grad(net.params)
        shaped = Network(net.sizes, initializer="zeros", dtype=net.dtype)
        shaped.params[...] = grad
        return loss, list(shaped.weights), list(shaped.biases)

    def input_gradient(self: Any, X: MatrixLike) -> NDArray[Any]:
        """Return the derivative of each output neuron with respect to each input: what a prediction depends on.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, ``n_outputs_``, n_features)
            ``[i, j, k]`` is d output j / d feature k at sample i.  A binary classifier has one output, the probability
            of ``classes_[1]``.

        Examples
        --------
        >>> from fastbp.neural_network import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit([[0], [1]], [1.0, 3.0])
        >>> model.input_gradient([[0.5], [0.6]]).shape
        (2, 1, 1)
        """
        net = self.network_
        valid = validate_data(self, X, accept_sparse=SPARSE_FORMATS, reset=False)
        X = np.ascontiguousarray(as_dense(sparse_rows(valid)) if sparse.issparse(valid) else valid, net.dtype)
        _require_finite_outputs(passes_of(net).outputs(X, self.n_threads))
        gradient: NDArray[Any] = net.input_jacobian(X, n_threads=self.n_threads)
        return gradient


def _require_finite_outputs(out: NDArray[Any]) -> None:
    """Refuse inputs whose outputs have no derivative."""
    if not all_finite(out):
        row = int(np.argmin(np.isfinite(out).all(axis=1)))
        raise ValueError(
            f"`X` must give finite outputs, because others have no derivative; row {row} gives NaN or infinity. Scale "
            "the inputs as those of `fit` were."
        )
