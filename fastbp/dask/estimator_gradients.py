"""Derivatives of a fitted estimator, which are of rows in memory: of Dask's collections, refused."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastbp.dask.partitions import is_collection
from fastbp.neural_network.gradients import Gradients


class GradientsInMemory(Gradients):
    """The methods of `Gradients`, which would collect all rows of a collection in this process without a word."""

    def loss_gradient(
        self: Any, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        """Return the loss of rows in memory and its gradient; see the local class.

        Parameters
        ----------
        X, y, sample_weight : array-like
            Inputs, targets and weights, in memory.
        """
        _require_memory(X=X, y=y, sample_weight=sample_weight)
        return Gradients.loss_gradient(self, X, y, sample_weight)

    def input_gradient(self: Any, X: Any) -> NDArray[Any]:
        """Return the derivative of each output with respect to each input, of rows in memory; see the local class.

        Parameters
        ----------
        X : array-like
            Inputs, in memory.
        """
        _require_memory(X=X)
        return Gradients.input_gradient(self, X)


def _require_memory(**given: Any) -> None:
    for name, rows in given.items():
        if is_collection(rows):
            raise TypeError(
                f"`{name}` must be in memory; got a collection of Dask, all of whose rows would come to this process. "
                "Take some of them: X[:1000].compute(), or use X.map_blocks with to_local()."
            )
