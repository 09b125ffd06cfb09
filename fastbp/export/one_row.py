"""The outputs of one row, for programs that ask for them a million times a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import DENSE
from fastbp.engine.evaluator import Evaluator
from fastbp.kernels.roots import one_row
from fastbp.model.definition import problem_of
from fastbp.model.model import Model, passes_of
from fastbp.system.memory import require_own_shape

# Flops of a row that takes some 10 us: others may wait so long for the GIL, and a thread that lets go of it may have to
# wait for 5 ms (`sys.getswitchinterval`) until it has it again.
_SHORT_FLOPS = 1 << 19

Call = Callable[[NDArray[Any], NDArray[Any] | None], NDArray[Any]]


def one_row_of(net: Model) -> Call:
    """Return what `Network.predict_one` calls, for the parameters where they lie now."""
    require_own_shape(net)
    problem = problem_of(net)
    slow = _by_passes(net)
    if numba.config.DISABLE_JIT or problem.own or DENSE.flops_per_row(net.sizes) > _SHORT_FLOPS:
        return slow
    return _by_evaluator(net, Evaluator(problem, net.params, takes_labels=False), slow)


def _by_evaluator(net: Model, evaluator: Evaluator, slow: Call) -> Call:
    """Return a function with nothing in it but the call; `slow` takes or refuses what is not quite as it should be."""
    run, pointer, n_outputs, dtype = one_row.run.of(net.dtype), evaluator.pointer, net.sizes[-1], net.dtype
    array, empty = np.ndarray, np.empty

    def predict_one(x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        if out is None:
            out = empty(n_outputs, dtype)
        if type(x) is array is type(out) and x.dtype is dtype is out.dtype:
            try:  # Numba looks at dimension and layout, but takes other orders of bytes, and subclasses, for its own
                if run(x, out, pointer):
                    return out
            except TypeError:
                pass
        return slow(x, out)

    predict_one.evaluator = evaluator  # type: ignore[attr-defined] # which lives as long as its address is used
    return predict_one


def _by_passes(net: Model) -> Call:
    """Return a function that goes the way of `predict`: for wide networks, and for functions of the user's own."""
    passes, n_inputs, n_outputs, dtype = passes_of(net), net.sizes[0], net.sizes[-1], net.dtype

    def predict_one(x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        _require(x, "x", n_inputs, dtype)
        if out is not None:
            _require(out, "out", n_outputs, dtype, written=True)
        found: NDArray[Any] = passes.outputs(np.require(x[None], dtype, "A"), None)[0]
        if out is None:
            return found
        out[:] = found
        return out

    return predict_one


def _require(array: Any, name: str, n: int, dtype: np.dtype, *, written: bool = False) -> None:
    """Refuse what is no plain row of n numbers."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"`{name}` must not be a masked array, whose mask would be lost. Use .filled().")
    is_row = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 1
    if not is_row or not array.flags.c_contiguous or (written and not array.flags.writeable):
        got = type(array).__name__
        if isinstance(array, np.ndarray):
            got = f"{array.dtype} {array.shape}" + (" that is not contiguous" * (not array.flags.c_contiguous))
            got += " that is read-only" * (written and not array.flags.writeable)
        kind = "contiguous, writeable" if written else "contiguous"
        raise TypeError(
            f"`{name}` must be a {kind} {dtype.name} array of shape ({n},), because nothing is converted here; got "
            f"{got}. `predict` takes rows of every kind."
        )
    if array.shape != (n,):
        fits = "have room for the outputs" if written else "fit the first layer"
        raise ValueError(f"`{name}` must have shape ({n},) to {fits}; got {array.shape}.")
