"""What the steps of `Network.fit` compute: trajectories against the reference, going on, schedules, weights."""

import numpy as np
import pytest

import fastbp as bp
from tests import cases, reference
from tests.reference import relative_error
from tests.twins import network, same_bits, twins

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
optimizers = pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
CASE = cases.Case("4-6-3", [4, 6, 3], "tanh", "softmax", "cross_entropy", l2_penalty=0.05, l1_penalty=0.01)


def made(optimizer):
    """The `bp` optimizer of a case."""
    return getattr(bp, optimizer.kind)(**optimizer.hyper_parameters)


def batches_of(n, batch_size):
    """Row numbers of the mini-batches of an epoch that is not shuffled."""
    return [np.arange(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]


# ---- Trajectories --------------------------------------------------------------------------------------------------


@dtypes
@optimizers
def test_ten_steps_are_those_of_the_reference(optimizer, dtype):
    """Two epochs of five steps, the last mini-batch of each smaller, with penalties, weights and clipping."""
    problem, net = twins(CASE, np.random.default_rng(61), 18, dtype, weighted=True)
    batches = batches_of(18, 4) * 2
    expected = reference.train(
        CASE, problem.params, problem.X, problem.Y, batches, optimizer.kind, optimizer.hyper_parameters,
        sample_weight=problem.sample_weight, clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    net.fit(
        problem.X, problem.Y, epochs=2, batch_size=4, optimizer=made(optimizer), shuffle=False,
        sample_weight=problem.sample_weight, clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    assert net.params.dtype == dtype
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL[dtype]


@dtypes
@optimizers
def test_every_single_step_is_that_of_the_reference(optimizer, dtype):
    problem, net = twins(CASE, np.random.default_rng(62), 6, dtype)
    expected = reference.train(
        CASE, problem.params, problem.X, problem.Y, [np.arange(6)] * 10, optimizer.kind, optimizer.hyper_parameters,
        clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    seen = []
    net.fit(
        problem.X, problem.Y, epochs=10, batch_size=None, optimizer=made(optimizer), clip_norm=optimizer.clip_norm,
        callbacks=[lambda n, _: seen.append(n.params.copy())],
    )  # fmt: skip
    for params, expected_params in zip(seen, expected, strict=True):
        assert relative_error(params, expected_params) < cases.TRAJECTORY_RTOL[dtype]


@pytest.mark.parametrize("case", cases.NETWORK_CASES, ids=str)
def test_every_network_trains_as_the_reference(case):
    problem, net = twins(case, np.random.default_rng(63), 7, margin=1e-3)
    settings = {"learning_rate": 0.01, "momentum": 0.5}
    batches = batches_of(7, 3)
    expected = reference.train(case, problem.params, problem.X, problem.Y, batches, "SGD", settings)
    net.fit(problem.X, problem.Y, epochs=1, batch_size=3, optimizer=bp.SGD(**settings), shuffle=False)
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL["float64"]


@pytest.mark.parametrize("batch_size", [128, 1500], ids=["mini-batches", "full"])
def test_wide_networks_take_the_same_steps(batch_size):
    """Pieces of neurons update their weights at once; the same steps come from gradients and NumPy."""
    rng = np.random.default_rng(64)
    case = cases.Case("wide", [50, 300, 200, 4], ["relu", "tanh"], "softmax", "cross_entropy", l2_penalty=0.01)
    net = bp.Network(case.sizes, seed=0, **case.keywords)
    X, labels = rng.standard_normal((1500, 50)), rng.integers(4, size=1500)
    by_hand = network(case, net.params)
    params, velocity = net.params.copy(), np.zeros(net.n_params)
    for rows in batches_of(1500, batch_size)[:3]:
        _, grad = by_hand.value_and_grad(X[rows], labels[rows], params)
        velocity = 0.9 * velocity - 0.1 * grad
        params = params + velocity
    few = slice(0, 3 * batch_size)
    net.fit(X[few], labels[few], epochs=1, batch_size=batch_size, optimizer=bp.SGD(0.1, momentum=0.9), shuffle=False)
    assert relative_error(net.params, params) < 1e-11


# sizes 2-3-1, tanh, quadratic, Adam(0.1), batches of 2 of these 4 rows, 5 epochs; params after steps 1, 5 and 10
FROZEN_X = [[0.0, 1.0], [1.0, 0.5], [-1.0, 0.25], [0.5, -2.0]]
FROZEN_Y = [[1.0], [-0.5], [0.25], [2.0]]
FROZEN_START = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.0, 0.1, -0.1, 0.7, -0.8, 0.9, 0.05]
FROZEN = {
    1: [
        5.7274591319655954e-09,
        -0.1000000046901999,
        0.2000000041175545,
        0.4999999975556731,
        0.40000000273821745,
        -0.5000000028406226,
        0.0999999968925941,
        3.867038425586777e-09,
        -4.336434530904931e-09,
        0.7999999957537924,
        -0.7000000024720102,
        0.8000000021108761,
        0.14999999820224202,
    ],
    5: [
        -0.21056476169619248,
        0.11716117000568015,
        -0.042489961128863114,
        0.40867654153939087,
        0.4722393569393193,
        -0.5407681272306859,
        0.34281618258060337,
        -0.23365891318108822,
        0.19384039747659995,
        0.6609536661103107,
        -0.7480913921078131,
        0.8329550140373713,
        0.4390996519519481,
    ],
    10: [
        -0.29825127822544756,
        0.18729064195244627,
        -0.11864953305951326,
        0.20211526384213102,
        0.5998398390223132,
        -0.6672737803372146,
        0.3554534551308799,
        -0.11882225271748055,
        -0.007644057850488606,
        0.4254046478612096,
        -0.8400389236159448,
        0.9239850947500865,
        0.5232475766416692,
    ],
}


@dtypes
def test_frozen_trajectory(dtype):
    """The numbers of the first version: a change of theirs is a change of every result."""
    net = bp.Network([2, 3, 1], activation="tanh", dtype=dtype)
    net.params = FROZEN_START
    optimizer = bp.Adam(0.1)
    for step in range(1, 11):
        rows = slice(0, 2) if step % 2 else slice(2, 4)
        net.fit(FROZEN_X[rows], FROZEN_Y[rows], epochs=1, batch_size=2, optimizer=optimizer)
        if step in FROZEN:
            assert relative_error(net.params, FROZEN[step]) < cases.TRAJECTORY_RTOL[dtype]
    assert net._training_state.step == 10


# ---- Loss and order of an epoch ------------------------------------------------------------------------------------


def test_loss_is_the_mean_of_the_mini_batches_before_their_steps():
    problem, net = twins(CASE, np.random.default_rng(65), 10, weighted=True)
    X, Y, w = problem.X, problem.Y, problem.sample_weight
    settings = {"learning_rate": 0.2}
    batches = batches_of(10, 4)
    after = reference.train(CASE, problem.params, X, Y, batches, "SGD", settings, sample_weight=w)
    before = [problem.params, *after[:-1]]
    divisors = [len(rows) * w.mean() for rows in batches]
    costs = [
        reference.cost(CASE, p, X[rows], Y[rows], w[rows], divisor)
        for p, rows, divisor in zip(before, batches, divisors, strict=True)
    ]
    history = net.fit(X, Y, epochs=1, batch_size=4, optimizer=bp.SGD(**settings), shuffle=False, sample_weight=w)
    assert history.loss == pytest.approx([np.average(costs, weights=divisors)], rel=1e-12)


def test_an_epoch_takes_every_row_once():
    """With a learning rate far below all else the change of an epoch is the sum over all rows' gradients."""
    problem, net = twins(CASE, np.random.default_rng(66), 23)
    start, tiny = net.params.copy(), 1e-9
    net.fit(problem.X, problem.Y, epochs=1, batch_size=1, optimizer=bp.SGD(tiny), seed=1)
    _, grad = network(CASE, start).value_and_grad(problem.X, problem.Y)
    assert relative_error((start - net.params) / (23 * tiny), grad) < 1e-5


def test_shuffling_is_seeded_and_new_in_each_epoch():
    problem, _ = twins(CASE, np.random.default_rng(67), 20)

    def trained(**settings):
        net = network(CASE, problem.params)
        net.fit(problem.X, problem.Y, batch_size=3, optimizer=bp.SGD(0.1), **settings)
        return net.params

    assert same_bits(trained(epochs=2, seed=1), trained(epochs=2, seed=1))
    assert not np.array_equal(trained(epochs=2, seed=1), trained(epochs=2, seed=2))
    assert not np.array_equal(trained(epochs=1, seed=1), trained(epochs=1, shuffle=False))
    once, twice = trained(epochs=1, seed=1), trained(epochs=2, seed=1)
    again = network(CASE, once)
    again.fit(problem.X, problem.Y, batch_size=3, optimizer=bp.SGD(0.1), epochs=1, seed=1)
    assert not np.array_equal(again.params, twice)  # the second epoch's order is not the first's


def test_auto_is_32_rows_or_all_there_are():
    rng = np.random.default_rng(68)
    X, Y = rng.standard_normal((70, 4)), rng.standard_normal((70, 3))
    for n, batch_size in ((70, 32), (20, 20)):
        nets = [bp.Network([4, 3], seed=0) for _ in range(2)]
        nets[0].fit(X[:n], Y[:n], epochs=2, seed=1)
        nets[1].fit(X[:n], Y[:n], epochs=2, seed=1, batch_size=batch_size)
        assert same_bits(nets[0].params, nets[1].params)


# ---- Going on ------------------------------------------------------------------------------------------------------


@dtypes
@optimizers
def test_five_epochs_twice_are_ten(optimizer, dtype):
    problem, once = twins(CASE, np.random.default_rng(69), 10, dtype)
    twice = network(CASE, problem.params, dtype, dropout=0.25)
    once = network(CASE, problem.params, dtype, dropout=0.25)
    settings = {"batch_size": 4, "clip_norm": optimizer.clip_norm}
    rule = made(optimizer)
    whole = once.fit(problem.X, problem.Y, epochs=10, optimizer=rule, seed=3, **settings)
    first = twice.fit(problem.X, problem.Y, epochs=5, optimizer=rule, seed=3, **settings)
    second = twice.fit(problem.X, problem.Y, epochs=5, optimizer=None if dtype == "float32" else rule, **settings)
    assert same_bits(twice.params, once.params)
    assert same_bits(np.append(first.loss, second.loss), whole.loss)
    states = once._training_state, twice._training_state
    assert same_bits(states[0].vectors, states[1].vectors)
    assert states[0].step == states[1].step == 30
    assert states[0].powers == states[1].powers


def test_a_new_optimizer_starts_afresh():
    problem, net = twins(CASE, np.random.default_rng(70), 6)
    net.fit(problem.X, problem.Y, epochs=3, optimizer=bp.Adam(0.1), seed=1)
    fresh = network(CASE, net.params)
    for other in (net, fresh):
        other.fit(problem.X, problem.Y, epochs=3, optimizer=bp.Adam(0.1), shuffle=False, seed=2)
    assert same_bits(net.params, fresh.params)
    assert net._training_state.step == fresh._training_state.step == 3


def test_the_first_optimizer_is_adam():
    problem, _ = twins(CASE, np.random.default_rng(71), 6)
    nets = [network(CASE, problem.params) for _ in range(2)]
    nets[0].fit(problem.X, problem.Y, epochs=2, seed=0)
    nets[1].fit(problem.X, problem.Y, epochs=2, seed=0, optimizer=bp.Adam())
    assert same_bits(nets[0].params, nets[1].params)


def test_no_epochs_change_nothing():
    net = bp.Network([2, 1], seed=0)
    before = net.params.copy()
    history = net.fit([[1.0, 2.0]], [[1.0]], epochs=0)
    assert (len(history), history.stopped_by) == (0, "epochs")
    assert same_bits(net.params, before)


# ---- Schedules -----------------------------------------------------------------------------------------------------

SCHEDULES = (
    bp.Constant(0.05),
    bp.InverseScaling(0.1),
    bp.Step(0.1, step_size=4, gamma=0.5),
    bp.Cosine(0.1, warmup_steps=3),
    bp.OneCycle(0.1),
)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_every_step_has_the_rate_of_the_schedule(schedule, kind):
    problem, net = twins(CASE, np.random.default_rng(72), 10)
    epochs, batches = 3, batches_of(10, 4)
    rates = schedule(np.arange(9), 9)
    params, state = problem.params, None
    for t, rows in enumerate(batches * epochs, start=1):
        gradient = reference.gradient(CASE, params, problem.X[rows], problem.Y[rows])
        settings = {"learning_rate": rates[t - 1]}
        params, state = reference.optimizer_step(kind, settings, state, params, gradient, t)
    optimizer = getattr(bp, kind)(schedule)
    history = net.fit(problem.X, problem.Y, epochs=epochs, batch_size=4, optimizer=optimizer, shuffle=False)
    assert relative_error(net.params, params) < cases.TRAJECTORY_RTOL["float64"]
    assert history.learning_rate == pytest.approx(rates[2::3])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (bp.Cosine(0.1), [0.1, 0.05 + 0.025 * 2**0.5, 0.05, 0.05 - 0.025 * 2**0.5]),
        (bp.Cosine(0.1, n_steps=2), [0.1, 0.05, 0.0, 0.0]),
        (bp.OneCycle(0.1, start_fraction=0.5, div_factor=5, final_div_factor=2), [0.02, 0.1, 0.055, 0.01]),
        (bp.OneCycle(0.1, n_steps=2, start_fraction=0.5, div_factor=5, final_div_factor=2), [0.1, 0.01, 0.01, 0.01]),
        (bp.Step(0.1, step_size=1, gamma=0.5), [0.1, 0.05, 0.025, 0.0125]),
        (bp.InverseScaling(0.1), [0.1, 0.1 / 2**0.5, 0.1 / 3**0.5, 0.05]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("named", [True, False])
def test_every_fit_goes_through_the_whole_schedule(schedule, expected, named):
    problem, net = twins(CASE, np.random.default_rng(73), 8)
    rule = bp.SGD(schedule)
    for i in range(3):
        optimizer = rule if named or i == 0 else None
        history = net.fit(problem.X, problem.Y, epochs=4, batch_size=None, optimizer=optimizer, seed=0)
        assert history.learning_rate == pytest.approx(expected)
        assert net._training_state.step == 4 * (i + 1)


@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_an_optimizer_goes_on_where_its_schedule_begins_anew(kind):
    """The reference takes both fits' steps with the rates of one fit twice, and counts the steps of both for Adam."""
    problem, net = twins(CASE, np.random.default_rng(75), 10)
    batches = batches_of(10, 4)
    rates = 0.05 + 0.05 * np.cos(np.pi * np.arange(6) / 6)
    params, state = problem.params, None
    for t, (rate, rows) in enumerate(zip(np.tile(rates, 2), batches * 4, strict=True), start=1):
        gradient = reference.gradient(CASE, params, problem.X[rows], problem.Y[rows])
        params, state = reference.optimizer_step(kind, {"learning_rate": rate}, state, params, gradient, t)
    optimizer = getattr(bp, kind)(bp.Cosine(0.1))
    for _ in range(2):
        net.fit(problem.X, problem.Y, epochs=2, batch_size=4, optimizer=optimizer, shuffle=False)
    assert relative_error(net.params, params) < cases.TRAJECTORY_RTOL["float64"]
    assert net._training_state.step == 12


# ---- Sample weights ------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_a_mini_batch_of_weight_zero_follows_the_penalties_alone(optimizer, dtype):
    """Its rows' gradients count nothing; the step is taken all the same, as a gradient of 0 asks the optimizer for."""
    problem, net = twins(CASE, np.random.default_rng(74), 12, dtype)
    weights = np.array([1.0] * 4 + [0.0] * 4 + [0.5, 2.0, 1.0, 1.5])
    expected = reference.train(
        CASE, problem.params, problem.X, problem.Y, batches_of(12, 4) * 2, optimizer.kind, optimizer.hyper_parameters,
        sample_weight=weights, clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    net.fit(
        problem.X, problem.Y, epochs=2, batch_size=4, shuffle=False, optimizer=made(optimizer), sample_weight=weights,
        clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL[dtype]


@dtypes
def test_weight_two_is_the_row_twice_in_a_fit(dtype):
    problem, _ = twins(CASE, np.random.default_rng(75), 6, dtype)
    nets = [network(CASE, problem.params, dtype) for _ in range(2)]
    twice = [0, 1, 1, 2, 3, 4, 5]
    settings = {"epochs": 5, "batch_size": None}
    nets[0].fit(problem.X, problem.Y, optimizer=bp.Adam(0.01), sample_weight=[1, 2, 1, 1, 1, 1], **settings)
    nets[1].fit(problem.X[twice], problem.Y[twice], optimizer=bp.Adam(0.01), **settings)
    assert relative_error(nets[0].params, nets[1].params) < cases.TRAJECTORY_RTOL[dtype]
