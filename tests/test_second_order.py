"""Products with second derivatives and Jacobians: against complex steps, laws of matrices, bits, and wrong input."""

import re
import threading

import mpmath
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg

import fastbp as bp
from fastbp.engine import second_order as engine
from fastbp.kernels.machine.processor import LEAST_UPPER_ROWS
from fastbp.kernels.tables import plan as in_plan
from tests import cases, problems, reference
from tests.reference import relative_error
from tests.twins import network

RTOL = {"float32": 2e-4, "float64": 1e-11}
LIKELIHOODS = ("quadratic", "cross_entropy", "poisson")
GNVP_CASES = (*cases.TINY_CASES, *cases.LOSS_CASES)


def make(case, seed=0, n=5, *, weighted=True, dtype="float64"):
    """A case's problem, network and a vector, rounded to a dtype."""
    rng = np.random.default_rng(seed)
    X, Y = problems.random_data(case, rng, n)
    params = problems.random_params(case, rng)
    weights = rng.uniform(0.2, 3, n) if weighted else None
    problem = problems.Problem(case, params, X, Y, weights).rounded(dtype)
    return problem, network(case, problem.params, dtype), rng.standard_normal(case.n_params).astype(dtype)


def data_of(problem):
    return problem.X, problem.Y, problem.sample_weight


def hvp(net, problem, v, **keywords):
    return net.hvp(problem.X, problem.Y, v, problem.sample_weight, **keywords)


def gnvp(net, problem, v, **keywords):
    return net.gnvp(problem.X, problem.Y, v, problem.sample_weight, **keywords)


# ---- Against complex steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_hvp_is_the_complex_step_of_the_gradient(case, dtype):
    problem, net, v = make(case, dtype=dtype)
    product = hvp(net, problem, v)
    assert product.dtype == dtype
    params, X, Y, weights = (np.asarray(array, np.float64) for array in problem.arguments[1:])
    expected = reference.hessian_vector_product(case, params, X, Y, v, weights)
    assert relative_error(product, expected, floor=1.0) < RTOL[dtype]


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_linearized_products_have_the_bits_of_the_others(case):
    problem, net, v = make(case)
    at = net.linearize(*data_of(problem))
    np.testing.assert_array_equal(at.hvp(v), hvp(net, problem, v))
    np.testing.assert_array_equal(at.gnvp(v), gnvp(net, problem, v))
    np.testing.assert_array_equal(at.jvp(v), net.jvp(problem.X, v))
    if case.loss in LIKELIHOODS:
        np.testing.assert_array_equal(at.fisher_vp(v), net.fisher_vp(problem.X, v, problem.sample_weight))
    cost, grad = net.value_and_grad(problem.X, problem.Y, sample_weight=problem.sample_weight)
    assert at.cost == cost
    np.testing.assert_array_equal(at.grad, grad)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("case", [*cases.NETWORK_CASES, *cases.ACTIVATION_CASES, *cases.LOSS_CASES], ids=str)
def test_jvp_is_the_complex_step_of_the_outputs(case, dtype):
    problem, net, v = make(case, dtype=dtype)
    tangent = np.random.default_rng(7).standard_normal(problem.X.shape).astype(dtype)
    params, X = np.asarray(problem.params, np.float64), np.asarray(problem.X, np.float64)
    _, expected = reference.jacobian_vector_product(case, params, X, v)
    assert relative_error(net.jvp(problem.X, v), expected) < cases.GRADIENT_RTOL[dtype]
    _, expected = reference.jacobian_vector_product(case, params, X, np.zeros(len(params)), tangent)
    product = net.jvp(problem.X, tangent, wrt="inputs")
    assert product.dtype == dtype
    assert relative_error(product, expected) < cases.GRADIENT_RTOL[dtype]


@pytest.mark.parametrize("case", GNVP_CASES, ids=str)
def test_gnvp_is_the_product_of_the_whole_matrix(case):
    problem, net, v = make(case, n=3)
    expected = reference.gauss_newton_matrix(*problem.arguments)
    assert relative_error(gnvp(net, problem, v), expected @ v, floor=0.1) < RTOL["float64"]


@pytest.mark.parametrize("case", [case for case in GNVP_CASES if not cases.LOSS_BY_NAME[case.loss].kinks], ids=str)
def test_gnvp_is_positive_semi_definite(case):
    problem, net, _ = make(case)
    at = net.linearize(*data_of(problem))
    G = at.gauss_newton.matmat(np.eye(case.n_params))
    np.testing.assert_allclose(G, G.T, atol=1e-12 * np.abs(G).max())
    assert np.linalg.eigvalsh((G + G.T) / 2).min() > -1e-12 * np.abs(G).max()


# ---- Fisher's information, by the sum over what could be drawn ------------------------------------------------------


def likely_targets(case, z, a):
    """The targets that may be drawn with an output a, and their probabilities; of a normal, a rule with its moments."""
    n = len(a)
    if case.loss == "quadratic":  # mean 0 and covariance I, and the gradient is linear in y
        steps = np.sqrt(n) * np.concatenate([np.eye(n), -np.eye(n)])
        return a + steps, np.full(2 * n, 1 / (2 * n))
    if case.loss == "cross_entropy" and case.output == "softmax":
        return np.eye(n), a
    most = 2 if case.loss == "cross_entropy" else 60
    counts = np.arange(most)
    if case.loss == "cross_entropy":
        each = np.array([1 - a, a])
    else:
        factorials = np.array([np.prod(np.arange(1.0, k + 1)) for k in counts])
        each = np.exp(-a) * a ** counts[:, None] / factorials[:, None]
    # outputs are independent, and what does not move with a target of its own has mean 0: one at a time is enough
    return counts, each


@pytest.mark.parametrize("case", [case for case in cases.LOSS_CASES if case.loss in LIKELIHOODS], ids=str)
def test_fisher_vp_is_the_expected_outer_product_of_gradients(case):
    problem, net, v = make(case, n=2)
    _, as_ = reference.forward(case.sizes, case.neuron_activations, problem.params, problem.X)
    w = problem.sample_weight / problem.sample_weight.sum()
    expected = np.zeros(case.n_params)
    for i in range(2):
        a, row = as_[-1][i], problem.X[i : i + 1]
        # the gradient is J_z.T (dC/dz), and linear in y: the covariance of dC/dz is all that is needed of y
        J = np.array([reference.jacobian_vector_product(case, problem.params, row, e)[0][0] for e in np.eye(len(v))])
        zs, _ = reference.forward(case.sizes, case.neuron_activations, problem.params, row)
        targets, p = likely_targets(case, zs[-1][0], a)
        if np.ndim(p) == 1:
            deltas = np.array([reference.output_delta(case, zs[-1][0], a, y) for y in targets])
            covariance = deltas.T @ (p[:, None] * deltas)
        elif case.output == "softmax":  # Poisson's counts beside each other
            base = np.zeros(len(a))
            slope = np.array([reference.output_delta(case, zs[-1][0], a, e) for e in np.eye(len(a))])
            slope -= reference.output_delta(case, zs[-1][0], a, base)
            variance = [(p[:, j] * (targets - p[:, j] @ targets) ** 2).sum() for j in range(len(a))]
            covariance = slope.T @ np.diag(variance) @ slope
        else:
            deltas = np.array([reference.output_delta(case, zs[-1][0], a, np.full(len(a), k)) for k in targets])
            covariance = np.diag((p * deltas**2).sum(axis=0))
        expected += w[i] * (J @ (covariance @ (J.T @ v)))
    product = net.fisher_vp(problem.X, v, problem.sample_weight)
    assert relative_error(product, expected, floor=0.1) < RTOL["float64"]


def test_fisher_vp_is_gnvp_for_matching_outputs():
    for output, loss in (("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"), ("exp", "poisson"),
                         ("identity", "quadratic"), ("softmax", "quadratic"), ("tanh", "quadratic")):  # fmt: skip
        problem, net, v = make(cases.Case("", [3, 5, 4], "tanh", output, loss))
        np.testing.assert_allclose(
            net.fisher_vp(problem.X, v, problem.sample_weight), gnvp(net, problem, v), rtol=1e-13, atol=1e-16
        )


def test_fisher_vp_refuses_losses_without_a_distribution():
    net = bp.Network([2, 1], loss="huber")
    message = (
        "`fisher_vp` needs a loss that is minus the logarithm of a likelihood, 'quadratic', 'cross_entropy' or "
        "'poisson', because Fisher's information is that of a distribution; got 'huber'. Use `gnvp` for others."
    )
    at = net.linearize([[1.0, 2.0]], [[1.0]])
    for call in (lambda: net.fisher_vp([[1.0, 2.0]], net.params), lambda: at.fisher_vp(net.params), lambda: at.fisher):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


# ---- Laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_the_hessian_is_symmetric_and_jvp_fits_vjp(case):
    problem, net, v = make(case)
    rng = np.random.default_rng(3)
    w, u = rng.standard_normal(v.shape), rng.standard_normal(problem.Y.shape)
    at = net.linearize(*data_of(problem))
    assert w @ at.hvp(v) == pytest.approx(v @ at.hvp(w), rel=1e-11, abs=1e-11)
    assert w @ at.gnvp(v) == pytest.approx(v @ at.gnvp(w), rel=1e-11, abs=1e-11)
    assert np.vdot(u, at.jvp(v)) == pytest.approx(at.vjp(u) @ v, rel=1e-11, abs=1e-11)


def test_l2_is_in_the_hessian_only():
    case = cases.Case("", [3, 4, 2], "tanh")
    penalised = cases.Case("", [3, 4, 2], "tanh", l2_penalty=0.25, l1_penalty=0.5)
    problem, net, v = make(case)
    other = network(penalised, problem.params)
    is_weight = np.concatenate([np.ones(12), np.zeros(4), np.ones(8), np.zeros(2)])
    np.testing.assert_allclose(hvp(other, problem, v) - hvp(net, problem, v), 0.25 * v * is_weight, atol=1e-14)
    np.testing.assert_array_equal(gnvp(other, problem, v), gnvp(net, problem, v))
    np.testing.assert_array_equal(other.fisher_vp(problem.X, v), net.fisher_vp(problem.X, v))


def test_a_weight_of_2_is_the_row_twice_and_of_0_not_there():
    case = cases.Case("", [3, 4, 2], "tanh", "softmax", "cross_entropy")
    problem, net, v = make(case, n=3, weighted=False)
    X, Y = problem.X, problem.Y
    once, weights = net.hvp(X[[0, 0, 1]], Y[[0, 0, 1]], v), [2.0, 1.0, 0.0]
    np.testing.assert_allclose(net.hvp(X, Y, v, weights), once, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(net.fisher_vp(X, v, weights), net.fisher_vp(X[[0, 0, 1]], v), rtol=1e-13, atol=1e-15)


def test_kinks_take_the_branch_of_the_first_derivative():
    net = bp.Network([1, 1], output="relu", initializer="zeros")
    net.biases[0] = [0.0]  # z is exactly 0, where f' is 0
    np.testing.assert_array_equal(net.hvp([[1.0]], [[3.0]], [1.0, 1.0]), [0.0, 0.0])
    np.testing.assert_array_equal(net.jvp([[1.0]], [1.0, 1.0]), [[0.0]])
    huber = bp.Network([1, 1], loss="huber", initializer="zeros")
    np.testing.assert_array_equal(huber.hvp([[1.0]], [[1.0]], [1.0, 0.0]), [1.0, 1.0])  # the threshold belongs to
    np.testing.assert_array_equal(huber.hvp([[1.0]], [[1.0 + 1e-9]], [1.0, 0.0]), [0.0, 0.0])  # the parabola
    for loss in ("absolute", "quantile"):
        lines = bp.Network([1, 1], loss=loss, initializer="zeros")
        np.testing.assert_array_equal(lines.hvp([[1.0]], [[3.0]], [1.0, 1.0]), [0.0, 0.0])
        np.testing.assert_array_equal(lines.gnvp([[1.0]], [[3.0]], [1.0, 1.0]), [0.0, 0.0])


# C(z) of one output, in mpmath's words
COSTS = {
    ("sigmoid", "cross_entropy"): lambda z, y: mpmath.log(1 + mpmath.exp(z)) - y * z,
    ("exp", "poisson"): lambda z, y: mpmath.exp(z) - y * z,
    ("softplus", "poisson"): lambda z, y: mpmath.log1p(mpmath.exp(z)) - y * mpmath.log(mpmath.log1p(mpmath.exp(z))),
    ("sigmoid", "poisson"): lambda z, y: 1 / (1 + mpmath.exp(-z)) + y * mpmath.log(1 + mpmath.exp(-z)),
    ("tanh", "quadratic"): lambda z, y: (mpmath.tanh(z) - y) ** 2 / 2,
    ("identity", "log_cosh"): lambda z, y: mpmath.log(mpmath.cosh(z - y)),
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize(("output", "loss"), COSTS)
def test_saturated_outputs_lose_nothing(output, loss, dtype):
    net = bp.Network([1, 1], output=output, loss=loss, initializer="zeros", dtype=dtype)
    v = np.array([1.0, 0.0], dtype)
    targets = {"cross_entropy": (0.0, 1.0), "poisson": (0.0, 1.0, 2.5)}.get(loss, (0.25,))
    rtol = 100 * float(np.finfo(dtype).eps)
    with mpmath.workdps(80):
        for z in (-60.0, -30.0, -5.0, -0.75, 0.5, 4.0, 25.0, 60.0):
            net.biases[0] = np.array([z], dtype)
            for y in targets:
                expected = float(mpmath.diff(lambda t, y=y: COSTS[output, loss](t, mpmath.mpf(y)), mpmath.mpf(z), 2))
                found = net.hvp(np.ones((1, 1), dtype), np.array([[y]], dtype), v)[0]
                assert found == pytest.approx(expected, rel=rtol, abs=1e-300), (z, y)


def test_a_saturated_softmax_loses_nothing():
    z = np.array([40.0, 3.0, 0.0])
    net = bp.Network([1, 3], output="softmax", loss="cross_entropy", initializer="zeros")
    net.biases[0] = z
    v = np.array([0.3, -0.7, 1.0, 0.0, 0.0, 0.0])
    with mpmath.workdps(60):
        p = [mpmath.exp(z_j) / sum(mpmath.exp(z_k) for z_k in z) for z_j in z]
        mean = sum(p_j * v_j for p_j, v_j in zip(p, v[:3], strict=True))
        expected = [float(p_j * (v_j - mean)) for p_j, v_j in zip(p, v[:3], strict=True)]
    np.testing.assert_allclose(net.hvp([[1.0]], [[0.0, 1.0, 0.0]], v)[:3], expected, rtol=1e-14)


# ---- Threads, pieces, layouts ----------------------------------------------------------------------------------------

SHAPES = {
    "features": ([300, 40, 3], 60, 1),
    "features, three layers": ([600, 24, 17, 4], 110, 1),
    "blocks": ([10, 32, 1], 3000, 2),
    "large vectors": ([60, 600, 600, 3], 130, 2),
    "one row": ([7, 9, 2], 1, 1),
}


def shaped(name, dtype):
    sizes, rows, _ = SHAPES[name]
    rng = np.random.default_rng(5)
    net = bp.Network(sizes, "tanh", "softmax" if sizes[-1] > 1 else "softplus", dtype=dtype, seed=2)
    X = rng.standard_normal((rows, sizes[0])).astype(dtype)
    Y = rng.random((rows, sizes[-1])).astype(dtype)
    return net, X, Y, rng.standard_normal(net.n_params).astype(dtype)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_bits_do_not_depend_on_threads_and_values_not_on_the_cut(name, dtype):
    net, X, Y, v = shaped(name, dtype)
    frame = engine.make_products(bp.model.definition.problem_of(net), X)
    assert (frame.workspace.most_pieces > 1) == (name != "one row")
    u, tangent = np.full(Y.shape, 0.5, dtype), X[::-1].copy()
    results = [
        (
            *(getattr(net, product)(X, Y, v, n_threads=threads) for product in ("hvp", "gnvp")),
            net.fisher_vp(X, v, n_threads=threads),
            net.jvp(X, v, n_threads=threads),
            net.jvp(X, tangent, wrt="inputs", n_threads=threads),
            *(getattr(at, product)(v) for product in ("hvp", "gnvp", "fisher_vp", "jvp")),
            at.vjp(u),
        )
        for threads in (1, 2, 3)
        for at in [net.linearize(X, Y, n_threads=threads)]
    ]
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, another)
    for fresh, kept in zip(results[0][:4], results[0][5:9], strict=True):
        np.testing.assert_array_equal(fresh, kept)
    # row by row, which nothing cuts, in float64
    rows = slice(0, len(X), max(1, len(X) // 40))
    exact = bp.Network(net.sizes, "tanh", net.activations[-1][0][0], seed=2)
    exact.params = net.params.astype("float64")
    Xs, Ys = X[rows].astype("float64"), Y[rows].astype("float64")
    whole = [net.hvp(X[rows], Y[rows], v), net.gnvp(X[rows], Y[rows], v), net.fisher_vp(X[rows], v)]
    vs = v.astype("float64")
    single = [
        np.mean([exact.hvp(x[None], y[None], vs) for x, y in zip(Xs, Ys, strict=True)], axis=0),
        np.mean([exact.gnvp(x[None], y[None], vs) for x, y in zip(Xs, Ys, strict=True)], axis=0),
        np.mean([exact.fisher_vp(x[None], vs) for x in Xs], axis=0),
    ]
    for one, another in zip(whole, single, strict=True):
        assert relative_error(one, another) < RTOL[dtype]


def test_rows_go_through_the_upper_layers_in_several_pieces():
    net, X, _, _ = shaped("features, three layers", "float64")
    frame = engine.make_products(bp.model.definition.problem_of(net), X)
    assert frame.workspace.plan[in_plan.MODE] == in_plan.BY_FEATURES
    assert len(X) // LEAST_UPPER_ROWS > 3  # and cut at no whole vector
    assert any(len(X) * p // 4 % 4 for p in range(4))


@pytest.mark.parametrize("name", ["features", "features, three layers", "blocks"])
def test_large_products_are_derivatives_of_the_gradient(name):
    net, X, Y, v = shaped(name, "float64")
    h = 3e-4 / np.abs(v).max()
    moved = [net.value_and_grad(X, Y, net.params + k * h * v)[1] for k in (-2, -1, 1, 2)]
    expected = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
    assert relative_error(net.hvp(X, Y, v), expected) < 1e-8


@pytest.mark.parametrize("name", ["features", "features, three layers", "blocks"])
def test_any_layout_of_the_inputs_serves(name):
    net, X, Y, v = shaped(name, "float64")
    sparse = np.where(X > 1, X, 0)
    expected = net.hvp(sparse, Y, v)
    for other in (np.asfortranarray(sparse), scipy.sparse.csr_array(sparse), np.repeat(sparse, 2, axis=0)[::2]):
        np.testing.assert_array_equal(net.hvp(other, Y, v), expected)
        at = net.linearize(other, Y)
        np.testing.assert_array_equal(at.hvp(v), expected)
        np.testing.assert_array_equal(at.jvp(v), net.jvp(sparse, v))
        np.testing.assert_array_equal(net.jvp(other, X, wrt="inputs"), net.jvp(sparse, X, wrt="inputs"))
    frozen = v.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(net.hvp(sparse, Y, frozen), expected)
    np.testing.assert_array_equal(net.hvp(sparse, Y, np.repeat(v, 2)[::2]), expected)


def test_labels_are_one_hot_rows():
    net = bp.Network([4, 3], output="softmax", loss="cross_entropy", seed=1)
    X, v = np.random.default_rng(0).standard_normal((6, 4)), np.ones(15)
    labels = np.arange(6) % 3
    np.testing.assert_array_equal(net.hvp(X, labels, v), net.hvp(X, np.eye(3)[labels], v))


def test_params_are_taken_instead_of_the_networks_own():
    problem, net, v = make(cases.NETWORK_CASES[3])
    other = net.params + 0.1
    twin = network(problem.case, other)
    before = net.params.copy()
    X, Y = problem.X, problem.Y
    np.testing.assert_array_equal(net.hvp(X, Y, v, params=other), twin.hvp(X, Y, v))
    np.testing.assert_array_equal(net.gnvp(X, Y, v, params=other), twin.gnvp(X, Y, v))
    np.testing.assert_array_equal(net.fisher_vp(X, v, params=other), twin.fisher_vp(X, v))
    np.testing.assert_array_equal(net.jvp(X, v, params=other), twin.jvp(X, v))
    np.testing.assert_array_equal(net.linearize(X, Y, params=other).hvp(v), twin.hvp(X, Y, v))
    np.testing.assert_array_equal(net.params, before)


def test_a_linearization_keeps_its_parameters():
    problem, net, v = make(cases.NETWORK_CASES[3])
    at = net.linearize(*data_of(problem))
    before, cost = at.hvp(v), net.loss_value(*data_of(problem))
    net.params += 1
    np.testing.assert_array_equal(at.hvp(v), before)
    assert at.cost == cost
    at.grad[:] = 0
    assert at.grad.any()


def test_threads_may_share_a_linearization():
    net, X, Y, v = shaped("blocks", "float64")
    at = net.linearize(X, Y, n_threads=1)
    expected, found = at.hvp(v), []
    workers = [threading.Thread(target=lambda: found.extend(at.hvp(v) for _ in range(20))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 80
    for product in found:
        np.testing.assert_array_equal(product, expected)


# ---- Operators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_operators_serve_solvers_of_scipy(dtype):
    problem, net, _ = make(cases.Case("", [3, 4, 2], "tanh", "softmax", "cross_entropy", l2_penalty=0.1), dtype=dtype)
    at = net.linearize(*data_of(problem))
    H = at.hessian.matmat(np.eye(net.n_params))
    assert at.hessian.shape == H.shape
    assert at.hessian.dtype == H.dtype == dtype
    np.testing.assert_array_equal(at.hessian.rmatvec(H[0]), at.hessian @ H[0])
    largest = scipy.sparse.linalg.eigsh(at.hessian, k=2, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(largest), np.linalg.eigvalsh(H)[-2:], rtol=RTOL[dtype] * 10)
    damped = at.gauss_newton + scipy.sparse.linalg.aslinearoperator(np.eye(net.n_params, dtype=dtype))
    x, info = scipy.sparse.linalg.cg(damped, np.asarray(at.grad, np.float64), rtol=1e-6)
    assert info == 0
    np.testing.assert_allclose(damped @ x, at.grad, atol=1e-5)
    np.testing.assert_allclose(at.fisher @ x, at.gauss_newton @ x, rtol=1e-4)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov"])
@pytest.mark.parametrize("by", ["hess", "hessp"])
def test_optimizers_of_scipy_take_them(method, by):
    if by == "hess" and method != "Newton-CG":
        pytest.skip("SciPy's trust regions multiply by numpy.dot, which knows no operators")
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (40, 1))
    net = bp.Network([1, 3, 1], "tanh", seed=0, l2_penalty=1e-3)
    Y = np.sin(3 * X)
    seconds = {
        "hess": lambda p: net.linearize(X, Y, params=p).hessian,
        "hessp": lambda p, v: net.hvp(X, Y, v, params=p),
    }
    result = scipy.optimize.minimize(
        lambda p: net.value_and_grad(X, Y, p), net.params, jac=True, method=method, **{by: seconds[by]}
    )
    assert np.abs(net.value_and_grad(X, Y, result.x)[1]).max() < 1e-4
    assert result.fun < 0.05


# ---- Wrong input -----------------------------------------------------------------------------------------------------


def test_wrong_vectors_are_refused():
    net = bp.Network([2, 3, 2], "tanh", seed=0)
    X, Y, v = np.ones((4, 2)), np.zeros((4, 2)), np.ones(net.n_params)
    at = net.linearize(X, Y)
    takers = {
        "v": (
            lambda v: net.hvp(X, Y, v),
            lambda v: net.gnvp(X, Y, v),
            lambda v: net.fisher_vp(X, v),
            *(getattr(at, name) for name in ("hvp", "gnvp", "fisher_vp", "jvp")),
        ),
        "tangent": (lambda v: net.jvp(X, v),),
    }
    for argument, calls in takers.items():
        for call in calls:
            message = f"`{argument}` must have shape (17,), as `net.params` has; got (16,)."
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                call(v[1:])
            with pytest.raises(TypeError, match=f"^`{argument}` must have the network's dtype float64"):
                call(v.astype("float32"))
            with pytest.raises(ValueError, match=rf"^`{argument}` must be finite; found nan at \(3,\)"):
                call(np.where(np.arange(17) == 3, np.nan, v))
            assert call([1] * 17).shape in ((17,), (4, 2))
    for call, name, shape in (
        (lambda u: net.jvp(X, u, wrt="inputs"), "tangent", (4, 2)),
        (at.vjp, "u", (4, 2)),
    ):
        message = f"`{name}` must have shape {shape}, a row for each row of X; got (3, 2)."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(np.ones((3, 2)))
        with pytest.raises(ValueError, match=f"^`{name}` must be finite; found inf"):
            call(np.full((4, 2), np.inf))
    with pytest.raises(ValueError, match=r"^`wrt` must be 'params' or 'inputs'; got 'weights'\.$"):
        net.jvp(X, v, wrt="weights")


def test_wrong_data_are_refused_before_anything_is_computed():
    net = bp.Network([2, 3, 2], "tanh", seed=0)
    X, Y, v = np.ones((4, 2)), np.zeros((4, 2)), np.ones(net.n_params)
    for call in (net.hvp, net.gnvp, lambda X, Y, v, *more, **named: net.linearize(X, Y, *more, **named)):
        with pytest.raises(ValueError, match="`X` must have shape"):
            call(X[:, :1], Y, v)
        with pytest.raises(ValueError, match="`Y` must have"):
            call(X, Y[:3], v)
        with pytest.raises(ValueError, match="`sample_weight` must have shape"):
            call(X, Y, v, np.ones(3))
        with pytest.raises(ValueError, match=r"`params` must have shape \(17,\)"):
            call(X, Y, v, params=v[1:])
        with pytest.raises(ValueError, match="`n_threads`"):
            call(X, Y, v, n_threads=0)
    with pytest.raises(ValueError, match="`sample_weight` must be finite and at least 0"):
        net.fisher_vp(X, v, [-1.0, 1.0, 1.0, 1.0])


def test_an_overflow_is_not_a_number_but_no_error():
    net = bp.Network([1, 1], output="exp", initializer="zeros")
    net.biases[0] = [1000.0]
    with np.errstate(all="raise"):
        assert not np.isfinite(net.hvp([[1.0]], [[0.0]], [1.0, 1.0])).any()


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    net = bp.Network([1, 2000, 1], seed=0)
    X = np.zeros((40_000, 1))
    monkeypatch.setattr("fastbp.system.memory.available_memory", lambda: 1 << 20)
    message = (
        r"^The linearization of 40000 rows would take \d+ bytes \(\d\.\d GiB\) of memory, and 1048576 \(0\.0 GiB\) are "
        r"available\. Take fewer rows at a time, since products add up over rows, or call `hvp` without `linearize`\.$"
    )
    with pytest.raises(MemoryError, match=message):
        net.linearize(X, X)


def test_the_kernels_refuse_what_they_do_not_know():
    problem, net, v = make(cases.NETWORK_CASES[3])
    for task in (engine.HESSIAN, engine.GAUSS_NEWTON, engine.FISHER, engine.JACOBIAN):
        frame = engine.make_products(bp.model.definition.problem_of(net), problem.X)
        frame.set_rows(problem.X, bp.validation.Targets(problem.Y, None))
        frame.workspace.plan[in_plan.LOSS] = 77
        with pytest.raises(RuntimeError, match=r"^The kernels do not know the loss"):
            frame.product(task, net.params, v, None)


def test_frames_are_kept_and_hold_nothing_of_the_callers():
    problem, net, v = make(cases.NETWORK_CASES[3])
    hvp(net, problem, v)
    spare = next(frames for key, frames in net._passes._spare.items() if key[0] == "products")
    (frame,) = spare
    hvp(net, problem, v)
    assert spare == [frame]
    assert frame.in_use == ()
    assert all(array is not v for array in frame._arrays)


def test_frames_of_a_linearization_are_kept_for_the_next_one():
    problem, net, v = make(cases.NETWORK_CASES[3])
    at = net.linearize(*data_of(problem))
    expected, frame = at.hvp(v), at._rows._spare[0]
    del at
    spare = next(frames for key, frames in net._passes._spare.items() if key[0] == "linearized")
    assert spare == [frame]
    assert frame.in_use == ()
    assert frame.state.size == 0
    again = net.linearize(*data_of(problem))
    assert again._rows._spare == [frame]
    np.testing.assert_array_equal(again.hvp(v), expected)
    other = net.linearize(*data_of(problem), params=net.params + 1)  # at the same time
    assert np.abs(other.hvp(v) - expected).max() > 1e-3
    np.testing.assert_array_equal(again.hvp(v), expected)
