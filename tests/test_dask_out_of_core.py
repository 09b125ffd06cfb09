"""Data that are larger than the workers' memory: how often partitions are made, and how many are alive at once."""

import gc
import os
import pickle
import tempfile
import threading
import weakref
from collections import Counter

import numpy as np
import pandas as pd
import pytest

import fastbp as bp

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

import fastbp.dask  # noqa: E402
from fastbp.dask import from_memmap  # noqa: E402

N_PARTITIONS, ROWS = 12, 40


@pytest.fixture(scope="module")
def one_thread():
    """A cluster of one thread within this process, whose tasks can count here."""
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", memory_limit=None
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):
        yield client


class Counted(np.ndarray):
    """An array that can be followed."""


class Census:
    """How often each chunk was made, and how many were alive at once at most."""

    def __init__(self):
        self.made, self.most, self._alive, self._door = Counter(), 0, 0, threading.RLock()

    def make(self, block_info):
        """Return a chunk of random rows."""
        (i, *_) = block_info[None]["chunk-location"]
        shape = block_info[None]["chunk-shape"]
        chunk = np.random.default_rng(i).normal(size=shape).view(Counted)
        with self._door:
            self.made[i, shape] += 1
            self._alive += 1
            self.most = max(self.most, self._alive)
        weakref.finalize(chunk, self._end)
        return chunk

    def _end(self):
        with self._door:
            self._alive -= 1

    def __dask_tokenize__(self):
        return "census", id(self)


CENSUS = {}


def chunk(name, block_info=None):
    """Make a chunk of what a test counts."""
    return CENSUS[name].make(block_info)


def counted(name, width):
    """Return a counted array of Dask."""
    CENSUS[name] = Census()
    shape = ((ROWS,) * N_PARTITIONS, (width,))
    return da.map_blocks(chunk, name, chunks=shape, dtype=float, meta=np.empty((0, 0)))


def network():
    return bp.Network([3, 4, 1], seed=0)


@pytest.mark.parametrize(
    ("persist", "batch_size", "every", "times"),
    [(True, 10, None, 1), (True, None, None, 1), (False, 10, None, 4), (False, None, None, 4), (False, 10, 2, 7)],
)
def test_how_often_partitions_are_made(one_thread, persist, batch_size, every, times):
    """Kept ones once a fit; others once for each of three epochs, or of two rounds of an epoch, and once before."""
    X, Y = counted("X", 3), counted("Y", 1)
    fastbp.dask.fit(
        network(), X, Y, 3, batch_size, client=one_thread, persist=persist, average_every=every, shuffle=False
    )
    for name in ("X", "Y"):
        assert set(CENSUS[name].made.values()) == {times}
        assert len(CENSUS[name].made) == N_PARTITIONS


@pytest.mark.parametrize("batch_size", [10, None])
def test_at_most_two_partitions_are_alive_in_a_worker(one_thread, batch_size):
    X, Y = counted("X", 3), counted("Y", 1)
    gc.collect()
    fastbp.dask.fit(network(), X, Y, 3, batch_size, client=one_thread, persist=False)
    assert 1 <= CENSUS["X"].most <= 2
    assert 1 <= CENSUS["Y"].most <= 2


def test_what_partitions_share_is_made_once_a_round(one_thread):
    """Chunks that Dask cuts or joins for us belong to several partitions."""
    X, Y = counted("X", 3), counted("Y", 1)
    X = X.rechunk((ROWS // 2 * 3, 3))
    local = network()
    expected = local.fit(X.compute(scheduler="synchronous"), Y.compute(scheduler="synchronous"), 3, None)
    CENSUS["X"].made.clear()
    history = fastbp.dask.fit(network(), X, Y, 3, None, client=one_thread, persist=False)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)
    assert set(CENSUS["X"].made.values()) == {4}


def test_data_that_the_cluster_holds_are_taken_from_there(one_thread):
    X, Y = counted("X", 3), counted("Y", 1)
    X, Y = one_thread.persist([X, Y])
    fastbp.dask.fit(network(), X + 0, Y, 2, client=one_thread, persist=False)
    assert set(CENSUS["X"].made.values()) == {1}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's own call of a newer pandas
@pytest.mark.parametrize("persist", [True, False])
def test_columns_of_one_frame(one_thread, tmp_path, persist):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 4)), columns=["a", "b", "c", "y"])
    for i in range(3):
        frame[20 * i : 20 * (i + 1)].to_parquet(tmp_path / f"{i}.parquet", index=False)
    read = dd.read_parquet(tmp_path)
    arguments = {"batch_size": None, "optimizer": bp.SGD(0.1)}
    local, distant = network(), network()
    local.fit(frame[["a", "b", "c"]], frame[["y"]], 3, **arguments)
    fastbp.dask.fit(distant, read[["a", "b", "c"]], read[["y"]], 3, client=one_thread, persist=persist, **arguments)
    np.testing.assert_allclose(distant.params, local.params, rtol=1e-12)
    assert distant.feature_names == ("a", "b", "c")


# --- memory maps --------------------------------------------------------------------------------------------------


def saved(tmp_path, array):
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "int16"])
@pytest.mark.parametrize("shape", [(10, 3), (10,), (1, 1)])
def test_has_the_numbers_of_a_file(tmp_path, order, dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype, order=order)
    file = saved(tmp_path, array)
    for source in (file, str(file), np.load(file, mmap_mode="r")):
        made = from_memmap(source, chunk_rows=4)
        assert (made.shape, made.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(made.compute(scheduler="synchronous"), array)
    assert from_memmap(file).numblocks[0] == 1


def test_views_and_raw_files(tmp_path):
    array = np.arange(60, dtype="float32").reshape(20, 3)
    raw = tmp_path / "raw"
    raw.write_bytes(b"x" * 7 + array.tobytes())
    mapped = np.memmap(raw, dtype="float32", mode="r", offset=7, shape=(20, 3))
    for view in (mapped, mapped[5:], mapped[5:][2:9], mapped.reshape(-1)):
        made = from_memmap(view, chunk_rows=3)
        np.testing.assert_array_equal(made.compute(scheduler="synchronous"), np.asarray(view))


def test_the_graph_has_no_rows_and_the_name_is_that_of_the_content(tmp_path):
    file = saved(tmp_path, np.zeros((1000, 100)))
    made = from_memmap(file, 100)
    assert len(pickle.dumps(dict(made.__dask_graph__()))) < 20_000
    assert from_memmap(file, 100).name == made.name
    saved(tmp_path, np.ones((1000, 100)))
    os.utime(file, (1, 1))  # no clock is so coarse that it could be the same
    assert from_memmap(file, 100).name != made.name


def test_trains_from_a_file_on_processes(tmp_path, client):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(100, 3)), rng.normal(size=(100, 1))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    local, distant = network(), network()
    expected = local.fit(X, Y, 3, None)
    distributed_X, distributed_Y = from_memmap(tmp_path / "X.npy", 30), from_memmap(tmp_path / "Y.npy", 30)
    history = fastbp.dask.fit(distant, distributed_X, distributed_Y, 3, None, client=client, persist=False)
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-12)


def message(error, call):
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


def test_a_file_that_changes_or_is_not_seen(tmp_path):
    file = saved(tmp_path, np.zeros((10, 2)))
    made = from_memmap(file, 5)
    file.write_bytes(file.read_bytes()[:-8])
    assert message(ValueError, lambda: made.compute(scheduler="synchronous")) == (
        f"`source` must stay as it was while it is read: {str(file)!r} has become shorter than the 20 numbers of an "
        "array (10, 2) behind 128 bytes. Call from_memmap again."
    )
    file.unlink()
    assert message(FileNotFoundError, lambda: made.compute(scheduler="synchronous")) == (
        f"`source` must be a file that every worker sees under the same name; there is no {str(file)!r} on a worker. "
        "Put it on a file system that they share."
    )


def test_what_is_no_memory_map(tmp_path):
    assert message(TypeError, lambda: from_memmap(np.zeros((3, 2)))) == (
        "`source` must be the name of a .npy file or a numpy.memmap; got ndarray. Save it with numpy.save first, or "
        "write dask.array.from_array(...) where it fits into memory."
    )
    several = tmp_path / "several.npz"
    np.savez(several, a=np.zeros(3))
    assert message(ValueError, lambda: from_memmap(several)) == (
        f"`source` must be a file of numpy.save, with one array; {str(several)!r} has several. Save each with "
        "numpy.save."
    )
    text = tmp_path / "text.npy"
    text.write_text("a, b")
    assert message(ValueError, lambda: from_memmap(text)).startswith(
        f"`source` must be a file of numpy.save that holds numbers; {str(text)!r} is not: "
    )
    for content in (b"", b"\x93NUMPY\x01\x00v\x00" + b"(" * 118):  # each another exception of NumPy's
        text.write_bytes(content)
        assert "must be a file of numpy.save that holds numbers" in message(ValueError, lambda: from_memmap(text))
    with pytest.raises(FileNotFoundError):
        from_memmap(tmp_path / "nothing.npy")


def test_maps_that_cannot_be_read_by_rows(tmp_path):
    file = saved(tmp_path, np.zeros((4, 3, 2)))
    assert message(ValueError, lambda: from_memmap(file)) == (
        "`source` must have shape (n, n_columns) or (n,), at least one row and a dtype of numbers; got shape (4, 3, 2) "
        "and float64. Take the rows of numbers: array.reshape(n, -1), array['field']."
    )
    file = saved(tmp_path, np.zeros((4, 3)))
    mapped = np.load(file, mmap_mode="r")
    assert message(ValueError, lambda: from_memmap(mapped[:, 1:])) == (
        "`source` must be contiguous: whole rows without gaps, or whole columns; got a view with strides (24, 8). Pass "
        "all of it, and slice what from_memmap returns."
    )
    assert message(ValueError, lambda: from_memmap(np.load(file, mmap_mode="c"))) == (
        "`source` must not be a copy-on-write map (mode='c'), whose changes workers do not see in the file; got one. "
        "Open it with mode='r'."
    )
    with tempfile.TemporaryFile() as file:
        file.write(bytes(64))
        file.flush()
        nameless = np.memmap(file, mode="r")
    assert message(ValueError, lambda: from_memmap(nameless)) == (
        "`source` must be a numpy.memmap of a file with a name, which the workers open; got one without. Pass the "
        "array that numpy.memmap has returned, or a slice of it."
    )
    assert message(ValueError, lambda: from_memmap(mapped, 0)) == ("`chunk_rows` must be at least 1; got 0.")
