"""Newton's method without a Hessian: products with it are all that conjugate gradients need.

A small network learns a sine wave by two of SciPy's methods, Newton-CG and trust-ncg, which ask for nothing but
products of the Hessian with a vector. What to look for: some twenty steps are enough, and near the minimum the norm of
the gradient falls faster and faster. Then the largest and smallest eigenvalues of the Hessian, by Lanczos' method: none
is negative, so it is a minimum indeed. The largest limits the learning rate of gradient descent to 2 over it, and the
ratio of both, nearly 100,000 here, is about how many steps that would take.

Run: ``python examples/15_second_derivatives.py [folder for the pictures] [--hidden 2]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse.linalg

import fastbp as bp

X = np.linspace(-1, 1, 40)[:, None]
Y = np.sin(3 * X)


class Cost:
    """The cost as SciPy takes it; it is linearized once for all products at the same parameters."""

    def __init__(self, net: bp.Network) -> None:
        self.net, self.params, self.at, self.norms = net, np.array([]), None, []

    def value_and_grad(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        """Cost and gradient, whose norm is noted."""
        cost, grad = self.net.value_and_grad(X, Y, params)
        self.norms.append(np.linalg.norm(grad))
        return cost, grad

    def hvp(self, params: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Product of the Hessian at some parameters with a vector."""
        if not np.array_equal(params, self.params):
            self.params, self.at = params.copy(), self.net.linearize(X, Y, params=params)
        return self.at.hvp(v)


def main(pictures: Path | None = None, hidden: int = 2) -> dict[str, Any]:
    """Minimise the cost by both methods, and look at the Hessian at the minimum."""
    numbers: dict[str, Any] = {"results": {}, "norms": {}}
    net = bp.Network([1, hidden, 1], "tanh", l2_penalty=1e-4, seed=0)
    # Of Newton-CG the tolerance is that of a step, of trust-ncg that of the gradient; smaller ones lie in the rounding.
    for method, tolerance in (("Newton-CG", 1e-6), ("trust-ncg", 1e-8)):
        cost = Cost(net)
        result = scipy.optimize.minimize(
            cost.value_and_grad, net.params, jac=True, hessp=cost.hvp, method=method, tol=tolerance
        )
        norm = np.linalg.norm(result.jac)
        print(
            f"{method:9}  {result.nit:3} steps, {result.nhev:4} products: cost {result.fun:.6f}, |gradient| {norm:.0e}"
        )
        numbers["results"][method], numbers["norms"][method] = result, np.array(cost.norms)
    net.params = result.x
    hessian = net.linearize(X, Y).hessian
    largest = scipy.sparse.linalg.eigsh(hessian, k=3, which="LA", return_eigenvectors=False, v0=np.ones(net.n_params))
    smallest = scipy.sparse.linalg.eigsh(hessian, k=1, which="SA", return_eigenvectors=False, v0=np.ones(net.n_params))
    print("largest eigenvalues of the Hessian:", ", ".join(f"{value:.4f}" for value in np.sort(largest)[::-1]))
    print(f"smallest: {smallest[0]:.1e}; gradient descent needs a learning rate below {2 / largest.max():.2f}")
    if pictures is not None:
        draw(pictures, numbers["norms"])
    return numbers | {"net": net, "largest": np.sort(largest)[::-1], "smallest": smallest[0]}


def draw(pictures: Path, norms: dict[str, np.ndarray]) -> None:
    """Draw the norm of the gradient over the evaluations."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    for method, values in norms.items():
        ax.semilogy(values, label=method)
    ax.set(xlabel="gradients computed", ylabel="norm of the gradient")
    ax.legend()
    figure.savefig(pictures / "15_second_derivatives.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--hidden", type=int, default=2, help="hidden neurons (%(default)s)")
    main(**vars(parser.parse_args()))
