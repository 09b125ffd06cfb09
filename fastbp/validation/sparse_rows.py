"""`SparseRows`: the rows of a sparse matrix as the kernels take them, their columns where nobody else can set them.

The kernels read and write memory at the columns that a row names.  So the arrays that say which numbers are whose are
copies of the user's, made before they are looked at; the numbers themselves are shared where that is possible.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.system.memory import require_memory

if TYPE_CHECKING:
    from scipy import sparse

_MOST_FEATURES = (1 << 31) - 1  # columns are int32


class SparseRows:
    """Rows of CSR: row i has ``values[indptr[i] : indptr[i + 1]]`` in the columns ``indices`` of the same range.

    Parameters
    ----------
    indptr : ndarray of int64, shape (n + 1,)
        Where each row begins; the last entry is where the last row ends.
    indices : ndarray of int32, shape (n_numbers,)
        Columns, which do not fall within a row.
    values : ndarray, shape (n_numbers,)
        The numbers.
    n_features : int
        Columns of the matrix.
    """

    def __init__(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int32], values: NDArray[Any], n_features: int
    ) -> None:
        self.indptr, self.indices, self.values = indptr, indices, values
        self.shape = len(indptr) - 1, n_features
        self.dtype = values.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def to_scipy(self) -> sparse.csr_array:
        """Return the same rows as SciPy's type, which may share the arrays: not for others' hands."""
        from scipy import sparse

        return sparse.csr_array((self.values, self.indices, self.indptr), shape=self.shape, copy=False)

    def toarray(self) -> NDArray[Any]:
        """Return the same rows with all their zeros, (n, n_features)."""
        dense: NDArray[Any] = self.to_scipy().toarray()
        return dense

    def __getitem__(self, rows: Any) -> SparseRows:
        """Return some rows, by a slice or an array of their numbers."""
        part = self.to_scipy()[rows]
        return SparseRows(part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data, self.shape[1])

    def astype(self, dtype: np.dtype) -> SparseRows:
        """Return the same rows with numbers of another type."""
        if dtype == self.dtype:
            return self
        return SparseRows(self.indptr, self.indices, self.values.astype(dtype), self.shape[1])


Rows = NDArray[Any] | SparseRows  # inputs X as the passes take them


def as_dense(X: Rows) -> NDArray[Any]:
    """Return inputs as an array, for calls whose work grows faster than X."""
    if not isinstance(X, SparseRows):
        return X
    n_bytes = X.shape[0] * X.shape[1] * X.dtype.itemsize
    require_memory(n_bytes, f"A sparse X made dense, {X.shape[0]} x {X.shape[1]},", "Pass fewer rows.")
    return X.toarray()


def is_sparse(X: object) -> bool:
    """Whether X is one of SciPy's sparse matrices or arrays; SciPy's module is not imported to find out."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(X))


def sparse_rows(X: Any, argument: str = "X") -> SparseRows:
    """Return a sparse matrix of any format as rows; the dtype of its numbers stays.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional, or its arrays contradict each other: an index outside of it, a row that
        ends before it begins.
    """
    if X.ndim != 2:
        raise ValueError(f"`{argument}` must have two dimensions, rows and features; got shape {X.shape}.")
    n_rows, n_features = (int(size) for size in X.shape)
    if n_features > _MOST_FEATURES:
        raise ValueError(
            f"`{argument}` must have at most {_MOST_FEATURES} features where it is sparse; got {n_features}."
        )
    X = X if X.format == "csr" else _as_csr(X, argument)
    # Copies, and of the numbers a view: from here on nobody else can set what is looked at.
    indptr, columns, values = np.array(X.indptr, np.int64), np.array(X.indices), np.asarray(X.data).view(np.ndarray)
    if not _fit_each_other(indptr, columns, values, n_rows, n_features):
        raise ValueError(
            f"`{argument}` must be a sparse matrix whose arrays fit each other; an index lies outside of its "
            f"{n_rows} x {n_features} numbers, or a row ends before it begins. X.check_format() says more."
        )
    n_numbers = int(indptr[-1])
    indices, values = columns[:n_numbers].astype(np.int32, copy=False), np.ascontiguousarray(values[:n_numbers])
    rising = indices[1:] >= indices[:-1]
    rising[indptr[(indptr > 0) & (indptr < n_numbers)] - 1] = True  # from one row to the next
    if not rising.all():
        rows = SparseRows(indptr, indices, values.copy(), n_features).to_scipy()
        rows.has_sorted_indices = False
        rows.sort_indices()
        indices, values = rows.indices.astype(np.int32, copy=False), rows.data
    return SparseRows(indptr, np.ascontiguousarray(indices), values, n_features)


def _fit_each_other(
    indptr: NDArray[np.int64], columns: NDArray[Any], values: NDArray[Any], n_rows: int, n_features: int
) -> bool:
    """Whether the arrays of CSR are those of a matrix."""
    if indptr.shape != (n_rows + 1,) or columns.ndim != 1 or values.ndim != 1 or columns.dtype.kind not in "iu":
        return False
    n_numbers = int(indptr[-1])
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any() or n_numbers > min(len(columns), len(values)):
        return False
    used = columns[:n_numbers]
    return not n_numbers or bool(used.min() >= 0 and used.max() < n_features)


def _as_csr(X: Any, argument: str) -> Any:
    """Return a matrix of another format in CSR, by SciPy, which trusts the indices: those of a copy that is right."""
    try:
        X = X.copy()
        if X.format in ("csc", "bsr"):
            X.check_format(full_check=True)
        elif X.format == "coo":
            sizes = {len(array) for array in (X.data, *X.coords)}
            pairs = zip(X.coords, X.shape, strict=True)
            if len(sizes) > 1 or any(len(axis) and (axis.min() < 0 or axis.max() >= size) for axis, size in pairs):
                raise ValueError("an index lies outside, or there are not as many of them as numbers")
        return X.tocsr()
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"`{argument}` must be a sparse matrix whose arrays fit each other, to be converted to CSR; SciPy says of "
            f"this one in {X.format.upper()}: {error}."
        ) from error
