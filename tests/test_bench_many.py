"""The benchmarks of many networks: every library in every way takes the same steps."""

import numba
import numpy as np
import pytest

from bench import agreement, many, many_peers, registry, report, searches, shapes
from bench.bench_many import WAYS
from bench.peers import flat
from tests.test_bench import RESULTS, cells, record

SHAPE = shapes.Many((2, 5, 3, 2), 4, 40, 1, "tanh", "identity", "quadratic", epochs=2, n_networks=6)
OTHERS = {name: names for name, names in WAYS.items() if name != "fastbp"}


def together(library, way, shape=SHAPE):
    """A library's way, or the test is skipped."""
    reason = registry.PEERS[library].available()
    if reason:
        pytest.skip(reason)
    peer = registry.PEERS[library](n_threads=2)
    peer.prepare(shape)
    return many.of(peer, way)


@pytest.mark.parametrize(
    ("library", "way"),
    # processes take seconds to start
    [pytest.param(*names, marks=[pytest.mark.slow] * (names[0] == "scikit-learn")) for names in OTHERS.values()],
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_every_way_agrees_with_the_numpy_reference(library, way, activation):
    shape = shapes.Many((2, 5, 3, 2), 4, 40, 1, activation, "identity", "quadratic", epochs=2, n_networks=6)
    chosen = together(library, way, shape)
    for what in ("many_fit", "many_predict")[: 1 + (library != "scikit-learn")]:
        for _ in range(2):  # it begins afresh
            expected = many.reference(what, shape)
            agreement.check(library, many.fingerprint(chosen, what), "NumPy", expected, tolerance=1e-3)
    chosen.restart()
    chosen.fit()
    assert chosen.share <= 1


def test_fits_begin_with_other_weights_and_go_other_ways():
    chosen = together("fastbp", "together")
    chosen.restart()
    before = chosen.predict()
    assert before.shape == (6, 40, 2)
    chosen.fit()
    moved = [net.params - flat(layers) for net, layers in zip(chosen.networks, SHAPE.many_layers(), strict=True)]
    assert len({each.tobytes() for each in moved}) == 6
    assert (np.abs(chosen.predict() - before).max(axis=(1, 2)) > 1e-3).all()
    chosen.restart()
    np.testing.assert_array_equal(chosen.predict(), before)


@pytest.mark.parametrize("way", ["loop", "pool", "together"])
def test_early_stopping_leaves_the_bits_of_a_loop(way):
    expected, found = together("fastbp", "loop"), together("fastbp", way)
    for chosen in (expected, found):
        chosen.restart()
        chosen.validated()
    for one, other in zip(expected.networks, found.networks, strict=True):
        np.testing.assert_array_equal(one.params, other.params)
        assert len(one.history.val_loss) == len(other.history.val_loss) > 0


def test_each_network_has_every_row_once_an_epoch():
    order = many.rows_in_turn(np.random.default_rng(0), SHAPE, epochs=3, n_networks=5)
    assert order.shape == (30, 5, 4)
    for k in range(5):
        epochs = order[:, k].reshape(3, 40)
        np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(40), (3, 1)))
    assert len({order[:, k].tobytes() for k in range(5)}) == 5


def test_every_other_library_has_its_way():
    assert {library for library, _ in WAYS.values()} == {"fastbp", *many_peers.WAYS}


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="20 epochs take too long")
def test_a_share_is_of_the_whole_work():
    chosen = together("torch", "vmap", shapes.MANY[-1])
    assert chosen.share == many_peers.TORCH_STEPS / 200
    assert len(chosen.order) == many_peers.TORCH_STEPS


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="150 epochs take too long")
@pytest.mark.parametrize("search", searches.SEARCHES)
def test_both_searches_give_one_fingerprint(search):
    if searches.why_not(search):
        pytest.skip(searches.why_not(search))
    expected, found = (searches.Server(library, n_threads=1) for library in ("scikit-learn", "fastbp"))
    answers = [
        server.prepare("2 points", name, "float64", seconds=0.001)["fingerprint"]
        for server, name in ((expected, "GridSearchCV"), (found, search))
    ]
    assert answers[0][0] == answers[1][0] == 1  # 0.01
    agreement.check("fastbp", answers[1][1:], "scikit-learn", answers[0][1:])
    assert found.round()["seconds"] > 0


def test_the_report_has_its_sections():
    fits = {"scikit-learn, loky": 12.0, "jax, vmap": 1.5, "loop": 0.6, "fastbp, 1 thread": 0.5, "fastbp": 0.25}
    rows = [
        record("many fits", "g", name, seconds, shape="2-4", target=4, n_networks=100, n_steps=25, first_call_s=3.0)
        for name, seconds in fits.items()
    ]
    rows += [
        record("many predictions", "g", name, seconds, shape="2-4, 1 row", target=4)
        for name, seconds in (("jax, vmap", 1e-4), ("loop", 3e-4), ("fastbp", 2e-5))
    ]
    rows += [
        record("many validated fits", "g", name, seconds, shape="2-4", target=4)
        for name, seconds in (("pool", 0.8), ("fastbp", 0.2))
    ]
    rows += [
        record("grid search", "g", name, seconds, shape="digits, float64", target=8, n_jobs=2)
        for name, seconds in (("scikit-learn", 9.0), ("fastbp in GridSearchCV", 2.0), ("fastbp", 1.0))
    ]
    text = report.render(RESULTS | {"benchmarks": rows})
    assert cells(text, "2-4 ")[1:6] == ["12 s", "1.5 s", "600 ms", "500 ms", "250 ms"]
    assert cells(text, "2-4 ")[6:] == ["6", "-", "2.4", "-", "2", "48", "100 us", "4", "3 s"]
    assert cells(text, "2-4, 1 row")[1:] == ["100 us", "300 us", "20 us", "5", "-", "15", "-", "-"]
    assert cells(text, "digits, float64")[1:] == ["9 s", "2 s", "1 s", "9", "-", "8", "2"]
    early = text[text.index("## Many networks, early stopping") :]
    assert cells(early, "2-4 ")[1:] == ["800 ms", "200 ms", "4", "-", "-"]
