"""scikit-learn's ``MLPClassifier`` and ``MLPRegressor``: the same numbers, and faster.

>>> from fastbp.neural_network import MLPClassifier  # instead of sklearn.neural_network
>>> X, y = [[0.0, 0.0], [1.0, 1.0]], [0, 1]
>>> MLPClassifier(hidden_layer_sizes=(5,), solver="lbfgs", random_state=1).fit(X, y).predict([[2.0, 2.0], [-1.0, -2.0]])
array([1, 0])

Warnings point at the caller's line.  Those that scikit-learn gives as well are caught by the same filters as
scikit-learn's, by category, message or ``module="sklearn"``.
"""

from fastbp.system.versions import explained as _explained
from fastbp.version import __version__

with _explained(__version__):
    from fastbp.neural_network.classifier import MLPClassifier

from fastbp.neural_network.converters import register_onnx_converters
from fastbp.neural_network.ensembles import MLPEnsembleClassifier, MLPEnsembleRegressor
from fastbp.neural_network.errors import FitDivergedError
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.search import MLPGridSearchCV

__all__ = [
    "FitDivergedError",
    "MLPClassifier",
    "MLPEnsembleClassifier",
    "MLPEnsembleRegressor",
    "MLPGridSearchCV",
    "MLPRegressor",
    "register_onnx_converters",
]
