"""`Linearized`: a network at its parameters, of which many products with second derivatives are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.engine.second_order import FISHER, GAUSS_NEWTON, HESSIAN, TRANSPOSED, LinearizedRows
from fastbp.functions.names import LossName
from fastbp.functions.own import Loss
from fastbp.validation.arrays import numeric_array

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_LIKELIHOODS = ("quadratic", "cross_entropy", "poisson")


class Linearized:
    """A network and its cost, linearized at fixed parameters for fixed data; made by `Network.linearize`.

    Everything that does not depend on the vector is computed once and kept, so that a product costs about as much as
    one gradient.  The parameters are copied: what is written to those of the network later changes nothing here.  The
    data are not: X, Y and the weights must not be written to while this is in use.  Several threads may use one at
    once.  It belongs to its process: it can be neither pickled nor copied deeply.

    Attributes
    ----------
    n_params : int
        Number of parameters.
    dtype : dtype
        Of the network, its vectors and results.

    Examples
    --------
    >>> import fastbp as bp, numpy as np, scipy.sparse.linalg
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> at = net.linearize([[1.0], [2.0]], [[2.0], [4.0]])
    >>> at.cost, at.grad, at.hvp([1.0, 0.0])
    (5.0, array([-5., -3.]), array([2.5, 1.5]))
    >>> scipy.sparse.linalg.cg(at.hessian, -at.grad)[0].round(6) + 0.0
    array([2., 0.])
    """

    def __init__(
        self,
        rows: LinearizedRows,
        value_and_grad: Callable[[], tuple[float, NDArray[Any]]],
        n_params: int,
        n_rows: int,
        n_outputs: int,
        dtype: np.dtype,
        loss: LossName | Loss,
    ) -> None:
        self._rows, self._value_and_grad, self._loss = rows, value_and_grad, loss
        self._known: tuple[float, NDArray[Any]] | None = None
        self._output_shape = n_rows, n_outputs
        self.n_params, self.dtype = n_params, dtype

    def __repr__(self) -> str:
        n_rows, n_outputs = self._output_shape
        return f"<Linearized: {self.n_params} parameters, {n_rows} rows of {n_outputs} outputs, {self.dtype.name}>"

    @property
    def cost(self) -> float:
        """The cost, penalties included; computed together with `grad` when one of them is first asked for."""
        return self._cost_and_grad()[0]

    @property
    def grad(self) -> NDArray[Any]:
        """Its gradient (n_params,), penalties included; a new array each time."""
        return self._cost_and_grad()[1].copy()

    def _cost_and_grad(self) -> tuple[float, NDArray[Any]]:
        if self._known is None:
            self._known = self._value_and_grad()
        return self._known

    # --- products -----------------------------------------------------------------------------------------------------

    def hvp(self, v: ArrayLike) -> NDArray[Any]:
        """Return the Hessian of the cost times a vector (n_params,); see `Network.hvp`."""
        return self._rows.product(HESSIAN, self._vector(v))

    def gnvp(self, v: ArrayLike) -> NDArray[Any]:
        """Return the generalised Gauss-Newton matrix times a vector (n_params,); see `Network.gnvp`."""
        return self._rows.product(GAUSS_NEWTON, self._vector(v))

    def fisher_vp(self, v: ArrayLike) -> NDArray[Any]:
        """Return Fisher's information matrix times a vector (n_params,); see `Network.fisher_vp`."""
        require_likelihood(self._loss)
        return self._rows.product(FISHER, self._vector(v))

    def jvp(self, v: ArrayLike) -> NDArray[Any]:
        """Return what the outputs (n, n_outputs) change by along a vector (n_params,); see `Network.jvp`."""
        return self._rows.outputs(self._vector(v))

    def vjp(self, u: ArrayLike) -> NDArray[Any]:
        """Return the gradient (n_params,) of the sum of the outputs times `u` (n, n_outputs); see `Network.vjp`."""
        return self._rows.product(TRANSPOSED, rows_of(u, self._output_shape, self.dtype, "u"))

    def _vector(self, v: Any) -> NDArray[Any]:
        return validation.flat_params(v, self.n_params, self.dtype, argument="v")

    # --- operators ----------------------------------------------------------------------------------------------------

    @property
    def hessian(self) -> LinearOperator:
        """The Hessian as a `scipy.sparse.linalg.LinearOperator`, for `cg`, `minres`, `eigsh` and `scipy.optimize`.

        An operator converts the vectors that it is given to the network's dtype, so that a solver may work in float64;
        a complex one is multiplied by its real and by its imaginary part.
        """
        return self._operator(HESSIAN)

    @property
    def gauss_newton(self) -> LinearOperator:
        """The generalised Gauss-Newton matrix, likewise."""
        return self._operator(GAUSS_NEWTON)

    @property
    def fisher(self) -> LinearOperator:
        """Fisher's information matrix, likewise; for the losses that `fisher_vp` takes."""
        require_likelihood(self._loss)
        return self._operator(FISHER)

    def _operator(self, task: int) -> LinearOperator:
        from scipy.sparse.linalg import LinearOperator  # half of SciPy, which nobody else here needs

        def multiply(v: NDArray[Any]) -> NDArray[Any]:
            if np.iscomplexobj(v):  # of solvers for matrices that need not be symmetric
                product: NDArray[Any] = multiply(v.real) + 1j * multiply(v.imag)
                return product
            return self._rows.product(task, self._vector(np.asarray(v, self.dtype).ravel()))

        shape = self.n_params, self.n_params
        return LinearOperator(shape, matvec=multiply, rmatvec=multiply, dtype=self.dtype)


def require_likelihood(loss: LossName | Loss) -> None:
    """Refuse losses that are not minus the logarithm of the likelihood of a distribution with mean a."""
    if loss not in _LIKELIHOODS:
        name = repr(loss) if isinstance(loss, str) else f"bp.Loss {loss.name!r}"
        raise ValueError(
            "`fisher_vp` needs a loss that is minus the logarithm of a likelihood, 'quadratic', 'cross_entropy' or "
            f"'poisson', because Fisher's information is that of a distribution; got {name}. Use `gnvp` for others."
        )


def rows_of(values: Any, shape: tuple[int, int], dtype: np.dtype, argument: str) -> NDArray[Any]:
    """Return a finite, contiguous array of a shape and dtype, flat, as a vector of the kernels."""
    array = numeric_array(values, argument, dtype)
    if array.ndim == 1 and shape[1] == 1:
        array = array.reshape(-1, 1)
    if array.shape != shape:
        raise ValueError(f"`{argument}` must have shape {shape}, a row for each row of X; got {array.shape}.")
    validation.require_finite(array, argument)
    return np.require(array, requirements=("C", "W")).reshape(-1)
