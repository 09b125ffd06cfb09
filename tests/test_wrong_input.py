"""Wrong arguments: the full text of every message, and a network that is as it was before."""

import numpy as np
import pytest

import fastbp as bp
from fastbp.functions import activations, losses
from tests.twins import same_bits

ACTIVATIONS = "identity, sigmoid, tanh, relu, leaky_relu, elu, softplus, gelu, silu, sine, exp, softmax"
LOSSES = "quadratic, cross_entropy, absolute, huber, log_cosh, poisson, quantile"
SIZES_RULE = "`sizes` must be a sequence of layer sizes such as [784, 30, 10]"
X, Y = np.ones((4, 3)), np.zeros((4, 2))
LABELS = np.array([0, 1, 1, 0])
NAN, INF = np.where(np.arange(12).reshape(4, 3) == 5, np.nan, 1.0), np.where(X.cumsum(axis=0) > 3, np.inf, 1.0)


def check(call, error, message):
    """Calling it raises exactly this error with exactly this text."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


def texts(table):
    """pytest's ids: the messages themselves."""
    return [row[-1][:60] for row in table]


# ---- The network ---------------------------------------------------------------------------------------------------

CONSTRUCTOR = [
    (([3],), {}, ValueError, "`sizes` must have at least two entries, the inputs and the outputs; got [3]."),
    (([],), {}, ValueError, "`sizes` must have at least two entries, the inputs and the outputs; got []."),
    (("30",), {}, TypeError, f"{SIZES_RULE}; got '30'."),
    ((30,), {}, TypeError, f"{SIZES_RULE}; got 30."),
    ((None,), {}, TypeError, f"{SIZES_RULE}; got None."),
    (([3, 0, 2],), {}, ValueError, "`sizes[1]` must be at least 1; got 0."),
    (([-3, 2],), {}, ValueError, "`sizes[0]` must be at least 1; got -3."),
    (([3, 2.0],), {}, TypeError, "`sizes[1]` must be an integer of at least 1; got 2.0."),
    (([3, "2"],), {}, TypeError, "`sizes[1]` must be an integer of at least 1; got '2'."),
    (([3, True],), {}, TypeError, "`sizes[1]` must be an integer of at least 1; got True."),
    ((np.array(3),), {}, TypeError, f"{SIZES_RULE}; got array(3)."),
    ((np.ones((2, 2), int),), {}, TypeError, f"{SIZES_RULE}; got array([[1, 1],\n       [1, 1]])."),
    (([3, 2],), {"dtype": "\ud800"}, ValueError, "`dtype` must be 'float32' or 'float64'; got '\\ud800'."),
    (([3, 2],), {"l2_penalty": 10**309}, ValueError, f"`l2_penalty` must be at least 0; got {10**309}."),
    (([3, 2],), {"dtype": "float16"}, ValueError, "`dtype` must be 'float32' or 'float64'; got 'float16'."),
    (([3, 2],), {"dtype": int}, ValueError, "`dtype` must be 'float32' or 'float64'; got <class 'int'>."),
    (([3, 2],), {"dtype": None}, ValueError, "`dtype` must be 'float32' or 'float64'; got None."),
    (([3, 2],), {"dtype": "quick"}, ValueError, "`dtype` must be 'float32' or 'float64'; got 'quick'."),
    (([3, 2],), {"dtype": complex}, ValueError, "`dtype` must be 'float32' or 'float64'; got <class 'complex'>."),
    (([3, 2],), {"seed": -1}, ValueError, "`seed` must be at least 0; got -1."),
    (([3, 2],), {"seed": 1.5}, TypeError, "`seed` must be an integer of at least 0; got 1.5."),
    (([3, 2],), {"l2_penalty": -0.1}, ValueError, "`l2_penalty` must be at least 0; got -0.1."),
    (([3, 2],), {"l1_penalty": np.nan}, ValueError, "`l1_penalty` must be at least 0; got nan."),
    (([3, 2],), {"l1_penalty": np.inf}, ValueError, "`l1_penalty` must be at least 0; got inf."),
    (([3, 2],), {"l2_penalty": "0.1"}, TypeError, "`l2_penalty` must be a number at least 0; got '0.1'."),
    (([3, 2],), {"l2_penalty": True}, TypeError, "`l2_penalty` must be a number at least 0; got True."),
    (([3, 4, 2],), {"dropout": 1.0}, ValueError,
     "`dropout` must be below 1, the share of neurons that is dropped; got 1.0."),
    (([3, 4, 2],), {"dropout": -0.5}, ValueError, "`dropout` must be at least 0; got -0.5."),
    (([3, 4, 2],), {"dropout": [0.5, 0.5]}, ValueError,
     "`dropout` must be one rate, or one for each of the 1 hidden layers; got 2."),
    (([3, 4, 2],), {"dropout": ["half"]}, TypeError, "`dropout[0]` must be a number at least 0; got 'half'."),
]  # fmt: skip

NAMES = [
    ({"activation": "rulu"}, ValueError,
     f"`activation` must be the name of an activation; got 'rulu'. Did you mean 'relu'? Known names: {ACTIVATIONS}."),
    ({"activation": "Sigmoid"}, ValueError,
     "`activation` must be the name of an activation; got 'Sigmoid'. Did you mean 'sigmoid'? "
     f"Known names: {ACTIVATIONS}."),
    ({"activation": "zzz"}, ValueError,
     f"`activation` must be the name of an activation; got 'zzz'. Known names: {ACTIVATIONS}."),
    ({"activation": ["relu", "tanh"]}, ValueError,
     "`activation` must be one name, or a list with one entry for each of the 1 hidden layers; got 2 entries. The "
     "output layer's activation is `output`."),
    ({"activation": 3}, TypeError, "`activation` must be a name, a bp.Activation, or a list of them; got int."),
    ({"activation": None}, TypeError,
     "`activation` must be a name, a bp.Activation, or a list of them; got NoneType."),
    ({"activation": [["relu", "tanh"]]}, TypeError,
     "`activation` must be a name, a bp.Activation, or a list of (name, count) that covers the layer's 4 neurons; got "
     "['relu', 'tanh']."),
    ({"activation": [7]}, TypeError,
     "`activation` must be a name, a bp.Activation, or a list of (name, count) that covers the layer's 4 neurons; got "
     "7."),
    ({"activation": [[("relu", 3)]]}, ValueError,
     "`activation` must cover the layer's 4 neurons; its counts add up to 3."),
    ({"activation": [[("relu", 4), ("tanh", 0)]]}, ValueError,
     "`count of 'tanh' in activation` must be at least 1; got 0."),
    ({"activation": [[("relu", "4")]]}, TypeError,
     "`count of 'relu' in activation` must be an integer of at least 1; got '4'."),
    ({"activation": [[("tan", 4)]]}, ValueError,
     f"`activation` must be the name of an activation; got 'tan'. Did you mean 'tanh'? Known names: {ACTIVATIONS}."),
    ({"activation": [[(3, 4)]]}, ValueError,
     f"`activation` must be the name of an activation; got 3. Known names: {ACTIVATIONS}."),
    ({"activation": "softmax"}, ValueError,
     "`activation` cannot be 'softmax': softmax normalises a whole output layer, so it is allowed as "
     "`output='softmax'` only. Use 'sigmoid' or 'tanh' in a hidden layer."),
    ({"output": [("softmax", 2)]}, ValueError,
     "`output` cannot be 'softmax': softmax normalises a whole output layer, so it is allowed as `output='softmax'` "
     "only. Use 'sigmoid' or 'tanh' in a hidden layer."),
    ({"output": "softmacks"}, ValueError,
     "`output` must be the name of an activation; got 'softmacks'. Did you mean 'softmax'? "
     f"Known names: {ACTIVATIONS}."),
    ({"output": [("sigmoid", 1), ("tanh", 2)]}, ValueError,
     "`output` must cover the layer's 2 neurons; its counts add up to 3."),
    ({"loss": "cross-entropy"}, ValueError,
     "`loss` must be the name of a loss or a bp.Loss; got 'cross-entropy'. Did you mean 'cross_entropy'? "
     f"Known names: {LOSSES}."),
    ({"loss": None}, ValueError,
     f"`loss` must be the name of a loss or a bp.Loss; got None. Known names: {LOSSES}."),
    ({"loss": "cross_entropy", "output": "tanh"}, ValueError,
     "`loss='cross_entropy'` needs outputs that are probabilities: `output='softmax'` for classes of which one is "
     "true, 'sigmoid' for independent ones; got output 'tanh'."),
    ({"loss": "cross_entropy", "output": [("sigmoid", 1), ("tanh", 1)]}, ValueError,
     "`loss='cross_entropy'` needs outputs that are probabilities: `output='softmax'` for classes of which one is "
     "true, 'sigmoid' for independent ones; got output ['sigmoid', 'tanh']."),
    ({"loss": "poisson"}, ValueError,
     "`loss='poisson'` needs outputs that are positive: 'exp', 'softplus', 'sigmoid' or 'softmax'; got output "
     "'identity'."),
    ({"initializer": "glorot"}, ValueError,
     "`initializer` must be the name of an initializer; got 'glorot'. Did you mean 'glorot_uniform' or "
     "'glorot_normal'? Known names: glorot_uniform, glorot_normal, he_uniform, he_normal, standard_normal, "
     "scaled_normal, zeros."),
    ({"initializer": [3]}, ValueError,
     "`initializer` must be the name of an initializer; got [3]. Known names: glorot_uniform, glorot_normal, "
     "he_uniform, he_normal, standard_normal, scaled_normal, zeros."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), CONSTRUCTOR, ids=texts(CONSTRUCTOR))
def test_constructor(arguments, keywords, error, message):
    check(lambda: bp.Network(*arguments, **keywords), error, message)


@pytest.mark.parametrize(("keywords", "error", "message"), NAMES, ids=texts(NAMES))
def test_names(keywords, error, message):
    check(lambda: bp.Network([3, 4, 2], **keywords), error, message)


def test_activation_of_no_hidden_layer_is_looked_at_too():
    check(
        lambda: bp.Network([3, 2], activation="tahn"),
        ValueError,
        f"`activation` must be the name of an activation; got 'tahn'. Did you mean 'tanh'? Known names: {ACTIVATIONS}.",
    )


def test_layer_is_named_where_there_are_several():
    check(
        lambda: bp.Network([3, 4, 4, 2], activation=["relu", "tahn"]),
        ValueError,
        "`activation[1]` must be the name of an activation; got 'tahn'. Did you mean 'tanh'? "
        f"Known names: {ACTIVATIONS}.",
    )


@pytest.mark.parametrize("dtype", [">f8", ">f4"])
def test_dtype_of_another_byte_order(dtype):
    check(
        lambda: bp.Network([3, 2], dtype=dtype), ValueError, f"`dtype` must be 'float32' or 'float64'; got '{dtype}'."
    )


def test_every_name_is_in_the_messages():
    assert ", ".join(activations.ACTIVATION_NAMES) == ACTIVATIONS
    assert ", ".join(losses.LOSS_NAMES) == LOSSES


def test_numbers_that_no_float_holds():
    for call in (lambda: bp.Constant(10**309), lambda: bp.SGD(10**309)):
        with pytest.raises(ValueError, match=r"`learning_rate` must be a finite number above 0; got 1000.*000\. Try"):
            call()
    with pytest.raises(ValueError, match=r"`n_steps` must be a whole number above 0; got 1000.*000\. "):
        bp.Cosine(0.1, n_steps=10**309)


# ---- Data ----------------------------------------------------------------------------------------------------------

REAL_RULE = "`X` must hold real numbers of dtype float64"
FLOAT_RULE = "because nothing is converted between float types silently"
INPUTS = [
    (np.ones((4, 2)), ValueError, "`X` must have shape (n_samples, 3) to fit the first layer; got (4, 2)."),
    (np.ones(3), ValueError,
     "`X` must have shape (n_samples, 3) to fit the first layer; got (3,). A single sample is one row: "
     "X.reshape(1, -1)."),
    (np.ones(5), ValueError, "`X` must have shape (n_samples, 3) to fit the first layer; got (5,)."),
    (1.0, ValueError, "`X` must have shape (n_samples, 3) to fit the first layer; got ()."),
    (np.ones((2, 2, 3)), ValueError, "`X` must have shape (n_samples, 3) to fit the first layer; got (2, 2, 3)."),
    (np.ones((0, 3)), ValueError, "`X` must have at least one row; got shape (0, 3)."),
    ([], ValueError, "`X` must have shape (n_samples, 3) to fit the first layer; got (0,)."),
    (NAN, ValueError, "`X` must be finite; found nan at (1, 2). Impute or drop such rows."),
    (INF, ValueError, "`X` must be finite; found inf at (3, 0). Impute or drop such rows."),
    (-INF[:, ::-1], ValueError, "`X` must be finite; found -inf at (3, 0). Impute or drop such rows."),
    (np.asfortranarray(NAN), ValueError, "`X` must be finite; found nan at (1, 2). Impute or drop such rows."),
    (X.astype("f4"), TypeError,
     f"`X` must have the network's dtype float64, {FLOAT_RULE}; got float32. Convert it with .astype('float64'), or "
     "build the network with dtype='float32'."),
    (X.astype("f2"), TypeError,
     "`X` must have the network's dtype float64; got float16. Convert it with .astype('float64')."),
    (X.astype(np.longdouble), TypeError,
     f"`X` must have the network's dtype float64; got {np.dtype(np.longdouble)}. Convert it with .astype('float64')."),
    (X.astype(complex), TypeError,
     f"{REAL_RULE}; got dtype complex128. Pass its real and its imaginary part, or its absolute value."),
    (X.astype(object), TypeError, f"{REAL_RULE}; got dtype object. Convert it with numpy.asarray(X, 'float64')."),
    (X.astype(str), TypeError,
     f"{REAL_RULE}; got dtype <U32. Convert it with numpy.asarray(X, 'float64') if it holds numbers, and encode "
     "anything else as numbers."),
    (np.zeros((4, 3), "M8[s]"), TypeError,
     f"{REAL_RULE}; got dtype datetime64[s]. Turn dates into numbers, for instance into days since the first one."),
    (np.zeros((4, 3), "m8[s]"), TypeError,
     f"{REAL_RULE}; got dtype timedelta64[s]. Turn it into numbers of a unit, for instance by dividing by "
     "numpy.timedelta64(1, 's')."),
    (np.zeros(4, [("a", float)]), TypeError,
     f"{REAL_RULE}; got dtype [('a', '<f8')]. Make its fields columns with "
     "numpy.lib.recfunctions.structured_to_unstructured."),
    ([["1", "2", "3"]], TypeError,
     f"{REAL_RULE}; got dtype <U1. Convert it with numpy.asarray(X, 'float64') if it holds numbers, and encode "
     "anything else as numbers."),
    ([[1.0, True, None]], TypeError,
     f"{REAL_RULE}; got dtype object with NoneType at (0, 2). Encode it as a number, or drop its row or column."),
    (None, TypeError, f"{REAL_RULE}; got NoneType. Pass an array, nested lists or a data frame."),
    ([[1.0, 2.0, 3.0], [1.0, 2.0]], ValueError,
     "`X` must be an array of numbers; its rows have different lengths."),
]  # fmt: skip

TARGETS = [
    (np.zeros((3, 2)), ValueError, "`Y` must have shape (4, 2), a row for each row of X; got (3, 2)."),
    (np.zeros((4, 3)), ValueError, "`Y` must have shape (4, 2), a row for each row of X; got (4, 3)."),
    (np.zeros(4), ValueError, "`Y` must have shape (4, 2), a row for each row of X; got (4,)."),
    (LABELS, ValueError,
     "`Y` must have shape (4, 2), a row for each row of X; got (4,). Integer labels need `output='softmax'` and "
     "`loss='cross_entropy'`."),
    (NAN[:, 1:], ValueError, "`Y` must be finite; found nan at (1, 1). Impute or drop such rows."),
    (Y.astype("f4"), TypeError,
     f"`Y` must have the network's dtype float64, {FLOAT_RULE}; got float32. Convert it with .astype('float64'), or "
     "build the network with dtype='float32'."),
    (Y.astype(complex), TypeError,
     "`Y` must hold real numbers of dtype float64; got dtype complex128. Pass its real and its imaginary part, or its "
     "absolute value."),
    (None, TypeError,
     "`Y` must hold real numbers of dtype float64; got NoneType. Pass an array, nested lists or a data frame."),
    ([[1.0], [1.0, 2.0]], ValueError, "`Y` must be an array of numbers; its rows have different lengths."),
]  # fmt: skip

CLASSES = [
    (LABELS - 1, ValueError,
     "`Y` must hold labels from 0 to 1, one for each output; got -1 at 0. Map the classes with "
     "numpy.unique(y, return_inverse=True)."),
    (LABELS + 1, ValueError,
     "`Y` must hold labels from 0 to 1, one for each output; got 2 at 1. Map the classes with "
     "numpy.unique(y, return_inverse=True)."),
    (LABELS[:3], ValueError, "`Y` must have one label for each of the 4 rows of X; got 3."),
    (LABELS.astype(float), ValueError,
     "`Y` must have shape (4, 2), a row for each row of X, or integer labels of shape (4,); got (4,)."),
    (np.full((4, 2), 1.5), ValueError,
     "`Y` must lie in [0, 1] for `loss='cross_entropy'`; it reaches from 1.5 to 1.5."),
    (np.array([[1.0, 0.0]] * 3 + [[1.0, 0.5]]), ValueError,
     "`Y` must have rows that sum to 1 for softmax with cross-entropy; row 3 sums to 1.5. Use `output='sigmoid'` for "
     "classes that do not exclude each other."),
]  # fmt: skip

WEIGHTS = [
    (np.ones(3), ValueError, "`sample_weight` must have shape (4,), a weight for each row of X; got (3,)."),
    (np.ones((4, 1)), ValueError, "`sample_weight` must have shape (4,), a weight for each row of X; got (4, 1)."),
    ([1, 1, 1, -1], ValueError,
     "`sample_weight` must be finite and at least 0; a weight is how often a row counts."),
    ([1, 1, 1, np.nan], ValueError,
     "`sample_weight` must be finite and at least 0; a weight is how often a row counts."),
    ([1, 1, 1, np.inf], ValueError,
     "`sample_weight` must be finite and at least 0; a weight is how often a row counts."),
    (np.zeros(4), ValueError, "`sample_weight` must not be 0 everywhere; no row would count."),
    (["1"] * 4, TypeError,
     "`sample_weight` must hold real numbers; got dtype <U1. Convert it with numpy.asarray(sample_weight, 'float64') "
     "if it holds numbers, and encode anything else as numbers."),
    (np.ones(4, complex), TypeError,
     "`sample_weight` must hold real numbers; got dtype complex128. Pass its real and its imaginary part, or its "
     "absolute value."),
]  # fmt: skip

PARAMS = [
    (np.ones(5), ValueError, "`params` must have shape (26,), as `net.params` has; got (5,)."),
    (np.ones((26, 1)), ValueError, "`params` must have shape (26,), as `net.params` has; got (26, 1)."),
    (np.full(26, np.nan), ValueError, "`params` must be finite; found nan at (0,). Impute or drop such rows."),
    (np.ones(26, "f4"), TypeError,
     f"`params` must have the network's dtype float64, {FLOAT_RULE}; got float32. Convert it with .astype('float64'), "
     "or build the network with dtype='float32'."),
    (["a"] * 26, TypeError,
     "`params` must hold real numbers of dtype float64; got dtype <U1. Convert it with numpy.asarray(params, "
     "'float64') if it holds numbers, and encode anything else as numbers."),
]  # fmt: skip


@pytest.fixture
def net():
    """A trained network, which must be the same after the test."""
    net = bp.Network([3, 4, 2], activation="tanh", seed=0)
    yield from unchanged(net, Y)


@pytest.fixture
def classifier():
    """The same for classes."""
    net = bp.Network([3, 4, 2], output="softmax", loss="cross_entropy", seed=0)
    yield from unchanged(net, LABELS)


def unchanged(net, targets):
    """Hand out a trained network; afterwards it has the same parameters and would go on as before."""
    net.fit(X, targets, epochs=2, seed=0)
    params, state = net.params.copy(), net._training_state
    kept = state.vectors.copy(), state.step, state.powers, repr(state.rng.bit_generator.state)
    yield net
    assert same_bits(net.params, params)
    assert net._training_state is state
    assert same_bits(state.vectors, kept[0])
    assert (state.step, state.powers, repr(state.rng.bit_generator.state)) == kept[1:]


def calls_with_data(net, inputs, targets, **keywords):
    """Every method that takes inputs and targets."""
    methods = net.loss_value, net.value_and_grad, net.trace, net.fit
    return [lambda method=method: method(inputs, targets, **keywords) for method in methods]


@pytest.mark.parametrize(("value", "error", "message"), INPUTS, ids=texts(INPUTS))
def test_inputs(net, value, error, message):
    for call in [lambda: net.predict(value), *calls_with_data(net, value, Y)]:
        check(call, error, message)
    in_validation = f"In `validation_data`: {message}"
    check(lambda: net.fit(X, Y, validation_data=(value, Y)), error, in_validation)


def test_a_single_feature_is_one_column():
    check(
        lambda: bp.Network([1, 2]).predict(np.ones(5)),
        ValueError,
        "`X` must have shape (n_samples, 1) to fit the first layer; got (5,). A single feature is one column: "
        "X.reshape(-1, 1).",
    )


def test_inputs_of_another_byte_order(net):
    message = "`X` must have the network's dtype float64; got >f8. Convert it with .astype('float64')."
    check(lambda: net.predict(X.astype(">f8")), TypeError, message)


@pytest.mark.parametrize(("value", "error", "message"), TARGETS, ids=texts(TARGETS))
def test_targets(net, value, error, message):
    for call in calls_with_data(net, X, value):
        check(call, error, message)


@pytest.mark.parametrize(("value", "error", "message"), CLASSES, ids=texts(CLASSES))
def test_classes(classifier, value, error, message):
    for call in calls_with_data(classifier, X, value):
        check(call, error, message)


def test_targets_of_poisson():
    net = bp.Network([3, 2], output="exp", loss="poisson")
    message = "`Y` must be at least 0 for `loss='poisson'`; its smallest value is -1.0."
    check(lambda: net.loss_value(X, Y - 1), ValueError, message)


@pytest.mark.parametrize(("value", "error", "message"), WEIGHTS, ids=texts(WEIGHTS))
def test_sample_weights(net, value, error, message):
    for call in calls_with_data(net, X, Y, sample_weight=value):
        check(call, error, message)


@pytest.mark.parametrize(("value", "error", "message"), PARAMS, ids=texts(PARAMS))
def test_params(net, value, error, message):
    check(lambda: net.value_and_grad(X, Y, value), error, message)
    check(lambda: setattr(net, "params", value), error, message)


LAYERS = [
    ("weights", 0, np.ones((4, 3)), ValueError, "`weights[0]` must have shape (3, 4), that of the layer; got (4, 3)."),
    ("weights", -1, 1.0, ValueError, "`weights[1]` must have shape (4, 2), that of the layer; got ()."),
    ("biases", 1, np.ones((2, 1)), ValueError, "`biases[1]` must have shape (2,), that of the layer; got (2, 1)."),
    ("weights", 0, np.ones((3, 4), "f4"), TypeError,
     f"`weights[0]` must have the network's dtype float64, {FLOAT_RULE}; got float32. Convert it with "
     ".astype('float64'), or build the network with dtype='float32'."),
    ("biases", 0, np.full(4, np.nan), ValueError,
     "`biases[0]` must be finite; found nan at (0,). Impute or drop such rows."),
    ("biases", 0, None, TypeError,
     "`biases[0]` must hold real numbers of dtype float64; got NoneType. Pass an array, nested lists or a data frame."),
    ("weights", slice(None), [np.ones((3, 4)), np.ones((2, 4))], ValueError,
     "`weights[1]` must have shape (4, 2), that of the layer; got (2, 4)."),
    ("biases", slice(None), [np.ones(4)], ValueError,
     "`biases` must be given an array for each of the 2 layers of the slice; got 1."),
    ("biases", 2, np.ones(4), IndexError, "tuple index out of range"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layer", "value", "error", "message"), LAYERS, ids=texts(LAYERS))
def test_layers(net, name, layer, value, error, message):
    check(lambda: getattr(net, name).__setitem__(layer, value), error, message)


# ---- Training ------------------------------------------------------------------------------------------------------

VALIDATION_RULE = "`validation_data` must be (X_val, Y_val) or (X_val, Y_val, sample_weight_val)."
CALLBACKS_RULE = "`callbacks` must be a sequence of callables, each called as callback(net, history)."
FIT = [
    ({"epochs": -1}, ValueError, "`epochs` must be at least 0; got -1."),
    ({"epochs": 2.0}, TypeError, "`epochs` must be an integer of at least 0; got 2.0."),
    ({"epochs": True}, TypeError, "`epochs` must be an integer of at least 0; got True."),
    ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1; got 0."),
    ({"batch_size": 5}, ValueError,
     "`batch_size` must be at most the number of rows of X, 4; got 5. None uses all rows at once."),
    ({"batch_size": 2.5}, TypeError, "`batch_size` must be an integer of at least 1; got 2.5."),
    ({"batch_size": "all"}, ValueError, "`batch_size` must be an integer, None or 'auto'; got 'all'."),
    ({"optimizer": "adam"}, TypeError, "`optimizer` must be an optimizer such as bp.Adam(); got 'adam'."),
    ({"optimizer": bp.Adam}, TypeError, f"`optimizer` must be an optimizer such as bp.Adam(); got {bp.Adam!r}."),
    ({"seed": -2}, ValueError, "`seed` must be at least 0; got -2."),
    ({"seed": "a"}, TypeError, "`seed` must be an integer of at least 0; got 'a'."),
    ({"tol": -1e-3}, ValueError, "`tol` must be at least 0; got -0.001."),
    ({"tol": "small"}, TypeError, "`tol` must be a number at least 0; got 'small'."),
    ({"clip_norm": 0.0}, ValueError, "`clip_norm` must be above 0; got 0.0."),
    ({"clip_norm": np.nan}, ValueError, "`clip_norm` must be above 0; got nan."),
    ({"n_threads": 0}, ValueError, "`n_threads` must be at least 1; got 0."),
    ({"n_threads": 1.0}, TypeError, "`n_threads` must be an integer of at least 1; got 1.0."),
    ({"callbacks": print}, TypeError, CALLBACKS_RULE),
    ({"callbacks": [1]}, TypeError, CALLBACKS_RULE),
    ({"callbacks": None}, TypeError, CALLBACKS_RULE),
    ({"validation_data": X}, TypeError, VALIDATION_RULE),
    ({"validation_data": (X,)}, TypeError, VALIDATION_RULE),
    ({"validation_data": (X, Y, None, None)}, TypeError, VALIDATION_RULE),
    ({"validation_data": (X, Y[:3])}, ValueError,
     "In `validation_data`: `Y` must have shape (4, 2), a row for each row of X; got (3, 2)."),
    ({"early_stopping": True}, TypeError, "`early_stopping` must be a bp.EarlyStopping or None; got True."),
    ({"early_stopping": bp.EarlyStopping()}, ValueError,
     "`early_stopping` needs `validation_data=(X_val, Y_val)` to watch; got none."),
]  # fmt: skip


@pytest.mark.parametrize(("keywords", "error", "message"), FIT, ids=texts(FIT))
def test_fit(net, keywords, error, message):
    check(lambda: net.fit(X, Y, **keywords), error, message)


def test_threads(net):
    message = "`n_threads` must be at least 1; got 0."
    for call in (net.loss_value, net.value_and_grad):
        check(lambda call=call: call(X, Y, n_threads=0), ValueError, message)
    check(lambda: net.predict(X, n_threads=0), ValueError, message)


def test_early_stopping():
    check(lambda: bp.EarlyStopping(patience=0), ValueError, "`patience` must be at least 1; got 0.")
    check(lambda: bp.EarlyStopping(min_delta=-1), ValueError, "`min_delta` must be at least 0; got -1.")


# ---- What random arguments found -----------------------------------------------------------------------------------

NET = bp.Network([3, 2], seed=0)


class NoArray:
    """Says that it is an array, and is none."""

    def __array__(self, *_, **__):
        raise ValueError("no")


FOUND = [
    (lambda: NET.predict(np.ma.masked_greater(X, 3.0)), TypeError,
     "`X` must not be a masked array, whose mask would be lost. Use .filled() or drop rows."),
    (lambda: NET.loss_value(X, np.ma.masked_less(Y, 0.0)), TypeError,
     "`Y` must not be a masked array, whose mask would be lost. Use .filled() or drop rows."),
    (lambda: NET.loss_value(X, Y, [[1.0], [2.0, 3.0]]), ValueError,
     "`sample_weight` must be an array of numbers; its rows have different lengths."),
    (lambda: NET.predict(NoArray()), ValueError, "`X` must be an array of numbers; NoArray is none."),
    (lambda: NET.loss_value(X, Y, NoArray()), ValueError,
     "`sample_weight` must be an array of numbers; NoArray is none."),
    (lambda: bp.check_gradient(NET, X, Y, gradient=[[1.0], [2.0, 3.0]]), ValueError,
     "`gradient` must be an array of numbers; its rows have different lengths."),
    (lambda: NET.fit(X, Y, shuffle=X), TypeError, "`shuffle` must be True or False; got ndarray."),
    (lambda: NET.fit(X, Y, progress="yes"), TypeError, "`progress` must be True or False; got str."),
    (lambda: bp.finite_difference_gradient(NET, X, Y, progress=1), TypeError,
     "`progress` must be True or False; got int."),
    (lambda: bp.EarlyStopping(restore_best=1), TypeError, "`restore_best` must be True or False; got int."),
    (lambda: bp.finite_difference_gradient(NET, X, Y, reuse_layers=X), TypeError,
     "`reuse_layers` must be True or False; got ndarray."),
    (lambda: bp.find_learning_rate(NET, X, Y, optimizer="Adam"), TypeError,
     "`optimizer` must be an optimizer such as bp.Adam(); got 'Adam'."),
    (lambda: bp.find_learning_rate(bp.Network, X, Y), TypeError, "`net` must be a bp.Network; got type."),
    (lambda: bp.finite_difference_gradient(None, X, Y), TypeError, "`net` must be a bp.Network; got NoneType."),
    (lambda: bp.check_gradient([3, 2], X, Y), TypeError, "`net` must be a bp.Network; got list."),
    (lambda: bp.node_perturbation("net", X, Y), TypeError, "`net` must be a bp.Network; got str."),
    (lambda: bp.random_weight_search(3, X, Y, 1), TypeError, "`net` must be a bp.Network; got int."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), FOUND, ids=texts(FOUND))
def test_what_random_arguments_found(call, error, message):
    before = NET.params.copy()
    check(call, error, message)
    assert same_bits(NET.params, before)
    assert NET._training_state is None
