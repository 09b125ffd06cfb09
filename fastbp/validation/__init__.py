"""Every message that a wrong argument gets, and the conversion of the right ones.

Each function returns what the kernels may rely on, or raises before any kernel runs.  A message names the argument in
backticks, the rule, what came, and the cure.
"""

from fastbp.validation.architecture import (
    Run,
    activation_runs,
    dropout_rates,
    layer_sizes,
    loss_for_output,
)
from fastbp.validation.arrays import DTYPES
from fastbp.validation.data import (
    Targets,
    all_finite,
    flat_params,
    inputs,
    require_finite,
    sample_weights,
    targets,
)
from fastbp.validation.numbers import (
    flag,
    network_dtype,
    positive_integer,
    real_number,
    seed,
)

__all__ = [
    "DTYPES",
    "Run",
    "Targets",
    "activation_runs",
    "all_finite",
    "dropout_rates",
    "flag",
    "flat_params",
    "inputs",
    "layer_sizes",
    "loss_for_output",
    "network_dtype",
    "positive_integer",
    "real_number",
    "require_finite",
    "sample_weights",
    "seed",
    "targets",
]
