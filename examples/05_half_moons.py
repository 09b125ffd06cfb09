"""Half moons and the learning rate: one network, three rates, three fates.

1500 points of scikit-learn's half moons, standardised; a network 2-4-4-1 with relu, relu and a sigmoid output, 37
parameters; online updates, one point at a time.  What to look for:

* rate 0.5: the first steps throw the weights so far that the relu neurons die (their output is 0 for every point, and
  so is their gradient); the accuracy stays near 50 %, and the weights behind the dead neurons stand still.
* rate 0.05: some epochs near 90 %, a line that bends only once; then both moons are separated, 100 % on both sets.
* rate 0.01: the same, but the plateau near 90 % lasts ten times as long.

How long the plateau lasts depends on the initial weights.  The default seed was chosen because its plateaus are long
enough to be seen; with most seeds rate 0.01 leaves the plateau within ten or twenty epochs, and with about one in
eight rates 0.05 and 0.01 never do.  ``--seeds 24`` counts what happens with the first 24 seeds.

Run: ``python examples/05_half_moons.py [folder for the pictures] [--seed 79] [--seeds 24]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

import fastbp as bp

EPOCHS = {0.5: 60, 0.05: 60, 0.01: 260}  # for each learning rate


class Run(NamedTuple):
    """One training."""

    net: bp.Network
    history: bp.History
    weights: bp.WeightHistory
    accuracy: np.ndarray  # (n_epochs, 2): training and test

    @property
    def first_perfect(self) -> int | None:
        """The first epoch, counted from 1, with 100 % on both sets."""
        epochs = np.flatnonzero((self.accuracy == 1).all(axis=1))
        return int(epochs[0]) + 1 if epochs.size else None

    @property
    def plateau(self) -> int:
        """How many epochs the training accuracy was near 90 %."""
        return int(((self.accuracy[:, 0] > 0.85) & (self.accuracy[:, 0] < 0.95)).sum())


def moons() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the points and classes of the training and the test set."""
    X, y = make_moons(1500, noise=0.05, random_state=0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    return X_train, y_train, X_test, y_test


def train(rate: float, epochs: int, seed: int) -> Run:
    """Train online with one learning rate."""
    X_train, y_train, X_test, y_test = moons()
    net = bp.Network([2, 4, 4, 1], "relu", "sigmoid", "cross_entropy", initializer="standard_normal", seed=seed)
    weights = bp.WeightHistory(net)
    accuracy = []

    def watch(net: bp.Network, history: bp.History) -> None:
        pairs = ((X_train, y_train), (X_test, y_test))
        accuracy.append([((net.predict(X)[:, 0] > 0.5) == y).mean() for X, y in pairs])

    history = net.fit(
        X_train,
        y_train,
        epochs,
        batch_size=1,
        optimizer=bp.SGD(rate),
        seed=seed,
        validation_data=(X_test, y_test),
        callbacks=[weights, watch],
    )
    return Run(net, history, weights, np.array(accuracy))


def main(pictures: Path | None = None, seed: int = 79, seeds: int = 0) -> dict[float, Run]:
    """Train with each learning rate; print when each accuracy was reached."""
    runs = {rate: train(rate, epochs, seed) for rate, epochs in EPOCHS.items()}
    for rate, run in runs.items():
        last = " and ".join(f"{value:.1%}" for value in run.accuracy[-1])
        when = f"100 % on both sets in epoch {run.first_perfect}" if run.first_perfect else "never 100 % on both sets"
        print(f"rate {rate:4}: {len(run.history):3} epochs in {run.history.seconds.sum():.2f} s, ", end="")
        print(f"{run.plateau:3} of them near 90 %, {when}; at the end {last}")
    if seeds:
        count(seeds)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        draw_boundaries(pictures, runs)
        draw_curves(pictures, runs)
        draw_weights(pictures, runs)
    return runs


def count(seeds: int) -> None:
    """Print what becomes of each rate with many initial weights."""
    for rate, epochs in EPOCHS.items():
        runs = [train(rate, epochs, seed) for seed in range(seeds)]
        perfect = [run.first_perfect for run in runs if run.first_perfect]
        stuck = sum(run.accuracy[-1, 0] < 0.6 for run in runs)
        median = f", the middle one in epoch {int(np.median(perfect))}" if perfect else ""
        print(f"rate {rate:4}: of {seeds} seeds {len(perfect)} reach 100 % on both sets{median}; ", end="")
        print(f"{stuck} end near 50 %")


def draw_boundaries(pictures: Path, runs: dict[float, Run]) -> None:
    """Draw the test points and what each network says."""
    from matplotlib.figure import Figure

    from fastbp.plotting import DecisionBoundaryDisplay

    _, _, X_test, y_test = moons()
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    for ax, (rate, run) in zip(figure.subplots(1, 3), runs.items(), strict=True):
        DecisionBoundaryDisplay.from_network(run.net, X_test, y_test, ax=ax, class_names=("moon 0", "moon 1"))
        share = f"{run.accuracy[-1, 1]:.0%} of the test points right"
        ax.set_title(f"rate {rate}, {len(run.history)} epochs:\n{share}", fontsize="medium")
    figure.savefig(pictures / "05_boundaries.png", dpi=95)


def draw_curves(pictures: Path, runs: dict[float, Run]) -> None:
    """Draw accuracy and loss over the epochs."""
    from matplotlib.figure import Figure

    from fastbp.plotting import HistoryDisplay

    figure = Figure(figsize=(13, 6), layout="constrained")
    for column, (rate, run) in zip(figure.subplots(2, 3).T, runs.items(), strict=True):
        display = HistoryDisplay(*run.accuracy.T, quantity="accuracy (share of points)").plot(column[0])
        display.ax_.set_ylim(0.4, 1.03)
        display.ax_.set_title(f"rate {rate}")
        HistoryDisplay(run.history.loss, run.history.val_loss).plot(column[1])
        column[1].set_ylim(bottom=0)
    figure.savefig(pictures / "05_curves.png", dpi=95)


def draw_weights(pictures: Path, runs: dict[float, Run]) -> None:
    """Draw all 37 weights and biases over the epochs."""
    from matplotlib.figure import Figure

    from fastbp.plotting import WeightHistoryDisplay

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    for ax, (rate, run) in zip(figure.subplots(1, 3), runs.items(), strict=True):
        WeightHistoryDisplay.from_history(run.weights, ax=ax)
        ax.set_title(f"rate {rate}")
        if rate != list(runs)[-1]:
            ax.get_legend().remove()
    figure.savefig(pictures / "05_weights.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--seed", type=int, default=79, help="of the initial weights and the order (%(default)s)")
    parser.add_argument("--seeds", type=int, default=0, help="also count the fates of this many seeds")
    main(**vars(parser.parse_args()))
