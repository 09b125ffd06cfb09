"""The improved class of Nielsen's text: ``import fastbp.nielsen2 as network2``, and its programs run unchanged.

`Network` is that of `fastbp.nielsen`, with the cross-entropy as default cost.

Examples
--------
>>> import random, numpy as np, fastbp.nielsen2 as network2
>>> random.seed(0); np.random.seed(0)
>>> x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
>>> net = network2.Network([2, 3, 2], cost=network2.CrossEntropyCost)
>>> net.large_weight_initializer()
>>> training_data = [(x, y), (1 - x, 1 - y)]
>>> records = net.SGD(training_data, 1, 1, 0.5, lmbda=0.1, monitor_training_accuracy=True)
Epoch 0 training complete
Accuracy on training data: 1 / 2
<BLANKLINE>
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from fastbp.nielsen import CrossEntropyCost, QuadraticCost, network, sigmoid, sigmoid_prime, vectorized_result
from fastbp.validation.numbers import FloatDType

__all__ = [
    "CrossEntropyCost",
    "Network",
    "QuadraticCost",
    "load",
    "sigmoid",
    "sigmoid_prime",
    "vectorized_result",
]


class Network(network.Network):
    """A network of sigmoid neurons in the improved form; see `fastbp.nielsen.Network`.

    Parameters
    ----------
    sizes : list of int
        Layer sizes, inputs first.
    cost : class
        `CrossEntropyCost`, `QuadraticCost`, or a class of your own.
    dtype : {'float64', 'float32'}
        Type of weights and biases; data are converted to it.
    """

    def __init__(self, sizes: Sequence[int], cost: Any = CrossEntropyCost, *, dtype: FloatDType = "float64") -> None:
        super().__init__(sizes, cost, dtype=dtype)


def load(filename: str | PathLike[str]) -> network.Network:
    """Return the network that `Network.save` wrote; see `fastbp.nielsen.load`."""
    return network.load(filename, Network)
