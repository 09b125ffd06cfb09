"""The user's subclasses: saved, loaded again as such if the class is passed, cloned and exported."""

import pickle
import random

import numba
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor, register_onnx_converters
from fastbp.storage.arrays import read_arrays, write_arrays
from tests.fresh import run_python
from tests.fuzz_files import mutated
from tests.twins import same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
WORDS = np.array(["cat", "dog", "mouse"])[RNG.integers(3, size=40)]
CUBE = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
SMALL = {"hidden_layer_sizes": (5, 4), "max_iter": 3, "random_state": 0}


class Tilted(bp.Network):
    """A network with a method and an attribute more, and another constructor."""

    def __init__(self, width):
        super().__init__([3, width, 2], "tanh", seed=0)
        self.tilt = 2.0

    def total(self, inputs):
        return self.predict(inputs).sum()


class Plain(MLPClassifier):
    """A subclass with a method more."""

    def confident(self, inputs):
        return self.predict_proba(inputs).max(axis=1)


class Small(MLPClassifier):
    """A subclass with fewer parameters, by scikit-learn's rules."""

    def __init__(self, alpha=0.5):
        super().__init__((4,), "tanh", alpha=alpha, max_iter=3, random_state=0)


class Choosy(MLPClassifier):
    """A subclass with parameters of its own, one of which decides what is predicted."""

    def __init__(self, threshold=0.75, labels=("none", 0.5), **others):
        super().__init__(**others)
        self.threshold, self.labels = threshold, labels

    @classmethod
    def _get_param_names(cls):
        return [*MLPClassifier._get_param_names(), "labels", "threshold"]

    def predict(self, inputs):
        is_clear = self.predict_proba(inputs).max(axis=1) > self.threshold
        return np.where(is_clear, super().predict(inputs), self.labels[0])


class Smooth(MLPRegressor):
    """A regressor."""


MODELS = {
    "plain": Plain(**SMALL),
    "small": Small(alpha=0.25),
    "choosy": Choosy(threshold=0.4, labels=("unclear", None), **SMALL | {"class_weight": {"cat": 2.0}}),
    "smooth": Smooth(**SMALL | {"activation": CUBE}),
}


def fitted(name):
    """A fitted model."""
    model = clone(MODELS[name])
    return model.fit(X, X[:, 0] if isinstance(model, MLPRegressor) else WORDS)


@pytest.fixture
def path(tmp_path):
    """Where a file may go."""
    return tmp_path / "model.safetensors"


# ---- Networks --------------------------------------------------------------------------------------------------------


def test_a_network_comes_back_as_its_class(path):
    net = Tilted(4)
    net.save(path)
    for mmap in (False, True):
        twin = bp.load(path, mmap=mmap, custom_classes=[Smooth, Tilted, Tilted])
        assert type(twin) is Tilted
        assert same_bits(twin.params, net.params)
        assert twin.total(X) == net.total(X)
        assert not hasattr(twin, "tilt")  # as the documentation says
    for classes in ([], [Plain], iter([type("Other", (Tilted,), {})])):
        twin = bp.load(path, custom_classes=classes)
        assert type(twin) is bp.Network
        assert same_bits(twin.predict(X), net.predict(X))


def test_a_subclass_that_is_called_as_its_base(path):
    class Network(bp.Network):
        pass

    Network([3, 2], seed=0).save(path)
    assert type(bp.load(path, custom_classes=[Network])) is Network
    assert type(bp.load(path)) is bp.Network
    bp.Network([3, 2], seed=0).save(path)
    assert type(bp.load(path, custom_classes=[Network])) is bp.Network


def test_a_network_is_exported(path):
    runtime = pytest.importorskip("onnxruntime")
    net = Tilted(4)
    net.to_onnx(path)
    (found,) = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"X": X})
    np.testing.assert_allclose(found, net.predict(X), rtol=1e-12)


# ---- Estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_an_estimator_comes_back_as_its_class(name, path):
    model = fitted(name)
    model.save(path)
    for mmap in (False, True):
        twin = bp.load(path, mmap=mmap, custom_functions=[CUBE], custom_classes=[Plain, Small, Choosy, Smooth])
        assert type(twin) is type(model)
        assert repr(twin.get_params()) == repr(model.get_params())
        assert np.array_equal(twin.predict(X), model.predict(X))
    again = clone(twin).fit(X, X[:, 0] if name == "smooth" else WORDS)
    assert type(again) is type(model)
    assert same_bits(again.network_.params, model.network_.params)
    assert np.array_equal(pickle.loads(pickle.dumps(twin)).predict(X), model.predict(X)) or name == "smooth"


@pytest.mark.parametrize("name", MODELS)
def test_an_estimator_comes_back_as_its_base_class(name, path):
    model = fitted(name)
    model.save(path)
    twin = bp.load(path, custom_functions=[CUBE])
    assert type(twin) is (MLPRegressor if name == "smooth" else MLPClassifier)
    assert twin.alpha == model.alpha
    assert not hasattr(twin, "threshold")
    assert same_bits(twin.network_.predict(X), model.network_.predict(X))
    twin.fit(X, X[:, 0] if name == "smooth" else WORDS)
    assert same_bits(twin.network_.params, model.network_.params)  # so all parameters were there


def test_what_a_constructor_chose_and_a_user_changed(path):
    model = Small()
    model.max_iter = 2
    model.fit(X, WORDS).save(path)
    assert bp.load(path, custom_classes=[Small]).max_iter == 2


def test_a_parameter_that_is_no_plain_value(path):
    model = Choosy(threshold=np.exp, **SMALL).fit(X, WORDS)
    with pytest.raises(TypeError) as caught:
        model.save(path)
    assert str(caught.value) == (
        "`threshold` must be a plain value for the estimator to be saved, since a file holds no code; got ufunc. Set "
        "another one with set_params()."
    )
    assert not path.exists()


def test_a_class_that_lost_a_parameter(path):
    fitted("choosy").save(path)
    lesser = type("Choosy", (MLPClassifier,), {})
    with pytest.raises(bp.FileError) as caught:
        bp.load(path, custom_classes=[lesser])
    assert caught.value.reason == (
        "its Choosy has the parameter 'labels', which the class of that name in `custom_classes` lacks. Pass the class "
        "that was saved, or none of that name."
    )


def test_a_class_that_got_a_parameter(path):
    class Plain(MLPClassifier):
        def __init__(self, further="default", **others):
            super().__init__(**others)
            self.further = further

        @classmethod
        def _get_param_names(cls):
            return [*MLPClassifier._get_param_names(), "further"]

    fitted("plain").save(path)
    assert bp.load(path, custom_classes=[Plain]).further == "default"


@pytest.mark.parametrize("name", ["plain", "choosy", "smooth"])
def test_an_estimator_is_exported(name, path):
    """As its base class, whatever it predicts itself."""
    runtime = pytest.importorskip("onnxruntime")
    if name == "smooth":
        model = Smooth(**SMALL).fit(X, X[:, 0])
        output, expected = "variable", model.predict(X)[:, None]
    else:
        model = fitted(name)
        output, expected = "probabilities", model.predict_proba(X)
    model.to_onnx(path)
    (found,) = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run([output], {"X": X})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pipelines_are_converted():
    skl2onnx, runtime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    register_onnx_converters(custom_classes=[Plain, Smooth])
    register_onnx_converters()
    for model, y, output in [(Plain(**SMALL), WORDS, "probabilities"), (Smooth(**SMALL), X[:, 0], "variable")]:
        pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
        options = {"options": {id(model): {"zipmap": False}}} if y is WORDS else {}
        content = skl2onnx.to_onnx(pipeline, X[:1], target_opset=17, **options).SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (found,) = session.run([output], {"X": X})
        expected = pipeline.predict_proba(X) if y is WORDS else pipeline.predict(X)[:, None]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- Wrong input -----------------------------------------------------------------------------------------------------


WRONG = {
    "an object": ([3], "an object of the class int"),
    "a name": ("Tilted", "an object of the class str"),
    "an instance": ([Tilted(4)], "an object of the class Tilted"),
    "a lone one": (3, "an object of the class int"),
    "another class": ([Tilted, dict], "the class dict"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_class(name, path):
    Tilted(4).save(path)
    given, got = WRONG[name]
    with pytest.raises(TypeError) as caught:
        bp.load(path, custom_classes=given)
    assert str(caught.value) == (
        f"`custom_classes` must be a list of subclasses of Network, MLPClassifier and MLPRegressor; got {got}."
    )


def test_what_is_no_class_for_a_converter():
    for given, got in [([Tilted], "the class Tilted"), (3, "an object of the class int")]:
        with pytest.raises(TypeError) as caught:
            register_onnx_converters(given)
        assert str(caught.value) == (
            "`custom_classes` must be a list of subclasses of MLPClassifier, MLPRegressor, their ensembles and "
            f"MLPGridSearchCV; got {got}."
        )


def test_a_lone_class(path):
    Tilted(4).save(path)
    assert type(bp.load(path, custom_classes=Tilted)) is Tilted


def test_two_classes_of_one_name(path):
    Tilted(4).save(path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the whole text is compared below
        bp.load(path, custom_classes=[Tilted, type("Tilted", (bp.Network,), {})])
    assert str(caught.value) == "`custom_classes` must have different names; two have the name 'Tilted'."
    twin = bp.load(path, custom_classes=[Tilted, type("Tilted", (MLPClassifier,), {})])  # of another kind of file
    assert type(twin) is Tilted


def test_a_file_imports_nothing(tmp_path):
    """Not even a module that exists and has a class with the name that the file gives."""
    run_python(
        f"""
import sys, fastbp as bp
net = type("Evil", (bp.Network,), {{"__module__": "evil"}})([2, 1], seed=0)
net.save({str(tmp_path / "net")!r})
before = set(sys.modules)
assert type(bp.load({str(tmp_path / "net")!r})) is bp.Network
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
assert "evil" not in sys.modules and "sklearn" not in sys.modules, new
""",
    )


def rewritten(path, kind, **optional):
    """The same file with another optional part."""
    content = read_arrays(path, {kind: 1})
    write_arrays(path, kind, 1, content.description, content.arrays, optional=optional)


def fails(path, **arguments):
    """Loading fails; the reason."""
    with pytest.raises(bp.FileError) as caught:
        bp.load(path, **arguments)
    return caught.value.reason


def test_hostile_names(path):
    Tilted(4).save(path)
    for name in (["Tilted"], {"a": 1}, None, 3):
        rewritten(path, "network", **{"class": name})
        assert fails(path, custom_classes=[Tilted]) == f"its `class` must be a name; it is {name!r}."
    fitted("plain").save(path)
    for parameters in ({"parameters": []}, {}):
        rewritten(path, "classifier", **{"class": "Plain", **parameters})
        assert fails(path, custom_classes=[Plain]) == "its `parameters` of a subclass must be a JSON object."
        assert type(bp.load(path)) is MLPClassifier


def test_a_constructor_that_refuses(path):
    class Choosy(MLPClassifier):
        def __init__(self, threshold=0.5, labels=()):
            super().__init__()
            self.threshold, self.labels = threshold, labels
            raise ValueError("not today")

    fitted("choosy").save(path)
    assert fails(path, custom_classes=[Choosy]) == "its classifier is impossible: not today."


def test_what_is_optional_must_be_an_object(path):
    Tilted(4).save(path)
    content = read_arrays(path, {"network": 1})
    write_arrays(path, "network", 1, content.description, content.arrays, optional={"x": 1})
    found = bp.load(path, custom_classes=[Tilted])
    assert type(found) is bp.Network  # a field that a later release may write
    raw = path.read_bytes()
    assert raw.count(b'\\"optional\\":{\\"x\\":1}') == 1


def test_mutated_subclasses(path):
    """With the right checksum, so that only the values themselves tell."""
    model = fitted("choosy")
    model.save(path)
    content = read_arrays(path, {"classifier": 1})
    rng, n_loaded = random.Random(0), 0
    for _ in range(300):
        changed = mutated(content.optional, rng)
        if not isinstance(changed, dict):
            continue
        write_arrays(path, "classifier", 1, content.description, content.arrays, optional=changed)
        try:
            twin = bp.load(path, custom_classes=[Choosy])
        except bp.FileError:
            continue
        n_loaded += 1
        assert same_bits(twin.predict_proba(X), model.predict_proba(X))
    assert 0 < n_loaded < 300
