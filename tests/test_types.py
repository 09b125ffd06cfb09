"""The types on the user's side: mypy and pyright accept what the documentation shows, and see the usual mistakes.

The programs are in ``typing/``.  They are checked as a user's are: with settings that do not know this project's, and
with the library as an installed package.
"""

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from fastbp.dask import DaskMLPClassifier, DaskMLPRegressor
from fastbp.neural_network import MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor, types

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted(path for path in (ROOT / "tests" / "typing").glob("*.py") if path.name != "conftest.py")
SECONDS = 500
MARK = re.compile(r"  # E(?:: (?P<checker>mypy|pyright))?$", re.MULTILINE)


def by_mypy(folder):
    """What mypy says of the programs in a folder: (file, line) -> text."""
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={folder / 'cache'}"]
    # Numba has stubs in its newer versions only, and scikit-learn has none
    options += ["--ignore-missing-imports", "--allow-untyped-decorators"]
    output = run(folder, ["-m", "mypy", *options, "."], MYPYPATH=str(ROOT))
    found = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", output, re.MULTILINE)
    assert found or "Success" in output, output
    return {(name, int(line)): text for name, line, text in found}


def by_pyright(folder):
    """What pyright says of them."""
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}', encoding="utf-8")
    module = "basedpyright" if importlib.util.find_spec("basedpyright") else "pyright"
    # A package on the Python path is an installed one, whose own errors are not shown.
    command = ["-m", module, "--outputjson", "--pythonpath", sys.executable, "."]
    report = json.loads(run(folder, command, PYTHONPATH=str(ROOT)))
    assert report["summary"]["filesAnalyzed"] >= len(PROGRAMS), report["summary"]
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    }


def run(folder, command, **variables):
    """The output of a command of Python's; both checkers end with 1 where there are errors in the programs."""
    for program in PROGRAMS:
        shutil.copy(program, folder)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


CHECKERS = {
    "mypy": (by_mypy, ("mypy",)),
    "pyright": (by_pyright, ("basedpyright", "pyright")),
}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_sees_the_mistakes_and_nothing_else(checker, tmp_path):
    check, modules = CHECKERS[checker]
    if not any(map(importlib.util.find_spec, modules)):
        pytest.skip(f"needs {' or '.join(modules)}")
    found = check(tmp_path)
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in PROGRAMS}
    expected = {(name, number) for name, text in lines.items() for number in marked(text, checker)}
    named = {f"{name}:{number}: {lines[name][number - 1]}" for name, number in expected - set(found)}
    assert named == set(), "mistakes that were not seen"
    assert {place: found[place] for place in set(found) - expected} == {}


def marked(lines, checker):
    """The numbers of the lines of a program with a mistake that a checker sees."""
    for number, line in enumerate(lines, 1):
        mark = MARK.search(line)
        if mark and mark["checker"] in (None, checker):
            yield number


def test_there_are_programs_without_and_with_mistakes():
    counts = {path.name: len(MARK.findall(path.read_text(encoding="utf-8"))) for path in PROGRAMS}
    assert {name for name, count in counts.items() if count == 0} >= {"networks.py", "estimators.py", "pictures.py"}
    assert sum(counts.values()) >= 100


# ---- Types that are written twice ----------------------------------------------------------------------------------


def hints(holder):
    """The types of what a class or a function names, aliases looked up, in the order of the source."""
    return {name: hint for name, hint in typing.get_type_hints(holder).items() if not name.startswith("_")}


@pytest.mark.parametrize(
    ("estimator", "keywords"),
    [(MLPClassifier, types.ClassifierKeywords), (MLPRegressor, types.RegressorKeywords)],
    ids=["classifier", "regressor"],
)
def test_keywords_and_attributes_are_those_of_the_constructor(estimator, keywords):
    parameters = hints(estimator.__init__)
    del parameters["return"]
    only = {
        name
        for name, parameter in inspect.signature(estimator.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert hints(keywords) == {name: parameters[name] for name in parameters if name in only}
    attributes = hints(estimator)
    assert {name: attributes.get(name) for name in parameters} == parameters


@pytest.mark.parametrize("ensemble", [MLPEnsembleClassifier, MLPEnsembleRegressor])
def test_parameters_of_ensembles_are_attributes(ensemble):
    attributes = hints(ensemble)
    assert set(inspect.signature(ensemble.__init__).parameters) - {"self"} <= set(attributes)


@pytest.mark.parametrize("estimator", [DaskMLPClassifier, DaskMLPRegressor])
def test_parameters_on_dask_are_attributes(estimator):
    attributes = hints(estimator)
    assert set(inspect.signature(estimator).parameters) <= set(attributes)
    assert "solver" in estimator().get_params()
