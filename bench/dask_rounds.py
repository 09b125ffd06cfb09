"""Rounds on a Dask cluster of two worker processes of one thread beside one process: ``python -m bench.dask_rounds``.

It measures what a round costs beside its work, the share of the local speed that long rounds reach, and the
coefficients of `bench.dask_model`.  ``--quick`` shows in a few seconds that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import fastbp as bp
from bench.dask_model import Coefficients, fitted
from fastbp.dask.exact import Cost
from fastbp.dask.partitions import partitions_of
from fastbp.dask.parts import Blueprint
from fastbp.dask.rows import AllRows
from fastbp.dask.session import session_on

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
LONG = (784, 128, 10)


def data(sizes: tuple[int, ...], n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows, float32."""
    rng = np.random.default_rng(0)
    return rng.random((n_rows, sizes[0]), np.float32), rng.random((n_rows, sizes[-1]), np.float32)


@contextmanager
def rounds(client: Client, net: bp.Network, X: Any, Y: Any, n_partitions: int) -> Iterator[Callable[[], Any]]:
    """A cost and its gradient by the cluster, as often as it is called."""
    chunk = -(-len(X) // n_partitions)
    collections = (da.from_array(each, chunks=(chunk, -1)) for each in (X, Y))
    with session_on(client) as session:
        rows = AllRows(session, partitions_of(*collections), Blueprint(net), persist=True)
        cost = Cost(net, rows)
        yield lambda: cost.value_and_grad(net.params)


def seconds_of(call: Callable[[], Any], n: int) -> list[float]:
    """Times of some calls, after warm ones."""
    times = []
    for _ in range(WARM + n):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times[WARM:]


def overheads(client: Client, n: int, *, quick: bool) -> list[dict[str, Any]]:
    """Rounds over four rows for each partition."""
    found = []
    for sizes, n_partitions in OVERHEADS[:2] if quick else OVERHEADS:
        net = bp.Network(list(sizes), dtype="float32", seed=0)
        with rounds(client, net, *data(sizes, 4 * n_partitions), n_partitions) as call:
            times = seconds_of(call, n)
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


def long_rounds(client: Client, n_rows: int, n_partitions: int, n: int) -> dict[str, Any]:
    """Rounds of a second beside the same rows in this process with two threads, in turn."""
    net = bp.Network(list(LONG), dtype="float32", seed=0)
    X, Y = data(LONG, n_rows)
    local, remote = [], []
    with rounds(client, net, X, Y, n_partitions) as call:
        call()
        for _ in range(n):
            began = time.perf_counter()
            net.value_and_grad(X, Y, n_threads=2)
            between = time.perf_counter()
            call()
            local.append(between - began)
            remote.append(time.perf_counter() - between)
    shares = [one / other for one, other in zip(local, remote, strict=True)]
    return {"n_rows": n_rows, "local": median(local), "cluster": median(remote), "shares": sorted(shares)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, and print the results as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.dask_rounds", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few short rounds: does everything run?")
    options = parser.parse_args(argv)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found = overheads(client, 3 if options.quick else 30, quick=options.quick)
        results: dict[str, Any] = {"overheads": found}
        results["long rounds"] = long_rounds(client, *((2_000, 2, 2) if options.quick else (200_000, 2, 7)))
    if not options.quick:
        coefficients: Coefficients = fitted(found)
        results["coefficients"] = coefficients._asdict()
    print(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
