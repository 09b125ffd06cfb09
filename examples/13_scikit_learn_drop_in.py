"""scikit-learn's estimators, with fastbp behind them: one import changes.

The same program twice, once with scikit-learn's MLPClassifier and once with fastbp's: a pipeline with a scaler, the
handwritten digits, the same arguments and the same random state.  What to look for: fastbp draws the same random
numbers, so that both loss curves lie on each other and the accuracies are equal; what differs is the time.

Run: ``python examples/13_scikit_learn_drop_in.py [folder for the pictures] [--epochs 60]``
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

from sklearn import neural_network as scikit_learn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import neural_network as fastbp  # in a program: from fastbp.neural_network import MLPClassifier


def train(module: Any, epochs: int) -> tuple[Pipeline, float, float]:
    """Return the fitted pipeline, its accuracy on test images, and the seconds of the fit."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = make_pipeline(
        StandardScaler(), module.MLPClassifier(hidden_layer_sizes=(64,), max_iter=epochs, batch_size=50, random_state=0)
    )
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are few on purpose
        model.fit(X_train, y_train)
    return model, model.score(X_test, y_test), time.perf_counter() - began


def main(pictures: Path | None = None, epochs: int = 60) -> dict[str, tuple[Pipeline, float, float]]:
    """Train with both; print accuracy and time."""
    train(fastbp, 1)  # the first call compiles the kernels or loads them
    results = {"scikit-learn": train(scikit_learn, epochs), "fastbp": train(fastbp, epochs)}
    for name, (model, accuracy, seconds) in results.items():
        n_epochs = model[-1].n_iter_
        print(f"{name:13} {accuracy:.2%} of the test images, {n_epochs} epochs in {seconds:.2f} s")
    if pictures is not None:
        draw(pictures, results)
    return results


def draw(pictures: Path, results: dict[str, tuple[Pipeline, float, float]]) -> None:
    """Draw both loss curves."""
    from fastbp.plotting import HistoryDisplay

    pictures.mkdir(parents=True, exist_ok=True)
    display = HistoryDisplay.from_estimator(results["fastbp"][0][-1])
    ax = display.ax_
    display.lines_[0].set_label("fastbp")
    loss = results["scikit-learn"][0][-1].loss_curve_
    ax.plot(range(1, len(loss) + 1), loss, "--", color="#D55E00", label="scikit-learn")
    ax.set_yscale("log")
    ax.legend(frameon=False)
    display.figure_.savefig(pictures / "13_scikit_learn_drop_in.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the images at most (%(default)s)")
    main(**vars(parser.parse_args()))
