"""dask-ml's `Incremental` hands an estimator block after block of rows that need not fit into memory.

Points of a chessboard with three times three fields, black or white.  `Incremental` calls `partial_fit` with each
block of a Dask array in turn, in a chain of tasks; predictions are made block by block, lazily.  Each call of
`partial_fit` is one pass over one block; further passes over all blocks are further calls.

What to look for: the bits are those of a loop that calls `partial_fit` itself.  The chessboard appears pass by pass.

Needs dask-ml: ``pip install "fastbp[ecosystem]"``.

Run: ``python examples/26_blocks_of_dask_ml.py [folder for the pictures] [--blocks 10] [--passes 40]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
from dask_ml.wrappers import Incremental

from fastbp.neural_network import MLPClassifier

ROWS = 500  # of a block
FIELDS = 3  # along each side


class Found(NamedTuple):
    """The wrapped estimator, its accuracy on other rows after each pass, and whether a loop has the same bits."""

    net: Incremental
    accuracy: np.ndarray
    has_same_bits: bool


def rows(n_blocks: int, seed: int) -> tuple[da.Array, da.Array]:
    """Return points of a square and the colours of their fields; the blocks are made when they are needed."""
    X = da.random.default_rng(seed).uniform(0, FIELDS, (n_blocks * ROWS, 2), chunks=(ROWS, 2))
    return X - FIELDS / 2, da.floor(X).sum(axis=1).astype(int) % 2


def network() -> MLPClassifier:
    """Return an unfitted estimator."""
    return MLPClassifier((32, 32), batch_size=50, learning_rate_init=0.005, random_state=0)


def main(folder: Path | None = None, blocks: int = 10, passes: int = 40) -> Found:
    """Learn block by block; print how far it came, and draw it."""
    (X, y), (X_new, y_new) = rows(blocks, seed=0), rows(2, seed=1)
    net = Incremental(network(), scoring="accuracy", shuffle_blocks=False)
    net.fit(X, y, classes=[0, 1])
    accuracy = [net.score(X_new, y_new)]
    for _ in range(passes - 1):
        net.partial_fit(X, y)
        accuracy.append(net.score(X_new, y_new))
    alone = network()
    for _ in range(passes):
        for block, labels in zip(X.blocks, y.blocks, strict=True):
            alone.partial_fit(block.compute(), labels.compute(), classes=[0, 1])
    has_same_bits = np.array_equal(net.estimator_.network_.params, alone.network_.params)
    print(f"{passes} passes over {blocks} blocks of {ROWS} rows: accuracy {accuracy[-1]:.3f} on other rows")
    print(f"a loop has the same bits: {has_same_bits}")
    found = Found(net, np.array(accuracy), has_same_bits)
    if folder is not None:
        draw(found, folder)
    return found


def draw(found: Found, folder: Path) -> None:
    """Draw the accuracy over the passes, and the probability of black over the square."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    left.plot(np.arange(1, len(found.accuracy) + 1), found.accuracy, "o-", markersize=3)
    left.set(xlabel="passes over all blocks", ylabel="accuracy on other rows", title="block after block")
    ticks = np.linspace(-FIELDS / 2, FIELDS / 2, 200)
    points = da.from_array(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2), chunks=(5000, 2))
    odd = found.net.predict_proba(points)[:, 1].compute().reshape(200, 200)
    extent = (ticks[0], ticks[-1], ticks[0], ticks[-1])
    image = right.imshow(odd, origin="lower", extent=extent, cmap="gray", vmin=0, vmax=1)
    figure.colorbar(image, ax=right, label="probability of a white field")
    right.set(xlabel="first input", ylabel="second input", title="what it has learned")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "26_blocks_of_dask_ml.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--blocks", type=int, default=10, help="blocks of rows (%(default)s)")
    parser.add_argument("--passes", type=int, default=40, help="passes over all blocks (%(default)s)")
    main(**vars(parser.parse_args()))
