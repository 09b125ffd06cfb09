"""`DaskMLPClassifier` and `DaskMLPRegressor`: the local classes, fitted on Dask's collections."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from dask.array import Array
from distributed import Client
from sklearn.utils.validation import check_is_fitted

from fastbp.dask.estimator_base import OnDask
from fastbp.functions.own import Loss
from fastbp.neural_network import types
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.held_out import given
from fastbp.neural_network.regressor import MLPRegressor


def with_parameters_of(local: type[BaseMLP]) -> Callable[[Any], Any]:
    """Give a constructor the parameters of a local class in front of its own, for scikit-learn and for readers."""

    def decorate(constructor: Any) -> Any:
        parameters = list(inspect.signature(local.__init__).parameters.values())
        own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in _DEFAULTS]
        constructor.__signature__ = inspect.Signature([*parameters, *own])
        return constructor

    return decorate


_DEFAULTS = (("client", None), ("average_every", None), ("persist", True))


class DaskMLPClassifier(OnDask, MLPClassifier):
    """`fastbp.neural_network.MLPClassifier` for rows in a Dask cluster.

    It has the parameters, the attributes and the stopping rules of the local class, and these parameters.

    Parameters
    ----------
    client : distributed.Client, optional
        The cluster; by default the current client's, or where there is none, one within this process that is closed
        after the fit.  Pickles and copies of the estimator do not have it.
    average_every : int, optional
        With mini-batches, after how many steps the partitions' parameters are averaged; by default after an epoch.
    persist : bool
        Whether the checked rows are kept on the workers; else they are made again once in each round.

    Notes
    -----
    The solvers 'adam' and 'sgd' take mini-batches of each partition and average, see `fastbp.dask.fit`; with a
    `batch_size` of at least all rows each step looks at all of them, and the result is the local class's to the order
    of summation, as with 'lbfgs'.  `early_stopping` sets a share of all rows aside, about the same of each partition,
    which `random_state` and the number of the partition choose, whatever the classes.  `n_threads`, scorers and
    callbacks of scikit-learn's, and ``class_weight='balanced'`` for several labels are refused; there is no
    `partial_fit`.  Data that are not persisted are computed twice before the first step, to see what there is and to
    check it, and with ``persist=False`` once more in each round.

    Predictions are Dask arrays, also of data frames, as in lightgbm.dask, and need no cluster: any scheduler of Dask's
    computes them.  `save` and `to_local` give the ordinary classifier.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastbp.dask import DaskMLPClassifier
    >>> X = da.from_array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.2], [1.0, 0.9]], chunks=(2, 2))
    >>> y = da.from_array([0, 1, 0, 1], chunks=2)
    >>> model = DaskMLPClassifier(hidden_layer_sizes=(5,), solver="lbfgs", random_state=1).fit(X, y)
    >>> model.predict(X).compute(), model.score(X, y)
    (array([0, 1, 0, 1]), 1.0)
    """

    _local = MLPClassifier
    _labels = True

    if TYPE_CHECKING:

        def __init__(
            self,
            hidden_layer_sizes: types.Sizes = (100,),
            activation: types.Hidden = "relu",
            *,
            client: Client | None = None,
            average_every: int | None = None,
            persist: bool = True,
            **parameters: Unpack[types.ClassifierKeywords],
        ) -> None: ...

        def to_local(self) -> MLPClassifier:
            """Return the ordinary estimator, with everything that was learned."""

    else:

        @with_parameters_of(MLPClassifier)
        def __init__(self, *values: Any, **named: Any) -> None:
            self._set_parameters(values, named)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Self:  # type: ignore[override]
        """Fit the model.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs; chunk sizes may be unknown, and partitions empty.
        y : array, data frame or series of Dask, shape (n_samples,) or (n_samples, n_labels)
            Class labels, which not every partition needs to have all of, in the partitions of X.
        sample_weight : array or series of Dask, shape (n_samples,), optional
            Weights of the rows.
        eval_set : tuple or list of one tuple, optional
            Validation data ``(X_val, y_val)`` or with weights, of Dask or in memory; see `MLPClassifier.fit`.

        Returns
        -------
        DaskMLPClassifier
            The fitted model.

        Raises
        ------
        TypeError, ValueError
            If something is wrong with an argument, or with the rows of a partition, which is named.
        FitDivergedError
            If the loss becomes NaN or infinite.
        """
        return self._fit_on_partitions(X, y, sample_weight, given(eval_set, None, None, None))

    def predict(self, X: Any) -> Array:
        """Return the labels as a Dask array of the chunks of X, (n_samples,) or (n_samples, n_labels); lazy.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        """
        check_is_fitted(self)
        is_multilabel = self._label_binarizer.y_type_ == "multilabel-indicator"
        dtype = np.dtype(np.int64) if is_multilabel else self.classes_.dtype
        return self._lazily("predict", X, self.n_outputs_ if is_multilabel else None, dtype)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class as a Dask array of the chunks of X, (n_samples, n_classes); lazy.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        """
        check_is_fitted(self)
        return self._lazily("predict_proba", X, len(self.classes_), None)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`; lazy.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        """
        check_is_fitted(self)
        return self._lazily("predict_log_proba", X, len(self.classes_), None)


class DaskMLPRegressor(OnDask, MLPRegressor):
    """`fastbp.neural_network.MLPRegressor` for rows in a Dask cluster; see `DaskMLPClassifier`.

    Parameters
    ----------
    client : distributed.Client, optional
        The cluster.
    average_every : int, optional
        With mini-batches, after how many steps the partitions' parameters are averaged; by default after an epoch.
    persist : bool
        Whether the checked rows are kept on the workers.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastbp.dask import DaskMLPRegressor
    >>> X = da.linspace(-1, 1, 40, chunks=10).reshape(-1, 1)
    >>> model = DaskMLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs", random_state=1).fit(X, X[:, 0] ** 2)
    >>> model.predict(X).shape, model.score(X, X[:, 0] ** 2) > 0.9
    ((40,), True)
    """

    _local = MLPRegressor
    _labels = False

    if TYPE_CHECKING:

        def __init__(
            self,
            loss: types.RegressorLossName | Loss = "squared_error",
            hidden_layer_sizes: types.Sizes = (100,),
            activation: types.Hidden = "relu",
            *,
            client: Client | None = None,
            average_every: int | None = None,
            persist: bool = True,
            **parameters: Unpack[types.RegressorKeywords],
        ) -> None: ...

        def to_local(self) -> MLPRegressor:
            """Return the ordinary estimator, with everything that was learned."""

    else:

        @with_parameters_of(MLPRegressor)
        def __init__(self, *values: Any, **named: Any) -> None:
            self._set_parameters(values, named)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Self:  # type: ignore[override]
        """Fit the model; see `DaskMLPClassifier.fit`.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        y : array, data frame or series of Dask, shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array or series of Dask, shape (n_samples,), optional
            Weights of the rows.
        eval_set : tuple or list of one tuple, optional
            Validation data.

        Returns
        -------
        DaskMLPRegressor
            The fitted model.
        """
        return self._fit_on_partitions(X, y, sample_weight, given(eval_set, None, None, None))

    def predict(self, X: Any) -> Array:
        """Return the predicted values as a Dask array of the chunks of X, (n_samples,) or (n_samples, n_outputs); lazy.

        Parameters
        ----------
        X : array or data frame of Dask, shape (n_samples, n_features)
            Inputs.
        """
        check_is_fitted(self)
        n_outputs = self.n_outputs_
        return self._lazily("predict", X, None if n_outputs == 1 else n_outputs, None)
