"""Two photographs in a memory that is addressed by its content.

A linear network 2500-2500, six million weights, learns to reproduce each of two grey photographs of 50 x 50 pixels.
What to look for: given a photograph with noise on it, it returns the clean one, with a small part of the error.  The
noise points in all 2500 directions, and the network has learned to pass only the few that the photographs have.
Before that, the same on a small scale: a network 4-4 learns exactly what four networks 4-1 learn, because no output
knows of the others.

Run: ``python examples/07_photographs.py [folder for the pictures] [--noise 0.3] [--pixels 50]``
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

TOLERANCE = 1e-3  # of the gradient's norm
MOST_STEPS = 500


def photographs(side: int = 50) -> np.ndarray:
    """Return scikit-learn's two photographs, the middle of each as (2, side * side) grey values from -0.5 to 0.5."""
    from sklearn.datasets import load_sample_images

    rows = []
    for image in load_sample_images().images:
        grey = image.mean(axis=2) / 255 - 0.5
        block = min(grey.shape) // side  # pixels whose mean is one of ours
        top, left = ((length - block * side) // 2 for length in grey.shape)
        middle = grey[top : top + block * side, left : left + block * side]
        rows.append(middle.reshape(side, block, side, block).mean(axis=(1, 3)).ravel())
    return np.array(rows, np.float32)


def memory(X: np.ndarray) -> tuple[bp.Network, bp.History]:
    """Return a network that has learned to reproduce the rows of X, by gradient descent over all of them at once."""
    n_pixels = X.shape[1]
    net = bp.Network([n_pixels, n_pixels], initializer="zeros", dtype="float32")
    # the cost's largest curvature: the largest eigenvalue of (X X^T + 1) / n, in which the 1 is the bias's input
    curvature = np.linalg.eigvalsh((X @ X.T + 1) / len(X)).max()
    rate = float(1 / curvature)
    return net, net.fit(X, X, MOST_STEPS, batch_size=None, optimizer=bp.SGD(rate), tol=TOLERANCE)


def rms(difference: np.ndarray) -> float:
    """Return the root of the mean square: grey values, where black to white is 1."""
    return float(np.sqrt(np.mean(difference**2)))


def four_networks_in_one() -> float:
    """Train a network 4-4 and four networks 4-1 on the same associations; their largest difference."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    optimizer = bp.SGD(0.1)
    whole = bp.Network([4, 4], initializer="zeros")
    whole.fit(X, Y, 200, batch_size=None, optimizer=optimizer)
    largest = 0.0
    for j in range(4):
        one = bp.Network([4, 1], initializer="zeros")
        one.fit(X, Y[:, j : j + 1], 200, batch_size=None, optimizer=optimizer)
        largest = max(largest, float(abs(one.weights[0][:, 0] - whole.weights[0][:, j]).max()))
    return largest


def main(pictures: Path | None = None, noise: float = 0.3, pixels: int = 50) -> dict[str, Any]:
    """Learn, recall from noise, and print the error before and after."""
    difference = four_networks_in_one()
    print(f"a network 4-4 and four networks 4-1: their weights differ by {difference:.0e} at most")
    X = photographs(pixels)
    net, history = memory(X)
    print(f"{net}: {len(history)} steps in {history.seconds.sum():.1f} s, stopped by {history.stopped_by}, ", end="")
    print(f"clean photographs come back with an error of {rms(net.predict(X) - X):.4f}")
    noisy = X + noise * np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)
    recalled = net.predict(noisy)
    errors = [
        (rms(before - clean), rms(after - clean)) for clean, before, after in zip(X, noisy, recalled, strict=True)
    ]
    for name, (before, after) in zip(("china", "flower"), errors, strict=True):
        print(f"{name:6}: error with noise {before:.3f}, recalled {after:.4f}, {before / after:.0f} times smaller")
    if pictures is not None:
        draw(pictures, [X, noisy, recalled], errors, pixels)
    return {"errors": errors, "difference": difference, "history": history}


def draw(pictures: Path, rows: list[np.ndarray], errors: list[tuple[float, float]], side: int) -> None:
    """Draw what was learned, what was shown, and what came back."""
    from matplotlib.figure import Figure

    pictures.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.subplots(2, 3)
    for column, (images, name) in enumerate(zip(rows, ("learned", "shown", "recalled"), strict=True)):
        for row, image in enumerate(images):
            ax = axes[row, column]
            ax.imshow(image.reshape(side, side), cmap="gray", vmin=-0.5, vmax=0.5)
            error = "" if column == 0 else f", error {errors[row][column - 1]:.3f}"
            ax.set_title(name + error, fontsize="medium")
            ax.set_axis_off()
    figure.suptitle("errors: root mean square, where black to white is 1", fontsize="small")
    figure.savefig(pictures / "07_photographs.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument(
        "--noise", type=float, default=0.3, help="standard deviation, black to white is 1 (%(default)s)"
    )
    parser.add_argument("--pixels", type=int, default=50, help="height and width of the photographs (%(default)s)")
    main(**vars(parser.parse_args()))
