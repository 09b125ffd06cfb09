"""The initial parameters of an estimator: scikit-learn's random numbers, or one of fastbp's initializers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.initializers import initialize


def initial_parameters(
    sizes: list[int], dtype: np.dtype, initializer: Any, activation: Any, rng: np.random.RandomState
) -> NDArray[Any]:
    """Draw the initial parameters (n_params,) for the parameters `initializer` and `activation` of an estimator."""
    if initializer != "auto":
        drawn: NDArray[Any] = initialize(initializer, sizes, np.random.default_rng(rng.randint(1 << 31)), dtype)
        return drawn
    names = list(activation) if isinstance(activation, list | tuple) else [activation]
    layers = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        # Glorot and Bengio 2010, equation 16, with scikit-learn's own factor for the logistic function
        name = names[min(layer, len(names) - 1)] if names else ""
        bound = math.sqrt((2.0 if name == "logistic" else 6.0) / (fan_in + fan_out))
        layers += [rng.uniform(-bound, bound, (fan_in, fan_out)).ravel(), rng.uniform(-bound, bound, fan_out)]
    return np.concatenate(layers).astype(dtype)
