"""Everything that a user hands in may change during a call: the right result or an error, and the process lives."""

import pytest

from tests.changed_meanwhile import KINDS
from tests.fresh import run_python

PROGRAMS = ["change_indices", "change_numbers", "change_in_place", "change_in_another_thread"]


def run(program, form):
    """Run a program of `tests.changed_meanwhile` in a fresh process, where a crash is an error code."""
    return run_python(f"""
import runpy, sys
sys.argv = ["", {program!r}, {form!r}]
runpy.run_module("tests.changed_meanwhile", run_name="__main__")
""")


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_arrays_change(program, form):
    assert run(program, form) == "[]\n"


def test_parameters_change():
    assert run("change_parameters", "dense") == "[]\n"
