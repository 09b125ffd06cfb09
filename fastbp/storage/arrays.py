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
import io
import json
import math
import mmap as memory_map
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastbp.storage.atomic import FileError, checked_path, file_status, write_atomically
from fastbp.storage.content import FileContent
from fastbp.storage.json_objects import NotJsonError, json_object
from fastbp.storage.streams import (
    BrokenStreamError,
    Destination,
    Reader,
    Source,
    as_destination,
    as_reader,
    write_bytes,
)
from fastbp.version import __version__

__all__ = ["are_counts", "read_arrays", "write_arrays"]

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
    path: Destination,
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
    path : str, os.PathLike or binary file object
        The file; see `write_atomically`.  Nothing is written to a file object before all of it is in memory; then it is
        written on from where it stands.
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
        As `write_atomically`, or as the file object raises them; and if the description is larger than a file may have
        it.

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
    destination = as_destination(path)
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
            "neurons of one activation into fewer runs, or leave out `net.feature_names`."
        )

    def write(file: BinaryIO) -> None:
        file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
        sums = [_write_array(file, arrays[place.name]) for place in places]
        file.seek(_LENGTH_BYTES + encoded.index(_NO_CHECKSUM.encode()))
        file.write(_checksum(text, places, sums).encode())

    if destination is None:
        write_atomically(path, write)  # type: ignore[arg-type]  # which refuses any other
        return
    whole = io.BytesIO()
    write(whole)
    write_bytes(destination, whole.getbuffer())


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


def read_arrays(path: Source, versions: Mapping[str, int], *, mmap: bool = False) -> FileContent:
    """Read a file that `write_arrays` wrote, and trust nothing in it.

    Parameters
    ----------
    path : str, os.PathLike, binary file object or bytes
        The file; of a file object all from where it stands to its end.
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
        If there is no such file, or it cannot be opened or read.
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
    reader = as_reader(path)
    if reader is not None:
        if mmap:
            raise ValueError("`mmap` must be False for a file object or bytes; got True. Pass the name of a file.")
        with _named(reader.name):
            return _read_stream(reader, versions)
    name = checked_path(path)
    if file_status(name) is None:
        raise FileNotFoundError(errno.ENOENT, "`path` must be the name of a file; there is none", name)
    with open(name, "rb") as file, _named(name):
        return _read_file(name, file, versions, mmap=mmap)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise what is wrong with a file as the error of that file."""
    try:
        yield
    except (_InvalidError, BrokenStreamError) as error:
        text = str(error)
        raise FileError(name, text if text.endswith(".") else f"{text}.") from error.__cause__
    except MemoryError as error:
        raise FileError(name, "there is not enough memory for it.") from error


class _InvalidError(Exception):
    """What is wrong with a file; `read_arrays` adds its name."""


def _read_file(name: str, file: BinaryIO, versions: Mapping[str, int], *, mmap: bool) -> FileContent:
    """Read an open file of the disk."""
    size = os.fstat(file.fileno()).st_size
    header, start = _read_header(Reader(file, name))
    own = _own_metadata(header)
    parsed = _parse_own(own["fastbp"], versions)
    places = _places(header, size - start)
    if mmap:
        data: Any = memoryview(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_COPY))[start:size]
    else:
        data = np.empty(size - start, np.uint8).data
        data = data[: file.readinto(data)]  # type: ignore[attr-defined]  # the stub of BinaryIO has no readinto
    if len(data) != size - start:
        raise _InvalidError("it became shorter while it was read.")
    return _checked_content(name, own, parsed, data, places)


def _read_stream(reader: Reader, versions: Mapping[str, int]) -> FileContent:
    """Read a file object, whose length nobody knows."""
    header, _ = _read_header(reader)
    own = _own_metadata(header)
    parsed = _parse_own(own["fastbp"], versions)
    data = memoryview(reader.read(_stated_bytes(header) + 1))  # one more than there should be
    return _checked_content(reader.name, own, parsed, data, _places(header, len(data)))


def _own_metadata(header: dict[str, Any]) -> dict[str, str]:
    """Take fastbp's metadata out of a header."""
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(key), str) for key in ("fastbp", "crc32")):
        raise _InvalidError("it was not written by fastbp. Its safetensors header has no metadata of fastbp.")
    return metadata


def _checked_content(
    name: str,
    own: dict[str, str],
    parsed: tuple[str, int, dict[str, Any], dict[str, Any]],
    data: memoryview,
    places: list[_Place],
) -> FileContent:
    """Return what data hold, if their checksum is right."""
    sums = [zlib.crc32(data[place.begin : place.end]) for place in places]
    if _checksum(own["fastbp"], places, sums) != own["crc32"]:
        raise _InvalidError("its checksum is wrong. It was damaged after it was written; use a copy of it.")
    kind, version, description, optional = parsed
    arrays = {place.name: _array(data, place) for place in places}
    return FileContent(name, kind, version, description, arrays, optional)


def _read_header(reader: Reader) -> tuple[dict[str, Any], int]:
    """Return the header and the offset of the data behind it."""
    first = reader.read(_LENGTH_BYTES)
    if len(first) < _LENGTH_BYTES:
        raise _InvalidError(f"it has {len(first)} bytes; its header would begin after {_LENGTH_BYTES}.")
    length = int.from_bytes(first, "little")
    if length > _MOST_HEADER_BYTES:
        raise _InvalidError(f"its header should have {length} bytes; at most {_MOST_HEADER_BYTES} are allowed.")
    encoded = reader.read(length)
    start = _LENGTH_BYTES + len(encoded)
    if len(encoded) < length:
        raise _InvalidError(f"its header should have {length} bytes, and the whole file has {start}.")
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _InvalidError("its header is not UTF-8.") from error
    return _json_object(text, "header"), start


def _stated_bytes(header: dict[str, Any]) -> int:
    """Return where the last array should end, by a header of which nothing is known to be true."""
    offsets = [entry.get("data_offsets") for entry in header.values() if isinstance(entry, dict)]
    return max((max(pair) for pair in offsets if are_counts(pair) and pair), default=0)


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
        raise _InvalidError(f"its arrays have {end} bytes, and more follow them.")
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
