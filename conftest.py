"""For tests and docstrings alike: pictures are drawn without a screen, and none stays open after its test."""

import os
import sys

import pytest

os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """Close what a test drew: pyplot keeps every figure, and warns when they are many."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
