"""The door from Python for the outputs of many networks for a few rows, which their evaluators make one by one."""

import numba

from fastbp.kernels.compiler.jit import typed_root
from fastbp.kernels.machine.calls import call_evaluator
from fastbp.kernels.machine.pointers import at, int64_from_address
from fastbp.kernels.tables import evaluator as in_table


def _types(real):
    """Types of the arguments for networks of a dtype: x may be read-only."""
    x, out = numba.types.Array(real, 1, "C", readonly=True), numba.types.Array(real, 1, "C")
    return x, out, numba.types.Array(numba.types.int64, 1, "C"), numba.types.int64


@typed_root(_types)
def run(x, out, pointers, n):
    """Outputs of n rows x, network after network, by the addresses of their tables; False where lengths do not fit."""
    size = 0
    for pointer in pointers:
        table = int64_from_address(pointer)
        size += n * table[in_table.N_OUTPUTS]
        if x.size != n * table[in_table.N_INPUTS]:
            return False
    if out.size != size:
        return False
    done = 0
    for pointer in pointers:
        table = int64_from_address(pointer)
        call_evaluator(table[in_table.FUNCTION], in_table.OUTPUTS, table, at(x, 0), 0, at(out, done), n)
        done += n * table[in_table.N_OUTPUTS]
    return True
