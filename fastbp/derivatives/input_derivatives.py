"""Derivatives of the outputs by the inputs up to the second, and gradients of functions of them: physics losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.linearized_inputs import InputLinearization, give_back, mean_gradient
from fastbp.derivatives.row_results import FEWER, result_for
from fastbp.engine import input_derivatives as engine
from fastbp.model.checks import checked_inputs, checked_rows, require_derivatives
from fastbp.model.definition import Definition
from fastbp.model.model import Model, chosen_params
from fastbp.system.memory import require_memory, require_own_shape
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.residuals import output_errors, residual_result, residual_terms

# (X, u, du, lap) -> each row's cost, and its derivatives by u, du and lap, None for 0
Residual = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], Any]


class InputDerivatives(NamedTuple):
    """Outputs and their derivatives by the inputs, as `Network.input_derivatives` returns them.

    Attributes
    ----------
    value : ndarray, shape (n, n_outputs)
        The outputs.
    jacobian : ndarray, shape (n, n_outputs, n_features)
        Their first derivatives.
    laplacian : ndarray, shape (n, n_outputs)
        The sums of their second derivatives.

    Examples
    --------
    >>> import fastbp as bp
    >>> found = bp.Network([2, 3, 1], activation="tanh", seed=0).input_derivatives([[0.5, -1.0]])
    >>> found.value.shape, found.jacobian.shape, found.laplacian.shape
    ((1, 1), (1, 1, 2), (1, 1))
    """

    value: NDArray[Any]
    jacobian: NDArray[Any]
    laplacian: NDArray[Any]


class DerivativesByInputs(Model):
    """The part of a `fastbp.Network` that differentiates its outputs twice by its inputs."""

    def laplacian(
        self, X: MatrixLike, *, params: ArrayLike | None = None, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the Laplacian of each output: the sum of its second derivatives by the inputs.

        Values, first derivatives in r directions and Laplacians go through the layers together: it costs r + 2 forward
        passes, in which r is the number of inputs.  Where the first layer has fewer neurons than inputs, r is their
        number instead, as the Laplacian is the same in rotated coordinates, of which only so many matter.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, as for `predict`.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  They do not change a bit of the result.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            Laplacians, in the network's dtype.  At a kink of an activation (relu, leaky_relu; of elu f'' jumps) the
            derivatives are those of the branch taken: the Laplacian of a relu network is 0.

        Raises
        ------
        TypeError, ValueError
            If X has a wrong dtype or shape, no row, or holds NaN or infinity; or if an `Activation` of one's own has no
            `d2f`.
        MemoryError
            If the result does not fit into the memory that is available.

        References
        ----------
        Li, Ye, Zhang et al., "A computational framework for neural network-based variational Monte Carlo with Forward
        Laplacian", Nature Machine Intelligence 6 (2024).

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], output="exp", initializer="zeros")
        >>> net.params = [1.0, 2.0, 0.0]  # exp(x + 2 y), whose Laplacian is 5 exp(x + 2 y)
        >>> net.laplacian([[0.0, 0.0]])
        array([[5.]])
        """
        require_derivatives(self, 2, "laplacian")
        require_own_shape(self)
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        n_features, width = self.sizes[0], self.sizes[1]
        directions = chosen[: n_features * width]
        n_tangents = min(n_features, width)
        if n_tangents < n_features:
            directions = _fewer_directions(directions.reshape(n_features, width))
        result = _new(self, (len(rows), self.sizes[-1]))
        frame = self._passes.take_made("laplacian", rows, engine.maker(n_tangents))
        frame.call(engine.LAPLACIAN, chosen, rows, directions=directions, laplacians=result, n_threads=n_threads)
        self._passes.give_back(frame)
        return result

    def input_derivatives(
        self, X: MatrixLike, *, params: ArrayLike | None = None, n_threads: int | None = None
    ) -> InputDerivatives:
        """Return outputs, first derivatives and Laplacians, in one pass.

        It costs about n_features + 2 forward passes.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, as for `predict`.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        InputDerivatives
            `value` (n, n_outputs), `jacobian` (n, n_outputs, n_features) and `laplacian` (n, n_outputs).  At kinks they
            are those of the branch taken, as for `laplacian`.

        Raises
        ------
        TypeError, ValueError, MemoryError
            As `laplacian`.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], output="exp", initializer="zeros")
        >>> net.params = [1.0, 2.0, 0.0]
        >>> value, jacobian, laplacian = net.input_derivatives([[0.0, 0.0]])
        >>> value, jacobian, laplacian
        (array([[1.]]), array([[[1., 2.]]]), array([[5.]]))
        """
        require_derivatives(self, 2, "input_derivatives")
        require_own_shape(self)
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        value, jacobian, laplacian = _new_results(self, len(rows))
        frame = self._passes.take_made("input derivatives", rows, engine.maker(self.sizes[0]))
        frame.call(
            engine.DERIVATIVES,
            chosen,
            rows,
            directions=chosen,
            out=value,
            jacobians=jacobian,
            laplacians=laplacian,
            n_threads=n_threads,
        )
        self._passes.give_back(frame)
        return InputDerivatives(value, jacobian, laplacian)

    def input_hessian(
        self,
        X: MatrixLike,
        out: NDArray[Any] | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return all second derivatives of each output by the inputs.

        One pass forward with all first derivatives and one backward for each output, which costs about n_features +
        n_outputs + 2 forward passes, and n_features^2 multiplications for each neuron and output.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, as for `predict`.
        out : ndarray, shape (n, n_outputs, n_features, n_features), optional
            Where the result goes: of the network's dtype, contiguous.  To fill one again and again is quicker.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n, n_outputs, n_features, n_features)
            Hessian matrices, exactly symmetric; at kinks those of the branch taken, as for `laplacian`.

        Raises
        ------
        TypeError, ValueError, MemoryError
            As `laplacian`.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], output="exp", initializer="zeros")
        >>> net.params = [1.0, 2.0, 0.0]
        >>> net.input_hessian([[0.0, 0.0]])
        array([[[[1., 2.],
                 [2., 4.]]]])
        """
        require_derivatives(self, 2, "input_hessian")
        require_own_shape(self)
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        n_features = self.sizes[0]
        shape = self.sizes[-1], n_features, n_features
        result = result_for(self, rows, shape, "The second derivatives by the inputs", FEWER, out, chosen)
        frame = self._passes.take_made("input hessian", rows, engine.maker(n_features, hessian=True))
        frame.call(engine.HESSIAN, chosen, rows, directions=chosen, out=result, n_threads=n_threads)
        self._passes.give_back(frame)
        return result

    def linearize_inputs(
        self, X: MatrixLike, *, params: ArrayLike | None = None, n_threads: int | None = None
    ) -> InputLinearization:
        """Return outputs, first derivatives and Laplacians, and what gives gradients of functions of them.

        For costs that `residual_value_and_grad` cannot express, such as those of several rows at once.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Inputs, as for `predict`; sparse ones are made dense.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  They do not change a bit of the result.

        Returns
        -------
        InputLinearization
            `value`, `jacobian` and `laplacian`, as `input_derivatives` returns them, and the method `gradient`.  The
            forward pass is kept if it takes at most 64 MiB; otherwise `gradient` makes it again.

        Raises
        ------
        TypeError, ValueError, MemoryError
            As `laplacian`; an `Activation` of one's own needs `d3f` as well.

        Examples
        --------
        The gradient of the mean squared Laplacian:

        >>> import fastbp as bp, numpy as np
        >>> net = bp.Network([2, 8, 1], activation="tanh", seed=0)
        >>> X = np.random.default_rng(0).random((50, 2))
        >>> at = net.linearize_inputs(X)
        >>> at.gradient(of_laplacian=2 * at.laplacian / len(X)).shape == net.params.shape
        True
        """
        return self._linearized(self._rows_to_linearize(X, "linearize_inputs"), params, n_threads)

    def residual_value_and_grad(
        self,
        X: MatrixLike,
        residual: Residual,
        params: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, NDArray[Any]]:
        """Return the (weighted) mean over rows of a function of u, du/dx and the Laplacian, and its gradient.

        What a physics-informed loss needs: the outputs u are to obey a differential equation at the rows of X, and the
        function says how far they are from it.  It costs about 3 (n_features + 2) forward passes, and one call of
        `residual` for all rows.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Inputs, as for `predict`; sparse ones are made dense.
        residual : callable
            ``residual(X, u, du, lap)`` of arrays (n, n_features), (n, n_outputs), (n, n_outputs, n_features) and (n,
            n_outputs), all of the network's dtype, returns the cost of each row (n,), and the derivatives of a row's
            cost by its u, du and lap, of their shapes; None stands for 0, and of a single output the axis may be left
            out.  Plain NumPy: it is called once, with all rows.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        sample_weight : array_like, shape (n,), optional
            How often each row counts.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  They do not change a bit of the result.

        Returns
        -------
        cost : float
            The mean; infinite or NaN where a row's cost is, and then all of `grad` is NaN.  The network's penalties
            are not in it, so that several such costs can be added up.
        grad : ndarray, shape (n_params,)
            Its gradient, laid out as `params`, a new array.

        Raises
        ------
        TypeError, ValueError, MemoryError
            As `laplacian`; an `Activation` of one's own needs `d3f` as well.  If `residual` returns other shapes or
            dtypes, or derivatives that are not finite; if it has a derivative by the Laplacian although all activations
            are pieces of lines, so that the Laplacian is 0.

        References
        ----------
        Raissi, Perdikaris & Karniadakis, "Physics-informed neural networks", Journal of Computational Physics 378
        (2019).

        Examples
        --------
        The equation u_xx + u_yy = 1:

        >>> import fastbp as bp, numpy as np
        >>> def residual(X, u, du, lap):
        ...     r = lap - 1
        ...     return (r**2).sum(axis=1), None, None, 2 * r
        >>> net = bp.Network([2, 1], output="exp", initializer="zeros")
        >>> net.params = [1.0, 2.0, 0.0]
        >>> net.residual_value_and_grad([[0.0, 0.0]], residual)
        (16.0, array([16., 32., 40.]))
        """
        if not callable(residual):
            raise TypeError(f"`residual` must be a function (X, u, du, lap); got {type(residual).__name__}.")
        rows = self._rows_to_linearize(X, "residual_value_and_grad")
        n, n_features, n_outputs = len(rows), self.sizes[0], self.sizes[-1]
        weights = validation.sample_weights(sample_weight, n, self.dtype)
        at = self._linearized(rows, params, n_threads)
        terms, *errors = residual_result(residual(rows, at.value, at.jacobian, at.laplacian))
        cost = _mean(residual_terms(terms, n, self.dtype), weights)
        if not math.isfinite(cost):
            grad = np.full(self.n_params, np.nan, self.dtype)
        else:
            shapes = (n, n_outputs), (n, n_outputs, n_features), (n, n_outputs)
            valid = [
                output_errors(values, shape, self.dtype, f"residual(...)[{place}]")
                for place, (values, shape) in enumerate(zip(errors, shapes, strict=True), 1)
            ]
            grad = mean_gradient(at, valid, weights)
        give_back(at, self._passes)
        return cost, grad

    def _rows_to_linearize(self, X: MatrixLike, method: str) -> NDArray[Any]:
        """Return valid inputs, for a gradient, which needs third derivatives of activations."""
        require_derivatives(self, 3, method)
        require_own_shape(self)
        return checked_inputs(self, X)

    def _linearized(self, X: NDArray[Any], params: ArrayLike | None, n_threads: int | None) -> InputLinearization:
        """Make the forward pass for valid inputs, of which it keeps a copy as of the parameters."""
        chosen = chosen_params(self, params)
        frame = self._passes.take_made("input linearization", X, engine.maker(self.sizes[0], keeps=True))
        return InputLinearization(self, frame, chosen.copy(), X.copy(), _new_results(self, len(X)), n_threads)


# ---- Results ---------------------------------------------------------------------------------------------------------


def _new(net: Definition, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array for a result, if it fits into the memory."""
    n_bytes = math.prod(shape) * net.dtype.itemsize
    require_memory(n_bytes, f"A result of shape {shape}", "Pass fewer rows at a time.")
    return np.empty(shape, net.dtype)


def _new_results(net: Definition, n: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return arrays for outputs, first derivatives and Laplacians."""
    n_features, n_outputs = net.sizes[0], net.sizes[-1]
    return _new(net, (n, n_outputs)), _new(net, (n, n_outputs, n_features)), _new(net, (n, n_outputs))


def _fewer_directions(W: NDArray[Any]) -> NDArray[Any]:
    """Return as many directions as the first layer has neurons, with its dz in them: R of W = Q R.

    In coordinates rotated by Q the other inputs do not matter, and no rotation changes a Laplacian.
    """
    R = np.asarray(np.linalg.qr(W.astype(np.float64), mode="r"))
    with np.errstate(over="ignore"):  # then the network overflows as well
        return R.astype(W.dtype).reshape(-1)


def _mean(costs: NDArray[np.float64], weights: NDArray[Any] | None) -> float:
    """Return the (weighted) mean of rows' costs; a row of weight 0 does not count, not even where it is infinite."""
    if weights is None:
        return float(np.add.reduce(costs)) / len(costs)
    counts = weights > 0
    return float(costs[counts] @ weights[counts].astype(np.float64) / weights.sum(dtype=np.float64))
