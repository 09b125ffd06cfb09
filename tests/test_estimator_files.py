"""Estimators in files and as ONNX models: the same predictions, and one clear error for every bad file."""

import json
import random

import numba
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.storage import arrays
from tests.fuzz_files import mutated
from tests.twins import same_bits

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
WORDS = np.array(["cat", "dog", "mouse"])[RNG.integers(3, size=40)]
CUBE = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
SMALL = {"hidden_layer_sizes": (5, 4), "max_iter": 3, "random_state": 0, "n_iter_no_change": 5, "tol": 0.0}
CLASSES = {
    "words": WORDS,
    "objects": WORDS.astype(object),
    "binary": np.where(WORDS == "cat", 7, -3),
    "booleans": WORDS == "cat",
    "floats": np.where(WORDS == "cat", 1.0, 2.0),
    "integers": RNG.integers(5, size=40),
    "labels": RNG.integers(2, size=(40, 3)),
    "one class": np.full(40, 7),
    "one word": np.full(40, "cat"),
}
MODELS = {name: (MLPClassifier, y, {}) for name, y in CLASSES.items()} | {
    "one": (MLPRegressor, X[:, 0], {}),
    "two": (MLPRegressor, X[:, :2], {"solver": "lbfgs"}),
    "float32": (MLPClassifier, WORDS, {"dtype": "float32", "activation": "logistic"}),
    "quantile": (MLPRegressor, X[:, 0], {"loss": "quantile", "quantile": 0.25}),
    "poisson": (MLPRegressor, np.abs(X[:, 0]), {"loss": "poisson"}),
    "mixed": (MLPClassifier, WORDS, {"activation": ["gelu", "tanh"], "dropout": 0.25}),
    "weighted": (MLPClassifier, WORDS, {"class_weight": {"cat": 2.0, "dog": 1.0, "mouse": 0.5}}),
    "stopped": (MLPClassifier, WORDS, {"early_stopping": True}),
    "cosine": (MLPClassifier, WORDS, {"learning_rate": bp.Cosine(0.01)}),
    "cycle": (MLPRegressor, X[:, 0], {"learning_rate": bp.OneCycle(0.01, n_steps=50), "solver": "sgd"}),
    "steps": (MLPRegressor, X[:, 0], {"learning_rate": bp.Step(0.01, 2)}),
    "inverse": (MLPRegressor, X[:, 0], {"learning_rate": bp.InverseScaling(0.01)}),
    "constant": (MLPRegressor, X[:, 0], {"learning_rate": bp.Constant(0.01)}),
}  # fmt: skip
every_model = pytest.mark.parametrize("name", MODELS)


def fitted(name):
    """A fitted model and inputs for it."""
    kind, y, settings = MODELS[name]
    model = kind(**(SMALL | settings))
    inputs = X.astype(settings.get("dtype", "float64"))
    model.fit(inputs, y)
    return model, inputs


@every_model
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("mmap", [False, True])
def test_there_and_back(name, mmap, tmp_path):
    model, inputs = fitted(name)
    model.save(tmp_path / "model")
    twin = bp.load(tmp_path / "model", mmap=mmap)
    assert type(twin) is type(model)
    assert repr(twin.get_params()) == repr(model.get_params())
    assert same_bits(twin.network_.params, model.network_.params)
    assert np.array_equal(twin.predict(inputs), model.predict(inputs))
    assert twin.predict(inputs).dtype == model.predict(inputs).dtype
    for attribute in ("n_iter_", "loss_curve_", "n_features_in_", "n_outputs_", "n_layers_", "out_activation_"):
        assert getattr(twin, attribute, None) == getattr(model, attribute, None), attribute
    if isinstance(model, MLPClassifier):
        assert same_bits(twin.predict_proba(inputs), model.predict_proba(inputs))
        assert twin.classes_.tolist() == model.classes_.tolist()
        assert twin.classes_.dtype == model.classes_.dtype
    y = MODELS[name][1]
    twin.fit(inputs, y)
    assert same_bits(twin.network_.params, model.network_.params)  # the same random_state


@every_model
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_onnxruntime_agrees(name, tmp_path):
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    model, inputs = fitted(name)
    model.to_onnx(tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["X"]
    tolerance = 1e-6 if inputs.dtype == np.float32 else 1e-13
    for rows in (inputs, inputs[:1]):
        results = dict(zip((o.name for o in session.get_outputs()), session.run(None, {"X": rows}), strict=True))
        if isinstance(model, MLPRegressor):
            assert list(results) == ["variable"]
            expected = model.predict(rows).reshape(len(rows), -1)
            assert np.abs(results["variable"] - expected).max() <= tolerance * max(1.0, np.abs(expected).max())
        else:
            assert list(results) == ["label", "probabilities"]
            assert np.array_equal(results["label"], model.predict(rows))
            assert np.abs(results["probabilities"] - model.predict_proba(rows)).max() <= tolerance


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.dtype("f4"), "f4"], ids=str)
def test_dtype_is_written_as_its_name(dtype, tmp_path):
    model = MLPClassifier(**SMALL | {"dtype": dtype}).fit(X, WORDS)
    model.save(tmp_path / "model")
    twin = bp.load(tmp_path / "model")
    assert twin.dtype == "float32"
    assert same_bits(twin.network_.params, model.network_.params)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("intercept", [-9.0, 9.0])
@pytest.mark.parametrize("label", [7, "cat", True, 1.0])
def test_onnx_of_the_only_class(label, intercept, tmp_path):
    """On both sides of a probability of one half."""
    runtime = pytest.importorskip("onnxruntime")
    model = MLPClassifier(**SMALL).fit(X, np.full(40, label))
    model.intercepts_[-1][...] = intercept
    assert set(model.predict(X)) == {label}
    model.to_onnx(tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert set(session.run(["label"], {"X": X})[0].tolist()) == {label}


def test_names_of_features(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit(frame, X[:, 0])
    model.save(tmp_path / "model")
    twin = bp.load(tmp_path / "model")
    assert twin.feature_names_in_.tolist() == ["a", "b", "c"]
    assert same_bits(twin.predict(frame), model.predict(frame))


def test_functions_of_ones_own(tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(3,), activation=CUBE, solver="lbfgs", max_iter=200, random_state=0).fit(
        X, X[:, 0]
    )
    model.save(tmp_path / "model")
    twin = bp.load(tmp_path / "model", custom_functions=[CUBE])
    assert same_bits(twin.predict(X), model.predict(X))
    with pytest.raises(bp.FileError) as caught:
        bp.load(tmp_path / "model")
    assert caught.value.reason == (
        "it needs the bp.Activation 'cube', and a file holds no code. Pass it: load(path, custom_functions=[...])."
    )


def test_what_cannot_be_saved(tmp_path):
    for call in (MLPClassifier().save, MLPRegressor().save, MLPClassifier().to_onnx):
        with pytest.raises(NotFittedError):
            call(tmp_path / "model")
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=np.random.RandomState(0)).fit(X, X[:, 0])
    with pytest.raises(TypeError) as caught:
        model.save(tmp_path / "model")
    assert str(caught.value) == (
        "`random_state` must be a plain value for the estimator to be saved, since a file holds no code; got "
        "RandomState. Set another one with set_params()."
    )
    model.set_params(random_state=0, learning_rate=Falling())
    with pytest.raises(TypeError) as caught:
        model.save(tmp_path / "model")
    assert str(caught.value) == (
        "`learning_rate` must be a plain value for the estimator to be saved, since a file holds no code; got "
        "Falling. Set another one with set_params()."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"activation": "tanh"}, ValueError,
         "The parameters of an estimator must be those that its network was made of for it to be saved; since then "
         "they have changed, and the activations with them. Undo that with set_params(), or fit it again."),
        ({"max_iter": -1}, ValueError,
         "The 'max_iter' parameter of MLPRegressor must be an int in the range [1, inf). Got -1 instead."),
        ({"n_threads": True}, TypeError, "`n_threads` must be an integer of at least 1; got True."),
    ],
    ids=["network", "range", "threads"],
)  # fmt: skip
def test_parameters_that_no_file_may_have_are_refused_where_they_are_saved(parameters, error, message, tmp_path):
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit(X, X[:, 0])
    model.set_params(**parameters)
    with pytest.raises(error) as caught:
        model.save(tmp_path / "model")
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "datetime64[D]", "timedelta64[s]"])
def test_labels_that_cannot_be_saved(dtype, tmp_path):
    labels = np.array([0, 1], dtype)[(X[:, 0] > 0).astype(int)]
    model = MLPClassifier(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0).fit(X, labels)
    with pytest.raises(TypeError) as caught:
        model.save(tmp_path / "model")
    assert str(caught.value) == (
        "`classes_` must be a plain value for the estimator to be saved, since a file holds no code; got an array of "
        f"{dtype}. Fit it with other labels."
    )
    assert list(tmp_path.iterdir()) == []


class Falling(bp.Schedule):
    """A schedule of one's own."""

    def __call__(self, steps, horizon):
        return 0.1 / (1 + np.asarray(steps))


def test_parameters_that_are_not_finite(tmp_path):
    pytest.importorskip("onnx")
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", random_state=0, max_iter=200).fit(X, X[:, 0])
    model.coefs_[0][1, 2] = np.nan
    calls = [
        (model.save, "`net.params` must be finite to be saved, because a file with NaN or infinity would be taken for "
                     "damaged."),
        (model.to_onnx, "`net.params` must be finite for an ONNX model, because one with NaN or infinity would predict "
                        "nothing."),
    ]  # fmt: skip
    for call, message in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
            call(tmp_path / "model")
        assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["words", "labels", "two", "weighted", "cosine"])
def test_mutated_descriptions(name, tmp_path):
    """With the right checksum, so that only the values themselves tell."""
    model, inputs = fitted(name)
    path = tmp_path / "model"
    model.save(path)
    kind = "classifier" if isinstance(model, MLPClassifier) else "regressor"
    content = arrays.read_arrays(path, {kind: 1})
    rng, n_loaded = random.Random(name), 0
    for _ in range(300):
        changed = json.loads(json.dumps(content.description))
        for _ in range(rng.choice((1, 1, 2))):
            changed = mutated(changed, rng)
        if not isinstance(changed, dict):
            continue
        arrays.write_arrays(path, kind, 1, changed, content.arrays)
        try:
            twin = bp.load(path)
        except bp.FileError:
            continue
        n_loaded += 1
        assert twin.predict(inputs).shape[0] == len(inputs)
    assert 0 < n_loaded < 300
