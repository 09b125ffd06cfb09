"""`fastbp.dask.fit`: partitions of all kinds, the exact way, and everything that a fit has beside its steps."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastbp as bp
import fastbp.dask as on_dask
from fastbp.dask.partitions import partitions_of
from fastbp.dask.parts import Blueprint, Part, make_part
from fastbp.dask.tasks import add_up

N_ROWS = 100


def data(dtype="float64"):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 3)).astype(dtype)
    return X, np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1).astype(dtype)


def network(**settings):
    return bp.Network([3, 6, 2], "tanh", seed=1, **settings)


def fit(net, X, Y, **arguments):
    return on_dask.fit(net, X, Y, **{"epochs": 4, "batch_size": None, "optimizer": bp.Adam(0.05)} | arguments)


def local(net, X, Y, **arguments):
    return net.fit(X, Y, **{"epochs": 4, "batch_size": None, "optimizer": bp.Adam(0.05)} | arguments)


def cut(array, *sizes):
    """A Dask array of the rows, in chunks of these sizes."""
    return da.from_array(array, chunks=(sizes, *array.shape[1:]))


SIZES = {
    "one partition": (100,),
    "ten": (10,) * 10,
    "unequal": (1, 60, 7, 32),
    "some without rows": (0, 50, 0, 50, 0),
    "more than a sum has branches": (2,) * 50,
}


@pytest.fixture(scope="module", autouse=True)
def client():
    """One cluster in this process for all: whose threads are there anyway."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


# ---- Partitions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_fit_is_that_of_all_rows(sizes):
    X, Y = data()
    ours, theirs = network(l2_penalty=0.01, l1_penalty=0.001), network(l2_penalty=0.01, l1_penalty=0.001)
    history = fit(ours, cut(X, *sizes), cut(Y, *sizes))
    expected = local(theirs, X, Y)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-13)
    assert np.array_equal(history.learning_rate, expected.learning_rate)
    assert history is ours.history
    assert history.stopped_by == "epochs"


def collections():
    """The same rows as collections of all kinds."""
    X, Y = data()
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    columns = [X[:60], X[60:]], [Y[:60], Y[60:]]
    unknown = [
        da.concatenate([da.from_delayed(dask.delayed(part), (np.nan, part.shape[1]), part.dtype) for part in parts])
        for parts in columns
    ]
    frames = [dd.from_pandas(pd.DataFrame(array, columns=list("abc")[: array.shape[1]]), 3) for array in (X, Y)]
    delayed = [
        dd.from_delayed([dask.delayed(pd.DataFrame(part)) for part in parts], meta=pd.DataFrame(parts[0][:0]))
        for parts in columns
    ]
    chunked = da.from_array(X, chunks=(40, 2)), da.from_array(Y, chunks=(30, 1))
    sparse = da.from_array(X, chunks=(50, 3)).map_blocks(sp.csr_matrix, dtype=X.dtype), da.from_array(Y, chunks=(50, 2))
    return {
        "chunks of unknown size": unknown,
        "data frames": frames,
        "data frames from delayed": delayed,
        "chunks that differ": chunked,
        "sparse chunks": sparse,
        "a frame and an array": (frames[0], frames[1].to_dask_array()),
    }


@pytest.mark.parametrize("kind", collections())
def test_every_kind_of_collection(kind):
    X, Y = data()
    ours, theirs = network(), network()
    fit(ours, *collections()[kind])
    local(theirs, X, Y)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-12, atol=1e-14)
    assert ours.feature_names == (("a", "b", "c") if kind in ("data frames", "a frame and an array") else None)


def test_weights_and_labels():
    X, _ = data("float32")
    labels, weights = np.arange(N_ROWS) % 2, np.repeat([0.0, 1.0, 2.0], [40, 30, 30]).astype("float32")
    nets = [bp.Network([3, 4, 2], "relu", "softmax", "cross_entropy", dtype="float32", seed=0) for _ in range(2)]
    sizes = (40, 25, 35)  # no row of the first counts
    history = fit(nets[0], cut(X, *sizes), cut(labels, *sizes), sample_weight=cut(weights, *sizes))
    expected = local(nets[1], X, labels, sample_weight=weights)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-6)


def test_columns_of_a_later_frame_are_compared():
    X, Y = data()
    frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), 2)
    net = network()
    fit(net, frame, dd.from_pandas(pd.DataFrame(Y), 2))
    before = net.params.copy()
    with pytest.raises(ValueError, match="column"):
        fit(net, frame[["b", "a", "c"]], dd.from_pandas(pd.DataFrame(Y), 2))
    assert np.array_equal(net.params, before)


# ---- What else a fit has -------------------------------------------------------------------------------------------


def test_clipping_tolerance_and_a_schedule():
    X, Y = data()
    ours, theirs = network(), network()
    arguments = {"epochs": 60, "clip_norm": 0.05, "tol": 0.02}
    history = fit(ours, cut(X, 30, 70), cut(Y, 30, 70), optimizer=bp.SGD(bp.Cosine(0.9), momentum=0.9), **arguments)
    expected = local(theirs, X, Y, optimizer=bp.SGD(bp.Cosine(0.9), momentum=0.9), **arguments)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-10)
    assert np.array_equal(history.learning_rate, expected.learning_rate)
    assert history.stopped_by == expected.stopped_by


@pytest.mark.parametrize("is_local", [True, False], ids=["here", "on the cluster"])
def test_validation_and_early_stopping(is_local):
    X, Y = data()
    ours, theirs = network(l2_penalty=0.1), network(l2_penalty=0.1)
    given = (X[:20] + 1, Y[:20])
    stopping = bp.EarlyStopping(patience=2)
    chosen = given if is_local else tuple(cut(array, 15, 5) for array in given)
    arguments = {"epochs": 100, "optimizer": bp.SGD(0.8, momentum=0.9), "early_stopping": stopping}
    history = fit(ours, cut(X, 50, 50), cut(Y, 50, 50), validation_data=chosen, **arguments)
    expected = local(theirs, X, Y, validation_data=given, **arguments)
    np.testing.assert_allclose(history.val_loss, expected.val_loss, rtol=1e-9)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-8)
    assert (history.stopped_by, history.best_epoch) == ("early_stopping", expected.best_epoch)


def test_a_callback_sees_each_epoch_and_may_end_the_fit():
    X, Y = data()
    seen = []

    def callback(net, history):
        seen.append((len(history), net.params.copy()))
        return len(history) == 3

    net, other = network(), network()
    history = fit(net, cut(X, 50, 50), cut(Y, 50, 50), callbacks=[callback])
    assert [n for n, _ in seen] == [1, 2, 3]
    assert history.stopped_by == "callback"
    fit(other, cut(X, 50, 50), cut(Y, 50, 50), epochs=3)
    assert np.array_equal(seen[-1][1], other.params)


def test_another_fit_goes_on():
    X, Y = (cut(array, 50, 50) for array in data())
    optimizer, whole, halves = bp.Adam(0.05), network(), network()
    fit(whole, X, Y, epochs=4, optimizer=optimizer)
    fit(halves, X, Y, epochs=2, optimizer=optimizer)
    fit(halves, X, Y, epochs=2, optimizer=optimizer)
    assert np.array_equal(whole.params, halves.params)
    both = network()  # half of it here
    local(both, *data(), epochs=2, optimizer=optimizer)
    fit(both, X, Y, epochs=2, optimizer=optimizer)
    np.testing.assert_allclose(both.params, whole.params, rtol=1e-12)


def test_a_checkpoint_continues_with_the_same_bits(tmp_path):
    X, Y = (cut(array, 50, 50) for array in data())
    whole, halves, path = network(), network(), tmp_path / "fit.checkpoint"
    expected = fit(whole, X, Y, epochs=6)
    fit(halves, X, Y, epochs=3, checkpoint=path)
    resumed = network()
    history = fit(resumed, X, Y, epochs=6, checkpoint=path, resume=True, optimizer=None)
    assert np.array_equal(resumed.params, whole.params)
    assert np.array_equal(history.loss, expected.loss)
    assert np.array_equal(history.learning_rate, expected.learning_rate)
    again = network()
    with pytest.raises(ValueError, match=r"is of a fit with `partitions`"):
        fit(again, X + 1, Y, epochs=6, checkpoint=path, resume=True)
    assert np.array_equal(again.params, network().params)


@pytest.mark.parametrize("is_local", [False, True])
def test_a_checkpoint_knows_the_validation_data(is_local, tmp_path):
    X, Y = (cut(array, 50, 50) for array in data())
    net, arguments = network(), {"checkpoint": tmp_path / "fit.checkpoint"}
    fit(net, X, Y, epochs=1, validation_data=data() if is_local else (X, Y), **arguments)
    other = (data()[0] + 1, data()[1]) if is_local else (X + 1, Y)
    with pytest.raises(ValueError, match="in `X_val` of the same shape" if is_local else "fit with `partitions_val` "):
        fit(network(), X, Y, epochs=2, validation_data=other, resume=True, **arguments)
    history = fit(net, X, Y, epochs=2, validation_data=data() if is_local else (X, Y), resume=True, **arguments)
    assert len(history.val_loss) == 2


def test_divergence_leaves_the_network_of_the_last_finished_epoch():
    X, Y = data()
    net, first = bp.Network([3, 2], seed=0), bp.Network([3, 2], seed=0)
    with pytest.raises(bp.TrainingDivergedError, match=r"became NaN or infinite in epoch \d+ with a learning rate of"):
        fit(net, cut(X, 50, 50), cut(Y, 50, 50), epochs=300, optimizer=bp.SGD(1e20))
    assert net.history.stopped_by == "divergence"
    assert np.isfinite(net.params).all()
    assert len(net.history) > 2
    fit(first, cut(X, 50, 50), cut(Y, 50, 50), epochs=len(net.history), optimizer=bp.SGD(1e20))
    assert np.array_equal(net.params, first.params)


# ---- Wrong input ---------------------------------------------------------------------------------------------------

FIRST, SECOND = (cut(array, 50, 50) for array in data())
WRONG = {
    "an array": (
        (data()[0], SECOND),
        TypeError,
        "`X` must be an array, a data frame or a series of Dask; got ndarray. Write dask.array.from_array(..., "
        "chunks=(100_000, -1)), or train with Network.fit what fits into memory.",
    ),
    "partitions that differ": (
        (FIRST.to_dask_dataframe(), SECOND.rechunk((25, 2)).to_dask_dataframe()),
        ValueError,
        "`Y` must have the partitions of `X`, which has 2; got 4. Make both from one collection, or write "
        "Y.rechunk(X.chunks[0]) or Y.repartition(divisions=X.divisions).",
    ),
    "rows that differ": (
        (FIRST, SECOND[:90].rechunk((45, 2))),
        ValueError,
        "In partition 0: `Y` must have a row for each of the 50 rows of `X`; got 45.",
    ),
    "a NaN": (
        (da.concatenate([FIRST, FIRST[:1] * np.nan]), da.concatenate([SECOND, SECOND[:1]])),
        ValueError,
        "In partition 2: `X` must be finite; found nan at (0, 0). Impute or drop such rows.",
    ),
    "other features": (
        (FIRST[:, :2], SECOND),
        ValueError,
        "In partition 0: `X` must have shape (n_samples, 3) to fit the first layer; got (50, 2).",
    ),
    "no rows": (
        (FIRST[:0], SECOND[:0]),
        ValueError,
        "`X` must have at least one row; all its partitions are empty.",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_data_are_refused(kind):
    (X, Y), error, text = WRONG[kind]
    net = network()
    with pytest.raises(error) as caught:
        fit(net, X, Y)
    assert str(caught.value) == text
    assert np.array_equal(net.params, network().params)
    assert net.history is None


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="`sample_weight` must not be 0 everywhere; no row would count"):
        fit(network(), FIRST, SECOND, sample_weight=FIRST[:, 0] * 0)


def test_wrong_arguments_are_refused():
    for arguments, error, text in [
        ({"client": "tcp://x"}, TypeError, "`client` must be a distributed.Client or None; got str."),
        ({"persist": 1.5}, TypeError, "`persist` must be True or False"),
        ({"epochs": -1}, ValueError, "`epochs` must be"),
        ({"validation_data": (FIRST, SECOND[:, :1])}, ValueError, "In `validation_data`: In partition 0: `Y` must"),
        ({"validation_data": FIRST}, TypeError, "`validation_data` must be"),
    ]:
        with pytest.raises(error) as caught:
            fit(network(), FIRST, SECOND, **arguments)
        assert str(caught.value).startswith(text)


# ---- What is below -------------------------------------------------------------------------------------------------


def test_sums_leave_their_terms_alone():
    terms = [(1.0, np.ones(2), ["a"]), (2.0, np.full(2, 3.0), ["b"]), (4.0, np.zeros(2), [])]
    total, array, names = add_up(terms)
    assert (total, array.tolist(), names) == (7.0, [4.0, 4.0], ["a", "b"])
    assert terms[0][1].tolist() == [1.0, 1.0]
    assert terms[0][2] == ["a"]


def test_dask_is_told_how_large_a_part_is():
    from dask.sizeof import sizeof

    X, Y = data()
    part = make_part(0, Blueprint(network()), X, Y, None)
    assert isinstance(part, Part)
    assert X.nbytes + Y.nbytes <= sizeof(part) <= X.nbytes + Y.nbytes + 2000


def test_a_blueprint_travels_without_its_model():
    import pickle

    blueprint = Blueprint(bp.Network([1000, 100, 1], dtype="float32", initializer="zeros"))
    assert blueprint.model.n_params == 100201
    assert len(pickle.dumps(blueprint)) < 10_000
    assert pickle.loads(pickle.dumps(blueprint)).model.sizes == (1000, 100, 1)


def test_partitions_lie_side_by_side():
    X, Y = data()
    found = partitions_of(da.from_array(X, chunks=(30, 1)), da.from_array(Y, chunks=(50, 2)))
    rows = [[len(part) for part in dask.compute(*source[:2])] for source in found.sources]
    assert rows == [[30, 30], [30, 30], [30, 30], [10, 10]]
    assert found.names is None
