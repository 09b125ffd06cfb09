"""Optimizers that look at all rows at once, by way of `fit`: a plain one in Python shows what each may rely on."""

import copy
import math
import pickle
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest

import fastbp as bp
from fastbp.storage.arrays import read_arrays, write_arrays
from tests.twins import same_bits

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 2))
Y = np.sin(X[:, :1]) + X[:, 1:]
X_VAL = rng.standard_normal((20, 2))
Y_VAL = np.sin(X_VAL[:, :1]) + X_VAL[:, 1:] + 0.1 * rng.standard_normal((20, 1))


def net_of(**changes):
    return bp.Network([2, 5, 1], **{"activation": "tanh", "seed": 1} | changes)


@dataclass(frozen=True)
class Descent(bp.WholeBatchOptimizer):
    """Steepest descent: the rate is doubled after a step, and halved until the cost falls."""

    columns = ("rate", "tries")
    reasons = ("gtol", "rate")

    rate: float = 1.0
    gtol: float = 0.0
    at_once: int = 4

    def trainer(self, net, data, n_threads):
        return DescentTrainer(self, net, data)


class DescentTrainer:
    """Takes its steps; `presses` names the iterations in whose tries Ctrl-C is pressed."""

    n_threads = 1
    presses = ()

    def __init__(self, rule, net, data):
        self.rule, self.net, self.data, self.stopped_by = rule, net, data, None
        self.rate, self.n_taken, self.is_over = rule.rate, 0, False

    def most_at_once(self):
        return self.rule.at_once

    def cost_and_grad(self, params):
        targets, weights = self.data.targets, self.data.sample_weight
        return self.net.value_and_grad(self.data.X, targets.array, params=params, sample_weight=weights)

    def advance(self, n_epochs, record):
        rows = []
        try:
            while len(rows) < n_epochs and self.stopped_by is None:
                row = self.iteration()
                rows += [] if row is None else [row]
        finally:
            record(np.array(rows).reshape(-1, 3))

    def iteration(self):
        cost, grad = self.cost_and_grad(self.net.params.copy())
        if not math.isfinite(cost):
            raise bp.TrainingDivergedError("The cost is not finite.")
        if np.linalg.norm(grad) <= self.rule.gtol:
            self.stopped_by = "gtol"
            return None
        rate, tries = 2 * self.rate, 0
        while True:
            rate, tries = rate / 2, tries + 1
            trial = self.net.params - rate * grad
            after = self.cost_and_grad(trial)[0]
            if self.n_taken in self.presses:
                self.presses = ()
                raise KeyboardInterrupt
            if after < cost:
                break
            if rate < 1e-12:
                self.stopped_by = "rate"
                return None
        self.net.params[...] = trial
        self.rate, self.n_taken = 2 * rate, self.n_taken + 1
        return after, rate, tries

    def state(self):
        return np.array([self.rate, self.n_taken])

    def restore(self, state):
        if not state[1] >= 0:
            return False
        self.rate, self.n_taken = float(state[0]), int(state[1])
        return True

    def end(self):
        assert not self.is_over
        self.is_over = True


def fit(net, epochs=12, optimizer=None, **arguments):
    return net.fit(X, Y, epochs=epochs, optimizer=optimizer or Descent(), **arguments)


def assert_same(net, history, expected, expected_history):
    assert same_bits(net.params, expected.params)
    assert history.stopped_by == expected_history.stopped_by
    columns, others = history.as_dict(), expected_history.as_dict()
    assert list(columns) == list(others)
    for name in columns:
        assert len(columns[name]) == len(others[name])
        assert name == "seconds" or same_bits(columns[name], others[name])


# ---- What a fit records ----------------------------------------------------------------------------------------------


def test_an_epoch_is_an_iteration_and_its_loss_the_cost_after_it():
    net, losses = net_of(l2_penalty=1e-3), []
    weights = rng.uniform(0.5, 1.5, 60)
    watch = [lambda net, history: losses.append(net.loss_value(X, Y, weights))]
    history = fit(net, sample_weight=weights, callbacks=watch)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    assert (np.diff(history.loss) < 0).all()
    assert len(history) == len(losses) == 12
    assert history.stopped_by == "epochs"
    assert np.isnan(history.learning_rate).all()
    assert list(history.as_dict()) == ["loss", "learning_rate", "seconds", "rate", "tries"]
    assert same_bits(history.rate, history.as_dict()["rate"])
    assert (history.tries >= 1).all()
    assert net.history is history


def test_several_iterations_in_a_call_change_nothing():
    expected = net_of()
    expected_history = fit(expected, callbacks=[lambda net, history: None])
    for at_once in (1, 5, 100):
        net = net_of()
        assert_same(net, fit(net, optimizer=Descent(at_once=at_once)), expected, expected_history)


def test_history_is_plotted_pickled_and_copied():
    pytest.importorskip("matplotlib")
    history = fit(net_of())
    assert len(history.plot().lines[0].get_xdata()) == 12
    for twin in (pickle.loads(pickle.dumps(history)), copy.copy(history), copy.deepcopy(history)):
        assert twin.as_dict().keys() == history.as_dict().keys()
        assert same_bits(twin.tries, history.tries)
    message = r"a History of this fit has no 'mu'; its columns are loss, learning_rate, seconds, rate, tries$"
    with pytest.raises(AttributeError, match=message):
        history.mu  # noqa: B018  asking is what is tested
    assert not hasattr(bp.History(), "tries")


def test_a_history_of_an_earlier_version_is_read():
    old = bp.History.__new__(bp.History)
    old.__setstate__(
        {"_loss": [1.0], "_val_loss": [], "_learning_rate": [0.1], "_seconds": [0.5], "stopped_by": "epochs"}
    )
    assert list(old.as_dict()) == ["loss", "learning_rate", "seconds"]
    assert repr(old) == "<History of 1 epochs, loss 1, stopped by epochs>"
    assert old == bp.History([1.0], [], [0.1], [0.5])


def test_a_network_that_was_trained_so_can_be_pickled_and_saved(tmp_path):
    net = net_of()
    fit(net)
    twin = pickle.loads(pickle.dumps(net))
    assert same_bits(twin.params, net.params)
    assert same_bits(twin.history.tries, net.history.tries)
    net.save(tmp_path / "net.safetensors")
    assert same_bits(bp.load(tmp_path / "net.safetensors").params, net.params)


def test_progress_is_shown(capsys):
    fit(net_of(), progress=True)  # no terminal: no bar, and no error
    fit(net_of(), optimizer=Descent(gtol=1e9), progress=True)
    assert capsys.readouterr().out == ""


# ---- How it ends -----------------------------------------------------------------------------------------------------


def test_reasons_of_the_rule():
    history = fit(net_of(), epochs=1000, optimizer=Descent(gtol=0.1))
    assert history.stopped_by == "gtol"
    assert 0 < len(history) < 1000
    net = net_of()
    before = net.params.copy()
    assert fit(net, epochs=5, optimizer=Descent(gtol=1e9)).stopped_by == "gtol"  # before the first epoch
    assert len(net.history) == 0
    assert same_bits(net.params, before)
    assert len(fit(net, epochs=0)) == 0


def test_validation_early_stopping_and_callbacks():
    net = net_of()
    validation = {"validation_data": (X_VAL, Y_VAL)}
    history = fit(net, epochs=400, **validation, early_stopping=bp.EarlyStopping(patience=5, min_delta=1e-3))
    assert history.stopped_by == "early_stopping"
    assert len(history.val_loss) == len(history)
    np.testing.assert_allclose(net.loss_value(X_VAL, Y_VAL), history.val_loss.min(), rtol=1e-12)
    history = fit(net_of(), callbacks=[lambda net, history: len(history) == 3])
    assert (history.stopped_by, len(history)) == ("callback", 3)


def test_ctrl_c_leaves_the_last_accepted_step(monkeypatch):
    expected = net_of()
    fit(expected, epochs=6)
    for at_once in (1, 100):
        net = net_of()
        with monkeypatch.context() as patched:
            patched.setattr(DescentTrainer, "presses", (6,))
            with pytest.raises(KeyboardInterrupt):
                fit(net, optimizer=Descent(at_once=at_once))
        assert same_bits(net.params, expected.params)
        assert same_bits(net.history.loss, expected.history.loss)
        assert net.history.stopped_by == "interruption"
    fit(net)  # nothing is left of that fit


def test_a_cost_that_is_not_finite_is_a_divergence():
    net = net_of()
    net.params[:] = 1e300
    with pytest.raises(bp.TrainingDivergedError):
        fit(net)
    assert net.history.stopped_by == "divergence"


def test_every_fit_begins_afresh_and_other_optimizers_go_on():
    net, twin = net_of(), net_of()
    net.fit(X, Y, epochs=2, seed=0)
    twin.fit(X, Y, epochs=2, seed=0)
    state = net._training_state
    fit(net, epochs=3)
    assert net._training_state is state
    twin.params = net.params
    net.fit(X, Y, epochs=2)
    twin.fit(X, Y, epochs=2)
    assert same_bits(net.params, twin.params)


# ---- To continue later -----------------------------------------------------------------------------------------------


class StopError(Exception):
    """What ends a fit half way."""


def stop_after(epochs):
    def callback(net, history):
        if len(history) == epochs:
            raise StopError

    return callback


@pytest.mark.parametrize("validated", [False, True])
def test_a_resumed_fit_ends_with_the_same_bits(validated, tmp_path):
    arguments = {"seed": 0}
    if validated:
        arguments |= {"validation_data": (X_VAL, Y_VAL), "early_stopping": bp.EarlyStopping(patience=4)}
    expected = net_of()
    expected_history = fit(expected, **arguments)
    for stop in (1, 5, 12):
        path = tmp_path / f"{stop}"
        with pytest.raises(StopError):
            fit(net_of(), **arguments, checkpoint=path, checkpoint_every=4, callbacks=[stop_after(stop)])
        for optimizer in (Descent(), Descent()):  # the second time there is nothing left to do
            net = net_of()
            history = fit(net, optimizer=optimizer, **arguments, checkpoint=path, resume=True)
            assert_same(net, history, expected, expected_history)


def test_resumed_after_ctrl_c(monkeypatch, tmp_path):
    expected = net_of()
    expected_history = fit(expected)
    path = tmp_path / "c"
    for press in (0, 3, 7):
        monkeypatch.setattr(DescentTrainer, "presses", (press,))
        with pytest.raises(KeyboardInterrupt):
            fit(net_of(), checkpoint=path, resume=press > 0)
    monkeypatch.setattr(DescentTrainer, "presses", ())
    net = net_of()
    assert_same(net, fit(net, checkpoint=path, resume=True), expected, expected_history)


def test_resumed_after_ctrl_c_within_validation(monkeypatch, tmp_path):
    from fastbp.engine.passes import Passes

    validation = {"validation_data": (X_VAL, Y_VAL)}
    expected = net_of()
    expected_history = fit(expected, **validation)
    whole, calls = Passes.cost, []

    def cost(*arguments, **keywords):
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return whole(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(Passes, "cost", cost)
        with pytest.raises(KeyboardInterrupt):
            fit(net_of(), **validation, checkpoint=tmp_path / "c")
    net = net_of()
    assert_same(net, fit(net, **validation, checkpoint=tmp_path / "c", resume=True), expected, expected_history)


def test_more_epochs_and_the_rule_s_reasons_are_resumed(tmp_path):
    expected = net_of()
    expected_history = fit(expected, epochs=9)
    fit(net_of(), epochs=4, checkpoint=tmp_path / "c")
    net = net_of()
    assert_same(net, fit(net, epochs=9, checkpoint=tmp_path / "c", resume=True), expected, expected_history)
    rule = Descent(gtol=0.1)
    expected_history = fit(expected, epochs=500, optimizer=rule, checkpoint=tmp_path / "d")
    assert expected_history.stopped_by == "gtol"
    net = net_of()
    history = fit(net, epochs=500, optimizer=rule, checkpoint=tmp_path / "e", checkpoint_every=timedelta(hours=1))
    twin = net_of()
    assert_same(twin, fit(twin, epochs=500, optimizer=rule, checkpoint=tmp_path / "e", resume=True), net, history)


def test_a_fit_of_no_epochs_is_resumed(tmp_path):
    fit(net_of(), epochs=0, checkpoint=tmp_path / "c")
    expected = net_of()
    expected_history = fit(expected)
    net = net_of()
    assert_same(net, fit(net, checkpoint=tmp_path / "c", resume=True), expected, expected_history)


# ---- What is refused -------------------------------------------------------------------------------------------------


WRONG = [
    ({"batch_size": 10}, ValueError,
     "`batch_size` must be None or 'auto' with Descent, which looks at all 60 rows in every step; got 10. Use "
     "bp.Adam() for mini-batches."),
    ({"batch_size": "all"}, ValueError, "`batch_size` must be an integer, None or 'auto'; got 'all'."),
    ({"clip_norm": 0.5}, ValueError,
     "`clip_norm` must be None with Descent, which chooses the length of a step itself; got 0.5."),
    ({"tol": 0.0}, ValueError,
     "`tol` must be None with Descent, which has bounds of its own to stop at; got 0. See its arguments."),
    ({"optimizer": Descent}, TypeError, f"`optimizer` must be an optimizer such as bp.Adam(); got {Descent!r}."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_what_does_not_go_with_it(arguments, error, message):
    net = net_of()
    before = net.params.copy()
    with pytest.raises(error) as caught:
        fit(net, **arguments)
    assert str(caught.value) == message
    assert same_bits(net.params, before)
    assert net.history is None


def test_all_rows_may_be_named():
    expected = net_of()
    expected_history = fit(expected, epochs=2)
    for batch_size in (60, None, "auto"):
        net = net_of()
        assert_same(net, fit(net, epochs=2, batch_size=batch_size, shuffle=False, seed=3), expected, expected_history)


def test_dropout_and_single_steps_are_refused():
    with pytest.raises(ValueError, match="`dropout`") as caught:
        fit(net_of(dropout=0.5))
    assert str(caught.value) == (
        "`dropout` must be 0 for Descent, which compares the costs of steps with each other; the network has (0.5,). "
        "Make it without dropout, or train it with bp.Adam()."
    )
    message = (
        "`optimizer` must be one that takes single steps with a learning rate, such as bp.Adam(); got "
        "Descent(rate=1.0, gtol=0.0, at_once=4), whose every step looks for its length. Pass it to `fit`."
    )
    for call in (net_of().step, lambda *data, **rest: bp.find_learning_rate(net_of(), *data, **rest)):
        with pytest.raises(TypeError) as caught:
            call(X, Y, optimizer=Descent())
        assert str(caught.value) == message


def test_another_fit_s_checkpoint_is_refused(tmp_path):
    path = str(tmp_path / "c")
    fit(net_of(), checkpoint=path)
    where = f"The checkpoint {path!r} is of a fit with"
    cure = "Resume with the network, data and arguments of that fit, or start afresh with resume=False."
    for optimizer, shown in (
        (Descent(rate=2.0), "{'class': 'Descent', 'rate': 2.0, 'gtol': 0.0, 'at_once': 4}"),
        (bp.SGD(0.1), "{'class': 'SGD', 'learning_rate': 0.1, 'momentum': 0.0, 'nesterov': False}"),
    ):
        with pytest.raises(ValueError, match="`optimizer`") as caught:
            net_of().fit(X, Y, epochs=12, batch_size=None, optimizer=optimizer, checkpoint=path, resume=True)
        assert str(caught.value) == (
            f"{where} `optimizer` {{'class': 'Descent', 'rate': 1.0, 'gtol': 0.0, 'at_once': 4}}, and this fit has "
            f"{shown}. {cure}"
        )
    with pytest.raises(bp.FileError, match="it needs the optimizer or schedule 'Descent' of your own"):
        net_of().fit(X, Y, epochs=12, checkpoint=path, resume=True)


DAMAGES = {
    "version": ({}, {}, 1, "a checkpoint must have the arrays before_epoch, best_params, history, params, sums, "
                           "vectors; there is no 'before_epoch'."),
    "state": ({}, {"state": np.array([1.0, -1.0])}, 2, "its array 'state' is no state of Descent."),
    "length": ({}, {"state": np.zeros(3)}, 2,
               "its array 'state' must have shape (2,) and dtype float64; it has (3,) and float64."),
    "pending": ({}, {"pending": np.zeros((2, 3))}, 2,
                "its array 'pending' must have at most one row; it has shape (2, 3)."),
    "row": ({}, {"pending": np.zeros((1, 2))}, 2,
            "its array 'pending' must have shape (1, 3) and dtype float64; it has (1, 2) and float64."),
    "history": ({}, {"history": np.zeros((3, 4))}, 2,
                "its array 'history' must have 5 or 6 rows; it has shape (3, 4)."),
    "reason": ({"stopped_by": "tired"}, {}, 2, "its `stopped_by` is unknown: 'tired'."),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_checkpoints(kind, tmp_path):
    fields, arrays, version, reason = DAMAGES[kind]
    path = tmp_path / "c"
    fit(net_of(), checkpoint=path)
    content = read_arrays(path, {"checkpoint": 2})
    assert content.version == 2
    write_arrays(path, "checkpoint", version, content.description | fields, content.arrays | arrays)
    net = net_of()
    before = net.params.copy()
    with pytest.raises(bp.FileError) as caught:
        fit(net, checkpoint=path, resume=True)
    assert caught.value.reason == reason
    assert same_bits(net.params, before)


def test_a_file_of_steps_that_names_such_an_optimizer_is_refused(tmp_path):
    path = tmp_path / "c"
    net_of().fit(X, Y, epochs=12, batch_size=None, optimizer=bp.SGD(0.1), checkpoint=path)
    content = read_arrays(path, {"checkpoint": 1})
    optimizer = {"class": "Descent", "rate": 1.0, "gtol": 0.0, "at_once": 4}
    arguments = content.description["fit"] | {"optimizer": optimizer}
    write_arrays(path, "checkpoint", 1, content.description | {"fit": arguments}, content.arrays)
    with pytest.raises(bp.FileError, match=r"it has version 1 of its format, and its optimizer needs version 2\.$"):
        fit(net_of(), checkpoint=path, resume=True)
