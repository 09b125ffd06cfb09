"""Networks as ONNX models, for other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.functions.names import OutputName
from fastbp.functions.own import Activation
from fastbp.kernels.functions.activations import LEAKY_SLOPE
from fastbp.model.definition import require_network
from fastbp.model.model import Model
from fastbp.storage.atomic import PathLike, checked_path, write_atomically
from fastbp.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["MOST_ONNX_BYTES", "Graph", "import_onnx", "onnx_model", "require_exportable", "to_onnx"]

_OPSET = 17  # of 2022: every operator below exists in it, and runtimes of the years since know it
_IR_VERSION = 8  # the one that belongs to it
_TAIL_CENTRE, _TAIL_DEGREE = 4.0, 20  # of the polynomial in gelu: its error is below the rounding of float64
MOST_ONNX_BYTES = (1 << 31) - (1 << 20)  # a protocol buffer holds less than 2 GiB; a MiB for the graph itself


def to_onnx(net: Model, path: PathLike) -> None:
    """Write a network as an ONNX model, whole or not at all.

    Its input is ``X`` (n, n_features) and its output ``output`` (n, n_outputs), both in the network's dtype, for any
    number of rows.  What belongs to training is left out: loss, penalties and dropout.  Needs the `onnx` package.

    Parameters
    ----------
    net : Network
        A network with built-in activations.
    path : str or os.PathLike
        The file; by convention its name ends in ``.onnx``.  One that exists is replaced.

    Raises
    ------
    ImportError
        If the `onnx` package is missing.
    TypeError, ValueError
        If an argument is wrong, if a parameter is NaN or infinite, if the network has an activation of your own, or if
        it takes 2 GiB or more.
    OSError
        If the file cannot be written; one that was there before is whole.

    Examples
    --------
    >>> import os, tempfile, fastbp as bp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(bp.Network([2, 3, 1], seed=0), os.path.join(folder, "net.onnx"))
    """
    checked_path(path)
    content = onnx_model(net).SerializeToString()
    write_atomically(path, lambda file: file.write(content))


def onnx_model(net: Model) -> ModelProto:
    """Return a network as an ONNX model, which `to_onnx` writes to a file.

    Parameters
    ----------
    net : Network
        A network with built-in activations.

    Returns
    -------
    onnx.ModelProto
        The model.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `to_onnx`.

    Examples
    --------
    >>> import fastbp as bp
    >>> [node.op_type for node in onnx_model(bp.Network([2, 3, 1], "tanh")).graph.node]
    ['Gemm', 'Tanh', 'Gemm', 'Identity']
    """
    require_network(net)
    require_exportable(net)
    graph = Graph(net.dtype)
    graph.layers(net, "X", "output")
    return graph.model(net.sizes[0], [("output", net.dtype, ["n", net.sizes[-1]])])


def require_exportable(net: Model) -> None:
    """Raise unless ONNX can hold a network."""
    n_bytes = net.params.nbytes
    if n_bytes > MOST_ONNX_BYTES:
        raise ValueError(f"`net` must have less than 2 GiB of parameters for an ONNX model; it has {n_bytes} bytes.")
    if not validation.all_finite(net.params):
        raise ValueError(
            "`net.params` must be finite for an ONNX model, because one with NaN or infinity would predict nothing."
        )
    for runs in net.activations:
        for activation, _ in runs:
            if isinstance(activation, Activation):
                raise ValueError(
                    f"`net` must have built-in activations only to become an ONNX model; it has {activation.name!r}."
                )


def import_onnx() -> Any:
    """Return the `onnx` package."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError('An ONNX model needs the `onnx` package: pip install "fastbp[onnx]".') from error
    return onnx


class Graph:
    """The nodes and constants of an ONNX graph, made one after the other; every value has a name."""

    def __init__(self, dtype: np.dtype) -> None:
        self._onnx = import_onnx()
        self._dtype = dtype
        self.nodes: list[NodeProto] = []
        self.constants: list[Any] = []
        self._known: dict[float, str] = {}

    def model(self, n_features: int, outputs: Sequence[tuple[str, np.dtype, list[Any]]]) -> ModelProto:
        """Return the model, with the input X and outputs of given names, dtypes and shapes."""
        helper = self._onnx.helper
        ends = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
            for name, dtype, shape in (("X", self._dtype, ["n", n_features]), *outputs)
        ]
        return helper.make_model(
            helper.make_graph(self.nodes, "fastbp", ends[:1], ends[1:], self.constants),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="fastbp",
            producer_version=__version__,
        )

    def code_of(self, dtype: np.dtype) -> int:
        """Return what ONNX calls a dtype."""
        code: int = self._onnx.helper.np_dtype_to_tensor_dtype(dtype)
        return code

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the name of its value."""
        name = output or f"v{len(self.nodes)}"
        self._node(operator, inputs, [name], **attributes)
        return name

    def _node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node, with a name of its own."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, name, **attributes))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant array."""
        self.constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        """Return a constant of the network's dtype, the same one for the same number."""
        if value not in self._known:
            self._known[value] = self.constant(f"c{len(self._known)}", np.array(value, self._dtype))
        return self._known[value]

    def layers(self, net: Model, X: str, output: str, prefix: str = "") -> None:
        """Add all layers of a network; with several networks in one graph, constants need a prefix for each."""
        a = X
        for layer, (W, b, runs) in enumerate(zip(net.weights, net.biases, net.activations, strict=True), start=1):
            z = self.add("Gemm", a, self.constant(f"{prefix}W{layer}", W), self.constant(f"{prefix}b{layer}", b))
            a = self._layer(z, runs, f"{prefix}a{layer}", output if layer == len(net.weights) else None)

    def _layer(self, z: str, runs: Sequence[tuple[Any, int]], name: str, output: str | None) -> str:
        """Add the activations of one layer."""
        if len(runs) == 1:
            return self._activation(runs[0][0], z, output)
        counts = self.constant(f"{name}_counts", np.array([count for _, count in runs], np.int64))
        parts = [f"{name}_{i}" for i in range(len(runs))]
        self._node("Split", [z, counts], parts, axis=1)
        values = [self._activation(activation, part, None) for (activation, _), part in zip(runs, parts, strict=True)]
        return self.add("Concat", *values, output=output, axis=1)

    def _activation(self, name: OutputName, z: str, output: str | None) -> str:
        """Add one activation, by operators that runtimes have for float64 too."""
        if name in _OPERATORS:
            return self.add(_OPERATORS[name], z, output=output)
        return _FORMULAS[name](self, z, output)

    @property
    def dtype(self) -> np.dtype:
        """The network's dtype."""
        return self._dtype


# --- activations that are no operator of ONNX, or one with an attribute -----------------------------------------------


def _identity(graph: Graph, z: str, output: str | None) -> str:
    return graph.add("Identity", z, output=output) if output else z


def _softmax(graph: Graph, z: str, output: str | None) -> str:
    return graph.add("Softmax", z, output=output, axis=1)


def _leaky_relu(graph: Graph, z: str, output: str | None) -> str:
    return graph.add("Max", z, graph.add("Mul", z, graph.number(LEAKY_SLOPE)), output=output)


def _elu(graph: Graph, z: str, output: str | None) -> str:
    add, number = graph.add, graph.number
    below = add("Sub", add("Exp", add("Min", z, number(0.0))), number(1.0))
    return add("Where", add("Greater", z, number(0.0)), z, below, output=output)


def _softplus(graph: Graph, z: str, output: str | None) -> str:
    add, number = graph.add, graph.number
    tail = add("Log", add("Add", add("Exp", add("Neg", add("Abs", z))), number(1.0)))
    return add("Add", add("Max", z, number(0.0)), tail, output=output)


def _silu(graph: Graph, z: str, output: str | None) -> str:
    add = graph.add
    if graph.dtype == np.float64:  # onnxruntime (1.19 to 1.26 at least) makes QuickGelu of the other, for float32 only
        return add("Neg", add("Mul", add("Neg", z), add("Sigmoid", z)), output=output)
    return add("Mul", z, add("Sigmoid", z), output=output)


def _gelu(graph: Graph, z: str, output: str | None) -> str:
    if graph.dtype == np.float64:
        return _gelu_of_float64(graph, z, output)
    add, number = graph.add, graph.number
    erf = add("Erf", add("Mul", z, number(math.sqrt(0.5))))
    return add("Mul", add("Mul", z, number(0.5)), add("Add", erf, number(1.0)), output=output)


def _gelu_of_float64(graph: Graph, z: str, output: str | None) -> str:
    """Add max(z, 0) - x Q(x) with x = |z|: runtimes have Erf for float32 only, or round it to that.

    Q, the normal distribution's upper tail, is exp(-x**2 / 2) p(u) / (x + 4), with a polynomial p in
    u = (x - 4) / (x + 4).
    """
    add, number = graph.add, graph.number
    x = add("Abs", z)
    above = add("Add", x, number(_TAIL_CENTRE))
    u = add("Div", add("Sub", x, number(_TAIL_CENTRE)), above)
    first, *others = _tail_polynomial()
    p = number(first)
    for coefficient in others:
        p = add("Add", add("Mul", p, u), number(coefficient))
    density = add("Exp", add("Mul", add("Mul", x, x), number(-0.5)))
    tail = add("Div", add("Mul", density, p), above)
    return add("Sub", add("Max", z, number(0.0)), add("Mul", x, tail), output=output)


def _tail_polynomial() -> list[float]:
    """Coefficients of p, highest power first: the interpolation of (x + 4) exp(x**2 / 2) Q(x), from scipy's erfcx."""
    from numpy.polynomial import chebyshev
    from scipy.special import erfcx  # takes a tenth of a second to import, and is needed here only

    def scaled_tail(u: Any) -> Any:
        x = _TAIL_CENTRE * (1 + u) / (1 - u)
        return 0.5 * erfcx(x * math.sqrt(0.5)) * (x + _TAIL_CENTRE)

    interpolation: Any = chebyshev.chebinterpolate(scaled_tail, _TAIL_DEGREE)
    return [float(c) for c in chebyshev.cheb2poly(interpolation)[::-1]]


_OPERATORS: dict[OutputName, str] = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "sine": "Sin",
    "exp": "Exp",
}
_FORMULAS: dict[OutputName, Callable[[Graph, str, str | None], str]] = {
    "identity": _identity,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "gelu": _gelu,
    "silu": _silu,
    "softmax": _softmax,
}
