"""Neurons in trouble: saturated, dead, or starved of input, at one moment or over the epochs of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.derivatives.outputs import output_slopes
from fastbp.functions.activations import facts_of_activation
from fastbp.functions.losses import facts_of_loss
from fastbp.inspection.diagnostic_report import MOST_ROWS, DiagnosticReport, LayerDiagnosis
from fastbp.model.checks import checked_inputs
from fastbp.model.definition import require_network, settings_of
from fastbp.model.description import activation_text
from fastbp.model.model import Model, from_params
from fastbp.system.tables import Table, curve, note
from fastbp.validation.matrix_like import MatrixLike

__all__ = ["DiagnosticReport", "DiagnosticWatch", "LayerDiagnosis", "diagnose"]

# The gradient of a weight is a product with f'(z) and with the input a_prev (equations 2 and 4).  Where one of them is
# a hundred times smaller than usual, plain gradient descent needs a hundred times as many steps.  For the logistic
# function this is beyond abs(z) = 6, for tanh beyond abs(z) = 3; at z = 15 the logistic derivative is 3.1e-7.
_NEAR_ZERO = 0.01
# "Nearly all" samples.  The few others still teach the neuron something, but its other samples nothing.
_NEARLY_ALL = 0.95

_BLOCK_ELEMENTS = 1 << 20  # numbers of one layer that are looked at together: some 8 MiB
_WATCH_HEAD = ("epoch", "layer", "neurons", "saturated", "dead", "mean slope", "starved")


def diagnose(net: Model, X: MatrixLike) -> DiagnosticReport:
    """Say which neurons of which layers are saturated, dead or starved.

    A neuron is *saturated* if the derivative of its activation is near 0 for nearly all samples (below 1 % of its
    largest value, for 95 % of them), *dead* if it is a relu neuron with output 0 for all samples, and *starved* if the
    inputs of its layer are near 0 (mean magnitude below 0.01).  In all three cases gradient descent hardly moves the
    weights.
    Output neurons whose loss matches their activation (sigmoid or softmax with cross_entropy, exp with poisson) are
    never saturated: their error is a - y, however flat the activation.

    Parameters
    ----------
    net : Network
        The network, trained or not; it is not changed.
    X : array_like, shape (n, n_features)
        Inputs, a few hundred are enough; of the network's dtype.

    Returns
    -------
    DiagnosticReport
        ``report.ok``, arrays for each layer, ``report.advice``; ``print(report)`` shows a table.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape, or activations are not finite.

    References
    ----------
    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    Lu, Shin, Su & Karniadakis, "Dying ReLU and initialization: theory and numerical examples",
    Communications in Computational Physics 28 (2020).

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="sigmoid", seed=0)
    >>> net.biases[0][1] = 15.0
    >>> report = bp.diagnose(net, [[0.5, -1.0], [1.0, 0.0]])
    >>> report.ok, report.layers[0].saturated
    (False, array([1]))
    """
    require_network(net)
    a = checked_inputs(net, X)
    rows = max(1, _BLOCK_ELEMENTS // max(net.sizes))
    counts = [_Counts(net, layer) for layer in range(len(net.sizes) - 1)]
    for first in range(0, len(a), rows):
        block = a[first : first + rows]
        for layer in counts:
            block = layer.add(block)
    return DiagnosticReport([layer.diagnosis(len(a)) for layer in counts], len(a))


class DiagnosticWatch:
    """A callback for `fit` that keeps a report for each epoch.

    Parameters
    ----------
    X : array_like, shape (n, n_features)
        Inputs to look at, as for `diagnose`.
    every : int
        After how many epochs to look again: with 2 it looks after epochs 2, 4, 6 and so on.

    Attributes
    ----------
    epochs : list of int
        After which epochs it looked, counted from 1 and over all fits that it was part of.
    reports : list of DiagnosticReport
        What it found then; ``print(watch)`` shows a table.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> X, Y = [[0.5, -1.0], [1.0, 0.0]], [[1.0], [0.0]]
    >>> watch = bp.DiagnosticWatch(X, every=2)
    >>> history = net.fit(X, Y, epochs=4, callbacks=[watch])
    >>> watch.epochs, watch.reports[-1].ok
    ([2, 4], True)
    """

    def __init__(self, X: MatrixLike, every: int = 1) -> None:
        self._X = X
        self._every = validation.positive_integer(every, "every")
        self._n_epochs = 0
        self.epochs: list[int] = []
        self.reports: list[DiagnosticReport] = []

    def __call__(self, net: Model, history: object) -> None:
        """Look at the network after an epoch, if it is time."""
        self._n_epochs += 1
        if self._n_epochs % self._every == 0:
            self.reports.append(diagnose(net, self._X))
            self.epochs.append(self._n_epochs)

    def saturated_share(self) -> NDArray[np.float64]:
        """Return the share of each layer's neurons that was saturated, shape (n_reports, n_layers).

        Examples
        --------
        >>> import fastbp as bp
        >>> watch = bp.DiagnosticWatch([[1.0], [2.0]])
        >>> history = bp.Network([1, 4, 1], "tanh", seed=0).fit([[0.0], [1.0]], [1, 3], epochs=3, callbacks=[watch])
        >>> watch.saturated_share().shape
        (3, 2)
        """
        return np.array([[layer.saturated.size / layer.n_neurons for layer in r.layers] for r in self.reports])

    def dead_share(self) -> NDArray[np.float64]:
        """Return the share of each layer's neurons that was dead, shape (n_reports, n_layers).

        Examples
        --------
        >>> import fastbp as bp
        >>> watch = bp.DiagnosticWatch([[1.0], [2.0]])
        >>> history = bp.Network([1, 4, 1], "tanh", seed=0).fit([[0.0], [1.0]], [1, 3], epochs=3, callbacks=[watch])
        >>> watch.dead_share()[-1]
        array([0., 0.])
        """
        return np.array([[layer.dead.size / layer.n_neurons for layer in r.layers] for r in self.reports])

    def _cells(self) -> list[tuple[Any, ...]]:
        return [
            (
                *(epoch, i, layer.n_neurons, layer.saturated.size, layer.dead.size),
                *(f"{layer.mean_slope.mean():.2g}", "yes" if layer.starved else "no"),
            )
            for epoch, report in zip(self.epochs, self.reports, strict=True)
            for i, layer in enumerate(report.layers)
        ]

    def __repr__(self) -> str:
        return "\n".join(
            "{:>5} {:>5} {:>8} {:>9} {:>6} {:>10} {}".format(*row) for row in (_WATCH_HEAD, *self._cells())
        )

    def _repr_html_(self) -> str:
        shares = {"saturated": self.saturated_share(), "dead": self.dead_share()} if self.reports else {}
        worst = {f"{word}, largest share of a layer": share.max(axis=1) for word, share in shares.items()}
        cells = self._cells()
        more = f"(the last {MOST_ROWS} of {len(cells)} rows)" if len(cells) > MOST_ROWS else ""
        return note("diagnoses over the epochs", curve(worst), Table(_WATCH_HEAD, cells[-MOST_ROWS:]), more)


# --- one layer --------------------------------------------------------------------------------------------------------


class _Counts:
    """Sums over the samples of one layer, which is looked at as a network of its own."""

    def __init__(self, net: Model, layer: int) -> None:
        self._layer, self._runs = layer, net.activations[layer]
        fan_in, fan_out = net.sizes[layer : layer + 2]
        output: Any = self._runs[0][0] if len(self._runs) == 1 else self._runs
        params = np.concatenate([net.weights[layer].ravel(), net.biases[layer]])
        settings = settings_of(net) | {"activation": [], "output": output, "dropout": 0.0}
        settings |= {"loss": "quadratic", "loss_parameter": None}
        self._net = from_params(Model, params, [fan_in, fan_out], **settings)
        is_output = layer == len(net.sizes) - 2
        neurons = [activation for activation, count in self._runs for _ in range(count)]
        facts = [facts_of_activation(activation) for activation in neurons]  # a user's own is judged by its derivative
        # outputs whose error is a - y, without f': flat there does no harm (Nielsen 2015, chapter 3)
        matched = [is_output and activation in facts_of_loss(net.loss).matching for activation in neurons]
        self._can_die = np.array([row.can_die for row in facts])
        never = np.array([row.never_flat for row in facts]) | matched
        largest = np.array([row.largest_slope for row in facts])  # which is what "usual" means
        self._flat_below = np.where(never, 0.0, _NEAR_ZERO * largest)
        self._slopes, self._n_flat, self._n_zero = np.zeros(fan_out), np.zeros(fan_out), np.zeros(fan_out)
        self._inputs = np.zeros(fan_in)

    def add(self, a_prev: NDArray[Any]) -> NDArray[Any]:
        """Count some samples, and return the layer's outputs for them."""
        a = self._net.predict(a_prev)
        if not validation.all_finite(a):
            raise ValueError(
                f"`net` must have finite activations; layer {self._layer} gives NaN or infinity for these `X`. Scale "
                "the inputs, or go back to parameters that are not so large."
            )
        slopes = self._derivatives(a_prev, a)
        self._slopes += slopes.sum(axis=0)
        self._n_flat += (slopes < self._flat_below).sum(axis=0)
        self._n_zero += (a == 0).sum(axis=0)
        self._inputs += np.abs(a_prev).sum(axis=0, dtype=np.float64)
        return a

    def _derivatives(self, a_prev: NDArray[Any], a: NDArray[Any]) -> NDArray[np.float64]:
        """Return abs(f'(z)), as the kernels compute it."""
        if self._net.has_softmax:
            diagonal: NDArray[np.float64] = (a * (1 - a)).astype(np.float64)  # of the Jacobian
            return diagonal
        slopes: NDArray[np.float64] = np.abs(output_slopes(self._net, a_prev)).astype(np.float64)
        return slopes

    def diagnosis(self, n: int) -> LayerDiagnosis:
        """Judge what was seen of n samples."""
        flat, zero = self._n_flat / n, self._n_zero / n * self._can_die
        magnitude = self._inputs / n
        return LayerDiagnosis(
            activation=activation_text(self._runs),
            mean_slope=self._slopes / n,
            flat_share=flat,
            dead_share=zero,
            input_magnitude=magnitude,
            saturated=np.flatnonzero((flat >= _NEARLY_ALL) & ~self._can_die),
            dead=np.flatnonzero(zero == 1),
            starved=bool(magnitude.mean() < _NEAR_ZERO),
        )
