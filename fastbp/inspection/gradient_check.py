"""`check_gradient`: backpropagation against differences, parameter by parameter, with the kinks recognised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.derivatives.moves import Moves
from fastbp.engine import parameters
from fastbp.functions.activations import facts_of_activation
from fastbp.functions.losses import facts_of_loss
from fastbp.functions.own import Activation, Loss
from fastbp.kernels.roots import perturbation as kernel
from fastbp.model.checks import checked
from fastbp.model.definition import require_network
from fastbp.model.model import Model, passes_of
from fastbp.system.tables import Table, note
from fastbp.validation.arrays import as_array, no_numbers
from fastbp.validation.matrix_like import MatrixLike

# A wrong formula is wrong in the first digits.  A right one agrees to 1e-9 or better in float64; float32 has 7
# digits, of which a deep network loses some.
_TOLERANCES = {"float64": 1e-6, "float32": 1e-3}
# Weights of the differences C(w + k h) - C(w - k h), and the power of machine epsilon that balances truncation against
# rounding.  Fourth order where the cost is smooth; where it is not, the small step of second order meets fewer kinks.
_SMOOTH = {1: 2 / 3, 2: -1 / 12}, 1 / 5
_ROUGH = {1: 1 / 2}, 1 / 3
# A layer whose gradient is smaller than this share of the largest layer's is judged by that share: where a gradient
# cancels, only rounding is left.
_LEAST_SHARE = 1e-3
# Step to each side of a float32 network.  What is on a kink in float32 lies some 1e-7 beside it in float64; a parameter
# that counts, since it moves the outputs by a thousandth of what others do, must carry it across in half a step.
_FLOAT32_STEP = 1e-3
_ROUNDINGS = 10  # of a cost, in units of machine epsilon


@dataclass(frozen=True)
class LayerCheck:
    """One layer's part of a report.

    Attributes
    ----------
    weight_error, bias_error : float
        Largest error of the weights' and of the biases' gradient; 0 where none was checked.
    n_params : int
        Weights and biases of the layer.
    n_checked : int
        How many of them were compared.
    n_at_kinks : int
        How many of those were left out, because the cost has a kink between the two sides of the difference.

    Examples
    --------
    >>> import fastbp as bp
    >>> layer = bp.check_gradient(bp.Network([2, 3, 1], "tanh", seed=0), [[0.5, -1.0]], [[1.0]]).layers[0]
    >>> layer.n_params, layer.n_checked, layer.weight_error < 1e-7
    (9, 9, True)
    """

    weight_error: float
    bias_error: float
    n_params: int
    n_checked: int
    n_at_kinks: int


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradient` found; prints as a table.

    Attributes
    ----------
    ok : bool
        Whether no error is above the tolerance.
    max_error : float
        Largest error: absolute difference over the largest derivative of the layer.
    tolerance : float
        What was allowed.
    layers : list of LayerCheck
        The layers, first one first.
    worst : str
        Where the largest error is, with both derivatives.

    Examples
    --------
    >>> import fastbp as bp
    >>> report = bp.check_gradient(bp.Network([2, 3, 1], "tanh", seed=0), [[0.5, -1.0]], [[1.0]])
    >>> report.ok, len(report.layers), report.max_error < report.tolerance
    (True, 2, True)
    """

    ok: bool
    max_error: float
    tolerance: float
    layers: list[LayerCheck]
    worst: str

    def _head(self) -> list[str]:
        n_params = sum(layer.n_params for layer in self.layers)
        n_checked = sum(layer.n_checked for layer in self.layers)
        n_at_kinks = sum(layer.n_at_kinks for layer in self.layers)
        return [
            f"gradient {'agrees' if self.ok else 'DISAGREES'} with differences: largest error {self.max_error:.1e}, "
            f"tolerance {self.tolerance:.1e}",
            f"{n_checked} of {n_params} parameters checked, {n_at_kinks} of them left out at kinks",
            f"largest error at {self.worst}",
        ]

    def _repr_html_(self) -> str:
        rows = [
            (
                *(i, layer.n_params, layer.n_checked, layer.n_at_kinks),
                *(f"{layer.weight_error:.1e}", f"{layer.bias_error:.1e}"),
            )
            for i, layer in enumerate(self.layers)
        ]
        return note(*self._head(), Table(["layer", "parameters", "checked", "at kinks", "error dW", "error db"], rows))

    def __str__(self) -> str:
        lines = [
            *self._head(),
            f"{'layer':>5} {'parameters':>10} {'checked':>8} {'at kinks':>8} {'error dW':>9} {'error db':>9}",
        ]
        lines += [
            f"{i:>5} {layer.n_params:>10} {layer.n_checked:>8} {layer.n_at_kinks:>8} "
            f"{layer.weight_error:>9.1e} {layer.bias_error:>9.1e}"
            for i, layer in enumerate(self.layers)
        ]
        return "\n".join(lines)

    __repr__ = __str__


def check_gradient(
    net: Model,
    X: MatrixLike,
    Y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    tolerance: float | None = None,
    max_params: int | None = 10_000,
    gradient: ArrayLike | None = None,
    seed: int | None = 0,
    n_threads: int | None = None,
) -> GradientReport:
    """Compare the gradient with differences of the cost in float64, parameter by parameter.

    A parameter whose difference disagrees because moving it carries some neuron across a kink is recognised and left
    out: z = 0 of relu, leaky_relu and elu, a = y of the absolute and the quantile loss, abs(a - y) = `loss_parameter`
    of huber, w = 0 with an L1 penalty.  The kinks of activations and losses of your own are not known, and in float32 a
    sample may lie on a kink that it lies beside in float64; there, a parameter is also left out if its gradient lies
    between the two one-sided differences.

    Parameters
    ----------
    net : Network
        The network; a float32 one's gradient is compared with differences in float64, by the tolerance of float32.
    X, Y, sample_weight : array_like
        Inputs, targets and how often each row counts, as for `Network.loss_value`.
    tolerance : float, optional
        Largest error allowed, relative to the layer's largest derivative; by default 1e-6 for float64 and 1e-3 for
        float32.
    max_params : int or None
        Most parameters to compare; of a larger network this many are drawn at random.  None compares all.
    gradient : array_like, shape (n_params,), optional
        A gradient of your own to check; by default that of `Network.value_and_grad`.
    seed : int, optional
        Seed of that drawing.
    n_threads : int, optional
        Threads to use; by default as many as the process may.

    Returns
    -------
    GradientReport
        Whether all is well, the largest error, and each layer's; ``print(report)`` shows a table.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value.

    References
    ----------
    Press, Teukolsky, Vetterling & Flannery, "Numerical Recipes", 3rd edition (2007), section 5.7.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> report = bp.check_gradient(net, [[0.5, -1.0]], [[1.0]])
    >>> report.ok, len(report.layers)
    (True, 2)
    """
    require_network(net)
    data = checked(net, X, Y, sample_weight)
    if tolerance is None:
        tolerance = _TOLERANCES[net.dtype.name]
    tolerance = validation.real_number(tolerance, "tolerance", 0.0, open_low=True)
    indices = _chosen(net.n_params, max_params, seed)
    if gradient is None:
        _, claimed = passes_of(net).value_and_grad(*data, params=net.params, n_threads=n_threads)
    else:
        claimed = _own_gradient(gradient, net.n_params)
    moves = Moves(net, *data, dtype=np.dtype(np.float64), n_threads=n_threads)
    differences = _Differences(net, moves, indices)
    return _report(net, indices, claimed[indices].astype(np.float64), differences, tolerance)


def _chosen(n_params: int, max_params: int | None, seed: int | None) -> NDArray[np.int64]:
    """Return the parameters to compare, in ascending order."""
    rng = np.random.default_rng(validation.seed(seed))
    if max_params is None or validation.positive_integer(max_params, "max_params") >= n_params:
        return np.arange(n_params)
    return np.sort(rng.choice(n_params, max_params, replace=False))


def _own_gradient(gradient: ArrayLike, n_params: int) -> NDArray[Any]:
    array = as_array(gradient, "gradient", np.dtype(np.float64))
    if array.dtype.kind not in "iuf":
        raise no_numbers(array, "gradient")
    if array.shape != (n_params,):
        raise ValueError(f"`gradient` must have shape ({n_params},), as `net.params` has; got {array.shape}.")
    return array


# --- differences ------------------------------------------------------------------------------------------------------


class _Differences:
    """Derivatives of the cost with respect to some parameters, by differences in float64."""

    def __init__(self, net: Model, moves: Moves, indices: NDArray[np.int64]) -> None:
        self._moves, self._indices = moves, indices
        self._is_float32 = net.dtype == np.float32
        self._compares_sides = _has_own_functions(net) or (self._is_float32 and _is_rough(net))
        weights, power = _ROUGH if _is_rough(net) else _SMOOTH
        w = net.params[indices].astype(np.float64)
        steps = np.finfo(np.float64).eps ** power * np.maximum(1, np.abs(w))
        self._w, self.least_step = w, float(steps.min())
        self._steps = _FLOAT32_STEP * np.maximum(1, np.abs(w)) if self._is_float32 else steps  # to one side
        self._moved = [w + sign * k * steps for k in weights for sign in (1, -1)]
        self._changes = [np.zeros(w.size) for _ in self._moved]
        self.cost = moves.measure(kernel.FROM_BASE, indices, self._moved, self._changes)
        self.slopes = np.zeros(w.size)
        with np.errstate(invalid="ignore", over="ignore"):  # an infinite cost has no slope, here NaN
            for pair, (k, weight) in enumerate(weights.items()):
                distance = self._moved[2 * pair] - self._moved[2 * pair + 1]  # 2 k h, exactly as it was taken
                change = self._changes[2 * pair] - self._changes[2 * pair + 1]
                self.slopes += 2 * k * weight * change / distance

    def at_kink(
        self,
        which: NDArray[np.int64],
        claimed: NDArray[np.float64],
        layer: NDArray[np.int64],
        scales: NDArray[np.float64],
        tolerance: float,
    ) -> NDArray[np.bool_]:
        """Whether a kink explains that the claimed derivatives of parameters ``indices[which]`` disagree."""
        found = self._moves.crossings(self._indices[which], [values[which] for values in self._moved]) > 0
        if self._compares_sides:
            sides = self._one_sided(which)
            # where differences across a symmetric kink cancel, a layer's largest derivative is that of one side
            largest = scales.copy()
            np.maximum.at(largest, layer[which], np.where(np.isfinite(sides), np.abs(sides), 0.0).max(axis=0))
            margin = tolerance * largest[layer[which]]
            found |= (sides.min(axis=0) - margin <= claimed[which]) & (claimed[which] <= sides.max(axis=0) + margin)
        return found

    def _one_sided(self, which: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the slopes on either side of parameters ``indices[which]``, (n_slopes, n).

        The slope over a step h is off by h C''/2, which is more than the tolerance allows where the gradient is the
        slope of one side.  Twice the slope over h / 2 less that over h is free of it; both are returned, since the
        kink may lie inside a step.  In a float32 network it does where a sample is on it in float32: there the slopes
        over the second half and from h to 2 h, both beyond the kink, are combined in the same way.
        """
        indices, w, h = self._indices[which], self._w[which], self._steps[which]
        lengths = (0.5, 1.0, 2.0) if self._is_float32 else (0.5, 1.0)
        moved = [w + sign * length * h for length in lengths for sign in (1, -1)]
        changes = [np.zeros(w.size) for _ in moved]
        self._moves.measure(kernel.FROM_BASE, indices, moved, changes)
        distances = np.array(moved).reshape(len(lengths), 2, -1) - w
        costs = np.array(changes).reshape(distances.shape)
        with np.errstate(invalid="ignore", over="ignore"):  # as above
            if self._is_float32:
                first, second = np.diff(costs, axis=0) / np.diff(distances, axis=0)
                return np.asarray(2 * first - second)
            half, whole = costs / distances
            return np.concatenate([whole, 2 * half - whole])


def _is_rough(net: Model) -> bool:
    """Whether the cost is not, or is not known to be, smooth."""
    rough = any(facts_of_activation(name).rough for runs in net.activations for name, _ in runs)
    kinked = rough or facts_of_loss(net.loss).kinks is not None or net.penalties[1] > 0
    return kinked or _has_own_functions(net)


def _has_own_functions(net: Model) -> bool:
    own = any(isinstance(name, Activation) for runs in net.activations for name, _ in runs)
    return own or isinstance(net.loss, Loss)


# --- the report -------------------------------------------------------------------------------------------------------


def _report(
    net: Model,
    indices: NDArray[np.int64],
    claimed: NDArray[np.float64],
    differences: _Differences,
    tolerance: float,
) -> GradientReport:
    """Judge the claimed derivatives."""
    layer = np.searchsorted(parameters.weight_offsets(net.sizes), indices, side="right") - 1
    scales = _scales(net, layer, differences, tolerance)
    scale = scales[layer]
    with np.errstate(invalid="ignore"):
        errors = np.abs(claimed - differences.slopes) / scale
    errors[np.isnan(errors)] = np.inf
    wrong = np.flatnonzero(errors > tolerance)
    at_kink = np.zeros(indices.size, bool)
    if wrong.size:
        at_kink[wrong] = differences.at_kink(wrong, claimed, layer, scales, tolerance)
    errors[at_kink] = 0.0
    worst = int(np.argmax(errors))
    place = _place(net, int(layer[worst]), int(indices[worst]))
    return GradientReport(
        ok=bool(errors[worst] <= tolerance),
        max_error=float(errors[worst]),
        tolerance=tolerance,
        layers=_layer_checks(net, indices, layer, errors, at_kink),
        worst=f"{place}: gradient {claimed[worst]:.9g}, difference {differences.slopes[worst]:.9g}",
    )


def _scales(net: Model, layer: NDArray[np.int64], differences: _Differences, tolerance: float) -> NDArray[np.float64]:
    """Return each layer's largest derivative, but never so small that rounding alone would be above the tolerance."""
    slopes = np.where(np.isfinite(differences.slopes), np.abs(differences.slopes), 0.0)
    scales = np.zeros(len(net.sizes) - 1)
    np.maximum.at(scales, layer, slopes)
    cost = abs(differences.cost) if np.isfinite(differences.cost) else 0.0
    rounding = np.finfo(np.float64).eps * cost / differences.least_step + np.finfo(net.dtype).eps * (1 + cost)
    floor = float(_ROUNDINGS * rounding / tolerance)
    return np.maximum(scales, max(_LEAST_SHARE * float(scales.max()), floor))


def _layer_checks(
    net: Model,
    indices: NDArray[np.int64],
    layer: NDArray[np.int64],
    errors: NDArray[np.float64],
    at_kink: NDArray[np.bool_],
) -> list[LayerCheck]:
    checks = []
    for i, offset in enumerate(parameters.weight_offsets(net.sizes)):
        fan_in, fan_out = net.sizes[i], net.sizes[i + 1]
        own = layer == i
        weights = own & (indices < offset + fan_in * fan_out)
        checks.append(
            LayerCheck(
                weight_error=float(errors[weights].max(initial=0.0)),
                bias_error=float(errors[own & ~weights].max(initial=0.0)),
                n_params=(fan_in + 1) * fan_out,
                n_checked=int(own.sum()),
                n_at_kinks=int(at_kink[own].sum()),
            )
        )
    return checks


def _place(net: Model, layer: int, index: int) -> str:
    """Name a parameter."""
    k, j = divmod(index - parameters.weight_offsets(net.sizes)[layer], net.sizes[layer + 1])
    return f"layer {layer}, b[{j}]" if k == net.sizes[layer] else f"layer {layer}, W[{k}, {j}]"
