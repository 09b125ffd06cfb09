"""Each example runs, and its key numbers are right."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_neurons(capsys: pytest.CaptureFixture[str]) -> None:
    load("two_neurons").main(2)
    printed = capsys.readouterr().out
    assert "delta  -0.1413" in printed
    assert "delta  -0.0664" in printed
    for weight in ("0.3066", "0.5940", "-0.0993", "-0.1859", "0.4965"):
        assert f"{weight}\n" in printed
    assert "step 2: cost" in printed


def test_gradient_by_perturbation(capsys: pytest.CaptureFixture[str]) -> None:
    load("gradient_by_perturbation").main()
    lines = capsys.readouterr().out.splitlines()
    assert sum("1314 passes" in line for line in lines) == 2
    differences = [float(line.rsplit(" ", 1)[1]) for line in lines if "differs by" in line]
    assert len(differences) == 2
    assert max(differences) < 1e-6


def test_own_activation(capsys: pytest.CaptureFixture[str]) -> None:
    load("own_activation").main()
    after = float(capsys.readouterr().out.split("before, ")[1].split(" ")[0])
    assert after < 1e-4


@pytest.mark.slow
@pytest.mark.skipif("FASTBP_MNIST" not in os.environ, reason="FASTBP_MNIST does not name a file with MNIST digits")
def test_handwritten_digits_reach_91_percent() -> None:
    assert load("handwritten_digits").main(os.environ["FASTBP_MNIST"], epochs=30) >= 0.91


def test_handwritten_digits_on_a_small_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    images, digits = rng.integers(0, 256, (50, 784), dtype=np.uint8), rng.integers(0, 10, 50).astype(np.uint8)
    path = tmp_path / "digits.npz"
    np.savez(path, X_train=images, y_train=digits, X_test=images, y_test=digits)
    load("handwritten_digits").main(str(path), epochs=2)
    assert capsys.readouterr().out.count("epoch") == 2


def test_an_example_is_a_program() -> None:
    program = EXAMPLES / "two_neurons.py"
    result = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120, check=True)
    assert "0.5940" in result.stdout
    assert result.stderr == ""
