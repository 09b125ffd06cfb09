"""Register tiles: the innermost loops of the matrix products, as explicit vector instructions.

A *tile* is a few rows by one to three vectors of columns of the result.  It stays in registers while the products'
common dimension runs by, one fused multiply-add for each row and vector:

    c[i, :] = c0[i, :] + sum_k a[i, k] b[k, :]        for the rows i of the tile

Every element is one chain of fused multiply-adds in the order of k, whatever tile it lies in.  So how a matrix is cut
into tiles, pieces or batches changes no bit of the result.

There is one LLVM function for each number of rows and vectors; masks take care of widths that are no multiple of a
vector.  The functions need a processor with fused multiply-add and masked moves (`TILES`); elsewhere BLAS makes the
products.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.rows import loop
from fastbp.kernels.simd import INT, INT32, TILING, Vectors, integer, new_function

TILES = TILING is not None  # whether products are made of tiles
VECTORS = len(TILING.most_rows) if TILING else 1  # vectors of the widest tile
NOTHING = -1  # a row stride of c0 that stands for c0 = 0
_PREFETCH_ROWS = 8
_GROUP = 4  # rows whose addresses are reckoned from one pointer
_LONG = 64  # steps that take longer than to fetch a cache line


def _opaque(builder: ir.IRBuilder, x: Any) -> Any:
    """A value that the compiler knows nothing about."""
    return builder.asm(ir.FunctionType(x.type, [x.type]), "", "=r,0", [x], side_effect=False)


def _tile(module: Any, real: Any, rows: int, vectors: int) -> Any:
    """c = c0 + a b for one tile and k > 0; c0_row < 0 stands for c0 = 0; the last vector has `last` columns."""
    name = f"fastbp_tile_{real}_{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    pointer = real.as_pointer()
    arguments = [INT, pointer, INT, INT, pointer, INT, pointer, INT, pointer, INT, INT]
    function, builder = new_function(module, name, arguments)
    k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, last = function.args
    v = Vectors(builder, real)
    columns = [integer(v.lanes)] * (vectors - 1) + [last]
    masks = [None] * (vectors - 1) + [v.first_lanes(last)]
    is_zero = builder.icmp_signed("<", c0_row, integer(0))
    masks_of_c0 = [v.first_lanes(builder.select(is_zero, integer(0), count)) for count in columns]
    grid = [(i, j) for i in range(rows) for j in range(vectors)]
    c0_rows = [builder.gep(c0, [builder.mul(c0_row, integer(i))]) for i in range(rows)]
    c_rows = [builder.gep(c, [builder.mul(c_row, integer(i))]) for i in range(rows)]
    sums = [v.load(c0_rows[i], j * v.lanes, masks_of_c0[j]) for i, j in grid]
    with builder.if_then(builder.icmp_signed(">", k, integer(_LONG))):
        for i, j in grid:  # the result's cache lines are on their way while the sums are made
            v.prefetch(builder.gep(c_rows[i], [integer(j * v.lanes)]), write=1)
    sums = _sums_of_products(v, k, (a, a_row, a_column), (b, b_row, masks), rows, sums)
    for (i, j), total in zip(grid, sums, strict=True):
        v.store(total, c_rows[i], j * v.lanes, masks[j])
    builder.ret_void()
    return function


def _sums_of_products(
    v: Vectors, k: Any, left: tuple[Any, Any, Any], right: tuple[Any, Any, list[Any]], rows: int, sums: list[Any]
) -> list[Any]:
    """The loop over the common dimension; `sums` of the tile, row by row, before and after."""
    builder = v.builder
    (a, a_row, a_column), (b, b_row, masks) = left, right
    # Every fourth row has a pointer of its own, which the compiler must not see through: it would reckon each row's
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

    return loop(builder, k, 1, [b, *groups, *sums], step)[1 + len(groups) :]


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
    mask = v.first_lanes(n_columns)
    some = ir.Constant(v.mask_type, [0] * v.lanes)
    rows = []
    for i in range(v.lanes):
        present = builder.icmp_signed("<", integer(i), n_rows)
        row = builder.gep(source, [builder.mul(source_row, integer(i))])
        rows.append(v.load(row, 0, builder.select(present, mask, some)))
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


def _copy(module: Any, real: Any, vectors: int) -> Any:
    """target[k, :] = source[k, :]; rows of target are whole vectors, 0 beyond `last` columns of the last one."""
    name = f"fastbp_copy_{real}_{vectors}"
    if name in module.globals:
        return module.globals[name]
    pointer = real.as_pointer()
    function, builder = new_function(module, name, [INT, pointer, INT, pointer, INT])
    k, source, source_row, target, last = function.args
    v = Vectors(builder, real)
    masks = [None] * (vectors - 1) + [v.first_lanes(last)]
    entry, loop, end = builder.block, function.append_basic_block("loop"), function.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", k, integer(0)), loop, end)
    builder.position_at_end(loop)
    left, p, q = builder.phi(INT), builder.phi(pointer), builder.phi(pointer)
    for phi, value in ((left, k), (p, source), (q, target)):
        phi.add_incoming(value, entry)
    ahead = builder.gep(p, [builder.mul(source_row, integer(_PREFETCH_ROWS))])
    for j in range(vectors):
        v.prefetch(builder.gep(ahead, [integer(j * v.lanes)]))
    for j in range(vectors):
        v.store(v.load(p, j * v.lanes, masks[j]), q, j * v.lanes)
    left_after = builder.sub(left, integer(1))
    for phi, value in (
        (left, left_after),
        (p, builder.gep(p, [source_row])),
        (q, builder.gep(q, [integer(vectors * v.lanes)])),
    ):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed(">", left_after, integer(0)), loop, end)
    builder.position_at_end(end)
    builder.ret_void()
    return function


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

    return p(p, types.int64), codegen


@intrinsic
def tile(typingctx, rows, vectors, k, a, a_row, a_column, b, b_row, c0, c0_row, c, c_row, last):
    """c = c0 + a b for `rows` rows and `vectors` vectors of columns, of the last of which `last` columns count."""
    i = types.int64
    signature = types.void(i, i, i, a, i, i, b, i, c0, i, c, i, i)

    def codegen(context, builder, signature, args):
        rows, vectors, *rest = args
        real = context.get_value_type(signature.args[3].dtype)
        done = builder.append_basic_block("tile_done")
        switch = builder.switch(builder.add(builder.mul(vectors, integer(64)), rows), done)
        for n_vectors, most_rows in enumerate(TILING.most_rows if TILING else (), start=1):
            for n_rows in range(1, most_rows + 1):
                block = builder.append_basic_block(f"tile_{n_rows}x{n_vectors}")
                switch.add_case(integer(64 * n_vectors + n_rows), block)
                builder.position_at_end(block)
                builder.call(_tile(builder.module, real, n_rows, n_vectors), rest)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_panel(typingctx, vectors, k, source, source_row, target, last):
    """target[k, :] = source[k, :] for k rows; of target they are `vectors` whole vectors, 0 beyond the last column."""
    i = types.int64
    signature = types.void(i, i, source, i, target, i)

    def codegen(context, builder, signature, args):
        vectors, *rest = args
        real = context.get_value_type(signature.args[2].dtype)
        done = builder.append_basic_block("copy_done")
        switch = builder.switch(vectors, done)
        for n_vectors in range(1, VECTORS + 1):
            block = builder.append_basic_block(f"copy_{n_vectors}")
            switch.add_case(integer(n_vectors), block)
            builder.position_at_end(block)
            builder.call(_copy(builder.module, real, n_vectors), rest)
            builder.branch(done)
        builder.position_at_end(done)
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
