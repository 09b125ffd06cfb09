"""Fits by optimizers that look at all rows at once: cost, gradient and J^T J are sums over the partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.exact import Cost
from fastbp.dask.rows import AllRows
from fastbp.dask.squares import SummedEquations
from fastbp.engine.calls import DIVERGED, FINISHED
from fastbp.engine.lbfgs import require_memory_of_pairs
from fastbp.kernels.roots import lbfgs as kernel
from fastbp.kernels.roots import lbfgs_steps as steps
from fastbp.model.model import Model
from fastbp.system.memory import require_writable_arrays
from fastbp.training.bayesian_regularization import BayesianRegularization, BayesianTrainer
from fastbp.training.lbfgs import LBFGS, REASONS, is_memory, rules_of
from fastbp.training.levenberg_marquardt import LevenbergMarquardt, SquaresTrainer, sums_in_float32
from fastbp.training.state import diverged_where_it_begins
from fastbp.training.whole_batch import Trainer, WholeBatchOptimizer


def trainer_of(rule: WholeBatchOptimizer, net: Model, rows: AllRows) -> Trainer:
    """Return what takes the iterations of a fit; nothing of the network changes yet.

    Raises
    ------
    TypeError
        If it is a rule of the user's own.
    MemoryError
        If what it keeps does not fit into this machine's memory.
    """
    if isinstance(rule, LBFGS):
        return LbfgsTrainer(rule, net, rows)
    if isinstance(rule, LevenbergMarquardt):
        return SquaresTrainer(rule, net, SummedEquations(net, rows, is_mixed=sums_in_float32(rule, net)))
    if isinstance(rule, BayesianRegularization):
        return BayesianTrainer(rule, net, SummedEquations(net, rows, is_mixed=False))
    raise TypeError(
        "`optimizer` must be a bp.LBFGS, bp.LevenbergMarquardt or bp.BayesianRegularization, or a bp.Optimizer, on "
        f"Dask's collections, because any other rule needs all rows in one place; got {type(rule).__name__}. Train "
        "with Network.fit what fits into memory."
    )


class LbfgsTrainer:
    """A fit by L-BFGS in progress; see `fastbp.training.whole_batch.Trainer`.

    All it decides is decided by the kernels of a fit on one machine, in the same order.
    """

    n_threads = 1

    def __init__(self, rule: LBFGS, net: Model, rows: AllRows) -> None:
        n = net.n_params
        require_memory_of_pairs(n, rule.history)
        self._rule, self._net, self._cost = rule, net, Cost(net, rows)
        self._run = steps.run.of(net.dtype)
        self._memory = np.zeros(kernel.memory_length(n, rule.history))
        self._scratch = np.zeros(kernel.scratch_length(n, rule.history))
        self._counts = np.zeros(steps.COUNTS_LENGTH)
        self._tried = net.params.copy()
        self._has_begun = False
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        """Return how many iterations end soon enough for Ctrl-C, which ends them at any time."""
        return 1

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take iterations; x, memory, record and its count change together, in one call that nothing interrupts."""
        params, memory = self._net.params, self._memory
        require_writable_arrays(params)  # between two calls a callback may have changed that
        rows = np.zeros(n_epochs * kernel.RECORD_COLUMNS)
        self._take_back()
        self._counts[steps.N_DONE] = 0.0
        if self._has_begun and not np.array_equal(self._tried, params):  # somebody has changed the parameters since
            memory[kernel.HAS_GRADIENT] = memory[kernel.N_PAIRS] = 0.0
        self._has_begun = True  # until here a checkpoint may have changed them
        rules, status = rules_of(self._rule, n_epochs), FINISHED
        try:
            if memory[kernel.HAS_GRADIENT] == 0.0:
                status = self._go_on(steps.BEGIN, rules, rows, *self._cost.value_and_grad(params))
            while status == FINISHED and self._counts[steps.N_DONE] < n_epochs:
                status = self._go_on(steps.SEARCH, rules, rows, 0.0, self._tried)
                while status == steps.GO_ON:
                    status = self._go_on(steps.JUDGE, rules, rows, *self._cost.value_and_grad(self._tried))
        finally:
            self._tried[...] = params
            record(rows.reshape(n_epochs, -1)[: int(self._counts[steps.N_DONE])])
        if status == DIVERGED:
            raise diverged_where_it_begins()
        self.stopped_by = REASONS.get(status)

    def _go_on(
        self, task: int, rules: NDArray[np.float64], rows: NDArray[np.float64], cost: float, grad: NDArray[Any]
    ) -> int:
        """Have the kernel go on to the next evaluation."""
        vectors = self._net.params, self._tried, grad
        return int(self._run(task, rules, self._memory, self._scratch, self._counts, rows, *vectors, float(cost)))

    def _take_back(self) -> None:
        """Make the memory what it was before an iteration that was ended, if one was."""
        if self._counts[steps.IS_OPEN] != 0.0:
            places = [kernel.N_PAIRS, kernel.EVALUATIONS]
            self._memory[places] = self._counts[[steps.PAIRS_BEFORE, steps.EVALUATIONS_BEFORE]]
            self._counts[steps.IS_OPEN] = 0.0

    def state(self) -> NDArray[np.float64]:
        """Return what one iteration leaves to the next, as a fit on one machine has it."""
        self._take_back()
        return self._memory.copy()

    def restore(self, state: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        if not is_memory(self._rule, state):
            return False
        self._memory[...] = state
        return True

    def end(self) -> None:
        """Nothing is to be let go of."""
