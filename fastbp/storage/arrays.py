"""Files of named arrays with one JSON object, read without trusting anything.

The format is that of safetensors: eight bytes with the length of the header (little-endian), the header in JSON, which
gives each array's dtype, shape and place, then the arrays' bytes.  What only fastbp needs is in the header's
metadata: a JSON object of plain values and a checksum of everything.  Reading runs no code and allocates no more than
the file is long; every file that is damaged, cut off, hostile or of a newer fastbp raises one error, `FileError`.

The library of that name is not used, because saving must not need memory for a copy of the parameters, because a full
disk must be told from other failures, because a mapped file needs the places of its arrays, and because the limits of
a header are chosen here.  Tests compare with it in both directions.

References
----------
The safetensors format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import errno
import json
import math
import mmap as memory_map
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.storage.atomic import FileError, PathLike, checked_path, file_status, write_atomically
from fastbp.storage.json_objects import NotJsonError, json_object
from fastbp.validation.data import all_finite
from fastbp.version import __version__

__all__ = ["FileContent", "are_counts", "read_arrays", "write_arrays"]

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 1 << 24  # room for a million runs of neurons; parsed, it takes some twenty times as much memory
_MOST_DIMENSIONS = 8
_NO_CHECKSUM = "--------"  # stands in the header until the arrays are written
_CHUNK = 1 << 20  # bytes written at once
_ALIGNMENT = 64  # bytes: a cache line, so that mapped parameters lie as allocated ones do


def write_arrays(
    path: PathLike,
    kind: str,
    version: int,
    description: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    optional: Mapping[str, Any] | None = None,
) -> None:
    """Write named arrays and a description, whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file; see `write_atomically`.
    kind : str
        What is in it, such as ``"network"``.
    version : int
        The version of that kind's format.
    description : mapping of str to plain values
        Anything JSON has, without NaN and infinity.
    arrays : mapping of str to ndarray
        float32, float64, int64 or uint8, of any shape, in the order in which they shall lie in the file.
    optional : mapping of str to plain values, optional
        A further description that readers may pass over, and those of earlier releases do.

    Raises
    ------
    TypeError, ValueError, OSError
        As `write_atomically`; and if the description is larger than a file may have it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "x.safetensors")
    ...     write_arrays(path, "note", 1, {"unit": "m"}, {"x": np.arange(3.0)})
    ...     content = read_arrays(path, {"note": 1})
    >>> content.description["unit"], content.take("x", (3,), "float64")
    ('m', array([0., 1., 2.]))
    """
    own = {"kind": kind, "version": version, "fastbp": __version__, "description": dict(description)}
    own |= {"optional": dict(optional)} if optional else {}
    text = json.dumps(own, allow_nan=False, separators=(",", ":"))
    places, end = [], 0
    for name, array in arrays.items():
        places.append(_Place(name, _CODES[array.dtype], list(array.shape), end, end + array.nbytes))
        end += array.nbytes
    entries = {p.name: {"dtype": p.code, "shape": p.shape, "data_offsets": [p.begin, p.end]} for p in places}
    header = {"__metadata__": {"crc32": _NO_CHECKSUM, "fastbp": text}} | entries
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-(len(encoded) + _LENGTH_BYTES) % _ALIGNMENT)
    if len(encoded) > _MOST_HEADER_BYTES:
        raise ValueError(
            f"The description takes {len(encoded)} bytes, and a file may have {_MOST_HEADER_BYTES}. Join neighbouring "
            "neurons of one activation into fewer runs."
        )

    def write(file: BinaryIO) -> None:
        file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
        sums = [_write_array(file, arrays[place.name]) for place in places]
        file.seek(_LENGTH_BYTES + encoded.index(_NO_CHECKSUM.encode()))
        file.write(_checksum(text, places, sums).encode())

    write_atomically(path, write)


def _write_array(file: BinaryIO, array: NDArray[Any]) -> int:
    """Write an array's bytes, and return their CRC-32.

    Each part is copied first, so that the checksum is that of what was written even while another thread trains.
    """
    stored = np.ascontiguousarray(array, _DTYPES[_CODES[array.dtype]]).reshape(-1).view(np.uint8)
    checksum = 0
    for begin in range(0, stored.size, _CHUNK):
        part = stored[begin : begin + _CHUNK].tobytes()
        checksum = zlib.crc32(part, checksum)
        file.write(part)
    return checksum


@dataclass(frozen=True)
class _Place:
    """Where an array lies in the data, in bytes, and what it is."""

    name: str
    code: str
    shape: list[int]
    begin: int
    end: int


def _checksum(text: str, places: Iterable[_Place], sums: Iterable[int]) -> str:
    """Return the checksum of a description and of arrays with these CRC-32: their order in the file does not matter."""
    rows = sorted([place.name, place.code, place.shape, value] for place, value in zip(places, sums, strict=True))
    return f"{zlib.crc32(json.dumps([text, rows]).encode()):08x}"


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileContent:
    """What a file holds: its kind, its format's version, the description, arrays to be taken by name, and more.

    `optional` is a further description that may be passed over, empty in most files.

    Examples
    --------
    >>> content = FileContent("x", "note", 1, {"n": 2}, {"x": np.zeros(2)})
    >>> content.require_names({"x"}, {"n"})
    >>> content.take("x", (2,), "float64")
    array([0., 0.])
    """

    path: str
    kind: str
    version: int
    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    optional: dict[str, Any] = field(default_factory=dict)

    def fail(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        """Raise the error of this file; a reason that ends with another error's text gets its full stop here."""
        raise FileError(self.path, reason if reason.endswith(".") else f"{reason}.") from cause

    def require_names(self, arrays: Iterable[str], fields: Iterable[str]) -> None:
        """Raise unless the file has exactly these arrays, and the description exactly these fields."""
        for what, expected, found in (("arrays", arrays, self.arrays), ("fields", fields, self.description)):
            wrong = sorted(set(expected) ^ set(found))
            if wrong:
                self.fail(
                    f"a {self.kind} must have the {what} {', '.join(sorted(expected))}; there "
                    f"is {'no' if wrong[0] in expected else 'also'} {wrong[0]!r}."
                )

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike, *, finite: bool = True) -> NDArray[Any]:
        """Return an array: writable, contiguous, of this shape and dtype, without NaN and infinity unless allowed."""
        array = self.arrays.get(name)
        if array is None:
            self.fail(f"there is no array {name!r}.")
        if array.shape != shape or array.dtype != np.dtype(dtype):
            self.fail(
                f"its array {name!r} must have shape {shape} and dtype {np.dtype(dtype)}; it has {array.shape} and "
                f"{array.dtype}."
            )
        with np.errstate(invalid="ignore"):  # a signalling NaN warns where it is compared
            if finite and array.dtype.kind == "f" and not all_finite(array):
                self.fail(f"its array {name!r} holds NaN or infinity.")
        return array if array.flags.aligned else array.copy()


def read_arrays(path: PathLike, versions: Mapping[str, int], *, mmap: bool = False) -> FileContent:
    """Read a file that `write_arrays` wrote, and trust nothing in it.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    versions : mapping of str to int
        The kinds of files that are wanted, each with the newest version of its format that is known.
    mmap : bool
        Whether the arrays are mapped and not read: pages are shared with other processes and copied where they are
        written to; the file itself never changes.  It must not be cut short while it is mapped; replacing it is safe.

    Returns
    -------
    FileContent
        The description and the arrays.  Their values are what was saved, or the checksum would be another; whether
        they make sense together is for the caller to see, with `FileContent.take`.

    Raises
    ------
    TypeError, ValueError, OSError
        If there is no such file, or it cannot be opened.
    FileError
        If it is damaged, of another kind, or newer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "x.safetensors")
    ...     write_atomically(path, lambda file: file.write(b"x = 2"))
    ...     try:
    ...         read_arrays(path, {"note": 1})
    ...     except FileError as error:
    ...         print(error.reason)
    it has 5 bytes; its header would begin after 8.
    """
    name = checked_path(path)
    if file_status(name) is None:
        raise FileNotFoundError(errno.ENOENT, "`path` must be the name of a file; there is none", name)
    with open(name, "rb") as file:
        try:
            return _read(name, file, versions, mmap=mmap)
        except _InvalidError as error:
            raise FileError(name, str(error)) from error.__cause__
        except MemoryError as error:
            raise FileError(name, "there is not enough memory for it.") from error


class _InvalidError(Exception):
    """What is wrong with a file; `read_arrays` adds its name."""


def _read(name: str, file: BinaryIO, versions: Mapping[str, int], *, mmap: bool) -> FileContent:
    """Read an open file."""
    size = os.fstat(file.fileno()).st_size
    header, start = _read_header(file, size)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(key), str) for key in ("fastbp", "crc32")):
        raise _InvalidError("it was not written by fastbp. Its safetensors header has no metadata of fastbp.")
    kind, version, description, optional = _parse_own(metadata["fastbp"], versions)
    places = _places(header, size - start)
    if mmap:
        data: Any = memoryview(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_COPY))[start:size]
    else:
        data = np.empty(size - start, np.uint8).data
        data = data[: file.readinto(data)]  # type: ignore[attr-defined]  # the stub of BinaryIO has no readinto
    if len(data) != size - start:
        raise _InvalidError("it became shorter while it was read.")
    sums = [zlib.crc32(data[place.begin : place.end]) for place in places]
    if _checksum(metadata["fastbp"], places, sums) != metadata["crc32"]:
        raise _InvalidError("its checksum is wrong. It was damaged after it was written; use a copy of it.")
    arrays = {place.name: _array(data, place) for place in places}
    return FileContent(name, kind, version, description, arrays, optional)


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Return the header and the offset of the data behind it."""
    if size < _LENGTH_BYTES:
        raise _InvalidError(f"it has {size} bytes; its header would begin after {_LENGTH_BYTES}.")
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + length
    if start > size:
        raise _InvalidError(f"its header should have {length} bytes, and the whole file has {size}.")
    if length > _MOST_HEADER_BYTES:
        raise _InvalidError(f"its header should have {length} bytes; at most {_MOST_HEADER_BYTES} are allowed.")
    encoded = file.read(length)
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _InvalidError("its header is not UTF-8.") from error
    return _json_object(text, "header"), start


def _parse_own(text: str, versions: Mapping[str, int]) -> tuple[str, int, dict[str, Any], dict[str, Any]]:
    """Return kind, version, description and what is optional from fastbp's own metadata."""
    own = _json_object(text, "metadata")
    kind, version, description = own.get("kind"), own.get("version"), own.get("description")
    optional = own.get("optional", {})
    if not isinstance(kind, str) or type(version) is not int or version < 1 or not isinstance(description, dict):
        raise _InvalidError("its metadata must have a `kind`, a `version` from 1 on, and a `description`.")
    if kind not in versions:
        raise _InvalidError(f"it holds a {kind!r}; expected: {', '.join(sorted(versions))}.")
    if version > versions[kind]:
        raise _InvalidError(
            f"it was written by fastbp {own.get('fastbp')!r} in version {version} of its format, and fastbp "
            f"{__version__} reads up to version {versions[kind]}. Update fastbp."
        )
    if not isinstance(optional, dict):
        raise _InvalidError("its metadata must have a JSON object as `optional`.")
    return kind, version, description, optional


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        return json_object(text)
    except NotJsonError as error:
        raise _InvalidError(f"its {what} {error}") from error.__cause__


def _places(header: dict[str, Any], size: int) -> list[_Place]:
    """Return the arrays' places, in their order; they cover the data exactly."""
    places = sorted((_place(name, entry, size) for name, entry in header.items()), key=lambda p: (p.begin, p.end))
    end = 0
    for place in places:
        if place.begin != end:
            raise _InvalidError(f"its array {place.name!r} must begin at byte {end} of the data, not {place.begin}.")
        end = place.end
    if end != size:
        raise _InvalidError(f"its arrays have {end} bytes, and the file has {size} for them.")
    return places


def _place(name: str, entry: Any, size: int) -> _Place:
    """Return what the header says of one array, if it can be true."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _InvalidError(f"its array {name!r} must have a dtype, a shape and data_offsets.")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise _InvalidError(f"its array {name!r} has dtype {code!r}; allowed: {', '.join(_DTYPES)}.")
    if not are_counts(offsets) or len(offsets) != 2:
        raise _InvalidError(f"its array {name!r} has impossible data_offsets {offsets!r}.")
    begin, end = offsets
    if end > size:
        raise _InvalidError(f"it is cut off: its array {name!r} ends at byte {end} of the data, and there are {size}.")
    if not are_counts(shape) or len(shape) > _MOST_DIMENSIONS or max(shape, default=0) > size:
        raise _InvalidError(f"its array {name!r} has an impossible shape {shape!r}.")
    needed = _DTYPES[code].itemsize * math.prod(shape)
    if end - begin != needed:
        raise _InvalidError(f"its array {name!r} of shape {shape} needs {needed} bytes; it has {end - begin}.")
    return _Place(name, code, shape, begin, end)


def are_counts(values: Any) -> bool:
    """Whether it is a list of integers of at least 0."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _array(data: memoryview, place: _Place) -> NDArray[Any]:
    """Return the array at a place: a view, on machines of this byte order."""
    dtype = _DTYPES[place.code]
    flat = np.frombuffer(data[place.begin : place.end], dtype)
    array: NDArray[Any] = flat.reshape(place.shape).astype(dtype.newbyteorder("="), copy=False)
    return array
