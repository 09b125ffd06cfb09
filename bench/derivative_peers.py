"""Derivatives beyond the gradient of the cost, as each library's users would ask for them, and their best ways by hand.

`derivative(peer, what, by_hand)` returns a function without arguments that computes it, and one that makes one array of
what that returns, laid out as fastbp does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.derivative_references import as_layers, laplacian_of_tanh, tangent
from bench.peers import Peer
from bench.shapes import Array

Call = tuple[Callable[[], Any], Callable[[Any], Array]]


def derivative(peer: Peer, what: str, *, by_hand: bool = False) -> Call:
    """Return how a library computes something, and how its result is read."""
    ways: Any = {"fastbp": _FastBP, "torch": _Torch, "jax": _JaxByHand if by_hand else _Jax}[peer.name](peer)
    call: Call = getattr(ways, what)()
    return call


# --- fastbp -----------------------------------------------------------------------------------------------------------


class _FastBP:
    """Methods of `Network`, results into arrays that are there already where they are large."""

    def __init__(self, peer: Any) -> None:
        self.net, self.X, self.Y, self.n_threads = peer.net, peer.X, peer.Y, peer.n_threads
        self.v = tangent(peer.shape)

    def _into(self, method: str, shape: tuple[int, ...], *data: Any) -> Call:
        out, call = np.empty(shape, self.net.dtype), getattr(self.net, method)
        return lambda: call(*data, out=out, n_threads=self.n_threads), np.asarray

    def input_jacobian(self) -> Call:
        return self._into("input_jacobian", (len(self.X), self.net.sizes[-1], self.net.sizes[0]), self.X)

    def parameter_jacobian(self) -> Call:
        return self._into("jacobian", (len(self.X), self.net.sizes[-1], self.net.n_params), self.X)

    def sample_gradients(self) -> Call:
        return self._into("per_sample_gradients", (len(self.X), self.net.n_params), self.X, self.Y)

    def hessian_product(self) -> Call:
        return lambda: self.net.hvp(self.X, self.Y, self.v, n_threads=self.n_threads), np.asarray

    def linearized_product(self) -> Call:
        at = self.net.linearize(self.X, self.Y, n_threads=self.n_threads)
        return lambda: at.hvp(self.v), np.asarray

    def gauss_newton_product(self) -> Call:
        return lambda: self.net.gnvp(self.X, self.Y, self.v, n_threads=self.n_threads), np.asarray

    def laplacian(self) -> Call:
        return lambda: self.net.laplacian(self.X, n_threads=self.n_threads), np.asarray

    def physics_gradient(self) -> Call:
        def residual(X: Array, u: Array, du: Array, laplacian: Array) -> tuple[Any, ...]:
            difference = laplacian - 1
            return difference[:, 0] ** 2, None, None, 2 * difference

        return (
            lambda: self.net.residual_value_and_grad(self.X, residual, n_threads=self.n_threads)[1],
            np.asarray,
        )


# --- torch ------------------------------------------------------------------------------------------------------------


class _Torch:
    """torch.func on the module's parameters; the Laplacian by automatic differentiation, twice."""

    def __init__(self, peer: Any) -> None:
        import torch

        self.torch, self.net, self.shape, self.X, self.Y = torch, peer.net, peer.shape, peer.X, peer.Y
        self.params = {name: p.detach() for name, p in self.net.named_parameters()}
        v = as_layers(self.shape, tangent(self.shape))
        tensors = [torch.from_numpy(np.ascontiguousarray(part)) for W, b in v for part in (W.T, b)]
        self.v = dict(zip(self.params, tensors, strict=True))

    def _outputs(self, params: Any, X: Any) -> Any:
        return self.torch.func.functional_call(self.net, params, (X,))

    def _cost(self, params: Any) -> Any:
        z = self._outputs(params, self.X)
        if self.shape.loss == "cross_entropy":
            return self.torch.nn.functional.cross_entropy(z, self.Y)
        return 0.5 * ((z - self.Y) ** 2).sum() / len(self.X)

    def _flat(self, params: Any) -> Array:
        """Parts (..., fan_out, fan_in) and (..., fan_out) as one array along the last axis."""
        parts = []
        for value in params.values():
            array = value.detach().numpy()
            is_weight = array.ndim - min(part.ndim for part in params.values()) == 1
            array = np.swapaxes(array, -1, -2) if is_weight else array
            n = array.ndim - (2 if is_weight else 1)
            parts.append(array.reshape(*array.shape[:n], -1))
        return np.concatenate(parts, axis=-1)

    def input_jacobian(self) -> Call:
        func = self.torch.func
        one = func.jacfwd if self.shape.sizes[0] < self.shape.sizes[-1] else func.jacrev
        all_rows = func.vmap(one(lambda x: self._outputs(self.params, x)))
        return lambda: all_rows(self.X), lambda result: result.detach().numpy()

    def parameter_jacobian(self) -> Call:
        func = self.torch.func
        all_rows = func.vmap(func.jacrev(self._outputs), in_dims=(None, 0))
        return lambda: all_rows(self.params, self.X), self._flat

    def sample_gradients(self) -> Call:
        func = self.torch.func

        def cost(params: Any, x: Any, y: Any) -> Any:
            return self.torch.nn.functional.cross_entropy(self._outputs(params, x[None]), y[None])

        all_rows = func.vmap(func.grad(cost), in_dims=(None, 0, 0))
        return lambda: all_rows(self.params, self.X, self.Y), self._flat

    def hessian_product(self) -> Call:
        func = self.torch.func
        gradient = func.grad(self._cost)
        return lambda: func.jvp(gradient, (self.params,), (self.v,))[1], self._flat

    def linearized_product(self) -> Call:
        _, product = self.torch.func.linearize(self.torch.func.grad(self._cost), self.params)
        return lambda: product(self.v), self._flat

    def gauss_newton_product(self) -> Call:
        func = self.torch.func

        def of_outputs(z: Any) -> Any:
            return self.torch.nn.functional.cross_entropy(z, self.Y)

        def product() -> Any:
            z, moved = func.jvp(lambda p: self._outputs(p, self.X), (self.params,), (self.v,))
            curved = func.jvp(func.grad(of_outputs), (z,), (moved,))[1]
            return func.vjp(lambda p: self._outputs(p, self.X), self.params)[1](curved)[0]

        return product, self._flat

    def _laplacian(self, params: Any, X: Any, *, keep: bool) -> Any:
        grad = self.torch.autograd.grad
        total = 0.0
        (first,) = grad(self._outputs(params, X).sum(), X, create_graph=True)
        for feature in range(X.shape[1]):
            (second,) = grad(first[:, feature].sum(), X, create_graph=keep, retain_graph=True)
            total = total + second[:, feature : feature + 1]
        return total

    def laplacian(self) -> Call:
        X = self.X.clone().requires_grad_(True)
        return lambda: self._laplacian(self.params, X, keep=False), lambda result: result.detach().numpy()

    def physics_gradient(self) -> Call:
        X, params = self.X.clone().requires_grad_(True), dict(self.net.named_parameters())

        def gradient() -> Any:
            cost = ((self._laplacian(params, X, keep=True) - 1) ** 2).mean()
            # the last layer's biases do not count
            parts = self.torch.autograd.grad(cost, list(params.values()), allow_unused=True)
            return {
                name: self.torch.zeros_like(p) if part is None else part
                for (name, p), part in zip(params.items(), parts, strict=True)
            }

        return gradient, self._flat


# --- jax --------------------------------------------------------------------------------------------------------------


class _Jax:
    """Jitted transformations of the functions of one row or of all rows; jax waits until a result is there."""

    def __init__(self, peer: Any) -> None:
        import jax

        self.jax, self.peer, self.shape, self.layers = jax, peer, peer.shape, peer.state[0]
        self.X, self.Y, self.logits = peer.X, peer.Y, peer._logits
        np_ = jax.numpy
        self.v = jax.tree.map(np_.asarray, as_layers(self.shape, tangent(self.shape)))
        jax.block_until_ready((self.layers, self.v))

    def _call(self, function: Any, *arguments: Any, read: Callable[[Any], Array] = np.asarray) -> Call:
        jitted = self.jax.jit(function)
        return lambda: self.jax.block_until_ready(jitted(*arguments)), read

    def _flat(self, layers: Any) -> Array:
        n = min(np.ndim(b) for _, b in layers) - 1
        parts = [np.asarray(part) for layer in layers for part in layer]
        return np.concatenate([part.reshape(*part.shape[:n], -1) for part in parts], axis=-1)

    def _cost(self, layers: Any) -> Any:
        return self.peer._cost(layers, self.X, self.Y)

    def input_jacobian(self) -> Call:
        one = self.jax.jacfwd if self.shape.sizes[0] < self.shape.sizes[-1] else self.jax.jacrev
        return self._call(
            lambda layers, X: self.jax.vmap(one(lambda x: self.logits(layers, x)))(X), self.layers, self.X
        )

    def parameter_jacobian(self) -> Call:
        def all_rows(layers: Any, X: Any) -> Any:
            return self.jax.vmap(self.jax.jacrev(self.logits), (None, 0))(layers, X)

        return self._call(all_rows, self.layers, self.X, read=self._flat)

    def sample_gradients(self) -> Call:
        def of_one(layers: Any, x: Any, y: Any) -> Any:
            return self.peer._cost(layers, x[None], y[None])

        all_rows = self.jax.vmap(self.jax.grad(of_one), (None, 0, 0))
        return self._call(all_rows, self.layers, self.X, self.Y, read=self._flat)

    def hessian_product(self) -> Call:
        def product(layers: Any, v: Any) -> Any:
            return self.jax.jvp(self.jax.grad(self._cost), (layers,), (v,))[1]

        return self._call(product, self.layers, self.v, read=self._flat)

    def linearized_product(self) -> Call:
        _, product = self.jax.linearize(self.jax.grad(self._cost), self.layers)
        return self._call(product, self.v, read=self._flat)

    def gauss_newton_product(self) -> Call:
        def of_outputs(z: Any) -> Any:
            log_probability = self.jax.nn.log_softmax(z)
            return -self.jax.numpy.mean(self.jax.numpy.take_along_axis(log_probability, self.Y[:, None], axis=1))

        def product(layers: Any, v: Any) -> Any:
            z, back = self.jax.vjp(lambda p: self.logits(p, self.X), layers)
            moved = self.jax.jvp(lambda p: self.logits(p, self.X), (layers,), (v,))[1]
            return back(self.jax.jvp(self.jax.grad(of_outputs), (z,), (moved,))[1])[0]

        return self._call(product, self.layers, self.v, read=self._flat)

    def _laplacian(self, layers: Any, X: Any) -> Any:
        """Derivatives of derivatives along each axis, both forward."""
        jax, basis = self.jax, np.eye(X.shape[1], dtype=self.shape.dtype)

        def of_one(x: Any) -> Any:
            def second(e: Any) -> Any:
                return jax.jvp(lambda y: jax.jvp(lambda t: self.logits(layers, t), (y,), (e,))[1], (x,), (e,))[1]

            return jax.vmap(second)(basis).sum(0)

        return jax.vmap(of_one)(X)

    def laplacian(self) -> Call:
        return self._call(self._laplacian, self.layers, self.X)

    def physics_gradient(self) -> Call:
        def cost(layers: Any) -> Any:
            return ((self._laplacian(layers, self.X) - 1) ** 2).mean()

        return self._call(self.jax.grad(cost), self.layers, read=self._flat)


class _JaxByHand(_Jax):
    """The same with the formulas of backpropagation, or of tanh's derivatives, written out."""

    def sample_gradients(self) -> Call:
        np_ = self.jax.numpy

        def all_rows(layers: Any, X: Any, Y: Any) -> Any:
            activations = [X]
            for W, b in layers[:-1]:
                activations.append(np_.tanh(activations[-1] @ W + b))
            W, b = layers[-1]
            delta = self.jax.nn.softmax(activations[-1] @ W + b) - self.jax.nn.one_hot(Y, b.size)
            found = []
            for layer in reversed(range(len(layers))):
                a = activations[layer]
                found.append((a[:, :, None] * delta[:, None, :], delta))
                if layer:
                    delta = (delta @ layers[layer][0].T) * (1 - a * a)
            return found[::-1]

        return self._call(all_rows, self.layers, self.X, self.Y, read=self._flat)

    def _laplacian(self, layers: Any, X: Any) -> Any:
        return laplacian_of_tanh(self.jax.numpy, layers, X)
