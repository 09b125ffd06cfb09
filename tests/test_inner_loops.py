"""The innermost loops of what is written in vector instructions: no work for masks, no vector stored on the stack."""

import platform
import re

import numba
import numpy as np
import pytest
from numba import types

from fastbp.kernels.functions.softmax import cross_entropy_rows, softmax_rows
from fastbp.kernels.machine.processor import TILING
from fastbp.kernels.matrix.one_row import forward_row, outer_product
from fastbp.kernels.matrix.products import Matrix, Strided, product
from fastbp.kernels.matrix.rows import column_sums, gather_rows
from fastbp.kernels.optimizers.adam_step import adam_step, is_in_vectors
from fastbp.kernels.optimizers.updates import Runs, no_step
from fastbp.kernels.vectors.values import HAS_VECTORS
from tests import cases

pytestmark = [
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is nothing compiled to look at"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="knows the instructions of x86-64"),
    pytest.mark.skipif(not HAS_VECTORS, reason="without masks LLVM stores lane by lane"),
]

# Vectors of bits made into masks and back, and masks moved between registers.
MASK_WORK = re.compile(
    r"\bv?(packss\w+|pmov[sz]x\w+|pmovm2\w|pmovmskb|movmskp[sd]|kmov\w|kunpck\w+|ps(?:ll|ra)[wdq]\s+\$(?:7|15|31|63)),?\b"
)
SPILL = re.compile(r"\bv?mov\w+\s+%[xyz]mm\d+, -?\d*\(%rsp\)")  # what changes in the loop; constants may be read there


def gather(i, p, j, x):
    gather_rows(i, i, p, i, j, p, i)


def sums(i, p, j, x):
    column_sums(i, i, p, i, i, p)


def softmax(i, p, j, x):
    softmax_rows(i, i, p, p)


def cross_entropy(i, p, j, x):
    cross_entropy_rows(i, i, p, p, p, p, p, p, p, p)


def adam(i, p, j, x):
    adam_step(Runs(i, i, i, i), (x, x, x, x, x, x), p, p, p, p)


def forward(i, p, j, x):
    forward_row(i, i, p, p, i, i, p, p)


def outer(i, p, j, x):
    outer_product(i, i, p, p, p)


def tiles(i, p, j, x):
    product(i, i, i, Strided(p, i, i), Matrix(p, i), False, Matrix(p, i), Matrix(p, i), no_step(p))


def functions(kernel, dtype):
    """Lines of assembly of each LLVM function that a kernel calls."""
    real = numba.from_dtype(np.dtype(dtype))
    pointers = types.CPointer(real), types.CPointer(types.int64)
    signature = types.void(types.int64, *pointers, real)
    assembly = numba.njit(signature)(kernel).inspect_asm(signature.args)
    found = re.findall(r"^(fastbp_[\w.]+):(.*?)^\s*\.size\s+\1,", assembly, re.MULTILINE | re.DOTALL)
    return {name: text.splitlines() for name, text in found}


def innermost_loops(lines):
    """Instructions of each loop that has no loop in it: from a label to the last jump back to it."""
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if line.startswith(".L")}
    jumps = ((i, re.match(r"\s+j\w+\s+(\.L\w+)", line)) for i, line in enumerate(lines))
    ends = {}
    for i, jump in jumps:
        begin = labels.get(jump.group(1), len(lines)) if jump else len(lines)
        if begin < i:
            ends[begin] = i
    loops = list(ends.items())
    return [lines[a:b] for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("kernel", [gather, sums, softmax, cross_entropy, adam, forward, outer])
def test_innermost_loops_have_no_work_for_masks(kernel, dtype):
    if kernel is adam and not is_in_vectors(numba.from_dtype(np.dtype(dtype))):
        pytest.skip("a plain loop")
    found = functions(kernel, dtype)
    assert found
    loops = [loop for lines in found.values() for loop in innermost_loops(lines)]
    assert loops
    for loop in loops:
        wrong = [line for line in loop if MASK_WORK.search(line) or SPILL.search(line)]
        assert not wrong, "\n".join(loop)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_tiles_keep_their_sums_in_registers(dtype):
    """The loop over the common dimension has a multiply-add for each row and vector, and does not touch the stack."""
    loops = {
        name: [loop for loop in innermost_loops(lines) if any("vfmadd" in line for line in loop)]
        for name, lines in functions(tiles, dtype).items()
        if name.startswith("fastbp_tile_")
    }
    halves = TILING.most_rows[0] if TILING.has_mask_registers else 0  # elsewhere each kind comes with and without masks
    assert len(loops) == halves + (1 if halves else 2) * sum(TILING.most_rows)
    for name, found in loops.items():
        rows, vectors = map(int, re.search(r"_(\d+)x(\d+)", name).groups())
        assert found
        for loop in found:
            assert sum("vfmadd" in line for line in loop) == rows * max(vectors, 1), "\n".join(loop)
            wrong = [line for line in loop if "%rsp" in line or MASK_WORK.search(line)]
            assert not wrong, "\n".join(loop)


def test_innermost_loops_are_found():
    lines = [".LBB0_1:", " add", ".LBB0_2:", " mul", " jne\t.LBB0_2", " sub", " jne\t.LBB0_1", " ret"]
    assert innermost_loops(lines) == [lines[2:4]]
