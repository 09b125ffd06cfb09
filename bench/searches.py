"""A search over a grid with folds: the program that measures one library in a process of its own.

``python -m bench.searches LIBRARY THREADS INSTRUCTION_SET`` answers the requests that `bench.estimators` describes; a
round is one whole search, which trains the best point on all rows at its end.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from typing import Any

import numpy as np

from bench.agreement import projections
from bench.estimators import CASES, MODULES
from bench.worker import answer_from

SEARCHES = {"GridSearchCV": "sklearn.model_selection", "MLPGridSearchCV": "fastbp.neural_network"}
FOLDS = 5
GRIDS: dict[str, dict[str, list[Any]]] = {  # of 24 points, and of 2 for a quick look
    "24 points": {
        "hidden_layer_sizes": [(16,), (32,), (64,)],
        "learning_rate_init": [1e-4, 1e-3, 1e-2, 1e-1],
        "alpha": [1e-4, 1e-1],
    },
    "2 points": {"learning_rate_init": [1e-4, 1e-2]},
}
PARAMETERS = {"hidden_layer_sizes": (32,), "max_iter": 15, "random_state": 0}


def why_not(search: str) -> str | None:
    """Return None, or the reason why there is no such search."""
    module = importlib.import_module(SEARCHES[search])
    return None if hasattr(module, search) else f"{SEARCHES[search]} has no {search}"


class Server:
    """Answers requests about one library."""

    def __init__(self, library: str, n_threads: int) -> None:
        warnings.simplefilter("ignore")  # that training ended before it converged; that is what was asked for
        self.library, self.n_threads = library, n_threads

    def prepare(self, case: str, task: str, dtype: str, seconds: float) -> dict[str, Any]:
        """Get ready for rounds; the case is a grid, the task a search."""
        X, y = CASES["digits 64-100-10"].load()
        X = X.astype(dtype)
        estimator = importlib.import_module(MODULES[self.library]).MLPClassifier(**PARAMETERS)
        make = getattr(importlib.import_module(SEARCHES[task]), task)
        search = make(estimator, GRIDS[case], cv=FOLDS, n_jobs=self.n_threads)
        self.run = lambda: search.fit(X, y)
        self.run()  # starts processes, compiles
        scores = search.cv_results_["mean_test_score"]
        module = importlib.import_module(MODULES[self.library].split(".")[0])
        fingerprint = [float(search.best_index_), *projections(scores), *np.sort(scores)[-3:].tolist()]
        return {"fingerprint": fingerprint, "first_call_s": 0.0, "version": module.__version__}

    def round(self) -> dict[str, Any]:
        """Time one round."""
        began = time.perf_counter()
        self.run()
        return {"seconds": time.perf_counter() - began}


if __name__ == "__main__":
    answer_from(Server)
