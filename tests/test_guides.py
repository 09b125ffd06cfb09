"""Each guide of docs/guides runs as a program, leaves nothing behind, and links pages that exist."""

import ast
import importlib
import re
import runpy
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp

REPOSITORY = Path(__file__).parents[1]
GUIDES = sorted((REPOSITORY / "docs" / "guides").glob("[0-9]*.py"))
ROLE = re.compile(r":(\w+):`(?:[^`<]*<)?([^`>]+)>?`")
OBJECTS = ("class", "meth", "func", "attr", "mod", "exc", "data")
GALLERIES = {"sphx_glr_auto_guides_": "docs/guides", "sphx_glr_auto_examples_": "examples"}

every_guide = pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)


def links(path: Path) -> list[tuple[str, str]]:
    """Return the roles of a guide's text and what each names, comments joined where a line ends within one."""
    text = re.sub(r"\n# ?", "\n", path.read_text(encoding="utf-8"))
    return [(role, " ".join(target.split()).lstrip("~!")) for role, target in ROLE.findall(text)]


def find(name: str) -> object:
    """Return what a dotted name means: the longest part that is a module, and attributes of it."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[n:], module)
    raise ModuleNotFoundError(name)


def gallery_page(label: str) -> Path:
    """Return the program whose page a label of sphinx-gallery names."""
    for prefix, folder in GALLERIES.items():
        if label.startswith(prefix):
            return REPOSITORY / folder / label.removeprefix(prefix)
    raise AssertionError(f"{label} is no label of a guide or an example")


def left_behind() -> dict[str, object]:
    """Return settings of the process that one page of the documentation must not change for the next."""
    matplotlib = pytest.importorskip("matplotlib")
    return {
        "rcParams": dict(matplotlib.rcParams),
        "printing": np.get_printoptions(),
        "errors": np.geterr(),
        "threads": bp.get_num_threads(),
    }


def test_no_two_guides_have_one_number() -> None:
    assert [int(path.name[:2]) for path in GUIDES] == sorted({int(path.name[:2]) for path in GUIDES})


@every_guide
def test_a_guide_runs_and_leaves_nothing_behind(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")  # the backend is Agg, as for all tests
    monkeypatch.chdir(tmp_path)
    settings, files = left_behind(), sorted(path.parent.iterdir())
    runpy.run_path(str(path), run_name="__main__")
    written = capsys.readouterr()
    assert written.out
    assert written.err == ""
    assert left_behind() == settings
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.parent.iterdir()) == files
    pyplot.close("all")


@every_guide
def test_a_guide_begins_with_a_title_and_for_whom_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    heading = ast.get_docstring(ast.parse(text))
    assert heading is not None
    title, underline, empty, paragraph, *_ = heading.splitlines()
    assert title
    assert underline == "=" * len(title)
    assert (empty, bool(paragraph)) == ("", True)
    assert text.count("\n# %%\n") >= 5


@every_guide
def test_the_code_of_a_guide_fits_its_column(path: Path) -> None:
    """95 letters fit into a window of 1300 pixels; text is set anew."""
    text = path.read_text(encoding="utf-8")
    heading = ast.parse(text).body[0]
    for line in text.splitlines()[heading.end_lineno :]:
        assert len(line) <= 95 or line.startswith("# "), line


@every_guide
def test_a_guide_links_pages_that_exist(path: Path) -> None:
    found = links(path)
    objects = [target for role, target in found if role in OBJECTS]
    assert any(target.startswith("fastbp.") for target in objects)
    for target in objects:
        find(target.removesuffix("()"))
    for role, target in found:
        if role == "doc":
            assert target.startswith("/")
            assert (REPOSITORY / "docs" / f"{target[1:]}.md").exists(), target
        elif role == "ref":
            assert gallery_page(target).exists(), target
        else:
            assert role in OBJECTS, role
