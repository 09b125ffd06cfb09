"""A hidden layer of logistic units, linear outputs, and the gradient of all associations at once.

A network 2-4-2 learns four associations: from two bits to their exclusive or and their sum.  What to look for: the
batch gradient is the mean of the gradients of the single associations, and gradient descent with it stops where its
norm is small.  The cost first stands nearly still while the hidden units are alike, and falls once they differ.

Run: ``python examples/08_logistic_hidden_layer.py [folder for the pictures] [--rate 0.5] [--tolerance 0.0001]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
MOST_STEPS = 100_000


def main(pictures: Path | None = None, rate: float = 0.5, tolerance: float = 1e-4) -> dict[str, Any]:
    """Train; print each association, and how the training ended."""
    net = bp.Network([2, 4, 2], activation="sigmoid", output="identity", seed=3)
    singles = [net.value_and_grad(x[None], y[None])[1] for x, y in zip(X, Y, strict=True)]
    difference = float(abs(np.mean(singles, axis=0) - net.value_and_grad(X, Y)[1]).max())
    print(f"batch gradient and mean of the single ones differ by {difference:.0e}")
    weights = bp.WeightHistory(net)
    history = net.fit(X, Y, MOST_STEPS, batch_size=None, optimizer=bp.SGD(rate), tol=tolerance, callbacks=[weights])
    norm = float(np.linalg.norm(net.value_and_grad(X, Y)[1]))
    outputs = net.predict(X)
    print(f"{len(history)} steps in {history.seconds.sum():.2f} s, stopped by {history.stopped_by}, ", end="")
    print(f"gradient norm {norm:.1e}, cost {net.loss_value(X, Y):.1e}")
    for x, y, a in zip(X, Y, outputs, strict=True):
        print(f"  {x} -> {y}, output {np.array2string(a, precision=3, suppress_small=True)}")
    if pictures is not None:
        draw(pictures, weights, history)
    return {"difference": difference, "history": history, "norm": norm, "outputs": outputs}


def draw(pictures: Path, weights: bp.WeightHistory, history: bp.History) -> None:
    """Draw the cost and all weights over the steps."""
    from matplotlib.figure import Figure

    from fastbp.plotting import HistoryDisplay, WeightHistoryDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    HistoryDisplay.from_history(history, ax=left)
    left.set_yscale("log")
    WeightHistoryDisplay.from_history(weights, ax=right)
    for ax in (left, right):
        ax.set_xlabel("epoch (one step with all associations)")
    figure.savefig(pictures / "08_logistic_hidden_layer.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--rate", type=float, default=0.5, help="learning rate (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of the gradient's norm (%(default)s)")
    main(**vars(parser.parse_args()))
