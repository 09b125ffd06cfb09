"""Optuna chooses hyperparameters, and a callback gives trials up that are behind.

Each trial trains a network on the handwritten digits with a width, a learning rate and an L2 penalty of Optuna's
choice.  After every epoch a callback reports the validation loss; where the trial's best is worse than the median of
the earlier trials at the same epoch, Optuna says so, the callback returns True, and the fit ends.

What to look for: the grey curves end early, so that the epochs are spent on the trials that matter.  The first five
always go to the end, since there is nothing yet to compare them with.

Needs Optuna: ``pip install "fastbp[ecosystem]"``.

Run: ``python examples/23_pruned_by_optuna.py [folder for the pictures] [--trials 40] [--epochs 30]``
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastbp as bp


class Found(NamedTuple):
    """A study, how many epochs its trials took, and the accuracy on test images of a network like the best one."""

    study: optuna.Study
    n_epochs: int
    accuracy: float


def data() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return images and labels to train on, to choose by, and to test on."""
    X, y = load_digits(return_X_y=True)
    X_rest, X_test, y_rest, y_test = train_test_split(X / 16, y, test_size=400, stratify=y, random_state=0)
    X, X_val, y, y_val = train_test_split(X_rest, y_rest, test_size=400, stratify=y_rest, random_state=0)
    return (X, y), (X_val, y_val), (X_test, y_test)


def network(parameters: dict[str, float]) -> bp.Network:
    """Return an untrained network."""
    sizes = [64, int(parameters["width"]), 10]
    return bp.Network(sizes, output="softmax", loss="cross_entropy", l2_penalty=parameters["l2_penalty"], seed=0)


def objective(trial: optuna.Trial, epochs: int) -> float:
    """Train a network with hyperparameters of the trial; return its validation loss."""
    trial.suggest_int("width", 4, 64, log=True)
    trial.suggest_float("learning_rate", 1e-4, 1, log=True)
    trial.suggest_float("l2_penalty", 1e-6, 1e-2, log=True)
    train, validation, _ = data()

    def report(net: bp.Network, history: bp.History) -> bool:
        trial.report(history.val_loss[-1], step=len(history))
        return trial.should_prune()  # True ends the fit

    optimizer = bp.Adam(trial.params["learning_rate"])
    history = network(trial.params).fit(
        *train, epochs=epochs, optimizer=optimizer, validation_data=validation, callbacks=[report], seed=0
    )
    if history.stopped_by == "callback":
        raise optuna.TrialPruned
    return float(history.val_loss[-1])


def main(folder: Path | None = None, trials: int = 40, epochs: int = 30) -> Found:
    """Search; print what was found, and draw it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
    study.optimize(lambda trial: objective(trial, epochs), n_trials=trials)
    n_epochs = sum(len(trial.intermediate_values) for trial in study.trials)
    train, _, (X_test, y_test) = data()
    best = network(study.best_params)
    best.fit(*train, epochs=epochs, optimizer=bp.Adam(study.best_params["learning_rate"]), seed=0)
    accuracy = float((best.predict(X_test).argmax(axis=1) == y_test).mean())
    n_pruned = len(study.get_trials(states=[optuna.trial.TrialState.PRUNED]))
    print(f"{trials} trials, {n_pruned} given up early: {n_epochs} epochs instead of {trials * epochs}")
    print("best: " + ", ".join(f"{name} {value:.2g}" for name, value in study.best_params.items()))
    print(f"accuracy on test images {accuracy:.1%}")
    if folder is not None:
        draw(study, folder)
    return Found(study, n_epochs, accuracy)


def draw(study: optuna.Study, folder: Path) -> None:
    """Draw the trials over the epochs, and over the learning rate."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    looks = {
        "given up": {"color": "0.65", "marker": "x", "linewidth": 1, "zorder": 1},
        "finished": {"color": "#0072B2", "marker": "o", "linewidth": 1, "zorder": 2},
        "best": {"color": "#D55E00", "marker": "*", "linewidth": 2.5, "zorder": 3},
    }
    for trial in study.trials:
        ended = "given up" if trial.state == optuna.trial.TrialState.PRUNED else "finished"
        look = looks["best" if trial.number == study.best_trial.number else ended]
        steps, losses = zip(*sorted(trial.intermediate_values.items()), strict=True)
        left.plot(steps, losses, **look | {"marker": ""})
        left.plot(steps[-1], losses[-1], **look, markersize=5)
        right.plot(trial.params["learning_rate"], losses[-1], **look, linestyle="", markersize=7)
    for name, look in looks.items():
        right.plot([], [], **look, linestyle="", label=name)
    left.set(yscale="log", xlabel="epoch", ylabel="validation loss (cross-entropy)", title="every trial, to its end")
    right.set(xscale="log", xlabel="learning rate per step", title="where it ended")
    right.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "23_pruned_by_optuna.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--trials", type=int, default=40, help="how many networks to train (%(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the images at most (%(default)s)")
    main(**vars(parser.parse_args()))
