"""The JSON files of Nielsen's improved class: {"sizes", "weights", "biases", "cost"}."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.storage.atomic import FileError, path_named, write_atomically
from fastbp.storage.json_objects import json_object


@dataclass(frozen=True)
class Document:
    """The checked contents of a file."""

    sizes: list[int]
    weights: list[NDArray[Any]]
    biases: list[NDArray[Any]]
    cost: str
    dtype: np.dtype


def write_document(document: dict[str, Any], filename: str | PathLike[str]) -> None:
    """Write a file, whole or not at all."""
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:
        raise ValueError(
            "`weights` and `biases` must be finite to be saved, because a file with NaN or infinity would be taken for "
            "damaged."
        ) from None
    with path_named("filename"):
        write_atomically(filename, lambda file: file.write(text.encode()))


def read_document(filename: str | PathLike[str], costs: Collection[str]) -> Document:
    """Read a file and check everything in it; nothing in it is ever looked up as code."""
    content = Path(filename).read_bytes()
    try:
        return _checked(json_object(content.decode()), costs)
    except (TypeError, ValueError, OverflowError) as error:
        reason = f"it is damaged, or not a file that Network.save of nielsen wrote: {error}"
        raise FileError(os.fspath(filename), reason) from None


def _checked(found: dict[str, Any], costs: Collection[str]) -> Document:
    missing = [key for key in ("sizes", "weights", "biases", "cost") if key not in found]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}.")
    if found["cost"] not in list(costs):
        raise ValueError(f"cost must be one of {', '.join(sorted(costs))}; it is {found['cost']!r}.")
    sizes = list(validation.layer_sizes(found["sizes"]))
    dtype = validation.network_dtype(found.get("dtype", "float64"))
    return Document(
        sizes,
        _arrays(found["weights"], "weights", [(fan_out, fan_in) for fan_in, fan_out in pairwise(sizes)], dtype),
        _arrays(found["biases"], "biases", [(size, 1) for size in sizes[1:]], dtype),
        found["cost"],
        dtype,
    )


def _arrays(found: Any, name: str, shapes: list[tuple[int, int]], dtype: np.dtype) -> list[NDArray[Any]]:
    """Return finite arrays of the given shapes from nested lists."""
    if not isinstance(found, list) or len(found) != len(shapes):
        raise ValueError(f"{name} must be a list of {len(shapes)} arrays, as sizes says.")
    arrays = []
    for index, (rows, shape) in enumerate(zip(found, shapes, strict=True)):
        try:
            array = np.array(rows)
        except ValueError:
            array = np.zeros(0)  # rows of different lengths
        if array.shape != shape or array.dtype.kind not in "if":
            raise ValueError(f"{name}[{index}] must hold numbers in shape {shape}, as sizes says.")
        with np.errstate(over="ignore"):  # which is refused below
            array = array.astype(dtype)
        if not validation.all_finite(array):
            raise ValueError(f"{name}[{index}] must be finite.")
        arrays.append(array)
    return arrays
