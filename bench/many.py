"""Many networks of one shape on the same data: whole fits, fits with validation, predictions.

`of(peer, what, way)` returns how a library does that.  All networks begin with weights of their own and have their own
order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from bench.agreement import projections
from bench.peers import flat
from bench.shapes import (
    AGREEMENT_STEPS,
    BETA_1,
    BETA_2,
    EPSILON,
    LEARNING_RATE,
    Array,
    Layers,
    Many,
    outputs,
)

COMPARED = (0, 1, 3)  # networks, after some steps without shuffling
PATIENCE = 2  # of early stopping


class Together:
    """All networks of a shape in one way of one library.

    Attributes
    ----------
    share : float
        Which part of the whole work a unit is, where a library takes so long that a part of it has to do.
    """

    share: float = 1.0

    def __init__(self, peer: Any) -> None:
        self.peer, self.shape = peer, peer.shape
        self.X, self.Y, _ = peer.shape.data

    def restart(self) -> None:
        """Return to the initial weights."""
        raise NotImplementedError

    def fit(self) -> None:
        """Train all networks for as many epochs as the shape says, or a share of that."""
        raise NotImplementedError

    def few_steps(self) -> None:
        """Take some steps without shuffling."""
        raise NotImplementedError

    def compared(self) -> list[Array]:
        """The parameters of the networks that are compared."""
        raise NotImplementedError

    def predict(self) -> Array:
        """Outputs (n_networks, n, n_outputs) of all networks."""
        raise NotImplementedError

    def validated(self) -> None:
        """Train with early stopping by the second half of the rows."""
        raise NotImplementedError


def of(peer: Any, way: str) -> Together:
    """Return a library's way."""
    if peer.name == "fastbp":
        return FastBP(peer, way)
    from bench import many_peers  # which takes `Together`

    made: Together = many_peers.WAYS[peer.name](peer)
    return made


def fingerprint(together: Together, what: str) -> list[float]:
    """A few numbers of what some networks have learned in some steps, or of all outputs."""
    together.restart()
    if what == "many_predict":
        return projections(together.predict())
    together.few_steps()
    initial = together.shape.many_layers()
    moves = [got - flat(initial[k]) for k, got in zip(COMPARED, together.compared(), strict=True)]
    return projections(np.concatenate(moves) / LEARNING_RATE)


def reference(what: str, shape: Many) -> list[float]:
    """The fingerprint by plain NumPy in float64."""
    if what == "many_predict":
        return projections([outputs(shape, layers, shape.data.X) for layers in shape.many_layers()])
    initial = shape.many_layers()
    return projections(
        np.concatenate([flat(_trained(shape, initial[k])) - flat(initial[k]) for k in COMPARED]) / LEARNING_RATE
    )


def _trained(shape: Many, layers: Layers) -> Layers:
    """The weights after some steps of Adam by explicit formulas; relu or tanh, quadratic cost."""
    X, Y, _ = shape.data
    n_rows, epochs = shape.epoch(AGREEMENT_STEPS)
    params = [array.astype(np.float64) for layer in layers for array in layer]
    m, v = [np.zeros_like(array) for array in params], [np.zeros_like(array) for array in params]
    for t in range(1, AGREEMENT_STEPS + 1):
        begin = (t - 1) * shape.batch % (n_rows if epochs > 1 else AGREEMENT_STEPS * shape.batch)
        x, y = X[begin : begin + shape.batch].astype(np.float64), Y[begin : begin + shape.batch]
        activations, n_layers = [x], len(params) // 2
        for layer in range(n_layers):
            z = activations[-1] @ params[2 * layer] + params[2 * layer + 1]
            if layer < n_layers - 1:
                z = np.tanh(z) if shape.activation == "tanh" else np.maximum(z, 0)
            activations.append(z)
        delta = (activations[-1] - y) / len(x)
        for layer in reversed(range(n_layers)):
            a = activations[layer]
            grads = a.T @ delta, delta.sum(axis=0)
            delta = (delta @ params[2 * layer].T) * (1 - a**2 if shape.activation == "tanh" else a > 0)
            for i, grad in zip((2 * layer, 2 * layer + 1), grads, strict=True):
                m[i] = BETA_1 * m[i] + (1 - BETA_1) * grad
                v[i] = BETA_2 * v[i] + (1 - BETA_2) * grad**2
                step = m[i] / (1 - BETA_1**t) / (np.sqrt(v[i] / (1 - BETA_2**t)) + EPSILON)
                params[i] = params[i] - LEARNING_RATE * step
    return list(zip(params[::2], params[1::2], strict=True))


class FastBP(Together):
    """`fit_many`, or calls of `Network.fit`: one after the other, or in a pool of threads."""

    def __init__(self, peer: Any, way: str) -> None:
        import fastbp

        super().__init__(peer)
        shape: Many = peer.shape
        self.bp, self.way, self.n_threads = fastbp, way, peer.n_threads
        definition = {"activation": shape.activation, "output": shape.output, "loss": shape.loss, "dtype": shape.dtype}
        self.networks = [fastbp.Network(shape.sizes, **definition, seed=0) for _ in range(shape.n_networks)]
        self.initial = [flat(layers) for layers in shape.many_layers()]
        self.pool = ThreadPoolExecutor(self.n_threads)

    def restart(self) -> None:
        for net, params in zip(self.networks, self.initial, strict=True):
            net.params[...] = params

    def _fit(self, X: Array, Y: Array, **arguments: Any) -> None:
        """Call `fit` for each network, or for all."""
        adam = self.bp.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        arguments |= {"batch_size": self.shape.batch, "optimizer": adam}
        seeds = range(len(self.networks))
        if self.way == "together":
            self.bp.fit_many(self.networks, X, Y, seed=list(seeds), n_threads=self.n_threads, **arguments)
            return
        n_threads = 1 if self.way == "pool" else self.n_threads

        def fit(net: Any, seed: int) -> None:
            net.fit(X, Y, seed=seed, n_threads=n_threads, **arguments)

        each: Callable[..., Any] = self.pool.map if self.way == "pool" else map
        list(each(fit, self.networks, seeds))

    def fit(self) -> None:
        self._fit(self.X, self.Y, epochs=self.shape.epochs)

    def few_steps(self) -> None:
        n_rows, epochs = self.shape.epoch(AGREEMENT_STEPS)
        self._fit(self.X[:n_rows], self.Y[:n_rows], epochs=epochs, shuffle=False)

    def validated(self) -> None:
        half = self.shape.rows // 2
        rest: dict[str, Any] = {"epochs": self.shape.epochs, "early_stopping": self.bp.EarlyStopping(PATIENCE)}
        self._fit(self.X[:half], self.Y[:half], validation_data=(self.X[half:], self.Y[half:]), **rest)

    def compared(self) -> list[Array]:
        return [np.asarray(self.networks[k].params) for k in COMPARED]

    def predict(self) -> Array:
        if self.way == "together":
            return np.asarray(self.bp.predict_many(self.networks, self.X, n_threads=self.n_threads))
        each: Callable[..., Any] = self.pool.map if self.way == "pool" else map
        call = partial(_predict, X=self.X, n_threads=1 if self.way == "pool" else self.n_threads)
        return np.stack(list(each(call, self.networks)))


def _predict(net: Any, X: Array, n_threads: int) -> Array:
    return np.asarray(net.predict(X, n_threads=n_threads))


def rows_in_turn(rng: np.random.Generator, shape: Many, epochs: int, n_networks: int) -> Array:
    """The rows (n_steps, n_networks, batch) of all steps, in an order of each network's own."""
    orders: Sequence[Array] = [
        np.concatenate([rng.permutation(shape.rows) for _ in range(epochs)]) for _ in range(n_networks)
    ]
    steps = np.reshape(orders, (n_networks, -1, shape.batch))
    return np.ascontiguousarray(steps.transpose(1, 0, 2).astype(np.int32))
