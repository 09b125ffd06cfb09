"""Forward passes and gradients of a network, each in a frame that is kept for the next call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.frame import Frame, Key, flops_per_row, inputs_of, make_frame
from fastbp.engine.interruption import seconds_per_row
from fastbp.engine.threads import process_limit, thread_count
from fastbp.kernels.roots import entry
from fastbp.system.memory import require_memory
from fastbp.validation.data import Targets
from fastbp.validation.sparse_rows import Rows, SparseRows

if TYPE_CHECKING:
    from fastbp.model.model import Model as Network

_SMALL_INPUT = 1 << 10  # elements of X up to which copying is quicker than asking for its address
_SMALL_FLOPS = 1 << 16  # that no thread would share, and no thread of a BLAS either
_MOST_SPARE_FRAMES = 4
_SMALL_FRAME_BYTES = 1 << 20


class Passes:
    """Forward passes and gradients of one network, with frames that are kept for the next call.

    Several threads may use one network at once: each call takes a frame for itself.
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        self._spare: dict[Key, list[Frame]] = {}
        self._small: dict[int, list[Frame]] = {}  # frames for the outputs of so many rows
        self._flops_per_row = flops_per_row(net.sizes)
        self.row_seconds = seconds_per_row(net.sizes, self._flops_per_row)

    def _flops_of_row(self, X: Rows) -> int:
        """Return the flops of a row's forward pass."""
        return inputs_of(X).flops_per_row(self._net.sizes) if isinstance(X, SparseRows) else self._flops_per_row

    def seconds_per_row(self, X: Rows) -> float:
        """Return what a row's forward pass takes, pessimistically: whether a call is long enough to be interrupted."""
        if not isinstance(X, SparseRows):
            return self.row_seconds
        inputs, sizes = inputs_of(X), self._net.sizes
        return seconds_per_row(sizes[1:], inputs.flops_per_row(sizes)) if inputs.is_by_numbers else self.row_seconds

    def outputs(self, X: Rows, n_threads: int | None) -> NDArray[Any]:
        """Return the outputs (n, n_outputs) for valid inputs."""
        net, n_rows = self._net, X.shape[0]
        flops = n_rows * self._flops_of_row(X)
        if flops <= _SMALL_FLOPS and not isinstance(X, SparseRows) and X.size <= _SMALL_INPUT:
            if n_threads is not None:
                thread_count(n_threads)  # refuse wrong ones
            return self._small_outputs(X)
        n_bytes = n_rows * net.sizes[-1] * net.dtype.itemsize
        require_memory(n_bytes, f"The outputs of {n_rows} rows", "Predict fewer rows at a time.")
        out = np.empty((n_rows, net.sizes[-1]), net.dtype)
        frame = self._take("outputs", X)
        frame.set_data(X)
        threads = frame.useful_threads(n_threads, flops)
        flat = out.reshape(-1)  # so that the root has one type
        frame.run(entry.OUTPUTS, net.params, out=flat, n_threads=threads, seconds=n_rows * self.seconds_per_row(X))
        self._give_back(frame)
        return out

    def _small_outputs(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for a few rows, in as few instructions as there can be."""
        net, n_rows = self._net, X.shape[0]
        try:
            frames = self._small[n_rows]
            frame = frames.pop()
        except (KeyError, IndexError):  # the first call, or as many threads as there are frames
            if len(self._small) >= _MOST_SPARE_FRAMES:
                self._small = {}
            frames = self._small.setdefault(n_rows, [])
            frame = make_frame(net, n_rows, n_rows, gradient=False)
        out = frame.small_outputs(X, net.params, net.sizes[-1])
        frames.append(frame)
        return out

    def cost(self, X: Rows, targets: Targets, sample_weight: NDArray[Any] | None, *, n_threads: int | None) -> float:
        """Cost with penalties, for valid data."""
        net = self._net
        frame = self._take("cost", X)
        frame.set_data(X, targets, sample_weight)
        frame.set_penalties(*net.penalties)
        threads = frame.useful_threads(n_threads, len(X) * self._flops_of_row(X))
        cost = frame.value(net.params, n_threads=threads, seconds=len(X) * self.seconds_per_row(X))
        self._give_back(frame)
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
        net = self._net
        frame = self._take("gradient", X)
        frame.set_data(X, targets, sample_weight)
        frame.set_penalties(*net.penalties)
        threads = frame.useful_threads(n_threads, 3 * len(X) * self._flops_of_row(X))
        result = frame.value_and_grad(params, n_threads=threads, seconds=3 * len(X) * self.seconds_per_row(X))
        self._give_back(frame)
        return result

    def training_frame(self, batch_rows: int, X: Rows) -> Frame:
        """Return a frame for the steps of a fit; for a small one, making it takes longer than a hundred steps."""
        return self._take("training", X, batch_rows)

    def keep_training_frame(self, frame: Frame) -> None:
        """Keep the frame of a fit that is over, if it is small, for the next."""
        if frame.workspace.work.nbytes + frame.grads.nbytes <= _SMALL_FRAME_BYTES:
            frame.forget()
            self._give_back(frame)

    def _take(self, kind: str, X: Rows, batch_rows: int | None = None) -> Frame:
        """Return a frame that nobody else uses, for gradients of all rows or of `batch_rows`."""
        n_rows, inputs = len(X), inputs_of(X)
        batch_rows = n_rows if batch_rows is None else batch_rows
        key = (kind, n_rows, batch_rows, inputs, process_limit.n_threads)
        spare = self._spare.get(key)
        if spare:
            try:
                return spare.pop()
            except IndexError:  # another thread was faster
                pass
        gradient = kind in ("gradient", "training")
        frame = make_frame(self._net, batch_rows, n_rows, gradient=gradient, inputs=inputs)
        frame.key = key
        return frame

    def _give_back(self, frame: Frame) -> None:
        """Keep a frame for the next call of the same size."""
        key = frame.key
        assert key is not None
        if len(self._spare) >= _MOST_SPARE_FRAMES and key not in self._spare:
            self._spare = {}
        frames = self._spare.setdefault(key, [])
        if len(frames) < _MOST_SPARE_FRAMES:
            frames.append(frame)
