"""SHAP explains predictions by calls of `predict`; the network's gradients do the same with a hundredth of the rows.

A regressor predicts the progress of diabetes from ten measurements of a patient.  Why so much for this one?  SHAP's
KernelExplainer asks for Shapley values: it predicts again and again with some measurements replaced by those of other
patients.  Expected gradients (Erion et al. 2021) follow the straight line from each of those patients to this one and
integrate the gradient along it, which `input_gradient` gives; here by Gauss's rule with 8 points.

What to look for: both distribute the same sum, the prediction minus the mean prediction, and agree where measurements
do not act together.  The number of rows that the network had to look at differs by a factor of about a hundred.

Needs SHAP: ``pip install "fastbp[ecosystem]"``.

Run: ``python examples/25_explained_by_shap.py [folder for the pictures] [--patients 40]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shap
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from fastbp.neural_network import MLPRegressor

N_OTHERS = 50  # patients whose measurements stand in for those that are left out
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)


class Explained(NamedTuple):
    """Attributions (patients, features) by both ways, what they must add up to, and the rows that each looked at."""

    by_shap: np.ndarray
    by_gradients: np.ndarray
    total: np.ndarray
    n_rows: tuple[int, int]
    names: list[str]


def expected_gradients(model: MLPRegressor, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the mean over `others` of the integrated gradients from them to each row, and the gradients it took."""
    way = rows[:, None] - others  # (rows, others, features)
    found, n_gradients = np.zeros_like(rows), 0
    for point, weight in zip((POINTS + 1) / 2, WEIGHTS / 2, strict=True):  # from [-1, 1] to [0, 1]
        between = (others + point * way).reshape(-1, rows.shape[1])
        gradient = model.input_gradient(between)[:, 0].reshape(way.shape)
        found += weight * (gradient * way).mean(axis=1)
        n_gradients += len(between)
    return found, n_gradients


def main(folder: Path | None = None, patients: int = 40) -> Explained:
    """Explain by both ways; print and draw how they compare."""
    diabetes = load_diabetes()
    X, y = scale(diabetes.data), scale(diabetes.target)
    model = MLPRegressor(
        hidden_layer_sizes=(16,), activation="tanh", alpha=3, solver="lbfgs", max_iter=1000, random_state=0
    ).fit(X, y)
    others, rows = X[:N_OTHERS], X[N_OTHERS : N_OTHERS + patients]
    n_predicted = 0

    def predict(X: np.ndarray) -> np.ndarray:
        nonlocal n_predicted
        n_predicted += len(X)
        return model.predict(X)

    by_shap = shap.KernelExplainer(predict, others).shap_values(rows, silent=True, l1_reg=0)
    by_gradients, n_gradients = expected_gradients(model, rows, others)
    total = model.predict(rows) - model.predict(others).mean()
    found = Explained(by_shap, by_gradients, total, (n_predicted, n_gradients), diabetes.feature_names)
    correlation = np.corrcoef(by_shap.ravel(), by_gradients.ravel())[0, 1]
    print(f"the sums differ from the predictions by {np.abs(by_shap.sum(axis=1) - total).max():.0e} (SHAP)")
    print(f"and by {np.abs(by_gradients.sum(axis=1) - total).max():.0e} (gradients); correlation {correlation:.3f}")
    print(f"SHAP looked at {n_predicted} rows, the gradients at {n_gradients}")
    if folder is not None:
        draw(found, folder)
    return found


def draw(found: Explained, folder: Path) -> None:
    """Draw how much each measurement matters, and every attribution by both ways."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    both = {"SHAP": found.by_shap, "expected gradients": found.by_gradients}
    order = np.argsort(np.abs(found.by_shap).mean(axis=0))
    places = np.arange(len(order))
    for shift, (name, values), color, hatch in zip(
        (0.2, -0.2), both.items(), ("#0072B2", "#E69F00"), ("", "///"), strict=True
    ):
        means = np.abs(values).mean(axis=0)[order]
        left.barh(places + shift, means, 0.4, color=color, hatch=hatch, edgecolor="white", label=name)
    left.set_yticks(places, [found.names[i] for i in order])
    left.set(xlabel="mean |attribution| (standard deviations of y)", title="what matters")
    left.legend(frameon=False, loc="lower right")
    ends = np.array([found.by_shap.min(), found.by_shap.max()])
    right.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    right.scatter(found.by_shap, found.by_gradients, s=8, color="#0072B2")
    right.set(xlabel="SHAP", ylabel="expected gradients", title="every patient and measurement")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "25_explained_by_shap.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--patients", type=int, default=40, help="predictions to explain (%(default)s)")
    main(**vars(parser.parse_args()))
