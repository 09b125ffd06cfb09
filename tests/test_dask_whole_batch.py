"""L-BFGS, Levenberg-Marquardt and Bayesian regularization on Dask's collections: the paths of `Network.fit`."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

import fastbp as bp
from fastbp.system import memory
from tests.cases import DTYPES
from tests.squares import Squares, levenberg_marquardt
from tests.test_lbfgs import PROBLEMS, scipys
from tests.test_lbfgs import WEIGHTS as WEIGHTS_OF_PROBLEMS
from tests.test_lbfgs import X as X_OF_PROBLEMS
from tests.test_levenberg_marquardt import LARGER, SEVERAL, data_of
from tests.twins import same_bits

pytest.importorskip("distributed")
import dask.array as da

import fastbp.dask
from fastbp.dask.session import Session
from tests.test_dask_exact import client_of, press_at

rng = np.random.default_rng(3)
X = rng.standard_normal((64, 3))
Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 0]])
WEIGHTS = rng.uniform(0.2, 2.0, 64)
WEIGHTS[[3, 40]] = 0.0
CHUNKS = (30, 1, 0, 33)
ONE = (64,)
RULES = {
    "lbfgs": bp.LBFGS(),
    "short memory": bp.LBFGS(history=2, max_line_search=3),
    "gain ratio": bp.LevenbergMarquardt(),
    "trainlm": bp.LevenbergMarquardt(damping="trainlm", mu=1e-4),
    "mixed": bp.LevenbergMarquardt(products="float32"),
    "bayesian": bp.BayesianRegularization(warmup=2),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
kinds = pytest.mark.parametrize(
    "rule", [RULES[name] for name in ("lbfgs", "gain ratio", "bayesian")], ids=["lbfgs", "gain ratio", "bayesian"]
)


@pytest.fixture(scope="module")
def client():
    yield from client_of(2)


def net_of(dtype="float64", **changes):
    return bp.Network([3, 5, 2], **{"activation": "tanh", "dtype": dtype, "seed": 1} | changes)


def in_parts(chunks, *arrays):
    return [da.from_array(a, chunks=(chunks, *a.shape[1:])) for a in arrays]


def fit(net, rule, client, *, epochs=5, chunks=CHUNKS, X=X, Y=Y, sample_weight=None, **arguments):
    xs, ys = in_parts(chunks, X.astype(net.dtype), Y.astype(net.dtype) if Y.dtype.kind == "f" else Y)
    weights = None if sample_weight is None else in_parts(chunks, sample_weight.astype(net.dtype))[0]
    return fastbp.dask.fit(net, xs, ys, epochs, None, rule, sample_weight=weights, client=client, **arguments)


def fit_here(net, rule, *, epochs=5, X=X, Y=Y, sample_weight=None, **arguments):
    weights = None if sample_weight is None else sample_weight.astype(net.dtype)
    Y = Y.astype(net.dtype) if Y.dtype.kind == "f" else Y
    return net.fit(X.astype(net.dtype), Y, epochs, None, rule, sample_weight=weights, **arguments)


def assert_close(found, expected, rtol, rule):
    """The same losses and columns."""
    assert len(found) == len(expected)
    assert found.stopped_by == expected.stopped_by
    for name in ("loss", *rule.columns) if len(found) else ():
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, err_msg=name)


# ---- The path of one machine -----------------------------------------------------------------------------------------


@rules
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_the_path_is_that_of_one_machine(rule, weights, client):
    penalty = {} if isinstance(rule, bp.BayesianRegularization) else {"l2_penalty": 0.01}
    local, ours = net_of(**penalty), net_of(**penalty)
    expected = fit_here(local, rule, sample_weight=weights)
    found = fit(ours, rule, client, sample_weight=weights)
    mixed = getattr(rule, "products", None) == "float32"  # sums of float32 in another order
    assert_close(found, expected, 1e-2 if mixed else 1e-9, rule)
    np.testing.assert_allclose(ours.params, local.params, **({"atol": 1e-2} if mixed else {"rtol": 1e-8}))


@rules
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_partition_has_the_bits_of_one_machine(rule, dtype, client):
    local, ours = net_of(dtype), net_of(dtype)
    expected = fit_here(local, rule, epochs=8)
    found = fit(ours, rule, client, epochs=8, chunks=ONE)
    if isinstance(rule, bp.LBFGS):
        assert same_bits(ours.params, local.params)
        assert_close(found, expected, 0.0, rule)
    else:  # some sums over the parameters are in another order
        rtol = 1e-9 if dtype == "float64" and getattr(rule, "products", "auto") == "auto" else 1e-3
        assert_close(found, expected, rtol, rule)


@pytest.mark.parametrize("name", PROBLEMS)
def test_lbfgs_finds_the_minimum_of_scipy(name, client):
    make, targets, weights = PROBLEMS[name]
    least = scipys(make(dtype="float64"), X_OF_PROBLEMS, targets, weights, gtol=1e-8, ftol=0.0)
    net, rule = make(dtype="float64"), bp.LBFGS(gtol=1e-5, ftol=0.0)
    given = None if weights is None else WEIGHTS_OF_PROBLEMS
    history = fit(net, rule, client, epochs=12, chunks=(50, 30), X=X_OF_PROBLEMS, Y=targets, sample_weight=given)
    expected = fit_here(make(dtype="float64"), rule, epochs=12, X=X_OF_PROBLEMS, Y=targets, sample_weight=given)
    assert_close(history, expected, 1e-5, rule)
    assert history.loss[-1] >= least.fun - 1e-9
    if history.stopped_by == "gtol":
        assert history.loss[-1] == pytest.approx(least.fun, abs=1e-6)


def test_lbfgs_comes_to_its_end_for_every_reason(client):
    cases = {
        "gtol": (bp.LBFGS(gtol=0.1), {}),
        "ftol": (bp.LBFGS(ftol=0.5), {}),
        "max_evaluations": (bp.LBFGS(max_evaluations=4), {}),
        "line_search": (bp.LBFGS(max_line_search=1), {"X": 1000 * X}),
    }
    for reason, (rule, data) in cases.items():
        local, ours = (bp.Network([3, 2], initializer="zeros", dtype="float64") for _ in range(2))
        expected = fit_here(local, rule, epochs=60, **data)
        found = fit(ours, rule, client, epochs=60, chunks=ONE, **data)
        assert found.stopped_by == reason
        assert_close(found, expected, 0.0, rule)
        assert same_bits(ours.params, local.params)


@pytest.mark.parametrize("damping", ["gain_ratio", "trainlm"])
@pytest.mark.parametrize("case", [SEVERAL, LARGER], ids=str)
def test_the_decisions_of_a_plain_twin(case, damping, client):
    inputs, targets = data_of(case)
    start = bp.Network(case.sizes, dtype="float64", seed=1, **case.keywords)
    rows, _ = levenberg_marquardt(Squares(case, inputs, targets, None), start.params, 12, damping)
    rule = bp.LevenbergMarquardt(damping=damping, min_gradient=0.0)
    history = fit(start, rule, client, epochs=12, chunks=(20, 40), X=inputs, Y=targets)
    np.testing.assert_array_equal(history.tries, rows[:, 3])
    np.testing.assert_allclose(history.loss, rows[:, 0], rtol=1e-6)
    np.testing.assert_allclose(history.mu, rows[:, 1], rtol=1e-4)


def test_softmax_outputs_with_the_quadratic_loss(client):
    ones = np.eye(2)[(X[:, 0] > 0).astype(int)]
    local, ours = (net_of(output="softmax", loss="quadratic", l2_penalty=1e-3) for _ in range(2))
    expected = fit_here(local, RULES["gain ratio"], Y=ones)
    assert_close(fit(ours, RULES["gain ratio"], client, Y=ones), expected, 1e-9, RULES["gain ratio"])


def test_equations_without_a_factor_make_mu_grow(client):
    rule = bp.LevenbergMarquardt(damping="trainlm", mu=1e-19)
    local, ours = net_of(), net_of()
    for net in (local, ours):  # all hidden neurons are one, so that J^T J is singular
        net.weights[0][...], net.weights[1][...] = 0.5, 0.1
    expected, found = fit_here(local, rule, epochs=2), fit(ours, rule, client, epochs=2, chunks=ONE)
    assert found.tries[0] > 1
    np.testing.assert_array_equal(found.tries, expected.tries)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (bp.LevenbergMarquardt(goal=0.1), "goal"),
        (bp.LevenbergMarquardt(min_gradient=0.1), "min_gradient"),
        (bp.LevenbergMarquardt(min_gradient=0.0, mu=1.0, mu_max=2.0), "mu_max"),
    ],
)
def test_levenberg_marquardt_ends_where_it_does_here(rule, reason, client):
    sizes = [3, 8, 2] if reason == "goal" else [3, 2]
    local, ours = (bp.Network(sizes, "tanh", dtype="float64", seed=0) for _ in range(2))
    expected, found = fit_here(local, rule, epochs=40), fit(ours, rule, client, epochs=40)
    assert found.stopped_by == expected.stopped_by == reason
    if reason != "mu_max":  # there rounding decides when
        assert_close(found, expected, 1e-6, rule)


@kinds
def test_a_cost_that_is_not_finite_where_it_begins(rule, client):
    net = bp.Network([3, 2], output="exp", dtype="float64", initializer="zeros")
    net.biases[0][...] = 800.0
    before = net.params.copy()
    with pytest.raises(bp.TrainingDivergedError, match="NaN or infinite where the fit begins"):
        fit(net, rule, client)
    assert same_bits(net.params, before)
    assert len(net.history) == 0


# ---- Ends and beginnings ---------------------------------------------------------------------------------------------


@kinds
def test_interrupted_anywhere_and_resumed(rule, client, monkeypatch, tmp_path):
    whole = net_of()
    after = {0: whole.params.copy()}
    keep = [lambda net, history: after.update({len(history): net.params.copy()})]
    expected = fit(whole, rule, client, callbacks=keep)
    for n_results in (2, 4, 7):  # before an iteration, at its beginning, and among its trials
        path, net = tmp_path / f"{n_results}", net_of()
        press_at(monkeypatch, n_results)
        with pytest.raises(KeyboardInterrupt):
            fit(net, rule, client, checkpoint=path)
        monkeypatch.undo()
        assert net.history.stopped_by == "interruption"
        assert same_bits(net.params, after[len(net.history)])
        assert same_bits(net.history.loss, expected.loss[: len(net.history)])
        resumed = net_of()
        assert same_bits(fit(resumed, rule, client, checkpoint=path, resume=True).loss, expected.loss)
        assert same_bits(resumed.params, whole.params)


@kinds
def test_a_callback_may_press_ctrl_c(rule, client, tmp_path):
    whole, net, resumed = net_of(), net_of(), net_of()
    expected = fit(whole, rule, client)

    def press(net, history):
        if len(history) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net, rule, client, checkpoint=tmp_path / "c", callbacks=[press])
    assert same_bits(net.history.loss, expected.loss[:3])
    history = fit(resumed, rule, client, checkpoint=tmp_path / "c", resume=True)
    assert same_bits(history.loss, expected.loss)
    assert same_bits(resumed.params, whole.params)


@kinds
def test_a_callback_may_change_the_network(rule, client):
    def halve(net, history):
        if len(history) == 2:
            net.params[...] /= 2

    local, ours = net_of(), net_of()
    expected = fit_here(local, rule, callbacks=[halve])
    assert_close(fit(ours, rule, client, callbacks=[halve]), expected, 1e-8, rule)


def test_validation_ends_levenberg_marquardt(client):
    rule, noise = bp.LevenbergMarquardt(max_fail=2), rng.standard_normal((20, 2))
    local, ours = net_of(), net_of()
    expected = fit_here(local, rule, epochs=50, validation_data=(X[:20], noise))
    given = tuple(in_parts((20,), X[:20], noise))
    found = fit(ours, rule, client, epochs=50, validation_data=given)
    assert found.stopped_by == expected.stopped_by == "max_fail"
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.val_loss, expected.val_loss, rtol=1e-6)
    np.testing.assert_allclose(ours.params, local.params, rtol=1e-6, atol=1e-8)


# ---- Wrong input -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Own(bp.WholeBatchOptimizer):
    def trainer(self, net, data, n_threads):
        raise AssertionError


WRONG = {
    "own rule": (
        Own(), {}, TypeError,
        "`optimizer` must be a bp.LBFGS, bp.LevenbergMarquardt or bp.BayesianRegularization, or a bp.Optimizer, on "
        "Dask's collections, because any other rule needs all rows in one place; got Own. Train with Network.fit what "
        "fits into memory.",
    ),
    "clip_norm": (
        bp.LBFGS(), {"clip_norm": 1.0}, ValueError,
        "`clip_norm` must be None with LBFGS, which chooses the length of a step itself; got 1.",
    ),
    "l1": (
        bp.LevenbergMarquardt(), {}, ValueError,
        "`l1_penalty` must be 0 for LevenbergMarquardt, because it is no sum of squares; the network has 0.5. Use "
        "`l2_penalty`, or train it with bp.Adam().",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_is_refused(kind, client):
    rule, arguments, error, message = WRONG[kind]
    net = net_of(l1_penalty=0.5 if kind == "l1" else 0.0)
    before = net.params.copy()
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        fit(net, rule, client, **arguments)
    assert same_bits(net.params, before)
    assert net.history is None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            bp.LBFGS(10**6),
            r"^The last 1000000 steps of L-BFGS with 11198 parameters would take .* smaller `history`",
        ),
        (bp.LevenbergMarquardt(), r"^J\^T J and its factor for 11198 parameters would take 4012646528 bytes"),
    ],
    ids=["lbfgs", "levenberg-marquardt"],
)
def test_memory_is_asked_for_here_before_anything_is_done(rule, message, client, monkeypatch):
    net = bp.Network([3, 1866, 2], seed=0, dtype="float64")
    monkeypatch.setattr(memory, "available_memory", lambda: 100_000)
    theirs, n_results = Session.result, []
    monkeypatch.setattr(
        Session, "result", lambda self, task, parts=(): n_results.append(1) or theirs(self, task, parts)
    )
    with pytest.raises(MemoryError, match=message):
        fit(net, rule, client)
    assert len(n_results) == 1
    assert net.history is None
