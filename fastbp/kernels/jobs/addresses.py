"""The table of addresses by which Python says where everything of a network lies, and what the kernels make of it."""

from fastbp.kernels.compiler.jit import inlined
from fastbp.kernels.jobs.job import Job
from fastbp.kernels.layers.net import Net
from fastbp.kernels.machine.pointers import from_address

# The tables of `fastbp.kernels.tables`, int64; then float64; then vectors of the network's dtype
LAYERS = 0
SEGMENTS = 1
PLAN = 2
DATA = 3
SCALARS = 4
COSTS = 5
PARAMS = 6
GRADS = 7
STATE = 8
WORK = 9
OUT = 10
N_ADDRESSES = 11


@inlined
def net_at(table, reals, doubles, control):
    """The network that a table of addresses describes; `reals` and `doubles` point to numbers of these types."""
    return Net(
        from_address(table[LAYERS], table),
        from_address(table[SEGMENTS], table),
        from_address(table[PLAN], table),
        from_address(table[DATA], table),
        from_address(table[PARAMS], reals),
        from_address(table[SCALARS], doubles),
        control,
    )


@inlined
def job_at(net, table, reals, doubles):
    """The job of a network that a table of addresses describes."""
    return Job(
        net,
        from_address(table[GRADS], reals),
        from_address(table[STATE], reals),
        from_address(table[WORK], reals),
        from_address(table[COSTS], doubles),
        from_address(table[OUT], reals),
        net.control,
    )
