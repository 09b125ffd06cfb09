"""L-BFGS by costs and gradients that are sums over partitions: the steps of `fastbp.LBFGS` on one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask.exact import Cost
from fastbp.kernels.optimizers.line_search import ACCEPTED, GO_ON
from fastbp.kernels.roots import lbfgs as in_memory
from fastbp.kernels.roots import lbfgs_steps as kernel
from fastbp.model.model import Model
from fastbp.system.memory import require_memory
from fastbp.training.lbfgs import LBFGS, REASONS, counts_are_possible
from fastbp.training.state import diverged_where_it_begins
from fastbp.validation.numbers import MOST_STEPS


class SummedLBFGS:
    """A fit in progress; see `fastbp.training.whole_batch.Trainer`.

    Parameters
    ----------
    rule : LBFGS
        The rule.
    net : Model
        The network, whose parameters change when a step is accepted.
    cost : Cost
        What is made smaller.
    """

    n_threads = 1

    def __init__(self, rule: LBFGS, net: Model, cost: Cost) -> None:
        self._rule, self._net, self._cost = rule, net, cost
        n, pairs = net.n_params, rule.history
        n_memory, n_scratch = in_memory.memory_length(n, pairs), in_memory.scratch_length(n, pairs)
        purpose = f"The last {pairs} steps of L-BFGS with {n} parameters"
        require_memory(8 * (n_memory + n_scratch), purpose, "Pass a smaller `history`, or make the layers smaller.")
        self._memory, self._scratch = np.zeros(n_memory), np.zeros(n_scratch)
        self._rules = np.array([1.0, pairs, rule.max_line_search, rule.gtol, rule.ftol, 0.0])
        self._run = kernel.run.of(net.dtype)
        self._known: NDArray[Any] | None = None  # the parameters that the memory is about
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        """Return how many iterations end soon enough for Ctrl-C, which ends them at any time."""
        return 1

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take iterations."""
        rows = list[tuple[float, float, float]]()
        try:
            self._begin()
            while len(rows) < n_epochs and self.stopped_by is None:
                memory = self._memory
                cost, n_evaluations = memory[in_memory.COST], memory[in_memory.EVALUATIONS]
                if not self._iteration():
                    self.stopped_by = REASONS[in_memory.NO_STEP]
                    return
                slope = self._largest_slope()
                rows.append((memory[in_memory.COST], slope, memory[in_memory.EVALUATIONS] - n_evaluations))
                self.stopped_by = REASONS.get(self._reason(cost, slope))
        finally:
            record(np.array(rows).reshape(-1, in_memory.RECORD_COLUMNS))

    def _begin(self) -> None:
        """Find cost and gradient of the parameters, unless they are known; nobody has changed them then."""
        memory, params = self._memory, self._net.params
        if self._known is not None and not np.array_equal(self._known, params):
            memory[[in_memory.HAS_GRADIENT, in_memory.N_PAIRS]] = 0.0
        if not memory[in_memory.HAS_GRADIENT]:
            tried = params.copy()
            cost, grad = self._cost.value_and_grad(tried)
            memory[in_memory.EVALUATIONS] += 1.0
            if self._call(kernel.BEGIN, cost, tried, grad) == kernel.NOT_FINITE:
                raise diverged_where_it_begins()
            if self._largest_slope() <= self._rule.gtol:
                self.stopped_by = REASONS[in_memory.SMALL_GRADIENT]
        self._known = params.copy()

    def _iteration(self) -> bool:
        """Take one; whether there is a step.  What ends it otherwise leaves everything as it was."""
        memory = self._memory
        n_pairs, n_evaluations = memory[in_memory.N_PAIRS], memory[in_memory.EVALUATIONS]
        try:
            found = self._search()
            if not found and n_pairs:
                memory[in_memory.N_PAIRS] = 0.0  # what is known of the curvature leads nowhere
                found = self._search()
        except BaseException:
            memory[in_memory.N_PAIRS], memory[in_memory.EVALUATIONS] = n_pairs, n_evaluations
            raise
        return found

    def _search(self) -> bool:
        """Look for a step along the direction of the pairs, and take it."""
        tried = self._net.params.copy()
        answer = self._call(kernel.SEARCH, 0.0, tried, tried)
        for _ in range(self._rule.max_line_search):
            if answer != GO_ON:
                break
            cost, grad = self._cost.value_and_grad(tried)
            self._memory[in_memory.EVALUATIONS] += 1.0
            answer = self._call(kernel.JUDGE, cost, tried, grad)
        if answer == ACCEPTED:
            self._known = tried
        return bool(answer == ACCEPTED)

    def _call(self, task: int, cost: float, tried: NDArray[Any], grad: NDArray[Any]) -> int:
        answer: int = self._run(task, self._memory, self._scratch, self._rules, cost, self._net.params, tried, grad)
        if answer == kernel.WRONG_LENGTH:
            raise AssertionError("a gradient must be as long as the parameters")
        return answer

    def _largest_slope(self) -> float:
        first = in_memory.GRADIENT
        return float(np.abs(self._memory[first : first + self._net.n_params]).max())

    def _reason(self, before: float, slope: float) -> int:
        """Return which rule ends the fit after an iteration, as `fastbp.kernels.roots.lbfgs` has it, or 0."""
        rule, cost = self._rule, self._memory[in_memory.COST]
        if slope <= rule.gtol:
            return in_memory.SMALL_GRADIENT
        if before - cost <= rule.ftol * max(abs(before), abs(cost), 1.0):
            return in_memory.SMALL_DECREASE
        most = MOST_STEPS if rule.max_evaluations is None else rule.max_evaluations
        return in_memory.ENOUGH_EVALUATIONS if self._memory[in_memory.EVALUATIONS] >= most else 0

    def state(self) -> NDArray[np.float64]:
        """Return all that continues."""
        return self._memory.copy()

    def restore(self, state: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        if not counts_are_possible(state, self._rule):
            return False
        self._memory[...] = state
        return True

    def end(self) -> None:
        """Nothing is to be let go of."""
