"""MLflow keeps a record of training: each epoch's losses by a callback, and the models themselves.

Three networks learn the handwritten digits with three learning rates, each in a run of its own.  After every epoch a
callback logs the loss and the validation loss.  The best network is logged as an ONNX model, and an estimator of
`fastbp.neural_network` as a file of skops, for which MLflow is told what to trust.  Then everything is read back.

What to look for: the curves are drawn from what MLflow has kept.  The estimator comes back with the same bits; the
network runs in onnxruntime and differs by rounding errors.

The record is an SQLite database in a folder that is thrown away; with a server it would be that server's address.

Needs MLflow, its part without the server is enough: ``pip install "fastbp[ecosystem]"``.

Run: ``python examples/24_logged_by_mlflow.py [folder for the pictures] [--epochs 40]``
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import mlflow
import mlflow.onnx
import mlflow.sklearn
import numpy as np
import onnx
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import fastbp as bp
from fastbp.neural_network import MLPClassifier

RATES = (0.0003, 0.003, 0.03)
TRUSTED = ["fastbp.neural_network.classifier.MLPClassifier"]


class Logged(NamedTuple):
    """What came back: metrics (2, epochs) of each rate, how far the models are from the originals."""

    curves: dict[float, np.ndarray]
    difference: float
    has_same_bits: bool


def log_network(rate: float, data: list[np.ndarray], epochs: int) -> tuple[bp.Network, str]:
    """Train a network in a run of its own; return it and the name of the run."""
    X, X_val, y, y_val = data
    net = bp.Network([64, 32, 10], output="softmax", loss="cross_entropy", seed=0)

    def log(net: bp.Network, history: bp.History) -> None:
        mlflow.log_metrics({"loss": history.loss[-1], "val_loss": history.val_loss[-1]}, step=len(history))

    with mlflow.start_run(run_name=f"learning rate {rate}") as run:
        mlflow.log_params({"learning_rate": rate, "sizes": net.sizes})
        net.fit(X, y, epochs=epochs, optimizer=bp.Adam(rate), validation_data=(X_val, y_val), callbacks=[log], seed=0)
    return net, run.info.run_id


def log_models(net: bp.Network, model: MLPClassifier) -> tuple[str, str]:
    """Log a network and an estimator; return their addresses."""
    with mlflow.start_run(run_name="models"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        net.to_onnx(path)
        # With the requirements named, MLflow does not load each model in another process to find them out.
        first = mlflow.onnx.log_model(onnx.load(path), name="network", pip_requirements=["onnxruntime"])
        second = mlflow.sklearn.log_model(
            model,
            name="estimator",
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pip_requirements=["fastbp", "skops"],
        )
    return first.model_uri, second.model_uri


def main(folder: Path | None = None, epochs: int = 40) -> Logged:
    """Train, log, read back; print and draw what came back."""
    X, y = load_digits(return_X_y=True)
    data = train_test_split(X / 16, y, stratify=y, random_state=0)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as store:
        mlflow.set_tracking_uri(f"sqlite:///{Path(store, 'mlflow.db').as_posix()}")
        experiment = mlflow.create_experiment("digits", artifact_location=Path(store, "models").as_uri())
        mlflow.set_experiment(experiment_id=experiment)
        trained = {rate: log_network(rate, data, epochs) for rate in RATES}
        client, curves = mlflow.MlflowClient(), {}
        for rate, (_, run) in trained.items():
            curves[rate] = np.array(
                [[m.value for m in client.get_metric_history(run, name)] for name in ("loss", "val_loss")]
            )
        best = min(RATES, key=lambda rate: curves[rate][1, -1])
        model = MLPClassifier((32,), learning_rate_init=best, max_iter=epochs, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are few on purpose
            model.fit(data[0], data[2])
        net = trained[best][0]
        network, estimator = log_models(net, model)
        outputs = mlflow.pyfunc.load_model(network).predict({"X": data[1]})["output"]
        again = mlflow.sklearn.load_model(estimator)
        has_same_bits = np.array_equal(again.predict_proba(data[1]), model.predict_proba(data[1]))
    difference = float(np.abs(outputs - net.predict(data[1])).max())
    print(f"best of {len(RATES)} learning rates: {best}, validation loss {curves[best][1, -1]:.3f}")
    print(f"the network in onnxruntime differs by {difference:.0e}")
    print(f"the estimator has the same bits: {has_same_bits}")
    if folder is not None:
        draw(curves, folder)
    return Logged(curves, difference, has_same_bits)


def draw(curves: dict[float, np.ndarray], folder: Path) -> None:
    """Draw the losses that MLflow has kept."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    looks = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"))
    for (rate, (loss, val_loss)), (color, marker) in zip(curves.items(), looks, strict=True):
        look = {"color": color, "marker": marker, "markersize": 4, "markevery": max(1, len(loss) // 10)}
        epochs = np.arange(1, len(loss) + 1)
        ax.plot(epochs, loss, **look, label=f"learning rate {rate:g}")
        ax.plot(epochs, val_loss, "--", **look)
    ax.plot([], [], "--", color="0.3", label="on validation images")
    ax.set(yscale="log", xlabel="epoch", ylabel="loss (cross-entropy)", title="three runs, as MLflow has kept them")
    ax.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "24_logged_by_mlflow.png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder for the pictures; without it none are drawn")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the images (%(default)s)")
    main(**vars(parser.parse_args()))
