"""Targets of several labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse


def check_labels(y: Any) -> None:
    """Check that one of the two numbers of multilabel targets, sparse or not, is 0: no label."""
    if sparse.issparse(y):
        values = set(np.unique(y.data)) | ({0} if y.nnz < math.prod(y.shape) else set())
    else:
        values = set(np.unique(y))
    if len(values) == 2 and 0 not in values:  # targets with more values are no labels, and scikit-learn refuses them
        low, high = sorted(values)
        raise ValueError(
            f"`y` must be 0 where a sample does not have a label, and 1, or one other number, where it has; got {low} "
            f"and {high}. Pass (y == {high}).astype(int)."
        )
