"""What the two ensembles of networks share: the same network trained several times."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.engine.threads import thread_count
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.gradients import SPARSE_FORMATS
from fastbp.neural_network.parameters import check_parameters
from fastbp.neural_network.sklearn_private import Interval, check_sample_weight, fit_context
from fastbp.neural_network.together import Lessons, SideBySide
from fastbp.neural_network.types import Estimator, RandomState
from fastbp.system.alone import alone
from fastbp.validation.matrix_like import MatrixLike

_COUNT = Interval(Integral, 1, None, closed="left")
_MOST_SEED = np.iinfo(np.int32).max  # as scikit-learn draws seeds

_PARAMETERS = """\
estimator : {kind}, default=None
    The network and how it is trained, of which every member is a copy with a `random_state` of its own; None is
    ``{kind}()``.  In a search its parameters are ``estimator__alpha`` and so on.
n_estimators : int, default=10
    How many members there are.
bootstrap : bool, default=False
    Whether each member is trained on as many rows drawn with replacement, or on all of them.  Members that see the
    same rows differ by their initial parameters and the order of the rows, which for networks is often enough, and is
    what Lakshminarayanan et al. (2017) found to do better.
random_state : int, RandomState instance, default=None
    Source of the members' seeds and rows: the same seed gives the same numbers.
n_threads : int, default=None
    Threads to use, each for a member at a time; None for all that the process may use.  The results do not depend on
    it, to the last bit.  The members' own `n_threads` counts where they cannot be trained side by side: with early
    stopping, 'lbfgs' or 'lm', `verbose` or `progress`, and functions of your own."""

_ATTRIBUTES = """\
estimators_ : list of {kind}
    The members; each has the bits of its own ``fit``, on ``estimators_samples_[i]``, with its own `random_state`.
estimators_samples_ : list of ndarray of int64
    The rows that each member was trained on.
n_features_in_ : int
    Number of features.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the features, if X had them."""


_Class = TypeVar("_Class", bound="type[Ensemble]")


def documented(cls: _Class) -> _Class:
    """Put the texts that both ensembles share into a class's docstring."""
    kind, text = cls._kind.__name__, cls.__doc__ or ""
    for place, shared in (("{parameters}", _PARAMETERS), ("{attributes}", _ATTRIBUTES)):
        text = text.replace(place, shared.replace("{kind}", kind).replace("\n", "\n    "))
    cls.__doc__ = text
    return cls


class Ensemble(Estimator, MetaEstimatorMixin, BaseEstimator, ABC):
    """What the two ensembles share: their fit."""

    _kind: type[BaseMLP]

    n_estimators: int
    bootstrap: bool
    random_state: RandomState
    n_threads: int | None
    estimators_samples_: list[NDArray[np.int64]]

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        bootstrap: bool = False,
        random_state: RandomState = None,
        n_threads: int | None = None,
    ) -> None:
        self.estimator, self.n_estimators, self.bootstrap = estimator, n_estimators, bootstrap
        self.random_state, self.n_threads = random_state, n_threads

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 # never changed, as scikit-learn's
        "estimator": [BaseMLP, None],
        "n_estimators": [_COUNT],
        "bootstrap": ["boolean"],
        "random_state": ["random_state"],
        "n_threads": [_COUNT, None],
    }

    def _validate_params(self) -> None:
        check_parameters(self)
        if not isinstance(self.estimator, self._kind | None):
            raise TypeError(
                f"`estimator` must be of {self._kind.__name__}, whose predictions {type(self).__name__} puts together; "
                f"got {type(self.estimator).__name__}. scikit-learn's Bagging takes any estimator."
            )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train the members, side by side.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, or class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, as the members' `fit` takes them; those of the rows that a member is trained on.

        Returns
        -------
        self : estimator
            The fitted ensemble.

        Raises
        ------
        FitDivergedError
            If the loss of a member becomes NaN or infinite; an ensemble that was fitted before is unchanged.
        """
        alone(self, "fit", functools.partial(self._fit, X, y, sample_weight))
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        template = self._kind() if self.estimator is None else self.estimator
        probe = clone(template)
        probe._validate_params()
        X, y = probe._checked(X, y, reset=True)
        probe._learn_targets(y, False)
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y  # of which it has warned
        weights = None if sample_weight is None else check_sample_weight(sample_weight, X)
        n_rows, rng = X.shape[0], check_random_state(self.random_state)
        seeds = rng.randint(_MOST_SEED, size=self.n_estimators)
        members = [clone(template).set_params(random_state=int(seed), warm_start=False) for seed in seeds]
        rows = [rng.randint(n_rows, size=n_rows) for _ in seeds] if self.bootstrap else [None] * len(seeds)
        self._train(members, rows, (X, y, weights))
        known = {name: value for name, value in vars(probe).items() if name in ("n_features_in_", "feature_names_in_")}
        self.__dict__.pop("feature_names_in_", None)
        self.__dict__.update(known)
        self.estimators_ = members
        self.estimators_samples_ = [np.arange(n_rows) if drawn is None else drawn for drawn in rows]
        self._keep(probe)

    def _train(self, members: list[Any], rows: list[Any], data: tuple[Any, ...]) -> None:
        """Train members on rows of valid data, None for all."""
        n_threads = thread_count(self.n_threads)
        lessons = Lessons(*data, n_fits=len(members), n_threads=n_threads)

        def prepare(number: int) -> Any:
            return lessons.fit_of(members[number], rows[number])

        with SideBySide(len(members), prepare, n_threads) as fits:
            for number, (member, drawn) in enumerate(zip(members, rows, strict=True)):
                if not fits.train(number):
                    X, y, weights = data if drawn is None else (None if part is None else part[drawn] for part in data)
                    member.fit(X, y, weights)

    @abstractmethod
    def _keep(self, probe: Any) -> None:
        """Keep what an estimator has learned of the targets."""

    def _members_of(self, X: Any) -> tuple[list[Any], Any]:
        """Return the members, and checked inputs."""
        check_is_fitted(self)
        members: list[Any] = self.estimators_
        return members, validate_data(
            self, X, accept_sparse=SPARSE_FORMATS, dtype=(np.float64, np.float32), reset=False
        )

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools must know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
