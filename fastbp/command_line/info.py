"""``fastbp info``: what fastbp runs on, for people or for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import fastbp as bp
from fastbp.command_line.options import Parser
from fastbp.environment import facts

__all__ = ["run"]


def run(words: Sequence[str], program: str) -> int:
    """Print what `fastbp.show_versions` prints, or the same as JSON."""
    parser = Parser(
        prog=f"{program} info",
        description="Show versions, processor, threads and the folder of compiled kernels; put it into reports\n"
        "of errors. In Python, fastbp.show_versions() prints the same.",
        epilog=f"example:\n  {program} info --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    if parser.parse_args(words).json:
        print(json.dumps(facts(), indent=2))
    else:
        bp.show_versions()
    return 0
