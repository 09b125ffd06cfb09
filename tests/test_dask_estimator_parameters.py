"""Every parameter of the local classes has an effect on the cluster, and the local one, or is refused."""

import inspect

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import fastbp as bp
from fastbp.dask import DaskMLPClassifier, DaskMLPRegressor
from fastbp.neural_network import MLPClassifier, MLPRegressor, epoch_loop

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
]
N_ROWS = 60
LOCAL = {DaskMLPClassifier: MLPClassifier, DaskMLPRegressor: MLPRegressor}


@pytest.fixture(scope="module", autouse=True)
def client():
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def data(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3))
    weights = rng.choice([0.5, 1.0, 3.0], N_ROWS)
    y = np.abs(X[:, 0]) + 0.1 if kind is DaskMLPRegressor else (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    return X, y, weights


def cut(array, *sizes):
    return da.from_array(array, chunks=(sizes or (len(array),), *array.shape[1:]))


# Mini-batches of one partition in its own order are the local class's, to the last bit.
BATCHES = {
    "hidden_layer_sizes": (4,),
    "random_state": 0,
    "shuffle": False,
    "batch_size": 16,
    "max_iter": 4,
    "learning_rate_init": 0.01,
    "tol": 0.0,
}
SGD = {"solver": "sgd"}
LBFGS = {"solver": "lbfgs"}
STOPS = {"max_iter": 8, "early_stopping": True, "n_iter_no_change": 1, "tol": 0.5}
HUBER = {"loss": "huber"}
# Parameter -> what else is set, and a value other than that or the default.
SAME_AS_LOCALLY = {
    "hidden_layer_sizes": ({}, (3, 2)),
    "activation": ({}, "tanh"),
    "solver": ({}, "sgd"),
    "alpha": ({}, 1.0),
    "batch_size": ({}, 20),
    "learning_rate": (SGD, "invscaling"),
    "learning_rate_init": ({}, 0.1),
    "power_t": (SGD | {"learning_rate": "invscaling"}, 0.1),
    "max_iter": ({}, 2),
    "random_state": ({}, 1),
    "tol": ({"n_iter_no_change": 1, "max_iter": 8}, 10.0),
    "warm_start": ({}, True),
    "momentum": (SGD, 0.5),
    "nesterovs_momentum": (SGD, False),
    "early_stopping": ({"max_iter": 8, "n_iter_no_change": 1, "tol": 0.5}, True),
    "beta_1": ({}, 0.5),
    "beta_2": ({}, 0.5),
    "epsilon": ({}, 0.1),
    "n_iter_no_change": (STOPS, 3),
    "max_fun": (LBFGS | {"max_iter": 20}, 3),
    "class_weight": ({}, "balanced"),
    "dtype": ({}, "float32"),
    "initializer": ({}, "he_normal"),
    "l1_penalty": ({}, 1.0),
    "clip_norm": ({}, 0.01),
    "scoring": (STOPS, "loss"),
    "warm_start_optimizer": ({"warm_start": True}, True),
    "weight_normalization": ({}, "data"),
    "loss": ({}, "poisson"),
    "output_activation": ({}, "softplus"),
    "quantile": ({"loss": "quantile"}, 0.9),
    "huber_slope": (HUBER, 0.1),
}
# What the local class draws from its random numbers, and the cluster from those of each partition; how it is shown.
OWN_WAY = {"shuffle", "dropout", "validation_fraction"}
SHOWN = {"verbose", "progress"}
REFUSED = {"n_threads"}


def fitted(kind, settings):
    """The model on the cluster after a fit, or two warm ones."""
    X, y, weights = data(kind)
    model = kind(**settings)
    for _ in range(2):
        model.fit(cut(X), cut(y), cut(weights), eval_set=None if "lbfgs" in settings.values() else (X[:20], y[:20]))
    return model


def fitted_locally(kind, settings):
    X, y, weights = data(kind)
    model = LOCAL[kind](**settings)
    for _ in range(2):
        model.fit(X, y, weights, eval_set=None if "lbfgs" in settings.values() else (X[:20], y[:20]))
    return model


def learned(model):
    """All that it has learned, in a form that can be compared."""
    arrays = [(W.dtype.name, W.shape, W.tobytes()) for W in model.coefs_ + model.intercepts_]
    record = {name: vars(model).get(name) for name in ("n_iter_", "t_", "loss_curve_", "validation_scores_")}
    return arrays, record, model.out_activation_


def cases():
    for kind, local in LOCAL.items():
        for name in inspect.signature(local).parameters:
            is_of_one = name in ("loss", "output_activation", "quantile", "huber_slope", "class_weight")
            if name in SAME_AS_LOCALLY and (kind is DaskMLPClassifier or is_of_one):
                yield pytest.param(kind, name, id=f"{local.__name__} {name}")


def test_no_parameter_is_left_out():
    known = {*SAME_AS_LOCALLY, *OWN_WAY, *SHOWN, *REFUSED}
    assert known == {name for local in LOCAL.values() for name in inspect.signature(local).parameters}


@pytest.mark.parametrize(("kind", "name"), [*cases()])
def test_a_parameter_has_the_effect_that_it_has_locally(kind, name):
    others, value = SAME_AS_LOCALLY[name]
    others = BATCHES | others
    theirs, without = fitted_locally(kind, others | {name: value}), fitted_locally(kind, others)
    ours = fitted(kind, others | {name: value})
    assert learned(theirs) != learned(without)  # or nothing would be shown
    if others["max_iter"] == 20:  # the sums of 'lbfgs' are to the order of summation
        np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9)
        assert ours.n_iter_ == theirs.n_iter_
    else:
        assert learned(ours) == learned(theirs)


@pytest.mark.parametrize("rate", ["adaptive", bp.Cosine(0.05)], ids=["adaptive", "a schedule"])
def test_learning_rates_that_change(rate):
    settings = BATCHES | SGD | {"learning_rate": rate, "max_iter": 6, "n_iter_no_change": 1, "tol": 10.0}
    assert learned(fitted(DaskMLPClassifier, settings)) == learned(fitted_locally(DaskMLPClassifier, settings))


@pytest.mark.parametrize(
    ("name", "others", "value"),
    [
        ("shuffle", {}, True),
        ("dropout", {}, 0.5),
        ("validation_fraction", {"early_stopping": True, "tol": 0.0}, 0.4),
        ("average_every", {}, 1),
    ],
)
def test_what_each_partition_draws_for_itself(name, others, value):
    X, y, _ = data(DaskMLPClassifier)
    models = [
        DaskMLPClassifier(**BATCHES | {"batch_size": 8} | others | more).fit(cut(X, 20, 40), cut(y, 20, 40))
        for more in ({}, {name: value}, {name: value})
    ]
    assert learned(models[0]) != learned(models[1]) == learned(models[2])
    if name == "validation_fraction":
        assert models[1].t_ == models[1].n_iter_ * 36


def test_what_is_shown(capsys, monkeypatch):
    X, y, _ = data(DaskMLPClassifier)
    asked = []
    real = epoch_loop.progress_bar
    monkeypatch.setattr(
        epoch_loop, "progress_bar", lambda *args, wanted: asked.append(wanted) or real(*args, wanted=False)
    )
    for settings in ({}, {"verbose": True, "progress": True}):
        model = DaskMLPClassifier(**BATCHES | settings).fit(cut(X), cut(y))
        lines = [f"Iteration {i + 1}, loss = {loss:.8f}" for i, loss in enumerate(model.loss_curve_)]
        assert capsys.readouterr().out.splitlines() == (lines if settings else [])
    assert asked == [False, True]


MADE = []  # of a module, so that tasks refer to it


def rows_of(i):
    MADE.append(i)
    return data(DaskMLPClassifier)[0][30 * i : 30 * i + 30]


@pytest.mark.parametrize("persist", [True, False])
def test_what_is_not_kept_is_made_again_each_round(persist):
    _, y, _ = data(DaskMLPClassifier)
    MADE.clear()
    parts = [da.from_delayed(dask.delayed(rows_of)(i), (30, 3), float) for i in range(2)]
    model = DaskMLPClassifier(**BATCHES | {"persist": persist}).fit(da.concatenate(parts), cut(y, 30, 30))
    # Once to see what there is, once to count rows, and once in each of the four epochs.
    assert (MADE.count(0), MADE.count(1)) == ((2, 2) if persist else (6, 6))
    assert model.n_iter_ == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n_threads": 2},
            "`n_threads` must be None, because a task uses the threads of its worker; got 2. Start the workers with "
            "other nthreads.",
        ),
        (
            {"scoring": "f1_macro"},
            "`scoring` must be None or 'loss', which are sums over partitions; got 'f1_macro'. Use to_local() and a "
            "scorer of scikit-learn's on rows that fit into memory.",
        ),
        (
            {"average_every": 3, "solver": "lbfgs"},
            "`average_every` must be None for solver='lbfgs', whose steps look at all rows; got 3.",
        ),
        (
            {"average_every": 3, "batch_size": N_ROWS},
            "`average_every` must be None where each step looks at all 60 rows; got 3. Pass a smaller `batch_size`.",
        ),
        (
            {"dropout": 0.5, "batch_size": "auto"},
            "`dropout` must be 0 where each step looks at all 60 rows; got 0.5. Pass a smaller `batch_size`.",
        ),
        (
            {"early_stopping": True, "validation_fraction": 0.01},
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset.",
        ),
    ],
)
def test_what_is_refused_leaves_the_model_as_it_was(settings, message):
    X, y, _ = data(DaskMLPClassifier)
    model = DaskMLPClassifier(**BATCHES).fit(cut(X), cut(y))
    model.set_params(**settings)
    before, names = learned(model), set(vars(model))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 # the message is compared below
        model.fit(cut(X), cut(y))
    assert str(caught.value) == message
    assert learned(model) == before
    assert set(vars(model)) == names


def test_callbacks_are_refused():
    X, y, _ = data(DaskMLPClassifier)
    model = DaskMLPClassifier(**BATCHES)
    model._skl_callbacks = [object()]
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        model.fit(cut(X), cut(y))
    assert str(caught.value) == (
        "Callbacks of scikit-learn's must not be set, because they are given all rows. Call set_callbacks(), and use "
        "`eval_set`."
    )
