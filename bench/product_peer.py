"""One matrix product on one thread, by fastbp's register tiles and by SciPy's BLAS, in one process.

Both are called from a compiled loop: a call from Python takes as long as a small product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.agreement import projections
from bench.peers import Peer
from bench.shapes import Shape


class Products(Peer):
    """C = A B for matrices in rows: A (m, k) are the shape's data, B (k, n) its weights."""

    name, module = "products", "fastbp"

    @classmethod
    def version(cls) -> str:
        return "of this fastbp and this SciPy"

    def prepare(self, shape: Shape) -> None:
        self.shape = shape
        self.A, self.B = shape.data.X, shape.initial_layers()[0][0]
        self.C = np.zeros((len(self.A), self.B.shape[1]), shape.dtype)
        self.by_tiles, self.by_blas = _loops()

    def restart(self) -> None:
        """Begin with another result than the right one."""
        self.C[...] = 7

    def multiply_by_tiles(self, n: int) -> None:
        """`n` times by the kernel."""
        self.by_tiles(n, *self.A.shape, self.B.shape[1], self.A, self.B, self.C)

    def multiply_by_blas(self, n: int) -> None:
        """`n` times by BLAS."""
        self.by_blas(n, *self.A.shape, self.B.shape[1], self.A, self.B, self.C)

    def fingerprint(self) -> list[float]:
        """Of the result."""
        return projections(self.C)


def _loops() -> tuple[Any, Any]:
    """Compiled loops around the kernel and around BLAS."""
    import numba

    from fastbp.kernels.machine.pointers import at
    from fastbp.kernels.matrix import products
    from fastbp.kernels.matrix.blas import gemm
    from fastbp.kernels.matrix.tiles import NOTHING
    from fastbp.kernels.optimizers.updates import no_step

    @numba.njit(error_model="numpy")
    def by_tiles(times, m, k, n, a, b, c):  # type: ignore[no-untyped-def]
        left, right = products.Strided(at(a, 0), k, 1), products.Matrix(at(b, 0), n)
        before, result = products.Matrix(at(c, 0), NOTHING), products.Matrix(at(c, 0), n)
        for _ in range(times):
            products.product(m, n, k, left, right, False, before, result, no_step(at(c, 0)))

    @numba.njit(error_model="numpy")
    def by_blas(times, m, k, n, a, b, c):  # type: ignore[no-untyped-def]
        for _ in range(times):
            gemm(False, False, m, n, k, at(a, 0), k, at(b, 0), n, 0, at(c, 0), n)

    return by_tiles, by_blas


PEERS: dict[str, type[Peer]] = {Products.name: Products}
