"""The command line at its borders: an output that is closed or full, files that stand for two, odd tables."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from fastbp.command_line import reading
from tests.command_lines import run
from tests.fresh import ROOT

pd = pytest.importorskip("pandas")
GOOD = "a,b,y\n" + "".join(f"{i},{'pqr'[i % 3]},{'u' if i % 2 else 'v'}\n" for i in range(40))
QUICK = ("--epochs", "1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(GOOD)


def refused(capsys, message, *words):
    """Nothing but one line, and no file written or changed."""
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    assert run(capsys, *words) == (2, "", f"fastbp: error: {message}\n")
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


# --- standard output --------------------------------------------------------------------------------------------------


def in_shell(command):
    """Exit status and standard error of a command that a shell gives its files."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=environment)
    return result.returncode, result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a system without /dev/full")
@pytest.mark.parametrize("words", ["info", "predict model.fastbp t.csv"])
def test_a_full_standard_output(capsys, words):
    assert run(capsys, "train", "t.csv", "--quiet", *QUICK)[0] == 0
    message = "fastbp: error: standard output cannot be written: No space left on device\n"
    assert in_shell(f'"$PYTHON" -m fastbp {words} > /dev/full') == (2, message)


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes files")
def test_a_closed_standard_output(capsys):
    assert in_shell(f'"$PYTHON" -m fastbp train t.csv {" ".join(QUICK)} >&-') == (0, "")
    assert isinstance(bp.load("model.fastbp").predict(pd.read_csv("t.csv"))[0], str)
    message = "fastbp: error: standard output is closed; pass a file with --output\n"
    assert in_shell('"$PYTHON" -m fastbp predict model.fastbp t.csv >&-') == (2, message)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "./t.csv"], "argument --output: must be another file than t.csv; got './t.csv'"),
        (["--validation", "v.csv", "--output", "v.csv"], "argument --output: must be another file than v.csv; got "
         "'v.csv'"),
        (["--seed", "4294967296"], "argument --seed: must be an integer of at most 4294967295; got '4294967296'"),
        (["--hidden", "2147483648"], "argument --hidden: must be sizes of at most 2147483647; got '2147483648'"),
        (["--delimiter", "\u00e9"], "argument --delimiter: must be one sign of ASCII, or tab; got '\u00e9'"),
    ],
)  # fmt: skip
def test_options_of_train(capsys, words, message):
    Path("v.csv").write_text(GOOD)
    refused(capsys, message, "train", "t.csv", *words)


def test_one_file_for_two_models(capsys):
    pytest.importorskip("onnx")
    message = "argument --onnx: must be another file than model.fastbp; got 'model.fastbp'"
    refused(capsys, message, "train", "t.csv", "--onnx", "model.fastbp")


def test_predictions_do_not_replace_what_they_are_of(capsys):
    assert run(capsys, "train", "t.csv", "--quiet", *QUICK)[0] == 0
    Path("link.csv").symlink_to("t.csv")
    message = "argument --output: must be another file than t.csv; got 'link.csv'"
    refused(capsys, message, "predict", "model.fastbp", "t.csv", "--output", "link.csv")


def test_the_largest_seed(capsys):
    assert run(capsys, "train", "t.csv", "--seed", "4294967295", *QUICK)[0] == 0


@pytest.mark.parametrize("words", [["train", "t.csv", "--quiet"], ["demo"]])
def test_a_network_larger_than_the_memory(capsys, words):
    status, _, errors = run(capsys, *words, "--hidden", "2000000,2000000")
    assert status == 2
    assert errors.startswith("fastbp: error: there is not enough memory: ")
    assert errors.count("\n") == 1
    assert os.listdir() == ["t.csv"]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_words_of_validation_rows_are_read_as_they_are_written(capsys):
    """The codes 01 and 02 are words, since AB is one, also in a file that has no AB."""
    Path("c.csv").write_text("code,y\n" + "".join(f"{c},{c}\n" for c in ["01", "02", "AB"] * 20))
    Path("v.csv").write_text("code,y\n" + "01,01\n02,02\n" * 5)
    status, output, _ = run(capsys, "train", "c.csv", "--validation", "v.csv")
    assert status == 0
    assert "accuracy on 10 rows of v.csv    100.00%\n" in output


def test_true_and_false_of_validation_rows_in_other_letters(capsys):
    Path("c.csv").write_text("a,y\n" + "1,True\n2,False\n3,\n" * 20)
    Path("v.csv").write_text("a,y\n" + "1,TRUE\n2,FALSE\n" * 5)
    assert run(capsys, "train", "c.csv", "--validation", "v.csv", *QUICK)[0] == 0


def test_words_of_a_column_without_a_name(capsys):
    rows = "".join(f"{c},{c}\n" for c in ["01", "02", "AB"] * 20)
    Path("c.csv").write_text(f",y\n{rows}")
    assert run(capsys, "train", "c.csv")[0] == 0
    Path("new.csv").write_text(",more\n01,0\n02,0\n")
    assert run(capsys, "predict", "model.fastbp", "new.csv") == (0, "prediction\n01\n02\n", "")


def test_validation_rows_that_are_wrong(capsys):
    Path("r.csv").write_text("a,y\n" + "".join(f"{i % 7},{i / 7}\n" for i in range(40)))
    Path("v.csv").write_text("a,y\n1,\n2,0.5\n,\nx,3\n")
    message = (
        "v.csv: `X` must have numbers below 1e+100 in the column 'a', or nothing where one is missing; row 3, counted "
        "from 0, has 'x'"
    )
    refused(capsys, message, "train", "r.csv", "--validation", "v.csv")
    Path("v.csv").write_text("a,y\n1,1e200\n2,0.5\n")
    message = "v.csv must have numbers below 1e+100 as values of the target 'y'"
    refused(capsys, message, "train", "r.csv", "--validation", "v.csv")


@pytest.mark.parametrize("seed", range(12))
def test_a_row_is_left_to_test_with(capsys, seed):
    """In some splits each row held out is the only one of its class, which has to be learned."""
    Path("six.csv").write_text("a,y\n1,u\n2,u\n3,u\n4,u\n5,v\n6,w\n")
    status, output, _ = run(capsys, "train", "six.csv", "--seed", seed, *QUICK)
    assert status == 0
    assert "held out" in output
    assert bp.load("model.fastbp").named_steps["network"].classes_.tolist() == ["u", "v", "w"]


def test_arrays_in_another_order_of_bytes(capsys):
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    np.savez("native.npz", X=X, y=y)
    np.savez("other.npz", X=X.astype(X.dtype.newbyteorder("S")), y=y.astype(y.dtype.newbyteorder("S")))
    outputs = []
    for name in ("native.npz", "other.npz"):
        assert run(capsys, "train", name, *QUICK)[0] == 0
        outputs.append(run(capsys, "predict", "model.fastbp", name))
    assert outputs[0][0] == 0
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("error", [KeyError("numpy_type"), TypeError("data type 'i|t64' not understood")])
def test_a_damaged_parquet_file(capsys, monkeypatch, error):
    """The errors are those that pandas and pyarrow have raised for files with bytes changed."""
    pytest.importorskip("pyarrow")

    def damaged(_):
        raise error

    monkeypatch.setattr(reading.import_pandas(), "read_parquet", damaged)
    Path("t.parquet").write_bytes(b"")
    message = f"t.parquet cannot be read: pandas cannot make a table of it ({error})"
    refused(capsys, message, "train", "t.parquet")


def test_a_number_too_large_for_a_network_of_float32(capsys):
    Path("r.csv").write_text("a,y\n" + "".join(f"{i % 7},{i / 7}\n" for i in range(40)))
    Path("far.csv").write_text("a,y\n1,2\n1e90,3\n")
    assert run(capsys, "train", "r.csv", "--dtype", "float32", *QUICK)[0] == 0
    message = (
        "far.csv must have numbers nearer to those learned from, for a network of float32; row 1, counted from 0, has "
        "one too large"
    )
    refused(capsys, message, "predict", "model.fastbp", "far.csv")
    refused(capsys, message, "train", "r.csv", "--validation", "far.csv", "--dtype", "float32")


def test_a_class_with_a_carriage_return_is_one_value(capsys):
    Path("t.csv").write_bytes(GOOD.replace("u\n", '"u\ru"\n').encode())
    assert run(capsys, "train", "t.csv", *QUICK)[0] == 0
    assert run(capsys, "predict", "model.fastbp", "t.csv", "--output", "p.csv")[0] == 0
    predicted = bp.load("model.fastbp").predict(pd.read_csv("t.csv"))
    assert pd.read_csv("p.csv")["prediction"].tolist() == predicted.tolist()
    assert "u\ru" in predicted
