"""Turn saved results into tables and pictures: ``python -m bench.report results.json``."""

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


def render(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    machine = results["machine_info"]
    cpu = machine.get("cpu", {})
    versions = {
        record["name"]: record["extra_info"]["version"]
        for record in results["benchmarks"]
        if "version" in record["extra_info"]
    }
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
        "Times are the shortest of several rounds, measured inside each library's own process, with the number of "
        "threads that suits the library best. `first call` is what the first call took more than the second one.",
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
    """Write `results.md` and the pictures beside the results, or into another folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", type=Path, help="written by pytest --benchmark-json=FILE")
    parser.add_argument("--folder", type=Path, help="where to write; by default beside the results")
    options = parser.parse_args(argv)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        text = render(results)
    except (OSError, ValueError, KeyError) as error:
        print(f"report: {options.results} holds no results of the benchmarks: {error!r}", file=sys.stderr)
        return 2
    folder = options.folder or options.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(results, folder / options.results.stem)
    text += "".join(f"\n![{kind}]({path.name})\n" for kind, path in pictures.items())
    written = folder / f"{options.results.stem}.md"
    written.write_text(text, encoding="utf-8")
    print(text)
    print("written:", ", ".join(map(str, (written, *pictures.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
