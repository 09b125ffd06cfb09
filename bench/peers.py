"""The libraries: one class each, with the same few methods.

Each trains with Adam from the same weights on the same data and hands its weights back, so that the results can be
compared. What is timed is each library's own way of doing the work quickly; see the class's comment.
Every import of a library is inside its class: a worker process loads one of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from bench.shapes import BETA_1, BETA_2, EPSILON, LEARNING_RATE, ONLINE_RATE, Array, Layers, Shape, cost


class Peer:
    """What a library must offer; a method that it does not have raises NotImplementedError."""

    name: ClassVar[str]
    module: ClassVar[str]
    compiles_each_shape: ClassVar[bool] = False  # if so, a run of another length costs a compilation

    @classmethod
    def available(cls) -> str | None:
        """Return None, or the reason why the library cannot be measured."""
        return None if importlib.util.find_spec(cls.module) else f"{cls.module} is not installed"

    @classmethod
    def version(cls) -> str:
        """The version of the library."""
        return str(importlib.import_module(cls.module).__version__)

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def prepare(self, shape: Shape) -> None:
        """Build the network of a shape and take its data; `restart` follows."""
        raise NotImplementedError

    def restart(self) -> None:
        """Return to the initial weights and a fresh optimizer."""
        raise NotImplementedError

    def run_steps(self, n_steps: int, *, shuffle: bool) -> None:
        """Take training steps: part of an epoch, or whole epochs."""
        raise NotImplementedError

    def single_steps(self, n: int) -> None:
        """Take steps on all rows, each a call of its own that gives its cost, as where rows come one by one."""
        raise NotImplementedError

    def layers(self) -> Layers:
        """The weights (fan_in, fan_out) and biases of each layer as NumPy arrays."""
        raise NotImplementedError

    def predict(self, X: Array) -> Array:
        """Outputs (n, n_outputs) as a NumPy array."""
        raise NotImplementedError

    def forward(self) -> float:
        """The cost over the whole data."""
        raise NotImplementedError

    def value_and_grad(self) -> Layers | Array:
        """Cost and gradient over the whole data; the gradient in the library's own form, which may be layers."""
        raise NotImplementedError

    def loss(self) -> float:
        """The cost of the present weights, by the definition common to all libraries."""
        return cost(self.shape, self.layers())

    shape: Shape


class FastBP(Peer):
    """`Network.fit`."""

    name, module = "fastbp", "fastbp"

    def prepare(self, shape: Shape) -> None:
        import fastbp

        self.shape = shape
        self.net = fastbp.Network(shape.sizes, shape.activation, shape.output, shape.loss, dtype=shape.dtype, seed=0)
        self.X, self.Y, labels = shape.data
        if shape.loss == "cross_entropy":
            self.Y = labels
        self.restart()

    def restart(self) -> None:
        self.net.params[...] = flat(self.shape.initial_layers())

    def run_steps(self, n_steps: int, *, shuffle: bool) -> None:
        import fastbp

        n_rows, epochs = self.shape.epoch(n_steps)
        self.net.fit(
            self.X[:n_rows],
            self.Y[:n_rows],
            epochs=epochs,
            batch_size=self.shape.batch,
            optimizer=fastbp.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON),
            shuffle=shuffle,
            seed=0,
            n_threads=self.n_threads,
        )

    def single_steps(self, n: int) -> None:
        import fastbp

        optimizer = fastbp.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        for _ in range(n):
            self.net.step(self.X, self.Y, optimizer=optimizer)

    def layers(self) -> Layers:
        return list(zip(self.net.weights, self.net.biases, strict=True))

    def predict(self, X: Array) -> Array:
        return self.net.predict(X)  # without n_threads, as users call it: the environment says how many

    def forward(self) -> float:
        return self.net.loss_value(self.X, self.Y, n_threads=self.n_threads)

    def value_and_grad(self) -> Array:
        return self.net.value_and_grad(self.X, self.Y, n_threads=self.n_threads)[1]

    def run_online(self) -> None:
        """One epoch of gradient descent, one sample at a time, in the order of the data."""
        import fastbp

        self.net.fit(
            self.X, self.Y, epochs=1, batch_size=1, optimizer=fastbp.SGD(ONLINE_RATE), shuffle=False,
            n_threads=self.n_threads,
        )  # fmt: skip

    def perturbation(self, **options: Any) -> Array:
        """The gradient by perturbing each parameter."""
        from fastbp.derivatives.perturbation import finite_difference_gradient

        return finite_difference_gradient(self.net, self.X, self.Y, n_threads=self.n_threads, **options).gradient


class ScikitLearn(Peer):
    """`MLPClassifier.fit` or `MLPRegressor.fit` with as many epochs as asked for, and no penalty."""

    name, module = "scikit-learn", "sklearn"

    def prepare(self, shape: Shape) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        # scikit-learn says that training ended before it converged; that is what was asked for.
        warnings.simplefilter("ignore")
        self.shape = shape
        is_classifier = shape.loss == "cross_entropy"
        self.net = (MLPClassifier if is_classifier else MLPRegressor)(
            hidden_layer_sizes=shape.sizes[1:-1],
            activation=shape.activation,
            alpha=0.0,
            batch_size=shape.batch,
            learning_rate_init=LEARNING_RATE,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            max_iter=1,
            tol=0.0,
            n_iter_no_change=np.inf,
            warm_start=True,  # keep the weights that are put in
            random_state=0,
        )
        self.X, self.Y, _ = shape.data
        if is_classifier:
            self.Y = self.Y.astype(np.int64)
        self.net.fit(self.X[: shape.batch], self.Y[: shape.batch])
        if is_classifier:
            # One-hot targets, then softmax by hand: from labels it would give two classes a single logistic output,
            # which is another network.
            self.net.out_activation_ = "softmax"
        self.restart()

    def restart(self) -> None:
        for index, (W, b) in enumerate(self.shape.initial_layers()):
            self.net.coefs_[index][...] = W
            self.net.intercepts_[index][...] = b

    def run_steps(self, n_steps: int, *, shuffle: bool) -> None:
        n_rows, epochs = self.shape.epoch(n_steps)
        self.net.set_params(max_iter=epochs, shuffle=shuffle)
        self.net.fit(self.X[:n_rows], self.Y[:n_rows])

    def single_steps(self, n: int) -> None:
        vars(self.net).pop("_optimizer", None)  # begin afresh
        for _ in range(n):
            self.net.partial_fit(self.X, self.Y)

    def layers(self) -> Layers:
        return list(zip(self.net.coefs_, self.net.intercepts_, strict=True))

    def predict(self, X: Array) -> Array:
        return self.net.predict_proba(X) if self.shape.loss == "cross_entropy" else self.net.predict(X)


class Torch(Peer):
    """Eager modules and the fused Adam, the mini-batches gathered by index."""

    name, module = "torch", "torch"

    def prepare(self, shape: Shape) -> None:
        import torch

        torch.set_num_threads(self.n_threads)
        self.torch, self.shape = torch, shape
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[shape.activation]
        modules: list[Any] = []
        for fan_in, fan_out in pairwise(shape.sizes):
            modules += [torch.nn.Linear(fan_in, fan_out), activation()]
        self.net = torch.nn.Sequential(*modules[:-1]).to(getattr(torch, shape.dtype))
        self.linear = [module for module in self.net if isinstance(module, torch.nn.Linear)]
        X, Y, labels = shape.data
        self.X = torch.from_numpy(X)
        self.Y = torch.from_numpy(labels if shape.loss == "cross_entropy" else Y)
        self.restart()

    def restart(self) -> None:
        with self.torch.no_grad():
            for linear, (W, b) in zip(self.linear, self.shape.initial_layers(), strict=True):
                linear.weight.copy_(self.torch.from_numpy(W.T))
                linear.bias.copy_(self.torch.from_numpy(b))
        self.adam = self.torch.optim.Adam(
            self.net.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
        )

    def _cost(self, X: Any, Y: Any) -> Any:
        if self.shape.loss == "cross_entropy":
            return self.torch.nn.functional.cross_entropy(self.net(X), Y)
        return 0.5 * self.torch.nn.functional.mse_loss(self.net(X), Y, reduction="sum") / len(X)

    def run_steps(self, n_steps: int, *, shuffle: bool) -> None:
        n_rows, epochs = self.shape.epoch(n_steps)
        for _ in range(epochs):
            order = self.torch.randperm(n_rows) if shuffle else self.torch.arange(n_rows)
            for rows in order.split(self.shape.batch):
                X, Y = (self.X, self.Y) if self.shape.is_full_batch else (self.X[rows], self.Y[rows])
                self.adam.zero_grad()
                self._cost(X, Y).backward()
                self.adam.step()

    def single_steps(self, n: int) -> None:
        for _ in range(n):
            self.adam.zero_grad()
            cost = self._cost(self.X, self.Y)
            cost.backward()
            self.adam.step()
            float(cost)

    def layers(self) -> Layers:
        return [(linear.weight.detach().numpy().T, linear.bias.detach().numpy()) for linear in self.linear]

    def predict(self, X: Array) -> Array:
        with self.torch.inference_mode():
            z = self.net(self.torch.from_numpy(X))
            return (z.softmax(1) if self.shape.output == "softmax" else z).numpy()

    def forward(self) -> float:
        with self.torch.inference_mode():
            return float(self._cost(self.X, self.Y))

    def value_and_grad(self) -> Layers:
        self.adam.zero_grad()
        self._cost(self.X, self.Y).backward()
        return [(linear.weight.grad.numpy().T, linear.bias.grad.numpy()) for linear in self.linear]


class Jax(Peer):
    """A whole epoch in one jitted `lax.scan`, the order of the rows drawn by NumPy."""

    name, module, compiles_each_shape = "jax", "jax", True

    def prepare(self, shape: Shape) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", shape.dtype == "float64")
        self.jax, self.shape = jax, shape
        X, Y, labels = shape.data
        self.X, self.Y = jax.numpy.asarray(X), jax.numpy.asarray(labels if shape.loss == "cross_entropy" else Y)
        self.rng = np.random.default_rng(0)
        self._epoch = jax.jit(self._scan, donate_argnums=0)
        self._single = jax.jit(lambda state, X, Y: (self._cost(state[0], X, Y), self._step(state, X, Y)))
        self._predict = jax.jit(self._outputs)
        self._forward = jax.jit(self._cost)
        self._value_and_grad = jax.jit(jax.value_and_grad(self._cost))
        self.restart()

    def restart(self) -> None:
        layers = self.shape.initial_layers()
        zeros = [(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
        self.state = self.jax.tree.map(self.jax.numpy.array, (layers, zeros, zeros, np.float32(0)))
        self.jax.block_until_ready(self.state)  # arrays are made in the background: not in the next round

    def _logits(self, layers: Any, X: Any) -> Any:
        activation = {"relu": self.jax.nn.relu, "tanh": self.jax.numpy.tanh}[self.shape.activation]
        for W, b in layers[:-1]:
            X = activation(X @ W + b)
        W, b = layers[-1]
        return X @ W + b

    def _outputs(self, layers: Any, X: Any) -> Any:
        z = self._logits(layers, X)
        return self.jax.nn.softmax(z) if self.shape.output == "softmax" else z

    def _cost(self, layers: Any, X: Any, Y: Any) -> Any:
        np_ = self.jax.numpy
        z = self._logits(layers, X)
        if self.shape.loss != "cross_entropy":
            return 0.5 * np_.mean(np_.sum((z - Y) ** 2, axis=1))
        log_probability = self.jax.nn.log_softmax(z)
        return -np_.mean(np_.take_along_axis(log_probability, Y[:, None], axis=1))

    def _step(self, state: Any, X: Any, Y: Any) -> Any:
        layers, m, v, t = state
        grads, each = self.jax.grad(self._cost)(layers, X, Y), self.jax.tree.map
        t = t + 1
        m = each(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, grads)
        v = each(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, grads)
        scale_m, scale_v = 1 / (1 - BETA_1**t), 1 / (1 - BETA_2**t)
        sqrt = self.jax.numpy.sqrt
        layers = each(lambda w, m, v: w - LEARNING_RATE * (m * scale_m) / (sqrt(v * scale_v) + EPSILON), layers, m, v)
        return layers, m, v, t

    def _scan(self, state: Any, X: Any, Y: Any, order: Any) -> Any:
        def body(state: Any, rows: Any) -> Any:
            chosen = (X, Y) if self.shape.is_full_batch else (X[rows], Y[rows])
            return self._step(state, *chosen), None

        return self.jax.lax.scan(body, state, order)[0]

    def run_steps(self, n_steps: int, *, shuffle: bool) -> None:
        batch = 1 if self.shape.is_full_batch else self.shape.batch
        n = n_steps * batch
        order = self.rng.permutation(n) if shuffle else np.arange(n)
        self.state = self._epoch(self.state, self.X, self.Y, order.astype(np.int32).reshape(n_steps, batch))
        self.jax.block_until_ready(self.state)

    def single_steps(self, n: int) -> None:
        for _ in range(n):
            cost, self.state = self._single(self.state, self.X, self.Y)
            float(cost)

    def layers(self) -> Layers:
        return [(np.asarray(W), np.asarray(b)) for W, b in self.state[0]]

    def predict(self, X: Array) -> Array:
        return np.asarray(self._predict(self.state[0], X))

    def forward(self) -> float:
        return float(self._forward(self.state[0], self.X, self.Y))

    def value_and_grad(self) -> Layers:
        _cost, grads = self._value_and_grad(self.state[0], self.X, self.Y)
        self.jax.block_until_ready(grads)
        return [(np.asarray(W), np.asarray(b)) for W, b in grads]


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (FastBP, ScikitLearn, Torch, Jax)}
LIBRARIES = ("fastbp", "scikit-learn", "torch", "jax")  # the order in tables


def flat(layers: Layers | Array) -> Array:
    """All parameters as one vector [W1 b1 W2 b2 ...], which they may be already."""
    if isinstance(layers, np.ndarray):
        return layers
    return np.concatenate([array.ravel() for layer in layers for array in layer])
