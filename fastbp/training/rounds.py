"""Rounds: calls of the kernels in which many networks take some epochs each, and what Python does between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from fastbp.engine.frame import Frame
from fastbp.engine.many import Member, Memory, Validation, train_together
from fastbp.system.progress import Advance
from fastbp.training.checkpoint import Checkpoints, Record
from fastbp.training.early_stopping import Best
from fastbp.training.epochs import Epochs
from fastbp.training.frames import Frames
from fastbp.training.many_arguments import Task
from fastbp.training.saved_fit import SavedFit
from fastbp.training.trained import keep_training_state

_MOST_TRIES = 100  # to record what a network has done, in a storm of signals


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
        self._validation_frame = self._make_validation_frame(frames)
        self._validation: Validation | None = None  # of the round at hand
        self._n_recorded = 0  # epochs before it
        sizes, data = task.net.sizes, task.validation_data
        self.seconds = epochs.steps.per_epoch * seconds_per_step(sizes, epochs.steps.batch_rows)
        if data is not None:
            self.seconds += len(data) * DENSE.seconds_per_row(sizes)

    def _make_validation_frame(self, frames: Frames) -> Frame | None:
        """Return the frame of what is looked at after each epoch."""
        data, rows = self._task.validation_data, self._task.validation_rows
        if data is None:
            return None
        frame = frames.take(self.net, data, rows)
        frame.set_data(data.X, data.targets, data.sample_weight, rows)
        return frame

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
        best, self._n_recorded = self.record.best, len(self.record.history)
        if self._validation_frame is not None:
            self._validation = Validation(self._validation_frame, np.full(n_epochs, np.nan))
            if best is not None:
                self._validation.rule = best.as_vector()
                self._validation.best = np.empty_like(self.net.params) if best.keeps_params else None
        return self.epochs.begin(self._n_recorded, n_epochs, self._validation)

    @property
    def seconds_of_steps(self) -> float:
        """About how long the steps take that the kernel has taken and nobody has noted."""
        return self.seconds * self.epochs.steps.n_unnoted / self.epochs.steps.per_epoch

    def note(self, seconds: float) -> int:
        """Record the epochs that were taken, each in so many seconds; return their number.

        Once more, where a signal's handler has ended that by an exception, it records what is missing.
        """
        validation, record = self._validation, self.record
        losses, rates, status = self.epochs.finish(None if validation is None else int(validation.counted[0]))
        n, exhausted = len(losses), False
        val_losses = [] if validation is None else validation.losses[:n].tolist()
        if len(record.history) == self._n_recorded:
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
    """Record what every network has done, also where handlers of signals raise exceptions meanwhile."""
    done, i, tries, raised = [0] * len(runs), 0, 0, None
    while i < len(runs):
        try:
            while i < len(runs):
                done[i] = runs[i].note(scale * runs[i].seconds)
                i, tries = i + 1, 0
        except BaseException as error:  # no call is made here, after which another handler would run
            raised, tries = raised or error, tries + 1
            if tries == _MOST_TRIES:
                i, tries = i + 1, 0
    if raised is not None:
        raise raised
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
        n_threads = min(self._n_threads, len(runs))
        deadlines = [run.checkpoints.deadline for run in runs]
        deadline = min((time for time in deadlines if time is not None), default=None)
        members = [run.take(n) for n, run in zip(counts, runs, strict=True)]
        if self._memory is None:
            self._memory = Memory([frame for member in members for frame in member.frames], n_threads)
        expected = estimated * self._measured / n_threads
        began = time.perf_counter()
        try:
            train_together(members, self._memory, expected, deadline)
        finally:
            busy = n_threads * (time.perf_counter() - began)
            taken = sum(run.seconds_of_steps for run in runs)  # less than estimated, where networks have stopped early
            scale = busy / (taken or estimated)
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
