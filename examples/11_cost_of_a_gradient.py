"""What a gradient costs: measured, beside what theory says.

What to look for: by counting, a gradient by backpropagation takes at most three forward passes, whatever the number of
parameters n; the backward pass alone takes one to two.  The same gradient by perturbation takes n + 1 forward passes,
so that it takes (n + 1) / 3 times as long and more.  The numbers agree to the accuracy of a difference; keeping the
layers before the changed weight saves a part, not the factor n.

``--million`` makes a real run with a million weights: a million and some forward passes, ten minutes.

Run: ``python examples/11_cost_of_a_gradient.py [folder for the pictures] [--million]``
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp
from fastbp.inspection.gradient_times import GradientTimes, measure_gradient, shortest_calls

# On these a forward pass is long enough that the fixed cost of a call does not matter.
LARGE = ((784, 100, 10), (500, 500, 500), (784, 512, 512, 10))
LARGE_ROWS = 500
# From five parameters to some thousands.
SIZES = ((2, 1, 1), (4, 4, 2), (8, 12, 4), (16, 32, 4), (32, 50, 10), (64, 100, 10))
ROWS = 100


def network(sizes: tuple[int, ...]) -> bp.Network:
    """Return a network of these sizes."""
    return bp.Network(sizes, activation="tanh", seed=0)


def passes_by_counting(sizes: tuple[int, ...]) -> float:
    """Return how many forward passes a gradient takes: three, less the error of the first layer's inputs."""
    products = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    return (3 * sum(products) - products[0]) / sum(products)


def table_of_passes() -> list[tuple[float, float]]:
    """Measure large networks; print and return a gradient over a forward pass, measured and counted."""
    print(
        f"{LARGE_ROWS} samples{'n':>12}{'forward':>12}{'gradient':>12}{'gradient / forward':>21}{'by counting':>13}",
        end="",
    )
    print(f"{'backward / forward':>20}")
    ratios = []
    for sizes in LARGE:
        times = measure_gradient(network(sizes), LARGE_ROWS, with_perturbation=False)
        ratios.append((times.backpropagation / times.forward, passes_by_counting(sizes)))
        print(
            f"{'-'.join(map(str, sizes)):15}{times.n_params:8}{times.forward * 1e3:9.2f} ms"
            f"{times.backpropagation * 1e3:9.2f} ms{ratios[-1][0]:21.2f}{ratios[-1][1]:13.2f}{ratios[-1][0] - 1:20.2f}"
        )
    return ratios


def table_of_gradients(sizes: tuple[tuple[int, ...], ...]) -> list[GradientTimes]:
    """Measure both gradients of each network and print them."""
    print(f"{ROWS} samples{'n':>12}{'backpropagation':>18}{'n + 1 passes':>15}{'ratio':>10}{'(n + 1) / 3':>14}")
    rows = [measure_gradient(network(each), ROWS) for each in sizes]
    for each, times in zip(sizes, rows, strict=True):
        print(
            f"{'-'.join(map(str, each)):15}{times.n_params:8}{times.backpropagation * 1e6:15.1f} us"
            f"{times.perturbation * 1e3:12.3f} ms{times.perturbation / times.backpropagation:10.1f}"
            f"{(times.n_params + 1) / 3:14.1f}"
        )
    return rows


def agreement() -> dict[str, float]:
    """Compare the three gradients of one network, and print how far they are apart."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(ROWS, 20)), rng.normal(size=(ROWS, 3))
    net = network((20, 30, 20, 3))
    _, gradient = net.value_and_grad(X, Y)
    differences = {}
    for name, reuse_layers in (("whole passes", False), ("unchanged layers reused", True)):
        began = time.perf_counter()
        result = bp.finite_difference_gradient(net, X, Y, reuse_layers=reuse_layers)
        seconds = time.perf_counter() - began
        differences[name] = float(np.abs(result.gradient - gradient).max())
        print(f"{net.n_params} parameters, {result.n_passes} passes, {name}: {seconds * 1e3:.1f} ms, ", end="")
        print(f"differs from backpropagation by {differences[name]:.1e}")
    return differences


def million() -> None:
    """Work out one gradient with a million weights both ways, for one sample, in float32."""
    net = bp.Network([1000, 990, 10], activation="tanh", dtype="float32", seed=0)
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(1, size)).astype(np.float32) for size in (1000, 10))
    _, gradient = net.value_and_grad(X, Y)
    (backpropagation,) = shortest_calls(lambda: net.value_and_grad(X, Y))
    began = time.perf_counter()
    result = bp.finite_difference_gradient(net, X, Y, dtype="float32")
    perturbation = time.perf_counter() - began
    print(f"{net}: backpropagation {backpropagation * 1e3:.2f} ms, ", end="")
    print(f"{result.n_passes} forward passes {perturbation:.0f} s, {perturbation / backpropagation:.0f} times as long")
    error = np.linalg.norm(result.gradient - gradient) / np.linalg.norm(gradient)
    print(f"the two gradients differ by {error:.1%} of their length: float32 leaves a difference few digits")


def main(pictures: Path | None = None, largest: int = len(SIZES), million_weights: bool = False) -> dict[str, Any]:
    """Measure, compare, and draw."""
    differences = agreement()
    ratios = table_of_passes()
    times = table_of_gradients(SIZES[:largest])
    if million_weights:
        million()
    if pictures is not None:
        draw(pictures, times)
    return {"times": times, "ratios": ratios, "differences": differences}


def draw(pictures: Path, times: list[GradientTimes]) -> None:
    """Draw the times of both gradients against the number of parameters."""
    from fastbp.plotting import GradientTimesDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    columns = zip(*((each.n_params, each.backpropagation, each.perturbation) for each in times), strict=True)
    display = GradientTimesDisplay(*columns).plot()
    display.ax_.set_title(f"one gradient over {ROWS} samples", fontsize="medium")
    display.figure_.savefig(pictures / "11_both_gradients.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--largest", type=int, default=len(SIZES), help="how many networks to measure (%(default)s)")
    parser.add_argument(
        "--million", action="store_true", dest="million_weights", help="also a million weights, minutes"
    )
    main(**vars(parser.parse_args()))
