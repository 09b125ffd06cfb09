"""How long a gradient takes: a forward pass, backpropagation, and n + 1 forward passes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbp.derivatives.perturbation import finite_difference_gradient
from fastbp.model.model import Model
from fastbp.system.tables import Table, note

_SECONDS = 0.05  # for which short calls are repeated, so that the shortest is one that nothing disturbed


@dataclass(frozen=True)
class GradientTimes:
    """The shortest of several calls each, in seconds.

    Attributes
    ----------
    n_params : int
        Parameters of the network.
    forward : float
        One forward pass with its cost.
    backpropagation : float
        The cost and its gradient by backpropagation, its own forward pass included.
    perturbation : float
        The gradient by n + 1 forward passes; NaN if it was left out.
    """

    n_params: int
    forward: float
    backpropagation: float
    perturbation: float

    def _repr_html_(self) -> str:
        rows = [
            ("parameters", self.n_params),
            ("forward pass", f"{1e6 * self.forward:.3g}"),
            ("backpropagation", f"{1e6 * self.backpropagation:.3g}"),
            ("n + 1 forward passes", f"{1e6 * self.perturbation:.3g}"),
        ]
        return note("time of one gradient", Table(["quantity", "microseconds"], rows))


def measure_gradient(
    net: Model, n_rows: int = 100, *, with_perturbation: bool = True, n_threads: int | None = None
) -> GradientTimes:
    """Time one gradient of a network in three ways, on random samples.

    Parameters
    ----------
    net : Network
        The network; it is not changed.
    n_rows : int
        Samples of the batch.
    with_perturbation : bool
        Whether to time the n + 1 forward passes; for a large network they take minutes.
    n_threads : int, optional
        Threads to use; by default as many as the process may.

    Returns
    -------
    GradientTimes
        Seconds; what the first calls need for compilation is not in them.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.inspection.gradient_times import measure_gradient
    >>> times = measure_gradient(bp.Network([8, 12, 4], activation="tanh", seed=0))
    >>> times.n_params, times.perturbation > times.backpropagation
    (160, True)
    """
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, net.sizes[0])).astype(net.dtype)
    Y = net.predict(X[::-1])  # other rows' outputs are targets that fit the loss, and errors that are not 0
    net.value_and_grad(X, Y)
    forward, backpropagation = shortest_calls(
        lambda: net.loss_value(X, Y, n_threads=n_threads), lambda: net.value_and_grad(X, Y, n_threads=n_threads)
    )
    perturbation = math.nan
    if with_perturbation:
        (perturbation,) = shortest_calls(
            lambda: finite_difference_gradient(net, X, Y, dtype=net.dtype, n_threads=n_threads)
        )
    return GradientTimes(net.n_params, forward, backpropagation, perturbation)


def shortest_calls(*calls: Callable[[], object]) -> list[float]:
    """Return the seconds of the shortest of several calls of each, in turn so that a disturbance meets all of them.

    As many as fit into a total time, three at least if they are short.
    """
    times: list[list[float]] = [[] for _ in calls]
    while sum(times[0]) < _SECONDS or (len(times[0]) < 3 and sum(times[0]) < 4 * _SECONDS):
        for call, own in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            own.append(time.perf_counter() - began)
    return [min(own) for own in times]
