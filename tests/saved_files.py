"""Small files of every kind that fastbp writes, and the program that makes them.

``python -m tests.saved_files FOLDER`` writes them, with the version of fastbp that is imported, and beside them
``expected.npz``: what that version says of them.  `tests.test_saved_files` reads those that lie in ``tests/data``.

Nothing is random but what fastbp draws itself from a seed: data and parameters are whole numbers over powers of two.
Rows of the tables may be added, and never changed: the files are named after them.
"""

import io
import pickle
import random
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numba
import numpy as np
import scipy
import sklearn
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

import fastbp as bp
from fastbp import nielsen, nielsen2
from fastbp.kernels.machine.vector_writer import VECTOR_BYTES
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.neural_network.table_pipelines import make_columns
from fastbp.neural_network.table_pipelines import save as save_pipeline
from tests.cases import DTYPES

FOLDERS = sorted(path for path in (Path(__file__).parent / "data").iterdir() if path.is_dir())
CUBE = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
QUARTIC = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))


def numbers(*shape, factor=7919, modulus=101, divisor=32):
    """Numbers between -2 and 2 that every dtype has exactly, and that look random."""
    return ((np.arange(np.prod(shape)) * factor % modulus - modulus // 2) / divisor).reshape(shape)


X = numbers(40, 3)
LABELS = (X @ [1.0, -1.0, 0.5] > 0).astype(int) + (X[:, 0] > 0.5)  # 0, 1 or 2
WORDS = np.array(["cat", "dog", "mouse"])[LABELS]
LIBRARIES = ", ".join(f"{library.__name__} {library.__version__}" for library in (np, scipy, sklearn))
MADE_WITH = f"vectors of {VECTOR_BYTES} bytes, {LIBRARIES}"


# ---- Networks --------------------------------------------------------------------------------------------------------


NETWORKS = {
    "huber": {"sizes": [3, 4, 2], "activation": "tanh", "loss": "huber", "loss_parameter": 0.25},
    "quantile": {"sizes": [3, 4, 1], "activation": "elu", "loss": "quantile", "loss_parameter": 0.875},
    "penalties": {"sizes": [3, 2], "loss": "absolute", "l2_penalty": 0.125, "l1_penalty": 0.0625},
    "dropout": {"sizes": [3, 5, 4, 1], "activation": ["silu", "leaky_relu"], "dropout": [0.25, 0.5]},
    "mixed": {
        "sizes": [3, 6, 5, 3],
        "activation": [[("relu", 1), ("sine", 2), ("gelu", 3)], [("softplus", 4), ("identity", 1)]],
        "output": [("sigmoid", 1), ("exp", 1), ("tanh", 1)],
        "loss": "log_cosh",
        "initializer": "he_normal",
    },
    "softmax": {"sizes": [3, 4, 3], "output": "softmax", "loss": "cross_entropy", "initializer": "scaled_normal"},
    "logistic": {"sizes": [3, 4, 2], "activation": "sigmoid", "output": "sigmoid", "loss": "cross_entropy"},
    "poisson": {"sizes": [3, 4, 1], "activation": "relu", "output": "exp", "loss": "poisson"},
    "own": {"sizes": [3, 3, 2], "activation": [[(CUBE, 2), ("tanh", 1)]], "loss": QUARTIC},
}  # fmt: skip


def network(name, dtype):
    """A network whose parameters are known."""
    net = bp.Network(dtype=dtype, **NETWORKS[name])
    net.params = numbers(net.n_params, divisor=64).astype(dtype)
    return net


# ---- Estimators ------------------------------------------------------------------------------------------------------


SMALL = {"hidden_layer_sizes": (4, 3), "max_iter": 4, "random_state": 0, "tol": 0.0, "batch_size": 8}
ESTIMATORS = {
    "classifier-words": (MLPClassifier, WORDS, {"class_weight": {"cat": 2.0, "dog": 1.0, "mouse": 0.5}}),
    "classifier-stopped": (MLPClassifier, WORDS.astype(object), {"early_stopping": True, "n_iter_no_change": 2}),
    "classifier-binary": (MLPClassifier, LABELS > 0, {"solver": "sgd", "learning_rate": "adaptive"}),
    "classifier-labels": (MLPClassifier, (X > 0).astype(int), {"activation": "logistic", "dtype": "float32"}),
    "classifier-lbfgs": (MLPClassifier, LABELS * 5 - 3, {"solver": "lbfgs", "max_iter": 300, "alpha": 0.1}),
    "regressor-one": (MLPRegressor, X[:, 0] - X[:, 1], {"learning_rate": bp.Cosine(0.0625), "dropout": 0.25}),
    "regressor-two": (MLPRegressor, X[:, :2], {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5}),
    "regressor-quantile": (MLPRegressor, X[:, 0], {"loss": "quantile", "quantile": 0.9, "activation": ["gelu", "elu"]}),
    "regressor-lbfgs": (MLPRegressor, X[:, 0], {"solver": "lbfgs", "max_iter": 300, "alpha": 0.1, "activation": CUBE}),
}  # fmt: skip


def estimator(name):
    """A fitted estimator."""
    kind, y, settings = ESTIMATORS[name]
    model = kind(**SMALL | settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after so few epochs
        model.fit(X.astype(settings.get("dtype", "float64")), y)
    if name == "regressor-two":  # as a fit on a data frame leaves it
        model.feature_names_in_ = np.array(["a", "b", "c"], object)
    return model


def table():
    """The data as a table of pandas: numbers of which one is missing, words, and the words to be predicted."""
    import pandas as pd

    first = np.where(np.arange(40) == 7, np.nan, X[:, 0])
    return pd.DataFrame({"first": first, "second": X[:, 1], "soil": np.array(["clay", "sand"])[LABELS % 2], "y": WORDS})


def pipeline():
    """What `fastbp train` fits to that table."""
    frame = table()
    columns = make_columns(["first", "second"], ["soil"], [["clay", "sand"]])
    network = MLPClassifier((4,), max_iter=300, random_state=0, solver="lbfgs", alpha=0.1)
    network.fit(columns.fit_transform(frame), frame["y"].to_numpy(str))
    return Pipeline([("columns", columns), ("network", network)])


def says(model):
    """What a fitted estimator says of the data, by the names of its methods."""
    inputs = X.astype(model.coefs_[0].dtype)
    names = ["predict"] if isinstance(model, MLPRegressor) else ["predict", "predict_proba"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return {name: getattr(model, name)(inputs) for name in names}


# ---- Half a fit ------------------------------------------------------------------------------------------------------


OPTIMIZERS = {
    "sgd": bp.SGD(0.0625),
    "momentum": bp.SGD(bp.Step(0.0625, 3, 0.5), momentum=0.75, nesterov=True),
    "adam": bp.Adam(bp.Cosine(0.03125)),
    "adamw": bp.AdamW(bp.OneCycle(0.03125)),
    "rmsprop": bp.RMSprop(bp.InverseScaling(0.03125), momentum=0.5),
    "constant": bp.RMSprop(bp.Constant(0.03125)),
}
# kind of X, dtype, and the step in which the fit was interrupted, from 1 on: its five steps are one epoch
CHECKPOINTS = {
    "sgd": ("dense", "float32", 5),
    "momentum": ("dense", "float64", 13),
    "adam": ("dense", "float64", 15),
    "adamw": ("sparse", "float32", 10),
    "rmsprop": ("dense", "float32", 7),
}


class StopError(Exception):
    """What ends a fit half way."""


def half_fit(name, n_steps=None, **others):
    """Fit a network as a checkpoint's was, whole, or up to some step; the network and its history."""
    kind, dtype, _ = CHECKPOINTS[name]
    inputs = np.where(np.abs(X) < 0.5, 0, X).astype(dtype)
    net = bp.Network([3, 4, 3], "tanh", "softmax", "cross_entropy", dtype=dtype, dropout=0.25, l2_penalty=0.125)
    net.params = numbers(net.n_params, divisor=64).astype(dtype)
    arguments = {"epochs": 6, "batch_size": 8, "seed": 2, "clip_norm": 0.5, "optimizer": OPTIMIZERS[name], **others}
    if name != "sgd":  # which is the plain one
        arguments |= {
            "sample_weight": (1 + np.arange(40) % 3).astype(dtype),
            "validation_data": (inputs[::-1], LABELS[::-1]),
            "early_stopping": bp.EarlyStopping(patience=4, min_delta=0.0625),
        }
    try:
        with interrupted_after(n_steps):
            history = net.fit(sparse.csr_array(inputs) if kind == "sparse" else inputs, LABELS, **arguments)
    except StopError:
        return net, None
    return net, history


class interrupted_after:  # noqa: N801 -- used as the context managers of contextlib
    """Have the kernel stop after some steps, and an exception end the fit there, as Ctrl-C may; None for never.

    It reaches into fastbp, since from outside no fit can be stopped after a step that is known beforehand.
    """

    def __init__(self, n_steps):
        self._left = n_steps

    def __enter__(self):
        """Replace the method that calls the kernel."""
        from fastbp.engine.frame import Frame

        self._frame, self._whole = Frame, Frame.run
        if self._left is not None:
            Frame.run = lambda frame, *task, **arguments: self._run(frame, *task, **arguments)

    def __exit__(self, *_):
        """Put it back."""
        self._frame.run = self._whole

    def _run(self, frame, *task, rates=None, **others):
        if rates is None:  # no training
            return self._whole(frame, *task, **others)
        n = min(self._left, len(rates))
        self._left -= n
        status = self._whole(frame, *task, rates=rates[:n], **others)
        if not self._left:
            raise StopError
        return status


def end_of(net, history):
    """What a fit left behind: everything but its seconds."""
    state = net._training_state
    return {
        "params": net.params,
        "vectors": state.vectors,
        "counts": np.array([state.step, *state.powers, state.dropout_seed]),
        "loss": history.loss,
        "val_loss": history.val_loss,
    }


# ---- Nielsen's classes -----------------------------------------------------------------------------------------------


NIELSEN = {
    "first": (nielsen, None, "float64"),
    "quadratic": (nielsen2, nielsen2.QuadraticCost, "float64"),
    "cross_entropy": (nielsen2, nielsen2.CrossEntropyCost, "float32"),
}


def nielsen_network(name):
    """A network whose parameters are known."""
    module, cost, dtype = NIELSEN[name]
    net = module.Network([3, 4, 2], dtype=dtype) if cost is None else module.Network([3, 4, 2], cost, dtype=dtype)
    net.weights = [numbers(4, 3, divisor=64).astype(dtype), numbers(2, 4, divisor=64).astype(dtype)]
    net.biases = [numbers(4, 1, divisor=64).astype(dtype), numbers(2, 1, divisor=64).astype(dtype)]
    return net


def trained_further(net):
    """The parameters of one of Nielsen's networks after two epochs of SGD, as one array."""
    random.seed(0)
    data = [(x[:, None], np.array([[x[0] > 0], [x[0] <= 0]], float)) for x in X]
    with redirect_stdout(io.StringIO()):
        net.SGD(data, 2, 8, 0.5)
    return np.concatenate([part.ravel() for part in (*net.weights, *net.biases)])


# ---- Pickles ---------------------------------------------------------------------------------------------------------


def pickles():
    """What is pickled, by the names of the files."""
    net, _ = half_fit("adam", 13)
    net.feature_names = ("a", "b", "c")
    single, history = half_fit("rmsprop")
    rows = [[0.0], [1.0]], [[1.0], [3.0]]
    line = bp.Network([1, 1], initializer="zeros")
    watch = bp.WeightHistory(line)
    line.fit(*rows, epochs=2, optimizer=bp.SGD(0.5), callbacks=[watch])
    return {
        "network": net,
        "network-float32": single,
        **{name: estimator(name) for name in ESTIMATORS if name != "regressor-lbfgs"},  # whose functions are code
        "nielsen": nielsen_network("first"),
        "nielsen2": nielsen_network("cross_entropy"),
        "optimizers": OPTIMIZERS,
        "records": {
            "history": history,
            "early_stopping": bp.EarlyStopping(patience=4, min_delta=0.0625),
            "weight_history": watch,
            "trace": line.trace(*rows),
            "gradient": bp.check_gradient(line, *rows),
            "diagnosis": bp.diagnose(line, rows[0]),
            "range": bp.find_learning_rate(line, *rows, n_steps=10, seed=0),
            "diverged": bp.TrainingDivergedError("too large"),
            "file": bp.FileError("net", "it is empty."),
        },
    }


# ---- The program -----------------------------------------------------------------------------------------------------


def make(folder):
    """Write all files; return what `expected.npz` is to hold."""
    expected = {"made_with": np.array(MADE_WITH)}

    def keep(name, values):
        expected.update({f"{name}/{key}": value for key, value in values.items()})

    for name in NETWORKS:
        for dtype in DTYPES:
            net = network(name, dtype)
            net.save(folder / f"network-{name}-{dtype}.safetensors")
            keep(f"network-{name}-{dtype}", {"predict": net.predict(X.astype(dtype))})
    for name in ESTIMATORS:
        model = estimator(name)
        model.save(folder / f"{name}.safetensors")
        keep(name, {"params": model.network_.params, **says(model)})
    fitted = pipeline()
    save_pipeline(fitted, folder / "pipeline-words.safetensors")
    keep("pipeline-words", {name: getattr(fitted, name)(table()) for name in ("predict", "predict_proba")})
    for name, (_, _, n_steps) in CHECKPOINTS.items():
        half_fit(name, n_steps, checkpoint=folder / f"checkpoint-{name}.safetensors")
        keep(f"checkpoint-{name}", end_of(*half_fit(name)))
    for name in NIELSEN:
        net = nielsen_network(name)
        net.save(folder / f"nielsen-{name}.json")
        keep(f"nielsen-{name}", {"feedforward": net.feedforward(X.T), "trained": trained_further(net)})
    for name, value in pickles().items():
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(value, protocol=4))
    return {name: value.astype(str) if value.dtype == object else value for name, value in expected.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir()
    np.savez_compressed(folder / "expected.npz", **make(folder))
