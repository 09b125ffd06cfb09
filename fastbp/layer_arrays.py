"""`LayerArrays`: each layer's weights, or biases, as views into a network's parameters that can be assigned to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.arrays import numeric_array


class LayerArrays(tuple[NDArray[Any], ...]):
    """One view for each layer; ``net.weights[0] = W`` writes W into the network's parameters.

    A list of views would take such an assignment and leave the network as it was.
    """

    __slots__ = ()

    def __setitem__(self, layer: int | slice, values: Any) -> None:
        """Write an array into a layer's view, or one into each view of a slice, once all of them are checked."""
        places = range(len(self))[layer]
        if isinstance(places, int):
            places, values = range(places, places + 1), [values]
        else:
            values = list(values)
        if len(values) != len(places):
            raise ValueError(f"A slice of {len(places)} layers must be given as many arrays; got {len(values)}.")
        checked = [_fitting(value, self[place], place) for place, value in zip(places, values, strict=True)]
        for place, array in zip(places, checked, strict=True):
            self[place][...] = array


def _fitting(value: ArrayLike, view: NDArray[Any], layer: int) -> NDArray[Any]:
    """Return an array of the view's shape and dtype, which shares no memory with any view."""
    name = f"{'weights' if view.ndim == 2 else 'biases'}[{layer}]"
    array = numeric_array(value, name, view.dtype)
    if array.shape != view.shape:
        raise ValueError(f"`{name}` must have shape {view.shape}, that of the layer; got {array.shape}.")
    validation.require_finite(array, name)
    return np.array(array)
