"""Deltas as amplifiers: what a small change of a neuron does to the error.

Networks without activation functions, with the error sum_j (P_j - label_j)^2 and the label (1, 0).  What to look for:
at P = (-1, 0) the output deltas are (-4, 0), at P = (-0.5, 1.5) they are (-3, 3).  A hidden neuron's delta is the sum
over its outgoing weights of weight times delta: with the weight 1/5 and the delta -4 it is -4/5, so that a change of
5/4 of that neuron changes the error by -1, to first order.  The larger network 2-2-4-3-2 works the same way, and node
perturbation, which moves one neuron at a time and looks at the error, finds the same deltas.

Run: ``python examples/04_deltas_as_amplifiers.py [folder for the pictures]``
"""

import argparse
from pathlib import Path
from typing import Any

import numba
import numpy as np

import fastbp as bp

LABEL = np.array([[1.0, 0.0]])
X = np.array([[1.0, 1.0]])


@numba.njit
def squared_error(a: float, y: float) -> float:
    """Return the error of one output, without the usual half."""
    return (a - y) ** 2


@numba.njit
def squared_error_derivative(a: float, y: float) -> float:
    """Return its derivative by the output."""
    return 2.0 * (a - y)


ERROR = bp.Loss("squared_error", squared_error, squared_error_derivative)


def linear_network(sizes: list[int], seed: int = 0) -> bp.Network:
    """Return a network without activation functions."""
    return bp.Network(sizes, activation="identity", loss=ERROR, seed=seed)


def network_with_outputs(P: tuple[float, float]) -> bp.Network:
    """Return the network 2-2-2 whose outputs are P: its last biases make up the difference."""
    net = linear_network([2, 2, 2])
    net.weights[0][...] = np.eye(2)
    net.weights[1][...] = [[1 / 5, 0.0], [-1 / 2, 3 / 4]]
    net.biases[1][...] = np.array(P) - X[0] @ net.weights[1]
    return net


def main(pictures: Path | None = None) -> dict[str, Any]:
    """Print the deltas of both networks, and what a change of one hidden neuron does."""
    numbers: dict[str, Any] = {}
    for P in ((-1.0, 0.0), (-0.5, 1.5)):
        hidden, output = network_with_outputs(P).trace(X, LABEL).layers
        print(f"P = {P}: output deltas {output.delta[0]}, hidden deltas {hidden.delta[0]}")
        numbers[f"deltas at {P}"] = output.delta[0]
    net = network_with_outputs((-1.0, 0.0))
    hidden = net.trace(X, LABEL).layers[0]
    numbers["hidden delta"] = hidden.delta[0, 0]
    before = net.loss_value(X, LABEL)
    net.biases[0][0] += 5 / 4  # without an activation function a change of the bias is one of the neuron
    numbers["change"] = net.loss_value(X, LABEL) - before
    print(f"hidden neuron 1 changed by 5/4: delta times change {hidden.delta[0, 0] * 5 / 4:.4f}, ", end="")
    print(f"the error really changes by {numbers['change']:.4f}")

    large = linear_network([2, 2, 4, 3, 2])
    trace = large.trace(X, LABEL)
    moved = bp.node_perturbation(large, X, LABEL)
    numbers["difference"] = max(abs(a.delta - b).max() for a, b in zip(trace.layers, moved, strict=True))
    print(f"2-2-4-3-2: backpropagation and node perturbation differ by {numbers['difference']:.0e} at most")
    for number, (layer, b) in enumerate(zip(trace.layers, moved, strict=True), start=1):
        print(f"  layer {number}: {np.array2string(layer.delta[0], precision=4)}  {np.array2string(b[0], precision=4)}")
    if pictures is not None:
        draw(pictures, large)
    return numbers


def draw(pictures: Path, large: bp.Network) -> None:
    """Draw both networks with their deltas."""
    from fastbp.plotting import NetworkDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    small = NetworkDisplay.from_network(network_with_outputs((-1.0, 0.0)), X, LABEL)
    small.figure_.savefig(pictures / "04_amplifiers.png", dpi=95)
    larger = NetworkDisplay.from_network(large, X, LABEL)
    larger.figure_.savefig(pictures / "04_larger_network.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    main(**vars(parser.parse_args()))
