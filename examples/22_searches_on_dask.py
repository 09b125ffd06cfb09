"""Many jobs on a cluster: a search whose fits are tasks, and one network that learns from partition after partition.

Left: `RandomizedSearchCV` of scikit-learn within ``joblib.parallel_config(backend="dask")``.  Each fit is a task, which
has one thread, because the worker runs one task in each of its threads.  `fastbp.dask.Warmup` has the kernels ready on
every worker, also on those that come later, so that no task compiles.

Right: rows that may be too many for any one machine.  Each task takes the network as the task before has left it, and
one partition of rows: a chain of `partial_fit`, in which only the network moves (``dask_ml.wrappers.Incremental`` makes
the same chain).  After each partition it is scored on rows that it has not seen.  Predictions are lazy, block by block.

What to look for: nothing but the scheduler's address would change on a cluster of machines, and the numbers are those
of one process.

Run: ``python examples/22_searches_on_dask.py [folder for the pictures] [--points 24] [--partitions 20]``
"""

import argparse
import warnings
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import dask
import dask.array as da
import joblib
import numpy as np
from dask.distributed import Client
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RandomizedSearchCV

import fastbp.dask
from fastbp.neural_network import MLPClassifier

RATES = np.geomspace(1e-3, 1, 200)
ROWS = 500  # of a partition


class Found(NamedTuple):
    """A search over learning rates, the accuracy after each partition, and the whole chain's network and accuracy."""

    search: RandomizedSearchCV
    accuracy: np.ndarray
    net: MLPClassifier
    predicted: np.ndarray
    labels: np.ndarray


def search(n_points: int) -> RandomizedSearchCV:
    """Search over learning rates; every fit is a task of the cluster."""
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier((32,), solver="sgd", batch_size=32, max_iter=20, tol=0, n_iter_no_change=20, random_state=0)
    rates = {"learning_rate_init": RATES}
    found = RandomizedSearchCV(net, rates, n_iter=n_points, cv=3, random_state=0)
    with warnings.catch_warnings(), joblib.parallel_config(backend="dask"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # each fit ends after its 20 epochs
        return found.fit(X / 16, y)


def rows(n_partitions: int, seed: int) -> tuple[da.Array, da.Array]:
    """Return points of a plane and which of two spirals they lie on; the workers make them."""
    random = da.random.default_rng(seed)
    turns = random.random(n_partitions * ROWS, chunks=ROWS)
    labels = random.integers(2, size=n_partitions * ROWS, chunks=ROWS)
    angle = 2 * np.pi * (turns + labels / 2)
    noise = random.normal(0, 0.02, (n_partitions * ROWS, 2), chunks=(ROWS, 2))
    return da.stack([turns * da.cos(angle), turns * da.sin(angle)], axis=1).rechunk((ROWS, 2)) + noise, labels


def learned(net: MLPClassifier, X: np.ndarray, y: np.ndarray) -> MLPClassifier:
    """Return the network after one partition; the one that is given stays, for Dask may call a task again."""
    net = deepcopy(net)
    for _ in range(20):
        net.partial_fit(X, y, classes=[0, 1])
    return net


def chain(n_partitions: int) -> tuple[np.ndarray, MLPClassifier, np.ndarray, np.ndarray]:
    """Learn from partition after partition; the accuracy after each, the last network, its predictions and labels."""
    X, y = rows(n_partitions, seed=0)
    unseen = rows(2, seed=1)
    net = dask.delayed(MLPClassifier((32, 32), batch_size=50, learning_rate_init=0.01, random_state=0))
    accuracy = []
    for block, labels in zip(X.to_delayed()[:, 0], y.to_delayed(), strict=True):
        net = dask.delayed(learned)(net, block, labels)
        accuracy.append(net.score(*map(dask.delayed, unseen)))
    accuracy, net = dask.compute(accuracy, net)
    predicted = unseen[0].map_blocks(net.predict, dtype=int, drop_axis=1)
    return np.array(accuracy), net, *dask.compute(predicted, unseen[1])


def main(folder: Path | None = None, points: int = 24, partitions: int = 20) -> Found:
    """Search and learn on a cluster of this machine; print and draw what was found."""
    # For a cluster of machines: Client("scheduler-address:8786")
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        client.register_plugin(fastbp.dask.Warmup("float64"))
        found = Found(search(points), *chain(partitions))
    best = found.search.best_params_["learning_rate_init"]
    print(f"best of {points} learning rates: {best:.2g}, accuracy {found.search.best_score_:.3f}")
    print(f"after {partitions} partitions of {ROWS} rows: accuracy {found.accuracy[-1]:.3f}")
    if folder is not None:
        draw(found, folder)
    return found


def draw(found: Found, folder: Path) -> None:
    """Draw the scores over the learning rate, and the accuracy over the partitions."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    results = found.search.cv_results_
    rates = np.array(results["param_learning_rate_init"], dtype=float)
    left.errorbar(rates, results["mean_test_score"], results["std_test_score"], fmt="o", capsize=2, markersize=4)
    left.set(xscale="log", xlabel="learning rate per step", ylabel="accuracy (3 folds)", title="a search: many tasks")
    right.plot(np.arange(1, len(found.accuracy) + 1), found.accuracy, "s-", markersize=4)
    right.set(xlabel="partitions seen", ylabel="accuracy on other rows", title="one network: a chain of tasks")
    right.xaxis.get_major_locator().set_params(integer=True)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "22_searches_on_dask.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A search and an incremental fit on a Dask cluster.")
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the pictures")
    parser.add_argument("--points", type=int, default=24, help="learning rates to try")
    parser.add_argument("--partitions", type=int, default=20, help="partitions to learn from")
    options = parser.parse_args()
    main(options.folder, options.points, options.partitions)
