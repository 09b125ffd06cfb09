"""An activation of one's own in one layer with built-in ones, trained by an optimizer of SciPy.

What to look for: a pair of jitted functions is all that is needed; four neurons of the hidden layer have it and two are
linear; `value_and_grad` plugs into scipy.optimize.

Run: ``python examples/14_own_activation.py [folder for the pictures]``
"""

import argparse
from pathlib import Path

import numba
import numpy as np
import scipy.optimize

import fastbp as bp
from fastbp.functions import ACTIVATION_NAMES


@numba.njit
def bump(z: float) -> float:
    """Return a bell around 0."""
    return np.exp(-z * z)


@numba.njit
def bump_derivative(z: float) -> float:
    """Return the derivative of `bump`."""
    return -2.0 * z * np.exp(-z * z)


BELL = bp.Activation("bump", bump, bump_derivative)


def main(pictures: Path | None = None) -> dict[str, float]:
    """Fit a bump on a slope by L-BFGS."""
    x = np.linspace(-3, 3, 200).reshape(-1, 1)
    y = 0.3 * x + np.exp(-4 * (x - 0.5) ** 2)
    net = bp.Network([1, 6, 1], activation=[[(BELL, 4), ("identity", 2)]], seed=1)
    before = net.loss_value(x, y)
    result = scipy.optimize.minimize(
        lambda params: net.value_and_grad(x, y, params), net.params, jac=True, method="L-BFGS-B"
    )
    net.params = result.x
    after = net.loss_value(x, y)
    print(f"{net}: loss {before:.4f} before, {after:.2e} after {result.nit} iterations of L-BFGS")
    if pictures is not None:
        draw(pictures)
    return {"before": before, "after": after}


def draw(pictures: Path) -> None:
    """Draw every activation with its derivative, one's own last."""
    from matplotlib.figure import Figure

    from fastbp.plotting import ActivationDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    activations = [*(name for name in ACTIVATION_NAMES if name != "softmax"), BELL]
    for ax, activation in zip(figure.subplots(3, 4, sharex=True).flat, activations, strict=True):
        ActivationDisplay.from_names([activation], ax=ax)
        ax.set_ylim(-1.3, 2.1)
        ax.set_title(ax.get_legend_handles_labels()[1][0], fontsize="medium")
        ax.get_legend().remove()
        ax.label_outer()
    figure.suptitle("solid: f(z), dashed: f'(z)", fontsize="medium")
    figure.savefig(pictures / "14_activations.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    main(**vars(parser.parse_args()))
