"""One step of an optimizer by a gradient that was computed elsewhere, penalties included."""

import numba

from fastbp.kernels.compiler.jit import typed_root
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.pointers import at
from fastbp.kernels.optimizers.updates import Rule, Runs, update


def _types(real):
    """Types of the arguments for parameters of a dtype."""
    vector, double = numba.types.Array(real, 1, "C"), numba.types.float64
    constants = numba.types.Array(double, 1, "C")
    return numba.types.int64, constants, double, double, double, vector, vector, vector, vector


@typed_root(_types)
def run(optimizer, constants, rate, correction_1, correction_2, g, w, s1, s2):
    """w, s1 and s2 after a step by g, see `Rule`; False where lengths differ, but for state that the rule has not."""
    n = w.size
    if g.size != n or constants.size < 5:
        return False
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    rule = Rule(optimizer, at(constants, 0), rate, correction_1, correction_2)
    update(rule, Runs(1, n, n, n), at(g, 0), at(w, 0), at(s1, 0), at(s2, 0))
    set_float_mode(mode)
    return True
