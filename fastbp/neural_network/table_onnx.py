"""Pipelines for tables as ONNX models: an input for each column, everything that is done to them, and the estimator.

What belongs to the columns is computed in float64, as scikit-learn does.  A number that is missing is NaN, and a word
the empty one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from fastbp.export.onnx import Graph, import_onnx, require_exportable
from fastbp.neural_network.onnx_models import classifier_model, regressor_model
from fastbp.neural_network.table_pipelines import states_of
from fastbp.storage.atomic import PathLike, checked_path, write_atomically

__all__ = ["pipeline_model", "require_onnx", "write_onnx"]

_DOUBLE, _STRING = np.dtype(np.float64), 8  # onnx.TensorProto.STRING
_ML, _ML_VERSION = "ai.onnx.ml", 3  # the domain of LabelEncoder; its version of 2022, as the opset's
_OWN = re.compile(r"[vcWb]\d+|a\d+_\w+|last_axis|classes|columns_\w+|label|probability|probabilities|variable")


def require_onnx(names: list[str]) -> None:
    """Raise unless a pipeline with columns of these names can become an ONNX model.

    Raises
    ------
    ImportError
        If the `onnx` package is missing.
    ValueError
        If a column has a name that means something else in the model.

    Examples
    --------
    >>> require_onnx(["age", "label"])
    Traceback (most recent call last):
    ValueError: A column must have another name than 'label', which is a value inside the ONNX model. Rename it.
    """
    import_onnx()
    for name in names:
        if _OWN.fullmatch(name):
            raise ValueError(
                f"A column must have another name than {name!r}, which is a value inside the ONNX model. Rename it."
            )


def write_onnx(pipeline: Pipeline, path: PathLike) -> None:
    """Write `pipeline_model` to a file, whole or not at all."""
    checked_path(path)
    content = pipeline_model(pipeline).SerializeToString()
    write_atomically(path, lambda file: file.write(content))


def pipeline_model(pipeline: Pipeline) -> Any:
    """Return the ONNX model of a fitted pipeline of `make_columns` and an estimator.

    Parameters
    ----------
    pipeline : Pipeline
        With the steps ``columns`` and ``network``.

    Returns
    -------
    onnx.ModelProto
        Inputs of shape (n, 1), float64 or string, named as the columns; outputs as those of the estimator's `to_onnx`.

    Raises
    ------
    ImportError, ValueError
        As `require_onnx`, and as an estimator's `to_onnx`.
    """
    states, estimator = states_of(pipeline.named_steps["columns"]), pipeline.named_steps["network"]
    require_onnx(states["numbers"] + states["words"])
    net = estimator.network_
    require_exportable(net)
    graph = Graph(net.dtype)
    parts = [*_numbers(graph, states), *_words(graph, states)]
    X = graph.add("Cast", graph.add("Concat", *parts, axis=1), to=graph.code_of(net.dtype))
    if is_classifier(estimator):
        model = classifier_model(graph, net, X, estimator._label_binarizer.y_type_, estimator.classes_)
    else:
        model = regressor_model(graph, net, X)
    return _with_inputs(model, graph, states)


def _with_inputs(model: Any, graph: Graph, states: dict[str, Any]) -> Any:
    """Return a model with an input for each column in place of one for all."""
    helper = import_onnx().helper
    del model.graph.input[:]
    kinds = [*((name, graph.code_of(_DOUBLE)) for name in states["numbers"]), *((n, _STRING) for n in states["words"])]
    model.graph.input.extend(helper.make_tensor_value_info(name, kind, ["n", 1]) for name, kind in kinds)
    if states["words"]:
        model.opset_import.append(helper.make_opsetid(_ML, _ML_VERSION))
    return model


def _numbers(graph: Graph, states: dict[str, Any]) -> list[str]:
    """Add what makes standardised numbers of columns of numbers."""
    names, has_missing = states["numbers"], np.flatnonzero(states["has_missing"])
    if not names:
        return []
    X = graph.add("Concat", *names, axis=1)
    is_missing = graph.add("IsNaN", X)
    medians = graph.constant("columns_medians", np.array(states["medians"], _DOUBLE))
    parts = [graph.add("Where", is_missing, medians, X)]
    if len(has_missing):
        which = graph.constant("columns_missing", has_missing.astype(np.int64))
        flags = graph.add("Gather", graph.add("Cast", is_missing, to=graph.code_of(_DOUBLE)), which, axis=1)
        parts = [graph.add("Concat", *parts, flags, axis=1)]
    means = graph.constant("columns_means", np.array(states["means"], _DOUBLE))
    scales = graph.constant("columns_scales", np.array(states["scales"], _DOUBLE))
    return [graph.add("Div", graph.add("Sub", parts[0], means), scales)]


def _words(graph: Graph, states: dict[str, Any]) -> list[str]:
    """Add what makes a column for each known word of columns of words."""
    parts = []
    for i, (name, known) in enumerate(zip(states["words"], states["categories"], strict=True)):
        numbers = list(range(len(known)))
        which = graph.add("LabelEncoder", name, domain=_ML, keys_strings=known, values_int64s=numbers, default_int64=-1)
        places = graph.constant(f"columns_places_{i}", np.array(numbers, np.int64))
        parts.append(graph.add("Cast", graph.add("Equal", which, places), to=graph.code_of(_DOUBLE)))
    return parts
