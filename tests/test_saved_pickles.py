"""Pickles of earlier versions: public objects come back, and go on as they would have; see tests/data/README.md."""

import copy
import pickle

import numpy as np
import pytest

import fastbp as bp
from fastbp.model.definition import settings_of
from tests import saved_files
from tests.cases import TRAJECTORY_RTOL as RTOL
from tests.saved_files import FOLDERS, LABELS, OPTIMIZERS, X
from tests.test_saved_files import assert_estimator_as_before, paths
from tests.twins import same_bits

folders = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
# scikit-learn's own warning: an estimator's pickle holds a LabelBinarizer, which knows the version that it is of
other_scikit_learn = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")


def unpickled(path):
    """What a pickle holds."""
    return pickle.loads(path.read_bytes())


@other_scikit_learn
@paths("[cr]*r-*.pickle")
def test_estimators_go_on(path):
    """Further steps are those of a model that was never pickled."""
    model, twin = unpickled(path), saved_files.estimator(path.stem)
    assert_estimator_as_before(path, model)
    if model.solver == "lbfgs" or model.early_stopping:  # which have no partial_fit
        return
    _, y, _ = saved_files.ESTIMATORS[path.stem]
    for each in (model, twin):
        vars(each).pop("feature_names_in_", None)
        each.partial_fit(X.astype(each.network_.dtype), y)
    assert model.t_ == twin.t_ == 200  # rows
    rtol = RTOL[model.network_.dtype.name]
    np.testing.assert_allclose(model.network_.params, twin.network_.params, rtol=rtol, atol=rtol)


@folders
@pytest.mark.parametrize(("name", "row"), [("network", "adam"), ("network-float32", "rmsprop")])
def test_networks_go_on(folder, name, row):
    net = unpickled(folder / f"{name}.pickle")
    twin, _ = saved_files.half_fit(row, 13 if row == "adam" else None)
    assert type(net) is bp.Network
    assert settings_of(net) == settings_of(twin)
    assert net.feature_names == (("a", "b", "c") if row == "adam" else None)
    assert len(net.history) == len(twin.history) == (2 if row == "adam" else 6)
    assert net.history.stopped_by == twin.history.stopped_by
    assert net._training_state.optimizer == OPTIMIZERS[row]
    assert net._training_state.step == twin._training_state.step > 0
    assert net._training_state.rng.bit_generator.state == twin._training_state.rng.bit_generator.state
    net.feature_names = None
    inputs = X.astype(net.dtype)
    for each in (net, twin):
        each.fit(inputs, LABELS, epochs=2, batch_size=8)
    rtol = RTOL[net.dtype.name]
    np.testing.assert_allclose(net.params, twin.params, rtol=rtol, atol=rtol)
    assert net._training_state.step == twin._training_state.step


@folders
@pytest.mark.parametrize(("name", "row"), [("nielsen", "first"), ("nielsen2", "cross_entropy")])
def test_nielsens_networks_go_on(folder, name, row):
    net, twin = unpickled(folder / f"{name}.pickle"), saved_files.nielsen_network(row)
    assert type(net) is type(twin)
    assert (net.cost, net.sizes, net.dtype) == (twin.cost, twin.sizes, twin.dtype)
    assert same_bits(saved_files.trained_further(net), saved_files.trained_further(twin))


@folders
def test_optimizers_and_schedules(folder):
    assert unpickled(folder / "optimizers.pickle") == OPTIMIZERS


@folders
def test_records(folder):
    found = unpickled(folder / "records.pickle")
    expected = saved_files.pickles()["records"]
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert found["early_stopping"] == expected["early_stopping"]
    assert str(found["file"]) == "The file 'net' cannot be loaded: it is empty."
    assert str(found["diverged"]) == "too large"
    for name in ("loss", "val_loss", "learning_rate"):
        np.testing.assert_allclose(getattr(found["history"], name), getattr(expected["history"], name), rtol=1e-5)
    assert np.array_equal(found["weight_history"].values, expected["weight_history"].values)
    assert found["trace"].cost == expected["trace"].cost
    assert str(found["gradient"]) == str(expected["gradient"])
    assert str(found["diagnosis"]) == str(expected["diagnosis"])
    assert repr(copy.copy(found["history"])).startswith("<History of 6 epochs, loss 0.65")


# ---- By the names of before ------------------------------------------------------------------------------------------

# Of public names that are pickled by reference, the modules in which version 0.1.0 had them.
MODULES_OF_BEFORE = {
    "SGD": "optimizers", "Adam": "optimizers", "History": "history", "EarlyStopping": "history", "Cosine": "schedules",
    "TrainingDivergedError": "trainer", "check_gradient": "gradient_check", "diagnose": "diagnostics",
    "finite_difference_gradient": "perturbation", "get_num_threads": "threads", "set_num_threads": "threads",
    "num_threads": "threads", "from_torch_state_dict": "torch_parameters", "FileError": "files", "Trace": "trace",
    "WeightHistory": "weight_history", "Activation": "functions", "Loss": "functions", "Network": "network",
    "warmup": "warmup", "find_learning_rate": "learning_rate_finder",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES_OF_BEFORE)
def test_a_name_is_found_where_it_was(name):
    by_reference = f"cfastbp.{MODULES_OF_BEFORE[name]}\n{name}\n.".encode()
    assert pickle.loads(by_reference) is getattr(bp, name)


def test_views_of_layers_are_found_where_they_were():
    weights = bp.Network([2, 3, 1], seed=0).weights
    old = pickle.dumps(weights, protocol=0).replace(b"fastbp.model.layer_arrays", b"fastbp.layer_arrays")
    assert [W.tobytes() for W in pickle.loads(old)] == [W.tobytes() for W in weights]


class Mine(bp.Network):
    """A network with an attribute of its own."""


def test_an_attribute_of_the_users_stays():
    net = Mine([2, 1], seed=0)
    net.training_state = "mine"
    for twin in (copy.copy(net), pickle.loads(pickle.dumps(net))):
        assert twin.training_state == "mine"
        assert twin._training_state is None
