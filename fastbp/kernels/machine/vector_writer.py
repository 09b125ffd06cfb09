"""A writer of LLVM functions made of explicit vector instructions.

The compiler vectorises plain loops well.  What it cannot do is keep a tile of a matrix in registers, load the last few
columns under a mask, or take a processor's estimate of a root: the functions written here can.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from fastbp.kernels.machine.processor import AVX2, AVX512, NEON, TILING, VECTOR_BYTES

INT = ir.IntType(64)
INT32 = ir.IntType(32)


def integer(value: int) -> Any:
    """Return a 64-bit constant."""
    return ir.Constant(INT, value)


def declared(module: Any, function_type: ir.FunctionType, name: str) -> Any:
    """Return a function that is defined elsewhere, declared in a module, once."""
    return module.globals.get(name) or ir.Function(module, function_type, name)


class Mask(NamedTuple):
    """Some lanes of a vector, as a rule its first ones."""

    lanes: Any  # a vector of bits; for AVX2 of integers as wide as the numbers, 0 or -1
    count: Any  # how many first lanes, or None


class Vectors:
    """Writes vector instructions for one dtype into one LLVM function."""

    def __init__(self, builder: ir.IRBuilder, real: Any, vector_bytes: int = VECTOR_BYTES) -> None:
        self.builder, self.real = builder, real
        self.bytes = 4 if isinstance(real, ir.FloatType) else 8
        self.lanes = vector_bytes // self.bytes
        self.type = ir.VectorType(real, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.bytes), self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)
        self._suffix = f"v{self.lanes}f{8 * self.bytes}"
        # AVX2 has no registers for bits: what is a vector of bits to LLVM is made anew from narrow integers, in five
        # dependent instructions, wherever it is used in another block than it was made in, such as a loop's.
        self._masks_are_integers = TILING is AVX2
        self._has_masked_loads = TILING is not NEON
        self._stores_parts = TILING in (AVX2, NEON)  # see `_store_parts`; Arm has no masked stores

    def call(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """Call an LLVM intrinsic by its full name."""
        function_type = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(declared(self.builder.module, function_type, name), arguments)

    def splat(self, x: Any, vector_type: Any = None) -> Any:
        """Vector of a scalar in all lanes."""
        vector_type = vector_type or self.type
        undefined = ir.Constant(vector_type, ir.Undefined)
        first = self.builder.insert_element(undefined, x, ir.Constant(INT32, 0))
        lanes = ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def first_lanes(self, count: Any) -> Mask:
        """Mask of the first `count` lanes, or of all of them; to be made once, outside of the loops that use it."""
        every = integer(self.lanes)
        count = self.builder.select(self.builder.icmp_signed("<", count, every), count, every)
        bound = self.builder.trunc(count, self.integers.element) if self.bytes < 8 else count
        numbers = ir.Constant(self.integers, list(range(self.lanes)))
        return self.mask(self.builder.icmp_signed("<", numbers, self.splat(bound, self.integers)), count)

    def mask(self, bits: Any, count: Any = None) -> Mask:
        """Mask of a vector of bits."""
        if not self._masks_are_integers:
            return Mask(bits, count)
        lanes = self.builder.sext(bits, self.integers)
        # which the compiler must not see through: it would go back to the bits
        same = ir.FunctionType(lanes.type, [lanes.type])
        return Mask(self.builder.asm(same, "", "=x,0", [lanes], side_effect=False), count)

    def choose(self, mask: Mask, x: Any, y: Any) -> Any:
        """x where the mask is set, y elsewhere."""
        if not self._masks_are_integers:
            return self.builder.select(mask.lanes, x, y)
        arguments = [y, x, self.builder.bitcast(mask.lanes, self.type)]
        if self.lanes * self.bytes == 16:
            return self.call(f"llvm.x86.sse41.blendv{'ps' if self.bytes == 4 else 'pd'}", self.type, arguments)
        return self._call_avx("blendv", self.type, arguments)

    def _call_avx(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """Call an intrinsic of AVX, whose names end with the precision and the width."""
        precision, width = "ps" if self.bytes == 4 else "pd", ".256" if self.lanes * self.bytes == 32 else ""
        return self.call(f"llvm.x86.avx.{name}.{precision}{width}", result, arguments)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z, rounded once."""
        return self.call(f"llvm.fma.{self._suffix}", self.type, [x, y, z])

    def number(self, x: float) -> Any:
        """Vector of a constant in all lanes."""
        return ir.Constant(self.type, [x] * self.lanes)

    def negative(self, x: Any) -> Any:
        """-x."""
        return self.builder.fsub(self.number(-0.0), x)

    def smallest(self, x: Any, bound: float) -> Any:
        """min(x, bound); NaN becomes the bound."""
        return self.call(f"llvm.minnum.{self._suffix}", self.type, [x, self.number(bound)])

    def largest(self, x: Any, bound: float) -> Any:
        """max(x, bound); NaN becomes the bound."""
        return self.call(f"llvm.maxnum.{self._suffix}", self.type, [x, self.number(bound)])

    def integer(self, x: int) -> Any:
        """Vector of an integer constant, as wide as the numbers."""
        return ir.Constant(self.integers, [x] * self.lanes)

    def power_of_two(self, n: Any) -> Any:
        """2**n for integers n whose power is a normal number: n stands in the exponent's bits."""
        digits, bias = (23, 127) if self.bytes == 4 else (52, 1023)
        bits = self.builder.shl(self.builder.add(n, self.integer(bias)), self.integer(digits))
        return self.builder.bitcast(bits, self.type)

    def across(self, operation: Any, x: Any) -> Any:
        """All lanes combined by `operation`, in every lane of the result; the order is a tree."""
        distance = self.lanes // 2
        indices = ir.VectorType(INT32, self.lanes)
        while distance:
            partners = ir.Constant(indices, [i ^ distance for i in range(self.lanes)])
            x = operation(x, self.builder.shuffle_vector(x, ir.Constant(self.type, ir.Undefined), partners))
            distance //= 2
        return x

    def permuted(self, x: Any, index: Any) -> Any:
        """Lane i of the result is lane index[i] of x; only the low bits of an index are used."""
        if TILING is None:
            return self._permuted_one_by_one(x, index)
        if TILING is NEON:
            return self._permuted_by_bytes(x, index)
        if TILING is AVX512:
            kind = "sf" if self.bytes == 4 else "df"
            return self.call(f"llvm.x86.avx512.permvar.{kind}.512", self.type, [x, index])
        if self.bytes == 8:  # AVX2 moves 32-bit numbers only: a double is two of them, 2 i and 2 i + 1
            halves = ir.VectorType(ir.FloatType(), 2 * self.lanes)
            low = self.builder.and_(self.builder.shl(index, self.integer(1)), self.integer(2 * self.lanes - 1))
            pair = self.builder.or_(low, self.builder.shl(self.builder.or_(low, self.integer(1)), self.integer(32)))
            pair = self.builder.bitcast(pair, ir.VectorType(INT32, 2 * self.lanes))
            moved = self.call("llvm.x86.avx2.permps", halves, [self.builder.bitcast(x, halves), pair])
            return self.builder.bitcast(moved, self.type)
        return self.call("llvm.x86.avx2.permps", self.type, [x, index])

    def _permuted_by_bytes(self, x: Any, index: Any) -> Any:
        """The same by Arm's table of bytes: those of lane i are `bytes` i and the ones behind."""
        every_byte = int.from_bytes(bytes([self.bytes]) * self.bytes, "little")
        low = self.builder.and_(index, self.integer(self.lanes - 1))
        places = self.builder.add(
            self.builder.mul(low, self.integer(every_byte)),
            self.integer(int.from_bytes(bytes(range(self.bytes)), "little")),
        )
        table = ir.VectorType(ir.IntType(8), self.lanes * self.bytes)
        arguments = [self.builder.bitcast(value, table) for value in (x, places)]
        return self.builder.bitcast(self.call("llvm.aarch64.neon.tbl1.v16i8", table, arguments), self.type)

    def _permuted_one_by_one(self, x: Any, index: Any) -> Any:
        """The same without an instruction for it."""
        result = x
        for i in range(self.lanes):
            lane = ir.Constant(INT32, i)
            source = self.builder.and_(
                self.builder.extract_element(index, lane), ir.Constant(index.type.element, self.lanes - 1)
            )
            result = self.builder.insert_element(result, self.builder.extract_element(x, source), lane)
        return result

    def call_same(self, name: str, x: Any) -> Any:
        """An LLVM intrinsic from a vector to a vector."""
        return self.call(f"llvm.{name}.{self._suffix}", self.type, [x])

    def pointer(self, p: Any, elements: int) -> Any:
        """Pointer to the vector that begins so many elements after p."""
        return self.builder.bitcast(self.builder.gep(p, [integer(elements)]), self.type.as_pointer())

    def load(self, p: Any, offset: int = 0, mask: Mask | None = None) -> Any:
        """Vector at p[offset:]; 0 where the mask is not set, without touching the memory there."""
        q = self.pointer(p, offset)
        if mask is None:
            vector = self.builder.load(q)
            vector.align = self.bytes
            return vector
        if self._masks_are_integers:
            return self._call_avx("maskload", self.type, [q, mask.lanes])
        if not self._has_masked_loads:
            return self._load_lanes(self.builder.gep(p, [integer(offset)]), mask)
        align = ir.Constant(INT32, self.bytes)
        return self.call(f"llvm.masked.load.{self._suffix}.p0", self.type, [q, align, mask.lanes, self.zero])

    def store(self, vector: Any, p: Any, offset: int = 0, mask: Mask | None = None) -> None:
        """p[offset:] = vector, where the mask is set.  It may branch: then the builder is in another block after it."""
        self.store_rows([vector], [self.builder.gep(p, [integer(offset)])], mask)

    def store_rows(self, vectors: list[Any], rows: list[Any], mask: Mask | None = None) -> None:
        """Store a vector at each pointer, all under one mask: with one look at it for all of them."""
        if mask is not None and mask.count is not None and self._stores_parts:
            self._store_parts(vectors, rows, mask.count)
            return
        for vector, p in zip(vectors, rows, strict=True):
            q = self.builder.bitcast(p, self.type.as_pointer())
            if mask is None:
                self.builder.store(vector, q).align = self.bytes
            elif self._masks_are_integers:
                self._call_avx("maskstore", ir.VoidType(), [q, mask.lanes, vector])
            else:
                align = ir.Constant(INT32, self.bytes)
                self.call(f"llvm.masked.store.{self._suffix}.p0", ir.VoidType(), [vector, q, align, mask.lanes])

    def _load_lanes(self, p: Any, mask: Mask) -> Any:
        """Load lane by lane, without branches: what is not wanted is a 0 that lies elsewhere."""
        zero = self.builder.module.globals.get(name := f"fastbp_zero_{self.real}")
        if zero is None:
            zero = ir.GlobalVariable(self.builder.module, self.real, name)
            zero.linkage, zero.global_constant, zero.initializer = "linkonce_odr", True, ir.Constant(self.real, 0.0)
        vector = ir.Constant(self.type, ir.Undefined)
        for i in range(self.lanes):
            lane = ir.Constant(INT32, i)
            wanted = self.builder.extract_element(mask.lanes, lane)
            there = self.builder.select(wanted, self.builder.gep(p, [integer(i)]), zero)
            vector = self.builder.insert_element(vector, self.builder.load(there), lane)
        return vector

    def _store_parts(self, vectors: list[Any], rows: list[Any], count: Any) -> None:
        """Store the first lanes by the bits of their number: a whole vector, or a half, a quarter and so on.

        Before Zen 5 a masked store of AVX2 is a program of up to forty instructions, six to twelve cycles; a branch
        that goes the same way each time costs next to nothing.
        """
        builder = self.builder
        with builder.if_else(builder.icmp_signed("==", count, integer(self.lanes))) as (every, some):
            with every:
                self.store_rows(vectors, rows)
            with some:
                size = self.lanes // 2
                while size:
                    vectors, rows = self._store_halves(vectors, rows, builder.and_(count, integer(size)), size)
                    size //= 2

    def _store_halves(self, vectors: list[Any], rows: list[Any], wanted: Any, size: int) -> tuple[list[Any], list[Any]]:
        """Store the lower halves of vectors if they are wanted; the halves that are left, and where they belong."""
        builder, indices = self.builder, ir.VectorType(INT32, size)
        low, high = (
            [builder.shuffle_vector(x, x, ir.Constant(indices, list(range(start, start + size)))) for x in vectors]
            for start in (0, size)
        )

        def store_low() -> list[Any]:
            for half, p in zip(low, rows, strict=True):
                builder.store(half, builder.bitcast(p, half.type.as_pointer())).align = self.bytes
            return high + [builder.gep(p, [integer(size)]) for p in rows]

        left = where(builder, builder.icmp_signed("!=", wanted, integer(0)), low + rows, store_low)
        return left[: len(rows)], left[len(rows) :]

    def prefetch(self, p: Any, write: int = 0, near: int = 3) -> None:
        """Ask for a cache line soon, for reading or writing, into the first-level (3) or the second-level cache (2)."""
        numbers = [ir.Constant(INT32, value) for value in (write, near, 1)]  # 1: data
        self.call("llvm.prefetch.p0", ir.VoidType(), [self.builder.bitcast(p, ir.IntType(8).as_pointer()), *numbers])


def members(builder: ir.IRBuilder, value: Any) -> list[Any]:
    """Return the members of a tuple that an intrinsic was called with."""
    return [builder.extract_value(value, i) for i in range(len(value.type.elements))]


def new_function(module: Any, name: str, arguments: list[Any]) -> tuple[Any, ir.IRBuilder]:
    """An empty function that is compiled on its own, once for all its callers."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"  # not "internal": the optimiser would make a copy for each constant argument
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def call_operation(
    name: str, write: Callable[..., None], builder: ir.IRBuilder, real: Any, arguments: list[Any]
) -> None:
    """Call the LLVM function that `write` writes, which does nothing where the first argument, the rows, is 0."""
    full_name = f"fastbp_{name}_{real}"
    module = builder.module
    if full_name not in module.globals:
        function, inner = new_function(module, full_name, [argument.type for argument in arguments])
        some, end = function.append_basic_block("some"), function.append_basic_block("none")
        inner.cbranch(inner.icmp_signed(">", function.args[0], integer(0)), some, end)
        inner.position_at_end(some)
        write(inner, real, list(function.args))
        inner.branch(end)
        inner.position_at_end(end)
        inner.ret_void()
    builder.call(module.globals[full_name], arguments)


def loop(builder: ir.IRBuilder, count: Any, step: Any, state: list[Any], body: Callable[..., list[Any]]) -> list[Any]:
    """``for i in range(0, count, step): state = body(i, *state)``; the final state.  `count` must be positive."""
    before, block = builder.block, builder.append_basic_block("loop")
    builder.branch(block)
    builder.position_at_end(block)
    i = builder.phi(INT)
    phis = [builder.phi(value.type) for value in state]
    after = body(i, *phis)
    following = builder.add(i, integer(step) if isinstance(step, int) else step)
    end = builder.block
    i.add_incoming(integer(0), before)
    i.add_incoming(following, end)
    for phi, first, later in zip(phis, state, after, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, end)
    done = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", following, count), block, done)
    builder.position_at_end(done)
    return after


class Columns(NamedTuple):
    """The columns of a row, in vectors: made once, outside of the loop over the rows."""

    whole: Any  # columns of the whole vectors
    n: Any
    edge: Mask  # of the vector behind them


def columns_of(vectors: Vectors, n: Any) -> Columns:
    """Cut n columns into whole vectors and an edge."""
    whole = vectors.builder.and_(n, integer(-vectors.lanes))
    return Columns(whole, n, vectors.first_lanes(vectors.builder.sub(n, whole)))


def over_columns(vectors: Vectors, columns: Columns, state: list[Any], body: Callable[..., list[Any]]) -> list[Any]:
    """``state = body(j, mask, *state)`` for each vector: the whole ones in a loop, without masks, then the edge."""
    builder = vectors.builder

    def whole(j: Any, *state: Any) -> list[Any]:
        return body(j, None, *state)

    some = builder.icmp_signed(">", columns.whole, integer(0))
    state = where(builder, some, state, lambda: loop(builder, columns.whole, vectors.lanes, state, whole))
    rest = builder.icmp_signed("<", columns.whole, columns.n)
    return where(builder, rest, state, lambda: body(columns.whole, columns.edge, *state))


def where(builder: ir.IRBuilder, condition: Any, state: list[Any], write: Callable[[], list[Any]]) -> list[Any]:
    """What `write` returns where the condition holds, else the state as it was."""
    before = builder.block
    with builder.if_then(condition):
        after, end = write(), builder.block
    phis = [builder.phi(value.type) for value in state]
    for phi, old, new in zip(phis, state, after, strict=True):
        phi.add_incoming(old, before)
        phi.add_incoming(new, end)
    return phis
