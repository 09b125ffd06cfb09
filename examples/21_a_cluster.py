"""A cluster: the same bits from any number of workers, and what it costs to average more seldom.

Left: a network 64-32-10 learns digits that lie in eight partitions, exactly: each step adds up the gradients of all
partitions, in an order that only their number makes.  One worker, two and three lead to the very same bits, and one
machine without Dask to the same curve.  Right: averaged.  Each partition takes mini-batches from the same parameters,
and after so many steps their means are what all go on from.  A round costs a cluster some ten milliseconds or more
whatever is in it; here an epoch of one round goes as far as one of eight, because the rows were shuffled beforehand, so
that all partitions are alike.

What to look for: nothing but `average_every` changes on the right, and it alone says how many rounds an epoch has.

Run: ``python examples/21_a_cluster.py [folder for the pictures] [--epochs 15]``
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits

import fastbp as bp
from fastbp.dask import fit

WORKERS = (1, 2, 3)
AVERAGE_EVERY = (1, 4, None)
PARTITIONS = 8
BATCH = 32


class Found(NamedTuple):
    """Losses of one machine and of the workers, whether these have the same bits, losses by `average_every`."""

    local: list[float]
    exact: list[list[float]]
    same_bits: bool
    distance: float
    averaged: dict[int | None, list[float]]


def network() -> bp.Network:
    """Return the network that every fit begins with."""
    return bp.Network([64, 32, 10], "tanh", output="softmax", loss="cross_entropy", dtype="float64", seed=0)


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return digits (n, 64), and their classes as rows of zeros and a one (n, 10)."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order] / 16, np.eye(10)[y[order]]


def trained(n_workers: int, epochs: int, **how: Any) -> tuple[np.ndarray, list[float]]:
    """Train on a cluster within this process; parameters and losses."""
    X, Y = (da.from_array(each, chunks=(-(-len(each) // PARTITIONS), -1)) for each in rows())
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        net = network()
        history = fit(net, X, Y, epochs, client=client, optimizer=bp.Adam(0.01), seed=0, **how)
        return net.params, list(history.loss)


def main(pictures: Path | None = None, epochs: int = 15) -> Found:
    """Train exactly with one, two and three workers, and averaged."""
    alone = network()
    local = alone.fit(*rows(), epochs=epochs, batch_size=None, optimizer=bp.Adam(0.01), seed=0)
    runs = [trained(n, epochs, batch_size=None) for n in WORKERS]
    same = all(np.array_equal(params, runs[0][0]) for params, _ in runs)
    distance = float(np.abs(alone.params - runs[0][0]).max())
    averaged = {every: trained(2, epochs, batch_size=BATCH, average_every=every)[1] for every in AVERAGE_EVERY}
    found = Found(list(local.loss), [losses for _, losses in runs], same, distance, averaged)
    print(f"workers {WORKERS}: {'the same bits' if same else 'OTHER BITS'}; {distance:.1e} from one machine")
    for every, losses in averaged.items():
        print(f"averaged after {every or 'all'} steps: loss {losses[-1]:.4f}")
    if pictures is not None:
        draw(pictures, found)
    return found


def rounds_of(every: int | None) -> int:
    """Return how many rounds an epoch has."""
    steps = -(-len(rows()[0]) // PARTITIONS // BATCH)
    return 1 if every is None else -(-steps // every)


def draw(pictures: Path, found: Found) -> None:
    """Draw the losses."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(found.local) + 1)
    left.semilogy(epochs, found.local, color="0.7", linewidth=6, label="one machine")
    for n, losses, style in zip(WORKERS, found.exact, ("k-", "k^", "kx"), strict=True):
        left.semilogy(epochs, losses, style, markevery=(n, 4), label=f"workers: {n}")
    for (every, losses), style in zip(found.averaged.items(), ("ko-", "ks--", "k^:"), strict=True):
        label = "an epoch" if every is None else "1 step" if every == 1 else f"{every} steps"
        right.loglog(epochs * rounds_of(every), losses, style, markersize=4, label=label)
    left.set(xlabel="epoch (one step)", ylabel="cost", title="exact")
    right.set(xlabel="rounds", ylabel="cost", title="averaged, mini-batches of 32")
    left.legend()
    right.legend(loc="lower left", title="averaged after")
    figure.savefig(pictures / "21_a_cluster.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--epochs", type=int, default=15, help="(%(default)s)")
    main(**vars(parser.parse_args()))
