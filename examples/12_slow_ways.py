"""The slow ways: random search, n + 1 passes, and backpropagation on the same problem.

A network 2-8-1 (33 parameters) learns the exclusive or, four samples, three times from the same weights.

* Random weight search picks a weight and a sample, adds a small random number, and keeps it if the sample's cost fell.
* Weight perturbation tries every parameter in turn, and then takes a step of gradient descent: n + 1 forward passes.
* Backpropagation takes the same steps; each costs as much as three forward passes.

What to look for: perturbation and backpropagation reach the same losses, step for step; what differs is the price.
Random search rises as well as it falls, because what one sample gains the others may lose.  On the left there are
twelve searches, with the seeds 0 to 11: most stay near the first loss or above it, and what one gains it loses again,
even a loss of 0.001.  After 14,000 to 24,000 passes nine of them have, by chance, all four samples right together;
their losses go on to 0, which a logarithmic axis cannot show, some by leaps down and up again.  Three never get there
and end at the loss that they began with.  Random search does not learn a problem with more samples at all.

A forward pass here is one of all samples; random search takes two passes of one sample for a trial.

Run: ``python examples/12_slow_ways.py [folder for the pictures] [--steps 2000] [--seed 4]``
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp as bp

X = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
Y = np.array([[-1.0], [1.0], [1.0], [-1.0]])
RATE = 0.2
SCALE = 0.1  # of a random change
RECORDS = 400
SEARCHES = 12  # searches in the picture


class Curve(NamedTuple):
    """Loss of all samples over what it took."""

    passes: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray


def network() -> bp.Network:
    """Return the network with its starting weights."""
    return bp.Network([2, 8, 1], activation="tanh", output="tanh", seed=0)


def descend(gradient: Callable[[bp.Network], np.ndarray], passes_per_step: float, steps: int) -> Curve:
    """Take steps of gradient descent with a gradient of either kind."""
    net = network()
    loss, seconds, spent = [net.loss_value(X, Y)], [0.0], 0.0
    for _ in range(steps):
        began = time.perf_counter()
        net.params -= RATE * gradient(net)
        spent += time.perf_counter() - began
        seconds.append(spent)
        loss.append(net.loss_value(X, Y))  # only to be recorded: this pass is not counted
    return Curve(passes_per_step * np.arange(steps + 1), np.array(seconds), np.array(loss))


def search(steps: int, seed: int) -> Curve:
    """Take random steps, as many at once as lie between two records, so that recording is not timed."""
    net = network()
    each = max(1, steps // RECORDS)
    passes, seconds, loss = [0.0], [0.0], [net.loss_value(X, Y)]
    for record in range(RECORDS):
        began = time.perf_counter()
        result = bp.random_weight_search(
            net, X, Y, n_steps=each, scale=SCALE, seed=1000 * seed + record, record_every=each
        )
        seconds.append(seconds[-1] + time.perf_counter() - began)
        passes.append(passes[-1] + result.n_passes / len(X))
        loss.append(result.loss[-1])
    return Curve(np.array(passes), np.array(seconds), np.array(loss))


def learn(steps: int, seed: int) -> dict[str, Curve]:
    """Learn in three ways."""
    n = network().n_params
    return {
        "random search": search(60 * steps, seed),
        f"{n} + 1 passes": descend(lambda net: bp.finite_difference_gradient(net, X, Y).gradient, n + 1, steps),
        "backpropagation": descend(lambda net: net.value_and_grad(X, Y)[1], 3, steps),
    }


def main(pictures: Path | None = None, steps: int = 2000, seed: int = 4) -> dict[str, Curve]:
    """Learn in three ways; print what each took to the end and to a tenth of the first loss."""
    learn(2, seed)  # the first calls load the kernels, which is no part of learning
    curves = learn(steps, seed)
    print(f"{'':18}{'forward passes':>16}{'seconds':>10}{'last loss':>12}   to a tenth of the first loss")
    for name, (passes, seconds, loss) in curves.items():
        there = np.flatnonzero(loss < 0.1 * loss[0])
        reached = f"{passes[there[0]]:.0f} passes, {seconds[there[0]]:.3f} s" if there.size else "not reached"
        print(f"{name:18}{passes[-1]:16.0f}{seconds[-1]:10.3f}{loss[-1]:12.6f}   {reached}")
    if pictures is not None:
        draw(pictures, curves, [search(60 * steps, other) for other in range(SEARCHES) if other != seed])
    return curves


def draw(pictures: Path, curves: dict[str, Curve], other_searches: list[Curve]) -> None:
    """Draw the loss over the passes, also of the other searches, and over the seconds."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    looks = (("0.5", ":"), ("#D55E00", "--"), ("black", "-"))
    for (name, curve), (color, line) in zip(curves.items(), looks, strict=True):
        label = f"{name}, {1 + len(other_searches)} times" if name == "random search" else name
        left.loglog(curve.passes[1:], curve.loss[1:], line, color=color, label=label)
        right.loglog(curve.seconds[1:], curve.loss[1:], line, color=color, label=name)
    for curve in other_searches:
        left.loglog(curve.passes[1:], curve.loss[1:], looks[0][1], color="0.7", linewidth=1, zorder=1)
    left.set_xlabel("forward passes of all samples (number)")
    right.set_xlabel("time (seconds)")
    left.set_ylim(1e-4, 3)
    left.set_ylabel("loss (mean cost per sample)")
    left.legend(frameon=False)
    figure.savefig(pictures / "12_slow_ways.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--steps", type=int, default=2000, help="steps of gradient descent (%(default)s)")
    parser.add_argument("--seed", type=int, default=4, help="of the random search (%(default)s)")
    main(**vars(parser.parse_args()))
