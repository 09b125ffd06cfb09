"""What the machine is good for: one large matrix product, and a copy of memory. They train nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from bench.peers import Peer
from bench.shapes import MATRIX_SIZE, Shape

_LEAST_COPY = 1 << 16  # bytes; the call of a shorter copy would take longer than the copy


class MatrixProduct(Peer):
    """One large product by SciPy's BLAS."""

    name, module = "scipy", "scipy"

    def prepare(self, shape: Shape) -> None:
        self.shape = shape
        rng = np.random.default_rng(0)
        # Fortran order, which BLAS takes without a copy
        self.A, self.B, self.C = (
            np.asfortranarray(rng.random((MATRIX_SIZE, MATRIX_SIZE), dtype=np.float32)) for _ in range(3)
        )

    def restart(self) -> None:
        """Nothing to do."""

    def multiply(self) -> None:
        """C = A @ B."""
        from scipy.linalg.blas import sgemm

        sgemm(1.0, self.A, self.B, beta=0.0, c=self.C, overwrite_c=True)


class MemoryCopy(Peer):
    """A copy that reads and writes as many bytes in all as a training step, or a multiple of them where they are few.

    When it is repeated, the bytes come from whichever cache they fit into, as in a training step.
    """

    name, module = "numpy", "numpy"

    def prepare(self, shape: Shape) -> None:
        self.shape = shape
        self.size = max(shape.step_bytes // 2, _LEAST_COPY)
        self.steps_per_copy = 2 * self.size / shape.step_bytes
        self.source, self.destination = np.ones(self.size, np.uint8), np.empty(self.size, np.uint8)
        ends = [self.size * i // self.n_threads for i in range(self.n_threads + 1)]
        self.parts = [slice(begin, end) for begin, end in pairwise(ends)]
        self.pool = ThreadPoolExecutor(self.n_threads)

    def restart(self) -> None:
        """Nothing to do."""

    def copy(self) -> None:
        """A part for each thread."""
        if self.n_threads == 1:
            np.copyto(self.destination, self.source)
        else:
            list(self.pool.map(self._copy_part, self.parts))

    def _copy_part(self, part: slice) -> None:
        np.copyto(self.destination[part], self.source[part])


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (MatrixProduct, MemoryCopy)}
