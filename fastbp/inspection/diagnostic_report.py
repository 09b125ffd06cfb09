"""What a diagnosis found: neurons of each layer that are saturated, dead or starved of input, and what helps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.system.tables import Table, note

MOST_ROWS = 40  # of a notebook's table
_REPORT_HEAD = ("layer", "neurons", "saturated", "dead", "flat for", "mean slope", "mean input", "activation")
_MOST_NAMED = 10  # neurons that are listed in the text; the arrays have all

_SATURATED_ADVICE = (
    "Saturated neurons: inputs scaled to mean 0 and variance 1; smaller initial weights, initializer='glorot_uniform'; "
    "a smaller learning rate or an L2 penalty; relu in hidden layers; loss='cross_entropy' for sigmoid outputs."
)
_DEAD_ADVICE = (
    "Dead neurons: a smaller learning rate or clip_norm, initializer='he_uniform', inputs scaled to mean 0; "
    "leaky_relu or elu, which are flat nowhere or less abruptly; more neurons than needed do no harm."
)
_STARVED_DATA_ADVICE = "Starved first layer: scale the inputs to mean 0 and variance 1."
_STARVED_ADVICE = (
    "Starved layers: larger weights in the layer before (initializer='he_uniform' for relu, 'glorot_uniform' for "
    "others), fewer layers, or first a cure for dead or saturated neurons there."
)


@dataclass(frozen=True, repr=False, eq=False)
class LayerDiagnosis:
    """One layer's part of a report.

    Attributes
    ----------
    activation : str
        Name of its activation, or names with counts.
    mean_slope : ndarray, shape (fan_out,)
        Mean over the samples of ``abs(f'(z))``.
    flat_share : ndarray, shape (fan_out,)
        Share of the samples for which the derivative is below 1 % of the activation's largest one.
    dead_share : ndarray, shape (fan_out,)
        Share of the samples for which a relu neuron's output is 0; 0 for other neurons.
    input_magnitude : ndarray, shape (fan_in,)
        Mean over the samples of ``abs(a_prev)``.
    saturated : ndarray of int
        Neurons that are flat for at least 95 % of the samples, except relu neurons.
    dead : ndarray of int
        Relu neurons whose output is 0 for all samples.
    starved : bool
        Whether the mean input magnitude is below 0.01, so that all the layer's weights learn slowly.

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([1, 2], initializer="zeros", output="relu")
    >>> net.biases[0][...] = -1.0, 1.0
    >>> layer = bp.diagnose(net, [[0.5], [1.0]]).layers[0]
    >>> layer.dead, layer.dead_share, layer.input_magnitude
    (array([0]), array([1., 0.]), array([0.75]))
    """

    activation: str
    mean_slope: NDArray[np.float64]
    flat_share: NDArray[np.float64]
    dead_share: NDArray[np.float64]
    input_magnitude: NDArray[np.float64]
    saturated: NDArray[np.int64]
    dead: NDArray[np.int64]
    starved: bool

    @property
    def n_neurons(self) -> int:
        """Neurons of the layer."""
        return self.mean_slope.size

    @property
    def mean_input(self) -> float:
        """Mean of `input_magnitude` over the inputs."""
        return float(self.input_magnitude.mean())

    def __repr__(self) -> str:
        starved = "starved" if self.starved else "not starved"
        found = f"{self.saturated.size} saturated, {self.dead.size} dead, {starved}"
        return f"<LayerDiagnosis: {self.n_neurons} neurons, {self.activation}, {found}>"

    @property
    def ok(self) -> bool:
        """Whether no neuron of the layer is in trouble."""
        return not (self.saturated.size or self.dead.size or self.starved)


@dataclass(frozen=True, repr=False, eq=False)
class DiagnosticReport:
    """What `diagnose` found; prints as a table.

    Attributes
    ----------
    layers : list of LayerDiagnosis
        The layers of weights, first one first, the output layer last.
    n_samples : int
        Samples that were looked at.

    Examples
    --------
    >>> import fastbp as bp
    >>> report = bp.diagnose(bp.Network([2, 3, 1], activation="tanh", seed=0), [[0.5, -1.0], [1.0, 0.0]])
    >>> report.ok, len(report.layers), report.n_samples, report.advice
    (True, 2, 2, [])
    """

    layers: list[LayerDiagnosis]
    n_samples: int

    @property
    def ok(self) -> bool:
        """Whether no neuron is in trouble."""
        return all(layer.ok for layer in self.layers)

    @property
    def advice(self) -> list[str]:
        """What usually helps against what was found; empty if all is well."""
        cases = (
            (any(layer.saturated.size for layer in self.layers), _SATURATED_ADVICE),
            (any(layer.dead.size for layer in self.layers), _DEAD_ADVICE),
            (self.layers[0].starved, _STARVED_DATA_ADVICE),
            (any(layer.starved for layer in self.layers[1:]), _STARVED_ADVICE),
        )
        return [advice for found, advice in cases if found]

    def _verdict(self) -> str:
        verdict = "no neuron is in trouble" if self.ok else "neurons IN TROUBLE"
        return f"{verdict} ({self.n_samples} {'sample' if self.n_samples == 1 else 'samples'})"

    def _cells(self) -> list[tuple[Any, ...]]:
        return [
            (
                *(i, layer.n_neurons, layer.saturated.size, layer.dead.size, f"{layer.flat_share.mean():.1%}"),
                *(f"{layer.mean_slope.mean():.2g}", f"{layer.mean_input:.2g}", layer.activation),
            )
            for i, layer in enumerate(self.layers)
        ]

    def _repr_html_(self) -> str:
        table = Table(_REPORT_HEAD, self._cells(), left=["activation"])
        return note(f"diagnosis: {self._verdict()}", table, *self._troubles(), *self.advice)

    def __str__(self) -> str:
        lines = [
            "{:>5} {:>8} {:>9} {:>6} {:>8} {:>10} {:>10}  {}".format(*row) for row in (_REPORT_HEAD, *self._cells())
        ]
        wrapped = [line for advice in self.advice for line in textwrap.wrap(advice, 100, subsequent_indent="  ")]
        return "\n".join([self._verdict(), *lines, *self._troubles(), *wrapped])

    __repr__ = __str__

    def _troubles(self) -> Iterator[str]:
        for i, layer in enumerate(self.layers):
            for word, neurons, share in (
                ("saturated", layer.saturated, layer.flat_share),
                ("dead", layer.dead, layer.dead_share),
            ):
                if neurons.size:
                    named = ", ".join(f"{j} ({share[j]:.0%})" for j in neurons[:_MOST_NAMED])
                    more = f" and {neurons.size - _MOST_NAMED} more" if neurons.size > _MOST_NAMED else ""
                    yield f"layer {i}: {neurons.size} of {layer.n_neurons} neurons {word}: {named}{more}"
            if layer.starved:
                yield f"layer {i}: all {layer.n_neurons} neurons starved: their mean input is {layer.mean_input:.2g}"
