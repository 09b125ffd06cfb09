"""One matrix product on one thread, by fastbp's register tiles and by SciPy's BLAS, in one process."""

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
        from scipy.linalg import blas

        self.shape = shape
        self.A, self.B = shape.data.X, shape.initial_layers()[0][0]
        self.C = np.zeros((len(self.A), self.B.shape[1]), shape.dtype)
        self.gemm = {"float32": blas.sgemm, "float64": blas.dgemm}[shape.dtype]
        self.tiles = _kernel()

    def restart(self) -> None:
        """Begin with another result than the right one."""
        self.C[...] = 7

    def multiply_by_tiles(self, n: int) -> None:
        """`n` times by the kernel."""
        (m, k), columns = self.A.shape, self.B.shape[1]
        self.tiles(n, m, columns, k, self.A, self.B, self.C)

    def multiply_by_blas(self, n: int) -> None:
        """`n` times by BLAS, which wants columns: of matrices in rows it makes C.T = B.T A.T without a copy."""
        for _ in range(n):
            self.gemm(1.0, self.B.T, self.A.T, beta=0.0, c=self.C.T, overwrite_c=True)

    def fingerprint(self) -> list[float]:
        """Of the result."""
        return projections(self.C)


def _kernel() -> Any:
    """A compiled loop around the kernel."""
    import numba

    from fastbp.kernels.machine.pointers import at
    from fastbp.kernels.matrix import products
    from fastbp.kernels.matrix.tiles import NOTHING
    from fastbp.kernels.optimizers.updates import no_step

    @numba.njit(error_model="numpy")
    def multiply(times, m, n, k, a, b, c):  # type: ignore[no-untyped-def]
        left, right = products.Strided(at(a, 0), k, 1), products.Matrix(at(b, 0), n)
        before, result = products.Matrix(at(c, 0), NOTHING), products.Matrix(at(c, 0), n)
        for _ in range(times):
            products.product(m, n, k, left, right, False, before, result, no_step(at(c, 0)))

    return multiply


PEERS: dict[str, type[Peer]] = {Products.name: Products}
