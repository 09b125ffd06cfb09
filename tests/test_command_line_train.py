"""`fastbp train`: what it finds out about a table, what it says, the model that it writes, and the options."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from tests.command_lines import diabetes, iris, run
from tests.fresh import ROOT
from tests.terminal import terminal

pd = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(capsys, frame, *options, name="data.csv"):
    """Train on a data frame; what was printed and the model."""
    if frame is not None:
        frame.to_csv(name, index=False)
    status, output, errors = run(capsys, "train", name, *options)
    assert (status, errors) == (0, "")
    return output, bp.load("model.fastbp")


def lines(output):
    """The lines whose numbers do not depend on time."""
    return [line for line in output.splitlines() if " epochs on " not in line and "bytes;" not in line]


# --- the report -------------------------------------------------------------------------------------------------------


def test_classes(capsys):
    output, model = train(capsys, iris())
    assert lines(output)[:6] == [
        "data.csv: 150 rows; to predict: 'species', the last column (--target chooses another one)",
        "classification into 3 classes, since the target has words",
        "classes and their rows: setosa (50), versicolor (50), virginica (50)",
        "column 'petal width': 3 of 120 numbers missing, for which the median is taken",
        "inputs: 5 columns of numbers and 1 column of words",
        "network 10-100-3, relu, 1403 parameters, float64",
    ]
    *_, accuracy, trivial, _, written = output.splitlines()
    assert float(accuracy.removeprefix("accuracy on 30 rows held out").rstrip("%")) > 90
    assert trivial.split() == ["of", "the", "most", "frequent", "class,", "setosa", "33.33%"]
    assert written.startswith("model.fastbp: ")
    assert written.endswith(" bytes; fastbp predict model.fastbp DATA uses it")
    assert isinstance(model[-1], MLPClassifier)
    assert model.predict(iris()[:1]) == ["setosa"]


def test_numbers(capsys):
    output, model = train(capsys, diabetes(), "--target", "target", "--early-stopping")
    assert lines(output)[:3] == [
        "data.csv: 442 rows; to predict: 'target'",
        "regression, since the target has 214 different numbers (--task classification overrides)",
        "inputs: 10 columns of numbers",
    ]
    *_, score, trivial, _, _ = output.splitlines()
    assert 0.25 < float(score.removeprefix("R2 on 88 rows held out")) < 0.6
    assert -0.05 < float(trivial.removeprefix("of the mean of the rows learned")) <= 0
    assert isinstance(model[-1], MLPRegressor)
    assert model[-1].n_iter_ < 200
    assert np.corrcoef(model.predict(diabetes()), diabetes()["target"])[0, 1] > 0.6


def test_what_is_left_out_is_said(capsys):
    frame = iris().assign(one=7, word="same", none=np.nan, name=[f"flower {i}" for i in range(150)], two=7)
    frame.insert(0, "id", range(1, 151))
    frame["mixed"] = [str(i) if i % 50 else "?" for i in range(150)]
    output, model = train(capsys, frame, "--target", "species")
    for line in (
        "columns 'one', 'two': left out, being always 7",
        "column 'word': left out, being always 'same'",
        "column 'none': left out, having no values",
        "column 'name': left out, having 120 different words in 120 rows, as an id has",
        "column 'id': left out, counting the rows",
        "column 'mixed': left out, having nearly only numbers but something else, such as '?'; leave these empty",
    ):
        assert line in output.splitlines()
    assert len(model[0].transformers_[0][2]) == 5


def test_dates_are_left_out(capsys):
    pytest.importorskip("pyarrow")
    frame = iris().assign(when=pd.date_range("2026-01-01", periods=150))
    frame.to_parquet("data.parquet")
    output, _ = train(capsys, None, "--target", "species", name="data.parquet")
    text = "column 'when': left out, having dates or times; make numbers of them, such as the day of the year"
    assert text in output.splitlines()


@pytest.mark.parametrize(
    ("texts", "are_dates"),
    [
        (["2026-01-31", "2026-02-01", None], True),
        (["2026-01-31 10:00:00", "2026-02-01T11:30:00Z", "2026-02-01"], True),
        (["31.1.2026", "1.2.2026", "1.2.26"], True),
        (["1/31/26", "12/1/2026", "2/2/26"], True),
        (["7:05", "17:30:15", "17:31"], True),
        (["2026-01-31", "never", "2026-02-01"], False),
        (["3.10.1", "3.11.0", "3.12.2"], False),
        (["10-20", "20-30", "30-40"], False),
    ],
)
def test_dates_that_are_texts_are_left_out_too(capsys, texts, are_dates):
    output, _ = train(capsys, iris().assign(when=texts * 50), "--target", "species")
    text = "column 'when': left out, having dates or times; make numbers of them, such as the day of the year"
    assert (text in output.splitlines()) == are_dates


def test_rows_without_a_target_are_left_out(capsys):
    frame = iris()
    frame.loc[:9, "species"] = None
    output, _ = train(capsys, frame)
    assert "left out: 10 rows without a value of 'species'" in output.splitlines()
    assert "accuracy on 28 rows held out" in output


def test_the_most_frequent_words_are_used(capsys):
    frame = pd.DataFrame({"town": ["a"] * 20 + ["b"] * 15 + list("cdefg") * 3, "y": [0, 1] * 25})
    output, model = train(capsys, frame, "--max-categories", 2)
    assert "column 'town': 7 different words, of which the 2 most frequent are used (--max-categories)" in output
    assert model[-1].n_features_in_ == 2


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        ([3, 8] * 20, "classification into 2 classes, since the target has 2 different whole numbers"),
        ([3.0, np.nan, 8.0, 3.0] * 10, "classification into 2 classes, since the target has 2 different whole numbers"),
        ([True, False] * 20, "classification into 2 classes, since the target has true and false"),
        ([True, None, False, True] * 10, "classification into 2 classes, since the target has words"),
        (range(40), "regression, since the target has 40 different numbers"),
        ([0.5, 1.5] * 20, "regression, since the target has numbers that are not whole"),
    ],
)
def test_the_task_is_found_out(capsys, y, reason):
    output, _ = train(capsys, pd.DataFrame({"a": [1.0, 2.0, 4.0, 7.0] * 10, "y": list(y)}), "--epochs", 2)
    (found,) = [line for line in output.splitlines() if ", since " in line]
    assert found.partition(" (--task")[0] == reason
    assert ("(--task" in found) == ("whole numbers" in reason or "40 different" in reason)


def test_the_task_can_be_told(capsys):
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0, 7.0] * 10, "y": [1, 2, 3, 4] * 10})
    output, model = train(capsys, frame, "--task", "regression", "--epochs", 2)
    assert "\nregression\n" in output
    assert isinstance(model[-1], MLPRegressor)
    output, model = train(capsys, frame.assign(y=range(0, 80, 2)) % 22, "--task", "classification", "--epochs", 2)
    assert "\nclassification into 11 classes\n" in output
    assert model[-1].classes_.tolist() == list(range(0, 22, 2))


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_reach_the_network(capsys):
    words = "--hidden 8,4 --activation tanh --epochs 3 --batch-size 16 --learning-rate 0.01 --alpha 0 --seed 5"
    _, model = train(capsys, iris(), *words.split(), "--dtype", "float32", "--threads", "1")
    network = model[-1]
    assert network.hidden_layer_sizes == (8, 4)
    assert (network.activation, network.n_iter_, network.batch_size) == ("tanh", 3, 16)
    assert (network.learning_rate_init, network.alpha, network.random_state) == (0.01, 0.0, 5)
    assert network.network_.dtype == np.float32


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "gelu", "sine", "exp"])
def test_every_activation_that_is_offered(capsys, activation):
    train(capsys, iris(), "--activation", activation, "--epochs", 2)


def test_the_same_seed_gives_the_same_file(capsys):
    contents = []
    for threads in (1, 2):
        train(capsys, iris(), "--epochs", 5, "--threads", threads)
        contents.append(bp.load("model.fastbp")[-1].network_.params.tobytes())
    train(capsys, iris(), "--epochs", 5, "--seed", 1)
    assert contents[0] == contents[1] != bp.load("model.fastbp")[-1].network_.params.tobytes()


def test_a_file_of_validation_rows(capsys):
    frame = iris()
    frame[::2].to_csv("train.csv", index=False)
    frame[1::2][frame.columns[::-1]].to_csv("held.csv", index=False)
    output, _ = train(capsys, None, "--validation", "held.csv", "--target", "species", name="train.csv")
    assert "accuracy on 75 rows of held.csv" in output
    assert " epochs on 75 rows in " in output


@pytest.mark.parametrize("target", ["species", "6", "-1"])
def test_the_target_by_name_or_number(capsys, target):
    output, _ = train(capsys, iris(), "--target", target, "--epochs", 1)
    assert output.startswith("data.csv: 150 rows; to predict: 'species'\n")


def test_columns_are_dropped(capsys):
    _, model = train(capsys, iris(), "--drop", "soil, is wild,petal width", "--epochs", 1)
    assert [names for _, _, names in model[0].transformers_] == [["sepal length", "sepal width", "petal length"]]


@pytest.mark.parametrize(("name", "sign"), [("data.tsv", "\t"), ("data.csv", ";"), ("data.txt.gz", "|")])
def test_delimiters_encodings_and_gzip(capsys, name, sign):
    frame = iris().rename(columns={"soil": "br\u00f8nn"})
    frame.to_csv(name, index=False, sep=sign, encoding="latin-1")
    told = [] if name == "data.tsv" else ["--delimiter", sign]
    _, model = train(capsys, None, "--encoding", "latin-1", "--epochs", 1, *told, name=name)
    assert model[0].transformers_[1][2] == ["br\u00f8nn"]


def test_arrays(capsys):
    X = iris().iloc[:, :4].to_numpy()
    np.savez("data.npz", X=X.reshape(150, 2, 2), y=iris()["species"].to_numpy(str), images=X, kinds=np.arange(150) % 3)
    output, model = train(capsys, None, "--epochs", 1, name="data.npz")
    assert "to predict: 'y'" in output
    assert model[0].transformers_[0][2] == ["x0", "x1", "x2", "x3"]
    options = ["--features-name", "images", "--target", "kinds", "--epochs", 1]
    output, _ = train(capsys, None, *options, name="data.npz")
    assert "to predict: 'kinds'\n" in output


def test_quiet_says_nothing_and_the_bar_is_for_terminals(capsys):
    assert train(capsys, iris(), "--quiet", "--epochs", 2)[0] == ""
    for options, has_bar in (((), True), (("--no-progress",), False), (("--quiet",), False)):
        with terminal() as stream:
            run(capsys, "train", "data.csv", "--epochs", 2, *options)
        assert ("2/2" in stream.getvalue()) == has_bar


def test_few_rows_and_rare_classes(capsys):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.5, 4.0, 9.0, 7.0], "y": ["u", "u", "u", "v", "v", "w"]})
    _, model = train(capsys, frame, "--epochs", 1)
    assert model[-1].classes_.tolist() == ["u", "v", "w"]


def test_large_and_small_numbers(capsys):
    frame = diabetes()
    frame = (frame * 1e80).assign(s1=frame["s1"] * 1e-80)
    output, model = train(capsys, frame, "--epochs", 50)
    assert "R2 on" in output
    assert np.corrcoef(model.predict(frame) / 1e80, frame["target"] / 1e80)[0, 1] > 0.4


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_file_is_replaced_whole_and_nothing_is_left_behind(capsys, tmp_path):
    for _ in range(2):
        train(capsys, iris(), "--epochs", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "model.fastbp"]


def onnx_inputs(frame):
    """What onnxruntime is given of a data frame."""
    words = frame.select_dtypes(exclude="number").columns.difference(["is wild"])
    inputs = {name: frame[name].to_numpy(np.float64)[:, None] for name in frame.columns.difference(words)}
    return inputs | {name: frame[name].fillna("").to_numpy(object)[:, None] for name in words}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [iris, diabetes])
def test_the_whole_pipeline_as_an_onnx_model(capsys, make, dtype):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    frame = make()
    output, model = train(capsys, frame, "--onnx", "model.onnx", "--dtype", dtype, "--epochs", 20)
    assert output.endswith(" bytes, an ONNX model with an input for each column\n")
    inputs = frame.iloc[:, :-1].copy()
    if make is iris:
        inputs.loc[0, "soil"], inputs.loc[1, "sepal width"] = "moor", np.nan
    session = runtime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, onnx_inputs(inputs))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    if make is iris:
        assert found[0].tolist() == model.predict(inputs).tolist()
        np.testing.assert_allclose(found[1], model.predict_proba(inputs), rtol=0, atol=tolerance)
    else:
        np.testing.assert_allclose(found[0][:, 0], model.predict(inputs), rtol=tolerance)


def test_a_program_of_its_own(tmp_path):
    iris().to_csv("data.csv", index=False)
    command = [sys.executable, "-W", "error", "-m", "fastbp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in (["train", "data.csv", "--epochs", "2"], ["predict", "model.fastbp", "data.csv"]):
        result = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment)
        assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 151
