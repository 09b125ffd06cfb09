"""L-BFGS, Levenberg-Marquardt and Bayesian regularization on partitions, against fits of all rows in one place."""

import dask.array as da
import numpy as np
import pytest
import scipy.optimize
from distributed import Client, LocalCluster

import fastbp as bp
import fastbp.dask as on_dask
from fastbp.kernels.roots import optimizer_step
from fastbp.training.gradient_steps import GradientSteps
from fastbp.training.state import fresh_state
from tests.cases import OPTIMIZER_CASES

N_ROWS = 120
SIZES = (50, 0, 30, 40)


def data(dtype="float64"):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3))
    Y = np.stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
    return X.astype(dtype), Y.astype(dtype), rng.choice([0.0, 1.0, 3.0], N_ROWS).astype(dtype)


def network(**settings):
    return bp.Network([3, 6, 2], "tanh", **{"seed": 1} | settings)


def cut(array, sizes=SIZES):
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


@pytest.fixture(scope="module", autouse=True)
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


RULES = {
    "lbfgs": (bp.LBFGS(), {}, 1e-7),
    "lbfgs, penalties": (bp.LBFGS(history=4), {"l2_penalty": 0.01, "l1_penalty": 1e-4}, 1e-7),
    "levenberg-marquardt": (bp.LevenbergMarquardt(), {}, 1e-7),
    "trainlm, penalty": (bp.LevenbergMarquardt(damping="trainlm"), {"l2_penalty": 0.01}, 1e-7),
    "mixed": (bp.LevenbergMarquardt(products="float32"), {}, 1e-3),
    "softmax": (bp.LevenbergMarquardt(), {"output": "softmax", "loss": "quadratic"}, 1e-6),
    "bayesian": (bp.BayesianRegularization(warmup=3), {}, 1e-6),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", RULES)
def test_the_path_is_that_of_all_rows(kind, weighted):
    rule, settings, tolerance = RULES[kind]
    X, Y, weights = data()
    if "output" in settings:
        Y = np.abs(Y) / np.abs(Y).sum(axis=1, keepdims=True)
    ours, theirs = network(**settings), network(**settings)
    history = on_dask.fit(
        ours, cut(X), cut(Y), epochs=8, optimizer=rule, sample_weight=cut(weights) if weighted else None
    )
    expected = theirs.fit(X, Y, epochs=8, optimizer=rule, sample_weight=weights if weighted else None)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=tolerance)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=100 * tolerance, atol=100 * tolerance)
    for column in rule.columns:
        np.testing.assert_allclose(
            history.as_dict()[column], expected.as_dict()[column], rtol=1000 * tolerance, err_msg=column
        )
    assert history.stopped_by == expected.stopped_by
    assert np.isnan(history.learning_rate).all()


def test_float32():
    X, Y, _ = data("float32")
    for rule in (bp.LBFGS(), bp.LevenbergMarquardt()):
        ours, theirs = network(dtype="float32"), network(dtype="float32")
        history = on_dask.fit(ours, cut(X), cut(Y), epochs=6, optimizer=rule)
        expected = theirs.fit(X, Y, epochs=6, optimizer=rule)
        np.testing.assert_allclose(history.loss, expected.loss, rtol=2e-3)


def test_the_minimum_is_scipys():
    X, Y, _ = data()
    net, other = network(l2_penalty=0.05), network(l2_penalty=0.05)
    history = on_dask.fit(net, cut(X), cut(Y), epochs=500, optimizer=bp.LBFGS(gtol=1e-7, ftol=0.0))
    found = scipy.optimize.minimize(
        lambda params: other.value_and_grad(X, Y, params=params), other.params, jac=True, method="L-BFGS-B",
        options={"gtol": 1e-7, "ftol": 0.0, "maxiter": 500},
    )  # fmt: skip
    assert history.stopped_by == "gtol"
    np.testing.assert_allclose(history.loss[-1], found.fun, rtol=1e-6)


@pytest.mark.parametrize("rule", [bp.LBFGS(), bp.LevenbergMarquardt(), bp.BayesianRegularization(warmup=2)], ids=repr)
def test_bits_depend_on_no_worker_and_on_no_interruption(rule, tmp_path):
    X, Y, _ = (cut(array) for array in data())
    whole, path = network(), tmp_path / "fit.checkpoint"
    expected = on_dask.fit(whole, X, Y, epochs=7, optimizer=rule)

    def interrupt(net, history):
        if len(history) == 3:
            raise KeyboardInterrupt

    broken, resumed = network(), network()
    with pytest.raises(KeyboardInterrupt):
        on_dask.fit(broken, X, Y, epochs=7, optimizer=rule, callbacks=[interrupt], checkpoint=path)
    assert len(broken.history) == 3
    with (
        LocalCluster(n_workers=3, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as other,
    ):
        history = on_dask.fit(resumed, X, Y, epochs=7, checkpoint=path, resume=True, client=other, persist=False)
    assert np.array_equal(resumed.params, whole.params)
    assert np.array_equal(history.loss, expected.loss)


def test_the_end_by_validation_data():
    X, Y, _ = data()
    rng = np.random.default_rng(1)
    noisy = Y + rng.normal(size=Y.shape)
    rule = bp.LevenbergMarquardt(max_fail=3)
    ours, theirs = network(), network()
    given = (X[:30], noisy[30:60])
    history = on_dask.fit(
        ours, cut(X), cut(noisy), epochs=60, optimizer=rule, validation_data=tuple(cut(a, (30,)) for a in given)
    )
    expected = theirs.fit(X, noisy, epochs=60, optimizer=rule, validation_data=given)
    assert history.stopped_by == expected.stopped_by == "max_fail"
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-5)


class OwnRule(bp.WholeBatchOptimizer):
    def trainer(self, net, data, n_threads):
        raise AssertionError


def test_what_cannot_be_is_refused():
    X, Y, _ = (cut(array) for array in data())
    softmax = bp.Network([3, 2], output="softmax", loss="cross_entropy")
    for net, arguments, error, text in [
        (network(), {"optimizer": OwnRule()}, TypeError, "whose trainer wants all rows in one place. Use Network.fit"),
        (network(), {"optimizer": bp.LBFGS(), "batch_size": 7}, ValueError, "`batch_size` must be None or 'auto'"),
        (network(), {"optimizer": bp.LBFGS(), "tol": 0.1}, ValueError, "`tol` must be None with LBFGS"),
        (network(), {"optimizer": bp.LBFGS(), "average_every": 2}, ValueError, "`average_every` must be None where"),
        (softmax, {"optimizer": bp.LevenbergMarquardt()}, ValueError, "`loss` must be 'quadratic'"),
    ]:
        before = net.params.copy()
        with pytest.raises(error, match="must") as caught:
            on_dask.fit(net, X, np.abs(Y) / 9, **arguments) if net is not softmax else on_dask.fit(
                net, X, (Y * 0 + 0.5), **arguments
            )
        assert text in str(caught.value)
        assert np.array_equal(net.params, before)


# ---- Steps by gradients that come from elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)
def test_steps_by_gradients_are_those_of_a_fit(case, dtype):
    X, Y, _ = data(dtype)
    settings = {"dtype": dtype, "l2_penalty": 0.01, "l1_penalty": 1e-3}
    ours, theirs = network(**settings), network(**settings)
    optimizer = getattr(bp, case.kind)(**case.hyper_parameters)
    arguments = {"epochs": 5, "batch_size": None, "optimizer": optimizer, "clip_norm": case.clip_norm}
    history = on_dask.fit(ours, cut(X), cut(Y), **arguments)
    expected = theirs.fit(X, Y, **arguments)
    tolerance = 2e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(ours.params, theirs.params, rtol=tolerance, atol=tolerance / 10)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=tolerance)


def test_a_gradient_of_another_length_is_refused():
    net = network()
    state = fresh_state(net, bp.Adam(), np.random.default_rng(0))
    before = net.params.copy()
    with pytest.raises(AssertionError, match="as long as the parameters"):
        GradientSteps(net, state).step(net.params, np.ones(net.n_params - 1), 0.1)
    assert np.array_equal(net.params, before)
    assert state.step == 0
    assert optimizer_step.run.of(net.dtype) is optimizer_step.run.of(net.dtype)
