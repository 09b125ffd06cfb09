"""Networks from ONNX models as other libraries write them, compared with onnxruntime on the same model."""

from itertools import pairwise

import numpy as np
import pytest
import sklearn.neural_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

import fastbp as bp
from fastbp.export.onnx import onnx_model
from fastbp.neural_network import MLPClassifier, MLPRegressor, register_onnx_converters
from tests import cases, onnx_graphs, problems
from tests.twins import network, same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
pytest.importorskip("onnx")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 4)) + 0.5
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)


def weights(*sizes, dtype="float32", seed=1):
    """W and b of each layer."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((m, n)).astype(dtype), rng.standard_normal(n).astype(dtype)) for m, n in pairwise(sizes)
    ]


def agree(content, rows, *, output=0, column=slice(None), of_outputs=lambda a: a, tolerance=None, **arguments):
    """The network of a model, after a comparison of its outputs with onnxruntime's."""
    net = bp.from_onnx(content, **arguments)
    expected = onnx_graphs.run(content, rows, output).reshape(len(rows), -1)[:, column]
    found = of_outputs(net.predict(rows))
    assert found.shape == expected.shape
    limit = tolerance or TOLERANCE[rows.dtype.name]
    assert np.abs(found - expected).max() <= limit * max(1.0, np.abs(expected).max())
    return net


def merged(activations):
    """Runs of neurons, neighbours with one activation as one."""
    layers = []
    for runs in activations:
        layers.append([])
        for name, count in runs:
            before = layers[-1].pop()[1] if layers[-1] and layers[-1][-1][0] == name else 0
            layers[-1].append((name, before + count))
    return layers


# ---- fastbp's own ----------------------------------------------------------------------------------------------------


def comes_back(net):
    """Check that a network is what its own model says."""
    twin = bp.from_onnx(onnx_model(net).SerializeToString())
    assert same_bits(twin.params, net.params)
    assert twin.sizes == net.sizes
    assert merged(twin.activations) == merged(net.activations)


@dtypes
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_there_and_back(case, dtype):
    comes_back(network(case, problems.random_params(case, np.random.default_rng(1)), dtype))


@given(problem=problems.problems(), dtype=st.sampled_from(cases.DTYPES))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_there_and_back_at_random(problem, dtype):
    comes_back(network(problem.case, problem.params, dtype))


def test_negative_zeros_and_the_smallest_numbers_come_back():
    net = bp.Network([2, 2, 1], "tanh", dtype="float32")
    net.params = np.array([-0.0, 1e-45, 3e38, -3e38, -0.0, 1e-40, -0.0, 0.0, -0.0], np.float32)
    comes_back(net)


@dtypes
@pytest.mark.parametrize("labels", ["two", "words", "three", "multilabel"])
def test_a_classifiers_own_model(labels, dtype, tmp_path):
    y = {"two": X[:, 0] > 0.5, "words": np.where(X[:, 0] > 0.5, "a", "b"), "three": np.arange(30) % 3,
         "multilabel": (X[:, :3] > 0.5).astype(int)}[labels]  # fmt: skip
    model = MLPClassifier((5, 4), max_iter=3, random_state=0).fit(X.astype(dtype), y)
    model.to_onnx(tmp_path / "model.onnx")
    net = bp.from_onnx(tmp_path / "model.onnx")
    assert same_bits(net.params, model.network_.params)
    assert net.activations == model.network_.activations
    assert net.loss == "cross_entropy"


# ---- scikit-learn, by skl2onnx ---------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("library", ["sklearn", "fastbp"])
def test_pipelines_of_classifiers(library, zipmap, dtype):
    if zipmap and dtype == "float64":
        pytest.skip("ONNX has dicts of float32 only")
    skl2onnx, rows = pytest.importorskip("skl2onnx"), X.astype(dtype)
    register_onnx_converters()
    kind = sklearn.neural_network.MLPClassifier if library == "sklearn" else MLPClassifier
    scalers = [StandardScaler(), MinMaxScaler((-1, 1)), MaxAbsScaler(), StandardScaler(with_mean=False)]
    targets = [np.arange(30) % 3, np.where(X[:, 0] > 0.5, "a", "b"), (X[:, :3] > 0.5).astype(int), np.arange(30) % 2]
    for scaler, y, activation in zip(scalers, targets, ["relu", "tanh", "logistic", "identity"], strict=True):
        if dtype == "float64" and y.ndim == 2 and library == "sklearn":
            continue  # onnxruntime has no Binarizer for it
        net = kind((5, 4), activation=activation, max_iter=3, random_state=0)
        model = make_pipeline(scaler, net).fit(rows, y)
        content = skl2onnx.to_onnx(model, rows[:1], target_opset=17, options={id(model): {"zipmap": zipmap}})
        is_binary = y.ndim == 1 and len(set(y)) == 2
        found = agree(content, rows, output=1, column=slice(1, 2) if is_binary else slice(None))
        name = "sigmoid" if is_binary or y.ndim == 2 else "softmax"
        assert [runs[0][0] for runs in found.activations] == [
            {"logistic": "sigmoid"}.get(activation, activation)
        ] * 2 + [name]
        assert found.loss == "cross_entropy"


@dtypes
@pytest.mark.parametrize("library", ["sklearn", "fastbp"])
def test_pipelines_of_regressors(library, dtype):
    skl2onnx, rows = pytest.importorskip("skl2onnx"), X.astype(dtype)
    register_onnx_converters()
    kind = sklearn.neural_network.MLPRegressor if library == "sklearn" else MLPRegressor
    for scaler in (StandardScaler(), RobustScaler(with_centering=False)):
        net = kind(hidden_layer_sizes=(5,), max_iter=3, random_state=0)
        model = make_pipeline(scaler, net).fit(rows, rows[:, 0])
        found = agree(skl2onnx.to_onnx(model, rows[:1], target_opset=17), rows)
        assert (found.sizes, found.loss) == ((4, 5, 1), "quadratic")


def test_a_network_without_a_scaler_has_the_bits_of_scikit_learn():
    skl2onnx = pytest.importorskip("skl2onnx")
    model = sklearn.neural_network.MLPClassifier((5,), max_iter=3, random_state=0).fit(X, np.arange(30) % 3)
    net = bp.from_onnx(skl2onnx.to_onnx(model, X[:1], target_opset=17))
    for W, b, coefs, intercepts in zip(net.weights, net.biases, model.coefs_, model.intercepts_, strict=True):
        assert same_bits(np.ascontiguousarray(W), coefs)
        assert same_bits(b, intercepts)


# ---- torch -----------------------------------------------------------------------------------------------------------


def sequential(activation):
    """A module with everything that has no weights of a network's layer."""
    nn = pytest.importorskip("torch.nn")
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), activation, nn.Dropout(0.5), nn.Linear(5, 3, bias=False),
        activation, nn.BatchNorm1d(3), nn.Linear(3, 2), nn.Softmax(-1),
    )  # fmt: skip


NAMES = {
    "relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "silu": "SiLU", "gelu": "GELU", "leaky_relu": "LeakyReLU",
    "elu": "ELU", "softplus": "Softplus", "identity": "Identity",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_modules_of_torch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    module = sequential(getattr(torch.nn, NAMES[name])())
    module(torch.tensor(X, dtype=torch.float32))  # moves the averages of BatchNorm1d
    rows = X.astype(np.float32)
    for opset in (11, 20):
        net = agree(onnx_graphs.from_torch(module, 4, opset), rows)
        assert net.activations == (((name, 5),), ((name, 3),), (("softmax", 2),))
    assert np.abs(net.predict(rows) - module.eval()(torch.tensor(rows)).detach().numpy()).max() < 1e-6


def test_modules_of_torch_in_float64_by_torch_itself():
    """onnxruntime has few of the operators in float64."""
    torch = pytest.importorskip("torch")
    for name in ("gelu", "elu", "softplus", "silu"):
        module = sequential(getattr(torch.nn, NAMES[name])())
        net = bp.from_onnx(onnx_graphs.from_torch(module, 4, 13, dtype="float64"))
        assert net.dtype == np.float64
        expected = module(torch.tensor(X)).detach().numpy()
        # torch's softplus is z above 20
        assert np.abs(net.predict(X) - expected).max() < (1e-8 if name == "softplus" else 1e-13)


def test_torchs_newer_exporter():
    torch = pytest.importorskip("torch")
    rows = X.astype(np.float32)
    for name in ("gelu", "softplus"):
        for optimize in (True, False):
            content = onnx_graphs.from_torch(
                sequential(getattr(torch.nn, NAMES[name])()), 4, dynamo=True, optimize=optimize
            )
            assert agree(content, rows).activations[0] == ((name, 5),)


def test_views_scales_and_fixed_rows_of_torch():
    torch = pytest.importorskip("torch")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 5), torch.nn.Linear(5, 1)

        def forward(self, x):
            x = (x - torch.tensor([1.0, 2.0, 3.0, 4.0])) / 2.0
            x = 3 * torch.tanh(0.5 * self.first(x.view(x.size(0), -1))) - 1
            return (20 * self.second(x) + 7).squeeze(-1)

    rows = X.astype(np.float32)
    assert agree(onnx_graphs.from_torch(Module(), 4), rows).sizes == (4, 5, 1)
    agree(onnx_graphs.from_torch(Module(), 4, n_rows=30), rows)
    agree(onnx_graphs.from_torch(Module(), 4, n_rows=1), rows[:1])


def test_log_softmax_of_torch_is_a_softmax():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LogSoftmax(-1))
    net = agree(onnx_graphs.from_torch(module, 4), X.astype(np.float32), of_outputs=np.log)
    assert (net.activations, net.loss) == ((((("softmax", 3),)),), "cross_entropy")


# ---- Keras and MATLAB, whose graphs are written here as they write them ----------------------------------------------


@dtypes
def test_a_graph_as_of_keras(dtype):
    (W1, b1), (W2, b2), (W3, b3) = weights(4, 5, 6, 3, dtype=dtype)
    c = {"W1": W1, "b1": b1, "W2": W2, "b2": b2, "W3": W3, "b3": b3.reshape(1, 3), "shape": np.array([-1, 4]),
         "mean": X.mean(0)[None].astype(dtype), "deviation": X.std(0)[None].astype(dtype)}  # fmt: skip
    nodes = [
        ("Sub", ["x", "mean"], "normal"), ("Div", ["normal", "deviation"], "scaled"),
        ("Reshape", ["scaled", "shape"], "flat"), ("MatMul", ["flat", "W1"], "m1"), ("Add", ["m1", "b1"], "z1"),
        ("Sigmoid", ["z1"], "s1"), ("Mul", ["s1", "z1"], "a1"), ("MatMul", ["a1", "W2"], "m2"),
        ("Add", ["b2", "m2"], "z2"), ("Tanh", ["z2"], "a2"), ("Identity", ["a2"], "i2"), ("MatMul", ["i2", "W3"], "m3"),
        ("Add", ["m3", "b3"], "z3"), ("Softmax", ["z3"], "y", {"axis": -1}),
    ]  # fmt: skip
    net = agree(onnx_graphs.model(nodes, c, 4, dtype=dtype), X.astype(dtype))
    assert net.activations == ((("silu", 5),), (("tanh", 6),), (("softmax", 3),))
    assert same_bits(np.ascontiguousarray(net.weights[1]), W2)
    logits = bp.from_onnx(onnx_graphs.model(nodes, c, 4, dtype=dtype), output="z3", loss="huber")
    assert (logits.activations[-1], logits.loss) == ((("identity", 3),), "huber")
    assert same_bits(logits.params, net.params)


def gelu_of_keras(z, begin):
    """0.5 z (1 + erf(z / sqrt(2)))."""
    names = [f"{begin}{i}" for i in range(5)]
    return [
        ("Div", [z, "root"], names[0]), ("Erf", [names[0]], names[1]), ("Add", [names[1], "one"], names[2]),
        ("Mul", ["half", z], names[3]), ("Mul", [names[3], names[2]], names[4]),
    ], names[4]  # fmt: skip


def test_a_composed_gelu():
    ((W1, b1), (W2, _)) = weights(4, 5, 2)
    nodes, a = gelu_of_keras("z", "g")
    c = {"W1": W1, "b1": b1, "W2": W2, "root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    nodes = [("MatMul", ["x", "W1"], "m"), ("Add", ["m", "b1"], "z"), *nodes, ("MatMul", [a, "W2"], "y")]
    net = agree(onnx_graphs.model(nodes, c, 4), X.astype(np.float32))
    assert net.activations[0] == (("gelu", 5),)
    assert same_bits(np.ascontiguousarray(net.weights[0]), W1)


def test_a_graph_as_of_matlab():
    """An image of one row, normalised, flattened; its weights are those of Gemm with transB, scaled."""
    (W1, b1), (W2, b2) = weights(6, 5, 2)
    rows = RNG.standard_normal((9, 1, 2, 3)).astype(np.float32) + 1
    c = {"mean": rows.mean(0, keepdims=True), "W1": W1.T.copy(), "b1": b1, "W2": W2, "b2": b2}
    nodes = [
        ("Sub", ["x", "mean"], "centred"), ("Flatten", ["centred"], "flat", {"axis": 1}),
        ("Gemm", ["flat", "W1", "b1"], "z1", {"transB": 1, "alpha": 0.5, "beta": 2.0}), ("Elu", ["z1"], "a1"),
        ("Dropout", ["a1"], ["d1"]), ("Gemm", ["d1", "W2", "b2"], "y"),
    ]  # fmt: skip
    content = onnx_graphs.model(nodes, c, 6, shape=["n", 1, 2, 3], opset=11)
    net = bp.from_onnx(content)
    assert np.abs(net.predict(rows.reshape(9, 6)) - onnx_graphs.run(content, rows)).max() < 1e-5
    assert np.array_equal(net.weights[0], W1 / 2)


# ---- what is folded, and what is chosen ------------------------------------------------------------------------------


@dtypes
def test_affine_in_front_between_and_behind(dtype):
    (W1, b1), (W2, b2) = weights(4, 5, 3, dtype=dtype)
    rng = np.random.default_rng(2)
    vectors = {f"v{i}": rng.uniform(0.5, 2, n).astype(dtype) for i, n in enumerate([4, 4, 5, 5, 5, 3, 3])}
    scalars = {"two": np.array(2, dtype), "five": np.array([5], dtype)}
    names = iter(f"t{i}" for i in range(99))
    nodes, value = [], "x"
    for operator, *inputs in [
        ("Mul", 0, "v0"), ("Sub", "v1", 0), ("Div", 0, "two"), ("MatMul", 0, "W1"), ("Add", "b1", 0), ("Mul", 0, "v2"),
        ("Sub", 0, "two"), ("Tanh", 0), ("Mul", "five", 0), ("Add", 0, "v3"), ("Div", 0, "v4"), ("Neg", 0),
        ("Gemm", 0, "W2", "b2"), ("Sigmoid", 0), ("Mul", 0, "v5"), ("Sub", "v6", 0),
    ]:  # fmt: skip
        made = next(names)
        nodes.append((operator, [name or value for name in inputs], made))
        value = made
    nodes.append(("Identity", [value], "y"))
    content = onnx_graphs.model(nodes, vectors | scalars | {"W1": W1, "b1": b1, "W2": W2, "b2": b2}, 4, dtype=dtype)
    net = agree(content, X.astype(dtype))
    assert net.sizes == (4, 5, 3, 3)
    assert net.activations == ((("tanh", 5),), (("sigmoid", 3),), (("identity", 3),))


def test_a_temperature_belongs_to_the_layer():
    ((W, b),) = weights(4, 3)
    c = {"W": W, "b": b, "T": np.float32(4)}
    for last in (("Softmax", ["t"], "y"), ("Tanh", ["t"], "y"), ("Relu", ["t"], "y"), ("Softplus", ["t"], "y")):
        nodes = [("Gemm", ["x", "W", "b"], "z"), ("Div", ["z", "T"], "t"), last]
        net = agree(onnx_graphs.model(nodes, c, 4), X.astype(np.float32))
        assert np.array_equal(net.weights[0], W / 4)


EXP_AND_1 = [("Neg", ["z"], "n"), ("Exp", ["n"], "e"), ("Add", ["e", "one"], "d")]


@pytest.mark.parametrize(
    ("name", "opset", "operators"),
    [
        ("relu", 17, [("Clip", ["z", "zero"], "y")]),
        ("relu", 10, [("Clip", ["z"], "y", {"min": 0.0})]),
        ("relu", 17, [("Max", ["zero", "z"], "y")]),
        ("relu", 17, [("Abs", ["z"], "p"), ("Add", ["z", "p"], "q"), ("Mul", ["q", "half"], "y")]),
        ("relu", 17, [("Greater", ["z", "zero"], "g"), ("Cast", ["g"], "c", {"to": 1}), ("Mul", ["z", "c"], "y")]),
        ("relu", 17, [("Greater", ["z", "zero"], "g"), ("Cast", ["g"], "c", {"to": 1}), ("Add", ["c", "c"], "d"),
                      ("Mul", ["d", "half"], "h"), ("Mul", ["h", "z"], "y")]),
        ("leaky_relu", 17, [("PRelu", ["z", "slope"], "y")]),
        ("elu", 17, [("Celu", ["z"], "y")]),
        ("sigmoid", 17, [*EXP_AND_1, ("Reciprocal", ["d"], "y")]),
        ("sigmoid", 17, [*EXP_AND_1, ("Div", ["one", "d"], "y")]),
        ("sigmoid", 17, [("Mul", ["z", "half"], "h"), ("Tanh", ["h"], "t"), ("Mul", ["t", "half"], "u"),
                         ("Add", ["u", "half"], "y")]),
        ("softplus", 17, [("Exp", ["z"], "e"), ("Add", ["e", "one"], "d"), ("Log", ["d"], "y")]),
        ("sine", 17, [("Sin", ["z"], "y")]),
        ("exp", 17, [("Exp", ["z"], "y")]),
        ("silu", 17, [*EXP_AND_1, ("Div", ["z", "d"], "y")]),
    ],
)  # fmt: skip
def test_spellings(name, opset, operators):
    ((W, b),) = weights(4, 3)
    c = {"W": W, "b": b, "zero": np.float32(0), "one": np.float32(1), "half": np.float32(0.5),
         "slope": np.full(3, 0.01, np.float32)}  # fmt: skip
    content = onnx_graphs.model([("Gemm", ["x", "W", "b"], "z"), *operators], c, 4, opset=opset)
    net = agree(content, X.astype(np.float32))
    assert net.activations == (((name, 3),),)
    assert same_bits(np.ascontiguousarray(net.weights[0]), W)
    assert net.loss == {"sigmoid": "cross_entropy", "exp": "poisson"}.get(name, "quadratic")


def test_narrow_types_and_other_dtypes():
    import onnx

    ((W, b), (V, c)) = weights(4, 5, 2)
    for code in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        for raw in (True, False):
            tensors = []
            for name, array in {"W": W, "b": b, "V": V, "c": c}.items():
                tensor = onnx.helper.make_tensor(name, code, array.shape, array.ravel().tolist())
                tensors.append(
                    onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), name) if raw else tensor
                )
            content = onnx_graphs.model(
                [("Cast", ["x"], "h", {"to": code}), ("Gemm", ["h", "W", "b"], "z"), ("Relu", ["z"], "a"),
                 ("Gemm", ["a", "V", "c"], "w"), ("Cast", ["w"], "y", {"to": 1})], {}, 4,
            )  # fmt: skip
            content.graph.initializer.extend(tensors)
            net = bp.from_onnx(content)
            assert net.dtype == np.float32
            rounded = np.abs(net.weights[0] / W - 1).max()
            assert 0 < rounded < (1e-3 if code == onnx.TensorProto.FLOAT16 else 1e-2)
            assert np.array_equal(net.weights[1], onnx.numpy_helper.to_array(tensors[2]).astype(np.float32))
    twin = bp.from_onnx(onnx_model(bp.Network([3, 2], dtype="float32", seed=0)), dtype="float64")
    assert same_bits(twin.params, bp.Network([3, 2], dtype="float32", seed=0).params.astype(np.float64))


def test_a_dropout_that_is_told_not_to_train():
    import onnx

    ((W, b),) = weights(4, 3)
    nodes = [("Gemm", ["x", "W", "b"], "z"), ("Dropout", ["z", "", "training"], "d"), ("Tanh", ["d"], "y")]
    for raw in (True, False):
        content = onnx_graphs.model(nodes, {"W": W, "b": b}, 4)
        training = onnx.helper.make_tensor("training", onnx.TensorProto.BOOL, [], b"\0" if raw else [False], raw)
        content.graph.initializer.append(training)
        net = agree(content, X.astype(np.float32))
        assert net.activations == ((("tanh", 3),),)


def test_several_outputs_of_scikit_learns_regressor():
    skl2onnx = pytest.importorskip("skl2onnx")
    model = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(5,), tol=1, random_state=0).fit(X, X[:, :2])
    net = bp.from_onnx(skl2onnx.to_onnx(model, X[:1], target_opset=17), output="add_result1")
    assert net.predict(X) == pytest.approx(model.predict(X), abs=1e-12)


def test_what_a_model_comes_as(tmp_path):
    net = bp.Network([2, 3, 1], seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    content = (tmp_path / "net.onnx").read_bytes()
    for model in (tmp_path / "net.onnx", str(tmp_path / "net.onnx"), content, bytearray(content), memoryview(content)):
        assert same_bits(bp.from_onnx(model).params, net.params)


def test_an_input_that_does_not_say_its_width():
    ((W, b),) = weights(4, 3)
    for shape in (["n", "m"], [None, None]):
        content = onnx_graphs.model(
            [("Gemm", ["x", "W", "b"], "y", {"transB": 1})], {"W": W.T.copy(), "b": b}, 4, shape=shape
        )
        assert bp.from_onnx(content).sizes == (4, 3)


def test_what_is_almost_nothing_is_kept():
    """A scale or shift below the tolerance by which an activation is recognised."""
    ((W, b),) = weights(4, 3, dtype="float64")
    c = {"W": W, "b": b, "small": np.float64(1e-8), "one": np.float64(1 + 1e-8)}
    z = X @ W + b
    for nodes, expected in (
        ([("Tanh", ["z"], "a"), ("Add", ["a", "small"], "y")], np.tanh(z) + 1e-8),
        ([("Sigmoid", ["z"], "a"), ("Mul", ["a", "one"], "y")], (1 + 1e-8) / (1 + np.exp(-z))),
        ([("Mul", ["z", "one"], "t"), ("Relu", ["t"], "y")], np.maximum((1 + 1e-8) * z, 0)),
        ([("Sub", ["z", "small"], "t"), ("Sigmoid", ["t"], "y")], 1 / (1 + np.exp(1e-8 - z))),
    ):  # not by onnxruntime, which makes the third factor one of float32
        net = bp.from_onnx(onnx_graphs.model([("Gemm", ["x", "W", "b"], "z"), *nodes], c, 4, dtype="float64"))
        assert np.abs(net.predict(X) - expected).max() < 1e-14


def test_shifts_alone_behind_the_last_activation():
    ((W, b),) = weights(4, 3)
    c = {"W": W, "b": b, "v": np.array([2, 3, 4], np.float32)}
    nodes = [("Gemm", ["x", "W", "b"], "z"), ("Tanh", ["z"], "a"), ("Add", ["v", "a"], "y")]
    assert agree(onnx_graphs.model(nodes, c, 4), X.astype(np.float32)).sizes == (4, 3, 3)


def test_parts_of_the_input_with_scales_of_their_own():
    ((W, b),) = weights(4, 3)
    c = {"W": W, "b": b, "v": np.array([2, 3, 4], np.float32), "two": np.float32(2), "sizes": np.array([1, 3])}
    nodes = [
        ("Mul", ["x", "two"], "t"), ("Split", ["t", "sizes"], ["p", "q"], {"axis": 1}), ("Add", ["p", "two"], "r"),
        ("Sub", ["q", "two"], "u"), ("Mul", ["u", "v"], "s"), ("Concat", ["r", "s"], "k", {"axis": 1}),
        ("Gemm", ["k", "W", "b"], "y"),
    ]  # fmt: skip
    assert agree(onnx_graphs.model(nodes, c, 4), X.astype(np.float32), tolerance=1e-5).sizes == (4, 3)
