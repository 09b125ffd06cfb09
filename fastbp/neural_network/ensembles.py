"""Ensembles of networks: the same network trained several times, and how much the members differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin

from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.ensemble import Ensemble, documented
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.types import RandomState
from fastbp.validation.matrix_like import MatrixLike


@documented
class MLPEnsembleRegressor(RegressorMixin, Ensemble):
    """Several `MLPRegressor`, whose mean is the prediction and whose spread says how sure it is.

    The members are trained side by side, one thread for each.

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
    >>> net = MLPRegressor(hidden_layer_sizes=(50,), learning_rate_init=0.02, max_iter=500, tol=1e-3)
    >>> ensemble = MLPEnsembleRegressor(net, n_estimators=5, random_state=0).fit(X, np.sin(3 * X.ravel()))
    >>> mean, std = ensemble.predict([[0.0], [4.0]], return_std=True)
    >>> bool(std[0] < 0.1 < std[1])  # the second is far from all data
    True
    >>> low, high = ensemble.predict_quantiles([[0.0], [4.0]], [0.1, 0.9])
    >>> bool((low <= high).all())
    True
    """

    _kind = MLPRegressor
    estimator: MLPRegressor | None
    estimators_: list[MLPRegressor]

    if TYPE_CHECKING:  # as the base's, with the estimator's type

        def __init__(
            self,
            estimator: MLPRegressor | None = None,
            n_estimators: int = 10,
            *,
            bootstrap: bool = False,
            random_state: RandomState = None,
            n_threads: int | None = None,
        ) -> None: ...
        def score(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
            """Return the coefficient of determination."""

    def _keep(self, probe: Any) -> None:
        pass

    def predict_members(self, X: MatrixLike) -> NDArray[Any]:
        """Return the prediction of each member.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_estimators, n_samples) or (n_estimators, n_samples, n_outputs)
            The predicted values.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.neural_network import MLPEnsembleRegressor, MLPRegressor
        >>> X = np.linspace(-1, 1, 60).reshape(-1, 1)
        >>> net = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs")
        >>> ensemble = MLPEnsembleRegressor(net, n_estimators=4, random_state=0).fit(X, np.sin(3 * X.ravel()))
        >>> ensemble.predict_members([[0.5], [0.7]]).shape
        (4, 2)
        """
        members, valid = self._members_of(X)
        return np.stack([member.predict(valid) for member in members])

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[False] = False) -> NDArray[Any]: ...

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def predict(self, X: MatrixLike, return_std: bool) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...

    def predict(self, X: MatrixLike, return_std: bool = False) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
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

    def predict_quantiles(self, X: MatrixLike, quantiles: ArrayLike = (0.05, 0.5, 0.95)) -> NDArray[Any]:
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

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.neural_network import MLPEnsembleRegressor, MLPRegressor
        >>> X = np.linspace(-1, 1, 60).reshape(-1, 1)
        >>> net = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs")
        >>> ensemble = MLPEnsembleRegressor(net, n_estimators=4, random_state=0).fit(X, np.sin(3 * X.ravel()))
        >>> low, high = ensemble.predict_quantiles([[0.5], [3.0]], [0.1, 0.9])
        >>> bool((low <= high).all())
        True
        """
        try:
            wanted = np.asarray(quantiles, np.float64)
        except (TypeError, ValueError):
            wanted = np.array(np.nan)
        if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(
                f"`quantiles` must be a list of numbers from 0 to 1, shares of the members; got {quantiles!r}."
            )
        return np.asarray(np.quantile(self.predict_members(X), wanted, axis=0))


@documented
class MLPEnsembleClassifier(ClassifierMixin, Ensemble):
    """Several `MLPClassifier`, whose mean probabilities are the prediction and whose spread says how sure they are.

    The members are trained side by side, one thread for each.

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
    estimator: MLPClassifier | None
    estimators_: list[MLPClassifier]
    classes_: NDArray[Any]

    if TYPE_CHECKING:  # as the base's, with the estimator's type

        def __init__(
            self,
            estimator: MLPClassifier | None = None,
            n_estimators: int = 10,
            *,
            bootstrap: bool = False,
            random_state: RandomState = None,
            n_threads: int | None = None,
        ) -> None: ...
        def score(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
            """Return the accuracy."""

    def _keep(self, probe: Any) -> None:
        self.classes_ = probe.classes_
        self._decoder = probe  # unfitted, but for the classes

    def predict_proba_members(self, X: MatrixLike) -> NDArray[Any]:
        """Return the probabilities that each member estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_estimators, n_samples, n_classes)
            The probability of each class, in the order of `classes_`.

        Examples
        --------
        >>> from fastbp.neural_network import MLPClassifier, MLPEnsembleClassifier
        >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]
        >>> ensemble = MLPEnsembleClassifier(MLPClassifier(solver="lbfgs"), n_estimators=4, random_state=0).fit(X, y)
        >>> ensemble.predict_proba_members([[0.5], [2.5], [9.0]]).shape
        (4, 3, 2)
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

    @overload
    def predict_proba(self, X: MatrixLike, return_std: Literal[False] = False) -> NDArray[Any]: ...

    @overload
    def predict_proba(self, X: MatrixLike, return_std: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def predict_proba(self, X: MatrixLike, return_std: bool) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...

    def predict_proba(
        self, X: MatrixLike, return_std: bool = False
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
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

    def predict_log_proba(self, X: MatrixLike) -> NDArray[Any]:
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

    def predict(self, X: MatrixLike) -> NDArray[Any]:
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
