"""What the kernels are told of a problem besides its data, and what they report: names for places in two tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.calls import address_of
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# of an optimizer: one length for all, so that the compiled code has one type of argument
N_CONSTANTS = in_scalars.L2_PENALTY - in_scalars.CONSTANTS


class _Scalar:
    """A place in the vector of scalars, as an attribute of what has that vector."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, owner: Settings, kind: Any = None) -> float:
        return float(owner.scalars[self._place])

    def __set__(self, owner: Settings, value: float) -> None:
        owner.scalars[self._place] = value


_SUMS = slice(in_scalars.COST_SUM, in_scalars.WEIGHT_SUM + 1)  # neighbours: quicker than a list of places


class Settings:
    """Loss, penalties, optimizer and dropout as the kernels take them; steps, sums and status as they leave them.

    Attributes
    ----------
    loss_parameter : float
        Of a loss that has one.
    clip_norm : float
        Largest norm of a gradient; 0 for any.
    tolerance : float
        Training stops at a gradient whose norm is not above it; negative for never.
    mean_weight : float
        What the weights of a mini-batch's rows are compared with; 0 for the mean of the mini-batch itself.
    cost : float
        The cost of the last forward pass or gradient, penalties included.
    """

    loss_parameter = _Scalar(in_scalars.LOSS_PARAMETER)
    clip_norm = _Scalar(in_scalars.CLIP_NORM)
    tolerance = _Scalar(in_scalars.TOLERANCE)
    mean_weight = _Scalar(in_scalars.MEAN_WEIGHT)
    cost = _Scalar(in_scalars.COST_SUM)

    def __init__(self, plan: NDArray[np.int64], n_layers: int) -> None:
        self._plan = plan
        self.recorded: tuple[NDArray[Any], ...] = ()  # where epochs are recorded
        self.scalars = np.zeros(in_scalars.SCALARS_LENGTH + n_layers)
        self.scalars[[in_scalars.TOLERANCE, in_scalars.COST_FACTOR]] = -1.0, 1.0

    # ---- What they are told ------------------------------------------------------------------------------------------

    def set_objective(self, cost_factor: float, batch_l2: float, batch_l1: float) -> None:
        """Have each mini-batch divide penalties of its own by its samples' sum, and count by its rows.

        The reported cost of the data, not the gradient, is multiplied by `cost_factor`.
        """
        self._plan[in_plan.PER_BATCH] = 1
        places = [in_scalars.COST_FACTOR, in_scalars.BATCH_L2, in_scalars.BATCH_L1]
        self.scalars[places] = cost_factor, batch_l2, batch_l1

    def set_penalties(self, l2: float, l1: float) -> None:
        """Set the penalties that are added to the cost of the data, whichever its rows are."""
        scalars = self.scalars  # written one by one, here and below: a list of places takes a microsecond more
        scalars[in_scalars.L2_PENALTY] = l2
        scalars[in_scalars.L1_PENALTY] = l1

    def set_rule(self, code: int, constants: NDArray[np.float64], n_state_vectors: int, batch_rows: int) -> None:
        """Name the optimizer, its (N_CONSTANTS,) constants and vectors of state, and the rows of its mini-batches."""
        plan = self._plan
        plan[in_plan.OPTIMIZER] = code
        plan[in_plan.N_STATE_VECTORS] = n_state_vectors
        plan[in_plan.BATCH_SIZE] = batch_rows
        self.scalars[in_scalars.CONSTANTS : in_scalars.CONSTANTS + N_CONSTANTS] = constants

    def set_dropout(self, rates: Sequence[float], seed: int) -> None:
        """Set each hidden layer's dropout rate, and the seed of the masks."""
        self._plan[in_plan.HAS_DROPOUT] = any(rate > 0 for rate in rates)
        self._plan[in_plan.DROPOUT_SEED] = seed
        self.scalars[in_scalars.DROPOUT : in_scalars.DROPOUT + len(rates)] = rates

    def set_steps(self, step: int, powers: tuple[float, float]) -> None:
        """Set how many steps were taken, and Adam's beta_1 and beta_2 to the power of that."""
        scalars = self.scalars
        scalars[in_scalars.STEP] = step
        scalars[in_scalars.POWER_1], scalars[in_scalars.POWER_2] = powers

    def record_epochs(self, sums: NDArray[np.float64], before: NDArray[Any], *, shuffles: bool = False) -> None:
        """Have the kernels take whole epochs, and begin with the first row of the record.

        Parameters
        ----------
        sums : ndarray of float64, shape (n_epochs, 2)
            Where each epoch's sums of cost and weight go.
        before : ndarray, shape (n_params,)
            Where the parameters from before the epoch at hand go.
        shuffles : bool
            Whether each epoch takes the rows in a new random order.
        """
        self.scalars[in_scalars.EPOCHS] = 0.0
        places = [in_plan.EPOCH_SUMS, in_plan.BEFORE, in_plan.SHUFFLES]
        self._plan[places] = address_of(sums), address_of(before), shuffles
        self.recorded = sums, before

    def stop_recording(self) -> None:
        """Have the kernels take steps within one epoch again."""
        self._plan[in_plan.EPOCH_SUMS] = 0
        self.recorded = ()

    # ---- What they report --------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return int(self.scalars[in_scalars.STEP])

    @property
    def powers(self) -> tuple[float, float]:
        """Adam's beta_1 and beta_2 to the power of the steps."""
        return float(self.scalars[in_scalars.POWER_1]), float(self.scalars[in_scalars.POWER_2])

    @property
    def sums(self) -> NDArray[np.float64]:
        """Sums over steps of the mini-batches' costs, penalties included, and of what they count for; a copy (2,)."""
        return self.scalars[_SUMS].copy()

    @sums.setter
    def sums(self, values: float | NDArray[np.float64]) -> None:
        self.scalars[_SUMS] = values

    @property
    def status(self) -> int:
        """FINISHED, or why there were no more steps; see `fastbp.engine.calls`."""
        return int(self.scalars[in_scalars.STATUS])

    @status.setter
    def status(self, value: int) -> None:
        self.scalars[in_scalars.STATUS] = value

    @property
    def epochs_done(self) -> NDArray[np.float64]:
        """How many rows of the record of epochs are written, as a view (1,) that may be kept."""
        return self.scalars[in_scalars.EPOCHS : in_scalars.EPOCHS + 1]

    @property
    def results(self) -> NDArray[np.float64]:
        """What a step leaves, as a view (9,) that may be kept, for those in a hurry.

        The number of the step, Adam's two powers, the learning rate, the factor of the sum over the mini-batch, the
        sums of cost and weight, the gradient's norm where it was needed, and the status.
        """
        return self.scalars[in_scalars.STEP : in_scalars.STATUS + 1]
