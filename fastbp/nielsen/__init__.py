"""The classes of Nielsen's "Neural Networks and Deep Learning", with fastbp's kernels behind them.

A program written for the text's first class, ``network.py``, runs unchanged after ``import fastbp.nielsen as network``;
one written for the improved class, ``network2.py``, after ``import fastbp.nielsen2 as network2``.  The same random
numbers are drawn in the same order, so that the same seeds of `random` and `numpy.random` lead to the same weights.

Both forms are one class, `Network`.  Made without a `cost` it has the first form: quadratic cost, standard normal
initial weights, ``SGD(..., test_data)``.  Made with one, as `fastbp.nielsen2.Network` always is, the improved one.

References
----------
Nielsen, "Neural Networks and Deep Learning", Determination Press (2015), chapters 1 to 3.
"""

from fastbp.nielsen.costs import CrossEntropyCost, QuadraticCost, sigmoid, sigmoid_prime, vectorized_result
from fastbp.nielsen.network import Network, load

__all__ = [
    "CrossEntropyCost",
    "Network",
    "QuadraticCost",
    "load",
    "sigmoid",
    "sigmoid_prime",
    "vectorized_result",
]
