"""Derivatives of a network's outputs, by backpropagation of a loss whose derivative is exactly 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.model.definition import settings_of
from fastbp.model.model import Model, from_params
from fastbp.model.trace import layer_blocks
from fastbp.validation.data import Targets


class OutputErrors:
    """Derivatives of the outputs for some inputs with respect to the first layer's z.

    The absolute loss has dC/da = 1 where a target lies below its output, by however little, and 0 where it is equal to
    it.  So nothing is scaled, and nothing is lost where outputs are so large that their last digit is worth more than
    1, as it would be in the difference of the quadratic loss.

    Parameters
    ----------
    net : Network
        The network; its own loss does not matter.
    X : ndarray, shape (n, n_features)
        Valid inputs, of the network's dtype; the outputs must be finite.
    """

    def __init__(self, net: Model, X: NDArray[Any]) -> None:
        settings = settings_of(net) | {"loss": "absolute", "loss_parameter": None}
        self._net, self._X = from_params(Model, net.params, net.sizes, **settings), X
        nothing = np.zeros((len(X), net.sizes[-1]), net.dtype)
        # the outputs of the very pass that is made again: those of `predict` may differ in the last bit
        self._a = layer_blocks(self._net, self._net.params, X, Targets(nothing, None))[0][-1][1]
        # below -1 and above 1 the next number, since a - 1 may be rounded to a; between them 1 less, since the next
        # number's distance may be too small for the kernels, which may take denormal numbers for 0
        with np.errstate(over="ignore"):  # the number below the lowest one is -inf, which serves as well
            self._below = np.where(np.abs(self._a) < 1, self._a - 1, np.nextafter(self._a, -np.inf))

    def of(self, outputs: int | slice) -> NDArray[Any]:
        """Return the derivative of an output, or of the sum of some, for each sample, shape (n, fan_out)."""
        targets = self._a.copy()
        targets[:, outputs] = self._below[:, outputs]
        first_layer: NDArray[Any] = layer_blocks(self._net, self._net.params, self._X, Targets(targets, None))[0][0][2]
        return first_layer
