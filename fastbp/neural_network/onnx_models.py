"""Estimators as ONNX models with labels and probabilities; for pipelines see `fastbp.neural_network.converters`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from fastbp.export.onnx import Graph, require_exportable
from fastbp.network import Network

__all__ = [
    "classifier_model",
    "ensemble_classifier_model",
    "ensemble_regressor_model",
    "onnx_model",
    "regressor_model",
]

_INT64 = 7  # onnx.TensorProto.INT64


def onnx_model(estimator: Any) -> Any:
    """Return a fitted estimator as an ONNX model, which its method `to_onnx` writes to a file."""
    net: Network = estimator.network_
    require_exportable(net)
    graph = Graph(net.dtype)
    if is_classifier(estimator):
        return classifier_model(graph, net, "X", estimator._label_binarizer.y_type_, estimator.classes_)
    return regressor_model(graph, net, "X")


def regressor_model(graph: Graph, net: Network, X: str) -> Any:
    """Return the model whose output is `variable`."""
    graph.layers(net, X, "variable")
    return graph.model(net.sizes[0], [("variable", net.dtype, ["n", net.sizes[-1]])])


def ensemble_regressor_model(graph: Graph, nets: Sequence[Network], X: str) -> Any:
    """Return the model whose output `variable` is the mean over networks."""
    each = [f"member{i}" for i in range(len(nets))]
    for name, net in zip(each, nets, strict=True):
        graph.layers(net, X, name, f"{name}_")
    graph.add("Div", graph.add("Sum", *each), graph.number(len(nets)), output="variable")
    return graph.model(nets[0].sizes[0], [("variable", graph.dtype, ["n", nets[0].sizes[-1]])])


def classifier_model(graph: Graph, net: Network, X: str, kind: str, classes: NDArray[Any]) -> Any:
    """Return the model whose outputs are `label` and `probabilities`."""
    width = net.sizes[-1]
    if kind == "binary":
        graph.layers(net, X, "probability")
        _both(graph, "probability", "probabilities")
    else:
        graph.layers(net, X, "probabilities")
    label = _decide(graph, kind, classes, "probability")
    ends = [("label", *label), ("probabilities", graph.dtype, ["n", width if kind != "binary" else 2])]
    return graph.model(net.sizes[0], ends)


def ensemble_classifier_model(
    graph: Graph,
    members: Sequence[tuple[Network, NDArray[np.int64]]],
    X: str,
    kind: str,
    classes: NDArray[Any],
) -> Any:
    """Return the model whose `probabilities` are the mean over networks, each with the columns of its classes."""
    n_classes = len(classes)
    each = [
        _of_all_classes(graph, net, columns, X, n_classes, f"member{i}") for i, (net, columns) in enumerate(members)
    ]
    graph.add("Div", graph.add("Sum", *each), graph.number(len(members)), output="probabilities")
    above = ""
    if kind == "binary":  # with one class, that column, which is 1
        last = graph.constant("last_column", np.array([n_classes - 1], np.int64))
        above = graph.add("Gather", "probabilities", last, axis=1)
    label = _decide(graph, kind, classes, above)
    ends = [("label", *label), ("probabilities", graph.dtype, ["n", n_classes])]
    return graph.model(members[0][0].sizes[0], ends)


def _of_all_classes(graph: Graph, net: Network, columns: NDArray[np.int64], X: str, n_classes: int, name: str) -> str:
    """Add a member of an ensemble; return its probabilities of all classes, 0 of those that it has not seen."""
    if len(columns) == 1:  # nothing that it could have learned
        row = graph.constant(f"{name}_row", np.eye(n_classes, dtype=graph.dtype)[columns])
        rows = graph.add("Shape", X, start=0, end=1)
        once = graph.constant(f"{name}_once", np.array([1], np.int64))
        return graph.add("Expand", row, graph.add("Concat", rows, once, axis=0))
    graph.layers(net, X, name, f"{name}_")
    found = name if net.sizes[-1] > 1 else _both(graph, name, f"{name}_both")
    if len(columns) == n_classes:
        return found
    # A column of zeros behind those that there are, and then each class's column.
    padded = graph.add("Pad", found, graph.constant(f"{name}_pads", np.array([0, 0, 0, 1], np.int64)))
    places = np.full(n_classes, len(columns))
    places[columns] = np.arange(len(columns))
    return graph.add("Gather", padded, graph.constant(f"{name}_places", places), axis=1)


def _both(graph: Graph, probability: str, output: str) -> str:
    """Add the probabilities of both classes, of which a network gives the second one's."""
    return graph.add("Concat", graph.add("Sub", graph.number(1.0), probability), probability, output=output, axis=1)


def _decide(graph: Graph, kind: str, classes: NDArray[Any], probability: str) -> tuple[np.dtype, list[Any]]:
    """Add the `label` of `probabilities`, or in the binary case of one column's; return its dtype and shape."""
    if kind == "multilabel-indicator":
        graph.add("Cast", graph.add("Greater", "probabilities", graph.number(0.5)), output="label", to=_INT64)
        return np.dtype(np.int64), ["n", len(classes)]
    if kind == "multiclass":
        index = graph.add("ArgMax", "probabilities", axis=1, keepdims=0)
    else:
        above = graph.add("Cast", graph.add("Greater", probability, graph.number(0.5)), to=_INT64)
        index = graph.add("Squeeze", above, graph.constant("last_axis", np.array([1], np.int64)))
    words = classes.astype(object) if classes.dtype.kind in "UO" else classes
    if len(words) == 1:  # the only class on both sides of 0.5
        words = np.repeat(words, 2)
    graph.add("Gather", graph.constant("classes", words), index, output="label", axis=0)
    return words.dtype, ["n"]
