"""An activation of one's own, among built-in ones, in one layer; and a scientist's optimizer on top.

What to look for: a pair of jitted functions is all that is needed; `value_and_grad` plugs into scipy.optimize.

Run: ``python examples/own_activation.py``
"""

import numba
import numpy as np
import scipy.optimize

import fastbp as bp


@numba.njit
def bump(z: float) -> float:
    """Return a bell around 0."""
    return np.exp(-z * z)


@numba.njit
def bump_derivative(z: float) -> float:
    """Return the derivative of `bump`."""
    return -2.0 * z * np.exp(-z * z)


def main() -> None:
    """Fit a bump on a slope by L-BFGS."""
    bell = bp.Activation("bump", bump, bump_derivative)
    x = np.linspace(-3, 3, 200).reshape(-1, 1)
    y = 0.3 * x + np.exp(-4 * (x - 0.5) ** 2)
    net = bp.Network([1, 6, 1], activation=[[(bell, 4), ("identity", 2)]], seed=1)
    before = net.loss_value(x, y)
    result = scipy.optimize.minimize(
        lambda params: net.value_and_grad(x, y, params), net.params, jac=True, method="L-BFGS-B"
    )
    net.params = result.x
    print(f"{net}: loss {before:.4f} before, {net.loss_value(x, y):.2e} after {result.nit} iterations of L-BFGS")


if __name__ == "__main__":
    main()
