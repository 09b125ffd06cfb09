"""One row at a time, each call depending on the one before: outputs, cost and gradient, a step of Adam.

`chain(peer, what, way)` returns how a library does that: from Python, or inside compiled code.  The first input of a
call is its first value plus a tenth of what the call before returned, the first output or the cost.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bench.agreement import projections
from bench.peers import flat
from bench.shapes import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Array, Shape

CALLS = 20  # whose result is compared


class Chain(Protocol):
    """Calls of one kind, by one library in one way."""

    def restart(self) -> None:
        """Return to the first row and the initial weights."""

    def calls(self, n: int) -> None:
        """Make so many calls."""

    def result(self) -> Array:
        """What the last call left: outputs, cost and gradient, or cost and parameters."""


def fingerprint(chain: Chain) -> list[float]:
    """A few numbers of what some calls leave."""
    chain.restart()
    chain.calls(CALLS)
    return projections(chain.result())


def chain(peer: Any, what: str, way: str) -> Chain:
    """Return a library's calls of a kind, in a way that it has."""
    if peer.name != "fastbp":
        from bench import one_row_peers  # which takes `OfShape`

        made: Chain = one_row_peers.WAYS[peer.name, way](peer, what)
        return made
    ways: Any = {"python": _FastBP, "compiled": _Compiled, "loops": _Loops, "dot": _Dot}[way]
    of_fastbp: Chain = ways(peer, what)
    return of_fastbp


def reference(what: str, shape: Shape) -> list[float]:
    """The fingerprint by plain NumPy in float64."""
    return fingerprint(_Reference(shape, what))


class OfShape:
    """The first row of a shape's data, and its target."""

    def __init__(self, shape: Shape, what: str) -> None:
        self.shape, self.what = shape, what
        self.x, self.y = shape.data.X[0].copy(), shape.data.Y[0].copy()
        self.first = self.x[0]
        self.cost = np.zeros(1)
        self.out, self.grad = np.zeros(shape.sizes[-1], shape.dtype), np.zeros(shape.n_params, shape.dtype)

    params: Array

    def restart(self) -> None:
        """Return to the beginning."""

    def calls(self, n: int) -> None:
        """Make so many calls, each by `call`."""
        call, x, first = getattr(self, self.what), self.x, self.first
        for _ in range(n):
            x[0] = first + 0.1 * call()
        x[0] = first

    def result(self) -> Array:
        """What the last call left."""
        if self.what == "predict":
            return self.out
        left = self.grad if self.what == "gradient" else self.params
        return np.concatenate([self.cost, np.asarray(left, np.float64)])


class _Reference(OfShape):
    """Plain NumPy."""

    def restart(self) -> None:
        self.layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in self.shape.initial_layers()]
        self.x = self.x.astype(np.float64)
        self.t, self.m, self.v = 0, np.zeros(self.shape.n_params), np.zeros(self.shape.n_params)

    def _activations(self) -> list[Array]:
        found = [self.x.copy()]
        for index, (W, b) in enumerate(self.layers):
            z = found[-1] @ W + b
            found.append(np.tanh(z) if index < len(self.layers) - 1 else z)
        return found

    def predict(self) -> float:
        self.out = self._activations()[-1]
        return float(self.out[0])

    def gradient(self) -> float:
        activations = self._activations()
        delta, parts = activations[-1] - self.y, []
        self.cost[0] = 0.5 * (delta**2).sum()
        for (W, _), a in zip(self.layers[::-1], activations[-2::-1], strict=True):
            parts.append((np.outer(a, delta), delta))
            delta = (W @ delta) * (1 - a**2)
        self.grad = flat(parts[::-1])
        return float(self.cost[0])

    def step(self) -> float:
        self.gradient()
        self.t += 1
        self.m = BETA_1 * self.m + (1 - BETA_1) * self.grad
        self.v = BETA_2 * self.v + (1 - BETA_2) * self.grad**2
        scaled = self.m / (1 - BETA_1**self.t)
        change, begin = LEARNING_RATE * scaled / (np.sqrt(self.v / (1 - BETA_2**self.t)) + EPSILON), 0
        for array in (array for layer in self.layers for array in layer):
            array -= change[begin : begin + array.size].reshape(array.shape)
            begin += array.size
        self.params = flat(self.layers)
        return float(self.cost[0])


# --- fastbp -----------------------------------------------------------------------------------------------------------


class _OfNetwork(OfShape):
    """Of a `Network`, and its optimizer."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer.shape, what)
        self.net = peer.net

    def restart(self) -> None:
        import fastbp

        self.net.params[...] = flat(self.shape.initial_layers())
        self.optimizer = fastbp.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)

    @property
    def params(self) -> Array:  # type: ignore[override]
        return np.asarray(self.net.params)


class _FastBP(_OfNetwork):
    """Methods of `Network`."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer, what)
        self.X, self.Y = self.x[None], self.y[None]  # views

    def predict(self) -> float:
        self.net.predict_one(self.x, self.out)
        return float(self.out[0])

    def gradient(self) -> float:
        self.cost[0], self.grad = self.net.value_and_grad(self.X, self.Y)
        return float(self.cost[0])

    def step(self) -> float:
        self.cost[0] = cost = self.net.step(self.X, self.Y, optimizer=self.optimizer)
        return float(cost)


class _Compiled(_OfNetwork):
    """Methods of what `Network.compiled` returns, in a function that Numba compiles."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer, what)
        self.loops = _compiled_loops()
        self.restart()

    def restart(self) -> None:
        super().restart()
        self.handle = self.net.compiled(self.optimizer)

    def calls(self, n: int) -> None:
        left = {"predict": (self.out,), "gradient": (self.y, self.grad, self.cost), "step": (self.y, self.cost)}
        self.loops[self.what](n, self.handle, self.x, *left[self.what])


def _compiled_loops() -> dict[str, Any]:
    """The user's functions."""
    import numba

    @numba.njit
    def predict(n, net, x, out):  # type: ignore[no-untyped-def]
        first = x[0]
        for _ in range(n):
            net.predict(x, out)
            x[0] = first + 0.1 * out[0]
        x[0] = first

    @numba.njit
    def gradient(n, net, x, y, grad, cost):  # type: ignore[no-untyped-def]
        first = x[0]
        for _ in range(n):
            cost[0] = net.value_and_grad(x, y, grad)
            x[0] = first + 0.1 * cost[0]
        x[0] = first

    @numba.njit
    def step(n, net, x, y, cost):  # type: ignore[no-untyped-def]
        first = x[0]
        for _ in range(n):
            cost[0] = net.step(x, y)
            x[0] = first + 0.1 * cost[0]
        x[0] = first

    return {"predict": predict, "gradient": gradient, "step": step}


class _ByUser(OfShape):
    """What users write; parameters, gradient and moments are flat vectors."""

    def __init__(self, peer: Any, what: str) -> None:
        from bench import one_row_user_code

        super().__init__(peer.shape, what)
        self.code = one_row_user_code
        self.restart()

    def restart(self) -> None:
        self.params = flat(self.shape.initial_layers()).astype(self.shape.dtype)
        self.m, self.v, self.t = np.zeros_like(self.params), np.zeros_like(self.params), 0


class _Loops(_ByUser):
    """Plain loops."""

    def calls(self, n: int) -> None:
        sizes = np.array(self.shape.sizes)
        a, delta = np.zeros((2, len(sizes), sizes.max()), self.shape.dtype)
        if self.what == "predict":
            self.code.loops_predict_calls(n, self.x, self.params, sizes, a, self.out)
            return
        of_gradient = self.params, sizes, a, delta, self.grad
        if self.what == "gradient":
            self.code.loops_gradient_calls(n, self.x, self.y, *of_gradient, self.cost)
        else:
            self.code.loops_step_calls(n, self.t, self.x, self.y, *of_gradient, self.m, self.v, self.cost)
            self.t += n


class _Dot(_ByUser):
    """`np.dot`, which is BLAS."""

    def calls(self, n: int) -> None:
        W, b = _views(self.shape, self.params)
        if self.what == "predict":
            self.code.dot_predict_calls(n, self.x, W, b, self.out)
            return
        of_gradient = W, b, *_views(self.shape, self.grad)
        if self.what == "gradient":
            self.code.dot_gradient_calls(n, self.x, self.y, *of_gradient, self.cost)
        else:
            vectors = self.params, self.grad, self.m, self.v, self.cost
            self.code.dot_step_calls(n, self.t, self.x, self.y, *of_gradient, *vectors)
            self.t += n


def _views(shape: Shape, vector: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Views of each layer's weights and biases."""
    from bench.derivative_references import as_layers

    W, b = zip(*as_layers(shape, vector), strict=True)
    return W, b
