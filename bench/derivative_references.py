"""Derivatives beyond the gradient of the cost by plain NumPy in float64, and a few numbers by which they are compared.

All networks are tanh inside; the last layer's z are the outputs, or the logits of a softmax with cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.agreement import directions, projections
from bench.shapes import Array, Layers, Shape


def fingerprint(what: str, result: Array) -> list[float]:
    """A few numbers of a result: a large one is multiplied by directions along its last axis first."""
    if what in ("parameter_jacobian", "sample_gradients"):
        return projections(result @ directions(result.shape[-1]).T.astype(result.dtype))
    return projections(result)


def tangent(shape: Shape) -> Array:
    """The vector that is multiplied by matrices of second derivatives."""
    return np.random.default_rng(23).standard_normal(shape.n_params).astype(shape.dtype)


def as_layers(shape: Shape, flat: Array) -> Layers:
    """Views of a flat vector."""
    layers, begin = [], 0
    for fan_in, fan_out in zip(shape.sizes, shape.sizes[1:], strict=False):
        block = flat[begin : begin + (fan_in + 1) * fan_out].reshape(fan_in + 1, fan_out)
        layers.append((block[:-1], block[-1]))
        begin += block.size
    return layers


def laplacian_of_tanh(np_: Any, layers: Any, X: Any) -> Any:
    """Value, tangents and Laplacian carried through tanh layers together."""
    W, b = layers[0]
    z, tangents, laplacian = X @ W + b, [W[i] for i in range(W.shape[0])], 0.0
    for W, b in layers[1:]:
        a = np_.tanh(z)
        slope = 1 - a * a
        laplacian = slope * (laplacian - 2 * a * sum(t * t for t in tangents))
        tangents = [(slope * t) @ W for t in tangents]
        z, laplacian = a @ W + b, laplacian @ W
    return laplacian


def reference(what: str, shape: Shape) -> list[float]:
    """The fingerprint of a result by plain NumPy in float64."""
    layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in shape.initial_layers()]
    X, v = shape.data.X.astype(np.float64), tangent(shape).astype(np.float64)
    if what == "input_jacobian":
        result = np.einsum("nkj,ij->nki", _derivatives_of_outputs(layers, X)[1][0], layers[0][0])
    elif what == "parameter_jacobian":
        result = _by_parameters(*_derivatives_of_outputs(layers, X))
    elif what == "sample_gradients":
        error = _softmax(_forward(layers, X)[-1]) - shape.data.Y
        activations, deltas = _derivatives_of_outputs(layers, X)
        result = _by_parameters(activations, [np.einsum("nk,nkj->nj", error, d)[:, None] for d in deltas])[:, 0]
    elif what == "laplacian":
        result = laplacian_of_tanh(np, layers, X)
    elif what == "gauss_newton_product":
        result = _gauss_newton(shape, layers, X, v)
    elif what == "physics_gradient":
        return [_slope(_physics_cost, shape, direction) for direction in directions(shape.n_params)]
    else:
        step = 1e-5
        up, down = (_gradient(shape, shape_moved(shape, sign * step * v), X) for sign in (1, -1))
        result = (up - down) / (2 * step)
    return fingerprint(what, result)


def shape_moved(shape: Shape, change: Array) -> Layers:
    """The initial layers in float64, changed."""
    moved = as_layers(shape, change)
    return [(W + dW, b + db) for (W, b), (dW, db) in zip(shape.initial_layers(), moved, strict=True)]


def _slope(cost: Callable[[Shape, Layers], float], shape: Shape, direction: Array, step: float = 1e-5) -> float:
    up, down = (cost(shape, shape_moved(shape, sign * step * direction)) for sign in (1, -1))
    return (up - down) / (2 * step)


def _physics_cost(shape: Shape, layers: Layers) -> float:
    return float(((laplacian_of_tanh(np, layers, shape.data.X.astype(np.float64)) - 1) ** 2).mean())


def _forward(layers: Layers, X: Array) -> list[Array]:
    """The inputs, each tanh layer's outputs, and z of the last layer."""
    found = [X]
    for index, (W, b) in enumerate(layers):
        z = found[-1] @ W + b
        found.append(np.tanh(z) if index < len(layers) - 1 else z)
    return found


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    softmax: Array = e / e.sum(axis=1, keepdims=True)
    return softmax


def _derivatives_of_outputs(layers: Layers, X: Array) -> tuple[list[Array], list[Array]]:
    """Each layer's inputs, and the derivatives (n, n_outputs, fan_out) of the last z by its z."""
    activations = _forward(layers, X)[:-1]
    n_outputs = layers[-1][1].size
    deltas = [np.broadcast_to(np.eye(n_outputs), (len(X), n_outputs, n_outputs))]
    for layer in reversed(range(1, len(layers))):
        a = activations[layer]
        deltas.insert(0, (deltas[0] @ layers[layer][0].T) * (1 - a * a)[:, None])
    return activations, deltas


def _by_parameters(activations: list[Array], deltas: list[Array]) -> Array:
    parts = []
    for a, d in zip(activations, deltas, strict=True):
        parts += [np.einsum("ni,nkj->nkij", a, d).reshape(*d.shape[:2], -1), d]
    return np.concatenate(parts, axis=-1)


def _back(activations: list[Array], deltas: list[Array], error: Array) -> Array:
    """The gradient of sum(error * z_L) by all parameters."""
    parts = []
    for a, d in zip(activations, deltas, strict=True):
        delta = np.einsum("nk,nkj->nj", error, d)
        parts += [(a.T @ delta).ravel(), delta.sum(axis=0)]
    return np.concatenate(parts)


def _gradient(shape: Shape, layers: Layers, X: Array) -> Array:
    """The gradient of the mean cross-entropy of softmax outputs."""
    error = (_softmax(_forward(layers, X)[-1]) - shape.data.Y) / len(X)
    return _back(*_derivatives_of_outputs(layers, X), error)


def _gauss_newton(shape: Shape, layers: Layers, X: Array, v: Array) -> Array:
    step, p = 1e-5, _softmax(_forward(layers, X)[-1])
    up, down = (_forward(shape_moved(shape, sign * step * v), X)[-1] for sign in (1, -1))
    moved = (up - down) / (2 * step)
    curved = p * (moved - (p * moved).sum(axis=1, keepdims=True)) / len(X)
    return _back(*_derivatives_of_outputs(layers, X), curved)
