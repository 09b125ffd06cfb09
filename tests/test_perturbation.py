"""Gradients by perturbation against the oracles, and `check_gradient` against gradients that are right and wrong."""

import tracemalloc

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.derivatives import moves
from fastbp.kernels.roots import perturbation as kernel
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.terminal import terminal
from tests.twins import network, same_bits, twins

RTOL = {"forward": cases.FORWARD_DIFFERENCE_RTOL, "central": cases.CENTRAL_DIFFERENCE_RTOL}
N_ROWS = 3
SMALL_CASES = [case for case in cases.ALL_CASES if case.n_params < 200]

cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
ramp = bp.Activation("ramp", numba.njit(lambda z: max(z, 0.0)), numba.njit(lambda z: 1.0 if z > 0 else 0.0))
quartic = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))


def by_differences(net, problem, scheme="forward", **settings):
    return bp.finite_difference_gradient(
        net, problem.X, problem.Y, scheme, sample_weight=problem.sample_weight, **settings
    )


def digits(dtype="float64", n=300):
    """A network of three layers with labels and sample weights; 1200 rows are several blocks."""
    rng = np.random.default_rng(5)
    net = bp.Network([90, 12, 11, 4], ["tanh", "silu"], "softmax", "cross_entropy", dtype=dtype, seed=1, l2_penalty=0.1)
    X, labels = rng.standard_normal((n, 90)).astype(dtype), rng.integers(4, size=n)
    return net, X, labels, rng.uniform(0.5, 2, n).astype(dtype)


def interrupt_after(monkeypatch, n_calls):
    """Ctrl-C between two calls of the kernel, which are made short."""
    monkeypatch.setattr(moves, "SECONDS_OF_MOVES", 1e-5)
    run, calls = kernel.run, []

    def interrupted(task, slot, *arguments):
        if slot == kernel.LEADER:
            calls.append(task)
            if len(calls) > n_calls:
                raise KeyboardInterrupt
        return run(task, slot, *arguments)

    monkeypatch.setattr(kernel, "run", interrupted)


# ---- Weight perturbation -------------------------------------------------------------------------------------------


def test_two_neurons_by_hand():
    net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid")
    net.params = [0.6, -0.1, 0.3, 0.5, -0.2]
    result = bp.finite_difference_gradient(net, [[-0.9, 0.1]], [[1.0]])
    assert result.n_passes == 6
    assert cases.agrees_with_print(result.cost, "0.17")
    steps = -0.1 * result.gradient
    for step, printed in zip(steps, ["-0.0060", "0.00066", "0.0066", "-0.0035", "0.014"], strict=True):
        assert cases.agrees_with_print(step, printed)
    assert bp.finite_difference_gradient(net, [[-0.9, 0.1]], [[1.0]], scheme="central").n_passes == 10
    assert repr(result) == "<FiniteDifferenceResult: 5 parameters, 6 passes, cost 0.168156>"


@pytest.mark.parametrize("reuse_layers", [False, True], ids=["whole", "reuse"])
@pytest.mark.parametrize("case", SMALL_CASES, ids=str)
def test_reference(case, reuse_layers):
    problem, net = twins(case, np.random.default_rng(21), N_ROWS, weighted=True, margin=1e-4)
    expected = reference.gradient(*problem.arguments)
    for scheme, rtol in RTOL.items():
        result = by_differences(net, problem, scheme, reuse_layers=reuse_layers)
        assert relative_error(result.gradient, expected) < rtol
        assert result.cost == pytest.approx(reference.cost(*problem.arguments), rel=1e-12)


@pytest.mark.parametrize("case", [case for case in cases.NETWORK_CASES if case.smooth and case.n_params < 100], ids=str)
def test_complex_step(case):
    problem, net = twins(case, np.random.default_rng(22), N_ROWS)
    expected = reference.complex_step_gradient(*problem.arguments)
    assert relative_error(by_differences(net, problem, "central").gradient, expected) < RTOL["central"]


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_several_blocks_labels_weights_and_strides(scheme):
    net, X, labels, weights = digits(n=1200)
    params, kept = net.params.copy(), X.copy()
    wide = np.zeros((1200, 190))
    wide[:, 5:95], wide[:, 100:] = X, 7.0
    _, expected = net.value_and_grad(X, labels, sample_weight=weights)
    results = [
        bp.finite_difference_gradient(net, inputs, labels, scheme, reuse_layers=True, sample_weight=weights).gradient
        for inputs in (X, wide[:, 5:95], np.asfortranarray(X))
    ]
    assert relative_error(results[0], expected) < RTOL[scheme]
    assert relative_error(results[1], results[0]) < 1e-9
    assert same_bits(results[0], results[2])
    assert same_bits(X, kept)
    assert same_bits(net.params, params)


def test_reusing_layers_agrees_with_whole_passes():
    net, X, labels, weights = digits()
    whole, reused = (
        bp.finite_difference_gradient(net, X, labels, "central", reuse_layers=reuse, sample_weight=weights)
        for reuse in (False, True)
    )
    assert relative_error(reused.gradient, whole.gradient) < 1e-9
    assert same_bits(reused.epsilon, whole.epsilon)
    assert reused.cost == whole.cost
    assert reused.n_passes == whole.n_passes == 2 * net.n_params


@pytest.mark.parametrize("reuse_layers", [False, True], ids=["whole", "reuse"])
def test_number_of_threads_changes_no_bit(reuse_layers):
    net, X, labels, _ = digits(n=100)
    results = [
        bp.finite_difference_gradient(net, X, labels, reuse_layers=reuse_layers, n_threads=n).gradient
        for n in (1, 2, 3)
    ]
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


def test_number_of_calls_changes_no_bit(monkeypatch):
    net, X, labels, _ = digits(n=100)
    expected = bp.finite_difference_gradient(net, X, labels).gradient
    monkeypatch.setattr(moves, "SECONDS_OF_MOVES", 1e-5)
    assert same_bits(bp.finite_difference_gradient(net, X, labels, n_threads=2).gradient, expected)


def test_float32_networks_are_measured_in_float64():
    net, X, labels, weights = digits("float32", n=50)
    twin = digits(n=50)[0]
    twin.params = net.params.astype(np.float64)
    _, expected = twin.value_and_grad(X.astype(np.float64), labels, sample_weight=weights.astype(np.float64))
    result = bp.finite_difference_gradient(net, X, labels, "central", sample_weight=weights)
    assert result.gradient.dtype == np.float64
    assert relative_error(result.gradient, expected) < RTOL["central"]
    rough = bp.finite_difference_gradient(net, X, labels, "central", dtype="float32", sample_weight=weights)
    assert rough.gradient.dtype == np.float64
    assert 1e-6 < relative_error(rough.gradient, expected) < 1e-2
    assert net.params.dtype == np.float32


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("reuse_layers", [False, True], ids=["whole", "reuse"])
def test_own_activation_and_loss(dtype, reuse_layers):
    rng = np.random.default_rng(2)
    net = bp.Network([3, 5, 4, 2], [[(cube, 2), ("tanh", 3)], "tanh"], cube, quartic, dtype=dtype, seed=3)
    X, Y = rng.standard_normal((6, 3)).astype(dtype), rng.standard_normal((6, 2)).astype(dtype)
    result = bp.finite_difference_gradient(net, X, Y, "central", reuse_layers=reuse_layers)
    assert relative_error(result.gradient, net.value_and_grad(X, Y)[1]) < {"float64": 1e-7, "float32": 1e-4}[dtype]
    assert bp.check_gradient(net, X, Y).ok


def test_epsilon_is_the_step_that_was_taken():
    net, X, labels, _ = digits(n=5)
    default = bp.finite_difference_gradient(net, X, labels).epsilon
    assert np.allclose(default, 2.0**-26 * np.maximum(1, np.abs(net.params)), rtol=1e-7)
    assert np.array_equal(default, (net.params + default) - net.params)
    given = bp.finite_difference_gradient(net, X, labels, "central", epsilon=1e-3).epsilon
    assert np.allclose(given, 1e-3)


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_only_progress_shows_a_bar(capsys, scheme):
    rng = np.random.default_rng(2)
    net = bp.Network([3, 5, 1], "tanh", seed=0)
    X, Y = rng.standard_normal((3000, 3)), rng.standard_normal((3000, 1))  # several blocks of rows
    with terminal() as stream:
        quiet = bp.finite_difference_gradient(net, X, Y, scheme)
        assert stream.getvalue() == ""
        shown = bp.finite_difference_gradient(net, X, Y, scheme, progress=True)
    assert capsys.readouterr() == ("", "")
    assert "100%" in stream.getvalue().split("\r")[-1]
    assert same_bits(shown.gradient, quiet.gradient)


@pytest.mark.parametrize("reuse_layers", [False, True], ids=["whole", "reuse"])
def test_infinite_cost_has_no_gradient(reuse_layers):
    net = bp.Network([1, 1], output="exp", loss="poisson", initializer="zeros")
    net.weights[0][...] = 1.0
    result = bp.finite_difference_gradient(net, [[800.0]], [[1.0]], reuse_layers=reuse_layers)
    assert not np.isfinite(result.cost)
    assert np.isnan(result.gradient).all()
    assert not bp.check_gradient(net, [[800.0]], [[1.0]]).ok


def test_memory_is_a_few_vectors_and_blocks():
    net, X, labels, _ = digits(n=100)
    bp.finite_difference_gradient(net, X, labels, n_threads=2)
    tracemalloc.start()
    try:
        bp.finite_difference_gradient(net, X, labels, n_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the parameters, moved, and what came of it; blocks of every layer's values for two threads and the base
    allowed = 8 * (12 * net.n_params + 4 * len(X) * sum(net.sizes)) + 50_000
    one_output_each = 8 * net.n_params * len(X)
    assert peak < allowed < one_output_each


def test_interruption_leaves_the_network_alone(monkeypatch):
    net, X, labels, _ = digits()
    params = net.params.copy()
    interrupt_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        bp.finite_difference_gradient(net, X, labels, n_threads=2)
    assert same_bits(net.params, params)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scheme": "centre"},
            "`scheme` must be 'forward' or 'central'; got 'centre'. Did you mean 'central'? Known names: forward, "
            "central.",
        ),
        ({"scheme": ["x"]}, "`scheme` must be 'forward' or 'central'; got ['x']. Known names: forward, central."),
        ({"epsilon": 0.0}, "`epsilon` must be above 0; got 0.0."),
        (
            {"epsilon": 1e-20},
            "`epsilon` must be large enough to change every parameter in float64; 1e-20 is lost in a parameter of size "
            "0.6. Leave it out for steps that grow with the parameters.",
        ),
        ({"dtype": "int8"}, "`dtype` must be 'float32' or 'float64'; got 'int8'."),
        ({"n_threads": 0}, "`n_threads` must be at least 1; got 0."),
        ({"X": [[1.0]]}, "`X` must have shape (n_samples, 2) to fit the first layer; got (1, 1)."),
    ],
    ids=["scheme", "no_name", "epsilon", "lost_epsilon", "dtype", "n_threads", "X"],
)
def test_wrong_arguments_of_differences(settings, message):
    net = bp.Network([2, 1, 1], activation="tanh")
    net.params = [0.6, -0.1, 0.3, 0.5, -0.2]
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        bp.finite_difference_gradient(net, **({"X": [[-0.9, 0.1]], "Y": [[1.0]]} | settings))
    assert str(caught.value) == message


# ---- check_gradient ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_right_gradients_pass(case, dtype):
    problem, net = twins(case, np.random.default_rng(23), 20, dtype, weighted=True)
    report = bp.check_gradient(net, problem.X, problem.Y, problem.sample_weight)
    assert report.ok
    assert report.max_error < {"float64": 1e-8, "float32": 1e-4}[dtype]
    assert [layer.n_params for layer in report.layers] == [
        (fan_in + 1) * fan_out for fan_in, fan_out in zip(case.sizes, case.sizes[1:], strict=False)
    ]


def test_random_networks_pass():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        case = problems.random_network_case(rng)
        problem = problems.random_problem(case, rng, 3, weighted=True)
        net = network(case, problem.params)
        report = bp.check_gradient(net, problem.X, problem.Y, problem.sample_weight)
        assert report.ok, f"seed {seed}, {case}:\n{report}"


@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_any_wrong_derivative_is_found(case):
    problem, net = twins(case, np.random.default_rng(24), 4, margin=1e-4)
    _, grad = net.value_and_grad(problem.X, problem.Y)
    for p in range(0, net.n_params, 1 + net.n_params // 10):
        wrong = grad.copy()
        wrong[p] += 1e-4 * np.abs(grad).max()
        report = bp.check_gradient(net, problem.X, problem.Y, gradient=wrong)
        assert not report.ok
        assert report.max_error > 1e-5


def test_the_sign_of_a_whole_layer_is_found(monkeypatch):
    net, X, labels, _ = digits(n=20)
    value_and_grad = net._passes.value_and_grad

    def wrong(*data, **settings):
        cost, grad = value_and_grad(*data, **settings)
        grad[: 91 * 12] *= -1
        return cost, grad

    monkeypatch.setattr(net._passes, "value_and_grad", wrong)
    report = bp.check_gradient(net, X, labels)
    assert not report.ok
    assert [layer.weight_error > 0.1 for layer in report.layers] == [True, False, False]
    assert [layer.bias_error > 0.1 for layer in report.layers] == [True, False, False]


def test_nan_in_the_gradient_is_found():
    net, X, labels, _ = digits(n=5)
    report = bp.check_gradient(net, X, labels, gradient=np.full(net.n_params, np.nan))
    assert not report.ok
    assert report.max_error == np.inf


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_parameters_at_kinks_are_left_out(activation):
    net = bp.Network([2, 3, 1], activation, initializer="zeros")
    net.weights[0][...] = [[1.0, -1.0, 0.5], [0.5, 2.0, -1.0]]
    net.weights[1][...] = [[1.0], [2.0], [3.0]]
    # with x = 0 every hidden z is exactly 0: its bias is at a kink, its weights do not move it
    report = bp.check_gradient(net, [[0.0, 0.0]], [[-1.0]])
    assert report.ok
    assert [layer.n_at_kinks for layer in report.layers] == [3, 0]
    # one z within a step of 0: its two weights and its bias are at the kink, those of the other neurons are not
    X = [[1.0, -2.0 + 1e-7]]
    report = bp.check_gradient(net, X, [[-1.0]])
    assert report.ok
    assert [layer.n_at_kinks for layer in report.layers] == [3, 0]
    assert [layer.n_checked for layer in report.layers] == [9, 4]
    # and yet a mistake in one of those is seen
    _, grad = net.value_and_grad(X, [[-1.0]])
    grad[2] *= 1.01
    report = bp.check_gradient(net, X, [[-1.0]], gradient=grad)
    assert not report.ok
    assert report.worst.startswith("layer 0, W[0, 2]: gradient ")


def test_a_kink_of_a_later_layer_is_recognised():
    net = bp.Network([1, 1, 1, 1], ["tanh", "relu"], initializer="zeros")
    net.weights[0][...], net.weights[1][...], net.weights[2][...] = 0.5, 1.0, 2.0
    net.biases[1][...] = -np.tanh(0.5) + 1e-7
    report = bp.check_gradient(net, [[1.0]], [[-1.0]])
    assert report.ok
    assert [layer.n_at_kinks for layer in report.layers] == [2, 2, 0]


@pytest.mark.parametrize(
    ("settings", "y", "n_at_kinks"),
    [
        ({"loss": "absolute"}, 1e-7, 3),
        ({"loss": "huber"}, 1.0, 3),
        ({"l1_penalty": 0.1}, 2.0, 2),
        ({"output": ramp}, 2.0, 3),
        ({"output": "elu"}, 2.0, 3),
    ],
    ids=["absolute", "huber", "l1", "own", "elu"],
)
def test_other_kinks_are_recognised(settings, y, n_at_kinks):
    net = bp.Network([2, 1], initializer="zeros", **settings)
    net.weights[0][...] = 1e-7
    X = [[1.0, -1.0]]
    report = bp.check_gradient(net, X, [[y]], tolerance=1e-8)
    assert report.ok
    assert report.layers[0].n_at_kinks == n_at_kinks
    net.weights[0][...] = [[1.0], [-0.5]]
    _, grad = net.value_and_grad(X, [[3.0]])
    report = bp.check_gradient(net, X, [[3.0]], gradient=1.01 * grad)
    assert not report.ok
    assert report.layers[0].n_at_kinks == 0


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(
    ("loss", "parameter", "kink"),
    [
        (row.name, parameter, kink)
        for row in cases.LOSSES
        for parameter in (row.default, *row.parameters)
        for kink in row.kinks_with(parameter)
    ],
)
def test_a_sample_on_the_kink_of_a_loss(loss, parameter, kink, dtype):
    net = bp.Network([2, 3, 2], "tanh", loss=loss, loss_parameter=parameter, seed=0, dtype=dtype)
    X = np.random.default_rng(0).normal(size=(1, 2)).astype(dtype)
    Y = net.predict(X) - np.asarray(kink, dtype)
    assert bp.check_gradient(net, X, Y, tolerance=1e-7 if dtype == "float64" else None).ok
    # away from the kink nothing is left out, and a mistake is seen
    _, grad = net.value_and_grad(X, Y - np.asarray(0.1, dtype))
    report = bp.check_gradient(net, X, Y - np.asarray(0.1, dtype), gradient=1.01 * grad)
    assert not report.ok
    assert sum(layer.n_at_kinks for layer in report.layers) == 0


@pytest.mark.parametrize("loss", ["absolute", "quantile"])
def test_a_sample_on_the_kink_in_float32_only(loss):
    """Rounding puts each output on some side of the kink in float64; few parameters move it across in a short step."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1, 20)).astype("float32")
    for seed in range(5):
        net = bp.Network([20, 60, 30, 5], "tanh", loss=loss, seed=seed, dtype="float32")
        assert bp.check_gradient(net, X, net.predict(X)).ok
    Y = net.predict(X) - rng.uniform(0.5, 1, (1, 5)).astype("float32")
    _, grad = net.value_and_grad(X, Y)
    report = bp.check_gradient(net, X, Y, gradient=1.01 * grad)
    assert not report.ok
    assert sum(layer.n_at_kinks for layer in report.layers) <= 3  # of 3245: errors of the tolerance itself


def own_absolute(slope):
    """The absolute loss with a derivative of one's own at its kink."""
    derivative = numba.njit(lambda a, y: 1.0 if a > y else (-1.0 if a < y else slope))
    return bp.Loss("own", numba.njit(lambda a, y: abs(a - y)), derivative)


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_a_sample_on_the_kink_of_a_loss_of_ones_own(slope, dtype):
    loss = own_absolute(slope)
    for seed in range(4):
        net = bp.Network([3, 4, 2], "tanh", loss=loss, seed=seed, dtype=dtype)
        X = np.random.default_rng(seed).normal(size=(1, 3)).astype(dtype)
        Y = net.predict(X)
        assert bp.check_gradient(net, X, Y).ok
        too_steep = np.full(net.n_params, 5.0)  # for either side
        assert not bp.check_gradient(net, X, Y, gradient=too_steep).ok


leaky = bp.Activation("leaky", numba.njit(lambda z: max(z, 0.01 * z)), numba.njit(lambda z: 1.0 if z > 0 else 0.01))


KINKED = [row.name for row in cases.ACTIVATIONS if row.kinks]


@pytest.mark.parametrize("activation", [*KINKED, ramp, leaky], ids=[*KINKED, "ramp", "leaky"])
def test_some_samples_on_the_kink_of_an_activation(activation):
    net = bp.Network([2, 3, 2], activation, seed=0)
    # the gradient at a kink is the slope on one side, where the cost is curved by the other samples
    X = np.concatenate([np.zeros((2, 2)), np.ones((2, 2))])
    report = bp.check_gradient(net, X, np.ones((4, 2)), tolerance=1e-8)
    assert report.ok
    assert report.layers[0].n_at_kinks == 3
    _, grad = net.value_and_grad(X, np.ones((4, 2)))
    grad[:6] *= 1.01  # the weights do not move the samples on the kink
    assert not bp.check_gradient(net, X, np.ones((4, 2)), gradient=grad).ok


def test_large_networks_are_sampled():
    net, X, labels, _ = digits(n=20)
    report = bp.check_gradient(net, X, labels, max_params=100, n_threads=2)
    assert report.ok
    assert sum(layer.n_checked for layer in report.layers) == 100
    assert report == bp.check_gradient(net, X, labels, max_params=100, n_threads=1)
    assert report != bp.check_gradient(net, X, labels, max_params=100, seed=1)
    full = bp.check_gradient(net, X, labels, max_params=None)
    assert sum(layer.n_checked for layer in full.layers) == net.n_params


def test_report_is_a_table():
    net = bp.Network([2, 3, 1], "relu", initializer="zeros")
    net.weights[1][...] = 1.0
    _, grad = net.value_and_grad([[0.0, 0.0]], [[1.0]])
    grad[-1] = 0.0
    report = bp.check_gradient(net, [[0.0, 0.0]], [[1.0]], gradient=grad)
    assert repr(report) == str(report)
    assert str(report).splitlines() == [
        "gradient DISAGREES with differences: largest error 1.0e+00, tolerance 1.0e-06",
        "13 of 13 parameters checked, 3 of them left out at kinks",
        "largest error at layer 1, b[0]: gradient 0, difference -1",
        "layer parameters  checked at kinks  error dW  error db",
        "    0          9        9        3   0.0e+00   0.0e+00",
        "    1          4        4        0   0.0e+00   1.0e+00",
    ]
    assert str(bp.check_gradient(net, [[0.0, 0.0]], [[1.0]])).startswith("gradient agrees with differences: largest")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tolerance": -1}, ValueError, "`tolerance` must be above 0; got -1."),
        ({"max_params": 0}, ValueError, "`max_params` must be at least 1; got 0."),
        ({"seed": -1}, ValueError, "`seed` must be at least 0; got -1."),
        ({"gradient": np.zeros(2)}, ValueError, "`gradient` must have shape (3,), as `net.params` has; got (2,)."),
        (
            {"gradient": ["a"] * 3},
            TypeError,
            "`gradient` must hold real numbers; got dtype <U1. Convert it with numpy.asarray(gradient, 'float64') if "
            "it holds numbers, and encode anything else as numbers.",
        ),
    ],
    ids=["tolerance", "max_params", "seed", "shape", "type"],
)
def test_wrong_arguments_of_check(settings, error, message):
    net = bp.Network([2, 1])
    with pytest.raises(error) as caught:
        bp.check_gradient(net, [[1.0, 2.0]], [[1.0]], **settings)
    assert str(caught.value) == message


# ---- Node perturbation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_neurons_against_reference_and_trace(case):
    problem, net = twins(case, np.random.default_rng(25), N_ROWS, margin=1e-4)
    found = bp.node_perturbation(net, problem.X, problem.Y)
    expected = reference.deltas(case, problem.params, problem.X, problem.Y)
    for errors, deltas, layer in zip(found, expected, net.trace(problem.X, problem.Y).layers, strict=True):
        assert errors.shape == layer.delta.shape
        assert relative_error(errors, deltas) < cases.CENTRAL_DIFFERENCE_RTOL
        assert relative_error(errors, layer.delta) < cases.CENTRAL_DIFFERENCE_RTOL


def test_neurons_of_several_blocks_and_threads():
    net, X, labels, _ = digits("float32", n=1200)
    deltas = [layer.delta for layer in net.trace(X, labels).layers]
    results = [bp.node_perturbation(net, X, labels, n_threads=n) for n in (1, 2)]
    for first, second, delta in zip(*results, deltas, strict=True):
        assert first.flags.c_contiguous
        assert first.dtype == np.float64
        assert same_bits(first, second)
        assert relative_error(first, delta) < cases.GRADIENT_RTOL["float32"]


def test_step_of_neurons():
    net = bp.Network([1, 1], initializer="zeros", loss="huber")
    # with a - y = 0.5, a step of 1 passes the threshold upwards only: (C(1.5) - C(-0.5)) / 2 = (1 - 0.125) / 2
    assert bp.node_perturbation(net, [[1.0]], [[-0.5]], epsilon=1.0)[0] == pytest.approx(0.4375)
    with pytest.raises(ValueError, match=r"^`epsilon` must be above 0; got -1\.0\.$"):
        bp.node_perturbation(net, [[1.0]], [[-0.5]], epsilon=-1.0)


# ---- Random weight search ------------------------------------------------------------------------------------------


def line(dtype="float64", **settings):
    rng = np.random.default_rng(6)
    X = rng.standard_normal((40, 2)).astype(dtype)
    Y = (X @ [[1.0], [-2.0]] + 0.5).astype(dtype)
    return bp.Network([2, 3, 1], activation="tanh", dtype=dtype, seed=0, **settings), X, Y


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_search_learns_slowly(dtype):
    net, X, Y = line(dtype)
    result = bp.random_weight_search(net, X, Y, 20_000, scale=0.05, seed=0)
    assert result.loss[-1] < 0.3 * result.loss[0]
    assert result.loss[-1] == net.loss_value(X, Y)
    assert result.steps[0] == 0
    assert result.steps[-1] == 20_000
    assert result.loss.shape == result.steps.shape == (101,)
    assert 0 < result.n_accepted < 20_000
    assert result.n_passes == 40_000
    assert repr(result).startswith(f"<RandomSearchResult: {result.n_accepted} of 20000 steps kept, loss ")


def test_seed_decides_the_search(monkeypatch):
    nets = [line()[0] for _ in range(4)]
    _, X, Y = line()
    results = [bp.random_weight_search(nets[0], X, Y, 1000, seed=7)]
    results.append(bp.random_weight_search(nets[1], X, Y, 1000, seed=7, record_every=333))
    monkeypatch.setattr(moves, "SECONDS_OF_MOVES", 1e-5)
    results.append(bp.random_weight_search(nets[2], X, Y, 1000, seed=7))
    bp.random_weight_search(nets[3], X, Y, 1000, seed=8)
    assert list(results[1].steps) == [0, 333, 666, 999, 1000]
    assert same_bits(nets[0].params, nets[1].params)
    assert same_bits(nets[0].params, nets[2].params)
    assert not same_bits(nets[0].params, nets[3].params)
    assert results[0].n_accepted == results[1].n_accepted == results[2].n_accepted


def test_search_step_by_step():
    """The rule itself, in NumPy, with the same random numbers; penalties count."""
    net, X, Y = line(l2_penalty=0.3, l1_penalty=0.1)
    twin = line(l2_penalty=0.3, l1_penalty=0.1)[0]
    result = bp.random_weight_search(net, X, Y, 200, scale=0.2, seed=3)
    parameters, samples, numbers = np.random.default_rng(3).spawn(3)
    kept = 0
    for p, i, move in zip(
        parameters.integers(twin.n_params, size=200),
        samples.integers(len(X), size=200),
        0.2 * numbers.standard_normal(200),
        strict=True,
    ):
        before, params = twin.loss_value(X[i : i + 1], Y[i : i + 1]), twin.params.copy()
        twin.params[p] += move
        if twin.loss_value(X[i : i + 1], Y[i : i + 1]) < before:
            kept += 1
        else:
            twin.params = params
    assert np.allclose(net.params, twin.params, rtol=0, atol=1e-14)
    assert result.n_accepted == kept


def test_interrupted_search_is_whole(monkeypatch):
    net, X, Y = line()
    before = net.params.copy()
    interrupt_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        bp.random_weight_search(net, X, Y, 100_000, seed=0)
    assert not same_bits(net.params, before)
    assert np.isfinite(net.params).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "`n_steps` must be at least 1; got 0."),
        ({"scale": 0}, "`scale` must be above 0; got 0."),
        ({"seed": -2}, "`seed` must be at least 0; got -2."),
        ({"record_every": 0}, "`record_every` must be at least 1; got 0."),
    ],
    ids=["n_steps", "scale", "seed", "record_every"],
)
def test_wrong_arguments_of_search(settings, message):
    net, X, Y = line()
    before = net.params.copy()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        bp.random_weight_search(net, X, Y, **({"n_steps": 10} | settings))
    assert str(caught.value) == message
    assert same_bits(net.params, before)
