"""The page of promises is what its command makes, and every test that it names is there."""

import subprocess
import sys

import pytest

from tests import trust, with_versions
from tests.fresh import ROOT

PAGE = trust.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("promise", trust.PROMISES, ids=lambda promise: promise.text[:50])
def test_each_named_test_and_command_exists(promise):
    assert promise.tests
    for test in promise.tests:
        file, _, name = test.partition("::")
        assert name in trust.functions(ROOT / "tests" / file), test
    for command in promise.commands:
        assert (ROOT / f"{command.split()[2].replace('.', '/')}.py").is_file(), command


def test_the_page_is_what_the_command_makes():
    """But for what was seen: run ``python -m tests.trust --only SUBJECT`` after a change of its promises."""
    assert trust.between_marks(PAGE)[0] == trust.rendered(trust.seen_before(PAGE))


def test_every_promise_was_seen_to_hold():
    for promise in trust.PROMISES:
        first, *others = trust.seen_before(PAGE)[promise.text].split("<br>")
        counts = {end: int(count.replace(",", "")) for count, end in (part.split() for part in first.split(", "))}
        assert set(counts) <= {"passed", "skipped"}, promise.text
        assert counts["passed"] >= len(promise.tests) - counts.get("skipped", 0)
        assert len(others) == len(promise.commands)
        assert not any(other.startswith("failed") for other in others)


def test_texts_are_different_and_fit_into_a_table():
    texts = [promise.text for promise in trust.PROMISES]
    assert len(set(texts)) == len(texts)
    assert not any("|" in text for text in texts)
    subjects = [promise.subject for promise in trust.PROMISES]
    assert len([1 for i, subject in enumerate(subjects) if subject not in subjects[:i]]) == len(
        [1 for i, subject in enumerate(subjects) if i == 0 or subject != subjects[i - 1]]
    ), "the promises of one subject stand together"


def test_cases_are_counted_for_the_promises_that_name_them():
    promise = trust.Promise("x", "y", ("a.py::test_b", "a.py::test_c"))
    ends = [("a.py::test_b", "passed")] * 1200 + [("a.py::test_c", "skipped"), ("a.py::test_d", "failed")]
    assert trust.counted(promise, ends) == "1,200 passed, 1 skipped"
    assert trust.counted(promise, [("a.py::test_c", "failed")]) == "0 passed, 1 failed"


def test_the_command_fills_the_rows_of_one_subject(tmp_path, monkeypatch, capsys):
    (tmp_path / "trust.md").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(trust, "PAGE", tmp_path / "trust.md")
    promises = tuple(
        promise._replace(tests=("test_versions.py::test_the_tests_that_are_run_are_there",), commands=())
        if promise.subject == "resume"
        else promise
        for promise in trust.PROMISES
    )
    monkeypatch.setattr(trust, "PROMISES", promises)
    assert trust.main(["--only", "resume"]) == 0
    assert capsys.readouterr().out == "1 cases of 1 promises, 0 failed\n"
    before, after = trust.seen_before(PAGE), trust.seen_before((tmp_path / "trust.md").read_text(encoding="utf-8"))
    assert after == before | {promise.text: "1 passed" for promise in promises if promise.subject == "resume"}


def test_the_last_line_of_a_command():
    assert trust.last_line("python -m tests.with_versions --list --only oldest").startswith("oldest 3.")
    assert trust.last_line("python -m tests.no_such_command").startswith("failed: ")


# ---- Versions ------------------------------------------------------------------------------------------------------


def test_the_table_of_versions_has_the_oldest_and_the_newest_without_a_failure():
    head, _, *rows = trust.between_marks(PAGE, with_versions.MARKS)[0].splitlines()
    names = head.strip("| ").split(" | ")
    table = [dict(zip(names, row.strip("| ").split(" | "), strict=True)) for row in rows]
    assert {"oldest", "newest"} <= {row["environment"] for row in table} <= {"oldest", "newest", "pre"}
    for row in table:
        assert int(row["passed"]) > 1000
        assert row["failed"] == "0"
    bounds = dict(with_versions.requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    for name in ("numpy", "scipy", "numba", "scikit-learn"):
        assert with_versions.key(table[0][name]) == with_versions.key(bounds[name])


def test_a_table_goes_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"a\n{with_versions.MARKS[0]}old\n{with_versions.MARKS[1]}b\n")
    with_versions.write("| new |", page)
    assert page.read_text() == f"a\n{with_versions.MARKS[0]}| new |\n{with_versions.MARKS[1]}b\n"


def test_what_is_written_beside_the_tests_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tests.trust", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "--only" in done.stdout
