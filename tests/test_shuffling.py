"""The fast shuffles beside Python's and NumPy's own."""

import random

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import shuffling
from fastbp.nielsen import shuffling as pythons_shuffling

# ---- Python's --------------------------------------------------------------------------------------------------------


def test_this_python_shuffles_as_expected():
    """If this fails, a new Python draws in another way: results stay right, and epochs take longer."""
    assert pythons_shuffling._is_pythons_shuffle()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 1023, 1024, 1025, 5000])
def test_it_is_pythons_shuffle(n):
    ours, pythons = list(range(n)), list(range(n))
    for seed in range(3):
        random.seed(seed)
        random.shuffle(pythons)
        after = random.getstate()
        random.seed(seed)
        pythons_shuffling.shuffle(ours)
        assert ours == pythons
        assert random.getstate() == after


def test_a_python_that_draws_otherwise_is_obeyed(monkeypatch):
    monkeypatch.setattr(pythons_shuffling, "_is_pythons_shuffle", lambda: False)
    monkeypatch.setattr(pythons_shuffling, "_fisher_yates", None)
    ours, pythons = list(range(100)), list(range(100))
    random.seed(3)
    random.shuffle(pythons)
    random.seed(3)
    pythons_shuffling.shuffle(ours)
    assert ours == pythons


def test_a_program_that_replaces_shuffle_is_obeyed(monkeypatch):
    monkeypatch.setattr(random, "shuffle", lambda x: x.reverse())
    places = [1, 2, 3]
    pythons_shuffling.shuffle(places)
    assert places == [3, 2, 1]


def test_another_way_of_drawing_is_noticed(monkeypatch):
    class Other(random.Random):
        def shuffle(self, x):
            super().shuffle(x)
            x.reverse()

    monkeypatch.setattr(random, "Random", Other)
    assert not pythons_shuffling._is_pythons_shuffle.__wrapped__()


# ---- NumPy's ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    return bp.Network([1, 1])._passes.training_frame(2, np.zeros((4, 1)))


def test_this_numpy_permutes_as_expected():
    """If this fails, a new NumPy draws in another way: results stay right, and epochs take longer."""
    assert shuffling._is_numpys_permutation()


@pytest.mark.parametrize("n", [511, 512, 513, 1000, 1023, 1024, 1025, 4097, 60_000])
@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox])
def test_it_is_numpys_permutation(frame, generator, n):
    ours, numpys = (np.random.Generator(generator(3)) for _ in range(2))
    for _ in range(3):
        order = shuffling.permutation(ours, n, frame)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(order, numpys.permutation(n))
    assert ours.integers(1 << 62) == numpys.integers(1 << 62)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65])
def test_few_rows_are_shuffled_by_the_kernel_as_well(frame, n):
    ours, numpys = np.random.default_rng(8), np.random.default_rng(8)
    order = np.full(n, -1)
    frame.shuffle_rows(order, ours.bit_generator)
    np.testing.assert_array_equal(order, numpys.permutation(n))
    assert ours.bit_generator.state == numpys.bit_generator.state


def test_a_numpy_that_draws_otherwise_is_obeyed(frame, monkeypatch):
    monkeypatch.setattr(shuffling, "_is_numpys_permutation", lambda: False)
    monkeypatch.setattr(frame, "shuffle_rows", None)
    expected = np.random.default_rng(2).permutation(600)
    np.testing.assert_array_equal(shuffling.permutation(np.random.default_rng(2), 600, frame), expected)


def test_another_permutation_is_noticed(monkeypatch):
    class Other(np.random.Generator):
        def permutation(self, n):
            return super().permutation(n)[::-1]

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Other(np.random.PCG64(seed)))
    assert not shuffling._is_numpys_permutation.__wrapped__()
