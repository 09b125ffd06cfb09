"""A differential equation solved by a network: Poisson's on the unit square, with a known solution.

u_xx + u_yy = -2 pi^2 sin(pi x) sin(pi y) inside, u = 0 on the edge; the solution is u = sin(pi x) sin(pi y).  The
network is told no value of u inside.  Its cost is the mean squared residual of the equation at points inside and, with
a weight, half the mean square of u at points of the edge; costs and gradients are added up for an optimizer of SciPy.

What to look for: `residual_value_and_grad` takes one function of u, du and the Laplacian, in plain NumPy and for all
points at once; the cost falls by nearly six powers of ten, and nowhere is the network as far as 0.001 from the
solution.

Run: ``python examples/16_poisson_equation.py [folder for the pictures] [--iterations 3000]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.optimize

import fastbp as bp

N_INSIDE = 400
N_EDGE = 40  # on each of the four sides
EDGE_WEIGHT = 1000.0  # else u at the edge is learned last


class Solution(NamedTuple):
    """What was learned."""

    net: bp.Network
    costs: np.ndarray
    error: float


def solution(X: np.ndarray) -> np.ndarray:
    """Return the exact u at some points (n, 2)."""
    return np.prod(np.sin(np.pi * X), axis=1)


def residual(X: np.ndarray, u: np.ndarray, du: np.ndarray, lap: np.ndarray) -> tuple:
    """Return each point's squared residual, and its derivative by the Laplacian."""
    r = lap[:, 0] + 2 * np.pi**2 * solution(X)
    return r**2, None, None, 2 * r


def points() -> tuple[np.ndarray, np.ndarray]:
    """Return points inside and on the edge."""
    inside = np.random.default_rng(0).random((N_INSIDE, 2))
    t = np.linspace(0, 1, N_EDGE)
    sides = [(t, 0 * t), (t, 0 * t + 1), (0 * t, t), (0 * t + 1, t)]
    return inside, np.concatenate([np.stack(side, axis=1) for side in sides])


def grid(n: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates of a grid on the square and its points (n * n, 2)."""
    t = np.linspace(0, 1, n)
    return t, np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)


def main(pictures: Path | None = None, iterations: int = 3000) -> Solution:
    """Solve the equation by L-BFGS."""
    inside, edge = points()
    net = bp.Network([2, 20, 20, 1], activation="sine", seed=0)
    nothing, costs = np.zeros((len(edge), 1)), list[float]()

    def cost_and_gradient(params: np.ndarray) -> tuple[float, np.ndarray]:
        cost, grad = net.residual_value_and_grad(inside, residual, params)
        edge_cost, edge_grad = net.value_and_grad(edge, nothing, params)
        costs.append(cost + EDGE_WEIGHT * edge_cost)
        return costs[-1], grad + EDGE_WEIGHT * edge_grad

    options = {"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 30, "ftol": 0, "gtol": 0}
    result = scipy.optimize.minimize(cost_and_gradient, net.params, jac=True, method="L-BFGS-B", options=options)
    net.params = result.x
    _, everywhere = grid()
    error = float(np.abs(net.predict(everywhere)[:, 0] - solution(everywhere)).max())
    print(f"{net}: cost {costs[0]:.0f} before, {result.fun:.1e} after {result.nit} iterations of L-BFGS")
    print(f"largest error on the square {error:.1e}, where u reaches 1")
    if pictures is not None:
        draw(pictures, Solution(net, np.array(costs), error))
    return Solution(net, np.array(costs), error)


def draw(pictures: Path, found: Solution) -> None:
    """Draw the solution as lines of equal u, its error, and the cost."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    t, everywhere = grid()
    inside, edge = points()
    shape = len(t), len(t)
    u = found.net.predict(everywhere)[:, 0].reshape(shape)
    error = np.abs(u - solution(everywhere).reshape(shape))
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    lines = left.contour(t, t, u, levels=np.linspace(0.1, 0.9, 9), colors="k", linewidths=1)
    left.clabel(lines, fmt="%.1f")
    left.plot(*inside.T, ".", color="0.7", markersize=2, zorder=0)
    left.plot(*edge.T, "k.", markersize=2, clip_on=False)
    left.set_title("u of the network, and the points", fontsize="medium")
    image = middle.imshow(error, origin="lower", extent=(0, 1, 0, 1), cmap="Greys", vmin=0)
    figure.colorbar(image, ax=middle, label="|error| (no unit)")
    middle.set_title("distance from the solution", fontsize="medium")
    for ax in (left, middle):
        ax.set_xlabel("x (no unit)")
        ax.set_ylabel("y (no unit)")
        ax.set_aspect("equal")
    right.semilogy(np.minimum.accumulate(found.costs), "k")
    right.set_xlabel("gradient (count)")
    right.set_ylabel("lowest cost so far (no unit)")
    figure.savefig(pictures / "16_poisson_equation.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--iterations", type=int, default=3000, help="of L-BFGS (%(default)s)")
    main(**vars(parser.parse_args()))
