"""`Data`: rows with their targets and weights, as the kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows


@dataclass(frozen=True)
class Data:
    """Rows as the kernels take them."""

    X: Rows  # (n, n_features), of the network's dtype
    targets: Targets
    sample_weight: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def mean_weight(self) -> float:
        """Mean sample weight; 0 without weights."""
        return self.mean_weight_of(None)

    def mean_weight_of(self, rows: NDArray[np.int64] | None) -> float:
        """Mean sample weight of some rows, None for all; 0 without weights."""
        weight = self.sample_weight
        if weight is None:
            return 0.0
        return float((weight if rows is None else weight[rows]).mean(dtype=np.float64))

    def rows(self, index: Any) -> Data:
        """Return some rows."""
        X, (array, labels), weight = self.X[index], self.targets, self.sample_weight
        targets = Targets(None if array is None else array[index], None if labels is None else labels[index])
        return Data(X, targets, None if weight is None else weight[index])
