"""Settings and fixtures shared by all tests."""

import os
import signal

import pytest
from hypothesis import settings

from tests.dask_clusters import client, cluster, pytest_runtest_teardown  # noqa: F401 # fixtures, and their end

# No deadline: the reference is slow by design and the first call of a kernel compiles it.
# Derandomised: a failure seen once is seen again, on every machine.
settings.register_profile("fastbp", deadline=None, derandomize=True)
settings.load_profile("fastbp")


_variables = os.environ.copy()


@pytest.fixture(autouse=True)
def environment():
    """The variables of the environment as they were when the tests began, before and after each test.

    Dask sets OMP_NUM_THREADS=1 here whenever it starts a process, be it in a fixture of a module or late, in a thread.
    """
    _restore_environment()
    yield
    _restore_environment()


def _restore_environment():
    wanted = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_")} | _variables
    if os.environ != wanted:
        os.environ.clear()
        os.environ.update(wanted)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Ctrl-C as Python has it, here and in child processes: jobs of a shell script, for instance, begin without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
