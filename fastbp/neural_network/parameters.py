"""The estimators' parameters: which values are allowed, and what they mean."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from fastbp.functions.activations import OF_ONE_Z
from fastbp.functions.names import LossName, same_elsewhere
from fastbp.functions.own import Activation, Loss
from fastbp.model.initializers import names as initializer_names
from fastbp.neural_network.sklearn_private import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from fastbp.training.schedules import Schedule
from fastbp.validation.arrays import DTYPES
from fastbp.validation.numbers import network_dtype

STOCHASTIC_SOLVERS = ("sgd", "adam")
# scikit-learn's names of activations and losses -> fastbp's; the others are the same
NETWORK_NAMES = {"logistic": "sigmoid"}
NETWORK_LOSSES: dict[str, LossName] = {
    "squared_error": "quadratic",
    "poisson": "poisson",
    "absolute_error": "absolute",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "quantile": "quantile",
}


class _FloatTypes(StrOptions):
    """float32 and float64 in all the ways in which NumPy takes them, as `Network` does."""

    def __init__(self) -> None:
        super().__init__(set(DTYPES))

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is one of the two."""
        try:
            network_dtype(val)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return "'float32' or 'float64' (as a name, a NumPy type or a dtype)"


_ACTIVATIONS = StrOptions({"logistic", *OF_ONE_Z} - {"sigmoid"})
_AT_LEAST_0 = Interval(Real, 0, None, closed="left")
_ABOVE_0 = Interval(Real, 0, None, closed="neither")
_SHARE = Interval(Real, 0, 1, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    # scikit-learn's
    "hidden_layer_sizes": ["array-like", _COUNT],
    "activation": [_ACTIVATIONS, list, tuple, Activation],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [_AT_LEAST_0],
    "batch_size": [StrOptions({"auto"}), _COUNT],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule],
    "learning_rate_init": [_ABOVE_0],
    "power_t": [_AT_LEAST_0],
    "max_iter": [_COUNT],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_AT_LEAST_0],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [_SHARE],
    "beta_1": [_SHARE],
    "beta_2": [_SHARE],
    "epsilon": [_ABOVE_0],
    "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
    "max_fun": [_COUNT],
    # fastbp's
    "dtype": [_FloatTypes(), None],
    "initializer": [StrOptions({"auto", *initializer_names()})],
    "dropout": [_SHARE, list, tuple],
    "l1_penalty": [_AT_LEAST_0],
    "clip_norm": [_ABOVE_0, None],
    "scoring": [str, callable, None],
    "warm_start_optimizer": ["boolean"],
    "weight_normalization": [StrOptions({"auto", "batch", "data"})],
    "n_threads": [_COUNT, None],
    "progress": ["boolean"],
}
CLASSIFIER_CONSTRAINTS: dict[str, list[Any]] = {
    **CONSTRAINTS,
    "class_weight": [StrOptions({"balanced"}), dict, None],
}
REGRESSOR_CONSTRAINTS: dict[str, list[Any]] = {
    **CONSTRAINTS,
    "solver": [StrOptions({"lbfgs", "sgd", "adam", "lm"})],
    "loss": [StrOptions(set(NETWORK_LOSSES)), Loss],
    "output_activation": [_ACTIVATIONS, Activation, None],
    "quantile": [Interval(Real, 0, 1, closed="neither")],
    "huber_slope": [_ABOVE_0],
}

_SCIKIT_LEARNS = """\
hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
    Number of neurons of each hidden layer.
activation : str, fastbp.Activation or list, default='relu'
    Activation of the hidden layers: 'identity', 'logistic', 'tanh', 'relu', and beyond scikit-learn 'leaky_relu',
    'elu', 'softplus', 'gelu', 'silu', 'sine', 'exp' or a function of your own; or a list with one for each layer.
solver : {solvers}, default='adam'
    'lbfgs' is SciPy's L-BFGS-B on the whole data set; 'sgd' and 'adam' take a step for each mini-batch.{lm}
alpha : float, default=0.0001
    L2 penalty: ``alpha / 2 * sum(W**2)``, divided by the number of rows (or the sum of their weights) of each
    mini-batch, is added to its loss.
batch_size : int, default='auto'
    Rows of a mini-batch; 'auto' is ``min(200, n_samples)``.  Only for 'sgd' and 'adam'.
learning_rate : {'constant', 'invscaling', 'adaptive'} or fastbp.Schedule, default='constant'
    How 'sgd' changes its learning rate: not at all; ``learning_rate_init / (t_ + 1)**power_t``, epoch by epoch;
    divided by 5 whenever training would otherwise stop.  A schedule such as ``fastbp.Cosine(0.01)`` sets the rate of
    every step, for 'sgd' and 'adam', in place of `learning_rate_init`.  Each `fit` goes through it from its step 0;
    all calls of `partial_fit` together go through one of `max_iter` epochs, and keep its final rate after them.
learning_rate_init : float, default=0.001
    Learning rate per step at the beginning; for 'sgd' and 'adam'.
power_t : float, default=0.5
    Exponent of 'invscaling'.
max_iter : int, default=200
    Largest number of epochs; for 'lbfgs'{and lm} of iterations.
shuffle : bool, default=True
    Whether each epoch takes the rows in a new random order.
random_state : int, RandomState instance, default=None
    Source of the initial parameters, the validation split and the order of the rows, in this sequence, as in
    scikit-learn: the same seed gives the same numbers.
tol : float, default=1e-4
    Least improvement that counts; for 'lbfgs' the largest element of the gradient at which it stops{tol}.
verbose : bool, default=False
    Whether to print a line for each epoch.
warm_start : bool, default=False
    Whether `fit` goes on from the parameters of the last fit.
momentum : float, default=0.9
    Momentum of 'sgd', between 0 and 1.
nesterovs_momentum : bool, default=True
    Whether the momentum is Nesterov's.
early_stopping : bool, default=False
    Whether to set rows aside, or to use the validation data of `fit`, and to stop when the score on them does not
    improve; the model ends with the parameters of its best score.  A warm fit with validation data of your own counts
    its first parameters among them; with rows set aside it has, as scikit-learn's, to beat the fits before, and ends
    with its last parameters if it does not.
validation_fraction : float, default=0.1
    Share of the rows that early stopping sets aside.
beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
    Constants of 'adam'.
n_iter_no_change : int, default=10
    Number of epochs without improvement that are allowed.
max_fun : int, default=15000
    Largest number of evaluations of 'lbfgs'."""

_FASTBPS = """\
dtype : {'float32', 'float64'}, NumPy type or dtype, default=None
    Type of all arithmetic; data of the other type are converted once.  None takes the type of X, and float64 for
    'lbfgs'.  Most of what the kernels do is twice as fast in float32.
initializer : str, default='auto'
    Initial parameters: 'auto' is scikit-learn's uniform distribution of Glorot and Bengio, biases included; the other
    names are those of ``fastbp.Network``, such as 'he_normal'.
dropout : float or list of float, default=0.0
    Share of each hidden layer's neurons that a training step leaves out; for 'sgd' and 'adam'.
l1_penalty : float, default=0.0
    L1 penalty: ``l1_penalty * sum(abs(W))``, divided as `alpha` is.
clip_norm : float, default=None
    Largest Euclidean norm of a step's gradient; a longer one is scaled down to it.  For 'sgd' and 'adam'.
scoring : str or callable, default=None
    What early stopping watches: 'loss' the validation loss, or a scorer as in
    ``sklearn.model_selection.cross_val_score``, a name or ``scorer(estimator, X, y)``, which is passed
    ``sample_weight=`` if there are weights and it takes them.  None is what scikit-learn watches, the accuracy and R^2;
    for the regression losses that scikit-learn does not have, it is the validation loss.
warm_start_optimizer : bool, default=False
    Whether a warm start also goes on with the optimizer's moments, number of steps and learning rate; a
    schedule begins anew.
weight_normalization : {'auto', 'batch', 'data'}, default='auto'
    What the weighted sum of a mini-batch's gradients is divided by, for 'sgd' and 'adam'.  'data' is the mini-batch's
    number of rows times the mean weight of all rows, so that on average a step follows the gradient of the weighted
    loss, whatever the size of the mini-batches; in `partial_fit`, which does not see all rows, the number of rows
    alone.  'batch' is the sum of the mini-batch's own weights, as in scikit-learn: in small mini-batches, which seldom
    hold more than one row of a rare heavy kind, the weights then lose their effect, and with ``batch_size=1`` they have
    none.  'auto' is {auto}.
n_threads : int, default=None
    Threads to use; None for all that the process may use.  The results do not depend on it, to the last bit.
progress : bool, default=False
    Whether to show a progress bar on standard error, where that is a terminal or a notebook."""

_LM = """
    'lm', which scikit-learn does not have, is `fastbp.LevenbergMarquardt` on the whole data set: for the squared error
    and up to some thousand parameters."""

_ATTRIBUTES = """\
coefs_, intercepts_ : list of ndarray
    Weights (fan_in, fan_out) and biases (fan_out,) of each layer.
loss_ : float
    Loss of the last epoch: the mean over its mini-batches, each before its step, with the L2 penalty.
loss_curve_ : list of float
    The loss of each epoch{curve}; not for 'lbfgs'.
best_loss_ : float or None
    The smallest of them; None with early stopping.
validation_scores_ : list of float or None
    With early stopping, the score of each epoch; where the validation loss is watched, minus that loss.
best_validation_score_ : float or None
    The largest of them; a warm fit with validation data of your own begins with that of its first parameters.
validation_loss_curve_ : list of float or None
    With validation data in `fit`, their loss after each epoch, without penalties; NaN where it is not finite.
n_iter_ : int
    Epochs or iterations of the last fit.
t_ : int
    Training samples seen.
n_layers_, n_outputs_ : int
    Number of layers, inputs and outputs included, and of output neurons.
out_activation_ : str
    Activation of the output layer.
n_features_in_ : int
    Number of features.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the features, if X had them.
network_ : fastbp.Network
    The network inside."""


def check_parameters(estimator: Any) -> None:
    """Raise scikit-learn's error for a parameter that is not allowed, with the name that is meant where it is known."""
    parameters = estimator.get_params(deep=False)
    try:
        validate_parameter_constraints(
            estimator._parameter_constraints, parameters, caller_name=type(estimator).__name__
        )
    except InvalidParameterError as error:
        raise InvalidParameterError(f"{error}{_hint(estimator, str(error))}") from None


def _hint(estimator: Any, message: str) -> str:
    """Return the end of an error about a parameter: fastbp's name for a name that other libraries use."""
    for name, constraints in estimator._parameter_constraints.items():
        value = getattr(estimator, name)
        if isinstance(value, str) and message.startswith(f"The {name!r} parameter of "):
            options = [option for rule in constraints if isinstance(rule, StrOptions) for option in rule.options]
            if value == "lm":
                return " 'lm' needs the squared error of MLPRegressor; use 'lbfgs'."
            close = same_elsewhere(value, tuple(sorted(options)))
            return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return ""


_T = TypeVar("_T", bound=type)


def documented(cls: _T) -> _T:
    """Put the texts that both estimators share into a class's docstring."""
    text = cls.__doc__ or ""
    is_classifier = "class_weight : " in text
    auto = "'data' with `class_weight`, and 'batch' without" if is_classifier else "'batch'"
    for place, shared in (
        ("{scikit-learn's}", _SCIKIT_LEARNS),
        ("{fastbp's}", _FASTBPS),
        ("{attributes}", _ATTRIBUTES),
        ("{auto}", auto),
        ("{solvers}", "{'lbfgs', 'sgd', 'adam'}" if is_classifier else "{'lbfgs', 'sgd', 'adam', 'lm'}"),
        ("{lm}", "" if is_classifier else _LM),
        ("{and lm}", "" if is_classifier else " and 'lm'"),
        ("{tol}", "" if is_classifier else ", for 'lm' the norm of the gradient"),
        ("{curve}", "" if is_classifier else ", or after each iteration of 'lm'"),
    ):
        text = text.replace(place, shared.replace("\n", "\n    "))
    cls.__doc__ = text
    return cls
