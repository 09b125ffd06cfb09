"""Reinforcement learning without Python: a pole on a cart, the policy and its training in one compiled function.

A cart is pushed left or right every 0.02 s, so that the pole on it does not fall (Barto, Sutton & Anderson 1983).  The
network, 4-32-2, sees place and velocity of the cart, angle and angular velocity of the pole, and gives two logits.  It
learns by REINFORCE (Williams 1992): an episode is played with random pushes of the probabilities that it gives, and the
logit of each push is moved by how much longer than usual the pole then stood.

What to look for: the environment, the network's outputs and its steps of Adam are all called in `learn`, a function
under ``@numba.njit``; a push takes a fraction of a microsecond, training included.  A step wants targets: as the cost
is half the squared distance from them, a target z + A (e - p) is the gradient A (p - e) of REINFORCE, for logits z,
probabilities p, advantage A and the push that was made, e = (1, 0) or (0, 1).

Run: ``python examples/19_balanced_pole.py [folder for the pictures] [--episodes 800] [--seed 0]``
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

import fastbp as bp

LONGEST = 500  # pushes: an episode that lasts so long is ended
AT_ONCE = 8  # episodes between two steps of Adam
DISCOUNT = 0.99  # of a push's reward, for each push later
FARTHEST, STEEPEST = 2.4, math.radians(12)  # metres, and angle of the pole: beyond, the episode is over


class Found(NamedTuple):
    """The trained policy, how many pushes each episode lasted, and how many it lasts without chance."""

    net: bp.Network
    lengths: np.ndarray
    tested: np.ndarray


@numba.njit
def start(state: Any, rng: Any) -> None:
    """Put cart and pole near the middle."""
    for i in range(4):
        state[i] = rng.uniform(-0.05, 0.05)


@numba.njit
def push(state: Any, right: bool) -> bool:
    """Move on by 0.02 s, by Euler's method; whether the pole still stands.

    The cart weighs 1 kg and is pushed with 10 N, the pole 0.1 kg; it is 1 m long.
    """
    x, v, angle, spin = state
    sine, cosine = math.sin(angle), math.cos(angle)
    force = ((10.0 if right else -10.0) + 0.05 * spin**2 * sine) / 1.1
    twist = (9.8 * sine - cosine * force) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    state[0], state[1] = x + 0.02 * v, v + 0.02 * (force - 0.05 * twist * cosine / 1.1)
    state[2], state[3] = angle + 0.02 * spin, spin + 0.02 * twist
    return abs(state[0]) <= FARTHEST and abs(state[2]) <= STEEPEST


@numba.njit
def play(net: Any, rng: Any, states: Any, targets: Any, returns: Any) -> int:
    """Play an episode; states, z + (e - p) less z, and discounted rewards to come; how many pushes there were."""
    state, z = np.empty(4), np.empty(2)
    start(state, rng)
    n, stands = 0, True
    while stands and n < LONGEST:
        net.predict(state, z)
        p = 1 / (1 + math.exp(z[0] - z[1]))  # of a push to the right
        right = rng.random() < p
        states[n] = state
        targets[n, 0], targets[n, 1] = (p, -p) if not right else (p - 1, 1 - p)
        stands = push(state, right)
        n += 1
    to_come = 0.0 if not stands else 1 / (1 - DISCOUNT)  # as if it stood for ever
    for i in range(n - 1, -1, -1):
        to_come = 1 + DISCOUNT * to_come
        returns[i] = to_come
    return n


@numba.njit
def learn(net: Any, rng: Any, lengths: Any) -> None:
    """Train the policy; overwrites `lengths` with those of the episodes."""
    states, targets = np.empty((AT_ONCE * LONGEST, 4)), np.empty((AT_ONCE * LONGEST, 2))
    returns, z = np.empty(AT_ONCE * LONGEST), np.empty((AT_ONCE * LONGEST, 2))
    for first in range(0, len(lengths), AT_ONCE):
        n = 0
        for episode in range(first, min(first + AT_ONCE, len(lengths))):
            lengths[episode] = play(net, rng, states[n:], targets[n:], returns[n:])
            n += lengths[episode]
        net.predict(states[:n], z[:n])
        mean, spread = returns[:n].mean(), returns[:n].std() + 1e-9
        for i in range(n):
            for j in range(2):
                targets[i, j] = z[i, j] + (returns[i] - mean) / spread * targets[i, j]
        net.step(states[:n], targets[:n])


@numba.njit
def test(net: Any, rng: Any, lengths: Any) -> None:
    """Play with the more likely push each time."""
    state, z = np.empty(4), np.empty(2)
    for episode in range(len(lengths)):
        start(state, rng)
        n, stands = 0, True
        while stands and n < LONGEST:
            net.predict(state, z)
            stands = push(state, z[1] > z[0])
            n += 1
        lengths[episode] = n


def main(pictures: Path | None = None, episodes: int = 800, seed: int = 0) -> Found:
    """Train a policy, and test it."""
    net = bp.Network([4, 32, 2], "tanh", seed=seed)
    compiled, rng = net.compiled(bp.Adam(0.02)), np.random.default_rng(seed)
    learn(compiled, rng, np.zeros(0, np.int64))  # compiles
    lengths, tested = np.zeros(episodes, np.int64), np.zeros(100, np.int64)
    began = time.perf_counter()
    learn(compiled, rng, lengths)
    seconds = time.perf_counter() - began
    test(compiled, rng, tested)
    n = lengths.sum()
    print(f"{net}: {episodes} episodes, {n} pushes in {seconds:.2f} s, {1e6 * seconds / n:.2f} us each")
    print(f"pushes of an episode: the first 20 {lengths[:20].mean():.0f}, the last 100 {lengths[-100:].mean():.0f}")
    print(f"without chance: {tested.mean():.0f} of {LONGEST}, of 100 episodes {(tested == LONGEST).sum()} to the end")
    found = Found(net, lengths, tested)
    if pictures is not None:
        draw(pictures, found)
    return found


def draw(pictures: Path, found: Found) -> None:
    """Draw the episodes' lengths, and what the policy does at rest in the middle of the track."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lengths = found.lengths
    smooth = np.convolve(lengths, np.ones(20) / 20, "valid")
    left.plot(np.arange(1, len(lengths) + 1), lengths, ".", color="0.7", label="each")
    left.plot(np.arange(20, len(lengths) + 1), smooth, "k", label="mean of the last 20")
    left.set(xlabel="episode (count)", ylabel="pushes until the pole fell (count)", ylim=(0, 1.05 * LONGEST))
    left.legend(loc="lower right")
    angle, spin = np.linspace(-12, 12, 121), np.linspace(-60, 60, 121)
    A, S = np.meshgrid(np.radians(angle), np.radians(spin))
    z = found.net.predict(np.stack([0 * A, 0 * A, A, S], axis=-1).reshape(-1, 4))
    p = 1 / (1 + np.exp(z[:, 0] - z[:, 1])).reshape(A.shape)
    image = right.pcolormesh(angle, spin, p, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    figure.colorbar(image, ax=right, label="probability of a push to the right")
    lines = right.contour(angle, spin, p, levels=[0.1, 0.9], colors=["k", "w"], linewidths=1)
    right.clabel(lines, fmt="%.1f")
    right.set(xlabel="angle of the pole (degrees)", ylabel="angular velocity (degrees per second)")
    right.set_title("cart at rest in the middle", fontsize="medium")
    figure.savefig(pictures / "19_balanced_pole.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--episodes", type=int, default=800, help="to learn from (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of chance (%(default)s)")
    main(**vars(parser.parse_args()))
