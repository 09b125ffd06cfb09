"""Rounds: calls of the kernels in which many networks take some epochs each, and what Python does between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import numpy as np

from fastbp.engine.calls import DIVERGED
from fastbp.engine.cutting import (
    DENSE,
    SECONDS_OF_ROUND,
    SECONDS_OF_SHOWN_ROUND,
    STEPS_OF_ROUND,
    seconds_per_step,
)
from fastbp.engine.many import Member, Memory, Validation, train_together
from fastbp.system.progress import Advance
from fastbp.training.checkpoint import Checkpoints, Record
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.frames import Frames
from fastbp.training.many_arguments import Task
from fastbp.training.saved_fit import SavedFit
from fastbp.training.trained import keep_training_state


class Run:
    """The training of one network among many.

    Parameters
    ----------
    task : Task
        What is to be done.
    epochs : Epochs
        Its epochs, in a frame that has no memory of its own.
    saved : SavedFit or None
        What it goes on from.
    description : dict
        What its checkpoints say of it.
    frames : Frames
        Where it gets a frame for its validation data.

    Attributes
    ----------
    seconds : float
        About how long one of its epochs takes.
    """

    def __init__(
        self, task: Task, epochs: Epochs, saved: SavedFit | None, description: dict[str, Any], frames: Frames
    ) -> None:
        plan: Any = task.plan
        self.net, self.epochs, self.saved = task.net, epochs, saved
        self._task, self._plan = task, plan
        self.record = Record(Best(task.net.params, plan.early_stopping) if plan.early_stopping else None)
        self.checkpoints = Checkpoints(plan.checkpoint, plan.checkpoint_every, description, epochs, self.record)
        self._validation = self._make_validation(frames)
        sizes, data = task.net.sizes, task.validation_data
        self.seconds = epochs.steps.per_epoch * seconds_per_step(sizes, epochs.steps.batch_rows)
        if data is not None:
            self.seconds += len(data) * DENSE.seconds_per_row(sizes)

    def _make_validation(self, frames: Frames) -> Validation | None:
        """Return what is looked at after each epoch."""
        data, rows = self._task.validation_data, self._task.validation_rows
        if data is None:
            return None
        frame = frames.take(self.net, data, rows)
        frame.set_data(data.X, data.targets, data.sample_weight, rows)
        return Validation(frame, np.empty(0))

    def restore(self) -> None:
        """Bring the network to where a checkpoint was."""
        if self.saved is not None:
            self.saved.restore(self.epochs, self.record)

    def begin(self) -> None:
        """Let the network know of its training: a copy that is made meanwhile goes on from its last step."""
        self.net.feature_names = self._task.names
        self.net.history = self.record.history
        keep_training_state(self.net, self.epochs.state)
        self._note_the_end()

    @property
    def epochs_left(self) -> int:
        """How many epochs it may still take; 0 if it is over."""
        return 0 if self.record.stopped_by is not None else self._plan.epochs - len(self.record.history)

    def take(self, n_epochs: int) -> Member:
        """Return what takes so many epochs, or those that come before early stopping ends them."""
        validation, best = self._validation, self.record.best
        if validation is not None:
            validation.losses = np.full(n_epochs, np.nan)
            if best is not None:
                validation.rule = best.as_vector()
                validation.best = np.empty_like(self.net.params) if best.keeps_params else None
        return self.epochs.begin(len(self.record.history), n_epochs, validation)

    def note(self, seconds: float) -> int:
        """Record the epochs that were taken, each in so many seconds; return their number."""
        validation, record = self._validation, self.record
        losses, rates, status = self.epochs.finish(None if validation is None else validation.n_done)
        n, exhausted = len(losses), False
        val_losses = [] if validation is None else validation.losses[:n].tolist()
        record.history.extend(losses, rates, [seconds] * n, val_losses=val_losses)
        if record.best is not None and validation is not None and validation.rule is not None:
            exhausted = record.best.take_over(validation.rule, validation.best)
        if status == DIVERGED:
            self.epochs.steps.forget()
            record.stopped_by = "divergence"
        elif n:
            record.stopped_by = self.epochs.stopped_by or ("early_stopping" if exhausted else None)
        self._note_the_end()
        return n

    def _note_the_end(self) -> None:
        if len(self.record.history) >= self._plan.epochs:
            self.record.stopped_by = self.record.stopped_by or "epochs"

    def write_checkpoint(self, n_epochs: int) -> None:
        """Write a checkpoint if one is due, after so many epochs or within one."""
        if self.record.stopped_by == "divergence":
            return
        deadline = self.checkpoints.deadline
        if n_epochs:
            self.checkpoints.after_epoch()
        elif deadline is not None and time.monotonic() >= deadline:
            self.checkpoints.take()

    def end(self) -> None:
        """Say why it ended, and give the network its best parameters."""
        record = self.record
        record.history.stopped_by = record.stopped_by or "epochs"
        if record.best is not None and record.history.stopped_by != "divergence":
            record.best.restore()


def train_in_rounds(runs: Sequence[Run], n_threads: int, advance: Advance, *, is_shown: bool) -> None:
    """Train until every network is at its end."""
    by_dtype = sorted(runs, key=lambda run: run.net.dtype.itemsize)
    rounds = [_Rounds(list(group), n_threads) for _, group in groupby(by_dtype, key=lambda run: run.net.dtype)]
    while rounds:
        for each in rounds:
            advance(each.train_one(SECONDS_OF_SHOWN_ROUND if is_shown else SECONDS_OF_ROUND))
        rounds = [each for each in rounds if each.active]


def _note_all(runs: Sequence[Run], scale: float) -> list[int]:
    """Record what every network has done, also where a signal's handler raises an exception meanwhile."""
    waiting, done, raised = list(runs)[::-1], list[int](), list[BaseException]()
    while waiting:
        try:
            while waiting:
                run = waiting.pop()
                done.append(run.note(scale * run.seconds))
        except BaseException as error:
            raised.append(error)
    if raised:
        raise raised[0]
    return done


class _Rounds:
    """The rounds of networks of one dtype, the longest first, so that the threads end together."""

    def __init__(self, runs: list[Run], n_threads: int) -> None:
        self.active = sorted((run for run in runs if run.epochs_left), key=lambda run: -run.seconds)
        self._n_threads = n_threads
        self._memory: Memory | None = None
        self._measured = 1.0  # over what is estimated

    def train_one(self, seconds: float) -> int:
        """Have every network take some epochs, in about so many seconds; return how many epochs there were."""
        runs = self.active
        if not runs:
            return 0
        counts = self._epochs_of(runs, seconds)
        estimated = sum(n * run.seconds for n, run in zip(counts, runs, strict=True))
        deadlines = [run.checkpoints.deadline for run in runs]
        deadline = min((time for time in deadlines if time is not None), default=None)
        members = [run.take(n) for n, run in zip(counts, runs, strict=True)]
        if self._memory is None:
            self._memory = Memory([frame for member in members for frame in member.frames], self._n_threads)
        expected = estimated * self._measured / min(self._n_threads, len(runs))
        began = time.perf_counter()
        try:
            with ExitStack() as stack:
                for lock in {id(run.epochs.lock): run.epochs.lock for run in runs}.values():
                    stack.enter_context(lock)
                train_together(members, self._memory, expected, deadline)
        finally:
            elapsed = time.perf_counter() - began
            scale = elapsed * min(self._n_threads, len(runs)) / estimated
            done = _note_all(runs, scale)
        self._measured = min(1.0, 2.0 * scale)  # with caution
        for run, n in zip(runs, done, strict=True):
            run.write_checkpoint(n)
        self.active = [run for run in runs if run.epochs_left]
        return sum(done)

    def _epochs_of(self, runs: Sequence[Run], seconds: float) -> list[int]:
        """Return how many epochs each network takes: the same number, or all that are left; one between checkpoints."""
        each = self._measured * sum(run.seconds for run in runs) / self._n_threads
        steps = sum(run.epochs.steps.per_epoch for run in runs)
        n = max(1, min(int(seconds / each), STEPS_OF_ROUND // steps))
        return [1 if run.checkpoints.are_written else min(n, run.epochs_left) for run in runs]
