"""The C library FANN (Fast Artificial Neural Network), called by ctypes: plain gradient descent, sample by sample."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bench.peers import Peer
from bench.shapes import ONLINE_RATE, Array, Layers, Shape

# Values of FANN's enumerations, from its header fann_data.h.
_TRAIN_INCREMENTAL, _ERRORFUNC_LINEAR = 0, 0
# FANN's code of an activation, and its steepness: the sigmoid is 1 / (1 + exp(-2 steepness z)), with one half the usual
# one, and FANN_SIGMOID_SYMMETRIC is tanh(steepness z).
_ACTIVATIONS = {"sigmoid": (3, 0.5), "tanh": (5, 1.0), "identity": (0, 1.0)}


class _Connection(ctypes.Structure):
    """Its `struct fann_connection` with weights of 32 bits."""

    _fields_ = (("source", ctypes.c_uint), ("target", ctypes.c_uint), ("weight", ctypes.c_float))


_Fill = ctypes.CFUNCTYPE(
    None, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_float)
)


class Fann(Peer):
    """`fann_train_epoch` with incremental training, FANN's loop of `fann_train` over all samples in their order.

    FANN takes an output of the sigmoid for 0.01 to 0.99 in its derivative; the shapes' targets lie well inside.
    """

    name, module = "fann", "ctypes"

    @classmethod
    def available(cls) -> str | None:
        if ctypes.util.find_library("floatfann"):
            return None
        return "the C library FANN is not installed (Debian and Ubuntu: libfann2)"

    @classmethod
    def version(cls) -> str:
        return str(ctypes.util.find_library("floatfann"))

    def prepare(self, shape: Shape) -> None:
        if not {shape.output, shape.activation} <= set(_ACTIVATIONS) or shape.dtype != "float32":
            raise ValueError(f"FANN is measured with layers of {', '.join(_ACTIVATIONS)} in float32 only; got {shape}")
        self.shape = shape
        self.fann, self.first = _network(shape.sizes, (shape.activation, shape.output), shape.initial_layers())
        self.fann.fann_set_train_error_function(self.first, _ERRORFUNC_LINEAR)
        self.fann.fann_set_learning_rate(self.first, ctypes.c_float(ONLINE_RATE))
        self.fann.fann_set_learning_momentum(self.first, ctypes.c_float(0.0))
        self.net: Any = None
        self.X, self.Y, _ = shape.data
        self.data = self._training_data()
        self.restart()

    def restart(self) -> None:
        if self.net:
            self.fann.fann_destroy(self.net)
        self.net = self.fann.fann_copy(self.first)
        self.fann.fann_set_training_algorithm(self.net, _TRAIN_INCREMENTAL)  # a copy has the default, RPROP

    def run_online(self) -> None:
        """One epoch."""
        self.fann.fann_train_epoch(self.net, self.data)

    def predict(self, X: Array) -> Array:
        n_outputs = self.shape.sizes[-1]
        rows = [self.fann.fann_run(self.net, row.ctypes.data)[:n_outputs] for row in np.ascontiguousarray(X)]
        return np.array(rows, X.dtype)

    def compiled_loop(self) -> Any:
        """A compiled function that calls `fann_run` again and again, see `bench.one_row`."""
        import numba

        from fastbp.kernels.machine.pointers import from_address

        address = ctypes.cast(self.fann.fann_run, ctypes.c_void_p).value or 0
        run = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t)(address)

        @numba.njit
        def loop(n, net, x, out):  # type: ignore[no-untyped-def]
            first = x[0]
            for _ in range(n):
                found = from_address(run(net, x.ctypes.data), x)
                for j in range(len(out)):
                    out[j] = found[j]
                x[0] = first + 0.1 * out[0]
            x[0] = first

        return loop

    def layers(self) -> Layers:
        """A neuron's weights lie together, its bias behind them."""
        weights, start, layers = np.array([c.weight for c in _connections(self.fann, self.net)], np.float32), 0, []
        for fan_in, fan_out in pairwise(self.shape.sizes):
            block = weights[start : start + (fan_in + 1) * fan_out].reshape(fan_out, fan_in + 1)
            layers.append((block[:, :-1].T, block[:, -1]))
            start += block.size
        return layers

    def _training_data(self) -> Any:
        """FANN's own copy of the data."""

        def fill(index: int, n_inputs: int, n_outputs: int, x: Any, y: Any) -> None:
            ctypes.memmove(x, self.X[index].ctypes.data, 4 * n_inputs)
            ctypes.memmove(y, self.Y[index].ctypes.data, 4 * n_outputs)

        n_rows, sizes = len(self.X), self.shape.sizes
        return self.fann.fann_create_train_from_callback(n_rows, sizes[0], sizes[-1], _Fill(fill))


def like_fastbp(net: Any) -> tuple[Any, Any]:
    """The library, and a network in it with the weights of fastbp's; raises LookupError where there is none."""
    activations = [str(runs[0][0]) for runs in net.activations]
    if Fann.available() is not None or not set(activations) <= set(_ACTIVATIONS):
        raise LookupError("FANN is not installed, or has no such network")
    return _network(net.sizes, (activations[0], activations[-1]), list(zip(net.weights, net.biases, strict=True)))


def integers_of(net: Any, X: Array) -> tuple[Array, int, int]:
    """Outputs of FANN's fixed point for a network of fastbp's, its decimal point, and the bytes of its weights."""
    library = ctypes.util.find_library("fixedfann")
    if library is None:
        raise LookupError("FANN is not installed")
    (fann, ann), fixed = like_fastbp(net), ctypes.CDLL(library)
    with tempfile.TemporaryDirectory() as folder:
        file = os.fsencode(os.path.join(folder, "net.fann"))
        point = fann.fann_save_to_fixed(ctypes.c_void_p(ann), file)
        fixed.fann_create_from_file.restype = ctypes.c_void_p
        integers = fixed.fann_create_from_file(file)
    fixed.fann_run.argtypes, fixed.fann_run.restype = [ctypes.c_void_p] * 2, ctypes.POINTER(ctypes.c_int)
    rows = np.floor(np.ldexp(X, point) + 0.5).astype(np.intc)
    Y = np.array([fixed.fann_run(integers, row.ctypes.data)[: net.sizes[-1]] for row in rows])
    return np.ldexp(Y.astype(np.float64), -point), point, 4 * net.n_params


def _network(sizes: Sequence[int], activations: tuple[str, str], layers: Layers) -> tuple[Any, Any]:
    """The library, and a network in it with the activations of hidden layers and outputs, and with weights."""
    fann = _library()
    net = fann.fann_create_standard_array(len(sizes), (ctypes.c_uint * len(sizes))(*sizes))
    for place, activation in zip(("hidden", "output"), activations, strict=True):
        code, steepness = _ACTIVATIONS[activation]
        getattr(fann, f"fann_set_activation_function_{place}")(net, code)
        getattr(fann, f"fann_set_activation_steepness_{place}")(net, ctypes.c_float(steepness))
    connections = _connections(fann, net)
    weights = np.concatenate([np.column_stack([W.T, b]).ravel() for W, b in layers])
    for connection, weight in zip(connections, weights, strict=True):
        connection.weight = weight
    fann.fann_set_weight_array(net, connections, len(connections))
    return fann, net


def _connections(fann: Any, net: Any) -> Any:
    """All weights of a network, a neuron's together and its bias behind them."""
    connections = (_Connection * fann.fann_get_total_connections(net))()
    fann.fann_get_connection_array(net, connections)
    return connections


def _library() -> Any:
    """Its functions, those that take or return more than integers declared."""
    fann = ctypes.CDLL(ctypes.util.find_library("floatfann"))
    for name in ("fann_create_standard_array", "fann_copy", "fann_create_train_from_callback"):
        getattr(fann, name).restype = ctypes.c_void_p
    fann.fann_create_train_from_callback.argtypes = [ctypes.c_uint] * 3 + [_Fill]
    fann.fann_run.argtypes, fann.fann_run.restype = [ctypes.c_void_p] * 2, ctypes.POINTER(ctypes.c_float)
    fann.fann_train_epoch.argtypes, fann.fann_train_epoch.restype = [ctypes.c_void_p] * 2, ctypes.c_float
    fann.fann_get_connection_array.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    fann.fann_set_weight_array.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
    for name in ("destroy", "copy", "get_total_connections"):
        getattr(fann, f"fann_{name}").argtypes = [ctypes.c_void_p]
    for name in ("training_algorithm", "train_error_function", "activation_function_hidden",
                 "activation_function_output"):  # fmt: skip
        getattr(fann, f"fann_set_{name}").argtypes = [ctypes.c_void_p, ctypes.c_int]
    for name in ("learning_rate", "learning_momentum", "activation_steepness_hidden", "activation_steepness_output"):
        getattr(fann, f"fann_set_{name}").argtypes = [ctypes.c_void_p, ctypes.c_float]
    return fann


PEERS: dict[str, type[Peer]] = {Fann.name: Fann}
