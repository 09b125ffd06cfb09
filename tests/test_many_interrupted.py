"""Many networks, and what comes in between: exceptions of signal handlers, pauses, errors; nothing is half done."""

import gc
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import many
from fastbp.engine.calls import UnknownCodeError
from fastbp.engine.settings import N_CONSTANTS
from fastbp.kernels.machine.team import ABANDON, REQUEST
from fastbp.system import alone
from fastbp.training import rounds
from tests.test_many import X, Y, make, same

RULE = bp.EarlyStopping(patience=1)


def interrupting(function, after):
    """The function, in which Ctrl-C is pressed once: after so many begins of functions and ends of C's."""

    left = itertools.count(after, -1)

    def count(frame, event, argument):
        if event in ("call", "c_return") and next(left) == 0:
            raise KeyboardInterrupt

    def call(*arguments):
        gc.disable()  # the garbage collector swallows exceptions of its callbacks, and other libraries have some
        sys.setprofile(count)
        try:
            return function(*arguments)
        finally:
            sys.setprofile(None)
            gc.enable()

    return call


def in_rounds_of(n_epochs, monkeypatch):
    """Have each round take so many epochs."""
    count = lambda self, runs, seconds: [min(n_epochs, run.epochs_left) for run in runs]  # noqa: E731
    monkeypatch.setattr(rounds._Rounds, "_epochs_of", count)


def test_ctrl_c_anywhere_between_the_records_loses_no_step(monkeypatch):
    arguments = {"epochs": 3, "seed": 0, "validation_data": (X, Y), "early_stopping": RULE, "batch_size": 20}
    others = make(2, dropout=0.1)
    histories = [other.fit(X, Y, **arguments).as_dict() for other in others]
    for other in others:
        other.fit(X, Y, epochs=1)
    for after in itertools.count():
        nets = make(2, dropout=0.1)
        with monkeypatch.context() as patched:
            patched.setattr(rounds.Run, "note", interrupting(rounds.Run.note, after))
            try:
                bp.fit_many(nets, X, Y, **arguments)
                break
            except KeyboardInterrupt:
                assert not alone.trainings
        for net, history in zip(nets, histories, strict=True):
            for name in ("loss", "val_loss", "learning_rate"):
                assert net.history.as_dict()[name].tobytes() == history[name].tobytes(), (after, name)
        bp.fit_many(nets, X, Y, epochs=1)
        assert all(map(same, nets, others))
    assert after > 20


def test_ctrl_c_anywhere_while_networks_are_given_back(monkeypatch):
    for after in itertools.count():
        nets = make()
        try:
            interrupting(alone.alone_with_all, after)(nets, "fit_many", lambda: None)
            break
        except KeyboardInterrupt:
            assert not alone.trainings, after
    assert after > 5
    alone.alone_with_all(make(), "fit_many", lambda: None)


def test_a_first_step_that_was_abandoned_takes_no_random_order(monkeypatch, tmp_path):
    """Its order was drawn: the checkpoint must have the random numbers from before."""
    arguments = {"epochs": 3, "batch_size": 7, "seed": 0, "checkpoint": tmp_path, "resume": True}
    real, calls = rounds.train_together, []

    def abandon(members, *rest):
        calls.append(members)
        if len(calls) < 2:
            return real(members, *rest)
        table = many.Memory.table

        def asked(memory, controls):
            controls[:, REQUEST] = ABANDON
            return table(memory, controls)

        with monkeypatch.context() as patched:
            patched.setattr(many.Memory, "table", asked)
            real(members, *rest)
        raise KeyboardInterrupt

    nets, others = make(), make()
    with monkeypatch.context() as patched:
        patched.setattr(rounds, "train_together", abandon)
        with pytest.raises(KeyboardInterrupt):
            bp.fit_many(make(), X, Y, **arguments)
    bp.fit_many(nets, X, Y, **arguments)
    for other in others:
        other.fit(X, Y, epochs=3, batch_size=7, seed=0)
    assert all(map(same, nets, others))


def test_a_child_that_is_forked_meanwhile_may_train_its_copy(monkeypatch):
    """It would wait for ever for the lock of random numbers that a thread of its parent's holds."""
    real, free = rounds.train_together, []

    def look(members, *arguments):
        for net in nets:
            lock = net._training_state.rng.bit_generator.lock
            with ThreadPoolExecutor(1) as pool:
                free.append(pool.submit(lock.acquire, blocking=False).result())
                pool.submit(lock.release).result()
        real(members, *arguments)

    monkeypatch.setattr(rounds, "train_together", look)
    nets = make()
    bp.fit_many(nets, X, Y, epochs=1, seed=0)
    assert free == [True] * 3


def test_a_network_at_its_end_has_its_best_parameters_whatever_comes_later(monkeypatch):
    def stop(*arguments):
        taken.append(1)
        if len(taken) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    taken, real = [], rounds.train_together
    monkeypatch.setattr(rounds, "train_together", stop)
    in_rounds_of(5, monkeypatch)
    arguments = {"seed": 0, "validation_data": (X, -Y), "optimizer": bp.Adam(0.1)}  # worse and worse
    nets, others = make(2), make(2)
    with pytest.raises(KeyboardInterrupt):
        bp.fit_many(nets, X, Y, epochs=10, early_stopping=[bp.EarlyStopping(2), None], **arguments)
    others[0].fit(X, Y, epochs=10, early_stopping=bp.EarlyStopping(2), **arguments)
    assert same(nets[0], others[0])
    assert nets[0].history.stopped_by == "early_stopping"
    assert nets[1].history.stopped_by == "interruption"


def test_every_call_comes_further_whenever_a_checkpoint_is_due(monkeypatch, tmp_path):
    """The time is always up before a network has begun."""
    real = rounds.train_together

    def pressed(members, memory, seconds, deadline):
        real(members, memory, 1.0, time.monotonic() - 1.0)

    monkeypatch.setattr(rounds, "train_together", pressed)
    monkeypatch.setattr(many, "call_interruptibly", lambda call, control, deadline: (control[REQUEST].fill(1), call()))
    nets, others = make(2), make(2)
    every = timedelta(microseconds=1)
    bp.fit_many(nets, X, Y, epochs=2, batch_size=30, seed=0, checkpoint=tmp_path, checkpoint_every=every)
    for other in others:
        other.fit(X, Y, epochs=2, batch_size=30, seed=0)
    assert all(map(same, nets, others))


def test_a_round_is_as_long_as_the_steps_that_were_taken(monkeypatch):
    """Networks that stop early have taken no time for the rest."""
    seen, real = [], rounds.train_together

    def look(members, memory, seconds, deadline):
        seen.append(seconds)
        real(members, memory, seconds, deadline)
        time.sleep(0.01)

    monkeypatch.setattr(rounds, "train_together", look)
    in_rounds_of(50, monkeypatch)
    v = (X, -Y)
    rules = [bp.EarlyStopping(1)] * 9 + [None]
    nets = make(10)
    bp.fit_many(
        nets, X, Y, epochs=100, seed=0, optimizer=bp.Adam(0.1), validation_data=v, early_stopping=rules, n_threads=1
    )
    assert [len(net.history) < 25 for net in nets] == [True] * 9 + [False]
    share = sum(net.history.seconds.sum() for net in nets)
    assert len(seen) == 2
    assert share >= 0.02


@pytest.mark.parametrize("callbacks", [[], [lambda net, history: None]])
def test_a_checkpoint_of_another_fit_changes_nothing(callbacks, tmp_path):
    """Neither parameters nor random numbers, of which a new optimizer would draw."""
    bp.fit_many(make(2), X, Y, epochs=2, seed=0, checkpoint=tmp_path)
    (tmp_path / "network-00000.fastbp").unlink()
    nets, others = make(2), make(2)
    for net in (*nets, *others):
        net.fit(X, Y, epochs=1, seed=5, batch_size=20)
    optimizer = bp.SGD(0.1)
    with pytest.raises(ValueError, match=r"The checkpoint .* is of a fit with"):
        bp.fit_many(
            nets, X, Y, epochs=2, optimizer=[optimizer, None], checkpoint=tmp_path, resume=True, callbacks=callbacks
        )
    assert all(map(same, nets, others))


def test_rows_are_copied_before_they_are_looked_at():
    """An array whose values another thread changes between the look and the use."""

    class Changing(np.ndarray):
        def max(self, *arguments, **keywords):
            found = super().max(*arguments, **keywords)
            memory[:] = 1 << 40
            return found

    memory = np.arange(20)
    nets, others = make(1), make(1)
    bp.fit_many(nets, X, Y, epochs=1, seed=0, rows=[memory.view(Changing)])
    others[0].fit(X[:20], Y[:20], epochs=1, seed=0)
    assert all(map(same, nets, others))


def test_threads_without_a_network_take_no_memory(monkeypatch):
    made, real = [], rounds.Memory
    monkeypatch.setattr(rounds, "Memory", lambda *arguments: (made.append(arguments[1]), real(*arguments))[1])
    bp.fit_many(make(2), X, Y, epochs=1, n_threads=70)
    assert made == [2]


@pytest.mark.parametrize("n_epochs", [1, 2, 30])
def test_rounds_of_any_length_end_with_the_same_bits(n_epochs, monkeypatch):
    """Early stopping remembers what earlier rounds have found."""
    in_rounds_of(n_epochs, monkeypatch)
    arguments = {"epochs": 30, "seed": 0, "validation_data": (X, -Y), "optimizer": bp.Adam(0.05)}
    rules = [bp.EarlyStopping(5), bp.EarlyStopping(5, 0.1, False), bp.EarlyStopping(20)]
    nets, others = make(), make()
    bp.fit_many(nets, X, Y, early_stopping=rules, **arguments)
    for other, rule in zip(others, rules, strict=True):
        other.fit(X, Y, early_stopping=rule, **arguments)
    assert all(map(same, nets, others))
    assert {net.history.stopped_by for net in nets} == {"early_stopping"}


def before_a_round(change, monkeypatch):
    """Have something happen before the second round."""
    in_rounds_of(1, monkeypatch)
    real, calls = rounds.train_together, []

    def train(members, *arguments):
        calls.append(1)
        if len(calls) == 2:
            change(members)
        real(members, *arguments)

    monkeypatch.setattr(rounds, "train_together", train)


def test_parameters_that_were_made_read_only_meanwhile_are_not_written(monkeypatch):
    nets, other = make(), make()[1]
    before_a_round(lambda members: nets[1].params.setflags(write=False), monkeypatch)
    with pytest.raises(ValueError, match=r"`net\.params` must be writable"):
        bp.fit_many(nets, X, Y, epochs=3, seed=0)
    other.fit(X, Y, epochs=1, seed=0)
    assert nets[1].params.tobytes() == other.params.tobytes()
    assert len(nets[1].history) == 1


def test_what_the_kernels_do_not_know_is_an_error(monkeypatch):
    def change(members):
        members[1].frame.set_rule(99, np.zeros(N_CONSTANTS), 0, 32)

    before_a_round(change, monkeypatch)
    with pytest.raises(UnknownCodeError):
        bp.fit_many(make(), X, Y, epochs=3, seed=0)


@pytest.mark.parametrize("every", [1, timedelta(microseconds=1)])
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_network_that_has_diverged_writes_no_checkpoint(is_interrupted, every, monkeypatch, tmp_path):
    """A fit that goes on from the last one may have another learning rate."""

    def stop(members):
        if is_interrupted:
            raise KeyboardInterrupt

    before_a_round(stop, monkeypatch)
    context = pytest.raises(KeyboardInterrupt) if is_interrupted else pytest.warns(RuntimeWarning)
    rates = [bp.SGD(1e300), bp.SGD(0.1)]
    with context:
        bp.fit_many(make(2), X, Y, epochs=2, seed=0, optimizer=rates, checkpoint=tmp_path, checkpoint_every=every)
    assert [path.name for path in tmp_path.iterdir()] == ["network-00001.fastbp"]
