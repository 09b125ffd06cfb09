"""Metrics of a fit, each compared with scikit-learn's on predictions that are made after the fit."""

import itertools
import pickle
import re
import sys

import numba
import numpy as np
import pytest
import scipy.sparse
import sklearn.metrics as sk
from sklearn.neural_network import MLPClassifier

import fastbp as bp
from fastbp.training.history import last_losses
from tests.test_checkpoint import CURE
from tests.test_wrong_input import check
from tests.twins import same_bits

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
RNG = np.random.default_rng(5)
X = RNG.normal(size=(90, 4))
LABELS = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.4)  # 0, 1, 2
ONE_HOT = np.eye(3)[LABELS]
BINARY = LABELS > 0
SEVERAL = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 0] + X[:, 2] > 0.5])
NUMBERS = np.column_stack([X[:, 0] * X[:, 1], X[:, 2]])
WEIGHTS = RNG.uniform(0.5, 2, 90)
FORMS = (
    "the name of one of scikit-learn's scorers, a scorer (estimator, X, y) or a function (Y_true, Y_pred) that returns "
    "a number"
)
AFTER = "The network has the parameters after the epoch at hand, which is not recorded."


def softmax(dtype="float64", **settings):
    return bp.Network([4, 6, 3], "tanh", "softmax", "cross_entropy", dtype=dtype, seed=0, **settings)


def sigmoids(n_outputs, dtype="float64"):
    return bp.Network([4, 6, n_outputs], "tanh", "sigmoid", "cross_entropy", dtype=dtype, seed=0)


def identity(n_outputs, dtype="float64"):
    return bp.Network([4, 6, n_outputs], "tanh", dtype=dtype, seed=0)


def last(history):
    """The last value of each metric."""
    return {name: values[-1] for name, values in history.metrics.items()}


def fitted(net, Y, metrics, epochs=8, **settings):
    """The metrics after the last epoch, of half of the rows that are not trained on."""
    rows = X.astype(net.dtype)
    Y = Y if Y.dtype.kind != "f" else Y.astype(net.dtype)
    weights = settings.pop("weights", None)
    validation = (rows[45:], Y[45:]) if weights is None else (rows[45:], Y[45:], weights[45:])
    history = net.fit(
        rows[:45], Y[:45], epochs=epochs, batch_size=9, seed=0, metrics=metrics, validation_data=validation,
        optimizer=bp.Adam(0.03), **settings,
    )  # fmt: skip
    assert all(values.shape == (epochs,) for values in history.metrics.values())
    return last(history), net.predict(rows[45:])


# ---- The same values as scikit-learn ---------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("Y", [LABELS, ONE_HOT], ids=["labels", "one-hot"])
def test_classes_of_a_softmax(Y, dtype):
    macro = sk.make_scorer(sk.f1_score, average="macro")
    names = {"accuracy": "accuracy", "log loss": "neg_log_loss", "auc": "roc_auc_ovr", "f1": macro}
    found, outputs = fitted(softmax(dtype), Y, names)
    y, predicted = LABELS[45:], outputs.argmax(1)
    assert found == {
        "val_accuracy": sk.accuracy_score(y, predicted), "val_log loss": -sk.log_loss(y, outputs),
        "val_auc": sk.roc_auc_score(y, outputs, multi_class="ovr"),
        "val_f1": sk.f1_score(y, predicted, average="macro"),
    }  # fmt: skip


@dtypes
@pytest.mark.parametrize("shape", [(90,), (90, 1)])
def test_two_classes_of_a_sigmoid(shape, dtype):
    names = ["accuracy", "neg_log_loss", "roc_auc", "average_precision", "f1", "neg_brier_score", "jaccard"]
    found, outputs = fitted(sigmoids(1, dtype), BINARY.reshape(shape), {name: name for name in names})
    y, share = BINARY[45:], outputs[:, 0]
    expected = {
        "accuracy": sk.accuracy_score(y, share > 0.5), "neg_log_loss": -sk.log_loss(y, share),
        "roc_auc": sk.roc_auc_score(y, share), "average_precision": sk.average_precision_score(y, share),
        "f1": sk.f1_score(y, share > 0.5), "neg_brier_score": -sk.brier_score_loss(y, share),
        "jaccard": sk.jaccard_score(y, share > 0.5),
    }  # fmt: skip
    assert list(found) == [f"val_{name}" for name in names]
    np.testing.assert_allclose(
        list(found.values()), list(expected.values()), rtol=1e-6 if dtype == "float32" else 1e-13
    )


@pytest.mark.parametrize("n_labels", [2, 3])
def test_labels_that_do_not_exclude_each_other(n_labels):
    Y = SEVERAL[:, :n_labels]
    scorers = {"accuracy": "accuracy", "auc": "roc_auc", "f1": "f1_macro", "ap": "average_precision"}
    found, outputs = fitted(sigmoids(n_labels), Y, scorers)
    y, labels = Y[45:].astype(int), outputs > 0.5
    assert found == {
        "val_accuracy": sk.accuracy_score(y, labels), "val_auc": sk.roc_auc_score(y, outputs),
        "val_f1": sk.f1_score(y, labels, average="macro"), "val_ap": sk.average_precision_score(y, outputs),
    }  # fmt: skip


def test_sigmoids_of_classes_that_exclude_each_other():
    net = bp.Network([4, 6, 3], "sigmoid", "sigmoid", seed=0)  # as in Nielsen's text
    found, outputs = fitted(net, ONE_HOT, {"accuracy": "accuracy", "log loss": "neg_log_loss"})
    y = LABELS[45:]
    shares = outputs / outputs.sum(axis=1, keepdims=True)
    assert found == {
        "val_accuracy": (outputs.argmax(1) == y).mean(), "val_log loss": pytest.approx(-sk.log_loss(y, shares))
    }  # fmt: skip
    net.biases[1][:] = -1e4  # outputs that are 0, which no sum divides
    net.weights[1][:] = 0
    history = net.fit(X, ONE_HOT, 1, optimizer=bp.SGD(1e-9), metrics={"log loss": "neg_log_loss"})
    assert not net.predict(X).any()
    assert history.metrics["log loss"][0] == pytest.approx(-np.log(3))


@dtypes
def test_numbers(dtype):
    mse = sk.make_scorer(sk.mean_squared_error, greater_is_better=False, multioutput=[0.25, 0.75])
    found, outputs = fitted(identity(2, dtype), NUMBERS, {"r2": "r2", "mse": mse, "function": sk.mean_absolute_error})
    Y = NUMBERS[45:].astype(dtype)
    assert found == {
        "val_r2": sk.r2_score(Y, outputs), "val_mse": -sk.mean_squared_error(Y, outputs, multioutput=[0.25, 0.75]),
        "val_function": sk.mean_absolute_error(Y, outputs),
    }  # fmt: skip
    found, outputs = fitted(identity(1, dtype), NUMBERS[:, :1], {"r2": "r2", "max": "neg_max_error"})
    y = NUMBERS[45:, 0].astype(dtype)
    assert found == {"val_r2": sk.r2_score(y, outputs), "val_max": -sk.max_error(y, outputs)}


def test_what_is_numbers_and_what_is_labels():
    """Soft targets of a softmax are numbers, and so are 0 and 1 where outputs are no probabilities."""
    found, outputs = fitted(softmax(), np.full((90, 3), 1 / 3), {"r2": "neg_mean_squared_error"})
    assert found["val_r2"] == -sk.mean_squared_error(np.full((45, 3), 1 / 3), outputs)
    found, outputs = fitted(identity(1), BINARY, {"r2": "r2"})
    assert found["val_r2"] == sk.r2_score(BINARY[45:], outputs)


def test_scores_are_those_of_scikit_learns_own_estimator():
    """The same parameters in an estimator of scikit-learn's have the same scores."""
    names = ["accuracy", "neg_log_loss", "roc_auc_ovo", "balanced_accuracy", "top_k_accuracy", "f1_weighted"]
    net = softmax()
    found, _ = fitted(net, LABELS, {name: name for name in names})
    theirs = MLPClassifier((6,), activation="tanh", max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        theirs.fit(X, LABELS)
    theirs.coefs_, theirs.intercepts_ = list(net.weights), list(net.biases)
    expected = [sk.get_scorer(name)(theirs, X[45:], LABELS[45:]) for name in names]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


# ---- What is called with what ----------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize(
    ("make", "Y", "shapes"),
    [
        (softmax, LABELS, [(45,), (45, 3)]), (softmax, ONE_HOT, [(45, 3), (45, 3)]), (sigmoids, BINARY, [(45,), (45,)]),
        (sigmoids, BINARY[:, None], [(45,), (45,)]), (identity, NUMBERS, [(45, 2), (45, 2)]),
    ],
    ids=["labels", "one-hot", "one output", "one column", "two outputs"],
)  # fmt: skip
def test_what_a_function_gets(make, Y, shapes, dtype):
    seen = []

    def look(Y_true, Y_pred):
        seen.append((Y_true, Y_pred))
        return 0

    net = make(dtype=dtype) if make is softmax else make(shapes[0][-1] if len(shapes[0]) > 1 else 1, dtype=dtype)
    _, outputs = fitted(net, Y, {"look": look})
    Y_true, Y_pred = seen[-1]
    assert [Y_true.shape, Y_pred.shape] == shapes
    assert Y_true.dtype == (np.int64 if Y is LABELS else dtype)
    assert same_bits(Y_pred.reshape(outputs.shape), outputs)
    np.testing.assert_array_equal(Y_true.reshape(Y[45:].shape), Y[45:].astype(dtype))
    assert not Y_true.flags.writeable
    assert not Y_pred.flags.writeable


def test_without_validation_data_the_rows_that_are_trained_on():
    net = softmax()
    history = net.fit(X, LABELS, epochs=3, seed=0, metrics={"accuracy": "accuracy", "zero": lambda Y, outputs: 0})
    assert history.accuracy[-1] == (net.predict(X).argmax(1) == LABELS).mean()
    assert list(history.metrics) == ["accuracy", "zero"]
    assert history.zero.tolist() == [0.0] * 3
    assert list(history.as_dict()) == ["loss", "learning_rate", "seconds", "accuracy", "zero"]


def test_a_value_for_each_epoch_with_the_parameters_after_it():
    seen = []
    net = softmax()
    history = net.fit(
        X, LABELS, epochs=5, seed=0, metrics={"accuracy": "accuracy"},
        callbacks=[lambda net, history: seen.append((net.predict(X).argmax(1) == LABELS).mean())],
    )  # fmt: skip
    assert history.accuracy.tolist() == seen


def test_nothing_else_changes():
    """Parameters and losses are to the bit those of a fit without metrics."""
    nets = [softmax(dropout=0.3) for _ in range(2)]
    for net, metrics in zip(nets, (None, {"accuracy": "accuracy"}), strict=True):
        net.fit(X, LABELS, epochs=4, seed=0, metrics=metrics)
    assert same_bits(nets[0].params, nets[1].params)
    assert same_bits(nets[0].history.loss, nets[1].history.loss)
    assert nets[0].history.metrics == {}
    assert softmax().fit(X, LABELS, epochs=1, metrics={}).metrics == {}


def test_a_scorer_of_ones_own_gets_an_estimator_and_the_rows():
    seen = []

    def scorer(estimator, X, y):
        seen.append((X, y))
        shuffled = estimator.predict(X[::-1])  # other rows are predicted as well
        assert same_bits(estimator.predict(np.array(X)), estimator.predict(X))
        assert same_bits(shuffled[::-1], estimator.predict(X))
        return np.float32((estimator.predict(X) == y).mean())

    found, outputs = fitted(softmax(), LABELS, {"own": scorer})
    assert found["val_own"] == np.float32((outputs.argmax(1) == LABELS[45:]).mean())
    rows, y = seen[0]
    assert same_bits(rows, X[45:])
    assert not rows.flags.writeable
    assert y.tolist() == LABELS[45:].tolist()
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_scorers_that_can_do_without_targets_are_scorers():
    """As those of scikit-learn that call `score`; a function of targets and outputs may take more, too."""
    metrics = {
        "own": lambda model, X, y=None: (model.predict(X) == y).mean(),
        "any": lambda estimator, *arguments, **keywords: estimator.score(*arguments, **keywords),
        "score": sk.check_scoring(MLPClassifier()),
        "function": lambda Y_true, Y_pred, places=1: (Y_pred.argmax(places) == Y_true).mean(),
        "odd": lambda Y, X: (X.argmax(1) == Y).mean(),
    }
    found, outputs = fitted(softmax(), LABELS, metrics)
    assert set(found.values()) == {(outputs.argmax(1) == LABELS[45:]).mean()}


def test_sparse_rows():
    sparse = scipy.sparse.csr_array(np.where(X > 0.5, X, 0))
    seen = []

    def scorer(estimator, X, y):
        seen.append(X.copy())
        X.data[:] = 0  # which are not the network's
        return (estimator.predict(X) == y).mean()

    net = softmax()
    history = net.fit(sparse, LABELS, epochs=2, seed=0, metrics={"accuracy": "accuracy", "own": scorer})
    assert history.accuracy[-1] == history.own[-1] == (net.predict(sparse).argmax(1) == LABELS).mean()
    assert (seen[0] != sparse).nnz == 0


def test_weights_go_to_those_that_take_them():
    def weighted(Y_true, Y_pred, sample_weight=None):
        return np.average(Y_true == Y_pred.argmax(1), weights=sample_weight)

    metrics = {
        "accuracy": "accuracy", "own": weighted, "unweighted": lambda Y, outputs: (outputs.argmax(1) == Y).mean(),
        "scorer": lambda estimator, X, y: (estimator.predict(X) == y).mean(),
    }  # fmt: skip
    found, outputs = fitted(softmax(), LABELS, metrics, weights=WEIGHTS)
    hits = outputs.argmax(1) == LABELS[45:]
    assert found["val_accuracy"] == pytest.approx(np.average(hits, weights=WEIGHTS[45:]), rel=1e-14)
    assert found["val_own"] == pytest.approx(found["val_accuracy"], rel=1e-14)
    assert found["val_unweighted"] == found["val_scorer"] == hits.mean()
    assert found["val_accuracy"] != hits.mean()
    found, outputs = fitted(identity(1), NUMBERS[:, 0], {"max": "neg_max_error"}, weights=WEIGHTS)  # takes no weights
    assert found["val_max"] == -sk.max_error(NUMBERS[45:, 0], outputs)
    net = softmax()
    history = net.fit(X, LABELS, 1, sample_weight=WEIGHTS, seed=0, metrics={"own": weighted})
    assert history.own[0] == np.average(net.predict(X).argmax(1) == LABELS, weights=WEIGHTS)


@numba.njit
def jitted(Y_true, Y_pred):
    total = 0.0
    for i in range(len(Y_true)):
        total += (Y_true[i] - Y_pred[i]) ** 2
    return total


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jitted, None), (lambda Y, outputs: np.nan, np.nan), (lambda Y, outputs: -np.inf, -np.inf),
        (lambda Y, outputs: np.array(2.5, "f4"), 2.5), (lambda Y, outputs: np.True_, 1.0), (lambda *arrays: 3, 3.0),
        (np.vdot, None),
    ],
    ids=["numba", "nan", "inf", "0-d", "bool", "any number", "no signature"],
)  # fmt: skip
def test_functions_of_all_kinds(function, expected):
    net = identity(1)
    history = net.fit(X, NUMBERS[:, 0], epochs=2, seed=0, metrics={"m": function})
    outputs = net.predict(X)[:, 0]
    expected = function(NUMBERS[:, 0], outputs) if expected is None else expected
    np.testing.assert_allclose(history.m[-1], expected, rtol=1e-12)
    assert history.m.dtype == np.float64


# ---- Early stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["max", "min"])
def test_early_stopping_by_a_metric(mode):
    def value(Y_true, Y_pred):
        mean = np.mean(Y_true == Y_pred.argmax(1)) + 1e-3 * Y_pred.max(axis=1).mean()
        return mean if mode == "max" else -mean

    rule, seen = bp.EarlyStopping(patience=4, monitor="val_own", mode=mode), []
    net = softmax()
    history = net.fit(
        X[:45], LABELS[:45], epochs=300, seed=0, validation_data=(X[45:], LABELS[45:]), metrics={"own": value},
        early_stopping=rule, callbacks=[lambda net, _: seen.append(net.params.copy())], optimizer=bp.Adam(0.1),
    )  # fmt: skip
    assert history.stopped_by == "early_stopping"
    best = np.argmax(history.val_own) if mode == "max" else np.argmin(history.val_own)
    assert history.best_epoch == best != np.argmin(history.val_loss)
    assert len(history) == best + 1 + 4
    assert same_bits(net.params, seen[best])
    assert value(LABELS[45:], net.predict(X[45:])) == history.val_own[best]
    assert history.monitor == "val_own"
    assert pickle.loads(pickle.dumps(history)).best_epoch == best


def test_early_stopping_without_validation_data():
    rule = bp.EarlyStopping(patience=2, min_delta=0.01, monitor="accuracy", mode="max", restore_best=False)
    history = softmax().fit(X, LABELS, 300, seed=0, metrics={"accuracy": "accuracy"}, early_stopping=rule)
    assert history.stopped_by == "early_stopping"
    assert history.val_loss.size == 0
    counted, waited = -np.inf, 0
    for i, value in enumerate(history.accuracy):
        counted, waited = (value, 0) if value > counted + 0.01 else (counted, waited + 1)
        assert (waited >= 2) == (i == len(history) - 1)


def test_a_metric_that_is_nan_is_no_improvement():
    rule = bp.EarlyStopping(patience=3, monitor="nan", mode="max")
    history = softmax().fit(X, LABELS, 300, metrics={"nan": lambda Y, outputs: np.nan}, early_stopping=rule)
    assert len(history) == 3
    assert history.best_epoch is None


@pytest.mark.parametrize(
    "rule",
    [bp.EarlyStopping(patience=np.int64(3)), bp.EarlyStopping(min_delta=np.float32(0.5)),
     bp.EarlyStopping(restore_best=np.True_)],
    ids=["int", "float", "bool"],
)  # fmt: skip
def test_numbers_of_numpy_go_into_checkpoints(rule, tmp_path):
    arguments = {"seed": 0, "validation_data": (X, LABELS), "early_stopping": rule, "checkpoint": tmp_path / "c"}
    softmax().fit(X, LABELS, 2, **arguments)
    assert len(softmax().fit(X, LABELS, 3, **arguments, resume=True)) == 3
    assert [type(value) for value in vars(rule).values()] == [int, float, bool, str, type(None)]


# ---- The record ------------------------------------------------------------------------------------------------------


def test_the_record_names_them():
    net = softmax()
    history = net.fit(X, LABELS, 2, seed=0, validation_data=(X, LABELS), metrics={"a": lambda Y, outputs: 0.25})
    assert repr(history).endswith(f"val_loss {history.val_loss[-1]:.6g}, val_a 0.25, stopped by epochs>")
    assert last_losses(history) == {
        "loss": f"{history.loss[-1]:.4g}", "val_loss": f"{history.val_loss[-1]:.4g}", "val_a": "0.25"
    }  # fmt: skip
    with pytest.raises(AttributeError, match=r"a History .* no 'val_b'; its columns are .*, val_loss, val_a"):
        _ = history.val_b
    state = {name: value for name, value in vars(history).items() if name not in ("_metrics", "_monitor")}
    old = bp.History()
    old.__setstate__(state)  # a pickle of an earlier release
    assert (old.metrics, old.monitor, old.best_epoch) == ({}, "val_loss", history.best_epoch)


@pytest.mark.parametrize("optimizer", [bp.Adam(), bp.LBFGS()], ids=["Adam", "LBFGS"])
def test_the_record_names_them_before_the_first_epoch(optimizer, tmp_path):
    def broken_at_first(Y_true, Y_pred):
        if not seen:
            seen.append(None)
            raise StopError
        return 0.5

    for validation in ({}, {"validation_data": (X, LABELS)}):
        arguments = validation | {"optimizer": optimizer, "seed": 0, "checkpoint": tmp_path / "c"}
        arguments["metrics"] = {"a": broken_at_first, "b": "accuracy", "c": "accuracy"}
        names, seen, net = ["val_a", "val_b", "val_c"] if validation else ["a", "b", "c"], [], softmax()
        history = net.fit(X, LABELS, 0, **arguments)
        with pytest.raises(RuntimeError):
            net.fit(X, LABELS, 3, **arguments)
        for each in (history, net.history, pickle.loads(pickle.dumps(history))):
            assert list(each.metrics) == names
            assert [getattr(each, name).shape for name in names] == [(0,)] * 3
            assert "epochs, stopped by" in repr(each)
            assert "0 epochs" in each._repr_html_()
            assert each.as_dict()[names[0]].size == 0
        history = softmax().fit(X, LABELS, 3, **arguments, resume=True)
        assert list(history.metrics) == names
        assert history.metrics[names[0]].tolist() == [0.5] * 3


def test_the_picture_says_what_is_best():
    pytest.importorskip("matplotlib")
    rule = bp.EarlyStopping(patience=5, monitor="val_a", mode="max")
    data = {"validation_data": (X, LABELS), "metrics": {"a": "accuracy"}}
    history = softmax().fit(X, LABELS, 5, seed=0, early_stopping=rule, **data)
    legend = history.plot().get_legend()
    assert legend.get_texts()[2].get_text() == f"best val_a, epoch {history.best_epoch + 1}"


# ---- Checkpoints -----------------------------------------------------------------------------------------------------


class StopError(Exception):
    """What ends a fit half way."""


def stop_after(n_epochs):
    def callback(net, history):
        if len(history) == n_epochs:
            raise StopError

    return callback


ARGUMENTS = {
    "epochs": 40, "batch_size": 9, "seed": 3, "optimizer": bp.Adam(0.05), "validation_data": (X[45:], LABELS[45:]),
    "metrics": {"accuracy": "accuracy", "own": lambda Y, outputs: np.nan},
    "early_stopping": bp.EarlyStopping(patience=6, monitor="val_accuracy", mode="max"),
}  # fmt: skip


@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_fit_has_the_same_metrics(stop, tmp_path):
    expected = softmax(dropout=0.2)
    expected_history = expected.fit(X[:45], LABELS[:45], **ARGUMENTS)
    assert expected_history.stopped_by == "early_stopping"
    with pytest.raises(StopError):
        softmax(dropout=0.2).fit(
            X[:45], LABELS[:45], **ARGUMENTS, checkpoint=tmp_path / "c", callbacks=[stop_after(stop)]
        )
    for _ in range(2):  # the second time there is nothing left to do
        net = softmax(dropout=0.2)
        history = net.fit(X[:45], LABELS[:45], **ARGUMENTS, checkpoint=tmp_path / "c", resume=True)
        assert same_bits(net.params, expected.params)
        assert list(history.metrics) == ["val_accuracy", "val_own"]
        for name in ("loss", "val_loss", "val_accuracy", "val_own"):
            assert same_bits(getattr(history, name), getattr(expected_history, name))
        assert (history.best_epoch, history.stopped_by) == (expected_history.best_epoch, "early_stopping")


def test_an_epoch_whose_metric_fails_is_recorded_when_it_is_resumed(tmp_path):
    calls = []

    def failing(Y_true, Y_pred):
        calls.append(None)
        if len(calls) == 3:
            raise ZeroDivisionError
        return Y_pred.mean()

    arguments = {"epochs": 6, "seed": 0, "metrics": {"mean": failing}}
    with pytest.raises(RuntimeError):
        softmax().fit(X, LABELS, **arguments, checkpoint=tmp_path / "c")
    net = softmax()
    history = net.fit(X, LABELS, **arguments, checkpoint=tmp_path / "c", resume=True)
    expected = softmax()
    expected_history = expected.fit(X, LABELS, **arguments)
    assert same_bits(net.params, expected.params)
    assert same_bits(history.loss, expected_history.loss)
    assert same_bits(history.mean, expected_history.mean)


def interrupted_at(line, call, functions=("_epoch", "append", "end_one", "end_epoch")):
    """Call with Ctrl-C pressed before one of the lines of functions that record epochs; whether there are so many."""
    left = itertools.count(line, -1)

    def at_line(frame, event, argument):
        if event == "line" and next(left) == 0:
            raise KeyboardInterrupt
        return at_line

    def at_call(frame, event, argument):
        return at_line if frame.f_code.co_name in functions else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize(
    "optimizer", [bp.Adam(0.1), bp.LBFGS(), bp.LevenbergMarquardt()], ids=lambda rule: repr(rule)[:4]
)
def test_ctrl_c_where_an_epoch_is_recorded(optimizer, tmp_path):
    """The record is whole, and so is the checkpoint."""
    arguments = {
        "epochs": 4, "seed": 0, "optimizer": optimizer, "metrics": {"r2": "r2"},
        "early_stopping": bp.EarlyStopping(patience=1, monitor="val_r2", mode="min"),
        "validation_data": (X[45:], NUMBERS[45:]),
    }  # fmt: skip
    expected = identity(2)
    columns = expected.fit(X[:45], NUMBERS[:45], **arguments).as_dict()
    assert expected.history.stopped_by == "early_stopping"
    arguments["checkpoint"] = tmp_path / "c"
    for line in itertools.count():
        net, twin = identity(2), identity(2)
        (tmp_path / "c").unlink(missing_ok=True)
        if not interrupted_at(line, lambda net=net: net.fit(X[:45], NUMBERS[:45], **arguments)):
            break
        lengths = {len(values) for values in net.history.as_dict().values()}
        assert lengths == {len(net.history)}
        history = twin.fit(X[:45], NUMBERS[:45], **arguments, resume=True)
        assert same_bits(twin.params, expected.params)
        assert history.stopped_by == "early_stopping"
        for name in columns.keys() - {"seconds"}:
            assert same_bits(history.as_dict()[name], columns[name])
    assert line > 20


@pytest.mark.parametrize("optimizer", [bp.Adam(0.1), bp.LevenbergMarquardt()], ids=["Adam", "LM"])
def test_ctrl_c_where_several_epochs_are_recorded(optimizer):
    """All columns of the record have as many epochs."""
    for line in itertools.count():
        net = identity(2)
        fit = lambda net=net: net.fit(X, NUMBERS, epochs=9, optimizer=optimizer)  # noqa: E731
        if not interrupted_at(line, fit, ("several", "record", "extend")):
            break
        assert {len(values) for values in net.history.as_dict().values()} == {len(net.history)}
    assert line > 8
    assert len(net.history) > 1


@pytest.mark.parametrize("optimizer", [bp.LBFGS(), bp.LevenbergMarquardt()], ids=["LBFGS", "LM"])
def test_whole_batches_have_metrics_and_columns(optimizer, tmp_path):
    arguments = {"optimizer": optimizer, "metrics": {"r2": "r2"}, "checkpoint": tmp_path / "c"}
    net = identity(2)
    history = net.fit(X, NUMBERS, epochs=5, **arguments)
    assert history.r2[-1] == sk.r2_score(NUMBERS, net.predict(X))
    expected = identity(2)
    expected_history = expected.fit(X, NUMBERS, epochs=8, **arguments | {"checkpoint": None})
    twin = identity(2)
    history = twin.fit(X, NUMBERS, epochs=8, **arguments, resume=True)
    assert list(history.as_dict()) == ["loss", "learning_rate", "seconds", *optimizer.columns, "r2"]
    assert same_bits(twin.params, expected.params)
    for name in (*optimizer.columns, "r2"):
        assert same_bits(getattr(history, name), getattr(expected_history, name))
    check(
        lambda: identity(2).fit(X, NUMBERS, optimizer=bp.LevenbergMarquardt(), metrics={"mu": "r2"}), ValueError,
        "`metrics` must have names of their own, and 'mu' is what LevenbergMarquardt records anyway. Use another name.",
    )  # fmt: skip


def test_other_metrics_than_the_checkpoints_are_refused(tmp_path):
    path = str(tmp_path / "c")
    with_it = {"metrics": {"a": "accuracy"}}
    where = f"The checkpoint {path!r} is of a fit with"
    for first, second, message in (
        (with_it, {}, "`metrics` [['a', 'accuracy']], and this fit has None."),
        ({}, with_it, "`metrics` None, and this fit has [['a', 'accuracy']]."),
        (with_it, {"metrics": {"a": "f1_macro"}},
         "`metrics` [['a', 'accuracy']], and this fit has [['a', 'f1_macro']]."),
    ):  # fmt: skip
        softmax().fit(X, LABELS, 3, seed=0, checkpoint=path, **first)
        check(
            lambda second=second: softmax().fit(X, LABELS, 3, seed=0, checkpoint=path, resume=True, **second),
            ValueError, f"{where} {message} {CURE}",
        )  # fmt: skip


def test_a_checkpoint_that_watches_the_loss_is_as_earlier_releases_write_it(tmp_path):
    stopping = {"early_stopping": bp.EarlyStopping(3), "validation_data": (X, LABELS)}
    softmax().fit(X, LABELS, 3, seed=0, checkpoint=tmp_path / "c", **stopping)
    content = (tmp_path / "c").read_bytes()
    assert b"monitor" not in content
    assert b"metrics" not in content


# ---- Wrong arguments -------------------------------------------------------------------------------------------------

RULE = f"`metrics['a']` must be {FORMS};"
WRONG = [
    (["accuracy"], TypeError,
     "`metrics` must be a dict of names and metrics, such as {'accuracy': 'accuracy'}; got list."),
    ({3: "accuracy"}, TypeError, "`metrics` must have str as names; got 3."),
    ({"": "accuracy"}, ValueError, "`metrics` must have names that can be printed; got ''."),
    ({"a\n": "accuracy"}, ValueError, "`metrics` must have names that can be printed; got 'a\\n'."),
    ({"loss": "accuracy"}, ValueError,
     "`metrics` must have names of their own, and 'loss' is what every History has anyway. Use another name."),
    ({"plot": "accuracy"}, ValueError,
     "`metrics` must have names of their own, and 'plot' is what every History has anyway. Use another name."),
    ({"_a": "accuracy"}, ValueError,
     "`metrics` must have names without an underscore before them, because each is an attribute of the History; got "
     "'_a'."),
    ({"a": "acc"}, ValueError,
     f"{RULE} scikit-learn has no scorer 'acc'. sklearn.metrics.get_scorer_names() lists them."),
    ({"a": 3}, TypeError, f"{RULE} got int."),
    ({"a": None}, TypeError, f"{RULE} got NoneType."),
    ({"a": MLPClassifier}, TypeError, f"{RULE} got the class MLPClassifier."),
    ({"a": lambda Y: 3}, TypeError, f"{RULE} it takes other arguments: (Y)."),
    ({"a": lambda Y, outputs, *, beta: 3}, TypeError, f"{RULE} it takes other arguments: (Y, outputs, *, beta)."),
]  # fmt: skip


@pytest.mark.parametrize(("metrics", "error", "message"), WRONG, ids=[row[-1][-40:] for row in WRONG])
def test_wrong_metrics(metrics, error, message):
    net = softmax()
    before = net.params.copy()
    check(lambda: net.fit(X, LABELS, metrics=metrics), error, message)
    assert same_bits(net.params, before)
    assert net.history is None


def test_a_name_that_only_validation_data_make_one_of_the_historys():
    check(
        lambda: softmax().fit(X, LABELS, 1, validation_data=(X, LABELS), metrics={"loss": "accuracy"}), ValueError,
        "`metrics` must have names of their own, and 'val_loss' is what every History has anyway. Use another name.",
    )  # fmt: skip
    assert "val__a" in softmax().fit(X, LABELS, 1, validation_data=(X, LABELS), metrics={"_a": "accuracy"}).metrics
    assert "val_plot" in softmax().fit(X, LABELS, 1, validation_data=(X, LABELS), metrics={"plot": "accuracy"}).metrics


NO_NUMBER = "must return a number; it returned"
BAD = [
    (lambda Y, outputs: "x", f"{NO_NUMBER} str."),
    (lambda Y, outputs: None, f"{NO_NUMBER} NoneType."),
    (lambda Y, outputs: 1j, f"{NO_NUMBER} complex."),
    (lambda Y, outputs: outputs[:, 0], f"{NO_NUMBER} an array of shape (90,)."),
    (lambda estimator, X, y: {"a": 1}, f"{NO_NUMBER} dict."),
]


@pytest.mark.parametrize(("function", "message"), BAD, ids=[row[1] for row in BAD])
def test_a_metric_that_returns_no_number(function, message):
    net, other = softmax(), softmax()
    other.fit(X, LABELS, 1, seed=0)
    check(
        lambda: net.fit(X, LABELS, 5, seed=0, metrics={"good": "accuracy", "bad": function}), TypeError,
        f"`metrics['bad']` {message} Return a float, numpy.nan where there is none. {AFTER}",
    )  # fmt: skip
    assert same_bits(net.params, other.params)  # whole, as after the first epoch
    assert (len(net.history), net.history.stopped_by) == (0, "interruption")
    assert len(net.fit(X, LABELS, 2, metrics={"good": "accuracy"})) == 2


def broken(Y_true, Y_pred):
    raise KeyError("no such class\x1b")


def test_a_metric_that_raises():
    net = softmax()
    with pytest.raises(RuntimeError) as caught:
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": broken})
    assert str(caught.value) == (
        f"`metrics['bad']` must return a number; it raised KeyError: 'no such class\\x1b'. {AFTER}"
    )
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(RuntimeError) as caught:
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": sk.accuracy_score})
    assert re.fullmatch(
        r"`metrics\['bad'\]` must return a number; it raised ValueError: Classification metrics can't handle a mix of "
        r"multiclass and continuous-multioutput targets\. It was called with targets and outputs\. For a metric of "
        r"labels pass the name of a scorer, or sklearn\.metrics\.make_scorer\(accuracy_score\)\. " + re.escape(AFTER),
        str(caught.value),
    )
    with pytest.raises(RuntimeError, match=r"it raised OverflowError: int too large to convert to float\. The network"):
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": lambda Y, outputs: 10**400})
    with pytest.raises(RuntimeError, match=r"must return a number; it raised StopError\. The network"):
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": lambda Y, outputs: stop_after(0)(net, "")})
    with pytest.raises(RuntimeError, match=r"it raised ValueError: sort array is read-only\. The network"):
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": lambda Y, outputs: outputs.sort()})
    with pytest.raises(RuntimeError, match="it raised RuntimeError: "):
        net.fit(X, LABELS, 5, seed=0, metrics={"bad": lambda Y, outputs: net.fit(X, LABELS)})


def interrupted(Y_true, Y_pred):
    raise KeyboardInterrupt


def test_ctrl_c_in_a_metric_is_ctrl_c():
    net = softmax()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS, 5, metrics={"slow": interrupted})
    assert net.history.stopped_by == "interruption"
    net.fit(X, LABELS, 1)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"monitor": 3}, TypeError,
         "`monitor` must be 'val_loss' or the name of a metric, such as 'val_accuracy'; got 3."),
        ({"mode": "most"}, ValueError, "`mode` must be 'min', 'max' or None; got 'most'."),
        ({"mode": True}, ValueError, "`mode` must be 'min', 'max' or None; got True."),
        ({"mode": "max"}, ValueError,
         "`mode` must be 'min' or None for `monitor='val_loss'`, of which less is better; got 'max'."),
        ({"monitor": "val_f1"}, ValueError,
         "`mode` must say whether more or less is better for `monitor='val_f1'`; got None. Use 'max' for "
         "scikit-learn's scorers, whose larger values are the better ones."),
    ],
    ids=["type", "word", "bool", "loss", "missing"],
)  # fmt: skip
def test_wrong_rules(keywords, error, message):
    check(lambda: bp.EarlyStopping(**keywords), error, message)


def test_what_is_watched_must_be_there():
    rule = bp.EarlyStopping(monitor="val_f1", mode="max")
    message = "`early_stopping` must watch 'val_loss' or one of the fit's metrics; got monitor='val_f1', and "
    data = {"validation_data": (X, LABELS), "early_stopping": rule}
    check(lambda: softmax().fit(X, LABELS, **data), ValueError, f"{message}it has no such metrics.")
    check(lambda: bp.fit_many([softmax()], X, LABELS, **data), ValueError, f"{message}it has no such metrics.")
    check(
        lambda: softmax().fit(X, LABELS, metrics={"f1": "f1_macro", "a": "accuracy"}, early_stopping=rule), ValueError,
        f"{message}its metrics are 'f1', 'a'.",
    )  # fmt: skip
    check(
        lambda: softmax().fit(X, LABELS, metrics={"f1": "f1_macro"}, early_stopping=bp.EarlyStopping()), ValueError,
        "`early_stopping` needs `validation_data=(X_val, Y_val)` to watch; got none.",
    )  # fmt: skip
