"""Masks of vector instructions: which lanes are loaded, chosen and stored, for every number of them."""

import numba
import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.pointers import at
from fastbp.kernels.machine.processor import VECTOR_BYTES
from fastbp.kernels.machine.vector_writer import Vectors, call_operation, columns_of, integer, over_columns
from tests import cases

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there are no vector instructions")

WIDTHS = {"whole": VECTOR_BYTES, "half": VECTOR_BYTES // 2}
GUARD = 7.5  # stands where nothing may be stored


def operation(name, write):
    """A compiled function of (n, x, y, z), arrays of one dtype, whose instructions `write` writes."""

    @intrinsic
    def called(typingctx, n, x, y, z):
        def codegen(context, builder, signature, args):
            call_operation(f"test_{name}", write, builder, context.get_value_type(x.dtype), [integer(1), *args])
            return context.get_dummy_value()

        return types.void(types.int64, x, y, z), codegen

    @numba.njit
    def function(n, x, y, z):
        called(n, at(x, 0), at(y, 0), at(z, 0))

    return function


def use_of_mask(width, counted):
    """z = x where the mask of the first n lanes is set, else y, through loads under the mask; stored under it."""

    def write(builder, real, arguments):
        _, n, x, y, z = arguments
        v = Vectors(builder, real, WIDTHS[width])
        mask = v.first_lanes(n)
        if not counted:
            mask = mask._replace(count=None)
        v.store(builder.fadd(v.load(x, 1, mask), v.choose(mask, v.zero, v.load(y, 1))), z, 1)
        v.store(v.load(x, 1), z, 1 + v.lanes, mask)

    return operation(f"mask_{width}_{counted}", write)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "any lanes"])
def test_mask_of_first_lanes(width, dtype, counted):
    lanes = WIDTHS[width] // np.dtype(dtype).itemsize
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, lanes + 2)).astype(dtype)
    function = use_of_mask(width, counted)
    for n in (*range(lanes + 2), 1 << 40):
        z = np.full(2 * lanes + 2, GUARD, dtype)
        function(n, x, y, z)
        inside = np.arange(lanes) < n
        chosen, stored = z[1 : 1 + lanes], z[1 + lanes : -1]
        np.testing.assert_array_equal(chosen, np.where(inside, x[1:-1], y[1:-1]))
        np.testing.assert_array_equal(stored, np.where(inside, x[1:-1], GUARD))
        assert z[0] == z[-1] == GUARD


def sum_and_double(builder, real, arguments):
    """y = 2 x and the sum of x in each lane's own total, in z."""
    _, n, x, y, z = arguments
    v = Vectors(builder, real)

    def body(j, mask, total):
        numbers = v.load(builder.gep(x, [j]), 0, mask)
        v.store(builder.fadd(numbers, numbers), builder.gep(y, [j]), 0, mask)
        return [builder.fadd(total, numbers)]

    (total,) = over_columns(v, columns_of(v, n), [v.zero], body)
    v.store(total, z)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_over_columns(dtype):
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    function = operation("over_columns", sum_and_double)
    rng = np.random.default_rng(6)
    for n in range(3 * lanes + 2):
        x = rng.integers(-9, 9, n + 1).astype(dtype)
        y, z = np.full(n + 1, GUARD, dtype), np.zeros(lanes, dtype)
        function(n, x, y, z)
        np.testing.assert_array_equal(y, [*(2 * x[:n]), GUARD])
        assert z.sum() == x[:n].sum()
