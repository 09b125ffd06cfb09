"""The parameters after each epoch."""

import numpy as np
import pytest

import fastbp as bp

X, Y = [[0.0, 1.0], [1.0, 0.5]], [[1.0], [0.0]]


def test_every_epoch_is_recorded():
    net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    expected = [net.params.copy()]
    weights = bp.WeightHistory(net)
    net.fit(X, Y, 4, seed=0, callbacks=[weights, lambda net, history: expected.append(net.params.copy())])
    np.testing.assert_array_equal(weights.values, expected)
    assert len(weights) == 5
    assert repr(weights) == "<WeightHistory of 13 of 13 parameters, 4 epochs>"


def test_training_goes_on_as_without():
    nets = [bp.Network([2, 3, 1], seed=0) for _ in range(2)]
    nets[0].fit(X, Y, 4, seed=0)
    nets[1].fit(X, Y, 4, seed=0, callbacks=[bp.WeightHistory(nets[1])])
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_a_second_fit_is_recorded_after_the_first():
    net = bp.Network([2, 1], dtype="float32", seed=0)
    weights = bp.WeightHistory(net)
    for _ in range(2):
        net.fit(X, Y, 3, seed=0, callbacks=[weights])
    assert weights.values.shape == (7, 3)
    assert weights.values.dtype == np.float32
    np.testing.assert_array_equal(weights.values[-1], net.params)


def test_names_are_places_in_weights_and_biases():
    net = bp.Network([3, 4, 2], seed=0)
    net.biases[0][:] = np.arange(4) + 10
    net.biases[1][:] = np.arange(2) + 20
    weights = bp.WeightHistory(net)
    for name, value in zip(weights.names, weights.values[0], strict=True):
        layer = int(name[1]) - 1
        place = tuple(int(index) for index in name[3:-1].split(","))
        assert value == (net.weights if name[0] == "W" else net.biases)[layer][place]
    assert len(set(weights.names)) == net.n_params


def test_a_sample_is_the_same_for_the_same_seed():
    net = bp.Network([20, 10, 5], seed=0)
    first, second, other = (bp.WeightHistory(net, sample=12, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.indices, second.indices)
    assert (first.indices != other.indices).any()
    assert (np.diff(first.indices) > 0).all()
    np.testing.assert_array_equal(first.values[0], net.params[first.indices])


def test_wrong_arguments():
    net = bp.Network([2, 1], seed=0)
    with pytest.raises(ValueError, match="`sample`") as caught:
        bp.WeightHistory(net, sample=4)
    assert str(caught.value) == "`sample` must be at most the number of parameters, 3; got 4."
    weights = bp.WeightHistory(net)
    with pytest.raises(ValueError, match="`net`") as caught:
        bp.Network([2, 2, 1], seed=0).fit(X, Y, 1, callbacks=[weights])
    assert str(caught.value) == (
        "`net` must have the 3 parameters of the network that this WeightHistory was made for; got 9. Make one for "
        "each network."
    )
    assert len(weights) == 1
