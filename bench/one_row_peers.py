"""One row at a time by other libraries: what `bench.one_row` says, for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.one_row import OfShape
from bench.peers import flat
from bench.shapes import Array


class Torch(OfShape):
    """Eager modules and the fused Adam."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer.shape, what)
        self.peer, self.torch = peer, peer.torch
        self.X, self.Y = self.torch.from_numpy(self.x), self.torch.from_numpy(self.y)  # the same memory

    def restart(self) -> None:
        self.peer.restart()

    @property
    def params(self) -> Array:  # type: ignore[override]
        return flat(self.peer.layers())

    def predict(self) -> float:
        with self.torch.inference_mode():
            self.out = self.peer.net(self.X).numpy()
        return float(self.out[0])

    def _backward(self) -> None:
        self.peer.adam.zero_grad()
        cost = 0.5 * ((self.peer.net(self.X) - self.Y) ** 2).sum()
        cost.backward()
        self.cost[0] = cost.item()

    def gradient(self) -> float:
        self._backward()
        return float(self.cost[0])

    def step(self) -> float:
        self._backward()
        self.peer.adam.step()
        return float(self.cost[0])

    def result(self) -> Array:
        if self.what == "gradient":
            self.grad = flat([(one.weight.grad.numpy().T, one.bias.grad.numpy()) for one in self.peer.linear])
        return super().result()


class Jax(OfShape):
    """Jitted functions; arrays of NumPy go in, outputs and costs come back as such."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer.shape, what)
        self.peer, self.jax = peer, peer.jax
        self._predict = self.jax.jit(peer._logits)
        self._gradient = self.jax.jit(self.jax.value_and_grad(self._cost))
        self._step = self.jax.jit(self._stepped)

    def _cost(self, layers: Any, x: Any, y: Any) -> Any:
        return self.peer._cost(layers, x[None], y[None])

    def _stepped(self, state: Any, x: Any, y: Any) -> Any:
        """The cost, which the compiler finds in the gradient as well, and the state after the step."""
        return self._cost(state[0], x, y), self.peer._step(state, x[None], y[None])

    def restart(self) -> None:
        self.peer.restart()
        self.state = self.peer.state

    @property
    def params(self) -> Array:  # type: ignore[override]
        return flat([(np.asarray(W), np.asarray(b)) for W, b in self.state[0]])

    def predict(self) -> float:
        self.out = np.asarray(self._predict(self.state[0], self.x))
        return float(self.out[0])

    def gradient(self) -> float:
        cost, self.grads = self._gradient(self.state[0], self.x, self.y)
        self.cost[0] = float(cost)
        return float(self.cost[0])

    def step(self) -> float:
        cost, self.state = self._step(self.state, self.x, self.y)
        self.cost[0] = float(cost)
        return float(self.cost[0])

    def result(self) -> Array:
        if self.what == "gradient":
            self.grad = flat([(np.asarray(W), np.asarray(b)) for W, b in self.grads])
        return super().result()


class JaxScan(Jax):
    """All calls in one jitted `lax.scan`."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer, what)
        self._calls = self.jax.jit(getattr(self, f"_{what}_calls"), static_argnums=0)

    def _scan(self, n: int, call: Any, state: Any, x: Any, y: Any, left: Any) -> Any:
        def body(carry: Any, _: Any) -> Any:
            state, row, _left = carry
            returned, state, left = call(state, row, y)
            return (state, row.at[0].set(x[0] + 0.1 * returned), left), None

        return self.jax.lax.scan(body, (state, x, left), None, n)[0]

    def _predict_calls(self, n: int, state: Any, x: Any, y: Any) -> Any:
        def call(state: Any, x: Any, y: Any) -> Any:
            out = self.peer._logits(state[0], x)
            return out[0], state, out

        return self._scan(n, call, state, x, y, self.jax.numpy.zeros_like(y))

    def _gradient_calls(self, n: int, state: Any, x: Any, y: Any) -> Any:
        def call(state: Any, x: Any, y: Any) -> Any:
            cost, grads = self.jax.value_and_grad(self._cost)(state[0], x, y)
            return cost, state, (cost, grads)

        return self._scan(n, call, state, x, y, (self.jax.numpy.zeros((), x.dtype), state[0]))

    def _step_calls(self, n: int, state: Any, x: Any, y: Any) -> Any:
        def call(state: Any, x: Any, y: Any) -> Any:
            cost, state = self._stepped(state, x, y)
            return cost, state, cost

        return self._scan(n, call, state, x, y, self.jax.numpy.zeros((), x.dtype))

    def calls(self, n: int) -> None:
        self.state, _, left = self.jax.block_until_ready(self._calls(n, self.state, self.x, self.y))
        if self.what == "predict":
            self.out = np.asarray(left)
        elif self.what == "gradient":
            self.cost[0], self.grads = float(left[0]), left[1]
        else:
            self.cost[0] = float(left)


class Onnx(OfShape):
    """`InferenceSession.run`."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer.shape, what)
        self.session, self.input, self.X = peer.session, peer.input, self.x[None]

    def predict(self) -> float:
        self.out = self.session.run(None, {self.input: self.X})[0][0]
        return float(self.out[0])


class Fann(OfShape):
    """FANN's function of C, called by a function that Numba compiles."""

    def __init__(self, peer: Any, what: str) -> None:
        super().__init__(peer.shape, what)
        self.peer, self.loop = peer, peer.compiled_loop()

    def calls(self, n: int) -> None:
        self.loop(n, self.peer.net, self.x, self.out)


WAYS: dict[tuple[str, str], Any] = {
    ("torch", "python"): Torch,
    ("jax", "python"): Jax,
    ("jax", "compiled"): JaxScan,
    ("onnxruntime", "python"): Onnx,
    ("fann", "compiled"): Fann,
}
