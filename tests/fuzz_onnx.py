"""Mutated ONNX models: each is the one error or a network that computes what onnxruntime does, where that takes it.

``python -m tests.fuzz_onnx --count 20000 --seed 0`` prints how many models ended how. Half of the mutations are blind:
bits, bytes, cuts and repetitions. The other half change one thing of the graph: an operator, a name, an attribute, a
shape, a type, the order of the nodes. Memory that Python allocates is measured, and so is the time of a model.
"""

import collections
import contextlib
import copy
import itertools
import random
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

import fastbp as bp
from fastbp.export.onnx import onnx_model
from fastbp.export.onnx_functions import OPERATORS
from fastbp.export.onnx_operators import LAYERS
from fastbp.export.onnx_shapes import PARTS, SHAPES
from tests import onnx_graphs
from tests.fuzz_files import (
    SECONDS_PER_FILE,
    arguments,
    cut,
    flip_bits,
    insert,
    limited,
    print_table,
    remove,
    set_bytes,
)

MOST_BYTES = 1 << 23  # allocated for a model of some kilobytes: numbers for each of its nodes
NUMBERS = (0, 1, -1, 2, 3, 7, 64, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.0, -1.0, 0.01, 1e-30, 1e30, float("inf"), float("nan"))
NAMES = ("", "x", "y", "z1", "W1", "b1", "\n", "a" * 5000)
BEGIN = "`model` cannot be read: "


def originals():
    """Models to begin with, of every kind of operator."""
    nets = [
        bp.Network([2, 1], dtype="float32", seed=0),
        bp.Network([3, 4, 2], ["gelu"], "sigmoid", seed=1),
        bp.Network([3, 4, 3], [[("tanh", 1), ("elu", 2), ("softplus", 1)]], "softmax", "cross_entropy", seed=2),
    ]
    rng = np.random.default_rng(0)
    f32 = {"W1": rng.standard_normal((4, 5)), "b1": rng.standard_normal((1, 5)), "W2": rng.standard_normal((2, 5)),
           "b2": rng.standard_normal(2), "mean": rng.standard_normal(4), "g": rng.random(5) + 0.5}  # fmt: skip
    constants = {name: np.asarray(value, np.float32) for name, value in f32.items()} | {"shape": np.array([-1, 4])}
    keras = [
        ("Identity", ["x"], "i"), ("Sub", ["i", "mean"], "s"), ("Reshape", ["s", "shape"], "r"),
        ("MatMul", ["r", "W1"], "m"), ("Add", ["m", "b1"], "z1"), ("Sigmoid", ["z1"], "sig"),
        ("Mul", ["z1", "sig"], "a1"), ("BatchNormalization", ["a1", "g", "g", "g", "g"], "n", {"epsilon": 0.1}),
        ("Dropout", ["n"], "d"), ("Gemm", ["d", "W2", "b2"], "z2", {"transB": 1, "alpha": 0.5}),
        ("Flatten", ["z2"], "f"), ("Softmax", ["f"], "y", {"axis": 1}),
    ]  # fmt: skip
    sklearn = [
        ("ml.Scaler", ["x"], "s", {"offset": [0.5, 1.0, 2.0, 3.0], "scale": [2.0]}), ("Cast", ["s"], "c", {"to": 1}),
        ("MatMul", ["c", "W1"], "m"), ("Add", ["b1", "m"], "z1"), ("Relu", ["z1"], "a1"), ("Shape", ["a1"], "sh"),
        ("Constant", [], "zero", {"value_int": 0}), ("Gather", ["sh", "zero"], "rows"),
        ("Constant", [], "axis", {"value_ints": [0]}), ("Unsqueeze", ["rows", "axis"], "rows1"),
        ("Constant", [], "rest", {"value_ints": [-1]}), ("Concat", ["rows1", "rest"], "to", {"axis": 0}),
        ("Reshape", ["a1", "to"], "r"), ("Transpose", ["W2"], "Wt", {"perm": [1, 0]}), ("MatMul", ["r", "Wt"], "m2"),
        ("Split", ["m2"], ["p", "q"], {"axis": 1, "num_outputs": 2}), ("Tanh", ["p"], "t"),
        ("Clip", ["q", "clip"], "cl"), ("Concat", ["t", "cl"], "k", {"axis": 1}), ("Mul", ["k", "b2"], "y"),
    ]  # fmt: skip
    constants["clip"] = np.float32(0)
    return [
        *(onnx_model(net).SerializeToString() for net in nets),
        onnx_graphs.model(keras, constants, 4).SerializeToString(),
        onnx_graphs.model(sklearn, constants, 4, opset=18, ml=True).SerializeToString(),
    ]


# ---- Mutations that know the format ----------------------------------------------------------------------------------


def parsed(content):
    """The message of a model."""
    import onnx

    return onnx.load_from_string(content)


def other_operators(content, rng):
    """Another operator, domain or name."""
    model = parsed(content)
    node = rng.choice(model.graph.node)
    known = [*OPERATORS, *LAYERS, *PARTS, *SHAPES, "If", "Loop", "ArgMax", "Erf", ""]
    match rng.randrange(4):
        case 0 | 1:
            *domain, name = rng.choice(known).rsplit(".", 1)
            node.op_type, node.domain = name, "".join(domain)
        case 2:
            node.domain = rng.choice(("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "\0"))
        case 3:
            node.name = rng.choice(NAMES)
    return model.SerializeToString()


def other_names(content, rng):
    """Another input or output of a node, or of the graph."""
    model = parsed(content)
    names = [*NAMES, *(t.name for t in model.graph.initializer), *(o for n in model.graph.node for o in n.output)]
    node = rng.choice(model.graph.node)
    part = rng.choice([part for part in (node.input, node.output) if part])
    match rng.randrange(5):
        case 0 | 1:
            part[rng.randrange(len(part))] = rng.choice(names)
        case 2:
            part.append(rng.choice(names))
        case 3:
            del part[rng.randrange(len(part))]
        case 4:
            rng.choice([*model.graph.output, *model.graph.input, *model.graph.initializer]).name = rng.choice(names)
    return model.SerializeToString()


def other_attributes(content, rng):
    """Another attribute, or another value of one."""
    import onnx

    model = parsed(content)
    node = rng.choice([node for node in model.graph.node if node.attribute] or list(model.graph.node))
    values = [*NUMBERS, *FLOATS, [], [1], [1, 0], [-1], list(range(100)), [0.5], b"tanh", "none", "x" * 3000]
    names = ("axis", "axes", "alpha", "beta", "transA", "transB", "to", "perm", "epsilon", "split", "value", "odd")
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        value = rng.choice(values)
        if node.attribute and rng.random() < 0.6:
            attribute = rng.choice(node.attribute)
            attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, value))
        else:
            node.attribute.append(onnx.helper.make_attribute(rng.choice(names), value))
    return model.SerializeToString()


def other_tensors(content, rng):
    """Another shape, type or content of a constant, or of the input."""
    model = parsed(content)
    tensor = rng.choice(model.graph.initializer)
    shape = model.graph.input[0].type.tensor_type
    match rng.randrange(7):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 1:
            tensor.dims[:] = rng.choice([tensor.dims[::-1], [*tensor.dims, 1], [1, *tensor.dims], tensor.dims[:1], [0]])
        case 2:
            tensor.data_type = rng.randrange(-1, 26)
        case 3:
            tensor.data_location = 1
            tensor.external_data.add(key="location", value="/etc/passwd")
        case 4:
            special = np.array(rng.choice([*FLOATS, 3e38]), "<f4").tobytes()
            place = 4 * rng.randrange(max(1, len(tensor.raw_data) // 4))
            tensor.raw_data = (tensor.raw_data[:place] + special + tensor.raw_data[place + 4 :])[: len(tensor.raw_data)]
        case 5:
            shape.elem_type = rng.randrange(-1, 26)
        case _ if shape.shape.dim:
            rng.choice(shape.shape.dim).dim_value = rng.choice(NUMBERS)
    return model.SerializeToString()


def other_order(content, rng):
    """Nodes twice, left out or in another order."""
    model = parsed(content)
    nodes = list(model.graph.node)
    match rng.randrange(4):
        case 0:
            rng.shuffle(nodes)
        case 1:
            del nodes[rng.randrange(len(nodes))]
        case 2:
            nodes.insert(rng.randrange(len(nodes)), rng.choice(nodes))
        case 3:
            i = rng.randrange(len(nodes))
            nodes[i:i] = [copy.deepcopy(nodes[i]) for _ in range(rng.choice((2, 200)))]
            value = nodes[i].input[0] if nodes[i].input else ""
            for number, node in enumerate(nodes[i : i + 200]):
                if node.input and node.op_type == nodes[i].op_type:
                    node.input[0] = value
                    if node is not nodes[-1] and number < 200 and node.output:
                        value = node.output[0] = f"{node.output[0]}{number}"
    copies = [copy.deepcopy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model.SerializeToString()


def other_versions(content, rng):
    """Other opsets, and nothing where something was."""
    model = parsed(content)
    match rng.randrange(4):
        case 0:
            model.opset_import[0].version = rng.choice(NUMBERS)
        case 1:
            del model.opset_import[:]
        case 2:
            model.graph.ClearField(rng.choice(("node", "initializer", "input", "output")))
        case 3:
            model.functions.add(name=rng.choice(model.graph.node).op_type)
    return model.SerializeToString()


BLIND = (flip_bits, set_bytes, cut, remove, insert)
KNOWING = (other_operators, other_names, other_attributes, other_tensors, other_order, other_versions)


# ---- What becomes of a model -----------------------------------------------------------------------------------------


def outcome(content):
    """The error's text or the network; anything else is raised."""
    try:
        net = bp.from_onnx(content)
    except ValueError as error:
        text = str(error)
        assert text.startswith(BEGIN), text
        assert text.isprintable(), text
        assert len(text) < 4000, text
        return text
    assert np.isfinite(net.params).all()
    return net


def differs(net, content):
    """What onnxruntime computes in another way than the network, if it takes the model; else None."""
    model = parsed(content)
    if any(node.op_type == "LogSoftmax" for node in model.graph.node):
        return None
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] or [0, 0]
    n_rows = shape[0] if shape[0] > 0 else 3
    if n_rows > 1000 or len(shape) != 2:
        return None
    X = np.random.default_rng(0).standard_normal((n_rows, net.sizes[0])).astype(net.dtype)
    try:
        expected = onnx_graphs.run(content, X)
    except Exception:  # of any class: it takes other models
        return None
    found = net.predict(X)
    expected = expected.reshape(n_rows, -1)[:, -found.shape[1] :]
    with np.errstate(all="ignore"):
        size = np.abs(net.params).max() + np.abs(expected).max()
    if not size < 1e4 or expected.dtype != found.dtype:  # rounding decides, or half numbers do
        return None
    difference = float(np.abs(found - expected).max())
    return None if difference <= 1e-5 * max(1.0, size) else f"differs by {difference}"


def fuzz(count, seed, *, memory=True, compare=True):
    """Mutate and read; return how often each mutation ended how."""
    contents = originals()
    for content in contents:  # everything is compiled and imported before memory is looked at
        net = outcome(content)
        assert not isinstance(net, str), net
        assert differs(net, content) is None
    rng = random.Random(seed)
    found = collections.Counter()
    for number in itertools.takewhile(lambda _: found.total() < count, itertools.count()):
        mutation = rng.choice(rng.choice((BLIND, KNOWING)))
        original = rng.choice(contents)
        content = mutation(original, rng)
        if content == original:
            continue
        try:
            if memory:
                tracemalloc.start()
            with limited(SECONDS_PER_FILE):
                result = outcome(content)
            if memory:
                peak = tracemalloc.get_traced_memory()[1]
                assert peak <= MOST_BYTES + 50 * len(content), f"{peak} bytes"
                tracemalloc.stop()
            if not isinstance(result, str) and compare:
                assert differs(result, content) is None, differs(result, content)
        except BaseException:
            kept = Path(tempfile.gettempdir()) / f"fastbp-fuzz-{seed}-{number}.onnx"
            kept.write_bytes(content)
            print(f"model {number}, {mutation.__name__}: kept as {kept}", file=sys.stderr)
            raise
        finally:
            tracemalloc.stop()
        found[mutation.__name__, "error" if isinstance(result, str) else "network"] += 1
    return found


def main():
    """Fuzz as the arguments say, and print a table."""
    options = arguments(__doc__)
    begin = time.perf_counter()
    print_table(fuzz(options.count, options.seed), BLIND + KNOWING, "models", begin)


if __name__ == "__main__":
    main()
