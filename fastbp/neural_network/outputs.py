"""Outputs of a fitted estimator for rows: the quick way for plain arrays, scikit-learn's checks for all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.model.definition import settings_of
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.neural_network.data import in_dtype
from fastbp.neural_network.gradients import SPARSE_FORMATS
from fastbp.validation.data import all_finite
from fastbp.validation.matrix_like import MatrixLike

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_MOST_DOUBLED = 1 << 20  # parameters (8 MiB) up to which a float64 copy is kept, so that it is not made at each call


class Outputs:
    """What the methods that predict are made of."""

    def _outputs(self: Any, X: MatrixLike) -> NDArray[Any]:
        """Return the output neurons' values (n, n_outputs) for inputs that are checked here."""
        net = self._linked()
        valid: Any
        X = X.view() if type(X) is np.ndarray else X  # nobody else can change a view's shape after the checks
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype in DTYPES
            and X.shape[1] == net.sizes[0]
            and X.flags.carray
            and len(X)
            and "feature_names_in_" not in vars(self)
            and all_finite(X)
        ):  # scikit-learn's checks would pass it unchanged; anything else gets these checks, and their messages
            if X.dtype == net.dtype:
                return passes_of(net).outputs(X, self.n_threads)
            valid = X
        elif sparse.issparse(X) and self._is_plain_csr(X, net):
            valid = X
        else:
            check_is_fitted(self)
            valid = validate_data(self, X, accept_sparse=SPARSE_FORMATS, reset=False)
        if self.dtype is None and np.result_type(valid.dtype, net.dtype) != net.dtype:
            net = self._in_double(net)  # float64 inputs to a float32 model are computed in float64, as NumPy would
        return passes_of(net).outputs(in_dtype(valid, net.dtype), self.n_threads)

    def _is_plain_csr(self, X: Any, net: Network) -> bool:
        """Whether scikit-learn's checks would pass sparse inputs unchanged."""
        return bool(
            X.format == "csr"
            and X.ndim == 2
            and X.dtype in DTYPES
            and X.shape[0]
            and X.shape[1] == net.sizes[0]
            and "feature_names_in_" not in vars(self)
            and all_finite(X.data)
        )

    def _in_double(self: Any, net: Network) -> Network:
        """Return the network in float64: one made for an earlier call is used again, with the present parameters."""
        source, twin = getattr(self, "_double", (None, net))
        if source is not net:
            twin = Network(net.sizes, dtype=np.float64, **settings_of(net) | {"initializer": "zeros"})
            if net.n_params <= _MOST_DOUBLED:
                self._double = net, twin
        twin.params[...] = net.params  # at every call, since `coefs_` may be written into at any time
        return twin
