"""What ONNX's operators on numbers and layers do to the values of a graph; those on shapes are in `onnx_shapes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.export import onnx_functions
from fastbp.export.onnx_tensors import DOUBLE, FLOAT, IN_FLOAT32, Node, UnreadableError
from fastbp.export.onnx_values import IDENTITY, Dims, Layer, Named, Neurons, Run, affine, applied, closed, of_numbers

__all__ = ["LAYERS", "Budget", "Operator", "Value", "elementwise", "of_rows"]

Array = NDArray[Any]
Value = Array | Neurons | Dims
_AFFINE = ("Add", "Sub", "Mul", "Div")
_OF_TRUTHS = ("And", "Not", "Or")


@dataclass
class Budget:
    """How much a model may still make of its bytes, so that a small file takes neither much memory nor much time."""

    numbers: int  # computed while constants and functions are
    parameters: int  # of the network

    def compute(self, count: int, node: Node) -> None:
        """Take numbers off."""
        self.numbers -= count
        if self.numbers < 0:
            node.fail("would have constants computed for longer than a model of this size may.")

    def pass_on(self, runs: Sequence[Run], node: Node) -> None:
        """Take numbers off for runs that are neither computed nor named: handling one takes as long as computing it."""
        self.compute(onnx_functions.cost_of(() for _ in runs), node)

    def grow(self, count: int, label: str) -> None:
        """Take parameters off."""
        self.parameters -= count
        if self.parameters < 0:
            raise UnreadableError(
                f"{label} would give the network more parameters than a model of this size can hold: it uses the same "
                "weights too often."
            )


Operator = Callable[[Node, Sequence[Value | None], Budget], Value]


def of_rows(node: Node, value: Any, *, is_flat: bool = True) -> Neurons:
    """Return an input that is neurons which a layer or a function may follow."""
    if not isinstance(value, Neurons):
        node.fail("takes something else than the neurons of a layer.")
    if value.is_end:
        node.fail("follows probabilities of classes, which a network has at its end only.")
    if is_flat and len(value.dims) != 1:
        node.fail(f"takes rows of the shape {value.dims}; a network has rows of one dimension.")
    return value


# --- numbers one by one -----------------------------------------------------------------------------------------------


def elementwise(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    """Apply an operator to each number by itself."""
    least, most, defaults, function = onnx_functions.OPERATORS[node.operator]
    settings = dict(zip(defaults, node.only(**defaults), strict=True))
    named = inputs[:1] if node.operator == "Clip" else inputs
    if not least <= len(inputs) <= most or any(value is None for value in named):
        node.fail_inputs(least, most)
    values = [value for value in inputs if isinstance(value, Neurons)]
    if any(isinstance(value, Dims) for value in inputs):
        node.fail("computes with the shape of a value.")
    _require_kinds(node, inputs)
    if not values:
        return _folded(node, inputs, settings, function, budget)
    first = of_rows(node, values[0], is_flat=False)
    for value in values[1:]:
        of_rows(node, value, is_flat=False)
    constants = [_fitting(node, value, first) for value in inputs if isinstance(value, np.ndarray)]
    budget.compute(first.count + onnx_functions.cost_of(run.inner for value in values for run in value.runs), node)
    if node.operator in _AFFINE and len(constants) == 1 and not (node.operator == "Div" and inputs[1] is first):
        return _affine(node, first, constants[0], is_reversed=inputs[1] is first)
    if node.operator == "Neg":
        return affine(first, -1.0, 0.0, node.label)
    numbers = iter([_number(node, c) for c in constants])
    arguments = [next(numbers) if isinstance(value, np.ndarray) else value for value in inputs]
    return applied(_with(function, settings), arguments, node.label)


def _require_kinds(node: Node, inputs: Sequence[Value | None]) -> None:
    """Raise unless truths, which comparisons make, stand where ONNX has them; NumPy would compute with them as well."""
    for i, value in enumerate(inputs):
        wants_truths = node.operator in _OF_TRUTHS or (node.operator == "Where" and i == 0)
        if value is not None and _are_truths(value) != wants_truths:
            kind, other = ("truths", "numbers") if wants_truths else ("numbers", "truths")
            node.fail(f"must have {kind}, and not {other}, as its input {node.inputs[i]!r}.")


def _are_truths(value: Value) -> bool:
    """Whether constants or neurons are True and False."""
    if isinstance(value, Neurons):
        return any(run.samples is not None and run.samples.dtype == bool for run in value.runs)
    return isinstance(value, np.ndarray) and value.dtype == bool


def _with(function: Callable[..., Array], settings: dict[str, Any]) -> Callable[..., Array]:
    return (lambda *values: function(*values, **settings)) if settings else function


def _folded(
    node: Node, inputs: Sequence[Any], settings: dict[str, Any], function: Callable[..., Array], budget: Budget
) -> Array:
    """Compute with constants."""
    arrays = [value for value in inputs if value is not None]
    if any(array.dtype.kind not in "fb" for array in arrays) or len({a.dtype for a in arrays if a.dtype != bool}) > 1:
        node.fail("computes with constants that are no numbers of one floating type.")
    try:
        shape = np.broadcast_shapes(*[array.shape for array in arrays])
    except ValueError:
        node.fail(f"has constants of the shapes {[array.shape for array in arrays]}, which do not fit.")
    size = int(np.prod(shape, dtype=object))
    if size > max(array.size for array in arrays):
        node.fail(f"would make {size} numbers of fewer.")
    budget.compute(size, node)
    result = np.asarray(function(*inputs, **settings))
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    return result.astype(floats[0], copy=False) if floats and result.dtype.kind == "f" else result


def _fitting(node: Node, array: Array, value: Neurons) -> Array:
    """Return a constant beside neurons as float64, with one number or one for each column."""
    if array.dtype != _dtype_of(node, value):
        node.fail(f"takes values of {_dtype_of(node, value)} and a constant of {array.dtype}.")
    rows = (1, *value.dims)
    try:
        fits = np.broadcast_shapes(rows, array.shape) == rows
    except ValueError:
        fits = False
    if not fits:
        node.fail(f"has a constant of the shape {array.shape}, which does not fit rows of the shape {value.dims}.")
    numbers = array.astype(np.float64)
    is_bias = value.count == 1 and array.ndim > 0
    return np.broadcast_to(numbers, rows).reshape(-1) if array.size > 1 or is_bias else numbers.reshape(())


def _dtype_of(node: Node, value: Neurons) -> np.dtype[Any]:
    """Return the dtype in which neurons are computed."""
    if value.element in IN_FLOAT32:
        return np.dtype(np.float32)
    if value.element != DOUBLE:
        node.fail("takes an input that is no floating number; a Cast has to make it one.")
    return np.dtype(np.float64)


def _number(node: Node, array: Array) -> float:
    """Return a constant that is the same for all columns."""
    values = array.reshape(-1)
    if not (values == values[0]).all():
        node.fail("has numbers that differ from neuron to neuron; a network has scales and shifts that do, no others.")
    return float(values[0])


def _affine(node: Node, value: Neurons, constant: Array, *, is_reversed: bool) -> Neurons:
    """Add, subtract, multiply or divide by a constant."""
    c: Any = float(constant) if constant.ndim == 0 else constant
    if node.operator == "Add":
        return affine(value, 1.0, c, node.label)
    if node.operator == "Sub":
        return affine(value, -1.0, c, node.label) if is_reversed else affine(value, 1.0, -c, node.label)
    if node.operator == "Div":
        if not np.all(constant):
            node.fail("divides by 0.")
        c = 1.0 / c
    return affine(value, c, 0.0, node.label)


def _of_vector(node: Node, value: Neurons, scale: Array, shift: Array) -> Neurons:
    """Return scale * value + shift for vectors of one number, or of one for each column."""
    n_features = value.count
    if scale.size not in (1, n_features) or shift.size not in (1, n_features):
        node.fail(f"has {scale.size} scales and {shift.size} shifts for {n_features} columns.")
    scales, shifts = (np.broadcast_to(v.astype(np.float64).reshape(-1), (n_features,)) for v in (scale, shift))
    return affine(value, scales, shifts, node.label)


# --- layers -----------------------------------------------------------------------------------------------------------


def _layer(node: Node, value: Any, W: Any, budget: Budget) -> Neurons:
    """Return the z of a new layer."""
    before = of_rows(node, value)
    if not isinstance(W, np.ndarray) or W.ndim != 2 or not W.size:
        node.fail("must have a constant matrix as its second input; a network is one chain of layers.")
    if W.dtype != _dtype_of(node, before):
        node.fail(f"takes values of {_dtype_of(node, before)} and weights of {W.dtype}.")
    if W.shape[0] != before.count:
        node.fail(f"has weights for {W.shape[0]} columns; there are {before.count}.")
    if not before.is_whole:
        node.fail("takes only some of the neurons of the layer before; a network has layers that take all.")
    budget.grow((W.shape[0] + 1) * W.shape[1], node.label)
    layer = Layer(before, W, W.shape[1], before=closed(before))
    return of_numbers(layer, before.element, node.label, before.n_rows)


def _matmul(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    node.only()
    value, W = _exactly(node, inputs, 2)
    return _layer(node, value, W, budget)


def _gemm(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    alpha, beta, trans_a, trans_b = node.only(alpha=1.0, beta=1.0, transA=0, transB=0)
    value, W, *rest = _exactly(node, inputs, 3 if len(inputs) > 2 else 2)
    if trans_a:
        node.fail("transposes its rows (transA); understood is transB.")
    made = _layer(node, value, W.T if trans_b and isinstance(W, np.ndarray) else W, budget)
    if alpha != 1:
        made = affine(made, np.full(made.count, alpha), 0.0, node.label)
    if not rest or rest[0] is None:
        return made
    if not isinstance(rest[0], np.ndarray):
        node.fail("must have a constant bias; a network is one chain of layers.")
    bias = _fitting(node, rest[0], made)
    return affine(made, 1.0, np.broadcast_to(bias if beta == 1 else beta * bias, (made.count,)), node.label)


def _batch_normalization(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    epsilon, _, training, spatial = node.only(epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1)
    value, *constants = _exactly(node, inputs, 5)
    made = of_rows(node, value)
    if training or spatial != 1 or any(node.outputs[1:]):  # before opset 14, further outputs say that it is in training
        node.fail("must be that of a trained network (training_mode=0, spatial=1, one output).")
    if not all(isinstance(c, np.ndarray) and c.shape == (made.count,) and c.dtype.kind == "f" for c in constants):
        node.fail(f"must have four constants of {made.count} floating numbers.")
    gamma, beta, mean, variance = (c.astype(np.float64) for c in constants)
    budget.compute(5 * made.count, node)
    scale = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * scale
    if not np.isfinite([scale, shift]).all():
        node.fail("must have positive variances.")
    return _of_vector(node, made, scale, shift)


def _scaler(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    offset, scale = (np.array(values) for values in node.only(offset=(0.0,), scale=(1.0,)))
    (value,) = _exactly(node, inputs, 1)
    made = of_rows(node, value)
    budget.compute(made.count, node)
    element = made.element if made.element in IN_FLOAT32 else FLOAT  # it always makes that
    if made.layer.W is not None and element != made.element:
        node.fail("changes the dtype between layers.")
    shift = -offset * scale if 1 in (offset.size, scale.size) or offset.size == scale.size else offset
    return replace(_of_vector(node, made, scale, shift), element=element)


def _softmax(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    """Make the network's end; log-softmax as well, whose exponential a network has."""
    (axis,) = node.only(axis=-1)
    (value,) = _exactly(node, inputs, 1)
    made = of_rows(node, value)
    if axis not in (1, -1):
        node.fail(f"must be over the last axis; it is over the axis {axis}.")
    if made.layer.W is None or not made.is_whole or any(run.line is None for run in made.runs):
        node.fail("must follow a layer without another activation.")
    if len({run.line for run in made.runs}) > 1:  # made one line for all
        made = affine(made, 1.0, np.zeros(made.count), node.label)
    line = made.runs[0].line or IDENTITY
    run = Run(made.count, None, node.label, core=Named("softmax", line))
    return replace(made, runs=(run,), is_end=True)


def _exactly(node: Node, inputs: Sequence[Any], count: int) -> Sequence[Any]:
    if len(inputs) != count or any(value is None for value in inputs[: 2 if count == 3 else count]):
        node.fail_inputs(count, count)
    return inputs


LAYERS: dict[str, Operator] = {
    "BatchNormalization": _batch_normalization,
    "Gemm": _gemm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Softmax": _softmax,
    "ai.onnx.ml.Scaler": _scaler,
}
