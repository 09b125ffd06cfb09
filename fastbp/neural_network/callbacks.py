"""scikit-learn's callback protocol, which is new in 1.9; with an older scikit-learn there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from sklearn.callback import CallbackSupportMixin as Support
    from sklearn.callback import with_callbacks
except ImportError:

    class Support:  # type: ignore[no-redef]
        """Stands in for the mixin of scikit-learn 1.9."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Stand in for the decorator of scikit-learn 1.9."""
        return method


ITERATING = ("lbfgs", "lm")  # solvers whose tasks are iterations on all rows

__all__ = ["Context", "Support", "begin", "with_callbacks"]


class Context:
    """The tasks that callbacks are told of: the fit, and within it each epoch, or each iteration of 'lbfgs' or 'lm'."""

    def __init__(self, estimator: Any, root: Any, data: dict[str, Any]) -> None:
        self._estimator, self._root, self._data = estimator, root, data
        self._task: Any = None
        self.is_wanted = root is not None and bool(getattr(estimator, "_skl_callbacks", []))
        if root is not None:
            root.call_on_fit_task_begin(estimator=estimator, **data)
        if self.is_wanted and estimator.solver in ITERATING:
            self._begin_task("iteration")

    def on_epoch(self, epoch: int, begins: bool) -> bool:
        """Tell the callbacks that an epoch begins or ends, and return whether one of them asks to stop."""
        if begins:
            self._begin_task("epoch")
            return False
        return self._end_task()

    def on_iteration(self, x: NDArray[np.float64]) -> None:
        """Tell the callbacks that an iteration ended with the parameters `x`; stop if one asks for it."""
        self._estimator._network.params[...] = x
        if self._end_task():
            raise StopIteration
        self._begin_task("iteration")

    def end(self) -> None:
        """Tell the callbacks that the fit is over."""
        if self._task is not None:
            self._end_task()  # of an iterating solver: the next iteration was announced and never came
        if self._root is not None:
            self._root.call_on_fit_task_end(estimator=self._estimator, **self._data, reconstruction_attributes={})

    def _begin_task(self, name: str) -> None:
        self._task = self._root.subcontext(task_name=name)
        self._task.call_on_fit_task_begin(estimator=self._estimator, **self._data, reconstruction_attributes={})

    def _end_task(self) -> bool:
        # No attributes are needed to reconstruct a fitted estimator: a copy of this one has parameters of its own.
        task, self._task = self._task, None
        return bool(task.call_on_fit_task_end(estimator=self._estimator, **self._data, reconstruction_attributes={}))


def begin(estimator: Any, X: Any, y: Any, sample_weight: Any, n_tasks: int) -> Context:
    """Tell the callbacks that a fit begins."""
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    data = {"X": X, "y": y, "metadata": metadata}
    make_root = getattr(estimator, "_init_callback_context", None)
    if not getattr(estimator, "_skl_callbacks", []) and not hasattr(estimator, "_parent_callback_ctx"):
        make_root = None  # nobody listens: a fit does not depend on a protocol that is young and may change
    n_tasks += 1 if estimator.solver in ITERATING else 0
    return Context(estimator, None if make_root is None else make_root(max_subtasks=n_tasks), data)
