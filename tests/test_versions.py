"""Versions of other libraries: what is said where one has lost a name, and the command that tries them."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from fastbp.system.versions import TRIED, explained
from fastbp.version import __version__
from tests import with_versions
from tests.fresh import ROOT, run_python

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

# A public name that is taken away, as a future version might, and which library that is.
LOST = {
    "numba.extending:intrinsic": ("fastbp", "numba", "cannot import name 'intrinsic' from 'numba.extending'"),
    "numba:njit": ("fastbp", "numba", "module 'numba' has no attribute 'njit'"),
    "llvmlite.binding:add_symbol": ("fastbp", "numba", "module 'llvmlite.binding' has no attribute 'add_symbol'"),
    "sklearn.utils.validation:validate_data": (
        "fastbp.neural_network", "scikit-learn", "cannot import name 'validate_data' from 'sklearn.utils.validation'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_name_is_said_with_the_versions_that_have_it(lost):
    module, library, said = LOST[lost]
    owner, _, name = lost.partition(":")
    code = f"""
import importlib, sys
import numba, sklearn.neural_network
owner = importlib.import_module({owner!r})
delattr(owner, {name!r})
try:
    import {module}
except ImportError as error:
    print(error.name)
    print(error)
"""
    lines = run_python(code, NUMBA_DISABLE_JIT=None).splitlines()
    assert lines[0] == owner
    oldest, newest = TRIED[library]
    begin = (
        f"fastbp {__version__} works with {library} {oldest} to {newest} and perhaps newer, and here is {library} "
        f"{importlib.metadata.version(library)}, of which it cannot use all: {said}"
    )
    assert lines[1].startswith(begin)
    assert lines[1].endswith(f". Another {library} or a newer fastbp cures that.")


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'numba'", name="numba"),
        ImportError("cannot import name 'x' from 'fastbp'", name="fastbp"),
        ImportError("out of memory"),
        AttributeError("'int' object has no attribute 'x'", name="x", obj=3),
    ],
    ids=str,
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, explained("0.1"):
        raise error
    assert caught.value is error


def test_the_oldest_versions_are_pyprojects():
    bounds = dict(with_versions.requirements(PYPROJECT))
    assert {name: oldest for name, (oldest, _) in TRIED.items()} == {name: bounds[name] for name in TRIED}
    assert all(with_versions.key(oldest) <= with_versions.key(newest) for oldest, newest in TRIED.values())


# ---- The command ---------------------------------------------------------------------------------------------------


def test_every_library_of_the_tests_has_a_lower_bound():
    found = with_versions.requirements(PYPROJECT)
    assert {"numpy", "numba", "tqdm", "onnx", "matplotlib", "pytest", "polars"} <= {name for name, _ in found}
    assert all(oldest for _, oldest in found)
    assert len(dict(found)) == len(found)


def test_two_bounds_of_one_library_are_refused():
    text = """
[project]
name = "x"
dependencies = ["a>=1"]
[project.optional-dependencies]
test = ["x[more]", "b>=2.0.1"]
more = ["a>=2"]
"""
    with pytest.raises(ValueError, match="two lower bounds of a: 1 and 2"):
        with_versions.requirements(text)
    assert with_versions.requirements(text.replace("a>=2", "c>=3")) == [("a", "1"), ("b", "2.0.1"), ("c", "3")]


def test_versions_are_compared_as_numbers():
    in_order = ["1.9", "1.10", "2", "2.0.1", "2.1"]
    assert sorted(["2", "1.10", "2.1", "1.9", "2.0.1"], key=with_versions.key) == in_order
    assert with_versions.key("2") == with_versions.key("2.0.0")


def test_this_python_is_found_and_older_ones_are_not():
    least = with_versions.oldest_python(PYPROJECT)
    found = with_versions.pythons(least)
    assert with_versions.version_of(sys.executable) == sys.version_info[:2]
    assert found[sys.version_info[:2]] == sys.executable
    assert min(found) >= least
    assert with_versions.version_of(ROOT / "pyproject.toml") is None


def test_environments_are_the_oldest_and_each_newest():
    found = {(3, 11): "a", (3, 13): "b"}
    rows = [("oldest 3.11", "a", "oldest"), ("newest 3.11", "a", "newest"), ("newest 3.13", "b", "newest")]
    assert with_versions.environments(found, False) == rows
    assert with_versions.environments(found, True) == [*rows, ("pre 3.13", "b", "pre")]


def test_the_tests_that_are_run_are_there():
    for path in (*with_versions.QUICK, *with_versions.MORE):
        assert (ROOT / path).is_file(), path
    assert not set(with_versions.QUICK) & set(with_versions.MORE)


def test_a_report_is_counted(tmp_path):
    report, log = tmp_path / "report.xml", tmp_path / "log"
    ends = {"b": "", "c": "<failure/>", "d": "<skipped/>", "e": "<error/>"}
    cases = "".join(f'<testcase classname="a" name="{name}">{end}</testcase>' for name, end in ends.items())
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    log.write_text("...\n1 passed, 2 failed, 1 skipped, 7 warnings in 3.00s\n")
    counts = {"passed": 1, "failed": 2, "skipped": 1, "warnings": 7}
    assert with_versions.read(report, log) == (counts, ["a::c", "a::e"])
    assert with_versions.read(tmp_path / "none", log) == (dict.fromkeys(counts, 0), [])


def test_a_command_ends_at_its_limit(tmp_path):
    log = tmp_path / "log"
    code = "import time; print('begun', flush=True); time.sleep(600)"
    assert with_versions.command([sys.executable, "-c", code], 0.2, log) is None
    assert with_versions.command([sys.executable, "-c", "print(3); raise SystemExit(2)"], 600, log) == 2
    assert with_versions.tail(log).endswith("3")


def test_an_index_out_of_reach_is_said(tmp_path, monkeypatch, capsys):
    """Also as the command's exit status; the environment itself is made."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(with_versions, "pythons", lambda least: {sys.version_info[:2]: sys.executable})
    needs = with_versions.requirements(PYPROJECT)[:2]  # pip is asked for each
    monkeypatch.setattr(with_versions, "requirements", lambda text: needs)
    assert with_versions.main(["--quick", "--only", "oldest"]) == 1
    output = capsys.readouterr().out
    assert "pip could not install numpy==2.0 " in output
    assert "is a package index within reach?" in output
    assert "| oldest |  |  |  |  |  |  | 0 | 0 | 0 | 0 |" in output


def test_nothing_stays_behind_of_a_command_that_is_ended(tmp_path):
    code = """
import os, signal, sys, threading
from pathlib import Path
from tests import with_versions
with_versions.pythons = lambda least: {(3, 11): sys.executable}

def tried(one, needs, folder, is_quick):
    (folder / "log").touch()
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()  # before or after the program begins
    for _ in range(2):  # what ends does not make room for the next one
        with_versions.command([sys.executable, "-c", "import time; time.sleep(600)"], 600, folder / "log")

with_versions.tried = tried
try:
    with_versions.main(["--only", "oldest"])
except SystemExit as error:
    print(error.code, with_versions.programs._running)
"""
    assert run_python(code, TMPDIR=str(tmp_path)) == "1 set()\n"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_environment_is_refused():
    command = [sys.executable, "-m", "tests.with_versions", "--only", "no such"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (1, "no environment is called 'no such'\n")
