"""Networks that are trained side by side in the lanes of the vectors: each ends with the bits of its own `fit`.

The oracle is `Network.fit`, which trains each alone; every test sees that there was a group.
"""

import contextlib
from datetime import timedelta

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine import lanes, many
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.vectors.values import lanes_of
from tests.test_many import same

pytestmark = pytest.mark.skipif(not TILES, reason="lanes are for processors with a tiling")

N = 37  # with mini-batches of 9 or 4 rows the last one has a single row
HIDDEN = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "softplus", "gelu", "silu", "identity")


@pytest.fixture
def groups(monkeypatch):
    """How many networks each group has had."""
    found = []

    def noted(*arguments):
        pieces = lanes.pieces_of(*arguments)
        found.extend(len(piece) for piece in pieces if len(piece) > 1)
        return pieces

    monkeypatch.setattr(many, "pieces_of", noted)
    return found


def data(sizes, dtype="float32", kind="numbers", seed=0):
    """Return inputs and targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, sizes[0])).astype(dtype)
    if kind == "labels":
        return X, rng.integers(0, sizes[-1], N)
    Y = rng.random((N, sizes[-1]))
    return X, (Y < 0.5 if kind == "classes" else Y).astype(dtype)


def compare(make, X, Y, *, calls=2, rules=lambda i: bp.Adam(0.01), count=None, **arguments):
    """Train networks in one call and one by one, several times; rules and rows may be each network's own."""
    count = count or lanes_of(make(0).dtype.itemsize) - 1  # a lane stays empty
    nets, others = [make(i) for i in range(count)], [make(i) for i in range(count)]
    rows = arguments.pop("rows", None)
    for call in range(calls):
        one = [rules(i) if call == 0 else None for i in range(count)]
        seeds = [i if call == 0 else None for i in range(count)]
        with pytest.warns(RuntimeWarning) if arguments.get("diverges") else contextlib.nullcontext():
            own = {name: value for name, value in arguments.items() if name != "diverges"}
            bp.fit_many(nets, X, Y, optimizer=one, seed=seeds, rows=rows, n_threads=1, **own)
        for i, net in enumerate(others):
            here = (lambda a: a) if rows is None else (lambda a, i=i: a[rows[i]])
            with contextlib.suppress(bp.TrainingDivergedError):
                net.fit(here(X), here(Y), optimizer=one[i] and rules(i), seed=seeds[i], n_threads=1, **own)
    assert all(map(same, nets, others))
    return nets


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_activations(activation, dtype, groups):
    X, Y = data((3, 5, 9, 2), dtype)
    for output in ("identity", "softplus"):
        compare(
            lambda i, output=output: bp.Network([3, 5, 9, 2], activation, output, dtype=dtype, seed=i),
            X,
            Y,
            epochs=2,
            batch_size=9,
        )
    assert len(groups) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_many_rows(dtype, groups):
    X, Y = data((3, 5, 9, 1), dtype)
    for n_outputs in (1, 2):  # one has a way of its own
        compare(
            lambda i, n_outputs=n_outputs: bp.Network([3, 5, 9, n_outputs], "tanh", dtype=dtype, seed=i),
            X,
            np.repeat(Y, n_outputs, axis=1),
            rules=lambda i: bp.SGD(0.01),
            epochs=2,
            batch_size=36,
        )
    assert len(groups) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("output", "loss", "kind"),
    [
        ("identity", "quadratic", "numbers"),
        ("relu", "quadratic", "numbers"),
        ("leaky_relu", "quadratic", "numbers"),
        ("sigmoid", "cross_entropy", "classes"),
        ("softmax", "cross_entropy", "labels"),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_narrow_networks(output, loss, kind, activation, dtype, groups):
    sizes = (2, 3, 4, 3)
    X, Y = data(sizes, dtype, kind)
    for batch_size in (1, 3):
        compare(
            lambda i: bp.Network(list(sizes), activation, output, loss, dtype=dtype, seed=i),
            X,
            Y,
            epochs=2,
            batch_size=batch_size,
        )
    assert groups or lanes_of(np.dtype(dtype).itemsize) < 8


@pytest.mark.parametrize(
    ("output", "loss", "kind"),
    [
        ("sigmoid", "cross_entropy", "classes"),
        ("softmax", "cross_entropy", "labels"),
        ("tanh", "quadratic", "numbers"),
        ("sine", "quadratic", "numbers"),
        ("exp", "poisson", "numbers"),
        ("softmax", "poisson", "numbers"),
        ("identity", "huber", "numbers"),
        ("identity", "log_cosh", "numbers"),
    ],
)
def test_outputs_and_losses(output, loss, kind, groups):
    X, Y = data((4, 7, 3), kind=kind)
    compare(
        lambda i: bp.Network([4, 7, 3], "tanh", output, loss, dtype="float32", seed=i), X, Y, epochs=2, batch_size=9
    )
    assert len(groups) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "rule",
    [
        lambda rate: bp.SGD(rate),
        lambda rate: bp.SGD(rate, momentum=0.9, nesterov=True),
        lambda rate: bp.Adam(rate),
        lambda rate: bp.AdamW(rate, weight_decay=0.01),
        lambda rate: bp.RMSprop(rate),
    ],
)
def test_optimizers_and_penalties(rule, dtype, groups):
    X, Y = data((3, 6, 2), dtype)
    for penalty in (0.0, 0.01):
        compare(
            lambda i, penalty=penalty: bp.Network(
                [3, 6, 2], dtype=dtype, seed=i, l2_penalty=penalty * i, l1_penalty=penalty
            ),
            X,
            Y,
            rules=lambda i: rule(0.01),
            epochs=2,
            batch_size=9,
        )
    assert len(groups) == 4


@pytest.mark.parametrize("batch_size", [1, 9])
def test_learning_rates_of_their_own(batch_size, groups):
    X, Y = data((2, 4, 1))
    for start in (0.001, bp.Cosine(0.01, 0.001)):
        rates = [start if isinstance(start, bp.Cosine) and i % 2 else 0.001 * (i + 1) for i in range(16)]
        compare(
            lambda i: bp.Network([2, 4, 1], "tanh", dtype="float32", seed=i),
            X,
            Y,
            rules=lambda i, rates=rates: bp.Adam(rates[i], beta_1=0.8 + 0.01 * i),
            epochs=3,
            batch_size=batch_size,
        )
    assert groups


def test_rows_weights_and_orders_of_their_own(groups):
    X, Y = data((3, 8, 2))
    rng = np.random.default_rng(1)
    rows = [np.sort(rng.permutation(N)[:30]) for _ in range(16)]
    make = lambda i: bp.Network([3, 8, 2], "tanh", dtype="float32", seed=i)  # noqa: E731
    count = lanes_of(4) - 1
    compare(make, X, Y, rows=rows[:count], epochs=3, batch_size=9)
    compare(make, np.asfortranarray(X), Y, epochs=3, batch_size=9, shuffle=False)
    compare(make, X, Y, sample_weight=np.arange(N) % 3.0, epochs=3, batch_size=1)
    compare(make, X, Y, sample_weight=np.arange(N) % 3.0, epochs=3, batch_size=9)
    assert len(groups) >= 6


# --- lanes that end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "rule"), [(1, bp.Adam), (9, bp.Adam), (9, bp.SGD)])
def test_one_that_diverges_disturbs_no_other(batch_size, rule, groups):
    X, Y = data((2, 4, 1))
    nets = compare(
        lambda i: bp.Network([2, 4, 1], "relu", dtype="float32", seed=i),
        X,
        Y,
        calls=1,
        rules=lambda i: rule(1e30 if i in (0, 5) else 0.01),
        epochs=3,
        batch_size=batch_size,
        diverges=True,
    )
    ended = [net.history.stopped_by for net in nets]
    assert ended.count("divergence") >= 1
    assert ended.count("epochs") >= len(nets) - 2
    assert groups or rule is bp.SGD  # whose learning rates must be equal


def test_equal_rules_of_which_one_diverges(groups):
    X, Y = data((2, 4, 1))

    def make(i):
        net = bp.Network([2, 4, 1], "relu", dtype="float32", seed=i)
        if i == 0:
            net.params[...] = 1e18
        return net

    nets = compare(make, X, Y, calls=1, rules=lambda i: bp.SGD(0.1), epochs=3, batch_size=9, diverges=True)
    assert nets[0].history.stopped_by == "divergence"
    assert groups


def test_early_stopping_of_each(groups):
    X, Y = data((3, 8, 2))
    nets = compare(
        lambda i: bp.Network([3, 8, 2], "tanh", dtype="float32", seed=i),
        X,
        Y,
        rules=lambda i: bp.Adam(0.2 if i % 2 else 0.01),
        epochs=15,
        batch_size=9,
        validation_data=(X[:9], Y[9:18]),
        early_stopping=bp.EarlyStopping(patience=2),
    )
    assert len({len(net.history) for net in nets}) > 1
    assert groups


def test_pauses_within_an_epoch(tmp_path, groups):
    X, Y = data((3, 8, 2))
    make = lambda i: bp.Network([3, 8, 2], "tanh", dtype="float32", seed=i)  # noqa: E731
    count = lanes_of(4)
    nets, others = [make(i) for i in range(count)], [make(i) for i in range(count)]
    keywords = {"epochs": 4, "batch_size": 5, "seed": list(range(count))}
    bp.fit_many(nets, X, Y, checkpoint=tmp_path, checkpoint_every=timedelta(microseconds=1), n_threads=1, **keywords)
    for i, net in enumerate(others):
        net.fit(X, Y, epochs=4, batch_size=5, seed=i)
    assert all(map(same, nets, others))
    assert groups


def test_threads_change_nothing():
    X, Y = data((3, 8, 2))
    trained = []
    for n_threads in (1, 2, 3):
        nets = [bp.Network([3, 8, 2], dtype="float32", seed=i) for i in range(40)]
        bp.fit_many(nets, X, Y, epochs=2, batch_size=9, seed=1, n_threads=n_threads)
        trained.append(np.concatenate([net.params for net in nets]).tobytes())
    assert trained[0] == trained[1] == trained[2]


# --- which ones -------------------------------------------------------------------------------------------------------


def key_of(net, X, Y, monkeypatch, **arguments):
    """The key of a network that is trained together with others."""
    keys = []
    monkeypatch.setattr(many, "LANE_FILL", 0.0)
    monkeypatch.setattr(many, "lane_key", lambda *call: keys.append(lanes.lane_key(*call)))
    bp.fit_many([net], X, Y, **{"epochs": 1, "batch_size": 9} | arguments)
    return keys[0]


def test_what_is_trained_alone(monkeypatch):
    X, Y = data((3, 8, 2))
    key = lambda net, **more: key_of(net, X, Y, monkeypatch, **more)  # noqa: E731
    net = lambda **more: bp.Network([3, 8, 2], **{"dtype": "float32", "activation": "tanh"} | more)  # noqa: E731
    assert key(net()) is not None
    assert key(net()) == key(net(seed=5))
    assert key(net()) == key(net(), optimizer=bp.Adam(0.5))
    assert key(net()) != key(net(), optimizer=bp.SGD(0.5))
    assert key(net(), optimizer=bp.SGD(0.5)) != key(net(), optimizer=bp.SGD(0.25))
    assert key(net()) != key(net(), batch_size=8)
    assert key(net()) != key(net(), epochs=2)
    assert key(net()) != key(net(activation="relu"))
    assert key(net()) != key(net(), rows=[np.arange(20)])
    assert key(net(dropout=0.1)) is None
    assert key(net(), clip_norm=1.0) is None
    assert key(net(), batch_size=None, tol=1e-9) is None
    assert key(net(activation="sine")) is None
    assert key(bp.Network([3, 300, 2], dtype="float32")) is None  # wide layers fill the vectors
    mixed = bp.Network([3, 8, 2], [[("sigmoid", 4), ("gelu", 4)]], dtype="float32")
    assert key(mixed) is None
    # trained alone, a narrow network takes row by row: what that does in another order from processor to processor
    assert key(net(), batch_size=1) is not None
    assert key(net(output="tanh"), batch_size=1) is None
    assert key(net(output="sigmoid"), batch_size=1) is None
    assert key(net(l2_penalty=0.1), batch_size=1) is None
    assert key(net(l2_penalty=0.1)) is not None


def test_pieces():
    assert lanes.pieces_of([1] * 8, [1.0] * 8, 8, 1) == [list(range(8))]
    assert lanes.pieces_of([1, 2] * 8, [1.0] * 16, 8, 1) == [list(range(1, 16, 2)), list(range(0, 16, 2))]
    assert lanes.pieces_of([1] * 20, [1.0] * 20, 8, 1)[2:] == [[16], [17], [18], [19]]  # half of the lanes
    assert [len(piece) for piece in lanes.pieces_of([1] * 22, [1.0] * 22, 8, 1)] == [8, 8, 6]
    assert lanes.pieces_of([None] * 8, [1.0] * 8, 8, 1) == [[i] for i in range(8)]
    assert lanes.pieces_of([1] * 8, [1.0] * 8, 8, 4) == [[i] for i in range(8)]  # three threads would wait
    assert [len(piece) for piece in lanes.pieces_of([1] * 32, [1.0] * 32, 8, 4)] == [8] * 4
    long = lanes.pieces_of([1] * 8 + [None], [1.0] * 8 + [100.0], 8, 2)
    assert sorted(map(len, long)) == [1, 8]
