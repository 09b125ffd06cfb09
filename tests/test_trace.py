"""`Network.trace`: against the reference, and the numbers of small systems that are worked by hand."""

import numpy as np
import pytest

import fastbp as bp
from tests import cases, reference
from tests.cases import agrees_with_print
from tests.reference import relative_error
from tests.twins import same_bits, twins

RTOL = 1e-13  # a formula of a few roundings against the exact value


# ---- Against the reference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_every_quantity(case, dtype):
    problem, net = twins(case, np.random.default_rng(31), 5, dtype, weighted=True, margin=1e-4)
    trace = net.trace(problem.X, problem.Y, problem.sample_weight)
    rtol = cases.VALUE_RTOL[dtype]
    assert trace.cost == pytest.approx(reference.cost(*problem.arguments), rel=rtol)
    sample_costs = reference.sample_costs(case, problem.params, problem.X, problem.Y)
    assert relative_error(trace.sample_costs, sample_costs) < rtol
    zs, as_ = reference.forward(case.sizes, case.neuron_activations, problem.params, problem.X)
    errors = reference.deltas(case, problem.params, problem.X, problem.Y)
    gradients = reference.unpack(case.sizes, reference.gradient(*problem.arguments))
    assert len(trace.layers) == len(case.sizes) - 1
    for layer, z, a, delta, (dW, db) in zip(trace.layers, zs, as_, errors, gradients, strict=True):
        assert {getattr(layer, name).dtype.name for name in ("z", "a", "delta", "dW", "db")} == {dtype}
        assert relative_error(layer.z, z) < rtol
        assert relative_error(layer.a, a) < rtol
        assert relative_error(layer.delta, delta) < cases.GRADIENT_RTOL[dtype]
        assert relative_error(layer.dW, dW) < cases.GRADIENT_RTOL[dtype]
        assert relative_error(layer.db, db) < cases.GRADIENT_RTOL[dtype]


def test_agrees_with_predict_and_gradient_for_many_rows():
    case = cases.Case("many", [9, 70, 60, 4], ["gelu", "tanh"], "softmax", "cross_entropy", l2_penalty=0.1)
    net = bp.Network(case.sizes, seed=1, **case.keywords)
    rng = np.random.default_rng(32)
    X, labels = rng.standard_normal((1500, 9)), rng.integers(4, size=1500)
    trace = net.trace(X, labels)
    cost, grad = net.value_and_grad(X, labels)
    assert (trace.cost, trace.layers[-1].a.shape) == (cost, (1500, 4))
    assert relative_error(trace.layers[-1].a, net.predict(X)) < 1e-13
    assert same_bits(np.concatenate([part.ravel() for i in trace.layers for part in (i.dW, i.db)]), grad)
    # Equations 3 and 4: the gradients are means over the rows.
    for layer, a_prev, W in zip(trace.layers, (X, *(i.a for i in trace.layers)), net.weights, strict=False):
        assert relative_error(layer.delta.mean(axis=0), layer.db) < 1e-12
        assert relative_error(a_prev.T @ layer.delta / 1500 + 0.1 * W, layer.dW) < 1e-12


def test_rows_that_lie_further_apart_in_the_kernel():
    net = bp.Network([3, 1024, 2], "tanh", seed=2)
    rng = np.random.default_rng(33)
    X, Y = rng.standard_normal((200, 3)), rng.standard_normal((200, 2))
    trace = net.trace(X, Y)
    for layer, a_prev, W, b in zip(trace.layers, (X, trace.layers[0].a), net.weights, net.biases, strict=True):
        assert relative_error(layer.z, a_prev @ W + b) < RTOL
        assert layer.z.flags.c_contiguous
    assert relative_error(trace.layers[0].a, np.tanh(trace.layers[0].z)) < RTOL


def test_a_trace_is_a_copy():
    net = bp.Network([2, 3, 1], seed=0)
    first = net.trace([[1.0, 2.0]], [[0.0]])
    kept = [layer.z.copy() for layer in first.layers]
    net.params *= 2
    net.trace([[3.0, -2.0]], [[1.0]])
    assert all(same_bits(layer.z, z) for layer, z in zip(first.layers, kept, strict=True))


# ---- Two neurons, one step, by hand --------------------------------------------------------------------------------

X, Y = np.array([[-0.9, 0.1]]), np.array([[1.0]])
LEARNING_RATE = 0.1


def two_neurons():
    """Sizes 2-1-1, hidden tanh, output logistic, quadratic cost."""
    net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid")
    net.params = [0.6, -0.1, 0.3, 0.5, -0.2]
    return net


def test_two_neurons_by_hand():
    net = two_neurons()
    trace = net.trace(X, Y)
    hidden, output = trace.layers
    assert agrees_with_print(hidden.z[0, 0], "-0.25")
    assert agrees_with_print(hidden.a[0, 0], "-0.2449")
    assert agrees_with_print(output.a[0, 0], "0.42")
    assert agrees_with_print(trace.cost, "0.17")
    assert agrees_with_print(output.a[0, 0] - Y[0, 0], "-0.58")
    assert agrees_with_print(output.delta[0, 0], "-0.14")
    assert agrees_with_print(hidden.delta[0, 0], "-0.066")
    steps = -LEARNING_RATE * np.concatenate([hidden.db, hidden.dW[:, 0], output.db, output.dW[:, 0]])
    for step, printed in zip(steps, ("0.0066", "-0.0060", "0.00066", "0.014", "-0.0035"), strict=True):
        assert agrees_with_print(step, printed)


def test_two_neurons_after_one_step():
    net = two_neurons()
    net.fit(X, Y, epochs=1, optimizer=bp.SGD(LEARNING_RATE))
    after = [net.biases[0][0], *net.weights[0][:, 0], net.biases[1][0], net.weights[1][0, 0]]
    for value, printed in zip(after, ("0.3066", "0.5940", "-0.0993", "-0.1859", "0.4965"), strict=True):
        assert agrees_with_print(value, printed)


def test_two_neurons_many_steps_in_a_row():
    """A callback has each step's table; it is the table of the reference's network at that step."""
    net = two_neurons()
    start, tables = net.params.copy(), []
    net.fit(X, Y, epochs=200, optimizer=bp.SGD(LEARNING_RATE), callbacks=[lambda n, _: tables.append(n.trace(X, Y))])
    case = cases.Case("two-neurons", [2, 1, 1], "tanh", "sigmoid")
    expected = reference.train(case, start, X, Y, [[0]] * 200, "SGD", {"learning_rate": LEARNING_RATE})
    assert relative_error(net.params, expected[-1]) < 1e-12
    for step in (0, 1, 10, 199):
        errors = reference.deltas(case, expected[step], X, Y)
        assert relative_error([layer.delta for layer in tables[step].layers], errors) < 1e-11
    assert tables[-1].cost < tables[0].cost


# ---- One weight ----------------------------------------------------------------------------------------------------


def test_one_weight():
    net = bp.Network([1, 1])
    net.params = [0.4, 0.0]
    (layer,) = net.trace([[0.8]], [[0.2]]).layers
    assert layer.a[0, 0] == pytest.approx(0.32, rel=RTOL)
    assert layer.delta[0, 0] == pytest.approx(0.12, rel=RTOL)
    assert layer.dW[0, 0] == pytest.approx(0.096, rel=RTOL)
    net.params = [0.25, 0.0]
    (layer,) = net.trace([[0.8]], [[0.2]]).layers
    assert abs(layer.dW[0, 0]) < 1e-16


# ---- Deltas as amplifiers ------------------------------------------------------------------------------------------

LABEL = np.array([[1.0, 0.0]])


def linear_network(sizes, rng):
    """A network without activation functions, with random weights."""
    net = bp.Network(sizes, activation="identity", seed=0)
    net.params = rng.standard_normal(net.n_params) / 2
    return net


def input_for(net, P):
    """An input that puts the outputs of a linear network at P: least squares, exact where there is a solution."""
    zero = np.zeros((1, net.sizes[0]))
    jacobian = np.array([net.predict(row[None])[0] - net.predict(zero)[0] for row in np.eye(net.sizes[0])])
    return np.linalg.lstsq(jacobian.T, P - net.predict(zero)[0])[0][None]


@pytest.mark.parametrize("sizes", [[2, 2, 2], [2, 2, 4, 3, 2]], ids=str)
@pytest.mark.parametrize(("P", "expected"), [((-1.0, 0.0), (-4.0, 0.0)), ((-0.5, 1.5), (-3.0, 3.0))])
def test_output_deltas(sizes, P, expected):
    """The error sum (P - label)^2 is twice the quadratic cost, and so are its deltas."""
    net = linear_network(sizes, np.random.default_rng(7))
    trace = net.trace(input_for(net, np.array(P)), LABEL)
    assert trace.layers[-1].a[0] == pytest.approx(P, abs=1e-12)
    assert 2 * trace.layers[-1].delta[0] == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("sizes", [[2, 2, 2], [2, 2, 4, 3, 2]], ids=str)
def test_hidden_deltas_are_sums_over_outgoing_weights(sizes):
    net = linear_network(sizes, np.random.default_rng(8))
    layers = net.trace([[0.3, -0.7]], LABEL).layers
    for layer in range(len(layers) - 1):
        for j, delta in enumerate(layers[layer].delta[0]):
            terms = [w * d for w, d in zip(net.weights[layer + 1][j], layers[layer + 1].delta[0], strict=True)]
            assert delta == pytest.approx(sum(terms), rel=1e-12, abs=1e-14)


def test_a_delta_is_an_amplifier():
    """With weight 1/5 and delta -4, a change of 5/4 of the hidden neuron changes the error by -1."""
    net = bp.Network([2, 2, 2], activation="identity")
    net.weights[0][...] = np.eye(2)
    net.weights[1][...] = [[0.2, 0.0], [0.0, 1.0]]
    net.biases[1][...] = 0.0
    x = np.array([[-5.0, 0.0]])  # puts the outputs at (-1, 0)
    hidden, output = net.trace(x, LABEL).layers
    assert 2 * output.delta[0] == pytest.approx((-4.0, 0.0), rel=RTOL)
    assert 2 * hidden.delta[0, 0] == pytest.approx(-4 / 5, rel=RTOL)
    assert 2 * hidden.delta[0, 0] * 5 / 4 == pytest.approx(-1, rel=RTOL)
    tiny = 1e-6
    moved = net.trace(x + np.array([[5 / 4 * tiny, 0.0]]), LABEL).cost - net.trace(x, LABEL).cost
    assert 2 * moved / tiny == pytest.approx(-1, rel=1e-5)


@pytest.mark.parametrize("sizes", [[2, 2, 2], [2, 2, 4, 3, 2]], ids=str)
def test_every_delta_predicts_a_change_of_the_cost(sizes):
    """A small dz of any neuron, made through its bias, changes the cost by delta * dz."""
    net = linear_network(sizes, np.random.default_rng(9))
    x = np.array([[0.3, -0.7]])
    layers = net.trace(x, LABEL).layers
    dz = 1e-6
    for layer, bias in zip(layers, net.biases, strict=True):
        for k in range(len(bias)):
            before = bias[k]
            bias[k] = before + dz
            above = net.loss_value(x, LABEL)
            bias[k] = before - dz
            below = net.loss_value(x, LABEL)
            bias[k] = before
            assert (above - below) / (2 * dz) == pytest.approx(layer.delta[0, k], rel=1e-7, abs=1e-9)
