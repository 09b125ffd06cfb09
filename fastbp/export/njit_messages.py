"""What a compiled network says of wrong arguments, in compiled code and in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

# Compiled code raises constants: what came is not in them.
X_SHAPE = "`x` must have shape (n_inputs,) or (n, n_inputs) to fit the network's first layer."
Y_SHAPE = "`y` must have shape (n_outputs,) for one row of `x` and (n, n_outputs) for n rows to fit the network."
GRAD_SHAPE = "`grad` must have shape (n_params,), a number for each of the network's parameters."
OUTPUTS_SHAPE = "`out` must have shape (n_outputs,) for one row of `x` and (n, n_outputs) for n rows."
INPUTS_SHAPE = "`out` must have the shape of `x`."
JACOBIAN_SHAPE = (
    "`out` must have shape (n_outputs, n_inputs) for one row of `x` and (n, n_outputs, n_inputs) for n rows."
)
LABELS_SHAPE = "`y` must be one label for one row of `x`, and labels of shape (n,) for n rows."
NO_LABELS = "`y` must be targets in the network's dtype, 1.0 instead of 1; labels are for softmax with cross-entropy."
LABEL_RANGE = "`y` must hold labels from 0 to n_outputs - 1."
NO_NETWORK = "`pointer` must be the pointer of a compiled network that is alive."
CONSTANT = (
    "A compiled network must be an argument of a compiled function, or in one that is, because it has addresses in "
    "this process; got one that is a global variable, a variable of the function around it, or a default. Pass it."
)
OTHER_NETWORK = "`pointer` must be that of a compiled network of this `dtype`, and of this version of fastbp."
NO_ROWS = "`x` must have at least one row."
READ_ONLY = "`net.params` must be writable for a step; it is read-only. That of `copy.copy(net)` is not."
NO_OPTIMIZER = "`step` and `set_learning_rate` need an optimizer: make the network by `net.compiled(bp.Adam())`."
_DIMENSIONS = {1: "one", 2: "two", 3: "three"}


def typing_message(
    name: str, dtype: Any, n_dims: tuple[int, ...], got: Any, *, written: bool, is_strided: bool = False
) -> str:
    """Say what an argument must be, and what it is."""
    dimensions = " or ".join(_DIMENSIONS[n] for n in n_dims)
    extra = ", that can be written to" if written else ""
    cure = " Take a row by `X[i]`, which Numba knows to be contiguous, not by `for x in X`." if is_strided else ""
    if name == "y":
        cure += " Labels must be int64."
    return (
        f"`{name}` of a compiled network must be a C-contiguous array of {dtype} with {dimensions} dimension"
        f"{'' if n_dims == (1,) else 's'}{extra}; got {got}.{cure}"
    )


def kind_of(value: Any) -> str:
    """Say what an argument is that should be an array."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    if isinstance(value, np.ma.MaskedArray):
        return "a masked array, whose mask would be lost"
    extra = "" if value.flags.c_contiguous else ", not C-contiguous"
    return f"an array of {value.dtype} with shape {value.shape}{extra}{'' if value.flags.writeable else ', read-only'}"
