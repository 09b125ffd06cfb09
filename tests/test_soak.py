"""The soak test in seconds, and what each call leaves behind, counted instead of waited for."""

import gc
import threading
import tracemalloc

import pytest

from fastbp.engine.helpers import helpers
from tests import soak
from tests.fresh import run_python


def test_threads_work_for_some_seconds():
    """The bits stay the same; so little time says nothing about the memory."""
    code = """
from tests.soak import soak
print(soak(3.0, n_threads=3)[2] > 9)
"""
    assert run_python(code) == "True\n"


def test_the_command():
    code = """
from tests import soak
soak.resident_bytes = lambda: next(sizes)
for second_half, expected in ((999_999, 0), (1_000_000, 1)):
    sizes = iter([5_000_000, 5_000_000 + second_half])
    assert soak.main(["--minutes", "0.005", "--threads", "1"]) == expected
"""
    lines = run_python(code).splitlines()
    assert [line.split("; ")[1] for line in lines] == [
        "resident 5.0 MB at half time, 6.0 MB at the end",
        "resident 5.0 MB at half time, 6.0 MB at the end",
    ]


def wait_for_helpers():
    """Have every helper thread take all that it was lent: a late one still holds the arrays of a call that is over."""
    if helpers.n_started:
        meeting = threading.Barrier(helpers.n_started + 1, timeout=100)
        helpers.lend([meeting.wait] * helpers.n_started)
        meeting.wait()


@pytest.mark.parametrize("kind", range(9))
def test_no_call_leaves_memory_behind(kind, tmp_path):
    """Some calls to warm up, then as many again: what Python and NumPy have allocated is the same."""
    kinds = soak.kinds_of_work(tmp_path)
    assert len(kinds) == 9
    work = kinds[kind]
    for _ in range(3):
        work()
    tracemalloc.start()
    try:
        work()  # also fills caches that tracemalloc had not seen before
        wait_for_helpers()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            work()
        wait_for_helpers()
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert growth < 20_000  # a leaked vector of parameters has at least 8 KB, five of them more than that
