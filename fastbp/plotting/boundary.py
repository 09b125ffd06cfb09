"""The decision boundary of two features, with scikit-learn's own display underneath."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.model.definition import checked_network
from fastbp.model.model import Model
from fastbp.plotting.canvas import MARKERS, legend_inches, place_legend, pyplot, shortened
from fastbp.plotting.classes import class_numbers, class_scores
from fastbp.plotting.display import Display
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import as_dense

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

_FEATURES = ("feature 1", "feature 2")
# colours of Okabe and Ito, as in `canvas`, and a grey
_FILLS = ("#0072B2", "#F0E442", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#999999", "#E69F00")
_TINT = 0.3  # how much of a class's colour its region has
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||", "+++", "***")


class DecisionBoundaryDisplay(Display):
    """What a classifier says on a plane of two features, and the points that it is about.

    Two classes: shades of grey from 0 to 1 for the output, the probability of the second class, with a line at 1/2.
    More classes: each in a tint and a hatch of its own, with lines between them.  Axes are named as the features are.

    Parameters
    ----------
    boundary : sklearn.inspection.DecisionBoundaryDisplay
        Grid and response, as scikit-learn makes them.
    n_classes : int
        How many classes there are.
    X : ndarray, shape (n, 2)
        The points.
    y : ndarray of int, shape (n,), or None
        Their classes, counted from 0; None draws no points.
    class_names : list of str
        What the legend says.
    scores : ndarray, shape (grid_resolution, grid_resolution, n_classes)
        The score of each class at each point of the grid; the boundary is where the two largest are equal.
    feature_names : tuple of str
        What the axes say.

    Attributes
    ----------
    {axes}
    boundary_ : sklearn.inspection.DecisionBoundaryDisplay
        With `xx0`, `xx1`, `response` and `surface_`.
    points_ : list of matplotlib collections
        The points of each class.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import DecisionBoundaryDisplay
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = bp.Network([2, 8, 1], activation="tanh", output="sigmoid", loss="cross_entropy", seed=0)
    >>> history = net.fit(X, y, epochs=500, optimizer=bp.Adam(0.05), seed=0)
    >>> display = DecisionBoundaryDisplay.from_network(net, X, y)
    >>> display.boundary_.response.shape
    (100, 100)
    """

    points_: list[PathCollection]

    def __init__(
        self,
        boundary: Any,
        n_classes: int,
        X: NDArray[Any],
        y: NDArray[np.int64] | None,
        class_names: list[str],
        scores: NDArray[Any],
        feature_names: tuple[str, str] = _FEATURES,
    ) -> None:
        self.boundary_ = boundary
        self.n_classes, self.X, self.y, self.class_names = n_classes, X, y, class_names
        self.scores, self.feature_names = scores, feature_names

    @classmethod
    def from_network(
        cls,
        net: Model,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        ax: Axes | None = None,
        grid_resolution: int = 100,
        eps: float = 0.5,
        class_names: tuple[str, ...] | None = None,
    ) -> DecisionBoundaryDisplay:
        """Draw the boundary of a network: one output from 0 to 1 for two classes, or an output for each class.

        Parameters
        ----------
        net : Network
            A network with two inputs.
        X : array_like, shape (n, 2)
            Points; the picture is as large as they need.
        y : array_like of int, shape (n,), optional
            Their classes, counted from 0; without them no points are drawn.
        {ax}
        grid_resolution : int
            Points of the grid along each axis.
        eps : float
            What is added to the range of `X` at each side, in units of `X`.
        class_names : tuple of str, optional
            Names for the legend.

        {returns}

        Raises
        ------
        TypeError, ValueError
            If `net` does not have two inputs, or `X` and `y` do not fit.
        {no_matplotlib}
        """
        net = checked_network(net)
        n_classes = max(2, net.sizes[-1])
        points = _plane(X, net.sizes[0])

        def response(grid: NDArray[Any]) -> NDArray[Any]:
            return net.predict(np.asarray(grid, net.dtype))

        plane = X, points, _feature_names(X, net.feature_names)
        return cls._from_response(response, range(n_classes), plane, y, ax, grid_resolution, eps, class_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        ax: Axes | None = None,
        grid_resolution: int = 100,
        eps: float = 0.5,
        class_names: tuple[str, ...] | None = None,
    ) -> DecisionBoundaryDisplay:
        """Draw the boundary of a fitted classifier, fastbp's or any of scikit-learn's that has `predict_proba`.

        Parameters
        ----------
        estimator : object
            Fitted, with two features, `classes_` and `predict_proba`.
        X : array_like or data frame, shape (n, 2)
            Points; the picture is as large as they need.  A data frame's columns name the axes.
        y : array_like, shape (n,), optional
            Their classes, among `classes_`.
        ax, grid_resolution, eps, class_names
            As for `from_network`.

        {returns}

        Raises
        ------
        TypeError, ValueError
            If `estimator` does not have two features, or `X` and `y` do not fit.
        {no_matplotlib}
        """
        if not hasattr(estimator, "classes_") or not hasattr(estimator, "predict_proba"):
            raise TypeError(f"`estimator` must be a fitted classifier with `predict_proba`; got {estimator!r}.")
        points = _plane(X, getattr(estimator, "n_features_in_", 2))

        def response(grid: NDArray[Any]) -> NDArray[Any]:
            probabilities: NDArray[Any] = estimator.predict_proba(grid)
            return probabilities[:, 1:] if len(estimator.classes_) == 2 else probabilities

        plane = X, points, _feature_names(X, getattr(estimator, "feature_names_in_", None))
        return cls._from_response(response, estimator.classes_, plane, y, ax, grid_resolution, eps, class_names)

    @classmethod
    def _from_response(
        cls,
        response: Any,
        classes: Any,
        plane: tuple[Any, NDArray[Any], tuple[str, str]],
        y: ArrayLike | None,
        ax: Axes | None,
        grid_resolution: int,
        eps: float,
        class_names: tuple[str, ...] | None,
    ) -> DecisionBoundaryDisplay:
        """Let scikit-learn work out grid and response, and draw."""
        pyplot()  # say before the work, not after it, that matplotlib is missing
        X, points, columns = plane
        labels = None if y is None else class_numbers(y, classes, len(points))
        own = [label if isinstance(label, str) else f"class {label}" for label in classes]
        names = own if class_names is None else list(class_names)
        if len(names) != len(classes):
            raise ValueError(f"`class_names` must have one name for each of the {len(classes)} classes; got {names!r}.")
        boundary, scores = _grid_display(response, X if hasattr(X, "columns") else points, grid_resolution, eps)
        return cls(boundary, len(classes), points, labels, names, scores, columns).plot(ax)

    def _figure_size(self) -> tuple[float, float]:
        beside, high = legend_inches([shortened(name) for name in self.class_names])
        return (5.5, 4.5) if self.n_classes == 2 else (5.0 + beside, max(4.5, high))

    def _draw(self, ax: Any, is_new: bool) -> None:
        grid = self.boundary_.xx0, self.boundary_.xx1
        margins = _margins(self.scores)
        if self.n_classes == 2:
            looks = {"levels": np.linspace(0, 1, 11), "cmap": "Greys", "vmin": -0.3, "vmax": 1.6}
            response = self.boundary_.response
            beyond = response.min() < 0 or response.max() > 1  # an output that is no probability
            self.boundary_.plot(ax=ax, extend="both" if beyond else "neither", **looks)
            bar = ax.figure.colorbar(self.boundary_.surface_, ax=ax)
            bar.set_label("output" if beyond else f"probability of {shortened(self.class_names[1])}")
            ax.contour(*grid, margins[..., 1], levels=[0], colors="black", linewidths=1.5)
        else:
            self._fill_corners(ax)
            self.boundary_.surface_ = [
                self._plot_region(ax, label, margins[..., label]) for label in range(self.n_classes)
            ]
        self._plot_points(ax)
        ax.set_xlabel(shortened(self.feature_names[0]))
        ax.set_ylabel(shortened(self.feature_names[1]))
        self._title(ax, "Decision boundary")

    def _fill_corners(self, ax: Any) -> None:
        """Colour the plane cell by cell: where corners of regions meet within a cell, there would be a white gap."""
        from matplotlib.colors import ListedColormap

        x, y = self.boundary_.xx0, self.boundary_.xx1
        tints = ListedColormap([_tint(label) for label in range(self.n_classes)])
        limits = {"vmin": -0.5, "vmax": self.n_classes - 0.5}
        ax.pcolormesh(x, y, self.scores.argmax(axis=-1), cmap=tints, shading="nearest", zorder=0.4, **limits)
        ax.set_xlim(x.min(), x.max())
        ax.set_ylim(y.min(), y.max())

    def _plot_region(self, ax: Any, label: int, margin: NDArray[Any]) -> Any:
        """Draw where a class has the largest score, and the line around that."""
        grid = self.boundary_.xx0, self.boundary_.xx1
        looks = {"colors": [_tint(label)], "hatches": [_HATCHES[label % len(_HATCHES)]], "zorder": 0.5}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No contour levels were found")  # a class that is the likeliest nowhere
            region = ax.contourf(*grid, margin, levels=[0, np.inf], **looks)
            ax.contour(*grid, margin, levels=[0], colors="black", linewidths=1, zorder=0.9)
        region.set_edgecolor("0.75")  # the hatch
        region.set_linewidth(0.0)
        return region

    def _plot_points(self, ax: Any) -> None:
        """Draw the points of each class in a marker of its own, and the legend beside them if there is room."""
        self.points_ = []
        for label, name in enumerate(self.class_names if self.y is not None else []):
            points = self.X[self.y == label]
            marker, fill = MARKERS[label % len(MARKERS)], _FILLS[label % len(_FILLS)]
            looks = {"marker": marker, "color": fill, "edgecolors": "black", "linewidths": 0.3, "s": 14}
            self.points_.append(ax.scatter(points[:, 0], points[:, 1], label=shortened(name), **looks))
        if self.n_classes == 2:
            if self.points_:
                place_legend(ax, beside=False)
            return
        from matplotlib.legend_handler import HandlerTuple
        from matplotlib.patches import Patch

        patches = [
            Patch(facecolor=_tint(label), edgecolor="0.75", linewidth=0, hatch=2 * _HATCHES[label % len(_HATCHES)])
            for label in range(self.n_classes)
        ]
        handles = [(patch, *self.points_[label : label + 1]) for label, patch in enumerate(patches)]
        names = [shortened(name) for name in self.class_names]
        place_legend(ax, handles, names, beside=True, handler_map={tuple: HandlerTuple(ndivide=1, pad=0)})


def _tint(label: int) -> tuple[float, float, float]:
    """Return a pale form of the colour of a class's points."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - _TINT * (1 - part) for part in to_rgb(_FILLS[label % len(_FILLS)]))
    return red, green, blue


def _feature_names(X: Any, known: Any) -> tuple[str, str]:
    """Return the names of the axes: those of a frame's columns, or of the frame that the model was fitted on."""
    for names in (getattr(X, "columns", None), known):
        if names is not None and len(names) == 2 and all(isinstance(name, str) for name in names):
            return names[0], names[1]
    return _FEATURES


def _margins(scores: NDArray[Any]) -> NDArray[Any]:
    """Return by how much each score surpasses the largest of the others; logarithms of those that are probabilities.

    Between two points of the grid these go through 0 nearly in a straight line, where probabilities jump from 0 to 1.
    """
    if scores.min() >= 0:
        scores = np.log(np.maximum(scores, np.finfo(scores.dtype).tiny))
    ordered = np.sort(scores, axis=-1)
    others = np.where(scores == ordered[..., -1:], ordered[..., -2:-1], ordered[..., -1:])
    margins: NDArray[Any] = scores - others
    return margins


def _plane(X: MatrixLike, n_features: int) -> NDArray[Any]:
    """Return the points (n, 2)."""
    points = np.asarray(X, float)
    if n_features != 2:
        raise ValueError(f"A decision boundary is drawn over two features; got a model with {n_features}.")
    checked: NDArray[Any] = as_dense(validation.inputs(points, 2, np.dtype(np.float64)))
    return checked


def _grid_display(response: Any, X: Any, grid_resolution: int, eps: float) -> tuple[Any, NDArray[Any]]:
    """Return scikit-learn's display with the response on a grid, and a score of each class on the grid.

    scikit-learn draws it at once; that picture is thrown away, because ours has levels that depend on the response.
    """
    from matplotlib.figure import Figure
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.inspection import DecisionBoundaryDisplay as Boundary

    class Surface(RegressorMixin, BaseEstimator):
        """The response as a regressor, which scikit-learn draws with contours in all its versions."""

        scores: NDArray[Any]

        def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Surface:
            """Do nothing; scikit-learn recognises an estimator by this method."""
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, X: NDArray[Any]) -> NDArray[Any]:
            """Return the only output of each row, or the number of the largest."""
            outputs = np.asarray(response(X))
            self.scores = class_scores(outputs, len(outputs))
            values: NDArray[Any] = outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(axis=1).astype(float)
            return values

    surface, thrown_away = Surface(), Figure().add_subplot()
    boundary = Boundary.from_estimator(
        surface, X, response_method="predict", grid_resolution=grid_resolution, eps=eps, ax=thrown_away
    )
    return boundary, surface.scores.reshape(*boundary.xx0.shape, -1)
