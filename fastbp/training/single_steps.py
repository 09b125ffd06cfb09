"""`Stepper`: single steps of the optimizer, as online and reinforcement learning take them, with little overhead.

A step on few rows takes less time than it takes to check and to describe its arguments.  So the first step on arrays of
some shapes and dtypes makes a frame of the kernel with room for their values, and keeps it; another step on such arrays
copies the values there, looks at the copies, and calls the kernel.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.engine.calls import FINISHED, UnknownCodeError
from fastbp.engine.cutting import Inputs, inputs_of, seconds_per_step
from fastbp.engine.interruption import LONG_CALL, StepTime
from fastbp.engine.problem_frames import make_frame
from fastbp.engine.threads import process_limit, thread_count
from fastbp.engine.workspace import aligned_empty
from fastbp.functions.losses import facts_of_loss
from fastbp.kernels.roots import copies, entry
from fastbp.model.checks import checked_data
from fastbp.model.definition import problem_of
from fastbp.system.alone import require_idle, trainings
from fastbp.system.memory import require_writable, require_writable_arrays
from fastbp.training.optimizers import Adam, Optimizer, require_optimizer
from fastbp.training.plan import clip_norm_for
from fastbp.training.schedules import Cosine, OneCycle, Schedule
from fastbp.training.state import TrainingDivergedError, TrainingState, continued_state
from fastbp.training.steps import prepare_frame
from fastbp.training.trained import TrainedModel
from fastbp.validation.arrays import column_names
from fastbp.validation.data import Targets
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import Rows, SparseRows

_MOST_COPIED = 1 << 12  # elements that are copied: more of them are quicker described where they lie
_FEW_VALUES = 48  # that Python adds up as quickly as NumPy
_MOST_KINDS = 32  # of arrays that frames are kept for; fewer where each takes much memory
_MOST_LARGE_KINDS = 4
_FEW_PARAMS = 1 << 16

_is_writeable = operator.attrgetter("flags.writeable")

Key = Any  # of a kind of arrays: their shapes and dtypes; or a number of rows, what X is like, and the threads set
Checked = tuple[Rows, Targets, NDArray[Any] | None]  # X, Y and weights as they were checked


class Stepper:
    """The single steps of one network."""

    def __init__(self, net: TrainedModel) -> None:
        self._net = net
        self._dtype = net.dtype
        self._spare: dict[Key, list[Any]] = {}  # places that are not in use

    def step(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one step on all of the given rows and return the cost before it; see `fastbp.Network.step`."""
        if trainings:  # of any network
            require_idle(self._net, "step")
        state: TrainingState | None = self._net._training_state
        if (
            sample_weight is None
            and type(X) is type(Y) is np.ndarray
            and X.dtype is self._dtype is Y.dtype
            and Y.ndim == 2
        ):
            key = X.shape  # what `_kind` would say, without its call
        else:
            key = _kind(self._dtype, X, Y, sample_weight)
        spare = self._spare.get(key)
        if spare and n_threads is None and state is not None and (optimizer is None or optimizer is state.optimizer):
            try:
                place = spare.pop()
            except IndexError:  # another thread was faster
                pass
            else:
                if place.takes(X, Y, sample_weight):
                    cost: float = place.step(state, clip_norm, None)
                    spare.append(place)
                    return cost
        return self._step(key, X, Y, sample_weight, optimizer, clip_norm, n_threads)

    def _step(
        self,
        key: Key | None,
        X: Any,
        Y: Any,
        sample_weight: Any,
        optimizer: Optimizer | None,
        clip_norm: Any,
        n_threads: int | None,
    ) -> float:
        """Check every argument, then take the step; nothing changes before all are checked."""
        net = self._net
        require_optimizer(optimizer)
        data = checked_data(net, X, Y, sample_weight)
        clip_norm_for(clip_norm)
        if n_threads is not None:
            thread_count(n_threads)  # refuse wrong ones
        require_writable(net)
        old: TrainingState | None = net._training_state
        if old is not None and (optimizer is None or optimizer is old.optimizer):
            _rates(old.optimizer, old.step)  # refuse a schedule that needs to know the whole
            state = old
        else:
            _rates(Adam() if optimizer is None else optimizer, 0)
            state = continued_state(net, old, optimizer, None)
        net.feature_names = column_names(X) or net.feature_names
        place = self._place(key, X, Y, sample_weight, data)
        cost = place.step(state, clip_norm, n_threads)
        place.let_go()
        place.spare.append(place)
        return cost

    def _place(self, key: Key | None, X: Any, Y: Any, sample_weight: Any, data: Checked) -> _Place:
        """Return an unused place that holds the data or points to them."""
        rows, targets, weights = data
        place: _Place
        copied: _Copies
        is_small = len(rows) * (self._net.sizes[0] + self._net.sizes[-1]) <= _MOST_COPIED
        if is_small and not isinstance(rows, SparseRows):
            if key is None:
                X, Y, sample_weight = rows, targets.labels if targets.array is None else targets.array, weights
                key = _kind(self._dtype, X, Y, sample_weight)
            spare = self._spare_of(key)
            copied = spare.pop() if spare else _Copies(self._net, data, spare, X, Y, sample_weight)
            if copied.takes(X, Y, sample_weight):
                return copied
        spare = self._spare_of((len(rows), inputs_of(rows), process_limit.n_threads))
        place = spare.pop() if spare else _Place(self._net, len(rows), spare, inputs_of(rows))
        place.point_to(data)
        return place

    def _spare_of(self, key: Key) -> list[Any]:
        """Return the list of places for a kind of arrays, or for a number of rows."""
        most = _MOST_KINDS if self._net.n_params <= _FEW_PARAMS else _MOST_LARGE_KINDS
        if key not in self._spare and len(self._spare) >= most:
            self._spare = {}
        return self._spare.setdefault(key, [])


def _kind(dtype: np.dtype, X: Any, Y: Any, sample_weight: Any) -> Key | None:
    """Return shapes and dtypes of plain arrays, by which the places for them are found; None for anything else.

    Of rows and targets of the network's dtype the shape of X is enough: that of Y then fits or is wrong.
    """
    if type(X) is not np.ndarray or type(Y) is not np.ndarray:
        return None
    if _are_of_dtype(dtype, X, Y, sample_weight):
        return X.shape
    if sample_weight is None:
        return X.shape, X.dtype, Y.shape, Y.dtype
    if type(sample_weight) is not np.ndarray:
        return None
    return X.shape, X.dtype, Y.shape, Y.dtype, sample_weight.shape, sample_weight.dtype


def _are_of_dtype(dtype: np.dtype, X: NDArray[Any], Y: NDArray[Any], sample_weight: Any) -> bool:
    """Whether arrays are rows and targets of the network's dtype, without weights: then a kernel copies them."""
    return sample_weight is None and X.dtype is dtype is Y.dtype and Y.ndim == 2


class _Place:
    """A frame of the kernel for steps on so many rows.

    The kernel takes a step as an epoch of one step: it keeps the parameters from before it, and looks at the new ones.
    """

    def __init__(self, net: TrainedModel, n_rows: int, spare: list[Any], inputs: Inputs) -> None:
        self._net, self._n_rows, self.spare = net, n_rows, spare
        self._frame = frame = make_frame(problem_of(net), n_rows, n_rows, gradient=True, inputs=inputs)
        self._results, self._epochs_done = frame.results, frame.epochs_done
        self._before, self._sums = np.empty_like(net.params), np.empty((1, 2))
        frame.record_epochs(self._sums, self._before)
        self._flops = inputs.flops_per_step(net.sizes, n_rows)
        self._step_time = StepTime(seconds_per_step(net.sizes, n_rows))
        is_shared = self._flops >= frame.workspace.least_shared_flops or frame.workspace.calls_blas
        is_small, is_watched = not is_shared and self._step_time.seconds < LONG_CALL, bool(frame.own)
        self._is_small, self._is_small_and_watched = is_small and not is_watched, is_small and is_watched
        self._state: TrainingState | None = None  # that the frame was prepared for
        self._n_steps = 0  # of that state, as the frame has it
        self._clip_norm: Any = None

    def point_to(self, data: Checked) -> None:
        """Point the kernel to the caller's arrays."""
        self._epochs_done[0] = 0.0
        self._frame.set_data(*data)
        weights = data[2]
        self._frame.mean_weight = 0.0 if weights is None else weights.mean(dtype=np.float64)

    def let_go(self) -> None:
        """Forget the caller's arrays."""
        self._frame.in_use = ()

    def step(self, state: TrainingState, clip_norm: Any, n_threads: int | None) -> float:
        """Take a step; the cost before it."""
        net, frame = self._net, self._frame
        if self._state is not state:
            self._prepare(state)
        elif self._n_steps != state.step:  # other steps were taken in between, in another place
            frame.set_steps(state.step, state.powers)
        if clip_norm is not self._clip_norm:
            frame.clip_norm, self._clip_norm = clip_norm_for(clip_norm), clip_norm
        if self._has_schedule:
            self._set_rates(_rates(state.optimizer, state.step))
        if not all(map(_is_writeable, self._written)):
            require_writable_arrays(*self._written)
        first = state.step + 1
        net._training_state = state
        try:
            if self._is_small:
                if entry.run(*self._call) != FINISHED:
                    raise UnknownCodeError
            elif self._is_small_and_watched:
                if frame.run_step(*self._call) != FINISHED:
                    raise UnknownCodeError
            else:
                threads = frame.useful_threads(n_threads, self._flops)
                frame.train(net.params, self._call[-1], self._step_time, first_step=0, n_threads=threads)
        finally:  # also after Ctrl-C: a step that was taken counts
            step, power_1, power_2, rate, _, cost_sum, weight_sum, _, status = self._results.tolist()
            state.step = self._n_steps = int(step)
            state.powers = power_1, power_2
        if status != FINISHED:
            self._give_up(state, first, rate)
        cost: float = cost_sum / weight_sum
        return cost

    def _prepare(self, state: TrainingState) -> None:
        """Tell the kernel the optimizer and the number of steps that it has taken."""
        net, frame = self._net, self._frame
        prepare_frame(frame, net, state, self._n_rows, state.dropout_seed)
        frame.point_to_vectors(net.params)
        frame.status = FINISHED
        self._written = (net.params, *net.weights, *net.biases, state.vectors)
        rate = state.optimizer.learning_rate
        self._has_schedule = isinstance(rate, Schedule)
        if not self._has_schedule:
            self._set_rates(np.array([rate], np.float64))
        self._state, self._n_steps = state, state.step

    def _set_rates(self, rates: NDArray[np.float64]) -> None:
        """Prepare the arguments of the kernel."""
        self._call = self._frame.step_call(rates)

    def _give_up(self, state: TrainingState, step: int, rate: float) -> None:
        """Give back the parameters from before the step, reset the optimizer, and raise the error."""
        self._net.params[...] = self._before
        state.forget()
        self._frame.raise_own_error()
        raise TrainingDivergedError(
            f"The loss became NaN or infinite in step {step} with a learning rate of {rate:g}. The network has the "
            "parameters from before that step, and the optimizer's state was reset. Try a smaller learning rate, "
            "clip_norm=1.0, or inputs scaled to mean 0 and variance 1."
        )


class _Copies(_Place):
    """A place that has room for the values of small arrays of one kind."""

    def __init__(self, net: TrainedModel, data: Checked, spare: list[Any], X: Any, Y: Any, sample_weight: Any) -> None:
        n_rows, n_outputs = len(X), net.sizes[-1]
        super().__init__(net, n_rows, spare, Inputs())
        has_labels = data[1].array is None
        sizes = (X.size, 0 if has_labels else n_rows * n_outputs, 0 if sample_weight is None else n_rows)
        self._values = aligned_empty(sum(sizes), net.dtype)
        self._zeros = np.zeros_like(self._values)
        x, y, w = np.split(self._values, np.cumsum(sizes[:2]))
        self._x, self._weights = x.reshape(X.shape), None if sample_weight is None else w
        self._labels = np.empty(n_rows, np.int64) if has_labels else None
        self._y: NDArray[Any] = y.reshape(Y.shape) if self._labels is None else self._labels  # (n,) for one output too
        self._targets = Targets(None if has_labels else y.reshape(n_rows, n_outputs), self._labels)
        self._has_range = not has_labels and facts_of_loss(net.loss).targets != "any"
        self._is_plain = sample_weight is None and not has_labels and not self._has_range  # finite values will do
        self._take = copies.run.of(net.dtype) if _are_of_dtype(net.dtype, X, Y, sample_weight) else None
        self._frame.set_data(self._x, self._targets, self._weights)

    def let_go(self) -> None:
        """Keep the copies for the next step."""

    def takes(self, X: NDArray[Any], Y: NDArray[Any], sample_weight: NDArray[Any] | None) -> bool:
        """Copy the values of arrays of this kind; whether they are valid."""
        self._epochs_done[0] = 0.0
        if self._take is not None:
            try:
                is_taken = self._take(X, Y, self._x, self._y)
            except TypeError:  # not aligned: NumPy can take them
                if X.shape != self._x.shape or Y.shape != self._y.shape:
                    return False
            else:
                return is_taken and (self._is_plain or self._has_targets())
        self._x[...] = X
        self._y[...] = Y
        if self._weights is not None:
            self._weights[...] = sample_weight
        return self._are_finite() and (self._is_plain or (self._has_targets() and self._has_weights()))

    def _are_finite(self) -> bool:
        """Whether no value is NaN or infinite; the answer may wrongly be no, where a sum of finite values overflows."""
        values = self._values
        if values.size <= _FEW_VALUES:
            return math.isfinite(sum(values.tolist()))
        return bool(np.vdot(values, self._zeros) == 0.0)  # NaN if a value is not finite; vdot never warns

    def _has_targets(self) -> bool:
        """Whether labels and targets lie in their ranges; targets that do not are an error."""
        net = self._net
        if self._labels is not None:
            labels: list[int] = self._labels.tolist()
            return min(labels) >= 0 and max(labels) < net.sizes[-1]
        if self._has_range:
            y, softmax = self._targets.array, net.has_softmax
            validation.targets(y, self._n_rows, net.sizes[-1], net.dtype, net.loss, softmax=softmax)
        return True

    def _has_weights(self) -> bool:
        """Whether no weight is negative and not all are 0; their mean is noted, in the way of `ndarray.mean`."""
        weights = self._weights
        if weights is None:
            return True
        self._frame.mean_weight = np.add.reduce(weights, dtype=np.float64) / self._n_rows
        values: list[float] = weights.tolist()
        return min(values) >= 0.0 and max(values) > 0.0


def _rates(optimizer: Optimizer, step: int) -> NDArray[np.float64]:
    """Return the learning rate of one step, which must be the same however many steps there will be."""
    schedule = optimizer.learning_rate
    rates = optimizer.learning_rates(step, 1, step + 1)
    if isinstance(schedule, Schedule):
        spans_all = isinstance(schedule, Cosine | OneCycle) and schedule.n_steps is None
        if spans_all or rates[0] != optimizer.learning_rates(step, 1, 2 * step + 2)[0]:
            raise ValueError(
                "`optimizer` must have a learning rate that does not depend on the number of all steps, which is "
                f"unknown where they are taken one by one; got {schedule!r}. Give the schedule its `n_steps`, or take "
                "all steps in one fit."
            )
    return rates
