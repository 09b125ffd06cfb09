"""ONNX graphs of perceptrons as other libraries write them, and what onnxruntime says of a graph."""

import io
import warnings

import numpy as np
import pytest


def helper():
    """`onnx.helper`; the test is skipped where the package is not."""
    pytest.importorskip("onnx")
    import onnx.helper

    return onnx.helper


def model(nodes, constants, n_features, *, dtype="float32", output="y", opset=17, shape=None, ml=False):
    """A model with the input x and one output; nodes are (operator, inputs, output, attributes)."""
    import onnx

    make, numbers = helper(), onnx.numpy_helper
    code = make.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = []
    for i, (operator, inputs, outputs, *attributes) in enumerate(nodes):
        _, is_ml, name = operator.rpartition("ml.")
        outputs = [outputs] if isinstance(outputs, str) else outputs
        settings = attributes[0] if attributes else {}
        domain = "ai.onnx.ml" if is_ml else ""
        made.append(make.make_node(name, inputs, outputs, f"n{i}", domain=domain, **settings))
    graph = make.make_graph(
        made, "g",
        [make.make_tensor_value_info("x", code, shape or ["n", n_features])],
        [make.make_tensor_value_info(output, code, None)],
        [numbers.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [make.make_opsetid("", opset), *([make.make_opsetid("ai.onnx.ml", 3)] if ml else [])]
    return make.make_model(graph, opset_imports=opsets, ir_version=8)


def run(content, X, output=0):
    """One output of a model, by onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        content if isinstance(content, bytes) else content.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    (name,) = [i.name for i in session.get_inputs()]
    result = session.run(None, {name: X})[output]
    if isinstance(result, list):  # a dict for each row
        return np.array([list(row.values()) for row in result])
    return result


def from_torch(module, n_features, opset=17, *, dtype="float32", dynamo=False, n_rows=None, **arguments):
    """The bytes of a torch module's model, by one of torch's two exporters, for any number of rows or a fixed one."""
    torch = pytest.importorskip("torch")
    module = module.eval().to(getattr(torch, dtype))
    X = torch.zeros(n_rows or 3, n_features, dtype=getattr(torch, dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            pytest.importorskip("onnxscript")
            program = torch.onnx.export(
                module, (X,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False, **arguments
            )
            return program.model_proto.SerializeToString()
        file = io.BytesIO()
        torch.onnx.export(
            module, (X,), file, opset_version=opset, dynamo=False, input_names=["x"],
            dynamic_axes=None if n_rows else {"x": {0: "n"}}, **arguments,
        )  # fmt: skip
    return file.getvalue()
