"""Two inputs, one linear output, two associations: gradient descent solves a system of two equations.

Batch gradient descent from w = (-0.8, -1.6) until the gradient is nearly 0.  What to look for: the cost over both
weights is a long valley; the path first falls down its side, at right angles to the lines of equal cost, and then
creeps along the floor.  It ends at the solution of the linear system X w = y.

Run: ``python examples/03_two_associations.py [folder for the pictures] [--rate 0.5]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

X = np.array([[1.0, 0.2], [0.9, 0.9]])
Y = np.array([[-0.86], [-0.63]])
START = (-0.8, -1.6)
TOLERANCE = 1e-8  # of the gradient's norm
MOST_STEPS = 100_000


def main(pictures: Path | None = None, rate: float = 0.5) -> dict[str, Any]:
    """Descend, and compare with the solution of the linear system."""
    net = bp.Network([2, 1], initializer="zeros")
    w = net.params[:2]  # a view: the two weights; the bias behind them stays 0
    w[:] = START
    path = [w.copy()]
    for _ in range(MOST_STEPS):
        cost, grad = net.value_and_grad(X, Y)
        if np.linalg.norm(grad[:2]) < TOLERANCE:
            break
        w -= rate * grad[:2]
        path.append(w.copy())
    solution = np.linalg.solve(X, Y[:, 0])
    print(f"{len(path) - 1} steps with learning rate {rate}: w = ({w[0]:.6f}, {w[1]:.6f}), cost {cost:.1e}")
    print(f"solution of X w = y:              w = ({solution[0]:.6f}, {solution[1]:.6f})")
    if pictures is not None:
        draw(pictures, net, np.array(path))
    return {"w": w.copy(), "solution": solution, "path": np.array(path), "cost": cost}


def draw(pictures: Path, net: bp.Network, path: np.ndarray) -> None:
    """Draw the error surface with the path on it."""
    from fastbp.plotting import ErrorSurfaceDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    display = ErrorSurfaceDisplay.from_network(net, X, Y, path=path)
    display.figure_.savefig(pictures / "03_error_surface.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--rate", type=float, default=0.5, help="learning rate (%(default)s)")
    main(**vars(parser.parse_args()))
