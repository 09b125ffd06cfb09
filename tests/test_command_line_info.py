"""`fastbp info` and `fastbp.show_versions`: what is said of the installation, and that nothing is changed by it."""

import importlib.metadata
import json
import os
import platform

import numba
import pytest

import fastbp as bp
from fastbp import environment
from fastbp.kernels.compiler.cache_folders import FolderState, folder_states
from tests.command_lines import run
from tests.fresh import run_python

needs_users = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no modes of files")


def test_the_text_has_everything(capsys):
    status, output, errors = run(capsys, "info")
    assert (status, errors) == (0, "")
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in output.splitlines() if line[:1].strip()}
    assert found["fastbp"] == bp.__version__
    assert found["python"].startswith(platform.python_version())
    for name in ("numpy", "scipy", "numba", "llvmlite", "scikit-learn", "tqdm", "threadpoolctl"):
        assert found[name] == importlib.metadata.version(name)
    assert found["threads"] == str(bp.get_num_threads())
    assert {"system", "processor", "instructions", "kernels", "pandas", "onnx", "torch"} <= set(found)
    bp.show_versions()
    assert capsys.readouterr().out == output


def test_json(capsys):
    status, output, _ = run(capsys, "info", "--json")
    found = json.loads(output)
    assert status == 0
    assert list(found) == [
        *("versions", "optional", "system", "processor", "instructions", "threads", "thread_limits", "kernels"),
    ]
    assert found["threads"] == bp.get_num_threads() <= min(found["thread_limits"].values())


def test_the_limits_of_threads_are_named(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert environment.facts()["thread_limits"]["set by OMP_NUM_THREADS"] == 1
    assert environment.facts()["threads"] == 1


def test_what_is_not_installed(monkeypatch, capsys):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    bp.show_versions()
    assert capsys.readouterr().out.count("not installed") == 18


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the kernels run as plain Python")
@pytest.mark.parametrize(
    ("tiling", "text"),
    [
        (environment.AVX512, "AVX-512, vectors of 64 bytes"),
        (environment.AVX2, "AVX2 and FMA, vectors of 32 bytes"),
        (environment.NEON, "NEON, vectors of 16 bytes"),
        (None, "no vectors of 32 bytes or more; matrix products are left to BLAS"),
    ],
)
def test_instructions(monkeypatch, tiling, text):
    monkeypatch.setattr(environment, "TILING", tiling)
    assert environment.facts()["instructions"] == text


def test_plain_python():
    code = "import fastbp as bp; bp.show_versions()"
    output = run_python(code, NUMBA_DISABLE_JIT="1")
    assert "instructions   none: NUMBA_DISABLE_JIT is set, and the kernels run as plain Python\n" in output


# --- the folder of kernels --------------------------------------------------------------------------------------------


def said(capsys):
    """What is said of the folders of kernels."""
    bp.show_versions()
    return [line[15:] for line in capsys.readouterr().out.splitlines() if line.startswith("kernels")]


def test_a_folder_that_is_not_there_is_not_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "cache"))
    assert said(capsys) == [f"{tmp_path / 'cache' / 'fastbp'}: not there yet"]
    assert folder_states() == [FolderState(str(tmp_path / "cache" / "fastbp"), False, True, 0, 0, "")]
    assert os.listdir(tmp_path) == []


def test_kernels_are_counted(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "fastbp"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    for i in range(3):
        (folder / f"roots.entry.run-{i:024x}.kernel").write_bytes(bytes(500_000))
    (folder / "warmup.lock").touch()
    assert said(capsys) == [f"{folder}: 3 kernels, 1.5 MB, writable"]


@needs_users
def test_a_folder_that_is_passed_over(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "fastbp"
    folder.mkdir()
    folder.chmod(0o777)
    passed, *others = said(capsys)
    assert passed == (
        f"{folder}: passed over, since others than its owner may write to it, mode 777; `chmod go-w` cures that"
    )
    assert len(others) >= 1
