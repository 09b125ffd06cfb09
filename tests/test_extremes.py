"""Laws at the edges: saturated and subnormal numbers, logits far out, single rows and columns, sixty layers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastbp as bp
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.twins import network, same_bits

pytestmark = pytest.mark.filterwarnings(
    "ignore:`output=.softmax.` with one output"
)  # the numbers are right all the same

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
HIDDEN = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "sine")


# ---- Strategies ------------------------------------------------------------------------------------------------------


@st.composite
def layer_sizes(draw):
    """Sizes of every kind: shallow, with single columns, or sixty layers deep."""
    kind = draw(st.sampled_from(("any", "columns", "deep", "direct")))
    if kind == "deep":
        return [draw(st.integers(1, 3)) for _ in range(61)]
    if kind == "direct":
        return [draw(st.integers(1, 40)), draw(st.integers(1, 40))]
    if kind == "columns":
        return [draw(st.sampled_from((1, 1, 7))) for _ in range(draw(st.integers(2, 6)))]
    return [draw(st.integers(1, 20)) for _ in range(draw(st.integers(2, 5)))]


@st.composite
def architectures(draw):
    """Cases with any sizes, one activation for all hidden layers or one for each."""
    sizes = draw(layer_sizes())
    loss = draw(st.sampled_from(cases.LOSSES))
    outputs = [name for name in loss.outputs if name != "exp"]  # overflows, and is tested on its own
    names = st.sampled_from(HIDDEN)
    hidden = draw(names | st.lists(names, min_size=len(sizes) - 2, max_size=len(sizes) - 2))
    parameter = draw(st.sampled_from((None, *loss.parameters)))
    return cases.Case("random", sizes, hidden, draw(st.sampled_from(outputs)), loss.name, loss_parameter=parameter)


def scaled(draw, rng, shape, dtype):
    """Numbers of one kind: ordinary, huge, subnormal, zero, or of all sizes."""
    values = rng.standard_normal(shape)
    kind = draw(st.sampled_from(("ordinary", "huge", "subnormal", "zero", "all")))
    info = np.finfo(dtype)
    factors = {
        "ordinary": 1.0,
        "huge": 1e4,
        "subnormal": float(info.smallest_subnormal) * 100,
        "zero": 0.0,
        "all": 10.0 ** rng.uniform(-30, 4, shape),
    }
    return (values * factors[kind]).astype(dtype)


@st.composite
def extremes(draw, dtype):
    """Return a problem of some rows, with parameters and inputs of any scale."""
    case = draw(architectures())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from((1, 1, 2, 9, 33, 100)))
    _, Y = problems.random_data(case, rng, n)
    params = scaled(draw, rng, case.n_params, dtype)
    X = scaled(draw, rng, (n, case.sizes[0]), dtype)
    return problems.Problem(case, params, X, Y.astype(dtype))


@st.composite
def both(draw):
    """Return a dtype and a problem in it."""
    dtype = draw(st.sampled_from(cases.DTYPES))
    return dtype, draw(extremes(dtype))


# ---- Laws that hold whatever the numbers -----------------------------------------------------------------------------


@given(pair=both())
@settings(max_examples=150)
def test_outputs_and_costs_are_never_nan(pair):
    dtype, problem = pair
    net = network(problem.case, problem.params, dtype)
    before = net.params.copy(), problem.X.copy(), problem.Y.copy()
    outputs = net.predict(problem.X)
    trace = net.trace(problem.X, problem.Y)
    if not all(np.isfinite(layer.z).all() for layer in trace.layers):
        return  # sixty layers of huge weights overflow, and inf - inf has no value
    assert np.isfinite(outputs).all()
    rows = {row.name: row for row in cases.ACTIVATIONS}
    if problem.case.output == "softmax":
        assert outputs.min() >= 0
        assert outputs.sum(axis=1) == pytest.approx(1, rel=1e-5)
    else:
        row = rows[problem.case.output]
        assert outputs.min() >= row.low
        assert outputs.max() <= row.high
    cost, grad = net.value_and_grad(problem.X, problem.Y)
    assert not np.isnan(cost)
    assert cost == pytest.approx(net.loss_value(problem.X, problem.Y), rel=1e-5, abs=1e-30)
    assert grad.shape == net.params.shape
    after = net.params, problem.X, problem.Y
    assert all(same_bits(x, y) for x, y in zip(before, after, strict=True))


@given(pair=both(), rate=st.sampled_from((1e-3, 0.1, 1e30)))
@settings(max_examples=100)
def test_a_step_is_taken_whole_or_refused(pair, rate):
    dtype, problem = pair
    net = network(problem.case, problem.params, dtype)
    before = net.params.copy()
    try:
        history = net.fit(problem.X, problem.Y, epochs=1, optimizer=bp.SGD(rate), seed=0, shuffle=False)
    except bp.TrainingDivergedError:
        assert same_bits(net.params, before)
    else:
        assert np.isfinite(history.loss).all()
        assert np.isfinite(net.params).all()


@given(pair=both(), mmap=st.booleans())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_keeps_every_bit(pair, mmap, tmp_path):
    dtype, problem = pair
    net = network(problem.case, problem.params, dtype)
    net.save(tmp_path / "net")
    twin = bp.load(tmp_path / "net", mmap=mmap)
    assert same_bits(twin.params, net.params)
    assert same_bits(twin.predict(problem.X), net.predict(problem.X))
    results = [each.value_and_grad(problem.X, problem.Y) for each in (net, twin)]
    assert results[0][0] == results[1][0] or np.isnan([results[0][0], results[1][0]]).all()
    assert same_bits(results[0][1], results[1][1])


# ---- Against the reference -------------------------------------------------------------------------------------------


def spread(problem):
    """Largest |z| of any neuron: an error of rounding of z grows with it."""
    zs, _ = reference.forward(problem.case.sizes, problem.case.neuron_activations, problem.params, problem.X)
    return max(1.0, *(float(np.abs(z).max()) for z in zs))


@given(problem=extremes("float64"))
@settings(max_examples=60)
def test_forward_and_gradient_against_the_reference(problem):
    problem = dataclasses.replace(problem, X=problem.X[:5], Y=problem.Y[:5])
    size = spread(problem)
    if size > 1e12 or ("sine" in str(problem.case.activation) and size > 100):
        return  # a sine of a sine of large numbers is chaos
    if problems.kink_distance(problem) < 1e-12 * size:
        return
    net = network(problem.case, problem.params)
    tolerance = 1e-12 * size * len(problem.case.sizes)
    _, as_ = reference.forward(problem.case.sizes, problem.case.neuron_activations, problem.params, problem.X)
    assert relative_error(net.predict(problem.X), as_[-1], floor=1.0) < tolerance
    cost, grad = net.value_and_grad(problem.X, problem.Y)
    with np.errstate(divide="ignore"):  # the logarithm of an output that is saturated at 0
        expected = reference.cost(*problem.arguments)
    assert cost == pytest.approx(expected, rel=tolerance, abs=tolerance)
    if expected == np.inf:
        assert np.isnan(grad).all()
        return
    assert relative_error(grad, reference.gradient(*problem.arguments), floor=size) < tolerance
