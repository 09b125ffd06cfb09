"""A compiled network as a function of C in a form that other libraries ask for."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numba
import numpy as np
import scipy
from numba import types

from fastbp.engine import evaluator as ev
from fastbp.kernels.machine.calls import call_evaluator
from fastbp.kernels.machine.pointers import int64_from_address
from fastbp.kernels.matrix.tiles import scratch


class _Data(ctypes.c_void_p):
    """A pointer that keeps alive what it points to."""

    owner: Any = None


@functools.cache
def _integrand() -> Any:
    """Return ``double f(int n, double *x, void *net)``, compiled once in a process."""

    @numba.cfunc(types.float64(types.intc, types.CPointer(types.float64), types.voidptr))
    def output(n, x, net):  # type: ignore[no-untyped-def]
        table, out = int64_from_address(net), scratch(x, 1)
        if n != table[ev.N_INPUTS]:
            return np.nan
        call_evaluator(table[ev.FUNCTION], ev.OUTPUTS, table, x, 0, out, 1)
        return out[0]

    return output


def low_level_callable(evaluator: ev.Evaluator) -> Any:
    """Return a float64 network of one output as SciPy's integrators call it; see `CompiledNetwork`."""
    return scipy.LowLevelCallable(_integrand().ctypes, _data_of(evaluator))


def _data_of(evaluator: ev.Evaluator) -> _Data:
    """Return the pointer that goes with it."""
    data = _Data(evaluator.pointer)
    data.owner = evaluator
    return data
