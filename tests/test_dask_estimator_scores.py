"""Scores, predictions and data of all kinds of the estimators on Dask, against the local classes and scikit-learn."""

import copy

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score

import fastbp as bp
from fastbp.dask import DaskMLPClassifier, DaskMLPRegressor
from fastbp.neural_network import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
]
N_ROWS = 90
SIZES = (40, 0, 20, 30)
SETTINGS = {"hidden_layer_sizes": (4,), "random_state": 0}
LBFGS = SETTINGS | {"solver": "lbfgs", "max_iter": 4}


@pytest.fixture(scope="module", autouse=True)
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3))
    weights = np.where(np.arange(N_ROWS) < 40, 0.0, rng.choice([0.0, 1.0, 3.0], N_ROWS))  # none of a partition counts
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5), weights


def cut(array, sizes=SIZES):
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


# ---- Scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0, 1: 1.0, 2: 0.1}])
def test_the_accuracy_knows_no_class_weights(class_weight):
    X, y, weights = data()
    model = DaskMLPClassifier(**LBFGS, class_weight=class_weight).fit(cut(X), cut(y))
    found = MLPClassifier(**LBFGS, class_weight=class_weight).fit(X, y).predict(X)
    assert np.isclose(model.score(cut(X), cut(y)), accuracy_score(y, found))
    assert np.isclose(model.score(cut(X), cut(y), cut(weights)), accuracy_score(y, found, sample_weight=weights))
    unknown = np.where(np.arange(N_ROWS) % 7 == 0, 9, y)  # which no model can predict
    assert np.isclose(model.score(cut(X), cut(unknown)), accuracy_score(unknown, found))


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_r2_is_that_of_the_targets_as_they_are(n_outputs):
    X, _, weights = data()
    y = 1e6 + X[:, 0] if n_outputs == 1 else np.stack([1e6 + X[:, 0], np.full(N_ROWS, 7.0)], axis=1)
    model = DaskMLPRegressor(**LBFGS, dtype="float32").fit(cut(X), cut(y))
    found = model.to_local().predict(X)
    assert np.isclose(model.score(cut(X), cut(y)), r2_score(y, found), rtol=1e-9)
    expected = r2_score(y, found, sample_weight=weights)
    assert np.isclose(model.score(cut(X), cut(y), cut(weights)), expected, rtol=1e-9)
    one = cut(X[:1], (1,)), cut(y[:1], (1,))
    assert np.isnan(model.score(*one))


@pytest.mark.parametrize("settings", [LBFGS, SETTINGS | {"batch_size": N_ROWS, "max_iter": 3}])
def test_no_row_of_a_partition_counts(settings):
    X, y, weights = data()
    ours = DaskMLPClassifier(**settings, class_weight={1: 2.0}).fit(cut(X), cut(y), cut(weights))
    theirs = MLPClassifier(**settings, class_weight={1: 2.0}).fit(X, y, weights)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-7)


def test_scores_that_are_refused():
    X, y, _ = data()
    model = DaskMLPRegressor(**LBFGS).fit(cut(X), cut(y))
    hole = np.where(np.arange(N_ROWS) == 50, np.nan, y)
    several = np.stack([y, y], axis=1)
    for targets, weights, text in [
        (hole, None, "In partition 2: Input y contains NaN."),
        (several, None, "In partition 0: `y` must have 1 columns, as in `fit`; got 2."),
        (
            y,
            np.where(np.arange(N_ROWS) % 2, 1.0, -1.0),
            "In partition 0: `sample_weight` must not have the sum 0 where not all are 0. Choose other partitions.",
        ),
        (y, np.zeros(N_ROWS), "`X` must have at least one row whose weight is not 0; got none."),
    ]:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 # the message is compared below
            model.score(cut(X), cut(targets), None if weights is None else cut(weights))
        assert str(caught.value) == text


@pytest.mark.parametrize("kind", ["in memory", "lists", "data frames", "on the cluster"])
def test_validation_data_have_their_own_balance_of_classes(kind):
    X, y, _ = data()
    settings = SETTINGS | {"max_iter": 4, "batch_size": N_ROWS, "class_weight": "balanced", "early_stopping": True}
    given = {
        "in memory": [(X[:37], y[:37])],
        "lists": (X[:37].tolist(), y[:37].tolist()),
        "data frames": (pd.DataFrame(X[:37]), pd.Series(y[:37])),
        "on the cluster": (cut(X[:37], (10, 27)), cut(y[:37], (10, 27))),
    }
    ours = DaskMLPClassifier(**settings).fit(cut(X), cut(y), eval_set=given[kind])
    theirs = MLPClassifier(**settings).fit(X, y, eval_set=(X[:37], y[:37]))
    np.testing.assert_allclose(ours.validation_loss_curve_, theirs.validation_loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-7)


def test_validation_data_in_memory_go_in_small_messages():
    X, y, _ = data()
    many = np.random.default_rng(0).normal(size=(400_000, 3))  # Dask would warn of so large a graph
    model = DaskMLPRegressor(**SETTINGS, max_iter=1).fit(cut(X), cut(y), eval_set=(many, many[:, 0]))
    expected = 0.5 * np.mean((model.to_local().predict(many) - many[:, 0]) ** 2)
    assert np.isclose(model.validation_loss_curve_[0], expected)


def test_validation_data_that_are_refused():
    X, y, _ = data()
    for given, text in [
        ((X[:9], y[:8]), "In `eval_set`: In partition 0: `y` must have a row for each of the 9 rows of `X`; got 8."),
        ((X[:0], y[:0]), "In `eval_set`: `X` must have at least one row; all its partitions are empty."),
        (
            (X[:9, :2], y[:9]),
            "In `eval_set`: In partition 0: X has 2 features, but MLPClassifier is expecting 3 features as input.",
        ),
    ]:
        model = DaskMLPClassifier(**SETTINGS)
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            model.fit(cut(X), cut(y), eval_set=given)
        assert str(caught.value) == text
        assert not hasattr(model, "coefs_")


def test_rows_are_set_aside_of_partitions_however_small():
    X, y, _ = data()
    model = DaskMLPClassifier(**SETTINGS, max_iter=3, early_stopping=True, batch_size=4)
    model.fit(cut(X, (2,) * 45), cut(y, (2,) * 45))
    assert len(model.validation_scores_) == model.n_iter_
    assert model.t_ == model.n_iter_ * 81


# ---- Predictions ----------------------------------------------------------------------------------------------------


def test_types_are_said_before_anything_is_computed():
    X, y, _ = data()
    model = DaskMLPRegressor(**SETTINGS, max_iter=1).fit(cut(X.astype("float32")), cut(y.astype("float32")))
    for rows in (X, X.astype("float32"), (3 * X).astype(np.int64), (3 * X).astype(np.int8), X > 0):
        expected = model.to_local().predict(rows)
        for collection in (cut(rows), dd.from_pandas(pd.DataFrame(rows), 3)):
            found = model.predict(collection)
            assert found.dtype == expected.dtype == found.compute().dtype
            assert np.array_equal(found.compute(), expected)


def test_other_columns_are_refused_at_once():
    X, y, _ = data()
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), 2)
    model = DaskMLPClassifier(**LBFGS).fit(frame, dd.from_pandas(pd.Series(y), 2))
    for other in (frame[["c", "b", "a"]], frame[["a", "b"]]):
        with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
            model.predict(other)
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 3 features as input"):
        DaskMLPClassifier(**LBFGS).fit(cut(X), cut(y)).predict_proba(cut(X[:, :2]))
    with pytest.raises(TypeError) as caught:
        model.predict(X)
    assert str(caught.value) == (
        "`X` must be an array, a data frame or a series of Dask; got ndarray. Write dask.array.from_array(..., "
        "chunks=(100_000, -1)), or use fastbp.neural_network.MLPClassifier for what fits into memory."
    )


def test_nothing_is_predicted_before_a_fit():
    X, y, _ = data()
    for call in (
        lambda: DaskMLPClassifier().predict(cut(X)),
        lambda: DaskMLPClassifier().predict_proba(cut(X)),
        lambda: DaskMLPRegressor().predict(cut(X)),
        lambda: DaskMLPRegressor().score(cut(X), cut(y)),
        lambda: DaskMLPClassifier().save("nowhere"),
    ):
        with pytest.raises(NotFittedError):
            call()


# ---- Labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "bb", "ccc"]),
        np.array(["a", "bb", "ccc"], object),
        np.array([-2.0, 3.0, 4.0]),
        np.array([10, 20, 30], np.uint8),
    ],
    ids=lambda labels: labels.dtype.name,
)
def test_labels_of_all_types(labels, class_weight):
    X, y, _ = data()
    order = np.argsort(y, kind="stable")  # no partition has all of them
    X, y = X[order], labels[y[order]]
    ours = DaskMLPClassifier(**LBFGS, class_weight=class_weight).fit(cut(X), cut(y))
    theirs = MLPClassifier(**LBFGS, class_weight=class_weight).fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-7)
    assert np.array_equal(ours.predict(cut(X)).compute(), theirs.predict(X))
    assert np.isclose(ours.score(cut(X), cut(y)), theirs.score(X, y))


@pytest.mark.parametrize("kind", [lambda y: y, lambda y: y.astype("category"), lambda y: y.to_frame("y")])
def test_labels_of_data_frames(kind):
    X, y, _ = data()
    frame, names = pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(np.array(["x", "y", "z"])[y])
    model = DaskMLPClassifier(**LBFGS).fit(dd.from_pandas(frame, 3), dd.from_pandas(kind(names), 3))
    theirs = MLPClassifier(**LBFGS).fit(frame, names)
    np.testing.assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=1e-7)
    assert model.predict(dd.from_pandas(frame, 3)).compute().tolist() == theirs.predict(frame).tolist()


def test_labels_that_are_refused():
    X, y, _ = data()
    for settings, rows, labels, text in [
        ({}, X, np.where(np.arange(N_ROWS) == 50, np.nan, y), "In partition 2: Input y contains NaN."),
        ({}, np.where(np.arange(N_ROWS)[:, None] == 0, np.nan, X), y, "In partition 0: Input X contains NaN."),
        (
            {},
            X,
            np.full(N_ROWS, np.nan),
            "In partition 0: `y` must hold class labels; got only NaN or infinity.",
        ),
        (
            {},
            X,
            np.array(["a", None], object)[y % 2],
            "In partition 0: `y` must hold labels that can be sorted, of which none is missing; '<' not supported "
            "between instances of ",
        ),
        (
            {"class_weight": "balanced"},
            X,
            np.stack([y > 0, y > 1], axis=1).astype(int),
            "`class_weight` must be None where `y` has several labels, whose combinations no partition knows; got "
            "'balanced'. Pass `sample_weight`.",
        ),
    ]:
        model = DaskMLPClassifier(**SETTINGS | settings)
        with pytest.raises((TypeError, ValueError)) as caught:
            model.fit(cut(rows), cut(labels))
        assert str(caught.value).startswith(text)
        assert not hasattr(model, "classes_")


def test_weights_below_zero():
    X, y, _ = data()
    weights = np.where(np.arange(N_ROWS) % 2, 1.0, -1.0)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        DaskMLPRegressor(**LBFGS).fit(cut(X), cut(y), cut(weights))
    assert str(caught.value) == (
        "In partition 0: `sample_weight` must not have the sum 0 in a partition where not all are 0. Choose other "
        "partitions."
    )
    weights = np.where(np.arange(N_ROWS) % 5, 1.0, -0.1)
    ours = DaskMLPRegressor(**LBFGS).fit(cut(X), cut(y), cut(weights))
    np.testing.assert_allclose(ours.coefs_[0], MLPRegressor(**LBFGS).fit(X, y, weights).coefs_[0], rtol=1e-7)


# ---- The estimator as an object -------------------------------------------------------------------------------------


def test_clones_files_and_what_is_not_there(client, tmp_path):
    X, y, _ = data()
    with sklearn.config_context(enable_metadata_routing=True):
        model = DaskMLPClassifier(**LBFGS, client=client).set_fit_request(sample_weight=True)
        assert clone(model).get_metadata_routing().fit.requests["sample_weight"] is True
    model.fit(cut(X), cut(y))
    assert clone(model).client is client
    assert copy.copy(model).client is copy.deepcopy(model).client is None
    model.save(tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors")
    assert type(loaded) is MLPClassifier
    assert np.array_equal(loaded.predict(X), model.predict(cut(X)).compute())
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        model.partial_fit(X, y)
    assert str(caught.value) == (
        "DaskMLPClassifier has no partial_fit. Use warm_start=True and max_iter=1, or to_local().partial_fit on rows "
        "in memory."
    )


def test_there_may_be_no_client(monkeypatch):
    import fastbp.dask.estimator_base as module

    def none():
        raise ValueError("No global client found and no address provided")

    monkeypatch.setattr(module, "get_client", none)
    assert not hasattr(DaskMLPClassifier(), "client_")
    with pytest.raises(AttributeError) as caught:
        DaskMLPClassifier().client_  # noqa: B018
    assert str(caught.value) == (
        "`client_` is there while the parameter `client` is set, or there is a current client; got neither. Make one: "
        "distributed.Client()."
    )


def test_processes_and_fewer_partitions_than_workers(cluster):
    X, y, weights = data()
    settings = SETTINGS | {"batch_size": 16, "max_iter": 3, "early_stopping": True}
    with Client(cluster, set_as_default=False) as other:
        there = DaskMLPClassifier(**settings, client=other).fit(cut(X, (N_ROWS,)), cut(y, (N_ROWS,)), cut(weights))
        assert there.client_ is other
        accuracy = there.score(cut(X), cut(y), cut(weights))
        predicted = other.compute(there.predict_proba(cut(X)), sync=True)
    here = DaskMLPClassifier(**settings).fit(cut(X, (N_ROWS,)), cut(y, (N_ROWS,)), cut(weights))
    assert all(map(np.array_equal, there.coefs_, here.coefs_))
    assert np.array_equal(predicted, here.to_local().predict_proba(X))
    assert np.isclose(accuracy, accuracy_score(y, here.to_local().predict(X), sample_weight=weights))


def test_gradients_are_of_rows_in_memory():
    X, y, weights = data()
    model = DaskMLPRegressor(**LBFGS).fit(cut(X), cut(y))
    local = model.to_local()
    assert model.loss_gradient(X, y, weights)[0] == local.loss_gradient(X, y, weights)[0]
    assert np.array_equal(model.input_gradient(X), local.input_gradient(X))
    for name, call in {
        "X": lambda: model.input_gradient(cut(X)),
        "y": lambda: model.loss_gradient(X, cut(y)),
    }.items():
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value) == (
            f"`{name}` must be in memory; got a collection of Dask, all of whose rows would come to this process. "
            "Take some of them: X[:1000].compute(), or use X.map_blocks with to_local()."
        )
