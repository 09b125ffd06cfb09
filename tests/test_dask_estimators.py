"""`DaskMLPClassifier` and `DaskMLPRegressor`, against the local classes on all rows in one place."""

import inspect
import pickle
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score, r2_score

import fastbp as bp
from fastbp.dask import DaskMLPClassifier, DaskMLPRegressor, predict
from fastbp.dask.estimator_rows import aside, without
from fastbp.dask.parts import Blueprint, make_part
from fastbp.neural_network import MLPClassifier, MLPRegressor

N_ROWS = 120
SIZES = (50, 0, 30, 40)
SETTINGS = {"hidden_layer_sizes": (6,), "random_state": 0}


def data(n_classes=3):
    X, y = make_classification(N_ROWS, 5, n_informative=4, n_redundant=0, n_classes=n_classes, random_state=0)
    weights = np.random.default_rng(0).choice([0.5, 1.0, 3.0], N_ROWS)
    return X, y, weights


def numbers():
    X, _, weights = data()
    return X, np.sin(X[:, 0]) + X[:, 1], weights


def cut(array, sizes=SIZES):
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


@pytest.fixture(scope="module", autouse=True)
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def same_fit(ours, theirs, tolerance):
    """Whether two estimators have learned the same."""
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert np.isclose(ours.loss_, theirs.loss_, rtol=tolerance)
    assert ours.n_iter_ == theirs.n_iter_


# ---- The exact solvers are the local ones ---------------------------------------------------------------------------

EXACT = {
    "lbfgs": ({"solver": "lbfgs", "max_iter": 6, "alpha": 0.1}, 1e-6),
    "adam": ({"batch_size": N_ROWS, "max_iter": 6, "learning_rate_init": 0.05}, 1e-7),
    "momentum": ({"solver": "sgd", "batch_size": N_ROWS, "max_iter": 6, "learning_rate": "invscaling"}, 1e-7),
    "clipped": ({"solver": "sgd", "batch_size": N_ROWS, "max_iter": 8, "clip_norm": 0.1, "l1_penalty": 0.01}, 1e-7),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", EXACT)
def test_a_classifier_that_looks_at_all_rows_is_the_local_one(kind, n_classes, weighted):
    X, y, weights = data(n_classes)
    settings, tolerance = EXACT[kind]
    ours, theirs = DaskMLPClassifier(**SETTINGS, **settings), MLPClassifier(**SETTINGS, **settings)
    ours.fit(cut(X), cut(y), cut(weights) if weighted else None)
    theirs.fit(X, y, weights if weighted else None)
    same_fit(ours, theirs, tolerance)
    np.testing.assert_allclose(ours.predict_proba(cut(X)).compute(), theirs.predict_proba(X), atol=1e-6)
    assert np.array_equal(ours.predict(cut(X)).compute(), theirs.predict(X))
    assert np.isclose(
        ours.score(cut(X), cut(y), cut(weights)), accuracy_score(y, theirs.predict(X), sample_weight=weights)
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("kind", [*EXACT, "lm"])
def test_a_regressor_that_looks_at_all_rows_is_the_local_one(kind, n_outputs):
    X, y, weights = numbers()
    y = y if n_outputs == 1 else np.stack([y, y**2 + 1000], axis=1)
    settings, tolerance = (EXACT | {"lm": ({"solver": "lm", "max_iter": 6, "alpha": 0.1}, 1e-5)})[kind]
    ours, theirs = DaskMLPRegressor(**SETTINGS, **settings), MLPRegressor(**SETTINGS, **settings)
    ours.fit(cut(X), cut(y), cut(weights))
    theirs.fit(X, y, weights)
    same_fit(ours, theirs, 100 * tolerance)
    found = r2_score(y, theirs.predict(X), sample_weight=weights)
    assert np.isclose(ours.score(cut(X), cut(y), cut(weights)), found, rtol=1e-4)
    assert ours.predict(cut(X)).chunks[0] == SIZES


# ---- Mini-batches ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_one_partition_in_its_own_order_is_the_local_fit(kind):
    X, y, weights = data() if kind == "classes" else numbers()
    settings = SETTINGS | {"batch_size": 16, "max_iter": 10, "shuffle": False, "alpha": 0.2, "momentum": 0.8}
    kinds = (DaskMLPClassifier, MLPClassifier) if kind == "classes" else (DaskMLPRegressor, MLPRegressor)
    ours, theirs = kinds[0](solver="sgd", **settings), kinds[1](solver="sgd", **settings)
    ours.fit(cut(X, (N_ROWS,)), cut(y, (N_ROWS,)), cut(weights, (N_ROWS,)))
    theirs.fit(X, y, weights)
    assert all(map(np.array_equal, ours.coefs_, theirs.coefs_))
    assert ours.loss_curve_ == theirs.loss_curve_
    assert ours.t_ == theirs.t_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_of_classes_are_compared_with_their_mean():
    X, y, _ = data()
    settings = SETTINGS | {"batch_size": 16, "max_iter": 3, "shuffle": False, "class_weight": {0: 1.0, 1: 4.0, 2: 0.5}}
    theirs = MLPClassifier(**settings).fit(X, y)
    ours = DaskMLPClassifier(**settings).fit(cut(X, (N_ROWS,)), cut(y, (N_ROWS,)))
    assert all(map(np.array_equal, ours.coefs_, theirs.coefs_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_step_is_taken_where_no_row_counts():
    """Adam's corrections then stay as they were, here as there."""
    X, y, weights = numbers()
    weights[16:32] = 0
    settings = SETTINGS | {"batch_size": 16, "max_iter": 3, "shuffle": False}
    theirs = MLPRegressor(**settings).fit(X, y, weights)
    ours = DaskMLPRegressor(**settings).fit(*(cut(array, (N_ROWS,)) for array in (X, y, weights)))
    assert all(map(np.array_equal, ours.coefs_, theirs.coefs_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bits_depend_on_the_seed_and_on_no_worker():
    X, y, _ = data()
    settings = SETTINGS | {"batch_size": 10, "max_iter": 3, "average_every": 2, "dropout": 0.1}
    first = DaskMLPClassifier(**settings).fit(cut(X), cut(y))
    with (
        LocalCluster(n_workers=3, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as other,
    ):
        again = DaskMLPClassifier(**settings, client=other, persist=False).fit(cut(X), cut(y))
        assert again.client_ is other
    assert all(map(np.array_equal, first.coefs_, again.coefs_))
    assert not np.array_equal(
        DaskMLPClassifier(**settings | {"random_state": 1}).fit(cut(X), cut(y)).coefs_[0], first.coefs_[0]
    )


def test_it_learns():
    X, y, _ = data()
    model = DaskMLPClassifier(
        hidden_layer_sizes=(20,), random_state=0, batch_size=10, learning_rate_init=0.05, n_iter_no_change=2, tol=0.01
    )
    assert model.fit(cut(X), cut(y)).score(cut(X), cut(y)) > 0.9
    assert model.n_iter_ < model.max_iter  # it stopped by itself


@pytest.mark.parametrize("fitted_on", ["rows set aside", "an eval_set here", "an eval_set on the cluster"])
def test_early_stopping(fitted_on):
    X, y, _ = data()
    model = DaskMLPClassifier(
        hidden_layer_sizes=(20,),
        random_state=0,
        batch_size=10,
        early_stopping=True,
        n_iter_no_change=2,
        max_iter=60,
        learning_rate_init=0.02,
    )
    given = None
    if fitted_on != "rows set aside":
        given = (
            [(X[:30], y[:30])] if fitted_on == "an eval_set here" else (cut(X[:30], (20, 10)), cut(y[:30], (20, 10)))
        )
    model.fit(cut(X), cut(y), eval_set=given)
    assert model.n_iter_ < 60
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    if given is not None:
        assert len(model.validation_loss_curve_) == model.n_iter_
        assert model.to_local().score(X[:30], y[:30]) == model.best_validation_score_


def test_rows_set_aside_are_not_trained_on():
    X, y, _ = data()
    parts = [make_part(i, Blueprint(bp.Network([5, 1])), X[:60], y[:60, None] * 1.0, None) for i in range(2)]
    sets = [[choose(part, [6, 6], 0) for choose in (without, aside)] for part in parts]
    for trained, watched in sets:
        assert (len(trained), len(watched)) == (54, 6)
        rows = np.concatenate([trained.data.X, watched.data.X])
        assert sorted(rows[:, 0]) == sorted(X[:60, 0])
    assert not np.array_equal(sets[0][1].data.X, sets[1][1].data.X)  # each partition has an order of its own


def test_validation_losses_are_the_local_ones():
    X, y, _ = numbers()
    settings = SETTINGS | {"batch_size": N_ROWS, "max_iter": 4, "tol": 0.0}
    ours, theirs = DaskMLPRegressor(**settings), MLPRegressor(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours.fit(cut(X), cut(y), eval_set=(X[:30] + 1, y[:30]))
        theirs.fit(X, y, eval_set=(X[:30] + 1, y[:30]))
    np.testing.assert_allclose(ours.validation_loss_curve_, theirs.validation_loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)


# ---- Data of all kinds ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classes_that_partitions_lack_and_labels_of_text():
    X, y, _ = data()
    order = np.argsort(y, kind="stable")  # each partition has one class or two
    X, labels = X[order], np.array(["pear", "apple", "fig"])[y[order]]
    ours = DaskMLPClassifier(solver="lbfgs", max_iter=40, **SETTINGS).fit(cut(X), cut(labels))
    assert ours.classes_.tolist() == ["apple", "fig", "pear"]
    found = ours.predict(cut(X))
    assert found.dtype == ours.classes_.dtype
    assert accuracy_score(labels, found.compute()) == ours.score(cut(X), cut(labels)) > 0.8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 1: 0.5, 2: 1.0}])
def test_class_weights(class_weight):
    X, y, _ = data()
    y = np.where((y == 2) & (np.arange(N_ROWS) % 3 > 0), 1, y)
    settings = SETTINGS | {"solver": "lbfgs", "max_iter": 10, "class_weight": class_weight}
    ours, theirs = DaskMLPClassifier(**settings).fit(cut(X), cut(y)), MLPClassifier(**settings).fit(X, y)
    same_fit(ours, theirs, 1e-6)
    assert ours.class_weight == class_weight


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels():
    X, _, _ = data()
    y = (np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1)).astype(int)
    settings = SETTINGS | {"solver": "lbfgs", "max_iter": 20}
    ours, theirs = DaskMLPClassifier(**settings).fit(cut(X), cut(y)), MLPClassifier(**settings).fit(X, y)
    same_fit(ours, theirs, 1e-5)
    assert np.array_equal(ours.predict(cut(X)).compute(), theirs.predict(X))
    assert ours.score(cut(X), cut(y)) == theirs.score(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_data_frames_and_their_columns():
    X, y, _ = data()
    names = list("abcde")
    frame = dd.from_pandas(pd.DataFrame(X.astype(np.float32), columns=names), 3)
    target = dd.from_pandas(pd.Series(y, name="y"), 3)
    ours = DaskMLPClassifier(solver="lbfgs", max_iter=10, **SETTINGS).fit(frame, target)
    assert ours.feature_names_in_.tolist() == names
    assert ours.n_features_in_ == 5
    found = ours.predict(frame)
    assert isinstance(found, da.Array)
    assert np.array_equal(found.compute(), ours.to_local().predict(frame.compute()))
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame[names[::-1]]).compute()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_float32_stays():
    X, y, _ = data()
    model = DaskMLPClassifier(batch_size=10, max_iter=4, **SETTINGS).fit(cut(X.astype(np.float32)), cut(y))
    assert model.coefs_[0].dtype == np.float32
    assert model.predict_proba(cut(X.astype(np.float32))).compute().dtype == np.float32


# ---- The estimator as an object -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_to_local_has_all_that_was_learned():
    X, y, _ = data()
    model = DaskMLPClassifier(batch_size=10, max_iter=4, **SETTINGS).fit(cut(X), cut(y))
    local = model.to_local()
    assert type(local) is MLPClassifier
    theirs = MLPClassifier(batch_size=10, max_iter=4, **SETTINGS).fit(X, y)
    public = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert public <= {name for name in vars(local) if name.endswith("_")}
    assert np.array_equal(local.predict_proba(X), model.predict_proba(cut(X)).compute())
    local.partial_fit(X, y)
    assert not np.array_equal(local.coefs_[0], model.coefs_[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pickles_and_copies(client):
    X, y, _ = data()
    model = DaskMLPClassifier(solver="lbfgs", max_iter=5, client=client, **SETTINGS).fit(cut(X), cut(y))
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None
    assert np.array_equal(again.predict_proba(cut(X)).compute(), model.predict_proba(cut(X)).compute())
    unfitted = clone(model)
    assert unfitted.client is client
    assert not hasattr(unfitted, "coefs_")
    assert clone(model).set_params(alpha=3.0).get_params()["alpha"] == 3.0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_goes_on():
    X, y, _ = data()
    settings = SETTINGS | {"batch_size": N_ROWS, "max_iter": 5, "warm_start": True}
    ours, theirs = DaskMLPClassifier(**settings), MLPClassifier(**settings)
    for _ in range(2):
        ours.fit(cut(X), cut(y))
        theirs.fit(X, y)
    same_fit(ours, theirs, 1e-7)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize(("ours", "theirs"), [(DaskMLPClassifier, MLPClassifier), (DaskMLPRegressor, MLPRegressor)])
def test_all_parameters_are_those_of_the_local_class_and_three_more(ours, theirs):
    parameters = inspect.signature(ours).parameters
    local = inspect.signature(theirs).parameters
    assert list(parameters) == [*local, "client", "average_every", "persist"]
    assert all(parameters[name].default == local[name].default for name in local)
    assert ours().get_params() == theirs().get_params() | {"client": None, "average_every": None, "persist": True}
    first, second = list(local)[:2]
    assert ours((3,), "tanh").get_params()[first] == (3,)
    assert ours((3,), "tanh").get_params()[second] == "tanh"
    with pytest.raises(TypeError, match="wrong"):
        ours(wrong=1)


# ---- Wrong input ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_wrong_input_is_refused_and_changes_nothing():
    X, y, _ = data()
    fitted = DaskMLPClassifier(solver="lbfgs", max_iter=3, **SETTINGS).fit(cut(X), cut(y))
    before = fitted.coefs_[0].copy()
    hole = np.where(np.arange(N_ROWS)[:, None] == 60, np.nan, X)
    for parameters, (X_, y_), error, text in [
        ({}, (X, cut(y)), TypeError, "`X` must be an array, a data frame or a series of Dask; got ndarray."),
        ({}, (cut(hole), cut(y)), ValueError, "In partition 2: Input X contains NaN."),
        ({"n_threads": 2}, (cut(X), cut(y)), ValueError, "`n_threads` must be None, because a task uses the threads"),
        ({"scoring": "f1_macro"}, (cut(X), cut(y)), ValueError, "`scoring` must be None or 'loss', which are sums"),
        ({"average_every": 0}, (cut(X), cut(y)), ValueError, "`average_every` must be at least 1; got 0"),
        ({"alpha": -1.0}, (cut(X), cut(y)), ValueError, "The 'alpha' parameter of DaskMLPClassifier must be"),
        (
            {"solver": "adam", "batch_size": N_ROWS, "dropout": 0.5},
            (cut(X), cut(y)),
            ValueError,
            "`dropout` must be 0 where each step looks at all 120 rows; got 0.5. Pass a smaller `batch_size`.",
        ),
        ({}, (cut(X), cut(np.linspace(0, 1, N_ROWS))), ValueError, "Unknown label type"),
    ]:
        model = clone(fitted).set_params(**parameters)
        vars(model).update({name: value for name, value in vars(fitted).items() if name.endswith("_")})
        with pytest.raises(error) as caught:
            model.fit(X_, y_)
        assert text in str(caught.value)
        assert np.array_equal(model.coefs_[0], before) or "dropout" in text


# ---- Networks -------------------------------------------------------------------------------------------------------


def test_a_networks_outputs():
    X, _, _ = data()
    net = bp.Network([5, 4, 2], "tanh", seed=0)
    found = predict(net, cut(X))
    before = net.predict(X)
    net.params += 1  # too late
    assert found.chunks == (SIZES, (2,))
    assert np.array_equal(found.compute(), before)
    frame = dd.from_pandas(pd.DataFrame(X), 3)
    assert np.isnan(predict(net, frame).shape[0])
    assert np.array_equal(predict(net, frame).compute(), net.predict(X))
    assert np.array_equal(predict(net, cut(X)).compute(scheduler="threads"), net.predict(X))
    assert np.array_equal(predict(net, cut(X).persist()).compute(), net.predict(X))
    assert np.array_equal(predict(net, (cut(X) * 2).persist() + 1).compute(), net.predict(X * 2 + 1))
    assert np.array_equal(predict(net, frame.persist()).compute(), net.predict(X))
    for wrong, error, text in [
        (X, TypeError, "`X` must be an array, a data frame or a series of Dask"),
        (cut(X[:, :3]), ValueError, "`X` must have shape (n_samples, 5) to fit the first layer; it has 2 axes and 3"),
    ]:
        with pytest.raises(error) as caught:
            predict(net, wrong)
        assert text in str(caught.value)
    with pytest.raises(TypeError, match=r"`net` must be a fastbp\.Network; got int"):
        predict(3, cut(X))
