"""Register tiles: the innermost loops of the matrix products, as explicit vector instructions.

A *tile* is a few rows by one to three vectors of columns of the result.  It stays in registers while the products'
common dimension runs by, one fused multiply-add for each row and vector:

    c[i, :] = c0[i, :] + sum_k a[i, k] b[k, :]        for the rows i of the tile

Every element is one chain of fused multiply-adds in the order of k, whatever tile it lies in.  So how a matrix is cut
into tiles, pieces or batches changes no bit of the result.

There is one LLVM function for each number of rows and vectors; masks take care of widths that are no multiple of a
vector.  Where a mask is not free there are two: for whole vectors, and with a mask.  They are written for processors
that have a tiling, see `fastbp.kernels.machine.processor` (`TILES`); elsewhere BLAS makes the products.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.machine.processor import LONG_SUM, TILING, VECTOR_BYTES
from fastbp.kernels.machine.vector_writer import INT, INT32, Vectors, integer, loop, members, new_function

TILES = TILING is not None  # whether products are made of tiles
TILE_VECTORS = len(TILING.most_rows) if TILING else 1  # vectors of the widest tile
_MASKS_ARE_FREE = TILING is not None and TILING.has_mask_registers
NOTHING = -1  # a row stride of c0 that stands for c0 = 0
_TABLE_ROWS = 32  # entries of a line in the table of tiles, for 0 rows and up
_GROUP = 4  # rows whose addresses are computed from one pointer
_PART_BITS = 16


def _opaque(builder: ir.IRBuilder, x: Any) -> Any:
    """A value that the compiler knows nothing about."""
    return builder.asm(ir.FunctionType(x.type, [x.type]), "", "=r,0", [x], side_effect=False)


def _tile(module: Any, real: Any, rows: int, vectors: int, is_whole: bool) -> Any:
    """c = c0 + a b for one tile and k > 0; c0_row < 0 stands for c0 = 0; the last vector has `last` columns.

    With `vectors` = 0 it is half a vector wide.  If the tile `is_whole`, the last vector is as well.

    `soon` are three pointers to matrices whose cache lines in the tile's place are wanted when the tile is done: asked
    for while the sums are made, they cost next to nothing.
    """
    name = f"fastbp_tile_{real}_{rows}x{vectors}{'' if is_whole else '_masked'}"
    if name in module.globals:
        return module.globals[name]
    pointer = real.as_pointer()
    arguments = [INT, pointer, INT, INT, pointer, INT, pointer, INT, pointer, INT, INT]
    arguments += [INT, pointer, pointer, pointer]
    function, builder = new_function(module, name, arguments)
    k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, last, soon_row, *soon = function.args
    v = Vectors(builder, real, VECTOR_BYTES if vectors else VECTOR_BYTES // 2)
    vectors = max(vectors, 1)
    columns = [integer(v.lanes)] * (vectors - 1) + [integer(v.lanes) if is_whole else last]
    masks = [None] * (vectors - 1) + [None if is_whole else v.first_lanes(last)]
    is_zero = builder.icmp_signed("<", c0_row, integer(0))
    masks_of_c0 = [v.first_lanes(builder.select(is_zero, integer(0), count)) for count in columns]
    grid = [(i, j) for i in range(rows) for j in range(vectors)]
    c0_rows = [builder.gep(c0, [builder.mul(c0_row, integer(i))]) for i in range(rows)]
    c_rows = [builder.gep(c, [builder.mul(c_row, integer(i))]) for i in range(rows)]
    sums = [v.load(c0_rows[i], j * v.lanes, masks_of_c0[j]) for i, j in grid]

    def fetch(i: Any) -> None:
        """Ask for row i of the tile in the matrices that are wanted soon."""
        for matrix in soon:
            row = builder.gep(matrix, [builder.mul(i, soon_row)])
            for j in range(vectors):
                v.prefetch(builder.gep(row, [integer(j * v.lanes)]), write=1)

    sums = _sums_of_products(v, k, (a, a_row, a_column), (b, b_row, masks), rows, sums, fetch)
    for j, mask in enumerate(masks):
        v.store_rows(sums[j::vectors], [builder.gep(row, [integer(j * v.lanes)]) for row in c_rows], mask)
    builder.ret_void()
    return function


def _sums_of_products(
    v: Vectors,
    k: Any,
    left: tuple[Any, Any, Any],
    right: tuple[Any, Any, list[Any]],
    rows: int,
    sums: list[Any],
    fetch: Callable[[Any], None],
) -> list[Any]:
    """The loop over the common dimension; `sums` of the tile, row by row, before and after.

    A long loop is cut into as many parts as the tile has rows, and `fetch(i)` stands before part i: so the cache lines
    that it asks for come in one after the other, and never in a crowd that would hold up those of a and b.
    """
    builder = v.builder
    (a, a_row, a_column), (b, b_row, masks) = left, right
    # Every fourth row has a pointer of its own, which the compiler must not see through: it would compute each row's
    # address from the row before, and the sixteen additions would take longer than the sixteen multiply-adds.
    strides = [integer(0)] + [_opaque(builder, builder.mul(a_row, integer(i))) for i in range(1, min(rows, _GROUP))]
    groups = [_opaque(builder, builder.gep(a, [builder.mul(a_row, integer(i))])) for i in range(0, rows, _GROUP)]

    def step(_: Any, b_here: Any, *state: Any) -> list[Any]:
        a_here, sums = state[: len(groups)], state[len(groups) :]
        b_vectors = [v.load(b_here, j * v.lanes, mask) for j, mask in enumerate(masks)]
        after: list[Any] = []
        for i in range(rows):
            element = v.splat(builder.load(builder.gep(a_here[i // _GROUP], [strides[i % _GROUP]])))
            after += [v.fma(element, vector, sums[len(after) + j]) for j, vector in enumerate(b_vectors)]
        a_after = [_opaque(builder, builder.gep(pointer, [a_column])) for pointer in a_here]
        return [builder.gep(b_here, [b_row]), *a_after, *after]

    is_long = builder.icmp_signed(">", k, integer(LONG_SUM))
    # ceil(k / rows) or one more, without a division
    part = builder.ashr(builder.mul(k, integer((1 << _PART_BITS) // rows + 1)), integer(_PART_BITS))
    part = builder.select(is_long, builder.add(part, integer(1)), k)

    def steps(done: Any, i: Any, *state: Any) -> list[Any]:
        with builder.if_then(is_long):
            fetch(i)
        left = builder.sub(k, done)
        count = builder.select(builder.icmp_signed("<", left, part), left, part)
        return [builder.add(i, integer(1)), *loop(builder, count, 1, list(state), step)]

    return loop(builder, k, part, [integer(0), b, *groups, *sums], steps)[2 + len(groups) :]


def _transposed(v: Vectors, rows: list[Any]) -> list[Any]:
    """The columns of a square block of vectors: log2(lanes) rounds of exchanges, each of one bit of the two indices."""
    indices = ir.VectorType(INT32, v.lanes)
    bit = 1
    while bit < v.lanes:
        low = [i if not i & bit else v.lanes + (i ^ bit) for i in range(v.lanes)]
        high = [i | bit if not i & bit else v.lanes + i for i in range(v.lanes)]
        after = list(rows)
        for i in range(v.lanes):
            if not i & bit:
                pair = rows[i], rows[i | bit]
                after[i] = v.builder.shuffle_vector(*pair, ir.Constant(indices, low))
                after[i | bit] = v.builder.shuffle_vector(*pair, ir.Constant(indices, high))
        rows, bit = after, 2 * bit
    return rows


def _transpose(module: Any, real: Any) -> Any:
    """target[j, i] = source[i, j] for up to a vector of rows i and of columns j; rows of target are whole vectors."""
    name = f"fastbp_transpose_{real}"
    if name in module.globals:
        return module.globals[name]
    pointer = real.as_pointer()
    function, builder = new_function(module, name, [INT, INT, pointer, INT, pointer, INT])
    n_rows, n_columns, source, source_row, target, target_row = function.args
    v = Vectors(builder, real)
    rows = []
    for i in range(v.lanes):
        present = builder.icmp_signed("<", integer(i), n_rows)
        row = builder.gep(source, [builder.mul(source_row, integer(i))])
        rows.append(v.load(row, 0, v.first_lanes(builder.select(present, n_columns, integer(0)))))
    columns = _transposed(v, rows)
    for j in range(v.lanes):
        block = function.append_basic_block(f"column_{j}")
        following = function.append_basic_block(f"after_{j}")
        builder.cbranch(builder.icmp_signed("<", integer(j), n_columns), block, following)
        builder.position_at_end(block)
        v.store(columns[j], builder.gep(target, [builder.mul(target_row, integer(j))]))
        builder.branch(following)
        builder.position_at_end(following)
    builder.ret_void()
    return function


if numba.config.DISABLE_JIT:

    def scratch(p: Any, elements: int) -> Any:
        """NumPy twin."""
        return np.zeros(elements, p.dtype)

else:

    @intrinsic
    def scratch(typingctx, p, elements):
        """Memory on the stack for a literal number of elements of the dtype of `p`, at the start of a cache line."""
        if not isinstance(elements, types.IntegerLiteral):
            return None
        count = elements.literal_value

        def codegen(context, builder, signature, args):
            real = context.get_value_type(p.dtype)
            with builder.goto_entry_block():
                memory = builder.alloca(real, integer(count))
                memory.align = 64
            return memory

        return p(p, elements), codegen  # the literal's type keeps apart what is compiled for different numbers


def _kinds(most_rows: tuple[int, ...]) -> list[tuple[int, bool]]:
    """The kinds of tiles, a line of their table each: how many vectors, and whether the last one is whole."""
    some = range(1, len(most_rows) + 1)
    if _MASKS_ARE_FREE:
        return [(vectors, False) for vectors in (0, *some)]
    return [(vectors, is_whole) for is_whole in (True, False) for vectors in some]


def _line(builder: ir.IRBuilder, real: Any, vectors: Any, last: Any) -> Any:
    """The line of the kind of tile that a panel needs."""
    bytes_of_number = Vectors(builder, real).bytes
    if _MASKS_ARE_FREE:
        # Some of these processors do a long vector in two halves: a few columns take half the time in a short one.
        fits = builder.icmp_signed("<=", last, integer(VECTOR_BYTES // 2 // bytes_of_number))
        half = builder.and_(fits, builder.icmp_signed("==", vectors, integer(1)))
        return builder.select(half, integer(0), vectors)
    is_whole = builder.icmp_signed("==", last, integer(VECTOR_BYTES // bytes_of_number))
    return builder.add(vectors, builder.select(is_whole, integer(-1), integer(TILE_VECTORS - 1)))


def _tiles(module: Any, real: Any, most_rows: tuple[int, ...]) -> Any:
    """A table of the tiles: entry [kind, rows]."""
    name = f"fastbp_tiles_{real}"
    if name in module.globals:
        return module.globals[name]
    tiles = [
        [_tile(module, real, rows, vectors, is_whole) for rows in range(1, most_rows[max(vectors, 1) - 1] + 1)]
        for vectors, is_whole in _kinds(most_rows)
    ]
    pointer = tiles[0][0].type
    entries = [ir.Constant(pointer, None)] * (len(tiles) * _TABLE_ROWS)
    for i, line in enumerate(tiles):
        entries[i * _TABLE_ROWS + 1 : i * _TABLE_ROWS + 1 + len(line)] = line
    table_type = ir.ArrayType(pointer, len(entries))
    table = ir.GlobalVariable(module, table_type, name)
    table.linkage, table.global_constant = "linkonce_odr", True
    table.initializer = ir.Constant(table_type, entries)
    return table


@intrinsic
def tile(typingctx, rows, panel, k, a, b, c0, c, soon):
    """c = c0 + a b for `rows` rows and one panel of columns; the tuples are those of `products`.

    `soon` points to the tile's place in matrices that are wanted soon, c itself for instance; their numbers are not
    used.
    """
    signature = types.void(types.int64, panel, types.int64, a, b, c0, c, soon)

    def codegen(context, builder, signature, args):
        rows, panel, k, *matrices, soon = args
        _, vectors, last = members(builder, panel)
        numbers = [number for matrix in matrices for number in members(builder, matrix)]
        rest = [k, *numbers, last, *members(builder, soon)]
        real = context.get_value_type(signature.args[3][0].dtype)
        if TILING is None:  # never called, see `dense`
            return context.get_dummy_value()
        line = builder.mul(_line(builder, real, vectors, last), integer(_TABLE_ROWS))
        entry = builder.gep(_tiles(builder.module, real, TILING.most_rows), [integer(0), builder.add(line, rows)])
        builder.call(builder.load(entry), rest)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose_block(typingctx, n_rows, n_columns, source, source_row, target, target_row):
    """target[j, i] = source[i, j] for at most a vector of rows and of columns."""
    i = types.int64
    signature = types.void(i, i, source, i, target, i)

    def codegen(context, builder, signature, args):
        real = context.get_value_type(signature.args[2].dtype)
        builder.call(_transpose(builder.module, real), args)
        return context.get_dummy_value()

    return signature, codegen
