"""`fastbp predict`: the same bits as in Python, whatever the formats and the order of the columns."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import fastbp as bp
from tests.command_lines import diabetes, iris, run
from tests.fresh import ROOT

pd = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of both kinds, and their tables."""
    from fastbp.__main__ import main

    folder = tmp_path_factory.mktemp("models")
    for name, make, dtype in (("iris", iris, "float64"), ("diabetes", diabetes, "float32")):
        make().to_csv(folder / f"{name}.csv", index=False)
        words = ["train", folder / f"{name}.csv", "--output", folder / f"{name}.fastbp", "--dtype", dtype, "--quiet"]
        assert main([*map(str, words), "--epochs", "20"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def predict(capsys, folder, name, data, *options):
    """Predict; return what was printed as a data frame."""
    status, output, errors = run(capsys, "predict", folder / f"{name}.fastbp", data, *options)
    assert (status, errors) == (0, "")
    return pd.read_csv(io.StringIO(output), keep_default_na=False) if output else None


def test_words(capsys, folder):
    found = predict(capsys, folder, "iris", folder / "iris.csv", "--probabilities")
    model = bp.load(folder / "iris.fastbp")
    assert list(found) == ["prediction", "probability_setosa", "probability_versicolor", "probability_virginica"]
    assert found["prediction"].tolist() == model.predict(iris()).tolist()
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), model.predict_proba(iris()))


def test_numbers(capsys, folder):
    found = predict(capsys, folder, "diabetes", folder / "diabetes.csv")
    assert list(found) == ["prediction"]
    expected = bp.load(folder / "diabetes.fastbp").predict(diabetes())
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(found["prediction"].to_numpy(np.float32), expected)


def test_columns_by_name_in_any_order_with_others_beside(capsys, folder):
    iris()[["species", "soil", *iris().columns[:4], "is wild"]].assign(more="x").to_csv("other.csv", index=False)
    found = predict(capsys, folder, "iris", "other.csv")
    assert found["prediction"].tolist() == bp.load(folder / "iris.fastbp").predict(iris()).tolist()


def test_words_that_were_not_there_in_training_and_missing_numbers(capsys, folder):
    frame = iris()[:3].assign(soil=["moor", "sand", None])
    frame.loc[0, "sepal length"] = np.nan
    frame.to_csv("new.csv", index=False)
    found = predict(capsys, folder, "iris", "new.csv", "--probabilities")
    columns = bp.load(folder / "iris.fastbp")[0]
    assert columns.transform(frame)[:, -4:].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    expected = bp.load(folder / "iris.fastbp").predict_proba(frame)
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), expected)


def test_words_are_read_as_they_are_written(capsys):
    frame = pd.DataFrame({"code": ["007", "7", "x"] * 20, "y": ["a", "b", "c"] * 20})
    frame.to_csv("codes.csv", index=False)
    assert run(capsys, "train", "codes.csv", "--quiet")[0] == 0
    frame[:2].to_csv("two.csv", index=False)  # in which pandas would read the number 7 twice
    status, output, _ = run(capsys, "predict", "model.fastbp", "two.csv")
    assert (status, output) == (0, "prediction\na\nb\n")


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_every_format_of_output(capsys, folder, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    name = f"found.{ending}"
    assert predict(capsys, folder, "iris", folder / "iris.csv", "--probabilities", "--output", name) is None
    model = bp.load(folder / "iris.fastbp")
    if ending == "npz":
        with np.load(name) as arrays:
            assert arrays["classes"].tolist() == ["setosa", "versicolor", "virginica"]
            predicted, probabilities = arrays["prediction"], arrays["probabilities"]
    else:
        frame = pd.read_csv(name) if ending == "csv" else pd.read_parquet(name)
        predicted, probabilities = frame["prediction"], frame.iloc[:, 1:].to_numpy()
    assert list(predicted) == model.predict(iris()).tolist()
    np.testing.assert_array_equal(probabilities, model.predict_proba(iris()))
    assert os.listdir() == [name]


def test_every_format_of_input(capsys, folder):
    pytest.importorskip("pyarrow")
    frame = iris()
    frame.assign(soil=frame["soil"].astype("category")).to_parquet("t.parquet")
    frame.to_csv("t.csv.gz", index=False)
    frame.to_csv("t.tsv", index=False, sep="\t")
    expected = predict(capsys, folder, "iris", folder / "iris.csv", "--probabilities")
    for name in ("t.parquet", "t.csv.gz", "t.tsv"):
        assert predict(capsys, folder, "iris", name, "--probabilities").equals(expected)


def test_arrays(capsys):
    X = np.random.default_rng(0).normal(size=(40, 3))
    np.savez("data.npz", X=X, y=X.sum(axis=1))
    assert run(capsys, "train", "data.npz", "--quiet", "--epochs", "5")[0] == 0
    np.savez("new.npz", X=X[:5])
    assert run(capsys, "predict", "model.fastbp", "new.npz", "--output", "found.npz")[0] == 0
    frame = pd.DataFrame(X[:5], columns=["x0", "x1", "x2"])
    with np.load("found.npz") as arrays:
        np.testing.assert_array_equal(arrays["prediction"], bp.load("model.fastbp").predict(frame))


@pytest.mark.parametrize("options", [[], ["--probabilities"]])
def test_no_rows(capsys, folder, options):
    iris()[:0].to_csv("none.csv", index=False)
    assert len(predict(capsys, folder, "iris", "none.csv", *options)) == 0


def test_classes_that_are_numbers(capsys):
    pd.DataFrame({"a": [1.5, 2.5, 4.0] * 20, "y": [10, 20, 30] * 20}).to_csv("data.csv", index=False)
    assert run(capsys, "train", "data.csv", "--quiet", "--epochs", "100", "--learning-rate", "0.1")[0] == 0
    status, output, _ = run(capsys, "predict", "model.fastbp", "data.csv")
    assert (status, output.splitlines()[:4]) == (0, ["prediction", "10", "20", "30"])


def test_a_reader_that_goes_away(folder):
    """As `head` does: no message, and no traceback."""
    pd.concat([iris()] * 300).to_csv("long.csv", index=False)
    command = [sys.executable, "-m", "fastbp", "predict", str(folder / "iris.fastbp"), "long.csv", "--probabilities"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        assert process.stdout.readline().startswith("prediction,")
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), errors) == (1, "")
