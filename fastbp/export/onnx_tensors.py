"""Nodes and constants of an ONNX model, read without trusting it: every length is checked before an array is made.

The messages of `onnx` are read by their fields only, so that nothing here needs that package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BFLOAT16",
    "DOUBLE",
    "FLOAT",
    "FLOAT16",
    "INT32",
    "INT64",
    "IN_FLOAT32",
    "Node",
    "UnreadableError",
    "constant",
    "domain_of",
    "is_possible",
    "node_of",
]

# onnx.TensorProto.DataType
FLOAT, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 6, 7, 9, 10, 11, 16
IN_FLOAT32 = (FLOAT, FLOAT16, BFLOAT16)  # computed in float32
_STORED: dict[int, tuple[np.dtype[Any], str]] = {  # how raw bytes are read, and the field that holds numbers else
    FLOAT: (np.dtype("<f4"), "float_data"),
    INT32: (np.dtype("<i4"), "int32_data"),
    INT64: (np.dtype("<i8"), "int64_data"),
    BOOL: (np.dtype("u1"), "int32_data"),
    FLOAT16: (np.dtype("<f2"), "int32_data"),
    DOUBLE: (np.dtype("<f8"), "double_data"),
    BFLOAT16: (np.dtype("<u2"), "int32_data"),
}
_IN_BITS = (FLOAT16, BFLOAT16)  # whose numbers are stored as integers that have their bits
_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL
_MOST_DIMENSIONS, _MOST_NUMBERS = 8, 1 << 31
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}  # onnx.AttributeProto.AttributeType, and its field


class UnreadableError(Exception):
    """What is wrong with a model, as the end of a sentence that begins with its name."""


@dataclass(frozen=True)
class Node:
    """An operator with the names of its inputs and outputs."""

    label: str  # for messages
    operator: str  # with its domain, unless that is ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def fail(self, reason: str) -> NoReturn:
        """Raise an error that names the node."""
        raise UnreadableError(f"{self.label} {reason}")

    def fail_inputs(self, least: int, most: int) -> NoReturn:
        """Raise an error that says how many inputs there must be."""
        count = str(least) if least == most else f"{least} to {most}"
        self.fail(f"must have {count} {'input' if count == '1' else 'inputs'}; it has {self.inputs}.")

    def only(self, **defaults: Any) -> list[Any]:
        """Return the values of attributes, in the order of their defaults; there must be no others."""
        for name, value in self.attributes.items():
            if name not in defaults:
                allowed = ", ".join(defaults) or "none"
                self.fail(f"has the attribute {name!r}; understood are {allowed}.")
            expected = defaults[name]
            item = (*expected, 0)[0] if isinstance(expected, tuple) else None
            is_like = type(value) is type(expected) and (item is None or all(type(v) is type(item) for v in value))
            if not is_like:
                example = (0,) if expected == () else expected
                self.fail(f"must have for {name!r} a value such as {example!r}; it has {_shown(value)}.")
        return [self.attributes.get(name, default) for name, default in defaults.items()]


def _shown(value: Any) -> str:
    """Return an attribute's value for a message."""
    if isinstance(value, bytes | tuple):
        return repr(value[:20])
    return repr(value) if isinstance(value, int | float | str) else "a tensor"


def domain_of(message: Any) -> str:
    """Return the domain of a node or function; that of ONNX itself has two names."""
    return "" if message.domain == "ai.onnx" else str(message.domain)


def node_of(message: Any, number: int) -> Node:
    """Return a node; its attributes are checked where they are used, by name and type."""
    domain = domain_of(message)
    operator = f"{domain}.{message.op_type}" if domain else message.op_type
    label = f"its node {message.name!r} ({operator})" if message.name else f"its node number {number} ({operator})"
    attributes: dict[str, Any] = {}
    for attribute in message.attribute:
        if attribute.name in attributes:
            raise UnreadableError(f"{label} has two attributes {attribute.name!r}.")
        attributes[attribute.name] = _value_of(attribute)
    return Node(label, operator, tuple(message.input), tuple(message.output), attributes)


def _value_of(attribute: Any) -> Any:
    """Return a number, bytes, a tensor's message or a tuple of numbers; of what else there is, a word for it."""
    field = _KINDS.get(attribute.type)
    if field is None or attribute.ref_attr_name:
        return "of another kind"
    value = getattr(attribute, field)
    return tuple(value) if field in ("floats", "ints") else value


def constant(tensor: Any, name: str) -> NDArray[Any]:
    """Return a tensor as a finite array, which may be a view of the message's bytes.

    float16 and bfloat16 become float32, which holds all their numbers.
    """
    if tensor.data_location == _EXTERNAL or len(tensor.external_data):
        raise UnreadableError(
            f"its weights {name!r} are in a file of their own, which is not opened. Pass onnx.load(path), which reads "
            "that file too, or write the model with its weights inside."
        )
    if tensor.data_type not in _STORED:
        raise UnreadableError(
            f"its constant {name!r} has the type {tensor.data_type}; read are float16, bfloat16, float, double, int32, "
            "int64 and bool."
        )
    dims = tuple(tensor.dims)
    if len(dims) > _MOST_DIMENSIONS or any(n < 0 for n in dims) or tensor.HasField("segment"):
        raise UnreadableError(
            f"its constant {name!r} must have at most {_MOST_DIMENSIONS} dimensions, none of them negative, and all "
            f"its numbers in one piece; it has the shape {dims[: _MOST_DIMENSIONS + 1]}."
        )
    numbers = _numbers(tensor, name, math.prod(dims))
    if not is_possible(dims):
        raise UnreadableError(f"its constant {name!r} has the shape {dims}, which no array has.")
    array = numbers.reshape(dims)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnreadableError(f"its constant {name!r} holds NaN or infinity.")
    return array


def is_possible(dims: Sequence[int]) -> bool:
    """Whether NumPy has arrays of a shape: one without numbers must not be too long along its other axes."""
    return len(dims) <= _MOST_DIMENSIONS and math.prod(n or 1 for n in dims) <= _MOST_NUMBERS


def _numbers(tensor: Any, name: str, count: int) -> NDArray[Any]:
    """Return a tensor's numbers in one dimension; there are so many as its shape says."""
    stored, field = _STORED[tensor.data_type]
    raw = tensor.raw_data
    typed = getattr(tensor, field)
    n_bytes, n_numbers = len(raw), len(typed)
    if (n_bytes, n_numbers) not in ((count * stored.itemsize, 0), (0, count)):
        found = f"{n_bytes} bytes" if n_bytes else f"{n_numbers} numbers"
        raise UnreadableError(f"its constant {name!r} has a shape for {count} numbers and holds {found}.")
    if n_bytes:
        array = np.frombuffer(raw, stored)
    else:
        array = np.fromiter(typed, np.int32 if field == "int32_data" else stored, count)
        if tensor.data_type in _IN_BITS:
            if ((array < 0) | (array > 0xFFFF)).any():
                raise UnreadableError(f"its constant {name!r} holds what are no 16 bits.")
            array = array.astype("<u2").view(stored)
    if tensor.data_type == BOOL:
        return np.asarray(array != 0)
    if tensor.data_type == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    dtype = np.dtype(np.float32) if tensor.data_type == FLOAT16 else stored.newbyteorder("=")
    return array.astype(dtype, copy=False)
