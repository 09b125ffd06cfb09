"""`python -m fastbp`: what it prints, its options, its exit statuses, and the files it refuses."""

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from fastbp import digits
from fastbp.__main__ import main
from tests.terminal import terminal

QUICK = ["--quick", "--no-table"]


def run(capsys, *argv):
    """Exit status, standard output, standard error."""
    status = main([str(argument) for argument in argv])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def accuracy(output, which):
    return float(re.search(rf"{which} accuracy +([\d.]+)%", output)[1])


def table_rows(output):
    return [line for line in output.splitlines() if re.match(r" +\d+-\d+-\d+ +\d+ ", line)]


# --- the job ----------------------------------------------------------------------------------------------------------


def test_the_job_reaches_97_percent_and_prints_everything(capsys):
    status, output, errors = run(capsys)
    assert status == 0
    assert accuracy(output, "test") >= 97.0
    assert accuracy(output, "training") >= 99.0
    assert "the gradient agrees with differences" in output
    assert "1347 images to learn from, 450 to test with" in output
    assert "network 64-200-10, relu, 15010 parameters, float64" in output
    assert "60/60" not in errors  # no progress bar in what is not a terminal
    sizes = [int(line.split()[1]) for line in table_rows(output)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 5
    assert sizes[-1] == 7510


def test_the_table_gives_the_measured_and_the_theoretical_ratio(capsys):
    _, output, _ = run(capsys, "--quick")
    rows = table_rows(output)
    assert len(rows) == 4
    for row in rows:
        n, ratio, theory = int(row.split()[1]), float(row.split()[-2]), float(row.split()[-1])
        assert theory == pytest.approx((n + 1) / 3, abs=0.05)
        assert ratio > 0
    assert float(rows[-1].split()[-2]) > 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_every_optimizer_learns(capsys, optimizer):
    status, output, _ = run(capsys, *QUICK, "--optimizer", optimizer)
    assert status == 0
    assert accuracy(output, "test") > 90


def test_options_reach_the_network(capsys):
    options = [
        "--hidden",
        "32,16",
        "--activation",
        "tanh",
        "--dtype",
        "float32",
        "--epochs",
        "3",
        "--threads",
        "1",
        "--dropout",
        "0",
    ]
    with terminal() as stream:
        status, output, _ = run(capsys, *QUICK, *options, "--learning-rate", "0.01", "--batch-size", "50")
    assert status == 0
    assert "network 64-32-16-10, tanh, 2778 parameters, float32" in output
    assert "3 epochs of adam with learning rate 0.01" in output
    assert "a step of 50 images" in output
    assert "3/3" in stream.getvalue()  # the progress bar


def test_the_same_seed_gives_the_same_accuracy(capsys):
    outputs = [run(capsys, *QUICK, "--epochs", "2", "--seed", "7", "--threads", n)[1] for n in (1, 2)]
    assert accuracy(outputs[0], "test") == accuracy(outputs[1], "test")


def test_the_gradient_of_a_large_network_is_checked_in_part(capsys):
    status, output, _ = run(capsys, *QUICK, "--epochs", "1", "--hidden", "300,300")
    assert status == 0
    assert "of 112810 parameters checked" in output
    assert int(re.search(r"(\d+) of 112810", output)[1]) < 10_000


def test_a_program_of_its_own():
    command = [sys.executable, "-m", "fastbp", *QUICK, "--epochs", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert result.returncode == 0, result.stderr
    assert "test accuracy" in result.stdout


@pytest.mark.parametrize("words", [[], ["warmup"]], ids=str)
def test_the_usage_line_is_what_was_typed(capsys, words):
    """Both ways to call it: as a module, and by the command that an installation makes."""
    command = [sys.executable, "-m", "fastbp", *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert " ".join(result.stdout.split()).startswith(" ".join(["usage: python -m fastbp", *words, "[-h]"]))
    _, output, _ = run(capsys, *words, "--help")
    assert " ".join(output.split()).startswith(" ".join(["usage: fastbp", *words, "[-h]"]))
    for program, text in (("python -m fastbp", result.stdout), ("fastbp", output)):
        assert f"`{program} warmup` only compiles" in " ".join(text.split()) or words


def test_an_installation_makes_the_command():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(project["scripts"]) == ["fastbp"]
    module, function = project["scripts"]["fastbp"].split(":")
    assert getattr(importlib.import_module(module), function) is main


# --- exit statuses ----------------------------------------------------------------------------------------------------


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"fastbp {bp.__version__}\n", "")


def test_help(capsys):
    status, output, _ = run(capsys, "--help")
    assert status == 0
    assert "--learning-rate" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden", "0"], "argument --hidden: must be sizes above 0 such as 100 or 128,64; got '0'"),
        (["--hidden", "12,,4"], "argument --hidden: must be sizes above 0 such as 100 or 128,64; got '12,,4'"),
        (["--learning-rate", "nan"], "argument --learning-rate: must be a number above 0; got 'nan'"),
        (["--learning-rate", "fast"], "argument --learning-rate: must be a number above 0; got 'fast'"),
        (["--dropout", "1"], "argument --dropout: must be a number of at least 0 and below 1; got '1'"),
        (["--batch-size", "0"], "argument --batch-size: must be an integer of at least 1; got '0'"),
        (
            ["--batch-size", "1348"],
            "argument --batch-size: must be at most the number of images to learn from, 1347; got 1348",
        ),
        (["--epochs", "1.5"], "argument --epochs: must be an integer of at least 1; got '1.5'"),
        (["--seed", "-1"], "argument --seed: must be an integer of at least 0; got '-1'"),
        (["--threads", "0"], "argument --threads: must be an integer of at least 1; got '0'"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(capsys, options, message):
    assert run(capsys, *options) == (2, "", f"fastbp: error: {message}\n")


@pytest.mark.parametrize(
    "options", [["--optimizer", "best"], ["--activation", "softmax"], ["--dtype", "int8"], ["--colour"], ["--quik"]]
)
def test_an_unknown_option_or_name_is_one_line_and_status_2(capsys, options):
    status, output, errors = run(capsys, *options)
    assert (status, output) == (2, "")
    assert errors.startswith("fastbp: error: ")
    assert errors.count("\n") == 1
    assert options[-1] in errors


def test_ctrl_c_is_one_line_and_status_130(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(bp.Network, "fit", interrupted)
    status, _, errors = run(capsys, *QUICK)
    assert status == 130
    assert errors == "fastbp: interrupted\n"


def test_diverged_training_is_one_line_and_status_1(capsys):
    options = ["--optimizer", "sgd", "--activation", "identity", "--learning-rate", "1e20", "--dropout", "0"]
    status, _, errors = run(capsys, *QUICK, *options)
    assert status == 1
    assert errors.splitlines()[-1].startswith("fastbp: The loss became NaN or infinite")


def test_a_wrong_gradient_is_status_1(capsys, monkeypatch):
    class Report:
        ok = False

    monkeypatch.setattr("fastbp.inspection.gradient_check.check_gradient", lambda *arguments, **options: Report())
    assert run(capsys, *QUICK, "--epochs", "1")[0] == 1


# --- digits -----------------------------------------------------------------------------------------------------------


def test_the_split_keeps_each_class_in_proportion():
    found = digits.embedded_digits("float32")
    assert found.X_train.dtype == np.float32
    assert found.X_train.min() == 0
    assert found.X_train.max() == 1
    train, test = np.bincount(found.y_train), np.bincount(found.y_test)
    np.testing.assert_allclose(test / (train + test), 0.25, atol=0.005)
    together = {row.tobytes() for row in found.X_train} & {row.tobytes() for row in found.X_test}
    assert len(together) <= 1  # the data set itself has hardly any image twice


def write(path, **changes):
    """A small file like MNIST's: noise whose brighter half tells the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = rng.integers(0, 128, (80, 6, 6), np.uint8) + (128 * labels[:, None, None]).astype(np.uint8)
    arrays = {"X_train": images[:60], "y_train": labels[:60], "X_test": images[60:], "y_test": labels[60:].astype("u1")}
    arrays |= changes
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_a_file_of_images_is_trained_on(capsys, tmp_path):
    status, output, _ = run(capsys, *QUICK, "--data", write(tmp_path / "two.npz"))
    assert status == 0
    assert "two.npz: 60 images to learn from, 20 to test with" in output
    assert "network 36-200-2" in output
    assert accuracy(output, "test") == 100


def test_pixels_are_divided_by_255(tmp_path):
    path = write(tmp_path / "two.npz", X_test=np.full((20, 36), 255, np.uint8))
    for dtype in ("float32", "float64"):
        found = digits.read_digits(path, dtype)
        assert found.X_test.dtype == dtype
        assert found.X_train.shape == (60, 36)
        assert (found.X_test == 1).all()


LABELS = np.arange(60) % 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"y_test": None},
            "the arrays X_train, y_train, X_test, y_test; y_test is missing, found: X_train, y_train, X_test",
        ),
        ({"X_train": np.zeros((60, 6, 6))}, "float64 (60, 6, 6)"),
        ({"X_train": np.zeros(60, np.uint8)}, "uint8 (60,)"),
        ({"X_train": np.zeros((0, 36), np.uint8)}, "uint8 (0, 36)"),
        ({"X_test": np.zeros((20, 35), np.uint8)}, "got 36 and 35"),
        ({"y_train": LABELS * 1.0}, "shape (60,); got float64 (60,)"),
        ({"y_train": LABELS[:59]}, "shape (60,); got int64 (59,)"),
        ({"y_train": np.eye(2, dtype=int)[LABELS]}, "shape (60,); got int64 (60, 2)"),
        ({"y_train": LABELS - 1}, "labels from 0 to 999; got -1 to 0"),
        ({"y_train": LABELS * 10**9}, "labels from 0 to 999; got 0 to 1000000000"),
        ({"y_train": LABELS * 0}, "at least two classes"),
        ({"y_test": np.full(20, 2)}, "its largest label is 1, that of y_test 2"),
        (
            {"y_train": np.array([{"a": "pickled object"}] * 60)},
            "y_train cannot be read: Object arrays cannot be loaded",
        ),
    ],
)
def test_a_wrong_file_is_one_line_and_status_2(capsys, tmp_path, changes, message):
    path = write(tmp_path / "wrong.npz", **changes)
    status, output, errors = run(capsys, "--data", path)
    assert (status, output) == (2, "")
    assert errors.startswith(f"fastbp: error: {path}")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_missing_file(capsys, tmp_path):
    path = tmp_path / "none.npz"
    message = f"fastbp: error: {path} cannot be opened: No such file or directory\n"
    assert run(capsys, "--data", path) == (2, "", message)


def text_file(path):
    path.write_text("pixels")


def empty_file(path):
    path.write_bytes(b"")


def single_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def pickled(path):
    with path.open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)


def truncated(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-200])


def overwritten(path):
    write(path)
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)


def text_members(path):
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("X_train", "y_train", "X_test", "y_test"):
            archive.writestr(key, "pixels")


@pytest.mark.parametrize(
    "make", [text_file, empty_file, single_array, pickled, truncated, overwritten, text_members, Path.mkdir]
)
def test_something_else_than_a_file_of_arrays(capsys, tmp_path, make):
    path = tmp_path / "wrong.npz"
    make(path)
    status, output, errors = run(capsys, "--data", path)
    assert (status, output) == (2, "")
    assert errors.startswith(f"fastbp: error: {path}")
    assert errors.count("\n") == 1
