"""Two neurons, one step of gradient descent, every number on the way.

A network 2-1-1 with a tanh neuron and a logistic output neuron learns from one sample.  What to look for: the error of
the output neuron, -0.14, travels back through the weight 0.5 to the hidden neuron, where it is -0.066; each weight's
step is the learning rate times the error behind it times the activation in front of it, with a minus sign.  Five
parameters: the same gradient by perturbation takes six forward passes.

Run: ``python examples/01_two_neurons.py [folder for the pictures] [--steps 3]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

LEARNING_RATE = 0.1
X, Y = np.array([[-0.9, 0.1]]), np.array([[1.0]])
MANY_STEPS = 2000


def two_neurons() -> bp.Network:
    """Return the network with its starting weights."""
    net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid", loss="quadratic")
    net.weights[0][:, 0] = 0.6, -0.1
    net.biases[0][0] = 0.3
    net.weights[1][0, 0] = 0.5
    net.biases[1][0] = -0.2
    return net


def step_with_table(net: bp.Network, number: int) -> bp.Trace:
    """Take one step, print all its numbers, and return the trace before it."""
    trace = net.trace(X, Y)
    hidden, output = trace.layers
    print(f"step {number}: cost {trace.cost:.4f}, its derivative by the output {output.a[0, 0] - Y[0, 0]:.4f}")
    print(f"  hidden neuron  z {hidden.z[0, 0]:8.4f}  a {hidden.a[0, 0]:8.4f}  delta {hidden.delta[0, 0]:8.4f}")
    print(f"  output neuron  z {output.z[0, 0]:8.4f}  a {output.a[0, 0]:8.4f}  delta {output.delta[0, 0]:8.4f}")
    before = net.params.copy()
    net.fit(X, Y, epochs=1, batch_size=1, optimizer=bp.SGD(LEARNING_RATE))
    names = ("hidden weight 1", "hidden weight 2", "hidden bias", "output weight", "output bias")
    for name, old, new in zip(names, before, net.params, strict=True):
        print(f"  {name:16s}{old:8.4f} {new - old:+9.5f} -> {new:8.4f}")
    return trace


def main(pictures: Path | None = None, steps: int = 1) -> dict[str, Any]:
    """Print a table for each step; return the numbers of the first, and the parameters after all."""
    net = two_neurons()
    traces = [step_with_table(net, number) for number in range(1, steps + 1)]
    perturbed = bp.finite_difference_gradient(two_neurons(), X, Y)
    print(f"by perturbation the same gradient takes {perturbed.n_passes} forward passes:")
    print("  " + " ".join(f"{value:.6f}" for value in perturbed.gradient))
    if pictures is not None:
        draw(pictures)
    return {"trace": traces[0], "params": net.params.copy(), "perturbed": perturbed}


def draw(pictures: Path) -> None:
    """Draw the network with its weights and with its first steps, and many steps in a row."""
    from matplotlib.figure import Figure

    from fastbp.plotting import HistoryDisplay, NetworkDisplay, WeightHistoryDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    net = two_neurons()
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    above, below = figure.subplots(2)
    NetworkDisplay.from_network(net, X, Y, ax=above)
    NetworkDisplay.from_network(net, X, Y, arrows="steps", learning_rate=LEARNING_RATE, ax=below)
    figure.savefig(pictures / "01_two_neurons.png", dpi=95)

    weights = bp.WeightHistory(net)
    history = net.fit(X, Y, MANY_STEPS, 1, bp.SGD(LEARNING_RATE), callbacks=[weights])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    HistoryDisplay.from_history(history, ax=left)
    WeightHistoryDisplay.from_history(weights, ax=right)
    figure.suptitle("many steps in a row (an epoch is one step here)", fontsize="medium")
    figure.savefig(pictures / "01_many_steps.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--steps", type=int, default=1, help="steps to take, each with its table (%(default)s)")
    main(**vars(parser.parse_args()))
