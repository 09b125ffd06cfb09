"""Steps of an optimizer by gradients that were computed elsewhere, and the penalties that belong to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.parameters import views
from fastbp.kernels.roots import optimizer_step as kernel
from fastbp.model.model import Model
from fastbp.training.state import OptimizerState


def add_penalties(
    sizes: Sequence[int], penalties: tuple[float, float], params: NDArray[Any], add_grad: NDArray[Any]
) -> float:
    """Return ``l2 / 2 sum W^2 + l1 sum |W|`` of the parameters of layers of such sizes, and add its gradient."""
    l2, l1 = penalties
    cost = 0.0
    if l2 or l1:
        weights, _ = views(params, sizes)
        gradients, _ = views(add_grad, sizes)
        for W, add_dW in zip(weights, gradients, strict=True):
            cost += 0.5 * l2 * float(np.einsum("ij,ij->", W, W, dtype=np.float64))
            cost += l1 * float(np.abs(W).sum(dtype=np.float64))
            add_dW += (l2 * W + l1 * np.sign(W)).astype(W.dtype, copy=False)
    return cost


class GradientSteps:
    """The steps of one optimizer, whose state they change in place.

    Parameters
    ----------
    net : Model
        The network.
    state : OptimizerState
        The optimizer.
    clip_norm : float
        Largest norm of a gradient; 0 for any.
    """

    def __init__(self, net: Model, state: OptimizerState, clip_norm: float = 0.0) -> None:
        self._state, self._clip_norm = state, clip_norm
        self._run = kernel.run.of(net.dtype)
        n, n_vectors = net.n_params, state.n_vectors
        vectors = state.vectors.reshape(n_vectors, n) if n_vectors else np.empty((0, n), net.dtype)
        nothing = np.zeros(1, net.dtype)
        self._vectors = [*vectors, nothing, nothing][:2]

    def step(self, params: NDArray[Any], grad: NDArray[Any], rate: float) -> None:
        """Change parameters (n_params,) by a gradient (n_params,), which may be overwritten; all are contiguous."""
        state = self._state
        if self._clip_norm:
            norm = math.sqrt(float(np.einsum("i,i->", grad, grad, dtype=np.float64)))
            if norm > self._clip_norm:
                grad *= self._clip_norm / norm
        powers = state.powers[0] * float(state.constants[0]), state.powers[1] * float(state.constants[1])
        corrections = 1.0 - powers[0], 1.0 - powers[1]
        if not self._run(state.code, state.constants, rate, *corrections, grad, params, *self._vectors):
            raise AssertionError("a gradient must be as long as the parameters")
        state.step, state.powers = state.step + 1, powers
