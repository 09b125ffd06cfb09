"""Runs of neurons with one activation, as the kernels' tables have them."""

from typing import NamedTuple


class Segment(NamedTuple):
    """Neighbouring neurons of a layer with one activation."""

    begin: int
    end: int
    code: int
    forward: int = 0  # addresses of a user's compiled activation
    backward: int = 0
    needs_z: bool = False  # whether the derivative is computed from z
    second: int = 0  # addresses of a user's compiled second and third derivative
    third: int = 0
