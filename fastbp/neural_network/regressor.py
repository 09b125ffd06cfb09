"""`MLPRegressor`: the multi-layer perceptron for numbers, with scikit-learn's interface."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.functions.losses import LossFacts, facts_of_loss, reported_code
from fastbp.functions.own import Activation, Loss
from fastbp.neural_network import squares, types
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.errors import warn, warn_of_column
from fastbp.neural_network.held_out import given
from fastbp.neural_network.methods import fit_method, partial_fit_method
from fastbp.neural_network.parameters import NETWORK_LOSSES, NETWORK_NAMES, REGRESSOR_CONSTRAINTS, documented
from fastbp.validation.data import Targets, all_finite
from fastbp.validation.matrix_like import MatrixLike

_TIMES = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)  # pandas' are of them


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor: scikit-learn's, and faster.

    Parameters, attributes, methods, messages and, with the same `random_state`, all numbers are those of
    ``sklearn.neural_network.MLPRegressor``.  What scikit-learn does not have are the losses beyond 'squared_error' and
    'poisson', the parameters from `output_activation` on, validation data in `fit`, `loss_gradient`, `input_gradient`
    and `network_`; their defaults change nothing.

    Parameters
    ----------
    loss : str or fastbp.Loss, default='squared_error'
        'squared_error' (half of it), 'poisson' (half the deviance; the outputs are exponentials), 'absolute_error',
        'huber', 'quantile', 'log_cosh', or a loss of your own as a pair of jitted functions.
    {scikit-learn's}
    output_activation : str or fastbp.Activation, default=None
        Activation of the output layer; None is 'identity', and 'exp' for the Poisson loss.
    quantile : float, default=0.5
        The quantile that ``loss='quantile'`` estimates, in (0, 1).
    huber_slope : float, default=1.0
        The error at which ``loss='huber'`` turns from a parabola into a line.
    {fastbp's}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    With several outputs scikit-learn reports the mean over the outputs of half the squared error, but follows the
    gradient of their sum; so does this class.  All other losses are sums over the outputs in both.  A mini-batch
    that is divided by its own sample weights, which are all 0, is passed over, where scikit-learn raises
    ZeroDivisionError.

    `score` is R^2 whatever the loss, as in all regressors of scikit-learn except its generalised linear models; it
    says little about a quantile.  What a model with another loss explains, between 0 and 1, is ``d2_pinball_score(y,
    model.predict(X), alpha=quantile)``, ``d2_absolute_error_score``, or ``d2_tweedie_score(..., power=1)`` for
    'poisson', all of ``sklearn.metrics``; `scoring` and ``cross_val_score`` take scorers made of them.

    Examples
    --------
    >>> from fastbp.neural_network import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> regr = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> regr.predict(X[:2]).shape
    (2,)
    """

    _parameter_constraints = REGRESSOR_CONSTRAINTS
    _kind_of_file = "regressor"
    _y_rules = {"y_numeric": True}  # noqa: RUF012 # see the base

    loss: types.RegressorLossName | Loss
    solver: types.RegressorSolver
    output_activation: types.HiddenName | Activation | None
    quantile: float
    huber_slope: float

    def __init__(
        self,
        loss: types.RegressorLossName | Loss = "squared_error",
        hidden_layer_sizes: types.Sizes = (100,),
        activation: types.Hidden = "relu",
        *,
        solver: types.RegressorSolver = "adam",
        alpha: float = 0.0001,
        batch_size: types.BatchSize = "auto",
        learning_rate: types.LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: types.RandomState = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        output_activation: types.HiddenName | Activation | None = None,
        quantile: float = 0.5,
        huber_slope: float = 1.0,
        dtype: types.DType = None,
        initializer: types.EstimatorInitializer = "auto",
        dropout: types.Dropout = 0.0,
        l1_penalty: float = 0.0,
        clip_norm: float | None = None,
        scoring: types.Scoring = None,
        warm_start_optimizer: bool = False,
        weight_normalization: types.WeightNormalization = "auto",
        n_threads: int | None = None,
        progress: bool = False,
    ) -> None:
        self.loss, self.hidden_layer_sizes, self.activation = loss, hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init, self.power_t = learning_rate, learning_rate_init, power_t
        self.max_iter, self.shuffle, self.random_state = max_iter, shuffle, random_state
        self.tol, self.verbose, self.warm_start = tol, verbose, warm_start
        self.momentum, self.nesterovs_momentum = momentum, nesterovs_momentum
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun = n_iter_no_change, max_fun
        self.output_activation, self.quantile, self.huber_slope = output_activation, quantile, huber_slope
        self.dtype, self.initializer, self.dropout = dtype, initializer, dropout
        self.l1_penalty, self.clip_norm, self.scoring = l1_penalty, clip_norm, scoring
        self.warm_start_optimizer, self.weight_normalization = warm_start_optimizer, weight_normalization
        self.n_threads, self.progress = n_threads, progress

    # --- fit ----------------------------------------------------------------------------------------------------------

    @fit_method
    def fit(
        self,
        X: MatrixLike,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
        eval_set: types.EvalSet = None,
    ) -> Self:
        """Fit the model to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; see `weight_normalization`.
        X_val, y_val : array-like, default=None
            Validation data, of the shapes of X and y, whose loss after each epoch is `validation_loss_curve_`.  Early
            stopping watches them instead of setting rows aside.  A ``Pipeline(..., transform_input=["X_val"])``
            transforms `X_val` as X, with scikit-learn's metadata routing switched on.
        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights of the validation data.
        eval_set : tuple or list of one tuple, default=None
            The same as one argument, ``(X_val, y_val)`` or ``(X_val, y_val, sample_weight_val)``.  No pipeline
            transforms it: pass inputs that are transformed already.

        Returns
        -------
        self : MLPRegressor
            The fitted model.

        Raises
        ------
        FitDivergedError
            If the loss becomes NaN or infinite; the model keeps finite weights.
        RuntimeError
            If another `fit` or `partial_fit` of the same model is running; the model is unchanged.
        """
        validation = given(eval_set, X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, incremental=False, given=validation)

    @partial_fit_method
    def partial_fit(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train one epoch on some data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; see `weight_normalization`.

        Returns
        -------
        self : MLPRegressor
            The model.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.solver == "lm":
            squares.require_squares(self)

    def _minimise(self, data: Data, callback: Callable[[NDArray[Any]], None] | None) -> None:
        if self.solver != "lm":
            super()._minimise(data, callback)
            return
        found = squares.minimise(self._network, data, self._objective(), self, callback)
        self.n_iter_, self.loss_curve_, self.loss_ = len(found.losses), found.losses, found.loss
        if found.shortfall is not None:
            warn(found.shortfall, ConvergenceWarning)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, NDArray[Any]]:
        _check_numbers(y)
        return super()._checked(X, y, reset)

    def _watched(self) -> Any:
        # The loss, as in HistGradientBoostingRegressor, because R^2 falls while a high quantile is learned; for the
        # losses that scikit-learn's MLPRegressor has, what it watches.
        has_scikit_learns_loss = isinstance(self.loss, str) and self.loss in ("squared_error", "poisson")
        return "loss" if self.scoring is None and not has_scikit_learns_loss else self.scoring

    def _learn_targets(self, y: NDArray[Any], incremental: bool) -> None:
        warn_of_column(y)
        if self._loss_facts.targets == "non_negative" and y.min() < 0:
            raise ValueError(f"`y` must be at least 0 for loss={self.loss!r}; its smallest value is {y.min()}.")

    @property
    def _loss_facts(self) -> LossFacts:
        return facts_of_loss(self.loss if isinstance(self.loss, Loss) else NETWORK_LOSSES[self.loss])

    def _encoded(self, y: NDArray[Any], dtype: np.dtype) -> Targets:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(y.reshape(len(y), -1), dtype)
        if not all_finite(array):
            row = int(np.argmin(np.isfinite(array).all(axis=1)))
            raise ValueError(
                f"`y` must hold numbers that are finite in {dtype.name}, the type of all arithmetic; got {y[row]} in "
                f"row {row}. Scale the targets, set dtype='float64', or leave such rows out."
            )
        return Targets(array, None)

    def _count_outputs(self, targets: Targets) -> int:
        return 0 if targets.array is None else targets.array.shape[1]

    def _output_settings(self) -> dict[str, Any]:
        default = (*self._loss_facts.matching, "identity")[0]
        output = default if self.output_activation is None else self.output_activation
        parameter = {"huber": self.huber_slope, "quantile": self.quantile}
        return {
            "out_activation": output.name if isinstance(output, Activation) else output,
            "output": NETWORK_NAMES.get(output, output) if isinstance(output, str) else output,
            "loss": self.loss if isinstance(self.loss, Loss) else NETWORK_LOSSES[self.loss],
            "loss_parameter": None if isinstance(self.loss, Loss) else parameter.get(self.loss),
        }

    def _objective(self, with_penalties: bool = True) -> Objective:
        penalties = (self.alpha, self.l1_penalty) if with_penalties else (0.0, 0.0)
        is_mean = isinstance(self.loss, str) and self.loss == "squared_error"
        factor = 1.0 / self.n_outputs_ if is_mean else 1.0
        code = reported_code(self._network.loss, self._network.activations[-1][0][0])
        return Objective(code, self._network.loss_parameter or 0.0, factor, *penalties)

    # --- predictions --------------------------------------------------------------------------------------------------

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted values.
        """
        out = self._outputs(X)
        return out.ravel() if out.shape[1] == 1 else out

    if TYPE_CHECKING:  # scikit-learn's has no types

        def score(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
            """Return the coefficient of determination."""

    def _decoded_targets(self, data: Data) -> NDArray[Any]:
        """Return targets as `predict` returns them."""
        array = data.targets.array
        assert array is not None
        return array.ravel() if array.shape[1] == 1 else array

    def _score_of_outputs(self, out: NDArray[Any], data: Data) -> float:
        """Return the coefficient of determination of outputs."""
        with np.errstate(over="ignore", invalid="ignore"):  # errors whose squares are infinite: the score is -inf
            return float(r2_score(data.targets.array, out, sample_weight=data.sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools must know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _check_numbers(y: Any) -> None:
    """Refuse targets that are dates, durations or texts, whose numbers would depend on their unit or spelling."""
    try:
        array = np.asarray(y)
    except ValueError:  # rows of different lengths, as scikit-learn says
        return
    found, is_time = f"dtype {array.dtype}", array.dtype.kind in "mM"
    if array.dtype.kind == "O":  # scikit-learn converts objects to numbers, whether they are numbers, texts or times
        times = [type(value).__name__ for value in array.flat if isinstance(value, _TIMES)]
        found, is_time = f"a {times[0]}" if times else "", bool(times)
    if is_time or array.dtype.kind in "UST":
        cure = "Choose a unit, as by (y - origin) / np.timedelta64(1, 'D')" if is_time else "Write y.astype(float)"
        raise TypeError(f"`y` must hold real numbers; got {found}. {cure}.")
