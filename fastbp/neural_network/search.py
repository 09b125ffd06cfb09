"""`MLPGridSearchCV`: scikit-learn's search over a grid, with the fits of all points and folds made side by side.

scikit-learn's own class does everything but the fits: it scores, averages, ranks, warns and fits the best point again.
In place of the estimator it is given a `_Point`, whose `fit` waits until the fit of that point on these rows is over,
and then is that estimator.  So all scorers see what they always see, and the fits to come are known beforehand.
"""

from __future__ import annotations

import time
from typing import Any, Self

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import check_random_state, get_tags, indexable

from fastbp.engine.threads import thread_count
from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.stochastic import StochasticFit
from fastbp.neural_network.together import Lessons, SideBySide
from fastbp.neural_network.types import Search
from fastbp.validation.matrix_like import MatrixLike

_MOST_SEED = np.iinfo(np.int32).max
_PLAIN = str | bool | int | float | np.number | np.bool_ | None | type


class MLPGridSearchCV(Search, GridSearchCV):
    """scikit-learn's ``GridSearchCV`` for the estimators of this module: the same results, sooner.

    All points and folds are trained side by side, one thread for each, while Python checks, scores and records others.
    The scores have the bits that ``GridSearchCV`` finds, and everything else is scikit-learn's: the parameters, the
    attributes, `predict`, and what happens to points that fail or diverge.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        What is searched over.  Other estimators, pipelines among them, are searched as ``GridSearchCV`` does.
    param_grid : dict or list of dict
        The values to try of each parameter, or several such grids.
    scoring : str, callable, list, tuple or dict, default=None
        What says how good a point is; None for the estimator's `score`.
    n_jobs : int, default=None
        Threads to use; None and -1 for all that the process may use, -2 for all but one.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best point is fitted to all data.
    cv : int, cross-validation generator or iterable, default=None
        The folds; None for 5.
    verbose : int, default=0
        How much to say.
    pre_dispatch : int or str, default='2*n_jobs'
        Means nothing here.
    error_score : 'raise' or float, default=nan
        The score of a point that cannot be fitted or diverges.
    return_train_score : bool, default=False
        Whether to score the rows that were trained on as well.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        All scores and times.  `mean_fit_time` and `std_fit_time` are how long a thread has trained, about: fits of one
        call of the kernels share its time as was estimated.
    best_estimator_ : estimator
        The estimator of the best point, fitted to all data; with `refit`.
    best_params_ : dict
        Its parameters.
    best_score_ : float
        Its mean score.
    best_index_ : int
        Its place in `cv_results_`.
    scorer_ : callable or dict
        What has scored.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit to all data.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : Every parameter and attribute in detail.

    Notes
    -----
    Side by side are trained the solvers 'adam' and 'sgd' where nothing needs Python after each epoch, as early stopping
    does; other points are fitted one after the other, on all threads.  With ``random_state=None`` each fit draws a seed
    of its own from NumPy's global generator, from which ``GridSearchCV`` has the fits draw in turn: its numbers are
    then others.  With metadata routing switched on it is ``GridSearchCV``.

    All this happens in the calling process, also within ``joblib.parallel_config(backend="dask")``, which sends to the
    cluster what is searched as ``GridSearchCV`` does.

    Examples
    --------
    >>> from fastbp.neural_network import MLPClassifier, MLPGridSearchCV
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(max_iter=400, tol=0.01, random_state=0)
    >>> grid = {"hidden_layer_sizes": [(4,), (16,)], "learning_rate_init": [0.001, 0.03]}
    >>> search = MLPGridSearchCV(net, grid).fit(X, y)
    >>> search.best_params_["learning_rate_init"]
    0.03
    >>> search.score(X, y) > 0.9
    True
    """

    def fit(self, X: MatrixLike, y: Any = None, **params: Any) -> Self:
        """Train all points on all folds, and the best one on all data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, or class labels.
        **params : dict
            What is passed to the estimator's `fit`, such as `sample_weight`, and `groups` to the folds; arrays of
            n_samples are split as X is.

        Returns
        -------
        self : MLPGridSearchCV
            The fitted search.
        """
        fits = self._fits(X, y, params) if self._is_known_here(params) else None
        if fits is None:
            super().fit(X, y, **params)
            return self
        params.pop("groups", None)
        arguments = {"estimator": _Point(fits), "cv": fits.splits, "n_jobs": 1}
        # Some backends of joblib, Dask's among them, would send elsewhere what is fitted here, whatever `n_jobs` says.
        with fits, parallel_config("sequential"):
            search = _Search(**self.get_params(deep=False) | arguments)
            search.speaks_for = self
            search.fit(X, y, rows=fits.numbers, **params)  # an array that is split as X is: the rows of each fit
        self._take_over(search, fits)
        return self

    def _fits(self, X: Any, y: Any, params: dict[str, Any]) -> _Fits | None:
        """Return all fits; None where an argument is wrong, of which scikit-learn's class has more to say."""
        try:
            X, y = indexable(X, y)
            cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
            splits = list(cv.split(X, y, groups=params.get("groups")))
            if len(splits) != cv.get_n_splits(X, y, groups=params.get("groups")):
                return None
            points = list(ParameterGrid(self.param_grid))
            return _Fits(self.estimator, points, X, y, params.get("sample_weight"), splits, _threads_of(self.n_jobs))
        except Exception:
            return None

    def _is_known_here(self, params: dict[str, Any]) -> bool:
        """Whether the fits may be made side by side."""
        return (
            type(self.estimator) in (MLPClassifier, MLPRegressor)
            and not set(params) - {"sample_weight", "groups"}
            and not get_config()["enable_metadata_routing"]
            and not getattr(self, "_skl_callbacks", [])
            and not getattr(self.estimator, "_skl_callbacks", [])
        )

    def _take_over(self, search: GridSearchCV, fits: _Fits) -> None:
        """Have what a search has found."""
        found = {name: value for name, value in vars(search).items() if name.endswith("_") and name[0] != "_"}
        results = found["cv_results_"]
        seconds = fits.seconds.reshape(-1, len(fits.splits))
        results["mean_fit_time"], results["std_fit_time"] = seconds.mean(axis=1), seconds.std(axis=1)
        if self.scoring is None:  # its own method, of which the scorer holds the estimator
            found["scorer_"] = check_scoring(self.estimator)
        for name in ("best_estimator_", "feature_names_in_", "best_score_", "best_index_", "best_params_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        self.__dict__.update(found)


class _Search(GridSearchCV):
    """scikit-learn's class over fits that are known beforehand; in its messages it is the user's search."""

    speaks_for: MLPGridSearchCV

    def __repr__(self) -> str:
        return repr(self.speaks_for)


_Search.__name__ = "MLPGridSearchCV"


class _Fits:
    """All fits of a search, in the order in which scikit-learn asks for them: the folds of the first point first."""

    def __init__(
        self,
        estimator: Any,
        points: list[dict[str, Any]],
        X: Any,
        y: Any,
        sample_weight: Any,
        splits: list[tuple[Any, Any]],
        n_threads: int,
    ) -> None:
        self.estimator, self._points = estimator, points
        self.numbers = np.arange(X.shape[0] if hasattr(X, "shape") else len(X))
        self.splits = [(self.numbers[np.asarray(train)], self.numbers[np.asarray(test)]) for train, test in splits]
        self._templates: dict[int, tuple[Any, bool]] = {}
        self._trained: dict[int, Any] = {}
        n_fits = len(points) * len(splits)
        needs_seeds = any(point.get("random_state", estimator.random_state) is None for point in points)
        # drawn here, so that they do not depend on how far ahead fits are prepared
        self._seeds = check_random_state(None).randint(_MOST_SEED, size=n_fits) if needs_seeds else None
        self._lessons = Lessons(X, y, sample_weight, n_fits=n_fits, n_threads=n_threads)
        self._side_by_side = SideBySide(n_fits, self._prepare, n_threads)
        self._asked = 0

    def __enter__(self) -> Self:
        self._side_by_side.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._side_by_side.__exit__(*error)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """How long each fit has trained, (n_points * n_splits,)."""
        return self._side_by_side.seconds

    def _prepare(self, number: int) -> StochasticFit | None:
        """Return the fit of a point on a fold; None if it can only be made alone."""
        point, fold = divmod(number, len(self.splits))
        estimator = self._seeded(self._estimator_of(point), number)
        fit = self._lessons.fit_of(estimator, self.splits[fold][0])
        if fit is not None:
            self._trained[number] = estimator
        return fit

    def _estimator_of(self, point: int) -> Any:
        """Return an estimator with the parameters of a point, which were checked once."""
        if point not in self._templates:
            template = self.made(self._points[point])
            if not get_config()["skip_parameter_validation"]:
                template._validate_params()
            self._templates = {point: (template, _is_plain(template))}  # the points come one after the other
        template, is_plain = self._templates[point]
        if is_plain:  # what `clone` would do, without looking at every parameter
            estimator = object.__new__(type(template))
            estimator.__dict__.update(vars(template))
        else:
            estimator = clone(template)
        return estimator

    def _seeded(self, estimator: Any, number: int | None) -> Any:
        """Give the estimator of a fit a seed of its own, unless it has one: the fits are made in whatever order."""
        if estimator.random_state is None and number is not None and self._seeds is not None:
            estimator.random_state = int(self._seeds[number])
        return estimator

    def made(self, parameters: dict[str, Any], number: int | None = None) -> Any:
        """Return a new estimator with such parameters, for a fit by its number or for another one."""
        return self._seeded(clone(self.estimator).set_params(**clone(parameters, safe=False)), number)

    def trained(self, parameters: dict[str, Any], rows: NDArray[Any]) -> tuple[Any, int | None]:
        """Return the estimator of the next fit, if it is that of this point and these rows and was trained; its number.

        scikit-learn may ask in another order some day: then no fit is taken for another.
        """
        number = self._asked
        self._asked += 1
        point, fold = divmod(number, len(self.splits))
        if (
            point >= len(self._points)
            or not np.array_equal(rows, self.splits[fold][0])
            or not _are_same(parameters, self._points[point])
        ):
            return None, None
        return self._trained.pop(number) if self._side_by_side.train(number) else None, number


def _is_plain(estimator: Any) -> bool:
    """Whether no parameter is anything that can be changed, so that estimators may have it in common."""
    parts = [value if isinstance(value, tuple) else (value,) for value in vars(estimator).values()]
    return all(isinstance(part, _PLAIN) for value in parts for part in value)


def _are_same(parameters: dict[str, Any], point: dict[str, Any]) -> bool:
    """Whether parameters are those of a point, or copies of them."""
    return parameters.keys() == point.keys() and all(
        value == point[name] if isinstance(value, _PLAIN | tuple) else type(value) is type(point[name])
        for name, value in parameters.items()
    )


def _threads_of(n_jobs: int | None) -> int:
    """Return the threads that an argument `n_jobs` asks for."""
    if n_jobs is None or n_jobs == -1:
        return thread_count(None)
    return thread_count(n_jobs) if n_jobs >= 0 else max(1, thread_count(None) + 1 + n_jobs)


class _Point:
    """Stands for an estimator until it is fitted; then it is that estimator."""

    def __init__(self, fits: _Fits) -> None:
        self._fits = fits
        self._parameters: dict[str, Any] = {}

    def __sklearn_clone__(self) -> _Point:
        return _Point(self._fits)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self._fits.estimator)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the point."""
        return dict(self._parameters)

    def set_params(self, **parameters: Any) -> _Point:
        """Take the parameters of a point."""
        if not set(parameters) <= set(vars(self._fits.estimator)):
            self._fits.made(parameters)  # raises scikit-learn's error
        self._parameters = parameters
        return self

    def fit(self, X: Any, y: Any, *, rows: NDArray[Any], **keywords: Any) -> Any:
        """Wait for the fit to these rows, or make it."""
        fits = self._fits
        estimator, number = fits.trained(self._parameters, rows)
        began = time.perf_counter()
        try:
            if estimator is None:
                estimator = fits.made(self._parameters, number).fit(X, y, **keywords)
        finally:
            if number is not None:
                fits.seconds[number] += time.perf_counter() - began
        del self._fits, self._parameters
        self.__dict__.update(vars(estimator))
        self.__class__ = type(estimator)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Say that there is a score, and that it takes weights; it is the estimator's that is called."""
        raise NotImplementedError
