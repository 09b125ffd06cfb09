"""Types of the estimators: names of what they take, their parameters as keywords, and the attributes of fitted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.functions.names import InitializerName
from fastbp.functions.own import Activation
from fastbp.training.schedules import Schedule
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.numbers import FloatDType

HiddenName = Literal[
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "sine", "exp"
]
Hidden = HiddenName | Activation | Sequence[HiddenName | Activation]
Sizes = int | Sequence[int] | NDArray[np.integer[Any]]
ClassifierSolver = Literal["lbfgs", "sgd", "adam"]
RegressorSolver = ClassifierSolver | Literal["lm"]
RegressorLossName = Literal["squared_error", "poisson", "absolute_error", "huber", "log_cosh", "quantile"]
BatchSize = int | Literal["auto"]
LearningRate = Literal["constant", "invscaling", "adaptive"] | Schedule
DType = FloatDType | None
Dropout = float | Sequence[float]
RandomState = int | np.integer[Any] | np.random.RandomState | None
ClassWeight = Mapping[Any, float] | Literal["balanced"] | None
EstimatorInitializer = InitializerName | Literal["auto"]
Scoring = str | Callable[[Any, Any, Any], float] | None
WeightNormalization = Literal["auto", "batch", "data"]
_Set = tuple[MatrixLike, Any] | tuple[MatrixLike, Any, ArrayLike]
Grid = Mapping[str, Sequence[Any] | NDArray[Any]]
EvalSet = _Set | list[_Set] | None


class _Shared(TypedDict, total=False):
    """Keyword arguments of all constructors; a test compares the names and types with theirs."""

    alpha: float
    batch_size: BatchSize
    learning_rate: LearningRate
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: RandomState
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dtype: DType
    initializer: EstimatorInitializer
    dropout: Dropout
    l1_penalty: float
    clip_norm: float | None
    scoring: Scoring
    warm_start_optimizer: bool
    weight_normalization: WeightNormalization
    n_threads: int | None
    progress: bool


class ClassifierKeywords(_Shared, total=False):
    """Keyword arguments of `MLPClassifier`."""

    solver: ClassifierSolver
    class_weight: ClassWeight


class RegressorKeywords(_Shared, total=False):
    """Keyword arguments of `MLPRegressor`."""

    solver: RegressorSolver
    output_activation: HiddenName | Activation | None
    quantile: float
    huber_slope: float


class Estimator:
    """What every estimator has of scikit-learn's, whose methods have no types."""

    n_features_in_: int
    feature_names_in_: NDArray[Any]

    if TYPE_CHECKING:

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """Return the parameters, with `deep` also those of estimators among them."""

        def set_params(self, **params: Any) -> Self:
            """Set parameters."""


class Parameters(Estimator):
    """The parameters that all constructors take."""

    hidden_layer_sizes: Sizes
    activation: Hidden
    alpha: float
    batch_size: BatchSize
    learning_rate: LearningRate
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: RandomState
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dtype: DType
    initializer: EstimatorInitializer
    dropout: Dropout
    l1_penalty: float
    clip_norm: float | None
    scoring: Scoring
    warm_start_optimizer: bool
    weight_normalization: WeightNormalization
    n_threads: int | None
    progress: bool


class Fitted(Parameters):
    """The types of the attributes of a fitted estimator; their meanings stand in `parameters`."""

    coefs_: list[NDArray[Any]]
    intercepts_: list[NDArray[Any]]
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    validation_loss_curve_: list[float] | None
    n_iter_: int
    t_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str


class Search(Estimator):
    """What a search over a grid has of scikit-learn's."""

    estimator: Any
    param_grid: Grid | Sequence[Grid]
    scoring: Any
    n_jobs: int | None
    refit: bool | str | Callable[[dict[str, Any]], int]
    cv: Any
    verbose: int
    pre_dispatch: int | str
    error_score: float | Literal["raise"]
    return_train_score: bool

    classes_: NDArray[Any]
    cv_results_: dict[str, Any]
    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    scorer_: Any
    n_splits_: int
    refit_time_: float

    if TYPE_CHECKING:  # scikit-learn's have no types

        def __init__(
            self,
            estimator: Any,
            param_grid: Grid | Sequence[Grid],
            *,
            scoring: Any = None,
            n_jobs: int | None = None,
            refit: bool | str | Callable[[dict[str, Any]], int] = True,
            cv: Any = None,
            verbose: int = 0,
            pre_dispatch: int | str = "2*n_jobs",
            error_score: float | Literal["raise"] = np.nan,
            return_train_score: bool = False,
        ) -> None: ...

        def predict(self, X: MatrixLike) -> NDArray[Any]:
            """Return what the best estimator predicts."""

        def predict_proba(self, X: MatrixLike) -> NDArray[Any]:
            """Return the probabilities that the best estimator estimates."""

        def predict_log_proba(self, X: MatrixLike) -> NDArray[Any]:
            """Return their logarithms."""

        def score(self, X: MatrixLike, y: Any = None, **params: Any) -> float:
            """Return the best estimator's score."""
