"""`LBFGS`: the limited-memory method of Broyden, Fletcher, Goldfarb and Shanno, compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import inputs_of
from fastbp.engine.interruption import StepTime
from fastbp.engine.lbfgs import make_lbfgs
from fastbp.engine.rows import Data
from fastbp.kernels.roots import lbfgs as kernel
from fastbp.model.model import Model, passes_of
from fastbp.training.state import diverged_where_it_begins
from fastbp.training.whole_batch import Trainer, WholeBatchOptimizer
from fastbp.validation.numbers import MOST_STEPS, store_number

REASONS = {
    kernel.SMALL_GRADIENT: "gtol",
    kernel.SMALL_DECREASE: "ftol",
    kernel.NO_STEP: "line_search",
    kernel.ENOUGH_EVALUATIONS: "max_evaluations",
}


@dataclass(frozen=True, slots=True)
class LBFGS(WholeBatchOptimizer):
    """L-BFGS: steps along a direction that the last gradients tell, as long as the cost falls enough.

    With the gradient ``g`` of all rows, penalties included, an iteration goes along ``d = -H g``, where ``H`` is the
    inverse Hessian as far as the last steps have shown it, to where the line search of More and Thuente accepts the
    cost.  The cost never rises.

    For networks of few parameters and few rows, trained to a minimum, it needs far fewer passes over the data than
    `Adam`, and nothing has to be chosen; the more rows there are, the sooner mini-batches are ahead.

    Parameters
    ----------
    history : int
        Pairs of a step and the change of the gradient that are kept, ``m`` elsewhere.
    max_line_search : int
        Evaluations of cost and gradient in one line search; SciPy's `maxls`.
    gtol : float
        Stop when no derivative is larger than this in absolute value.
    ftol : float
        Stop when an iteration has lowered the cost by no more than this, in units of the cost or of 1, whichever is
        greater.
    max_evaluations : int or None
        Stop after the iteration with which cost and gradient have been evaluated so often; None for no end.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Pass it to `Network.fit` as `optimizer`; `epochs` is the number of iterations, SciPy's `maxiter`.  The `History` has
    the columns `gradient_norm`, the largest absolute derivative after the iteration, and `evaluations`, how often cost
    and gradient were evaluated in it.  Its `stopped_by` may be 'gtol', 'ftol', 'max_evaluations', or 'line_search',
    where no step lowers the cost, as at a kink of a cost that is not smooth.

    Directions, line search, bounds and their defaults are those of SciPy's L-BFGS-B without bounds, so that both take
    the same path up to rounding, here with everything compiled: many iterations of a small network are one call.  All
    sums over parameters are in float64.  It keeps ``2 * history + 4`` float64 vectors as long as the parameters.

    References
    ----------
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45
    (1989); More and Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM Transactions on
    Mathematical Software 20 (1994).

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> net = bp.Network([1, 10, 1], activation="tanh", seed=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=1000, optimizer=bp.LBFGS(gtol=1e-4))
    >>> history.stopped_by, bool(history.loss[-1] < 1e-3), bool(history.gradient_norm[-1] <= 1e-4)
    ('gtol', True, True)
    """

    columns: ClassVar[tuple[str, ...]] = ("gradient_norm", "evaluations")
    reasons: ClassVar[tuple[str, ...]] = tuple(REASONS.values())

    history: int = 10
    max_line_search: int = 20
    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        store_number(self, "history", "a whole number above 0", "Try 10.")
        store_number(self, "max_line_search", "a whole number above 0", "Try 20.")
        store_number(self, "gtol", "a finite number, 0 or above", "Try 1e-5.")
        store_number(self, "ftol", "a finite number, 0 or above", "Try 2.2e-9, or 0.0 to go on as long as it falls.")
        if self.max_evaluations is not None:
            store_number(self, "max_evaluations", "a whole number above 0", "Try None, for no bound.")

    def trainer(self, net: Model, data: Data, n_threads: int | None) -> Trainer:
        """Return what takes the iterations of one fit; nothing of the network changes yet.

        Parameters
        ----------
        net : Model
            The network.
        data : Data
            All rows.
        n_threads : int or None
            Threads to use; None for as many as the process may.

        Raises
        ------
        MemoryError
            If the pairs of steps do not fit into the memory that is available.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.Network([1, 1], seed=0).fit([[0.0], [1.0]], [1, 3], optimizer=bp.LBFGS()).stopped_by  # calls it
        'gtol'
        """
        return _Trainer(self, net, data, n_threads)


def rules_of(rule: LBFGS, n_epochs: int) -> NDArray[np.float64]:
    """Return the kernel's rules for so many iterations."""
    most = MOST_STEPS if rule.max_evaluations is None else rule.max_evaluations
    return np.array([n_epochs, rule.history, rule.max_line_search, rule.gtol, rule.ftol, most], np.float64)


def is_memory(rule: LBFGS, state: NDArray[np.float64]) -> bool:
    """Whether numbers of a file, as many as a memory has, can be one."""
    counts = state[[kernel.N_PAIRS, kernel.NEXT_PAIR, kernel.EVALUATIONS, kernel.HAS_GRADIENT]]
    most = np.array([rule.history, rule.history - 1, MOST_STEPS, 1], np.float64)
    return bool(((counts == np.floor(counts)) & (counts >= 0) & (counts <= most)).all())


class _Trainer:
    """A fit by L-BFGS in progress; see `fastbp.training.whole_batch.Trainer`."""

    def __init__(self, rule: LBFGS, net: Model, data: Data, n_threads: int | None) -> None:
        self._rule, self._net, self._data = rule, net, data
        self._frame = frame = passes_of(net).take_made("lbfgs", data.X, make_lbfgs)
        frame.begin(net.params, rule.history)
        self._has_begun = False
        inputs = inputs_of(data.X)
        self.n_threads = frame.useful_threads(n_threads, 3 * len(data) * inputs.flops_per_row(net.sizes))
        self._time = StepTime(3 * len(data) * inputs.seconds_per_row(net.sizes))  # of an evaluation
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        return max(1, self._time.steps_of_short_call())

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        frame, data = self._frame, self._data
        rules = rules_of(self._rule, n_epochs)
        rows = np.empty((n_epochs, kernel.RECORD_COLUMNS))
        if not self._has_begun:  # until here a checkpoint may have changed the parameters
            frame.tried[...] = self._net.params
            self._has_begun = True
        frame.set_data(data.X, data.targets, data.sample_weight)
        began, evaluations = time.perf_counter(), frame.memory[kernel.EVALUATIONS]
        frame.epochs_done[0] = 0.0
        try:
            frame.iterate(rules, rows, self.n_threads, n_epochs * self._time.seconds)
        finally:
            record(rows[: int(frame.epochs_done[0])])
        self._time.note(int(frame.memory[kernel.EVALUATIONS] - evaluations), time.perf_counter() - began)
        if frame.status == DIVERGED:
            raise diverged_where_it_begins()
        self.stopped_by = REASONS.get(frame.status)

    def state(self) -> NDArray[np.float64]:
        return self._frame.memory.copy()

    def restore(self, state: NDArray[np.float64]) -> bool:
        if not is_memory(self._rule, state):
            return False
        self._frame.memory[...] = state
        return True

    def end(self) -> None:
        passes_of(self._net).keep_training_frame(self._frame)
