"""scikit-learn's private names: no other file imports them, and the estimators work without any of them.

scikit-learn may move, drop or change them in any version.  Each is tried when this is imported: where it is missing, or
does not do what it is needed for, the same is done here, with the same results and the same messages.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable
from numbers import Number, Real
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context, get_config
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from fastbp.neural_network import constraints

missing: list[str] = []  # what was not found, or did not pass its trial


def _theirs(trial: Callable[..., bool], *names: str) -> tuple[Any, ...] | None:
    """Return scikit-learn's private names, or None where one is missing or they fail a trial together."""
    absent = []
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            absent.append(name)
    if not absent:
        found = tuple(map(pkgutil.resolve_name, names))
        try:
            if trial(*found):
                return found
        except Exception:  # an argument that it does not take any more, say
            pass
    missing.extend(absent or names)
    return None


# ---- Validation of parameters --------------------------------------------------------------------------------------


def _checks(interval: Any, options: Any, str_options: Any, error: Any, validate: Any) -> bool:
    rules = {
        "x": [interval(Real, 0, None, closed="left"), options(Real, {np.inf}), None],
        "y": [str_options({"a"}), "array-like", "boolean", "verbose", "random_state", list, callable],
    }
    for right in ({"x": 1.0, "y": "a"}, {"x": None, "y": [1]}, {"x": np.inf, "y": True}):
        validate(rules, right, caller_name="fit")
    for wrong in ({"x": -1.0, "y": "a"}, {"x": 1.0, "y": "b"}):
        try:
            validate(rules, wrong, caller_name="fit")
        except error:
            continue
        return False
    return issubclass(error, ValueError) and str_options({"a"}).options == {"a"}


_RULES = "sklearn.utils._param_validation"
_NAMES = ("Interval", "Options", "StrOptions", "InvalidParameterError", "validate_parameter_constraints")
_found: Any = _theirs(_checks, *[f"{_RULES}:{name}" for name in _NAMES])
Interval: Any
Options: Any
StrOptions: Any
InvalidParameterError: Any
validate_parameter_constraints: Any
Interval, Options, StrOptions, InvalidParameterError, validate_parameter_constraints = _found or [
    getattr(constraints, name) for name in _NAMES
]


# ---- The frame of a fit --------------------------------------------------------------------------------------------


_Method = TypeVar("_Method", bound=Callable[..., Any])


class _FitContext(Protocol):
    def __call__(self, *, prefer_skip_nested_validation: bool) -> Callable[[_Method], _Method]: ...


def _decorates(fit_context: Any) -> bool:
    class Estimator:
        def _validate_params(self) -> None:
            self.is_valid = True

    def fit(estimator: Any) -> bool:
        return bool(estimator.is_valid and get_config()["skip_parameter_validation"])

    return bool(fit_context(prefer_skip_nested_validation=True)(fit)(Estimator()))


def _own_fit_context(*, prefer_skip_nested_validation: bool) -> Any:
    """Have parameters checked before a fit, unless the user says not to, and not those of functions that it calls."""

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        def fit(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            skips = get_config()["skip_parameter_validation"]
            if not skips and not (method.__name__ == "partial_fit" and _is_fitted(estimator)):
                estimator._validate_params()
            with config_context(skip_parameter_validation=prefer_skip_nested_validation or skips):
                return method(estimator, *args, **kwargs)

        return fit

    return decorate


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


fit_context: _FitContext
(fit_context,) = _theirs(_decorates, "sklearn.base:_fit_context") or (_own_fit_context,)


# ---- Arguments of a fit --------------------------------------------------------------------------------------------


def _weighs(check: Any) -> bool:
    weights = check([1, 2.0], np.zeros((2, 1)))
    return bool(weights.dtype == np.float64 and weights.tolist() == [1.0, 2.0])


def _own_check_sample_weight(sample_weight: Any, X: Any) -> NDArray[Any]:
    """Return the weights of the rows of X as an array of floats."""
    n_samples = X.shape[0]
    if isinstance(sample_weight, Number):
        return np.full(n_samples, sample_weight, dtype=np.float64)
    weights: NDArray[Any] = check_array(
        sample_weight,
        accept_sparse=False,
        ensure_2d=False,
        dtype=[np.float64, np.float32],
        order="C",
        input_name="sample_weight",
    )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Expected either a scalar value or "
            f"a 1D array of length {n_samples}."
        )
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}!")
    return weights


(check_sample_weight,) = _theirs(_weighs, "sklearn.utils.validation:_check_sample_weight") or (
    _own_check_sample_weight,
)


def _knows_classes(check: Any) -> bool:
    first = SimpleNamespace()
    return bool(check(first, [1, 0]) and first.classes_.tolist() == [0, 1] and not check(first, None))


def _own_check_partial_fit_first_call(estimator: Any, classes: Any = None) -> bool:
    """Whether it is the first call of `partial_fit`, which sets `classes_`; a later one may not change them."""
    known = getattr(estimator, "classes_", None)
    if classes is None:
        if known is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return False
    given = unique_labels(classes)
    if known is not None and not np.array_equal(known, given):
        raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")
    if known is None:
        estimator.classes_ = given
    return known is None


(check_partial_fit_first_call,) = _theirs(_knows_classes, "sklearn.utils.multiclass:_check_partial_fit_first_call") or (
    _own_check_partial_fit_first_call,
)


# ---- The parameters of a class -------------------------------------------------------------------------------------


def parameter_names(kind: Any) -> list[str]:
    """Return the names of an estimator's parameters: as its class says, or else the arguments of its constructor."""
    theirs = getattr(kind, "_get_param_names", None)
    if theirs is not None:
        return list(theirs())
    arguments = inspect.signature(kind).parameters.values()
    return sorted(argument.name for argument in arguments if argument.kind is not argument.VAR_KEYWORD)
