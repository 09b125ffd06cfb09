"""Learning rate schedules: the learning rate as a function of the step.

A schedule is called with the numbers of the steps, counted from 0, and with the horizon, the number of
steps of the whole fit. The steps are updates of the weights, one for each mini-batch, not epochs. Every
fit begins with step 0, also one that goes on with the optimizer of the fit before; one that is resumed from
a checkpoint is still the same fit.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.validation.numbers import store_number

__all__ = ["Constant", "Cosine", "InverseScaling", "OneCycle", "Schedule", "Step"]


def _store_n_steps(owner: "Cosine | OneCycle") -> None:
    """Check the field `n_steps`, which may also be None."""
    if owner.n_steps is not None:
        store_number(owner, "n_steps", "a whole number above 0", "Leave it out (None) to span the whole fit.")


class Schedule(ABC):
    """The learning rate of each step; the base of all schedules.

    A schedule of your own is a subclass with ``__call__``. It must depend on its arguments only, so that
    a fit can be repeated.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> class Linear(bp.Schedule):
    ...     def __call__(self, steps, horizon):
    ...         return 0.1 * (1 - np.asarray(steps) / horizon)
    >>> Linear()([0, 5, 9], 10)
    array([0.1 , 0.05, 0.01])
    >>> optimizer = bp.SGD(Linear())
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps.

        Parameters
        ----------
        steps : array_like of int, shape (n,)
            Numbers of the steps, the first step of a fit being 0.
        horizon : int
            Number of steps of the whole fit. A schedule that was given ``n_steps`` uses that instead.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            The learning rate of each step. Past its horizon a schedule stays at its final value.
        """


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same learning rate at every step.

    Parameters
    ----------
    learning_rate : float
        Learning rate per step, above 0.

    References
    ----------
    Bottou, Curtis and Nocedal, "Optimization methods for large-scale machine learning", SIAM Review 60,
    2018, theorem 4.6: with a fixed rate the cost settles within a distance proportional to the rate.

    Examples
    --------
    >>> Constant(0.1)([0, 1, 2], horizon=3)
    array([0.1, 0.1, 0.1])
    """

    learning_rate: float

    def __post_init__(self) -> None:
        store_number(self, "learning_rate", "a finite number above 0", "Try 0.01.")

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps, as `Schedule` says."""
        return np.full(np.shape(steps), self.learning_rate)


@dataclass(frozen=True, slots=True)
class InverseScaling(Schedule):
    """``learning_rate / (step + 1) ** power``.

    Parameters
    ----------
    learning_rate : float
        Learning rate of the first step, above 0.
    power : float
        How fast it falls; 0 keeps it constant.

    Notes
    -----
    It has no horizon and falls as long as the fit goes on.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951:
    the rates ``a_n`` must have an infinite sum and a finite sum of squares, here ``1/2 < power <= 1``.

    Examples
    --------
    >>> InverseScaling(0.6)([0, 3, 8], horizon=9)
    array([0.6, 0.3, 0.2])
    """

    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        store_number(self, "learning_rate", "a finite number above 0", "Try 0.1.")
        store_number(self, "power", "a finite number, 0 or above", "Try 0.5.")

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps, as `Schedule` says."""
        step = np.asarray(steps, dtype=np.float64)
        with np.errstate(over="ignore"):  # a rate of 0
            return np.asarray(self.learning_rate / (step + 1.0) ** self.power)


@dataclass(frozen=True, slots=True)
class Step(Schedule):
    """``learning_rate * gamma ** (step // step_size)``: a staircase.

    Parameters
    ----------
    learning_rate : float
        Learning rate of the first `step_size` steps, above 0.
    step_size : int
        Number of steps at one rate.
    gamma : float
        Factor from one rate to the next, above 0 and at most 1.

    Notes
    -----
    It has no horizon and falls as long as the fit goes on.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2, where
    the rate is divided by 10 after fixed numbers of steps.

    Examples
    --------
    >>> Step(0.1, step_size=2)([0, 1, 2, 3, 4], horizon=5)
    array([0.1  , 0.1  , 0.01 , 0.01 , 0.001])
    """

    learning_rate: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        store_number(self, "learning_rate", "a finite number above 0", "Try 0.1.")
        store_number(self, "step_size", "a whole number above 0", "It is the number of steps at one learning rate.")
        store_number(self, "gamma", "a number in (0, 1]", "Try 0.1.")

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps, as `Schedule` says."""
        stair = np.asarray(steps, dtype=np.int64) // self.step_size
        return np.asarray(self.learning_rate * np.power(self.gamma, stair))


def _cosine_between(first: float, last: float, progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half a cosine wave from `first` (progress 0) to `last` (progress 1)."""
    return np.asarray(last + (first - last) * ((1.0 + np.cos(np.pi * progress)) / 2.0))


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """Half a cosine wave down to `final`, after an optional linear warm-up.

    With ``w = warmup_steps`` and ``T = n_steps``, step ``t`` has

    * ``learning_rate * (t + 1) / w`` for ``t < w``,
    * ``final + (learning_rate - final) * (1 + cos(pi * (t - w) / (T - w))) / 2`` for ``w <= t < T``,
    * ``final`` from ``T`` on.

    Parameters
    ----------
    learning_rate : float
        Highest learning rate per step, above 0.
    final : float
        Learning rate after the last step, 0 or above.
    n_steps : int, optional
        Number of steps down to `final`, the warm-up included. By default the horizon: the whole fit.
    warmup_steps : int
        Number of steps of the warm-up. A fit that is shorter than its warm-up ends within it.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, equation 5,
    one cycle without restarts. Warm-up: Goyal et al., "Accurate, large minibatch SGD: Training ImageNet
    in 1 hour", arXiv:1706.02677, section 2.2.

    Examples
    --------
    >>> Cosine(0.1)([0, 2, 4, 6], horizon=4)
    array([0.1 , 0.05, 0.  , 0.  ])
    >>> Cosine(0.1, n_steps=8, warmup_steps=4)([0, 1, 2, 3, 4, 6, 8], horizon=100)
    array([0.025, 0.05 , 0.075, 0.1  , 0.1  , 0.05 , 0.   ])
    """

    learning_rate: float
    final: float = 0.0
    n_steps: int | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        store_number(self, "learning_rate", "a finite number above 0", "Try 0.1.")
        store_number(self, "final", "a finite number, 0 or above", "Try 0.0.")
        _store_n_steps(self)
        store_number(self, "warmup_steps", "a whole number, 0 or above", "Use 0 for no warm-up.")
        if self.n_steps is not None and self.warmup_steps >= self.n_steps:
            raise ValueError(
                f"`warmup_steps` must be less than `n_steps`, which counts the warm-up too; got "
                f"{self.warmup_steps} and {self.n_steps}. Shorten the warm-up or raise `n_steps`."
            )
        if not math.isfinite(self.learning_rate * self.warmup_steps):
            raise ValueError(
                f"`learning_rate` must be finite times `warmup_steps`; got {self.learning_rate!r} and "
                f"{self.warmup_steps}. Try 0.1."
            )

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps, as `Schedule` says."""
        step = np.asarray(steps, dtype=np.float64)
        n_steps = horizon if self.n_steps is None else self.n_steps
        warming = step < min(self.warmup_steps, n_steps)
        # At least 1, because it divides: a fit may end within its warm-up and leave the wave no step.
        wave_steps = max(n_steps - self.warmup_steps, 1)
        progress = np.clip((step - self.warmup_steps) / wave_steps, 0.0, 1.0)
        progress = np.where(step >= n_steps, 1.0, progress)
        falling = _cosine_between(self.learning_rate, self.final, progress)
        most = max(self.warmup_steps, 1)
        rising = self.learning_rate * np.minimum(step + 1.0, most) / most
        return np.where(warming, rising, falling)


@dataclass(frozen=True, slots=True)
class OneCycle(Schedule):
    """One cycle: up to a high learning rate and down to nearly nothing, each by half a cosine wave.

    With ``T = n_steps`` and the peak at ``p = start_fraction * T - 1``, the learning rate goes from
    ``max_learning_rate / div_factor`` at step 0 to ``max_learning_rate`` at ``p``, and on to
    ``max_learning_rate / (div_factor * final_div_factor)`` at the last step, ``T - 1``.

    Parameters
    ----------
    max_learning_rate : float
        Highest learning rate per step, above 0.
    n_steps : int, optional
        Number of steps of the cycle. By default the horizon: the whole fit.
    start_fraction : float
        Share of the steps that go up, between 0 and 1.
    div_factor : float
        Highest learning rate over the first one, 1 or above.
    final_div_factor : float
        First learning rate over the last one, above 0.

    Notes
    -----
    The numbers are those of torch's ``OneCycleLR`` with cosine annealing. The momentum is not cycled.

    References
    ----------
    Smith, "A disciplined approach to neural network hyper-parameters: Part 1", arXiv:1803.09820, 2018,
    section 4.1. Smith and Topin, "Super-convergence: Very fast training of neural networks using large
    learning rates", arXiv:1708.07120, 2018.

    Examples
    --------
    >>> schedule = OneCycle(0.5, start_fraction=0.3, div_factor=25, final_div_factor=1e4)
    >>> schedule([0, 1, 2, 9], horizon=10)
    array([2.00e-02, 2.60e-01, 5.00e-01, 2.00e-06])
    """

    max_learning_rate: float
    n_steps: int | None = None
    start_fraction: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        store_number(self, "max_learning_rate", "a finite number above 0", "Try 0.1.")
        _store_n_steps(self)
        store_number(self, "start_fraction", "a number in (0, 1)", "Try 0.3.")
        store_number(self, "div_factor", "a finite number, 1 or above", "Try 25.")
        store_number(self, "final_div_factor", "a finite number above 0", "Try 1e4.")
        if not math.isfinite(self.max_learning_rate / self.div_factor / self.final_div_factor):
            raise ValueError(
                "`final_div_factor` must be so large that the last learning rate is finite; got "
                f"{self.final_div_factor!r}. Try 1e4."
            )

    def __call__(self, steps: ArrayLike, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of steps, as `Schedule` says."""
        n_steps = horizon if self.n_steps is None else self.n_steps
        step = np.minimum(np.asarray(steps, dtype=np.float64), n_steps - 1)
        first = self.max_learning_rate / self.div_factor
        last = first / self.final_div_factor
        # The peak lies before step 0 where start_fraction * n_steps < 1; then every step is past it.
        peak = self.start_fraction * n_steps - 1.0
        if peak > 0.0:
            rising = _cosine_between(first, self.max_learning_rate, step / peak)
        else:
            rising = np.full_like(step, self.max_learning_rate)
        falling = _cosine_between(self.max_learning_rate, last, (step - peak) / (n_steps - 1 - peak))
        return np.where(step <= peak, rising, falling)


# The schedules that a file can hold, by their names; one of the user's own is code.
SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (Constant, Cosine, InverseScaling, OneCycle, Step)
}
