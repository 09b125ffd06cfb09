"""What is published says the same everywhere: versions, addresses, requirements; the README's links lead somewhere."""

import datetime
import email
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import fastbp as bp
from tests.with_versions import oldest_python

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads(TEXT)
PROJECT, URLS = PYPROJECT["project"], PYPROJECT["project"]["urls"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
WORKFLOWS = ROOT / ".github" / "workflows"  # which the source archive has not
on_a_forge = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="the source archive has no workflows")


def read(name):
    """The content of a file in YAML."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# ---- Versions --------------------------------------------------------------------------------------------------------

RELEASES = re.findall(r"^## \[([\d.]+)\] - (\S+)$", CHANGELOG, re.MULTILINE)


def test_the_changelog_begins_with_what_is_unreleased_and_this_version():
    assert re.findall(r"^## .*$", CHANGELOG, re.MULTILINE)[0] == "## [Unreleased]"
    assert RELEASES[0][0] == bp.__version__
    dates = [datetime.date.fromisoformat(date) for _, date in RELEASES]
    assert dates == sorted(dates, reverse=True)


def test_every_heading_of_the_changelog_leads_to_its_changes():
    links = dict(re.findall(r"^\[([\w.]+)\]: (\S+)$", CHANGELOG, re.MULTILINE))
    versions = [version for version, _ in RELEASES]
    assert list(links) == ["Unreleased", *versions]
    assert links.pop("Unreleased") == f"{URLS['Source']}/compare/v{versions[0]}...HEAD"
    assert links == {version: f"{URLS['Source']}/releases/tag/v{version}" for version in versions}


def test_the_changelogs_sections_are_those_of_keep_a_changelog():
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for release in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]


def test_the_citation_is_of_this_version():
    citation = read("CITATION.cff")
    assert (citation["version"], citation["date-released"]) == RELEASES[0]
    assert (citation["title"], citation["license"]) == (PROJECT["name"], PROJECT["license"])
    assert citation["authors"] == PROJECT["authors"]
    assert (citation["repository-code"], citation["url"]) == (URLS["Source"], URLS["Documentation"])


def test_the_newest_minor_version_is_repaired():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+\.\d+) \| (yes|no) \|$", text, re.MULTILINE)
    assert [version for version, repaired in rows if repaired == "yes"] == [bp.__version__.rpartition(".")[0]]


# ---- Metadata --------------------------------------------------------------------------------------------------------


def claimed(prefix):
    """What follows a prefix in the classifiers."""
    return [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]


def test_pythons_of_the_classifiers_begin_with_the_oldest_and_have_no_gap():
    found = [tuple(map(int, name.split("."))) for name in claimed("Programming Language :: Python :: ") if "." in name]
    assert found[0] == oldest_python(TEXT)
    assert found == [(3, minor) for minor in range(found[0][1], found[-1][1] + 1)]


@on_a_forge
def test_what_the_classifiers_claim_is_checked_and_must_pass():
    job = read(WORKFLOWS / "tests.yml")["jobs"]["checks"]
    matrix = job["strategy"]["matrix"]
    pythons = [name for name in claimed("Programming Language :: Python :: ") if "." in name]
    assert set(pythons) < set(matrix["python"])
    assert claimed("Operating System :: ") == ["POSIX :: Linux"]
    may_fail = " || ".join(f"matrix.python == '{name}'" for name in matrix["python"] if name not in pythons)
    assert job["continue-on-error"] == f"${{{{ matrix.os != 'ubuntu-latest' || {may_fail} }}}}"


def test_classifiers_are_known_and_in_order():
    known = pytest.importorskip("trove_classifiers")  # comes with hatchling
    assert set(PROJECT["classifiers"]) <= known.classifiers
    names = [line for line in PROJECT["classifiers"] if not line.startswith("Programming Language :: Python :: 3")]
    assert names == sorted(names)
    assert not [line for line in PROJECT["classifiers"] if line.startswith("License")]  # `license` is the one place


@pytest.mark.parametrize(
    "name", ["CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "README.md", "SECURITY.md", "pyproject.toml", "recipe"]
)
def test_addresses_are_those_of_pyproject(name):
    paths = sorted((ROOT / name).rglob("*.*")) if (ROOT / name).is_dir() else [ROOT / name]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    homes = set(re.findall(r"https?://github\.com/[\w.-]+/fastbp\b|https?://[\w.-]*fastbp[\w.-]*\.\w+", text))
    assert homes <= {URLS["Source"], URLS["Documentation"]}
    assert all(url.startswith((URLS["Source"], URLS["Documentation"])) for url in URLS.values())


def test_each_tool_of_a_release_is_used():
    script = ROOT / ".ci" / "release"
    if not script.exists():
        pytest.skip("the source archive has no such script")
    text = script.read_text(encoding="utf-8")
    names = [re.match(r"[\w-]+", line).group() for line in PROJECT["optional-dependencies"]["release"]]
    assert [name for name in names if not re.search(rf"(-m |/){name}\b", text)] == []


# ---- The README of a package index -----------------------------------------------------------------------------------


def by_pattern():
    """The README with pyproject.toml's substitutions."""
    hook = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join((ROOT / part["path"]).read_text(encoding="utf-8") for part in hook["fragments"])
    for one in hook["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    return text.replace("$HFPR_VERSION", bp.__version__)


@pytest.fixture
def by_the_build(tmp_path, monkeypatch):
    """The metadata as the build makes them."""
    backend = pytest.importorskip("hatchling.build")
    pytest.importorskip("hatch_fancy_pypi_readme")
    monkeypatch.chdir(ROOT)
    folder = backend.prepare_metadata_for_build_wheel(str(tmp_path))
    return email.message_from_string((tmp_path / folder / "METADATA").read_text(encoding="utf-8"))


def test_the_metadata_are_those_of_pyproject(by_the_build):
    assert by_the_build["Version"] == bp.__version__
    assert by_the_build["Description-Content-Type"] == "text/markdown"
    assert by_the_build.get_payload() == by_pattern()
    assert dict(line.split(", ") for line in by_the_build.get_all("Project-URL")) == URLS


def anchors(path):
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_published_readme_links_to_what_there_is_at_the_tag():
    text = by_pattern()
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)]*)\)", text)
    assert len(found) == text.count("](") > 40
    assert not re.search(r"<(img|a)\b|^\[[^\]]+\]:", text, re.MULTILINE)  # further ways to link, which none sees here
    for picture, link in found:
        base = f"{URLS['Source']}/{'raw' if picture else 'blob'}/v{bp.__version__}/"
        if not link.startswith(base):
            assert link.startswith("https://"), link
            assert "fastbp" not in link, link
            continue
        path, _, anchor = link.removeprefix(base).partition("#")
        assert (ROOT / path).exists(), link
        assert not anchor or anchor in anchors(ROOT / path), link


def test_links_of_the_repository_stay_relative():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert URLS["Source"] not in text


# ---- The recipe ------------------------------------------------------------------------------------------------------


def in_conda(requirements):
    """Requirements as conda writes them, in the order of their names."""
    return sorted(re.sub(r"(?<=\w)(?=[<>=!~])", " ", requirement) for requirement in requirements)


def test_the_recipe_is_of_this_version_and_its_requirements():
    recipe = read("recipe/recipe.yaml")
    assert recipe["context"] == {
        "version": bp.__version__,
        "python_min": PROJECT["requires-python"].removeprefix(">="),
    }
    needs = recipe["requirements"]
    python = "python ${{ python_min }}.*"
    assert sorted(needs["run"]) == in_conda([*PROJECT["dependencies"], "python>=${{ python_min }}"])
    assert sorted(needs["host"]) == sorted([*in_conda(PYPROJECT["build-system"]["requires"]), "pip", python])
    commands = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands


def test_the_recipe_describes_what_pyproject_does():
    about = read("recipe/recipe.yaml")["about"]
    assert (about["summary"], about["license"]) == (PROJECT["description"], PROJECT["license"])
    assert [about["license_file"]] == PROJECT["license-files"]
    assert (about["homepage"], about["repository"]) == (URLS["Homepage"], URLS["Source"])
    assert about["documentation"] == URLS["Documentation"]


def test_what_tests_the_metadata_is_what_builds_them():
    assert set(PYPROJECT["build-system"]["requires"]) <= set(PROJECT["optional-dependencies"]["test"])


# ---- Workflows -------------------------------------------------------------------------------------------------------


@on_a_forge
@pytest.mark.parametrize("name", ["docs", "release", "tests"])
def test_a_workflow_may_do_no_more_than_it_needs(name):
    workflow = read(WORKFLOWS / f"{name}.yml")
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 240
        writing = {scope for scope, right in job.get("permissions", {}).items() if right == "write"}
        runs = [step["run"] for step in job["steps"] if "run" in step]
        assert not writing or all(run.startswith("gh release create") for run in runs)  # our code writes nothing
        for step in job["steps"]:
            action, _, version = step.get("uses", "").partition("@")
            assert not action or re.fullmatch(r"v\d+|release/v\d+", version), action
            if action == "actions/checkout":
                assert step["with"] == {"persist-credentials": False}


@on_a_forge
def test_workflows_run_what_there_is():
    for path in WORKFLOWS.glob("*.yml"):
        for script in re.findall(r"run: (\.ci/\w+)", path.read_text(encoding="utf-8")):
            assert (ROOT / script).read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n"), script
