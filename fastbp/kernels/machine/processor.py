"""The numbers that tune the kernels: what fits into registers and caches, and from where on another way is quicker.

Registers have a set of numbers for each kind of processor; all other numbers serve every kind.  Some of them decide in
which order sums are made, so that another number would change last bits.
"""

from typing import NamedTuple

import numba

from fastbp.kernels.machine.target import TARGET, instruction_sets

# --- registers --------------------------------------------------------------------------------------------------------


_NEVER = 1 << 40  # rows


class Tiling(NamedTuple):
    """What fits into the registers of a processor."""

    vector_bytes: int
    most_rows: tuple[int, ...]  # entry v - 1: the most rows of a tile of v vectors
    # Whether a mask is a register of its own, and free.  Elsewhere it is a vector, and reading under it takes a tenth
    # of a tile's time: whole vectors are read without.
    has_mask_registers: bool
    # Rows of a from which on it pays to copy a panel of b whose rows are a multiple of `FAR_BYTES` apart.
    copied_rows: int


# 32 registers: accumulators, a row of b, and a broadcast element of a.  The products of rows and vectors are large
# enough to hide the four cycles of a multiply-add on two units, and small enough not to spill.
AVX512 = Tiling(64, (16, 12, 8), has_mask_registers=True, copied_rows=_NEVER)
# 16 registers: 12 accumulators, two vectors of b, an element of a, and a mask where there is one.
AVX2 = Tiling(32, (10, 6), has_mask_registers=False, copied_rows=12)
# 32 registers.  No Arm processor was at hand: that the tiles are right was seen in an emulator, their speed nowhere.
NEON = Tiling(16, (16, 12, 8), has_mask_registers=False, copied_rows=12)


def host_tiling() -> Tiling | None:
    """Return the tiling for the processor that Numba compiles for; None where the products are left to BLAS."""
    if numba.config.DISABLE_JIT:
        return None
    if TARGET.is_arm:
        return NEON
    present = instruction_sets(TARGET)
    if "avx512" in present:
        return AVX512
    return AVX2 if {"avx2", "fma"} <= present else None


TILING = host_tiling()
VECTOR_BYTES = TILING.vector_bytes if TILING else 16

# --- matrix products --------------------------------------------------------------------------------------------------

# Multiply-adds up to which a plain loop beats the call of a tile; measured over shapes from 1 x 2 x 2 to 32 x 16 x 16.
TINY_PRODUCT = 64
# Steps of the common dimension for which a panel of b stays in the first-level cache: 256 x 48 float32 are 48 KiB.
PANEL_STEPS = 256
PANEL_COLUMNS = 48  # of a panel, or of the panels that are copied at a time
PANEL_ELEMENTS = PANEL_STEPS * PANEL_COLUMNS
FAR_BYTES = 4096  # rows that are a multiple of it apart fall into one set of the first-level cache
# Tiles whose gradient, parameters and moments stay in the first-level cache until the step: some 24 KiB.
STEP_TILES = 4
STEP_ELEMENTS = STEP_TILES * 16 * 3 * 8  # of the widest tiles there are: 8 x 3 vectors of 16
ONE_ROW_VECTORS = 8  # of columns that are done at once: as many sums as hide how long a multiply-add takes
ONE_ROW_COLUMNS = 512  # of a part of a layer's weights whose gradient from one row is made before their step is taken
LONG_SUM = 32  # steps of the common dimension that take longer than to fetch a cache line

# --- rows and parameters ----------------------------------------------------------------------------------------------

LINE_BYTES = 64  # of a cache line
GATHER_AHEAD = 1024  # elements between the row that is copied and the row that is asked for
SUMMED_VECTORS = min(2, LINE_BYTES // VECTOR_BYTES)  # of columns summed at once: as many as there are registers for
SHORT_ROW = 4  # elements of a row up to which it is copied one by one: a masked store is slow
# Numbers of a sparse row between the row of W that is used and the one that is asked for: worth a fifth of float32's
# time.
SPARSE_AHEAD = 6
# Elements of W whose gradient from sparse rows is made before their step is taken: 64 or 128 KiB, which stay in the
# second-level cache.
SPARSE_STEP_ELEMENTS = 1 << 14
# Parameters between the one that is changed and the one that is asked for: other threads have read them, and calling
# their copies back takes long.
ADAM_AHEAD = 256
# Of a result that is copied past the caches at a time: 8 or 16 KiB, which stay in the first-level cache.
STREAMED_ELEMENTS = 1 << 11

# --- pieces for threads -----------------------------------------------------------------------------------------------

# Pieces of one layer: at least this many neurons and this many flops (some 10 us), so that a piece is worth its 1 to
# 2 us, and never more than MOST_LAYER_PIECES: two for each of 16 threads, which with 8 in all were no quicker than 8.
LEAST_PIECE_NEURONS = 32
LEAST_PIECE_FLOPS = 1 << 20
MOST_LAYER_PIECES = 32
FLOPS_OF_A_STEP = 32  # what a parameter's step counts for where work is cut into pieces
PIECE_ALIGNMENT = 16  # a piece of neurons or parameters begins at a multiple of this: a whole cache line of float32
LEAST_UPPER_ROWS = 24  # of a piece through the upper layers of a network that is shared by features
LEAST_SPARSE_ROWS = 8  # of a piece through a first layer whose inputs are sparse rows
LOAD_ELEMENTS = 1 << 14  # elements of X that a piece gathers: some 5 us
OUTPUT_ELEMENTS = 1 << 12  # elements of the output layer of a piece
FETCH_FEATURES = 24  # rows of weights between which a part of the next mini-batch is fetched
MOST_PARAMS_AT_ONCE = 1 << 13  # whose step waits for all layers' gradients: some 32 KiB of float32
MOST_MOVE_PIECES = 256  # of a call that moves parameters; far more than threads, so that none waits long at the end

# --- waiting ----------------------------------------------------------------------------------------------------------

POLLS_BEFORE_YIELD = 64  # some 2 to 4 us: a yield costs less than that where nobody waits for the processor
PATIENCE = 256  # looks at a last piece, some 5 to 10 us, before it is taken from a thread that may be held up
