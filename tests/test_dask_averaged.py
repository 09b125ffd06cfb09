"""The averaged way of `fastbp.dask.fit`: walks on each partition, compared with plain loops over steps."""

import math
import shutil

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import fastbp as bp
import fastbp.dask as on_dask

N_ROWS, L2 = 90, 0.02
SIZES = (40, 0, 7, 43)


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3))
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1), rng.choice([0.0, 1.0, 3.0], N_ROWS)


def network(**settings):
    return bp.Network([3, 6, 2], "tanh", seed=1, l2_penalty=L2, **settings)


def cut(array, sizes=SIZES):
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


@pytest.fixture(scope="module", autouse=True)
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


# ---- By plain loops ------------------------------------------------------------------------------------------------


def momentum(w, g, vectors, rate, t):
    (v,) = vectors
    v = 0.9 * v - rate * g
    return w + v, [v]


def adam(w, g, vectors, rate, t):
    m, v = vectors
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), [m, v]


RULES = {
    "momentum": (bp.SGD(0.1, momentum=0.9), momentum, 1, lambda step: 0.1),
    "adam": (bp.Adam(0.02), adam, 2, lambda step: 0.02),
    "adam with a schedule": (bp.Adam(bp.Step(0.02, 7, 0.5)), adam, 2, lambda step: 0.02 * 0.5 ** (step // 7)),
}


def by_loops(net, parts, rule, n_vectors, rate, epochs, batch, every, mean_weight):
    """Parameters and losses of the walks, in Python."""
    plain = bp.Network([3, 6, 2], "tanh", seed=1)
    theta, vectors, t, losses = net.params.copy(), [np.zeros(net.n_params) for _ in range(n_vectors)], 0, []
    longest = max(math.ceil(len(X) / batch) for X, *_ in parts)
    for _ in range(epochs):
        cost_sum = weight_sum = 0.0
        for first in range(0, longest, every):
            n_steps = min(every, longest - first)
            ends, n_walked = [], []
            for X, Y, weights in parts:
                w, v, walked = theta, vectors, 0
                for i in range(n_steps):
                    rows = slice((first + i) * batch, (first + i + 1) * batch)
                    if not len(X[rows]):
                        break
                    plain.params = w
                    scale = 1.0 if weights is None else weights[rows].sum() / (len(X[rows]) * mean_weight)
                    walked += len(X[rows])
                    if scale:
                        chosen = None if weights is None else weights[rows]
                        cost, grad = plain.value_and_grad(X[rows], Y[rows], sample_weight=chosen)
                        penalty = 0.0
                        offset = 0
                        grad = scale * grad
                        for W in plain.weights:
                            grad[offset : offset + W.size] += L2 * W.ravel()
                            penalty += L2 / 2 * (W**2).sum()
                            offset += W.size + W.shape[1]
                        count = len(X[rows]) if weights is None else len(X[rows]) * mean_weight
                        cost_sum, weight_sum = cost_sum + count * (scale * cost + penalty), weight_sum + count
                    else:
                        raise AssertionError("every mini-batch of the test has a row that counts")
                    w, v = rule(w, grad, v, rate(t + i), t + i + 1)
                ends.append((w, v))
                n_walked.append(walked)
            shares = np.array(n_walked) / sum(n_walked)
            theta = sum(share * w for share, (w, _) in zip(shares, ends, strict=True))
            vectors = [sum(share * v[k] for share, (_, v) in zip(shares, ends, strict=True)) for k in range(n_vectors)]
            t += n_steps
        losses.append(cost_sum / weight_sum)
    return theta, losses


@pytest.mark.parametrize("every", [None, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", RULES)
def test_parameters_are_the_means_of_the_walks(kind, weighted, every):
    X, Y, weights = data()
    optimizer, rule, n_vectors, rate = RULES[kind]
    ends = np.cumsum(SIZES)[:-1]
    parts = list(zip(np.split(X, ends), np.split(Y, ends), np.split(weights, ends), strict=True))
    if not weighted:
        parts = [(X, Y, None) for X, Y, _ in parts]
    net = network()
    expected, losses = by_loops(net, parts, rule, n_vectors, rate, 3, 10, every or 5, weights.mean())
    history = on_dask.fit(
        net,
        cut(X),
        cut(Y),
        epochs=3,
        batch_size=10,
        optimizer=optimizer,
        average_every=every,
        shuffle=False,
        sample_weight=cut(weights) if weighted else None,
    )
    np.testing.assert_allclose(net.params, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-11)


# ---- Against other fits of ours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_partition_is_a_local_fit(dtype):
    X, Y, weights = (array.astype(dtype) for array in data())
    ours, theirs = network(dtype=dtype, dropout=0.2), network(dtype=dtype, dropout=0.2)
    arguments = {
        "epochs": 3,
        "batch_size": 8,
        "optimizer": bp.AdamW(0.01),
        "clip_norm": 0.5,
        "shuffle": False,
        "seed": 5,
    }
    one = (N_ROWS,)
    history = on_dask.fit(ours, cut(X, one), cut(Y, one), sample_weight=cut(weights, one), **arguments)
    expected = theirs.fit(X, Y, sample_weight=weights, **arguments)
    assert np.array_equal(ours.params, theirs.params)
    assert np.array_equal(history.loss, expected.loss)
    assert np.array_equal(history.learning_rate, expected.learning_rate)


def test_rows_are_shuffled_anew_in_each_epoch_by_the_seed_alone():
    X, Y, _ = data()

    def fitted(seed, epochs=2, **arguments):
        net = network()
        on_dask.fit(net, cut(X), cut(Y), epochs=epochs, batch_size=10, seed=seed, **arguments)
        return net.params

    first = fitted(3)
    assert np.array_equal(fitted(3), first)
    assert not np.array_equal(fitted(4), first)
    assert not np.array_equal(fitted(3, shuffle=False), first)
    with (
        LocalCluster(n_workers=3, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as other,
    ):
        assert np.array_equal(fitted(3, client=other), first)
        assert np.array_equal(fitted(3, client=other, persist=False), first)


@pytest.mark.parametrize(("own", "same"), [({"shuffle": True}, {"shuffle": False}), ({"dropout": 0.3}, {})])
def test_partitions_have_orders_and_masks_of_their_own(own, same):
    X, Y, _ = data()

    def fitted(n_times, shuffle=False, dropout=0.0):
        net = network(dropout=dropout)
        rows = [da.concatenate([cut(array, (N_ROWS,))] * n_times) for array in (X, Y)]
        on_dask.fit(net, *rows, epochs=1, batch_size=10, optimizer=bp.SGD(0.1), shuffle=shuffle, seed=0)
        return net.params

    assert np.array_equal(fitted(2, **same), fitted(1, **same))
    assert not np.array_equal(fitted(2, **own), fitted(1, **own))


def test_a_checkpoint_has_the_random_numbers(tmp_path):
    X, Y, _ = (cut(array) for array in data())
    path, copy = tmp_path / "fit", tmp_path / "copy"

    def copied(net, history):
        if len(history) == 3:  # two of them are in the file
            shutil.copy(path, copy)

    whole, resumed = network(dropout=0.1), network(dropout=0.1)
    arguments = {"epochs": 5, "batch_size": 10, "optimizer": bp.Adam(0.01)}
    on_dask.fit(whole, X, Y, checkpoint=path, callbacks=[copied], **arguments)
    on_dask.fit(resumed, X, Y, checkpoint=copy, resume=True, **arguments)
    assert np.array_equal(resumed.params, whole.params)


OTHERS = {
    "steps of a round": ({"average_every": 3}, "is of a fit with `average_every` 2, and this fit has 3"),
    "weights": ({"sample_weight": cut(data()[2])}, "is of a fit with `partitions` "),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_another_fit_is_refused_and_changes_nothing(kind, tmp_path):
    X, Y, weights = (cut(array) for array in data())
    arguments = {"batch_size": 10, "average_every": 2, "sample_weight": weights + 1, "checkpoint": tmp_path / "fit"}
    net, undisturbed, optimizer = network(), network(), bp.Adam()
    on_dask.fit(network(), X, Y, epochs=1, optimizer=optimizer, **arguments)
    for each in (net, undisturbed):
        on_dask.fit(each, X, Y, epochs=1, optimizer=optimizer, seed=0)
    changes, text = OTHERS[kind]
    with pytest.raises(ValueError, match=text):
        on_dask.fit(net, X, Y, epochs=2, optimizer=optimizer, resume=True, **arguments | changes)
    for each in (net, undisturbed):  # with the next random numbers
        on_dask.fit(each, X, Y, epochs=1)
    assert np.array_equal(net.params, undisturbed.params)


def test_a_checkpoint_continues_with_the_same_bits(tmp_path):
    X, Y, _ = (cut(array) for array in data())
    arguments = {"batch_size": 10, "average_every": 2, "checkpoint": tmp_path / "fit.checkpoint"}
    whole, resumed = network(dropout=0.1), network(dropout=0.1)
    expected = on_dask.fit(whole, X, Y, epochs=5, optimizer=bp.Adam(0.01), seed=1, **arguments)
    (tmp_path / "fit.checkpoint").unlink()
    on_dask.fit(network(dropout=0.1), X, Y, epochs=2, optimizer=bp.Adam(0.01), seed=1, **arguments)
    history = on_dask.fit(resumed, X, Y, epochs=5, resume=True, seed=1, **arguments)
    assert np.array_equal(resumed.params, whole.params)
    assert np.array_equal(history.loss, expected.loss)


def test_an_epoch_that_diverges_changes_nothing():
    X, Y, _ = data()
    net, other = network(), network()
    with pytest.raises(bp.TrainingDivergedError, match=r"became NaN or infinite in epoch \d+ with a learning rate of"):
        on_dask.fit(net, cut(X), cut(Y), epochs=500, batch_size=10, optimizer=bp.SGD(1e4), seed=0)
    n = len(net.history)
    if n:
        on_dask.fit(other, cut(X), cut(Y), epochs=n, batch_size=10, optimizer=bp.SGD(1e4), seed=0)
    assert np.array_equal(net.params, other.params)


def test_the_tolerance_is_of_all_rows():
    X, Y, _ = data()
    net = network()
    history = on_dask.fit(net, cut(X), cut(Y), epochs=50, batch_size=10, optimizer=bp.SGD(0.05), tol=0.2, seed=0)
    assert history.stopped_by == "tolerance"
    assert 1 < len(history) < 50
    assert np.linalg.norm(net.value_and_grad(X, Y)[1]) <= 0.2


def test_what_cannot_be_is_refused():
    X, Y, _ = (cut(array) for array in data())
    for arguments, text in [
        ({"average_every": 0}, "`average_every` must be at least 1; got 0"),
        (
            {"average_every": 3, "batch_size": None},
            "`average_every` must be None where each step looks at all 90 rows, and nothing is averaged; got 3. Use "
            "mini-batches, such as batch_size=32, or leave it out.",
        ),
        ({"batch_size": 91}, "`batch_size` must be at most the number of rows of X, 90; got 91"),
    ]:
        net = network()
        with pytest.raises(ValueError, match="must") as caught:
            on_dask.fit(net, X, Y, **arguments)
        assert text in str(caught.value)
        assert np.array_equal(net.params, network().params)
