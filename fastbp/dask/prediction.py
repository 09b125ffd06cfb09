"""Predictions of Dask's collections, which are computed when somebody asks for them."""

from __future__ import annotations

import uuid
from typing import Any

import dask
import numpy as np
from dask.array import Array
from dask.highlevelgraph import HighLevelGraph
from dask.task_spec import Task, TaskRef

from fastbp.dask.partitions import require_collection, whole_rows
from fastbp.dask.parts import Blueprint, count_rows
from fastbp.dask.worker import threads_for
from fastbp.model.checks import checked_rows
from fastbp.model.model import passes_of
from fastbp.network import Network


def predict(net: Network, X: Any) -> Array:
    """Return a network's outputs for each partition of a collection; lazy.

    Parameters
    ----------
    net : Network
        The network; its parameters are taken as they are now, and go to each worker once.
    X : array or data frame of Dask, shape (n, n_features)
        Inputs, of the network's dtype.

    Returns
    -------
    dask.array.Array, shape (n, n_outputs)
        Of the chunks of X; of a data frame's partitions the sizes are unknown.

    Raises
    ------
    TypeError, ValueError
        If X is no collection of Dask, or has another number of columns; for its rows, when they are computed.

    Examples
    --------
    >>> import dask.array as da, fastbp as bp
    >>> from fastbp.dask import predict
    >>> net = bp.Network([2, 3, 1], seed=0)
    >>> X = da.ones((10, 2), chunks=(4, 2))
    >>> predict(net, X).chunks
    ((4, 4, 2), (1,))
    """
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a fastbp.Network; got {type(net).__name__}.")
    require_collection(X, "X", "call net.predict for")
    if len(X.shape) != 2 or X.shape[1] != net.sizes[0]:
        raise ValueError(
            f"`X` must have shape (n_samples, {net.sizes[0]}) to fit the first layer; it has {len(X.shape)} axes and "
            f"{X.shape[1] if len(X.shape) > 1 else 'no'} columns."
        )
    return lazily(_Outputs(net), "predict", X, net.sizes[-1], net.dtype)


class _Outputs:
    """A network's outputs, as what is called for each partition."""

    def __init__(self, net: Network) -> None:
        self._blueprint, self._params = Blueprint(net), net.params.copy()

    def predict(self, X: Any) -> Any:
        """Return the outputs (n, n_outputs)."""
        model = self._blueprint.model_of(np.array(self._params))
        rows = checked_rows(model, X)
        with threads_for(2.0 * len(rows) * model.n_params) as n_threads:
            return passes_of(model).outputs(rows, n_threads)


def lazily(model: Any, method: str, X: Any, n_columns: int | None, dtype: Any) -> Array:
    """Return what a method of a model returns for each partition, as a Dask array.

    Parameters
    ----------
    model : object
        What goes to each worker once.
    method : str
        Its method, called with a partition's rows.
    X : array or data frame of Dask
        The rows.
    n_columns : int or None
        Of what is returned; None where it has one axis.
    dtype : dtype
        Of what is returned.
    """
    token = uuid.uuid4().hex[:12]
    shared = dask.delayed(model, name=f"model-{token}", pure=False, traverse=False)
    is_array = isinstance(X, Array)
    blocks = list(whole_rows(X).to_delayed().ravel()) if is_array else X.to_delayed()
    sizes = X.chunks[0] if is_array else (np.nan,) * len(blocks)
    columns = () if n_columns is None else (n_columns,)
    name, rest = f"{method}-{token}", (0,) * len(columns)
    keys = [(name, i, *rest) for i in range(len(blocks))]
    layer = {
        key: Task(key, _of_block, TaskRef(shared.key), method, TaskRef(block.key), n_columns, dtype)
        for key, block in zip(keys, blocks, strict=True)
    }
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[shared, *blocks])
    chunks = (sizes, *((n,) for n in columns))
    return Array(graph, name, chunks, meta=np.empty((0,) * (1 + len(columns)), dtype))


def _of_block(model: Any, method: str, X: Any, n_columns: int | None, dtype: Any) -> Any:
    """Return what a method returns for a partition, which may be empty."""
    if count_rows(X) == 0:
        return np.empty((0,) if n_columns is None else (0, n_columns), dtype)
    return getattr(model, method)(X)
