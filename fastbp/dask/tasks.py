"""What workers do with a partition: pure functions of a part, the blueprint of the network and its parameters.

Each returns a tuple of numbers and arrays that `add_up` adds to those of other partitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.parts import Blueprint, Part
from fastbp.dask.worker import threads_for
from fastbp.engine.batch_cost import BatchCost
from fastbp.engine.cutting import inputs_of
from fastbp.engine.normal_equations import NormalEquations, shape_of
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.model.definition import problem_of
from fastbp.model.model import passes_of
from fastbp.training.checkpoint import describe_data

Terms = tuple[Any, ...]  # of a sum over partitions: numbers and arrays


def add_up(terms: Sequence[Terms]) -> Terms:
    """Return the sums of what some partitions have returned, always added in their order."""
    first, *others = terms
    if not others:
        return first
    sums = [np.array(value) if isinstance(value, np.ndarray) else value for value in first]
    with np.errstate(all="ignore"):  # who reads the sum looks whether it is finite
        for other in others:
            for i, value in enumerate(other):
                sums[i] = np.add(sums[i], value, out=sums[i]) if isinstance(value, np.ndarray) else sums[i] + value
    return tuple(sums)


def count(part: Part) -> Terms:
    """Return number of rows and weight of a partition, each as a list of one, and a list of what is wrong with it."""
    return ([len(part)], [part.weight], [] if part.problem is None else [part.problem])


def digests(part: Part) -> Terms:
    """Return a digest of all that a partition has, as a list of one."""
    if part.data is None:
        return ([""],)
    described = describe_data(part.data.X, part.data.targets, part.data.sample_weight)
    return ([hashlib.blake2b(repr(described).encode(), digest_size=16).hexdigest()],)


def gradient(
    part: Part, blueprint: Blueprint, params: NDArray[Any], objective: Objective | None, share: float
) -> Terms:
    """Return `share` times the mean cost of the rows and its gradient (n_params,), in the network's dtype."""
    data, model = part.rows(), blueprint.model
    if data is None:
        return 0.0, np.zeros_like(params)
    with threads_for(6 * len(data) * inputs_of(data.X).flops_per_row(model.sizes)) as n_threads:
        if objective is None:
            cost, grad = passes_of(model).value_and_grad(
                data.X, data.targets, data.sample_weight, params=writable(params), n_threads=n_threads
            )
        else:
            cost, grad = BatchCost(problem_of(model), data, objective, n_threads=n_threads).value_and_grad(
                writable(params)
            )
    with np.errstate(all="ignore"):  # who reads the sum looks whether it is finite
        grad *= share
    return share * cost, grad


def cost(part: Part, blueprint: Blueprint, params: NDArray[Any], objective: Objective | None, share: float) -> Terms:
    """Return `share` times the mean cost of the rows."""
    data, model = part.rows(), blueprint.model
    if data is None:
        return (0.0,)
    with threads_for(2 * len(data) * inputs_of(data.X).flops_per_row(model.sizes)) as n_threads:
        if objective is None:
            mean = passes_of(model).cost(
                data.X, data.targets, data.sample_weight, params=writable(params), n_threads=n_threads
            )
        else:
            own = BatchCost(problem_of(model), data, objective, gradient=False, n_threads=n_threads)
            mean = own.cost(writable(params))
    return (share * mean,)


def equations(part: Part, blueprint: Blueprint, params: NDArray[Any], is_mixed: bool) -> Terms:
    """Return half the weighted sum of squares, its gradient and the lower triangle of J^T J, row by row, in float64."""
    data, n = part.rows(), len(params)
    if data is None:
        return 0.0, np.zeros(n), np.zeros(n * (n + 1) // 2)
    with _normal_equations(data, blueprint, is_mixed=is_mixed) as normal:
        half_squares, slope, hessian = normal.equations(writable(params))
    return half_squares, slope, np.concatenate([row[: i + 1] for i, row in enumerate(hessian)])


def half_squares(part: Part, blueprint: Blueprint, params: NDArray[Any], is_mixed: bool) -> Terms:
    """Return the first of these alone."""
    data = part.rows()
    if data is None:
        return (0.0,)
    with _normal_equations(data, blueprint, is_mixed=is_mixed) as normal:
        return (normal.half_squares(writable(params)),)


@contextmanager
def _normal_equations(data: Data, blueprint: Blueprint, *, is_mixed: bool) -> Iterator[NormalEquations]:
    problem = problem_of(blueprint.model)
    with threads_for(2 * len(data) * shape_of(problem).products_per_row) as n_threads:
        normal = NormalEquations(problem, data, n_threads, is_mixed=is_mixed)
        try:
            yield normal
        finally:
            normal.end()


def writable(params: NDArray[Any]) -> NDArray[Any]:
    """Return parameters as the kernels take them; those that came over the network may be read-only."""
    return np.require(params, requirements=("C", "W", "A"))
