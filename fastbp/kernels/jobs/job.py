"""What the threads of a job share, and how its work is cut into pieces."""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.layers.passes import Net

_LARGEST_FLOAT = 1.7976931348623157e308


class Job(NamedTuple):
    """Pointers to everything that the threads of a job share."""

    net: Net
    grads: Any  # one gradient for each piece of rows
    state: Any  # the optimizer's state vectors
    work: Any  # one slot for each thread
    costs: Any  # float64, one for each piece
    out: Any  # outputs (n, n_outputs)
    control: Any  # see `fastbp.kernels.machine.team`


@leaf
def is_finite(x):
    """Whether x is neither NaN nor infinite.

    Not math.isfinite: that is x - x == 0, and where x is a sum, reassociation makes it true of every x.
    """
    return abs(x) <= _LARGEST_FLOAT


@leaf
def all_finite(n, x):
    """Whether no element is NaN or infinite."""
    n_wrong = 0
    for i in range(n):
        n_wrong += 0 if is_finite(np.float64(x[i])) else 1
    return n_wrong == 0


@leaf
def bound(total, n_pieces, p, align):
    """Where piece p of a range begins: multiples of `align`, the last piece ends at `total`."""
    if p == n_pieces:
        return total
    return (total * p // n_pieces) // align * align


@leaf
def region_argument(job, index):
    """An argument of the open region."""
    return job.control[index]
