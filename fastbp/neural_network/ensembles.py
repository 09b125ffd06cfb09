"""Ensembles of networks: the same network trained several times, and how much the members differ."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.engine.threads import thread_count
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.gradients import SPARSE_FORMATS
from fastbp.neural_network.parameters import check_parameters
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.sklearn_private import Interval, check_sample_weight, fit_context
from fastbp.neural_network.together import Lessons, SideBySide
from fastbp.system.alone import alone

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
feature_names_in_ : ndarray of shape (n_features_in_,)
    Names of the features, if X had them."""


def _documented(cls: Any) -> Any:
    """Put the texts that both ensembles share into a class's docstring."""
    kind = cls._kind.__name__
    text = cls.__doc__
    for place, shared in (("{parameters}", _PARAMETERS), ("{attributes}", _ATTRIBUTES)):
        text = text.replace(place, shared.replace("{kind}", kind).replace("\n", "\n    "))
    cls.__doc__ = text
    return cls


class _Ensemble(MetaEstimatorMixin, BaseEstimator, ABC):
    """What the two ensembles share: their fit."""

    _kind: type[BaseMLP]

    estimators_: list[Any]
    estimators_samples_: list[NDArray[np.int64]]
    n_features_in_: int

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        bootstrap: bool = False,
        random_state: Any = None,
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

    @fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
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
        return self.estimators_, validate_data(
            self, X, accept_sparse=SPARSE_FORMATS, dtype=(np.float64, np.float32), reset=False
        )

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools must know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@_documented
class MLPEnsembleRegressor(RegressorMixin, _Ensemble):
    """Several `MLPRegressor`, whose mean is the prediction and whose spread says how sure it is.

    The members are trained side by side, one thread for each, several times as fast as one after the other.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MLPEnsembleClassifier : The same for classes.

    Notes
    -----
    The spread of the members is that of networks which fit the data equally well: small where there are data, large
    where there are none.  It does not hold the noise of the targets, so it is no interval for a new target.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles. NeurIPS 30.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.neural_network import MLPEnsembleRegressor, MLPRegressor
    >>> X = np.linspace(-1, 1, 60).reshape(-1, 1)
    >>> net = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", learning_rate_init=0.02, tol=0)
    >>> ensemble = MLPEnsembleRegressor(net, n_estimators=5, random_state=0).fit(X, np.sin(3 * X.ravel()))
    >>> mean, std = ensemble.predict([[0.0], [4.0]], return_std=True)
    >>> bool(std[0] < 0.1 < std[1])  # the second is far from all data
    True
    >>> low, high = ensemble.predict_quantiles([[0.0], [4.0]], [0.1, 0.9])
    >>> bool((low <= high).all())
    True
    """

    _kind = MLPRegressor

    def _keep(self, probe: Any) -> None:
        pass

    def predict_members(self, X: Any) -> NDArray[Any]:
        """Return the prediction of each member.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_estimators, n_samples) or (n_estimators, n_samples, n_outputs)
            The predicted values.
        """
        members, valid = self._members_of(X)
        return np.stack([member.predict(valid) for member in members])

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict targets: the mean over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        return_std : bool, default=False
            Whether to return how much the members differ, too.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted values.
        std : ndarray of the same shape
            The members' standard deviation; only with `return_std`.
        """
        each = self.predict_members(X)
        return (each.mean(axis=0), each.std(axis=0)) if return_std else each.mean(axis=0)

    def predict_quantiles(self, X: Any, quantiles: ArrayLike = (0.05, 0.5, 0.95)) -> NDArray[Any]:
        """Return quantiles of the members' predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        quantiles : array-like of float, default=(0.05, 0.5, 0.95)
            Which ones, in [0, 1]; between two members they are interpolated linearly.

        Returns
        -------
        ndarray of shape (n_quantiles, n_samples) or (n_quantiles, n_samples, n_outputs)
            Each quantile of each prediction.

        Raises
        ------
        ValueError
            If a quantile is not between 0 and 1.
        """
        wanted = np.asarray(quantiles, np.float64)
        if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(
                f"`quantiles` must be a list of numbers from 0 to 1, shares of the members; got {quantiles!r}."
            )
        return np.asarray(np.quantile(self.predict_members(X), wanted, axis=0))


@_documented
class MLPEnsembleClassifier(ClassifierMixin, _Ensemble):
    """Several `MLPClassifier`, whose mean probabilities are the prediction and whose spread says how sure they are.

    The members are trained side by side, one thread for each, several times as fast as one after the other.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    {attributes}

    See Also
    --------
    MLPEnsembleRegressor : The same for numbers.

    Notes
    -----
    A member of a bootstrap may have seen no row of a rare class; it gives that class the probability 0.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
    ensembles. NeurIPS 30.

    Examples
    --------
    >>> from fastbp.neural_network import MLPClassifier, MLPEnsembleClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(hidden_layer_sizes=(10,), learning_rate_init=0.02, max_iter=100, tol=0.01)
    >>> ensemble = MLPEnsembleClassifier(net, n_estimators=5, random_state=0).fit(X, y)
    >>> ensemble.score(X, y) > 0.9
    True
    >>> mean, std = ensemble.predict_proba(X, return_std=True)
    >>> mean.shape == std.shape == (150, 3)
    True
    """

    _kind = MLPClassifier
    classes_: NDArray[Any]

    def _keep(self, probe: Any) -> None:
        self.classes_ = probe.classes_
        self._decoder = probe  # unfitted, but for the classes

    def predict_proba_members(self, X: Any) -> NDArray[Any]:
        """Return the probabilities that each member estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_estimators, n_samples, n_classes)
            The probability of each class, in the order of `classes_`.
        """
        members, valid = self._members_of(X)
        return np.stack([self._among_all(member, member.predict_proba(valid)) for member in members])

    def _among_all(self, member: Any, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Return a member's probabilities of all classes."""
        if len(member.classes_) == len(self.classes_) > 1:
            return probabilities
        if len(member.classes_) == 1:  # nothing that it could have learned
            probabilities = np.ones((len(probabilities), 1), probabilities.dtype)
        every = np.zeros((len(probabilities), len(self.classes_)), probabilities.dtype)
        every[:, np.searchsorted(self.classes_, member.classes_)] = probabilities
        return every

    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Estimate probabilities: the mean over the members.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        return_std : bool, default=False
            Whether to return how much the members differ, too.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_classes)
            The probability of each class, in the order of `classes_`.
        std : ndarray of shape (n_samples, n_classes)
            The members' standard deviation; only with `return_std`.
        """
        each = self.predict_proba_members(X)
        return (each.mean(axis=0), each.std(axis=0)) if return_std else each.mean(axis=0)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of the probability of each class, in the order of `classes_`.
        """
        with np.errstate(divide="ignore"):  # a probability of 0 has the logarithm -inf
            return np.asarray(np.log(self.predict_proba(X)))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict class labels: those of the largest mean probability.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The labels, or 0 and 1 for each of several labels.
        """
        probabilities = self.predict_proba(X)
        is_multilabel = self._decoder._label_binarizer.y_type_.startswith("multilabel")
        if is_multilabel or len(self.classes_) != 2:
            return np.asarray(self._decoder._decoded(probabilities))
        return np.asarray(self._decoder._decoded(probabilities[:, 1:]))

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools must know."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
