"""Sums over the lanes of a vector that holds a block of rows, and the largest number of each row.

Lane i is column ``i % 2^pitch`` of row ``i >> pitch``.  Lanes are exchanged in pairs, one bit of their numbers after
the other, so that every lane of a row or column gets the same bits.  Each exchange is written out: with a distance that
is known, it is an instruction of its own and needs no table of indices.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.vectors.values import choose, exclusive, permuted


@leaf
def plus_partner(x, lane, distance):
    """x[i] + x[i ^ distance] in lane i."""
    return x + permuted(x, exclusive(lane, distance))


@leaf
def sum_of_columns(x, pitch, lane, n_lanes):
    """In each lane the sum over the lanes of its column, where rows are 2^pitch lanes long."""
    if pitch == 0:
        x = plus_partner(x, lane, 1)
    if pitch <= 1 and n_lanes > 2:
        x = plus_partner(x, lane, 2)
    if pitch <= 2 and n_lanes > 4:
        x = plus_partner(x, lane, 4)
    if pitch <= 3 and n_lanes > 8:
        x = plus_partner(x, lane, 8)
    return x


@leaf
def sum_of_rows(x, pitch, lane):
    """In each lane the sum over the lanes of its row."""
    if pitch >= 1:
        x = plus_partner(x, lane, 1)
    if pitch >= 2:
        x = plus_partner(x, lane, 2)
    if pitch >= 3:
        x = plus_partner(x, lane, 4)
    if pitch >= 4:
        x = plus_partner(x, lane, 8)
    return x


@leaf
def greater_partner(x, lane, distance):
    """The greater of x[i] and x[i ^ distance] in lane i; where one is NaN, that or the other."""
    y = permuted(x, exclusive(lane, distance))
    return choose(x < y, y, x)


@leaf
def largest_of_rows(x, pitch, lane):
    """In each lane the largest number of its row."""
    if pitch >= 1:
        x = greater_partner(x, lane, 1)
    if pitch >= 2:
        x = greater_partner(x, lane, 2)
    if pitch >= 3:
        x = greater_partner(x, lane, 4)
    if pitch >= 4:
        x = greater_partner(x, lane, 8)
    return x
