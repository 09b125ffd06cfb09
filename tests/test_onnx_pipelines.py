"""Pipelines and other models with our estimators in them, converted by skl2onnx and run by onnxruntime."""

import numba
import numpy as np
import pytest
import sklearn.neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.neural_network import (
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPGridSearchCV,
    MLPRegressor,
    register_onnx_converters,
)
from tests import cases
from tests.fresh import run_python

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
RNG = np.random.default_rng(0)
X = 3 * RNG.standard_normal((60, 4)) + 1
SMALL = {"hidden_layer_sizes": (5, 4), "max_iter": 20, "random_state": 0}
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
LABELS = {
    "binary": np.where(X[:, 0] > 1, 7, -3),
    "words": np.where(X[:, 0] > 1, "spam", "ham"),
    "booleans": X[:, 0] > 1,
    "floats": np.where(X[:, 0] > 1, 1.0, 2.0),
    "one class": np.full(60, 7),
    "multiclass": RNG.integers(5, 8, 60),
    "three words": np.array(["cat", "dog", "mouse"])[RNG.integers(3, size=60)],
    "two labels": (X[:, :2] > 1).astype(int),
    "three labels": (X[:, :3] > 1).astype(int),
}


def run(model, rows, **options):
    """The outputs of a model by their names, by skl2onnx and onnxruntime."""
    skl2onnx, runtime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    register_onnx_converters()
    settings = {"options": {id(model): options}} if options else {}
    content = skl2onnx.to_onnx(model, rows[:1], target_opset=17, **settings).SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, {"X": rows}), strict=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", LABELS)
def test_scaler_and_classifier(name, dtype):
    rows = X.astype(dtype)
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(rows, LABELS[name])
    for part in (rows, rows[:1]):
        found = run(model, part, zipmap=False)
        assert list(found) == ["label", "probabilities"]
        assert np.array_equal(found["label"], model.predict(part))
        assert found["probabilities"].dtype == dtype
        assert np.abs(found["probabilities"] - model.predict_proba(part)).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_scaler_and_regressor(n_outputs, dtype):
    rows = X.astype(dtype)
    model = make_pipeline(StandardScaler(), MLPRegressor(**SMALL)).fit(rows, X[:, :n_outputs].squeeze())
    (found,) = run(model, rows).values()
    expected = model.predict(rows).reshape(len(rows), n_outputs)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


NAMES = sorted(set(cases.ACTIVATION_NAMES) - {"sigmoid", "softmax"})


@pytest.mark.parametrize("activation", [*NAMES, "logistic", "mixed"])
def test_activations(activation):
    name = ["gelu", "tanh"] if activation == "mixed" else activation
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL | {"activation": name}))
    model.fit(X, LABELS["multiclass"])
    found = run(model, X, zipmap=False)
    assert np.abs(found["probabilities"] - model.predict_proba(X)).max() <= TOLERANCE["float64"]


@pytest.mark.parametrize("name", ["binary", "words", "multiclass"])
def test_options_do_what_they_do_for_scikit_learns_class(name):
    rows = X.astype(np.float32)  # ONNX has dicts of float32 only
    numbers = [] if name == "words" else [{"nocl": True, "zipmap": False}]  # which scikit-learn's class cannot have
    for options in ({}, {"zipmap": "columns"}, {"output_class_labels": True, "zipmap": False}, *numbers):
        found, expected = (
            run(kind(**SMALL).fit(rows, LABELS[name]), rows, **options)
            for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier)
        )
        assert list(found) == list(expected)
        for own, peer in zip(found.values(), expected.values(), strict=True):
            if isinstance(own, list):  # a dict for each row
                assert [row.keys() for row in own] == [row.keys() for row in peer]
            else:
                assert own.dtype == peer.dtype
                assert own.shape == peer.shape


def test_models_of_several():
    y = LABELS["binary"]
    member = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    models = [
        CalibratedClassifierCV(MLPClassifier(**SMALL), cv=2),
        VotingClassifier([("net", member), ("line", LogisticRegression())], voting="soft", flatten_transform=False),
        StackingClassifier([("net", member), ("line", LogisticRegression())], cv=2),
        GridSearchCV(member, {"mlpclassifier__alpha": [0.0, 1.0]}, cv=2),
    ]
    for model in models:
        fitted = model.fit(X, y)
        best = getattr(fitted, "best_estimator_", fitted)
        found = run(best, X, zipmap=False)
        assert np.array_equal(found["label"], best.predict(X))
        assert np.abs(found["probabilities"] - best.predict_proba(X)).max() <= 1e-6  # one of them has float32 in it
    pair = VotingRegressor([("net", MLPRegressor(**SMALL)), ("line", LinearRegression())]).fit(X, X[:, 0])
    (found,) = run(pair, X).values()
    assert np.abs(found[:, 0] - pair.predict(X)).max() <= 1e-12


def test_further_models_of_several():
    small = SMALL | {"max_iter": 3}
    columns = make_column_transformer((StandardScaler(), [0, 1]), ("passthrough", [2, 3]))
    models = [
        (BaggingClassifier(MLPClassifier(**small), 3, random_state=0), LABELS["multiclass"]),
        (OneVsRestClassifier(MLPClassifier(**small)), LABELS["multiclass"]),
        (make_pipeline(columns, MLPClassifier(**small)), LABELS["words"]),
        (BaggingRegressor(MLPRegressor(**small), 3, random_state=0), X[:, 0]),
        (MultiOutputRegressor(MLPRegressor(**small)), X[:, :2]),
    ]
    for model, y in models:
        model.fit(X, y)
        is_one = hasattr(model, "predict_proba")
        found = list(run(model, X, **({"zipmap": False} if is_one else {})).values())[-1]
        expected = model.predict_proba(X) if is_one else model.predict(X)
        assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-13


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "absolute_error", "huber", "quantile", "log_cosh"])
def test_losses_of_regressors(loss, dtype):
    rows, settings = X.astype(dtype), SMALL | {"loss": loss, "dropout": 0.1, "max_iter": 3}
    model = make_pipeline(StandardScaler(), MLPRegressor(**settings)).fit(rows, np.abs(X[:, 0]))
    (found,) = run(model, rows).values()
    expected = model.predict(rows)
    assert np.abs(found[:, 0] - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("output", [*NAMES, "logistic"])
def test_output_activations_of_regressors(output, dtype):
    rows, settings = X.astype(dtype), SMALL | {"output_activation": output, "max_iter": 3}
    model = make_pipeline(StandardScaler(), MLPRegressor(**settings)).fit(rows, np.abs(X[:, :2]))
    (found,) = run(model, rows).values()
    expected = model.predict(rows)
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * max(1, np.abs(expected).max())


def test_a_loss_of_ones_own_is_no_part_of_a_model():
    quartic = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))
    model = MLPRegressor(**SMALL | {"loss": quartic, "max_iter": 3}).fit(X / 10, X[:, 0] / 10)
    (found,) = run(model, X / 10).values()
    assert np.abs(found[:, 0] - model.predict(X / 10)).max() <= TOLERANCE["float64"]


ENSEMBLES = {
    "binary": LABELS["binary"],
    "words": LABELS["words"],
    "one class": LABELS["one class"],
    "multiclass": LABELS["multiclass"],
    "three labels": LABELS["three labels"],
    "a rare class of two": np.where(np.arange(60) < 1, "rare", "usual"),  # which some members have not seen
    "a rare class of four": np.where(np.arange(60) < 2, 9, LABELS["multiclass"]),
    "a rare class of three": np.where(np.arange(60) < 1, 2, LABELS["binary"]),
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_of_classifiers(name, dtype):
    rows, member = X.astype(dtype), MLPClassifier(**SMALL | {"max_iter": 3, "activation": ["gelu", "tanh"]})
    ensemble = MLPEnsembleClassifier(member, n_estimators=6, bootstrap="rare" in name, random_state=1)
    model = make_pipeline(StandardScaler(), ensemble).fit(rows, ENSEMBLES[name])
    if "rare" in name:
        assert len({len(each.classes_) for each in model[-1].estimators_}) > 1
    for part in (rows, rows[:1]):
        found = run(model, part, zipmap=False)
        assert np.array_equal(found["label"], model.predict(part))
        assert found["probabilities"].dtype == dtype
        assert found["probabilities"].shape == model.predict_proba(part).shape
        assert np.abs(found["probabilities"] - model.predict_proba(part)).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_ensembles_of_regressors(n_outputs, dtype):
    rows, y = X.astype(dtype), X[:, :n_outputs].squeeze()
    ensemble = MLPEnsembleRegressor(MLPRegressor(**SMALL), n_estimators=3, random_state=1)
    model = make_pipeline(StandardScaler(), ensemble).fit(rows, y)
    (found,) = run(model, rows).values()
    expected = model.predict(rows).reshape(len(rows), n_outputs)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


def test_a_search_becomes_its_best_estimator():
    grid = {"alpha": [0.0, 1.0]}
    for y, options in [(LABELS["three words"], {"zipmap": False}), (X[:, :2], {})]:
        kind = MLPClassifier if options else MLPRegressor
        search = MLPGridSearchCV(kind(**SMALL | {"max_iter": 3}), grid, cv=2).fit(X, y)
        found = list(run(search, X, **options).values())[-1]
        expected = search.predict_proba(X) if options else search.predict(X)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-13
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL | {"max_iter": 3}))
    names = {f"mlpclassifier__{name}": values for name, values in grid.items()}
    stack = StackingClassifier([("search", MLPGridSearchCV(pipeline, names, cv=2))], cv=2).fit(X, LABELS["binary"])
    found = run(stack, X, zipmap=False)
    assert np.abs(found["probabilities"] - stack.predict_proba(X)).max() <= 1e-6  # skl2onnx's line is in float32


def test_a_search_where_skl2onnx_has_moved_what_it_does_with_one():
    pytest.importorskip("skl2onnx")
    code = """
import sys
import skl2onnx
from fastbp.neural_network import MLPGridSearchCV, MLPRegressor, register_onnx_converters
sys.modules["skl2onnx.shape_calculators.grid_search_cv"] = None
register_onnx_converters()
print(skl2onnx.get_model_alias(MLPRegressor))
try:
    skl2onnx.get_model_alias(MLPGridSearchCV)
except RuntimeError:
    print("unknown")
"""
    assert run_python(code) == "FastbpMLPRegressor\nunknown\n"


def test_options_for_all_and_for_a_class():
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converters()
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(X, LABELS["words"])
    ways = ({"zipmap": False}, {MLPClassifier: {"zipmap": False}}, {id(model): {"zipmap": False}})
    found = [skl2onnx.to_onnx(model, X[:1], options=options).SerializeToString() for options in ways]
    assert found[0] == found[1] == found[2]


def test_an_estimator_of_dask():
    """By itself once skl2onnx knows its class, else as `to_local` gives it."""
    dask_array = pytest.importorskip("dask.array")
    dask = pytest.importorskip("fastbp.dask")
    rows, labels = dask_array.from_array(X, chunks=(30, 4)), dask_array.from_array(LABELS["binary"], chunks=30)
    model = dask.DaskMLPClassifier(solver="lbfgs", **SMALL).fit(rows, labels)
    register_onnx_converters([dask.DaskMLPClassifier])
    for each in (model, model.to_local()):
        found = run(each, X, zipmap=False)
        assert np.abs(found["probabilities"] - model.to_local().predict_proba(X)).max() <= TOLERANCE["float64"]


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_later_opsets(opset):
    skl2onnx, runtime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    register_onnx_converters()
    opset = min(opset, skl2onnx.get_latest_tested_opset_version())
    model = MLPEnsembleClassifier(MLPClassifier(**SMALL | {"max_iter": 3}), 6, bootstrap=True, random_state=1)
    model.fit(X, ENSEMBLES["a rare class of four"])
    content = skl2onnx.to_onnx(model, X[:1], target_opset=opset, options={"zipmap": False}).SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"X": X})
    assert np.abs(found - model.predict_proba(X)).max() <= TOLERANCE["float64"]


def test_integers_as_inputs():
    rows = X.round().astype(np.int64)
    model = MLPRegressor(**SMALL).fit(rows, X[:, 0])
    (found,) = run(model, rows).values()
    assert found.dtype == np.float32
    assert np.abs(found[:, 0] - model.predict(rows)).max() <= 1e-5


def test_what_cannot_be_converted():
    pytest.importorskip("skl2onnx")
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    spoilt = MLPRegressor(**SMALL).fit(X, X[:, 0])
    spoilt.coefs_[0][0, 0] = np.inf
    calls = [
        (MLPRegressor(**SMALL | {"activation": cube}).fit(X, X[:, 0]),
         "`net` must have built-in activations only to become an ONNX model; it has 'cube'."),
        (MLPEnsembleRegressor(MLPRegressor(**SMALL | {"activation": cube}), 2).fit(X, X[:, 0]),
         "`net` must have built-in activations only to become an ONNX model; it has 'cube'."),
        (spoilt,
         "`net.params` must be finite for an ONNX model, because one with NaN or infinity would predict nothing."),
        (MLPClassifier(**SMALL).fit(X, np.where(X[:, 0] > 1, np.uint64(5), np.uint64(1 << 63))),
         "`classes_` must be words or numbers that int64 has to be converted by skl2onnx, which knows no others; got "
         "[5, 9223372036854775808]. Write the model by itself with its method to_onnx, or fit it on other labels."),
    ]  # fmt: skip
    for model, message in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
            run(make_pipeline(StandardScaler().fit(X), model), X)
        assert str(caught.value) == message


def test_ensembles_that_are_too_large(monkeypatch):
    pytest.importorskip("skl2onnx")
    ensemble = MLPEnsembleRegressor(MLPRegressor(**SMALL | {"max_iter": 3}), 3).fit(X, X[:, 0])
    n_bytes = 8 * ensemble.estimators_[0].network_.n_params
    monkeypatch.setattr("fastbp.neural_network.converters.MOST_ONNX_BYTES", 2 * n_bytes)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        run(ensemble, X)
    assert str(caught.value) == (
        f"A model must have less than 2 GiB of parameters in float64 for ONNX; it has {3 * n_bytes} bytes. Take fewer "
        "members, or smaller ones."
    )


@pytest.mark.parametrize("kind", [MLPRegressor, MLPEnsembleRegressor])
def test_what_is_not_fitted(kind):
    """Of classifiers skl2onnx itself says that they have no classes."""
    pytest.importorskip("skl2onnx")
    with pytest.raises(NotFittedError, match=f"This {kind.__name__} instance is not fitted yet"):
        run(kind(), X)


def test_without_the_package():
    code = """
import sys
sys.modules["skl2onnx"] = None
from fastbp.neural_network import register_onnx_converters
try:
    register_onnx_converters()
except ImportError as error:
    print(error)
"""
    assert run_python(code) == "A pipeline as an ONNX model needs the `skl2onnx` package: pip install skl2onnx.\n"
