"""L-BFGS: the path and the minima of SciPy's, whole steps only, the same bits however it is cut."""

import itertools
import json
import pickle
import threading
import time

import numba
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import fastbp as bp
from fastbp.engine.lbfgs import LbfgsFrame
from fastbp.kernels.machine import team
from fastbp.kernels.roots import lbfgs as kernel
from fastbp.storage.arrays import read_arrays, write_arrays
from tests import cases, fuzz_more_files
from tests.fresh import run_python
from tests.twins import same_bits

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)

rng = np.random.default_rng(7)
X = rng.standard_normal((80, 3))
LABELS = (X[:, 0] + 0.3 * rng.standard_normal(80) > 0).astype(int) + (X[:, 1] > 0.5)
REAL = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 0]])
COUNTS = rng.poisson(np.exp(0.5 * X[:, :1])).astype(float)
WEIGHTS = rng.uniform(0.2, 2.0, 80)

# Networks, targets and weights whose minimum both find, whatever the last bits of the processor are.
PROBLEMS = {
    "linear": (lambda **k: bp.Network([3, 2], seed=0, **k), REAL, None),
    "weighted": (lambda **k: bp.Network([3, 2], seed=0, l2_penalty=0.01, **k), REAL, WEIGHTS),
    "logistic": (lambda **k: bp.Network([3, 1], output="sigmoid", loss="cross_entropy", seed=0, l2_penalty=1e-3, **k),
                 (LABELS > 0).astype(float), None),
    "softmax": (lambda **k: bp.Network([3, 3], output="softmax", loss="cross_entropy", seed=0, l2_penalty=1e-3, **k),
                LABELS, WEIGHTS),
    "poisson": (lambda **k: bp.Network([3, 1], output="exp", loss="poisson", seed=0, **k), COUNTS, None),
    "huber": (lambda **k: bp.Network([3, 2], loss="huber", loss_parameter=0.5, seed=0, **k), REAL, None),
    "tanh": (lambda **k: bp.Network([3, 4, 2], "tanh", seed=1, l2_penalty=0.01, **k), REAL, None),
    "two layers": (lambda **k: bp.Network([3, 5, 4, 3], "tanh", "softmax", "cross_entropy", seed=2, l2_penalty=0.03,
                                          **k), LABELS, None),
}  # fmt: skip


def targets_of(Y, dtype):
    return Y.astype(dtype) if Y.dtype.kind == "f" else Y


def scipys(net, X, Y, weights=None, *, costs=None, **options):
    """SciPy's L-BFGS-B on the network's cost and gradient."""

    def function(params):
        cost, grad = net.value_and_grad(X, Y, params=params.astype(net.dtype), sample_weight=weights)
        return cost, grad.astype(np.float64)

    def note(intermediate_result):
        if costs is not None:
            costs.append(float(intermediate_result.fun))

    return scipy.optimize.minimize(
        function,
        net.params.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=note,
        options={"maxfun": 10**6, "maxiter": 3000} | options,
    )


# ---- The path and the minimum of SciPy's -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_minimum_is_that_of_scipy(name):
    make, Y, weights = PROBLEMS[name]
    expected = scipys(make(), X, Y, weights, gtol=1e-8, ftol=0.0)
    net = make()
    history = net.fit(X, Y, epochs=3000, optimizer=bp.LBFGS(gtol=1e-8, ftol=0.0), sample_weight=weights)
    assert history.stopped_by in ("gtol", "ftol")
    assert abs(history.loss[-1] - expected.fun) <= 1e-8 * max(1.0, abs(expected.fun))
    assert net.loss_value(X, Y, weights) == pytest.approx(history.loss[-1], rel=1e-12)
    assert np.abs(net.value_and_grad(X, Y, sample_weight=weights)[1]).max() <= 1e-6


@pytest.mark.parametrize("history", [1, 3, 10])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_path_is_that_of_scipy(name, history):
    make, Y, weights = PROBLEMS[name]
    costs, n = [], 14
    scipys(make(), X, Y, weights, costs=costs, maxcor=history, maxiter=n, gtol=0.0, ftol=0.0)
    rule = bp.LBFGS(history=history, gtol=0.0, ftol=0.0)
    losses = make().fit(X, Y, epochs=n, optimizer=rule, sample_weight=weights).loss
    both = min(len(losses), len(costs))  # of a linear network rounding says when it is at its minimum
    assert both >= 8
    costs, losses = costs[:both], losses[:both]
    np.testing.assert_allclose(losses, costs, rtol=1e-6)
    np.testing.assert_allclose(losses[:5], costs[:5], rtol=1e-11)


def test_line_searches_of_several_steps_are_those_of_scipy():
    """Inputs of very different scales, so that step after step is too short, too long, or not a number."""
    wide = X * [100.0, 1.0, 0.01]
    for output, loss, Y in (("exp", "poisson", COUNTS), ("identity", "quadratic", REAL[:, :1])):
        net, twin = (bp.Network([3, 1], output=output, loss=loss, initializer="zeros") for _ in range(2))
        costs = []
        expected = scipys(twin, wide, Y, costs=costs, maxiter=12, gtol=0.0, ftol=0.0)
        history = net.fit(wide, Y, epochs=12, optimizer=bp.LBFGS(gtol=0.0, ftol=0.0))
        assert history.evaluations.max() > 3
        if output == "identity":
            np.testing.assert_allclose(history.loss, costs, rtol=1e-7)
            assert history.evaluations.sum() + 1 == expected.nfev
        assert (np.diff(history.loss) <= 0).all()


def test_every_step_keeps_the_conditions_of_wolfe():
    net = bp.Network([3, 6, 2], "tanh", seed=3)
    steps = [net.params.copy()]
    net.fit(X, REAL, epochs=40, optimizer=bp.LBFGS(), callbacks=[lambda net, history: steps.append(net.params.copy())])
    assert len(steps) > 30
    for before, after in itertools.pairwise(steps):
        (f, g), (f_new, g_new) = (net.value_and_grad(X, REAL, params=params) for params in (before, after))
        slope, slope_new = g @ (after - before), g_new @ (after - before)
        assert slope < 0
        assert f_new <= f + 1e-3 * slope + 1e-12
        assert abs(slope_new) <= 0.9 * abs(slope) + 1e-12


@dtypes
def test_the_cost_never_rises(dtype):
    for activation, changes in (("relu", {}), ("tanh", {"l1_penalty": 0.01}), ("sigmoid", {"loss": "absolute"})):
        net = bp.Network([3, 8, 2], activation, seed=0, dtype=dtype, **changes)
        begin = net.loss_value(X.astype(dtype), REAL.astype(dtype))
        history = net.fit(X.astype(dtype), REAL.astype(dtype), epochs=300, optimizer=bp.LBFGS(ftol=0.0))
        assert (np.diff(history.loss) <= 0).all()
        assert history.loss[-1] < 0.5 * begin
        assert net.loss_value(X.astype(dtype), REAL.astype(dtype)) == pytest.approx(history.loss[-1], rel=1e-5)


def test_single_precision_comes_as_near_as_it_can():
    for name in ("weighted", "softmax", "tanh"):
        make, Y, weights = PROBLEMS[name]
        expected = scipys(make(), X, Y, weights, gtol=1e-8, ftol=0.0).fun
        net = make(dtype="float32")
        data = X.astype("f4"), targets_of(Y, "f4")
        weights = None if weights is None else weights.astype("f4")
        history = net.fit(*data, epochs=1000, optimizer=bp.LBFGS(gtol=1e-5, ftol=0.0), sample_weight=weights)
        assert history.loss[-1] == pytest.approx(expected, rel=1e-5)


@dtypes
def test_sparse_rows_and_labels(dtype):
    dense = np.where(rng.uniform(size=(90, 40)) < 0.1, rng.standard_normal((90, 40)), 0.0).astype(dtype)
    labels = rng.integers(3, size=90)
    losses = []
    for rows in (dense, scipy.sparse.csr_array(dense)):
        net = bp.Network([40, 5, 3], "tanh", "softmax", "cross_entropy", seed=0, dtype=dtype, l2_penalty=0.01)
        losses.append(net.fit(rows, labels, epochs=10, optimizer=bp.LBFGS()).loss)
    np.testing.assert_allclose(*losses, rtol=1e-8 if dtype == "float64" else 1e-3)


# ---- How it ends -----------------------------------------------------------------------------------------------------


def fit(net, **changes):
    arguments = {"epochs": 1000, "optimizer": bp.LBFGS()} | changes
    return net.fit(X, REAL, **arguments)


def net_of(**changes):
    return bp.Network([3, 6, 2], **{"activation": "tanh", "seed": 4} | changes)


def test_why_it_ended():
    history = fit(net_of(l2_penalty=0.01))
    assert history.stopped_by in ("gtol", "ftol")
    history = fit(net_of(l2_penalty=0.01), optimizer=bp.LBFGS(ftol=0.0, gtol=1e-6))
    assert history.stopped_by == "gtol"
    assert history.gradient_norm[-1] <= 1e-6 < history.gradient_norm[-2]
    history = fit(net_of(), optimizer=bp.LBFGS(ftol=1e-3, gtol=0.0))
    assert history.stopped_by == "ftol"
    falls = -np.diff(history.loss)
    assert falls[-1] <= 1e-3 < falls[:-1].min()
    history = fit(net_of(), optimizer=bp.LBFGS(max_evaluations=25))
    assert history.stopped_by == "max_evaluations"
    assert history.evaluations.sum() + 1 >= 25 > history.evaluations[:-1].sum() + 1  # one where the fit begins
    assert fit(net_of(), epochs=3).stopped_by == "epochs"
    net = net_of()
    before = net.params.copy()
    assert (fit(net, optimizer=bp.LBFGS(gtol=1e9)).stopped_by, len(net.history)) == ("gtol", 0)
    assert same_bits(net.params, before)


def test_a_line_search_that_finds_nothing():
    net = bp.Network([3, 1], initializer="zeros")
    before = net.params.copy()
    history = net.fit(1000 * X, REAL[:, :1], optimizer=bp.LBFGS(max_line_search=1))
    assert (history.stopped_by, len(history)) == ("line_search", 0)
    assert same_bits(net.params, before)


def test_the_gradient_norm_is_the_largest_derivative():
    norms = []
    net = net_of(l2_penalty=0.1)
    watch = [lambda net, history: norms.append(np.abs(net.value_and_grad(X, REAL)[1]).max())]
    history = fit(net, epochs=5, callbacks=watch)
    np.testing.assert_allclose(history.gradient_norm, norms, rtol=1e-9)


@pytest.mark.parametrize("weight", [1.0, 0.0], ids=["cost", "gradient alone"])
def test_what_is_not_finite_where_the_fit_begins(weight):
    net = bp.Network([3, 1], output="exp", loss="poisson", initializer="zeros", dtype="float64")
    net.weights[0][...] = 1.0
    before, weights, inputs = net.params.copy(), np.ones(len(X)), X.astype(np.float64)
    inputs[0], weights[0] = 1e5, weight
    cost, gradient = net.value_and_grad(inputs, COUNTS, sample_weight=weights)
    assert np.isfinite(cost) == (weight == 0)
    assert np.isnan(gradient).all()
    with pytest.raises(bp.TrainingDivergedError) as caught:
        net.fit(inputs, COUNTS, sample_weight=weights, optimizer=bp.LBFGS())
    assert str(caught.value) == (
        "The loss or its gradient is NaN or infinite where the fit begins, so that no way leads down from there; the "
        "network has the parameters that it had. Begin with other parameters, or with inputs scaled to mean 0 and "
        "variance 1."
    )
    assert same_bits(net.params, before)
    assert net.history.stopped_by == "divergence"


def test_steps_to_where_the_cost_is_not_finite_are_shortened():
    net = bp.Network([3, 1], output="exp", loss="poisson", initializer="zeros")
    history = net.fit(3000 * X, COUNTS, epochs=50, optimizer=bp.LBFGS())
    assert len(history) > 0
    assert (np.diff(history.loss) <= 0).all()
    assert np.isfinite(net.params).all()


@numba.njit
def steep(z):
    if z > 30.0:
        raise ValueError
    return z


@numba.njit
def slope_of_steep(z):
    return 1.0


def test_an_exception_of_a_function_of_ones_own_is_raised():
    net = bp.Network([1, 1], output=bp.Activation("steep", steep, slope_of_steep), initializer="zeros")
    rows = np.array([[1.0], [2.0]])
    with pytest.raises(RuntimeError, match=r"`f` of bp\.Activation 'steep' must return a number whatever it is given"):
        net.fit(rows, 40.0 * rows, optimizer=bp.LBFGS())
    assert np.isfinite(net.params).all()
    assert net.history.stopped_by == "interruption"


# ---- The same bits ---------------------------------------------------------------------------------------------------


def assert_same(net, history, expected, expected_history):
    assert same_bits(net.params, expected.params)
    assert history.stopped_by == expected_history.stopped_by
    for name in ("loss", "gradient_norm", "evaluations"):
        assert same_bits(getattr(history, name), getattr(expected_history, name))


@dtypes
@pytest.mark.parametrize(("sizes", "n"), [([8, 40, 30, 3], 1500), ([40, 500, 400, 4], 64), ([2000, 100, 3], 60)])
def test_the_number_of_threads_changes_no_bit(sizes, n, dtype):
    data = np.random.default_rng(3)
    rows, Y = data.standard_normal((n, sizes[0])).astype(dtype), data.standard_normal((n, sizes[-1])).astype(dtype)
    expected = bp.Network(sizes, "tanh", dtype=dtype, seed=0)
    expected_history = expected.fit(rows, Y, epochs=6, optimizer=bp.LBFGS(), n_threads=1)
    for n_threads in (2, 3):
        net = bp.Network(sizes, "tanh", dtype=dtype, seed=0)
        assert_same(
            net, net.fit(rows, Y, epochs=6, optimizer=bp.LBFGS(), n_threads=n_threads), expected, expected_history
        )


@dtypes
def test_several_iterations_in_a_call_and_again_in_the_same_frame(dtype):
    data, rule = (X.astype(dtype), REAL.astype(dtype)), bp.LBFGS(history=4, ftol=0.0)
    expected = net_of(dtype=dtype)
    expected_history = expected.fit(*data, epochs=60, optimizer=rule, callbacks=[lambda net, history: None])
    net = net_of(dtype=dtype)
    begin = net.params.copy()
    for _ in range(2):  # the second one in the frame of the first
        assert_same(net, net.fit(*data, epochs=60, optimizer=rule), expected, expected_history)
        net.params = begin


def test_resumed_after_every_epoch(tmp_path):
    expected = net_of()
    rule = bp.LBFGS(history=3)
    validation = {"validation_data": (X[:20] + 0.1, REAL[:20])}
    expected_history = fit(expected, epochs=30, optimizer=rule, **validation)
    for stop in (0, 1, 2, 5, 29, 30):
        fit(net_of(), epochs=stop, optimizer=rule, **validation, checkpoint=tmp_path / f"{stop}")
        for own in (rule, None):  # the second time there is nothing left to do; the file knows its optimizer
            net = net_of()
            history = fit(net, epochs=30, optimizer=own, **validation, checkpoint=tmp_path / f"{stop}", resume=True)
            assert_same(net, history, expected, expected_history)
            assert same_bits(history.val_loss, expected_history.val_loss)


def test_interrupted_at_any_moment_and_resumed(monkeypatch, tmp_path):
    """Requests come from another thread, whenever they like; what was accepted until then is whole."""
    data = np.random.default_rng(5)
    rows, Y = data.standard_normal((400, 6)), data.standard_normal((400, 2))
    arguments = {"epochs": 200, "optimizer": bp.LBFGS(history=5, ftol=0.0)}
    make = lambda: bp.Network([6, 20, 2], "tanh", seed=0)  # noqa: E731  as short as it can be
    expected = make()
    expected_history = expected.fit(rows, Y, **arguments)
    whole = LbfgsFrame.run

    def run(self, *call, **keywords):
        control = self.control
        over = threading.Event()

        def press(seconds):
            if not over.wait(seconds):
                control[team.REQUEST] = team.ABANDON

        presser = threading.Thread(target=press, args=(data.uniform(0.0, 0.004),))
        presser.start()
        if n_presses == 0:  # so that there is one, however late the other thread is
            control[team.REQUEST] = team.ABANDON
        whole(self, *call, **keywords)
        over.set()
        presser.join()
        abandoned, control[team.REQUEST] = control[team.REQUEST], 0
        if abandoned:
            raise KeyboardInterrupt

    monkeypatch.setattr(LbfgsFrame, "run", run)
    monkeypatch.setattr("fastbp.training.fit.Plan.looks_after_each_epoch", False)
    monkeypatch.setattr("fastbp.training.checkpoint.Checkpoints.are_written", False)  # many epochs in a call
    n_presses, deadline = 0, time.monotonic() + 30.0
    while True:
        net = make()
        if time.monotonic() > deadline or n_presses > 40:
            monkeypatch.setattr(LbfgsFrame, "run", whole)
        try:
            history = net.fit(rows, Y, **arguments, checkpoint=tmp_path / "c", resume=True)
            break
        except KeyboardInterrupt:
            n_presses += 1
            assert net.history.stopped_by == "interruption"
            np.testing.assert_allclose(net.loss_value(rows, Y), net.history.loss[-1:], rtol=1e-12)
    assert n_presses > 0
    assert_same(net, history, expected, expected_history)


@pytest.mark.parametrize("request_", [team.ABANDON, team.PAUSE])
def test_what_a_request_leaves(request_, monkeypatch):
    expected = net_of()
    fit(expected, epochs=1 if request_ == team.PAUSE else 0)
    whole = LbfgsFrame.run

    def run(self, *call, **keywords):
        self.control[team.REQUEST] = request_
        whole(self, *call, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(LbfgsFrame, "run", run)
    net = net_of()
    with pytest.raises(KeyboardInterrupt):
        fit(net)
    assert same_bits(net.params, expected.params)
    assert same_bits(net.history.loss, expected.history.loss)


def test_parameters_that_a_callback_writes_begin_afresh():
    other = np.random.default_rng(2).standard_normal(net_of().n_params) * 0.3

    def write(net, history):
        if len(history) == 4:
            net.params[:] = other

    net, expected = net_of(), net_of()
    history = fit(net, epochs=12, callbacks=[write])
    expected.params = other
    expected_history = fit(expected, epochs=8)
    assert same_bits(net.params, expected.params)
    assert same_bits(history.loss[4:], expected_history.loss)


def test_ctrl_c_is_obeyed():
    code = """
import os, signal, threading
import numpy as np, fastbp as bp
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((20_000, 16)), rng.standard_normal((20_000, 3))
net = bp.Network([16, 64, 64, 3], "tanh", seed=0)
net.fit(X[:50], Y[:50], epochs=1, optimizer=bp.LBFGS())
for rows in (20_000, 3000):
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        net.fit(X[:rows], Y[:rows], epochs=10**9, optimizer=bp.LBFGS(gtol=0.0, ftol=0.0))
    except KeyboardInterrupt:
        print(net.history.stopped_by)
    if len(net.history):
        assert np.isclose(net.loss_value(X[:rows], Y[:rows]), net.history.loss[-1], rtol=1e-9)
"""
    assert run_python(code) == 2 * "interruption\n"


# ---- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"history": 0}, ValueError, "`history` must be a whole number above 0; got 0. Try 10."),
        ({"history": 2.5}, TypeError, "`history` must be a whole number above 0; got 2.5. Try 10."),
        ({"max_line_search": -1}, ValueError, "`max_line_search` must be a whole number above 0; got -1. Try 20."),
        ({"gtol": -1.0}, ValueError, "`gtol` must be a finite number, 0 or above; got -1.0. Try 1e-5."),
        (
            {"ftol": float("nan")},
            ValueError,
            "`ftol` must be a finite number, 0 or above; got nan. Try 2.2e-9, or 0.0 to go on as long as it falls.",
        ),
        (
            {"max_evaluations": 0},
            ValueError,
            "`max_evaluations` must be a whole number above 0; got 0. Try None, for no bound.",
        ),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error) as caught:
        bp.LBFGS(**arguments)
    assert str(caught.value) == message


def test_it_is_a_plain_value():
    rule = bp.LBFGS(history=5)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert repr(rule) == (
        "LBFGS(history=5, max_line_search=20, gtol=1e-05, ftol=2.220446049250313e-09, max_evaluations=None)"
    )


def test_memory_is_asked_for_before_anything_is_done():
    net = net_of()
    before = net.params.copy()
    with pytest.raises(MemoryError, match=r"The last 1000000000000 steps of L-BFGS with 38 parameters .* `history`"):
        fit(net, optimizer=bp.LBFGS(history=10**12))
    assert same_bits(net.params, before)
    assert net.history is None


DAMAGES = {
    "pairs": (kernel.N_PAIRS, 11.0),
    "half a pair": (kernel.N_PAIRS, 0.5),
    "next": (kernel.NEXT_PAIR, 10.0),
    "below": (kernel.NEXT_PAIR, -1.0),
    "nothing": (kernel.NEXT_PAIR, np.nan),
    "evaluations": (kernel.EVALUATIONS, np.inf),
    "gradient": (kernel.HAS_GRADIENT, 2.0),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_state_is_refused(kind, tmp_path):
    place, value = DAMAGES[kind]
    fit(net_of(), epochs=3, checkpoint=tmp_path / "c")
    content = read_arrays(tmp_path / "c", {"checkpoint": 2})
    content.arrays["state"][place] = value
    write_arrays(tmp_path / "c", "checkpoint", 2, content.description, content.arrays)
    net = net_of()
    before = net.params.copy()
    with pytest.raises(bp.FileError, match=r"its array 'state' is no state of LBFGS\.$"):
        fit(net, checkpoint=tmp_path / "c", resume=True)
    assert same_bits(net.params, before)


def test_any_numbers_in_a_state_do_no_harm(tmp_path):
    for seed in range(5):
        fit(net_of(), epochs=3, checkpoint=tmp_path / "c")
        content = read_arrays(tmp_path / "c", {"checkpoint": 2})
        state = content.arrays["state"]
        strange = np.random.default_rng(seed).choice([0.0, np.nan, np.inf, -1e300, 1e300, 1.0], state.size)
        state[kernel.GRADIENT :] = strange[kernel.GRADIENT :]
        state[[kernel.COST, kernel.GAMMA]] = strange[:2]
        write_arrays(tmp_path / "c", "checkpoint", 2, content.description, content.arrays)
        net = net_of()
        fit(net, epochs=9, checkpoint=tmp_path / "c", resume=True)
        assert np.isfinite(net.params).all()


def checkpoint_of_iterations(folder):
    path = folder / "iterations"
    validation = {"validation_data": (X, REAL), "early_stopping": bp.EarlyStopping(4)}
    net_of().fit(X, REAL, epochs=2, optimizer=bp.LBFGS(history=3), checkpoint=path, **validation)
    return [path]


def resumed(path):
    """ "error", "other" for a checkpoint of another fit, or "used"; anything else is raised."""
    net = net_of()
    before = net.params.copy()
    validation = {"validation_data": (X, REAL), "early_stopping": bp.EarlyStopping(4)}
    try:
        history = net.fit(X, REAL, epochs=4, batch_size=None, checkpoint=path, resume=True, **validation)
    except bp.TrainingDivergedError:
        return "used"
    except (ValueError, MemoryError) as error:
        assert same_bits(net.params, before)
        assert net.history is None
        return "error" if isinstance(error, bp.FileError) else "other"
    assert np.isfinite(net.params).all()
    assert len(history.gradient_norm) == len(history) or len(history) == 0
    return "used"


def test_hostile_checkpoints_are_refused_or_can_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_more_files, "KINDS", {"iterations": (checkpoint_of_iterations, resumed)})
    found = fuzz_more_files.fuzz(300, 1, tmp_path)
    assert found["iterations", "error"] > 50
    assert found["iterations", "used"] > 0


# ---- As plain Python -------------------------------------------------------------------------------------------------

PROGRAM = """
import json
import numpy as np, fastbp as bp
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(9, 2)), rng.normal(size=(9, 1))
net = bp.Network([2, 3, 1], "tanh", seed=0, l2_penalty=0.01)
history = net.fit(100 * X, Y, epochs=6, optimizer=bp.LBFGS(history=2))
print(json.dumps([*history.loss, *history.evaluations, *net.params]))
"""


def test_plain_python_agrees_with_compiled():
    plain, compiled = (json.loads(run_python(PROGRAM, NUMBA_DISABLE_JIT=flag)) for flag in ("1", "0"))
    np.testing.assert_allclose(plain, compiled, rtol=1e-8, atol=1e-10)
