"""The types on the user's side: mypy accepts what the documentation shows, and sees the usual mistakes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parent.parent

BEGIN = """
import io
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numba
import numpy as np

import fastbp as bp

X, Y = np.zeros((8, 2)), np.zeros((8, 1))
"""

RIGHT = """
@numba.njit
def f(z: float) -> float:
    return z**3

@numba.njit
def df(z: float) -> float:
    return 3 * z**2

@numba.njit
def value(a: float, y: float) -> float:
    return (a - y) ** 4

@numba.njit(fastmath=False)
def derivative(a: float, y: float) -> float:
    return 4 * (a - y) ** 3

cube, quartic = bp.Activation("cube", f, df), bp.Loss("quartic", value, derivative)
square = bp.Activation("square", numba.njit(lambda z: z * z), numba.njit(lambda z: 2 * z))

def network(hidden: bp.ActivationSpec, output: bp.OutputSpec = "identity", loss: bp.LossName = "quadratic",
            initializer: bp.InitializerName = "he_normal") -> bp.Network:
    return bp.Network([2, 3, 4, 1], hidden, output, loss, initializer, dtype=np.float32, dropout=[0.1, 0.0])

name: bp.ActivationName
for name in ("relu", "tanh"):
    network(name)
ends: Sequence[bp.OutputName] = ["softmax", "sigmoid"]
network(["relu", cube], square)
net = network([[("relu", 1), (cube, 2)], "tanh"], [("sigmoid", 1)], loss="cross_entropy")
bp.Network(net.sizes, net.activations[:-1], net.activations[-1], net.loss, net.initializer)
bp.Network([2, 1], loss=quartic, seed=0, l2_penalty=0.1)

def stop(net: bp.Network, history: bp.History) -> bool:
    return bool(history.loss[-1] < 0.1)

losses: list[float] = []
callbacks: list[bp.Callback] = [
    stop,
    bp.DiagnosticWatch(X),
    bp.WeightHistory(net),
    lambda net, history: losses.append(history.loss[-1]),
    lambda net, history: history.loss[-1] < 0.1,
]
net.fit(X, Y, 2, callbacks=callbacks, validation_data=(X, Y), early_stopping=bp.EarlyStopping(3), batch_size="auto")
net.fit(X.tolist(), Y, batch_size=None, optimizer=bp.SGD(bp.Cosine(0.1)), validation_data=(X, Y, np.ones(8)))

def hits(Y_true: np.ndarray[Any, Any], Y_pred: np.ndarray[Any, Any]) -> float:
    return float((Y_true == Y_pred).mean())

watched = bp.EarlyStopping(monitor="hits", mode="max")
measured = net.fit(X, Y, metrics={"r2": "r2", "hits": hits}, early_stopping=watched).metrics["hits"][-1]

def keep(path: bp.PathLike) -> None:
    net.save(path)
    net.predict(X)

def pack(file: io.BytesIO, archive: zipfile.ZipFile, opened: BinaryIO) -> None:
    net.save(file)
    net.save(opened)
    with archive.open("net", "w") as member:
        net.save(member)
    with archive.open("net") as member:
        bp.load(member)
    bp.load(file), bp.load(opened), bp.load(file.getvalue()), bp.load(memoryview(b""))
"""

# One line each, wrong by itself.
MISTAKES = """
bp.Network([2, 3, 1], "rulu")
bp.Network([2, 3, 1], activation="softmax")
bp.Network([2, 3, 3, 1], ["relu", "tahn"])
bp.Network([2, 3, 1], output="linear")
bp.Network([2, 1], output=[("sigmoid", "1")])
bp.Network([2, 1], output=[("sigmoyd", 1)])
bp.Network([2, 1], loss="mse")
bp.Network([2, 1], initializer="xavier")
bp.Network([2, "3", 1])
bp.Network([2, 3, 1], dropout="half")
bp.Network([2, 1]).fit(X, Y, epochs=2.5)
bp.Network([2, 1]).fit(X, Y, batch_size="full")
bp.Network([2, 1]).fit(X, Y, optimizer="adam")
bp.Network([2, 1]).fit(X, Y, early_stopping=True)
bp.Network([2, 1]).fit(X, Y, validation_data=(X,))
bp.Network([2, 1]).fit(X, Y, callbacks=lambda net, history: None)
bp.Network([2, 1]).fit(X, Y, callbacks=[lambda net: None])
bp.Network([2, 1]).fit(X, Y, callbacks=[lambda net, history: "stop"])
bp.Network([2, 1]).fit(X, Y, checkpoint_every="5 minutes")
bp.Network([2, 1]).save(3)
bp.Network([2, 1]).save(io.StringIO())
bp.Network([2, 1]).fit(X, Y, metrics=["accuracy"])
bp.Network([2, 1]).fit(X, Y, metrics={"accuracy": 0.5})
bp.EarlyStopping(monitor="val_accuracy", mode="more")
bp.Network([2, 1]).weights = []
bp.Network([2, 1]).predict(X, n_threads="all")
bp.Activation("cube", 3.0, 9.0)
bp.SGD("0.1")
"""


def complaints(program, folder):
    """mypy's errors about a program: line -> text."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={folder / 'cache'}"]
    # Numba has stubs in its newer versions only
    options += ["--ignore-missing-imports", "--allow-untyped-decorators"]
    command = [sys.executable, "-m", "mypy", *options, "program.py"]
    run = subprocess.run(
        command, cwd=folder, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode in (0, 1), run.stderr
    found = re.findall(r"^program\.py:(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    assert (run.returncode == 0) == (found == []), run.stdout
    return {int(line): text for line, text in found}


def test_mypy_accepts_what_is_documented(tmp_path):
    assert complaints(BEGIN + RIGHT, tmp_path) == {}


def test_mypy_sees_mistakes(tmp_path):
    program = BEGIN + MISTAKES
    lines = program.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if number > len(BEGIN.splitlines()) and line}
    found = complaints(program, tmp_path)
    assert {lines[number - 1] for number in wrong - set(found)} == set()
    assert set(found) == wrong
