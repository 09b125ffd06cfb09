"""`Epochs`: the epochs of a fit, whose learning rates and random orders come from its training state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import CONVERGED, DIVERGED
from fastbp.engine.many import Member, Validation
from fastbp.model.model import passes_of
from fastbp.training.history import Epoch, History
from fastbp.training.state import TrainingDivergedError, TrainingState
from fastbp.training.steps import Pauses, Steps
from fastbp.training.trained import TrainedModel, keep_training_state


class Epochs:
    """The epochs of one fit.

    Epochs are counted from the beginning of the fit, and so are the steps that a schedule sees; the optimizer may have
    taken more of them, in earlier fits.

    Parameters
    ----------
    steps : Steps
        The steps, with `state` as their optimizer.
    state : TrainingState
        The optimizer and the random numbers.
    n_epochs : int
        Epochs of the whole fit.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    tol : float or None
        Stop where the gradient of all data has at most this norm.

    Attributes
    ----------
    stopped_by : str or None
        'tolerance' if the tolerance was met, otherwise None.
    watches_gradient : bool
        Whether the gradient of all data is looked at after each epoch; with full batches the kernel does that itself.
    """

    fewest_together = 2  # epochs that `several` may take

    def __init__(
        self, steps: Steps, state: TrainingState, n_epochs: int, *, shuffle: bool, tol: float | None = None
    ) -> None:
        self.steps, self.state, self.model, self.n_threads = steps, state, steps.model, steps.n_threads
        self.stopped_by: str | None = None
        self._tol = tol
        self.watches_gradient = tol is not None and not steps.is_full_batch
        self._horizon = n_epochs * steps.per_epoch
        self._shuffles = shuffle and not steps.is_full_batch
        self._rng_state: Mapping[str, Any] | None = None  # at the beginning of the epoch at hand

    def one(self, epoch: int, pauses: Pauses | None) -> Epoch:
        """Train the rest of an epoch, and look whether the tolerance is met."""
        steps, rng = self.steps, self.state.rng
        self._rng_state = rng.bit_generator.state
        order = steps.random_order(rng) if self._shuffles else None
        rates = self._rates(epoch, 1)
        cost, status = steps.epoch(rates, order, pauses)
        if status == DIVERGED:
            give_up(steps, epoch, float(rates[0]))
        self._note(status == CONVERGED or self._norm_is_small())
        return Epoch(cost, float(rates[-1]))

    def end_one(self) -> None:
        """End the epoch, which is recorded; once more, nothing is left to do."""
        self._rng_state = None
        self.steps.end_epoch()

    def most_at_once(self) -> int:
        """Return how many epochs `several` may take."""
        return 1 if self.state.optimizer.has_own_schedule else self.steps.most_epochs(shuffle=self._shuffles)

    def several(self, n_epochs: int, history: History) -> None:
        """Train several epochs in one call of the kernel; whatever ends the call, the finished ones are recorded."""
        steps, first = self.steps, len(history)
        rates = self._rates(first, n_epochs)
        _, status = steps.epochs(rates, self.state.rng.bit_generator if self._shuffles else None, history.extend)
        if status == DIVERGED:
            give_up(steps, len(history), float(rates[(len(history) - first) * steps.per_epoch]))
        self._note(status == CONVERGED)

    # --- together with the epochs of others ---------------------------------------------------------------------------

    def begin(self, epoch: int, n_epochs: int, validation: Validation | None = None) -> Member:
        """Return what takes some epochs, or what is left of the first of them and then the others."""
        steps, rng = self.steps, self.state.rng
        if steps.position == 0:
            self._rng_state = rng.bit_generator.state if n_epochs == 1 else None
        elif self._rng_state is None and self._shuffles:  # it was begun by an earlier fit, whose checkpoint this is
            self._rng_state = rng.bit_generator.state
            steps.draw_order(rng)
        self._begun = self._rates(epoch, n_epochs)
        rates = self._begun[steps.position :]
        return steps.begin_epochs(rates, rng.bit_generator if self._shuffles else None, validation)

    def finish(self, n_validated: int | None = None) -> tuple[list[float], list[float], int]:
        """Return mean cost and last learning rate of each finished epoch, and the status; these are to be recorded.

        Once more, it returns the same.
        """
        costs, status = self.steps.finish_epochs(n_validated)
        n = self.steps.per_epoch
        rates = self._begun[n - 1 :: n][: len(costs)].tolist()
        if costs and self.steps.position == 0:  # else an epoch is at hand, whose order may have been drawn
            self._rng_state = None
        self._note(status == CONVERGED)
        return costs, rates, status

    def _note(self, converged: bool) -> None:
        self.stopped_by = "tolerance" if converged else None

    def _norm_is_small(self) -> bool:
        """Whether the gradient of all data is within the tolerance, which nobody else has looked at."""
        if self._tol is None or not self.watches_gradient:
            return False
        steps, data = self.steps, self.steps.data
        _, grad = passes_of(steps.model).value_and_grad(
            data.X, data.targets, data.sample_weight, params=steps.model.params, n_threads=steps.n_threads
        )
        return float(np.linalg.norm(grad)) <= self._tol

    # --- to continue later --------------------------------------------------------------------------------------------

    @contextmanager
    def saving_state(self, net: TrainedModel) -> Iterator[None]:
        """Whatever ends the training, let the network continue from the last finished step.

        A copy that is made meanwhile, in a callback for instance, continues from the step that is then the last.
        """
        keep_training_state(net, self.state)
        yield
        self.steps.end()

    def progress(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return how far training has come, as plain values and as arrays for `Steps.resume` and `state_of`."""
        state, steps, params = self.state, self.steps, self.steps.model.params
        values = {
            "step": state.step,
            "position": steps.position,
            # Adam's are below 1; in RMSprop's place stands its epsilon's, which means nothing and may overflow
            "powers": [min(power, 1.0) for power in state.powers],
            "rng": self._rng_state or state.rng.bit_generator.state,
            "dropout_seed": state.dropout_seed,
        }
        before = steps.before_epoch if steps.position else params
        return values, {"params": params, "before_epoch": before, "vectors": state.vectors, "sums": steps.sums}

    def _rates(self, epoch: int, n_epochs: int) -> NDArray[np.float64]:
        """Return the learning rate of each step of some epochs."""
        n = self.steps.per_epoch
        return self.state.optimizer.learning_rates(epoch * n, n_epochs * n, self._horizon)


def give_up(steps: Steps, epoch: int, rate: float) -> None:
    """Reset the optimizer after an epoch that diverged, and raise the error."""
    step = steps.state.step
    steps.forget()
    raise TrainingDivergedError(
        f"The loss became NaN or infinite in epoch {epoch + 1} (step {step}) with a learning rate of {rate:g}. The "
        "network has the parameters from before that epoch, and the optimizer's state was reset. Try a smaller "
        "learning rate, clip_norm=1.0, or inputs scaled to mean 0 and variance 1."
    )
