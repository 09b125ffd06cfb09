"""What may happen to a cluster in the middle of a fit: the same bits, or one clear error, and nothing left behind."""

import _thread
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import numba
import numpy as np
import pytest
from dask import delayed
from distributed import Client, Future, LocalCluster

import fastbp as bp
import fastbp.dask as on_dask
from fastbp.dask import session as session_module
from fastbp.dask import worker as worker_module
from fastbp.engine import interruption, stopping
from fastbp.kernels.machine import team

AFTER = " A network in training is as after its last finished epoch."
RESTARTED = "The cluster was restarted by `Client.restart`, and what the workers held is gone." + AFTER
CANCELLED = "The tasks were cancelled, by `Client.cancel` or by another owner of the cluster." + AFTER
CLOSED = "The client was closed before the work on its cluster was done." + AFTER
GONE = (
    "The scheduler has ended or cannot be reached, and with it what the workers held. Start a cluster again; a fit "
    "with `checkpoint` goes on from there with resume=True." + AFTER
)
LOST = (
    "Data that only a worker had are lost, because it died or was restarted and Dask cannot make them again: it has "
    "no tasks for what `Client.scatter` brings. Read them in tasks instead, such as those of dask.array.from_array or "
    "dask.dataframe.read_parquet." + AFTER
)
EPOCHS = 9
N_ROWS = 240


def numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, 5))
    return X, np.tanh(X[:, :2])


def partitions(n=8):
    return tuple(da.from_array(array, chunks=(N_ROWS // n, -1)) for array in numbers())


def network(**settings):
    return bp.Network([5, 8, 2], "tanh", seed=0, **settings)


def fit(net, X, Y, **arguments):
    return on_dask.fit(net, X, Y, **{"epochs": EPOCHS, "batch_size": None, "optimizer": bp.Adam(0.01)} | arguments)


def after(epochs, work):
    """A callback that works once, after so many epochs."""

    def callback(net, history):
        if len(history) == epochs:
            work()

    return callback


def kill(client):
    pid = min(client.run(os.getpid).values())
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed():
    """The parameters and losses of a fit that nothing happens to, on one worker in this process."""
    net = network()
    history = fit(net, *partitions())
    return net.params.tobytes(), history.loss.tobytes()


@pytest.fixture(scope="module")
def own_cluster():
    with (
        # A busy machine may take longer than Dask's 15 s to start a killed worker again, after which it never does.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(own_cluster):
    with Client(own_cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        yield client
        assert not [key for key in client.futures if not str(key).startswith("ndarray-")]  # which tests have scattered


# ---- Workers that die, come and go -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("persist", "epochs"), [(True, (2, 5, 8)), (False, (4,))])
def test_killed_workers_change_no_bit(client, undisturbed, persist, epochs):
    net = network()
    kills = [after(n, lambda: kill(client)) for n in epochs]
    history = fit(net, *partitions(), client=client, callbacks=kills, persist=persist)
    assert (net.params.tobytes(), history.loss.tobytes()) == undisturbed


def die_once(block, marker):
    if os.path.exists(marker):
        return block
    with open(marker, "x"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_in_a_task_changes_no_bit(client, undisturbed, tmp_path):
    X, Y = partitions()
    net = network()
    X = X.map_blocks(die_once, marker=str(tmp_path / "died"), dtype=X.dtype, meta=X._meta)
    history = fit(net, X, Y, client=client)
    assert (net.params.tobytes(), history.loss.tobytes()) == undisturbed
    assert (tmp_path / "died").exists()


def test_workers_that_come_and_go_change_no_bit(client, own_cluster, undisturbed):
    net = network()
    more = after(2, lambda: own_cluster.scale(3))
    there = after(4, lambda: client.wait_for_workers(3, timeout=120))
    fewer = after(6, lambda: client.retire_workers([min(client.scheduler_info()["workers"])]))
    try:
        history = fit(net, *partitions(), client=client, callbacks=[more, there, fewer])
    finally:
        own_cluster.scale(2)
    assert (net.params.tobytes(), history.loss.tobytes()) == undisturbed


def die(block):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_partition_that_kills_every_worker(client):
    X, Y = partitions(2)
    net, X = network(), X.map_blocks(die, dtype=X.dtype, meta=X._meta)
    client.run_on_scheduler(allow_no_failure)
    before = net.params.tobytes()
    with pytest.raises(RuntimeError) as caught:
        fit(net, X, Y, client=client)
    client.run_on_scheduler(allow_no_failure, 3)
    assert str(caught.value) == (
        "A task was given up because 1 workers died of it, one after the other; most likely they had too little "
        "memory. Make the partitions smaller or the workers' memory larger, write persist=False where it is not yet "
        "so, and look into the workers' logs." + AFTER
    )
    assert net.params.tobytes() == before


def allow_no_failure(n=0, dask_scheduler=None):
    dask_scheduler.allowed_failures = n


# ---- What others do to the cluster -----------------------------------------------------------------------------------


def are_used(dask_scheduler=None):
    return any("make_part" in key and task.dependents for key, task in dask_scheduler.tasks.items())


def cancel_parts(client):
    while client.run_on_scheduler(are_used):  # by tasks that are over: then Dask's scheduler fails at the next line
        time.sleep(0.01)
    client.cancel([Future(key, client) for key in list(client.futures) if "make_part" in key])


def expect_after_two_epochs(net, message, X, Y, client, work, **arguments):
    expected = network()
    fit(expected, *partitions(), epochs=2)
    with pytest.raises(RuntimeError) as caught:
        fit(net, X, Y, client=client, callbacks=[after(2, work)], **arguments)
    assert str(caught.value) == message
    assert caught.value.__suppress_context__
    assert len(net.history) == 2
    assert net.history.stopped_by == "interruption"
    assert net.params.tobytes() == expected.params.tobytes()


@pytest.mark.parametrize(("what", "message"), [(Client.restart, RESTARTED), (cancel_parts, CANCELLED)])
def test_what_is_taken_away_ends_the_fit(client, what, message, undisturbed, tmp_path):
    net, file = network(), str(tmp_path / "fit.npz")
    arguments = {"checkpoint": file, "checkpoint_every": 100}
    expect_after_two_epochs(net, message, *partitions(), client, lambda: what(client), **arguments)
    again = network()
    fit(again, *partitions(), client=client, resume=True, **arguments)
    assert again.params.tobytes() == undisturbed[0]


def test_rounds_of_many_looks_leave_nothing_behind(client, monkeypatch):
    """Not even where the garbage collector never comes: a look that finds nothing ties the future into a cycle."""

    def slow(block):
        time.sleep(0.05)
        return block

    def look(net, history):
        end = time.monotonic() + 60
        while any(not key.startswith(("constant-", "vector-")) for key in client.futures):
            assert time.monotonic() < end
            time.sleep(0.01)

    monkeypatch.setattr(session_module, "_LOOK", 0.001)
    X, Y = partitions()
    gc.disable()
    try:
        fit(network(), X.map_blocks(slow), Y, client=client, epochs=2, callbacks=[look], persist=False)
    finally:
        gc.enable()


def test_scattered_rows_that_are_lost(client):
    X, Y = numbers()
    dX, dY = (
        da.concatenate([da.from_delayed(delayed(f), (30, a.shape[1]), a.dtype) for f in client.scatter(np.split(a, 8))])
        for a in (X, Y)
    )

    def kill_all():
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)

    expect_after_two_epochs(network(), LOST, dX, dY, client, kill_all)


def test_a_closed_client():
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        expect_after_two_epochs(network(), CLOSED, *partitions(), client, client.close)


def test_a_closed_cluster():
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        expect_after_two_epochs(network(), GONE, *partitions(), client, cluster.close)


def start(command, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_a_killed_scheduler(tmp_path):
    file = str(tmp_path / "scheduler.json")
    here = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file)
    scheduler = start("dask_scheduler", "--port", "0", *here)
    worker = start("dask_worker", "--scheduler-file", file, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    try:
        while not os.path.exists(file):
            assert scheduler.poll() is None
            time.sleep(0.01)
        with Client(scheduler_file=file, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(1, timeout=120)

            def kill_scheduler():
                scheduler.kill()
                scheduler.wait(60)

            expect_after_two_epochs(network(), GONE, *partitions(), client, kill_scheduler)
            client.close(timeout=1)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait(60)


# ---- Cancel ----------------------------------------------------------------------------------------------------------


def is_at_work():
    """Whether a long call of a kernel runs in this process."""
    return any(stop._controls for stop in list(worker_module._stops.values()))


def is_idle(dask_worker):
    return not dask_worker.state.executing_count


@contextlib.contextmanager
def pressed_when(ready):
    """Ctrl-C as soon as something is so."""

    def watch():
        while not ready() and not over.is_set():
            time.sleep(0.01)
        _thread.interrupt_main()

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def test_ctrl_c_frees_the_workers_at_once(client, own_cluster):
    """Otherwise the kernels would go on for an hour."""
    X, Y = (da.zeros((4_000_000, n), chunks=(1_000_000, n), dtype="float32") for n in (5, 2))
    net = bp.Network([5, 2000, 2000, 2], "tanh", dtype="float32", seed=0)
    before = net.params.tobytes()
    with Client(own_cluster, set_as_default=False) as other:
        with pytest.raises(KeyboardInterrupt), pressed_when(lambda: any(other.run(is_at_work).values())):
            fit(net, X, Y, client=client)
        end = time.monotonic() + 60
        while not all(other.run(is_idle).values()):
            assert time.monotonic() < end
        for address in other.scheduler_info()["workers"]:
            assert other.submit(os.getpid, workers=[address], pure=False).result(timeout=60)
        assert not any(other.run(is_at_work).values())
    assert not client.futures
    assert net.params.tobytes() == before
    assert len(net.history) == 0


def test_a_stop_ends_what_runs_and_what_begins():
    stop, control = stopping.Stop(), np.zeros(team.CONTROL_LENGTH, np.int64)
    message = "This work was given up, because nobody waits for it any more."

    def kernel():
        stop.set()
        assert control[team.REQUEST] == team.ABANDON
        done.append(1)

    done = []
    with pytest.raises(stopping.StoppedError, match=message), stopping.within(stop):
        interruption.call_interruptibly(kernel, control)
    with pytest.raises(stopping.StoppedError, match=message), stopping.within(stop):
        done.append(2)
    assert done == [1]
    assert stopping.current_stop() is None
    interruption.call_interruptibly(lambda: done.append(3), control)  # of others
    assert done == [1, 3]


# ---- Errors of a partition -------------------------------------------------------------------------------------------


def spoilt(array, value):
    array = array.copy()
    array[100] = value  # in partition 3 of 8
    return array


@pytest.mark.parametrize("persist", [True, False])
def test_rows_that_are_wrong(client, persist):
    X, Y = numbers()
    net = network()
    before = net.params.tobytes()
    with pytest.raises(ValueError, match=r"^In partition 3: `X` must ") as caught:
        fit(net, da.from_array(spoilt(X, np.nan), chunks=(30, -1)), partitions()[1], client=client, persist=persist)
    with pytest.raises(ValueError, match="must be finite") as local:
        network().fit(spoilt(X, np.nan)[90:120], Y[90:120])
    assert str(caught.value) == f"In partition 3: {local.value}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert [str(e.path) for e in caught.traceback if "distributed" in str(e.path)] == []
    assert net.params.tobytes() == before


def fail_at(block, block_info=None):
    if block_info[0]["chunk-location"][0] == 3:
        raise OSError("no such disk")
    return block


@pytest.mark.parametrize("persist", [True, False])
def test_a_source_that_fails(client, persist):
    X, Y = partitions()
    X = X.map_blocks(fail_at, dtype=X.dtype, meta=X._meta)
    with pytest.raises(OSError, match=r"^no such disk") as caught:
        fit(network(), X, Y, client=client, persist=persist)
    assert caught.value.__notes__ == ["It was raised in making partition 3."]


def test_an_activation_that_fails():
    @numba.njit
    def f(z):
        if abs(z) > 100:
            raise ValueError("too large")
        return z

    X, Y = numbers()
    own = bp.Activation("own", f, numba.njit(lambda z: 1.0 + 0.0 * z))
    with pytest.raises(Exception, match="own") as caught:
        fit(bp.Network([5, 8, 2], own, seed=0), da.from_array(spoilt(X, 1e6), chunks=(30, -1)), partitions()[1])
    with pytest.raises(type(caught.value)) as local:
        bp.Network([5, 8, 2], own, seed=0).fit(spoilt(X, 1e6), Y)
    assert str(caught.value) == str(local.value)
    assert caught.value.__notes__ == ["It was raised in partition 3."]
