"""The door from Python for the outputs of one row, which the evaluator makes."""

import numba

from fastbp.kernels.compiler.jit import typed_root
from fastbp.kernels.machine.calls import call_evaluator
from fastbp.kernels.machine.pointers import at, int64_from_address
from fastbp.kernels.tables import evaluator as in_table


def _types(real):
    """Types of the arguments for networks of a dtype: x may be read-only."""
    x, out = numba.types.Array(real, 1, "C", readonly=True), numba.types.Array(real, 1, "C")
    return x, out, numba.types.int64


@typed_root(_types)
def run(x, out, pointer):
    """Outputs of row x into `out`, by a network's table at an address; False where their lengths do not fit."""
    table = int64_from_address(pointer)
    if x.size != table[in_table.N_INPUTS] or out.size != table[in_table.N_OUTPUTS]:
        return False
    call_evaluator(table[in_table.FUNCTION], in_table.OUTPUTS, table, at(x, 0), 0, at(out, 0), 1)
    return True
