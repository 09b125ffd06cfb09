"""A differential equation whose right-hand side is a network: predators and prey, known from noisy observations only.

The truth are the equations of Lotka and Volterra, u' = u - u v for the prey and v' = u v - v for the predators (time in
units of a birth time, animals in units of the equilibrium).  The network sees states of thirty short observations,
with noise, and learns the slopes, estimated from neighbouring states.  Then it takes the place of the equations: in
`scipy.integrate.solve_ivp`, which calls a compiled function that calls the network, and in a Runge-Kutta method of
fixed steps that runs compiled from beginning to end, for many starting points at once.

What to look for: `net.compiled()` is an argument of the user's own functions under ``@numba.njit``, and calls of it are
nothing but calls of C; both methods agree, and nearly with the truth; u - ln u + v - ln v, which the true equations
keep, the network keeps to about a hundredth, though nobody has told it to.

Run: ``python examples/18_learned_dynamics.py [folder for the pictures] [--starts 500]``
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy.integrate import solve_ivp

import fastbp as bp

N_RUNS, N_OBSERVATIONS, INTERVAL, NOISE = 30, 40, 0.05, 1e-3
DURATION, STEP = 20.0, 0.02


class Found(NamedTuple):
    """What was learned: the network, a path (n, 2) by each method, and the invariant's change on many paths."""

    net: bp.Network
    paths: dict[str, np.ndarray]
    drift: np.ndarray


def equations(t: float, state: np.ndarray) -> np.ndarray:
    """Return the true slopes."""
    u, v = state
    return np.array([u - u * v, u * v - v])


def invariant(states: np.ndarray) -> np.ndarray:
    """Return what the true equations keep, of states (..., 2)."""
    return (states - np.log(states)).sum(axis=-1)


def observations() -> tuple[np.ndarray, np.ndarray]:
    """Return states (n, 2) with noise, and slopes from the states before and after each."""
    rng, t = np.random.default_rng(0), INTERVAL * np.arange(N_OBSERVATIONS)
    runs = [solve_ivp(equations, t[[0, -1]], y, t_eval=t, rtol=1e-9).y.T for y in rng.uniform(0.3, 2.5, (N_RUNS, 2))]
    seen = np.array(runs) + NOISE * rng.standard_normal((N_RUNS, N_OBSERVATIONS, 2))
    slopes = (seen[:, 2:] - seen[:, :-2]) / (2 * INTERVAL)
    return seen[:, 1:-1].reshape(-1, 2), slopes.reshape(-1, 2)


@numba.njit
def learned(t: float, state: Any, net: Any) -> Any:
    """Return the network's slopes, as SciPy asks for them."""
    slopes = np.empty(2)
    net.predict(state, slopes)
    return slopes


@numba.njit
def runge_kutta(net: Any, dt: float, path: Any) -> None:
    """Fill the path (n_steps + 1, n_starts, 2) from its first states on, by the classical method of fourth order."""
    n = path.shape[1]
    slopes, moved = np.empty((4, n, 2)), np.empty((n, 2))
    for step in range(len(path) - 1):
        here, behind = path[step], path[step + 1]
        net.predict(here, slopes[0])
        for i in range(3):
            h = dt if i == 2 else 0.5 * dt
            for k in range(n):
                for j in range(2):
                    moved[k, j] = here[k, j] + h * slopes[i, k, j]
            net.predict(moved, slopes[i + 1])
        for k in range(n):
            for j in range(2):
                middle = slopes[1, k, j] + slopes[2, k, j]
                behind[k, j] = here[k, j] + dt / 6 * (slopes[0, k, j] + 2 * middle + slopes[3, k, j])


def main(pictures: Path | None = None, starts: int = 500) -> Found:
    """Learn the slopes, and follow them."""
    X, slopes = observations()
    net = bp.Network([2, 24, 24, 2], "tanh", seed=0)
    net.fit(X, slopes, epochs=1500, optimizer=bp.LBFGS())
    compiled = net.compiled()

    first, t = np.array([1.0, 2.0]), STEP * np.arange(round(DURATION / STEP) + 1)
    settings: dict[str, Any] = {"t_span": (0, DURATION), "y0": first, "t_eval": t, "rtol": 1e-8, "atol": 1e-10}
    truth, by_scipy = solve_ivp(equations, **settings), solve_ivp(learned, args=(compiled,), **settings)

    path = np.empty((len(t), starts, 2))
    path[0] = np.random.default_rng(1).uniform(0.5, 2.0, (starts, 2))
    path[0, 0] = first
    runge_kutta(compiled, STEP, path[:2].copy())  # compiles
    began = time.perf_counter()
    runge_kutta(compiled, STEP, path)
    seconds = time.perf_counter() - began

    paths = {"truth": truth.y.T, "solve_ivp": by_scipy.y.T, "Runge-Kutta": path[:, 0]}
    drift = invariant(path) - invariant(path[0])
    n_calls = 4 * starts * (len(t) - 1)
    print(f"{net}: learned from {len(X)} states, rms error of the slopes {np.sqrt(net.history.loss[-1]):.4f}")
    print(f"solve_ivp asked for {by_scipy.nfev} slopes; largest distance from the truth {_distance(paths):.3f}")
    print(f"between both methods: {np.abs(paths['solve_ivp'] - paths['Runge-Kutta']).max():.1e}")
    print(f"Runge-Kutta: {n_calls} slopes in {seconds:.2f} s, {1e9 * seconds / n_calls:.0f} ns each")
    print(f"change of the invariant on {starts} paths: at most {np.abs(drift).max():.3f}")
    found = Found(net, paths, drift)
    if pictures is not None:
        draw(pictures, X, t, found)
    return found


def _distance(paths: dict[str, np.ndarray]) -> float:
    return float(np.abs(paths["solve_ivp"] - paths["truth"]).max())


def draw(pictures: Path, X: np.ndarray, t: np.ndarray, found: Found) -> None:
    """Draw the observations and both paths, the animals over time, and the invariant's change."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    truth, learned_path = found.paths["truth"], found.paths["Runge-Kutta"]
    left.plot(*X.T, ".", color="0.75", markersize=3, label="observed", zorder=0)
    left.plot(*truth.T, color="0.6", linewidth=4, label="true equations")
    left.plot(*learned_path.T, "k--", linewidth=1, label="network")
    left.set(xlabel="prey u (equilibrium = 1)", ylabel="predators v (equilibrium = 1)")
    left.legend(loc="upper right")
    for column, name, colour in ((0, "prey", "k"), (1, "predators", "0.55")):
        middle.plot(t, truth[:, column], color=colour, linewidth=1, label=name)
        middle.plot(t, learned_path[:, column], "--", color=colour, linewidth=2)
    middle.set(xlabel="time (birth times)", ylabel="animals (equilibrium = 1)", ylim=(0.2, 2.6))
    middle.set_title("solid: true equations, dashed: network", fontsize="medium")
    middle.legend(loc="upper right", ncols=2)
    sizes = np.abs(found.drift)
    for share, style in ((50, "k"), (95, "k--"), (100, "k:")):
        right.plot(t, np.percentile(sizes, share, axis=1), style, label=f"on {share} % of the paths")
    right.set(xlabel="time (birth times)", ylabel="change of u - ln u + v - ln v, at most", ylim=(0, None))
    right.legend(loc="upper left")
    figure.savefig(pictures / "18_learned_dynamics.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--starts", type=int, default=500, help="starting points (%(default)s)")
    main(**vars(parser.parse_args()))
