"""Turn saved results, of one run or several, into tables and pictures: ``python -m bench.report results.json``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.sections import SECTIONS
from bench.tables import records


def merged(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several runs of one machine as one: of each benchmark the run in which it was quickest, and all runs beside them.

    A ratio of two rows may therefore be one of two runs.
    """
    best: dict[str, Any] = {}
    for results in runs:
        for record in results["benchmarks"]:
            known = best.setdefault(record["fullname"], record)
            if record["stats"]["min"] < known["stats"]["min"]:
                best[record["fullname"]] = record
    return runs[0] | {"benchmarks": list(best.values()), "runs": list(runs)}


def render(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    machine = results["machine_info"]
    cpu = machine.get("cpu", {})
    versions = {
        record["name"]: record["extra_info"]["version"]
        for record in results["benchmarks"]
        if "version" in record["extra_info"]
    }
    n_runs = len(results.get("runs", ()))
    in_runs = f" in the runs that measured them, {n_runs} at most" if n_runs > 1 else ""
    head = [
        "# Benchmarks",
        "",
        f"{cpu.get('brand_raw', machine.get('machine', 'unknown processor'))}, {cpu.get('count', '?')} cores, Python "
        f"{machine.get('python_version', '?')}, {results['datetime'][:10]}",
        "",
        *(
            ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()), ""]
            if versions
            else []
        ),
        f"Times are the shortest of several rounds{in_runs}, measured inside each library's own process, with the "
        "number of threads that suits the library best. `first call` is what the first call took more than the second "
        "one.",
        "",
    ]
    return "\n".join([*head, *(section(results) for kind, section in SECTIONS.items() if records(results, kind))])


def draw(results: dict[str, Any], beginning: Path) -> dict[str, Path]:
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
    """Write `results.md` and the pictures beside the first results, or into another folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="+", help="written by pytest --benchmark-json=FILE; several runs are put together"
    )
    parser.add_argument("--folder", type=Path, help="where to write; by default beside the results")
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
    pictures = draw(results, folder / first.stem)
    text += "".join(f"\n![{kind}]({path.name})\n" for kind, path in pictures.items())
    written = folder / f"{first.stem}.md"
    written.write_text(text, encoding="utf-8")
    print(text)
    print("written:", ", ".join(map(str, (written, *pictures.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
