"""`Network`: layer sizes, activations, a loss and one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.engine.passes import Passes
from fastbp.functions.names import InitializerName, LossName
from fastbp.functions.own import Loss
from fastbp.model.definition import ActivationSpec, Definition, OutputSpec
from fastbp.model.initializers import initialize
from fastbp.model.layer_arrays import LayerArrays
from fastbp.model.trace import LayerTrace, Trace, make_trace
from fastbp.portable import Portable
from fastbp.system import caller
from fastbp.system.memory import require_writable

if TYPE_CHECKING:
    from datetime import timedelta

    from fastbp.storage.atomic import PathLike
    from fastbp.training.early_stopping import EarlyStopping
    from fastbp.training.history import Callback, History
    from fastbp.training.optimizers import Optimizer
    from fastbp.training.single_steps import Stepper

__all__ = ["LayerTrace", "Network", "Trace"]

_MADE_BY_VIEWS = ("_weights", "_biases", "passes", "_stepper")  # attributes that depend on where the parameters lie
_LONE_SOFTMAX = (
    "`output='softmax'` with one output is always 1, whatever the parameters are, so that nothing can be learned. Use "
    "`output='sigmoid'` for the probability of one of two classes, or one output for each class."
)


class Network(Definition, Portable):
    """A fully connected feed-forward network with its loss.

    Layer by layer ``z = a_prev @ W + b`` and ``a = f(z)``; the cost is the mean over samples of the loss, plus the
    penalties ``l2_penalty / 2 * sum(W**2) + l1_penalty * sum(abs(W))`` on the weights (not on the biases).

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes, inputs first: ``[784, 30, 10]``.
    activation : str, Activation or list
        Activation of the hidden layers: a name, or a list with one entry for each hidden layer.  An entry may itself be
        a list of ``(name, count)`` that covers the layer's neurons.  Names: identity, sigmoid, tanh, relu,
        leaky_relu, elu, softplus, gelu, silu, sine, exp.
    output : str, Activation or list
        Activation of the output layer, softmax included; or a list of ``(name, count)``.
    loss : str or Loss
        quadratic, cross_entropy, absolute, huber, log_cosh, poisson or quantile.
    initializer : str
        glorot_uniform, glorot_normal, he_uniform, he_normal, standard_normal, scaled_normal or zeros.
    dtype : {'float64', 'float32'}
        Type of parameters, inputs and outputs.  Nothing is converted between the two silently.
    seed : int or None
        Seed of the initial parameters; None draws fresh ones.
    l2_penalty, l1_penalty : float
        Cost per squared weight (halved) and per absolute weight.
    dropout : float or list of float
        Share of each hidden layer's neurons that a training step leaves out (inverted dropout); in `fit` only.
    loss_parameter : float, optional
        Of ``loss="huber"`` the error at which the loss turns from a parabola into a line, by default 1; of
        ``loss="quantile"`` the quantile in (0, 1), by default 0.5, the median.  Other losses have none.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value; the message says what is allowed.
    MemoryError
        If the parameters do not fit into the memory that is available.

    Warns
    -----
    UserWarning
        If the output is a softmax of a single neuron, which is always 1.

    References
    ----------
    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 323 (1986).

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> net.n_params, net.weights[0].shape
    (13, (2, 3))
    >>> net.predict([[0.5, -1.0]]).shape
    (1, 1)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: ActivationSpec = "relu",
        output: OutputSpec = "identity",
        loss: LossName | Loss = "quadratic",
        initializer: InitializerName = "glorot_uniform",
        dtype: DTypeLike = "float64",
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
        return self._params.size

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
        self.passes = Passes(self)
        self._stepper: Stepper | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what `pickle` and `copy` need: everything but views and buffers."""
        return {name: value for name, value in vars(self).items() if name not in _MADE_BY_VIEWS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, and make views into new parameters.

        The arrays are copied: those of a pickle may be a memory map or another object's buffers, which are not ours to
        write to, and a copy of a network has parameters and an optimizer of its own.
        """
        vars(self).update(state)
        self._params = np.array(self._params)
        if self.training_state is not None:
            self.training_state = self.training_state.copy()
        self._make_views()

    def __repr__(self) -> str:
        shape = "-".join(str(size) for size in self._sizes)
        loss = self._loss.name if isinstance(self._loss, Loss) else self._loss
        return f"<Network {shape}, loss {loss}, {self.n_params} parameters, {self._dtype.name}>"

    # --- what it computes ---------------------------------------------------------------------------------------------

    def predict(self, X: ArrayLike, *, n_threads: int | None = None) -> NDArray[Any]:
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
        return self.passes.outputs(self.checked_rows(X), n_threads)

    def loss_value(
        self,
        X: ArrayLike,
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
            The cost; infinite or (Poisson) NaN where an output overflows.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], initializer="zeros").loss_value([[1.0], [2.0]], [[2.0], [4.0]])
        5.0
        """
        data = self.checked_data(X, Y, sample_weight)
        return self.passes.cost(*data, n_threads=n_threads)

    def value_and_grad(
        self,
        X: ArrayLike,
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
            The cost; infinite or (Poisson) NaN where an output overflows, and then all of `grad` is NaN.
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
        data = self.checked_data(X, Y, sample_weight)
        chosen = self._params if params is None else validation.flat_params(params, self.n_params, self._dtype)
        return self.passes.value_and_grad(*data, params=chosen, n_threads=n_threads)

    def trace(self, X: ArrayLike, Y: ArrayLike, sample_weight: ArrayLike | None = None) -> Trace:
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
        return make_trace(self, *self.checked(X, Y, sample_weight))

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        epochs: int = 30,
        batch_size: int | Literal["auto"] | None = "auto",
        optimizer: Optimizer | None = None,
        *,
        shuffle: bool = True,
        seed: int | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        early_stopping: EarlyStopping | None = None,
        tol: float | None = None,
        clip_norm: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = False,
        n_threads: int | None = None,
        checkpoint: PathLike | None = None,
        checkpoint_every: int | timedelta = 1,
        resume: bool = False,
    ) -> History:
        """Train; see `fastbp.training.fit`, which documents every argument.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([1, 1], initializer="zeros")
        >>> history = net.fit([[0.0], [1.0]], [[1.0], [3.0]], epochs=500, optimizer=bp.SGD(0.5), batch_size=None)
        >>> net.params.round(3)
        array([2., 1.])
        """
        from fastbp.training.fit import fit

        return fit(
            self,
            X,
            Y,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            shuffle=shuffle,
            seed=seed,
            validation_data=validation_data,
            sample_weight=sample_weight,
            early_stopping=early_stopping,
            tol=tol,
            clip_norm=clip_norm,
            callbacks=callbacks,
            progress=progress,
            n_threads=n_threads,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )

    def step(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one optimizer step on all of the given rows and return the cost before it.

        The step of ``fit(X, Y, epochs=1, batch_size=None)``, to the bit, at a few microseconds: for online and
        reinforcement learning.  `fastbp.training.single_steps.Stepper.step` documents every argument.

        Examples
        --------
        >>> import fastbp as bp
        >>> net, optimizer = bp.Network([1, 1], initializer="zeros"), bp.SGD(0.5)
        >>> [net.step([[1.0]], [[3.0]], optimizer=optimizer) for _ in range(3)]
        [4.5, 0.0, 0.0]
        """
        stepper = self._stepper
        if stepper is None:
            from fastbp.training.single_steps import Stepper

            stepper = self._stepper = Stepper(self)
        return stepper.step(X, Y, sample_weight, optimizer, clip_norm, n_threads)

    # --- what the rest of the package uses ----------------------------------------------------------------------------

    @classmethod
    def from_params(cls, params: NDArray[Any], sizes: Sequence[int], **settings: Any) -> Self:
        """Return a network around existing parameters of its dtype; `settings` are all others, none has a default."""
        net = cls.__new__(cls)
        net._define(sizes, params.dtype, **settings)
        net._params = validation.flat_params(params, parameters.count_params(net._sizes), net._dtype)
        net._make_views()
        return net
