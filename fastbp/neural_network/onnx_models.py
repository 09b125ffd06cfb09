"""Estimators as ONNX models with labels and probabilities; for pipelines see `fastbp.neural_network.converters`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from fastbp.export.onnx import Graph, require_exportable
from fastbp.network import Network

__all__ = ["classifier_model", "onnx_model", "regressor_model"]

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


def classifier_model(graph: Graph, net: Network, X: str, kind: str, classes: NDArray[Any]) -> Any:
    """Return the model whose outputs are `label` and `probabilities`."""
    width = net.sizes[-1]
    if kind == "multilabel-indicator":
        graph.layers(net, X, "probabilities")
        graph.add("Cast", graph.add("Greater", "probabilities", graph.number(0.5)), output="label", to=_INT64)
        ends: list[Any] = [("label", np.dtype(np.int64), ["n", width]), ("probabilities", net.dtype, ["n", width])]
        return graph.model(net.sizes[0], ends)
    if kind == "multiclass":
        graph.layers(net, X, "probabilities")
        index = graph.add("ArgMax", "probabilities", axis=1, keepdims=0)
    else:
        graph.layers(net, X, "probability")
        graph.add("Concat", graph.add("Sub", graph.number(1.0), "probability"), "probability", output="probabilities",
                  axis=1)  # fmt: skip
        above = graph.add("Cast", graph.add("Greater", "probability", graph.number(0.5)), to=_INT64)
        index = graph.add("Squeeze", above, graph.constant("last_axis", np.array([1], np.int64)))
    words = classes.astype(object) if classes.dtype.kind in "UO" else classes
    if len(words) == 1:  # the only class on both sides of 0.5
        words = np.repeat(words, 2)
    graph.add("Gather", graph.constant("classes", words), index, output="label", axis=0)
    ends = [("label", words.dtype, ["n"]), ("probabilities", net.dtype, ["n", max(2, width)])]
    return graph.model(net.sizes[0], ends)
