"""scikit-learn's decorators of `fit` and `partial_fit`; they have no types, but here the methods keep theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.utils.metaestimators import available_if

from fastbp.neural_network.callbacks import with_callbacks
from fastbp.neural_network.sklearn_private import fit_context
from fastbp.system.alone import alone

_Method = TypeVar("_Method", bound=Callable[..., Any])


def fit_method(method: _Method) -> _Method:
    """Have the parameters checked before a fit, and its callbacks set up and torn down; one fit at a time."""
    decorated: _Method = fit_context(prefer_skip_nested_validation=True)(with_callbacks(method))

    @functools.wraps(decorated)
    def only(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        return alone(estimator, method.__name__, functools.partial(decorated, estimator, *args, **kwargs))

    return cast("_Method", only)


def partial_fit_method(method: _Method) -> _Method:
    """Do the same, and let the method exist for the stochastic solvers only."""
    decorated: _Method = available_if(lambda estimator: estimator._check_solver())(fit_method(method))
    return decorated
