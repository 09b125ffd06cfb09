"""NumPy's `permutation`, several times faster: the same random numbers and order."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import FEWEST_SHUFFLED_ROWS
from fastbp.engine.frame import Frame

_MOST_ROWS = 1 << 32  # NumPy draws 32 bits for a place among so many


def permutation(rng: np.random.Generator, n_rows: int, frame: Frame) -> NDArray[np.int64]:
    """Return ``rng.permutation(n_rows)`` and leave `rng` in the same state; the frame's kernel does it."""
    if n_rows < FEWEST_SHUFFLED_ROWS or not kernel_draws_permutation(n_rows):
        return rng.permutation(n_rows)
    order = np.empty(n_rows, np.int64)
    frame.shuffle_rows(order, rng.bit_generator)
    return order


def kernel_draws_permutation(n_rows: int) -> bool:
    """Whether `fastbp.kernels.machine.random_order` draws the orders of so many rows as this NumPy does."""
    return n_rows <= _MOST_ROWS and _is_numpys_permutation()


def kernel_shuffles(n_rows: int) -> bool:
    """Whether the same kernel shuffles so many rows as this NumPy's ``RandomState.shuffle`` does."""
    return n_rows <= _MOST_ROWS and _is_numpys_shuffle()


def bits_of(rng: np.random.RandomState) -> np.random.BitGenerator | None:
    """Return the source of a generator's random numbers, or None where NumPy does not say."""
    bits: np.random.BitGenerator | None = getattr(rng, "_bit_generator", None)
    return bits


@functools.cache
def _is_numpys_permutation() -> bool:
    """Whether this NumPy draws as `fastbp.kernels.machine.random_order` does; it does not promise it."""
    left, right = np.random.default_rng(0), np.random.default_rng(0)
    order = _drawn(left.bit_generator, 50)
    return bool(order == right.permutation(50).tolist()) and left.integers(1 << 31) == right.integers(1 << 31)


@functools.cache
def _is_numpys_shuffle() -> bool:
    left, right = np.random.RandomState(0), np.random.RandomState(0)
    bits, expected = bits_of(left), np.arange(50)
    right.shuffle(expected)
    return (
        bits is not None and _drawn(bits, 50) == expected.tolist() and left.randint(1 << 31) == right.randint(1 << 31)
    )


def _drawn(bits: np.random.BitGenerator, n_rows: int) -> list[int]:
    """Return a random order as the kernel draws it."""
    interface, order = bits.ctypes, list(range(n_rows))
    for i in range(n_rows - 1, 0, -1):
        j = i + 1
        while j > i:
            j = interface.next_uint32(interface.state) & ((1 << i.bit_length()) - 1)
        order[i], order[j] = order[j], order[i]
    return order
