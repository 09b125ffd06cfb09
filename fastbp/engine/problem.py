"""`Problem`: what the kernels are told of a network, whatever it is trained or used for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastbp.engine.parameters import count_params
from fastbp.functions.own import Own
from fastbp.functions.segments import Segment


@dataclass(frozen=True)
class Problem:
    """A network without its parameters, as the kernels know it."""

    sizes: tuple[int, ...]  # of the layers, input first
    dtype: np.dtype  # what everything is computed in: float32 or float64
    segments: tuple[tuple[Segment, ...], ...]  # each layer's runs of neurons with one activation
    loss: tuple[int, int, int]  # code, and the addresses of a user's value and derivative
    loss_second: int = 0  # address of the second derivative of a user's loss
    loss_parameter: float = 0.0  # of a loss that has one
    penalties: tuple[float, float] = (0.0, 0.0)  # L2 and L1
    dropout: tuple[float, ...] = ()  # each hidden layer's rate
    own: tuple[Own, ...] = ()  # the user's functions

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return count_params(self.sizes)
