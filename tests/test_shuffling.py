"""The fast shuffle beside Python's own."""

import random

import pytest

from fastbp import shuffling


def test_this_python_shuffles_as_expected():
    """If this fails, a new Python draws in another way: results stay right, and epochs take longer."""
    assert shuffling._is_pythons_shuffle()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 1023, 1024, 1025, 5000])
def test_it_is_pythons_shuffle(n):
    ours, pythons = list(range(n)), list(range(n))
    for seed in range(3):
        random.seed(seed)
        random.shuffle(pythons)
        after = random.getstate()
        random.seed(seed)
        shuffling.shuffle(ours)
        assert ours == pythons
        assert random.getstate() == after


def test_a_python_that_draws_otherwise_is_obeyed(monkeypatch):
    monkeypatch.setattr(shuffling, "_is_pythons_shuffle", lambda: False)
    monkeypatch.setattr(shuffling, "_fisher_yates", None)
    ours, pythons = list(range(100)), list(range(100))
    random.seed(3)
    random.shuffle(pythons)
    random.seed(3)
    shuffling.shuffle(ours)
    assert ours == pythons


def test_a_program_that_replaces_shuffle_is_obeyed(monkeypatch):
    monkeypatch.setattr(random, "shuffle", lambda x: x.reverse())
    places = [1, 2, 3]
    shuffling.shuffle(places)
    assert places == [3, 2, 1]


def test_another_way_of_drawing_is_noticed(monkeypatch):
    class Other(random.Random):
        def shuffle(self, x):
            super().shuffle(x)
            x.reverse()

    monkeypatch.setattr(random, "Random", Other)
    assert not shuffling._is_pythons_shuffle.__wrapped__()
