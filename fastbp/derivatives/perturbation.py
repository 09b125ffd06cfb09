"""Gradients without backpropagation: move one thing, look what the cost does.

What backpropagation is measured against and checked with.  Weight perturbation takes a forward pass for each parameter,
node perturbation one for each neuron, and random weight search learns without any gradient.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.moves import Draw, Moves
from fastbp.functions.names import nearest
from fastbp.kernels.roots import perturbation as kernel
from fastbp.model.checks import checked
from fastbp.model.definition import require_network
from fastbp.model.model import Model, passes_of
from fastbp.system.alone import alone
from fastbp.system.memory import require_memory, require_writable
from fastbp.system.progress import progress_bar
from fastbp.system.tables import Table, curve, note
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.numbers import FloatDType

__all__ = [
    "FiniteDifferenceResult",
    "RandomSearchResult",
    "finite_difference_gradient",
    "node_perturbation",
    "random_weight_search",
]

# The step that balances truncation against the rounding of the cost is a power of machine epsilon: its square root for
# forward, its cube root for central differences (Press et al., section 5.7; Dennis & Schnabel, section 5.4).
_STEP_POWERS = {"forward": 1 / 2, "central": 1 / 3}
_RECORDS = 100  # of a random search, by default


# --- weight perturbation ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FiniteDifferenceResult:
    """A gradient by weight perturbation.

    Attributes
    ----------
    gradient : ndarray, shape (n_params,)
        The gradient, laid out as `Network.params`, in float64 whatever the dtype of the passes was.
    cost : float
        The cost of the network as it is, penalties included.
    n_passes : int
        Forward passes over all samples that the differences take: n + 1 forward, 2 n central.  (Central differences do
        without the cost of the network as it is; that `cost` is one more.)
    epsilon : ndarray, shape (n_params,)
        The step of each parameter, as it was exactly taken.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> result = bp.finite_difference_gradient(net, [[3.0]], [[2.0]], scheme="central")
    >>> result.gradient.round(6), result.cost, result.n_passes
    (array([-6., -2.]), 2.0, 4)
    """

    gradient: NDArray[np.float64]
    cost: float
    n_passes: int
    epsilon: NDArray[np.float64]

    def __repr__(self) -> str:
        n_params = self.gradient.size
        return f"<FiniteDifferenceResult: {n_params} parameters, {self.n_passes} passes, cost {self.cost:.6g}>"

    def _repr_html_(self) -> str:
        rows = [
            ("parameters", self.gradient.size),
            ("forward passes", self.n_passes),
            ("cost", f"{self.cost:.6g}"),
            ("Euclidean norm of the gradient", f"{np.linalg.norm(self.gradient):.6g}"),
            ("largest derivative, in magnitude", f"{np.abs(self.gradient).max():.6g}"),
            ("step of a parameter", f"{self.epsilon.min():.3g} to {self.epsilon.max():.3g}"),
        ]
        return note("gradient by finite differences", Table(["quantity", "value"], rows))


def finite_difference_gradient(
    net: Model,
    X: MatrixLike,
    Y: ArrayLike,
    scheme: Literal["forward", "central"] = "forward",
    epsilon: float | None = None,
    reuse_layers: bool = False,
    sample_weight: ArrayLike | None = None,
    dtype: FloatDType | None = None,
    n_threads: int | None = None,
    progress: bool = False,
) -> FiniteDifferenceResult:
    """Return the gradient by weight perturbation: at least one forward pass for each parameter.

    Parameter by parameter ``(C(w + eps e_j) - C(w)) / eps``, or with ``scheme="central"``
    ``(C(w + eps e_j) - C(w - eps e_j)) / (2 eps)``.  The threads share the parameters; a call can be interrupted, and
    the network is never changed.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (n, n_features)
        Inputs, of the network's dtype.
    Y : array_like, shape (n, n_outputs)
        Targets; for softmax with cross-entropy also integer labels (n,).
    scheme : {'forward', 'central'}
        Which difference.
    epsilon : float, optional
        Step of every parameter.  By default ``u**(1/2) * max(1, abs(w_j))`` for forward and ``u**(1/3) * max(1,
        abs(w_j))`` for central differences, with u the machine epsilon of `dtype`.
    reuse_layers : bool
        False makes a whole forward pass for each parameter.  True keeps every layer's values of the network as it is
        and computes only what a parameter changes: its neuron, what that adds to the next layer, and the layers after.
    sample_weight : array_like, shape (n,), optional
        How often each row counts.
    dtype : {'float64', 'float32'}, optional
        What the passes are computed in: float64, also for a float32 network, because in float32 a difference keeps
        three digits only; unless 'float32' is asked for.
    n_threads : int, optional
        Threads to use; by default as many as the process may.  The result has the same bits for every number.
    progress : bool
        Show a progress bar on standard error, where that is a terminal or a notebook.

    Returns
    -------
    FiniteDifferenceResult
        The gradient, the cost, and the number of passes.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, also for an `epsilon` too small to change a parameter.

    References
    ----------
    Jabri & Flower, "Weight perturbation: an optimal architecture and learning technique for analog VLSI feedforward and
    recurrent multilayer networks", IEEE Transactions on Neural Networks 3 (1992).
    Press, Teukolsky, Vetterling & Flannery, "Numerical Recipes", 3rd edition (2007), section 5.7: the default steps.
    Dennis & Schnabel, "Numerical Methods for Unconstrained Optimization and Nonlinear Equations" (1983), section 5.4.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid", seed=0)
    >>> result = bp.finite_difference_gradient(net, [[-0.9, 0.1]], [[1.0]])
    >>> result.n_passes
    6
    >>> cost, grad = net.value_and_grad([[-0.9, 0.1]], [[1.0]])
    >>> bool(np.allclose(result.gradient, grad, atol=1e-7))
    True
    """
    require_network(net)
    data = checked(net, X, Y, sample_weight)
    if not isinstance(scheme, str) or scheme not in _STEP_POWERS:
        raise ValueError(f"`scheme` must be 'forward' or 'central'; got {scheme!r}. {nearest(scheme, _STEP_POWERS)}")
    reuse_layers, progress = validation.flag(reuse_layers, "reuse_layers"), validation.flag(progress, "progress")
    central = scheme == "central"
    passes_dtype = np.dtype(np.float64) if dtype is None else validation.network_dtype(dtype)
    w = net.params.astype(passes_dtype)
    step = _steps(w, epsilon, _STEP_POWERS[scheme])
    moved = [w + step, w - step] if central else [w + step]
    changes = [np.zeros(w.size) for _ in moved]
    moves = Moves(net, *data, dtype=passes_dtype, n_threads=n_threads, whole_passes=not reuse_layers)
    task = kernel.FROM_BASE if reuse_layers else kernel.WHOLE_PASSES
    with progress_bar(moves.n_measurements(w.size, len(moved)), "pass", wanted=progress) as advance:
        cost = moves.measure(task, np.arange(w.size), moved, changes, advance)
    # w + eps is rounded, but the difference of two neighbouring numbers is exact: divide by the step really taken
    distance = moved[0].astype(np.float64) - (moved[1] if central else w)
    with np.errstate(invalid="ignore"):  # a network whose cost is infinite has no gradient, here NaN
        gradient = (changes[0] - changes[1] if central else changes[0]) / distance
    n_passes = 2 * w.size if central else w.size + 1
    return FiniteDifferenceResult(gradient, cost, n_passes, distance / len(moved))


def _steps(w: NDArray[Any], epsilon: float | None, power: float) -> NDArray[Any]:
    """Return each parameter's step in the parameters' dtype."""
    if epsilon is None:
        relative = w.dtype.type(np.finfo(w.dtype).eps ** power)
        steps: NDArray[Any] = relative * np.maximum(1, np.abs(w))
        return steps
    value = validation.real_number(epsilon, "epsilon", 0.0, open_low=True)
    step = np.full(w.size, value, w.dtype)
    if (w + step == w).any() or (w - step == w).any():
        largest = np.abs(w).max()
        raise ValueError(
            f"`epsilon` must be large enough to change every parameter in {w.dtype.name}; {value:g} is lost in a "
            f"parameter of size {largest:g}. Leave it out for steps that grow with the parameters."
        )
    return step


# --- node perturbation ------------------------------------------------------------------------------------------------


def node_perturbation(
    net: Model, X: MatrixLike, Y: ArrayLike, epsilon: float | None = None, n_threads: int | None = None
) -> list[NDArray[np.float64]]:
    """Return every neuron's error by moving its weighted input: ``dC_x/dz`` of each sample's own cost.

    A small ``dz`` changes the cost by ``delta * dz``.  Two passes for each neuron, one up and one down, which begin at
    that neuron; in float64, also for a float32 network.

    Parameters
    ----------
    net : Network
        The network.
    X, Y : array_like
        Inputs and targets, as for `Network.loss_value`.
    epsilon : float, optional
        ``dz``.  By default ``u**(1/3) * max(1, abs(z))``, with u the machine epsilon of float64.
    n_threads : int, optional
        Threads to use; by default as many as the process may.

    Returns
    -------
    list of ndarray
        For each layer an array (n, fan_out) that agrees with ``net.trace(X, Y).layers[i].delta``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value.

    References
    ----------
    Widrow & Lehr, "30 years of adaptive neural networks: perceptron, Madaline, and backpropagation", Proceedings of the
    IEEE 78 (1990): Madaline rule III.
    Flower & Jabri, "Summed weight neuron perturbation: an O(N) improvement over weight perturbation", Advances in
    Neural Information Processing Systems 5 (1993).

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> hidden, output = bp.node_perturbation(net, [[0.5, -1.0]], [[1.0]])
    >>> bool(np.allclose(hidden, net.trace([[0.5, -1.0]], [[1.0]]).layers[0].delta))
    True
    """
    require_network(net)
    data = checked(net, X, Y, None)
    if epsilon is None:
        step, relative = float(np.finfo(np.float64).eps) ** (1 / 3), 1.0
    else:
        step, relative = validation.real_number(epsilon, "epsilon", 0.0, open_low=True), 0.0
    moves = Moves(net, *data, dtype=np.dtype(np.float64), n_threads=n_threads)
    n_neurons = sum(net.sizes[1:])
    n_bytes = 2 * 8 * n_neurons * len(data[0])
    require_memory(n_bytes, f"The errors of {n_neurons} neurons for {len(data[0])} rows", "Pass fewer rows at a time.")
    errors = np.zeros((n_neurons, len(data[0])))
    moves.measure(kernel.NEURONS, np.arange(n_neurons), [np.array([step, relative])], [errors])
    ends = np.cumsum(net.sizes[1:])
    return [np.ascontiguousarray(errors[end - n : end].T) for n, end in zip(net.sizes[1:], ends, strict=True)]


# --- random weight search ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomSearchResult:
    """The record of a random weight search.

    Attributes
    ----------
    loss : ndarray, shape (n_records,)
        Cost of all samples, penalties included: before the first step, then after every `record_every` steps.
    steps : ndarray, shape (n_records,)
        How many steps had been taken then.
    n_accepted : int
        Steps whose change was kept.
    n_passes : int
        Forward passes of one sample that the search took, two a step; those for `loss` are not counted.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 1], initializer="zeros")
    >>> result = bp.random_weight_search(net, [[3.0]], [[2.0]], n_steps=100, seed=0)
    >>> result.n_passes, result.loss[-1] < result.loss[0]
    (200, np.True_)
    """

    loss: NDArray[np.float64]
    steps: NDArray[np.int64]
    n_accepted: int
    n_passes: int

    def __repr__(self) -> str:
        kept = f"{self.n_accepted} of {self.steps[-1]} steps kept"
        return f"<RandomSearchResult: {kept}, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g}>"

    def _repr_html_(self) -> str:
        rows = [
            ("steps", self.steps[-1]),
            ("steps kept", self.n_accepted),
            ("forward passes of one sample", self.n_passes),
            ("first loss", f"{self.loss[0]:.6g}"),
            ("last loss", f"{self.loss[-1]:.6g}"),
        ]
        return note("random weight search", Table(["quantity", "value"], rows), curve({"loss": self.loss}))


def random_weight_search(
    net: Model,
    X: MatrixLike,
    Y: ArrayLike,
    n_steps: int,
    scale: float = 0.1,
    seed: int | None = None,
    record_every: int | None = None,
) -> RandomSearchResult:
    """Train by trial and error, the very slow way: a baseline to measure gradients against.

    Each step draws a parameter (weight or bias) and a sample, adds a normal random number times `scale` to the
    parameter, and undoes that unless the cost of the sample, penalties included, fell.  One sample's gain may be the
    others' loss, so the cost of all samples falls on average only.

    Parameters
    ----------
    net : Network
        The network; its parameters are changed in place.
    X, Y : array_like
        Inputs and targets, as for `Network.loss_value`.
    n_steps : int
        Steps to take.
    scale : float
        Standard deviation of a change.
    seed : int, optional
        Seed of the random numbers; the same seed gives the same steps.
    record_every : int, optional
        Steps between two records of the cost of all samples; by default about a hundredth of the steps.

    Returns
    -------
    RandomSearchResult
        The recorded costs, and how many steps were kept.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value; the network is unchanged.
    RuntimeError
        If the network is being trained.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 1], seed=0)
    >>> result = bp.random_weight_search(net, [[0.0], [1.0]], [[1.0], [3.0]], n_steps=2000, seed=0)
    >>> result.n_passes, bool(result.loss[-1] < 0.01 * result.loss[0])
    (4000, True)
    """
    require_network(net)
    data = checked(net, X, Y, None)
    require_writable(net)
    n_steps = validation.positive_integer(n_steps, "n_steps")
    scale = validation.real_number(scale, "scale", 0.0, open_low=True)
    # three streams, so that the steps do not depend on how many are drawn at once
    parameters, samples, numbers = np.random.default_rng(validation.seed(seed)).spawn(3)
    if record_every is None:
        record_every = -(-n_steps // _RECORDS)
    else:
        record_every = validation.positive_integer(record_every, "record_every")
    n_rows = len(data[0])

    def draw(n: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        indices = np.concatenate([parameters.integers(net.n_params, size=n), samples.integers(n_rows, size=n)])
        return indices, (scale * numbers.standard_normal(n)).astype(net.dtype)

    search = functools.partial(_search, net, data, n_steps, record_every, draw)
    return alone(net, "random_weight_search", search)


def _search(net: Model, data: Any, n_steps: int, record_every: int, draw: Draw) -> RandomSearchResult:
    """Take the steps, with random numbers as they are drawn."""
    moves = Moves(net, *data, dtype=net.dtype, n_threads=1)
    steps = [0]
    loss = [passes_of(net).cost(*data, n_threads=None)]
    accepted = 0
    while steps[-1] < n_steps:
        n = min(record_every, n_steps - steps[-1])
        accepted += moves.search(net.params, n, draw)
        steps.append(steps[-1] + n)
        loss.append(passes_of(net).cost(*data, n_threads=None))
    return RandomSearchResult(np.array(loss), np.array(steps), accepted, 2 * n_steps)
