"""One weight, the smallest network there is.

A linear neuron without a bias, y = w x, with x = 0.8 and the target 0.2.  What to look for: at w = 0.4 the output is
0.32, the error delta = y - target is 0.12, and the gradient is delta times x, 0.096.  The cost is a parabola over w
with its lowest point at 0.2 / 0.8 = 0.25.  A small learning rate slides down; one near 2 / x^2 = 3.125 jumps from side
to side, and one beyond it would leave.

Run: ``python examples/02_one_weight.py [folder for the pictures] [--steps 12]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

X, Y = np.array([[0.8]]), np.array([[0.2]])
START = 0.4
RATES = (0.5, 2.8)


def one_weight(w: float = START) -> bp.Network:
    """Return the neuron; its bias is 0 and stays 0, because no step touches it."""
    net = bp.Network([1, 1], initializer="zeros")
    net.weights[0][0, 0] = w
    return net


def descend(rate: float, steps: int) -> np.ndarray:
    """Return the weight at the start and after each step of gradient descent."""
    net = one_weight()
    w = [START]
    for _ in range(steps):
        net.weights[0] -= rate * net.trace(X, Y).layers[0].dW
        w.append(net.weights[0][0, 0])
    return np.array(w)


def main(pictures: Path | None = None, steps: int = 12) -> dict[str, Any]:
    """Print the numbers at the start, then descend with each learning rate."""
    layer = one_weight().trace(X, Y).layers[0]
    numbers = {"output": layer.a[0, 0], "delta": layer.delta[0, 0], "gradient": layer.dW[0, 0]}
    print(
        f"w {START}: output {numbers['output']:.2f}, delta {numbers['delta']:.2f}, gradient {numbers['gradient']:.3f}"
    )
    paths = {rate: descend(rate, steps) for rate in RATES}
    for rate, w in paths.items():
        print(f"learning rate {rate}: " + " ".join(f"{value:.3f}" for value in w))
    if pictures is not None:
        draw(pictures, paths)
    return numbers | {"paths": paths}


def draw(pictures: Path, paths: dict[float, np.ndarray]) -> None:
    """Draw the cost over w, with both descents on it."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    grid = np.linspace(0.05, 0.45, 101)
    for ax, (rate, w) in zip(figure.subplots(1, 2, sharey=True), paths.items(), strict=True):
        ax.plot(grid, [one_weight(value).loss_value(X, Y) for value in grid], color="0.5", label="cost")
        costs = [one_weight(value).loss_value(X, Y) for value in w]
        ax.plot(w, costs, "o--", color="#0072B2", markersize=5, linewidth=1, label="steps")
        ax.plot(0.25, 0, "k*", markersize=13, label="optimum, w = 0.25")
        ax.set_xlabel("weight w (no unit)")
        ax.set_title(f"learning rate {rate}", fontsize="medium")
    ax.legend(frameon=False)
    figure.axes[0].set_ylabel("cost (half the squared error)")
    figure.savefig(pictures / "02_one_weight.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--steps", type=int, default=12, help="steps of each descent (%(default)s)")
    main(**vars(parser.parse_args()))
