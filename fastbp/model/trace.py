"""`Trace`: every quantity of one forward and backward pass, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import parameters
from fastbp.engine.problem_frames import make_frame
from fastbp.model.definition import Definition, problem_of
from fastbp.system.tables import Table, note
from fastbp.validation.data import Targets


@dataclass(frozen=True, repr=False)
class LayerTrace:
    """One layer's part of a trace.

    Attributes
    ----------
    z : ndarray, shape (n, fan_out)
        Weighted inputs ``a_prev @ W + b``.
    a : ndarray, shape (n, fan_out)
        Activations ``f(z)``.
    delta : ndarray, shape (n, fan_out)
        Errors ``dC_x/dz`` of each sample's own cost.
    dW : ndarray, shape (fan_in, fan_out)
        Gradient of the cost with respect to the weights.
    db : ndarray, shape (fan_out,)
        Gradient of the cost with respect to the biases.

    Examples
    --------
    >>> import fastbp as bp
    >>> layer = bp.Network([1, 1], initializer="zeros").trace([[3.0]], [[2.0]]).layers[0]
    >>> layer.z, layer.delta, layer.db
    (array([[0.]]), array([[-2.]]), array([-2.]))
    """

    z: NDArray[Any]
    a: NDArray[Any]
    delta: NDArray[Any]
    dW: NDArray[Any]
    db: NDArray[Any]

    def __repr__(self) -> str:
        n_rows, fan_out = self.z.shape
        return f"<LayerTrace: {n_rows} samples, {len(self.dW)} inputs, {fan_out} neurons>"


@dataclass(frozen=True, repr=False)
class Trace:
    """What one pass through a network computed.

    Attributes
    ----------
    cost : float
        The cost, penalties included.
    sample_costs : ndarray, shape (n,)
        Each sample's own cost C_x, in float64.
    layers : list of LayerTrace
        One entry for each layer of weights; the last one is the output layer.

    Examples
    --------
    >>> import fastbp as bp
    >>> trace = bp.Network([1, 4, 1], initializer="zeros").trace([[3.0], [1.0]], [[2.0], [1.0]])
    >>> trace.cost, trace.sample_costs, len(trace.layers)
    (1.25, array([2. , 0.5]), 2)
    """

    cost: float
    sample_costs: NDArray[np.float64]
    layers: list[LayerTrace]

    def __repr__(self) -> str:
        shape = "-".join(str(size) for size in (len(self.layers[0].dW), *(len(layer.db) for layer in self.layers)))
        return f"<Trace of {len(self.sample_costs)} samples through {shape}, cost {self.cost:.6g}>"

    def _repr_html_(self) -> str:
        head = ["layer", "neurons", "mean |z|", "mean |a|", "mean |delta|", "norm of dW", "norm of db"]
        rows = [
            (
                *(i, layer.z.shape[1]),
                *(f"{np.abs(values).mean():.3g}" for values in (layer.z, layer.a, layer.delta)),
                *(f"{np.linalg.norm(values):.3g}" for values in (layer.dW, layer.db)),
            )
            for i, layer in enumerate(self.layers)
        ]
        return note(f"trace of {len(self.sample_costs)} samples, cost {self.cost:.6g}", Table(head, rows))


def make_trace(
    net: Definition, params: NDArray[Any], X: NDArray[Any], targets: Targets, value_and_grad: tuple[float, NDArray[Any]]
) -> Trace:
    """Run one gradient that keeps everything; see `Network.trace`; the cost and its gradient come from another pass."""
    blocks, sample_costs = layer_blocks(net, params, X, targets)
    cost, grad = value_and_grad
    weights, biases = parameters.views(grad, net.sizes)
    layers = [LayerTrace(z, a, delta, dW, db) for (z, a, delta), dW, db in zip(blocks, weights, biases, strict=True)]
    return Trace(cost, sample_costs, layers)


def layer_blocks(
    net: Definition, params: NDArray[Any], X: NDArray[Any], targets: Targets
) -> tuple[list[list[NDArray[Any]]], NDArray[np.float64]]:
    """Return each layer's z, a and delta of each sample's own cost, and each sample's cost."""
    n_rows = len(X)
    frame = make_frame(problem_of(net), n_rows, n_rows, gradient=True, keep_z=True, whole_block=True)
    frame.set_data(X, targets, None)
    return frame.layer_blocks(params)
