"""Networks from ONNX models: the graph is walked once, in the file's order, and nothing in it is trusted."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import parameters
from fastbp.export.onnx import MOST_ONNX_BYTES, import_onnx
from fastbp.export.onnx_functions import OPERATORS
from fastbp.export.onnx_operators import LAYERS, Budget, Value, elementwise
from fastbp.export.onnx_shapes import PARTS, SHAPES
from fastbp.export.onnx_tensors import DOUBLE, IN_FLOAT32, Node, UnreadableError, constant, domain_of, node_of
from fastbp.export.onnx_values import Affine, Layer, Named, Neurons, closed, composed, of_numbers, vectors
from fastbp.functions.names import OutputName
from fastbp.storage.atomic import FileError, checked_path, file_status, path_named, printable
from fastbp.storage.networks import MOST_LAYERS
from fastbp.validation.data import all_finite

__all__ = ["ReadNetwork", "read_onnx"]

Array = NDArray[Any]
_OLDEST_OPSET = 7  # of 2017: before it, constants had to be told how to fit beside other values
_MOST_NODES = 1 << 18
_FREE_NUMBERS, _FREE_PARAMETERS = 1 << 25, 1 << 22  # that a model of any size may make
_NUMBERS_FOR_A_BYTE = 16
_UNDERSTOOD = (
    "is not understood. A network is made of Gemm, MatMul, Add, BatchNormalization, ai.onnx.ml.Scaler, activations, "
    "Softmax, and of Flatten, Reshape, Identity, Dropout, Cast, Split and Concat where they change no number. `output` "
    "may name a value in front of it."
)


@dataclass(frozen=True)
class ReadNetwork:
    """What a model says of a network."""

    params: Array
    sizes: list[int]
    activations: list[list[tuple[OutputName, int]]]

    @property
    def loss(self) -> str:
        """The loss that belongs to the outputs."""
        names = {name for name, _ in self.activations[-1]}
        if names in ({"softmax"}, {"sigmoid"}):
            return "cross_entropy"
        return "poisson" if names == {"exp"} else "quadratic"


def read_onnx(model: Any, output: str | None, dtype: np.dtype[Any] | None) -> ReadNetwork:
    """Return the network of a model: a file's name, bytes, or an onnx.ModelProto."""
    onnx = import_onnx()
    path = None if isinstance(model, bytes | bytearray | memoryview | onnx.ModelProto) else _path_of(model)
    try:
        if isinstance(model, onnx.ModelProto):
            message, n_bytes = model, model.ByteSize()
        else:
            content = _content(model, path)
            message, n_bytes = _parsed(onnx, content), len(content)
        with np.errstate(all="ignore"):  # what is too large or 0 by 0 is seen in the end, with a clear error
            return _read(message, n_bytes, output, dtype)
    except (UnreadableError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, UnreadableError) else "it has a name that is no text."
        if path is not None:
            raise FileError(path, reason) from None
        raise ValueError(f"`model` cannot be read: {printable(reason)}") from None


def _path_of(model: Any) -> str:
    """Return the name of a file, which a model is that is nothing else."""
    if not isinstance(model, str | os.PathLike):
        raise TypeError(
            f"`model` must be the name of a file, its bytes, or an onnx.ModelProto; got {type(model).__name__}."
        )
    with path_named("model"):
        name = checked_path(model)
        if file_status(name) is None:
            raise FileNotFoundError(errno.ENOENT, "`model` must be the name of a file; there is none", name)
    return name


def _content(model: Any, path: str | None) -> bytes:
    """Return a model's bytes, if they are not more than one may have."""
    size = memoryview(model).nbytes if path is None else os.stat(path).st_size
    if size > MOST_ONNX_BYTES:
        raise UnreadableError(f"it has {size} bytes; a model in one file has less than 2 GiB.")
    if path is None:
        return bytes(model)
    with open(path, "rb") as file:
        return file.read(size)


def _parsed(onnx: Any, content: bytes) -> Any:
    """Return the message."""
    try:
        message = onnx.ModelProto()
        message.ParseFromString(content)
    except MemoryError:
        raise
    except Exception as error:  # whose class belongs to protobuf, of which nothing else is needed
        raise UnreadableError("it is no ONNX model, or damaged.") from error
    return message


# --- the graph --------------------------------------------------------------------------------------------------------


def _read(model: Any, n_bytes: int, output: str | None, dtype: np.dtype[Any] | None) -> ReadNetwork:
    """Return the network of a message."""
    graph = model.graph
    if not len(graph.node):
        raise UnreadableError("it has no graph: it is no ONNX model, or an empty one.")
    if len(graph.node) > _MOST_NODES:
        raise UnreadableError(f"it has {len(graph.node)} nodes; at most {_MOST_NODES} are read.")
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    if not versions or min(versions) < _OLDEST_OPSET:
        raise UnreadableError(
            f"it has the opset {min(versions, default='none')}; {_OLDEST_OPSET} is the oldest that is read. Convert it "
            "with onnx.version_converter."
        )
    own = {(domain_of(function), function.name) for function in model.functions}
    tensors = _by_name(graph)
    needed = _needed(graph, _chosen_output(graph, output))
    for number in needed.nodes:
        message = graph.node[number]
        if (domain_of(message), message.op_type) in own:
            node_of(message, number).fail("is a function of the model's own; export it with its functions inlined.")
    budget = Budget(_FREE_NUMBERS + _NUMBERS_FOR_A_BYTE * n_bytes, _FREE_PARAMETERS + n_bytes)
    values: dict[str, Value] = {}
    _add_input(values, graph, needed, tensors, budget)
    final = _walk(graph, needed, tensors, values, budget)
    if not isinstance(final, Neurons) or len(final.dims) > 1 or not final.is_whole:
        raise UnreadableError(f"its value {needed.output!r} is not what a layer makes; `output` may name another.")
    return _joined(final, dtype, budget)


@dataclass(frozen=True)
class _Needed:
    """Nodes, by their numbers, and names of values that an output is made of."""

    output: str
    nodes: list[int]
    last_use: Mapping[str, int]


def _by_name(graph: Any) -> dict[str, Any]:
    """Return the constants by their names; a name may not stand for two values."""
    tensors: dict[str, Any] = {}
    if len(graph.sparse_initializer):
        raise UnreadableError("it has sparse constants, which are not read.")
    for tensor in graph.initializer:
        if tensor.name in tensors:
            raise UnreadableError(f"it has two constants {tensor.name!r}.")
        tensors[tensor.name] = tensor
    made = {value.name for value in graph.input} | set(tensors)
    if len({value.name for value in graph.input}) < len(graph.input):
        raise UnreadableError("it has two inputs of the same name.")
    for node in graph.node:
        for name in node.output:
            if name in made:
                raise UnreadableError(f"it has two values {name!r}.")
            if name:
                made.add(name)
    return tensors


def _chosen_output(graph: Any, output: str | None) -> str:
    """Return the name of the value that is read."""
    names = [value.name for value in graph.output]
    if output is not None:
        if output and any(output in node.output for node in graph.node):
            return output
        raise UnreadableError(f"it has no value {output!r}, as `output` says; its outputs are {', '.join(names)}.")
    # Labels are integers or words; a classifier's probabilities are numbers, or in a list of dicts.
    kinds = [(value.name, value.type) for value in graph.output]
    floats = [
        name
        for name, kind in kinds
        if len(kinds) == 1 or kind.HasField("sequence_type") or kind.tensor_type.elem_type in (*IN_FLOAT32, DOUBLE)
    ]
    if len(floats) != 1:
        raise UnreadableError(f"it has the outputs {', '.join(map(repr, names))}; choose one by `output`.")
    return str(floats[0])


def _needed(graph: Any, output: str) -> _Needed:
    """Return what an output is made of: in a file, nodes stand behind those whose values they take."""
    last_use, nodes = {output: len(graph.node)}, []
    for number in range(len(graph.node) - 1, -1, -1):
        node = graph.node[number]
        if any(name in last_use for name in node.output):
            nodes.append(number)
            for name in node.input:
                if name:
                    last_use.setdefault(name, number)
    return _Needed(output, nodes[::-1], last_use)


def _add_input(
    values: dict[str, Value], graph: Any, needed: _Needed, tensors: Mapping[str, Any], budget: Budget
) -> None:
    """Add the input X to the values."""
    inputs = [value for value in graph.input if value.name in needed.last_use and value.name not in tensors]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise UnreadableError(f"it must have one input; those that {needed.output!r} needs are {names}.")
    kind = inputs[0].type.tensor_type
    lengths = [max(0, dim.dim_value) for dim in kind.shape.dim]
    dims = tuple(lengths[1:])
    if len(lengths) in (0, 2) and not all(dims or [0]):
        dims = (_first_width(graph, needed, tensors),)
    label = f"its input {inputs[0].name!r}"
    n_features = math.prod(dims)
    if not dims or not n_features:
        raise UnreadableError(f"{label} must have rows with a number of features that is known; it has {lengths}.")
    if n_features > budget.parameters:
        raise UnreadableError(f"{label} has {n_features} features, for which a model of this size has no weights.")
    n_rows = lengths[0] if lengths and lengths[0] else None
    value = of_numbers(Layer(None, None, n_features), kind.elem_type, label, n_rows)
    values[inputs[0].name] = replace(value, dims=dims)


def _first_width(graph: Any, needed: _Needed, tensors: Mapping[str, Any]) -> int:
    """Return for how many features the first layer has weights, where the input does not say it."""
    for number in needed.nodes:
        node = graph.node[number]
        if node.op_type in ("Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in tensors:
            dims = tensors[node.input[1]].dims
            is_turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            return max(0, dims[-1 if is_turned else 0]) if len(dims) == 2 else 0
    return 0


def _walk(
    graph: Any, needed: _Needed, tensors: Mapping[str, Any], values: dict[str, Value], budget: Budget
) -> Value | None:
    """Compute what the nodes make, one after the other; what nobody needs any more is forgotten."""
    for number in needed.nodes:
        node = node_of(graph.node[number], number)
        inputs: list[Value | None] = []
        for name in node.inputs:
            if name and name not in values:
                if name not in tensors:
                    node.fail(f"takes the value {name!r}, which no node in front of it makes.")
                values[name] = constant(tensors[name], name)
            inputs.append(values[name] if name else None)
        values.update(zip(node.outputs, _made(node, inputs, budget), strict=False))
        extra = [name for name in node.outputs if name in needed.last_use and name not in values]
        if extra:
            node.fail(f"makes no value {extra[0]!r} of a network.")
        for name in {*node.inputs, *node.outputs}:
            if needed.last_use.get(name, -1) <= number and name not in tensors:
                values.pop(name, None)
    return values.get(needed.output)


def _made(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Iterable[Value]:
    """Return what a node makes."""
    if node.operator in OPERATORS:
        return [elementwise(node, inputs, budget)]
    if node.operator in PARTS:
        return PARTS[node.operator](node, inputs, budget)
    operator = LAYERS.get(node.operator) or SHAPES.get(node.operator)
    if operator is None:
        node.fail(_UNDERSTOOD)
    return [operator(node, inputs, budget)]


# --- the network ------------------------------------------------------------------------------------------------------


def _joined(final: Neurons, dtype: np.dtype[Any] | None, budget: Budget) -> ReadNetwork:
    """Return the network that ends with a layer's neurons; all that is affine goes into weights."""
    chain: list[tuple[Layer, tuple[tuple[int, Named], ...]]] = []
    layer, named = final.layer, closed(final)
    while layer.source is not None:
        chain.append((layer, named))
        layer, named = layer.source.layer, layer.before
    if not chain:
        raise UnreadableError("it has no layer: no Gemm or MatMul.")
    chain.reverse()
    last = chain[-1][1]
    stored = np.float64 if final.element == DOUBLE else np.float32
    if not all(each.is_plain for _, each in last):
        budget.grow((final.count + 1) * final.count, "a scale or shift of the outputs")
        unit = Layer(final, np.eye(final.count, dtype=stored), final.count)
        chain.append((unit, ((final.count, Named("identity")),)))
    if len(chain) > MOST_LAYERS:
        raise UnreadableError(f"it has {len(chain)} layers; at most {MOST_LAYERS} are read.")
    sizes = [layer.width, *(each.width for each, _ in chain)]
    params = np.empty(parameters.count_params(sizes), dtype or stored)
    before = composed((layer.scale, layer.shift), _lines(named), _ends(named))
    for (each, names), W, b in zip(chain, *parameters.views(params, sizes), strict=True):
        _fold(each, before, _lines(names), W, b)
        before = _ends(names)
    if not all_finite(params):
        raise UnreadableError("its weights are too large, with scales and shifts folded into them, for its dtype.")
    return ReadNetwork(params, sizes, [_runs(named) for _, named in chain])


def _lines(named: Sequence[tuple[int, Named]]) -> Affine:
    """Return what is affine between z and the activations."""
    return vectors([(count, each.line) for count, each in named])


def _ends(named: Sequence[tuple[int, Named]]) -> Affine:
    """Return what is affine behind the activations."""
    return vectors([(count, (each.scale, each.shift)) for count, each in named])


def _fold(layer: Layer, before: Affine, after: Affine, W: Array, b: Array) -> None:
    """Write a layer's weights and biases, with a scale and shift of its inputs and one of its z."""
    assert layer.W is not None
    scale, shift = before
    times, plus = composed((layer.scale, layer.shift), after)
    weights, bias = layer.W, plus
    if shift is not None:
        bias = shift @ weights.astype(np.float64)
        bias = bias if times is None else bias * times
        bias = bias if plus is None else bias + plus
    if scale is not None:
        weights = scale[:, None] * weights
    W[...] = weights if times is None else weights * times
    b[...] = 0.0 if bias is None else bias


def _runs(named: Sequence[tuple[int, Named]]) -> list[tuple[OutputName, int]]:
    """Return runs of neurons; neighbours with one activation are one run."""
    runs: list[tuple[OutputName, int]] = []
    for count, each in named:
        if runs and runs[-1][0] == each.name:
            count += runs.pop()[1]
        runs.append((each.name, count))
    return runs
