"""What a network is: its attributes, live views, copies."""

import copy
import inspect
import pickle
import pydoc
import re

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.neural_network import MLPRegressor

X, Y = [[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]], [1.0, 2.0, 0.0]


def test_attributes() -> None:
    net = bp.Network(
        [4, 3, 2], activation=[[("sigmoid", 1), ("tanh", 2)]], output="softmax", loss="cross_entropy", dtype="float32"
    )
    assert net.sizes == (4, 3, 2)
    assert net.n_params == 4 * 3 + 3 + 3 * 2 + 2 == net.params.size
    assert net.dtype == np.float32 == net.params.dtype
    assert [w.shape for w in net.weights] == [(4, 3), (3, 2)]
    assert [b.shape for b in net.biases] == [(3,), (2,)]
    assert net.activations == ((("sigmoid", 1), ("tanh", 2)), (("softmax", 2),))
    assert repr(net) == "<Network 4-3-2, loss cross_entropy, 23 parameters, float32>"


def test_weights_and_biases_are_views_into_params() -> None:
    net = bp.Network([2, 3, 1], seed=0)
    net.weights[0][1, 2] = 7.0
    net.biases[1][0] = -5.0
    assert net.params[1 * 3 + 2] == 7.0
    assert net.params[-1] == -5.0
    net.params[0] = 9.0
    assert net.weights[0][0, 0] == 9.0
    before = net.predict([[1.0, 1.0]])
    net.params[-1] += 1.0
    np.testing.assert_allclose(net.predict([[1.0, 1.0]]), before + 1.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_assigned_weights_and_biases_are_copied_into_place(dtype) -> None:
    net = bp.Network([2, 3, 1], "identity", seed=0, dtype=dtype)
    W, b = np.arange(6.0).reshape(2, 3).astype(dtype), np.array([1.0, 2.0, 3.0], dtype)
    net.weights[0], net.biases[0] = W, b
    net.weights[-1], net.biases[np.int64(1)] = [[1], [10], [100]], [0.5]
    assert net.params.tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 1, 10, 100, 0.5]
    assert net.predict(np.ones((1, 2), dtype)).tolist() == [[(4 + 7 * 10 + 10 * 100) + 0.5]]  # [1 1] @ W + b = 4 7 10
    W[:] = 0
    assert net.weights[0][0, 1] == 1
    net.weights[0] *= 2
    net.biases[:] = [b + 1, np.zeros(1, dtype)]
    assert net.params.tolist() == [0, 2, 4, 6, 8, 10, 2, 3, 4, 1, 10, 100, 0]


def test_assignment_reaches_the_estimator_and_layers_can_be_exchanged() -> None:
    model = MLPRegressor(hidden_layer_sizes=(2, 2), activation="tanh", solver="lbfgs", random_state=0).fit(X, Y)
    model.network_.weights[1] = np.zeros((2, 2))
    assert not model.coefs_[1].any()
    assert (model.predict(X) == model.predict(X)[0]).all()
    net = bp.Network([2, 2, 2], seed=0)
    first, second = (W.copy() for W in net.weights)
    net.weights[:] = net.weights[::-1]
    np.testing.assert_array_equal(net.weights[0], second)
    np.testing.assert_array_equal(net.weights[1], first)


@pytest.mark.parametrize("freeze", [lambda net: net.params, lambda net: net.weights[1]], ids=["params", "weights"])
def test_read_only_layers_are_not_assigned_to(freeze) -> None:
    net = bp.Network([2, 3, 1], seed=0)
    freeze(net).setflags(write=False)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"`net\.params` must be writable to be trained or set; the array, or one of"):
        net.weights[:] = [np.ones((2, 3)), np.ones((3, 1))]
    np.testing.assert_array_equal(net.params, before)


def test_nothing_else_can_be_done_to_the_lists() -> None:
    net = bp.Network([2, 3, 1], dropout=0.5)
    for name in ("append", "extend", "insert", "pop", "clear", "sort", "reverse"):
        assert not hasattr(net.weights, name)
    for call in (
        lambda: net.dropout.__setitem__(0, 0.1),
        lambda: net.activations.__setitem__(0, [("tanh", 3)]),
        lambda: net.activations[0].__setitem__(0, ("tanh", 3)),
    ):
        with pytest.raises(AttributeError):  # a tuple has no such method
            call()


def test_assigned_params_are_copied_into_place() -> None:
    net = bp.Network([2, 3, 1], seed=0)
    place, new = net.params, np.arange(13.0)
    net.params = new
    assert net.params is place
    np.testing.assert_array_equal(place, new)
    new[:] = 0
    assert net.params[5] == 5.0


def test_same_seed_same_network_in_both_dtypes() -> None:
    first, second = (bp.Network([5, 4, 3], seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.params, second.params)
    single = bp.Network([5, 4, 3], seed=7, dtype="float32")
    np.testing.assert_array_equal(single.params, first.params.astype(np.float32))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_is_whole_and_goes_on_by_itself(duplicate) -> None:
    net = bp.Network([2, 4, 1], activation="tanh", seed=0, dropout=0.2)
    net.fit(X, Y, epochs=3, batch_size=2, seed=1)
    twin = duplicate(net)
    twin.weights[0][0, 0] += 1.0
    assert twin.params[0] != net.params[0]
    twin.weights[0][0, 0] = net.weights[0][0, 0]
    for each in (net, twin):
        each.fit(X, Y, epochs=3, batch_size=2)
    np.testing.assert_array_equal(twin.params, net.params)


def test_a_network_with_an_own_activation_can_be_copied() -> None:
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    net = bp.Network([2, 3, 1], activation=cube, seed=0)
    expected = net.predict(X)
    np.testing.assert_array_equal(copy.deepcopy(net).predict(X), expected)


@pytest.mark.parametrize("schedule", ["Constant", "Cosine", "OneCycle"])
def test_learning_rate_finder_leaves_the_network_as_it_was(schedule: str) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100, 3))
    net = bp.Network([3, 8, 1], activation="tanh", seed=0)
    net.fit(inputs, inputs[:, 0], epochs=2, optimizer=bp.SGD(getattr(bp, schedule)(0.01)), seed=0)
    before, state = net.params.copy(), net._training_state
    found = bp.find_learning_rate(net, inputs, inputs[:, 0], seed=0)
    np.testing.assert_array_equal(net.params, before)
    assert net._training_state is state
    assert found.learning_rates.shape == found.losses.shape
    assert found.learning_rates[0] <= found.suggestion <= found.learning_rates[-1]
    assert np.isfinite(found.losses).all()


def test_learning_rate_finder_stops_where_the_loss_blows_up() -> None:
    inputs = np.linspace(-3, 3, 50).reshape(-1, 1)
    found = bp.find_learning_rate(
        bp.Network([1, 1], seed=0), inputs, inputs, optimizer=bp.SGD(1.0), highest=1e6, n_steps=100, seed=0
    )
    assert len(found.losses) < 100
    assert found.suggestion < 1.0


def test_learning_rate_finder_is_reproducible() -> None:
    inputs = np.random.default_rng(0).normal(size=(64, 2))
    net = bp.Network([2, 5, 1], seed=0)
    first, second = (bp.find_learning_rate(net, inputs, inputs[:, 0], seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.losses, second.losses)


def test_plot_of_a_history_has_labelled_axes() -> None:
    pytest.importorskip("matplotlib")
    net = bp.Network([2, 4, 1], seed=0)
    ax = net.fit(X, Y, epochs=3, validation_data=(X, Y)).plot()
    assert ax.get_xlabel() == "epoch"
    assert ax.get_ylabel() == "loss (mean cost per sample)"
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["training", "validation"]


# ---- What a user sees of it ------------------------------------------------------------------------------------------


def test_only_public_names_are_shown() -> None:
    shown = {name for name in dir(bp.Network([2, 1])) if not name.startswith("_")}
    assert shown - {"feature_names_in_"} == {  # which has a value only after a fit on a data frame
        "activations", "biases", "dropout", "dtype", "feature_names", "fit", "has_softmax", "history", "initializer",
        "input_derivatives", "input_hessian", "laplacian", "linearize_inputs", "residual_value_and_grad",
        "load_torch_state_dict", "loss", "loss_parameter", "loss_value", "n_params", "params", "penalties", "predict",
        "save", "sizes", "step", "to_onnx", "torch_state_dict", "trace", "value_and_grad", "weights",
        "input_gradient", "input_jacobian", "jacobian", "jacobian_blocks", "per_sample_gradient_blocks",
        "per_sample_gradient_dots", "per_sample_gradient_norms", "per_sample_gradients", "vjp",
        "fisher_vp", "gnvp", "hvp", "jvp", "linearize", "compiled", "predict_one", "to_c",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["fit", "step", "predict", "loss_value", "value_and_grad", "trace", "save"])
def test_help_describes_every_argument(name) -> None:
    method = getattr(bp.Network, name)
    text = pydoc.plain(pydoc.render_doc(method))
    assert "Parameters" in text
    for argument in list(inspect.signature(method).parameters)[1:]:
        assert re.search(rf"^ +(\w+, )*{argument}(, \w+)*( : |$)", text, re.MULTILINE), argument
