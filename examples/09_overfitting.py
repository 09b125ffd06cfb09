"""Overfitting: too small a network, a good one, too large a one; and two remedies.

A sine with noise, 20 points to learn from and 200 others to validate with.  What to look for: one hidden neuron cannot
bend enough; 3 can; 100 go through the noise of every point.  The training loss of the large network falls and falls,
while its validation loss turns up.  Early stopping goes back to the weights of the turning point; an L2 penalty keeps
the weights small, and with them the bends.

Run: ``python examples/09_overfitting.py [folder for the pictures] [--epochs 16000]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp as bp

NOISE = 0.25
L2_PENALTY = 1e-3


class Fit(NamedTuple):
    """One trained network."""

    net: bp.Network
    history: bp.History

    @property
    def squared_weights(self) -> float:
        """Sum of all squared weights, biases excluded."""
        return float(sum((W**2).sum() for W in self.net.weights))


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training and validation points of a noisy sine."""
    rng = np.random.default_rng(1)
    x, x_val = np.linspace(-1, 1, 20)[:, None], rng.uniform(-1, 1, (200, 1))
    y, y_val = (np.sin(np.pi * points) + NOISE * rng.standard_normal(points.shape) for points in (x, x_val))
    return x, y, x_val, y_val


def train(n_hidden: int, epochs: int, l2_penalty: float = 0.0, early_stopping: bp.EarlyStopping | None = None) -> Fit:
    """Train a network with one hidden layer."""
    x, y, x_val, y_val = data()
    net = bp.Network([1, n_hidden, 1], activation="tanh", initializer="standard_normal", seed=0, l2_penalty=l2_penalty)
    history = net.fit(x, y, epochs, None, bp.Adam(5e-3), validation_data=(x_val, y_val), early_stopping=early_stopping)
    return Fit(net, history)


def main(pictures: Path | None = None, epochs: int = 16_000) -> dict[str, Fit]:
    """Train five networks; print their losses and how large their weights have become."""
    fits = {
        "1 hidden neuron": train(1, epochs),
        "3 hidden neurons": train(3, epochs),
        "100 hidden neurons": train(100, epochs),
        "100, early stopping": train(100, epochs, early_stopping=bp.EarlyStopping(patience=500)),
        "100, L2 penalty": train(100, epochs, l2_penalty=L2_PENALTY),
    }
    x, y, x_val, y_val = data()
    print(f"{'network':20}{'epochs':>8}{'training':>10}{'validation':>12}{'lowest':>10}{'squared weights':>17}")
    for name, fit in fits.items():
        error, error_val = (((fit.net.predict(X) - Y) ** 2).mean() / 2 for X, Y in ((x, y), (x_val, y_val)))
        lowest = f"{'-':>10}" if fit.net.penalties[0] else f"{fit.history.val_loss.min():10.4f}"  # without a penalty
        print(f"{name:20}{len(fit.history):8}{error:10.4f}{error_val:12.4f}{lowest}{fit.squared_weights:17.1f}")
    print(f"(losses without the penalty; half the variance of the noise is {NOISE**2 / 2:.4f})")
    if pictures is not None:
        draw(pictures, fits)
    return fits


def draw(pictures: Path, fits: dict[str, Fit]) -> None:
    """Draw the fits, and the losses of the large network."""
    from matplotlib.figure import Figure

    from fastbp.plotting import HistoryDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    x, y, _, _ = data()
    grid = np.linspace(-1, 1, 400)[:, None]
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, (name, fit) in zip(axes, fits.items(), strict=False):
        ax.plot(grid, np.sin(np.pi * grid), ":", color="0.5", label="without noise")
        ax.plot(x, y, "ko", markersize=4, label="learned from")
        ax.plot(grid, fit.net.predict(grid), color="#0072B2", label=name)
        if name.startswith("100"):
            for remedy, line in (("100, early stopping", "--"), ("100, L2 penalty", "-.")):
                ax.plot(grid, fits[remedy].net.predict(grid), line, color="#D55E00", label=remedy)
        ax.set_xlabel("x (no unit)")
        ax.set_ylim(-2, 2.6)
        ax.legend(frameon=False, fontsize="small", loc="upper left")
    axes[0].set_ylabel("y (no unit)")
    figure.savefig(pictures / "09_fits.png", dpi=95)

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for ax, (name, fit) in zip(axes, fits.items(), strict=False):
        HistoryDisplay.from_history(fit.history, ax=ax)
        ax.set_xscale("log")
        ax.set_ylim(0, 0.12)
        ax.set_title(name, fontsize="medium")
    figure.savefig(pictures / "09_losses.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--epochs", type=int, default=16_000, help="of each training (%(default)s)")
    main(**vars(parser.parse_args()))
