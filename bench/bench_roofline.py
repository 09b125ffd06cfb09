"""What bounds a training step: its flops at the rate of a large matrix product, its bytes at the rate of a copy."""

import pytest

from bench import driver
from bench.shapes import MATRIX_SIZE, TRAINING

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)


@pytest.mark.parametrize("all_threads", [False, True], ids=["one-thread", "all-threads"])
def bench_matrix_product(all_threads, workers, measure):
    n_threads = workers.n_threads if all_threads else 1
    if workers.quick:
        pytest.skip("--quick leaves out the large shapes")
    if all_threads and n_threads == 1:
        pytest.skip("there is one processor")
    measure(
        lambda: workers.with_threads("scipy", "matrix_product", TRAINING[0], n_threads),
        by=(),
        group=f"matrix product {MATRIX_SIZE} x {MATRIX_SIZE} x {MATRIX_SIZE}, float32",
        name=f"scipy, {n_threads} threads" if all_threads else "scipy, 1 thread",
        kind="matrix product",
        flops=2 * MATRIX_SIZE**3,
    )


@pytest.mark.parametrize("shape", TRAINING, ids=lambda shape: shape.name)
def bench_copy(shape, workers, measure):
    if workers.quick and shape not in TRAINING[:4]:
        pytest.skip("--quick leaves out the large shapes")
    measure(
        lambda: workers.ready("numpy", "copy", shape),
        by=(),
        group=f"copy {shape.step_bytes} bytes",
        name="numpy",
        kind="copy",
        shape=shape.name,
        bytes=shape.step_bytes,
    )
