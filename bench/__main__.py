"""Measure everything and write the report: ``python -m bench``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import instruction_sets, report

REPOSITORY = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks, save their results, and write tables and pictures beside them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--isa",
        choices=instruction_sets.CHOICES,
        default=instruction_sets.NATIVE,
        help="the instruction set that fastbp and every other library are held to; native is what each of them takes",
    )
    parser.add_argument("--results", type=Path, help="file to write (the instruction set's name with .json)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="how often, with one report of all (1)")
    parser.add_argument(
        "--quick", action="store_true", help="one short round of the small shapes: does everything run?"
    )
    parser.add_argument("--million", action="store_true", help="also a million parameters, a quarter of an hour")
    parser.add_argument("--large", action="store_true", help="also 4 GB of rows in a file, on Dask workers of 1 GiB")
    parser.add_argument("-k", metavar="EXPRESSION", help="only the benchmarks that pytest's -k selects")
    options = parser.parse_args(argv)
    reason = instruction_sets.why_not_here(options.isa)
    if reason:
        print(f"bench: nothing is measured: {reason}", file=sys.stderr)
        return 2
    results = (options.results or Path(f"{options.isa}.json")).resolve()
    results.parent.mkdir(parents=True, exist_ok=True)
    files = [results] if options.runs <= 1 else [
        results.with_name(f"{results.stem}-{run}{results.suffix}") for run in range(1, options.runs + 1)
    ]  # fmt: skip
    status = max(_measure(file, options) for file in files)
    found = [str(file) for file in files if file.exists() and file.stat().st_size]
    if not found:
        return status or 1
    # what was measured is reported, even if a benchmark failed
    return report.main([*found, "--name", results.stem]) or status


def _measure(results: Path, options: argparse.Namespace) -> int:
    """One run of pytest, which writes a file; its status."""
    # addopts is emptied: it asks for doctests, of which the benchmarks have none.
    command = [sys.executable, "-m", "pytest", "bench", "-rs", "-o", "addopts=--strict-markers", "--benchmark-only"]
    command += ["--benchmark-columns=min,median,rounds", f"--benchmark-json={results}", f"--isa={options.isa}"]
    command += [f"--{name}" for name in ("quick", "million", "large") if getattr(options, name)]
    command += ["-k", options.k] if options.k else []
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
