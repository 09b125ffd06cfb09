"""`LayerArrays`: each layer's weights, or biases, as views into a network's parameters that can be assigned to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.system.memory import require_writable_arrays
from fastbp.validation.arrays import numeric_array


class LayerArrays(tuple[NDArray[Any], ...]):
    """One view for each layer; ``net.weights[0] = W`` writes W into the network's parameters.

    A list of views would take such an assignment and leave the network as it was.
    """

    __slots__ = ()

    def __setitem__(self, layer: int | slice, values: Any) -> None:
        """Write an array into a layer's view, or one into each view of a slice, once all of them are checked."""
        if isinstance(layer, slice):
            layers, arrays = range(len(self))[layer], list(values)
        else:
            _ = self[layer]  # an index that is none raises what a tuple raises
            layers, arrays = range(len(self))[layer:][:1], [values]
        if len(arrays) != len(layers):
            raise ValueError(
                f"`{_name(self[0])}` must be given an array for each of the {len(layers)} layers of the slice; got "
                f"{len(arrays)}."
            )
        checked = [_fitting(array, self[place], place) for place, array in zip(layers, arrays, strict=True)]
        for place, array in zip(layers, checked, strict=True):
            self[place][...] = array


def _name(view: NDArray[Any]) -> str:
    """Return what a network calls the views of this kind."""
    return "weights" if view.ndim == 2 else "biases"


def _fitting(value: ArrayLike, view: NDArray[Any], layer: int) -> NDArray[Any]:
    """Return an array of the view's shape and dtype, which shares no memory with any view."""
    require_writable_arrays(view, *([view.base] if isinstance(view.base, np.ndarray) else []))
    name = f"{_name(view)}[{layer}]"
    array = numeric_array(value, name, view.dtype)
    if array.shape != view.shape:
        raise ValueError(f"`{name}` must have shape {view.shape}, that of the layer; got {array.shape}.")
    validation.require_finite(array, name)
    return np.array(array)
