"""What `Network.fit` does around its steps: validation, stopping, callbacks, interrupts, divergence, history."""

import gc
import os
import re
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import fastbp as bp
from fastbp.training.early_stopping import Best
from tests import cases
from tests.terminal import terminal
from tests.twins import network, same_bits, twins

CASE = cases.Case("4-6-3", [4, 6, 3], "tanh")


def noisy_line(n, seed):
    """A line with noise: a network of many neurons overfits it."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 1))
    return X, X + 0.5 * rng.standard_normal((n, 1))


def overfitting_network():
    """Enough neurons for every one of a few points."""
    return bp.Network([1, 60, 1], activation="tanh", initializer="standard_normal", seed=1)


# ---- Validation and early stopping ---------------------------------------------------------------------------------


def test_validation_loss_is_the_cost_after_each_epoch():
    problem, net = twins(CASE, np.random.default_rng(81), 9, weighted=True)
    X, Y, w = problem.X, problem.Y, problem.sample_weight
    seen = []
    history = net.fit(
        X, Y, epochs=4, seed=0, validation_data=(X, Y, w), callbacks=[lambda n, _: seen.append(n.loss_value(X, Y, w))]
    )
    assert history.val_loss.tolist() == seen
    assert net.fit(X, Y, epochs=1, validation_data=[X, Y]).val_loss[0] == net.loss_value(X, Y)
    assert net.fit(X, Y, epochs=1).val_loss.shape == (0,)


def test_early_stopping_returns_the_best_weights():
    X, Y = noisy_line(12, 1)
    validation = noisy_line(50, 2)
    net, seen = overfitting_network(), []
    history = net.fit(
        X, Y, epochs=2000, batch_size=None, optimizer=bp.Adam(0.01), validation_data=validation,
        early_stopping=bp.EarlyStopping(patience=20), callbacks=[lambda n, _: seen.append(n.params.copy())],
    )  # fmt: skip
    assert history.stopped_by == "early_stopping"
    assert len(history) == history.best_epoch + 1 + 20
    assert history.best_epoch == np.argmin(history.val_loss)
    assert same_bits(net.params, seen[history.best_epoch])
    assert net.loss_value(*validation) == history.val_loss.min()
    assert history.val_loss[-1] > history.val_loss.min()


def test_early_stopping_may_keep_the_last_weights():
    X, Y = noisy_line(12, 1)
    net, seen = overfitting_network(), []
    history = net.fit(
        X, Y, epochs=2000, batch_size=None, optimizer=bp.Adam(0.01), validation_data=noisy_line(50, 2),
        early_stopping=bp.EarlyStopping(patience=3, restore_best=False),
        callbacks=[lambda n, _: seen.append(n.params.copy())],
    )  # fmt: skip
    assert history.stopped_by == "early_stopping"
    assert same_bits(net.params, seen[-1])


def test_an_improvement_must_be_larger_than_min_delta():
    problem, net = twins(CASE, np.random.default_rng(82), 9)
    X, Y = problem.X, problem.Y
    rule = bp.EarlyStopping(patience=4, min_delta=1e9)
    history = net.fit(X, Y, epochs=50, seed=0, validation_data=(X, Y), early_stopping=rule)
    assert len(history) == 5  # the first epoch is better than none, four are not better by so much
    assert history.stopped_by == "early_stopping"


@pytest.mark.parametrize("min_delta", [0.05, 0.5, 1e9])
def test_the_best_weights_are_those_of_the_best_epoch_whatever_min_delta(min_delta):
    X, Y = noisy_line(12, 1)
    validation = noisy_line(50, 2)
    net, seen = overfitting_network(), []
    history = net.fit(
        X, Y, epochs=60, batch_size=None, optimizer=bp.Adam(0.01), validation_data=validation,
        early_stopping=bp.EarlyStopping(patience=40, min_delta=min_delta),
        callbacks=[lambda n, _: seen.append(n.params.copy())],
    )  # fmt: skip
    assert 0 < history.best_epoch == np.argmin(history.val_loss)
    assert same_bits(net.params, seen[history.best_epoch])
    assert net.loss_value(*validation) == history.val_loss.min()


def test_patience_and_best_epoch_by_hand():
    """Better than the last improvement by more than 0.25: epochs 0 and 3; lowest: epoch 6."""
    values = [10.0, 9.875, 9.75, 9.5, np.nan, 9.375, 9.25, -np.inf, 9.5]
    params, rule = np.zeros(1), bp.EarlyStopping(patience=5, min_delta=0.25)
    best, stopped, history = Best(params, rule), [], bp.History()
    for epoch, value in enumerate(values):
        params[0] = epoch
        stopped.append(best.should_stop(value))
        history.append(1.0, 0.1, 0.0, value)
    assert stopped == [False] * 8 + [True]
    best.restore()
    assert params[0] == history.best_epoch == 6
    again = Best(params, rule)
    again.replay(history.val_loss[:-1], best.params)
    assert again.should_stop(values[-1])


@pytest.mark.parametrize(
    "ended_by",
    [
        "epochs",
        "callback",
        "tolerance",
    ],
)
def test_best_weights_return_whatever_ends_the_fit(ended_by):
    """Here every epoch is better than the one before."""
    problem, net = twins(CASE, np.random.default_rng(83), 9)
    X, Y = problem.X, problem.Y
    settings = {"batch_size": 3, "shuffle": False, "validation_data": (X, Y)}
    twin = network(CASE, problem.params)
    expected = twin.fit(X, Y, epochs=3, optimizer=bp.SGD(0.01), **settings).val_loss
    stop = {
        "epochs": {"epochs": 3},
        "callback": {"callbacks": [lambda _, history: len(history) == 3]},
        "tolerance": {"tol": gradient_norm(twin, X, Y)},
    }[ended_by]
    history = net.fit(X, Y, optimizer=bp.SGD(0.01), early_stopping=bp.EarlyStopping(), **settings, **stop)
    assert (history.stopped_by, history.val_loss.tolist()) == (ended_by, expected.tolist())
    assert history.best_epoch == 2
    assert same_bits(net.params, twin.params)


# ---- Tolerance -----------------------------------------------------------------------------------------------------


def gradient_norm(net, X, Y):
    return np.linalg.norm(net.value_and_grad(X, Y)[1])


@pytest.mark.parametrize("batch_size", [None, 30], ids=["None", "30"])
def test_full_batch_stops_at_a_small_gradient(batch_size):
    """Two inputs, one linear output: it ends at the solution of the linear system."""
    rng = np.random.default_rng(84)
    X, Y = rng.standard_normal((30, 2)), rng.standard_normal((30, 1))
    net = bp.Network([2, 1])
    net.params = [-0.8, -1.6, 0.0]
    history = net.fit(X, Y, epochs=10_000, batch_size=batch_size, optimizer=bp.SGD(0.5), tol=1e-9)
    assert history.stopped_by == "tolerance"
    assert len(history) < 1000
    assert gradient_norm(net, X, Y) <= 1e-9
    solution = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), Y)[0]
    assert net.params == pytest.approx(solution[:, 0], abs=1e-8)


def test_full_batch_looks_before_each_step():
    net = bp.Network([1, 1])
    net.params = [0.25, 0.0]
    history = net.fit([[0.8]], [[0.2]], epochs=10, batch_size=None, optimizer=bp.SGD(0.1), tol=1e-12)
    assert (history.stopped_by, len(history)) == ("tolerance", 1)
    assert net.params.tolist() == [0.25, 0.0]


def test_a_step_that_was_not_taken_does_not_count():
    net = bp.Network([1, 1], initializer="zeros")
    net.fit([[1.0]], [[0.0]], epochs=10, batch_size=None, optimizer=bp.Adam(0.1), tol=0.0)
    assert net._training_state.step == 0
    assert net._training_state.powers == (1.0, 1.0)


def test_mini_batches_stop_at_a_small_gradient_of_all_rows():
    X = np.random.default_rng(85).standard_normal((40, 2))
    Y = X @ np.array([[0.5], [-1.5]]) + 0.25  # every row agrees, so that all gradients vanish together
    net = bp.Network([2, 1], seed=0)
    history = net.fit(X, Y, epochs=10_000, batch_size=8, optimizer=bp.SGD(0.1), tol=1e-6, seed=0)
    assert history.stopped_by == "tolerance"
    assert gradient_norm(net, X, Y) <= 1e-6
    assert net.params == pytest.approx([0.5, -1.5, 0.25], abs=1e-5)


# ---- Callbacks and progress ----------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order_after_each_epoch():
    problem, net = twins(CASE, np.random.default_rng(86), 6)
    calls = []

    def first(n, history):
        assert n is net
        calls.append(("first", len(history), history.loss[-1]))

    def second(_, history):
        calls.append(("second", len(history), history.loss[-1]))

    history = net.fit(problem.X, problem.Y, epochs=3, seed=0, callbacks=(first, second))
    assert calls == [(name, i + 1, history.loss[i]) for i in range(3) for name in ("first", "second")]
    assert history.stopped_by == "epochs"


def test_a_callback_that_returns_true_stops_after_all_were_called():
    problem, net = twins(CASE, np.random.default_rng(87), 6)
    calls = []
    history = net.fit(
        problem.X, problem.Y, epochs=9, seed=0,
        callbacks=[lambda _, history: len(history) == 2, lambda _, history: calls.append(len(history))],
    )  # fmt: skip
    assert (history.stopped_by, len(history), calls) == ("callback", 2, [1, 2])


@pytest.mark.parametrize(
    "stop",
    [
        lambda _, history: history.loss[-1] < 1e9,
        lambda _, history: np.all(history.loss < 1e9),
        lambda _, history: np.isclose(history.loss[-1], history.loss[-1]),
        lambda _, history: bool(history.loss[-1] < 1e9),
    ],
    ids=["comparison", "all", "isclose", "bool"],
)
def test_numpys_true_is_true(stop):
    problem, net = twins(CASE, np.random.default_rng(87), 6)
    history = net.fit(problem.X, problem.Y, epochs=9, seed=0, callbacks=[stop])
    assert (history.stopped_by, len(history)) == ("callback", 1)


@pytest.mark.parametrize("value", [None, False, np.False_], ids=repr)
def test_none_and_false_go_on(value):
    problem, net = twins(CASE, np.random.default_rng(87), 6)
    assert len(net.fit(problem.X, problem.Y, epochs=3, callbacks=[lambda *_: value])) == 3


class Answer:
    """A callback that is no function."""

    def __call__(self, net, history):
        return np.ones(3)


@pytest.mark.parametrize(
    ("callback", "what"),
    [
        (lambda *_: "yes", "<lambda> returned str"), (lambda *_: 1, "<lambda> returned int"),
        (lambda *_: 0.0, "<lambda> returned float"), (lambda *_: [], "<lambda> returned list"),
        (Answer(), "Answer returned ndarray"),
    ],
    ids=["str", "int", "float", "list", "array"],
)  # fmt: skip
def test_anything_else_that_a_callback_returns_is_refused(callback, what):
    problem, net = twins(CASE, np.random.default_rng(87), 6)
    other = network(CASE, problem.params)
    with pytest.raises(TypeError) as caught:
        net.fit(problem.X, problem.Y, epochs=3, seed=0, callbacks=[lambda *_: None, callback])
    assert str(caught.value) == (
        "`callbacks[1]` must return True to end the training, or False or None to go on, because another value does "
        f"not say which; {what}. Write bool(...) around it, or return nothing."
    )
    assert (len(net.history), net.history.stopped_by) == (1, "interruption")
    other.fit(problem.X, problem.Y, epochs=1, seed=0)
    assert same_bits(net.params, other.params)


def test_a_callback_may_change_the_network():
    problem, net = twins(CASE, np.random.default_rng(88), 6)

    def to_zero(n, _):
        n.params[...] = 0.0

    net.fit(problem.X, problem.Y, epochs=2, optimizer=bp.SGD(1e-300), callbacks=[to_zero])
    assert not net.params.any()


@pytest.mark.parametrize("progress", [False, True])
def test_only_progress_prints_and_on_standard_error(capsys, progress):
    problem, net = twins(CASE, np.random.default_rng(89), 6)
    with terminal() as stream:
        net.fit(problem.X, problem.Y, epochs=3, progress=progress, validation_data=(problem.X, problem.Y))
    assert capsys.readouterr() == ("", "")
    shown = stream.getvalue()
    assert ("val_loss=" in shown and "3/3" in shown) if progress else shown == ""


@pytest.mark.parametrize("kind", ["file", "none", "closed"])
def test_no_bar_where_nobody_looks(kind, tmp_path, monkeypatch):
    problem, net = twins(CASE, np.random.default_rng(89), 6)
    with open(tmp_path / "log", "w+", encoding="utf-8") as file:
        if kind == "closed":
            file.close()
        monkeypatch.setattr(sys, "stderr", None if kind == "none" else file)
        assert len(net.fit(problem.X, problem.Y, epochs=3, progress=True)) == 3
        bp.finite_difference_gradient(net, problem.X, problem.Y, progress=True)
    assert (tmp_path / "log").read_text(encoding="utf-8") == ""


def test_a_notebook_has_its_own_bar(monkeypatch):
    """Its standard error is no terminal, and its bar is no text."""
    import tqdm.auto

    begun = []

    class Notebook(tqdm.auto.tqdm):
        def __init__(self, **keywords):
            begun.append(keywords["disable"])
            super().__init__(**keywords | {"disable": True})

    Notebook.__module__ = "tqdm.notebook"
    monkeypatch.setattr(tqdm.auto, "tqdm", Notebook)
    bp.Network([1, 1], seed=0).fit([[1.0]], [[1.0]], epochs=2, progress=True)
    assert begun == [False]


# ---- Interrupts ----------------------------------------------------------------------------------------------------


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupt_in_a_callback_leaves_a_usable_network():
    problem, net = twins(CASE, np.random.default_rng(90), 6)
    other = network(CASE, problem.params)
    rule = bp.Adam(0.01)
    with pytest.raises(KeyboardInterrupt):
        net.fit(problem.X, problem.Y, epochs=5, optimizer=rule, seed=0, callbacks=[interrupt])
    other.fit(problem.X, problem.Y, epochs=1, optimizer=rule, seed=0)
    assert same_bits(net.params, other.params)
    for interrupted in (net, other):  # both go on from there
        interrupted.fit(problem.X, problem.Y, epochs=2)
    assert same_bits(net.params, other.params)
    assert net._training_state.step == 3


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_ctrl_c_is_obeyed_in_the_middle_of_an_epoch():
    """Of epochs that take seconds each; without Ctrl-C there is an end all the same."""
    rng = np.random.default_rng(91)
    net = bp.Network([200, 200, 5], activation="tanh", seed=0)
    X, Y = rng.standard_normal((100_000, 200)), rng.standard_normal((100_000, 5))
    net.fit(X[:100], Y[:100], epochs=1, batch_size=1)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=20, batch_size=1, optimizer=bp.SGD(1e-6), seed=0)
    timer.join()
    assert np.isfinite(net.params).all()
    assert net._training_state.step % len(X) != 0
    net.fit(X[:10], Y[:10], epochs=1)


# ---- Divergence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_divergence_gives_back_the_parameters_from_before_the_epoch(batch_size, dtype):
    problem, net = twins(cases.Case("", [4, 6, 3], "identity"), np.random.default_rng(92), 6, dtype)
    seen = [net.params.copy()]
    with pytest.raises(bp.TrainingDivergedError) as caught:
        net.fit(
            problem.X, problem.Y, epochs=1000, batch_size=batch_size, optimizer=bp.SGD(30.0, momentum=0.5),
            callbacks=[lambda n, _: seen.append(n.params.copy())], seed=0,
        )  # fmt: skip
    assert isinstance(caught.value, FloatingPointError)
    assert re.fullmatch(
        r"The loss became NaN or infinite in epoch \d+ \(step \d+\) with a learning rate of 30\. The network has the "
        r"parameters from before that epoch, and the optimizer's state was reset\. Try a smaller learning rate, "
        r"clip_norm=1\.0, or inputs scaled to mean 0 and variance 1\.",
        str(caught.value),
    )
    assert f"epoch {len(seen)} " in str(caught.value)
    assert np.isfinite(net.params).all()
    assert same_bits(net.params, seen[-1])
    state = net._training_state
    assert (state.step, state.powers, state.vectors.any()) == (0, (1.0, 1.0), False)


def test_a_network_that_diverged_can_be_trained():
    problem, net = twins(CASE, np.random.default_rng(93), 6)
    start = net.params.copy()
    with pytest.raises(bp.TrainingDivergedError):
        net.fit(problem.X, problem.Y * 1e160, epochs=3, optimizer=bp.Adam(0.1), seed=0)
    assert same_bits(net.params, start)
    fresh = network(CASE, start)
    for n in (net, fresh):
        n.fit(problem.X, problem.Y, epochs=3, optimizer=bp.Adam(0.1), seed=0)
    assert same_bits(net.params, fresh.params)


# ---- History -------------------------------------------------------------------------------------------------------


def test_history():
    problem, net = twins(CASE, np.random.default_rng(94), 6)
    X, Y = problem.X, problem.Y
    began = time.perf_counter()
    history = net.fit(X, Y, epochs=4, optimizer=bp.SGD(0.05), seed=0, validation_data=(X, Y))
    took = time.perf_counter() - began
    assert isinstance(history, bp.History)
    assert len(history) == 4
    columns = history.as_dict()
    assert set(columns) == {"loss", "val_loss", "learning_rate", "seconds"}
    assert {(column.shape, column.dtype.name) for column in columns.values()} == {((4,), "float64")}
    assert history.learning_rate.tolist() == [0.05] * 4
    assert (history.seconds > 0).all()
    assert history.seconds.sum() <= took
    assert history.loss[-1] < history.loss[0]
    assert history.best_epoch == 3
    expected = f"<History of 4 epochs, loss {history.loss[-1]:.6g}, val_loss {history.val_loss[-1]:.6g}"
    assert repr(history) == f"{expected}, stopped by epochs>"


def test_history_without_validation():
    history = bp.Network([1, 1], seed=0).fit([[1.0]], [[1.0]], epochs=2, seed=0)
    assert set(history.as_dict()) == {"loss", "learning_rate", "seconds"}
    assert history.best_epoch is None
    assert repr(history) == f"<History of 2 epochs, loss {history.loss[-1]:.6g}, stopped by epochs>"
    assert repr(bp.History()) == "<History of 0 epochs, stopped by epochs>"


def test_best_epoch_passes_over_what_is_not_finite():
    history = bp.History()
    for val_loss in (np.nan, 3.0, np.inf, 2.0, 2.5):
        history.append(1.0, 0.1, 0.0, val_loss)
    assert history.best_epoch == 3


def test_a_second_fit_knows_nothing_of_the_first():
    """The frame of a small fit is used again: not its penalties, clipping or tolerance, nor the caller's arrays."""
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))

    def fresh():
        net = bp.Network([3, 4, 2], seed=0)
        assert isinstance(net.fit(X, Y, epochs=1, batch_size=20, optimizer=bp.SGD(0.1), seed=0), bp.History)
        return net

    net, start = fresh(), bp.Network([3, 4, 2], seed=0).params
    net.params[...] = start
    net.fit(X[:, :], Y, epochs=2, batch_size=20, optimizer=bp.Adam(0.1), clip_norm=0.01, tol=1e-9, seed=0)
    big = weakref.ref(X_copy := X.copy())
    net.fit(X_copy, Y, epochs=1, batch_size=20, optimizer=bp.RMSprop(0.1), seed=0)
    del X_copy
    gc.collect()
    assert big() is None
    net.params[...] = start
    net.fit(X, Y, epochs=1, batch_size=20, optimizer=bp.SGD(0.1), seed=0)
    assert np.array_equal(net.params, fresh().params)
