"""`Trainer`: steps of one optimizer on one data set, and the state from which a later fit goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine.calls import CONVERGED, DIVERGED, FINISHED, INTERRUPTED
from fastbp.engine.cutting import inputs_of, seconds_per_step
from fastbp.engine.frame import Frame
from fastbp.engine.interruption import StepTime
from fastbp.engine.shuffling import kernel_draws_permutation, permutation
from fastbp.model.model import Model, passes_of
from fastbp.training.history import History
from fastbp.training.state import TrainingDivergedError, TrainingState
from fastbp.training.trained import TrainedModel, keep_training_state
from fastbp.validation.sparse_rows import Rows

_MOST_STEPS_TOGETHER = 1 << 14  # of several epochs in one call: 128 KiB of learning rates, and at least 2 ms


def prepare_frame(frame: Frame, net: Model, state: TrainingState, batch_rows: int) -> None:
    """Tell the kernels of a network's penalties and dropout, of its optimizer, and where that is."""
    optimizer = state.optimizer
    frame.set_optimizer(
        optimizer.code, optimizer.kernel_constants(), state.vectors, optimizer.n_state_vectors, batch_rows
    )
    frame.set_dropout(net.dropout, state.dropout_seed)
    frame.set_penalties(*net.penalties)
    frame.set_steps(state.step, state.powers)


@contextmanager
def saving_state(net: TrainedModel, trainer: Trainer) -> Iterator[None]:
    """Leave the network able to go on from the last finished step, whatever ends the training, which is over."""
    try:
        yield
    finally:
        trainer.update_state()
        keep_training_state(net, trainer.state)
    trainer.end()


class Pauses(Protocol):
    """When training is to pause within an epoch, and what for."""

    @property
    def deadline(self) -> float | None:
        """Reading of `time.monotonic`, or None for no pause."""

    def take(self) -> None:
        """Do what the pause is for."""


class Trainer:
    """Steps of one optimizer on one data set: the frame of the kernel, and the random order of the rows."""

    def __init__(
        self,
        net: Model,
        X: Rows,
        targets: validation.Targets,
        sample_weight: NDArray[Any] | None,
        state: TrainingState,
        batch_rows: int,
        clip_norm: float,
        tol: float | None,
        n_threads: int | None,
    ) -> None:
        self.net, self.state = net, state
        self._data = (X, targets, sample_weight)
        n_rows, self._batch_rows = len(X), batch_rows
        self.steps_per_epoch = -(-n_rows // batch_rows)
        self.is_full_batch = batch_rows == n_rows
        self._frame = self._make_frame(batch_rows, X, clip_norm, tol if self.is_full_batch else None)
        flops = inputs_of(X).flops_per_step(net.sizes, batch_rows)
        self.n_threads = self._frame.useful_threads(n_threads, flops)
        self._step_time = StepTime(seconds_per_step(net.sizes, batch_rows))
        self.position = 0  # steps of the epoch that are done
        self.before_epoch = net.params.copy()
        self._rng_state: Mapping[str, Any] | None = None  # at the beginning of the epoch at hand

    def _make_frame(self, batch_rows: int, X: Rows, clip_norm: float, tol: float | None) -> Frame:
        frame = passes_of(self.net).training_frame(batch_rows, X)
        prepare_frame(frame, self.net, self.state, batch_rows)
        weights = self._data[2]
        frame.mean_weight = 0.0 if weights is None else weights.mean(dtype=np.float64)
        frame.clip_norm = clip_norm
        frame.tolerance = -1.0 if tol is None else tol
        return frame

    def end(self) -> None:
        """Keep the frame for another fit."""
        passes_of(self.net).keep_training_frame(self._frame)

    def update_state(self) -> None:
        """Take the steps taken from the kernel."""
        self.state.step, self.state.powers = self._frame.step, self._frame.powers

    def progress(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return where training is, in plain values and in arrays, as `resume` and `TrainingState` take it."""
        self.update_state()
        state = self.state
        values = {
            "step": state.step,
            "position": self.position,
            "powers": list(state.powers),
            "rng": self._rng_state or state.rng.bit_generator.state,
            "dropout_seed": state.dropout_seed,
        }
        before = self.before_epoch if self.position else self.net.params
        arrays = {"params": self.net.params, "before_epoch": before, "vectors": state.vectors, "sums": self._frame.sums}
        return values, arrays

    def resume(
        self, params: NDArray[Any], before_epoch: NDArray[Any], position: int, sums: NDArray[np.float64]
    ) -> None:
        """Go on within an epoch, with the state that was given at the beginning."""
        self.net.params[...] = params
        self.before_epoch[...] = before_epoch
        self.position = position
        self._frame.sums = sums

    def epoch(
        self,
        epoch: int,
        horizon: int,
        *,
        shuffle: bool,
        order: NDArray[np.int64] | None = None,
        pauses: Pauses | None = None,
    ) -> tuple[float, float, bool]:
        """Train the rest of an epoch; its mean cost, its last learning rate, and whether the tolerance was met.

        The rows are taken in the given order, else in a new random one with `shuffle`.  Epochs are counted from the
        beginning of the fit, and so are the steps that a schedule sees: those of the optimizer may be more.
        """
        frame = self._frame
        X, targets, sample_weight = self._data
        if self.position == 0:
            self.before_epoch[...] = self.net.params
            frame.sums = 0.0
        rng = self.state.rng
        self._rng_state = rng.bit_generator.state
        if shuffle and order is None and not self.is_full_batch:
            order = permutation(rng, len(X), frame)
        frame.set_data(X, targets, sample_weight, order)
        first_of_epoch = frame.step - self.position
        rates = self.state.optimizer.learning_rates(epoch * self.steps_per_epoch, self.steps_per_epoch, horizon)
        status = FINISHED
        while self.position < self.steps_per_epoch:
            now = self._step_time.steps_to_try(self.steps_per_epoch - self.position)
            rest = rates[self.position : self.position + now]
            try:
                status = self._steps(self.position, rest, None if pauses is None else pauses.deadline)
            finally:
                self.position = frame.step - first_of_epoch
            if status == INTERRUPTED and pauses is not None:
                pauses.take()
            elif status != FINISHED:
                break
        if status == DIVERGED or not validation.all_finite(self.net.params):
            self._give_up(epoch, float(rates[0]))
        cost, weight = frame.sums
        return float(cost / weight), float(rates[-1]), status == CONVERGED

    def epochs_at_once(self, *, shuffle: bool) -> int:
        """Return how many epochs `epochs` may take: as many as are no long call, or 1 where it cannot take several."""
        draws = not shuffle or self.is_full_batch or kernel_draws_permutation(len(self._data[0]))
        if self.position or not draws or self.state.optimizer.has_own_schedule:
            return 1
        n_steps = min(self._step_time.steps_of_short_call(), _MOST_STEPS_TOGETHER)
        return max(1, n_steps // self.steps_per_epoch)

    def epochs(self, n_epochs: int, horizon: int, history: History, *, shuffle: bool) -> tuple[float, bool]:
        """Train several epochs in one call of the kernel, and record them; the last loss, and if the tolerance was met.

        All bits are those of as many calls of `epoch`; the kernel does what is done there before and after the steps.
        Whatever ends the call, the finished epochs are recorded.
        """
        frame, n_steps = self._frame, n_epochs * self.steps_per_epoch
        X, targets, sample_weight = self._data
        bits = self.state.rng.bit_generator if shuffle and not self.is_full_batch else None
        order = None if bits is None else np.empty(len(X), np.int64)
        frame.set_data(X, targets, sample_weight, order)
        if bits is not None:
            frame.set_random(bits)
        first_step = frame.step
        rates = self.state.optimizer.learning_rates(len(history) * self.steps_per_epoch, n_steps, horizon)
        sums = np.empty((n_epochs, 2))
        frame.record_epochs(sums, self.before_epoch, shuffles=bits is not None)
        began, done, status = time.perf_counter(), 0, INTERRUPTED
        try:
            with nullcontext() if bits is None else bits.lock:
                while done < n_steps and status == INTERRUPTED:
                    status = self._steps(done % self.steps_per_epoch, rates[done:])
                    done = frame.step - first_step
        finally:
            frame.stop_recording()
            n = int(frame.epochs_done[0])
            seconds = (time.perf_counter() - began) / max(1, n)
            last_rates = rates[self.steps_per_epoch - 1 :: self.steps_per_epoch][:n]
            losses = (sums[:n, 0] / sums[:n, 1]).tolist()
            history.extend(losses, last_rates.tolist(), [seconds] * n)
        if status == DIVERGED:
            self._give_up(len(history), float(rates[n * self.steps_per_epoch]))
        return losses[-1], status == CONVERGED

    def end_epoch(self) -> None:
        """Take note that the epoch is recorded."""
        self.position, self._rng_state = 0, None

    def _steps(self, first: int, rates: NDArray[np.float64], deadline: float | None = None) -> int:
        """Call the kernel for some steps of an epoch; its status."""
        return self._frame.train(
            self.net.params, rates, self._step_time, first_step=first, n_threads=self.n_threads, deadline=deadline
        )

    def single_step(self, index: int, rate: float, order: NDArray[np.int64] | None) -> float:
        """Take step `index` of an epoch with a given rate; the cost before it, which may be NaN or infinite."""
        frame = self._frame
        frame.set_data(*self._data, order)
        frame.sums = 0.0
        status = self._steps(index, np.array([rate]))
        cost, weight = frame.sums
        return math.inf if status == DIVERGED else float(cost / max(weight, 1e-300))

    def penalty(self) -> float:
        """L2 and L1 penalty of the weights as they are."""
        l2, l1 = self.net.penalties
        if l2 == 0 and l1 == 0:
            return 0.0
        weights = [W.astype(np.float64) for W in self.net.weights]
        return float(sum(0.5 * l2 * (W * W).sum() + l1 * np.abs(W).sum() for W in weights))

    def relative_weight(self, index: int, order: NDArray[np.int64]) -> float:
        """Mean weight of the rows of a mini-batch over that of all rows; 1 without weights."""
        weights = self._data[2]
        if weights is None:
            return 1.0
        rows = order[index * self._batch_rows : (index + 1) * self._batch_rows]
        return float(weights[rows].mean(dtype=np.float64) / weights.mean(dtype=np.float64))

    def norm_at_most(self, tol: float, data: Any) -> bool:
        """Whether the gradient over all data is within the tolerance; full batches know before each step."""
        if self.is_full_batch:
            return False
        _, grad = passes_of(self.net).value_and_grad(*data, params=self.net.params, n_threads=self.n_threads)
        return float(np.linalg.norm(grad)) <= tol

    def _give_up(self, epoch: int, rate: float) -> None:
        """Return to the parameters from before the epoch, forget the optimizer's state, and say so."""
        step = self._frame.step
        self.net.params[...] = self.before_epoch
        self.state.vectors.fill(0)
        self._frame.set_steps(0, (1.0, 1.0))
        raise TrainingDivergedError(
            f"The loss became NaN or infinite in epoch {epoch + 1} (step {step}) with a learning rate of {rate:g}. The "
            "network has the parameters from before that epoch, and the optimizer's state was reset. Try a smaller "
            "learning rate, clip_norm=1.0, or inputs scaled to mean 0 and variance 1."
        )
