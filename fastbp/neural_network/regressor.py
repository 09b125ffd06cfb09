"""`MLPRegressor`: the multi-layer perceptron for numbers, with scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from fastbp.functions import Activation, Loss
from fastbp.kernels import tables as t
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.callbacks import with_callbacks
from fastbp.neural_network.epochs import Data, Objective
from fastbp.neural_network.parameters import NETWORK_LOSSES, NETWORK_NAMES, REGRESSOR_CONSTRAINTS, documented
from fastbp.validation import Targets


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor: scikit-learn's, many times faster.

    Parameters, attributes, methods, messages and, with the same `random_state`, all numbers are those of
    ``sklearn.neural_network.MLPRegressor``.  What scikit-learn does not have are the losses beyond 'squared_error' and
    'poisson', the parameters from `output_activation` on, `eval_set`, `loss_gradient`, `input_gradient` and `network_`;
    their defaults change nothing.

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
    gradient of their sum; so does this class.  All other losses are sums over the outputs in both.  A mini-batch whose
    sample weights are all 0 is passed over, where scikit-learn raises ZeroDivisionError.

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
    _y_rules = {"y_numeric": True}  # noqa: RUF012 # see the base

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
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
        output_activation: Any = None,
        quantile: float = 0.5,
        huber_slope: float = 1.0,
        dtype: Any = None,
        initializer: str = "auto",
        dropout: Any = 0.0,
        l1_penalty: float = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        warm_start_optimizer: bool = False,
        weight_normalization: str = "auto",
        n_threads: int | None = None,
        progress: bool = False,
    ) -> None:
        self._store(locals())

    # --- fit ----------------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, eval_set: Any = None) -> Any:
        """Fit the model to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; see `weight_normalization`.
        eval_set : tuple, default=None
            ``(X_val, y_val)`` or ``(X_val, y_val, sample_weight_val)``: validation data whose loss after each epoch is
            `validation_loss_curve_`.  Early stopping watches them instead of setting rows aside.

        Returns
        -------
        self : MLPRegressor
            The fitted model.

        Raises
        ------
        FitDivergedError
            If the loss becomes NaN or infinite; the model keeps finite weights.
        """
        return self._fit(X, y, sample_weight, incremental=False, eval_set=eval_set)

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    @with_callbacks
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
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

    def _learn_targets(self, y: NDArray[Any], incremental: bool) -> None:
        if y.ndim == 2 and y.shape[1] == 1:
            column_or_1d(y, warn=True)  # only for its warning
        if self._is_poisson and y.min() < 0:
            raise ValueError(f"`y` must be at least 0 for loss='poisson'; its smallest value is {y.min()}.")

    @property
    def _is_poisson(self) -> bool:
        return isinstance(self.loss, str) and self.loss == "poisson"

    def _encoded(self, y: NDArray[Any], dtype: np.dtype) -> Targets:
        return Targets(np.ascontiguousarray(y.reshape(len(y), -1), dtype), None)

    def _count_outputs(self, targets: Targets) -> int:
        return 0 if targets.array is None else targets.array.shape[1]

    def _output_settings(self) -> dict[str, Any]:
        default = "exp" if self._is_poisson else "identity"
        output = default if self.output_activation is None else self.output_activation
        parameter = {"huber": self.huber_slope, "quantile": self.quantile}
        is_own = isinstance(self.loss, Loss)
        return {
            "out_activation": output.name if isinstance(output, Activation) else output,
            "output": NETWORK_NAMES.get(output, output) if isinstance(output, str) else output,
            "loss": self.loss if is_own else NETWORK_LOSSES[self.loss],
            "loss_parameter": None if is_own else parameter.get(self.loss),
        }

    def _objective(self, with_penalties: bool = True) -> Objective:
        penalties = (self.alpha, self.l1_penalty) if with_penalties else (0.0, 0.0)
        is_mean = isinstance(self.loss, str) and self.loss == "squared_error"
        factor = 1.0 / self.n_outputs_ if is_mean else 1.0
        code = t.POISSON_DEVIANCE if self._is_poisson and self.out_activation_ == "exp" else None
        return Objective(code, self._network.loss_parameter or 0.0, factor, *penalties)

    # --- predictions --------------------------------------------------------------------------------------------------

    def predict(self, X: ArrayLike) -> NDArray[Any]:
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
