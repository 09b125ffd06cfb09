"""Forward passes and gradients of a network, each in a frame that is kept for the next call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import DENSE, SMALL_FLOPS, SMALL_INPUT, inputs_of
from fastbp.engine.frame import Frame, Key
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import make_frame
from fastbp.engine.threads import process_limit, thread_count
from fastbp.kernels.roots import entry
from fastbp.system.memory import require_memory
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows, SparseRows

_Kind = TypeVar("_Kind", bound=Frame)

_MOST_SPARE_FRAMES = 8
_SMALL_FRAME_BYTES = 1 << 20


class Passes:
    """Forward passes and gradients of one network, with frames that are kept for the next call.

    Several threads may use one network at once: each call takes a frame for itself.

    Parameters
    ----------
    sizes : tuple of int
        Its layer sizes, input first.
    params : ndarray, shape (n_params,)
        Its parameters, which may change in place.
    make_problem : callable
        Returns what the kernels must know of it; called when a frame is made, because it compiles a user's
        activations and loss.
    """

    def __init__(self, sizes: tuple[int, ...], params: NDArray[Any], make_problem: Callable[[], Problem]) -> None:
        self._sizes, self._params, self._make_problem = sizes, params, make_problem
        self._dtype = params.dtype  # as the kernels write, whatever a user sets it to
        self._spare: dict[Key, list[Frame]] = {}
        self._small: dict[int, list[Frame]] = {}  # frames for the outputs of so many rows
        self._flops_per_row, self._seconds_per_row = DENSE.flops_per_row(sizes), DENSE.seconds_per_row(sizes)

    def _flops_of_row(self, X: Rows) -> int:
        """Return the flops of a row's forward pass."""
        return inputs_of(X).flops_per_row(self._sizes) if isinstance(X, SparseRows) else self._flops_per_row

    def _seconds_of_row(self, X: Rows) -> float:
        """Return what a row's forward pass takes, pessimistically: whether a call is long enough to be interrupted."""
        return inputs_of(X).seconds_per_row(self._sizes) if isinstance(X, SparseRows) else self._seconds_per_row

    def outputs(self, X: Rows, n_threads: int | None) -> NDArray[Any]:
        """Return the outputs (n, n_outputs) for valid inputs."""
        n_rows = X.shape[0]
        flops = n_rows * self._flops_of_row(X)
        if flops <= SMALL_FLOPS and not isinstance(X, SparseRows) and X.size <= SMALL_INPUT:
            if n_threads is not None:
                thread_count(n_threads)  # refuse wrong ones
            return self._small_outputs(X)
        n_outputs, dtype = self._sizes[-1], self._dtype
        n_bytes = n_rows * n_outputs * dtype.itemsize
        require_memory(n_bytes, f"The outputs of {n_rows} rows", "Predict fewer rows at a time.")
        out = np.empty((n_rows, n_outputs), dtype)
        frame = self.take("outputs", X)
        frame.set_data(X)
        threads = frame.useful_threads(n_threads, flops)
        flat = out.reshape(-1)  # so that the root has one type
        frame.run(entry.OUTPUTS, self._params, out=flat, n_threads=threads, seconds=n_rows * self._seconds_of_row(X))
        self.give_back(frame)
        return out

    def _small_outputs(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for a few rows, in as few instructions as there can be."""
        n_rows = X.shape[0]
        try:
            frames = self._small[n_rows]
            frame = frames.pop()
        except (KeyError, IndexError):  # the first call, or as many threads as there are frames
            if len(self._small) >= _MOST_SPARE_FRAMES:
                self._small = {}
            frames = self._small.setdefault(n_rows, [])
            frame = make_frame(self._make_problem(), n_rows, n_rows, gradient=False)
        out = frame.small_outputs(X, self._params, self._sizes[-1])
        frames.append(frame)
        return out

    def cost(
        self,
        X: Rows,
        targets: Targets,
        sample_weight: NDArray[Any] | None,
        *,
        params: NDArray[Any] | None = None,
        n_threads: int | None,
    ) -> float:
        """Cost with penalties, for valid data; of the model's own parameters if none are given."""
        frame = self.take("cost", X)
        frame.set_data(X, targets, sample_weight)
        threads = frame.useful_threads(n_threads, len(X) * self._flops_of_row(X))
        params = self._params if params is None else params
        cost = frame.value(params, n_threads=threads, seconds=len(X) * self._seconds_of_row(X))
        self.give_back(frame)
        return cost

    def value_and_grad(
        self,
        X: Rows,
        targets: Targets,
        sample_weight: NDArray[Any] | None,
        *,
        params: NDArray[Any],
        n_threads: int | None,
    ) -> tuple[float, NDArray[Any]]:
        """Cost and gradient (n_params,), both with penalties, for valid data."""
        frame = self.take("gradient", X)
        frame.set_data(X, targets, sample_weight)
        threads = frame.useful_threads(n_threads, 3 * len(X) * self._flops_of_row(X))
        result = frame.value_and_grad(params, n_threads=threads, seconds=3 * len(X) * self._seconds_of_row(X))
        self.give_back(frame)
        return result

    def training_frame(self, batch_rows: int, X: Rows) -> Frame:
        """Return a frame for the steps of a fit; for a small one, making it takes longer than a hundred steps."""
        return self.take("training", X, batch_rows)

    def keep_training_frame(self, frame: Frame) -> None:
        """Keep the frame of a fit that is over, if it is small, for the next."""
        if frame.workspace.work.nbytes + frame.grads.nbytes <= _SMALL_FRAME_BYTES:
            frame.forget()
            self.give_back(frame)

    def take(self, kind: str, X: Rows, batch_rows: int | None = None) -> Frame:
        """Return a frame that nobody else uses, for gradients of all rows or of `batch_rows`."""
        n_rows, inputs = len(X), inputs_of(X)
        batch_rows = n_rows if batch_rows is None else batch_rows
        key = (kind, n_rows, batch_rows, inputs, process_limit.n_threads)
        frame = self._spare_frame(key)
        if frame is None:
            gradient = kind in ("gradient", "training")
            frame = make_frame(self._make_problem(), batch_rows, n_rows, gradient=gradient, inputs=inputs)
            frame.key = key
        return frame

    def take_made(self, kind: str, X: Rows, make: Callable[[Problem, Rows], _Kind]) -> _Kind:
        """Return a frame of another kind, made by `make` unless one for as many rows of the same kind is left.

        Frames of one kind must be made by one function.
        """
        n_rows = len(X)
        key = (kind, n_rows, n_rows, inputs_of(X), process_limit.n_threads)
        frame: Any = self._spare_frame(key)
        if frame is None:
            frame = make(self._make_problem(), X)
            frame.key = key
        made: _Kind = frame
        return made

    def _spare_frame(self, key: Key) -> Frame | None:
        spare = self._spare.get(key)
        if spare:
            try:
                return spare.pop()
            except IndexError:  # another thread was faster
                pass
        return None

    def give_back(self, frame: Frame) -> None:
        """Keep a frame for the next call of the same size."""
        key, frame.in_use = frame.key, ()
        assert key is not None
        if len(self._spare) >= _MOST_SPARE_FRAMES and key not in self._spare:
            self._spare = {}
        frames = self._spare.setdefault(key, [])
        if len(frames) < _MOST_SPARE_FRAMES:
            frames.append(frame)
