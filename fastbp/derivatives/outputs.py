"""Derivatives of a network's outputs: vector-Jacobian products, and whole Jacobians."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.row_results import FEWER, blocks_of, result_for
from fastbp.engine import first_order as tasks
from fastbp.model.checks import checked_rows
from fastbp.model.model import Model, chosen_params, passes_of
from fastbp.validation.arrays import numeric_array
from fastbp.validation.data import Targets
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import Rows


class OutputDerivatives(Model):
    """The methods of a `fastbp.Network` that differentiate its outputs."""

    @overload
    def vjp(
        self,
        X: MatrixLike,
        dC_da: ArrayLike,
        wrt: Literal["params", "inputs"] = "params",
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]: ...

    @overload
    def vjp(
        self,
        X: MatrixLike,
        dC_da: ArrayLike,
        wrt: Literal["both"],
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    def vjp(
        self,
        X: MatrixLike,
        dC_da: ArrayLike,
        wrt: Literal["params", "inputs", "both"] = "params",
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Return a vector-Jacobian product: the gradient of any function of the outputs.

        Where a cost C depends on the outputs a = ``net.predict(X)``, and you know its derivative by each of them, this
        is the derivative of C by the parameters, by the inputs, or by both: one forward and one backward pass.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        dC_da : array_like, shape (n, n_outputs)
            The derivative of your function by each output.
        wrt : {'params', 'inputs', 'both'}
            The derivative by what.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  The result has the same bits for every number.

        Returns
        -------
        ndarray, or two of them
            By the parameters: shape (n_params,), laid out as `params`, the sum over all rows of X, without penalties.
            By the inputs: shape (n, n_features).  For 'both' the two in this order.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, or holds NaN or infinity.

        Notes
        -----
        Dropout is off, as in `predict`.  At a kink of an activation it is the derivative of the branch that is taken.

        References
        ----------
        Griewank & Walther, "Evaluating Derivatives", 2nd edition (2008), section 3.2: the reverse mode.

        Examples
        --------
        The gradient of the sum of all outputs:

        >>> import numpy as np, fastbp as bp
        >>> net = bp.Network([2, 1], initializer="zeros")
        >>> net.vjp([[0.5, -1.0], [2.0, 0.0]], np.ones((2, 1)))
        array([ 2.5, -1. ,  2. ])
        """
        if not isinstance(wrt, str) or wrt not in ("params", "inputs", "both"):
            raise ValueError(f"`wrt` must be 'params', 'inputs' or 'both'; got {wrt!r}.")
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        targets = Targets(_output_rates(dC_da, (len(rows), self.sizes[-1]), self.dtype), None)
        out = (
            None
            if wrt == "params"
            else result_for(self, rows, (self.sizes[0],), "The derivatives by the inputs", FEWER)
        )
        task = {"params": tasks.VJP_PARAMS, "inputs": tasks.VJP_INPUTS, "both": tasks.VJP_BOTH}[wrt]
        total = tasks.compute(task, passes_of(self), chosen, rows, targets, out, n_threads)
        # which of the two there is depends on `wrt`
        return (cast(Any, total), cast(Any, out)) if wrt == "both" else cast(Any, out if wrt == "inputs" else total)

    def input_jacobian(
        self,
        X: MatrixLike,
        out: NDArray[Any] | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the derivative of each output by each input.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        out : ndarray, shape (n, n_outputs, n_features), optional
            Where the result goes: of the network's dtype, contiguous.  To fill one again and again is quicker.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  The result has the same bits for every number.

        Returns
        -------
        ndarray, shape (n, n_outputs, n_features)
            ``[i, q, x]`` is the derivative of output q of row i by input x.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, X holds NaN or infinity, or `out` cannot be written to.
        MemoryError
            If the result does not fit.

        Notes
        -----
        From the outputs back, or from the inputs forward by tangents where that takes fewer products; for one hidden
        layer one product of f'(z) and the weights along all paths.  Dropout is off; of softmax it is the whole
        Jacobian.  At a kink of an activation it is the derivative of the branch that is taken.

        References
        ----------
        Griewank & Walther, "Evaluating Derivatives", 2nd edition (2008), chapter 3.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], initializer="zeros")
        >>> net.weights[0] = [[3.0], [-1.0]]
        >>> net.input_jacobian([[1.0, 1.0]])
        array([[[ 3., -1.]]])
        """
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        shape = self.sizes[-1], self.sizes[0]
        out = result_for(self, rows, shape, "The Jacobian by the inputs", FEWER, out, chosen)
        tasks.compute(tasks.INPUT_JACOBIAN, passes_of(self), chosen, rows, None, out, n_threads)
        return out

    def jacobian(
        self,
        X: MatrixLike,
        out: NDArray[Any] | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the derivative of each output by each parameter.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        out : ndarray, shape (n, n_outputs, n_params), optional
            Where the result goes: of the network's dtype, contiguous.  To fill one again and again takes half the time
            or less, since the system must clear each fresh page.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  The result has the same bits for every number.

        Returns
        -------
        ndarray, shape (n, n_outputs, n_params)
            ``[i, q]`` is the gradient of output q of row i, laid out as `params`.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, X holds NaN or infinity, or `out` cannot be written to.
        MemoryError
            If the result does not fit; `jacobian_blocks` needs a block at a time.

        Notes
        -----
        Dropout is off.  At a kink of an activation it is the derivative of the branch that is taken.

        References
        ----------
        Bishop, "Neural Networks for Pattern Recognition" (1995), section 4.9.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([2, 1], initializer="zeros").jacobian([[0.5, -1.0]])
        array([[[ 0.5, -1. ,  1. ]]])
        """
        rows, chosen = checked_rows(self, X), chosen_params(self, params)
        shape = self.sizes[-1], self.n_params
        cure = "Use `jacobian_blocks`, which returns some rows at a time."
        out = result_for(self, rows, shape, "The Jacobian", cure, out, chosen)
        tasks.compute(tasks.JACOBIAN, passes_of(self), chosen, rows, None, out, n_threads)
        return out

    def jacobian_blocks(
        self,
        X: MatrixLike,
        rows: int | None = None,
        *,
        params: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Return the same as `jacobian`, some rows at a time.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, which are looked at once, before the first block.
        rows : int, optional
            Rows of a block; by default as many as fit into 8 MiB.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        iterator of (slice, ndarray)
            The rows, and their Jacobian, shape (rows, n_outputs, n_params): each block an array of its own.

        Raises
        ------
        TypeError, ValueError
            As `jacobian`.

        Examples
        --------
        J^T J without J:

        >>> import numpy as np, fastbp as bp
        >>> net, X = bp.Network([2, 3, 1], seed=0), np.ones((10, 2))
        >>> products = [np.tensordot(block, block, ((0, 1), (0, 1))) for _, block in net.jacobian_blocks(X, rows=4)]
        >>> np.sum(products, axis=0).shape
        (13, 13)
        """
        valid, chosen = checked_rows(self, X), chosen_params(self, params)
        return blocks_of(self, tasks.JACOBIAN, chosen, valid, None, (self.sizes[-1], self.n_params), rows, n_threads)


def _output_rates(dC_da: ArrayLike, shape: tuple[int, int], dtype: np.dtype) -> NDArray[Any]:
    """Return valid derivatives by the outputs."""
    array = numeric_array(dC_da, "dC_da", dtype).view(np.ndarray)
    if array.ndim == 1 and shape[1] == 1:
        array = array.reshape(-1, 1)
    if array.shape != shape:
        raise ValueError(
            f"`dC_da` must have shape {shape}, the derivative by each output of each row of X; got {array.shape}."
        )
    validation.require_finite(array, "dC_da")
    return array


def output_slopes(net: Model, X: Rows) -> NDArray[Any]:
    """Return f'(z) of each output neuron, (n, n_outputs), for valid inputs; the output must not be softmax."""
    out = np.empty((len(X), net.sizes[-1]), net.dtype)
    tasks.compute(tasks.SLOPES, passes_of(net), net.params, X, None, out, None)
    return out
