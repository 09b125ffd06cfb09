"""A network as the README shows it, with every argument; nothing here may be called wrong."""
# pyright: strict

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, assert_type

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastbp as bp

X, Y = np.zeros((8, 2)), np.zeros((8, 1))
labels = np.zeros(8, np.int64)

# --- what a network is made of ----------------------------------------------------------------------------------------


def network(
    hidden: bp.ActivationSpec,
    output: bp.OutputSpec = "identity",
    loss: bp.LossName = "quadratic",
    initializer: bp.InitializerName = "he_normal",
    dtype: bp.DTypeName = "float32",
) -> bp.Network:
    """Return a network of names that come from elsewhere in the program."""
    return bp.Network([2, 3, 4, 1], hidden, output, loss, initializer, dtype=dtype, dropout=[0.1, 0.0])


name: bp.ActivationName
for name in ("relu", "tanh"):
    network(name)
ends: Sequence[bp.OutputName] = ["softmax", "sigmoid"]
net = network([[("relu", 1), ("gelu", 2)], "tanh"], [("sigmoid", 1)], loss="cross_entropy")
bp.Network(net.sizes, net.activations[:-1], net.activations[-1], net.loss, net.initializer)
bp.Network((2, 1), seed=0, l2_penalty=0.1, l1_penalty=1e-3, loss="huber", loss_parameter=2.0, dtype=np.float32)
bp.Network([2, 1], dtype=np.dtype(np.float64), dropout=0)
net = bp.Network([2, 4, 1], activation="tanh", seed=0)
assert_type(net.sizes, tuple[int, ...])
assert_type(net.n_params, int)
params: NDArray[np.floating] = net.params
first: NDArray[np.floating] = net.weights[0]
net.params[...] = 0
net.weights[0][0, 1] = 2.0

# --- data -------------------------------------------------------------------------------------------------------------


class Frame:
    """Anything that NumPy takes for an array, as data frames and tensors are."""

    def __array__(self) -> NDArray[np.float64]:
        return X


class Compressed:
    """A sparse matrix of a library with types."""

    format, shape = "csr", (8, 2)

    def tocsr(self, copy: bool = False) -> "Compressed":
        """Return it as CSR."""
        return self


for rows in (X, X.tolist(), [[1, 2], [3, 4]], [(0.5, True)], [X[0], X[1]], ((np.float32(1), 2),), range(2)):
    net.predict(rows)
net.predict(Frame())
net.predict(Compressed())


def predictions(data: bp.MatrixLike) -> NDArray[np.floating]:
    """Return the outputs for rows of any kind."""
    return net.predict(data)


# --- training ---------------------------------------------------------------------------------------------------------


def stop(net: bp.Network, history: bp.History) -> bool:
    """Return whether the loss is small enough."""
    return bool(history.loss[-1] < 0.1)


class Printer:
    """A callback with a state."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, net: bp.Network, history: bp.History) -> None:
        """Note an epoch."""
        self.lines.append(f"{len(history)} {history.loss[-1]:.3f} {net.n_params}")


losses: list[float] = []
callbacks: list[bp.Callback] = [
    stop,
    Printer(),
    bp.DiagnosticWatch(X),
    bp.WeightHistory(net),
    lambda net, history: losses.append(history.loss[-1]),
    lambda net, history: history.loss[-1] < 0.1,
]
history = net.fit(
    X,
    Y,
    epochs=2,
    batch_size="auto",
    optimizer=bp.Adam(learning_rate=3e-3),
    shuffle=False,
    seed=0,
    validation_data=(X, Y),
    sample_weight=np.ones(8),
    early_stopping=bp.EarlyStopping(patience=3),
    tol=1e-5,
    clip_norm=1.0,
    callbacks=callbacks,
    progress=True,
    n_threads=2,
    checkpoint=Path("here"),
    checkpoint_every=timedelta(minutes=5),
    resume=True,
)
net.fit(X.tolist(), labels, 2, None, bp.SGD(bp.Cosine(0.1)), validation_data=(X, Y, np.ones(8)))
assert_type(history, bp.History)
curve: NDArray[np.float64] = net.history.loss
assert_type(history.loss, NDArray[np.float64])
assert_type(history.best_epoch, int | None)
assert_type(history.as_dict(), dict[str, NDArray[np.float64]])
assert_type(net.step(X, Y, optimizer=bp.RMSprop()), float)

optimizers: list[bp.Optimizer | bp.WholeBatchOptimizer] = [
    bp.SGD(0.1, momentum=0.9, nesterov=True),
    bp.Adam(bp.OneCycle(0.1)),
    bp.AdamW(bp.Step(0.1, step_size=10, gamma=0.5)),
    bp.RMSprop(bp.Constant(0.1)),
    bp.SGD(bp.InverseScaling(0.1)),
    bp.LBFGS(),
    bp.LevenbergMarquardt(),
    bp.BayesianRegularization(),
]
history = net.fit(X, Y, optimizer=bp.LevenbergMarquardt())
assert_type(history.mu, NDArray[np.float64])
assert_type(history.gradient_norm, NDArray[np.float64])
assert_type(history.stopped_by, str)


@dataclass(frozen=True)
class Linear(bp.Schedule):
    """A schedule of one's own."""

    first: float = 0.1

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps."""
        return self.first * (1 - np.asarray(steps, np.float64) / horizon)


net.fit(X, Y, optimizer=bp.SGD(Linear()))
found = bp.find_learning_rate(net, X, Y, optimizer=bp.SGD(0.1), batch_size=4)
bp.find_learning_rate(net, X, Y)
histories = bp.fit_many(
    [net, bp.Network([2, 1])],
    X,
    Y,
    epochs=[1, 2],
    optimizer=[bp.Adam(), bp.SGD(0.1)],
    rows=[[0, 1], None],
    seed=[0, 1],
)
assert_type(histories, list[bp.History])
many: NDArray[np.floating] = bp.predict_many([net, net], X)

# --- derivatives ------------------------------------------------------------------------------------------------------

cost, grad = net.value_and_grad(X, Y, sample_weight=[1.0] * 8)
assert_type(cost, float)
grad += 0.1 * params
assert_type(net.loss_value(X, Y), float)
net.value_and_grad(X, Y, params=params)
for layer in net.trace(X, Y).layers:
    size: int = layer.z.size + layer.a.size + layer.delta.size + layer.dW.size + layer.db.size
by_params: NDArray[np.floating] = net.vjp(X, Y)
by_inputs: NDArray[np.floating] = net.vjp(X, Y, wrt="inputs")
by_params, by_inputs = net.vjp(X, Y, "both")
products: list[NDArray[np.floating]] = [
    net.jvp(X, params),
    net.jvp(X, X, wrt="inputs"),
    net.hvp(X, Y, params),
    net.gnvp(X, Y, params),
    net.fisher_vp(X, params),
    net.input_gradient(X, Y),
    net.input_jacobian(X),
    net.jacobian(X),
    net.per_sample_gradients(X, Y),
    net.per_sample_gradient_norms(X, Y),
    net.laplacian(X),
    net.input_hessian(X),
]
blocks: Iterator[tuple[slice, NDArray[np.floating]]] = net.jacobian_blocks(X)
derived = net.input_derivatives(X)
curvature: NDArray[np.floating] = derived.laplacian


def residual(values: bp.InputDerivatives) -> NDArray[np.floating]:
    """Return how far the network is from a solution of Poisson's equation."""
    return values.laplacian - 1


report = bp.check_gradient(net, X, Y)
if not report.ok:
    print(report)
print(bp.diagnose(net, X))
slow = bp.finite_difference_gradient(net, X, Y, scheme="central", dtype="float64")
bp.node_perturbation(net, X, Y)
bp.random_weight_search(net, X, Y, n_steps=10)


def hits(Y_true: NDArray[Any], Y_pred: NDArray[Any]) -> float:
    """Return a metric of one's own."""
    return float((Y_true == Y_pred).mean())


watched = bp.EarlyStopping(monitor="hits", mode="max")
measured = net.fit(X, Y, metrics={"r2": "r2", "hits": hits}, early_stopping=watched).metrics["hits"][-1]

# --- files and other places -------------------------------------------------------------------------------------------


def keep(path: bp.PathLike) -> bp.Network:
    """Write a network in every way, and read it."""
    net.save(path)
    net.to_onnx(path)
    net.to_c("net.c")
    net.to_c("net.c", format="q15", calibration=X).max_error
    bp.from_onnx(path).predict(X)
    bp.from_torch_state_dict(net.torch_state_dict(), "tanh", loss="cross_entropy")
    again: bp.Network = bp.load(path, mmap=True)
    return again


def pack(file: io.BytesIO, archive: zipfile.ZipFile, opened: BinaryIO) -> None:
    """Write a network into objects, and read it from objects and bytes."""
    net.save(file)
    net.save(opened)
    with archive.open("net", "w") as member:
        net.save(member)
    with archive.open("net") as member:
        bp.load(member)
    for source in (file, opened, file.getvalue(), memoryview(b"")):
        bp.load(source)


seconds: dict[str, float] = bp.warmup("float32")
bp.warmup(["float32", "float64"])
bp.warmup(np.float32)
bp.set_num_threads(2)
with bp.num_threads(1):
    assert_type(bp.get_num_threads(), int)
row: NDArray[np.floating] = net.predict_one(X[0])
try:
    net.fit(X, Y)
except bp.TrainingDivergedError as error:
    print(error)
