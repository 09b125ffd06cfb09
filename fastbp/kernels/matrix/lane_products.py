"""Products of many networks at once: a network in each lane, and every number of a matrix a vector.

Element (i, j) of a matrix is the vector at ``i * row + j * column``, whose lanes are the same element of each network.
So a product is made lane by lane, without masks and without sums over lanes, however small it is:

    c[i, j] = c0[i, j] + sum_k a[i, k] b[k, j]

Every element is one chain of fused multiply-adds in the order of k, as in `fastbp.kernels.matrix.tiles`: the bits are
those of the product of each network alone.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.machine.processor import AVX512, NEON, TILING
from fastbp.kernels.machine.vector_writer import INT, Vectors, integer, loop, members, new_function, where
from fastbp.kernels.matrix.products import share

# Rows and columns of the largest tile: sums, the rows' elements of a, and one of b at a time stay in the registers.
LANE_ROWS = 6 if TILING in (AVX512, NEON) else 3
LANE_COLUMNS = 4
NO_START = -1  # a row stride of c0 that stands for c0 = 0


class Grid(NamedTuple):
    """A matrix of vectors: what an element and its right neighbour, and the one below it, are apart, in elements."""

    p: Any
    row: Any
    column: Any


def _opaque(builder: ir.IRBuilder, x: Any) -> Any:
    """A value that the compiler knows nothing about."""
    return builder.asm(ir.FunctionType(x.type, [x.type]), "", "=r,0", [x], side_effect=False)


def _tile(module: Any, real: Any, rows: int, columns: int) -> Any:
    """c = c0 + a b for one tile and k > 0; c0_row < 0 stands for c0 = 0."""
    name = f"fastbp_lane_tile_{real}_{rows}x{columns}"
    if name in module.globals:
        return module.globals[name]
    pointer = real.as_pointer()
    matrix = [pointer, INT, INT]
    function, builder = new_function(module, name, [INT, *matrix, *matrix, *matrix, *matrix])
    k, a, a_row, a_step, b, b_step, b_column, c0, c0_row, c0_column, c, c_row, c_column = function.args
    v = Vectors(builder, real)
    grid = [(i, j) for i in range(rows) for j in range(columns)]

    def place(p: Any, i: int, row: Any, j: int, column: Any) -> Any:
        here = builder.add(builder.mul(row, integer(i)), builder.mul(column, integer(j)))
        return builder.gep(p, [here])

    starts = builder.icmp_signed(">=", c0_row, integer(0))
    zeros = [v.zero] * len(grid)
    sums = where(builder, starts, zeros, lambda: [v.load(place(c0, i, c0_row, j, c0_column)) for i, j in grid])
    # Computed once, and not from each other in every step, see `tiles`.
    a_offsets = [integer(0), *(_opaque(builder, builder.mul(a_row, integer(i))) for i in range(1, rows))]
    b_offsets = [integer(0), *(_opaque(builder, builder.mul(b_column, integer(j))) for j in range(1, columns))]

    def step(_: Any, a_here: Any, b_here: Any, *sums: Any) -> list[Any]:
        left, after = [v.load(builder.gep(a_here, [offset])) for offset in a_offsets], list(sums)
        for j, offset in enumerate(b_offsets):  # in this order one vector of b is in the registers at a time
            right = v.load(builder.gep(b_here, [offset]))
            for i in range(rows):
                after[i * columns + j] = v.fma(left[i], right, sums[i * columns + j])
        return [builder.gep(a_here, [a_step]), builder.gep(b_here, [b_step]), *after]

    _, _, *sums = loop(builder, k, 1, [a, b, *sums], step)
    for (i, j), total in zip(grid, sums, strict=True):
        v.store(total, place(c, i, c_row, j, c_column))
    builder.ret_void()
    return function


def _tiles(module: Any, real: Any) -> Any:
    """A table of the tiles: entry [rows - 1, columns - 1]."""
    name = f"fastbp_lane_tiles_{real}"
    if name in module.globals:
        return module.globals[name]
    entries = [
        _tile(module, real, rows, columns) for rows in range(1, LANE_ROWS + 1) for columns in range(1, LANE_COLUMNS + 1)
    ]
    table_type = ir.ArrayType(entries[0].type, len(entries))
    table = ir.GlobalVariable(module, table_type, name)
    table.linkage, table.global_constant = "linkonce_odr", True
    table.initializer = ir.Constant(table_type, entries)
    return table


@intrinsic
def lane_tile(typingctx, rows, columns, k, a, b, c0, c):
    """c = c0 + a b for a tile of at most LANE_ROWS by LANE_COLUMNS; the tuples are of kind `Grid`."""
    i = types.int64
    signature = types.void(i, i, i, a, b, c0, c)

    def codegen(context, builder, signature, args):
        rows, columns, k, *matrices = args
        if TILING is None:  # never called, see `fastbp.kernels.jobs.lanes`
            return context.get_dummy_value()
        real = context.get_value_type(signature.args[3][0].dtype)
        row, column = (builder.sub(number, integer(1)) for number in (rows, columns))
        line = builder.add(builder.mul(row, integer(LANE_COLUMNS)), column)
        entry = builder.gep(_tiles(builder.module, real), [integer(0), line])
        numbers = [number for matrix in matrices for number in members(builder, matrix)]
        builder.call(builder.load(entry), [k, *numbers])
        return context.get_dummy_value()

    return signature, codegen


@leaf
def lane_product(m, n, k, a, b, c0, c):
    """C = C0 + A B for A (m, k) and B (k, n) of all lanes; overwrites C.  C0's row stride may be `NO_START`, or 0."""
    c0_row = max(c0.row, 0)
    i = 0
    while i < m:
        rows = share(m - i, LANE_ROWS)
        a_here = Grid(shift(a.p, i * a.row), a.row, a.column)
        j = 0
        while j < n:
            columns = share(n - j, LANE_COLUMNS)
            b_here = Grid(shift(b.p, j * b.column), b.row, b.column)
            c0_here = Grid(shift(c0.p, i * c0_row + j * c0.column), c0.row, c0.column)
            c_here = Grid(shift(c.p, i * c.row + j * c.column), c.row, c.column)
            lane_tile(rows, columns, k, a_here, b_here, c0_here, c_here)
            j += columns
        i += rows
