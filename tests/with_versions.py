"""Part of the tests in other environments: ``python -m tests.with_versions`` makes them, and prints a table.

For each Python that is found, a virtual environment with the newest versions of everything that pyproject.toml names;
for the oldest Python also one with the oldest versions, its lower bounds; with ``--pre`` one with pre-releases.  What
pyproject.toml allows and a Python has no wheel of is left out: the oldest version is then the oldest with a wheel.

``--quick`` runs fewer tests, within some three minutes for each environment; ``--only oldest`` those environments
whose name contains the word.  ``--write`` puts the table into docs/trust.md.  Everything lies in a temporary folder,
compiled kernels as well.
"""

import argparse
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"
MARKS = "<!-- made by python -m tests.with_versions -->\n", "<!-- end -->\n"
INSTALLED_WITH = "test"  # the extra of pyproject.toml
MOST_AT_ONCE = 2
INSTALL_SECONDS = 1200  # for an index that is far away
TEST_SECONDS = {True: 2400, False: 7200}  # quick or not: several times what a loaded machine with two processors needs

# What knows other libraries: their types, private names and files, and the compiler.
QUICK = (
    "tests/test_gradient.py",
    "tests/test_kernels.py",
    "tests/test_storage.py",
    "tests/test_saved_files.py",
    "tests/test_frames.py",
    "tests/test_sparse.py",
    "tests/test_export.py",
    "tests/test_onnx_pipelines.py",
    "tests/test_numba_private.py",
    "tests/test_sklearn_private.py",
    "tests/test_neural_network_interface.py",
    "tests/test_neural_network_parity.py",
    "tests/test_neural_network_validation.py",
    "tests/test_estimator_files.py",
)
MORE = (
    "tests/test_fit.py",
    "tests/test_checkpoint.py",
    "tests/test_concurrency.py",
    "tests/test_custom_functions.py",
    "tests/test_disk_cache.py",
    "tests/test_first_use.py",
    "tests/test_laws.py",
    "tests/test_main.py",
    "tests/test_neural_network_errors.py",
    "tests/test_neural_network_extras.py",
    "tests/test_neural_network_targets.py",
    "tests/test_optimizers.py",
    "tests/test_own_classes.py",
    "tests/test_perturbation.py",
    "tests/test_plotting.py",
    "tests/test_shuffling.py",
    "tests/test_threads.py",
    "tests/test_vector_math.py",
)
# Libraries announce changes by these; an environment of tomorrow is to be seen whole, so they are counted there.
ANNOUNCEMENTS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")


class Requirement(NamedTuple):
    """A line of pyproject.toml: a library and its lower bound."""

    name: str  # with the extras that are wanted, as pip takes it
    oldest: str

    @property
    def library(self):
        """The name alone."""
        return self.name.split("[")[0]


class Environment(NamedTuple):
    """What is to be made."""

    name: str
    python: str
    kind: str  # oldest, newest or pre


class Row(NamedTuple):
    """A line of the table; a text in place of the numbers where there are none."""

    environment: Environment
    versions: dict[str, str]
    passed: int
    failed: int
    skipped: int
    warnings: int
    seconds: float
    trouble: str = ""
    failures: tuple[str, ...] = ()


def requirements(text, extra=INSTALLED_WITH):
    """The libraries that a pyproject.toml asks for, those of an extra among them, each once."""
    project = tomllib.loads(text)["project"]
    extras, found = project["optional-dependencies"], {}
    waiting = list(project["dependencies"]) + list(extras[extra])
    while waiting:
        line = waiting.pop(0)
        name, of_extras, oldest = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?(?:>=([\w.]+))?", line).groups()
        if name == project.get("name"):
            waiting += [other for key in of_extras[1:-1].split(",") for other in extras[key]]
        elif found.setdefault(name + (of_extras or ""), oldest) != oldest:
            raise ValueError(f"pyproject.toml has two lower bounds of {name}: {found[name]} and {oldest}")
    return [Requirement(name, oldest) for name, oldest in found.items()]


def oldest_python(text):
    """The lower bound of Python as (major, minor)."""
    return tuple(map(int, re.fullmatch(r">=(\d+)\.(\d+)", tomllib.loads(text)["project"]["requires-python"]).groups()))


# ---- Environments --------------------------------------------------------------------------------------------------


def pythons(least):
    """Each Python from `least` on that is installed: {(major, minor): program}."""
    home = Path.home()
    places = [Path(folder) for folder in os.get_exec_path()] + [Path("/usr/bin"), Path("/usr/local/bin")]
    for pattern in (".pyenv/versions/*/bin", ".local/share/uv/python/*/bin", "miniconda3/envs/*/bin"):
        places += sorted(home.glob(pattern), reverse=True)
    programs = [Path(sys.executable)]
    for place in places:
        if place.name != "shims" and place.is_dir():  # pyenv's shims: which Python they are depends on the folder
            programs += sorted(path for path in place.iterdir() if re.fullmatch(r"python3(\.\d+t?)?", path.name))
    found = {}
    for program in programs:
        version = version_of(program)
        if version is not None and version >= least:
            found.setdefault(version, str(program))
    return dict(sorted(found.items()))


def version_of(program):
    """The version (major, minor) of a Python that can make environments, or None."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        output = subprocess.run([program, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
        return tuple(map(int, output.split()))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def environments(found, with_pre):
    """Every environment for the Pythons found, the slowest to be made first."""
    first, last = min(found), max(found)
    name = "{} {}.{}".format
    some = [Environment(name("oldest", *first), found[first], "oldest")]
    some += [Environment(name("newest", *version), program, "newest") for version, program in found.items()]
    if with_pre:
        some.append(Environment(name("pre", *last), found[last], "pre"))
    return some


class EndedError(Exception):
    """This command was ended: nothing is started any more."""


class Programs:
    """The programs that run; once they were ended, none is started."""

    def __init__(self):
        self._lock, self._running, self._are_ended = threading.Lock(), set(), False

    def start(self, arguments, **how):
        with self._lock:  # so that none is started after a look at those that run
            if self._are_ended:
                raise EndedError
            process = subprocess.Popen(arguments, start_new_session=True, **how)
            self._running.add(process)
            return process

    def forget(self, process):
        with self._lock:
            self._running.discard(process)

    def end_all(self):
        with self._lock:
            self._are_ended = True
            while self._running:  # also that of a thread which the pool does not know yet, and so will not wait for
                end(self._running.pop())


programs = Programs()


def command(arguments, seconds, log, **variables):
    """Run a program, its output into a file; return its exit status, or None after a time limit."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    with log.open("ab") as file:
        process = programs.start(arguments, stdout=file, stderr=file, cwd=ROOT, env=kept | variables)
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            end(process)
            return None
        finally:
            programs.forget(process)


def end(process):
    """End a program with all that it started; on Windows, where there are no groups of processes, the program alone."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log, lines=6):
    """The last lines of a file, without pip's words about indexes that lack a library."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line for line in text if "is ignored: it is neither a file nor" not in line][-lines:])


def oldest_with_a_wheel(python, requirement, log):
    """The oldest version from the lower bound on that this Python has a wheel of, or the bound itself."""
    answer = log.with_name("index")
    answer.unlink(missing_ok=True)
    arguments = ["-m", "pip", "index", "versions", "--only-binary=:all:", requirement.library]
    command([python, *arguments], INSTALL_SECONDS, answer)
    text = answer.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^Available versions: (.*)$", text, re.MULTILINE)
    if found is None:
        with log.open("a", encoding="utf-8") as file:
            file.write(text)
        return requirement.oldest
    allowed = [version for version in found[1].split(", ") if key(version) >= key(requirement.oldest)]
    return min(allowed, key=key, default=requirement.oldest)


def key(version):
    """What versions are compared by: 1.10 comes after 1.9, and 2.0 is 2.0.0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return tuple((numbers + [0] * 4)[:4])


def wanted(environment, python, needs, log):
    """The arguments of `pip install`."""
    if environment.kind == "oldest":
        return [f"{need.name}=={oldest_with_a_wheel(python, need, log)}" for need in needs]
    return ["--pre"] * (environment.kind == "pre") + [f"{need.name}>={need.oldest}" for need in needs]


VERSIONS = """
import importlib.metadata, sys
print("python=" + sys.version.split()[0])
for name in sys.argv[1:]:
    print(name + "=" + importlib.metadata.version(name))
"""


def tried(environment, needs, folder, is_quick):
    """Make an environment and run the tests in it."""
    place = folder / environment.name.replace(" ", "-")
    place.mkdir()
    log, report, began = place / "log", place / "report.xml", time.monotonic()

    def row(trouble="", versions=(), counts=None, failures=()):
        numbers = counts or dict.fromkeys(("passed", "failed", "skipped", "warnings"), 0)
        return Row(
            environment,
            dict(versions),
            **numbers,
            seconds=time.monotonic() - began,
            trouble=trouble,
            failures=tuple(failures),
        )

    if command([environment.python, "-m", "venv", place / "venv"], INSTALL_SECONDS, log) != 0:
        return row(f"no environment could be made:\n{tail(log)}")
    python = str(place / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    names = wanted(environment, python, needs, log)
    if command([python, "-m", "pip", "install", "-q", "--only-binary=:all:", *names], INSTALL_SECONDS, log) != 0:
        return row(f"pip could not install {' '.join(names)}; is a package index within reach?\n{tail(log)}")
    listed = subprocess.run(
        [python, "-c", VERSIONS, *(need.library for need in needs), "llvmlite"],
        capture_output=True,
        text=True,
        check=True,
    )
    versions = dict(line.split("=") for line in listed.stdout.split())
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    status = command(
        [python, *pytest, *options(environment, is_quick)],
        TEST_SECONDS[is_quick],
        log,
        FASTBP_CACHE_DIR=str(place),
        TMPDIR=str(place),
    )
    counts, failures = read(report, log)
    if status is None or not (status in (0, 1) and counts["passed"]):
        return row(f"the tests ended with {status}:\n{tail(log, 30)}", versions, counts, failures)
    return row("", versions, counts, failures)


def options(environment, is_quick):
    """What pytest is told: the files, and what is no failure there."""
    announced = [f"-Wdefault::{name}" for name in ANNOUNCEMENTS] if environment.kind == "pre" else []
    quickly = ["-m", "not slow"] if is_quick else []
    return [*announced, *quickly, *QUICK, *(() if is_quick else MORE)]


def read(report, log):
    """What a report of pytest counts, and which tests failed."""
    counts = dict.fromkeys(("passed", "failed", "skipped", "warnings"), 0)
    if not report.exists():
        return counts, []
    failures = []
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[kind] += 1
        if kind == "failed":
            failures.append(f"{case.get('classname')}::{case.get('name')}")
    found = re.findall(r"(\d+) warnings? in ", tail(log, 1))
    counts["warnings"] = int(found[-1]) if found else 0
    return counts, failures


# ---- The table -----------------------------------------------------------------------------------------------------

COLUMNS = ("numpy", "scipy", "numba", "llvmlite", "scikit-learn")


def table(rows):
    """The rows in Markdown."""
    head = ["environment", "Python", *COLUMNS, "passed", "failed", "skipped", "warnings", "seconds"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        versions = [row.versions.get(name, "") for name in ("python", *COLUMNS)]
        numbers = [row.passed, row.failed, row.skipped, row.warnings, round(row.seconds)]
        lines.append([row.environment.kind, *versions, *map(str, numbers)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(text, page):
    """Put a table into a page, between its marks."""
    whole = page.read_text(encoding="utf-8")
    begin = whole.index(MARKS[0]) + len(MARKS[0])
    page.write_text(f"{whole[:begin]}{text}\n{whole[whole.index(MARKS[1], begin) :]}", encoding="utf-8")


def others(rows):
    """The versions that have no column, in a line for each environment."""
    for row in rows:
        rest = [f"{name} {version}" for name, version in row.versions.items() if name not in ("python", *COLUMNS)]
        if rest:
            yield f"{row.environment.name}: {', '.join(rest)}"


def all_tried(some, needs, folder, chosen):
    """Make all environments, and say how each went; what runs ends with this command."""
    rows = []
    with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
        try:
            for row in pool.map(lambda one: tried(one, needs, folder, chosen.quick), some):
                rows.append(row)
                counts = f"{row.passed} passed, {row.failed} failed, {row.seconds:.0f} s"
                print(f"{row.environment.name}: {counts}", flush=True)
                for line in [*row.failures, *row.trouble.splitlines()]:
                    print(f"    {line}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            programs.end_all()
            raise
    return rows


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer tests")
    parser.add_argument("--only", default="", help="environments whose name contains this: oldest, newest, 3.12")
    parser.add_argument("--pre", action="store_true", help="pre-releases as well, with the newest Python")
    parser.add_argument("--jobs", type=int, default=1, choices=range(1, MOST_AT_ONCE + 1), help="how many at once")
    parser.add_argument("--write", action="store_true", help="put the table into docs/trust.md")
    parser.add_argument("--list", action="store_true", help="print the environments and make none")
    chosen = parser.parse_args(arguments)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needs = requirements(text)
    found = pythons(oldest_python(text))
    some = [one for one in environments(found, chosen.pre) if chosen.only in one.name]
    if chosen.list or not some:
        print("\n".join(f"{one.name}: {one.python}" for one in some) or f"no environment is called {chosen.only!r}")
        return int(not some)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing stays behind
    folder = Path(tempfile.mkdtemp(prefix="fastbp-versions-"))
    try:
        rows = all_tried(some, needs, folder, chosen)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)
    print("", table(rows), "", *others(rows), sep="\n")
    if chosen.write:
        write(table(rows), PAGE)
    return int(any(row.failed or row.trouble for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
