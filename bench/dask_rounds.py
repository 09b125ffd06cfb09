"""A Dask cluster of two worker processes of one thread beside one process of two: ``python -m bench.dask_rounds``.

It measures what a round costs beside its work, the share of the local speed that long rounds, averaged epochs and lazy
predictions reach, and the coefficients of `bench.dask_model`; with ``--gigabytes 4`` also a fit on rows of a file that
is larger than the memory that the workers may use.  ``--isa avx2`` holds all processes to AVX2, ``--results FILE``
writes the tables as Markdown, and ``--quick`` shows in a few seconds that all of it runs.
"""

from __future__ import annotations

import argparse
import functools
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cpuinfo
import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import fastbp as bp
from bench import dask_model, instruction_sets
from fastbp.dask import fit, from_memmap, predict
from fastbp.dask.exact import Cost
from fastbp.dask.partitions import partitions_of
from fastbp.dask.parts import Blueprint, make_part
from fastbp.dask.rows import AllRows
from fastbp.dask.session import session_on
from fastbp.dask.walks import Rounds
from fastbp.training.state import fresh_state

WARM = 5  # rounds that are not counted: connections between workers are opened in them
# sizes and partitions of rounds with next to no work
OVERHEADS = [
    ((4, 8, 3), 2),
    ((4, 8, 3), 8),
    ((4, 8, 3), 32),
    ((784, 128, 10), 2),
    ((784, 128, 10), 8),
    ((784, 128, 10), 32),
    ((784, 1000, 200, 10), 2),
    ((784, 1000, 200, 10), 8),
]
LONG, PREDICTED, BATCH_ROWS = (784, 128, 10), (20, 64, 1), 128
MANY_ROWS = {"exact round": 300_000, "averaged epoch": 100_000, "lazy prediction": 10_000_000}
FEW_ROWS = 2_000
TURNS = 9
_LIMIT = "1GiB"  # of a worker's memory, for rows that are larger


class Ways(NamedTuple):
    """The same work in this process with two threads, and on the cluster."""

    local: Callable[[], Any]
    cluster: Callable[[], Any]


class Shares(NamedTuple):
    """Times of the same work in one process and on the cluster, in turns."""

    what: str
    n_rows: int
    local: list[float]
    cluster: list[float]

    @property
    def shares(self) -> list[float]:
        """Local time over that of the cluster, of each turn, sorted."""
        return sorted(one / other for one, other in zip(self.local, self.cluster, strict=True))


def data(sizes: tuple[int, ...], n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows, float32."""
    rng = np.random.default_rng(0)
    return rng.random((n_rows, sizes[0]), np.float32), rng.random((n_rows, sizes[-1]), np.float32)


def cut(array: np.ndarray, n_partitions: int) -> Any:
    """A Dask array in so many chunks."""
    return da.from_array(array, chunks=(-(-len(array) // n_partitions), -1))


@contextmanager
def rows_on(client: Client, net: bp.Network, X: Any, Y: Any, n_partitions: int) -> Iterator[AllRows]:
    """Rows that the workers keep."""
    with session_on(client) as session:
        blueprint = session.constant(Blueprint(net))
        partitions = partitions_of(cut(X, n_partitions), cut(Y, n_partitions))
        yield AllRows.of_partitions(session, partitions, make_part, blueprint, blueprint, persist=True)


def seconds_of(call: Callable[[], Any]) -> float:
    """Time of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def in_turn(what: str, n_rows: int, ways: Ways, n: int) -> Shares:
    """Times of both ways, in turn, after one call of each that is not counted."""
    for call in ways:
        call()
    times = [tuple(map(seconds_of, ways)) for _ in range(n)]
    return Shares(what, n_rows, *map(list, zip(*times, strict=True)))


# ---- What is measured ----------------------------------------------------------------------------------------------


def overheads(client: Client, n: int, cases: list[Any]) -> list[dict[str, Any]]:
    """Rounds over four rows for each partition."""
    found = []
    for sizes, n_partitions in cases:
        net = bp.Network(list(sizes), dtype="float32", seed=0)
        with rows_on(client, net, *data(sizes, 4 * n_partitions), n_partitions) as rows:
            cost = Cost(net, rows)
            call = functools.partial(cost.value_and_grad, net.params)
            times = [seconds_of(call) for _ in range(WARM + n)][WARM:]
        found.append(
            {
                "network": "-".join(map(str, sizes)),
                "n_params": net.n_params,
                "n_partitions": n_partitions,
                "least": min(times),
                "median": median(times),
            }
        )
    return found


@contextmanager
def exact_round(client: Client, n_rows: int) -> Iterator[Ways]:
    """The cost of all rows and its gradient."""
    net = bp.Network(list(LONG), dtype="float32", seed=0)
    X, Y = data(LONG, n_rows)
    with rows_on(client, net, X, Y, 2) as rows:
        cost = Cost(net, rows)
        yield Ways(lambda: net.value_and_grad(X, Y, n_threads=2), lambda: cost.value_and_grad(net.params))


@contextmanager
def averaged_epoch(client: Client, n_rows: int) -> Iterator[Ways]:
    """An epoch of mini-batches: here one walk over all rows, there one over each half."""
    nets = [bp.Network(list(LONG), dtype="float32", seed=0) for _ in range(2)]
    X, Y = data(LONG, n_rows)
    rule = bp.Adam(1e-4)
    with rows_on(client, nets[1], X, Y, 2) as rows:
        state = fresh_state(nets[1], rule, np.random.default_rng(0))
        settings = {"mean_weight": 0.0, "clip_norm": 0.0, "seed": 0, "dropout_seed": 0}
        rounds = Rounds(nets[1], rows, state, BATCH_ROWS, None, **settings)
        rates = np.full(rounds.per_epoch, 1e-4)
        yield Ways(
            lambda: nets[0].fit(X, Y, epochs=1, batch_size=BATCH_ROWS, optimizer=rule, seed=0, n_threads=2),
            lambda: rounds.epoch(0, rates),
        )


@contextmanager
def lazy_prediction(client: Client, n_rows: int) -> Iterator[Ways]:
    """Outputs of rows that the workers have, which stay there, beside those of rows in memory, in pieces."""
    net = bp.Network(list(PREDICTED), "tanh", dtype="float32", seed=0)
    piece = -(-n_rows // 10)
    X = client.persist(da.random.default_rng(0).random((n_rows, PREDICTED[0]), np.float32, chunks=(piece, -1)))
    wait(X)
    own = np.random.default_rng(0).random((n_rows, PREDICTED[0]), np.float32)
    yield Ways(
        lambda: [net.predict(own[first : first + piece], n_threads=2) for first in range(0, n_rows, piece)],
        lambda: wait(client.persist(predict(net, X))),
    )


WORKS = {"exact round": exact_round, "averaged epoch": averaged_epoch, "lazy prediction": lazy_prediction}


@contextmanager
def two_workers(**settings: Any) -> Iterator[Client]:
    """The client of two worker processes of one thread each, the current one meanwhile."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", **settings) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client


def larger_than_memory(gigabytes: float) -> dict[str, Any]:
    """An averaged epoch and an exact one over a file, with workers that may use 1 GiB each."""
    n_rows = int(gigabytes * 1e9 / 400)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 100))
        rng = np.random.default_rng(0)
        for first in range(0, n_rows, 250_000):
            rows[first : first + 250_000] = rng.random((min(250_000, n_rows - first), 100), np.float32)
        del rows
        X = from_memmap(path, 250_000)
        net = bp.Network([100, 16, 1], "tanh", dtype="float32", seed=0)
        with two_workers(memory_limit=_LIMIT) as client:
            found: dict[str, Any] = {"n_rows": n_rows, "before": peaks(client)}
            for name, batch_size in (("averaged", BATCH_ROWS), ("exact", None)):
                history = fit(net, X, X[:, :1], 2, batch_size, client=client, persist=False, seed=0)
                found[name] = history.seconds.tolist()
            found["after"] = peaks(client)
    return found


def peaks(client: Client) -> list[int]:
    """Largest resident memory of each worker so far, in MiB."""
    return sorted(client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024).values())


# ---- The report ----------------------------------------------------------------------------------------------------


def report(isa: str, found: list[dict[str, Any]], shares: list[Shares], large: dict[str, Any] | None) -> str:
    """Everything as Markdown."""
    known = dask_model.fitted(found)
    held = isa if isa != instruction_sets.NATIVE else instruction_sets.of_processor()
    lines = [
        f"{date.today()}, {cpuinfo.get_cpu_info()['brand_raw']}, two cores, {instruction_sets.title(held)}; fastbp "
        f"{bp.__version__}, dask {dask.__version__}, NumPy {np.__version__}, Python {platform.python_version()}. Two "
        "worker processes of one thread each; the client beside them, on the same cores.",
        "",
        "| work of a round, or of a call | rows | one process, two threads | cluster | share of the local speed |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in shares:
        ends = f"{median(one.shares):.2f} ({one.shares[0]:.2f} to {one.shares[-1]:.2f})"
        times = f"{median(one.local):.2f} s | {median(one.cluster):.2f} s"
        lines.append(f"| {one.what} | {one.n_rows:,} | {times} | {ends} |")
    lines += [
        "",
        f"Medians of {len(shares[0].local)} turns; in brackets the smallest and the largest share. Rounds with next to "
        "no work:",
        "",
        "| network | parameters | partitions | least | median | the model |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        model = dask_model.overhead_here(known, row["n_params"], row["n_partitions"])
        lines.append(
            f"| {row['network']} | {row['n_params']:,} | {row['n_partitions']} | {1e3 * row['least']:.0f} ms | "
            f"{1e3 * row['median']:.0f} ms | {1e3 * model:.0f} ms |"
        )
    if large is not None:
        lines += ["", _large(large)]
    lines += ["", "On paper, from these coefficients:", "", dask_model.table(known)]
    lines += ["", "Coefficients: " + ", ".join(f"{name} {value:.3g} s" for name, value in known._asdict().items()), ""]
    return "\n".join(lines)


def _large(found: dict[str, Any]) -> str:
    epochs = ", ".join(
        f"{name} epochs {' and '.join(f'{s:.1f} s' for s in found[name])}" for name in ("averaged", "exact")
    )
    return (
        f"{found['n_rows']:,} rows of 100 in a file, {found['n_rows'] * 4e-7:.1f} GB, network 100-16-1, workers "
        f"of {_LIMIT} each: {epochs}; largest resident memory of a worker {max(found['after'])} MiB, before the fits "
        f"{max(found['before'])} MiB."
    )


def measure(*, quick: bool, gigabytes: float) -> tuple[list[dict[str, Any]], list[Shares], dict[str, Any] | None]:
    """Measure everything."""
    n, shares = 1 if quick else TURNS, []
    with two_workers() as client:
        found = overheads(client, 3 if quick else 40, OVERHEADS[:3] if quick else OVERHEADS)
        for name, work in WORKS.items():
            n_rows = FEW_ROWS if quick else MANY_ROWS[name]
            with work(client, n_rows) as ways:
                shares.append(in_turn(name, n_rows, ways, n))
    return found, shares, larger_than_memory(gigabytes) if gigabytes else None


def main(argv: list[str] | None = None) -> int:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.dask_rounds", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few short rounds: does everything run?")
    parser.add_argument("--gigabytes", type=float, default=0.0, help="size of a file with rows (0: none)")
    parser.add_argument("--isa", choices=instruction_sets.CHOICES, default=instruction_sets.NATIVE)
    parser.add_argument("--results", type=Path, help="file to write as well")
    parser.add_argument("--picture", type=Path, help="file for the picture of the model")
    parser.add_argument("--held", action="store_true", help=argparse.SUPPRESS)  # in the process that --isa makes
    options = parser.parse_args(argv)
    if options.isa != instruction_sets.NATIVE and not options.held:
        reason = instruction_sets.why_not_here(options.isa)
        if reason:
            print(f"nothing is measured: {reason}", file=sys.stderr)
            return 2
        command = [sys.executable, "-m", "bench.dask_rounds", "--held", *(sys.argv[1:] if argv is None else argv)]
        return subprocess.run(command, env=instruction_sets.environment(options.isa), check=False).returncode
    found, shares, large = measure(quick=options.quick, gigabytes=options.gigabytes)
    text = report(options.isa, found, shares, large)
    print(text)
    if options.results is not None:
        options.results.write_text(text, encoding="utf-8")
    if options.picture is not None:
        dask_model.draw(dask_model.fitted(found), options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
