"""Random ONNX graphs of perceptrons, read and compared with onnxruntime."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import cases, onnx_graphs
from tests.test_from_onnx import agree

pytest.importorskip("onnx")


@st.composite
def styles(draw):
    """Graphs of random perceptrons, each layer in another library's style; nodes, constants, width and dtype."""
    dtype = draw(st.sampled_from(cases.DTYPES))
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    nodes, constants, value = [], {}, "x"
    rng = np.random.default_rng(draw(st.integers(0, 1000)))

    def add(operator, *inputs, **attributes):
        nodes.append((operator, list(inputs), f"t{len(nodes)}", attributes))
        return nodes[-1][2]

    def constant(array):
        constants[f"c{len(constants)}"] = np.asarray(array, dtype)
        return f"c{len(constants) - 1}"

    for m, n in pairwise(sizes):
        W, b = rng.standard_normal((m, n)), rng.standard_normal(draw(st.sampled_from([(n,), (1, n)])))
        if draw(st.booleans()):
            value = add(draw(st.sampled_from(["Add", "Mul", "Sub"])), value, constant(rng.uniform(0.5, 2, m)))
        style = draw(st.sampled_from(["matmul", "gemm", "transposed", "scaled"]))
        if style == "matmul":
            inputs = [add("MatMul", value, constant(W)), constant(b)]
            value = add("Add", *draw(st.permutations(inputs)))
        else:
            attributes = {"transposed": {"transB": 1}, "scaled": {"alpha": 0.75, "beta": 2.0}}.get(style, {})
            value = add("Gemm", value, constant(W.T if style == "transposed" else W), constant(b), **attributes)
        name = draw(st.sampled_from(["Relu", "Tanh", "Sigmoid", "Sin", "silu", None]))
        if name == "silu":
            value = add("Mul", add("Sigmoid", value), value)
        elif name:
            value = add(name, value)
        if draw(st.booleans()):
            value = add(draw(st.sampled_from(["Flatten", "Identity"])), value)
    if draw(st.booleans()):
        value = add("Mul", value, constant(rng.uniform(0.5, 2)))
    nodes.append(("Identity", [value], "y"))
    return nodes, constants, sizes[0], dtype


@given(style=styles())
@settings(max_examples=60, deadline=None)
def test_random_graphs(style):
    nodes, constants, n_features, dtype = style
    rows = np.random.default_rng(0).standard_normal((5, n_features)).astype(dtype)
    try:
        agree(onnx_graphs.model(nodes, constants, n_features, dtype=dtype), rows)
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):  # by onnxruntime, in float64
            raise
