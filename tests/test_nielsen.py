"""The first and the improved class of Nielsen's text beside a plain per-sample reading of them."""

import copy
import os
import pickle
import random

import numpy as np
import pytest

import fastbp as bp
import fastbp.nielsen as network
import fastbp.nielsen2 as network2
from bench import published
from fastbp.training.steps import Steps

MNIST = os.environ.get("FASTBP_MNIST")


def samples(n, sizes, seed=0):
    """A list of (x, y) columns, and the same as (x, label)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, sizes[-1], n)
    xs = [rng.random((sizes[0], 1)) for _ in range(n)]
    return [(x, np.eye(sizes[-1])[:, [j]]) for x, j in zip(xs, labels, strict=True)], list(zip(xs, labels, strict=True))


def seeded(make, *arguments, **named):
    random.seed(1)
    np.random.seed(1)
    return make(*arguments, **named)


def assert_same_parameters(net, twin, rtol=1e-9):
    for ours, theirs in zip([*net.weights, *net.biases], [*twin.weights, *twin.biases], strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


# --- the same numbers as a plain reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "n", "mini_batch_size"),
    [
        ([5, 4, 3], 23, 10),
        ([5, 4, 3], 20, 1),
        ([5, 4, 3], 20, 20),
        ([5, 4, 3], 20, 50),
        ([3, 2], 7, 2),
        ([8, 7, 6, 5, 4], 31, 8),
    ],
)
def test_the_first_form_ends_with_the_published_weights(sizes, n, mini_batch_size, capsys):
    results = []
    for make in (network.Network, published.First):
        net = seeded(make, sizes)
        training_data, test_data = samples(n, sizes)
        assert net.SGD(training_data, 4, mini_batch_size, 3.0, test_data=test_data) is None
        net.SGD(training_data, 1, mini_batch_size, 0.5)
        results.append((net, training_data, random.random(), np.random.random(), capsys.readouterr().out))
    (net, ours, *after), (twin, theirs, *expected) = results
    assert_same_parameters(net, twin)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(ours, theirs, strict=True))  # shuffled alike, in place
    assert after == expected  # the next random numbers, and what was printed


@pytest.mark.parametrize("cost", ["CrossEntropyCost", "QuadraticCost"])
@pytest.mark.parametrize("lmbda", [0.0, 2.5])
def test_the_improved_form_ends_with_the_published_weights(cost, lmbda, capsys):
    sizes, results = [20, 12, 10], []
    for module, make in ((network2, network2.Network), (published, published.Improved)):
        net = seeded(make, sizes, cost=getattr(module, cost))
        (training_data, _), (_, evaluation_data) = samples(43, sizes), samples(31, sizes, seed=1)
        monitors = ("evaluation_cost", "evaluation_accuracy", "training_cost", "training_accuracy")
        flags = {f"monitor_{name}": True for name in monitors}
        records = net.SGD(training_data, 3, 10, 0.5, lmbda=lmbda, evaluation_data=evaluation_data, **flags)
        results.append((net, records, capsys.readouterr().out))
    (net, ours, text), (twin, theirs, expected) = results
    assert_same_parameters(net, twin)
    for found, wanted in zip(ours, theirs, strict=True):
        assert len(found) == 3
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert [line.split(":")[0] for line in text.splitlines()] == [line.split(":")[0] for line in expected.splitlines()]
    assert [line for line in text.splitlines() if "/" in line] == [
        line for line in expected.splitlines() if "/" in line
    ]


def test_initial_weights_are_the_published_ones():
    sizes = [6, 5, 4]
    for net, twin in (
        (seeded(network.Network, sizes), seeded(published.First, sizes)),
        (seeded(network2.Network, sizes), seeded(published.Improved, sizes)),
        (seeded(network.Network, sizes, network.QuadraticCost), seeded(published.Improved, sizes)),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(net.weights, twin.weights, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(net.biases, twin.biases, strict=True))
    np.random.seed(3)
    net.large_weight_initializer()
    np.random.seed(3)
    twin.large_weight_initializer()
    assert all(np.array_equal(a, b) for a, b in zip(net.weights, twin.weights, strict=True))


@pytest.mark.parametrize("make", [network.Network, network2.Network])
def test_a_step_and_a_gradient_are_the_published_ones(make):
    sizes = [6, 5, 4]
    twin = seeded({network.Network: published.First, network2.Network: published.Improved}[make], sizes)
    net = seeded(make, sizes)
    batch, _ = samples(7, sizes)
    for found, wanted in zip(net.backprop(*batch[0]), twin.backprop(*batch[0]), strict=True):
        assert isinstance(found, list)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
            assert ours.shape == theirs.shape
    net.update_mini_batch(batch, 3.0)
    twin.update_mini_batch(batch, 3.0)
    assert_same_parameters(net, twin, rtol=1e-13)
    net.update_mini_batch(batch, 0.5, 2.0, 70)
    twin.update_mini_batch(batch, 0.5, 1 - 0.5 * 2.0 / 70)
    assert_same_parameters(net, twin, rtol=1e-13)
    np.testing.assert_allclose(net.feedforward(batch[0][0]), twin.feedforward(batch[0][0]), rtol=1e-14)


def test_costs_and_accuracies_are_the_published_ones():
    sizes = [20, 12, 10]
    training_data, evaluation_data = samples(43, sizes)
    for name in ("CrossEntropyCost", "QuadraticCost"):
        net = seeded(network2.Network, sizes, cost=getattr(network2, name))
        twin = seeded(published.Improved, sizes, cost=getattr(published, name))
        assert net.accuracy(evaluation_data) == twin.accuracy(evaluation_data) == net.evaluate(iter(evaluation_data))
        assert net.accuracy(training_data, convert=True) == twin.accuracy(training_data, convert=True)
        for data, convert in ((training_data, False), (evaluation_data, True)):
            expected = twin.total_cost(data, 3.0, convert)
            np.testing.assert_allclose(net.total_cost(data, 3.0, convert), expected, rtol=1e-13)
        a, y = net.feedforward(training_data[0][0]), training_data[0][1]
        np.testing.assert_allclose(net.cost.fn(a, y), twin.cost.fn(a, y), rtol=1e-15)
        np.testing.assert_allclose(net.cost.delta(a, a, y), twin.cost.delta(a, a, y), rtol=1e-15)


def test_module_functions():
    z = np.array([[-800.0], [-1.0], [0.0], [2.0], [800.0]])
    np.testing.assert_allclose(network.sigmoid(z[1:4]), published.sigmoid(z[1:4]), rtol=1e-15)
    np.testing.assert_allclose(network.sigmoid_prime(z[1:4]), published.sigmoid_prime(z[1:4]), rtol=1e-15)
    assert network.sigmoid(z).ravel()[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]  # without a warning
    np.testing.assert_array_equal(network.vectorized_result(3), published.vectorized_result(3))
    np.testing.assert_array_equal(network.vectorized_result(1, 3), [[0.0], [1.0], [0.0]])
    assert network.CrossEntropyCost.fn(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]])) == 0.0
    for name in ("CrossEntropyCost", "QuadraticCost", "sigmoid", "vectorized_result"):
        assert getattr(network2, name) is getattr(network, name)


def test_float32():
    sizes = [5, 4, 3]
    twin, net = seeded(published.First, sizes), seeded(network.Network, sizes, dtype="float32")
    training_data, test_data = samples(30, sizes)
    for each in (twin, net):
        random.seed(0)
        each.SGD(list(training_data), 2, 10, 3.0, test_data=test_data)
        each.update_mini_batch(training_data[:3], np.float64(0.1))
    assert {array.dtype for array in [*net.weights, *net.biases]} == {np.dtype(np.float32)}
    assert net.feedforward(training_data[0][0]).dtype == np.float32
    assert net.backprop(*training_data[0])[1][0].dtype == np.float32
    assert_same_parameters(net, twin, rtol=1e-4)


def test_float32_data_are_used_as_they_are_by_a_float64_network():
    sizes = [5, 4, 3]
    results = []
    for make in (network.Network, published.First):
        net = seeded(make, sizes)
        training_data = [(x.astype(np.float32), y) for x, y in samples(20, sizes)[0]]
        net.SGD(training_data, 2, 5, 3.0)
        results.append(net)
    assert results[0].weights[0].dtype == np.float64
    assert_same_parameters(*results)


# --- programs as they stand in the text -------------------------------------------------------------------------------


def test_the_names_of_both_texts(capsys):
    sizes = [784, 30, 10]
    training_data, test_data = samples(40, sizes)
    net = network.Network([784, 30, 10])
    net.SGD(training_data, 2, 10, 3.0, test_data=test_data)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["Epoch 0", "Epoch 1"]
    assert (net.num_layers, net.sizes) == (3, [784, 30, 10])
    assert [w.shape for w in net.weights] == [(30, 784), (10, 30)]
    assert [b.shape for b in net.biases] == [(30, 1), (10, 1)]

    net = network2.Network([784, 30, 10], cost=network2.CrossEntropyCost)
    net.large_weight_initializer()
    records = net.SGD(
        training_data,
        2,
        10,
        0.5,
        lmbda=5.0,
        evaluation_data=test_data,
        monitor_evaluation_accuracy=True,
        monitor_evaluation_cost=True,
    )
    evaluation_cost, evaluation_accuracy, training_cost, training_accuracy = records
    assert (len(evaluation_cost), len(evaluation_accuracy), training_cost, training_accuracy) == (2, 2, [], [])
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == [
        "Epoch 0 training complete",
        f"Cost on evaluation data: {evaluation_cost[0]}",
        f"Accuracy on evaluation data: {evaluation_accuracy[0]} / 40",
        "",
    ]


def test_arguments_by_place(capsys):
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    seeded(network.Network, sizes).SGD(training_data, 1, 10, 3.0, test_data)
    assert capsys.readouterr().out.endswith("/ 20\n")
    seeded(network.Network, sizes).SGD(training_data, 1, 10, 3.0, None)
    assert capsys.readouterr().out == "Epoch 0 complete\n"
    seeded(network.Network, sizes).SGD(training_data, 1, 10, 3.0, test_data=[])
    assert capsys.readouterr().out == "Epoch 0 complete\n"
    records = seeded(network2.Network, sizes).SGD(training_data, 1, 10, 3.0, 0.1, test_data, False, True)
    assert len(records[1]) == 1


def test_zip_objects_and_tuples_are_data_too(capsys):
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    xs, ys = zip(*training_data, strict=True)
    net = seeded(network.Network, sizes)
    net.SGD(zip(xs, ys, strict=True), 1, 10, 3.0, test_data=tuple(test_data))
    twin = seeded(network.Network, sizes)
    twin.SGD(training_data, 1, 10, 3.0)
    assert_same_parameters(net, twin, rtol=0)
    assert net.evaluate(zip(*zip(*test_data, strict=True), strict=True)) == net.evaluate(test_data)


def test_a_network_of_the_first_module_takes_a_cost(capsys):
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    net, other = (seeded(module.Network, sizes, cost=network.CrossEntropyCost) for module in (network, network2))
    for each in (net, other):
        random.seed(1)
        each.SGD(list(training_data), 2, 4, 0.5, lmbda=0.1, evaluation_data=test_data)
    assert_same_parameters(net, other, rtol=0)


def test_a_network_without_cost_may_be_monitored(capsys):
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    records = network.Network(sizes).SGD(
        training_data, 2, 4, 0.5, evaluation_data=test_data, monitor_training_cost=True
    )
    assert [len(record) for record in records] == [0, 0, 2, 0]
    assert capsys.readouterr().out.startswith("Epoch 0 training complete\nCost on training data: 0.")


# --- early stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["monitor_evaluation_accuracy", "monitor_training_accuracy"])
def test_early_stopping_is_the_published_one(flag, capsys):
    sizes = [20, 5, 10]
    lengths = []
    for make in (network2.Network, published.Improved):
        net = seeded(make, sizes)
        (training_data, _), (_, evaluation_data) = samples(30, sizes), samples(30, sizes, seed=1)
        data = {"evaluation_data": evaluation_data} if flag == "monitor_evaluation_accuracy" else {}
        records = net.SGD(training_data, 60, 10, 0.5, early_stopping_n=4, **{flag: True}, **data)
        lengths.append([len(record) for record in records])
    assert lengths[0] == lengths[1]
    assert 4 < max(lengths[0]) < 60


def test_early_stopping_looks_at_the_evaluation_data_unasked(capsys):
    class Counting(network2.Network):
        accuracies = iter([3, 4, 4, 5, 5, 5, 5, 5])

        def accuracy(self, data, convert=False):
            return next(self.accuracies)

    sizes = [5, 4, 3]
    training_data, evaluation_data = samples(20, sizes)
    records = Counting(sizes).SGD(training_data, 20, 5, 0.1, evaluation_data=evaluation_data, early_stopping_n=3)
    assert capsys.readouterr().out.count("training complete") == 7
    assert records == ([], [], [], [])


# --- weights and biases belong to the user ----------------------------------------------------------------------------


def test_writing_into_weights_changes_the_network():
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    changes = (
        lambda net: net.weights[0].__setitem__((1, 2), 3.0),
        lambda net: net.weights.__setitem__(0, np.ones((4, 5))),
        lambda net: setattr(net, "weights", [np.ones((4, 5)), -np.ones((3, 4))]),
        lambda net: setattr(net, "biases", [np.full((4, 1), 2.0), np.zeros((3, 1))]),
        lambda net: setattr(net, "weights", [w.T.copy().T for w in net.weights]),  # in Fortran order
    )
    for change in changes:
        net, twin = seeded(network.Network, sizes), seeded(published.First, sizes)
        for each in (net, twin):
            random.seed(0)
            each.SGD(list(training_data), 1, 5, 3.0)
            change(each)
        np.testing.assert_allclose(net.feedforward(training_data[0][0]), twin.feedforward(training_data[0][0]))
        assert net.evaluate(test_data) == twin.evaluate(test_data)
        for each in (net, twin):
            random.seed(1)
            each.SGD(list(training_data), 2, 5, 3.0)
            each.update_mini_batch(training_data, 1.0)
        assert_same_parameters(net, twin)


def test_weights_that_were_kept_stay_as_they_were():
    """A program may keep ``best = net.weights`` without a copy: each step makes new arrays, as published."""
    sizes = [5, 4, 3]
    training_data, _ = samples(20, sizes)
    net = network.Network(sizes)
    kept = net.weights, net.biases
    before = copy.deepcopy(kept)
    net.SGD(training_data, 1, 5, 3.0)
    net.update_mini_batch(training_data, 3.0)
    for lists, old in zip(kept, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(lists, old, strict=True))
    assert not np.array_equal(net.weights[0], before[0][0])
    assert all(array.flags.c_contiguous and array.base is None for array in [*net.weights, *net.biases])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(clone):
    sizes = [5, 4, 3]
    training_data, test_data = samples(20, sizes)
    net = network2.Network(sizes)
    net.evaluate(test_data)
    other = clone(net)
    assert_same_parameters(other, net, rtol=0)
    net.SGD(training_data, 1, 5, 3.0)
    assert not np.array_equal(other.weights[0], net.weights[0])
    assert other.evaluate(test_data) <= 20


def test_divergence_is_an_error(capsys):
    sizes = [2, 2, 2]
    training_data, _ = samples(6, sizes)
    net = network2.Network(sizes)
    net.weights[0][0, 0] = np.nan
    before = [w.copy() for w in net.weights]
    with pytest.raises(bp.TrainingDivergedError, match="The loss became NaN or infinite in epoch 1"):
        net.SGD(training_data, 1, 2, 0.5)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(net.weights, before, strict=True))
    assert capsys.readouterr().out == ""


# --- overridden methods and costs of one's own ------------------------------------------------------------------------


class Quartic:
    """C = sum (a - y)^4 / 4."""

    @staticmethod
    def fn(a, y):
        return np.sum((a - y) ** 4) / 4

    @staticmethod
    def delta(z, a, y):
        return (a - y) ** 3 * published.sigmoid_prime(z)


def test_a_cost_of_ones_own(capsys):
    sizes, results = [20, 12, 10], []
    for make in (network2.Network, published.Improved):
        net = seeded(make, sizes, cost=Quartic)
        training_data, _ = samples(23, sizes)
        records = net.SGD(training_data, 3, 10, 0.5, lmbda=0.5, monitor_training_cost=True)
        results.append((net, records[2]))
    assert_same_parameters(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12)


def subclasses(base):
    """Each overrides one method, of the fast class or of its twin."""

    class Derivative(base):
        def cost_derivative(self, output_activations, y):
            return np.sign(output_activations - y)

    class Gradient(base):
        def backprop(self, x, y):
            nabla_b, nabla_w = super().backprop(x, y)
            return [2 * nb for nb in nabla_b], nabla_w

    class Step(base):
        def update_mini_batch(self, mini_batch, eta):
            super().update_mini_batch(mini_batch, eta / 2)

    class Outputs(base):
        def feedforward(self, a):
            return -super().feedforward(a)

    class Count(base):
        def evaluate(self, test_data):
            return 1000 + super().evaluate(test_data)

    return Derivative, Gradient, Step, Outputs, Count


@pytest.mark.parametrize("index", range(5), ids=["derivative", "gradient", "step", "outputs", "count"])
def test_overridden_methods_are_obeyed(index, capsys):
    sizes, results = [5, 4, 3], []
    for base in (network.Network, published.First):
        net = seeded(subclasses(base)[index], sizes)
        training_data, test_data = samples(23, sizes)
        net.SGD(training_data, 3, 10, 3.0, test_data=test_data)
        results.append((net, capsys.readouterr().out))
    assert_same_parameters(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_an_overridden_feedforward_is_obeyed_by_the_monitors(capsys):
    sizes, results = [20, 12, 10], []
    for base in (network2.Network, published.Improved):
        net = seeded(subclasses(base)[3], sizes)
        training_data, evaluation_data = samples(23, sizes)
        net.feedforward = lambda a, f=net.feedforward: 0.5 - 0.4 * f(a)  # a cost needs outputs between 0 and 1
        flags = {"monitor_training_accuracy": True, "monitor_training_cost": True, "monitor_evaluation_cost": True}
        results.append(net.SGD(training_data, 3, 10, 3.0, evaluation_data=evaluation_data, **flags))
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_cost_may_be_given_as_an_object():
    net = network2.Network([5, 4, 3], cost=network2.QuadraticCost())
    assert not net._has_own_gradient()  # compiled, like the class


@pytest.mark.parametrize("n_steps", [0, 2])
def test_an_interrupted_training_leaves_whole_weights(n_steps, monkeypatch, capsys):
    """Ctrl-C within an epoch: the steps that were taken count, and the list is a permutation."""
    sizes = [5, 4, 3]
    net = seeded(network.Network, sizes)
    training_data, _ = samples(40, sizes)
    all_samples, before = list(training_data), [w.copy() for w in net.weights]
    take_steps = Steps._take

    def interrupted(self, first, rates, *rest):
        if n_steps:
            take_steps(self, first, rates[:n_steps], *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.SGD(training_data, 2, 5, 3.0)
    assert sorted(map(id, (x for x, _ in training_data))) == sorted(map(id, (x for x, _ in all_samples)))
    twin = seeded(published.First, sizes)
    random.seed(1)
    random.shuffle(all_samples)
    for step in range(n_steps):
        twin.update_mini_batch(all_samples[5 * step : 5 * step + 5], 3.0)
    assert_same_parameters(net, twin)
    assert np.array_equal(net.weights[0], before[0]) == (n_steps == 0)
    assert capsys.readouterr().out == ""


def test_a_method_replaced_in_one_object_is_obeyed(capsys):
    sizes = [5, 4, 3]
    training_data, _ = samples(23, sizes)
    net, plain = seeded(network.Network, sizes), seeded(network.Network, sizes)
    net.cost_derivative = lambda a, y: 0 * a
    net.SGD(list(training_data), 1, 10, 3.0)
    assert_same_parameters(net, plain, rtol=0)


# --- real digits ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not MNIST, reason="FASTBP_MNIST names no file")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_three_epochs_of_mnist(dtype, capsys):
    with np.load(MNIST) as data:
        X, labels = data["X_train"] / 255, data["y_train"]
        test_data = [(x.reshape(-1, 1) / 255, y) for x, y in zip(data["X_test"], data["y_test"], strict=True)]
    training_data = [(x.reshape(-1, 1), network.vectorized_result(y)) for x, y in zip(X, labels, strict=True)]
    net = seeded(network.Network, [784, 30, 10], dtype=dtype)
    net.SGD(training_data, 3, 10, 3.0, test_data=test_data)
    assert net.evaluate(test_data) > 8300
    assert capsys.readouterr().out.splitlines()[2] == f"Epoch 2: {net.evaluate(test_data)} / 10000"
    net = seeded(network2.Network, [784, 30, 10], dtype=dtype)
    records = net.SGD(training_data, 3, 10, 0.5, 0.5, test_data, monitor_evaluation_accuracy=True)
    assert records[1][-1] > 9000
