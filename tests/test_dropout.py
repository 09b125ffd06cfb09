"""Dropout: which neurons, how many, the gradient of what is left, and nothing of it outside of `fit`."""

import itertools

import numpy as np
import pytest

import fastbp as bp
from tests import cases, problems, reference
from tests import reference_formulas as formulas
from tests.reference import relative_error
from tests.twins import network, same_bits

MASK_32 = 0xFFFFFFFF


# ---- The mask once more, in plain Python ---------------------------------------------------------------------------


def mix(x):
    """The 32-bit hash 'lowbias32'."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK_32
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK_32
    return x ^ (x >> 16)


def kept(seed, step, layer, rows, fan_out, rate):
    """Which neurons of a layer stay, (rows, fan_out) of booleans, in a step (from 1 on)."""
    key = mix(mix(seed & MASK_32) ^ step)
    key = mix((key + 0x9E3779B9 * (layer + 1)) & MASK_32)
    hashes = [mix(mix(i) ^ key) for i in range(rows * fan_out)]
    return np.array(hashes).reshape(rows, fan_out) >= int(rate * 2**32)


def dropped_cost(case, params, X, Y, masks):
    """Cost of a network whose hidden activations are multiplied by masks; params may be complex."""
    total = 0.0
    for i in range(len(X)):
        a = X[i]
        layers = reference.unpack(case.sizes, params)
        for (W, b), names, mask in zip(layers, case.neuron_activations, [*masks, None], strict=True):
            z = a @ W + b
            a = formulas.activate(names, z)
            if mask is not None:
                a = a * mask[i]
        total += reference.sample_cost(case, z, a, Y[i])
    return total / len(X)


def dropped_gradient(case, params, X, Y, masks):
    """Its gradient by complex steps."""
    step = reference.COMPLEX_STEP
    return np.array([dropped_cost(case, params + 1j * step * e, X, Y, masks).imag / step for e in np.eye(len(params))])


CASES = (
    cases.Case("tanh-softplus", [3, 6, 5, 2], ["tanh", "softplus"]),
    cases.Case("gelu-sine", [3, 6, 5, 2], ["gelu", "sine"], "softmax", "cross_entropy"),
    cases.Case("mixed", [3, 6, 5, 2], [[("sigmoid", 2), ("elu", 4)], [("silu", 3), ("tanh", 2)]], "exp", "poisson"),
    cases.Case("relu", [3, 6, 5, 2], "relu"),
)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_follows_the_gradient_of_the_dropped_network(case, dtype):
    rng = np.random.default_rng(101)
    params = problems.random_params(case, rng).astype(dtype)
    X, Y = (array.astype(dtype) for array in problems.random_data(case, rng, 7))
    rates = [0.5, 0.25]
    net = network(case, params, dtype, dropout=rates)
    learning_rate = 0.125
    net.fit(X, Y, epochs=1, batch_size=None, optimizer=bp.SGD(learning_rate), seed=4)
    masks = [
        kept(net._training_state.dropout_seed, 1, layer, 7, case.sizes[layer + 1], rate) / (1 - rate)
        for layer, rate in enumerate(rates)
    ]
    expected = dropped_gradient(case, params.astype(float), X.astype(float), Y.astype(float), masks)
    taken = (params.astype(float) - net.params.astype(float)) / learning_rate
    assert relative_error(taken, expected) < {"float32": 1e-4, "float64": 1e-12}[dtype]


def masks_of(net, epochs, **settings):
    """The hidden layer's masks of each epoch, read from the steps of a network made for it.

    The hidden activations are 1 before dropout and the output's delta is -1, so that a step of rate 1 over n rows adds
    to each output weight the sum over rows of what is left of its neuron, over n; the weights are then put back.
    """
    seen = []

    def look(n, _):
        seen.append(n.weights[1][:, 0].copy())
        n.weights[1][...] = 0.0
        n.biases[1][...] = 0.0
        n.params[: n.weights[0].size] = 0.0
        n.biases[0][...] = 1.0

    look(net, None)
    seen.clear()
    X = np.ones((settings.pop("n"), 1))
    net.fit(X, X, epochs=epochs, batch_size=None, optimizer=bp.SGD(1.0), callbacks=[look], **settings)
    return np.array(seen)


def hidden_layer(width, rate):
    return bp.Network([1, width, 1], activation="identity", dropout=rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_and_the_scale_of_what_is_kept(rate):
    width, epochs = 5000, 4
    masks = masks_of(hidden_layer(width, rate), epochs, n=1, seed=0)
    assert set(np.unique(masks).round(9)) == {0.0, round(1 / (1 - rate), 9)}
    deviation = np.sqrt(rate * (1 - rate) / (width * epochs))
    assert abs(np.mean(masks == 0) - rate) < 4 * deviation
    for first, second in itertools.combinations(masks == 0, 2):  # independent from step to step
        expected = rate**2
        assert abs(np.mean(first & second) - expected) < 4 * np.sqrt(expected * (1 - expected) / width)


def test_rows_of_a_mini_batch_have_masks_of_their_own():
    rate, n, width = 0.5, 40, 2000
    (means,) = masks_of(hidden_layer(width, rate), 1, n=n, seed=0)
    assert means.mean() == pytest.approx(1, abs=4 / np.sqrt(n * width))
    assert means.var() == pytest.approx(1 / n, rel=0.2)  # of a mean of n independent numbers of variance 1


def test_masks_follow_the_seed():
    masks = [masks_of(hidden_layer(100, 0.5), 3, n=1, seed=seed) for seed in (1, 1, 2)]
    assert same_bits(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0][0], masks[0][1])


def test_nothing_is_dropped_outside_of_fit():
    case = cases.Case("4-6-5-3", [4, 6, 5, 3], "tanh", "softmax", "cross_entropy")
    rng = np.random.default_rng(102)
    params = problems.random_params(case, rng)
    X, Y = problems.random_data(case, rng, 9)
    plain, dropping = network(case, params), network(case, params, dropout=0.5)
    assert same_bits(dropping.predict(X), plain.predict(X))
    assert dropping.loss_value(X, Y) == plain.loss_value(X, Y)
    assert same_bits(dropping.value_and_grad(X, Y)[1], plain.value_and_grad(X, Y)[1])
    assert same_bits(dropping.trace(X, Y).layers[1].a, plain.trace(X, Y).layers[1].a)
    history = dropping.fit(X, Y, epochs=2, seed=0, validation_data=(X, Y))
    assert history.val_loss[-1] == network(case, dropping.params).loss_value(X, Y)
    assert history.val_loss[0] != history.loss[1]


def test_one_rate_for_each_hidden_layer():
    assert bp.Network([1, 2, 3, 1], dropout=0.25).dropout == (0.25, 0.25)
    assert bp.Network([1, 2, 3, 1], dropout=[0.5, 0]).dropout == (0.5, 0.0)
    assert bp.Network([1, 1], dropout=0.5).dropout == ()


def test_a_rate_of_zero_is_no_dropout():
    case = cases.Case("4-6-3", [4, 6, 3], "tanh")
    rng = np.random.default_rng(103)
    params = problems.random_params(case, rng)
    X, Y = problems.random_data(case, rng, 9)
    nets = network(case, params), network(case, params, dropout=[0.0])
    for net in nets:
        net.fit(X, Y, epochs=3, batch_size=4, seed=0)
    assert same_bits(nets[0].params, nets[1].params)
