"""Optimizers: the rule by which a gradient changes the parameters, as frozen hyper-parameters.

An optimizer holds numbers only. The steps themselves are compiled, and the state vectors (velocity,
moments) belong to the fit, so that one optimizer object may serve any number of networks.

In the formulas ``w`` is the vector of all parameters, ``g`` the gradient of the cost, penalties included,
``lr`` the learning rate and ``t = 1, 2, ...`` the number of the step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.settings import N_CONSTANTS
from fastbp.training.schedules import Schedule
from fastbp.training.whole_batch import WholeBatchOptimizer
from fastbp.validation.numbers import store_number

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]


@dataclass(frozen=True, slots=True)
class Optimizer(ABC):
    """The base of all optimizers.

    Attributes
    ----------
    code : int
        Number by which the compiled code knows the rule: SGD 0, Adam 1, AdamW 2, RMSprop 3.
    learning_rate : float or Schedule
        Learning rate per step.

    Examples
    --------
    >>> import fastbp as bp
    >>> [isinstance(rule, bp.Optimizer) for rule in (bp.SGD(0.1), bp.Adam(), bp.AdamW(), bp.RMSprop())]
    [True, True, True, True]
    """

    code: ClassVar[int]

    learning_rate: float | Schedule

    @property
    @abstractmethod
    def n_state_vectors(self) -> int:
        """Number of vectors, as long as the parameters and 0 at first, kept from step to step."""

    @abstractmethod
    def kernel_constants(self) -> NDArray[np.float64]:
        """Return the constants of the rule in a documented order, then zeros, shape (5,)."""

    def learning_rates(self, first_step: int, n_steps: int, horizon: int) -> NDArray[np.float64]:
        """Return the learning rates of consecutive steps.

        Parameters
        ----------
        first_step : int
            Number of the first of the steps; a fit begins with step 0.
        n_steps : int
            How many steps.
        horizon : int
            Number of steps of the whole fit, for a schedule that was not told how long it is.

        Returns
        -------
        numpy.ndarray of float64, shape (n_steps,)
            A new array.

        Raises
        ------
        ValueError
            If a schedule returns another shape, or a learning rate that is negative or not finite.

        Examples
        --------
        >>> SGD(0.5).learning_rates(first_step=0, n_steps=3, horizon=100)
        array([0.5, 0.5, 0.5])
        """
        if not isinstance(self.learning_rate, Schedule):
            return np.full(n_steps, self.learning_rate)
        return scheduled_rates(self.learning_rate, first_step, n_steps, horizon)

    @property
    def has_own_schedule(self) -> bool:
        """Whether the learning rates come from a schedule that a user has written, which may do what it likes."""
        return is_own_schedule(self.learning_rate)


def is_own_schedule(learning_rate: object) -> bool:
    """Whether a learning rate is a schedule that a user has written."""
    return isinstance(learning_rate, Schedule) and type(learning_rate).__module__ != Schedule.__module__


def scheduled_rates(schedule: Schedule, first_step: int, n_steps: int, horizon: int) -> NDArray[np.float64]:
    """Return a schedule's learning rates of consecutive steps, checked: the kernels take as many as there are steps."""
    steps = np.arange(first_step, first_step + n_steps)
    rates = np.array(schedule(steps, horizon), dtype=np.float64, order="C")
    if rates.shape != (n_steps,):
        raise ValueError(
            f"`learning_rate` must be a schedule that returns one number a step, shape ({n_steps},); "
            f"{schedule!r} returned shape {rates.shape}. "
            f"Compute with the array of steps that it is given."
        )
    wrong = ~(np.isfinite(rates) & (rates >= 0.0))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"`learning_rate` must be a schedule that returns finite numbers, 0 or above; "
            f"{schedule!r} returned {rates[index]} for step {steps[index]}. "
            f"Check its formula there."
        )
    return rates


def require_optimizer(optimizer: object) -> None:
    """Raise unless it is an optimizer that takes single steps, or None."""
    if isinstance(optimizer, WholeBatchOptimizer):
        raise TypeError(
            f"`optimizer` must be one that takes single steps with a learning rate, such as bp.Adam(); got "
            f"{optimizer!r}, whose every step looks for its length. Pass it to `fit`."
        )
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` must be an optimizer such as bp.Adam(); got {optimizer!r}.")


def _store_learning_rate(optimizer: Optimizer) -> None:
    """Check the field `learning_rate`; a float is stored as a plain one."""
    if not isinstance(optimizer.learning_rate, Schedule):
        cure = "Try 0.01, or pass a schedule such as bp.Cosine(0.01)."
        store_number(optimizer, "learning_rate", "a finite number above 0", cure)


def padded_constants(*values: float) -> NDArray[np.float64]:
    """Return the values followed by zeros, shape (N_CONSTANTS,)."""
    constants = np.zeros(N_CONSTANTS)
    constants[: len(values)] = values
    return constants


@dataclass(frozen=True, slots=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum.

    ``v = momentum * v - lr * g``, then ``w = w + v``, or with Nesterov's momentum
    ``w = w + momentum * v - lr * g`` with the new ``v``. Without momentum ``w = w - lr * g``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Learning rate per step, above 0.
    momentum : float
        Share of the last change that is kept, in [0, 1); 0 keeps nothing.
    nesterov : bool
        Whether to use Nesterov's momentum. Without momentum it changes nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The only state is the velocity ``v``, if there is momentum.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
    learning", ICML 2013, equations 1 to 4.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9).kernel_constants()
    array([0.9, 0. , 0. , 0. , 0. ])
    """

    code: ClassVar[int] = 0

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _store_learning_rate(self)
        store_number(self, "momentum", "a number in [0, 1)", "Try 0.9, or 0.0 for no momentum.")
        if not isinstance(self.nesterov, bool | np.bool):
            raise TypeError(
                f"`nesterov` must be True or False; got {self.nesterov!r}. The strength of the momentum is `momentum`."
            )
        object.__setattr__(self, "nesterov", bool(self.nesterov))

    @property
    def n_state_vectors(self) -> int:
        """1 with momentum (the velocity), else 0."""
        return 1 if self.momentum > 0.0 else 0

    def kernel_constants(self) -> NDArray[np.float64]:
        """Return momentum, nesterov (0 or 1), 0, 0, 0."""
        return padded_constants(self.momentum, float(self.nesterov))


@dataclass(frozen=True, slots=True)
class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    ``m = beta_1 * m + (1 - beta_1) * g``, ``v = beta_2 * v + (1 - beta_2) * g**2``,
    ``w = w - lr * (m / (1 - beta_1**t)) / (sqrt(v / (1 - beta_2**t)) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Learning rate per step, above 0: about the largest change of a parameter in one step.
    beta_1, beta_2 : float
        Share of the old mean that is kept, of the gradient and of its square, in [0, 1).
    epsilon : float
        Added to the root, in units of the gradient, above 0: what a vanishing gradient is divided by.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The state is ``m``, then ``v``.

    References
    ----------
    Kingma and Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1.

    Examples
    --------
    >>> Adam().n_state_vectors
    2
    """

    code: ClassVar[int] = 1

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _store_learning_rate(self)
        store_number(self, "beta_1", "a number in [0, 1)", "Try 0.9.")
        store_number(self, "beta_2", "a number in [0, 1)", "Try 0.999.")
        store_number(self, "epsilon", "a finite number above 0", "Try 1e-8.")

    @property
    def n_state_vectors(self) -> int:
        """2: the running means of the gradient and of its square."""
        return 2

    def kernel_constants(self) -> NDArray[np.float64]:
        """Return beta_1, beta_2, epsilon, 0, 0."""
        return padded_constants(self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True, slots=True)
class AdamW(Adam):
    """Adam with weight decay beside the gradient instead of within it.

    ``w = w - lr * weight_decay * w``, all parameters, then Adam's step.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon
        As for Adam.
    weight_decay : float
        Share of a parameter that a step removes, over the learning rate, 0 or above.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The state is that of Adam. Biases decay too; the L2 penalty of a network, which goes through the
    gradient, leaves them alone.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2, with the decay
    multiplied by the learning rate.

    Examples
    --------
    >>> AdamW(weight_decay=0.1).kernel_constants()[3]
    np.float64(0.1)
    """

    code: ClassVar[int] = 2

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is a copy of its class, and super() looks for the original.
        Adam.__post_init__(self)
        store_number(self, "weight_decay", "a finite number, 0 or above", "Try 0.01, or Adam for no decay.")

    def kernel_constants(self) -> NDArray[np.float64]:
        """Return beta_1, beta_2, epsilon, weight_decay, 0."""
        return padded_constants(self.beta_1, self.beta_2, self.epsilon, self.weight_decay)


@dataclass(frozen=True, slots=True)
class RMSprop(Optimizer):
    """RMSprop: steps divided by a running root mean square of the gradient.

    ``s = rho * s + (1 - rho) * g**2``, ``step = g / (sqrt(s) + epsilon)``, then ``w = w - lr * step``, or
    with momentum ``b = momentum * b + step``, ``w = w - lr * b``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Learning rate per step, above 0.
    rho : float
        Share of the old mean square that is kept, in [0, 1).
    epsilon : float
        Added to the root, in units of the gradient, above 0: what a vanishing gradient is divided by.
    momentum : float
        Share of the last change that is kept, in [0, 1); 0 keeps nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    The state is ``s``, then ``b`` if there is momentum.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: RMSprop", Coursera, Neural networks for machine learning, 2012.

    Examples
    --------
    >>> RMSprop().n_state_vectors, RMSprop(momentum=0.9).n_state_vectors
    (1, 2)
    """

    code: ClassVar[int] = 3

    learning_rate: float | Schedule = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _store_learning_rate(self)
        store_number(self, "rho", "a number in [0, 1)", "Try 0.9.")
        store_number(self, "epsilon", "a finite number above 0", "Try 1e-8.")
        store_number(self, "momentum", "a number in [0, 1)", "Try 0.9, or 0.0 for no momentum.")

    @property
    def n_state_vectors(self) -> int:
        """2 with momentum, else 1: the running mean square comes first."""
        return 2 if self.momentum > 0.0 else 1

    def kernel_constants(self) -> NDArray[np.float64]:
        """Return rho, epsilon, momentum, 0, 0."""
        return padded_constants(self.rho, self.epsilon, self.momentum)


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop)}
