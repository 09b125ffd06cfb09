"""What `fastbp.nielsen` says to data in the wrong form, to wrong arguments and to damaged files."""

import errno
import functools
import json
import os
import random
import re

import numpy as np
import pytest

import fastbp as bp
import fastbp.nielsen as network
import fastbp.nielsen2 as network2

SIZES = [4, 3, 10]
X = np.arange(4.0).reshape(-1, 1)
Y = network.vectorized_result(2)
TRAINING = [(X, Y), (X + 1, Y)]
TEST = [(X, 2), (X + 1, 3)]

FORM = "a list of (x, y) with columns x of shape (4, 1) and y of shape (10, 1)"
TEST_FORM = "a list of (x, label) with columns x of shape (4, 1) and labels 0 to 9"


def message(kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.fixture
def net():
    return network.Network(SIZES)


@pytest.fixture(autouse=True)
def nothing_printed(capsys):
    yield
    assert capsys.readouterr().out == ""


# --- data in the wrong form -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([(X, Y), (X.ravel(), Y)], "item 1 has x = an array of shape (4,). A column is x.reshape(-1, 1)."),
        ([(X.T, Y)], "item 0 has x = an array of shape (1, 4). A column is x.reshape(-1, 1)."),
        ([(X[:3], Y)], "item 0 has x = an array of shape (3, 1)."),
        ([(X, Y), (X, 5)], "item 1 has y = 5. The column of a label is vectorized_result(5)."),
        ([(X, np.uint8(5))], f"item 0 has y = {np.uint8(5)!r}. The column of a label is vectorized_result(5)."),
        ([(X, 12)], "item 0 has y = 12."),
        ([(X, Y.T)], "item 0 has y = an array of shape (1, 10). A column is y.reshape(-1, 1)."),
        ([(X, [[1.0]] * 3)], "item 0 has y = a list of length 3."),
        ([(X, "two")], "item 0 has y = 'two'."),
        ([(X.astype(str), Y)], "item 0 has x = an array of shape (4, 1) and dtype <U32."),
        ([(1j * X, Y)], "item 0 has x = an array of shape (4, 1) and dtype complex128."),
        ([(None, Y)], "item 0 has x = None."),
        ([(X, Y, 1)], "item 0 is a tuple of length 3."),
        ([X, X], "item 0 is an array of shape (4, 1)."),
        ([np.hstack([X, X])], "item 0 is an array of shape (4, 2)."),
        ((np.zeros((50, 4)), np.zeros((50, 10))), "item 0 is an array of shape (50, 4)."),
        (np.zeros((50, 4)), "item 0 is an array of shape (4,)."),
        ([3], "item 0 is 3."),
        ([object], "item 0 is <class 'object'>."),
    ],
)
def test_training_data(net, data, text):
    assert message(ValueError, lambda: net.SGD(data, 1, 2, 3.0)) == f"`training_data` must be {FORM}; {text}"
    assert message(ValueError, lambda: net.update_mini_batch(data, 3.0)) == f"`mini_batch` must be {FORM}; {text}"
    assert message(ValueError, lambda: net.accuracy(data, convert=True)) == f"`data` must be {FORM}; {text}"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (TRAINING, "item 0 has label an array of shape (10, 1). The label of a vector y is y.argmax()."),
        ([(X, 1), (X, [1, 2])], "item 1 has label a list of length 2."),
        ([(X, "2")], "item 0 has label '2'."),
        ([(X.ravel(), 2)], "item 0 has x = an array of shape (4,). A column is x.reshape(-1, 1)."),
    ],
)
def test_test_data(net, data, text):
    assert message(ValueError, lambda: net.evaluate(data)) == f"`test_data` must be {TEST_FORM}; {text}"
    assert message(ValueError, lambda: net.SGD(list(TRAINING), 1, 2, 3.0, test_data=data)).endswith(text)
    improved = network2.Network(SIZES)
    assert message(ValueError, lambda: improved.SGD(list(TRAINING), 1, 2, 3.0, evaluation_data=data)) == (
        f"`evaluation_data` must be {TEST_FORM}; {text}"
    )


def test_labels_that_are_no_outputs():
    data = [(X, 2), (X, 10)]
    net = network2.Network(SIZES)
    assert net.evaluate(data) in (0, 1)  # as in the published code, such a sample is never right
    text = "must have labels from 0 to 9, one for each output; item 1 has 10."
    assert message(ValueError, lambda: net.total_cost(data, 0.0, convert=True)) == f"`data` {text}"
    assert message(ValueError, lambda: net.total_cost([(X, 1), (X, 2.5)], 0.0, convert=True)) == (
        "`data` must have labels from 0 to 9, one for each output; item 1 has 2.5."
    )
    before = [w.copy() for w in net.weights]
    sgd = functools.partial(net.SGD, list(TRAINING), 1, 2, 0.5, evaluation_data=data, monitor_evaluation_cost=True)
    assert message(ValueError, sgd) == f"`evaluation_data` {text}"
    assert all(np.array_equal(a, b) for a, b in zip(net.weights, before, strict=True))  # nothing was trained


def test_data_that_are_no_lists(net):
    expected = "`training_data` must be a list of pairs (x, y); got 5."
    assert message(TypeError, lambda: net.SGD(5, 1, 2, 3.0)) == expected
    expected = "`test_data` must be a list of pairs (x, y); got 'digits'."
    assert message(TypeError, lambda: net.evaluate("digits")) == expected
    expected = "`training_data` must have at least one pair (x, y); got an empty list."
    assert message(ValueError, lambda: net.SGD(iter(()), 1, 2, 3.0)) == expected


def test_values_that_are_not_finite(net):
    wrong = X.copy()
    wrong[2, 0] = np.nan
    expected = "`training_data` must be finite; item 1 has x[2] = nan."
    assert message(ValueError, lambda: net.SGD([(X, Y), (wrong, Y)], 1, 2, 3.0)) == expected


def test_targets_that_are_no_probabilities():
    expected = "`y of training_data` must lie in [0, 1] for `loss='cross_entropy'`; it reaches from 0.0 to 3.0."
    assert message(ValueError, lambda: network2.Network(SIZES).SGD([(X, 3 * Y)], 1, 2, 3.0)) == expected


def test_single_columns(net):
    expected = "`a` must be a column of shape (4, 1); got an array of shape (4,). A column is a.reshape(-1, 1)."
    assert message(ValueError, lambda: net.feedforward(X.ravel())) == expected
    expected = "`x` must be a column of shape (4, 1); got an array of shape (10, 1)."
    assert message(ValueError, lambda: net.backprop(Y, X)) == expected
    expected = "`y` must be a column of shape (10, 1); got 7. The column of a label is vectorized_result(7)."
    assert message(ValueError, lambda: net.backprop(X, 7)) == expected
    small = network.Network([4, 3])
    expected = "`y` must be a column of shape (3, 1); got 2. The column of a label is vectorized_result(2, 3)."
    assert message(ValueError, lambda: small.backprop(X, 2)) == expected


def test_several_columns_are_several_samples(net):
    both = net.feedforward(np.hstack([X, X + 1]))
    np.testing.assert_allclose(both, np.hstack([net.feedforward(X), net.feedforward(X + 1)]), rtol=1e-14)


# --- weights that do not fit ------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit(net):
    net.weights[1] = np.zeros((3, 10))
    expected = "`weights[1]` must be an array of shape (10, 3) to fit the sizes; got an array of shape (3, 10)."
    assert message(ValueError, lambda: net.evaluate(TEST)) == expected
    net.weights = net.weights[:1]
    expected = "`weights` must be a list of 2 arrays to fit the sizes [4, 3, 10]; got a list of length 1."
    data = list(TRAINING)
    for seed in range(5):
        random.seed(seed)
        assert message(ValueError, lambda: net.SGD(data, 1, 2, 3.0)) == expected
        assert data == TRAINING  # nothing was shuffled
    net = network.Network(SIZES)
    net.biases[0] = np.zeros(3)
    expected = "`biases[0]` must be an array of shape (3, 1) to fit the sizes; got an array of shape (3,)."
    assert message(ValueError, lambda: net.update_mini_batch(TRAINING, 3.0)) == expected


# --- other arguments --------------------------------------------------------------------------------------------------


def test_constructor():
    assert message(ValueError, lambda: network.Network([4])) == (
        "`sizes` must have at least two entries, the inputs and the outputs; got [4]."
    )
    assert message(TypeError, lambda: network.Network([4, 2.5])) == (
        "`sizes[1]` must be an integer of at least 1; got 2.5."
    )
    assert message(ValueError, lambda: network.Network(SIZES, dtype="int64")) == (
        "`dtype` must be 'float32' or 'float64'; got 'int64'."
    )
    assert message(TypeError, lambda: network.Network(SIZES, "CrossEntropyCost")) == (
        "`cost` must be QuadraticCost, CrossEntropyCost or a class with static methods fn(a, y) and delta(z, a, y); "
        "got 'CrossEntropyCost'."
    )


@pytest.mark.parametrize(
    ("kind", "arguments", "named", "text"),
    [
        (TypeError, (1.5, 2, 3.0), {}, "`epochs` must be an integer of at least 0; got 1.5."),
        (ValueError, (1, 0, 3.0), {}, "`mini_batch_size` must be at least 1; got 0."),
        (ValueError, (1, 2, 0.0), {}, "`eta` must be above 0; got 0.0."),
        (ValueError, (1, 2, np.inf), {}, "`eta` must be above 0; got inf."),
        (ValueError, (1, 2, 3.0), {"lmbda": -1.0}, "`lmbda` must be at least 0; got -1.0."),
        (ValueError, (1, 2, 3.0), {"early_stopping_n": -1}, "`early_stopping_n` must be at least 0; got -1."),
        (
            ValueError,
            (1, 2, 3.0),
            {"early_stopping_n": 2},
            "`early_stopping_n` needs an accuracy to watch: give `evaluation_data`, a list of (x, label), or "
            "monitor_training_accuracy=True.",
        ),
        (
            ValueError,
            (1, 2, 3.0),
            {"monitor_evaluation_cost": True},
            "`monitor_evaluation_cost` and `monitor_evaluation_accuracy` need `evaluation_data`, a list of (x, label); "
            "got none.",
        ),
        (
            TypeError,
            (1, 2, 3.0),
            {"test_data": TEST, "lmbda": 0.1},
            "`test_data` is an argument of the first form of SGD only. With a `cost`, or with another argument of the "
            "improved form, write evaluation_data=test_data, monitor_evaluation_accuracy=True.",
        ),
        (
            TypeError,
            (1, 2, 3.0, TEST),
            {"test_data": TEST},
            "`test_data` was given twice: as the fifth argument, and by name.",
        ),
    ],
)
def test_arguments_of_sgd(net, kind, arguments, named, text):
    data, before = list(TRAINING), [w.copy() for w in net.weights]
    assert message(kind, lambda: net.SGD(data, *arguments, **named)) == text
    assert data == TRAINING  # nothing was shuffled
    assert all(np.array_equal(a, b) for a, b in zip(net.weights, before, strict=True))


def test_a_step_with_a_penalty_needs_n(net):
    expected = "`n` must be an integer of at least 1; got None."
    assert message(TypeError, lambda: net.update_mini_batch(TRAINING, 3.0, 0.1)) == expected


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [network, network2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cost", ["CrossEntropyCost", "QuadraticCost"])
def test_a_saved_network_comes_back(tmp_path, module, cost, dtype):
    path = tmp_path / "net.json"
    net = module.Network(SIZES, cost=getattr(module, cost), dtype=dtype)
    net.save(str(path))
    found = module.load(str(path))
    assert type(found) is module.Network
    assert found.cost is net.cost
    assert (found.sizes, found.num_layers, found.dtype) == (SIZES, 3, net.dtype)
    for left, right in zip([*found.weights, *found.biases], [*net.weights, *net.biases], strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    assert found.evaluate(TEST) == net.evaluate(TEST)


class HalfCost(network2.QuadraticCost):
    """A cost of one's own."""


class QuadraticCost(network2.QuadraticCost):
    """Another one, with a name that load knows."""


def spoilt(value, **arguments):
    """A network with one weight or bias that is no number."""
    net = network2.Network(SIZES, **arguments)
    net.biases[1][0, 0] = value
    return net


NOT_FINITE = (
    "`weights` and `biases` must be finite to be saved, because a file with NaN or infinity would be taken for damaged."
)
OWN_COST = (
    "`cost` must be QuadraticCost or CrossEntropyCost for the network to be saved, since a file holds no code; got {}. "
    "Set one of them before, and your own again after loading: the weights do not depend on it."
)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: spoilt(np.nan), ValueError, NOT_FINITE),
        (lambda: spoilt(-np.inf, dtype="float32"), ValueError, NOT_FINITE),
        (lambda: network2.Network(SIZES, cost=HalfCost), TypeError, OWN_COST.format("HalfCost")),
        (lambda: network2.Network(SIZES, cost=HalfCost()), TypeError, OWN_COST.format("HalfCost")),
        (lambda: network2.Network(SIZES, cost=QuadraticCost), TypeError, OWN_COST.format("QuadraticCost")),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_touched(tmp_path, make, error, text):
    path = tmp_path / "net.json"
    path.write_text("as it was")
    assert message(error, lambda: make().save(path)) == text
    assert path.read_text() == "as it was"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """As where the disk is full, or the power fails."""
    path = tmp_path / "net.json"
    net = network2.Network(SIZES)
    net.save(path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(os, "fsync", fail)
    reason = f"{os.strerror(errno.ENOSPC)}; the file was not written, and one that was there is as it was"
    text = message(OSError, lambda: network2.Network([3, 2]).save(path))
    assert text == f"[Errno {errno.ENOSPC}] {reason}: '{path}'"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_names_of_files(tmp_path):
    net = network2.Network(SIZES)
    expected = "`filename` must be the name of a file, a str or os.PathLike[str]; got int."
    assert message(TypeError, lambda: net.save(3)) == expected
    folder = tmp_path / "missing"
    expected = f"[Errno {errno.ENOENT}] `filename` must lie in a folder that exists; os.makedirs can create it: "
    assert message(FileNotFoundError, lambda: net.save(folder / "net.json")) == f"{expected}'{folder / 'net.json'}'"


def test_the_file_has_the_published_form(tmp_path):
    path = tmp_path / "net.json"
    net = network.Network(SIZES)
    net.save(path)
    content = json.loads(path.read_text())
    assert list(content) == ["sizes", "weights", "biases", "cost"]
    assert (content["sizes"], content["cost"]) == (SIZES, "QuadraticCost")
    np.testing.assert_array_equal(content["weights"][1], net.weights[1])
    np.testing.assert_array_equal(content["biases"][1], net.biases[1])
    assert network.load(path).cost is network.QuadraticCost


def valid():
    net = network2.Network([2, 2])
    return {"sizes": [2, 2], "weights": [net.weights[0].tolist()], "biases": [[[0.0], [0.5]]], "cost": "QuadraticCost"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not valid JSON: Expecting value: line 1 column 1 (char 0)."),
        (b'{"sizes": [2, 2], "wei', "is not valid JSON: Unterminated string starting at: line 1 column 19 (char 18)."),
        (b"\xff\xfe\xfa", None),
        (b"[" * 200_000, None),
        (b"[1, 2]", "must be a JSON object; it is a list."),
        (b'{"sizes": [2, 2], "cost": "QuadraticCost"}', "it has no weights, biases."),
        ({"cost": "Network"}, "cost must be one of CrossEntropyCost, QuadraticCost; it is 'Network'."),
        ({"cost": "os"}, "cost must be one of CrossEntropyCost, QuadraticCost; it is 'os'."),
        ({"cost": ["QuadraticCost"]}, "cost must be one of CrossEntropyCost, QuadraticCost; it is ['QuadraticCost']."),
        ({"sizes": [2, 10**9]}, "weights[0] must hold numbers in shape (1000000000, 2), as sizes says."),
        ({"sizes": [2, -2]}, "`sizes[1]` must be at least 1; got -2."),
        ({"sizes": "22"}, "`sizes` must be a sequence of layer sizes such as [784, 30, 10]; got '22'."),
        ({"sizes": [2, 2, 2]}, "weights must be a list of 2 arrays, as sizes says."),
        ({"weights": {"0": 1}}, "weights must be a list of 1 arrays, as sizes says."),
        ({"weights": [[[1.0, 2.0], [3.0]]]}, "weights[0] must hold numbers in shape (2, 2), as sizes says."),
        ({"weights": [[["1", "2"], ["3", "4"]]]}, "weights[0] must hold numbers in shape (2, 2), as sizes says."),
        ({"weights": [[[None, 2.0], [3.0, 4.0]]]}, "weights[0] must hold numbers in shape (2, 2), as sizes says."),
        ({"weights": [[[10**400, 2.0], [3.0, 4.0]]]}, "weights[0] must hold numbers in shape (2, 2), as sizes says."),
        ({"weights": [[[float("nan"), 2.0], [3.0, 4.0]]]}, "is not valid JSON: NaN is not a number."),
        ({"biases": [[0.0, 0.5]]}, "biases[0] must hold numbers in shape (2, 1), as sizes says."),
        ({"biases": [[[float("inf")], [0.5]]]}, "is not valid JSON: Infinity is not a number."),
        ({"dtype": "object"}, "`dtype` must be 'float32' or 'float64'; got 'object'."),
    ],
)
def test_damaged_files(tmp_path, content, reason):
    path = tmp_path / "net.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(valid() | content).encode())
    np.random.seed(0)
    text = message(bp.FileError, lambda: network.load(path))
    begin = f"The file '{path}' cannot be loaded: it is damaged, or not a file that Network.save of nielsen wrote: "
    assert text.startswith(begin)
    if reason is not None:
        assert text[len(begin) :] == reason
    assert re.search(r"\S$", text)


def test_a_valid_file_of_the_same_form_is_read(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(valid()))
    assert network.load(path).biases[0].tolist() == [[0.0], [0.5]]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        network.load(tmp_path / "missing.json")
