"""Products with second derivatives and Jacobians: frames for them, and networks linearized once for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import DENSE, LEAST_SHARED_FLOPS, block_rows_for, gradient_pieces
from fastbp.engine.derived import DerivedFrame, make_derived, of_this_process
from fastbp.engine.parameters import count_params
from fastbp.engine.passes import Passes
from fastbp.engine.problem import Problem
from fastbp.engine.workspace import RowPieces, aligned_empty, rounded
from fastbp.kernels.layers.linearization import N_KEPT, N_KEPT_OF_OUTPUTS
from fastbp.kernels.roots import entry
from fastbp.kernels.roots import second_order as root
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.system.memory import require_memory
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows

HESSIAN, GAUSS_NEWTON, FISHER = root.HESSIAN, root.GAUSS_NEWTON_MATRIX, root.FISHER
JACOBIAN, INPUT_JACOBIAN, TRANSPOSED = root.JACOBIAN, root.INPUT_JACOBIAN, root.TRANSPOSED

# A product has a vector of its own for each piece of rows: as for gradients while these fit into the caches, and where
# they do not, as long as a piece has so many rows that adding up the vectors is little beside the matrix products.
_VECTOR_ELEMENTS = 1 << 18
_LEAST_PIECE_ROWS = 32
_ROWS_OF_A_LARGE_VECTOR = 64
_MOST_LARGE_VECTORS = 8
_MOST_PIECES = 16
_MOST_FEATURE_PIECES = 4  # fewer than of a gradient: each has a part of two products, and all parts are added up alone
_SMALL_VECTOR = 1 << 10  # numbers, up to which copying a vector is quicker than asking for its address
_FORWARD_PASSES = 4  # that a product takes about as long as


class SecondOrderFrame(DerivedFrame):
    """A frame of the root of products; its rows' flops and seconds are those of a product."""

    kernel = root
    flops = 0
    seconds = 0.0
    writes_result = False  # whether a product is written where it is returned, rather than copied
    state_size = 0  # elements of what is kept of a block
    _small: NDArray[Any] | None = None

    def multiply(
        self,
        task: int,
        params: NDArray[Any],
        v: NDArray[Any],
        *,
        out: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Do a task of the root for the data that were set, with a vector of the right shape and dtype."""
        is_small = v.size <= _SMALL_VECTOR
        if is_small:
            if self._small is None:
                self._small = np.empty(_SMALL_VECTOR, self.dtype)
            self._point(root.VECTOR, self._small)
            self._small[: v.size] = v
        else:
            self._point(root.VECTOR, v)
        self.run(task, params, out=out, n_threads=self.useful_threads(n_threads, self.flops), seconds=self.seconds)
        if not is_small:
            self._arrays[root.VECTOR] = None

    def product(self, task: int, params: NDArray[Any], v: NDArray[Any], n_threads: int | None) -> NDArray[Any]:
        """Return a product that is a vector like the parameters, a new array."""
        if not self.writes_result:
            self.multiply(task, params, v, n_threads=n_threads)
            return self.grads[: self.n_params].copy()
        self.grads = product = aligned_empty(self.n_params, self.dtype)
        self.multiply(task, params, v, n_threads=n_threads)
        self.grads = self.nothing
        self._point(entry.GRADS, self.nothing)  # nobody writes to it any more
        return product

    def set_rows(self, X: Rows, targets: Targets | None = None, sample_weight: NDArray[Any] | None = None) -> None:
        """Point the kernels to rows whose mean is to be differentiated."""
        self.set_data(X, targets, sample_weight)
        divisor = len(X) if sample_weight is None else float(np.sum(sample_weight, dtype=np.float64))
        self.scalars[in_scalars.WEIGHT_FACTOR] = 1.0 / divisor


def state_size(sizes: Sequence[int], block_rows: int) -> int:
    """Elements of what is kept of a block; the same as `fastbp.kernels.layers.linearization.state_size`."""
    *hidden, outputs = (rounded(block_rows * width) for width in sizes[1:])
    return N_KEPT * sum(hidden) + N_KEPT_OF_OUTPUTS * outputs


def make_products(
    problem: Problem, X: Rows, *, adds_up: bool = True, keeps: bool = False, of_inputs: bool = False
) -> SecondOrderFrame:
    """Allocate a frame for products over all rows of X.

    Parameters
    ----------
    problem : Problem
        What the kernels are told.
    X : ndarray or SparseRows
        Data like those that it is for.
    adds_up : bool
        Whether products are vectors like the parameters, rather than rows of outputs.
    keeps : bool
        Whether the linearization is kept elsewhere.
    of_inputs : bool
        Whether inputs move, and not the parameters.
    """
    sizes, n_rows = problem.sizes, len(X)
    mode, n_features = gradient_pieces(sizes, n_rows)
    n_features = min(n_features, _MOST_FEATURE_PIECES)
    by_features = mode == in_plan.BY_FEATURES and not of_inputs
    block_rows, n_pieces = (n_rows, 1) if by_features else _row_pieces(sizes, n_rows)
    state = 0 if keeps else state_size(sizes, block_rows)
    parts = 2 * n_features * n_rows * sizes[1] if by_features else 0
    cut = RowPieces(block_rows, n_pieces, state + parts)
    writes_result = n_pieces == 1 and problem.n_params > _SMALL_VECTOR
    n_vectors = 0 if writes_result or not adds_up else n_pieces
    frame = make_derived(SecondOrderFrame, problem, X, cut, n_vectors=n_vectors, keep_z=True)
    if by_features:
        plan = frame.workspace.plan
        plan[[in_plan.MODE, in_plan.N_PIECES]] = in_plan.BY_FEATURES, n_features
        plan[in_plan.PARTS] = plan[in_plan.EXTRA] + state
    frame.writes_result = writes_result
    frame.state_size = state_size(sizes, block_rows)
    frame.flops = _FORWARD_PASSES * n_rows * DENSE.flops_per_row(sizes)
    frame.seconds = _FORWARD_PASSES * n_rows * DENSE.seconds_per_row(sizes)
    return frame


def _row_pieces(sizes: Sequence[int], n_rows: int) -> tuple[int, int]:
    """Rows of a block, and into how many pieces the blocks are shared: from the problem alone."""
    n_params = count_params(sizes)
    flops = 6 * n_rows * n_params
    large = min(_MOST_LARGE_VECTORS, n_rows // _ROWS_OF_A_LARGE_VECTOR)
    most = min(_MOST_PIECES, max(_VECTOR_ELEMENTS // n_params, large))
    n_pieces = max(1, min(n_rows // _LEAST_PIECE_ROWS, 2 * flops // LEAST_SHARED_FLOPS, most))
    block_rows = min(block_rows_for(sizes, n_rows), -(-n_rows // n_pieces))
    return block_rows, n_pieces


def _make_keeping(problem: Problem, X: Rows) -> SecondOrderFrame:
    return make_products(problem, X, keeps=True)


class LinearizedRows:
    """A network linearized at its parameters for some rows: what all products of these need is computed once.

    Several threads may use it at once: each call takes a frame for itself.

    Parameters
    ----------
    passes : Passes
        The network's, which keeps the frames when this is gone.
    params : ndarray, shape (n_params,)
        Its parameters, which must not change.
    X, targets, sample_weight
        Valid data; X must not change either.
    n_threads : int, optional
        Threads to use.
    """

    def __init__(
        self,
        passes: Passes,
        params: NDArray[Any],
        X: Rows,
        targets: Targets,
        sample_weight: NDArray[Any] | None,
        n_threads: int | None,
    ) -> None:
        self._passes, self._params, self._X, self._n_threads = passes, params, X, n_threads
        self._spare: list[SecondOrderFrame] = []
        frame = passes.take_made("linearized", X, _make_keeping)
        elements = -(-len(X) // frame.workspace.block_rows) * frame.state_size
        cure = "Take fewer rows at a time, since products add up over rows, or call `hvp` without `linearize`."
        require_memory(elements * frame.dtype.itemsize, f"The linearization of {len(X)} rows", cure)
        self._state = aligned_empty(elements, frame.dtype)
        frame.state = self._state
        frame.set_rows(X, targets, sample_weight)
        frame.multiply(root.LINEARIZE, params, params, n_threads=n_threads)
        frame.set_data(X)
        self._spare.append(frame)

    def __del__(self) -> None:
        for frame in self._spare:
            frame.forget()
            self._passes.give_back(frame)

    def __reduce__(self) -> Never:
        """Refuse `pickle` and `copy`."""
        raise of_this_process()

    def product(self, task: int, v: NDArray[Any]) -> NDArray[Any]:
        """Return a product that is a vector like the parameters, a new array."""
        frame = self._take()
        product = frame.product(root.KEPT + task, self._params, v, self._n_threads)
        self._spare.append(frame)
        return product

    def outputs(self, v: NDArray[Any]) -> NDArray[Any]:
        """Return what the outputs change by along the parameters v, (n, n_outputs)."""
        frame = self._take()
        out = np.empty((len(self._X), frame.n_outputs), frame.dtype)
        frame.multiply(root.KEPT + JACOBIAN, self._params, v, out=out.reshape(-1), n_threads=self._n_threads)
        self._spare.append(frame)
        return out

    def _take(self) -> SecondOrderFrame:
        try:
            return self._spare.pop()
        except IndexError:  # another thread has it
            frame = self._passes.take_made("linearized", self._X, _make_keeping)
            frame.state = self._state
            frame.set_data(self._X)
            return frame
