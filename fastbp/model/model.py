"""`Model`: what a network is and computes: layer sizes, activations, a loss and one flat vector of parameters."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.engine.passes import Passes
from fastbp.functions.names import InitializerName, LossName
from fastbp.functions.own import Loss
from fastbp.model.checks import checked, checked_data, checked_rows
from fastbp.model.definition import ActivationSpec, Definition, OutputSpec, problem_of
from fastbp.model.description import network_html, network_text
from fastbp.model.initializers import initialize
from fastbp.model.layer_arrays import LayerArrays
from fastbp.model.trace import Trace, make_trace
from fastbp.system import caller
from fastbp.system.memory import require_own_shape, require_writable
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.numbers import FloatDType

_LONE_SOFTMAX = (
    "`output='softmax'` with one output is always 1, whatever the parameters are, so that nothing can be learned. Use "
    "`output='sigmoid'` for the probability of one of two classes, or one output for each class."
)

_Kind = TypeVar("_Kind", bound="Model")


class Model(Definition):
    """What of a `fastbp.Network` knows no training, no file and no picture; its arguments are those of that class."""

    # attributes that depend on where the parameters lie in memory; each class below names its own
    _made_by_views: ClassVar[tuple[str, ...]] = ("_weights", "_biases", "_passes", "_n_params")

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationSpec = "relu",
        output: OutputSpec = "identity",
        loss: LossName | Loss = "quadratic",
        initializer: InitializerName = "glorot_uniform",
        dtype: FloatDType = "float64",
        seed: int | None = None,
        *,
        l2_penalty: float = 0.0,
        l1_penalty: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        loss_parameter: float | None = None,
    ) -> None:
        settings = (activation, output, loss, initializer, l2_penalty, l1_penalty, dropout, loss_parameter)
        self._define(sizes, validation.network_dtype(dtype), *settings)
        if self.has_softmax and self._sizes[-1] == 1:
            caller.warn(_LONE_SOFTMAX)
        rng = np.random.default_rng(validation.seed(seed))
        self._params = initialize(initializer, self._sizes, rng, self._dtype)
        self._make_views()

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return self._n_params

    @property
    def params(self) -> NDArray[Any]:
        """All parameters (n_params,), ``[W1 b1 W2 b2 ...]``; writing into it changes the network."""
        return self._params

    @params.setter
    def params(self, values: ArrayLike) -> None:
        require_writable(self)
        self._params[...] = validation.flat_params(values, self.n_params, self._dtype)

    @property
    def weights(self) -> LayerArrays:
        """Each layer's weights (fan_in, fan_out): views into `params`; ``net.weights[0] = W`` writes into them."""
        return self._weights

    @property
    def biases(self) -> LayerArrays:
        """Each layer's biases (fan_out,): views into `params`; ``net.biases[0] = b`` writes into them."""
        return self._biases

    def _make_views(self) -> None:
        """Make what depends on where the parameters lie in memory."""
        self._weights, self._biases = map(LayerArrays, parameters.views(self._params, self._sizes))
        self._passes = Passes(self._sizes, self._params, functools.partial(problem_of, self))
        self._n_params = self._params.size  # which a user can change in place, with the array's dtype

    def __getstate__(self) -> dict[str, Any]:
        """Return what `pickle`, `copy` and skops need: everything but views and buffers."""
        made = {name for kind in type(self).__mro__ for name in vars(kind).get("_made_by_views", ())}
        state = {name: value for name, value in vars(self).items() if name not in made}
        return state | {"_dtype": self._dtype.name}  # skops does not trust a dtype

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, and make views into new parameters.

        The arrays are copied: those of a pickle may be a memory map or another object's buffers, which are not ours to
        write to, and a copy of a network has parameters and an optimizer of its own.
        """
        vars(self).update(state)
        self._dtype = np.dtype(self._dtype)  # which is a name, and in pickles of version 0.1.0 a dtype
        self._params = np.array(self._params)
        self._make_views()

    def __repr__(self) -> str:
        shape = "-".join(str(size) for size in self._sizes)
        loss = self._loss.name if isinstance(self._loss, Loss) else self._loss
        return f"<Network {shape}, loss {loss}, {self.n_params} parameters, {self._dtype.name}>"

    def __str__(self) -> str:
        return network_text(self)

    def _repr_html_(self) -> str:
        return network_html(self)

    # --- what it computes ---------------------------------------------------------------------------------------------

    def predict(self, X: MatrixLike, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return the outputs.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, of the network's dtype; integers, booleans, lists, and data frames of pandas and polars are
            converted.  The columns of a frame must be those of the frame that the network was fitted on.  Of a sparse
            matrix, in CSR best, no zero is multiplied.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        ndarray, shape (n, n_outputs)
            Activations of the output layer, in the network's dtype.

        Raises
        ------
        TypeError, ValueError
            If X has a wrong dtype or shape, no row, or holds NaN or infinity.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([2, 3], initializer="zeros", output="sigmoid").predict([[0.5, -1.0], [2.0, 0.0]])
        array([[0.5, 0.5, 0.5],
               [0.5, 0.5, 0.5]])
        """
        return self._passes.outputs(checked_rows(self, X), n_threads)

    def loss_value(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        n_threads: int | None = None,
    ) -> float:
        """Return the cost: the (weighted) mean loss of the samples, plus the penalties.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        sample_weight : array_like, shape (n,), optional
            How often each row counts.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        float
            The cost; infinite or NaN where an output overflows.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], initializer="zeros").loss_value([[1.0], [2.0]], [[2.0], [4.0]])
        5.0
        """
        data = checked_data(self, X, Y, sample_weight)
        return self._passes.cost(*data, n_threads=n_threads)

    def value_and_grad(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        params: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        n_threads: int | None = None,
    ) -> tuple[float, NDArray[Any]]:
        """Return the cost and its gradient by backpropagation.

        Parameters
        ----------
        X, Y, sample_weight, n_threads
            As for `loss_value`.
        params : array_like, shape (n_params,), optional
            Parameters to use instead of the network's own, which stay as they are.

        Returns
        -------
        cost : float
            The cost; infinite or NaN where an output overflows, and then all of `grad` is NaN.
        grad : ndarray, shape (n_params,)
            Its gradient, laid out as `params`, a new array.

        Examples
        --------
        Ready for `scipy.optimize`:

        >>> import fastbp as bp, scipy.optimize
        >>> net = bp.Network([1, 1], initializer="zeros")
        >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
        >>> result = scipy.optimize.minimize(lambda p: net.value_and_grad(X, Y, p), net.params, jac=True)
        >>> result.x.round(6)
        array([2., 1.])
        """
        data = checked_data(self, X, Y, sample_weight)
        chosen = chosen_params(self, params)
        return self._passes.value_and_grad(*data, params=chosen, n_threads=n_threads)

    def trace(self, X: MatrixLike, Y: ArrayLike, sample_weight: ArrayLike | None = None) -> Trace:
        """Return every z, a, delta, dW and db: the four equations of backpropagation to look at.

        Parameters
        ----------
        X, Y, sample_weight
            As for `loss_value`.

        Returns
        -------
        Trace
            ``trace.layers[i]`` has `z`, `a`, `delta` (n, fan_out), `dW` (fan_in, fan_out) and `db` (fan_out,);
            ``trace.cost`` is the cost.  `delta` is dC_x/dz of each sample's own cost; `dW` and `db` are the gradient of
            the cost.

        Examples
        --------
        >>> import fastbp as bp
        >>> trace = bp.Network([1, 1], initializer="zeros").trace([[3.0]], [[2.0]])
        >>> trace.layers[0].delta, trace.layers[0].dW
        (array([[-2.]]), array([[-6.]]))
        """
        require_own_shape(self)
        X, targets, weights = checked(self, X, Y, sample_weight)
        value_and_grad = self._passes.value_and_grad(X, targets, weights, params=self._params, n_threads=None)
        return make_trace(self, self._params, X, targets, value_and_grad)


def from_params(kind: type[_Kind], params: NDArray[Any], sizes: Sequence[int], **settings: Any) -> _Kind:
    """Return a model of a class around existing parameters of its dtype; `settings` are all other arguments."""
    model = kind.__new__(kind)
    model._define(sizes, params.dtype, **settings)
    model._params = validation.flat_params(params, parameters.count_params(model._sizes), model._dtype)
    model._make_views()
    return model


def chosen_params(model: Model, params: ArrayLike | None) -> NDArray[Any]:
    """Return valid parameters to use instead of the model's own, which are returned for None."""
    return model._params if params is None else validation.flat_params(params, model.n_params, model.dtype)


def passes_of(model: Model) -> Passes:
    """Return a model's forward passes and gradients, for data that are known to be valid."""
    return model._passes
