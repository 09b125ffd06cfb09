"""The oracle on trial: hand-worked numbers, mpmath, complex step, differences, sum over paths, laws."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

from tests import cases, problems, reference
from tests import reference_formulas as formulas
from tests.cases import agrees_with_print
from tests.reference import relative_error

Z = (-30.5, -3.2, -1e-3, 0.0, 1e-9, 0.5, 2.7, 15.0, 30.5)
RTOL = 1e-13  # a formula of a few roundings against the exact value


def complex_step(f, x):
    """f'(x) of a function of one number."""
    return f(np.complex128(complex(x, reference.COMPLEX_STEP))).imag / reference.COMPLEX_STEP


def random_problem(case, n=3, **settings):
    """The same problem in every run."""
    return problems.random_problem(case, np.random.default_rng(7), n, **settings)


# ---- Numbers worked by hand ------------------------------------------------------------------------------

TWO_NEURONS = cases.Case("two-neurons", [2, 1, 1], "tanh", "sigmoid")
TWO_NEURONS_PARAMS = np.array([0.6, -0.1, 0.3, 0.5, -0.2])
TWO_NEURONS_X, TWO_NEURONS_Y = np.array([[-0.9, 0.1]]), np.array([[1.0]])


def test_two_neurons_by_hand():
    data = TWO_NEURONS_PARAMS, TWO_NEURONS_X, TWO_NEURONS_Y
    zs, as_ = reference.forward(TWO_NEURONS.sizes, TWO_NEURONS.neuron_activations, *data[:2])
    assert agrees_with_print(zs[0][0, 0], "-0.25")
    assert agrees_with_print(as_[0][0, 0], "-0.2449")
    assert agrees_with_print(as_[1][0, 0], "0.42")
    assert agrees_with_print(reference.cost(TWO_NEURONS, *data), "0.17")
    assert agrees_with_print(reference.cost_derivative(TWO_NEURONS, as_[1][0], data[2][0])[0], "-0.58")
    hidden, output = reference.deltas(TWO_NEURONS, *data)
    assert agrees_with_print(output[0, 0], "-0.14")
    assert agrees_with_print(hidden[0, 0], "-0.066")
    steps = -0.1 * reference.gradient(TWO_NEURONS, *data)
    for step, printed in zip(steps, ("-0.0060", "0.00066", "0.0066", "-0.0035", "0.014"), strict=True):
        assert agrees_with_print(step, printed)
    (after,) = reference.train(TWO_NEURONS, *data, [[0]], "SGD", {"learning_rate": 0.1})
    for value, printed in zip(after, ("0.5940", "-0.0993", "0.3066", "0.4965", "-0.1859"), strict=True):
        assert agrees_with_print(value, printed)


def test_one_weight():
    network = reference.Network((1, 1), [["identity"]], "quadratic")
    params, X, Y = np.array([0.4, 0.0]), np.array([[0.8]]), np.array([[0.2]])
    zs, _ = reference.forward(network.sizes, network.neuron_activations, params, X)
    assert zs[0][0, 0] == pytest.approx(0.32, rel=RTOL)
    assert reference.deltas(network, params, X, Y)[0][0, 0] == pytest.approx(0.12, rel=RTOL)
    assert reference.gradient(network, params, X, Y)[0] == pytest.approx(0.096, rel=RTOL)
    # With w alone at its optimum the gradient vanishes.
    assert reference.gradient(network, np.array([0.25, 0.0]), X, Y) == pytest.approx([0, 0], abs=1e-16)


@pytest.mark.parametrize(("P", "expected"), [((-1.0, 0.0), (-4.0, 0.0)), ((-0.5, 1.5), (-3.0, 3.0))])
def test_deltas_as_amplifiers_at_the_output(P, expected):
    case = cases.Case("linear", [2, 2, 2], "identity")
    params = reference.pack([(np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2))])
    errors = reference.deltas(case, params, np.array([P]), np.array([[1.0, 0.0]]))
    # The text's error, sum (P - label)**2, is twice the quadratic cost.
    assert 2 * errors[-1][0] == pytest.approx(expected, rel=RTOL)


def test_deltas_as_amplifiers_in_the_hidden_layer():
    case = cases.Case("linear", [2, 2, 2], "identity")
    W_out = np.array([[0.2, 0.7], [0.0, 1.0]])
    params = reference.pack([(np.eye(2), np.zeros(2)), (W_out, np.zeros(2))])
    X = np.linalg.solve(W_out.T, np.array([-1.0, 0.0]))[None]  # puts the outputs at (-1, 0)
    hidden, _ = reference.deltas(case, params, X, np.array([[1.0, 0.0]]))
    assert 2 * hidden[0, 0] == pytest.approx(-4 / 5, rel=RTOL)
    assert 2 * hidden[0, 0] * 5 / 4 == pytest.approx(-1, rel=RTOL)


def test_penalties_by_hand():
    network = reference.Network((2, 1), [["identity"]], "quadratic", l2_penalty=0.5, l1_penalty=0.1)
    data = np.array([3.0, -2.0, 1.0]), np.array([[0.0, 0.0]]), np.array([[0.0]])
    assert reference.cost(network, *data) == pytest.approx(0.5 + 0.25 * 13 + 0.1 * 5, rel=RTOL)
    assert reference.gradient(network, *data) == pytest.approx([1.5 + 0.1, -1.0 - 0.1, 1.0], rel=RTOL)
    at_zero = reference.gradient(network, np.zeros(3), *data[1:])
    assert at_zero == pytest.approx([0, 0, 0], abs=0)


def test_losses_by_hand():
    value = {name: formulas.LOSSES[name].value for name in formulas.LOSSES}
    two, half = np.float64(2.0), np.float64(0.5)
    assert value["quadratic"](two, 5.0) == pytest.approx(4.5, rel=RTOL)
    assert value["absolute"](two, 5.0) == pytest.approx(3, rel=RTOL)
    assert value["huber"](two, 5.0) == pytest.approx(2.5, rel=RTOL)
    assert value["huber"](half, 0.0) == pytest.approx(0.125, rel=RTOL)
    assert value["log_cosh"](two, 5.0) == pytest.approx(np.log(np.cosh(3)), rel=RTOL)
    assert value["log_cosh"](half, 0.0) == pytest.approx(np.log(np.cosh(0.5)), rel=RTOL)
    assert value["quantile"](two, 5.0) == pytest.approx(1.5, rel=RTOL)
    assert value["poisson"](two, 5.0) == pytest.approx(2 - 5 * np.log(2), rel=RTOL)
    assert value["poisson"](np.float64(0.0), 0.0) == 0


# ---- Formulas --------------------------------------------------------------------------------------------

EXACT_ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, 0),
    "leaky_relu": lambda z: z if z > 0 else mpmath.mpf(0.01) * z,
    "elu": lambda z: z if z > 0 else mpmath.exp(z) - 1,
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "gelu": lambda z: z * (1 + mpmath.erf(z / mpmath.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "sine": mpmath.sin,
    "exp": mpmath.exp,
}


def test_every_row_has_its_formula():
    assert {row.name for row in cases.ACTIVATIONS} == set(formulas.ACTIVATIONS) == set(EXACT_ACTIVATIONS)
    assert {row.name for row in cases.LOSSES} == set(formulas.LOSSES) | {"cross_entropy"}
    assert {row.name for row in cases.LOSSES if row.parameters} == set(formulas.WITH_PARAMETER)


@pytest.mark.parametrize("row", cases.ACTIVATIONS, ids=str)
def test_activation_against_mpmath(row):
    with mpmath.workdps(400):  # 1 + erf(-21) needs some 200 digits
        for z in Z:
            exact = EXACT_ACTIVATIONS[row.name](mpmath.mpf(z))
            value = formulas.ACTIVATIONS[row.name].value(np.float64(z))
            assert abs(value - exact) <= RTOL * abs(exact), z
            assert row.low <= value <= row.high


@pytest.mark.parametrize("row", cases.ACTIVATIONS, ids=str)
def test_activation_derivative_against_complex_step(row):
    activation = formulas.ACTIVATIONS[row.name]
    for z in (z for z in Z if z not in row.kinks):
        assert activation.derivative(np.float64(z)) == pytest.approx(complex_step(activation.value, z), rel=RTOL)


def test_conventions_at_kinks():
    slopes = {name: formulas.ACTIVATIONS[name].derivative(0.0) for name in ("relu", "leaky_relu", "elu")}
    assert slopes == {"relu": 0.0, "leaky_relu": 0.01, "elu": 1.0}
    assert formulas.LOSSES["absolute"].derivative(2.0, 2.0) == 0


def test_saturated_sigmoid():
    assert agrees_with_print(1e7 * formulas.ACTIVATIONS["sigmoid"].derivative(15.0), "3.1")


FORMULAS = [(name, None) for name in formulas.LOSSES] + [(row.name, p) for row in cases.LOSSES for p in row.parameters]


@pytest.mark.parametrize(("name", "parameter"), FORMULAS)
def test_loss_derivative_against_complex_step(name, parameter):
    loss = formulas.loss_formula(name, parameter)
    for a in (0.1, 0.9, 1.4, 30.0):
        for y in (0.0, 1.0, 3.0):
            expected = complex_step(lambda a, y=y: loss.value(a, y), a)
            assert loss.derivative(np.float64(a), y) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("name", formulas.LOSSES)
def test_large_numbers_do_not_overflow(name):
    for d in (-1e4, 1e4):
        a, y = (1e4, 0.0) if name == "poisson" else (np.float64(d), 0.0)
        assert np.isfinite(formulas.LOSSES[name].value(a, y))
        assert np.isfinite(formulas.LOSSES[name].derivative(a, y))


def test_softmax():
    z = np.array([1.0, -2.0, 0.5])
    a = formulas.softmax(z)
    assert a == pytest.approx(np.exp(z) / np.exp(z).sum(), rel=RTOL)
    assert formulas.softmax(z + 1000.0) == pytest.approx(a, rel=RTOL)
    assert formulas.log_sum_exp(z + 1000.0) == pytest.approx(1000 + np.log(np.exp(z).sum()), rel=RTOL)


@pytest.mark.parametrize("names", ["softmax", ["tanh", "sigmoid", "softplus"]], ids=str)
def test_jacobian_against_complex_step(names):
    z, h = np.array([1.0, -2.0, 0.5]), reference.COMPLEX_STEP
    columns = [formulas.activate(names, z + 1j * h * e).imag / h for e in np.eye(3)]
    assert relative_error(formulas.jacobian(names, z), np.transpose(columns)) < RTOL


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_cross_entropy_from_logits_is_the_literal_one(output):
    network = cases.Case("logits", [3, 3], output=output, loss="cross_entropy")
    z, y = np.array([1.0, -2.0, 0.5]), np.array([0.2, 0.7, 0.1])
    a = formulas.activate(network.neuron_activations[0], z)
    literal = -np.sum(y * np.log(a) + (output == "sigmoid") * (1 - y) * np.log(1 - a))
    assert reference.sample_cost(network, z, a, y) == pytest.approx(literal, rel=RTOL)
    slopes = formulas.jacobian(network.neuron_activations[0], z)
    literal_delta = reference.cost_derivative(network, a, y) @ slopes
    assert reference.output_delta(network, z, a, y) == pytest.approx(literal_delta, rel=RTOL)
    extreme = np.array([1000.0, -1000.0, 0.0])
    a = formulas.activate(network.neuron_activations[0], extreme)
    assert reference.sample_cost(network, extreme, a, np.array([0.0, 1.0, 0.0])) >= 1000


# ---- Gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_gradient_against_complex_step(case):
    problem = random_problem(case, weighted=True, margin=1e-6)
    expected = reference.complex_step_gradient(*problem.arguments)
    assert relative_error(reference.gradient(*problem.arguments), expected) < cases.COMPLEX_STEP_RTOL


@settings(max_examples=60)
@given(problem=problems.problems(margin=1e-6))
def test_gradient_of_random_networks_against_complex_step(problem):
    expected = reference.complex_step_gradient(*problem.arguments)
    assert relative_error(reference.gradient(*problem.arguments), expected) < cases.COMPLEX_STEP_RTOL


@pytest.mark.parametrize("case", cases.KINKED_CASES, ids=str)
def test_gradient_against_fourth_order_differences(case):
    problem = random_problem(case, 2, margin=cases.KINK_MARGIN)
    expected = reference.fourth_order_gradient(*problem.arguments)
    assert relative_error(reference.gradient(*problem.arguments), expected) < cases.FOURTH_ORDER_RTOL


@pytest.mark.parametrize("case", cases.TINY_CASES, ids=str)
def test_gradient_against_sum_over_paths(case):
    problem = random_problem(case, 2, weighted=True)
    expected = reference.sum_over_paths_gradient(*problem.arguments)
    assert relative_error(reference.gradient(*problem.arguments), expected) < cases.COMPLEX_STEP_RTOL


@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_deltas_of_a_sample_are_its_bias_gradient(case):
    problem = random_problem(case)
    errors = reference.deltas(case, problem.params, problem.X, problem.Y)
    for i in range(len(problem.X)):
        row = slice(i, i + 1)
        grad = reference.gradient(case, problem.params, problem.X[row], problem.Y[row])
        for (_, db), delta in zip(reference.unpack(case.sizes, grad), errors, strict=True):
            assert relative_error(delta[i], db) < cases.COMPLEX_STEP_RTOL


# ---- Laws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_laws_of_the_average(case):
    problem = random_problem(case)
    params, X, Y = problem.params, problem.X, problem.Y

    def pair(rows, sample_weight=None):
        arguments = case, params, X[rows], Y[rows], sample_weight
        return np.append(reference.gradient(*arguments), reference.cost(*arguments))

    batch = pair([0, 1, 2])
    assert relative_error(np.mean([pair([i]) for i in range(3)], axis=0), batch) < RTOL
    assert relative_error(pair([2, 0, 1]), batch) < RTOL
    assert relative_error(pair([0, 1, 2], [1.0, 2.0, 1.0]), pair([0, 1, 1, 2])) < RTOL
    assert relative_error(pair([0, 1, 2], [3.0, 0.0, 3.0]), pair([0, 2])) < RTOL


def test_pack_and_unpack_are_inverse():
    params = np.arange(float(reference.count_parameters([4, 3, 2])))
    layers = reference.unpack([4, 3, 2], params)
    assert [(W.shape, b.shape) for W, b in layers] == [((4, 3), (3,)), ((3, 2), (2,))]
    assert layers[0][0][1, 0] == 3  # row-major
    assert np.array_equal(reference.pack(layers), params)


def test_relative_error_notices_shapes_and_nan():
    assert relative_error([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1, rel=RTOL)
    assert relative_error([0.5], [0.0]) == pytest.approx(50, rel=RTOL)
    assert not relative_error([np.nan], [1.0]) < 1
    with pytest.raises(AssertionError):
        relative_error(np.zeros((2, 1)), np.zeros(2))
