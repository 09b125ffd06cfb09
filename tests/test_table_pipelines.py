"""Pipelines for tables: columns as numbers and words, files of them that are not trusted, and their ONNX models."""

import copy
import json
import random
import sys

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.neural_network.table_columns import as_numbers, as_words, number_or_nan
from fastbp.neural_network.table_onnx import pipeline_model
from fastbp.neural_network.table_pipelines import make_columns, save, states_of
from fastbp.storage.arrays import read_arrays, write_arrays
from tests.command_lines import diabetes, iris

pd = pytest.importorskip("pandas")
WORDS = [["", "clay", "sand"]]
NUMBERS = ["petal width", "sepal length", "is wild"]


@pytest.fixture(scope="module")
def models():
    """A fitted pipeline of classes and one of numbers."""
    frame = iris()
    columns = make_columns(NUMBERS, ["soil"], WORDS)
    network = MLPClassifier((5,), max_iter=2000, tol=0.1, random_state=0, solver="lbfgs")
    network.fit(columns.fit_transform(frame), frame["species"].to_numpy(str))
    classes = Pipeline([("columns", columns), ("network", network)])
    frame = diabetes()
    columns = make_columns(list(frame.columns[:-1]), [], [])
    network = MLPRegressor(
        hidden_layer_sizes=(5,), max_iter=2000, tol=0.1, random_state=0, solver="lbfgs", dtype="float32"
    )
    network.fit(columns.fit_transform(frame), frame["target"].to_numpy())
    return {"classes": classes, "numbers": Pipeline([("columns", columns), ("network", network)])}


FRAMES = {"classes": iris, "numbers": diabetes}


# --- columns ----------------------------------------------------------------------------------------------------------


def test_numbers_of_every_kind():
    frame = pd.DataFrame(
        {
            "text": ["1", " 2.5e3 ", "", None],
            "truth": [True, False, None, True],
            "whole": pd.array([1, None, 3, 4], dtype="Int64"),
            "single": np.array([0.5, np.nan, 2, 3], np.float32),
            "objects": [1, 2.5, "3", np.int8(4)],
        }
    )
    frame.loc[2, "text"] = None
    expected = [[1, 1, 1, 0.5, 1], [2500, 0, np.nan, np.nan, 2.5], [np.nan, np.nan, 3, 2, 3], [np.nan, 1, 4, 3, 4]]
    np.testing.assert_array_equal(as_numbers(frame), expected)


@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        ([1.0, np.inf], 1, "inf"),
        (["1", "x"], 1, "'x'"),
        (["1_000", "2"], 0, "'1_000'"),
        ([1e100, 2.0], 0, "1e+100"),
        (["1", "y" * 99], 1, "'" + "y" * 59 + "..."),
        ([10**400, 1], 0, str(10**400)[:60] + "..."),
        (pd.to_datetime(["2026-01-01"]), 0, "Timestamp('2026-01-01 00:00:00')"),
    ],
)
def test_what_is_no_number(values, row, shown):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        as_numbers(pd.DataFrame({"a": values}))
    assert str(caught.value) == (
        "`X` must have numbers below 1e+100 in the column 'a', or nothing where one is missing; "
        f"row {row}, counted from 0, has {shown}."
    )


def test_words_of_every_kind():
    frame = pd.DataFrame({"a": pd.Categorical(["x", None]), "b": [1.0, 2.5], "c": [[1], None], "d": [True, 3]})
    assert as_words(frame).tolist() == [["x", "1", "[1]", "True"], ["", "2.5", "", "3"]]
    assert np.isnan(number_or_nan(frame["c"])).all()


def test_a_missing_library(monkeypatch):
    frame = iris()[["soil"]]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError) as caught:
        as_words(frame)
    assert str(caught.value) == 'Tables need the `pandas` package: pip install "fastbp[tables]".'


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
def test_a_file_gives_the_same_bits(models, tmp_path, kind):
    model, frame = models[kind], FRAMES[kind]()
    save(model, tmp_path / "model")
    twin = bp.load(tmp_path / "model")
    assert isinstance(twin, Pipeline)
    assert states_of(twin[0]) == states_of(model[0])
    frame.iloc[0, 0] = np.nan
    assert twin[0].transform(frame).tobytes() == model[0].transform(frame).tobytes()
    assert twin.predict(frame).tolist() == model.predict(frame).tolist()
    assert twin.predict(frame[frame.columns[::-1]]).tolist() == model.predict(frame).tolist()
    save(twin, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_missing_columns_are_named_in_python(models):
    with pytest.raises(ValueError, match=r"columns are missing: \{'soil'\}"):
        models["classes"].predict(iris().drop(columns="soil"))


def damaged(path, change):
    """Write a file again whose description was changed; its checksum is right."""
    content = read_arrays(path, {"pipeline": 1})
    description = copy.deepcopy(content.description)
    change(description)
    write_arrays(path, "pipeline", 1, description, content.arrays)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("kind", "network", "its estimator must be a classifier or a regressor."),
        ("kind", "regressor", "a regressor must have the fields feature_names, network, parameters, record; there is "
         "also 'classes'."),
        ("kind", [], "its estimator must be a classifier or a regressor."),
        ("estimator", 3, "its estimator must be a classifier or a regressor."),
        ("numbers", ["a", "a", "b"], "its columns must have names, different from each other."),
        ("numbers", ["soil", "a", "b"], "its columns must have names, different from each other."),
        ("numbers", "abc", "its `numbers` must be a list of names."),
        ("numbers", ["a", "b"], "its `has_missing` must be 2 times true or false."),
        ("words", [3], "its `words` must be a list of names."),
        ("words", [], "its `categories` must be a list for each column of words."),
        ("has_missing", [True, 0, 1], "its `has_missing` must be 3 times true or false."),
        ("has_missing", [False, False, False], "its `means` must be 3 numbers."),
        ("medians", [1.0], "its `medians` must be 3 numbers."),
        ("medians", [1.0, 2.0, "3"], "its `medians` must be 3 numbers."),
        ("means", [1.0, 2.0, 3.0, None], "its `means` must be 4 numbers."),
        ("scales", [1.0, 2.0, 3.0, 0.0], "its `scales` must be above 0."),
        ("scales", [1.0, 2.0, 3.0, -1.0], "its `scales` must be above 0."),
        ("categories", [[]], "its `categories` must be lists of words."),
        ("categories", ["abc"], "its `categories` must be lists of words."),
        ("categories", [["a", 3]], "its `categories` must be lists of words."),
        ("categories", [["a", "a"]], "its `categories` must be different from each other."),
        ("categories", [["a"]], "its classifier must have 5 inputs without names, as many as its columns make."),
        ("medians", [1e200, 1.0, 1.0], "its `medians` must be below 1e+100."),
        ("more", 3, "a pipeline must have the fields categories, estimator, has_missing, kind, means, medians, "
         "numbers, scales, words; there is also 'more'."),
    ],
)  # fmt: skip
def test_a_hostile_file(models, tmp_path, field, value, reason):
    path = str(tmp_path / "model")
    save(models["classes"], path)
    damaged(path, lambda description: description.update({field: value}))
    with pytest.raises(bp.FileError) as caught:
        bp.load(path)
    assert str(caught.value) == f"The file {path!r} cannot be loaded: {reason}"


STRANGE = [None, True, -1, 0, 10**30, 1e300, "", "x", [], {}, [[]], [1.0], ["a"], {"float": "nan"}, "\x1b"]


def test_files_that_are_damaged_at_random(models, tmp_path):
    """Whatever a description says, a file is loaded or refused by its own error, and what is loaded predicts."""
    draw, path = random.Random(0), str(tmp_path / "model")
    save(models["classes"], path)
    whole = (tmp_path / "model").read_bytes()
    for _ in range(150):
        (tmp_path / "model").write_bytes(whole)

        def change(description):
            place = description
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                key = draw.choice(keys)
                inner = place[key]
                if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
                    place[key] = draw.choice(STRANGE)
                    return
                place = inner

        damaged(path, change)
        try:
            model = bp.load(path)
        except bp.FileError:
            continue
        needed = states_of(model[0])
        row = dict.fromkeys(needed["numbers"], 1.0) | dict.fromkeys(needed["words"], "sand")
        frame = pd.DataFrame([row])
        assert model.predict(frame).shape == (1,)


def test_a_file_of_bytes_changed(models, tmp_path):
    path = tmp_path / "model"
    save(models["classes"], path)
    whole = path.read_bytes()
    for i in range(0, len(whole), 97):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :])
        with pytest.raises(bp.FileError):
            bp.load(path)


def test_a_file_holds_no_pickle(models, tmp_path):
    save(models["classes"], tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert set(json.loads(content[8 : 8 + length])) == {"__metadata__", "params"}


# --- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
def test_the_checker_of_onnx_accepts_the_model(models, kind):
    onnx = pytest.importorskip("onnx")
    model = pipeline_model(models[kind])
    onnx.checker.check_model(model, full_check=True)
    states = states_of(models[kind][0])
    assert [value.name for value in model.graph.input] == states["numbers"] + states["words"]


def test_a_column_with_a_name_of_the_models_own(models):
    pytest.importorskip("onnx")
    model = copy.deepcopy(models["classes"])
    model[0].transformers_[0][2][0] = "W1"
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        pipeline_model(model)
    assert str(caught.value) == (
        "A column must have another name than 'W1', which is a value inside the ONNX model. Rename it."
    )
