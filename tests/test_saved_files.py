"""Files of earlier versions: they load, and mean what they meant; see tests/data/README.md."""

import numpy as np
import pytest

import fastbp as bp
from fastbp.model.definition import settings_of
from fastbp.neural_network import MLPClassifier
from tests import cases, saved_files
from tests.saved_files import CUBE, FOLDERS, MADE_WITH, QUARTIC, X
from tests.twins import same_bits

EXPECTED = {folder.name: dict(np.load(folder / "expected.npz")) for folder in FOLDERS}


def paths(pattern):
    """The files of a kind, of every version, as the parameter `path`."""
    found = [path for folder in FOLDERS for path in sorted(folder.glob(pattern))]
    return pytest.mark.parametrize("path", found, ids=lambda path: f"{path.parent.name}-{path.stem}")


def expected_of(path, key):
    """What the version that wrote a file said of it."""
    return EXPECTED[path.parent.name][f"{path.stem}/{key}"]


def assert_as_before(path, key, value, dtype=None, *, in_bits=True):
    """To the bit, where the same vectors and libraries computed it; else up to rounding, of a `dtype` if given."""
    before = expected_of(path, key)
    if before.dtype.kind == "U":
        assert value.tolist() == before.tolist()
    elif in_bits and EXPECTED[path.parent.name]["made_with"] == MADE_WITH:
        assert same_bits(np.asarray(value), before), key
    else:
        is_single = (dtype or before.dtype) == np.float32
        tolerance = cases.TRAJECTORY_RTOL["float32" if is_single else "float64"]
        np.testing.assert_allclose(value, before, rtol=tolerance, atol=tolerance)


def test_there_are_files_of_every_kind():
    """Of the first version; what came later is in the folders of later versions."""
    names = {path.stem for path in FOLDERS[0].iterdir()}
    assert {f"network-{name}-{dtype}" for name in saved_files.NETWORKS for dtype in cases.DTYPES} <= names
    assert set(saved_files.ESTIMATORS) <= names
    assert {f"checkpoint-{name}" for name in saved_files.CHECKPOINTS} <= names
    assert {f"nielsen-{name}" for name in saved_files.NIELSEN} <= names


# ---- Networks and estimators -----------------------------------------------------------------------------------------


@paths("network-*.safetensors")
def test_networks(path):
    _, name, dtype = path.stem.split("-")
    net, twin = bp.load(path, custom_functions=[CUBE, QUARTIC]), saved_files.network(name, dtype)
    assert (net.sizes, net.dtype, settings_of(net)) == (twin.sizes, twin.dtype, settings_of(twin))
    assert same_bits(net.params, twin.params)
    assert same_bits(net.predict(X.astype(dtype)), twin.predict(X.astype(dtype)))
    assert_as_before(path, "predict", net.predict(X.astype(dtype)))


@paths("classifier-*.safetensors")
def test_classifiers(path):
    assert_estimator_as_before(path, bp.load(path))


@paths("regressor-*.safetensors")
def test_regressors(path):
    assert_estimator_as_before(path, bp.load(path, custom_functions=[CUBE]))


def assert_estimator_as_before(path, model):
    """Class, parameters and predictions."""
    kind, y, settings = saved_files.ESTIMATORS[path.stem]
    assert type(model) is kind
    assert repr(model.get_params()) == repr(kind(**saved_files.SMALL | settings).get_params())
    assert same_bits(model.network_.params, expected_of(path, "params"))
    for key, value in saved_files.says(model).items():
        assert_as_before(path, key, value)
    if isinstance(model, MLPClassifier):
        assert sorted(set(model.classes_.tolist())) == sorted(set(range(3) if y.ndim == 2 else y.tolist()))
    assert hasattr(model, "feature_names_in_") == (path.stem == "regressor-two")
    assert len(model.loss_curve_ if hasattr(model, "loss_curve_") else []) == (4 if model.solver != "lbfgs" else 0)


@paths("pipeline-*.safetensors")
def test_pipelines(path):
    pytest.importorskip("pandas")
    model = bp.load(path)
    for name in ("predict", "predict_proba"):
        assert_as_before(path, name, getattr(model, name)(saved_files.table()))


# ---- Checkpoints -----------------------------------------------------------------------------------------------------


@paths("checkpoint-*.safetensors")
def test_checkpoints_are_resumed(path, tmp_path):
    """With the bits of a fit that was never interrupted."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())  # the fit that goes on writes into it
    name = path.stem.removeprefix("checkpoint-")
    net, history = saved_files.half_fit(name, checkpoint=copy, resume=True)
    assert history.stopped_by == "epochs"
    whole, whole_history = saved_files.half_fit(name)
    assert len(history) == len(whole_history) == 6
    at_end = saved_files.end_of(whole, whole_history)
    # The same libraries take other kernels on another processor: where the whole fit has other bits, so has the rest.
    in_bits = all(same_bits(np.asarray(value), expected_of(path, key)) for key, value in at_end.items())
    for found in (saved_files.end_of(net, history), at_end):
        for key, value in found.items():
            assert_as_before(path, key, value, net.dtype, in_bits=in_bits)


# ---- Nielsen's classes -----------------------------------------------------------------------------------------------


@paths("nielsen-*.json")
def test_nielsens_files(path):
    name = path.stem.removeprefix("nielsen-")
    module, cost, dtype = saved_files.NIELSEN[name]
    net, twin = module.load(path), saved_files.nielsen_network(name)
    assert type(net) is type(twin)
    assert (net.sizes, net.dtype) == (twin.sizes, np.dtype(dtype))
    assert net.cost is (cost or module.QuadraticCost)
    for one, other in zip((*net.weights, *net.biases), (*twin.weights, *twin.biases), strict=True):
        assert same_bits(one, other)
    np.testing.assert_allclose(net.feedforward(X.T), expected_of(path, "feedforward"), rtol=cases.VALUE_RTOL[dtype])
    assert_as_before(path, "trained", saved_files.trained_further(net))
