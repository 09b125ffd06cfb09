"""A C file and its header: the parts, in their order, and what may stand in them."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from fastbp.storage.atomic import PathLike, checked_path, file_status, write_atomically
from fastbp.system.tables import Table, note
from fastbp.version import __version__

__all__ = ["CFile", "CReport", "checked_name", "literal", "paths_of", "quoted"]

_LINE = 116  # characters of a line of numbers
_SHORT = 1000.0  # halves below it are written in decimals, which are as exact
_MOST_NAME = 40  # characters: behind it stand up to 22 more, _WRITTEN_WITH_12345678, and C promises 63 of a macro
_AVR_READERS = {  # from flash, which is another address space there
    "float": "pgm_read_float({})",
    "int16_t": "((int16_t)pgm_read_word({}))",
    "int32_t": "((int32_t)pgm_read_dword({}))",
}
_NO_DOUBLE_ON_AVR = '#error "AVR reads no number of 64 bits from flash: write the network in float32"'
_MOST_ON_AVR = 60_000
_TOO_MUCH_FOR_AVR = '#error "AVR reads only 64 KiB of flash without far pointers: there are more constants"'
_BYTES = {"float": 4, "double": 8, "int16_t": 2, "int32_t": 4}


class CReport(NamedTuple):
    """What `Network.to_c` wrote.

    Attributes
    ----------
    source, header : str
        The two files.
    constant_bytes : int
        What the parameters take: of flash on a microcontroller, beside the code.
    buffer_bytes : int
        What the arrays for hidden layers and a softmax's sums take on the stack while the function runs; what a
        compiler keeps there of registers and return addresses comes on top.

    Examples
    --------
    >>> import os, tempfile, fastbp as bp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = bp.Network([2, 4, 1], dtype="float32").to_c(os.path.join(folder, "net.c"))
    >>> report.constant_bytes, report.buffer_bytes
    (68, 16)
    """

    source: str
    header: str
    constant_bytes: int
    buffer_bytes: int

    def _repr_html_(self) -> str:
        names = ("file", "header", "bytes of constants", "bytes of buffers")
        return note("network in C", Table(["quantity", "value"], zip(names, self, strict=True)))


# --- what a user names ------------------------------------------------------------------------------------------------


def paths_of(path: PathLike) -> tuple[str, str]:
    """Return the names of the C file and of its header, which lies beside it.

    Examples
    --------
    >>> paths_of("net.c")
    ('net.c', 'net.h')
    """
    source = checked_path(path)
    stem, extension = os.path.splitext(source)
    if extension != ".c":
        raise ValueError(f"`path` must be the name of a C file, which ends in '.c'; got {source!r}.")
    name = os.path.basename(stem)
    if not re.fullmatch(r"[\w.+ -]+", name, re.ASCII):  # it stands in an #include
        raise ValueError(
            "`path` must have a file name of letters, digits, spaces and _ . + - because the C file includes its "
            f"header by it; got {os.path.basename(source)!r}."
        )
    header = f"{stem}.h"
    for file in (source, header):
        file_status(file)
    if os.path.realpath(source) == os.path.realpath(header):
        raise ValueError(f"`path` must not be a link to its own header, or the header one to it; got {source!r}.")
    return source, header


def checked_name(name: Any, source: str) -> str:
    """Return the name that all names in C begin with; None stands for that of the file.

    Examples
    --------
    >>> checked_name(None, "folder/net.c")
    'net'
    """
    argument, cure = "`name`", ""
    if name is None:
        argument, cure = "The file's name, which all names in C begin with,", " Give another as name=."
        name = os.path.basename(source).removesuffix(".c")
    elif not isinstance(name, str):
        raise TypeError(f"`name` must be a str, which all names in C begin with; got {type(name).__name__}.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII):
        raise ValueError(
            f"{argument} must be an identifier of C, which has letters, digits and underscores and begins with a "
            f"letter; got {name!r}.{cure}"
        )
    if "__" in name or name.endswith("_"):
        raise ValueError(
            f"{argument} must have no underscore at its end and no two in a row, which are the compiler's; "
            f"got {name!r}.{cure}"
        )
    if len(name) > _MOST_NAME:
        raise ValueError(f"{argument} must have at most {_MOST_NAME} characters; got {len(name)}.{cure}")
    return str(name)


def quoted(text: str) -> str:
    r"""Return a text in quotes as it may stand in a comment or a string of C, on one line and in ASCII.

    Examples
    --------
    >>> print(quoted("size */ of\nGr\u00f6\u00dfe"))
    "size *\/ of\nGr\u00f6\u00dfe"
    """
    # In quotes, so that a backslash is never the last character of a line; no comment begins or ends, no trigraph.
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", r"\\", json.dumps(text))


def literal(value: Any, c_type: str) -> str:
    """Return a number as C has it, exactly: an integer, a hexadecimal floating-point number, a macro of <math.h>.

    Examples
    --------
    >>> literal(0.1, "double"), literal(-1.5, "float"), literal(-7, "int16_t")
    ('0x1.999999999999ap-4', '-1.5f', '-7')
    """
    if c_type not in ("float", "double"):
        return str(int(value))
    suffix = "f" if c_type == "float" else ""
    number = float(value)
    if not math.isfinite(number):
        return "NAN" if math.isnan(number) else "INFINITY" if number > 0 else "-INFINITY"
    if abs(number) < _SHORT and (2 * number).is_integer():
        return f"{number}{suffix}"
    mantissa, exponent = number.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}{suffix}"


# --- the file ---------------------------------------------------------------------------------------------------------


class CFile:
    """The parts of a C file and of its header.

    Parameters
    ----------
    name : str
        What all names in it begin with; in capitals the macros'.

    Attributes
    ----------
    comment : list of str
        Lines of the comment at its head, each in ASCII and without an end of a comment; see `quoted`.
    includes : list of str
        Headers such as ``<math.h>``, of the C file.
    conditions : list of str
        Preprocessor lines behind them: what a compiler must be, and macros.
    header_includes, declarations : list of str
        Of the header; the declarations stand in ``extern "C"`` for C++.
    parts : list of str
        Arrays and functions, in their order; `add` and `array` append to it.
    test_includes, test : list of str
        What stands under ``#ifdef NAME_TEST`` at the end.

    Examples
    --------
    >>> import numpy as np
    >>> file = CFile("net")
    >>> file.array("float", "b1", np.array([0.5, -1.0]), "biases")
    >>> print(file.parts[0])
    /* biases */
    static const float net_b1[2] NET_FLASH = {0.5f, -1.0f};
    """

    def __init__(self, name: str) -> None:
        self.name, self.macro = name, name.upper()
        self.comment: list[str] = []
        self.includes: list[str] = []
        self.conditions: list[str] = []
        self.header_includes: list[str] = []
        self.declarations: list[str] = []
        self.parts: list[str] = []
        self.test_includes: list[str] = []
        self.test: list[str] = []
        self.constant_bytes = 0
        self._read_types: list[str] = []

    def add(self, text: str) -> None:
        """Append a part, unless it is there already."""
        if text not in self.parts:
            self.parts.append(text)

    def array(self, c_type: str, name: str, values: NDArray[Any], comment: str, *, is_test: bool = False) -> None:
        """Append a constant array, in flash; of a test to the test."""
        text = _array_text(c_type, f"{self.name}_{name}", values, comment, f"{self.macro}_FLASH")
        self.reader(c_type)
        if is_test:
            self.test.append(text)
        else:
            self.constant_bytes += values.size * _BYTES[c_type]
            self.parts.append(text)

    def reader(self, c_type: str) -> str:
        """Return the name of the macro that reads a number of an array, given its address."""
        if c_type not in self._read_types:
            self._read_types.append(c_type)
        return f"{self.macro}_READ_{c_type.upper()}"

    def _flash(self) -> list[str]:
        """Return the macros for constants in flash."""
        names = {c_type: self.reader(c_type) for c_type in self._read_types}
        on_avr = {names[c_type]: read.format("p") for c_type, read in _AVR_READERS.items() if c_type in names}
        return [
            "#if defined(__AVR__)",
            "#include <avr/pgmspace.h>",
            f"#define {self.macro}_FLASH PROGMEM",
            *(f"#define {reader}(p) {read}" for reader, read in on_avr.items()),
            *([_NO_DOUBLE_ON_AVR] if "double" in names else []),
            *([_TOO_MUCH_FOR_AVR] if self.constant_bytes > _MOST_ON_AVR else []),
            "#else",
            f"#define {self.macro}_FLASH",
            *(f"#define {reader}(p) (*(p))" for reader in names.values()),
            "#endif",
        ]

    def _check(self) -> str:
        """Return the name of the macro by which a C file knows its header."""
        text = "\n".join([__version__, self.name, *self.declarations, *self.parts])
        return f"{self.macro}_WRITTEN_WITH_{zlib.crc32(text.encode()):08X}"

    def header_text(self) -> str:
        """Return the header."""
        guard = f"{self.macro}_H_INCLUDED"
        return _joined(
            [f"/* {self.name}: written by fastbp {__version__}, belongs to the C file beside it. */"],
            [f"#ifndef {guard}", f"#define {guard}", f"#define {self._check()}"],
            [f"#include {header}" for header in self.header_includes],
            ["#ifdef __cplusplus", 'extern "C" {', "#endif"],
            self.declarations,
            ["#ifdef __cplusplus", "}", "#endif"],
            ["#endif"],
        )

    def source_text(self, header_name: str) -> str:
        """Return the C file, which includes its header by the given name."""
        check = self._check()
        test = [
            f"#ifdef {self.macro}_TEST",
            *(f"#include {header}" for header in self.test_includes),
            "",
            *_with_blank_lines(self.test),
            f"#endif /* {self.macro}_TEST */",
        ]
        return _joined(
            ["/*", *(f" * {line}".rstrip() for line in self.comment), " */"],
            [f'#include "{header_name}"', *(f"#include {header}" for header in self.includes)],
            [f"#ifndef {check}", f'#error "{header_name} belongs to another C file: write both again"', "#endif"],
            self.conditions,
            self._flash(),
            *([part] for part in self.parts),
            test if self.test else [],
        )

    def write(self, source: str, header: str) -> None:
        """Write both files, each whole or not at all, and the C file not without its header.

        An error has the name of the file that could not be written.
        """
        source_text = self.source_text(os.path.basename(header)).encode("ascii")
        header_text = self.header_text().encode("ascii")

        of_header: list[OSError] = []

        def write(file: BinaryIO) -> None:
            file.write(source_text)
            try:
                write_atomically(header, lambda other: other.write(header_text))
            except OSError as error:
                of_header.append(error)
                raise

        try:
            write_atomically(source, write)
        except OSError:
            if of_header:
                raise of_header[0] from None
            raise


def _array_text(c_type: str, name: str, values: NDArray[Any], comment: str, attribute: str) -> str:
    """Return the definition of a constant array."""
    numbers = [literal(value, c_type) for value in values.ravel()]
    start = f"static const {c_type} {name}[{values.size}] {attribute} = {{"
    if len(start) + sum(len(number) + 2 for number in numbers) <= _LINE:
        return f"/* {comment} */\n{start}{', '.join(numbers)}}};"
    lines, line = [], ""
    for number in numbers:
        if line and len(line) + len(number) + 2 > _LINE:
            lines.append(line)
            line = ""
        line += f"{' ' if line else '    '}{number},"
    return "\n".join([f"/* {comment} */", start, *lines, line.removesuffix(","), "};"])


def _joined(*groups: Sequence[str]) -> str:
    """Return groups of lines with a blank line between them."""
    return "\n\n".join("\n".join(group) for group in groups if group) + "\n"


def _with_blank_lines(parts: Iterable[str]) -> list[str]:
    """Return parts with a blank line behind each."""
    return [line for part in parts for line in (part, "")]
