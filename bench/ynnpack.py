"""YNNPACK, which multiplies matrices in jax's XLA: by the processor alone, whatever ``--xla_cpu_max_isa`` says.

No setting holds it to AVX2.  It asks the processor once and keeps the answer as bits in a static variable; their place
is in the symbol table of jax's library, and what is cleared there is not used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import platform
import struct
from pathlib import Path

import numpy as np

_FUNCTION = "_ZN3ynn24get_supported_arch_flagsEv"
_VARIABLE = "_ZZN3ynn24get_supported_arch_flagsEvE5flags"
_UP_TO_AVX2 = 0x7F  # bits of XNNPACK's ynnpack/base/arch.h: sse2 ssse3 sse41 avx f16c avx2 fma3, then AVX-512
_SYMBOLS = 2  # ELF's SHT_SYMTAB
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)


def hold_to_avx2() -> None:
    """Let YNNPACK use AVX2 only, in this process; nothing where this jax has none."""
    flags = _flags()
    if flags is not None:
        flags.value &= _UP_TO_AVX2


def uses_avx512() -> bool | None:
    """Whether YNNPACK may use AVX-512 in this process; None where this jax has none or hides it."""
    flags = _flags()
    return None if flags is None else flags.value > _UP_TO_AVX2


def _flags() -> ctypes.c_uint64 | None:
    """The variable, set."""
    found = importlib.util.find_spec("jaxlib")
    if found is None or not found.submodule_search_locations or platform.machine() not in ("x86_64", "AMD64"):
        return None
    library = Path(found.submodule_search_locations[0]) / "libjax_common.so"
    places = symbols(library, _FUNCTION, _VARIABLE) if library.exists() else {}
    if len(places) < 2:
        return None
    import jax  # noqa: F401 -- which loads the library

    with open("/proc/self/maps") as lines:
        starts = [int(line.split("-")[0], 16) for line in lines if line.rstrip().endswith(library.name)]
    if not starts:
        return None
    ctypes.CFUNCTYPE(ctypes.c_uint64)(starts[0] + places[_FUNCTION])()  # which asks the processor
    return ctypes.c_uint64.from_address(starts[0] + places[_VARIABLE])


def symbols(library: Path, *names: str) -> dict[str, int]:
    """Places of symbols, from the table of a 64-bit ELF file; without those that it does not have."""
    places: dict[str, int] = {}
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        if content[:5] != b"\x7fELF\x02":
            return places
        (start,) = struct.unpack_from("<Q", content, 0x28)
        size, count = struct.unpack_from("<HH", content, 0x3A)
        sections = [struct.unpack_from("<IIQQQQIIQQ", content, start + index * size) for index in range(count)]
        for section in sections:
            if section[1] != _SYMBOLS:
                continue
            offset, length, texts = section[4], section[5], sections[section[6]]
            table = np.frombuffer(content, _SYMBOL, length // _SYMBOL.itemsize, offset)
            for name in names:
                at = content.find(b"\0" + name.encode() + b"\0", texts[4], texts[4] + texts[5])
                found = table["value"][table["name"] == at + 1 - texts[4]]
                if at >= 0 and found.size:
                    places[name] = int(found[0])
            del table  # a file that is looked at is not closed
    return places
