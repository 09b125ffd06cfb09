"""What goes wrong on the command line: one line on standard error, no traceback, nothing written, an exit status."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from fastbp.command_line import compiling
from fastbp.neural_network import MLPClassifier
from tests.command_lines import diabetes, iris, run
from tests.fresh import ROOT

pd = pytest.importorskip("pandas")
GOOD = "a,b,y\n" + "".join(f"{i},{i % 3},{'u' if i % 2 else 'v'}\n" for i in range(40))
TOO_LARGE = (
    "column 'a' must have numbers below 1e+100; row 7, counted from 0, has inf; leave such values empty, or the column "
    "out with --drop"
)
LACKS = "lacks.csv must have the columns that the model has learned from; it lacks "
NO_NUMBER = (
    "words.csv: `X` must have numbers below 1e+100 in the column 'a', or nothing where one is missing; row 1, counted "
    "from 0, has 'x'"
)
NO_TEXT = "is no text in the encoding utf-8; pass another one with --encoding, such as latin-1"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, message, *words):
    """Nothing but one line, and no file written."""
    before = sorted(os.listdir())
    assert run(capsys, *words) == (2, "", f"fastbp: error: {message}\n")
    assert sorted(os.listdir()) == before


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty"),
        ("\n\n", "t.csv is empty"),
        ("a,b,y\n", "t.csv has no rows"),
        ("a,y\n1,2\n", "target 'y' is always 2, so that there is nothing to learn"),
        ("a,y\n1,2\n2,3\n", "t.csv must have 5 rows or more with a value of 'y', to learn from and to test with; it "
         "has 2"),
        ("a,y\n" + "1,u\n2,u\n" * 10, "target 'y' is always 'u', so that there is nothing to learn"),
        (bytes(range(256)), "t.csv must be a table of text; its first row has signs that no text has"),
        (GOOD.replace(",", ";"), "t.csv has only one column, 'a;b;y'; pass --delimiter ';'"),
        (GOOD.replace(",", "\t"), "t.csv has only one column, 'a\\tb\\ty'; pass --delimiter tab"),
        ("y\n1\n2\n", "t.csv has no columns to learn from beside the target 'y'"),
        (GOOD.replace("u", "\u00e9").encode("latin-1"), f"t.csv {NO_TEXT}"),
        (GOOD.encode("utf-16"), f"t.csv {NO_TEXT}"),
        ("a,a,y\n1,2,3\n", "t.csv must have different names for its columns; 'a' stands there twice"),
        (GOOD + "1,2,3,4,5\n", "t.csv cannot be read: Expected 3 fields in line 42, saw 5"),
        (
            "a,y\n" + "1,2,3\n" * 9,
            "t.csv must have as many values in each row as names in the first; rows have more",
        ),
        ('a,y\n"1,2\n3,4\n', "t.csv cannot be read: EOF inside string starting at row 1"),
        ("1.5,2\n" + "1,2\n" * 9, "t.csv must have the columns' names in its first row, which has only numbers"),
        ("a,y\n" + "1,\n2,\n" * 5, "target 'y' has no values; choose another --target"),
        (GOOD.replace("\n7,1", "\ninf,1"), TOO_LARGE),
        (GOOD.replace("\n7,1", f"\n{10**400},1"), TOO_LARGE),
        ("a,y\n" + "1,0.5\n2,1e120\n" * 5, "target 'y' must have numbers below 1e+100; it has 1e+120"),
        (
            "a,y\n" + "".join(f"{i % 7},n{i}\n" for i in range(30)),
            "target 'y' has 30 classes in 30 rows, as an id has; choose another --target",
        ),
        (
            "a,y\n" + "".join(f"1,{i % 2}\n" for i in range(30)),
            "t.csv has no column to learn from; column 'a': left out, being always 1",
        ),
    ],
)  # fmt: skip
def test_a_wrong_table(capsys, content, message):
    Path("t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, message, "train", "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv.gz", b"no gzip", "t.csv.gz cannot be read: Not a gzipped file (b'no')"),
        (
            "t.csv.gz",
            gzip.compress(GOOD.encode())[:-20],
            "t.csv.gz cannot be read: Compressed file ended before the end-of-stream marker was reached",
        ),
        ("t.npz", b"", "t.npz is not an .npz file; numpy.savez writes one"),
        ("t.npz", b"PK" + b"x" * 300, "t.npz is not an .npz file; numpy.savez writes one"),
        ("t.xlsx", b"", "t.xlsx must end in .csv, .csv.gz, .tsv, .txt, .parquet or .npz, which tells its format"),
        ("new\nline.csv", b"", "new\\nline.csv is empty"),
    ],
)
def test_a_wrong_file(capsys, name, content, message):
    Path(name).write_bytes(content)
    refused(capsys, message, "train", name)


@pytest.mark.parametrize("content", [b"", b"x" * 300, b"PAR1" + b"x" * 300 + b"PAR1"])
def test_a_wrong_parquet_file(capsys, content):
    pytest.importorskip("pyarrow")
    Path("t.parquet").write_bytes(content)
    status, output, errors = run(capsys, "train", "t.parquet")
    assert (status, output) == (2, "")
    assert errors.startswith("fastbp: error: t.parquet cannot be read: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Z": np.ones(3), "y": np.ones(3)}, "t.npz must hold the arrays X, y; X is missing, found: Z, y"),
        ({"X": np.array([{}]), "y": np.ones(1)}, "t.npz: X cannot be read: Object arrays cannot be loaded when "
         "allow_pickle=False"),
        ({"X": np.ones(3), "y": np.ones(3)}, "t.npz: X must hold numbers, a row for each sample; got float64 "
         "of shape (3,)"),
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "t.npz: y must hold one number or word for each of the 3 rows; got "
         "float64 of shape (4,)"),
    ],
)  # fmt: skip
def test_wrong_arrays(capsys, arrays, message):
    np.savez("t.npz", **arrays)
    refused(capsys, message, "train", "t.npz")


def test_what_cannot_be_opened(capsys):
    refused(capsys, "none.csv cannot be read: No such file or directory", "train", "none.csv")
    Path("folder.csv").mkdir()
    refused(capsys, "folder.csv cannot be read: Is a directory", "train", "folder.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(capsys):
    Path("t.csv").write_text(GOOD)
    Path("t.csv").chmod(0)
    refused(capsys, "t.csv cannot be read: Permission denied", "train", "t.csv")


def test_what_may_not_be_read_or_written_by_anybody(capsys, monkeypatch):
    Path("t.csv").write_text(GOOD)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    refused(capsys, "model.fastbp cannot be written: Permission denied", "train", "t.csv")


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "z"], "argument --target: must be a column of t.csv, by its name or number from 0; got 'z', and "
         "there are a, b, y"),
        (["--target", "7"], "argument --target: must be a column of t.csv, by its name or number from 0; got '7', and "
         "there are a, b, y"),
        (["--drop", "a,z"], "argument --drop: must be columns of t.csv; it has no 'z'"),
        (["--drop", "y"], "argument --drop: must not hold the target 'y'"),
        (["--drop", "a,b"], "t.csv has no columns to learn from beside the target 'y'"),
        (["--task", "regression"], "target 'y' must have numbers for --task regression; it has 'v'"),
        (["--batch-size", "33"], "argument --batch-size: must be at most the number of rows to learn from, 32; got 33"),
        (["--validation-fraction", "0"], "argument --validation-fraction: must be a number above 0 and below 1; got "
         "'0'"),
        (["--alpha", "-1"], "argument --alpha: must be a number of at least 0; got '-1'"),
        (["--delimiter", "ab"], "argument --delimiter: must be one sign of ASCII, or tab; got 'ab'"),
        (["--encoding", "klingon"], "argument --encoding: must be one that Python knows; got 'klingon'"),
        (["--encoding", "base64"], "argument --encoding: must be one that Python knows; got 'base64'"),
        (["--output", "no/m.fastbp"], "no/m.fastbp cannot be written: its folder does not exist"),
        (["--output", "."], ". cannot be written: it must be the name of a file, not of a folder"),
        (["--onnx", "no/m.onnx"], "no/m.onnx cannot be written: its folder does not exist"),
        (["--validation", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["--validation", "other.csv"], "other.csv must have the columns of t.csv; it lacks 'b'"),
        (["--validation", "classes.csv"], "classes.csv must have classes that t.csv has; it has 'w'"),
        (["--validation", "short.csv"], "short.csv must have two rows or more with a value of 'y'"),
        (["--validation", "words.csv"], NO_NUMBER),
    ],
)  # fmt: skip
def test_a_wrong_option_of_train(capsys, options, message, monkeypatch):
    Path("t.csv").write_text(GOOD)
    Path("other.csv").write_text("a,y\n1,u\n2,v\n")
    Path("classes.csv").write_text("a,b,y\n1,1,u\n2,1,w\n")
    Path("short.csv").write_text("a,b,y\n1,1,u\n2,1,\n")
    Path("words.csv").write_text("a,b,y\n1,1,u\nx,1,v\n")
    refused(capsys, message, "train", "t.csv", *options)


def test_a_target_that_is_no_class(capsys):
    Path("t.csv").write_text("a,y\n" + "1,0.5\n2,1.5\n" * 5)
    message = "target 'y' must have words or whole numbers for --task classification; it has 0.5"
    refused(capsys, message, "train", "t.csv", "--task", "classification")


def test_a_target_too_large_for_float32(capsys):
    Path("t.csv").write_text("a,y\n" + "".join(f"{i % 7},{i}e40\n" for i in range(30)))
    message = "argument --dtype: must be float64 for a target of 1e+30 and more"
    status, _, errors = run(capsys, "train", "t.csv", "--dtype", "float32")
    assert (status, errors) == (2, f"fastbp: error: {message}\n")


def test_a_column_that_an_onnx_model_cannot_have(capsys):
    pytest.importorskip("onnx")
    Path("t.csv").write_text(GOOD.replace("a,b", "label,b"))
    message = "argument --onnx: A column must have another name than 'label', which is a value inside the ONNX model"
    refused(capsys, f"{message}. Rename it", "train", "t.csv", "--onnx", "m.onnx")


@pytest.mark.parametrize(
    ("library", "words", "message"),
    [
        ("pandas", ["train", "t.csv"], 'Tables need the `pandas` package: pip install "fastbp[tables]"'),
        ("pyarrow", ["train", "t.parquet"], 't.parquet needs the `pyarrow` package: pip install "fastbp[tables]"'),
        (
            "onnx",
            ["train", "t.csv", "--onnx", "m.onnx"],
            'argument --onnx: An ONNX model needs the `onnx` package: pip install "fastbp[onnx]"',
        ),
    ],
)
def test_a_missing_library(capsys, monkeypatch, library, words, message):
    Path("t.csv").write_text(GOOD)
    Path("t.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    refused(capsys, message, *words)


def test_an_unknown_command(capsys):
    refused(capsys, "the command must be one of demo, train, predict, info, warmup; got 'tarin'", "tarin", "t.csv")
    refused(capsys, "the following arguments are required: DATA", "train")
    refused(capsys, "the following arguments are required: MODEL, DATA", "predict")


# --- how a command ends -----------------------------------------------------------------------------------------------


def test_ctrl_c_and_diverged_training(capsys, monkeypatch):
    Path("t.csv").write_text(GOOD)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MLPClassifier, "fit", interrupted)
        status, _, errors = run(capsys, "train", "t.csv")
    assert (status, errors) == (130, "fastbp: interrupted\n")
    diabetes().to_csv("d.csv", index=False)
    options = ["--activation", "exp", "--learning-rate", "1e10"]
    status, _, errors = run(capsys, "train", "d.csv", *options)
    assert (status, errors) == (
        1,
        "fastbp: the loss became NaN or infinite, and nothing was written; pass a smaller --learning-rate than 1e+10\n",
    )
    assert sorted(os.listdir()) == ["d.csv", "t.csv"]


def test_a_full_disk_leaves_the_old_model(capsys, monkeypatch):
    Path("t.csv").write_text(GOOD)
    assert run(capsys, "train", "t.csv", "--epochs", "1")[0] == 0
    old = Path("model.fastbp").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastbp.storage.atomic.write_whole", full)
    status, _, errors = run(capsys, "train", "t.csv", "--epochs", "2")
    assert (status, errors) == (
        2,
        "fastbp: error: model.fastbp cannot be written: No space left on device; the file was not written, and one "
        "that was there is as it was\n",
    )
    assert Path("model.fastbp").read_bytes() == old


def test_a_standard_output_that_lacks_a_sign():
    Path("t.csv").write_text(GOOD.replace("u", "\u00e9"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fastbp", "train", "t.csv", "--epochs", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, result.stderr) == (
        2,
        "fastbp: error: standard output cannot show '\\xe9'; set PYTHONIOENCODING=utf-8\n",
    )


def test_compiling_is_said_on_standard_error(capsys, monkeypatch):
    Path("t.csv").write_text(GOOD)
    fit = bp.Network.fit

    def slow(*arguments, **options):
        compiling.logging.getLogger("fastbp.kernels.compiler").info("Compiling")
        return fit(*arguments, **options)

    monkeypatch.setattr(bp.Network, "fit", slow)
    status, _, errors = run(capsys, "train", "t.csv", "--epochs", "1")
    assert status == 0
    assert errors.startswith("compiling the kernels; they are kept on disk, so this happens once and takes about ")
    assert errors.count("\n") == 1


# --- predict ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def models(capsys):
    """Models of classes and of numbers, and the tables that they are of."""
    Path("t.csv").write_text(GOOD)
    assert run(capsys, "train", "t.csv", "--epochs", "1", "--quiet")[0] == 0
    diabetes().to_csv("d.csv", index=False)
    assert run(capsys, "train", "d.csv", "--epochs", "1", "--quiet", "--output", "d.fastbp")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.fastbp", "lacks.csv"], f"{LACKS}'b'"),
        (["d.fastbp", "lacks.csv"], f"{LACKS}'age' and 9 more"),
        (["model.fastbp", "words.csv"], NO_NUMBER),
        (["model.fastbp", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["none.fastbp", "t.csv"], "none.fastbp cannot be read: it must be the name of a file; there is none"),
        ([".", "t.csv"], ". cannot be read: it must be the name of a file, not of a folder"),
        (["t.csv", "t.csv"], "The file 't.csv' cannot be loaded: "),
        (["net", "t.csv"], "net must be a file of `fastbp train`; it holds a Network, which fastbp.load reads"),
        (["d.fastbp", "d.csv", "--probabilities"], "argument --probabilities: must be for a model of classes; d.fastbp "
         "predicts numbers"),
        (["model.fastbp", "t.csv", "--output", "p.xls"], "argument --output: must end in .csv, .parquet or .npz, or be "
         "-; got 'p.xls'"),
        (["model.fastbp", "t.csv", "--output", "no/p.csv"], "no/p.csv cannot be written: its folder does not exist"),
    ],
)  # fmt: skip
def test_a_wrong_prediction(capsys, models, words, message):
    Path("lacks.csv").write_text("a,y\n1,u\n")
    Path("words.csv").write_text("a,b\n1,1\nx,1\n")
    bp.Network([2, 1], seed=0).save("net")
    status, output, errors = run(capsys, "predict", *words)
    assert (status, output) == (2, "")
    assert errors.startswith(f"fastbp: error: {message}")
    assert errors.count("\n") == 1
    assert errors == f"fastbp: error: {message}\n" or message.endswith(": ")


def test_a_model_without_pandas(capsys, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = 'Tables need the `pandas` package: pip install "fastbp[tables]"'
    refused(capsys, message, "predict", "model.fastbp", "t.csv")


def test_irises_as_they_are_are_learned_from(capsys):
    """No row of this table is one of the wrong ones."""
    iris().to_csv("iris.csv", index=False)
    assert run(capsys, "train", "iris.csv", "--epochs", "1")[0] == 0
