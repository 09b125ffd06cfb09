"""The estimators beside scikit-learn's: the cases, and the program that measures one library in a process of its own.

``python -m bench.estimators LIBRARY THREADS INSTRUCTION_SET`` answers the requests that `bench.worker` describes; its
cases have names of their own, and the round of a fit is one fit.
"""

from __future__ import annotations

import importlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from bench.agreement import projections
from bench.worker import answer_from

MNIST = "FASTBP_MNIST"  # where the file of digits is: X_train, y_train with pixels 0 to 255
MODULES = {"fastbp": "fastbp.neural_network", "scikit-learn": "sklearn.neural_network"}
DTYPES = ("float64", "float32")


def _digits() -> Any:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def _standardised(loader: str) -> Callable[[], Any]:
    def load() -> Any:
        from sklearn import datasets

        X, y = getattr(datasets, loader)(return_X_y=True)
        y = (y - y.mean()) / y.std() if loader == "load_diabetes" else y
        return (X - X.mean(axis=0)) / X.std(axis=0), y

    return load


def _classification() -> Any:
    from sklearn.datasets import make_classification

    return make_classification(20_000, 50, n_informative=20, random_state=0)


def _words(n_rows: int, n_features: int, density: float) -> Callable[[], Any]:
    """Return a loader of rows like TF-IDF of texts: CSR, as many numbers in each row, four classes."""

    def load() -> Any:
        rng = np.random.default_rng(0)
        n_words = max(1, round(density * n_features))
        indices = np.concatenate([np.sort(rng.choice(n_features, n_words, replace=False)) for _ in range(n_rows)])
        indptr = np.arange(0, n_rows * n_words + 1, n_words)
        X = sparse.csr_array((rng.random(len(indices)), indices, indptr), shape=(n_rows, n_features))
        return X, rng.integers(4, size=n_rows)

    return load


def _mnist(n_rows: int) -> Callable[[], Any]:
    def load() -> Any:
        with np.load(os.environ[MNIST]) as file:
            return file["X_train"][:n_rows].reshape(n_rows, -1) / 255.0, file["y_train"][:n_rows]

    return load


@dataclass(frozen=True)
class Case:
    """A data set with an estimator and its parameters; `target` is how many times faster than scikit-learn."""

    load: Callable[[], Any]
    estimator: str
    parameters: dict[str, Any]
    target: float
    is_quick: bool = True
    needs_mnist: bool = False
    predict_target: float | None = None  # of all rows; None where they are not predicted


@dataclass
class _Cases:
    table: dict[str, Case] = field(default_factory=dict)

    def add(self, name: str, load: Callable[[], Any], target: float = 4.0, **settings: Any) -> None:
        flags = {
            key: settings.pop(key)
            for key in ("is_quick", "needs_mnist", "estimator", "predict_target")
            if key in settings
        }
        parameters = {"random_state": 0} | settings
        self.table[name] = Case(load, **{"estimator": "MLPClassifier"} | flags, parameters=parameters, target=target)


_cases = _Cases()
_cases.add("digits 64-100-10", _digits, batch_size=200, max_iter=20)
_cases.add("digits 64-100-10, lbfgs", _digits, target=3.0, solver="lbfgs", max_iter=40)
_cases.add("breast cancer 30-100-1", _standardised("load_breast_cancer"), max_iter=30)
_cases.add("diabetes 10-100-1", _standardised("load_diabetes"), estimator="MLPRegressor", max_iter=30)
_cases.add("20,000 x 50, 50-64-64-1", _classification, hidden_layer_sizes=(64, 64), max_iter=3, is_quick=False)
_cases.add("MNIST 784-128-10", _mnist(10_000), hidden_layer_sizes=128, max_iter=3, is_quick=False, needs_mnist=True)
_cases.add(
    "MNIST 784-2048-2048-10",
    _mnist(1000),
    target=2.0,
    hidden_layer_sizes=(2048, 2048),
    max_iter=1,
    is_quick=False,
    needs_mnist=True,
)
# Sparse X: from far fewer numbers than zeros to so many that another library would do better with dense X.
for _percent, _n_rows, _n_features in (
    (0.1, 2000, 20_000), (1, 2000, 20_000), (1, 1000, 5000), (5, 1000, 5000), (15, 1000, 5000), (50, 1000, 5000),
):  # fmt: skip
    _cases.add(
        f"sparse {_percent} %, {_n_rows} x {_n_features}-100-4",
        _words(_n_rows, _n_features, _percent / 100),
        target=3.0 if _percent <= 5 else 1.0,
        predict_target=5.0 if _percent <= 5 else 1.0,
        max_iter=2,
        is_quick=(_percent, _n_features) == (1, 5000),
    )
CASES = _cases.table

# task -> rows to predict, -1 for all, or None for a fit
TASKS = {"fit": None, "predict 1 row": 1, "predict 10,000 rows": 10_000, "predict all rows": -1}
PREDICTION_TARGETS = {"predict 1 row": 2.0, "predict 10,000 rows": 1.0}
PREDICTED_CASES = ("digits 64-100-10", "20,000 x 50, 50-64-64-1")


class Server:
    """Answers requests about one library."""

    def __init__(self, library: str) -> None:
        warnings.simplefilter("ignore")  # that training ended before it converged; that is what was asked for
        self.library = library

    def prepare(self, case: str, task: str, dtype: str, seconds: float) -> dict[str, Any]:
        """Get ready for rounds."""
        chosen = CASES[case]
        X, y = chosen.load()
        X = X.astype(dtype) if sparse.issparse(X) else np.ascontiguousarray(X, dtype)
        y = y.astype(dtype) if chosen.estimator == "MLPRegressor" else y
        make = getattr(importlib.import_module(MODULES[self.library]), chosen.estimator)
        self.units = 1
        model = make(**chosen.parameters)
        if TASKS[task] is None:
            self.run = lambda: model.fit(X, y)
        else:
            model.set_params(max_iter=3).fit(X, y)
            rows = X if TASKS[task] == -1 else np.resize(X, (TASKS[task], X.shape[1]))
            self.run = lambda: model.predict(rows)
        first, second = self._time(), self._time()
        self.units = 1 if TASKS[task] is None else max(1, int(seconds / second))
        result = [float(model.loss_), *projections(model.coefs_[0])]
        module = importlib.import_module(MODULES[self.library].split(".")[0])
        return {"fingerprint": result, "first_call_s": max(0.0, first - second), "version": module.__version__}

    def _time(self) -> float:
        began = time.perf_counter()
        for _ in range(self.units):
            self.run()
        return time.perf_counter() - began

    def round(self) -> dict[str, Any]:
        """Time one round."""
        return {"seconds": self._time() / self.units}


if __name__ == "__main__":
    answer_from(lambda library, n_threads: Server(library))
