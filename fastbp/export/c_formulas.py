"""Activations in C: the formulas of `fastbp.kernels.vectors.elementary`, with their constants, for one number.

Each is written as the compiled kernels run it: the same operations in the same order, a fused multiply-add where they
have one.  So the same bits come out, by a compiler that adds no fused multiply-add of its own.
"""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np

from fastbp.export.c_source import CFile, literal
from fastbp.export.c_templates import CONDITIONS, FUNCTIONS, FUSED, PLAIN, SLOWLY_FUSED
from fastbp.kernels.functions.activations import LEAKY_SLOPE
from fastbp.kernels.machine.processor import TILING
from fastbp.kernels.vectors import exponential, logarithm, normal, trigonometric
from fastbp.kernels.vectors.float_bits import FORMATS
from fastbp.kernels.vectors.values import HAS_VECTORS, lanes_of

__all__ = ["HAS_SAME_BITS", "Formulas", "softmax_lanes"]

# Whether the processor has the instruction; then the compiler has it for fma of <math.h>.
_HAS_FMA = {
    "float": "defined(__FP_FAST_FMAF) || defined(FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) \\\n"
    "    || defined(_M_ARM64) || (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4))",
    "double": "defined(__FP_FAST_FMA) || defined(FP_FAST_FMA) || defined(__FMA__) || defined(__aarch64__) \\\n"
    "    || defined(_M_ARM64) || (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 8))",
}
# 16 is 0 with another type for half precision.
_WIDER = {
    "float": "FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16",
    "double": "FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1 && FLT_EVAL_METHOD != 16",
}
# Whether the compiled kernels have fused multiply-adds, which all promises of bits are about.
HAS_SAME_BITS = TILING is not None
_MODULES = (exponential, logarithm, normal, trigonometric)


def softmax_lanes(n: int, itemsize: int) -> int:
    """Return how many sums a softmax of n outputs takes side by side on this processor; 0 for sums of pairs.

    See `fastbp.kernels.functions.softmax_of_short_rows`.
    """
    lanes = lanes_of(itemsize)
    return 0 if HAS_VECTORS and 2 * n <= lanes else lanes


class Formulas:
    """Functions in a C file for numbers of one type, each added when it is asked for.

    Parameters
    ----------
    file : CFile
        The file.
    dtype : dtype
        float32 or float64.
    exact : bool
        Whether with fused multiply-adds.
    """

    def __init__(self, file: CFile, dtype: np.dtype, *, exact: bool) -> None:
        self._file = file
        self.type = "float" if dtype == np.float32 else "double"
        self.suffix = "f" if dtype == np.float32 else ""  # of the functions of <math.h>
        self._format = FORMATS[numba.from_dtype(dtype)]
        self.bits = 8 * dtype.itemsize
        self._is_single = dtype == np.float32
        self._sums = 0  # that a softmax takes side by side
        self._file.add(self.filled(self.filled(FUSED) if exact else PLAIN))

    # --- numbers ------------------------------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """Return a constant, rounded to the type."""
        return literal(np.float32(value) if self.type == "float" else value, self.type)

    def _constant(self, name: str) -> Any:
        """Return a constant or the coefficients of a polynomial by the name that the formulas have for it."""
        values = next(getattr(module, name) for module in _MODULES if hasattr(module, name))
        return values.of(self._format.real)

    def _special(self, name: str) -> str | None:
        """Return what belongs to the format of the type rather than to a formula."""
        f = self._format
        return {
            "T": self.type,
            "U": f"uint{self.bits}_t",
            "F": self.suffix,
            "P": self._file.name,
            "ROUNDER": self.number(f.rounder),
            "BIASED_ROUNDER": self.number(f.rounder + f.bias),
            "TWICE_BIASED_ROUNDER": self.number(f.rounder + 2 * f.bias),
            "FRACTION": str(f.fraction),
            "TOP_BIT": str(self.bits - 2),
            "SIGN": f"(({'uint32_t' if self.bits == 32 else 'uint64_t'})1 << {self.bits - 1})",
            "BITS": str(self.bits),
            "MANTISSA": str(f.fraction + 1),
            "DIGITS": "FLT_MANT_DIG" if self._is_single else "DBL_MANT_DIG",
            "WIDER": _WIDER[self.type],
            "HAS_FMA": _HAS_FMA[self.type],
            "SLOWLY_FUSED": SLOWLY_FUSED[self.type].strip(),
            "SUMS": str(self._sums),
            "SLOPE": self.number(LEAKY_SLOPE),
        }.get(name)

    def filled(self, text: str) -> str:
        """Return a template with its names in $ filled in; ``$S(total, x)`` is S by Horner's rule, into `total`."""

        def series(match: re.Match[str]) -> str:
            indent, name, total, x = match.groups()
            *others, highest = self._constant(name)
            lines = [f"{indent}{self.type} {total} = {self.number(highest)};"]
            lines += [
                f"{indent}{total} = {self._file.name}_fma({total}, {x}, {self.number(c)});" for c in reversed(others)
            ]
            return "\n".join(lines)

        def one(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            special = self._special(name)
            return self.number(self._constant(name)) if special is None else special

        text = re.sub(r"^( *)\$(\w+)\((\w+), (\w+)\)$", series, text.strip(), flags=re.MULTILINE)
        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", one, text)

    def conditions(self) -> str:
        """Return preprocessor lines that stop a compiler by which the formulas would be wrong."""
        return self.filled(CONDITIONS)

    # --- functions ----------------------------------------------------------------------------------------------------

    def need(self, name: str) -> str:
        """Add a function and all that it is made of; return its name in C."""
        text = FUNCTIONS[name]
        for other in re.findall(r"\$\{P\}_(\w+)", text):
            if other != name and other in FUNCTIONS:
                self.need(other)
        self._file.add(self.filled(text))
        return f"{self._file.name}_{name}"

    def activation(self, name: Any, array: str, begin: int, count: int) -> list[str]:
        """Return the statements that put an activation's values in the place of `count` numbers from `begin` on."""
        if name == "identity":
            return []
        here = array if begin == 0 else f"{array} + {begin}"
        if name in ("softmax", "sine"):
            how = self._softmax(count) if name == "softmax" else name
            return [f"{self.need(how)}({count}, {here});"]
        function = self.need(name)
        item = f"{array}[j]"
        return [f"for (j = {begin}; j < {begin + count}; j++) {item} = {function}({item});"]

    def _softmax(self, n: int) -> str:
        """Return which softmax one of n outputs is."""
        lanes = softmax_lanes(n, self.bits // 8)
        # Of a vector that is longer than a row, the rest is 0.
        self._sums = min(lanes, 1 << (n - 1).bit_length()) if lanes else n
        return "softmax" if 0 < lanes < n else "softmax_of_one_vector" if lanes else "softmax_of_pairs"

    @property
    def scratch_bytes(self) -> int:
        """What the functions so far take on the stack in arrays, at most."""
        return self._sums * self.bits // 8
