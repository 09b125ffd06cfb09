"""Work on a Dask cluster of worker processes of one thread, and the same work in one process.

``python -m bench.dask_cases LIBRARY THREADS INSTRUCTION_SET`` answers the requests that `bench.estimators` describes: a
case is one of `CASES`, a task a way, ``local`` or ``cluster``. Each process of the cluster shows its instruction set.
"""

from __future__ import annotations

import functools
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from numpy.typing import NDArray

import fastbp as bp
from bench import instruction_sets
from bench.agreement import projections
from fastbp.dask import fit, from_memmap, predict
from fastbp.dask.exact import Cost
from fastbp.dask.partitions import partitions_of
from fastbp.dask.parts import Blueprint, make_part
from fastbp.dask.rows import AllRows
from fastbp.dask.session import session_on
from fastbp.dask.walks import Rounds
from fastbp.training.state import fresh_state

LOCAL, CLUSTER = "local", "cluster"
BATCH_ROWS, RATE = 128, 1e-4
SHOWN = 60.0  # seconds that a worker looks back for the registers that it used
_WARM = 5  # calls that open the connections between workers
_CALLS = 10  # of a round with next to no work: its time is their mean
_LIMIT = "1GiB"  # of each worker, for rows that are larger
_PIECE = 250_000  # rows of a file


@dataclass(frozen=True)
class Case:
    """What is done, with which network, with how many rows in how many partitions."""

    what: str
    sizes: tuple[int, ...]
    n_rows: int
    n_partitions: int
    is_quick: bool = False

    @property
    def network(self) -> str:
        """Its sizes as text."""
        return "-".join(map(str, self.sizes))

    @property
    def n_params(self) -> int:
        """Parameters of the network."""
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def name(self) -> str:
        """As a table has it."""
        return f"{self.what}, {self.network}, {self.n_rows:,} rows, {self.n_partitions} partitions"


NOTHING, EXACT, AVERAGED, PREDICTION, FILE = "next to no work", "exact round", "averaged epoch", "prediction", "file"
OVERHEADS = [
    Case(NOTHING, sizes, 4 * n, n, is_quick=(sizes[0], n) == (4, 2))
    for sizes, counts in (((4, 8, 3), (2, 8, 32)), ((784, 128, 10), (2, 8, 32)), ((784, 1000, 200, 10), (2, 8)))
    for n in counts
]
SHARES = [
    Case(EXACT, (784, 128, 10), 350_000, 2),
    Case(AVERAGED, (784, 128, 10), 180_000, 2),
    Case(PREDICTION, (20, 64, 1), 10_000_000, 10),
    Case(PREDICTION, (784, 128, 10), 300_000, 10),
]
QUICK_SHARES = [Case(what, (20, 64, 1), 2000, 2, is_quick=True) for what in (EXACT, AVERAGED, PREDICTION)]
LARGE = Case(FILE, (100, 16, 1), 10_000_000, 40)
CASES = {case.name: case for case in [*OVERHEADS, *SHARES, *QUICK_SHARES, LARGE]}


def block(case: Case, index: int, *, targets: bool) -> NDArray[np.float32]:
    """Return inputs or targets of a partition, random numbers."""
    first, last = (case.n_rows * i // case.n_partitions for i in (index, index + 1))
    n_columns = case.sizes[-1] if targets else case.sizes[0]
    return np.random.default_rng([index, targets]).random((last - first, n_columns), np.float32)


def array(case: Case, *, targets: bool) -> NDArray[np.float32]:
    """Return those of all partitions."""
    return np.concatenate([block(case, i, targets=targets) for i in range(case.n_partitions)])


def collection(case: Case, *, targets: bool) -> Any:
    """Return the same as an array of Dask, which the workers make."""
    n_columns = case.sizes[-1] if targets else case.sizes[0]
    blocks = []
    for i in range(case.n_partitions):
        n_rows = case.n_rows * (i + 1) // case.n_partitions - case.n_rows * i // case.n_partitions
        made = dask.delayed(block)(case, i, targets=targets)
        blocks.append(da.from_delayed(made, (n_rows, n_columns), np.float32))
    return da.concatenate(blocks)


def network(case: Case) -> bp.Network:
    """Return the network, with weights that are always the same."""
    return bp.Network(list(case.sizes), "tanh", dtype="float32", seed=0)


def local(case: Case, n_threads: int) -> Callable[[], Any]:
    """Return what one process does in a round; it returns what can be compared."""
    net, X = network(case), array(case, targets=False)
    if case.what == PREDICTION:
        pieces = np.array_split(X, case.n_partitions)
        return lambda: [net.predict(piece, n_threads=n_threads) for piece in pieces]
    Y, optimizer = array(case, targets=True), bp.Adam(RATE)
    if case.what == EXACT:
        return lambda: net.value_and_grad(X, Y, n_threads=n_threads)
    return lambda: net.fit(X, Y, epochs=1, batch_size=BATCH_ROWS, optimizer=optimizer, seed=0, n_threads=n_threads)


def on_cluster(case: Case, client: Client, stack: ExitStack) -> Callable[[], Any]:
    """Return what the cluster does in a round, on rows that its workers keep until the stack is closed."""
    net, X = network(case), collection(case, targets=False)
    if case.what == PREDICTION:
        X = client.persist(X)
        wait(X)
        return lambda: waited(client.persist(predict(net, X)))
    session = stack.enter_context(session_on(client))
    blueprint = session.constant(Blueprint(net))
    partitions = partitions_of(X, collection(case, targets=True))
    rows = AllRows.of_partitions(session, partitions, make_part, blueprint, blueprint, persist=True)
    if case.what == AVERAGED:
        state = fresh_state(net, bp.Adam(RATE), np.random.default_rng(0))
        rounds = Rounds(net, rows, state, BATCH_ROWS, None, mean_weight=0.0, clip_norm=0.0, seed=0, dropout_seed=0)
        rates = np.full(rounds.per_epoch, RATE)
        return lambda: rounds.epoch(0, rates)
    cost = Cost(net, rows)
    return lambda: cost.value_and_grad(net.params)


def waited(collection: Any) -> Any:
    """Return a collection when it is computed."""
    wait(collection)
    return collection


def fingerprint(case: Case, found: Any) -> list[float]:
    """Return numbers that agree however the work was done."""
    if case.what in (EXACT, NOTHING):
        return [float(found[0]), *projections(found[1])]
    if case.what == PREDICTION:
        outputs = np.concatenate(found) if isinstance(found, list) else found[: case.n_rows // 10].compute()
        return [float(x) for x in outputs[: case.n_rows // 10 : max(1, case.n_rows // 100)].ravel()]
    return [float(getattr(found, "loss", np.atleast_1d(found))[-1])]


def peak() -> int:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class LargerThanMemory:
    """An averaged and an exact epoch over a file, with workers of 1 GiB."""

    def __init__(self, case: Case, client: Client, stack: ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float32, (case.n_rows, case.sizes[0]))
        rng = np.random.default_rng(0)
        for first in range(0, case.n_rows, _PIECE):
            n = min(_PIECE, case.n_rows - first)
            rows[first : first + n] = rng.random((n, case.sizes[0]), np.float32)
        del rows
        self._X, self._client, self._net = from_memmap(path, _PIECE), client, network(case)
        self.facts: dict[str, Any] = {"before_mib": max(client.run(peak).values())}

    def __call__(self) -> list[float]:
        """Fit both ways; the loss."""
        for name, batch_size in ((AVERAGED, BATCH_ROWS), (EXACT, None)):
            options: dict[str, Any] = {"client": self._client, "persist": False, "seed": 0}
            history = fit(self._net, self._X, self._X[:, :1], 1, batch_size, **options)
            self.facts[f"{name}, s"] = float(history.seconds[-1])
        self.facts["peak_mib"] = sorted(self._client.run(peak).values())
        return [float(history.loss[-1])]


class Server:
    """Answers requests: one process with all threads, or with a cluster of as many processes."""

    def __init__(self, library: str, n_threads: int) -> None:
        self.library, self.n_threads, self.wanted = library, n_threads, sys.argv[3]
        self._cluster, self._case = ExitStack(), ExitStack()
        self._client: Client | None = None
        self._limit: str | None = None

    def client(self, limit: str) -> Client:
        """Return the client of a cluster whose workers have so much memory."""
        if self._client is None or limit != self._limit:
            self._case.close()
            self._cluster.close()
            enter, self._limit = self._cluster.enter_context, limit
            made = LocalCluster(
                n_workers=self.n_threads, threads_per_worker=1, memory_limit=limit, dashboard_address=":0"
            )
            self._client = enter(Client(enter(made), set_as_default=False))
            enter(self._client.as_current())
        return self._client

    def prepare(self, case: str, task: str, dtype: str, seconds: float) -> dict[str, Any]:
        """Get ready for rounds."""
        self._case.close()
        self._chosen = CASES[case]
        facts: dict[str, Any] = {}
        if task == LOCAL:
            self.run = local(self._chosen, self.n_threads)
        elif self._chosen is LARGE:
            self.run = LargerThanMemory(LARGE, self.client(_LIMIT), self._case)
            facts = self.run.facts
        else:
            self.run = on_cluster(self._chosen, self.client("auto"), self._case)
        found = fingerprint(self._chosen, self.run())
        for _ in range({NOTHING: _WARM, FILE: 0}.get(self._chosen.what, 1)):
            self.run()
        if task == CLUSTER:  # a process that uses another set than the wanted one raises an error
            assert self._client is not None
            self._client.run(functools.partial(instruction_sets.shown, self.library, self.wanted, SHOWN))
        return {"fingerprint": found, "first_call_s": 0.0, "version": bp.__version__, "facts": facts}

    def round(self) -> dict[str, Any]:
        """Time one round."""
        n = _CALLS if self._chosen.what == NOTHING else 1
        began = time.perf_counter()
        for _ in range(n):
            self.run()
        return {"seconds": (time.perf_counter() - began) / n}

    def end(self) -> None:
        """Close the cluster."""
        self._case.close()
        self._cluster.close()


if __name__ == "__main__":
    from bench import dask_cases  # by which name the workers find what they are to do
    from bench.worker import answer_from

    servers: list[Any] = []

    def make(library: str, n_threads: int) -> Any:
        servers.append(dask_cases.Server(library, n_threads))
        return servers[0]

    answer_from(make)
    servers[0].end()
