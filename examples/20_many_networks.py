"""Many networks in one call: how sure an ensemble is, and which learning rate is right.

Left: a hundred networks 1-16-16-1 learn noisy points of which none lie in the middle.  Each sees rows drawn with
replacement (a bootstrap sample: Breiman 1996) and begins with weights of its own.  Where there are points they agree,
and in the gap they do not: the band that holds most of them says so.  Beyond the outermost points they agree again, and
are wrong: such a band shows what the points leave open between curves that these networks like, and nothing else.

Right: networks 2-16-16-1 with thirty learning rates from 0.0003 to 3, each with ten seeds.  The cost after
twenty epochs falls with the learning rate, and beyond the best one rises at once, until training diverges, which ends
that network's training and no other's.

What to look for: each panel is one call of `fit_many`, on all threads; `rows` are the bootstrap samples, with no copy
of the data, and `optimizer` and `seed` are lists.  Every network has the bits that its own `fit` would give it.

Run: ``python examples/20_many_networks.py [folder for the pictures] [--networks 100] [--epochs 300]``
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp as bp

NOISE = 0.1
RATES = np.geomspace(3e-4, 3, 30)
GRID_EPOCHS = 20
LOST = 1.0  # a cost from which nothing was learned: that of the mean is 0.24


class Found(NamedTuple):
    """Points, the ensemble's predictions (n_networks, n) on x (n,), and losses (n_rates, n_seeds), NaN if diverged."""

    points: tuple[np.ndarray, np.ndarray]
    x: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray


def curve(x: np.ndarray) -> np.ndarray:
    """Return what the points would be without noise."""
    return np.sin(5 * x) + 0.5 * x


def points(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 1) with noise, none of them between -0.1 and 0.6."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.uniform(-1, -0.1, n // 2), rng.uniform(0.6, 1, n - n // 2)])[:, None]
    return X, curve(X) + NOISE * rng.standard_normal(X.shape)


def ensemble(n_networks: int, epochs: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Train networks on bootstrap samples; the points, and what each network predicts on a line (n,)."""
    X, Y = points()
    rng = np.random.default_rng(1)
    samples = [rng.integers(len(X), size=len(X)) for _ in range(n_networks)]
    networks = [bp.Network([1, 16, 16, 1], "tanh", seed=seed) for seed in range(n_networks)]
    seeds, optimizer = list(range(n_networks)), bp.Adam(0.01)
    began = time.perf_counter()
    bp.fit_many(networks, X, Y, epochs=epochs, batch_size=16, optimizer=optimizer, seed=seeds, rows=samples)
    print(f"{n_networks} networks on bootstrap samples: {time.perf_counter() - began:.2f} s")
    x = np.linspace(-1.25, 1.25, 251)
    return (X, Y), x, bp.predict_many(networks, x[:, None])[..., 0]


def grid(n_seeds: int, epochs: int = GRID_EPOCHS) -> np.ndarray:
    """Train networks with all learning rates and seeds; the losses (n_rates, n_seeds) of the last epoch."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 2))
    Y = np.sin(2 * X[:, :1]) * X[:, 1:]
    settings = [(rate, seed) for rate in RATES for seed in range(n_seeds)]
    networks = [bp.Network([2, 16, 16, 1], "relu", seed=seed) for _, seed in settings]
    optimizers = [bp.SGD(rate, momentum=0.9) for rate, _ in settings]
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that names the networks that have diverged: they are drawn
        histories = bp.fit_many(
            networks, X, Y, epochs=epochs, optimizer=optimizers, seed=[seed for _, seed in settings]
        )
    print(f"{len(networks)} networks with {len(RATES)} learning rates: {time.perf_counter() - began:.2f} s")
    losses = [np.nan if history.stopped_by == "divergence" else history.loss[-1] for history in histories]
    return np.reshape(losses, (len(RATES), n_seeds))


def main(pictures: Path | None = None, networks: int = 100, epochs: int = 300) -> Found:
    """Train an ensemble and a grid."""
    data, x, predicted = ensemble(networks, epochs)
    losses = grid(n_seeds=max(1, networks // 10))
    found = Found(data, x, predicted, losses)
    spread = predicted.std(axis=0)
    wide, narrow = spread[in_gap(x)].mean(), spread[near(x)].mean()
    print(f"spread of the predictions: {wide:.3f} in the gap, {narrow:.3f} at points")
    first = RATES[(lost(losses) > 0).argmax()]
    print(f"best learning rate: {RATES[best(losses)]:.2g}; some diverge from {first:.2g} on")
    if pictures is not None:
        draw(pictures, found)
    return found


def in_gap(x: np.ndarray) -> np.ndarray:
    """Return where on the line no points are."""
    return (x > 0.1) & (x < 0.4)


def near(x: np.ndarray) -> np.ndarray:
    """Return where points are."""
    return ((x > -0.9) & (x < -0.2)) | ((x > 0.65) & (x < 0.95))


def best(losses: np.ndarray) -> int:
    """Return which learning rate has the lowest median loss; one of which a network diverges has none."""
    return int(np.nanargmin(np.median(losses, axis=1)))


def lost(losses: np.ndarray) -> np.ndarray:
    """Return the share of each learning rate's networks that have diverged, or were on their way to that."""
    return 1 - (losses <= LOST).mean(axis=1)


def draw(pictures: Path, found: Found) -> None:
    """Draw the ensemble's band, and the losses over the learning rate."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    x, predicted = found.x, found.predicted
    for share, grey in ((95, "0.85"), (50, "0.65")):
        edges = np.percentile(predicted, [50 - share / 2, 50 + share / 2], axis=0)
        left.fill_between(x, *edges, color=grey, linewidth=0, label=f"{share} % of the networks")
    left.plot(x, predicted.mean(axis=0), "k", label="their mean")
    left.plot(x, curve(x), "k:", label="without noise")
    left.plot(*found.points, "k.", markersize=4, label="points")
    left.set(xlabel="x", ylabel="y", ylim=(-2.2, 2.2))
    left.legend(loc="lower right", fontsize="small", ncols=2)
    losses, labels = found.losses, ("each seed", "median", "diverged")
    lines = right.plot(RATES, losses, ".", color="0.65", markersize=4)[:1]
    lines += right.plot(RATES, np.median(losses, axis=1), "k")
    right.set(xscale="log", yscale="log", xlabel="learning rate (per step)", ylabel="cost in the last epoch")
    right.set_ylim(0.7 * np.nanmin(losses), LOST)
    shares = right.twinx()
    lines += shares.plot(RATES, 100 * lost(losses), "k--")
    shares.set(ylabel="diverged (% of the networks)", ylim=(-3, 103))
    right.legend(lines, labels, loc="upper left")
    figure.savefig(pictures / "20_many_networks.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--networks", type=int, default=100, help="of the ensemble (%(default)s)")
    parser.add_argument("--epochs", type=int, default=300, help="of the ensemble (%(default)s)")
    main(**vars(parser.parse_args()))
