"""Pipelines and other models with our estimators in them, converted by skl2onnx and run by onnxruntime."""

import numba
import numpy as np
import pytest
import sklearn.neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor, register_onnx_converters
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
