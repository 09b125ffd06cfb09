"""What the threads of a job share, and how its work is cut into pieces."""

from typing import Any, NamedTuple

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.layers.net import Net


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
def bound(total, n_pieces, p, align):
    """Where piece p of a range begins: multiples of `align`, the last piece ends at `total`."""
    if p == n_pieces:
        return total
    return (total * p // n_pieces) // align * align


@leaf
def region_argument(job, index):
    """An argument of the open region."""
    return job.control[index]
