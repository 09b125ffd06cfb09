"""Matrix products by register tiles, rows, softmax and Adam in explicit vectors: each beside NumPy."""

import json
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.kernels.functions import softmax_of_short_rows
from fastbp.kernels.machine.pointers import at
from fastbp.kernels.machine.processor import TILING
from fastbp.kernels.matrix import one_row, products, rows, tiles
from fastbp.kernels.matrix.tiles import NOTHING
from fastbp.kernels.optimizers import adam_step, updates
from tests import cases

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="explicit vectors exist only compiled")
with_tiles = pytest.mark.skipif(not tiles.TILES, reason="a processor without fused multiply-add")
RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
compiled = numba.njit(error_model="numpy")


@pytest.fixture(autouse=True)
def same_numbers():
    """Every test draws the same numbers, whichever tests run before it."""
    RNG.bit_generator.state = START


@compiled
def multiply(m, n, k, a, a_row, a_column, b, b_row, transposed, c0, c0_row, c, c_row):
    none = updates.no_step(at(c, 0))
    left, right = products.Strided(at(a, 0), a_row, a_column), products.Matrix(at(b, 0), b_row)
    before, result = products.Matrix(at(c0, 0), c0_row), products.Matrix(at(c, 0), c_row)
    products.product(m, n, k, left, right, transposed, before, result, none)


def matrix(shape, stride, dtype):
    """A random matrix in rows `stride` apart, NaN between them, and its flat vector."""
    flat = np.full(shape[0] * stride + 64, np.nan, dtype)
    view = flat[: shape[0] * stride].reshape(shape[0], stride)[:, : shape[1]]
    view[...] = RNG.normal(size=shape)
    return view, flat


def error_of(result, expected, k):
    """Error in units of what k rounded products may lose."""
    return np.abs(result - expected).max() / (np.finfo(result.dtype).eps * max(k, 1) * np.abs(expected).max())


@with_tiles
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("shape", [
    *((m, n, 5) for m in range(1, 18) for n in (2, 7)),
    *((9, n, 3) for n in (1, 8, 15, 16, 17, 31, 33, 47, 48, 49, 97, 130)),
    *((5, 20, k) for k in (1, 2, 63, 64, 65, 256, 257, 600)), (70, 50, 30), (1, 1, 1), (64, 97, 300),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("transposed_a", [False, True])
@pytest.mark.parametrize("transposed_b", [False, True])
def test_product(shape, dtype, transposed_a, transposed_b):
    m, n, k = shape
    a, a_flat = matrix((k, m) if transposed_a else (m, k), (m if transposed_a else k) + 3, dtype)
    b, b_flat = matrix((n, k) if transposed_b else (k, n), (k if transposed_b else n) + 5, dtype)
    c, c_flat = matrix((m, n), n + 2, dtype)
    before, outside = c.copy(), np.isnan(c_flat)
    a_strides = (1, m + 3) if transposed_a else (k + 3, 1)
    b_row = (k if transposed_b else n) + 5
    expected = (a.T if transposed_a else a).astype(float) @ (b.T if transposed_b else b).astype(float)
    multiply(m, n, k, a_flat, *a_strides, b_flat, b_row, transposed_b, c_flat, NOTHING, c_flat, n + 2)
    assert error_of(c, expected, k) < 1
    assert np.array_equal(np.isnan(c_flat), outside)  # nothing beside the result is touched
    c[...] = before
    multiply(m, n, k, a_flat, *a_strides, b_flat, b_row, transposed_b, c_flat, n + 2, c_flat, n + 2)
    assert error_of(c, before + expected, k) < 1
    bias = RNG.normal(size=n + 16).astype(dtype)
    multiply(m, n, k, a_flat, *a_strides, b_flat, b_row, transposed_b, bias, 0, c_flat, n + 2)
    assert error_of(c, bias[:n] + expected, k) < 1


@compiled
def gradient_and_step(m, n, k, a, delta, c0_row, g, optimizer, constants, l2, l1, w, s1, s2, apart):
    """g = a.T @ delta (or g plus it), then the step of all parameters: in one go, or one after the other."""
    rule = updates.Rule(optimizer, at(constants, 0), 0.01, 0.1, 0.001)
    step = updates.Step(True, rule, l2, l1, at(w, 0), at(s1, 0), at(s2, 0))
    now = updates.no_step(at(w, 0)) if apart else step
    left, right = products.Strided(at(a, 0), 1, m), products.Matrix(at(delta, 0), n)
    before, result = products.Matrix(at(g, 0), c0_row), products.Matrix(at(g, 0), n)
    products.product(m, n, k, left, right, False, before, result, now)
    if apart:
        updates.take_step(step, 0, m, n, n, at(g, 0), n)


@with_tiles
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("shape", [
    (3, 5, 4), (40, 10, 10), (33, 30, 10), (98, 128, 64), (100, 50, 33), (17, 97, 300), (64, 200, 600), (1, 16, 32),
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("optimizer", "constants"), [
    (updates.SGD, (0.0, 0.0)), (updates.SGD, (0.9, 1.0)), (updates.ADAM, (0.9, 0.999, 1e-8, 0.0, 0.0)),
    (updates.ADAMW, (0.9, 0.999, 1e-8, 0.01, 0.0)), (updates.RMSPROP, (0.9, 1e-8, 0.5)),
])  # fmt: skip
@pytest.mark.parametrize(("adds", "l2"), [(False, 0.0), (True, 0.1)])
def test_steps_behind_blocks_of_a_gradient_are_those_of_the_whole(shape, optimizer, constants, adds, l2, dtype):
    m, n, k = shape
    rng = np.random.default_rng(5)
    a, delta = rng.normal(size=(k, m)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    before = [rng.random((m, n)).astype(dtype) for _ in range(4)]
    results = []
    for apart in (False, True):
        g, w, s1, s2 = (array.copy() for array in before)
        numbers, c0_row = np.array([*constants, 0.0, 0.0]), n if adds else NOTHING
        gradient_and_step(m, n, k, a, delta, c0_row, g, optimizer, numbers, l2, l2 / 2, w, s1, s2, apart)
        results.append((w, s1, s2))
    eps = 64 * np.finfo(dtype).eps  # the compiler rounds whole vectors and the rest of a run in different ways
    for together, apart in zip(*results, strict=True):
        np.testing.assert_allclose(together, apart, rtol=eps, atol=eps)
    assert not np.array_equal(results[0][0], before[1])


@with_tiles
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_row_is_computed_alike(dtype):
    """How many rows there are changes no bit, so a row's prediction is that of the batch."""
    net = bp.Network([37, 50, 70, 5], activation="tanh", output="softmax", loss="cross_entropy", dtype=dtype, seed=0)
    X = RNG.normal(size=(40, 37)).astype(dtype)
    together = net.predict(X)
    for size in (1, 2, 3, 7, 16, 39):
        parts = [net.predict(X[i : i + size]) for i in range(0, 40, size)]
        assert np.array_equal(np.concatenate(parts), together)


@compiled
def gather(m, n, source, source_row, order, target):
    rows.gather_rows(m, n, at(source, 0), source_row, at(order, 0), at(target, 0), n)


@compiled
def sums_of_columns(m, n, x, x_row, add, sums):
    rows.column_sums(m, n, at(x, 0), x_row, add, at(sums, 0))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", [1, 2, 10, 16, 17, 100])
@pytest.mark.parametrize("m", [0, 1, 3, 4, 9, 33])
def test_rows_and_sums(m, n, dtype):
    x, flat = matrix((50, n), n + 1, dtype)
    order = RNG.permutation(50)
    target = np.full(m * n + 3, 7, dtype)
    gather(m, n, flat, n + 1, order, target)
    assert np.array_equal(target[: m * n].reshape(m, n), x[order[:m]])
    assert (target[m * n :] == 7).all()
    sums = np.full(n + 2, 3, dtype)
    if m:
        sums_of_columns(m, n, flat, n + 1, 0, sums)
        np.testing.assert_allclose(sums[:n], x[:m].sum(axis=0), rtol=1e-4, atol=1e-5)
        sums_of_columns(m, n, flat, n + 1, 1, sums)
        np.testing.assert_allclose(sums[:n], 2 * x[:m].sum(axis=0), rtol=1e-4, atol=1e-5)
    assert (sums[n:] == 3).all()


@compiled
def softmax_of(m, n, z, a):
    softmax_of_short_rows.softmax(m, n, at(z, 0), at(a, 0))


@compiled
def cross_entropy_of(m, n, z, y, scale, a, sums, delta):
    cost, total, target = at(sums, 0), at(sums, m), at(sums, 2 * m)
    softmax_of_short_rows.softmax_cross_entropy(
        m, n, at(z, 0), at(y, 0), at(scale, 0), at(a, 0), cost, total, target, at(delta, 0)
    )


def exact_softmax(z):
    powers = np.exp((z - z.max(axis=1, keepdims=True)).astype(float))  # the difference is rounded to the dtype
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 10, 16, 17, 40, 100])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_softmax_rows(n, scale, dtype):
    z = (scale * RNG.normal(size=(9, n))).astype(dtype)
    a = np.full(9 * n + 2, 5, dtype)
    softmax_of(9, n, z.reshape(-1), a)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(a[: 9 * n].reshape(9, n), exact_softmax(z), rtol=8 * eps, atol=np.finfo(dtype).tiny)
    assert (a[9 * n :] == 5).all()
    softmax_of(9, n, z.reshape(-1), z.reshape(-1))  # in place
    assert np.array_equal(z.reshape(-1), a[: 9 * n])


def test_softmax_of_nan_is_nan():
    for place in range(20):
        z = np.zeros(20, np.float32)
        z[place] = np.nan
        softmax_of(1, 20, z, z)
        assert np.isnan(z).all()


def test_softmax_of_nan_stays_in_its_row():
    for n in (1, 2, 3, 5, 8):
        z = np.zeros((9, n), np.float32)
        z[4, n // 2] = np.nan
        softmax_of(9, n, z.reshape(-1), z.reshape(-1))
        assert np.isnan(z[4]).all()
        assert np.allclose(np.delete(z, 4, axis=0), 1 / n)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 40])
def test_a_row_of_softmax_has_the_same_bits_in_every_batch(n, dtype):
    z, m = RNG.normal(size=(21, n)).astype(dtype), 21
    together = np.zeros_like(z)
    softmax_of(m, n, z.reshape(-1), together.reshape(-1))
    for first, last in [(i, i + 1) for i in range(m)] + [(3, 12), (1, 20)]:
        part = np.full((last - first + 1, n), 7, dtype)
        softmax_of(last - first, n, z[first:last].reshape(-1), part.reshape(-1))
        assert np.array_equal(part[:-1], together[first:last])
        assert (part[-1] == 7).all()


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 10, 16, 20])
@pytest.mark.parametrize("m", [1, 2, 7, 16, 33])
def test_cross_entropy_of_rows(m, n, dtype):
    z, y = (3 * RNG.normal(size=(m, n))).astype(dtype), RNG.random((m, n)).astype(dtype)
    y[0, 0], z[-1, -1] = 0, -np.inf
    y[-1, -1] = 0  # 0 times infinity counts nothing
    scale, sums = RNG.random(m).astype(dtype), np.full(3 * m + 1, 9, dtype)
    a, delta = (np.full(m * n + 1, 9, dtype) for _ in range(2))
    if n == 1:
        z[-1] = 0
    cross_entropy_of(m, n, z.reshape(-1), y.reshape(-1), scale, a, sums, delta)
    rtol, largest = 50 * np.finfo(dtype).eps, z.max(axis=1)
    expected = exact_softmax(z)
    costs = np.where(y != 0, y * (largest[:, None] - np.where(y != 0, z, 0)), 0).sum(axis=1)
    np.testing.assert_allclose(a[:-1].reshape(m, n), expected, rtol=rtol)
    np.testing.assert_allclose(delta[:-1].reshape(m, n), scale[:, None] * (expected - y), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(sums[:m], costs, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(sums[m : 2 * m], np.exp(z - largest[:, None]).sum(axis=1), rtol=rtol)
    np.testing.assert_allclose(sums[2 * m : -1], y.sum(axis=1), rtol=rtol)
    assert a[-1] == delta[-1] == sums[-1] == 9


@compiled
def adam(rows, n, row, g_row, numbers, g, w, m, v):
    runs = updates.Runs(rows, n, row, g_row)
    adam_step.adam_step(runs, numbers, at(g, 0), at(w, 0), at(m, 0), at(v, 0))


ADAM_DTYPES = [dtype for dtype in cases.DTYPES if adam_step.is_in_vectors(numba.from_dtype(np.dtype(dtype)))]
ADAM_NUMBERS = 1e-3, 0.9, 0.1, 0.999, 0.001, 1e-8  # rate, beta and 1 - beta of both moments, epsilon


@pytest.mark.skipif(not adam_step.IN_VECTORS, reason="a processor without vector instructions of ours")
@pytest.mark.parametrize("dtype", ADAM_DTYPES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 1000])
def test_adam_in_vectors(n, dtype):
    numbers = tuple(np.dtype(dtype).type(x) for x in ADAM_NUMBERS)
    magnitudes = 10 ** RNG.uniform(-18, 18, size=n)
    g, w = (RNG.normal(size=n) * magnitudes).astype(dtype), np.zeros(n, dtype)
    m, v = (0.1 * RNG.normal(size=n) * magnitudes).astype(dtype), (magnitudes**2 * RNG.random(n)).astype(dtype)
    g[:3], m[:3], v[:3] = 0, 0, 0  # a dead neuron's weights
    rate, beta_1, gain_1, beta_2, gain_2, epsilon = (float(x) for x in numbers)
    m_new = beta_1 * m.astype(float) + gain_1 * g
    v_new = beta_2 * v.astype(float) + gain_2 * g.astype(float) ** 2
    adam(1, n, n, n, numbers, g, w, m, v)
    np.testing.assert_allclose(m, m_new, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(v, v_new, rtol=1e-5, atol=1e-37)
    step = rate * m.astype(float) / (np.sqrt(v.astype(float)) + epsilon)
    np.testing.assert_allclose(-w, step, rtol=3 * np.finfo(dtype).eps, atol=1e-37)


@pytest.mark.skipif(not adam_step.IN_VECTORS, reason="a processor without vector instructions of ours")
def test_adam_with_hardly_any_epsilon_stays_finite():
    """Neither a dead neuron nor a gradient whose square overflows makes a weight NaN."""
    numbers = tuple(np.float32(x) for x in (*ADAM_NUMBERS[:-1], np.finfo(np.float32).tiny))
    g = np.array([0.0, 1.0, np.finfo(np.float32).max / 4] * 7, np.float32)
    w, m, v = (np.full(21, x, np.float32) for x in (1.0, 0.0, 0.0))
    adam(1, 21, 21, 21, numbers, g, w, m, v)
    assert np.isfinite(w).all()
    np.testing.assert_array_equal(w[::3], 1)


@pytest.mark.skipif(not adam_step.IN_VECTORS, reason="a processor without vector instructions of ours")
@pytest.mark.parametrize("dtype", ADAM_DTYPES)
def test_adam_leaves_what_lies_between_rows(dtype):
    numbers = tuple(np.dtype(dtype).type(x) for x in ADAM_NUMBERS)
    g, (w, m, v) = RNG.normal(size=(5, 21)).astype(dtype), RNG.random((3, 5, 40)).astype(dtype)
    expected = [array.copy() for array in (w, m, v)]
    for i in range(5):
        adam(1, 21, 21, 21, numbers, g[i], *(array[i] for array in expected))
    adam(5, 21, 40, 21, numbers, g, w, m, v)
    for array, one_by_one in zip((w, m, v), expected, strict=True):
        assert np.array_equal(array, one_by_one)


# ---- One row alone -------------------------------------------------------------------------------------------------


@compiled
def one_row_forward(k, n, a, w, w_row, has_b, b, z):
    one_row.forward_row(k, n, at(a, 0), at(w, 0), w_row, has_b, at(b, 0), at(z, 0))


@compiled
def one_row_step(k, n, a, delta, g, wanted, optimizer, constants, w, s1, s2):
    rule = updates.Rule(optimizer, at(constants, 0), 0.01, 0.1, 0.001)
    step = updates.Step(wanted, rule, 0.0, 0.0, at(w, 0), at(s1, 0), at(s2, 0))
    one_row.outer_product_and_step(k, n, at(a, 0), at(delta, 0), at(g, 0), step)


ONE_ROW_SHAPES = (
    (1, 1),
    (5, 3),
    (2, 7),
    (300, 8),
    (784, 30),
    (9, 17),
    (40, 100),
    (3, 129),
    (600, 33),
    (4, 1030),
    (1, 600),
)


@with_tiles
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("k", "n"), ONE_ROW_SHAPES)
def test_one_row_has_the_bits_of_a_tile(k, n, dtype):
    a, b = RNG.normal(size=k).astype(dtype), RNG.normal(size=n).astype(dtype)
    _, w = matrix((k, n), n + 3, dtype)
    for has_b in (0, 1):
        z, expected = np.full((2, n + 1), 9, dtype)
        one_row_forward(k, n, a, w, n + 3, has_b, b, z)
        multiply(1, n, k, a, k, 1, w, n + 3, False, b, 0 if has_b else NOTHING, expected, n)
        np.testing.assert_array_equal(z, expected)


@with_tiles
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("k", "n"), ONE_ROW_SHAPES)
@pytest.mark.parametrize(("optimizer", "constants"), [
    (updates.SGD, (0.0, 0.0)), (updates.ADAM, (0.9, 0.999, 1e-8, 0.0, 0.0)),
], ids=["sgd", "adam"])  # fmt: skip
def test_step_from_one_row(k, n, optimizer, constants, dtype):
    a, delta = RNG.normal(size=k).astype(dtype), RNG.normal(size=n).astype(dtype)
    before = RNG.random((3, k * n + 1)).astype(dtype)
    numbers, g, unused = np.array(constants), np.full(k * n + 1, 9, dtype), np.full(k * n + 1, 9, dtype)
    one_row_step(k, n, a, delta, g, False, optimizer, numbers, *before.copy())
    np.testing.assert_array_equal(g[:-1], np.outer(a, delta).ravel())
    assert g[-1] == 9
    results = before.copy()
    one_row_step(k, n, a, delta, unused, True, optimizer, numbers, *results)
    expected = before.copy()
    gradient_and_step(k, n, 1, a, delta, NOTHING, g, optimizer, numbers, 0.0, 0.0, *expected, True)
    eps = 4 * np.finfo(dtype).eps  # the compiler rounds whole vectors and the rest of a run in different ways
    np.testing.assert_allclose(results, expected, rtol=eps, atol=eps)
    assert not np.array_equal(results[0], before[0])


PROGRAM = """
import json
import numpy as np
import fastbp as bp
from fastbp.kernels.machine.processor import TILING, VECTOR_BYTES
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(50, 37)), rng.normal(size=(50, 3))
net = bp.Network([37, 20, 3], activation="tanh", dtype="float64", seed=0)
cost, grad = net.value_and_grad(X, Y)
net.fit(X, Y, epochs=3, batch_size=16, optimizer=bp.Adam(0.01), seed=1)
net2 = bp.Network([37, 20, 3], activation="relu", output="softmax", loss="cross_entropy", dtype="float64", seed=0)
net2.fit(X, rng.integers(3, size=50), epochs=3, seed=1)
narrow = []
for pitch, (output, loss) in enumerate([("softmax", "cross_entropy"), ("tanh", "quadratic")]):
    net3 = bp.Network([3, 1 << pitch, 4, 3], activation="sigmoid", output=output, loss=loss, dtype="float64", seed=0)
    net3.fit(X[:, :3], Y if pitch else rng.integers(3, size=50), epochs=2, batch_size=1, seed=1)
    narrow.append(net3.params)
narrow = np.concatenate(narrow)
print(json.dumps([VECTOR_BYTES if TILING else 0, [cost, *grad, *net.params, *net2.params, *narrow]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    TILING is None or TILING.vector_bytes < 64, reason="shows what lesser processors do on a larger one"
)
@pytest.mark.parametrize(("cpu", "features", "vector_bytes"), [
    ("haswell", "+avx,+avx2,+fma,+bmi,+bmi2", 32), ("x86-64", "+sse2", 0),
])  # fmt: skip
def test_lesser_processors_agree(cpu, features, vector_bytes):
    def run(environment):
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=500, check=True, env=os.environ | environment
        )
        return json.loads(done.stdout)

    width, numbers = run({"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features})
    assert width == vector_bytes
    np.testing.assert_allclose(numbers, run({})[1], rtol=1e-9, atol=1e-11)
