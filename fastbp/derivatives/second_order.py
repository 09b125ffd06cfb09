"""Products with second derivatives of the cost, and with Jacobians of the outputs, by Pearlmutter's R operator."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.linearized import Linearized, require_likelihood, rows_of
from fastbp.engine.derived import of_outputs
from fastbp.engine.problem import Problem
from fastbp.engine.second_order import (
    FISHER,
    GAUSS_NEWTON,
    HESSIAN,
    INPUT_JACOBIAN,
    JACOBIAN,
    LinearizedRows,
    SecondOrderFrame,
    make_products,
)
from fastbp.model.checks import checked_data, checked_rows, require_derivatives
from fastbp.model.model import Model, chosen_params, passes_of
from fastbp.system.memory import require_memory
from fastbp.validation.data import Targets
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import Rows


class SecondOrder(Model):
    """The part of a `fastbp.Network` that multiplies vectors by second derivatives and Jacobians."""

    def hvp(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the Hessian of the cost times a vector, for about the price of one and a half gradients.

        The Hessian is never formed.  Nothing is approximated: it is the derivative of the gradient along `v`.

        Parameters
        ----------
        X, Y, sample_weight, n_threads
            As for `loss_value`.
        v : array_like, shape (n_params,)
            The vector, laid out as `params` and of the network's dtype.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.

        Returns
        -------
        ndarray, shape (n_params,)
            H v, a new array; NaN where the network overflows.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype, shape or value, or an `Activation` or a `Loss` of your own has no second
            derivative (`d2f`, `second_derivative`).

        Notes
        -----
        Penalties are part of the cost: the L2 penalty adds ``l2_penalty * v`` to the weights' part, the L1 penalty
        nothing.  At a kink (relu, leaky_relu, elu, and the losses absolute, huber and quantile) second derivatives are
        those of the branch that the first ones take, so that those of relu and of the absolute loss are 0.
        Dropout is off, as in `predict`.  For many products at the same parameters see `linearize`.

        References
        ----------
        Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).

        Examples
        --------
        Newton's method with conjugate gradients, by `scipy.optimize`:

        >>> import fastbp as bp, scipy.optimize
        >>> net = bp.Network([1, 1], initializer="zeros")
        >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
        >>> net.hvp(X, Y, [1.0, 1.0])
        array([1. , 1.5])
        >>> result = scipy.optimize.minimize(
        ...     lambda p: net.value_and_grad(X, Y, p), net.params, jac=True, method="Newton-CG",
        ...     hessp=lambda p, v: net.hvp(X, Y, v, params=p),
        ... )
        >>> result.x.round(6)
        array([2., 1.])
        """
        require_derivatives(self, 2, "hvp", of_loss=True)
        data = checked_data(self, X, Y, sample_weight)
        return self._product(HESSIAN, data, v, params, n_threads)

    def gnvp(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the generalised Gauss-Newton matrix times a vector: the Hessian without the network's own curvature.

        It is the mean over the samples of ``J.T @ B @ J``.  For an output whose activation matches the loss (softmax or
        sigmoid with cross-entropy, exp with Poisson's loss, identity with the quadratic loss) J is the Jacobian of the
        output layer's z and B = d2C_x/dz2, and the matrix is positive semi-definite.  Else J is that of the outputs a
        and B = d2C_x/da2.  Then it is positive semi-definite where the loss is convex in a, as every built-in one is;
        a loss of your own is taken as it is, and where its second derivative is negative, so is its part of B.

        Parameters
        ----------
        X, Y, v, sample_weight, params, n_threads
            As for `hvp`.

        Returns
        -------
        ndarray, shape (n_params,)
            G v, a new array.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype, shape or value, or a `Loss` of your own has no `second_derivative`.

        Notes
        -----
        Penalties are left out: add ``l2_penalty * v`` where you need them.  Of the losses absolute and quantile, which
        consist of straight lines, the matrix is 0.

        References
        ----------
        Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", Neural Computation 14
        (2002).

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], initializer="zeros").gnvp([[1.0], [3.0]], [[2.0], [4.0]], [1.0, 0.0])
        array([5., 2.])
        """
        require_derivatives(self, 1, "gnvp", of_loss=True)
        data = checked_data(self, X, Y, sample_weight)
        return self._product(GAUSS_NEWTON, data, v, params, n_threads)

    def fisher_vp(
        self,
        X: MatrixLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return Fisher's information matrix of the network's predictive distribution times a vector.

        The distribution is the one whose negative log-likelihood the loss is: normal with variance 1 (quadratic),
        Bernoulli or categorical (cross_entropy), Poisson's (poisson).  The matrix is the mean over the samples of the
        expected outer product of the gradient, where the targets are drawn from that distribution: none are needed.
        It is the matrix of `gnvp` for the quadratic loss and where the output's activation matches the loss.

        Parameters
        ----------
        X, v, sample_weight, params, n_threads
            As for `hvp`.

        Returns
        -------
        ndarray, shape (n_params,)
            F v, a new array; penalties are left out.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype, shape or value, or the loss belongs to no distribution.

        References
        ----------
        Martens, "New insights and perspectives on the natural gradient method", JMLR 21 (2020), sections 5 and 9.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([1, 1], output="sigmoid", loss="cross_entropy", initializer="zeros")
        >>> net.fisher_vp([[1.0], [3.0]], [1.0, 0.0])
        array([1.25, 0.5 ])
        """
        require_likelihood(self._loss)
        rows = checked_rows(self, X)
        weights = validation.sample_weights(sample_weight, len(rows), self._dtype)
        nothing = np.broadcast_to(np.zeros(1, self._dtype), (len(rows), self._sizes[-1]))
        return self._product(FISHER, (rows, Targets(nothing, None), weights), v, params, n_threads)

    def jvp(
        self,
        X: MatrixLike,
        tangent: ArrayLike,
        wrt: Literal["params", "inputs"] = "params",
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the Jacobian of the outputs times a tangent: what they change by along it, to first order.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        tangent : array_like, shape (n_params,) or (n, n_features)
            A direction of the parameters, laid out as `params`; with ``wrt="inputs"`` one of each row of inputs.
        wrt : {"params", "inputs"}
            What moves.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            The change of each row's outputs, a new array.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype, shape or value.

        Notes
        -----
        At a kink of an activation its derivative is that of the branch that backpropagation takes.  Dropout is off, as
        in `predict`.

        References
        ----------
        Griewank & Walther, "Evaluating Derivatives" (2008), section 3.1.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], initializer="zeros")
        >>> net.weights[0] = [[3.0], [5.0]]
        >>> net.jvp([[1.0, 2.0]], [10.0, 1.0, 0.0]), net.jvp([[1.0, 2.0]], [[1.0, 10.0]], wrt="inputs")
        (array([[12.]]), array([[53.]]))
        """
        if not isinstance(wrt, str) or wrt not in ("params", "inputs"):
            raise ValueError(f"`wrt` must be 'params' or 'inputs'; got {wrt!r}.")
        rows = checked_rows(self, X)
        of_inputs = wrt == "inputs"
        if of_inputs:
            v = rows_of(tangent, (len(rows), self._sizes[0]), self._dtype, "tangent")
        else:
            v = validation.flat_params(tangent, self.n_params, self._dtype, argument="tangent")
        n_outputs = self._sizes[-1]
        n_bytes = len(rows) * n_outputs * self._dtype.itemsize
        require_memory(n_bytes, f"The change of {len(rows)} rows of outputs", "Take fewer rows at a time.")
        out = np.empty((len(rows), n_outputs), self._dtype)
        passes, make = passes_of(self), _make_input_tangents if of_inputs else _make_tangents
        frame = passes.take_made(f"tangents of {wrt}", rows, make)
        frame.set_rows(rows)
        task = INPUT_JACOBIAN if of_inputs else JACOBIAN
        frame.multiply(task, chosen_params(self, params), v, out=out.reshape(-1), n_threads=n_threads)
        passes.give_back(frame)
        return out

    def linearize(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> Linearized:
        """Return the network linearized at its parameters, for many products with second derivatives there.

        Such a product takes about as long as one gradient, two thirds of `hvp`, and its vector is all that is checked.
        The memory that this takes is about four numbers for each neuron and row.

        Parameters
        ----------
        X, Y, sample_weight, params, n_threads
            As for `hvp`; `n_threads` is for all products.

        Returns
        -------
        Linearized
            It has the products `hvp`, `gnvp`, `fisher_vp`, `jvp` and `vjp`, the linear operators `hessian`,
            `gauss_newton` and `fisher`, `cost` and `grad`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype, shape or value, or an `Activation` or a `Loss` of your own has no second
            derivative.
        MemoryError
            If what is kept does not fit.

        Examples
        --------
        The largest eigenvalue of the Hessian:

        >>> import fastbp as bp, scipy.sparse.linalg
        >>> at = bp.Network([2, 1], initializer="zeros").linearize([[1.0, 0.0], [0.0, 2.0]], [[1.0], [1.0]])
        >>> scipy.sparse.linalg.eigsh(at.hessian, k=1, return_eigenvectors=False, v0=[1.0, 1.0, 1.0]).round(4)
        array([2.6514])
        """
        require_derivatives(self, 2, "linearize", of_loss=True)
        rows, targets, weights = checked_data(self, X, Y, sample_weight)
        chosen = chosen_params(self, params).copy()
        passes = passes_of(self)
        value_and_grad = partial(passes.value_and_grad, rows, targets, weights, params=chosen, n_threads=n_threads)
        linearized = LinearizedRows(passes, chosen, rows, targets, weights, n_threads)
        n_rows, n_outputs = len(rows), self._sizes[-1]
        return Linearized(linearized, value_and_grad, self.n_params, n_rows, n_outputs, self._dtype, self._loss)

    def _product(
        self,
        task: int,
        data: tuple[Rows, Targets, NDArray[Any] | None],
        v: ArrayLike,
        params: ArrayLike | None,
        n_threads: int | None,
    ) -> NDArray[Any]:
        vector = validation.flat_params(v, self.n_params, self._dtype, argument="v")
        passes = passes_of(self)
        frame = passes.take_made("products", data[0], make_products)
        frame.set_rows(*data)
        product = frame.product(task, chosen_params(self, params), vector, n_threads)
        passes.give_back(frame)
        return product


def _make_tangents(problem: Problem, X: Rows) -> SecondOrderFrame:
    return make_products(of_outputs(problem), X, adds_up=False)


def _make_input_tangents(problem: Problem, X: Rows) -> SecondOrderFrame:
    return make_products(of_outputs(problem), X, adds_up=False, of_inputs=True)
