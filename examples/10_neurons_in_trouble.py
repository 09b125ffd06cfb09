"""Neurons in trouble: saturated, dead, starved.

Four networks 2-8-8-1 on the same points: a healthy one, and three that were made to get into trouble.  What to look
for in the reports:

* saturated: sigmoid neurons with initial weights that are far too large.  Their z is far from 0 for nearly all points,
  where the derivative is near 0: at z = 15 it is 3.1e-7.
* dead: relu neurons after online training with a learning rate of 2.  Their z is below 0 for all points; output and
  gradient are 0, so that they cannot come back.
* starved: inputs a thousand times too small.  A weight's step is its error times its input; the first layer learns
  slowly, and the report says so.

Run: ``python examples/10_neurons_in_trouble.py [folder for the pictures]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import make_moons

import fastbp as bp

SIZES = [2, 8, 8, 1]


def points() -> tuple[np.ndarray, np.ndarray]:
    """Return standardised half moons."""
    X, y = make_moons(300, noise=0.1, random_state=0)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def healthy() -> tuple[bp.Network, np.ndarray]:
    """Return a network that learned well, and its inputs."""
    X, y = points()
    net = bp.Network(SIZES, "tanh", "sigmoid", "cross_entropy", seed=0)
    net.fit(X, y, 50, 10, bp.Adam(1e-2), seed=0)
    return net, X


def saturated() -> tuple[bp.Network, np.ndarray]:
    """Return a network of sigmoid neurons whose initial weights are far too large, and its inputs."""
    net = bp.Network(SIZES, "sigmoid", "sigmoid", "cross_entropy", initializer="standard_normal", seed=0)
    net.params *= 50
    return net, points()[0]


def dead() -> tuple[bp.Network, np.ndarray]:
    """Return a network of relu neurons after steps that were far too large, and its inputs."""
    X, y = points()
    net = bp.Network(SIZES, "relu", "sigmoid", "cross_entropy", seed=0)
    net.fit(X, y, 5, 1, bp.SGD(2.0), seed=0)
    return net, X


def starved() -> tuple[bp.Network, np.ndarray]:
    """Return a network and inputs that are a thousand times too small for it."""
    return bp.Network(SIZES, "tanh", "sigmoid", "cross_entropy", seed=0), points()[0] / 1000


def slope_of_sigmoid(z: float) -> float:
    """Return the derivative of the sigmoid, as the delta of a neuron with dC/da = 1."""
    net = bp.Network([1, 1], output="sigmoid", initializer="zeros")
    net.params[0] = 1.0
    return float(net.trace([[z]], net.predict([[z]]) - 1.0).layers[0].delta[0, 0])


def main(pictures: Path | None = None) -> dict[str, Any]:
    """Print a report of each network."""
    slope = slope_of_sigmoid(15.0)
    print(f"derivative of the sigmoid at z = 15: {slope:.1e}")
    reports = {}
    for make in (healthy, saturated, dead, starved):
        net, X = make()
        reports[make.__name__] = bp.diagnose(net, X)
        print(f"\n{make.__name__}: {reports[make.__name__]}")
    if pictures is not None:
        draw(pictures)
    return {"slope": slope, "reports": reports}


def draw(pictures: Path) -> None:
    """Draw three activations with their derivatives, and where two networks' neurons stand on them."""
    from matplotlib.figure import Figure

    from fastbp.plotting import ActivationDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    ActivationDisplay.from_names(["sigmoid", "tanh", "relu"], limits=(-6, 6), ax=axes[0])
    axes[0].set_title("the derivative is what passes an error on", fontsize="medium")
    axes[0].set_ylim(-1.2, 2.5)
    # where the derivative is at least 1 % of its largest value
    for ax, make, low, high in ((axes[1], saturated, -6, 6), (axes[2], dead, 0, 1e5)):
        net, X = make()
        z = net.trace(X, np.ones((len(X), 1))).layers[1].z
        ax.axhspan(low, high, color="0.85", zorder=0, label="derivative not near 0")
        ax.boxplot(z, whis=(0, 100), medianprops={"color": "black"})
        ax.set_yscale("symlog", linthresh=10)
        ax.set_ylim(-1e5, 1e5)
        ax.legend(loc="upper center", frameon=False)
        ax.set_xlabel("neuron of the second hidden layer (number)")
        ax.set_ylabel("weighted input z (no unit)")
        ax.set_title(f"{make.__name__}: range, quartiles and median of z", fontsize="medium")
    figure.savefig(pictures / "10_neurons_in_trouble.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    main(**vars(parser.parse_args()))
