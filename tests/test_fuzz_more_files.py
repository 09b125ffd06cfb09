"""A short run of `tests.fuzz_more_files`, the long one of which is a command; and networks of many layers."""

import numpy as np
import pytest

import fastbp as bp
from fastbp.model.definition import Definition
from fastbp.storage import networks
from fastbp.storage.arrays import write_arrays
from tests.fuzz_more_files import KINDS, fuzz


def test_a_hostile_file_of_any_kind_is_the_one_error_or_can_be_used(tmp_path):
    found = fuzz(200, 1, tmp_path)
    assert sum(found.values()) == 200 * (len(KINDS) + 1)
    assert all(found[kind, "error"] for kind in (*KINDS, "state dict"))
    assert all(found[kind, "used"] for kind in KINDS)
    assert found["checkpoint", "other"]


@pytest.mark.slow
def test_many_hostile_files(tmp_path):
    assert sum(fuzz(5_000, 3, tmp_path).values()) == 5_000 * (len(KINDS) + 1)


def test_the_error_s_text_has_no_control_characters():
    text = str(bp.FileError("net", "its loss is '\x1b[2J\ud800\n'."))
    assert text == "The file 'net' cannot be loaded: its loss is '\\x1b[2J\\ud800\\n'."


def test_a_file_of_too_many_layers_is_refused(tmp_path, monkeypatch):
    n = 400_000
    description = {
        "sizes": [1] * (n + 1), "dtype": "float64", "activations": [[["relu", 1]]] * n, "loss": "quadratic",
        "initializer": "glorot_uniform", "l2_penalty": 0.0, "l1_penalty": 0.0, "dropout": [0] * (n - 1),
    }  # fmt: skip
    write_arrays(tmp_path / "deep", "network", 1, description, {"params": np.zeros(2 * n)})
    with pytest.raises(bp.FileError, match="its `sizes` say that it has 400000 layers; at most 32768 are allowed"):
        bp.load(tmp_path / "deep")
    monkeypatch.setattr(networks, "MOST_LAYERS", 3)
    bp.Network([1] * 4).save(tmp_path / "net")
    with pytest.raises(ValueError, match="A network must have at most 3 layers to be saved"):
        bp.Network([1] * 5).save(tmp_path / "net")
    assert bp.load(tmp_path / "net").sizes == (1, 1, 1, 1)


def test_what_follows_a_file_of_many_layers_looks_at_each_layer_a_few_times(tmp_path, monkeypatch):
    """Counted, since the time depends on the machine: no layer's entry is read once for each other layer."""
    n = 3000
    description = {
        "sizes": [1] * (n + 1), "dtype": "float64", "activations": [[["relu", 1]]] * n, "loss": "quadratic",
        "initializer": "glorot_uniform", "l2_penalty": 0.0, "l1_penalty": 0.0, "dropout": [0.0] * (n - 1),
    }  # fmt: skip
    write_arrays(tmp_path / "deep", "network", 1, description, {"params": np.tile([1.0, 0.0], n)})
    lists, whole = [], Definition.activations.fget
    monkeypatch.setattr(Definition, "activations", property(lambda net: lists.append(net) or whole(net)))
    net = bp.load(tmp_path / "deep")
    assert net.predict([[2.0]]) == 2.0
    net.value_and_grad([[2.0]], [[1.0]])
    net.fit([[2.0]], [[2.0]], epochs=1)
    net.save(tmp_path / "deep")
    repr(net)
    assert len(lists) < 20  # each is a walk over all layers
