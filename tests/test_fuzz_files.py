"""A short run of `tests.fuzz_files`; the long one is the command ``python -m tests.fuzz_files``."""

import pytest

from tests.fuzz_files import BLIND, KNOWING, fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mutated_file_is_an_error_or_a_network(seed, tmp_path):
    found = fuzz(500, seed, tmp_path)
    assert sum(found.values()) == 500
    assert all(found[mutation.__name__, "error"] for mutation in BLIND + KNOWING)
    assert all(found[mutation.__name__, "network"] for mutation in KNOWING if mutation.__name__ != "nested")
    assert not any(found[mutation.__name__, "network"] for mutation in BLIND)  # the checksum sees them


@pytest.mark.slow
def test_many_mutated_files(tmp_path):
    assert sum(fuzz(7_000, 3, tmp_path).values()) == 7_000  # each by three doors
