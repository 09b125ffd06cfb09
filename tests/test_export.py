"""Exported networks: ONNX models run by onnxruntime, parameters as torch names them."""

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastbp as bp
from fastbp.export import onnx as export
from fastbp.export import torch as torch_parameters
from tests import cases, problems
from tests.fresh import run_python
from tests.twins import network, same_bits

# Rounding of the matrix products in another order, and of exp(z) - 1 near 0; of the largest output.
ONNX_TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
CUBE = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))


@pytest.fixture
def path(tmp_path):
    """Where a file may go."""
    return tmp_path / "net.onnx"


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def run_onnx(path, X):
    """The outputs of a model, by onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("X", ["n", X.shape[1]])]
    (output,) = session.get_outputs()
    assert output.name == "output"
    (result,) = session.run(None, {"X": X})
    assert output.shape == ["n", result.shape[1]]
    return result


def agree(net, path, X):
    """Whether the model gives the network's outputs, for these rows and for the first of them."""
    onnx = pytest.importorskip("onnx")
    net.to_onnx(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    for rows in (X, X[:1]):
        expected, found = net.predict(rows), run_onnx(path, rows)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        largest = max(1.0, float(np.abs(expected).max()))
        assert np.abs(found - expected).max() <= ONNX_TOLERANCE[net.dtype.name] * largest


@dtypes
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_onnxruntime_agrees(case, dtype, path):
    rng = np.random.default_rng(1)
    net = network(case, problems.random_params(case, rng), dtype)
    agree(net, path, rng.standard_normal((17, case.sizes[0])).astype(dtype))


@given(problem=problems.problems(), dtype=st.sampled_from(cases.DTYPES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_onnxruntime_agrees_at_random(problem, dtype, path):
    agree(network(problem.case, problem.params, dtype), path, problem.rounded(dtype).X)


@dtypes
@pytest.mark.parametrize("name", [name for name in cases.ACTIVATION_NAMES if name not in ("sine", "exp")])
def test_onnxruntime_agrees_far_out(name, dtype, path):
    """Where exp of something would overflow, and at 0."""
    net = bp.Network([1, 1], output=name, dtype=dtype)
    net.params = np.array([1.0, 0.0], dtype)
    agree(net, path, np.array([[-1e4], [-700.0], [-20.0], [-1e-3], [0.0], [1e-3], [20.0], [700.0], [1e4]], dtype))


@dtypes
def test_onnxruntime_agrees_on_logits_far_out(dtype, path):
    net = bp.Network([3, 3], output="softmax", loss="cross_entropy", dtype=dtype)
    net.params = np.append(np.eye(3).ravel(), np.zeros(3)).astype(dtype)
    agree(net, path, np.array([[1e4, -1e4, 0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [0, 1, 2]], dtype))


def test_names_of_the_operators(path):
    pytest.importorskip("onnx")
    net = bp.Network([2, 3, 4, 1], ["tanh", [("identity", 1), ("gelu", 3)]], dtype="float32")
    model = export.onnx_model(net)
    assert [node.op_type for node in model.graph.node] == [
        "Gemm", "Tanh", "Gemm", "Split", "Mul", "Erf", "Mul", "Add", "Mul", "Concat", "Gemm", "Identity",
    ]  # fmt: skip
    assert (model.producer_name, model.producer_version, model.ir_version) == ("fastbp", bp.__version__, 8)
    assert [opset.version for opset in model.opset_import] == [17]


def test_what_cannot_become_a_model(path, monkeypatch):
    own = bp.Network([1, 2, 1], [[(CUBE, 1), ("tanh", 1)]])
    spoilt = bp.Network([1, 2, 1], dtype="float32")
    spoilt.params[3] = np.inf
    calls = [
        (lambda: spoilt.to_onnx(path), ValueError,
         "`net.params` must be finite for an ONNX model, because one with NaN or infinity would predict nothing."),
        (lambda: own.to_onnx(path), ValueError,
         "`net` must have built-in activations only to become an ONNX model; it has 'cube'."),
        (lambda: export.to_onnx([1], path), TypeError, "`net` must be a bp.Network; got list."),
        (lambda: bp.Network([1, 1]).to_onnx(3), TypeError,
         "`path` must be the name of a file, a str or os.PathLike[str]; got int."),
    ]  # fmt: skip
    for call, error, message in calls:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
    monkeypatch.setattr(export, "MOST_ONNX_BYTES", 100)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        bp.Network([3, 4]).to_onnx(path)
    assert str(caught.value) == "`net` must have less than 2 GiB of parameters for an ONNX model; it has 128 bytes."
    assert list(path.parent.iterdir()) == []


def test_without_the_package():
    code = """
import sys
sys.modules["onnx"] = None
import fastbp as bp
try:
    bp.Network([1, 1]).to_onnx("net.onnx")
except ImportError as error:
    print(error)
"""
    assert run_python(code) == 'An ONNX model needs the `onnx` package: pip install "fastbp[onnx]".\n'


# ---- torch -----------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_there_and_back(case, dtype):
    net = network(case, problems.random_params(case, np.random.default_rng(2)), dtype)
    state = net.torch_state_dict()
    assert list(state) == [f"{2 * i}.{part}" for i in range(len(case.sizes) - 1) for part in ("weight", "bias")]
    for i, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        assert same_bits(state[f"{2 * i}.weight"], W.T.copy())
        assert same_bits(state[f"{2 * i}.bias"], b)
    other = network(case, dtype=dtype)
    assert other.load_torch_state_dict(state) is other
    assert same_bits(other.params, net.params)
    new = bp.from_torch_state_dict(state, case.activation, case.output, case.loss)
    assert same_bits(new.params, net.params)
    assert (new.sizes, new.dtype, new.activations, new.loss) == (net.sizes, net.dtype, net.activations, net.loss)
    state["0.weight"][...] = 7.0
    assert not np.any(net.weights[0] == 7.0)
    assert not np.any(new.weights[0] == 7.0)


TORCH_ACTIVATIONS = {
    "identity": "Identity",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "softplus": "Softplus",
    "gelu": "GELU",
    "silu": "SiLU",
}


@dtypes
@pytest.mark.parametrize("name", TORCH_ACTIVATIONS)
def test_torch_agrees(name, dtype):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    activation = getattr(nn, TORCH_ACTIVATIONS[name])
    model = nn.Sequential(nn.Linear(5, 7), activation(), nn.Linear(7, 6), activation(), nn.Linear(6, 2))
    model = model.to(getattr(torch, dtype))
    X = np.random.default_rng(3).standard_normal((9, 5)).astype(dtype)
    expected = model(torch.from_numpy(X)).detach().numpy()
    net = bp.from_torch_state_dict(model.state_dict(), name)
    assert net.predict(X) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    net.params += 0.125
    model.load_state_dict({key: torch.from_numpy(value) for key, value in net.torch_state_dict().items()})
    expected = model(torch.from_numpy(X)).detach().numpy()
    assert net.predict(X) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_torch_with_names_of_ones_own():
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(11)])
            self.last = torch.nn.Linear(4, 2)

        def forward(self, x):
            x = torch.tanh(self.first(x))
            for block in self.blocks:
                x = torch.tanh(block(x))
            return self.last(x)

    model = Model()
    X = np.random.default_rng(4).standard_normal((9, 3)).astype(np.float32)
    net = bp.from_torch_state_dict(model.state_dict(), "tanh")
    assert net.predict(X) == pytest.approx(model(torch.from_numpy(X)).detach().numpy(), rel=1e-5, abs=1e-6)
    with pytest.raises(TypeError, match="must be a tensor or an array of numbers"):
        bp.from_torch_state_dict(model.to(torch.bfloat16).state_dict())


@pytest.mark.parametrize("n_layers", [1, 5, 6, 12, 101])
@pytest.mark.parametrize("is_equally_wide", [True, False])
def test_files_that_sort_the_names(n_layers, is_equally_wide, tmp_path):
    """As safetensors, JSON and h5py do: 0, 10, 12, 2, 4 and so on."""
    safetensors = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(5)
    sizes = [4] * (n_layers + 1) if is_equally_wide else rng.integers(1, 7, n_layers + 1).tolist()
    net = bp.Network(sizes, "tanh", seed=0)
    safetensors.save_file(net.torch_state_dict(), tmp_path / "file")
    state = safetensors.load_file(tmp_path / "file")
    assert sorted(state) == list(state)
    assert same_bits(bp.from_torch_state_dict(state, "tanh").params, net.params)
    assert same_bits(bp.Network(sizes, "tanh", seed=1).load_torch_state_dict(state).params, net.params)


def test_torch_agrees_whatever_the_order_of_the_names():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(6)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.ModuleDict({name: nn.Linear(4, 4) for name in ("fc1", "fc2", "out")[i % 2 :]}) for i in range(12)
            )
            for i in range(1, 13):
                self.add_module(f"fc{i}", nn.Linear(4, 4))

        def forward(self, x):
            for block in self.blocks:
                for layer in block.values():
                    x = torch.sin(layer(x))
            for i in range(1, 12):
                x = torch.sin(getattr(self, f"fc{i}")(x))
            return self.fc12(x)

    model = Model().double()
    X = np.random.default_rng(6).standard_normal((9, 4))
    expected = model(torch.from_numpy(X)).detach().numpy()
    state = model.state_dict()
    for names in (list(state), sorted(state)):
        reordered = {name: state[name] for name in names}
        assert bp.from_torch_state_dict(reordered, "sine").predict(X) == pytest.approx(expected, abs=1e-12)


NAMES = [
    ("2 10 0", "0 2 10"),
    ("fc1 fc10 fc2", "fc1 fc2 fc10"),
    ("first b.0 b.1 b.10 b.2 last", "first b.0 b.1 b.2 b.10 last"),
    ("b.0.x b.1.x b.10.x b.10.y b.2.x b.3.x b.3.y", "b.0.x b.1.x b.2.x b.3.x b.3.y b.10.x b.10.y"),
    ("net1.0 net1.10 net1.2 net10.0 net2.0", "net1.0 net1.2 net1.10 net2.0 net10.0"),
    ("z a m", "z a m"),
    ("a.z b.a a.b", "a.z b.a a.b"),
    ("x9 y1 x10", "x9 y1 x10"),
    ("y.1 2 1 y", "y.1 1 2 y"),
    (f"{'9' * 5000} 08 7", f"7 08 {'9' * 5000}"),
]


@pytest.mark.parametrize(("given", "expected"), NAMES, ids=[row[0][:50] for row in NAMES])
def test_order_of_layers(given, expected):
    """Layer i of the right order has the bias i."""
    biases = {name: float(i) for i, name in enumerate(expected.split())}
    state = {}
    for name in given.split():
        state |= {f"{name}.bias": np.array([biases[name]]), f"{name}.weight": np.ones((1, 1))}
    net = bp.from_torch_state_dict(state)
    assert [b[0] for b in net.biases] == sorted(biases.values())


GOOD = {"0.weight": np.ones((2, 3)), "0.bias": np.ones(2), "2.weight": np.ones((1, 2)), "2.bias": np.ones(1)}
PAIR = (
    "`state` must have for each Linear layer a weight of shape (fan_out, fan_in) and a bias of shape (fan_out,); layer"
)
STATES = [
    ([1], TypeError, "`state` must be a mapping of names to arrays, a torch state_dict(); got list."),
    ({3: 4}, TypeError, "`state` must be a mapping of names to arrays, a torch state_dict(); got dict."),
    ({}, ValueError, "`state` must have at least one Linear layer; it is empty."),
    (GOOD | {"1.running_mean": np.ones(2)}, ValueError,
     "`state` must be that of Linear layers, with a weight and a bias each; got '1.running_mean'."),
    ({"0.weight": np.ones((2, 3))}, ValueError, f"{PAIR} '0' has {{'weight': (2, 3)}}."),
    (GOOD | {"2.bias": np.ones(2)}, ValueError, f"{PAIR} '2' has {{'weight': (1, 2), 'bias': (2,)}}."),
    (GOOD | {"2.weight": np.ones(2)}, ValueError, f"{PAIR} '2' has {{'weight': (2,), 'bias': (1,)}}."),
    (GOOD | {"2.weight": np.ones((1, 3))}, ValueError,
     "`state` must have layers that fit each other, in order; its weights have shapes [(2, 3), (1, 3)]."),
    (GOOD | {"0.bias": np.ones(2, np.float32)}, TypeError, "`state` must have one dtype; it has float32, float64."),
    (GOOD | {"0.bias": np.ones(2, int)}, TypeError, "`state['0.bias']` must have dtype float32 or float64; got int64."),
    (GOOD | {"0.bias": "ab"}, TypeError, "`state['0.bias']` must have dtype float32 or float64; got <U2."),
    (GOOD | {"0.bias": np.array([1.0, np.nan])}, ValueError,
     "`state['0.bias']` must be finite; found nan at (1,). Impute or drop such rows."),
]  # fmt: skip


@pytest.mark.parametrize(("state", "error", "message"), STATES, ids=[row[-1][:70] for row in STATES])
def test_states_that_are_refused(state, error, message):
    net = bp.Network([3, 2, 1], seed=0)
    before = net.params.copy()
    for call in (lambda: net.load_torch_state_dict(state), lambda: bp.from_torch_state_dict(state)):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
    assert same_bits(net.params, before)


def test_states_of_another_network_are_refused():
    calls = [
        (lambda: bp.Network([3, 3, 1]).load_torch_state_dict(GOOD), ValueError,
         "`state` must have layers of the sizes [3, 3, 1], as the network; it has [3, 2, 1]."),
        (lambda: bp.Network([3, 2, 1], dtype="float32").load_torch_state_dict(GOOD), TypeError,
         "`params` must have the network's dtype float32, because nothing is converted between float types silently; "
         "got float64. Convert it with .astype('float32'), or build the network with dtype='float64'."),
        (lambda: torch_parameters.load_torch_state_dict(3, GOOD), TypeError, "`net` must be a bp.Network; got int."),
        (lambda: torch_parameters.torch_state_dict(3), TypeError, "`net` must be a bp.Network; got int."),
        (lambda: export.onnx_model(3), TypeError, "`net` must be a bp.Network; got int."),
    ]  # fmt: skip
    for call, error, message in calls:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
