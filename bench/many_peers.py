"""Many networks of one shape by other libraries: what `bench.many` says, for each of them."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np

from bench.many import COMPARED, Together, rows_in_turn
from bench.peers import flat
from bench.shapes import AGREEMENT_STEPS, BETA_1, BETA_2, EPSILON, LEARNING_RATE, Array, Layers

# Of scikit-learn, whose 96 networks take ten seconds and more, with batch size 1 a minute.
MOST_NETWORKS, MOST_NETWORKS_ONLINE = 8, 4
TORCH_STEPS = 63  # for all networks; with batch size 1, all of them take minutes


class Jax(Together):
    """`vmap` over the networks of one step, all steps in one jitted `lax.scan`.

    The order of the rows, each network's own, is drawn beforehand and lies on the device: it is not timed.
    """

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        jax = self.jax = peer.jax
        self._steps = jax.jit(self._scan, donate_argnums=0)
        self._predict = jax.jit(jax.vmap(peer._logits, in_axes=(0, None)))
        shape = self.shape
        self.order = jax.device_put(rows_in_turn(np.random.default_rng(0), shape, shape.epochs, shape.n_networks))
        few = (np.arange(AGREEMENT_STEPS * shape.batch) % shape.rows).astype(np.int32).reshape(-1, 1, shape.batch)
        self.few = jax.device_put(np.repeat(few, shape.n_networks, axis=1))
        stacked = [
            tuple(np.stack([network[layer][i] for network in shape.many_layers()]) for i in range(2))
            for layer in range(len(shape.sizes) - 1)
        ]
        zeros = [(np.zeros_like(W), np.zeros_like(b)) for W, b in stacked]
        self.initial = (stacked, zeros, zeros, np.zeros(shape.n_networks, np.float32))
        self.restart()

    def restart(self) -> None:
        self.state = self.jax.tree.map(self.jax.numpy.array, self.initial)
        self.jax.block_until_ready(self.state)

    def _scan(self, state: Any, X: Any, Y: Any, order: Any) -> Any:
        def one(state: Any, rows: Any) -> Any:
            return self.peer._step(state, X[rows], Y[rows])

        def body(state: Any, rows: Any) -> Any:
            return self.jax.vmap(one)(state, rows), None

        return self.jax.lax.scan(body, state, order)[0]

    def fit(self) -> None:
        self.state = self.jax.block_until_ready(self._steps(self.state, self.peer.X, self.peer.Y, self.order))

    def few_steps(self) -> None:
        self.state = self._steps(self.state, self.peer.X, self.peer.Y, self.few)

    def compared(self) -> list[Array]:
        layers = [(np.asarray(W), np.asarray(b)) for W, b in self.state[0]]
        return [flat([(W[k], b[k]) for W, b in layers]) for k in COMPARED]

    def predict(self) -> Array:
        return np.asarray(self._predict(self.state[0], self.X))


class Torch(Together):
    """`torch.func.vmap` of the gradient over stacked parameters, and the fused Adam."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        torch = self.torch = peer.torch
        self.share = min(1.0, TORCH_STEPS / self.shape.steps_per_round)
        self.initial = self.shape.many_layers()
        activation = {"relu": torch.relu, "tanh": torch.tanh}[self.shape.activation]
        n_layers = len(self.shape.sizes) - 1

        def logits(params: Any, X: Any) -> Any:
            for layer in range(n_layers):
                X = torch.addmm(params[2 * layer + 1], X, params[2 * layer])
                X = activation(X) if layer < n_layers - 1 else X
            return X

        def cost(params: Any, X: Any, Y: Any) -> Any:
            return 0.5 * ((logits(params, X) - Y) ** 2).sum() / len(X)

        self._grads = torch.func.vmap(torch.func.grad(cost))
        self._logits = torch.func.vmap(logits, in_dims=(0, None))
        order = rows_in_turn(np.random.default_rng(0), self.shape, self.shape.epochs, self.shape.n_networks)
        self.order = torch.from_numpy(order[:TORCH_STEPS])
        self.restart()

    def restart(self) -> None:
        torch = self.torch
        arrays = [[array for layer in network for array in layer] for network in self.initial]
        self.params = [torch.from_numpy(np.stack(same)).requires_grad_() for same in zip(*arrays, strict=True)]
        self.adam = torch.optim.Adam(self.params, lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True)

    def _steps(self, order: Any) -> None:
        X, Y = self.peer.X, self.peer.Y
        for rows in order:
            grads = self._grads([param.detach() for param in self.params], X[rows], Y[rows])
            for param, grad in zip(self.params, grads, strict=True):
                param.grad = grad
            self.adam.step()

    def fit(self) -> None:
        self._steps(self.order)

    def few_steps(self) -> None:
        shape = self.shape
        order = np.arange(AGREEMENT_STEPS * shape.batch) % shape.rows
        order = np.repeat(order.reshape(-1, 1, shape.batch), shape.n_networks, axis=1)
        self._steps(self.torch.from_numpy(order))

    def compared(self) -> list[Array]:
        arrays = [param.detach().numpy() for param in self.params]
        layers = list(zip(arrays[::2], arrays[1::2], strict=True))
        return [flat([(W[k], b[k]) for W, b in layers]) for k in COMPARED]

    def predict(self) -> Array:
        with self.torch.inference_mode():
            return np.asarray(self._logits(self.params, self.torch.from_numpy(self.X)).numpy())


class ScikitLearn(Together):
    """`MLPRegressor.fit` in joblib's processes, which are there already: their start is not timed."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        n = min(MOST_NETWORKS if self.shape.batch > 1 else MOST_NETWORKS_ONLINE, self.shape.n_networks)
        self.share = n / self.shape.n_networks
        self.initial = self.shape.many_layers()[:n]
        self.estimators: list[Any] = []
        self.peer.net.set_params(max_iter=self.shape.epochs, shuffle=True)
        self.templates = [self._with(layers, seed) for seed, layers in enumerate(self.initial)]

    def _with(self, layers: Layers, seed: int) -> Any:
        """An estimator that goes on from given weights."""
        net = copy.deepcopy(self.peer.net)
        net.set_params(random_state=seed)
        for index, (W, b) in enumerate(layers):
            net.coefs_[index], net.intercepts_[index] = W.copy(), b.copy()
        return net

    def restart(self) -> None:
        self.estimators = []

    def _fit(self, X: Array, Y: Array, **settings: Any) -> None:
        from joblib import Parallel, delayed

        y = Y.ravel() if Y.shape[1] == 1 else Y
        jobs = (delayed(_fitted)(template, settings, X, y) for template in self.templates)
        self.estimators = Parallel(n_jobs=self.peer.n_threads, backend="loky")(jobs)

    def fit(self) -> None:
        self._fit(self.X, self.Y)

    def few_steps(self) -> None:
        n_rows, epochs = self.shape.epoch(AGREEMENT_STEPS)
        self._fit(self.X[:n_rows], self.Y[:n_rows], max_iter=epochs, shuffle=False)

    def compared(self) -> list[Array]:
        chosen = [self.estimators[k] for k in COMPARED]
        return [flat(list(zip(net.coefs_, net.intercepts_, strict=True))) for net in chosen]

    def predict(self) -> Array:
        return np.stack([net.predict(self.X).reshape(len(self.X), -1) for net in self.templates])


def _fitted(estimator: Any, settings: dict[str, Any], X: Array, y: Array) -> Any:
    """Train in another process, and hand back what was trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training ended before it converged; that is what was asked for
        return copy.deepcopy(estimator).set_params(**settings).fit(X, y)


WAYS: dict[str, Any] = {"jax": Jax, "torch": Torch, "scikit-learn": ScikitLearn}
