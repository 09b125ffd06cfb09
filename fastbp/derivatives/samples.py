"""Derivatives of each sample's own cost: by its inputs, and by the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.row_results import FEWER, blocks_of, result_for
from fastbp.engine import first_order as tasks
from fastbp.model.checks import checked_data
from fastbp.model.model import Model, passes_of
from fastbp.validation.matrix_like import MatrixLike


class SampleDerivatives(Model):
    """The methods of a `fastbp.Network` that differentiate the cost of each sample."""

    def input_gradient(self, X: MatrixLike, Y: ArrayLike, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return the derivative of each sample's own cost by its inputs: what adversarial and saliency methods need.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n, n_features)
            ``dC_x/dx`` of each row, without penalties and not divided by n.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, or holds NaN or infinity.

        Notes
        -----
        Dropout is off.  At a kink of an activation or a loss it is the derivative of the branch that is taken.

        References
        ----------
        Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks: visualising image classification models and
        saliency maps", ICLR workshop 2014.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 1], initializer="zeros")
        >>> net.weights[0] = [[3.0], [-1.0]]
        >>> net.input_gradient([[1.0, 1.0]], [[0.0]])
        array([[ 6., -2.]])
        """
        rows, targets, _ = checked_data(self, X, Y, None)
        out = result_for(self, rows, (self.sizes[0],), "The derivatives by the inputs", FEWER)
        tasks.compute(tasks.INPUT_GRADIENT, passes_of(self), self.params, rows, targets, out, n_threads)
        return out

    def per_sample_gradients(
        self, X: MatrixLike, Y: ArrayLike, out: NDArray[Any] | None = None, *, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the gradient of each sample's own cost.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        out : ndarray, shape (n, n_params), optional
            Where the result goes: of the network's dtype, contiguous.  To fill one again and again takes half the time.
        n_threads : int, optional
            Threads to use; by default as many as the process may.  The result has the same bits for every number.

        Returns
        -------
        ndarray, shape (n, n_params)
            ``dC_x/dp`` of each row, laid out as `params`; their mean is the gradient of the cost without penalties.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, holds NaN or infinity, or `out` cannot be written to.
        MemoryError
            If the result does not fit; `per_sample_gradient_blocks` needs a block at a time.

        Notes
        -----
        Dropout is off.  At a kink of an activation or a loss it is the derivative of the branch that is taken.

        References
        ----------
        Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799 (2015).

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], initializer="zeros").per_sample_gradients([[3.0], [1.0]], [[2.0], [1.0]])
        array([[-6., -2.],
               [-1., -1.]])
        """
        rows, targets, _ = checked_data(self, X, Y, None)
        cure = "Use `per_sample_gradient_blocks`, which returns some rows at a time."
        out = result_for(self, rows, (self.n_params,), "The gradients of all samples", cure, out, targets.array)
        tasks.compute(tasks.SAMPLE_GRADIENTS, passes_of(self), self.params, rows, targets, out, n_threads)
        return out

    def per_sample_gradient_blocks(
        self, X: MatrixLike, Y: ArrayLike, rows: int | None = None, *, n_threads: int | None = None
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Return the same as `per_sample_gradients`, some rows at a time.

        Parameters
        ----------
        X, Y
            As for `per_sample_gradients`; they are looked at once, before the first block.
        rows : int, optional
            Rows of a block; by default as many as fit into 8 MiB.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        iterator of (slice, ndarray)
            The rows, and their gradients, shape (rows, n_params): each block an array of its own.

        Raises
        ------
        TypeError, ValueError
            As `per_sample_gradients`.

        Examples
        --------
        The mean of gradients no longer than 1, as private learning needs it:

        >>> import numpy as np, fastbp as bp
        >>> net, X, Y = bp.Network([2, 3, 1], seed=0), np.ones((10, 2)), np.ones((10, 1))
        >>> total = np.zeros(net.n_params)
        >>> for _, block in net.per_sample_gradient_blocks(X, Y, rows=4):
        ...     total += (block / np.maximum(1, np.linalg.norm(block, axis=1))[:, None]).sum(axis=0)
        >>> bool(np.linalg.norm(total / 10) <= 1)
        True
        """
        valid, targets, _ = checked_data(self, X, Y, None)
        task, shape = tasks.SAMPLE_GRADIENTS, (self.n_params,)
        return blocks_of(self, task, self.params, valid, targets, shape, rows, n_threads)

    def per_sample_gradient_norms(self, X: MatrixLike, Y: ArrayLike, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return the squared norm of the gradient of each sample's own cost, without the gradients.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n,)
            ``|dC_x/dp|**2`` of each row: of each layer ``(|a|**2 + 1) |delta|**2``, with a the layer's inputs.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, or holds NaN or infinity.

        References
        ----------
        Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799 (2015).

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], initializer="zeros").per_sample_gradient_norms([[3.0], [1.0]], [[2.0], [1.0]])
        array([40.,  2.])
        """
        return self._of_each_sample(tasks.NORMS, X, Y, n_threads)

    def per_sample_gradient_dots(
        self, X: MatrixLike, Y: ArrayLike, v: ArrayLike, *, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the product of the gradient of each sample's own cost and a vector, without the gradients.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        v : array_like, shape (n_params,)
            The vector, laid out as `params`.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n,)
            ``dC_x/dp . v`` of each row: how its cost changes where the parameters move along v.

        Raises
        ------
        TypeError, ValueError
            If an argument has a wrong type or shape, or holds NaN or infinity.

        References
        ----------
        Pruthi, Liu, Sundararajan & Kale, "Estimating training data influence by tracing gradient descent", NeurIPS
        2020: what such products are used for.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([1, 1], initializer="zeros")
        >>> net.per_sample_gradient_dots([[3.0], [1.0]], [[2.0], [1.0]], [1.0, 10.0])
        array([-26., -11.])
        """
        vector = validation.flat_params(v, self.n_params, self.dtype, "v")
        return self._of_each_sample(tasks.DOTS, X, Y, n_threads, vector)

    def _of_each_sample(
        self, task: tasks.Task, X: MatrixLike, Y: ArrayLike, n_threads: int | None, vector: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        rows, targets, _ = checked_data(self, X, Y, None)
        out = np.empty(len(rows), self.dtype)
        tasks.compute(task, passes_of(self), self.params, rows, targets, out, n_threads, vector)
        return out
