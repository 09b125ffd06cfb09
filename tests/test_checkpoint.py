"""Checkpoint and resume: the same bits as a run that was never interrupted, or an error that says what differs."""

import hashlib
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import threading
from datetime import timedelta

import numpy as np
import pytest

import fastbp as bp
from fastbp.training import checkpoint, schedules
from tests import cases
from tests.fresh import TIME_LIMIT, run_python
from tests.twins import same_bits

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)

OPTIMIZERS = {
    "sgd": bp.SGD(0.05),
    "momentum": bp.SGD(schedules.Step(0.05, 30, 0.5), momentum=0.9, nesterov=True),
    "adam": bp.Adam(schedules.Cosine(0.01)),
    "adamw": bp.AdamW(schedules.OneCycle(0.01)),
    "rmsprop": bp.RMSprop(schedules.InverseScaling(0.01)),
    "rmsprop-momentum": bp.RMSprop(schedules.Constant(0.01), momentum=0.5),
}


def data(dtype="float64", n=150):
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, 4)).astype(dtype), rng.integers(3, size=n)


def net_of(dtype="float64", **changes):
    arguments = {
        "activation": "tanh",
        "output": "softmax",
        "loss": "cross_entropy",
        "dtype": dtype,
        "seed": 1,
    } | changes
    return bp.Network([4, 12, 3], **arguments)


def arguments_of(dtype="float64", **changes):
    X_val, Y_val = data(dtype, 40)
    weights = np.linspace(0.5, 1.5, 150).astype(dtype)
    return {
        "epochs": 6,
        "batch_size": 16,
        "seed": 2,
        "sample_weight": weights,
        "validation_data": (X_val[::-1], Y_val),
    } | changes


class StopError(Exception):
    """What ends a fit half way."""


def stop_after(epochs):
    def callback(net, history):
        if len(history) == epochs:
            raise StopError

    return callback


def assert_same(net, history, expected, expected_history):
    assert same_bits(net.params, expected.params)
    assert same_bits(net._training_state.vectors, expected._training_state.vectors)
    assert (net._training_state.step, net._training_state.powers) == (
        expected._training_state.step,
        expected._training_state.powers,
    )
    assert net._training_state.rng.bit_generator.state == expected._training_state.rng.bit_generator.state
    assert history.stopped_by == expected_history.stopped_by
    for name in ("loss", "val_loss", "learning_rate"):
        assert same_bits(getattr(history, name), getattr(expected_history, name))
    assert len(history.seconds) == len(history)


# ---- The same bits --------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_after_an_epoch(name, dtype, tmp_path):
    X, Y = data(dtype)
    arguments = arguments_of(dtype, optimizer=OPTIMIZERS[name])
    expected = net_of(dtype, dropout=0.2, l2_penalty=1e-3)
    expected_history = expected.fit(X, Y, **arguments)
    with pytest.raises(StopError):
        net_of(dtype, dropout=0.2, l2_penalty=1e-3).fit(
            X, Y, **arguments, checkpoint=tmp_path / "c", checkpoint_every=2, callbacks=[stop_after(3)]
        )
    net = net_of(dtype, dropout=0.2, l2_penalty=1e-3)
    history = net.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True)
    assert_same(net, history, expected, expected_history)
    again = net_of(dtype, dropout=0.2, l2_penalty=1e-3)
    assert_same(again, again.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True), expected, expected_history)


def interrupt_within_an_epoch(monkeypatch, step):
    """Have Frame.run abandoned: the kernel takes `step` steps of the second epoch, and Ctrl-C is pressed."""
    from fastbp.engine.frame import Frame

    whole = Frame.run
    calls = []

    def run(self, task, params, *, rates=None, **rest):
        if rates is None:
            return whole(self, task, params, **rest)
        calls.append(None)
        if len(calls) != 2:
            return whole(self, task, params, rates=rates, **rest)
        whole(self, task, params, rates=rates[:step], **rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(Frame, "run", run)


@dtypes
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_within_an_epoch(name, dtype, tmp_path, monkeypatch):
    X, Y = data(dtype)
    arguments = arguments_of(dtype, optimizer=OPTIMIZERS[name], clip_norm=0.1)
    expected = net_of(dtype, dropout=0.2)
    expected_history = expected.fit(X, Y, **arguments)
    with monkeypatch.context() as patched:
        interrupt_within_an_epoch(patched, 4)
        interrupted = net_of(dtype, dropout=0.2)
        with pytest.raises(KeyboardInterrupt):
            interrupted.fit(X, Y, **arguments, checkpoint=tmp_path / "c")
    assert interrupted._training_state.step == 14  # ten steps an epoch, and four
    assert len(interrupted.history) == 1
    assert interrupted.history.stopped_by == "interruption"
    net = net_of(dtype, dropout=0.2)
    history = net.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True)
    assert_same(net, history, expected, expected_history)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 150])
def test_resumed_with_other_batches_and_threads(batch_size, shuffle, tmp_path):
    X, Y = data()
    arguments = arguments_of(batch_size=batch_size, shuffle=shuffle)
    expected = net_of()
    expected_history = expected.fit(X, Y, **arguments, n_threads=1)
    with pytest.raises(StopError):
        net_of().fit(X, Y, **arguments, checkpoint=tmp_path / "c", callbacks=[stop_after(3)], n_threads=2)
    net = net_of()
    history = net.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True, n_threads=3)
    assert_same(net, history, expected, expected_history)


@pytest.mark.parametrize("stop", [4, 9])
def test_early_stopping_goes_on_waiting(stop, tmp_path):
    X, Y = data()
    rule = bp.EarlyStopping(patience=5, min_delta=1e-3)
    arguments = arguments_of(epochs=200, optimizer=bp.Adam(0.03), early_stopping=rule)
    expected = net_of()
    expected_history = expected.fit(X, Y, **arguments)
    assert expected_history.stopped_by == "early_stopping"
    assert len(expected_history) > 9
    assert expected_history.best_epoch >= 4
    with pytest.raises(StopError):
        net_of().fit(X, Y, **arguments, checkpoint=tmp_path / "c", callbacks=[stop_after(stop)])
    for _ in range(2):  # the second time there is nothing left to do
        net = net_of()
        history = net.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True)
        assert_same(net, history, expected, expected_history)


def test_tolerance_and_callback_end_a_resumed_fit(tmp_path):
    X, Y = data()
    for name, arguments in {
        "tolerance": arguments_of(epochs=500, batch_size=None, tol=0.05),
        "callback": arguments_of(callbacks=[lambda net, history: len(history) == 4]),
    }.items():
        expected = net_of()
        expected_history = expected.fit(X, Y, **arguments)
        assert expected_history.stopped_by == name
        path = tmp_path / name
        changed = arguments | {"callbacks": [stop_after(2)]}
        with pytest.raises(StopError):
            net_of().fit(X, Y, **changed, checkpoint=path)
        for _ in range(2):
            net = net_of()
            assert_same(net, net.fit(X, Y, **arguments, checkpoint=path, resume=True), expected, expected_history)


def test_more_epochs_go_on_from_a_finished_fit(tmp_path):
    X, Y = data()
    expected = net_of()
    expected_history = expected.fit(X, Y, epochs=7, seed=0)
    net_of().fit(X, Y, epochs=4, seed=0, checkpoint=tmp_path / "c")
    net = net_of()
    assert_same(
        net, net.fit(X, Y, epochs=7, seed=0, checkpoint=tmp_path / "c", resume=True), expected, expected_history
    )


def test_a_second_fit_is_resumed_as_well(tmp_path):
    X, Y = data()
    rate = bp.Adam(schedules.Cosine(0.01))
    expected, net = net_of(), net_of()
    expected.fit(X, Y, epochs=2, optimizer=rate, seed=0)
    expected_history = expected.fit(X, Y, epochs=5)
    net.fit(X, Y, epochs=2, optimizer=rate, seed=0)
    with pytest.raises(StopError):
        net.fit(X, Y, epochs=5, checkpoint=tmp_path / "c", callbacks=[stop_after(2)])
    other = net_of()
    history = other.fit(X, Y, epochs=5, checkpoint=tmp_path / "c", resume=True)  # also takes the file's optimizer
    assert_same(other, history, expected, expected_history)
    assert other._training_state.optimizer == rate


def test_checkpoints_by_time(tmp_path):
    X, Y = data(n=150)
    X, Y = np.tile(X, (10_000, 1)), np.tile(Y, 10_000)  # an epoch takes long enough to be cut
    expected, net = net_of(), net_of()
    expected_history = expected.fit(X, Y, epochs=2, seed=0)
    kept = {}

    def keep(path=tmp_path / "c"):
        while not over.wait(0.001):
            if path.exists():
                content = path.read_bytes()
                kept[content] = len(kept)

    over = threading.Event()
    watcher = threading.Thread(target=keep, daemon=True)
    watcher.start()
    history = net.fit(X, Y, epochs=2, seed=0, checkpoint=tmp_path / "c", checkpoint_every=timedelta(milliseconds=10))
    over.set()
    watcher.join(TIME_LIMIT)
    assert_same(net, history, expected, expected_history)
    assert len(kept) > 3  # more than one an epoch
    for content in list(kept)[:: len(kept) // 3]:
        (tmp_path / "d").write_bytes(content)
        net = net_of()
        history = net.fit(X, Y, epochs=2, seed=0, checkpoint=tmp_path / "d", resume=True)
        assert_same(net, history, expected, expected_history)


def test_without_a_file_resume_starts_afresh(tmp_path):
    X, Y = data()
    expected, net = net_of(), net_of()
    expected.fit(X, Y, epochs=2, seed=0)
    net.fit(X, Y, epochs=2, seed=0, checkpoint=tmp_path / "c", resume=np.True_)
    assert same_bits(net.params, expected.params)
    assert (tmp_path / "c").exists()


# ---- What is refused -------------------------------------------------------------------------------------------------


CURE = "Resume with the network, data and arguments of that fit, or start afresh with resume=False."


class Halving(schedules.Schedule):
    """A schedule of one's own."""

    def __call__(self, steps, horizon):
        return 0.1 * 0.5 ** (np.asarray(steps) / horizon)


def refusal(path, net=None, X=None, Y=None, error=ValueError, **changes):
    """The message of a fit that differs from the checkpoint's, which leaves the network as it was."""
    net = net or net_of()
    before, state = net.params.copy(), net._training_state
    X_own, Y_own = data()
    with pytest.raises(error) as caught:
        net.fit(
            X_own if X is None else X, Y_own if Y is None else Y,
            **({"epochs": 3, "seed": 0, "checkpoint": path, "resume": True} | changes),
        )  # fmt: skip
    assert same_bits(net.params, before)
    assert net._training_state is state
    return str(caught.value)


def test_what_differs_is_named(tmp_path):
    path = str(tmp_path / "c")
    X, Y = data()
    net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path)
    where = f"The checkpoint {path!r} is of a fit with"
    assert refusal(path, batch_size=10) == f"{where} `batch_size` 32, and this fit has 10. {CURE}"
    assert refusal(path, seed=1) == f"{where} `seed` 0, and this fit has 1. {CURE}"
    assert refusal(path, X=X[:149], Y=Y[:149]) == (
        f"{where} another `X`: shape (150, 4), and this fit's has shape (149, 4). {CURE}"
    )
    assert refusal(path, X=X + 1) == f"{where} other values in `X` of the same shape. {CURE}"
    assert refusal(path, sample_weight=np.ones(150)) == (
        f"{where} another `sample_weight`: none, and this fit's has shape (150,). {CURE}"
    )
    assert refusal(path, validation_data=(X, Y)) == f"{where} `validation_data` False, and this fit has True. {CURE}"
    assert refusal(path, shuffle=False) == f"{where} `shuffle` True, and this fit has False. {CURE}"
    assert refusal(path, clip_norm=1.0) == f"{where} `clip_norm` 0.0, and this fit has 1.0. {CURE}"
    assert refusal(path, optimizer=bp.SGD(0.1)).startswith(f"{where} `optimizer` {{'class': 'Adam', ")
    assert refusal(path, net=net_of(dropout=0.5)) == f"{where} `dropout` [0.0], and this fit has [0.5]. {CURE}"
    X4 = X.astype("f4")
    assert refusal(path, net=net_of("float32"), X=X4) == (
        f"{where} `dtype` 'float64', and this fit has 'float32'. {CURE}"
    )
    other = bp.Network([4, 9, 3], output="softmax", loss="cross_entropy", seed=0)
    assert refusal(path, net=other) == f"{where} `sizes` [4, 12, 3], and this fit has [4, 9, 3]. {CURE}"
    assert refusal(path, epochs=2) == (
        f"`epochs` must be at least 3, the epochs that the checkpoint {path!r} has behind it; got 2."
    )


def test_a_schedule_spans_the_epochs(tmp_path):
    path = str(tmp_path / "c")
    X, Y = data()
    net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path, optimizer=bp.Adam(schedules.Cosine(0.1)))
    assert refusal(path, epochs=4) == (
        f"The checkpoint {path!r} is of a fit with `epochs` 3, and this fit has 4. A learning rate schedule spans a "
        f"whole fit. {CURE}"
    )


def test_changed_data_in_any_row_are_refused(tmp_path):
    path = str(tmp_path / "c")
    rng = np.random.default_rng(5)
    X, Y, weights = rng.standard_normal((5000, 4)), rng.integers(3, size=5000), rng.uniform(0.5, 1.5, 5000)
    X_val, Y_val = X[:700] + 1, Y[:700]
    whole = {"sample_weight": weights, "validation_data": (X_val, Y_val, weights[:700])}
    net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path, **whole)
    where = f"The checkpoint {path!r} is of a fit with other values in"
    for row in rng.integers(5000, size=20):
        other = X.copy()
        other[row, 2] = np.nextafter(other[row, 2], np.inf)
        assert refusal(path, X=other, Y=Y, **whole) == f"{where} `X` of the same shape. {CURE}"
    labels, heavier, inputs, classes, rates = Y.copy(), weights.copy(), X_val.copy(), Y_val.copy(), weights[:700].copy()
    labels[7], heavier[7], inputs[7], classes[7], rates[7] = (labels[7] + 1) % 3, 2, 1e3, (classes[7] + 1) % 3, 2
    assert refusal(path, X=X, Y=labels, **whole) == f"{where} `Y` of the same shape. {CURE}"
    for name, changes in {
        "sample_weight": {"sample_weight": heavier},
        "X_val": {"validation_data": (inputs, Y_val, weights[:700])},
        "Y_val": {"validation_data": (X_val, classes, weights[:700])},
        "sample_weight_val": {"validation_data": (X_val, Y_val, rates)},
    }.items():
        assert refusal(path, X=X, Y=Y, **whole | changes) == f"{where} `{name}` of the same shape. {CURE}"
    assert len(net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path, resume=True, **whole)) == 3


def test_the_digest_is_that_of_the_values_however_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_DIGEST_BYTES", 1000)  # several pieces
    values = np.random.default_rng(0).standard_normal((333, 7))
    expected = {"shape": [333, 7], "digest": hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()}
    mapped = np.memmap(tmp_path / "values", values.dtype, "w+", shape=values.shape)
    mapped[...] = values
    wide = np.zeros((666, 14))
    wide[::2, ::2] = values
    for array in (values, np.asfortranarray(values), mapped, wide[::2, ::2], values[::-1, ::-1][::-1, ::-1]):
        assert checkpoint.digest(array) == expected
    labels = np.arange(5000)
    assert checkpoint.digest(labels)["digest"] == hashlib.blake2b(labels.tobytes(), digest_size=16).hexdigest()


class Falling(schedules.Schedule):
    """A schedule of one's own with a rate of its own, a factor of its class, a function, and a cache."""

    factor = 1.0

    def __init__(self, rate, shape=lambda progress: 1 - progress):
        self.rate, self._shape, self.cache = rate, shape, {}

    def __call__(self, steps, horizon):
        self.cache[len(self.cache)] = horizon
        return self.rate * self.factor * self._shape(np.asarray(steps) / horizon)


class Steeper(Falling):
    factor = 0.5


Steeper.__name__ = "Falling"  # what an edited program has under the old name


def test_another_schedule_of_ones_own_is_refused(tmp_path):
    path = str(tmp_path / "c")
    X, Y = data()
    expected, interrupted, rule = net_of(), net_of(), bp.SGD(Falling(0.1))
    expected_history = expected.fit(X, Y, epochs=3, seed=0, optimizer=rule)
    with pytest.raises(StopError):
        interrupted.fit(X, Y, epochs=3, seed=0, optimizer=rule, checkpoint=path, callbacks=[stop_after(2)])
    kept = (tmp_path / "c").read_bytes()
    others = Falling(0.1001), Steeper(0.1), Falling(0.1, lambda progress: 1 - progress**1.001), Halving()
    for schedule in others:
        message = refusal(path, optimizer=bp.SGD(schedule))
        assert message.startswith(
            f"The checkpoint {path!r} is of a fit with `optimizer` {{'class': 'SGD', 'learning_rate': {{'class': "
            "'Falling', 'first_rate': '0.1', 'last_rate': '0.00666667', 'rates': "
        )
        assert message.endswith(CURE)
    assert "'last_rate': '0.00667333'" in refusal(path, optimizer=bp.SGD(others[0]))
    for same in (rule, bp.SGD(Falling(0.1))):  # the same object has a fuller cache
        (tmp_path / "c").write_bytes(kept)
        net = net_of()
        history = net.fit(X, Y, epochs=3, seed=0, optimizer=same, checkpoint=path, resume=True)
        assert_same(net, history, expected, expected_history)
    assert refusal(path, epochs=4, optimizer=rule) == (
        f"The checkpoint {path!r} is of a fit with `epochs` 3, and this fit has 4. A learning rate schedule spans a "
        f"whole fit. {CURE}"
    )


def test_a_schedule_of_ones_own_without_epochs_or_with_a_wrong_shape(tmp_path):
    X, Y = data()
    net_of().fit(X, Y, epochs=0, optimizer=bp.SGD(Falling(0.1)), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="`learning_rate` must be a schedule that returns one number a step"):
        net_of().fit(X, Y, epochs=1, optimizer=bp.SGD(Falling(0.1, np.sum)), checkpoint=tmp_path / "d")


def test_a_schedule_of_ones_own_must_be_passed(tmp_path):
    path = str(tmp_path / "c")
    X, Y = data()
    net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path, optimizer=bp.SGD(Halving()))
    assert refusal(path, error=bp.FileError) == (
        f"The file {path!r} cannot be loaded: it needs the optimizer or schedule 'Halving' of your own. Pass it to fit "
        "as `optimizer`."
    )
    assert len(net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path, resume=True, optimizer=bp.SGD(Halving()))) == 3


def test_wrong_arguments(tmp_path):
    path = str(tmp_path / "c")
    assert refusal(path, error=TypeError, checkpoint_every=2.5) == (
        "`checkpoint_every` must be a number of epochs or a datetime.timedelta; got 2.5. For seconds write "
        "timedelta(seconds=2.5)."
    )
    assert refusal(path, checkpoint_every=0) == "`checkpoint_every` must be at least 1; got 0."
    assert refusal(path, checkpoint_every=timedelta(0)) == (
        "`checkpoint_every` must be longer than no time; got datetime.timedelta(0)."
    )
    assert (
        refusal(path, error=TypeError, resume=1) == "`resume` must be True or False; got 1. The file is `checkpoint`."
    )
    assert refusal(None) == "`resume=True` needs the file to go on from; pass it as `checkpoint`."
    assert refusal(3.5, error=TypeError) == (
        "`checkpoint` must be the name of a file, a str or os.PathLike[str]; got float."
    )
    assert "`checkpoint` must be the name of a file, not of a folder" in refusal(tmp_path, error=OSError)
    assert "`checkpoint` must lie in a folder that exists" in refusal(tmp_path / "no" / "c", error=OSError)


def test_damaged_checkpoints(tmp_path):
    path = tmp_path / "c"
    X, Y = data()
    net_of().fit(X, Y, epochs=3, seed=0, checkpoint=path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(40):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
        refusal(path, error=bp.FileError)
        path.write_bytes(whole[:place])
        refusal(path, error=bp.FileError)
    net_of().save(path)
    assert refusal(path, error=bp.FileError).endswith("it holds a 'network'; expected: checkpoint.")


def test_impossible_checkpoints(tmp_path, monkeypatch):
    """Files that are whole, but say what cannot be."""
    path = tmp_path / "c"
    X, Y = data()
    whole = checkpoint.write_arrays
    wrong = {
        "position": -1, "step": 1.5, "powers": [2.0, 0.5], "rng": {"bit_generator": "MT19937"}, "dropout_seed": 1 << 40,
        "stopped_by": "boredom", "epochs": "3", "network": 3, "fit": {},
    }  # fmt: skip
    for name, value in wrong.items():
        with monkeypatch.context() as patched:
            patched.setattr(
                checkpoint,
                "write_arrays",
                lambda p, k, v, description, arrays, *, optional, name=name, value=value: whole(
                    p, k, v, description | {name: value}, arrays, optional=optional
                ),
            )
            net_of().fit(X, Y, epochs=2, seed=0, checkpoint=path)
        message = refusal(path, error=bp.FileError)
        assert re.search(f"its `?({name}|optimizer)|it needs the optimizer", message), message


@pytest.mark.parametrize("epsilon", [2.0, 1e308])
def test_an_epsilon_above_1_can_be_resumed(epsilon, tmp_path):
    X, Y = data()
    arguments = {"epochs": 3, "batch_size": 16, "seed": 2, "optimizer": bp.RMSprop(0.01, epsilon=epsilon)}
    expected = net_of()
    expected.fit(X, Y, **arguments)
    with pytest.raises(StopError):
        net_of().fit(X, Y, **arguments, checkpoint=tmp_path / "c", callbacks=[stop_after(2)])
    net = net_of()
    net.fit(X, Y, **arguments, checkpoint=tmp_path / "c", resume=True)
    assert same_bits(net.params, expected.params)


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (("fit", "X", "shape"), 150, "its `X` has an impossible shape 150."),
        (("fit", "X", "shape"), [150, "4"], "its `X` has an impossible shape [150, '4']."),
        (("fit", "batch_size"), [], "its `fit` has for 'batch_size' a list, where a float must be."),
        (("network", "sizes"), 3, "its `network` has for 'sizes' a float, where a list must be."),
        (("fit", "optimizer", "beta_2"), 2**63, "its optimizer is impossible: `beta_2` must be a number in [0, 1)"),
        (("fit", "optimizer", "class"), ["Adam"], "its optimizer is impossible: "),
        (("step",), 2**53, "its `step` must be an integer from 0 to 4503599627370496; it is 9007199254740992."),
        (("rng", "state"), [[]], "its `rng` is no state of a random number generator: "),
        (("stopped_by",), ["epochs"], "its `stopped_by` is unknown: ['epochs']."),
    ],
)
def test_hostile_checkpoints(place, value, text, tmp_path, monkeypatch):
    """With the right checksum: the one error, and the network is as it was."""
    X, Y = data()
    path, whole = tmp_path / "c", checkpoint.write_arrays

    def write(path, kind, version, description, arrays, *, optional):
        changed = json.loads(json.dumps(description))
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        whole(path, kind, version, changed, arrays, optional=optional)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_arrays", write)
        net_of().fit(X, Y, epochs=2, seed=0, checkpoint=path)
    net = net_of()
    before = net.params.copy()
    with pytest.raises(bp.FileError) as caught:
        net.fit(X, Y, epochs=2, seed=0, checkpoint=path, resume=True)
    assert str(caught.value).startswith(f"The file {str(path)!r} cannot be loaded: {text}")
    assert same_bits(net.params, before)


# ---- SIGKILL and full disks ------------------------------------------------------------------------------------------


KILLED = """
import os, random, signal, sys, tempfile, time, warnings
from datetime import timedelta
import numpy as np, fastbp as bp
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((6000, 10)), rng.integers(4, size=6000)

def train(**arguments):
    net = bp.Network([10, 24, 24, 4], "tanh", "softmax", "cross_entropy", seed=0, dropout=0.1)
    net.fit(X, Y, epochs=12, batch_size=8, seed=0, optimizer=bp.Adam(1e-3), early_stopping=bp.EarlyStopping(100),
            validation_data=(X[:500], Y[:500]), **arguments)
    return net.params.tobytes() + net.history.loss.tobytes()

train()  # which also compiles
began = time.perf_counter()
expected = train()
seconds = time.perf_counter() - began
chance = random.Random(times)
WITHOUT_WAITING = os.WEXITED | os.WNOHANG | os.WNOWAIT
kills = first = finished = 0
path = os.path.join(tempfile.mkdtemp(), "checkpoint")
while kills < times:
    every = chance.choice([1, 2, timedelta(milliseconds=3)])
    child = os.fork()
    if child == 0:
        os._exit(0 if train(checkpoint=path, checkpoint_every=every, resume=True) == expected else 1)
    # Two of three are killed when a checkpoint is there, so that it does not depend on the machine how many can resume.
    while kills % 3 and not os.path.exists(path) and os.waitid(os.P_PID, child, WITHOUT_WAITING) is None:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.5 * seconds))
    existed = os.path.exists(path)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        kills += 1
        assert os.path.exists(path) or not existed
        first += not os.path.exists(path)
    else:  # it was quicker: once more from the beginning
        assert status == 0, status
        finished += 1
        os.unlink(path)
    if kills % 3 == 0 and os.path.exists(path):  # is what there is loadable, and does it lead to the end?
        assert train(checkpoint=path, resume=True) == expected
        os.unlink(path)
print(kills, first, finished, file=sys.stderr)
assert train(checkpoint=path, resume=True) == expected
print("loadable" if kills > 2 * first else "hardly ever written")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("times", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments(times):
    assert run_python(f"times = {times}" + KILLED) == "loadable\n"


def test_a_full_disk_leaves_the_last_checkpoint_and_a_usable_network(tmp_path):
    X, Y = data()
    path = tmp_path / "c"
    arguments = arguments_of()
    expected = net_of()
    expected_history = expected.fit(X, Y, **arguments)
    net = net_of()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(net, history):
        if len(history) == 4:
            kept.append(path.read_bytes())
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))

    kept = []
    try:
        with pytest.raises(OSError, match="File too large; the file was not written, and one that was there") as caught:
            net.fit(X, Y, **arguments, checkpoint=path, callbacks=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not hasattr(caught.value, "__notes__")
    assert path.read_bytes() == kept[0]
    assert os.listdir(tmp_path) == ["c"]
    assert len(net.history) == 4
    assert net.history.stopped_by == "interruption"
    assert np.isfinite(net.fit(X, Y, epochs=1).loss).all()
    resumed = net_of()
    history = resumed.fit(X, Y, **arguments, checkpoint=path, resume=True)
    assert_same(resumed, history, expected, expected_history)


def test_a_full_disk_while_an_exception_is_on_its_way(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device", "c")

    def callback(net, history):
        monkeypatch.setattr(checkpoint, "write_arrays", full)
        raise StopError

    X, Y = data()
    with pytest.raises(StopError) as caught:
        net_of().fit(X, Y, epochs=2, checkpoint=tmp_path / "c", callbacks=[callback])
    assert caught.value.__notes__ == [
        "The last checkpoint could not be written: [Errno 28] No space left on device: 'c'"
    ]


def test_a_diverged_fit_writes_no_checkpoint(tmp_path):
    X, Y = data()
    net = net_of()
    with pytest.raises(bp.TrainingDivergedError):
        bp.Network([4, 8, 1], "relu", seed=0).fit(
            1e3 * X, Y.astype(float), epochs=50, optimizer=bp.SGD(1e3), checkpoint=tmp_path / "c", checkpoint_every=50
        )
    assert os.listdir(tmp_path) == []
    assert net.history is None
