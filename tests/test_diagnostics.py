"""Networks built to be saturated, dead, starved or healthy, and what `diagnose` says of them."""

import re

import numpy as np
import pytest

import fastbp as bp
from tests.reference_formulas import ACTIVATIONS

RNG = np.random.default_rng(5)
X = RNG.standard_normal((400, 6))
DTYPES = ("float64", "float32")


def network(activation="sigmoid", sizes=(6, 8, 5, 3), dtype="float64", **options):
    return bp.Network(sizes, activation, dtype=dtype, seed=3, **options)


# --- the criteria -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "activation", ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "sine"]
)
def test_a_fresh_network_is_healthy(activation, dtype):
    report = bp.diagnose(network(activation, dtype=dtype), X.astype(dtype))
    assert report.ok, str(report)
    assert report.advice == []
    assert report.n_samples == 400
    assert [layer.n_neurons for layer in report.layers] == [8, 5, 3]


@pytest.mark.parametrize(("activation", "slope"), [("sigmoid", 3.0590223e-7), ("tanh", 3.7430491e-13)])
def test_slope_far_out(activation, slope):
    """At z = 15 the logistic function's derivative is about 3.1e-7; tanh's is 4 exp(-2 z) = 3.7e-13."""
    net = bp.Network([1, 1, 1], activation, initializer="zeros")
    net.biases[0][0] = 15.0
    layer = bp.diagnose(net, [[0.0], [1.0]]).layers[0]
    np.testing.assert_allclose(layer.mean_slope, slope, rtol=1e-3)
    assert layer.saturated.tolist() == [0]
    assert layer.flat_share.tolist() == [1.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_are_those_of_the_formula(activation, dtype):
    net = bp.Network([1, 4, 1], activation, initializer="zeros", dtype=dtype)
    net.weights[0][...] = [[0.3, -1.2, 2.1, -3.3]]
    x = np.linspace(-2, 2, 41, dtype=dtype).reshape(-1, 1)
    z = x.astype(np.float64) @ net.weights[0].astype(np.float64)
    slopes = np.abs(np.vectorize(ACTIVATIONS[activation].derivative)(z))
    layer = bp.diagnose(net, x).layers[0]
    np.testing.assert_allclose(layer.mean_slope, slopes.mean(axis=0), rtol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu", "softplus", "gelu", "silu"])
def test_neurons_pushed_far_out_are_saturated(activation):
    net = network(activation)
    net.biases[1][[1, 4]] = -40.0
    report = bp.diagnose(net, X)
    assert not report.ok
    assert [layer.saturated.tolist() for layer in report.layers] == [[], [1, 4], []]
    assert all(layer.dead.size == 0 for layer in report.layers)


@pytest.mark.parametrize("activation", ["leaky_relu", "sine", "identity"])
def test_activations_that_are_flat_nowhere_never_saturate(activation):
    net = network(activation)
    net.biases[1][[1, 4]] = -40.0
    assert bp.diagnose(net, X).ok


def test_relu_neurons_without_output_are_dead():
    net = network("relu")
    net.biases[0][[0, 3]] = -100.0
    layer = bp.diagnose(net, X).layers[0]
    assert layer.dead.tolist() == [0, 3]
    assert layer.dead_share[[0, 3]].tolist() == [1.0, 1.0]
    assert layer.saturated.size == 0
    np.testing.assert_array_equal(layer.dead_share, (X @ net.weights[0] + net.biases[0] <= 0).mean(axis=0))


def test_one_sample_keeps_a_relu_neuron_alive():
    net = bp.Network([1, 1, 1], "relu", initializer="zeros")
    net.weights[0][...] = 1.0
    samples = -np.ones((1000, 1))
    assert bp.diagnose(net, samples).layers[0].dead.tolist() == [0]
    samples[7] = 1.0
    layer = bp.diagnose(net, samples).layers[0]
    assert layer.dead.size == 0
    assert layer.dead_share.tolist() == [0.999]


def test_nearly_all_samples_are_95_percent():
    net = bp.Network([1, 1, 1], "tanh", initializer="zeros")
    net.weights[0][...] = 10.0
    samples = np.ones((100, 1))
    samples[:5] = 0.0
    assert bp.diagnose(net, samples).layers[0].saturated.tolist() == [0]
    samples[5] = 0.0
    layer = bp.diagnose(net, samples).layers[0]
    assert layer.saturated.size == 0
    assert layer.flat_share.tolist() == [0.94]


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_outputs_of_relu_are_not_taken_for_dead(dtype):
    net = network("relu", dtype=dtype)
    report = bp.diagnose(net, np.abs(X).astype(dtype) * dtype_scale(dtype))
    np.testing.assert_allclose(report.layers[2].mean_slope, 1.0, rtol=1e-6)  # identity, of outputs without unit


def dtype_scale(dtype):
    """So large that a - 1 is a."""
    return np.asarray(1e10 if dtype == "float32" else 1e18, dtype)


def test_a_layer_whose_inputs_are_near_0_is_starved():
    net = network("tanh")
    net.weights[0][...] *= 1e-3
    net.biases[1][...] = 0.5
    report = bp.diagnose(net, X)
    assert [layer.starved for layer in report.layers] == [False, True, False]
    a = np.tanh(X @ net.weights[0] + net.biases[0])
    np.testing.assert_allclose(report.layers[1].input_magnitude, np.abs(a).mean(axis=0), rtol=1e-12)
    assert report.layers[1].mean_input == pytest.approx(np.abs(a).mean())
    assert [advice.split(":")[0] for advice in report.advice] == ["Starved layers"]


def test_data_near_0_starve_the_first_layer():
    report = bp.diagnose(network("sigmoid"), 1e-3 * X)
    assert [layer.starved for layer in report.layers] == [True, False, False]
    assert report.advice == ["Starved first layer: scale the inputs to mean 0 and variance 1."]


# --- layers of all kinds ----------------------------------------------------------------------------------------------


def test_neurons_of_one_layer_may_differ():
    runs = [("relu", 2), ("sigmoid", 2), ("leaky_relu", 2), ("tanh", 2)]
    net = bp.Network([6, 8, 3], [runs], seed=0)
    net.biases[0][...] = -40.0
    layer = bp.diagnose(net, X).layers[0]
    assert layer.dead.tolist() == [0, 1]
    assert layer.saturated.tolist() == [2, 3, 6, 7]
    assert layer.activation == "2 relu, 2 sigmoid, 2 leaky_relu, 2 tanh"
    np.testing.assert_array_equal(layer.dead_share, [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(layer.mean_slope[4:6], 0.01, rtol=1e-9)


@pytest.mark.parametrize(
    ("output", "loss", "n_saturated"),
    [
        ("sigmoid", "cross_entropy", 0),
        ("softmax", "cross_entropy", 0),
        ("exp", "poisson", 0),
        ("sigmoid", "quadratic", 3),
        ("softmax", "quadratic", 3),
        ("exp", "quadratic", 3),
    ],
)
def test_flat_outputs_do_no_harm_where_the_loss_matches(output, loss, n_saturated):
    net = network("tanh", output=output, loss=loss)
    net.biases[2][...] = [30.0, -30.0, -30.0] if output == "softmax" else -30.0
    assert bp.diagnose(net, X).layers[2].saturated.size == n_saturated


def test_an_activation_of_ones_own_is_judged_by_its_derivative():
    import numba

    relu = bp.Activation(
        "relu", numba.njit(lambda z: 1 / (1 + np.exp(-z))), numba.njit(lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2)
    )
    net = network(relu)  # with the name of another one
    net.biases[0][2] = 20.0
    layer = bp.diagnose(net, X).layers[0]
    assert layer.saturated.tolist() == [2]
    assert layer.activation == "relu"


def test_blocks_of_samples_add_up(monkeypatch):
    net = network("relu")
    whole = bp.diagnose(net, X)
    monkeypatch.setattr("fastbp.inspection.diagnostics._BLOCK_ELEMENTS", 8 * 150)
    parts = bp.diagnose(net, X)
    for left, right in zip(whole.layers, parts.layers, strict=True):
        np.testing.assert_allclose(left.mean_slope, right.mean_slope, rtol=1e-12)
        np.testing.assert_array_equal(left.dead_share, right.dead_share)
        np.testing.assert_allclose(left.input_magnitude, right.input_magnitude, rtol=1e-12)


def test_nothing_is_changed():
    net, inputs = network("tanh"), X.copy()
    before = net.params.copy()
    bp.diagnose(net, inputs)
    np.testing.assert_array_equal(net.params, before)
    np.testing.assert_array_equal(inputs, X)
    assert net._training_state is None


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_report_of_a_healthy_network():
    net = bp.Network([1, 2, 1], "tanh", initializer="zeros")
    net.weights[0][...] = 1.0
    net.weights[1][...] = 0.5
    assert str(bp.diagnose(net, [[1.0]])).splitlines() == [
        "no neuron is in trouble (1 sample)",
        "layer  neurons saturated   dead flat for mean slope mean input  activation",
        "    0        2         0      0     0.0%       0.42          1  tanh",
        "    1        1         0      0     0.0%          1       0.76  identity",
    ]


def test_the_report_names_neurons_shares_and_cures():
    net = bp.Network([1, 12, 2, 1], ["sigmoid", "relu"], initializer="zeros")
    net.biases[0][...] = 15.0
    net.biases[1][...] = -1.0
    lines = repr(bp.diagnose(net, [[1.0], [2.0]])).splitlines()
    assert lines[0] == "neurons IN TROUBLE (2 samples)"
    assert lines[2] == "    0       12        12      0   100.0%    3.1e-07        1.5  sigmoid"
    listed = ", ".join(f"{j} (100%)" for j in range(10))
    assert lines[5] == f"layer 0: 12 of 12 neurons saturated: {listed} and 2 more"
    assert lines[6] == "layer 1: 2 of 2 neurons dead: 0 (100%), 1 (100%)"
    assert lines[7] == "layer 2: all 1 neurons starved: their mean input is 0"
    advice = re.sub(r"\s+", " ", " ".join(lines[8:]))
    assert re.match(r"Saturated neurons: .*glorot_uniform.* Dead neurons: .*he_uniform.* Starved layers: .*", advice)
    assert max(map(len, lines)) <= 150


# --- over the epochs --------------------------------------------------------------------------------------------------


def test_a_watch_keeps_a_report_for_each_epoch():
    net = network("sigmoid", output="softmax", loss="cross_entropy")
    net.biases[0][1] = 30.0
    y = RNG.integers(0, 3, 400)
    watch = bp.DiagnosticWatch(X)
    net.fit(X, y, epochs=3, seed=0, callbacks=[watch])
    assert watch.epochs == [1, 2, 3]
    assert [report.layers[0].saturated.tolist() for report in watch.reports] == [[1]] * 3
    np.testing.assert_array_equal(watch.saturated_share(), [[1 / 8, 0, 0]] * 3)
    np.testing.assert_array_equal(watch.dead_share(), np.zeros((3, 3)))
    lines = repr(watch).splitlines()
    assert lines[0] == "epoch layer  neurons saturated   dead mean slope starved"
    assert len(lines) == 10
    assert re.fullmatch(r" {4}3 {5}0 {8}8 {9}1 {6}0 +0\.\d+ no", lines[7])


def test_a_watch_sees_neurons_die():
    """A step that is much too long pushes all relu neurons below 0, where no gradient brings them back."""
    net = bp.Network([1, 4, 1], "relu", seed=1)
    inputs, targets = np.full((50, 1), 1.0), np.full((50, 1), -5.0)
    net.params = np.full(net.n_params, 0.5)
    watch = bp.DiagnosticWatch(inputs)
    net.fit(inputs, targets, epochs=2, batch_size=None, optimizer=bp.SGD(10.0), callbacks=[watch])
    assert watch.dead_share()[:, 0].tolist() == [1.0, 1.0]


def test_a_watch_may_look_now_and_then_and_at_several_fits():
    net = network("tanh")
    watch = bp.DiagnosticWatch(X, every=2)
    for epochs in (3, 2, 1):
        net.fit(X, np.zeros((400, 3)), epochs=epochs, callbacks=[watch])
    assert watch.epochs == [2, 4, 6]


# --- wrong arguments --------------------------------------------------------------------------------------------------


def error(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_wrong_arguments():
    net = network()
    assert error(TypeError, lambda: bp.diagnose(3, X)) == "`net` must be a bp.Network; got int."
    assert error(ValueError, lambda: bp.diagnose(net, X[:, :5])) == (
        "`X` must have shape (n_samples, 6) to fit the first layer; got (400, 5)."
    )
    assert error(ValueError, lambda: bp.DiagnosticWatch(X, every=0)) == "`every` must be at least 1; got 0."


def test_activations_that_overflow():
    net = network("exp")
    net.biases[1][...] = 1000.0
    assert error(ValueError, lambda: bp.diagnose(net, X)) == (
        "`net` must have finite activations; layer 1 gives NaN or infinity for these `X`. Scale the inputs, or go back "
        "to parameters that are not so large."
    )
