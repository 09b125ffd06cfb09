"""Frames and calls of the root of first derivatives: how their rows are cut, and which way they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastbp.engine.cutting import DENSE, LEAST_SHARED_FLOPS, block_rows_for
from fastbp.engine.derived import DerivedFrame, make_derived, of_outputs
from fastbp.engine.passes import Passes
from fastbp.engine.problem import Problem
from fastbp.engine.workspace import RowPieces, rounded
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.roots import vector_jacobian as kernel
from fastbp.kernels.tables import codes
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows

_MOST_PIECES = 16
# Rows of a piece, for whose products it is worth reading all weights, or adding another gradient; where what is stored
# takes the time, and rows of all outputs' derivatives.
_LEAST_ROWS = 32
_LEAST_STORED_ROWS = 8
_LEAST_ERROR_ROWS = 128
_MOST_GRADIENT_ELEMENTS = 1 << 22  # of all pieces' gradients, where there are more than two
_ERROR_ELEMENTS = 1 << 15  # of the outputs' derivatives by one layer: two such parts stay in the second-level cache
# Numbers of the weights' products along all paths up to which they are worth being computed: 64 or 128 KiB.
_PATH_ELEMENTS = 1 << 14
# What a number of the result counts for where tangents are turned into rows of inputs, and in softmax's three passes.
_FLOPS_OF_A_TURN, _FLOPS_OF_A_SOFTMAX_TURN = 50, 200
_FLOPS_OF_A_STORE = 4  # what a number of the result counts for, where it comes to how many threads share the work
_FLOPS_PER_SECOND = 1e10  # pessimistically: whether a call is long enough to be interrupted
# Bytes of a result from which on it is written past the caches: a common size of the last one.  Of 95 MB it took a
# third less time than by ordinary stores; of 26 MB, which the last cache held, twice as long.
_PAST_CACHES = 1 << 25
_BYTES_PER_SECOND = 2e9  # that are written, to fresh pages


class FirstOrderFrame(DerivedFrame):
    """A frame of the root of first derivatives."""

    kernel = kernel

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.work_per_row = 0.0  # flops, and what stands for them
        self.seconds_per_row = 0.0

    def set_vector(self, vector: NDArray[Any]) -> None:
        """Point the kernels to a vector like the parameters."""
        self._point(kernel.VECTOR, vector)

    def set_way(self, way: int, half: int) -> None:
        """Say by which way the outputs' derivatives are computed, and how long each of two parts of EXTRA is."""
        self.addresses[[kernel.WAY, kernel.HALF]] = way, half


# --- frames -----------------------------------------------------------------------------------------------------------


def _make(problem: Problem, X: Rows, cut: RowPieces, work: float, n_vectors: int = 0) -> FirstOrderFrame:
    frame = make_derived(FirstOrderFrame, problem, X, cut, n_vectors=n_vectors, keep_z=True)
    frame.work_per_row = work
    frame.seconds_per_row = max(3 * DENSE.seconds_per_row(problem.sizes), work / _FLOPS_PER_SECOND)
    return frame


def _make_vjp(problem: Problem, X: Rows) -> FirstOrderFrame:
    """Make a frame for vector-Jacobian products: each piece of rows has a gradient of its own."""
    n_rows, n_params = len(X), problem.n_params
    work = 6.0 * n_params
    most = min(n_rows // _LEAST_ROWS, max(2, _MOST_GRADIENT_ELEMENTS // n_params))
    cut = _cut(problem.sizes, n_rows, work, most=most)
    return _make(of_outputs(problem), X, cut, work, cut.n_pieces)


def _make_sample_gradients(problem: Problem, X: Rows) -> FirstOrderFrame:
    """Make a frame for the gradients of the rows' own costs."""
    return _make_rows(problem, X, problem.n_params)


def _make_rows(problem: Problem, X: Rows, numbers: int = 0) -> FirstOrderFrame:
    """Make a frame for what each row has of its own cost, so many numbers for each."""
    sizes, work = problem.sizes, 6.0 * problem.n_params + _FLOPS_OF_A_STORE * numbers
    cut = _cut(sizes, len(X), work, most=len(X) // (_LEAST_STORED_ROWS if numbers else _LEAST_ROWS))
    return _make(problem, X, cut._replace(extra=cut.block_rows * max(sizes[1:])), work)


def _make_slopes(problem: Problem, X: Rows) -> FirstOrderFrame:
    """Make a frame for the derivatives of the output layer's activations."""
    work = 2.0 * problem.n_params
    return _make(of_outputs(problem), X, _cut(problem.sizes, len(X), work), work)


def _make_jacobian(problem: Problem, X: Rows) -> FirstOrderFrame:
    """Make a frame for the outputs' derivatives by the parameters."""
    sizes = problem.sizes
    work = 2.0 * problem.n_params + back_flops(sizes) + _FLOPS_OF_A_STORE * sizes[-1] * problem.n_params
    return _make_outputs(problem, X, kernel.BACK, work)


def _make_input_jacobian(problem: Problem, X: Rows) -> FirstOrderFrame:
    """Make a frame for the outputs' derivatives by the inputs, by the way that takes the fewest flops."""
    sizes = problem.sizes
    way, flops = input_jacobian_way(sizes, is_softmax=problem.segments[-1][0].code == codes.SOFTMAX)
    work = 2.0 * problem.n_params + flops + _FLOPS_OF_A_STORE * sizes[0] * sizes[-1]
    return _make_outputs(problem, X, way, work)


def _make_outputs(problem: Problem, X: Rows, way: int, work: float) -> FirstOrderFrame:
    sizes = problem.sizes
    n_outputs = sizes[-1]
    is_softmax = problem.segments[-1][0].code == codes.SOFTMAX
    if way == kernel.PATHS:
        width, n_weights = 0, sizes[0] * sizes[1] * n_outputs
    elif way == kernel.FORWARD:
        width, n_weights = sizes[0] * max(sizes[1:]), 0
    else:
        hidden = [*sizes[1:-1], n_outputs] if is_softmax else [1, *sizes[1:-1]]
        width, n_weights = n_outputs * max(hidden), sizes[-2] * n_outputs
    cut = _cut(sizes, len(X), work, width, most=len(X) * n_outputs // _LEAST_ERROR_ROWS)
    half = rounded(cut.block_rows * width)
    frame = _make(of_outputs(problem), X, cut._replace(extra=2 * half + n_weights), work)
    frame.set_way(way, half)
    frame.workspace.calls_blas |= not TILES  # whose products have more rows than a block
    return frame


def back_flops(sizes: Sequence[int]) -> int:
    """Flops of a row's way from the outputs back to the first layer's z, for all outputs at once."""
    return 2 * sizes[-1] * sum(m * n for m, n in pairwise(sizes[1:-1]))


def input_jacobian_way(sizes: Sequence[int], *, is_softmax: bool = False) -> tuple[int, int]:
    """Return the way to the Jacobian by the inputs, and its flops for a row."""
    n_features, n_outputs = sizes[0], sizes[-1]
    back = back_flops(sizes) + 2 * n_outputs * n_features * sizes[1]
    if is_softmax:  # whose own Jacobian takes the first step back
        back += 2 * n_outputs**2 * sizes[-2]
    if len(sizes) == 3 and n_features * sizes[1] * n_outputs <= _PATH_ELEMENTS:
        return kernel.PATHS, back
    forward = 2 * n_features * sum(m * n for m, n in pairwise(sizes[1:]))
    forward += n_features * n_outputs * (_FLOPS_OF_A_SOFTMAX_TURN if is_softmax else _FLOPS_OF_A_TURN)
    return (kernel.FORWARD, forward) if len(sizes) > 2 and forward < back else (kernel.BACK, back)


def _cut(sizes: Sequence[int], n_rows: int, work_per_row: float, width: int = 0, most: int = _MOST_PIECES) -> RowPieces:
    """Cut rows into pieces that are worth a thread's while; each row of a block has `width` numbers of its own."""
    pieces = int(min(n_rows, most, _MOST_PIECES, 2 * n_rows * work_per_row // LEAST_SHARED_FLOPS))
    pieces = max(1, pieces)
    rows = block_rows_for(sizes, n_rows)
    if width:
        rows = max(1, min(rows, _ERROR_ELEMENTS // width))
    return RowPieces(min(rows, -(-n_rows // pieces)), pieces)


# --- calls ------------------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """What is to be computed: its code, the kind of frame that serves it, and what makes one."""

    code: int
    kind: str
    make: Callable[[Problem, Rows], FirstOrderFrame]


VJP_PARAMS = Task(kernel.PARAMS, "vjp", _make_vjp)
VJP_INPUTS = Task(kernel.INPUTS, "vjp", _make_vjp)
VJP_BOTH = Task(kernel.BOTH, "vjp", _make_vjp)
INPUT_GRADIENT = Task(kernel.INPUT_GRADIENT, "rows", _make_rows)
SAMPLE_GRADIENTS = Task(kernel.SAMPLE_GRADIENTS, "sample gradients", _make_sample_gradients)
NORMS = Task(kernel.NORMS, "rows", _make_rows)
DOTS = Task(kernel.DOTS, "rows", _make_rows)
SLOPES = Task(kernel.SLOPES, "slopes", _make_slopes)
INPUT_JACOBIAN = Task(kernel.INPUT_JACOBIAN, "input jacobian", _make_input_jacobian)
JACOBIAN = Task(kernel.JACOBIAN, "jacobian", _make_jacobian)


def compute(
    task: Task,
    passes: Passes,
    params: NDArray[Any],
    X: Rows,
    targets: Targets | None,
    out: NDArray[Any] | None,
    n_threads: int | None,
    vector: NDArray[Any] | None = None,
) -> NDArray[Any] | None:
    """Do a task for valid data: fill `out`, which has a row for each row of X; of VJP_PARAMS and VJP_BOTH the gradient.

    Parameters
    ----------
    task : Task
        One of the above.
    passes : Passes
        The network's, which keep frames between calls.
    params : ndarray, shape (n_params,)
        Its parameters.
    X, targets
        Data; the targets of a vector-Jacobian product are the derivatives by the outputs.
    out : ndarray or None
        Contiguous, of the network's dtype.
    n_threads : int or None
        Threads to use.
    vector : ndarray, shape (n_params,), optional
        What gradients are multiplied by.
    """
    frame = passes.take_made(task.kind, X, task.make)
    frame.set_data(X, targets)
    if vector is not None:
        frame.set_vector(vector)
    seconds, flat = len(X) * frame.seconds_per_row, None
    if out is not None:
        flat = out.reshape(-1)  # so that the root has one type
        seconds += out.nbytes / _BYTES_PER_SECOND
        frame.addresses[kernel.PAST_CACHES] = out.nbytes >= _PAST_CACHES
    threads = frame.useful_threads(n_threads, len(X) * frame.work_per_row)
    frame.run(task.code, params, out=flat, n_threads=threads, seconds=seconds)
    total = frame.grads[: frame.n_params].copy() if task in (VJP_PARAMS, VJP_BOTH) else None
    if vector is not None:
        frame.set_vector(frame.nothing)
    passes.give_back(frame)
    return total
