"""Kernels compiled ahead of their first use, and a line for those who wait because they are not."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

import fastbp as bp
from fastbp.command_line.options import Parser, time_text
from fastbp.kernels.compiler.disk_cache import FIRST_USE
from fastbp.validation.arrays import DTYPES
from fastbp.warmup import ALL_KERNELS

__all__ = ["compile_ahead", "slow_start_explained"]


def compile_ahead(words: Sequence[str], program: str) -> int:
    """Compile the kernels, or load them from the disk, and say how long it took."""
    parser = Parser(
        prog=f"{program} warmup",
        description="Compile all kernels and keep them on disk, so that no later call has to wait for it.",
        allow_abbrev=False,
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the networks that will be used (both)")
    dtype = parser.parse_args(words).dtype
    with slow_start_explained(ALL_KERNELS):
        for name in DTYPES if dtype is None else (dtype,):
            print(f"{name}: ready after {time_text(bp.warmup(name)[name])}", flush=True)
    return 0


class _Explanation(logging.Handler):
    """Say once why nothing happens, when the first kernel is compiled."""

    def __init__(self, seconds: str) -> None:
        super().__init__(logging.INFO)
        self._is_said, self._seconds = False, seconds

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        if not self._is_said:
            self._is_said = True
            what = "compiling the kernels; they are kept on disk, so this happens once and takes"
            print(f"{what} {self._seconds} for each dtype", file=sys.stderr, flush=True)


@contextlib.contextmanager
def slow_start_explained(seconds: str = FIRST_USE) -> Iterator[None]:
    """Say that kernels are compiled, if they are."""
    logger, explanation = logging.getLogger("fastbp.kernels.compiler"), _Explanation(seconds)
    level = logger.level
    logger.addHandler(explanation)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(explanation)
