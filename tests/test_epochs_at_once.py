"""Several epochs in one call of the kernel: as few calls as there can be, and the bits of as many single epochs."""

import re

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import frame, shuffling
from fastbp.engine.interruption import StepTime
from fastbp.kernels.machine import team
from fastbp.kernels.roots import entry
from tests import cases, reference
from tests.reference import relative_error
from tests.terminal import terminal
from tests.twins import network, same_bits, twins

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
CASE = cases.Case("4-6-3", [4, 6, 3], "tanh", "softmax", "cross_entropy", l2_penalty=0.05, l1_penalty=0.01)
NARROW = cases.Case("2-4-2", [2, 4, 2], "tanh")


def nothing(net, history):
    """A callback, so that every epoch is a call of its own."""


@pytest.fixture
def calls(monkeypatch):
    """The steps that were asked for in each call of the kernel that trains."""
    asked, run = [], frame.run_kernel

    def counted(task, *tail, **root):
        if task == entry.TRAIN:
            asked.append(len(tail[-1]))
        run(task, *tail, **root)

    monkeypatch.setattr(frame, "run_kernel", counted)
    return asked


def both_ways(case, n, dtype="float64", *, weighted=False, dropout=0.0, **settings):
    """Two networks of a case after the same fit: epochs together, and epoch by epoch."""
    problem, _ = twins(case, np.random.default_rng(1), n, dtype, weighted=weighted)
    nets = [network(case, problem.params, dtype, dropout=dropout) for _ in range(2)]
    for net, callbacks in zip(nets, ((), (nothing,)), strict=True):
        net.fit(
            problem.X, problem.Y, sample_weight=problem.sample_weight, callbacks=callbacks, **{"seed": 3} | settings
        )
    return nets


def assert_same(first, second):
    """Everything that a fit leaves behind is the same, to the bit."""
    a, b = first._training_state, second._training_state
    assert same_bits(first.params, second.params)
    assert same_bits(a.vectors, b.vectors)
    assert (a.step, a.powers, a.dropout_seed) == (b.step, b.powers, b.dropout_seed)
    assert a.rng.bit_generator.state == b.rng.bit_generator.state
    assert same_bits(first.history.loss, second.history.loss)
    assert same_bits(first.history.learning_rate, second.history.learning_rate)
    assert first.history.stopped_by == second.history.stopped_by
    assert len(first.history.seconds) == len(first.history)


# ---- The same bits -------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [None, 20, 7, 1])
@pytest.mark.parametrize("case", [CASE, NARROW], ids=str)
def test_bits_are_those_of_single_epochs(case, batch_size, shuffle, dtype, calls):
    together, single = both_ways(case, 20, dtype, epochs=9, batch_size=batch_size, shuffle=shuffle, weighted=True)
    assert_same(together, single)
    assert len(calls) == 1 + 9
    assert sum(calls[1:]) == calls[0]
    assert len(together.history) == 9


@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
@pytest.mark.parametrize("case", [CASE, NARROW], ids=str)
def test_bits_of_every_optimizer(case, optimizer, calls):
    rule = getattr(bp, optimizer.kind)(**optimizer.hyper_parameters)
    together, single = both_ways(case, 10, epochs=7, batch_size=3, optimizer=rule, clip_norm=optimizer.clip_norm)
    assert_same(together, single)
    assert len(calls) == 1 + 7


@pytest.mark.parametrize(
    "schedule",
    [
        bp.Constant(0.1), bp.InverseScaling(0.1, power=0.37), bp.Step(0.1, step_size=3),
        bp.Cosine(0.1, warmup_steps=5), bp.OneCycle(0.1),
    ],
    ids=lambda schedule: type(schedule).__name__,
)  # fmt: skip
def test_bits_of_every_schedule(schedule, calls):
    together, single = both_ways(CASE, 10, epochs=37, batch_size=3, optimizer=bp.SGD(schedule))
    assert_same(together, single)
    assert len(calls) == 1 + 37


def test_bits_with_dropout_and_many_rows(calls):
    together, single = both_ways(CASE, 700, epochs=5, batch_size=64, dropout=0.3)
    assert_same(together, single)
    assert len(calls) < 5 + 5


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_bits_of_epochs_that_take_several_calls(most, shuffle, monkeypatch, calls):
    """A call that may be long is cut, wherever within an epoch that is."""
    monkeypatch.setattr(StepTime, "steps_to_try", lambda self, n_steps: min(n_steps, most))
    together, single = both_ways(CASE, 20, epochs=6, batch_size=7, shuffle=shuffle, weighted=True)
    assert_same(together, single)
    n_steps, n_calls = 6 * 3, 6 * -(-3 // most)
    assert len(calls) == -(-n_steps // most) + n_calls
    monkeypatch.undo()
    whole, _ = both_ways(CASE, 20, epochs=6, batch_size=7, shuffle=shuffle, weighted=True)
    assert_same(together, whole)


def test_a_second_fit_goes_on():
    problem, together = twins(CASE, np.random.default_rng(2), 20)
    single, ten = (network(CASE, problem.params) for _ in range(2))
    for net, callbacks in ((together, ()), (single, (nothing,))):
        for _ in range(2):
            net.fit(
                problem.X, problem.Y, epochs=5, batch_size=6, seed=4 if net.history is None else None,
                callbacks=callbacks,
            )  # fmt: skip
    assert_same(together, single)
    ten.fit(problem.X, problem.Y, epochs=10, batch_size=6, seed=4)
    assert same_bits(ten.params, together.params)


# ---- An independent source -----------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("n", [11, 600])
def test_orders_are_numpys_and_steps_are_those_of_the_reference(n, dtype, calls):
    """The rows of each epoch are those of NumPy's own permutation, drawn after the seed of dropout."""
    problem, net = twins(CASE, np.random.default_rng(5), n, dtype)
    batch = 4 if n < 100 else 200
    net.fit(problem.X, problem.Y, epochs=3, batch_size=batch, optimizer=bp.SGD(0.1), seed=6)
    rng = np.random.default_rng(6)
    rng.integers(1 << 31)
    orders = [rng.permutation(n) for _ in range(3)]
    batches = [order[first : first + batch] for order in orders for first in range(0, n, batch)]
    expected = reference.train(CASE, problem.params, problem.X, problem.Y, batches, "SGD", {"learning_rate": 0.1})
    assert relative_error(net.params, expected[-1]) < cases.TRAJECTORY_RTOL[dtype]
    assert len(calls) == 1
    before, size = np.vstack([problem.params, expected]), len(batches) // 3
    for epoch, loss in enumerate(net.history.loss):
        steps = range(epoch * size, (epoch + 1) * size)
        costs = [reference.cost(CASE, before[i], problem.X[batches[i]], problem.Y[batches[i]]) for i in steps]
        mean = np.average(costs, weights=[len(batches[i]) for i in steps])
        assert loss == pytest.approx(mean, rel=cases.TRAJECTORY_RTOL[dtype])


# ---- How many calls ------------------------------------------------------------------------------------------------


def fit_of(epochs=6, **settings):
    """Train a small network for some epochs."""
    net = bp.Network([3, 4, 1], seed=0)
    X = np.random.default_rng(7).standard_normal((12, 3))
    history = net.fit(X, X[:, :1], epochs=epochs, **{"batch_size": 4, "seed": 0} | settings)
    assert len(history) == epochs
    return net


class Own(bp.Schedule):
    """A schedule that notes what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, steps, horizon):
        self.asked.append((steps.tolist(), horizon))
        return np.full(len(steps), 0.1)


def test_what_happens_between_epochs_makes_single_calls(calls, tmp_path):
    X = np.random.default_rng(7).standard_normal((12, 3))
    together = fit_of()
    assert calls == [18]
    for settings in (
        {"callbacks": [nothing]}, {"validation_data": (X, X[:, :1])}, {"tol": 0.0},
        {"checkpoint": tmp_path / "checkpoint"}, {"metrics": {"mean": lambda Y, outputs: outputs.mean()}},
    ):  # fmt: skip
        calls.clear()
        assert same_bits(fit_of(**settings).params, together.params)
        assert calls == [3] * 6


def test_a_schedule_of_ones_own_is_asked_epoch_by_epoch(calls):
    schedule = Own()
    fit_of(optimizer=bp.SGD(schedule))
    assert schedule.asked == [([3 * i, 3 * i + 1, 3 * i + 2], 18) for i in range(6)]
    assert calls == [3] * 6


def test_a_numpy_that_draws_otherwise_is_obeyed(calls, monkeypatch):
    together = fit_of()
    monkeypatch.setattr(shuffling, "_is_numpys_permutation", lambda: False)
    calls.clear()
    assert same_bits(fit_of().params, together.params)
    assert calls == [3] * 6
    calls.clear()
    fit_of(shuffle=False)
    fit_of(batch_size=None)
    assert calls == [18, 6]


def test_long_epochs_are_single_calls(calls, monkeypatch):
    together = fit_of()
    monkeypatch.setattr("fastbp.engine.interruption.LONG_CALL", 0.0)
    calls.clear()
    assert same_bits(fit_of().params, together.params)
    assert len(calls) >= 6


def test_no_call_is_long(calls):
    """As many epochs as should take 50 ms, so that Ctrl-C, and whoever reads `net.history`, waits no longer."""
    fit_of(epochs=200_000, batch_size=None)
    assert len(calls) > 1
    assert sum(calls) == 200_000


def test_progress_shows_the_last_loss(calls):
    with terminal() as stream:
        net = fit_of(progress=True)
    shown = stream.getvalue()
    assert "6/6" in shown
    assert f"loss={net.history.loss[-1]:.4g}" in shown
    assert calls == [18]


# ---- Ends ----------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize(("sizes", "rate"), [([4, 6, 3], 0.7), ([4, 40, 3], 0.2)], ids=["narrow", "wide"])
def test_divergence_gives_back_the_parameters_from_before_the_epoch(sizes, rate, batch_size, dtype, calls):
    problem, _ = twins(cases.Case("", sizes, "identity"), np.random.default_rng(92), 6, dtype)
    results = []
    for callbacks in ((), (nothing,)):
        net = network(cases.Case("", sizes, "identity"), problem.params, dtype)
        seen = [net.params.copy()]
        note = [lambda n, _, seen=seen: seen.append(n.params.copy())] if callbacks else []
        with pytest.raises(bp.TrainingDivergedError) as caught:
            net.fit(
                problem.X, problem.Y, epochs=1000, batch_size=batch_size, optimizer=bp.SGD(rate, momentum=0.5),
                callbacks=note, seed=0,
            )  # fmt: skip
        results.append((net, str(caught.value), seen))
    (together, message, _), (single, expected, seen) = results
    assert message == expected
    assert re.search(rf"in epoch {len(together.history) + 1} ", message)
    assert len(together.history) > 1
    assert same_bits(together.params, seen[-1])
    assert_same(together, single)
    assert together.history.stopped_by == "divergence"
    assert len(calls) < 10 + len(single.history)


@pytest.mark.parametrize("sizes", [[1, 1], [1, 20, 1]], ids=["narrow", "wide"])
def test_parameters_that_become_infinite_are_noticed(sizes):
    """The cost of the epoch is finite, and the parameters after it are not."""
    net = bp.Network(sizes, initializer="zeros", dtype="float32")
    with pytest.raises(bp.TrainingDivergedError, match=r"in epoch 1 \(step 1\)"):
        net.fit([[1.0]], [[1e10]], epochs=100, optimizer=bp.SGD(1e35))
    assert not net.params.any()
    assert len(net.history) == 0


@dtypes
def test_the_tolerance_ends_at_the_same_step(dtype, calls):
    problem, _ = twins(cases.Case("", [2, 1]), np.random.default_rng(84), 30, dtype)
    nets = []
    for callbacks in ((), (nothing,)):
        net = network(cases.Case("", [2, 1]), problem.params, dtype)
        net.fit(
            problem.X, problem.Y, epochs=10_000, batch_size=None, optimizer=bp.SGD(0.3), tol=1e-3, callbacks=callbacks,
            seed=0,
        )  # fmt: skip
        nets.append(net)
    assert_same(*nets)
    assert nets[0].history.stopped_by == "tolerance"
    assert 5 < len(nets[0].history) < 1000
    assert len(calls) == 1 + len(nets[0].history)


@pytest.mark.parametrize(("presses", "epochs", "steps"), [(5, 1, 5), (6, 2, 6), (1, 0, 1), (3, 1, 3)])
def test_an_interrupt_leaves_the_finished_epochs(presses, epochs, steps, monkeypatch):
    """Three steps an epoch; the exception comes after so many steps."""
    X = np.random.default_rng(8).standard_normal((12, 3))
    net, other = (bp.Network([3, 4, 1], "tanh", seed=0) for _ in range(2))
    taken = []

    def call(run, control, deadline):
        control[team.REQUEST] = team.PAUSE  # return after every step
        run()
        taken.append(1)
        if len(taken) == presses:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fastbp.engine.frame.LONG_CALL", 0.0)
        patched.setattr("fastbp.engine.frame.call_interruptibly", call)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, X[:, :1], epochs=50, batch_size=4, seed=0)
    assert (len(net.history), net._training_state.step) == (epochs, steps)
    assert net.history.stopped_by == "interruption"
    expected = other.fit(X, X[:, :1], epochs=max(epochs, 1), batch_size=4, seed=0)
    assert same_bits(net.history.loss, expected.loss[:epochs])
    if steps == 3 * epochs:
        assert same_bits(net.params, other.params)
        for each in (net, other):
            each.fit(X, X[:, :1], epochs=2, batch_size=4)
        assert_same(net, other)
