"""`InputLinearization`: a forward pass with derivatives by the inputs, kept for gradients of functions of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.engine import input_derivatives as engine
from fastbp.engine.passes import Passes
from fastbp.model.definition import Definition
from fastbp.validation.residuals import output_errors

_PIECES_OF_LINES = ("identity", "relu", "leaky_relu")


class InputLinearization:
    """Outputs and their derivatives by the inputs, and gradients of functions of them.

    What `Network.linearize_inputs` returns.  It keeps the inputs and parameters that it was made for, so that what is
    done to the network afterwards does not matter.  It belongs to its process: it can be neither pickled nor copied.

    Parameters
    ----------
    net, frame, params, X, results, n_threads
        What the method makes it of.

    Attributes
    ----------
    value : ndarray, shape (n, n_outputs)
        The outputs u.
    jacobian : ndarray, shape (n, n_outputs, n_features)
        Their first derivatives by the inputs.
    laplacian : ndarray, shape (n, n_outputs)
        The sums of their second derivatives.

    Examples
    --------
    >>> import fastbp as bp
    >>> bp.Network([2, 3, 1], activation="tanh", seed=0).linearize_inputs([[0.5, -1.0], [2.0, 0.0]])
    <InputLinearization: 2 rows, 2 inputs, 1 outputs>
    """

    def __init__(
        self,
        net: Definition,
        frame: engine.InputFrame,
        params: NDArray[Any],
        X: NDArray[Any],
        results: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
        n_threads: int | None,
    ) -> None:
        self.value, self.jacobian, self.laplacian = results
        self._frame, self._params, self._X, self._n_threads = frame, params, X, n_threads
        self._shape, self._dtype = (len(X), net.sizes[-1], net.sizes[0]), net.dtype
        self._is_bent = any(name not in _PIECES_OF_LINES for runs in net.activations for name, _ in runs)
        self._lock = threading.Lock()  # the frame serves one call at a time
        frame.call(
            engine.DERIVATIVES,
            params,
            X,
            directions=params,
            out=self.value,
            jacobians=self.jacobian,
            laplacians=self.laplacian,
            n_threads=n_threads,
        )

    def gradient(
        self,
        of_value: ArrayLike | None = None,
        of_jacobian: ArrayLike | None = None,
        of_laplacian: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Return the gradient by the parameters of a function of `value`, `jacobian` and `laplacian`.

        It costs about 2 (n_features + 2) forward passes, and may be asked for any number of times.

        Parameters
        ----------
        of_value : array_like, shape (n, n_outputs), optional
            The function's derivative by `value`.
        of_jacobian : array_like, shape (n, n_outputs, n_features), optional
            Its derivative by `jacobian`.
        of_laplacian : array_like, shape (n, n_outputs), optional
            Its derivative by `laplacian`.  What is missing is 0.  Of a single output the axis may be left out.

        Returns
        -------
        ndarray, shape (n_params,)
            The gradient, laid out as `params`, summed over the rows and without the network's penalties.

        Raises
        ------
        TypeError, ValueError
            If one has a wrong dtype or shape, or is not finite; if all are missing; or if `of_laplacian` is given
            although all activations are pieces of lines.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([1, 1], output="sine", initializer="zeros")
        >>> net.params = [2.0, 0.0]  # sin(w x), whose derivative at 0 is w
        >>> at = net.linearize_inputs([[0.0]])
        >>> at.jacobian, at.gradient(of_jacobian=[[[1.0]]])
        (array([[[2.]]]), array([1., 0.]))
        """
        if of_value is None and of_jacobian is None and of_laplacian is None:
            raise ValueError("One of `of_value`, `of_jacobian` and `of_laplacian` must be given; got none.")
        n, n_outputs, n_features = self._shape
        return self._backward(
            output_errors(of_value, (n, n_outputs), self._dtype, "of_value"),
            output_errors(of_jacobian, (n, n_outputs, n_features), self._dtype, "of_jacobian"),
            output_errors(of_laplacian, (n, n_outputs), self._dtype, "of_laplacian"),
        )

    def _backward(
        self, of_value: NDArray[Any] | None, of_jacobian: NDArray[Any] | None, of_laplacian: NDArray[Any] | None
    ) -> NDArray[Any]:
        if of_laplacian is not None and not self._is_bent:
            raise ValueError(
                "The derivative by the Laplacian must be None for a network whose activations are all pieces of lines "
                "(identity, relu, leaky_relu): its Laplacian is 0 whatever the parameters are, so that nothing can be "
                "learned from it. Use tanh, sine, silu, gelu or softplus."
            )
        with self._lock:
            self._frame.call(
                engine.GRADIENT,
                self._params,
                self._X,
                directions=self._params,
                out=of_value,
                jacobians=of_jacobian,
                laplacians=of_laplacian,
                n_threads=self._n_threads,
            )
            return self._frame.gradient

    def __repr__(self) -> str:
        n, n_outputs, n_features = self._shape
        return f"<InputLinearization: {n} rows, {n_features} inputs, {n_outputs} outputs>"


def mean_gradient(
    at: InputLinearization, errors: Sequence[NDArray[Any] | None], weights: NDArray[Any] | None
) -> NDArray[Any]:
    """Return the gradient of a (weighted) mean over rows, of whose terms valid errors are the derivatives."""
    if weights is None:
        grad = at._backward(*errors)
        grad /= len(at.value)
        return grad
    shares = (weights / weights.sum(dtype=np.float64)).astype(weights.dtype)
    return at._backward(*(None if e is None else e * shares.reshape(-1, *[1] * (e.ndim - 1)) for e in errors))


def give_back(at: InputLinearization, passes: Passes) -> None:
    """Leave the buffers of a linearization that nobody uses any more to the next one."""
    passes.give_back(at._frame)
