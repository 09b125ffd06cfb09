"""What the texts say of files and lines is true."""

import inspect
import re
from pathlib import Path

import pytest
import sklearn.neural_network as theirs

import fastbp as bp
from fastbp import neural_network as ours

ROOT = Path(__file__).parents[1]
TEXTS = ("README.md", "examples/README.md", "docs/neighbours.md", "docs/onnx.md")
DIFFERENCES = "docs/scikit-learn.md"


def function_source(path, name):
    """The lines of a function, up to the next one."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.search(rf"^def {name}\(.*?(?=^def |\Z)", text, re.MULTILINE | re.DOTALL).group()


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert targets
    for target in targets:
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / name).parent / target).exists(), target


def test_the_four_equations_are_where_the_readme_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(d.+?)` \| `(\w+)` \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for equation, function, line in rows:
        assert line in function_source("fastbp/kernels/layers/passes.py", function), equation


def test_every_picture_is_shown_and_small():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    pictures = sorted((ROOT / "examples" / "pictures").glob("*.png"))
    assert pictures
    for path in pictures:
        assert f"(pictures/{path.name})" in text, path.name
        assert path.stat().st_size <= 60_000, path.name


def test_the_readmes_program_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(import fastbp as bp\n.*?)```", text, re.DOTALL).group(1)
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    assert (names["net"].predict(names["X_test"]).argmax(axis=1) == names["y_test"]).mean() > 0.9
    assert names["grad"].shape == (names["net"].n_params,)


PAGES = ["c.md", "compiled.md", "dask.md", "derivatives.md", "fixed-point.md", "many.md", "matlab.md", "onnx.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_of_the_pages_run(page, capsys):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert programs
    names = {}  # a page's programs go on from one another
    for program in programs:
        exec(compile(program, page, "exec"), names)


@pytest.mark.parametrize("page", ["compiled.md", "derivatives.md", "many.md", "matlab.md", "onnx.md"])
def test_the_pages_name_what_there_is(page):
    """Every method after `net.`, `at.` and `history.`, and every name after `bp.`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    text = re.sub(r"```matlab.*?```", "", text, flags=re.DOTALL)
    columns = {name for rule in (bp.LevenbergMarquardt, bp.BayesianRegularization) for name in rule.columns}
    known = {
        "net": {*dir(bp.Network)},
        "at": {*dir(bp.Network([1, 1]).linearize([[0.0]], [[0.0]]))},
        "bp": {*bp.__all__},
        "history": {*dir(bp.History), *vars(bp.History()), *columns},
    }
    theirs = {"performFcn", "performParam", "inputs", "IW", "LW", "b"}  # MATLAB's
    found = re.findall(r"(?<![\w.'])(net|at|bp|history)\.(\w+)", text)
    assert found
    assert {(owner, name) for owner, name in found if name not in known[owner] | theirs} == set()


def test_the_page_of_differences_names_every_parameter_of_ours_and_every_test():
    """What scikit-learn's classes do not take stands under "Beyond it"; files that are named exist."""
    text = (ROOT / DIFFERENCES).read_text(encoding="utf-8")
    beyond = text[text.index("## Beyond it") :]
    for name in ("MLPClassifier", "MLPRegressor"):
        added = set(inspect.signature(getattr(ours, name)).parameters) - set(
            inspect.signature(getattr(theirs, name)).parameters
        )
        assert {parameter for parameter in added if f"`{parameter}`" not in beyond} == set(), name
    for path in re.findall(r"`(tests/\w+\.py)`", text):
        assert (ROOT / path).exists(), path
