"""Measure everything and write the report: ``python -m bench``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report

REPOSITORY = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks, save their results, and write tables and pictures beside them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results.json"), help="file to write (%(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="one short round of the small shapes: does everything run?"
    )
    parser.add_argument("--million", action="store_true", help="also a million parameters, a quarter of an hour")
    parser.add_argument("-k", metavar="EXPRESSION", help="only the benchmarks that pytest's -k selects")
    options = parser.parse_args(argv)
    results = options.results.resolve()
    results.parent.mkdir(parents=True, exist_ok=True)
    # addopts is emptied: it asks for doctests, of which the benchmarks have none.
    command = [sys.executable, "-m", "pytest", "bench", "-rs", "-o", "addopts=--strict-markers", "--benchmark-only"]
    command += ["--benchmark-columns=min,median,rounds", f"--benchmark-json={results}"]
    command += [f"--{name}" for name in ("quick", "million") if getattr(options, name)]
    command += ["-k", options.k] if options.k else []
    status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if not results.exists() or not results.stat().st_size:
        return status or 1
    return report.main([str(results)]) or status  # what was measured is reported, even if a benchmark failed


if __name__ == "__main__":
    sys.exit(main())
