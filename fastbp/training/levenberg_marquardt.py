"""`LevenbergMarquardt`: damped Gauss-Newton steps for the quadratic cost, for some thousand parameters at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.interruption import StepTime
from fastbp.engine.normal_equations import NormalEquations
from fastbp.engine.rows import Data
from fastbp.kernels.roots import normal_equations as kernel
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.system.caller import warn
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.state import diverged_where_it_begins
from fastbp.training.whole_batch import Trainer, WholeBatchOptimizer
from fastbp.validation.numbers import store_number

DAMPINGS = ("gain_ratio", "trainlm")
PRODUCTS = ("auto", "float32", "float64")
REASONS = {kernel.GOAL_REACHED: "goal", kernel.SMALL_GRADIENT: "min_gradient", kernel.LARGE_MU: "mu_max"}
MANY_PARAMS = 2000  # from where on L-BFGS is quicker: measured to the noise's level on 1,291 parameters, where they met
_PARAMS_OF_MIXED = 400  # from where on J^T J, not the gradient, takes the time of an iteration


@dataclass(frozen=True, slots=True)
class LevenbergMarquardt(WholeBatchOptimizer):
    """Levenberg-Marquardt: Gauss-Newton steps, damped so far that the cost falls; MATLAB's ``trainlm``.

    With the differences ``e`` between outputs and targets of all rows and their Jacobian ``J`` with respect to the
    parameters, an iteration solves ``(J^T J + mu) s = -J^T e`` and takes the step if the cost falls; else ``mu`` grows
    and another step is tried.  Near a minimum it converges quadratically where the fit is good.  For up to some hundred
    parameters nothing trains a network for regression as quickly, up to about 1,300 it is level with `LBFGS`, and from
    2,000 on `LBFGS` is the better choice unless the last digits are wanted.

    Parameters
    ----------
    mu : float
        The damping at the start: with `damping` 'gain_ratio' as a fraction of the largest element of the diagonal of
        ``J^T J``, with 'trainlm' the number that is added to it.
    mu_decrease : float
        What ``mu`` is multiplied by after a step, with 'trainlm'.
    mu_increase : float
        What it is multiplied by after a step that was not taken, with 'trainlm'.
    mu_max : float
        Stop when ``mu``, in the same unit as at the start, is larger: no step lowers the cost any more.
    min_gradient : float
        Stop when the norm of the gradient of the cost, as the history has it, is not above this.
    max_fail : int or None
        With validation data, stop after so many epochs in a row without a validation loss below the lowest one, and
        return to the parameters of that; None for never.  The `early_stopping` of a fit stands in for it.
    damping : {'gain_ratio', 'trainlm'}
        How ``mu`` changes: by how much the cost fell compared with how much it was to fall (Nielsen's rule), or by
        fixed factors.  The former takes about half the iterations and a third of the steps that are tried.
    goal : float
        Stop when the cost is not above this.
    products : {'auto', 'float32', 'float64'}
        What a float64 network's ``J^T J`` is summed in; its gradient and cost are float64 in any case, and float32
        halves the time of an iteration of many parameters, at the price of slower convergence in the last digits.
        'auto' means float32 from 400 parameters on.  In a float32 network, ``J^T J`` is summed in float32, its gradient
        and cost in float64, and the equations are solved in float64.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Pass it to `Network.fit` as `optimizer`; `epochs` is the number of iterations.  The loss must be 'quadratic'; sample
    weights count, and the network's `l2_penalty` is part of the cost and of the equations.  An `l1_penalty`, whose
    curvature is nowhere, is refused.  With kinks, as of relu, the derivative of the branch taken is used.

    The `History` has the columns `mu` (after the iteration, what is added to ``J^T J``, the sum over all samples),
    `gradient_norm` (of the cost after the iteration) and `tries` (steps that were tried in it).  Its `stopped_by` may
    be, with MATLAB's words behind: 'goal' (Performance goal met), 'min_gradient' (Minimum gradient reached), 'mu_max'
    (Maximum MU reached), 'max_fail' (Validation stop), 'epochs' (Maximum epoch reached).  An iteration in which no step
    lowers the cost is not an epoch.

    The last digits of a minimum need a float64 network: a float32 one ends, by 'mu_max', where the cost is so near that
    its rounding, some 1e-7 of it, hides what a step gains.

    ``J`` is never formed: ``J^T J`` is summed over blocks of rows, for each pair of layers as a product of two thin
    matrices, so that its time hardly depends on the number of outputs.  It and its factor take 16 bytes times the
    square of the number of parameters, beside the sums, and are refused where they do not fit.

    References
    ----------
    Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", SIAM Journal on Applied Mathematics
    11 (1963); Hagan and Menhaj, "Training feedforward networks with the Marquardt algorithm", IEEE Transactions on
    Neural Networks 5 (1994); Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05 (1999), equation 2.5.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> net = bp.Network([1, 10, 1], activation="tanh", dtype="float64", seed=0)
    >>> history = net.fit(X, np.sin(3 * X), epochs=200, optimizer=bp.LevenbergMarquardt(goal=1e-7))
    >>> history.stopped_by, bool(history.loss[-1] <= 1e-7), list(history.as_dict())[-3:]
    ('goal', True, ['mu', 'gradient_norm', 'tries'])
    """

    columns: ClassVar[tuple[str, ...]] = ("mu", "gradient_norm", "tries")
    reasons: ClassVar[tuple[str, ...]] = (*REASONS.values(), "max_fail")

    mu: float = 1e-3
    mu_decrease: float = 0.1
    mu_increase: float = 10.0
    mu_max: float = 1e10
    min_gradient: float = 1e-7
    max_fail: int | None = 6
    damping: Literal["gain_ratio", "trainlm"] = "gain_ratio"
    goal: float = 0.0
    products: Literal["auto", "float32", "float64"] = "auto"

    def __post_init__(self) -> None:
        store_damping(self)
        if self.max_fail is not None:
            store_number(self, "max_fail", "a whole number above 0", "Try 6, or None for no end by validation.")
        for name, choices in (("damping", DAMPINGS), ("products", PRODUCTS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                words = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
                raise ValueError(f"`{name}` must be {words}; got {value!r}. Try {choices[0]!r}.")

    def require(self, net: Model) -> None:
        """Raise if it cannot train a network; see `WholeBatchOptimizer.require`.

        Parameters
        ----------
        net : Model
            The network.

        Raises
        ------
        ValueError
            If the loss is not quadratic, or the network has an L1 penalty or dropout; or is float32 and `products`
            'float64'.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.LevenbergMarquardt().require(bp.Network([2, 3, 1]))  # is not refused
        """
        WholeBatchOptimizer.require(self, net)  # `super()` would name the class from before its slots
        require_squares(self, net)
        if self.products == "float64" and net.dtype == np.float32:
            raise ValueError(
                "`products` must be 'auto' or 'float32' for a float32 network, whose derivatives are float32; got "
                "'float64'. Make the network with dtype='float64'."
            )

    def validation_rule(self) -> EarlyStopping | None:
        """Return when a fit with validation data ends; see `WholeBatchOptimizer.validation_rule`.

        Returns
        -------
        EarlyStopping or None
            After `max_fail` epochs without improvement.

        Examples
        --------
        >>> import fastbp as bp
        >>> bp.LevenbergMarquardt().validation_rule()
        EarlyStopping(patience=6, min_delta=0.0, restore_best=True, monitor='val_loss', mode=None)
        """
        return None if self.max_fail is None else EarlyStopping(self.max_fail)

    def trainer(self, net: Model, data: Data, n_threads: int | None) -> Trainer:
        """Return what takes the iterations of one fit; nothing of the network changes yet.

        Parameters
        ----------
        net : Model
            The network.
        data : Data
            All rows.
        n_threads : int or None
            Threads to use; None for as many as the process may.

        Raises
        ------
        MemoryError
            If ``J^T J`` and its factor do not fit into the memory that is available.

        Examples
        --------
        >>> import fastbp as bp
        >>> net, optimizer = bp.Network([1, 1], dtype="float64", seed=0), bp.LevenbergMarquardt()
        >>> net.fit([[0.0], [1.0], [2.0]], [1, 3, 5], optimizer=optimizer).stopped_by  # calls it
        'min_gradient'
        """
        equations = NormalEquations(problem_of(net), data, n_threads, is_mixed=sums_in_float32(self, net))
        return SquaresTrainer(self, net, equations)


def sums_in_float32(rule: LevenbergMarquardt, net: Model) -> bool:
    """Return whether a float64 network's ``J^T J`` is summed in float32."""
    wanted = rule.products == "float32" or (rule.products == "auto" and net.n_params >= _PARAMS_OF_MIXED)
    return wanted and net.dtype == np.float64


def store_damping(rule: Any) -> None:
    """Check and store the numbers that `BayesianRegularization` has as well."""
    store_number(rule, "mu", "a finite number above 0", "Try 1e-3.")
    store_number(rule, "mu_decrease", "a number in (0, 1)", "Try 0.1.")
    store_number(rule, "mu_increase", "a finite number above 1", "Try 10.0.")
    store_number(rule, "mu_max", "a finite number above 0", "Try 1e10.")
    store_number(rule, "min_gradient", "a finite number, 0 or above", "Try 1e-7, or 0.0 to go on as long as it falls.")
    store_number(rule, "goal", "a finite number, 0 or above", "Try 0.0, for none.")
    if rule.mu_max <= rule.mu:
        text = f"`mu_max` must be above `mu`, {rule.mu:g}, or no step is tried; got {rule.mu_max:g}. Try 1e10."
        raise ValueError(text)


def require_squares(rule: WholeBatchOptimizer, net: Model) -> None:
    """Refuse a network whose cost is no sum of squares."""
    name = type(rule).__name__
    if net.loss != "quadratic":
        raise ValueError(
            f"`loss` must be 'quadratic' for {name}, which needs a sum of squares; the network's is "
            f"{getattr(net.loss, 'name', net.loss)!r}. Train it with bp.LBFGS()."
        )
    if net.penalties[1] != 0:
        raise ValueError(
            f"`l1_penalty` must be 0 for {name}, because it is no sum of squares; the network has "
            f"{net.penalties[1]:g}. Use `l2_penalty`, or train it with bp.Adam()."
        )


class SquaresTrainer:
    """A fit by Levenberg-Marquardt in progress; see `fastbp.training.whole_batch.Trainer`.

    Parameters
    ----------
    rule : LevenbergMarquardt or BayesianRegularization
        The rule.
    net : Model
        The network.
    equations : NormalEquations
        What takes the iterations, or has the same methods; of a problem that may have penalties that the network has
        not.
    """

    def __init__(self, rule: Any, net: Model, equations: Any) -> None:
        self._net, self._has_own = net, bool(problem_of(net).own)
        self.equations = equations
        self.equations.set_rule(
            mu=rule.mu,
            by_gain_ratio=getattr(rule, "damping", "trainlm") == "gain_ratio",
            factors=(rule.mu_decrease, rule.mu_increase),
            mu_max=rule.mu_max,
            min_gradient=rule.min_gradient,
            goal=rule.goal,
        )
        if net.n_params > MANY_PARAMS:
            warn(
                f"{type(rule).__name__} solves equations for {net.n_params} parameters in every step; above about "
                f"{MANY_PARAMS} bp.LBFGS() is quicker as a rule."
            )
        self.n_threads = self.equations.n_threads
        self._time = StepTime(self.equations.seconds)
        self.stopped_by: str | None = None

    def most_at_once(self) -> int:
        """Return how many iterations make a short call; one, where a user's function may spoil what was computed."""
        return 1 if self._has_own else max(1, self._time.steps_of_short_call())

    def advance(self, n_epochs: int, record: Callable[[NDArray[np.float64]], None]) -> None:
        """Take iterations in one call."""
        record_of_call = np.zeros((n_epochs, 4))
        self.equations.n_done = 0
        try:
            self.iterate(record_of_call)
        finally:
            record(record_of_call[: self.equations.n_done])

    def iterate(self, rows: NDArray[np.float64]) -> None:
        """Take iterations, a row for each; `equations.n_done` are finished, whatever ends it."""
        equations, params = self.equations, self._net.params
        before, began = params.copy() if self._has_own else None, time.perf_counter()
        try:
            equations.iterate(params, rows, len(rows) * self._time.seconds)
        except RuntimeError:  # one of the user's functions has raised an exception: what was computed means nothing
            if before is not None:
                params[...] = before
            equations.forget_iterations()
            raise
        self._time.note(equations.n_done, time.perf_counter() - began)
        if equations.stopped == kernel.NOT_FINITE:
            raise diverged_where_it_begins()
        self.stopped_by = REASONS.get(equations.stopped)

    def state(self) -> NDArray[np.float64]:
        """Return mu, by how much it grows next, and the unit of its bound."""
        state: NDArray[np.float64] = self.equations.state
        return state

    def restore(self, state: NDArray[np.float64]) -> bool:
        """Continue from a state."""
        mu, nu, unit = state.tolist()
        if not (0 < mu < np.inf and 2 <= nu < np.inf and 0 <= unit < np.inf):
            return False
        self.equations.state = state
        return True

    def end(self) -> None:
        """Let go of the data."""
        self.equations.end()
