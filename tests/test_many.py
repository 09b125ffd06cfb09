"""Many networks in one call: each ends with the bits of its own `fit` and `predict`, which is the oracle here."""

import importlib
import os
import tracemalloc
from datetime import timedelta

import numpy as np
import pytest

import fastbp as bp
from fastbp.system import alone
from fastbp.training import rounds
from tests.saved_files import CUBE

predicting = importlib.import_module("fastbp.export.predict_many")  # of the name of a function in it

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.sin(X[:, :2])


def make(n=3, sizes=(4, 6, 2), **keywords):
    """Return different networks."""
    return [bp.Network(sizes, activation="tanh", seed=seed, **keywords) for seed in range(n)]


def same(net, other):
    """Whether two networks are the same to the bit, and would go on in the same way."""
    assert net.params.tobytes() == other.params.tobytes()
    a, b = net.history.as_dict(), other.history.as_dict()
    assert a.keys() == b.keys()
    for name in a.keys() - {"seconds"}:
        assert a[name].tobytes() == b[name].tobytes(), name
    assert net.history.stopped_by == other.history.stopped_by
    assert (net._training_state is None) == (other._training_state is None)
    if net._training_state is not None:
        mine, its = net._training_state, other._training_state
        assert mine.vectors.tobytes() == its.vectors.tobytes()
        assert (mine.step, mine.powers, mine.dropout_seed) == (its.step, its.powers, its.dropout_seed)
        assert mine.rng.bit_generator.state == its.rng.bit_generator.state
    return True


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_each_network_is_that_of_its_own_fit(n_threads):
    arguments = {
        "epochs": [3, 5, 0],
        "batch_size": [7, None, 60],
        "optimizer": [bp.Adam(0.01), bp.SGD(0.1, momentum=0.9), None],
        "shuffle": [True, False, True],
        "seed": [5, None, 7],
        "clip_norm": [None, 0.5, None],
        "tol": [None, 1e-9, None],
    }
    nets, others = make(dropout=0.1), make(dropout=0.1)
    for _ in range(2):  # and they go on
        seeds = [5, 3, 7]
        histories = bp.fit_many(nets, X, Y, **arguments | {"seed": seeds}, n_threads=n_threads)
        for i, other in enumerate(others):
            own = {name: values[i] for name, values in (arguments | {"seed": seeds}).items()}
            other.fit(X, Y, **own)
        assert all(map(same, nets, others))
        assert all(history is net.history for history, net in zip(histories, nets, strict=True))


def test_data_of_their_own():
    Xs = [X[:20], X[20:], X]
    Ys = [Y[:20], Y[20:], Y]
    weights = [np.arange(1.0, 21), np.ones(40), np.arange(1.0, 61)]
    nets, others = make(), make()
    bp.fit_many(nets, Xs, Ys, epochs=3, seed=1, sample_weight=weights, validation_data=list(zip(Xs, Ys, strict=True)))
    for i, other in enumerate(others):
        other.fit(Xs[i], Ys[i], epochs=3, seed=1, sample_weight=weights[i], validation_data=(Xs[i], Ys[i]))
    assert all(map(same, nets, others))


def test_lists_of_rows_are_no_lists_of_data():
    rows, targets = list(X[:3]), list(Y[:3])  # three networks, three rows
    nets, others = make(), make()
    bp.fit_many(nets, rows, targets, epochs=2, seed=0, validation_data=[X[:5].tolist(), Y[:5].tolist()])
    for other in others:
        other.fit(rows, targets, epochs=2, seed=0, validation_data=(X[:5], Y[:5]))
    assert all(map(same, nets, others))


def test_different_kinds_share_a_call():
    labels = RNG.integers(0, 3, 60)
    kinds = [
        {"sizes": [4, 3], "output": "softmax", "loss": "cross_entropy"},
        {"sizes": [4, 300, 3], "output": "softmax", "loss": "cross_entropy", "l2_penalty": 0.01},
        {"sizes": [4, 5, 4, 3], "output": "softmax", "loss": "cross_entropy", "activation": "gelu"},
    ]
    nets, others = ([bp.Network(seed=1, **kind) for kind in kinds] for _ in range(2))
    bp.fit_many(nets, X, labels, epochs=2, seed=0, batch_size=1)
    for other in others:
        other.fit(X, labels, epochs=2, seed=0, batch_size=1)
    assert all(map(same, nets, others))


def test_both_dtypes_share_a_call():
    nets, others = ([*make(1), *make(1, dtype="float32")] for _ in range(2))
    data = [X, X.astype("float32")], [Y, Y.astype("float32")]
    bp.fit_many(nets, *data, epochs=3, seed=0)
    for i, other in enumerate(others):
        other.fit(data[0][i], data[1][i], epochs=3, seed=0)
    assert all(map(same, nets, others))


def never(net, history):
    """A callback."""


class Falling(bp.Schedule):
    """A schedule of a user's own."""

    def __call__(self, steps, n_steps):
        """Return the rates."""
        return 0.01 / (1 + steps)


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": bp.LevenbergMarquardt()},
        {"optimizer": bp.LBFGS()},
        {"callbacks": [never]},
        {"tol": 0.3},
        {"optimizer": bp.Adam(Falling())},
    ],
    ids=["LevenbergMarquardt", "LBFGS", "callback", "tol", "schedule"],
)
def test_what_needs_python_between_epochs(arguments):
    rows = [np.arange(30), None, np.arange(60) > 20]
    nets, others = make(), make()
    bp.fit_many(nets, X, Y, epochs=3, seed=0, rows=rows, validation_rows=[rows[0]] * 3, **arguments)
    for other, chosen in zip(others, rows, strict=True):
        own = slice(None) if chosen is None else chosen
        other.fit(X[own], Y[own], epochs=3, seed=0, validation_data=(X[:30], Y[:30]), **arguments)
    assert all(map(same, nets, others))


def test_functions_of_the_users_own():
    nets, others = ([bp.Network([4, 3, 2], CUBE, seed=seed) for seed in range(2)] for _ in range(2))
    bp.fit_many(nets, X, Y, epochs=2, seed=0)
    for other in others:
        other.fit(X, Y, epochs=2, seed=0)
    assert all(map(same, nets, others))
    assert bp.predict_many(nets, X).tobytes() == np.array([net.predict(X) for net in nets]).tobytes()


def test_large_networks_share_their_steps_where_threads_are_left(monkeypatch):
    called = []
    monkeypatch.setattr(rounds, "train_together", lambda *arguments: called.append(arguments))
    bp.fit_many(make(1, (4, 600, 600, 2)), X, Y, epochs=1, batch_size=None, n_threads=2)
    assert not called
    bp.fit_many(make(2, (4, 600, 600, 2)), X, Y, epochs=0, batch_size=None, n_threads=2)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_are_those_of_a_copy(sparse):
    from scipy.sparse import csr_array

    data = csr_array(np.where(abs(X) > 1, X, 0)) if sparse else X
    rows = [RNG.integers(0, 60, 80), RNG.random(60) < 0.5, [3, -1]]
    checks = [RNG.random(60) < 0.3, [5], None]
    weights = RNG.random(60)
    nets, others = make(), make()
    bp.fit_many(nets, data, Y, epochs=4, seed=0, batch_size=2, rows=rows, validation_rows=checks, sample_weight=weights)
    for other, own, check in zip(others, map(np.asarray, rows), checks, strict=True):
        v = None if check is None else np.asarray(check)
        chosen = None if v is None else (data[v], Y[v], weights[v])
        other.fit(data[own], Y[own], epochs=4, seed=0, batch_size=2, sample_weight=weights[own], validation_data=chosen)
    assert all(map(same, nets, others))


def test_rows_are_not_copied():
    wide = RNG.normal(size=(4000, 100))
    targets = wide[:, :1]
    rows = [RNG.permutation(4000)[:3900] for _ in range(10)]
    nets = make(10, (100, 2, 1))
    bp.fit_many(nets, wide, targets, epochs=1, rows=rows, validation_rows=rows)
    tracemalloc.start()
    bp.fit_many(nets, wide, targets, epochs=1, rows=rows, validation_rows=rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < wide.nbytes


def test_rows_are_the_users_own_until_the_call_returns():
    rows = np.arange(20)
    kept = rows.copy()
    net, other = make(2)[:1], make(2)[:1]
    bp.fit_many(net, X, Y, epochs=2, seed=0, rows=[rows])
    bp.fit_many(other, X, Y, epochs=2, seed=0, rows=np.arange(20)[None])
    assert (rows == kept).all()
    assert same(net[0], other[0])


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cost_of_validation_data_has_the_denormals_that_it_has_alone(dtype):
    tiny, large = np.finfo(dtype).tiny / 4, np.sqrt(np.finfo(dtype).max)
    nets, others = ([bp.Network([1, 1], loss="absolute", initializer="zeros", dtype=dtype)] for _ in range(2))
    zeros, v = np.zeros((3, 1), dtype), (np.full((3, 1), tiny, dtype), np.zeros((3, 1), dtype))
    for net in (*nets, *others):
        net.params[0] = large
    bp.fit_many(nets, zeros, zeros, epochs=2, seed=0, validation_data=v)
    others[0].fit(zeros, zeros, epochs=2, seed=0, validation_data=v)
    assert others[0].history.val_loss[0] > 0
    assert all(map(same, nets, others))


@pytest.mark.parametrize(
    "rule", [bp.EarlyStopping(10**400), bp.EarlyStopping(1, 10**30)], ids=["patience", "min_delta"]
)
def test_early_stopping_by_numbers_that_are_no_float64(rule):
    nets, others = make(1), make(1)
    bp.fit_many(nets, X, Y, epochs=4, seed=0, validation_data=(X, Y), early_stopping=rule)
    others[0].fit(X, Y, epochs=4, seed=0, validation_data=(X, Y), early_stopping=rule)
    assert all(map(same, nets, others))


@pytest.mark.parametrize("restore_best", [True, False])
def test_each_stops_early_by_itself(restore_best):
    rule = bp.EarlyStopping(patience=2, min_delta=1e-3, restore_best=restore_best)
    arguments = {"epochs": 200, "seed": 0, "early_stopping": rule}
    rates = [bp.SGD(0.01), bp.Adam(0.1), bp.Adam(0.03)]
    checks = [np.arange(5), np.arange(5, 30), np.arange(30, 60)]
    nets, others = make(), make()
    bp.fit_many(nets, X, Y, optimizer=rates, validation_rows=checks, **arguments)
    for other, rate, v in zip(others, rates, checks, strict=True):
        other.fit(X, Y, optimizer=rate, validation_data=(X[v], Y[v]), **arguments)
    assert all(map(same, nets, others))
    assert len({len(net.history) for net in nets}) > 1
    assert "early_stopping" in {net.history.stopped_by for net in nets}


def test_one_that_diverges_does_not_stop_the_others():
    rates = [bp.SGD(0.01), bp.SGD(1e30), bp.SGD(0.02)]
    nets, others = make(), make()
    with pytest.warns(RuntimeWarning, match="of 3 networks became NaN or infinite, of networks 1;") as caught:
        bp.fit_many(nets, X, Y, epochs=4, seed=0, optimizer=rates)
    assert caught[0].filename == __file__
    with pytest.raises(bp.TrainingDivergedError):
        others[1].fit(X, Y, epochs=4, seed=0, optimizer=rates[1])
    for i in (0, 2):
        others[i].fit(X, Y, epochs=4, seed=0, optimizer=rates[i])
    assert all(map(same, nets, others))
    assert nets[1].history.stopped_by == "divergence"


def interrupted_after(n_steps, monkeypatch):
    """Have each network of the next call take so many steps, and then Ctrl-C be pressed."""
    real = rounds.train_together

    def stop(members, *arguments):
        for member in members:
            member.rates = member.rates[:n_steps]
        real(members, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "train_together", stop)


def test_ctrl_c_leaves_networks_that_go_on(monkeypatch):
    nets = make(dropout=0.2)
    with monkeypatch.context() as patched:
        interrupted_after(2, patched)
        with pytest.raises(KeyboardInterrupt):
            bp.fit_many(nets, X, Y, epochs=3, seed=0, batch_size=20)
    for net in nets:
        assert (net.history.stopped_by, len(net.history), net._training_state.step) == ("interruption", 0, 2)
    assert not alone.trainings
    bp.fit_many(nets, X, Y, epochs=1)


@pytest.mark.parametrize("n_steps", [0, 2, 3])
def test_a_checkpoint_ends_with_the_same_bits(n_steps, monkeypatch, tmp_path):
    stopping = bp.EarlyStopping(patience=3)
    v = [np.arange(20), np.arange(30), np.arange(40)]
    rows = [np.arange(60)[::-1], RNG.permutation(60), None]
    arguments = {
        "epochs": 6,
        "batch_size": 20,
        "early_stopping": stopping,
        "validation_rows": v,
        "seed": 3,
        "rows": rows,
    }
    nets, others = make(dropout=0.2), make(dropout=0.2)
    bp.fit_many(others, X, Y, **arguments)
    kept = {"checkpoint": tmp_path, "resume": True}
    for _ in range(3):  # in the first three epochs
        fresh = make(dropout=0.2)
        with monkeypatch.context() as patched:
            interrupted_after(n_steps, patched)
            with pytest.raises(KeyboardInterrupt):
                bp.fit_many(fresh, X, Y, **arguments, **kept)
    bp.fit_many(nets, X, Y, **arguments, **kept)
    assert all(map(same, nets, others))
    assert len(os.listdir(tmp_path)) == 3
    again = make(dropout=0.2)
    bp.fit_many(again, X, Y, **arguments | {"epochs": 9}, **kept)  # a schedule would span them
    longer = make(dropout=0.2)
    bp.fit_many(longer, X, Y, **arguments | {"epochs": 9})
    assert all(map(same, again, longer))


def test_pauses_for_checkpoints_change_no_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "seconds_per_step", lambda sizes, rows: 1.0)  # all calls are long ones
    nets, others = make(), make()
    every = timedelta(microseconds=1)
    bp.fit_many(nets, X, Y, epochs=3, batch_size=5, seed=0, checkpoint=tmp_path, checkpoint_every=every)
    for other in others:
        other.fit(X, Y, epochs=3, batch_size=5, seed=0)
    assert all(map(same, nets, others))


def test_own_fit_goes_on_from_a_checkpoint_of_many(tmp_path):
    nets, others = make(2), make(2)
    bp.fit_many(nets, X, Y, epochs=2, seed=0, checkpoint=tmp_path, rows=[np.arange(50)] * 2)
    net = make(2)[1]
    net.fit(X[:50], Y[:50], epochs=5, seed=0, checkpoint=tmp_path / "network-00001.fastbp", resume=True)
    others[1].fit(X[:50], Y[:50], epochs=5, seed=0)
    assert same(net, others[1])


def test_damaged_checkpoint_changes_nothing(tmp_path):
    nets = make(2)
    bp.fit_many(make(2), X, Y, epochs=2, seed=0, checkpoint=tmp_path)
    (tmp_path / "network-00001.fastbp").write_bytes(b"")
    before = [net.params.copy() for net in nets]
    with pytest.raises(bp.FileError):
        bp.fit_many(nets, X, Y, epochs=2, seed=0, checkpoint=tmp_path, resume=True)
    for net, params in zip(nets, before, strict=True):
        assert net.params.tobytes() == params.tobytes()
        assert net.history is None
        assert net._training_state is None


# --- wrong arguments --------------------------------------------------------------------------------------------------

WRONG = {
    "no list": ({"networks": bp.Network([4, 2])}, TypeError, "`networks` must be a list of bp.Network"),
    "no network": ({"networks": [*make(2), 3]}, TypeError, r"networks\[2\] is int"),
    "twice": ({"networks": make(1) * 2}, ValueError, "`networks` must be different ones"),
    "too few seeds": ({"seed": [1, 2]}, ValueError, "`seed` must be one for all networks, or a list of 3"),
    "a wrong one": ({"epochs": [1, -1, 1]}, ValueError, r"For networks\[1\]: `epochs`"),
    "wrong for all": ({"epochs": -1}, ValueError, "^`epochs`"),
    "row too large": (
        {"rows": [[0, 60], None, None]},
        ValueError,
        r"networks\[0\]: `rows` must be numbers of the 60",
    ),
    "row too small": ({"rows": [[0, -61], None, None]}, ValueError, "`rows` must be numbers of the 60 rows"),
    "no row": ({"rows": [None, [], None]}, ValueError, r"For networks\[1\]: `rows`"),
    "no integer": ({"rows": [None, [0.5], None]}, ValueError, "row numbers"),
    "short mask": ({"rows": [None, np.ones(59, bool), None]}, ValueError, "a truth value for each of the 60 rows"),
    "two lists": ({"rows": [[0], [1]]}, ValueError, "`rows` must be a list of 3"),
    "both": (
        {"validation_rows": [[0]] * 3, "validation_data": (X, Y)},
        ValueError,
        "`validation_rows` names rows of X, and `validation_data` are others",
    ),
    "batch of rows": ({"rows": [[0, 1]] * 3, "batch_size": 3}, ValueError, "at most the number of rows"),
    "weights of rows": (
        {"rows": [[0, 1]] * 3, "sample_weight": np.arange(60) > 5},
        ValueError,
        "`sample_weight` must not be 0 everywhere",
    ),
    "no folder": ({"checkpoint": "no such folder"}, OSError, "`checkpoint` must be a folder that exists"),
    "targets": ({"Y": Y[:, :1]}, ValueError, "`Y`"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_change_nothing(what):
    changed, kind, message = WRONG[what]
    nets = make()
    before = [net.params.copy() for net in nets]
    with pytest.raises(kind, match=message):
        bp.fit_many(**{"networks": nets, "X": X, "Y": Y, "epochs": 1} | changed)
    for net, params in zip(nets, before, strict=True):
        assert net.params.tobytes() == params.tobytes()
        assert net.history is net._training_state is None
    assert not alone.trainings


def test_a_network_in_training_is_refused():
    nets = make()

    def train_again(net, history):
        with pytest.raises(RuntimeError, match="`fit_many` must have the network to itself"):
            bp.fit_many(nets[1:], X, Y, epochs=1)
        with pytest.raises(RuntimeError, match="`fit` must have the network to itself"):
            nets[2].fit(X, Y, epochs=1)

    bp.fit_many(nets, X, Y, epochs=1, callbacks=[train_again])
    nets[2].fit(X, Y, epochs=1)

    def many_again(net, history):
        with pytest.raises(RuntimeError, match="`fit_many` must have the network to itself"):
            bp.fit_many(nets, X, Y, epochs=1)
        bp.fit_many(nets[1:], X, Y, epochs=1)  # the first one's refusal has left no note of the others

    nets[0].fit(X, Y, epochs=1, callbacks=[many_again])
    assert not alone.trainings


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [1, 3, 60, 3000])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_outputs_are_those_of_predict(dtype, n_rows, n_threads):
    nets = [*make(4, dtype=dtype), *make(3, (4, 40, 30, 2), dtype=dtype, output="softmax", loss="cross_entropy")]
    rows = np.resize(X, (n_rows, 4)).astype(dtype)
    expected = np.array([net.predict(rows) for net in nets])
    for _ in range(2):  # from new frames and from those that are kept
        out = bp.predict_many(nets, rows, n_threads=n_threads)
        assert out.dtype == dtype
        assert out.tobytes() == expected.tobytes()
    turned = np.asfortranarray(rows)[::-1]
    assert bp.predict_many(nets, turned).tobytes() == expected[:, ::-1].tobytes()
    assert bp.predict_many(nets * 2, rows).tobytes() == np.concatenate([expected, expected]).tobytes()


def test_outputs_of_sparse_rows():
    from scipy.sparse import csr_array

    nets = make()
    rows = csr_array(np.where(abs(X) > 1, X, 0))
    assert bp.predict_many(nets, rows).tobytes() == np.array([net.predict(rows) for net in nets]).tobytes()


@pytest.mark.parametrize(
    ("networks", "rows", "kind", "message"),
    [
        ([], X, ValueError, "`networks` must be at least one"),
        (make(1)[0], X, TypeError, "`networks` must be a list"),
        ([*make(1), *make(1, (4, 3))], X, ValueError, "equally many inputs and outputs; got float64 4 -> 2 and"),
        ([*make(1), *make(1, dtype="float32")], X, ValueError, "`networks` must have one dtype"),
        (make(1), X[:, :3], ValueError, "`X` must have shape"),
        (make(1), X * np.nan, ValueError, "`X` must be finite"),
    ],
)
def test_wrong_predictions_are_refused(networks, rows, kind, message):
    with pytest.raises(kind, match=message):
        bp.predict_many(networks, rows)


def test_many_rows_of_tiny_networks_do_not_hold_the_gil(monkeypatch):
    """Of networks with few parameters, a row takes as long as they do."""
    monkeypatch.setattr(predicting, "evaluator_of", lambda net: pytest.fail("by an evaluator"))
    nets, rows = make(2, (1, 2, 1)), np.resize(X, (50_000, 1))
    assert bp.predict_many(nets, rows).tobytes() == np.array([net.predict(rows) for net in nets]).tobytes()
