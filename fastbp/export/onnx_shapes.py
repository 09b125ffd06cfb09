"""What ONNX's operators on shapes, types and parts do to the values of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.export.onnx_operators import Budget, Operator, Value, of_rows
from fastbp.export.onnx_tensors import DOUBLE, FLOAT, FLOAT16, IN_FLOAT32, INT32, INT64, Node, constant, is_possible
from fastbp.export.onnx_values import Dims, Neurons, Run, cut

__all__ = ["PARTS", "SHAPES"]

Array = NDArray[Any]
_DTYPES = {FLOAT: np.float32, FLOAT16: np.float32, DOUBLE: np.float64, INT32: np.int32, INT64: np.int64}
_MOST_DIMS = 64  # numbers that are computed from a shape
_SAME = 1e-6  # of probabilities that add up to 1


def _one_of(node: Node, inputs: Sequence[Value | None], most: int = 1) -> Value:
    """Return the first input; there may be others up to a number."""
    if not 1 <= len(inputs) <= most or inputs[0] is None:
        node.fail_inputs(1, most)
    return inputs[0]


def _integers(node: Node, value: Value | None) -> list[int | None]:
    """Return integers that are constant, or computed from a shape."""
    if isinstance(value, Dims):
        return list(value.numbers)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "i" or value.ndim > 1 or value.size > _MOST_DIMS:
        node.fail(f"must have at most {_MOST_DIMS} integers, constant or of a shape, as one of its inputs.")
    return [int(n) for n in value.reshape(-1)]


def _axes(node: Node, inputs: Sequence[Value | None], rank: int, default: Any = None) -> list[int]:
    """Return the axes of an operator, an attribute before opset 13 and an input since."""
    (given,) = node.only(axes=())
    axes = list(given) or (_integers(node, inputs[1]) if len(inputs) > 1 and inputs[1] is not None else default)
    found = sorted(axis % rank for axis in axes or () if axis is not None and -rank <= axis < rank)
    if axes is None or len(found) < len(axes):
        node.fail(f"must have axes of a value with {rank} dimensions; it has {axes}.")
    if len(set(found)) < len(found):
        node.fail("has the same axis twice.")
    return found


# --- shapes -----------------------------------------------------------------------------------------------------------


def _reshape(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    (allow_zero,) = node.only(allowzero=0)
    value, target = _one_of(node, inputs, 2), _integers(node, inputs[1] if len(inputs) > 1 else None)
    if isinstance(value, np.ndarray):
        return _reshaped_constant(node, value, target, allow_zero)
    if isinstance(value, Dims):
        node.fail("reshapes the shape of a value.")
    wanted = target[1:]
    if not allow_zero:
        wanted = [value.dims[i] if n == 0 and i < len(value.dims) else n for i, n in enumerate(wanted)]
    first = target[0] if target else -1
    keeps_rows = bool(target) and (first in (None, -1, value.n_rows) or (first == 0 and not allow_zero))
    if first != -1 and wanted.count(-1) == 1:
        rest = math.prod(n for n in wanted if n is not None and n != -1)
        wanted = [value.count // rest if n == -1 and rest > 0 else n for n in wanted]
    dims = tuple(n for n in wanted if n is not None and n > 0)
    if not keeps_rows or len(dims) < len(wanted) or math.prod(dims) != value.count:
        node.fail(
            f"makes the shape {_shown(target)} of rows of the shape {value.dims}, which moves numbers from one row to "
            "another. `output` may name a value in front of it."
        )
    return replace(value, dims=dims)


def _shown(target: Sequence[int | None]) -> str:
    return f"({', '.join('n' if n is None else str(n) for n in target)})"


def _reshaped_constant(node: Node, array: Array, target: Sequence[int | None], allow_zero: int) -> Array:
    shape = [array.shape[i] if n == 0 and not allow_zero and i < array.ndim else n for i, n in enumerate(target)]
    rest = math.prod(n for n in shape if n is not None and n != -1)
    shape = [array.size // rest if n == -1 and rest > 0 and shape.count(-1) == 1 else n for n in shape]
    dims = tuple(n for n in shape if n is not None and n >= 0)
    if len(dims) < len(shape) or not is_possible(dims) or math.prod(dims) != array.size:
        node.fail(f"cannot make the shape {_shown(target)} of {array.size} numbers.")
    return array.reshape(dims)


def _flatten(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    (axis,) = node.only(axis=1)
    value = _one_of(node, inputs)
    if not isinstance(value, Neurons) or (axis if axis >= 0 else axis + len(value.dims) + 1) != 1:
        node.fail("must flatten rows of neurons (axis=1).")
    return replace(value, dims=(value.count,))


def _squeeze(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    value = _one_of(node, inputs, 2)
    if isinstance(value, Dims):
        node.only(axes=())
        if len(value.numbers) != 1:
            node.fail("squeezes several numbers of a shape.")
        return Dims(value.numbers, is_list=False)
    if isinstance(value, np.ndarray):
        axes = _axes(node, inputs, value.ndim, [i for i, n in enumerate(value.shape) if n == 1])
        if any(value.shape[axis] != 1 for axis in axes):
            node.fail(f"squeezes a constant of the shape {value.shape} at the axes {axes}.")
        return value.reshape([n for i, n in enumerate(value.shape) if i not in axes])
    axes = _axes(node, inputs, len(value.dims) + 1)
    if 0 in axes or any(value.dims[axis - 1] != 1 for axis in axes):
        node.fail(f"squeezes rows of the shape {value.dims} at the axes {axes}.")
    return replace(value, dims=tuple(n for i, n in enumerate(value.dims) if i + 1 not in axes))


def _unsqueeze(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    value = _one_of(node, inputs, 2)
    if isinstance(value, Dims):
        node.only(axes=())
        if value.is_list:
            node.fail("gives the shape of a value another dimension.")
        return Dims(value.numbers)
    shape = list(value.shape) if isinstance(value, np.ndarray) else [0, *value.dims]
    n_more = len(node.only(axes=())[0]) or len(_integers(node, inputs[1] if len(inputs) > 1 else None))
    if n_more + len(shape) > _MOST_DIMS // 2:
        node.fail("makes too many dimensions.")
    for axis in _axes(node, inputs, len(shape) + n_more):
        shape.insert(axis, 1)
    if isinstance(value, np.ndarray):
        return value.reshape(shape)
    if shape[0] != 0:
        node.fail("puts another dimension in front of the rows.")
    return replace(value, dims=tuple(shape[1:]))


def _transpose(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    (perm,) = node.only(perm=())
    value = _one_of(node, inputs)
    if isinstance(value, Dims):
        node.fail("transposes the shape of a value.")
    rank = value.ndim if isinstance(value, np.ndarray) else len(value.dims) + 1
    order = perm or tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        node.fail(f"must have for `perm` an order of {rank} axes; it has {order}.")
    if isinstance(value, np.ndarray):
        return value.transpose(order)
    lengths = [0, *value.dims]
    kept = [axis for axis in order if lengths[axis] != 1]  # no number moves where only axes of length 1 do
    if order[0] != 0 or kept != sorted(kept):
        node.fail("moves the axes of rows.")
    return replace(value, dims=tuple(lengths[axis] for axis in order if axis))


def _shape(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    start, end = node.only(start=0, end=_MOST_DIMS)
    value = _one_of(node, inputs)
    if not isinstance(value, Neurons):
        node.fail("asks for the shape of something else than the neurons of a layer.")
    return Dims((None, *value.dims)[start:end])


# --- types ------------------------------------------------------------------------------------------------------------


def _same(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    """Pass on what it takes: Identity, and ZipMap, which gives probabilities the names of classes."""
    if node.operator == "Identity":
        node.only()
    return _one_of(node, inputs)


def _dropout(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    node.only(ratio=0.5, seed=0)
    if len(inputs) > 2 and inputs[2] is not None and (not isinstance(inputs[2], np.ndarray) or inputs[2].any()):
        node.fail("is that of a network in training; export it for inference.")
    return _one_of(node, inputs, 3)


def _cast(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    to, _, _ = node.only(to=0, saturate=1, round_mode=b"up")
    return _converted(node, _one_of(node, inputs), to, budget)


def _cast_like(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    node.only(saturate=1, round_mode=b"up")
    value, like = _one_of(node, inputs, 2), inputs[1] if len(inputs) > 1 else None
    if not isinstance(like, Neurons):
        node.fail("must make a constant of the type of neurons.")
    return _converted(node, value, like.element, budget)


def _converted(node: Node, value: Value, to: int, budget: Budget) -> Value:
    """Return a value in another type: only of constants, of the input, and among those computed in float32."""
    if isinstance(value, Dims):
        if to not in (INT32, INT64):
            node.fail("makes other numbers of a shape.")
        return value
    if isinstance(value, Neurons):
        is_input = value.layer.W is None and to in (*IN_FLOAT32, DOUBLE)
        if value.element != to and not is_input and not {value.element, to} <= set(IN_FLOAT32):
            node.fail("makes another type of the neurons; understood is the same type, and that of the input.")
        budget.pass_on(value.runs, node)
        return replace(value, element=to, runs=tuple(_as_numbers(run) for run in value.runs))
    if to not in _DTYPES or (value.dtype.kind == "f" and to in (INT32, INT64)):
        node.fail("makes a type of a constant that is not read here.")
    budget.compute(value.size, node)
    rounded = value.astype(np.float16) if to == FLOAT16 else value
    return rounded.astype(_DTYPES[to])


def _as_numbers(run: Run) -> Run:
    """Return a run whose True and False are 1 and 0."""
    if run.samples is None or run.samples.dtype != bool:
        return run
    return replace(run, samples=run.samples.astype(np.float64))


def _constant(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    if len(node.attributes) != 1 or inputs:
        node.fail("must have one attribute and no input.")
    ((name, value),) = node.attributes.items()
    if name == "value" and hasattr(value, "data_type"):
        return constant(value, node.outputs[0])
    kinds = {"value_float": 0.0, "value_floats": (0.0,), "value_int": 0, "value_ints": (0,)}
    if name not in kinds:
        node.fail(f"must be a tensor or numbers; it has {name!r}.")
    node.only(**{name: kinds[name]})
    array = np.array(value, np.float32 if "float" in name else np.int64)
    if not np.isfinite(array).all():
        node.fail("holds NaN or infinity.")
    return array


# --- parts ------------------------------------------------------------------------------------------------------------


def _gather(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    """Choose numbers of a shape."""
    (axis,) = node.only(axis=0)
    value, index = _one_of(node, inputs, 2), inputs[1] if len(inputs) > 1 else None
    if not isinstance(value, Dims) or axis or not isinstance(index, np.ndarray):
        node.fail("chooses among columns or rows, which a network does not; understood is a number of a shape.")
    chosen = _integers(node, index)
    if any(i is None or not -len(value.numbers) <= i < len(value.numbers) for i in chosen):
        node.fail(f"chooses {chosen} of {len(value.numbers)} numbers of a shape.")
    return Dims(tuple(value.numbers[i] for i in chosen if i is not None), is_list=index.ndim == 1)


def _slice(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    """Cut numbers out of a shape."""
    starts, ends, axes, steps = node.only(starts=(), ends=(), axes=(0,), steps=(1,))
    value = _one_of(node, inputs, 5)
    parts: list[Any] = [starts, ends, axes, steps]
    for i, given in enumerate(inputs[1:]):
        parts[i] = parts[i] if given is None else _integers(node, given)
    if not isinstance(value, Dims) or [list(p)[:2] for p in parts[2:]] != [[0], [1]] or len(parts[0]) != 1:
        node.fail("cuts columns or rows out, which a network does not; understood are numbers of a shape.")
    if len(parts[1]) != 1 or None in (parts[0][0], parts[1][0]):
        node.fail("must have one start and one end.")
    return Dims(value.numbers[parts[0][0] : parts[1][0]])


def _concat(node: Node, inputs: Sequence[Value | None], budget: Budget) -> Value:
    (axis,) = node.only(axis=_MOST_DIMS)
    if not inputs or any(value is None for value in inputs):
        node.fail("has an input without a name.")
    if any(isinstance(value, Dims) for value in inputs):
        numbers = [n for value in inputs for n in _integers(node, value)]
        if axis not in (0, -1) or len(numbers) > _MOST_DIMS:
            node.fail("joins the shapes of values.")
        return Dims(tuple(numbers))
    values = [of_rows(node, value) for value in inputs]
    first = values[0]
    if axis not in (1, -1) or any(value.layer is not first.layer for value in values):
        node.fail("joins different layers; understood are the parts of one, and 1 - p beside p.")
    if len(values) == 2 and [value.count for value in values] == [1, 1] and _are_probabilities(*values):
        return replace(values[1], is_end=True)
    ends = [value.begin + value.count for value in values]
    if [value.begin for value in values[1:]] != ends[:-1]:
        node.fail("joins the parts of a layer in another order, or not all of them.")
    runs = tuple(run for value in values for run in value.runs)
    budget.pass_on(runs, node)
    return replace(first, runs=runs, dims=(sum(value.count for value in values),))


def _are_probabilities(no: Neurons, yes: Neurons) -> bool:
    """Whether they are 1 - p and p, of a sigmoid."""
    named = yes.runs[0].named()
    if no.begin != yes.begin or named is None or named.name != "sigmoid" or not named.is_plain:
        return False
    first, second = no.runs[0].samples, yes.runs[0].samples
    return first is not None and second is not None and bool((np.abs(first + second - 1) <= _SAME).all())


def _split(node: Node, inputs: Sequence[Value | None], budget: Budget) -> list[Value]:
    """Cut a layer into parts."""
    axis, sizes, n_outputs = node.only(axis=0, split=(), num_outputs=len(node.outputs))
    value, n = of_rows(node, _one_of(node, inputs, 2)), len(node.outputs)
    given = inputs[1] if len(inputs) > 1 else None
    if given is not None:
        if not isinstance(given, np.ndarray) or given.dtype.kind != "i" or given.ndim != 1:
            node.fail("must have constant sizes.")
        sizes = tuple(int(size) for size in given)
    if not sizes:
        each = -(-value.count // n)
        sizes = (each,) * (n - 1) + (value.count - each * (n - 1),)
    is_cut = len(sizes) == n == n_outputs and min(sizes) > 0 and sum(sizes) == value.count
    if axis not in (1, -1) or not is_cut or any(run.samples is None for run in value.runs):
        node.fail(f"must cut the {value.count} columns of a layer into {n} parts.")
    budget.pass_on(value.runs, node)
    return _parts(value, sizes)


def _parts(value: Neurons, sizes: Sequence[int]) -> list[Value]:
    counts = [run.count for run in value.runs]
    runs: list[Run] = cut(value.runs, counts, sizes)
    parts: list[Value] = []
    begin, i = 0, 0
    for size in sizes:
        end, first = begin + size, i
        while begin < end:
            begin += runs[i].count
            i += 1
        parts.append(replace(value, runs=tuple(runs[first:i]), dims=(size,), begin=value.begin + end - size))
    return parts


SHAPES: dict[str, Operator] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "Constant": _constant,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "ai.onnx.ml.ZipMap": _same,
}
PARTS: dict[str, Callable[[Node, Sequence[Value | None], Budget], list[Value]]] = {"Split": _split}
