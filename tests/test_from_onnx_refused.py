"""ONNX models that are no networks, or hostile: one clear error, in little time and memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import fastbp as bp
from fastbp.export import onnx_reader
from fastbp.export.onnx import onnx_model
from tests import onnx_graphs
from tests.fresh import run_python
from tests.fuzz_onnx import BLIND, KNOWING, fuzz
from tests.test_from_onnx import weights

onnx = pytest.importorskip("onnx")
((W, B), (V, C)) = weights(4, 3, 3)
CONSTANTS = {"W": W, "b": B, "V": V, "c": C, "one": np.float32(1), "wide": np.ones((4, 3), np.float32),
             "vector": np.array([1, 2, 3], np.float32), "double": np.float64(1), "zero": np.float32(0),
             "three": np.array([1, 3]), "places": np.array([1]), "no_axes": np.array([], np.int64),
             "column": np.ones((3, 1), np.float32), "minus": np.float32(-1), "large": np.float32(1e8),
             "small": np.float32(1e-8), "hundred": np.float32(100), "tiny": np.float32(2e-6),
             "true": np.array(True)}  # fmt: skip
DENSE = ("Gemm", ["x", "W", "b"], "z")
NOT_KNOWN = (
    "makes a function that is none of a network's activations. Those have LeakyRelu's slope 0.01, Elu's alpha 1 and "
    "Gelu without approximation."
)
UNDERSTOOD = (
    "is not understood. A network is made of Gemm, MatMul, Add, BatchNormalization, ai.onnx.ml.Scaler, activations, "
    "Softmax, and of Flatten, Reshape, Identity, Dropout, Cast, Split and Concat where they change no number. `output` "
    "may name a value in front of it."
)


def reason(model, **arguments):
    """Why a model is refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- its text is the result
        bp.from_onnx(model, **arguments)
    begin, _, text = str(caught.value).partition(": ")
    assert begin == "`model` cannot be read"
    return text


def graph(*nodes, **settings):
    """A model of nodes after one dense layer."""
    return onnx_graphs.model([DENSE, *nodes], CONSTANTS, 4, **settings)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([("Selu", ["z"], "y")], f"its node 'n1' (Selu) {UNDERSTOOD}"),
        ([("ml.Normalizer", ["z"], "y")], f"its node 'n1' (ai.onnx.ml.Normalizer) {UNDERSTOOD}"),
        ([("LeakyRelu", ["z"], "a", {"alpha": 0.2}), ("MatMul", ["a", "V"], "y")],
         f"its node 'n1' (LeakyRelu) {NOT_KNOWN}"),
        ([("Elu", ["z"], "y", {"alpha": 2.0})], f"its node 'n1' (Elu) {NOT_KNOWN}"),
        ([("Gelu", ["z"], "y", {"approximate": "tanh"})], f"its node 'n1' (Gelu) {NOT_KNOWN}"),
        ([("Clip", ["z", "zero", "one"], "y")], f"its node 'n1' (Clip) {NOT_KNOWN}"),
        ([("Clip", ["z", "zero", "one"], "a"), ("Mul", ["a", "vector"], "y")], f"its node 'n1' (Clip) {NOT_KNOWN}"),
        ([("Tanh", ["z"], "a"), ("Sin", ["a"], "y")], f"its node 'n2' (Sin) {NOT_KNOWN}"),
        ([("Tanh", ["z"], "a"), ("MatMul", ["a", "V"], "m"), ("Add", ["m", "a"], "y")],
         "its node 'n3' (Add) joins values of different layers; a network is one chain of layers."),
        ([("Softmax", ["z"], "s"), ("MatMul", ["s", "V"], "y")],
         "its node 'n2' (MatMul) follows probabilities of classes, which a network has at its end only."),
        ([("Relu", ["z"], "a"), ("Softmax", ["a"], "y")],
         "its node 'n2' (Softmax) must follow a layer without another activation."),
        ([("Softmax", ["z"], "y", {"axis": 0})],
         "its node 'n1' (Softmax) must be over the last axis; it is over the axis 0."),
        ([("Tanh", ["x"], "t"), ("MatMul", ["t", "W"], "y")],
         "its node 'n1' (Tanh) bends the input in front of the first layer; read are scales and shifts."),
        ([("MatMul", ["z", "z"], "y")],
         "its node 'n1' (MatMul) must have a constant matrix as its second input; a network is one chain of layers."),
        ([("Gemm", ["z", "V", "z"], "y")],
         "its node 'n1' (Gemm) must have a constant bias; a network is one chain of layers."),
        ([("Gemm", ["z", "V"], "y", {"transA": 1})],
         "its node 'n1' (Gemm) transposes its rows (transA); understood is transB."),
        ([("MatMul", ["z", "W"], "y")], "its node 'n1' (MatMul) has weights for 4 columns; there are 3."),
        ([("Add", ["z", "wide"], "y")],
         "its node 'n1' (Add) has a constant of the shape (4, 3), which does not fit rows of the shape (3,)."),
        ([("Add", ["z", "double"], "y")], "its node 'n1' (Add) takes values of float32 and a constant of float64."),
        ([("Div", ["z", "zero"], "y")], "its node 'n1' (Div) divides by 0."),
        ([("Max", ["z", "vector"], "y")], "its node 'n1' (Max) has numbers that differ from neuron to neuron; a "
         "network "
         "has scales and shifts that do, no others."),
        ([("Reshape", ["z", "three"], "y")],
         "its node 'n1' (Reshape) makes the shape (1, 3) of rows of the shape (3,), which moves numbers from one "
         "row to "
         "another. `output` may name a value in front of it."),
        ([("Cast", ["z"], "y", {"to": 11})], "its node 'n1' (Cast) makes another type of the neurons; understood is "
         "the "
         "same type, and that of the input."),
        ([("Flatten", ["z"], "y", {"axis": 0})], "its node 'n1' (Flatten) must flatten rows of neurons (axis=1)."),
        ([("Relu", ["z"], "y", {"odd": 1})], "its node 'n1' (Relu) has the attribute 'odd'; understood are none."),
        ([("Elu", ["z"], "y", {"alpha": 1})],
         "its node 'n1' (Elu) must have for 'alpha' a value such as 1.0; it has 1."),
        ([("Add", ["nothing", "z"], "y")],
         "its node 'n1' (Add) takes the value 'nothing', which no node in front of it makes."),
        ([("Relu", ["w"], "v"), ("Relu", ["v"], "w"), ("Add", ["w", "z"], "y")],
         "its node 'n1' (Relu) takes the value 'w', which no node in front of it makes."),
        ([("Relu", ["z"], "z")], "it has two values 'z'."),
        ([("Relu", ["z"], "W")], "it has two values 'W'."),
        ([("Split", ["z"], ["p", "y"], {"axis": 1})],
         "its value 'y' is not what a layer makes; `output` may name another."),
        ([("Relu", ["one"], "y")], "it must have one input; those that 'y' needs are none."),
        ([("Dropout", ["z", "one", "one"], "y")],
         "its node 'n1' (Dropout) is that of a network in training; export it for inference."),
        ([("BatchNormalization", ["z", "b", "b", "b", "vector"], "y", {"training_mode": 1})],
         "its node 'n1' (BatchNormalization) must be that of a trained network (training_mode=0, spatial=1, one "
         "output)."),
        ([("Dropout", ["z"], ["d", "y"])], "its node 'n1' (Dropout) makes no value 'y' of a network."),
        ([("BatchNormalization", ["z", "b", "b", "b", "vector"], ["y", "mean", "variance"])],
         "its node 'n1' (BatchNormalization) must be that of a trained network (training_mode=0, spatial=1, one "
         "output)."),
        ([("Greater", ["z", "zero"], "g"), ("Sub", ["g", "g"], "y")],
         "its node 'n2' (Sub) must have numbers, and not truths, as its input 'g'."),
        ([("Greater", ["one", "zero"], "g"), ("Neg", ["g"], "n"), ("Mul", ["z", "n"], "y")],
         "its node 'n2' (Neg) must have numbers, and not truths, as its input 'g'."),
        ([("Not", ["z"], "g"), ("Where", ["g", "z", "zero"], "y")],
         "its node 'n1' (Not) must have truths, and not numbers, as its input 'z'."),
        ([("Where", ["z", "z", "zero"], "y")],
         "its node 'n1' (Where) must have truths, and not numbers, as its input 'z'."),
        ([("Greater", ["z", "zero"], "g"), ("Cast", ["g"], "n", {"to": 1}), ("Add", ["n", "n"], "d"),
          ("Mul", ["z", "d"], "y")], f"its node 'n4' (Mul) {NOT_KNOWN}"),
        ([("Unsqueeze", ["z", "places"], "u"), ("Transpose", ["u"], "t", {"perm": [1, 0, 2]}),
          ("Flatten", ["t"], "y")], "its node 'n2' (Transpose) moves the axes of rows."),
        ([("MatMul", ["z", "column"], "s"), ("Reshape", ["s", "no_axes"], "y")],
         "its node 'n2' (Reshape) makes the shape () of rows of the shape (1,), which moves numbers from one row to "
         "another. `output` may name a value in front of it."),
        ([("Dropout", ["z", "", "true"], "y")],
         "its node 'n1' (Dropout) is that of a network in training; export it for inference."),
        ([("Add", ["z", "true"], "y")],
         "its node 'n1' (Add) must have numbers, and not truths, as its input 'true'."),
        ([("Relu", ["z", "z"], "y")], "its node 'n1' (Relu) must have 1 input; it has ('z', 'z')."),
        ([("Clip", ["z"] * 4, "y")],
         "its node 'n1' (Clip) must have 1 to 3 inputs; it has ('z', 'z', 'z', 'z')."),
        ([("Dropout", ["", "z"], "y")], "its node 'n1' (Dropout) must have 1 to 3 inputs; it has ('', 'z')."),
        ([("MatMul", ["z"], "y")], "its node 'n1' (MatMul) must have 2 inputs; it has ('z',)."),
        # tanh, sine and the identity are the same near 0, and farther out this is NaN
        ([("Mul", ["z", "z"], "s"), ("Div", ["s", "hundred"], "d"), ("Exp", ["d"], "e"), ("Div", ["e", "e"], "q"),
          ("Mul", ["z", "tiny"], "t"), ("Tanh", ["t"], "a"), ("Mul", ["a", "q"], "y")],
         f"its node 'n7' (Mul) {NOT_KNOWN}"),
        # tanh and Clip are the same but in a place that is hidden behind a scale or shift
        *[([(operator, ["z", c], "t"), ("Clip", ["t", "minus", "one"], "y")], f"its node 'n2' (Clip) {NOT_KNOWN}")
          for operator, c in (("Mul", "large"), ("Mul", "small"), ("Add", "hundred"))],
    ],
)  # fmt: skip
def test_the_first_node_that_cannot_be_taken(nodes, text):
    assert reason(graph(*nodes)) == text


def changed(change, *nodes):
    """A model after a change."""
    model = graph(*nodes, ("Relu", ["z"], "y"))
    change(model)
    return model


def tensor(model, name="W"):
    """A constant of a model."""
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def external(model):
    tensor(model).data_location = 1
    tensor(model).external_data.add(key="location", value="../weights")


def of_many_dimensions(model):
    tensor(model).dims[:] = [1] * 7 + [4, 3]


def other_input(model):
    model.graph.input.add().CopyFrom(model.graph.input[0])


def two_outputs(model):
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "z"


def two_inputs(model):
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "v"
    model.graph.node[1].op_type = "Add"
    model.graph.node[1].input.append("v")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (external, "its weights 'W' are in a file of their own, which is not opened. Pass onnx.load(path), which reads "
         "that file too, or write the model with its weights inside."),
        (lambda m: tensor(m).dims.__setitem__(0, 2**40),
         "its constant 'W' has a shape for 3298534883328 numbers and holds 48 bytes."),
        (lambda m: (setattr(tensor(m), "raw_data", b""), tensor(m).dims.__setitem__(slice(2), [0, 2**62])),
         "its constant 'W' has the shape (0, 4611686018427387904), which no array has."),
        (lambda m: tensor(m).dims.__setitem__(0, -4), "its constant 'W' must have at most 8 dimensions, none of them "
         "negative, and all its numbers in one piece; it has the shape (-4, 3)."),
        (of_many_dimensions, "its constant 'W' must have at most 8 dimensions, none of them negative, and all its "
         "numbers "
         "in one piece; it has the shape (1, 1, 1, 1, 1, 1, 1, 4, 3)."),
        (lambda m: setattr(tensor(m), "data_type", 8), "its constant 'W' has the type 8; read are float16, bfloat16, "
         "float, double, int32, int64 and bool."),
        (lambda m: setattr(tensor(m), "raw_data", np.full(12, np.nan, "f4").tobytes()),
         "its constant 'W' holds NaN or infinity."),
        (lambda m: setattr(tensor(m, "b"), "name", "W"), "it has two constants 'W'."),
        (lambda m: m.graph.sparse_initializer.add(), "it has sparse constants, which are not read."),
        (lambda m: setattr(m.opset_import[0], "version", 6), "it has the opset 6; 7 is the oldest that is read. "
         "Convert "
         "it with onnx.version_converter."),
        (lambda m: m.opset_import.__delitem__(0), "it has the opset none; 7 is the oldest that is read. Convert it "
         "with "
         "onnx.version_converter."),
        (lambda m: m.graph.ClearField("node"), "it has no graph: it is no ONNX model, or an empty one."),
        (other_input, "it has two inputs of the same name."),
        (two_inputs, "it must have one input; those that 'y' needs are 'x', 'v'."),
        (two_outputs, "it has the outputs 'y', 'z'; choose one by `output`."),
        (lambda m: m.functions.add(name="Relu"),
         "its node 'n1' (Relu) is a function of the model's own; export it with its functions inlined."),
        (lambda m: m.functions.add(name="Relu", domain="ai.onnx"),
         "its node 'n1' (Relu) is a function of the model's own; export it with its functions inlined."),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value"), None),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2**60), "its input 'x' has "
         "1152921504606846976 features, for which a model of this size has no weights."),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim.__delitem__(0),
         "its input 'x' must have rows with a number of features that is known; it has [4]."),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7),
         "its node 'n0' (Gemm) takes an input that is no floating number; a Cast has to make it one."),
    ],
)  # fmt: skip
def test_damaged_and_unusual_models(change, text):
    model = changed(change)
    if text is None:
        assert bp.from_onnx(model).sizes == (4, 3)
    else:
        assert reason(model) == text


def test_arguments(tmp_path):
    model = graph(("Relu", ["z"], "y"))
    assert reason(b"") == "it has no graph: it is no ONNX model, or an empty one."
    assert reason(b"\xff" * 9) == "it is no ONNX model, or damaged."
    assert reason(model, output="w") == "it has no value 'w', as `output` says; its outputs are y."
    assert reason(graph(("Dropout", ["z"], ["y", ""])), output="").startswith("it has no value '', as")
    large = graph(("Mul", ["z", "largest"], "y"))
    large.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(3e38), "largest"))
    tensor(large).raw_data = (W * 100).tobytes()
    assert reason(large) == "its weights are too large, with scales and shifts folded into them, for its dtype."
    calls = [
        ((3,), {}, TypeError, "`model` must be the name of a file, its bytes, or an onnx.ModelProto; got int."),
        ((model,), {"output": 3}, TypeError, "`output` must be the name of a value in the model; got int."),
        ((model,), {"dtype": "float16"}, ValueError, "`dtype` must be 'float32' or 'float64'; got 'float16'."),
        ((model,), {"loss": "hinge"}, ValueError, None),
        (("nothing.onnx",), {}, FileNotFoundError, None),
    ]
    for arguments, keywords, kind, text in calls:
        with pytest.raises(kind) as caught:
            bp.from_onnx(*arguments, **keywords)
        assert text is None or str(caught.value) == text
    path = tmp_path / "net.onnx"
    path.write_bytes(graph(("Selu\n\x1b", ["z"], "y")).SerializeToString())
    with pytest.raises(bp.FileError) as caught:
        bp.from_onnx(path)
    assert str(caught.value).startswith(f"The file {str(path)!r} cannot be loaded: its node 'n1' (Selu\\n\\x1b) is not")


def test_a_file_that_is_too_large_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # of holes, where the system has them
    with pytest.raises(bp.FileError, match="it has 2147483648 bytes; a model in one file has less than 2 GiB"):
        bp.from_onnx(path)
    monkeypatch.setattr(onnx_reader, "MOST_ONNX_BYTES", 100)
    assert reason(b"\0" * 101) == "it has 101 bytes; a model in one file has less than 2 GiB."


def test_without_the_package():
    code = """
import sys
sys.modules["onnx"] = None
import fastbp as bp
try:
    bp.from_onnx("net.onnx")
except ImportError as error:
    print(error)
"""
    assert run_python(code) == 'An ONNX model needs the `onnx` package: pip install "fastbp[onnx]".\n'


# ---- small models that would make much -------------------------------------------------------------------------------


def many(operator, n, inputs=("z",), **attributes):
    """Nodes one after the other."""
    names = [inputs[0], *(f"t{i}" for i in range(n - 1)), "y"]
    return [(operator, [before, *inputs[1:]], name, attributes) for before, name in pairwise(names)]


def row_of(shape, n):
    """A constant of n ones along one axis."""
    return np.ones((1, n) if shape == "row" else (n, 1), np.float32)


PARTS = [f"p{i}" for i in range(300)]
SPLIT = [
    ("MatMul", ["z", "up"], "m"),
    ("Split", ["m"], PARTS, {"axis": 1}),
    *[(["Tanh", "Sin", "Relu"][i % 3], [part], f"q{part}") for i, part in enumerate(PARTS)],
    ("Concat", [f"q{part}" for part in PARTS], "k", {"axis": 1}),
]


@pytest.mark.parametrize(
    ("nodes", "constants", "text"),
    [
        (many("MatMul", 2000, ("z", "S")), {},
         "would give the network more parameters than a model of this size can hold: it uses the same weights too "
         "often."),
        ([("Transpose", ["S"], "t0"), *[("Add", [f"t{i}", "S"], f"t{i + 1}") for i in range(5000)],
          ("MatMul", ["z", "t5000"], "y")], {},
         "would have constants computed for longer than a model of this size may."),
        ([("Add", ["row", "column"], "t"), ("Mul", ["z", "t"], "y")],
         {name: row_of(name, 3000) for name in ("row", "column")},
         "its node 'n1' (Add) would make 9000000 numbers of fewer."),
        ([("MatMul", ["z", "up"], "m"), ("Tanh", ["m"], "a"), ("Mul", ["a", "two"], "y")],
         {"up": np.ones((100, 9000), np.float32)}, "a scale or shift of the outputs would give the network more"),
        (many("Tanh", 10_000), {}, "it has 10001 nodes; at most 10000 are read."),
        ([("Mul", ["z", "two"], "l"), ("Tanh", ["l"], "a"), *many("Mul", 1000, ("a", "two"))], {},
         "would have constants computed for longer"),
        *[([*SPLIT, *nodes], {"up": np.ones((100, 300), np.float32)}, "would have constants computed for longer")
          for nodes in (many("Abs", 2000, ("k",)), many("Cast", 2000, ("k",), to=1),
                        [("Max", ["m", "k"], "t0"), *[("Max", ["m", f"t{i}"], f"t{i + 1}") for i in range(2000)],
                         ("Identity", ["t2000"], "y")])],
    ],
)  # fmt: skip
def test_little_time_and_memory(nodes, constants, text, monkeypatch):
    monkeypatch.setattr(onnx_reader, "_FREE_NUMBERS", 1 << 20)  # a thirty-second of what is allowed, for a short test
    monkeypatch.setattr(onnx_reader, "_MOST_NODES", 10_000)
    constants = {"S": np.ones((100, 100), np.float32), "two": np.float32(2), **constants}
    content = onnx_graphs.model([("MatMul", ["x", "S"], "z"), *nodes], constants, 100).SerializeToString()
    tracemalloc.start()
    try:
        assert text in reason(content)
        assert tracemalloc.get_traced_memory()[1] < 1e8  # bytes
    finally:
        tracemalloc.stop()


def test_many_layers_and_nodes_are_read():
    net = bp.Network([1] * 2000, "softplus", dtype="float32", seed=0)
    assert np.array_equal(bp.from_onnx(onnx_model(net)).params, net.params)


def test_a_mutated_model_is_an_error_or_the_network_that_it_says():
    found = fuzz(1200, 1)
    assert sum(found.values()) == 1200
    assert all(found[mutation.__name__, "error"] for mutation in BLIND + KNOWING)
    assert all(found[mutation.__name__, "network"] for mutation in KNOWING)


@pytest.mark.slow
def test_many_mutated_models():
    assert sum(fuzz(6000, 3).values()) == 6000
