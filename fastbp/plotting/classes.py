"""Labels as numbers of their classes, and a classifier's score of each class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def class_numbers(y: ArrayLike, classes: Iterable[Any], n_rows: int, argument: str = "y") -> NDArray[np.int64]:
    """Return the place of each label (n_rows,) among the classes."""
    labels, known = np.asarray(y), list(classes)
    places = {label: place for place, label in enumerate(known)}
    if labels.shape != (n_rows,):
        got: Any = f"the shape {labels.shape}"
    else:
        got = next((repr(label) for label in labels.tolist() if label not in places), None)
    if got is not None:
        names = ", ".join(str(label) for label in known)
        raise ValueError(f"`{argument}` must hold one of the classes {names} for each of the {n_rows} rows; got {got}.")
    return np.array([places[label] for label in labels.tolist()], np.int64)


def class_scores(outputs: ArrayLike, n_rows: int) -> NDArray[Any]:
    """Return a column for each class; a single output is the probability of the second of two."""
    scores = np.asarray(outputs)
    if scores.ndim != 2 or len(scores) != n_rows or scores.shape[1] == 0:
        raise ValueError(
            f"`outputs` must have shape (n_samples, n_classes) with the {n_rows} samples of X; got {scores.shape}."
        )
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores
