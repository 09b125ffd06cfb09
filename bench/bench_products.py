"""One product of two matrices on one thread, by fastbp's register tiles beside SciPy's BLAS in the same process."""

import numba
import pytest

from bench import driver
from bench.shapes import PRODUCTS

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

WAYS = {"fastbp": "tiles", "scipy": "blas"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", PRODUCTS, ids=lambda shape: f"{shape.product}-{shape.dtype}")
def bench_products(shape, way, workers, measure):
    if workers.quick and shape not in (PRODUCTS[1], PRODUCTS[3]):
        pytest.skip("--quick leaves out the large shapes")
    if numba.config.DISABLE_JIT:
        pytest.skip("the kernels are not compiled")
    measure(
        lambda chosen: workers.with_threads("products", WAYS[chosen], shape, 1, part=chosen),
        by=("way",),
        group=f"product {shape.product}, {shape.dtype}",
        kind="product",
        shape=f"{shape.product}, {shape.dtype}",
        flops=shape.forward_flops,
        target=shape.target,
    )
