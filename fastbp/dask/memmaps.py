"""`from_memmap`: an array of Dask whose chunks are read from a file by the workers, whatever its size."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from numpy import memmap  # by this name, because nothing is written
from numpy.typing import NDArray

from fastbp import validation

_CHUNK_BYTES = 64 << 20  # of a chunk, by default: its reading takes tens of ms, far more than a task's overhead


def from_memmap(source: str | os.PathLike[str] | memmap[Any, Any], chunk_rows: int | None = None) -> da.Array:
    """Return an array of Dask whose chunks the workers read from a file.

    ``dask.array.from_array`` of a memory map puts all that the file holds into the graph, and so into the memory of
    the client, of the scheduler and of a worker.  Here the graph has the file's name.

    Parameters
    ----------
    source : str, os.PathLike or numpy.memmap
        A file of `numpy.save`, or a memory map of any file, also a view of one.  Shape (n,) or (n, n_columns), of
        numbers, C-contiguous or Fortran-contiguous.
    chunk_rows : int, optional
        Rows of a chunk, of which the last one may have fewer.  None for as many as have 64 MiB.

    Returns
    -------
    dask.array.Array
        Of the file's shape and dtype, in chunks of whole rows.  Workers read a chunk when they need it, and
        no part of the file stays mapped.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    FileNotFoundError
        If there is no such file; while chunks are computed, if a worker does not see it.  A ValueError then, if the
        file has become shorter.

    Notes
    -----
    All workers must see the file under the same name: on several machines it lies on a file system that they share.
    A row-major file is read in one piece a chunk, a column-major one in one piece for each column.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastbp.dask import from_memmap
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.npy")
    >>> np.save(path, np.arange(12.0, dtype="float32").reshape(6, 2))
    >>> X = from_memmap(path, chunk_rows=4)
    >>> X.chunks, X.dtype
    (((4, 2), (2,)), dtype('float32'))
    >>> X[4:].compute(scheduler="synchronous")
    array([[ 8.,  9.],
           [10., 11.]], dtype=float32)
    """
    array = source if isinstance(source, memmap) else _opened(source)
    file = _file_of(array)
    n_rows = file.shape[0]
    row_bytes = max(1, file.dtype.itemsize * math.prod(file.shape[1:]))
    if chunk_rows is None:
        chunk_rows = max(1, _CHUNK_BYTES // row_bytes)
    chunk_rows = min(validation.positive_integer(chunk_rows, "chunk_rows"), n_rows)
    sizes = tuple(min(chunk_rows, n_rows - first) for first in range(0, n_rows, chunk_rows))
    return da.map_blocks(
        _read,
        file,
        os.stat(file.path).st_mtime_ns,  # of which the name is made: other content, another name
        chunks=(sizes, *((size,) for size in file.shape[1:])),
        dtype=file.dtype,
        meta=np.empty((0,) * len(file.shape), file.dtype),
        name=None,
    )


@dataclass(frozen=True)
class _File:
    """Where the numbers of an array are in a file."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes
    in_columns: bool

    def rows(self, first: int, end: int) -> NDArray[Any]:
        """Read some rows."""
        with open(self.path, "rb") as file:
            if not self.in_columns:
                row = math.prod(self.shape[1:])
                return self._numbers(file, first * row, (end - first) * row).reshape(end - first, *self.shape[1:])
            columns = np.empty((end - first, *self.shape[1:]), self.dtype, order="F")
            for j in range(self.shape[1]):
                columns[:, j] = self._numbers(file, j * self.shape[0] + first, end - first)
            return columns

    def _numbers(self, file: Any, first: int, n: int) -> NDArray[Any]:
        file.seek(self.offset + first * self.dtype.itemsize)
        found = np.fromfile(file, self.dtype, n)
        if len(found) < n:
            raise ValueError(
                f"`source` must stay as it was while it is read: {self.path!r} has become shorter than the "
                f"{math.prod(self.shape)} numbers of an array {self.shape} behind {self.offset} bytes. Call "
                "from_memmap again."
            )
        return found


def _read(file: _File, stamp: int, block_info: Any) -> NDArray[Any]:
    """Read a chunk."""
    first, end = block_info[None]["array-location"][0]
    try:
        return file.rows(first, end)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"`source` must be a file that every worker sees under the same name; there is no {file.path!r} on a "
            "worker. Put it on a file system that they share."
        ) from None


def _opened(source: Any) -> memmap[Any, Any]:
    """Return a map of a file of `numpy.save`."""
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"`source` must be the name of a .npy file or a numpy.memmap; got {type(source).__name__}. Save it with "
            "numpy.save first, or write dask.array.from_array(...) where it fits into memory."
        )
    try:
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, tokenize.TokenError, zipfile.BadZipFile) as error:  # all are NumPy's
        raise ValueError(
            f"`source` must be a file of numpy.save that holds numbers; {os.fspath(source)!r} is not: {error}. Map a "
            "file of another kind with numpy.memmap(...), which is told shape and dtype."
        ) from None
    if not isinstance(array, memmap):
        array.close()
        raise ValueError(
            f"`source` must be a file of numpy.save, with one array; {os.fspath(source)!r} has several. Save each with "
            "numpy.save."
        )
    return array


class _Root(NamedTuple):
    path: str
    offset: int  # of its first number
    address: int


def _root_of(array: memmap[Any, Any]) -> _Root:
    """Return the map that an array is a view of: a view says the offset of that one."""
    base: Any = array
    while isinstance(base.base, memmap):
        base = base.base
    if array.filename is None or base.filename is None:
        raise ValueError(
            "`source` must be a numpy.memmap of a file with a name, which the workers open; got one without. Pass the "
            "array that numpy.memmap has returned, or a slice of it."
        )
    return _Root(os.path.abspath(os.fspath(base.filename)), int(base.offset), int(base.ctypes.data))


def _file_of(array: memmap[Any, Any]) -> _File:
    """Return where an array is."""
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf" or array.size == 0:
        raise ValueError(
            f"`source` must have shape (n, n_columns) or (n,), at least one row and a dtype of numbers; got shape "
            f"{array.shape} and {array.dtype}. Take the rows of numbers: array.reshape(n, -1), array['field']."
        )
    flags = array.flags
    if not (flags.c_contiguous or flags.f_contiguous):
        raise ValueError(
            "`source` must be contiguous: whole rows without gaps, or whole columns; got a view with strides "
            f"{array.strides}. Pass all of it, and slice what from_memmap returns."
        )
    if getattr(array, "mode", "r") == "c":
        raise ValueError(
            "`source` must not be a copy-on-write map (mode='c'), whose changes workers do not see in the file; got "
            "one. Open it with mode='r'."
        )
    root = _root_of(array)
    offset = root.offset + int(array.ctypes.data) - root.address
    return _File(root.path, array.dtype, array.shape, offset, in_columns=not flags.c_contiguous)
