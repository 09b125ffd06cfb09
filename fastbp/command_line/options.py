"""What the commands' options are made of: a parser whose errors are one line, and converters of their texts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

__all__ = [
    "Parser",
    "UsageError",
    "at_least",
    "layer_sizes",
    "number_of_at_least_0",
    "positive_number",
    "share",
    "share_above_0",
    "time_text",
]


_LARGEST_SIZE = 2**31 - 1  # of a layer, as of a network's


class UsageError(Exception):
    """The options or the file are wrong; the message is one line."""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the summary of all options."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process, so that `main` may be called from Python."""
        raise UsageError(message)


def layer_sizes(text: str) -> list[int]:
    """Return sizes from text such as 128,64."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"must be sizes above 0 such as 100 or 128,64; got {text!r}")
    if max(map(int, parts)) > _LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"must be sizes of at most {_LARGEST_SIZE}; got {text!r}")
    return [int(part) for part in parts]


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a converter of integers."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}; got {text!r}")
        if most is not None and number > most:
            raise argparse.ArgumentTypeError(f"must be an integer of at most {most}; got {text!r}")
        return number

    return convert


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return number


def share(text: str) -> float:
    """Return a number in [0, 1)."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0 and below 1; got {text!r}")
    return number


def number_of_at_least_0(text: str) -> float:
    """Return a finite number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0; got {text!r}")
    return number


def time_text(seconds: float) -> str:
    """Return a time with three digits and the unit that fits."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * length:  # which three digits would round to 1000 of the smaller unit
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def share_above_0(text: str) -> float:
    """Return a number between 0 and 1."""
    if (number := share(text)) == 0.0:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and below 1; got {text!r}")
    return number
