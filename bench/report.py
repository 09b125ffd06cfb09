"""Turn saved results, of one run or several, into tables and pictures: ``python -m bench.report results.json``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.instruction_sets import title
from bench.sections import SECTIONS
from bench.tables import BY_TURNS, Results, machine_text, records


def merged(runs: Sequence[Results]) -> Results:
    """Several runs of one machine as one: of each benchmark the run in which it was quickest, and all runs beside them.

    A ratio of two rows may therefore be one of two runs.
    """
    first, *others = [machine_text(run) for run in runs]
    for other in others:
        if other != first:
            raise ValueError(f"{first} and {other} cannot be put together")
    best: dict[str, Any] = {}
    for results in runs:
        for record in results["benchmarks"]:
            known = best.setdefault(record["fullname"], record)
            if record["stats"]["min"] < known["stats"]["min"]:
                best[record["fullname"]] = record
    return runs[0] | {"benchmarks": list(best.values()), "runs": list(runs)}


def _of_libraries(results: Results, fact: str) -> dict[str, str]:
    """A fact of each library, where it has several all of them."""
    found: dict[str, dict[str, None]] = {}
    for record in results["benchmarks"]:
        info = record["extra_info"]
        if fact in info:
            found.setdefault(info.get("library", record["name"]), {})[info[fact]] = None
    return {library: " / ".join(texts) for library, texts in found.items()}


def _instruction_sets(results: Results) -> list[str]:
    """What the libraries said of their instruction sets, and a warning where they did not agree."""
    shows = _of_libraries(results, "shows")
    if not shows:
        return []
    used = {each for record in results["benchmarks"] for each in record["extra_info"].get("uses", ())}
    lines = ["What each library's process showed of its instruction set:", ""]
    lines += [f"- {library}: {text}" for library, text in shows.items()]
    if len(used) > 1:
        names = " and ".join(title(each) for each in sorted(used))
        lines += ["", f"**Not all libraries used the same set: {names}.** `--isa` holds them to one."]
    return [*lines, ""]


def render(results: Results) -> str:
    """All tables as Markdown."""
    machine, versions = results["machine_info"], _of_libraries(results, "version")
    n_runs = len(results.get("runs", ()))
    in_runs = f" in the runs that measured them, {n_runs} at most" if n_runs > 1 else ""
    of_runs = ", of several runs the median of theirs" if n_runs > 1 else ""
    where = machine_text(results)
    head = [
        "# Benchmarks",
        "",
        f"{where}, {machine.get('cpu', {}).get('count', '?')} cores, Python {machine.get('python_version', '?')}, "
        f"{results['datetime'][:10]}",
        "",
        *(
            ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()), ""]
            if versions
            else []
        ),
        *_instruction_sets(results),
        f"Times are the shortest of several rounds{in_runs}, measured inside each library's own process, with the "
        "number of threads that suits the library best. The libraries of a group are asked in turn, a few rounds at a "
        f"time. `times faster` is the ratio of the shortest rounds to fastbp's; `{BY_TURNS}` is the median over the "
        "turns of the time of the quickest of the others over fastbp's, each by the shortest round of the same "
        f"turn{of_runs}. `first call` is what the first call took more than the second one.",
        "",
    ]
    sections = [section(results) for kind, section in SECTIONS.items() if records(results, kind)]
    return "\n".join([*head, *(section.replace("\n", f"\n\n*{where}.*\n", 1) for section in sections)])


def draw(results: Results, beginning: Path) -> dict[str, Path]:
    """Draw the pictures whose records there are; their files, by kind. Without matplotlib there are none."""
    if not importlib.util.find_spec("matplotlib"):
        return {}
    from bench.pictures import PICTURES

    paths = {
        kind: beginning.with_name(f"{beginning.name}-{kind.replace(' ', '-')}.png")
        for kind in PICTURES
        if records(results, kind)
    }
    for kind, path in paths.items():
        PICTURES[kind](results, path)
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables (`NAME.md`) and pictures beside the first results, or into another folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="+", help="written by pytest --benchmark-json=FILE; several runs are put together"
    )
    parser.add_argument("--folder", type=Path, help="where to write; by default beside the results")
    parser.add_argument("--name", help="how the files' names begin; by default as that of the first results")
    options = parser.parse_args(argv)
    try:
        results = merged([json.loads(path.read_text(encoding="utf-8")) for path in options.results])
        text = render(results)
    except (OSError, ValueError, KeyError) as error:
        names = ", ".join(map(str, options.results))
        print(f"report: {names} holds no results of the benchmarks: {error!r}", file=sys.stderr)
        return 2
    first = options.results[0]
    folder = options.folder or first.parent
    folder.mkdir(parents=True, exist_ok=True)
    name = options.name or first.stem
    pictures = draw(results, folder / name)
    text += "".join(f"\n![{kind}]({path.name})\n" for kind, path in pictures.items())
    written = folder / f"{name}.md"
    written.write_text(text, encoding="utf-8")
    print(text)
    print("written:", ", ".join(map(str, (written, *pictures.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
