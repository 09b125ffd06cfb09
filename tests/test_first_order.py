"""Jacobians, vector-Jacobian products, and what each sample's own cost says, against the complex step."""

import re
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from scipy import sparse

import fastbp as bp
from fastbp.engine import first_order as engine
from fastbp.kernels.roots import vector_jacobian as kernel
from fastbp.system import memory
from tests import cases, complex_step, problems, reference
from tests.cases import Case
from tests.test_laws import LAYOUTS
from tests.twins import same_bits, twins

# Every way to the Jacobian by the inputs, with outputs that have a slope of their own, are identity, are softmax.
WAY_CASES = tuple(
    Case(f"{way}-{output if isinstance(output, str) else 'mixed'}", sizes, "tanh", output)
    for way, sizes in {
        "one-layer": [5, 4],
        "paths": [3, 9, 4],
        "forward": [2, 17, 16, 14],
        "back": [6, 7, 5, 4],
        "back-wide": [19, 18, 17, 4],
    }.items()
    for output in ("identity", "sigmoid", "softmax", [("exp", 1), ("identity", 2), ("silu", sizes[-1] - 3)])
)
METHODS = (
    "input_jacobian", "jacobian", "input_gradient", "per_sample_gradients", "per_sample_gradient_norms",
    "per_sample_gradient_dots", "vjp-params", "vjp-inputs",
)  # fmt: skip


def rates_and_vector(net, n):
    """The derivative of some function by the outputs, and a vector like the parameters."""
    rates = np.random.default_rng(7).standard_normal((n, net.sizes[-1]))
    return rates.astype(net.dtype), np.random.default_rng(8).standard_normal(net.n_params).astype(net.dtype)


def call(net, method, X, Y, **keywords):
    """What a method returns."""
    rates, v = rates_and_vector(net, X.shape[0])
    name, _, wrt = method.partition("-")
    arguments = {
        "input_jacobian": (X,),
        "jacobian": (X,),
        "vjp": (X, rates, wrt),
        "per_sample_gradient_dots": (X, Y, v),
    }
    return getattr(net, name)(*arguments.get(name, (X, Y)), **keywords)


def expected_results(problem, net):
    """The same by the complex step, for all methods."""
    case, params, X, Y = problem.case, *(getattr(problem, name).astype(float) for name in ("params", "X", "Y"))
    rates, v = (array.astype(float) for array in rates_and_vector(net, len(X)))
    J, G = complex_step.by_params(case, params, X, Y)
    J_x, G_x = complex_step.by_inputs(case, params, X, Y)
    by_rates = np.einsum("nk,nkp->p", rates, J), np.einsum("nk,nkx->nx", rates, J_x)
    return dict(zip(METHODS, (J_x, J, G_x, G, (G**2).sum(axis=1), G @ v, *by_rates), strict=True))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", cases.ALL_CASES + WAY_CASES, ids=str)
def test_against_the_complex_step(case, dtype):
    problem, net = twins(case, np.random.default_rng(41), 5, dtype, margin=1e-4)
    for method, expected in expected_results(problem, net).items():
        found = call(net, method, problem.X, problem.Y)
        assert found.dtype == net.dtype
        assert found.shape == expected.shape
        assert reference.relative_error(found, expected) < cases.GRADIENT_RTOL[dtype], method


@pytest.mark.parametrize("chunk", range(0, 100, 20))
def test_random_networks(chunk):
    for seed in range(chunk, chunk + 20):
        rng = np.random.default_rng(seed)
        case = problems.random_network_case(rng)
        problem, net = twins(case, rng, 1 + seed % 3, margin=1e-9)
        for method, expected in expected_results(problem, net).items():
            error = reference.relative_error(call(net, method, problem.X, problem.Y), expected)
            assert error < 1e-9, f"seed {seed}: {method} of {case}, {case.activation}, {case.output}"


def test_every_way_is_taken():
    ways = {case.name.split("-")[0]: engine.input_jacobian_way(case.sizes)[0] for case in WAY_CASES}
    assert ways == {"one": kernel.BACK, "paths": kernel.PATHS, "forward": kernel.FORWARD, "back": kernel.BACK}


def test_a_softmax_of_many_outputs_is_not_differentiated_by_each_of_its_logits():
    sizes = [20, 50, 200]
    assert engine.input_jacobian_way(sizes)[0] == kernel.BACK
    assert engine.input_jacobian_way(sizes, is_softmax=True)[0] == kernel.FORWARD
    net, X = bp.Network(sizes, "tanh", "softmax", seed=0), np.random.default_rng(0).standard_normal((3, 20))
    rows = [net.vjp(X, np.tile(row, (3, 1)), "inputs") for row in np.eye(200)]
    np.testing.assert_allclose(net.input_jacobian(X), np.stack(rows, axis=1), rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("case", [*cases.NETWORK_CASES, *WAY_CASES], ids=str)
def test_against_the_reference(case):
    """The loops of the reference know delta and a; what follows from them is written out here once more."""
    problem, net = twins(case, np.random.default_rng(43), 4, margin=1e-4)
    X, errors = problem.X, reference.deltas(case, problem.params, problem.X, problem.Y)
    _, as_ = reference.forward(case.sizes, case.neuron_activations, problem.params, X)
    inputs = [X, *as_[:-1]]
    G = [
        np.concatenate(
            [part for a, d in zip(inputs, errors, strict=True) for part in (np.outer(a[i], d[i]).ravel(), d[i])]
        )
        for i in range(len(X))
    ]
    np.testing.assert_allclose(net.per_sample_gradients(X, problem.Y), G, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(net.input_gradient(X, problem.Y), errors[0] @ net.weights[0].T, rtol=1e-9, atol=1e-12)


def test_against_torch():
    torch = pytest.importorskip("torch")
    net = bp.Network([6, 9, 8, 4], "gelu", "softmax", seed=3)
    X = np.random.default_rng(0).standard_normal((11, 6))
    flat = torch.tensor(net.params)

    def outputs(params, x):
        start = 0
        for layer, (fan_in, fan_out) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
            W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
            start += (fan_in + 1) * fan_out
            x = x @ W + params[start - fan_out : start]
            x = torch.nn.functional.gelu(x) if layer < 2 else torch.softmax(x, -1)
        return x

    by_params, by_inputs = torch.func.jacrev(outputs), torch.func.jacrev(outputs, argnums=1)
    rows = torch.tensor(X)
    np.testing.assert_allclose(
        net.jacobian(X), torch.func.vmap(by_params, (None, 0))(flat, rows), rtol=1e-9, atol=1e-13
    )
    found = net.input_jacobian(X)
    np.testing.assert_allclose(found, torch.func.vmap(by_inputs, (None, 0))(flat, rows), rtol=1e-9, atol=1e-13)


# ---- How it is cut and laid out --------------------------------------------------------------------------------------

# Large enough for several pieces and blocks of each method, with rows that leave a rest.
LARGE = {
    "softmax": ([37, 61, 40, 7], "softmax", "cross_entropy", 517),
    "paths": ([5, 64, 6], "tanh", "log_cosh", 2311),
    "forward": ([3, 70, 60, 9], "identity", "quadratic", 511),
}


def large(name, dtype="float32"):
    sizes, output, loss, n = LARGE[name]
    net = bp.Network(sizes, "tanh", output, loss, dtype=dtype, seed=5)
    rng = np.random.default_rng(11)
    X = rng.standard_normal((n, sizes[0])).astype(dtype)
    return net, X, rng.integers(0, sizes[-1], n) if output == "softmax" else rng.random((n, sizes[-1])).astype(dtype)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="one thread only")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LARGE)
def test_bits_do_not_depend_on_threads(name, method):
    net, X, Y = large(name)
    alone = call(net, method, X, Y, n_threads=1)
    for n_threads in (2, 3, None):
        assert same_bits(call(net, method, X, Y, n_threads=n_threads), alone)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LARGE)
def test_rows_are_what_each_is_alone(name, method):
    net, X, Y = large(name, "float64")
    found = call(net, method, X, Y)
    if method == "vjp-params":
        rates, _ = rates_and_vector(net, len(X))
        np.testing.assert_allclose(sum(net.vjp(X[i::3], rates[i::3]) for i in range(3)), found, rtol=1e-9, atol=1e-11)
        return
    rates, _ = rates_and_vector(net, len(X))
    for i in (0, 100, len(X) - 1):
        row = slice(i, i + 1)
        one = net.vjp(X[row], rates[row], "inputs") if method == "vjp-inputs" else call(net, method, X[row], Y[row])
        np.testing.assert_allclose(one, found[row], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rows", [None, 1, 64, 1000])
def test_blocks_are_the_whole(rows):
    net, X, Y = large("softmax", "float64")
    for blocks, whole in (
        (net.jacobian_blocks(X, rows), net.jacobian(X)),
        (net.per_sample_gradient_blocks(X, Y, rows), net.per_sample_gradients(X, Y)),
    ):
        next_row = 0
        for here, block in blocks:
            assert here.start == next_row
            next_row = here.stop
            np.testing.assert_allclose(block, whole[here], rtol=1e-11, atol=1e-13)
        assert next_row == len(X)


def test_blocks_are_kept():
    net, X, _ = large("paths")
    blocks = [block for _, block in net.jacobian_blocks(X, 500)]
    np.testing.assert_array_equal(np.concatenate(blocks), net.jacobian(X))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_inputs(layout):
    problem, net = twins(Case("layout", [4, 5, 3], "tanh", "sigmoid"), np.random.default_rng(2), 9)
    X = LAYOUTS[layout](problem.X)
    for method in METHODS:
        expected = call(net, method, np.array(X), problem.Y)
        np.testing.assert_allclose(call(net, method, X, problem.Y), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("density", [0.02, 0.6])
def test_sparse_inputs(density):
    net, X, Y = large("softmax", "float64")
    X = sparse.random(*X.shape, density=density, format="csr", random_state=3)
    for method in METHODS:
        expected = call(net, method, X.toarray(), Y)
        np.testing.assert_allclose(call(net, method, X, Y), expected, rtol=1e-12, atol=1e-14)
    for here, block in net.per_sample_gradient_blocks(X, Y, 100):
        np.testing.assert_allclose(block, net.per_sample_gradients(X[here], Y[here]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sizes", [[3, 4], [3, 6, 4], [3, 6, 5, 4], [9, 6, 5, 4]], ids=str)
def test_a_row_that_overflows_spoils_no_other(sizes):
    net = bp.Network(sizes, "identity", "exp", seed=0)
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((7, sizes[0])), rng.random((7, 4))
    expected = {method: call(net, method, X, Y) for method in METHODS if method != "vjp-params"}
    X[3] *= 1e5 * np.sign(net.input_jacobian(X[3:4])[0, 0])  # so that the first output's z is large
    assert not np.isfinite(net.predict(X)[3]).all()
    for method, before in expected.items():
        assert same_bits(np.delete(call(net, method, X, Y), 3, axis=0), np.delete(before, 3, axis=0))


def test_calls_of_several_threads_at_once():
    net, X, Y = large("paths")
    expected = {method: call(net, method, X, Y) for method in METHODS}
    with ThreadPoolExecutor(4) as pool:
        futures = [(method, pool.submit(call, net, method, X, Y)) for method in METHODS * 3]
        for method, future in futures:
            assert same_bits(future.result(), expected[method])


def test_labels_are_one_hot_targets():
    net, X, labels = large("softmax", "float64")
    Y = np.eye(net.sizes[-1])[labels]
    for method in ("input_gradient", "per_sample_gradients", "per_sample_gradient_norms"):
        np.testing.assert_array_equal(call(net, method, X, labels), call(net, method, X, Y))


def test_lists_and_lone_outputs():
    net = bp.Network([2, 3, 1], seed=0)
    X, Y = [[1, 2], [3, 4]], [1, 2]
    np.testing.assert_array_equal(
        net.per_sample_gradients(X, Y), net.per_sample_gradients(np.array(X, float), [[1.0], [2.0]])
    )
    np.testing.assert_array_equal(net.vjp(X, [1, 2]), net.vjp(X, [[1.0], [2.0]]))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("sizes", [[100, 70, 3], [50, 47, 5], [3, 2500, 2], [2, 5000, 2], [700, 3]], ids=str)
def test_bits_past_the_caches(sizes, dtype, monkeypatch):
    """Results larger than the caches are written by other stores, line by line, wherever the lines begin."""
    net = bp.Network(sizes, "tanh", dtype=dtype, seed=1)
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((3, sizes[0])).astype(dtype), rng.random((3, sizes[-1])).astype(dtype)
    expected = net.jacobian(X), net.per_sample_gradients(X, Y)
    monkeypatch.setattr(engine, "_PAST_CACHES", 0)
    for shift in range(0, 17, 3):
        for whole, call_into in zip(expected, (net.jacobian, net.per_sample_gradients), strict=True):
            room = np.full(whole.size + 40, np.nan, dtype)
            out = room[shift : shift + whole.size].reshape(whole.shape)
            call_into(X, *([Y] if whole.ndim == 2 else []), out=out)
            assert same_bits(out, whole)
            assert np.isnan(room[:shift]).all()
            assert np.isnan(room[shift + whole.size :]).all()


# ---- Laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LARGE)
def test_products_and_means(name):
    net, X, Y = large(name, "float64")
    rates, v = rates_and_vector(net, len(X))
    G, J, J_x = net.per_sample_gradients(X, Y), net.jacobian(X), net.input_jacobian(X)
    by_params, by_inputs = net.vjp(X, rates, "both")
    np.testing.assert_allclose(G.mean(axis=0), net.value_and_grad(X, Y)[1], rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(np.tensordot(rates, J, 2), by_params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(np.einsum("nk,nkx->nx", rates, J_x), by_inputs, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose((G**2).sum(axis=1), net.per_sample_gradient_norms(X, Y), rtol=1e-9)
    np.testing.assert_allclose(G @ v, net.per_sample_gradient_dots(X, Y, v), rtol=1e-8, atol=1e-10)


def test_penalties_and_dropout_do_not_count():
    settings = {"activation": "tanh", "seed": 1}
    plain = bp.Network([3, 8, 2], **settings)
    net = bp.Network([3, 8, 2], l2_penalty=0.5, l1_penalty=0.1, dropout=0.5, **settings)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((9, 3)), rng.random((9, 2))
    for method in METHODS:
        assert same_bits(call(net, method, X, Y), call(plain, method, X, Y))


@pytest.mark.parametrize("inputs", [1, 9])
@pytest.mark.parametrize("hidden", [[1], [1, 1]])
def test_saturated_neurons_keep_their_digits(hidden, inputs):
    """1 - a has no digits left where a is 1 to the last bit; the slopes are computed from z there."""
    slope, p = 30 / np.cosh(30.0) ** 2, np.exp(-100.0)
    for output, rates in (("softmax", [100 * p, -100 * p]), ("sigmoid", [50 * np.exp(-50.0), -50 * np.exp(-50.0)])):
        net = bp.Network([inputs, *hidden, 2], [*["identity"] * (len(hidden) - 1), "tanh"], output, initializer="zeros")
        net.weights[0] = np.full((inputs, 1), 30.0 / inputs if len(hidden) == 1 else 1 / inputs)
        if len(hidden) > 1:
            net.weights[1] = [[30.0]]
        net.weights[-1] = [[50.0, -50.0]]
        found = net.input_jacobian(np.ones((1, inputs)))[0]
        np.testing.assert_allclose(found, np.outer(rates, np.full(inputs, slope / inputs)), rtol=1e-9)


compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="own functions must be compiled")


@compiled
def test_own_functions():
    cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z * z))
    fourth = bp.Loss("fourth", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))
    net = bp.Network([3, 4, 2], [[(cube, 2), ("tanh", 2)]], cube, fourth, seed=2)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    (W1, W2), (b1, b2) = net.weights, net.biases
    z1 = X @ W1 + b1
    a1 = np.concatenate([z1[:, :2] ** 3, np.tanh(z1[:, 2:])], axis=1)
    slopes1 = np.concatenate([3 * z1[:, :2] ** 2, 1 / np.cosh(z1[:, 2:]) ** 2], axis=1)
    z2 = a1 @ W2 + b2
    J_x = np.einsum("nk,jk,nj,xj->nkx", 3 * z2**2, W2, slopes1, W1)
    np.testing.assert_allclose(net.input_jacobian(X), J_x, rtol=1e-11, atol=1e-14)
    delta = 4 * (z2**3 - Y) ** 3 * 3 * z2**2
    np.testing.assert_allclose(net.per_sample_gradients(X, Y)[:, -2:], delta, rtol=1e-10)
    np.testing.assert_allclose(net.jacobian(X)[:, [0, 1], [-2, -1]], 3 * z2**2, rtol=1e-11)


# ---- Where results go ------------------------------------------------------------------------------------------------


def shapes(net, n):
    return {
        "input_jacobian": (n, net.sizes[-1], net.sizes[0]),
        "jacobian": (n, net.sizes[-1], net.n_params),
        "per_sample_gradients": (n, net.n_params),
    }


@pytest.mark.parametrize("name", LARGE)
def test_out_is_filled_and_returned(name):
    net, X, Y = large(name)
    for method, shape in shapes(net, len(X)).items():
        out = np.full(shape, np.nan, net.dtype)
        assert call(net, method, X, Y, out=out) is not None
        assert same_bits(out, call(net, method, X, Y))
        assert np.shares_memory(call(net, method, X, Y, out=out), out)


@pytest.mark.parametrize("method", ["input_jacobian", "jacobian", "per_sample_gradients"])
def test_wrong_out_is_refused(method):
    net = bp.Network([2, 3, 2], seed=0)
    X, Y = np.ones((4, 2)), np.ones((4, 2))
    shape = shapes(net, 4)[method]
    frozen = np.zeros(shape)
    frozen.flags.writeable = False
    apart = np.zeros((*shape[:-1], 2 * shape[-1]))[..., ::2]
    swapped = np.zeros(shape, net.dtype.newbyteorder())
    raw = np.zeros(int(np.prod(shape)) * 8 + 1, np.uint8)
    odd = raw[1:].view(float).reshape(shape)
    for out, message in (
        ([0.0], "`out` must be a NumPy array to write to; got list."),
        (np.zeros((1, *shape)), f"`out` must have the shape {re.escape(str(shape))} and the dtype float64"),
        (np.zeros(shape, "float32"), "and the dtype float64 of the result; got .* and float32"),
        (swapped, "`out` must"),
        (frozen, "`out` must be contiguous"),
        (apart, "`out` must be contiguous"),
        (np.zeros(shape, order="F"), "`out` must be contiguous"),
        (odd, "`out` must be contiguous"),
    ):
        before = np.array(out, copy=True)
        with pytest.raises((TypeError, ValueError), match=message):
            call(net, method, X, Y, out=out)
        np.testing.assert_array_equal(out, before)


def test_out_must_not_overlap_what_is_read():
    net = bp.Network([2, 1], seed=0)
    room = np.ones(100)
    X, Y = room[:8].reshape(4, 2), room[8:12].reshape(4, 1)
    for call_into in (
        lambda: net.input_jacobian(X, room[6:14].reshape(4, 1, 2)),
        lambda: net.jacobian(X, room[7:19].reshape(4, 1, 3)),
        lambda: net.per_sample_gradients(X, Y, room[11:23].reshape(4, 3)),
        lambda: net.per_sample_gradients(np.ones((1, 2)), [[1.0]], net.params.reshape(1, 3)),
    ):
        with pytest.raises(ValueError, match="must not overlap"):
            call_into()
    assert (room == 1).all()


def test_results_that_do_not_fit_are_refused(monkeypatch):
    net = bp.Network([30, 100, 10], seed=0)
    X, Y = np.ones((2000, 30)), np.ones((2000, 10))
    monkeypatch.setattr(memory, "available_memory", lambda: 100 << 20)
    with pytest.raises(MemoryError, match=r"The Jacobian would take 657600000 bytes .* Use `jacobian_blocks`"):
        net.jacobian(X)
    with pytest.raises(MemoryError, match=r"The gradients of all samples .* Use `per_sample_gradient_blocks`"):
        net.per_sample_gradients(np.ones((20_000, 30)), np.ones((20_000, 10)))
    with pytest.raises(MemoryError, match=r"The Jacobian by the inputs .* Pass fewer rows"):
        net.input_jacobian(np.ones((200_000, 30)))
    assert sum(len(block) for _, block in net.per_sample_gradient_blocks(X, Y)) == 2000


# ---- Wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_wrong_data_are_refused(method):
    net = bp.Network([2, 3, 2], seed=0)
    X, Y = np.ones((4, 2)), np.ones((4, 2))
    for wrong in (np.nan, np.inf):
        bad = X.copy()
        bad[1, 0] = wrong
        with pytest.raises(ValueError, match="`X` must be finite"):
            call(net, method, bad, Y)
    with pytest.raises(ValueError, match=r"`X` must have shape \(n_samples, 2\)"):
        call(net, method, np.ones((4, 3)), Y)
    with pytest.raises(ValueError, match="at least one row"):
        call(net, method, np.ones((0, 2)), np.ones((0, 2)))
    with pytest.raises(TypeError, match="`n_threads`"):
        call(net, method, X, Y, n_threads=1.5)


def test_other_wrong_arguments_are_refused():
    net = bp.Network([2, 3, 2], seed=0)
    X, Y = np.ones((4, 2)), np.ones((4, 2))
    for rates, message in (
        (
            np.ones((4, 3)),
            r"`dC_da` must have shape \(4, 2\), the derivative by each output of each row of X; got \(4, 3\)",
        ),
        (np.full((4, 2), np.nan), "`dC_da` must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            net.vjp(X, rates)
    with pytest.raises(ValueError, match="`wrt` must be 'params', 'inputs' or 'both'; got 'weights'"):
        net.vjp(X, Y, "weights")
    for v, message in ((np.ones(3), r"`v` must have shape \(17,\)"), (np.full(17, np.inf), "`v` must be finite")):
        with pytest.raises(ValueError, match=message):
            net.per_sample_gradient_dots(X, Y, v)
    for method in (net.input_gradient, net.per_sample_gradients, net.per_sample_gradient_norms):
        with pytest.raises(ValueError, match=r"`Y` must have shape \(4, 2\)"):
            method(X, np.ones((4, 3)))
    for rows in (0, -1):
        with pytest.raises(ValueError, match="`rows`"):
            net.jacobian_blocks(X, rows)
    with pytest.raises(ValueError, match="`X` must be finite"):
        net.jacobian_blocks(X * np.nan)


@compiled
def test_errors_of_own_functions_are_raised():
    @numba.njit
    def refuse(z):
        if z > 100:
            raise ValueError("too large")
        return z

    net = bp.Network([1, 2, 1], bp.Activation("refuse", refuse, numba.njit(lambda z: 1.0)), initializer="zeros")
    net.weights[0] = [[1.0, 1.0]]
    for method in METHODS:
        call(net, method, np.ones((2, 1)), np.ones((2, 1)))
        with pytest.raises(RuntimeError, match="refuse"):
            call(net, method, np.full((2, 1), 1e3), np.ones((2, 1)))


def test_parameters_that_change_are_seen():
    """Frames are kept between calls: of the network as it is, not as it was."""
    net, X, Y = large("paths", "float64")
    call(net, "input_jacobian", X, Y)
    net.params *= 0.5
    case = Case("large", list(net.sizes), "tanh", "tanh", "log_cosh")
    problem = problems.Problem(case, net.params.copy(), X[:5], Y[:5])
    for method, expected in expected_results(problem, net).items():
        assert reference.relative_error(call(net, method, X[:5], Y[:5]), expected) < 1e-11
