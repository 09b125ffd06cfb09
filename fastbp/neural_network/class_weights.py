"""`class_weight`: how much each row counts because of its class."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_sample_weight


def weights_by_class(
    class_weight: Mapping[Any, float] | str, y: NDArray[Any], classes: NDArray[Any], dtype: np.dtype
) -> NDArray[Any]:
    """Return the factor (n,) of each row's weight, or raise the error of a wrong `class_weight`.

    Parameters
    ----------
    class_weight : dict or 'balanced'
        The parameter of the estimator.
    y : ndarray of shape (n,) or (n, n_labels)
        Valid targets.
    classes : ndarray of shape (n_classes,)
        All classes of the model, in order; `y` need not have every one of them.
    dtype : dtype
        Of the factors.
    """
    if isinstance(class_weight, str):
        factors: NDArray[Any] = compute_sample_weight(class_weight, y)
        return factors.astype(dtype)
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            "`class_weight` must be None or 'balanced' where `y` has several labels, since a sample then has several "
            "classes; got a dict. Pass `sample_weight`."
        )
    _check_keys(class_weight, classes)
    largest = float(np.finfo(dtype).max)
    for label, weight in class_weight.items():
        if not (isinstance(weight, Real) and 0 <= float(weight) <= largest):  # which NaN is not either
            raise ValueError(
                f"`class_weight` must hold finite numbers of at least 0; got {weight!r} for the class {label!r}."
            )
    by_class = np.array([class_weight.get(label, 1) for label in classes], dtype)
    return by_class[np.searchsorted(classes, y.ravel())]


def _check_keys(class_weight: Mapping[Any, float], classes: NDArray[Any]) -> None:
    """Check that no key can be a class written wrongly.

    A key that is no class is allowed where every class has a weight of its own, as in scikit-learn: rows drawn for
    cross-validation or bagging may lack a class.
    """
    known = set(classes)
    unknown = [key for key in class_weight if key not in known]
    if not unknown or known <= set(class_weight):
        return
    written = {str(label): label for label in classes.tolist()}
    hint = ""
    for key in unknown:
        if not isinstance(written.get(str(key), key), type(key)):
            hint = f" A key has the type of the labels: write {written[str(key)]!r} for {key!r}."
            break
    raise ValueError(
        f"The keys of `class_weight` must be classes, {classes}; got {', '.join(map(repr, unknown))}. A class that has "
        f"no key counts with the weight 1.{hint}"
    )
