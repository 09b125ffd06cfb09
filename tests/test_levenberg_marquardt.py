"""Levenberg-Marquardt and Bayesian regularisation: the decisions of a plain NumPy twin, certified fits, their ends."""

import itertools
import math
import re
import signal

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import frame as engine_frame
from fastbp.engine import normal_equations as engine_equations
from fastbp.storage.arrays import read_arrays, write_arrays
from tests.cases import Case
from tests.squares import Squares, levenberg_marquardt
from tests.twins import network, same_bits

# Where one more rounding in a sum of squares has become after thirty iterations that each amplify it.
PATH_RTOL = 1e-5

SINE = Case("sine", [1, 10, 1])
SEVERAL = Case("several outputs", [3, 7, 2], l2_penalty=1e-4)
LARGER = Case("larger than by a loop", [2, 8, 5, 3], "sigmoid")


def data_of(case, n=60):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, case.sizes[0]))
    Y = np.stack([np.sin((k + 2) * X.sum(axis=1)) for k in range(case.sizes[-1])], axis=1)
    return X, Y + 0.05 * rng.standard_normal(Y.shape)


def fit(case, optimizer, epochs=30, seed=1, **arguments):
    net = bp.Network(case.sizes, dtype="float64", seed=seed, **case.keywords)
    X, Y = data_of(case)
    return net, net.fit(X, Y, epochs=epochs, optimizer=optimizer, **arguments)


# ---- The path --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("damping", ["gain_ratio", "trainlm"])
@pytest.mark.parametrize("case", [SINE, SEVERAL, LARGER], ids=str)
def test_the_decisions_of_a_plain_twin(case, damping, weighted):
    X, Y = data_of(case)
    weights = 0.5 + np.random.default_rng(5).random(len(X)) if weighted else None
    optimizer = bp.LevenbergMarquardt(damping=damping, min_gradient=0.0)
    start = bp.Network(case.sizes, dtype="float64", seed=1, **case.keywords).params
    rows, params = levenberg_marquardt(Squares(case, X, Y, weights), start, 30, damping)
    net, history = fit(case, optimizer, sample_weight=weights)
    assert history.stopped_by == "epochs"
    np.testing.assert_array_equal(history.tries, rows[:, 3])
    np.testing.assert_allclose(history.loss, rows[:, 0], rtol=PATH_RTOL)
    np.testing.assert_allclose(history.mu, rows[:, 1], rtol=100 * PATH_RTOL)
    np.testing.assert_allclose(history.gradient_norm, rows[:, 2], rtol=100 * PATH_RTOL, atol=1e-9)
    np.testing.assert_allclose(net.params, params, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("damping", ["gain_ratio", "trainlm"])
def test_the_cost_falls_and_is_the_networks(damping, dtype):
    X, Y = (array.astype(dtype) for array in data_of(SEVERAL))
    net = network(SEVERAL, dtype=dtype)
    before = net.loss_value(X, Y)
    history = net.fit(X, Y, epochs=40, optimizer=bp.LevenbergMarquardt(damping=damping))
    assert (np.diff([before, *history.loss]) < 0).all()
    assert history.loss[-1] == pytest.approx(net.loss_value(X, Y), rel=1e-5 if dtype == "float32" else 1e-13)
    gradient = net.value_and_grad(X, Y)[1]
    assert history.gradient_norm[-1] == pytest.approx(np.linalg.norm(gradient), rel=1e-2, abs=1e-6)


def test_products_in_float32_come_to_the_same_minimum():
    costs = [fit(LARGER, bp.LevenbergMarquardt(products=products), 100)[1].loss for products in ("float32", "float64")]
    assert costs[0][30] == pytest.approx(costs[1][30], rel=0.05)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_kinks(activation):
    _, history = fit(Case(activation, [2, 20, 1], activation), bp.LevenbergMarquardt(), 60)
    assert (np.diff(history.loss) < 0).all()
    assert history.loss[-1] < 0.05


def test_equal_neurons():
    case = Case("zeros", [1, 5, 1])
    X, Y = data_of(case)
    net = bp.Network(case.sizes, activation="tanh", dtype="float64", initializer="zeros")
    net.weights[0][...], net.weights[1][...] = 0.5, 0.1  # all hidden neurons are one: J^T J has rank 4
    history = net.fit(X, Y, epochs=30, optimizer=bp.LevenbergMarquardt())
    one = bp.Network([1, 1, 1], activation="tanh", dtype="float64", initializer="zeros")
    one.weights[0][...], one.weights[1][...] = 0.5, 0.5
    expected = one.fit(X, Y, epochs=100, optimizer=bp.LevenbergMarquardt())
    assert (np.diff(history.loss) < 0).all()
    assert history.loss[-1] == pytest.approx(expected.loss[-1], rel=1e-3)
    np.testing.assert_allclose(net.weights[0], net.weights[0][0, 0], rtol=1e-3)


def test_bits_do_not_depend_on_where_arrays_lie():
    """Arrays of fewer than some hundred bytes, which lie beside each other now and then."""
    rng, kept, found = np.random.default_rng(1), [], set()
    X = rng.normal(size=(22, 1))
    Y = np.sin(3 * X)
    for i in range(800):
        kept.append(np.zeros(rng.integers(1, 900)))
        net = bp.Network([1, 3, 1], activation="sine", seed=19)  # where another order of a sum is seen in its last bit
        history = net.fit(X.copy() if i % 2 else X, Y, epochs=1, optimizer=bp.LevenbergMarquardt())
        found.add((history.mu.tobytes(), history.gradient_norm.tobytes(), net.params.tobytes()))
    assert len(found) == 1


def test_bits_do_not_depend_on_threads():
    X = np.random.default_rng(0).uniform(-1, 1, (3000, 4))
    Y = np.stack([np.sin(3 * X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]], axis=1)
    found = []
    for n_threads in (1, 2):
        net = bp.Network([4, 20, 3], activation="tanh", dtype="float64", seed=0)
        history = net.fit(X, Y, epochs=8, optimizer=bp.LevenbergMarquardt(), n_threads=n_threads)
        found.append((net.params, history.loss, history.mu))
    for one, two in zip(*found, strict=True):
        assert same_bits(one, two)


# ---- Certified nonlinear regressions ---------------------------------------------------------------------------------
# NIST's Statistical Reference Datasets, https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml: those whose model is a
# network.  Sizes, activations, data, one of the two starts as (weights, biases) of each layer, the certified residual
# sum of squares, and the certified parameters as functions of the network's (W1, b1, W2, b2).


@numba.njit
def reciprocal(z):
    return 1.0 / z


@numba.njit
def reciprocal_derivative(z):
    return -1.0 / (z * z)


RECIPROCAL = bp.Activation("reciprocal", reciprocal, reciprocal_derivative)

RAT_X = [9.0, 14.0, 21.0, 28.0, 42.0, 57.0, 63.0, 70.0, 79.0]
RAT_Y = [8.93, 10.80, 18.59, 22.33, 39.35, 56.11, 61.73, 64.62, 67.08]
RAT43_Y = [16.08, 33.83, 65.80, 97.20, 191.55, 326.20, 386.87, 520.53, 590.03, 651.92, 724.93, 699.56, 689.96, 637.56,
           717.41]  # fmt: skip
MGH10_Y = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
MGH17_Y = [0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628,
           0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420,
           0.414, 0.411, 0.406]  # fmt: skip
WOOD_X = [1.309, 1.471, 1.490, 1.565, 1.611, 1.680]
WOOD_Y = [2.138, 3.421, 3.597, 4.340, 4.882, 5.660]

NIST = {
    # y = b1 x^b2 = exp(b2 log x + log b1)
    "DanWood": (
        [1, 1], [], "exp", np.log(WOOD_X), WOOD_Y, [[[5.0]], [math.log(1.0)]], 4.3173084083e-03,
        (7.6886226176e-01, 3.8604055871e00), lambda w, b: (math.exp(b[0]), w[0, 0]),
    ),
    # y = b1 / (1 + exp(b2 - b3 x)) = 1 / (exp(b2 - b3 x) / b1 + 1 / b1)
    "Rat42": (
        [1, 1, 1], "exp", RECIPROCAL, RAT_X, RAT_Y, [[[-0.05]], [1.0], [[1 / 75]], [1 / 75]], 8.0565229338e00,
        (7.2462237576e01, 2.6180768402e00, 6.7359200066e-02),
        lambda w, b, v, c: (1 / c[0], b[0] + math.log(v[0, 0] / c[0]), -w[0, 0]),
    ),
    # y = b1 / (1 + exp(b2 - b3 x))^(1 / b4) = exp(log b1 - softplus(b2 - b3 x) / b4)
    "Rat43": (
        [1, 1, 1], "softplus", "exp", np.arange(1.0, 16.0), RAT43_Y, [[[-0.75]], [5.0], [[-1 / 1.3]], [math.log(700)]],
        8.7864049080e03, (6.9964151270e02, 5.2771253025e00, 7.5962938329e-01, 1.2792483859e00),
        lambda w, b, v, c: (math.exp(c[0]), b[0], -w[0, 0], -1 / v[0, 0]),
    ),
    # y = b1 exp(b2 / (x + b3)), x in hundreds
    "MGH10": (
        [1, 1, 1], RECIPROCAL, "exp", np.arange(0.5, 1.26, 0.05), MGH10_Y, [[[1.0]], [2.5]], 8.7945855171e01,
        (5.6096364710e-03, 6.1813463463e03, 3.4522363462e02),
        lambda w, b, v, c: (math.exp(c[0]), 100 * v[0, 0] / w[0, 0], 100 * b[0] / w[0, 0]),
    ),
    # y = b1 + b2 exp(-x b4) + b3 exp(-x b5), x in hundreds
    "MGH17": (
        [1, 2, 1], "exp", "identity", np.arange(0, 3.21, 0.1), MGH17_Y,
        [[[-1.0, -2.0]], [0.0, 0.0], [[1.5], [-1.0]], [0.5]], 5.4648946975e-05,
        (3.7541005211e-01, 1.9358469127e00, -1.4646871366e00, 1.2867534640e-02, 2.2122699662e-02),
        lambda w, b, v, c: (c[0], *(v[:, 0] * np.exp(b)), *(-w[0] / 100)),
    ),
}  # fmt: skip
NIST["MGH10"] = (*NIST["MGH10"][:5], [[[1.0]], [2.5], [[40.0]], [math.log(0.02)]], *NIST["MGH10"][6:])


@pytest.mark.parametrize("damping", ["gain_ratio", "trainlm"])
@pytest.mark.parametrize("name", NIST)
def test_certified_fits(name, damping):
    sizes, activation, output, x, y, start, certified_squares, certified, parameters_of = NIST[name]
    net = bp.Network(sizes, activation=activation, output=output, dtype="float64", seed=0)
    net.params = np.concatenate([np.ravel(part) for part in start])
    X, Y = np.reshape(x, (-1, 1)).astype(float), np.reshape(y, (-1, 1)).astype(float)
    optimizer = bp.LevenbergMarquardt(damping=damping, min_gradient=0.0)
    history = net.fit(X, Y, epochs=3000, optimizer=optimizer)
    assert history.stopped_by == "mu_max"
    assert 2 * len(X) * history.loss[-1] == pytest.approx(certified_squares, rel=1e-10)
    pairs = zip(net.weights, net.biases, strict=True)
    assert parameters_of(*(part for pair in pairs for part in pair)) == pytest.approx(certified, rel=1e-6)


# ---- How a fit ends --------------------------------------------------------------------------------------------------


def test_goal_gradient_and_mu():
    _, history = fit(SINE, bp.LevenbergMarquardt(goal=0.003), 500)
    assert history.stopped_by == "goal"
    assert history.loss[-1] <= 0.003 < history.loss[-2]
    _, history = fit(SEVERAL, bp.LevenbergMarquardt(min_gradient=1e-3), 500)
    assert history.stopped_by == "min_gradient"
    assert history.gradient_norm[-1] <= 1e-3 < history.gradient_norm[-2]
    _, history = fit(Case("linear", [2, 1], []), bp.LevenbergMarquardt(min_gradient=0.0), 500)
    assert history.stopped_by == "mu_max"
    assert len(history) < 30


def test_the_bound_of_mu_is_in_its_unit():
    X = np.linspace(1e6, 2e6, 1000)[:, None]  # whose J^T J is far above 1e10
    net = bp.Network([1, 1], dtype="float64", seed=0)
    history = net.fit(X, 2 * X + 1, epochs=30, optimizer=bp.LevenbergMarquardt(goal=1e-9))
    assert history.stopped_by == "goal"
    with pytest.raises(bp.TrainingDivergedError):  # there is no unit
        net.fit(1e160 * X, X, epochs=30, optimizer=bp.LevenbergMarquardt())


def test_no_step_to_where_the_gradient_overflows():
    net = bp.Network([1, 1], output="exp", dtype="float32", initializer="zeros")
    net.biases[0][...] = 13 * math.log(10)
    X, Y = np.zeros((1, 1), np.float32), np.full((1, 1), 1e22, np.float32)
    rule = bp.LevenbergMarquardt(mu=8.7e7, mu_max=1e30)  # the first step that is tried is to 1e18
    history = net.fit(X, Y, epochs=1, optimizer=rule)
    assert history.tries[0] > 1
    assert np.isfinite(history.gradient_norm).all()
    assert np.isfinite(net.params).all()


def test_what_is_reached_already_takes_no_epoch():
    net, _ = fit(SINE, bp.LevenbergMarquardt())
    before, (X, Y) = net.params.copy(), data_of(SINE)
    history = net.fit(X, Y, epochs=5, optimizer=bp.LevenbergMarquardt(goal=1e3))
    assert (len(history), history.stopped_by) == (0, "goal")
    assert same_bits(net.params, before)


def test_a_linear_network_takes_one_step():
    case = Case("linear", [3, 2], [])
    X, Y = data_of(case)
    net, _ = fit(case, bp.LevenbergMarquardt(mu=1e-12), epochs=1)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), Y, rcond=None)[0]
    np.testing.assert_allclose(net.params.reshape(4, 2), expected, rtol=1e-9)


def test_ridge_regression():
    case = Case("ridge", [3, 2], [], l2_penalty=0.1)
    X, Y = data_of(case)
    weights = 1 + np.arange(len(X)) % 3
    net, _ = fit(case, bp.LevenbergMarquardt(mu=1e-13), epochs=3, sample_weight=weights)
    A, w = np.column_stack([X, np.ones(len(X))]), weights / weights.sum()
    penalty = np.diag([0.1, 0.1, 0.1, 0.0])
    expected = np.linalg.solve(A.T @ (w[:, None] * A) + penalty, A.T @ (w[:, None] * Y))
    np.testing.assert_allclose(net.params.reshape(4, 2), expected, rtol=1e-9)


def overfitted(**arguments):
    rng = np.random.default_rng(0)
    X, X_val = rng.uniform(-1, 1, (25, 1)), rng.uniform(-1, 1, (25, 1))
    Y, Y_val = (np.sin(4 * x) + 0.3 * rng.standard_normal(x.shape) for x in (X, X_val))
    net = bp.Network([1, 15, 1], activation="tanh", dtype="float64", seed=0)
    optimizer = bp.LevenbergMarquardt(max_fail=arguments.pop("max_fail", 6))
    history = net.fit(X, Y, epochs=60, optimizer=optimizer, validation_data=(X_val, Y_val), **arguments)
    return net, history, net.loss_value(X_val, Y_val)


def test_validation_stop():
    _, history, val_loss = overfitted()
    assert history.stopped_by == "max_fail"
    assert len(history) == history.best_epoch + 1 + 6
    assert val_loss == pytest.approx(history.val_loss.min(), rel=1e-12)
    _, history, val_loss = overfitted(max_fail=None)
    assert (history.stopped_by, len(history)) == ("epochs", 60)
    assert val_loss == pytest.approx(history.val_loss[-1], rel=1e-12)
    _, history, _ = overfitted(early_stopping=bp.EarlyStopping(patience=2))
    assert history.stopped_by == "early_stopping"


@pytest.mark.parametrize("optimizer", [bp.LevenbergMarquardt(), bp.BayesianRegularization(warmup=5)], ids=repr)
def test_resumed_fits_have_the_same_bits(tmp_path, optimizer):
    expected, whole = fit(SINE, optimizer, 20)

    def interrupt(net, history):
        if len(history) in (3, 9):
            raise KeyboardInterrupt

    path = tmp_path / "fit"
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            fit(SINE, optimizer, 20, checkpoint=path, resume=resume, callbacks=[interrupt])
    net, history = fit(SINE, optimizer, 20, seed=7, checkpoint=path, resume=True)
    assert same_bits(net.params, expected.params)
    for name in ("loss", *optimizer.columns):
        assert same_bits(getattr(history, name), getattr(whole, name))


@pytest.mark.parametrize("optimizer", [bp.LevenbergMarquardt(), bp.BayesianRegularization(warmup=1)], ids=repr)
def test_any_numbers_in_a_state_are_refused_or_do_no_harm(tmp_path, optimizer):
    refused = 0
    for seed in range(60):
        fit(SINE, optimizer, 3, checkpoint=tmp_path / "fit")
        content = read_arrays(tmp_path / "fit", {"checkpoint": 2})
        rng = np.random.default_rng(seed)
        state, numbers = content.arrays["state"], [0.0, 1.0, 2.0, 5.5, -1.0, 1e-300, 1e300, np.inf, np.nan]
        place = rng.integers(state.size)
        state[place] = rng.choice(numbers)
        write_arrays(tmp_path / "fit", "checkpoint", 2, content.description, content.arrays)
        try:
            net, _ = fit(SINE, None, 6, batch_size=None, checkpoint=tmp_path / "fit", resume=True)
        except bp.FileError:
            refused += 1
        except bp.TrainingDivergedError:
            pass
        else:
            assert np.isfinite(net.params).all()
    assert 10 < refused < 50


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that sends signals")
def test_interrupted_anywhere(monkeypatch):
    X = np.random.default_rng(0).uniform(-1, 1, (2000, 4))
    Y = np.sin(3 * X.sum(axis=1, keepdims=True))

    def one_more(net, history):
        net.fit(X, Y, epochs=1, optimizer=bp.LevenbergMarquardt())

    def start():
        return bp.Network([4, 20, 1], activation="tanh", dtype="float64", seed=0)

    expected = [start()]
    for _ in range(6):
        expected.append(bp.Network([4, 20, 1], activation="tanh", dtype="float64"))
        expected[-1].params = expected[-2].params
        one_more(expected[-1], None)
    monkeypatch.setattr(engine_frame, "LONG_CALL", 0.0)  # each call is made by another thread
    net, n_done, old = start(), 0, signal.signal(signal.SIGALRM, raise_interrupt)
    try:
        for delay in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + 5e-5 * delay)
                one_more(net, None)
            except KeyboardInterrupt:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            n_done += 0 if same_bits(net.params, expected[n_done].params) else 1
            assert same_bits(net.params, expected[n_done].params)
            if n_done == 6:
                break
    finally:
        signal.signal(signal.SIGALRM, old)


def test_an_iteration_that_is_finished_when_it_is_interrupted_is_recorded(monkeypatch):
    X, Y = data_of(SINE)
    expected = network(SINE)
    whole = expected.fit(X, Y, epochs=7, optimizer=bp.BayesianRegularization(warmup=2))
    net, iterate, n_calls = network(SINE), engine_equations.NormalEquations.iterate, itertools.count(1)

    def interrupted(*arguments):
        iterate(*arguments)
        if next(n_calls) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(engine_equations.NormalEquations, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=20, optimizer=bp.BayesianRegularization(warmup=2))
    assert same_bits(net.params, expected.params)
    for name in ("loss", *bp.BayesianRegularization.columns):
        assert same_bits(getattr(net.history, name), getattr(whole, name))


def raise_interrupt(number, frame):
    raise KeyboardInterrupt


def test_a_callback_may_change_the_network():
    X, Y = data_of(SINE)
    net = network(SINE)

    def perturb(net, history):
        if len(history) == 5:
            net.params[...] += 0.01 * np.arange(net.n_params)

    history = net.fit(X, Y, epochs=10, optimizer=bp.LevenbergMarquardt(), callbacks=[perturb])
    other = network(SINE)
    other.fit(X, Y, epochs=5, optimizer=bp.LevenbergMarquardt())
    perturb(other, range(5))
    before = other.loss_value(X, Y)
    assert history.loss[5] < before
    assert history.loss[5] != history.loss[4]


@pytest.mark.parametrize("optimizer", [bp.LevenbergMarquardt(), bp.BayesianRegularization(), bp.LBFGS()], ids=repr)
def test_a_callback_may_not_take_the_parameters_away(tmp_path, optimizer):
    net, (X, Y) = network(SINE), data_of(SINE)

    def lock(net, history):
        net.params.setflags(write=False)
        locked.append(net.params.copy())

    locked = []
    with pytest.raises(ValueError, match=r"`net\.params` must be writable"):
        net.fit(X, Y, epochs=5, optimizer=optimizer, callbacks=[lock], checkpoint=tmp_path / "fit")
    assert same_bits(net.params, locked[0])
    assert len(net.history) == 1
    assert len(read_arrays(tmp_path / "fit", {"checkpoint": 2}).arrays["pending"]) == 0


# ---- Functions of the user's -----------------------------------------------------------------------------------------


@numba.njit
def tanh(z):
    return math.tanh(z)


@numba.njit
def tanh_derivative(z):
    return 1 / math.cosh(z) ** 2


@numba.njit
def raising(z):
    if z > 300.0:
        raise ValueError("too large")
    return z


@numba.njit
def one(z):
    return 1.0


def test_own_activations():
    X, Y = data_of(SINE)
    own = bp.Network([1, 10, 1], activation=bp.Activation("own", tanh, tanh_derivative), dtype="float64", seed=1)
    history = own.fit(X, Y, epochs=10, optimizer=bp.LevenbergMarquardt())
    _, expected = fit(SINE, bp.LevenbergMarquardt(), 10)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-9)


def test_an_activation_that_raises_ends_the_fit_as_it_was():
    net = bp.Network([1, 1], output=bp.Activation("raising", raising, one), dtype="float64", initializer="zeros")
    X = np.array([[1.0], [2.0]])
    with pytest.raises(RuntimeError, match=r"`f` of bp\.Activation 'raising' must return a number"):
        net.fit(X, 500 * X, epochs=5, optimizer=bp.LevenbergMarquardt(mu=1e-9))
    assert not net.params.any()


# ---- Wrong input -----------------------------------------------------------------------------------------------------

WRONG = {
    "loss": (
        {"loss": "huber"}, {}, {},
        "`loss` must be 'quadratic' for LevenbergMarquardt, which needs a sum of squares; the network's is 'huber'. "
        "Train it with bp.LBFGS().",
    ),
    "l1": (
        {"l1_penalty": 0.5}, {}, {},
        "`l1_penalty` must be 0 for LevenbergMarquardt, because it is no sum of squares; the network has 0.5. Use "
        "`l2_penalty`, or train it with bp.Adam().",
    ),
    "dropout": (
        {"dropout": 0.5}, {}, {},
        "`dropout` must be 0 for LevenbergMarquardt, which compares the costs of steps with each other; the network "
        "has (0.5,). Make it without dropout, or train it with bp.Adam().",
    ),
    "products": (
        {"dtype": "float32"}, {"products": "float64"}, {},
        "`products` must be 'auto' or 'float32' for a float32 network, whose derivatives are float32; got 'float64'. "
        "Make the network with dtype='float64'.",
    ),
    "batch_size": (
        {}, {}, {"batch_size": 7},
        "`batch_size` must be None or 'auto' with LevenbergMarquardt, which looks at all 60 rows in every step; got 7. "
        "Use bp.Adam() for mini-batches.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_trained_is_refused(kind):
    of_network, of_rule, of_fit, message = WRONG[kind]
    net = bp.Network([1, 4, 1], **{"activation": "tanh", "seed": 0, "dtype": "float64"} | of_network)
    before, (X, Y) = net.params.copy(), (array.astype(net.dtype) for array in data_of(SINE))
    with pytest.raises(ValueError, match=re.escape(message)):
        net.fit(X, Y, optimizer=bp.LevenbergMarquardt(**of_rule), **of_fit)
    assert same_bits(net.params, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mu": 0.0}, "`mu` must be a finite number above 0; got 0.0. Try 1e-3."),
        ({"mu_decrease": 1.0}, "`mu_decrease` must be a number in (0, 1); got 1.0. Try 0.1."),
        ({"mu_increase": 1.0}, "`mu_increase` must be a finite number above 1; got 1.0. Try 10.0."),
        ({"mu_max": math.inf}, "`mu_max` must be a finite number above 0; got inf. Try 1e10."),
        (
            {"min_gradient": -1.0},
            "`min_gradient` must be a finite number, 0 or above; got -1.0. Try 1e-7, or 0.0 to go on as long as it "
            "falls.",
        ),
        ({"goal": math.nan}, "`goal` must be a finite number, 0 or above; got nan. Try 0.0, for none."),
        ({"max_fail": 0}, "`max_fail` must be a whole number above 0; got 0. Try 6, or None for no end by validation."),
        ({"mu": 1.0, "mu_max": 0.5}, "`mu_max` must be above `mu`, 1, or no step is tried; got 0.5. Try 1e10."),
        ({"damping": "x"}, "`damping` must be 'gain_ratio' or 'trainlm'; got 'x'. Try 'gain_ratio'."),
        ({"products": 32}, "`products` must be 'auto', 'float32' or 'float64'; got 32. Try 'auto'."),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        bp.LevenbergMarquardt(**arguments)


def test_a_penalty_of_its_own():
    net, (X, Y) = bp.Network([1, 4, 1], l2_penalty=0.5, seed=0), data_of(SINE)
    message = (
        "`l2_penalty` must be 0 for BayesianRegularization, which finds a penalty of its own; the network has 0.5. Set "
        "it to 0, or train it with bp.LevenbergMarquardt()."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        net.fit(X, Y, optimizer=bp.BayesianRegularization())


def test_a_cost_that_is_not_finite():
    net = bp.Network([1, 1], output="exp", dtype="float64", initializer="zeros")
    net.biases[0][...] = 800.0
    before = net.params.copy()
    with pytest.raises(bp.TrainingDivergedError, match="NaN or infinite where the fit begins"):
        net.fit([[1.0]], [[1.0]], optimizer=bp.LevenbergMarquardt())
    assert same_bits(net.params, before)


def test_many_parameters_are_warned_of():
    net = bp.Network([50, 45, 1], activation="tanh", seed=0)
    X = np.random.default_rng(0).standard_normal((20, 50))
    message = (
        "LevenbergMarquardt solves equations for 2341 parameters in every step; above about 2000 bp.LBFGS() is quicker "
        "as a rule."
    )
    with pytest.warns(UserWarning, match=re.escape(message)):
        net.fit(X, X[:, :1], epochs=1, optimizer=bp.LevenbergMarquardt())


# ---- Bayesian regularisation -----------------------------------------------------------------------------------------


def noisy_sine(seed):
    X = np.arange(-1, 1.001, 0.05)[:, None]
    clean = np.sin(2 * np.pi * X)
    return X, clean, clean + 0.1 * np.random.default_rng(seed).standard_normal(X.shape)


@pytest.mark.parametrize("n_hidden", [5, 20, 40])
def test_networks_of_any_size_find_as_many_parameters_and_the_noise(n_hidden):
    for seed in range(4):
        X, clean, Y = noisy_sine(seed)
        net = bp.Network([1, n_hidden, 1], activation="tanh", dtype="float64", seed=seed)
        history = net.fit(X, Y, epochs=300, optimizer=bp.BayesianRegularization())
        residuals = Y - clean
        assert 10 < history.gamma[-1] < 14
        assert (1 / (2 * history.beta[-1])) ** 0.5 == pytest.approx(np.sqrt((residuals**2).mean()), rel=0.3)
        assert ((net.predict(X) - clean) ** 2).mean() < 0.5 * (residuals**2).mean()
        assert same_bits(history.gamma[:20], np.full(20, float(net.n_params)))


def test_evidence():
    """The fixed point: alpha = gamma / (2 E_W), beta = (n - gamma) / (2 E_D), gamma of the matrix at the minimum."""
    X, _, Y = noisy_sine(1)
    case = Case("sine", [1, 5, 1])
    net = bp.Network(case.sizes, activation="tanh", dtype="float64", seed=1)
    history = net.fit(X, Y, epochs=2000, optimizer=bp.BayesianRegularization(min_gradient=1e-9))
    assert history.stopped_by in ("min_gradient", "mu_max")
    gamma, alpha, beta = (getattr(history, name)[-1] for name in ("gamma", "alpha", "beta"))
    squares = Squares(case, X, Y)
    gradient, matrix = squares.equations(net.params)
    eigenvalues = beta * np.linalg.eigvalsh(matrix)
    assert gamma == pytest.approx((eigenvalues / (eigenvalues + alpha)).sum(), rel=1e-4)
    assert alpha == pytest.approx(gamma / (2 * net.params @ net.params), rel=1e-4)
    assert beta == pytest.approx((len(X) - gamma) / (4 * squares.cost(net.params)), rel=1e-4)
    np.testing.assert_allclose(beta * gradient, -alpha * net.params, rtol=1e-3, atol=1e-4)
