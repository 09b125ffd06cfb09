"""Python's `random.shuffle`, several times faster: the same random numbers and order."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable


def shuffle(places: list[int]) -> None:
    """Shuffle a list in place as ``random.shuffle(places)`` does, and leave `random` in the same state."""
    replaced = getattr(random.shuffle, "__func__", None) is not random.Random.shuffle  # by the program that runs
    if replaced or not _is_pythons_shuffle():
        random.shuffle(places)
    else:
        _fisher_yates(places, random.getrandbits)


def _fisher_yates(places: list[int], bits: Callable[[int], int]) -> None:
    """Exchange each entry, from the last one down, with one of those up to it; see Knuth, TAOCP 2, algorithm 3.4.2 P.

    One of i + 1 places is drawn as Python's own `random` draws it: it takes as many random bits as the number i + 1
    has, and takes new ones until they are a number of at most i.  The number of bits is the same for long runs of i, so
    no function needs to be called to find it: that is all of the time saved.
    """
    last = len(places) - 1
    while last > 0:
        n_bits = (last + 1).bit_length()
        first = max(1, (1 << (n_bits - 1)) - 1)  # the smallest i with as many bits in i + 1
        for i in range(last, first - 1, -1):
            j = bits(n_bits)
            while j > i:
                j = bits(n_bits)
            places[i], places[j] = places[j], places[i]
        last = first - 1


@functools.cache
def _is_pythons_shuffle() -> bool:
    """Whether this Python's `random` still draws so; the standard library does not promise it."""
    ours, pythons = list(range(50)), list(range(50))
    left, right = random.Random(0), random.Random(0)
    _fisher_yates(ours, left.getrandbits)
    right.shuffle(pythons)
    return ours == pythons and left.getstate() == right.getstate()
