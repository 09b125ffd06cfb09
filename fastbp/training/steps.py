"""`Steps`: the steps of one optimizer on one data set, a whole epoch or several epochs in one call of the kernel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import DIVERGED, FINISHED, INTERRUPTED
from fastbp.engine.cutting import inputs_of, seconds_per_step
from fastbp.engine.frame import Frame
from fastbp.engine.interruption import StepTime
from fastbp.engine.many import Member, Validation
from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.engine.shuffling import kernel_draws_permutation, permutation
from fastbp.model.definition import problem_of
from fastbp.model.model import Model, passes_of
from fastbp.training.state import OptimizerState
from fastbp.validation.data import all_finite

_MOST_STEPS_TOGETHER = 1 << 14  # of several epochs in one call: 128 KiB of learning rates, and at least 2 ms


def prepare_frame(frame: Frame, net: Model, state: OptimizerState, batch_rows: int, dropout_seed: int) -> None:
    """Tell the kernel a network's penalties and dropout, its optimizer, and where the optimizer's vectors are."""
    frame.set_optimizer(state.code, state.constants, state.vectors, state.n_vectors, batch_rows)
    frame.set_dropout(net.dropout, dropout_seed)
    frame.set_penalties(*net.penalties)
    frame.set_steps(state.step, state.powers)


class Pauses(Protocol):
    """When training pauses within an epoch, and what is done then."""

    @property
    def deadline(self) -> float | None:
        """Time of the next pause on the clock of `time.monotonic`, or None for no pause."""

    def take(self) -> None:
        """Do what training has paused for."""


class Steps:
    """Steps on the mini-batches of one data set, by one optimizer, in one frame of the kernel.

    Parameters
    ----------
    model : Model
        The network; its parameters are changed in place.
    data : Data
        All rows.
    state : OptimizerState
        The optimizer; changed in place.
    batch_rows : int
        Rows of a mini-batch.
    objective : Objective or None
        What is minimised; None for the network's own loss and penalties.
    n_train : int or None
        How many rows the order of an epoch names; None for all.
    rows : ndarray of int64 or None
        The rows of an epoch, which are ours and were checked; None for all.  Only where several epochs are begun at
        once.
    shuffles_again : bool
        Whether each of several epochs shuffles the order of the last one, rather than the rows.
    frame : Frame or None
        A frame for these steps; None for one that is kept for later fits.
    mean_weight : float
        What the weights of a mini-batch's rows are compared with; 0 for the mean of the mini-batch itself.
    clip_norm : float
        Largest norm of a gradient; 0 for any.
    tol : float or None
        Stop at a gradient whose norm is not above it; only full batches know before a step.
    dropout_seed : int
        Seed of the dropout masks.
    n_threads : int or None
        Threads to use.

    Attributes
    ----------
    n_train : int
        Rows of an epoch.
    per_epoch : int
        Steps of an epoch.
    position : int
        Steps of the current epoch that are done.
    before_epoch : ndarray, shape (n_params,)
        The parameters from before that epoch.
    n_threads : int
        Threads that can have something to do.
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        state: OptimizerState,
        batch_rows: int,
        *,
        objective: Objective | None = None,
        n_train: int | None = None,
        rows: NDArray[np.int64] | None = None,
        shuffles_again: bool = False,
        frame: Frame | None = None,
        mean_weight: float = 0.0,
        clip_norm: float = 0.0,
        tol: float | None = None,
        dropout_seed: int = 0,
        n_threads: int | None = None,
    ) -> None:
        self.model, self.data, self.state, self.batch_rows = model, data, state, batch_rows
        if n_train is None:
            n_train = len(data) if rows is None else len(rows)
        self.n_train, self._rows, self._shuffles_again = n_train, rows, shuffles_again
        self.per_epoch = -(-self.n_train // batch_rows)
        self.is_full_batch = batch_rows == self.n_train
        is_together, self._keeps_frame = frame is not None, frame is None and objective is None
        if frame is None and objective is None:
            frame = passes_of(model).training_frame(batch_rows, data.X)
        elif frame is None:
            assert objective is not None
            frame = objective.make_frame(problem_of(model), data.X, batch_rows, self.n_train, gradient=True)
        self._frame = frame
        prepare_frame(frame, model, state, batch_rows, dropout_seed)
        frame.mean_weight, frame.clip_norm = mean_weight, clip_norm
        frame.tolerance = -1.0 if tol is None or not self.is_full_batch else tol
        self.n_threads = 1
        if not is_together:
            flops = inputs_of(data.X).flops_per_step(model.sizes, batch_rows)
            self.n_threads = frame.useful_threads(n_threads, flops)
        self._step_time = StepTime(seconds_per_step(model.sizes, batch_rows))
        self.position = 0
        self.before_epoch = model.params.copy()
        self._order: NDArray[np.int64] | None = None  # of several epochs that are begun at once

    def end(self) -> None:
        """Keep the frame for a later fit, unless it is one that no other fit can use."""
        if self._keeps_frame:
            passes_of(self.model).keep_training_frame(self._frame)

    # --- epochs -------------------------------------------------------------------------------------------------------

    def epoch(
        self, rates: NDArray[np.float64], order: NDArray[np.int64] | None = None, pauses: Pauses | None = None
    ) -> tuple[float, int]:
        """Train the rest of an epoch; the epoch is over when `end_epoch` is called.

        Parameters
        ----------
        rates : ndarray of float64, shape (per_epoch,)
            Learning rate of each step, contiguous.
        order : ndarray of int64, shape (n_train,), or None
            Rows in the order in which they are used; None for all rows in their own order.
        pauses : Pauses or None
            When to pause.

        Returns
        -------
        cost : float
            Mean over the rows, penalties included; NaN if the epoch diverged, or if no row counts.
        status : int
            FINISHED, CONVERGED, or DIVERGED: then the parameters are those from before the epoch, and it is for the
            caller to reset the optimizer.
        """
        self._begin_epoch(order)
        return self._outcome(self._take_all(rates, pauses))

    def _begin_epoch(self, order: NDArray[np.int64] | None) -> None:
        """Note the parameters from before an epoch that begins, and point the kernel to the rows."""
        if self.position == 0:
            self.before_epoch[...] = self.model.params
            self._frame.sums = 0.0
        self._set_data(order)

    def _outcome(self, status: int) -> tuple[float, int]:
        """Return what `epoch` does, when the kernel has taken the steps."""
        if status == DIVERGED or not all_finite(self.model.params):
            return self._diverged()
        cost, weight = self._frame.sums
        return float(cost / weight) if weight else math.nan, status

    def end_epoch(self) -> None:
        """Begin a new epoch with the next step: the one at hand is over and recorded."""
        self.position = 0

    def most_epochs(self, *, shuffle: bool) -> int:
        """Return how many epochs `epochs` may take: as many as make a short call, or 1 if it cannot take several."""
        draws = not shuffle or self.is_full_batch or kernel_draws_permutation(self.n_train)
        if self.position or not draws:
            return 1
        n_steps = min(self._step_time.steps_of_short_call(), _MOST_STEPS_TOGETHER)
        return max(1, n_steps // self.per_epoch)

    def epochs(
        self,
        rates: NDArray[np.float64],
        bits: np.random.BitGenerator | None,
        record: Callable[[list[float], list[float], list[float]], None],
    ) -> tuple[float, int]:
        """Train several epochs in one call of the kernel; return cost and status of the last one, as `epoch` does.

        All bits are those of separate calls of `epoch`; the kernel does what `epoch` does before and after the steps.

        Parameters
        ----------
        rates : ndarray of float64, shape (n_epochs * per_epoch,)
            Learning rate of each step.
        bits : BitGenerator or None
            Source of the random order of each epoch's rows; None for their own order.
        record : callable
            Called once, whatever ends the call, with the mean cost, the last learning rate and the seconds of each
            finished epoch.
        """
        frame = self._frame
        self.begin_epochs(rates, bits)
        began = time.perf_counter()
        try:
            with nullcontext() if bits is None else bits.lock:
                status = self._take_all(rates)
        finally:
            frame.stop_recording()
            self.position = 0
            n = int(frame.epochs_done[0])
            seconds = (time.perf_counter() - began) / max(1, n)
            last_rates = rates[self.per_epoch - 1 :: self.per_epoch][:n]
            costs = (self._sums[:n, 0] / self._sums[:n, 1]).tolist()
            record(costs, last_rates.tolist(), [seconds] * n)
        return self._diverged() if status == DIVERGED else (costs[-1], status)

    # --- together with the steps of others: what comes before and after `fastbp.engine.many.train_together` -----------

    def begin_epochs(
        self, rates: NDArray[np.float64], bits: np.random.BitGenerator | None, validation: Validation | None = None
    ) -> Member:
        """Return what takes several epochs, as `epochs` does, each followed by a look at the validation data.

        `rates` begins at `position`.  The lock of `bits` need not be held: nobody else trains the network.
        """
        frame = self._frame
        self._begun = self.position, self.state.step
        self._sums = np.empty((-(-(self.position + len(rates)) // self.per_epoch), 2))
        if bits is not None and self._order is None:
            self._order = np.arange(self.n_train) if self._rows is None else self._rows.copy()
        order = self._rows if bits is None else self._order
        assert order is None or len(order) == self.n_train
        self._set_data(order)
        if bits is not None:
            frame.set_random(bits, self._order if self._shuffles_again else self._rows)
        frame.record_epochs(self._sums, self.before_epoch, shuffles=bits is not None)
        return Member(frame, self.model.params, self.position, rates, validation)

    def finish_epochs(self, n_validated: int | None = None) -> tuple[list[float], int]:
        """Return the mean cost of each finished epoch, and the status; where it diverged, as `epoch` does.

        An epoch after which no validation data were looked at, though that was wanted, is not finished.
        """
        frame, (position, step) = self._frame, self._begun
        n = int(frame.epochs_done[0])
        n = n if n_validated is None else min(n, n_validated)
        frame.stop_recording()
        self._note_steps()
        self.position = position + self.state.step - step - n * self.per_epoch
        costs = (self._sums[:n, 0] / self._sums[:n, 1]).tolist()
        return costs, self._diverged()[1] if frame.status == DIVERGED else frame.status

    @property
    def n_unnoted(self) -> int:
        """Steps that the kernel has taken since they were last noted."""
        return self._frame.step - self.state.step

    def draw_order(self, rng: np.random.Generator) -> None:
        """Draw the order of an epoch that was begun by another process."""
        order = rng.permutation(self.n_train)
        self._order = order if self._rows is None else self._rows[order]

    # --- parts of it --------------------------------------------------------------------------------------------------

    def single_step(self, index: int, rate: float, order: NDArray[np.int64] | None) -> float:
        """Take step `index` of an epoch and return the cost before it, which may be NaN or infinite."""
        frame = self._frame
        self._set_data(order)
        frame.sums = 0.0
        status = self._take(index, np.array([rate]))
        self._note_steps()
        frame.raise_own_error()
        cost, weight = frame.sums
        return math.inf if status == DIVERGED else float(cost / max(weight, 1e-300))

    def random_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``rng.permutation(n_train)``, which the kernel draws faster."""
        return permutation(rng, self.n_train, self._frame)

    def forget(self) -> None:
        """Reset the optimizer."""
        self.state.forget()
        self._frame.set_steps(self.state.step, self.state.powers)

    @property
    def sums(self) -> NDArray[np.float64]:
        """Sums of the costs and of their weights over the steps of the current epoch, a copy (2,)."""
        return self._frame.sums

    def resume(self, position: int, before_epoch: NDArray[Any], sums: NDArray[np.float64]) -> None:
        """Continue within an epoch, with the optimizer and the parameters as they are."""
        self.position = position
        self.before_epoch[...] = before_epoch
        self._frame.sums = sums

    def _set_data(self, order: NDArray[np.int64] | None) -> None:
        """Point the kernel to the rows."""
        data = self.data
        self._frame.set_data(data.X, data.targets, data.sample_weight, order)

    def _take_all(self, rates: NDArray[np.float64], pauses: Pauses | None = None) -> int:
        """Take all steps from `position` on, in as many calls of the kernel as it takes, and return the status.

        `rates` begins at position 0.  Whatever ends the steps, position and optimizer are those after the last of them.
        """
        frame, n_steps, status = self._frame, len(rates), FINISHED
        before_first = frame.step - self.position
        while self.position < n_steps and status in (FINISHED, INTERRUPTED):
            now = self._step_time.steps_to_try(n_steps - self.position)
            rest = rates[self.position : self.position + now]
            try:
                status = self._take(self.position % self.per_epoch, rest, None if pauses is None else pauses.deadline)
            finally:
                self._note_steps()
                self.position = self.state.step - before_first
            if status == INTERRUPTED and pauses is not None:
                pauses.take()
        return status

    def _take(self, first: int, rates: NDArray[np.float64], deadline: float | None = None) -> int:
        """Call the kernel for some steps of an epoch, and return its status."""
        return self._frame.train(
            self.model.params, rates, self._step_time, first_step=first, n_threads=self.n_threads, deadline=deadline
        )

    def _raise_own_error(self) -> None:
        try:
            self._frame.raise_own_error()
        except RuntimeError:
            self.forget()
            raise

    def _note_steps(self) -> None:
        """Copy the number of steps taken from the kernel to the optimizer."""
        self.state.step, self.state.powers = self._frame.step, self._frame.powers

    def _diverged(self) -> tuple[float, int]:
        """Give back the parameters from before the epoch; raise what a function of the user's has raised."""
        self.model.params[...] = self.before_epoch
        self._raise_own_error()
        return math.nan, DIVERGED
