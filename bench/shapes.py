"""What is measured: network shapes, their data and initial weights, and the cost by which libraries are compared.

Every library's process builds the same arrays from the same seeds, so that only a shape's name has to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Layers = list[tuple[Array, Array]]  # W (fan_in, fan_out) and b (fan_out,) of each layer

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # Adam's, for every library
AGREEMENT_STEPS = 20
COST_ROWS = 1024  # whose cost is compared after training


@dataclass(frozen=True)
class Shape:
    """A network with a batch size: one row of the table of training steps.

    `rows` is the size of the data set; `rows == batch` means full batch, and then `epochs` of them make a round.
    `target` is how many times faster than the best other library fastbp is meant to be.
    """

    sizes: tuple[int, ...]
    batch: int
    rows: int
    target: float
    activation: str = "relu"
    output: str = "softmax"
    loss: str = "cross_entropy"
    epochs: int = 1
    dtype: str = "float32"

    @property
    def network(self) -> str:
        """The sizes, and the hidden activation if it is not relu."""
        sizes = "-".join(str(size) for size in self.sizes)
        return sizes if self.activation == "relu" else f"{sizes} {self.activation}"

    @property
    def name(self) -> str:
        """As it stands in tables: 784-30-10, batch 10."""
        return f"{self.network}, {'full batch' if self.is_full_batch else 'batch'} {self.batch}"

    @property
    def name_with_rows(self) -> str:
        """Where nothing is trained: 784-30-10, 1000 rows."""
        return f"{self.network}, {self.rows} {'row' if self.rows == 1 else 'rows'}"

    @property
    def product(self) -> str:
        """Of the first layer: rows x neurons x inputs."""
        return f"{self.batch} x {self.sizes[1]} x {self.sizes[0]}"

    @property
    def is_full_batch(self) -> bool:
        """Whether a step sees all rows."""
        return self.batch == self.rows

    @property
    def n_params(self) -> int:
        """Weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.sizes))

    @property
    def steps_per_round(self) -> int:
        """Steps of one timed round, where a library is fast enough for all of them."""
        return self.epochs * (self.rows // self.batch)

    @property
    def forward_flops(self) -> int:
        """Flops of one batch's forward pass, matrix products only."""
        return 2 * self.batch * sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.sizes))

    @property
    def gradient_flops(self) -> int:
        """Flops of one batch's gradient: three forward passes, less the error into the first layer's inputs."""
        return 3 * self.forward_flops - 2 * self.batch * self.sizes[0] * self.sizes[1]

    @property
    def step_bytes(self) -> int:
        """Bytes that a training step with Adam must read or write, each number once in each of its passes.

        A parameter: read by the forward and by the backward pass; its gradient written and read; parameter and two
        moments read and written. A neuron of a row: its output written and read, its error too; an input: read twice.
        """
        per_row = 2 * self.sizes[0] + 4 * sum(self.sizes[1:])
        return np.dtype(self.dtype).itemsize * (10 * self.n_params + self.batch * per_row)

    def forget(self) -> None:
        """Drop the data: a process that measures many shapes keeps those of one."""
        self.__dict__.pop("data", None)

    def epoch(self, n_steps: int) -> tuple[int, int]:
        """Rows and epochs of a run of `n_steps`: a part of one epoch, or whole epochs."""
        steps_per_epoch = self.rows // self.batch
        if n_steps <= steps_per_epoch:
            return n_steps * self.batch, 1
        if n_steps % steps_per_epoch:
            raise ValueError(f"{n_steps} steps are not a whole number of epochs of {steps_per_epoch} steps")
        return self.rows, n_steps // steps_per_epoch

    @cached_property
    def data(self) -> Data:
        """Inputs, and targets from a random linear teacher with noise, so that the loss falls but never to 0."""
        rng = np.random.default_rng(20)
        n_features, n_outputs = self.sizes[0], self.sizes[-1]
        X = rng.standard_normal((self.rows, n_features), dtype=np.float32)
        teacher = rng.standard_normal((n_features, n_outputs)) / np.sqrt(n_features)
        signal = X @ teacher + 0.3 * rng.standard_normal((self.rows, n_outputs))
        labels = signal.argmax(axis=1)
        Y = np.eye(n_outputs)[labels] if self.loss == "cross_entropy" else np.tanh(signal)
        if self.output == "sigmoid":
            Y = 0.5 + 0.4 * Y  # inside its range
        return Data(X.astype(self.dtype), Y.astype(self.dtype), labels)

    def initial_layers(self, seed: int = 21) -> Layers:
        """Fresh arrays of the initial weights (Glorot) and biases (small, not 0, so that they are compared too)."""
        rng = np.random.default_rng(seed)
        layers = []
        for fan_in, fan_out in pairwise(self.sizes):
            W = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / (fan_in + fan_out))
            b = 0.1 * rng.standard_normal(fan_out)
            layers.append((W.astype(self.dtype), b.astype(self.dtype)))
        return layers


@dataclass(frozen=True)
class Regression(Shape):
    """A nonlinear least-squares problem: a noisy sine of one input, or what a smooth network of the same sizes says.

    `noise` is the standard deviation of the targets' noise, and `goal` a mean squared error that is hard to reach.
    """

    noise: float = 0.01
    goal: float = 0.0

    @cached_property
    def data(self) -> Data:
        """Inputs and targets."""
        rng = np.random.default_rng(7)
        n_features, n_outputs = self.sizes[0], self.sizes[-1]
        if n_features == 1:
            X = np.linspace(-1, 1, self.rows)[:, None]
            clean = np.sin(3 * np.pi * X)
        else:
            X, teacher = rng.standard_normal((self.rows, n_features)), np.random.default_rng(11)
            clean = X
            for index, (fan_in, fan_out) in enumerate(pairwise(self.sizes)):
                W = teacher.standard_normal((fan_in, fan_out)) * 1.2 / np.sqrt(fan_in)
                clean = clean @ W + 0.3 * teacher.standard_normal(fan_out)
                clean = np.tanh(clean) if index < len(self.sizes) - 2 else clean
        Y = clean + self.noise * rng.standard_normal((self.rows, n_outputs))
        return Data(X.astype(self.dtype), Y.astype(self.dtype), np.zeros(self.rows, np.int64))

    def initial_layers(self) -> Layers:
        """Fresh arrays of the initial weights and biases, both uniform within Glorot's bounds."""
        rng, layers = np.random.default_rng(8), []
        for fan_in, fan_out in pairwise(self.sizes):
            bound = np.sqrt(6 / (fan_in + fan_out))
            W, b = rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, fan_out)
            layers.append((W.astype(self.dtype), b.astype(self.dtype)))
        return layers


@dataclass(frozen=True)
class Many(Shape):
    """Networks of one shape that learn the same data, each from weights of its own."""

    n_networks: int = 96

    def many_layers(self) -> list[Layers]:
        """Fresh arrays of the initial weights of each network."""
        return [self.initial_layers(seed=1000 + k) for k in range(self.n_networks)]


class Data(NamedTuple):
    """Inputs (rows, n_features), targets (rows, n_outputs), labels (rows,)."""

    X: Array
    Y: Array
    labels: NDArray[np.int64]


_ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


def outputs(shape: Shape, layers: Layers, X: Array) -> Array:
    """Outputs (n, n_outputs), in plain NumPy and float64."""
    a = X.astype(np.float64)
    for index, (W, b) in enumerate(layers):
        a = a @ W.astype(np.float64) + b
        if index < len(layers) - 1:
            a = _ACTIVATIONS[shape.activation](a)
        elif shape.output != "softmax":
            a = _ACTIVATIONS[shape.output](a)
    if shape.output == "softmax":
        a = np.exp(a - a.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
    return a


def cost(shape: Shape, layers: Layers) -> float:
    """The cost over the first rows, by one definition for every library's weights."""
    X, Y, _ = (array[:COST_ROWS] for array in shape.data)
    a = outputs(shape, layers, X)
    if shape.loss == "cross_entropy":
        return float(-np.log((a * Y).sum(axis=1)).mean())
    return float(0.5 * ((a - Y) ** 2).sum(axis=1).mean())


# Rows are chosen so that an epoch of the faster libraries takes some 10 to 500 ms.
TRAINING = (
    Shape((2, 4, 4, 2), 1, 20_000, target=8),
    Shape((2, 16, 16, 2), 32, 32 * 1000, target=6),
    Shape((784, 30, 10), 10, 10 * 1000, target=3),
    Shape((64, 100, 10), 200, 200 * 100, target=2.5),
    Shape((784, 128, 10), 64, 64 * 150, target=1.25),
    Shape((784, 512, 512, 10), 128, 128 * 40, target=1.15),
    Shape((784, 2048, 2048, 10), 256, 256 * 20, target=1.03),
    Shape(
        (4, 32, 16, 4),
        10_000,
        10_000,
        target=2,
        activation="tanh",
        output="identity",
        loss="quadratic",
        epochs=40,
    ),
)

# Data that fit into the first-level cache, as in textbooks, physics and reinforcement learning: what is done around
# a step takes longer than the step.
SMALL = tuple(
    Shape(
        (4, 16, 2), rows, rows, target=target, activation="tanh", output="identity", loss="quadratic", epochs=5000,
    )
    for rows, target in ((1, 2), (32, 5))
)  # fmt: skip

# One gradient and one forward pass over a whole batch.
GRADIENT = tuple(
    Shape(sizes, batch, batch, target=1)
    for sizes, batch in [
        ((784, 30, 10), 1000),
        ((784, 512, 512, 10), 128),
        ((1024, 1024, 1024, 1024, 10), 512),
    ]
)

# Derivatives beyond the gradient of the cost: of outputs by inputs and by parameters, of each sample's cost, products
# with second derivatives, and the Laplacian of a network that stands for a field.
OF_OUTPUTS = tuple(
    Shape(sizes, rows, rows, target=target, activation="tanh", output="identity", loss="quadratic")
    for sizes, rows, target in (((3, 64, 5), 128, 2), ((784, 30, 10), 100, 1.5))
)
OF_SAMPLES = Shape((784, 128, 10), 64, 64, target=1.5, activation="tanh")
FIELD = Shape((2, 64, 64, 1), 1024, 1024, target=1.5, activation="tanh", output="identity", loss="quadratic")

# Nonlinear least squares: 31, 163 and 1,291 parameters.
LEAST_SQUARES = tuple(
    Regression(
        sizes, rows, rows, target=target, activation="tanh", output="identity", loss="quadratic", dtype="float64",
        noise=noise, goal=goal,
    )
    for sizes, rows, target, noise, goal in (
        ((1, 10, 1), 500, 6, 0.05, 2.6e-3),
        ((4, 20, 3), 2000, 8, 0.01, 1.1e-4),
        ((10, 30, 30, 1), 10_000, 3, 0.01, 2e-4),
    )
)  # fmt: skip

# Smooth, so that differences agree with derivatives; float64, because differences of float32 costs are mostly rounding.
# From five parameters to a hundred thousand.
PERTURBATION = tuple(
    Shape(sizes, batch, batch, target=1, activation="tanh", output="softmax", dtype="float64")
    for sizes, batch in [
        ((1, 1, 2), 256),
        ((2, 4, 4, 2), 256),
        ((8, 16, 4), 128),
        ((16, 32, 32, 4), 128),
        ((64, 100, 10), 64),
        ((784, 30, 10), 16),
        ((784, 128, 10), 8),
    ]
)

PREDICTION = (
    Shape((4, 32, 16, 4), 1, 1, target=1, activation="tanh", output="identity", loss="quadratic"),
    Shape((784, 128, 10), 10_000, 10_000, target=1),
)

# One row, as compiled simulations and control loops ask for it.
ONE_ROW = tuple(
    Shape(sizes, 1, 1, target=5, activation="tanh", output="identity", loss="quadratic", dtype=dtype)
    for sizes in ((2, 4, 4, 2), (4, 32, 16, 4), (10, 100, 3))
    for dtype in ("float32", "float64")
)

# The network of Nielsen's text, in the data of its interface.
DIGITS = tuple(
    Shape((784, 30, 10), 10, rows, target=15, activation="sigmoid", output="sigmoid", loss="quadratic", dtype="float64")
    for rows in (500, 10_000)
)

# One million parameters, for the million-and-one passes.
MILLION = Shape((999, 999, 1), 1, 1, target=1, activation="tanh", output="identity", loss="quadratic", dtype="float64")

# Plain gradient descent, one sample at a time, as the C library FANN trains.
ONLINE = tuple(
    Shape(sizes, 1, rows, target=1, activation="sigmoid", output="sigmoid", loss="quadratic")
    for sizes, rows in [((2, 4, 4, 1), 20_000), ((64, 100, 10), 2000)]
)
ONLINE_RATE = 0.1

# From 784-128-10 up: networks that are worth a second thread.
THREADS = TRAINING[4:7]

# Ensembles, seeds, folds and grids of small networks: rows are whole batches.
MANY = tuple(
    Many(
        sizes, batch, rows, target=4, activation=activation, output="identity", loss="quadratic", epochs=20
    )
    for sizes, batch, rows, activation in (
        ((10, 32, 32, 1), 32, 2016, "relu"),
        ((2, 16, 16, 2), 32, 2016, "relu"),
        ((2, 4, 4, 2), 1, 500, "tanh"),
        ((1, 10, 1), 50, 500, "tanh"),
    )
)  # fmt: skip
MANY_PREDICTED = tuple(
    Many((10, 32, 32, 1), rows, rows, target=4, output="identity", loss="quadratic") for rows in (1, 32, 1000)
)

SWEEP_WIDTHS = tuple(2**i for i in range(1, 12))
SWEEP_BATCHES = tuple(4**i for i in range(6))


def _sweep_shape(width: int, batch: int) -> Shape:
    """Two hidden layers as wide as the input; an epoch of at most 20,000 steps or some 8 MB, and at least 4 steps."""
    n_steps = max(4, min(20_000, 2**21 // (width * batch)))
    return Shape((width, width, width, 10), batch, n_steps * batch, target=1)


SWEEP = tuple(_sweep_shape(width, batch) for width in SWEEP_WIDTHS for batch in SWEEP_BATCHES)

# One hidden layer trained with one row at a time, where a step is little more than its products with vectors; and three
# narrow ones.
NARROW_WIDTHS = (10, 20, 30, 50, 64, 100, 200, 500)
NARROW = tuple(
    Shape(sizes, batch, batch * n_steps, target=1)
    for sizes, batch, n_steps in [
        *(((784, width, 10), 1, 2000) for width in NARROW_WIDTHS),
        *(((16, width, 4), 1, 10_000) for width in NARROW_WIDTHS),
        *(((width, width, width, width, 5), 100, 500) for width in (30, 40, 50, 64, 80)),
    ]
)


def _product(m: int, n: int, k: int, dtype: str) -> Shape:
    """A layer without activation: m rows, k inputs, n neurons; BLAS's packing pays where matrices are large."""
    target = 0.92 if min(m, n, k) >= 256 else 1.0
    return Shape((k, n), m, m, target, output="identity", loss="quadratic", dtype=dtype)


PRODUCTS = tuple(
    _product(*sizes, dtype)
    for dtype in ("float32", "float64")
    for sizes in (
        (12, 16, 256), (64, 64, 64), (256, 256, 256), (784, 128, 64), (256, 2048, 2048), (784, 2048, 256),
    )
)  # fmt: skip

MATRIX_SIZE = 2048  # of the product whose rate stands for the machine's

ALL = {f"{group}: {shape.name}": shape for group, shapes in (
    ("training", TRAINING), ("gradient", GRADIENT), ("perturbation", PERTURBATION), ("prediction", PREDICTION),
    ("few digits", DIGITS[:1]), ("digits", DIGITS[1:]), ("million", (MILLION,)), ("online", ONLINE), ("sweep", SWEEP),
    ("small", SMALL), ("narrow", NARROW), ("derivatives", (*OF_OUTPUTS, OF_SAMPLES, FIELD)),
    ("least squares", LEAST_SQUARES), ("many", MANY), ("many predicted", MANY_PREDICTED),
    *((f"one row {dtype}", [shape for shape in ONE_ROW if shape.dtype == dtype]) for dtype in ("float32", "float64")),
    *((f"product {dtype}", [shape for shape in PRODUCTS if shape.dtype == dtype]) for dtype in ("float32", "float64")),
) for shape in shapes}  # fmt: skip
