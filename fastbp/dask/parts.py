"""`Part`: the checked rows of one partition, and `Blueprint`: the network that workers apply to them.

Everything here is picklable, and pure: Dask may make it again on any worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.engine.parameters import count_params
from fastbp.engine.rows import Data
from fastbp.model.checks import checked_rows
from fastbp.model.definition import Definition, settings_of
from fastbp.model.model import Model, from_params
from fastbp.validation.sparse_rows import SparseRows

_OVERHEAD = 1000  # bytes of a part beside its arrays


class Blueprint:
    """A network without its parameters: what workers apply parameters to that come with each task.

    Parameters
    ----------
    net : Definition
        The network.
    penalties : tuple of float
        L2 and L1 penalty, in place of the network's; by default none.
    """

    def __init__(self, net: Definition, penalties: tuple[float, float] = (0.0, 0.0)) -> None:
        self._sizes, self._dtype, self._names = net.sizes, net.dtype, net.feature_names
        self._settings = settings_of(net) | dict(zip(("l2_penalty", "l1_penalty"), penalties, strict=True))

    @cached_property
    def model(self) -> Model:
        """The model, whose own parameters mean nothing; made once in each process, for it keeps buffers."""
        return self.model_of(np.zeros(count_params(self._sizes), self._dtype))

    def model_of(self, params: NDArray[Any]) -> Model:
        """Return a model around parameters, which its training changes in place."""
        model = from_params(Model, params, self._sizes, **self._settings)
        model.feature_names = self._names
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the model."""
        return {name: value for name, value in vars(self).items() if name != "model"}


@dataclass(frozen=True)
class Part:
    """The rows of one partition.

    Attributes
    ----------
    index : int
        Its number.
    data : Data or None
        The rows; None where there are none.
    weight : float
        Sum of the weights, or the number of rows.
    problem : TypeError, ValueError or None
        What is wrong with them; then `data` is None.  It is no error of the task, so that of several partitions the
        first can be named, whichever was looked at first.
    """

    index: int
    data: Data | None
    weight: float
    problem: TypeError | ValueError | None = None

    def __len__(self) -> int:
        return 0 if self.data is None else len(self.data)

    def rows(self) -> Data | None:
        """Return those that count, None if none does, or raise what is wrong with them."""
        if self.problem is not None:
            raise self.problem
        return None if self.weight == 0.0 else self.data

    def __sizeof__(self) -> int:
        """Bytes, by which Dask judges how full a worker's memory is."""
        if self.data is None:
            return _OVERHEAD
        X, (array, labels), weights = self.data.X, self.data.targets, self.data.sample_weight
        held = [X.indptr, X.indices, X.values] if isinstance(X, SparseRows) else [X]
        return _OVERHEAD + sum(int(a.nbytes) for a in (*held, array, labels, weights) if a is not None)


def make_part(index: int, blueprint: Blueprint, X: Any, Y: ArrayLike, sample_weight: ArrayLike | None) -> Part:
    """Return the checked rows of a partition, or what is wrong with them, which names the partition."""
    model = blueprint.model
    try:
        n_rows, n_targets = count_rows(X), count_rows(Y)
        if n_rows != n_targets:
            raise ValueError(f"`Y` must have a row for each of the {n_rows} rows of `X`; got {n_targets}.")
        if n_rows == 0:
            return Part(index, None, 0.0)
        rows = checked_rows(model, X)
        targets = validation.targets(Y, n_rows, model.sizes[-1], model.dtype, model.loss, softmax=model.has_softmax)
        weights = validation.sample_weights(sample_weight, n_rows, model.dtype, may_vanish=True)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return Part(index, None, 0.0, kind(f"In partition {index}: {error}"))
    weight = float(n_rows) if weights is None else float(weights.sum(dtype=np.float64))
    return Part(index, Data(rows, targets, weights), weight)


def count_rows(rows: Any) -> int:
    """Return how many rows there are in an array, a frame, a sparse matrix or a list."""
    shape = getattr(rows, "shape", None)
    return int(shape[0]) if shape else len(rows)
