"""A network as scikit-learn's scorers want it: an estimator that predicts labels, probabilities or numbers.

This is imported for those who pass a scorer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from fastbp.engine.rows import Data
from fastbp.model.model import Model
from fastbp.system.memory import read_only
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import SparseRows

BINARY, MULTICLASS, MULTILABEL, NUMBERS = "binary", "multiclass", "multilabel", "numbers"


def task_of(net: Model, targets: Targets) -> tuple[str, NDArray[Any]]:
    """Return what targets are to a scorer, and these as it gets them.

    Outputs that are probabilities make labels of targets that are nothing but 0 and 1: where each row has a single 1,
    these are classes that exclude each other.  All else is numbers.
    """
    array, labels = targets
    if labels is not None:
        return MULTICLASS, labels
    assert array is not None
    n_outputs = array.shape[1]
    numbers = array[:, 0] if n_outputs == 1 else array
    are_probabilities = net.has_softmax or all(name == "sigmoid" for name, _ in net.activations[-1])
    if not are_probabilities or not ((array == 0) | (array == 1)).all():
        return NUMBERS, numbers
    if n_outputs == 1:
        return BINARY, numbers.astype(np.int64)
    if (array.sum(axis=1) == 1).all():
        return MULTICLASS, array.argmax(axis=1)
    return MULTILABEL, array.astype(np.int64)


class _Estimator(BaseEstimator):
    """A fitted estimator whose predictions are a network's; those of the rows at hand are computed already."""

    _known: tuple[Any, NDArray[Any]]

    def __init__(self, net: Model) -> None:
        self.net = net

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def know(self, X: Any, outputs: NDArray[Any]) -> None:
        """Take the outputs for some rows, as they are now."""
        self._known = X, outputs

    def _outputs(self, X: Any) -> NDArray[Any]:
        known, outputs = self._known
        return outputs if X is known else self.net.predict(X)


class _Regressor(RegressorMixin, _Estimator):
    """A network that predicts numbers."""

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the outputs (n, n_outputs); of a single one (n,)."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs


class _Classifier(ClassifierMixin, _Estimator):
    """A network that predicts probabilities.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray
        0, 1, ...; of labels that do not exclude each other [0, 1] for each.
    """

    def __init__(self, net: Model, kind: str = MULTICLASS) -> None:
        super().__init__(net)
        self.kind = kind
        n_outputs = net.sizes[-1]
        self.classes_: Any = np.arange(2 if kind == BINARY else n_outputs)
        if kind == MULTILABEL:
            self.classes_ = [np.arange(2)] * n_outputs

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels (n,), of which outputs are the largest or above 1/2; or 0 and 1 (n, n_outputs)."""
        outputs = self._outputs(X)
        if self.kind == MULTICLASS:
            largest: NDArray[np.int64] = outputs.argmax(axis=1)
            return largest
        labels: NDArray[np.int64] = (outputs > 0.5).astype(np.int64)
        return labels[:, 0] if self.kind == BINARY else labels

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return probabilities: of both classes, of each class, or of each label."""
        outputs = self._outputs(X)
        if self.kind == BINARY:
            return np.hstack([1 - outputs, outputs])
        if self.kind == MULTILABEL or self.net.has_softmax:
            return outputs
        sums = outputs.sum(axis=1, keepdims=True)  # of sigmoids, which scikit-learn's one-versus-rest divides as well
        even = np.full_like(outputs, 1 / outputs.shape[1])
        np.divide(outputs, sums, out=even, where=sums > 0)
        return even


class Scored:
    """A network and rows for scorers.

    Parameters
    ----------
    net : Model
        The network.
    data : Data
        The rows.
    """

    def __init__(self, net: Model, data: Data) -> None:
        kind, targets = task_of(net, data.targets)
        self._y = read_only(targets)
        # SciPy's matrices share their arrays with ours, and a scorer may change them
        X: Any = data.X.to_scipy().copy() if isinstance(data.X, SparseRows) else read_only(data.X)
        self._estimator: _Regressor | _Classifier = _Regressor(net) if kind == NUMBERS else _Classifier(net, kind)
        self._X = X

    def set_outputs(self, outputs: NDArray[Any]) -> None:
        """Tell the network's outputs for the rows, as they are now."""
        self._estimator.know(self._X, outputs)

    def score(self, scorer: Callable[..., Any], weights: Mapping[str, Any]) -> Any:
        """Return what a scorer says of them."""
        return scorer(self._estimator, self._X, self._y, **weights)
