"""The decision boundary of two features, with scikit-learn's own display underneath."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.network import Network
from fastbp.plotting.canvas import MARKERS, axes_or_new, checked_network, pyplot
from fastbp.plotting.classes import class_numbers
from fastbp.sparse_rows import as_dense

_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "|||", "+++", "***")


class DecisionBoundaryDisplay:
    """What a classifier says on a plane of two features, and the points that it is about.

    Two classes: shades of grey from 0 to 1 for the output, the probability of the second class, with a line at 1/2.
    More classes: each in a shade and a hatch of its own, with lines between them.

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

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the picture is.
    figure_ : matplotlib figure
        The figure of the axes.
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

    def __init__(
        self, boundary: Any, n_classes: int, X: NDArray[Any], y: NDArray[np.int64] | None, class_names: list[str]
    ) -> None:
        self.boundary_ = boundary
        self.n_classes, self.X, self.y, self.class_names = n_classes, X, y, class_names

    @classmethod
    def from_network(
        cls,
        net: Network,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: Any = None,
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
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.
        grid_resolution : int
            Points of the grid along each axis.
        eps : float
            What is added to the range of `X` at each side, in units of `X`.
        class_names : tuple of str, optional
            Names for the legend.

        Returns
        -------
        DecisionBoundaryDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If `net` has not two inputs, or `X` and `y` do not fit.
        ImportError
            If matplotlib is not installed.
        """
        net = checked_network(net)
        n_classes = max(2, net.sizes[-1])
        points = _plane(X, net.sizes[0])

        def response(grid: NDArray[Any]) -> NDArray[Any]:
            outputs = net.predict(grid.astype(net.dtype))
            return outputs[:, 0] if net.sizes[-1] == 1 else _likeliest(outputs)

        return cls._draw(response, range(n_classes), points, y, ax, grid_resolution, eps, class_names)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: Any = None,
        grid_resolution: int = 100,
        eps: float = 0.5,
        class_names: tuple[str, ...] | None = None,
    ) -> DecisionBoundaryDisplay:
        """Draw the boundary of a fitted classifier, fastbp's or any of scikit-learn's that has `predict_proba`.

        Parameters
        ----------
        estimator : object
            Fitted, with two features, `classes_` and `predict_proba`.
        X : array_like, shape (n, 2)
            Points; the picture is as large as they need.
        y : array_like, shape (n,), optional
            Their classes, among `classes_`.
        ax, grid_resolution, eps, class_names
            As for `from_network`.

        Returns
        -------
        DecisionBoundaryDisplay
            The drawn display.

        Raises
        ------
        TypeError, ValueError
            If `estimator` has not two features, or `X` and `y` do not fit.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(estimator, "classes_") or not hasattr(estimator, "predict_proba"):
            raise TypeError(f"`estimator` must be a fitted classifier with `predict_proba`; got {estimator!r}.")
        points = _plane(X, getattr(estimator, "n_features_in_", 2))

        def response(grid: NDArray[Any]) -> NDArray[Any]:
            probabilities = estimator.predict_proba(grid)
            return probabilities[:, 1] if len(estimator.classes_) == 2 else _likeliest(probabilities)

        return cls._draw(response, estimator.classes_, points, y, ax, grid_resolution, eps, class_names)

    @classmethod
    def _draw(
        cls,
        response: Any,
        classes: Any,
        X: NDArray[Any],
        y: ArrayLike | None,
        ax: Any,
        grid_resolution: int,
        eps: float,
        class_names: tuple[str, ...] | None,
    ) -> DecisionBoundaryDisplay:
        """Let scikit-learn work out grid and response, and draw."""
        pyplot()  # before the work
        labels = None if y is None else class_numbers(y, classes, len(X))
        names = [f"class {label}" for label in classes] if class_names is None else list(class_names)
        if len(names) != len(classes):
            raise ValueError(f"`class_names` must have one name for each of the {len(classes)} classes; got {names!r}.")
        boundary = _grid_display(response, X, grid_resolution, eps)
        return cls(boundary, len(classes), X, labels, names).plot(ax)

    def plot(self, ax: Any = None) -> DecisionBoundaryDisplay:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        DecisionBoundaryDisplay
            This display, with `ax_`, `figure_`, `boundary_` and `points_`.
        """
        ax = axes_or_new(ax, (5.5, 4.5))
        grid = self.boundary_.xx0, self.boundary_.xx1, self.boundary_.response
        if self.n_classes == 2:
            looks = {"levels": np.linspace(0, 1, 11), "cmap": "Greys", "vmin": -0.3, "vmax": 1.6}
            response = self.boundary_.response
            beyond = response.min() < 0 or response.max() > 1  # an output that is no probability
            self.boundary_.plot(ax=ax, extend="both" if beyond else "neither", **looks)
            ax.contour(*grid, levels=[0.5], colors="black", linewidths=1.5)
            bar = ax.figure.colorbar(self.boundary_.surface_, ax=ax)
            bar.set_label(f"output (probability of {self.class_names[1]})")
        else:
            levels = np.linspace(-0.5, self.n_classes - 0.5, self.n_classes + 1)
            hatches = [_HATCHES[i % len(_HATCHES)] for i in range(self.n_classes)]
            self.boundary_.plot(ax=ax, levels=levels, cmap="Greys", vmin=-1, vmax=2 * self.n_classes, hatches=hatches)
            ax.contour(*grid, levels=levels[1:-1], colors="black", linewidths=1)
        self._plot_points(ax)
        ax.set_xlabel("feature 1 (unit of X)")
        ax.set_ylabel("feature 2 (unit of X)")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_points(self, ax: Any) -> None:
        """Draw the points of each class in a marker of its own."""
        self.points_ = []
        if self.y is None:
            return
        fills = ("#0072B2", "#F0E442", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")
        for label, name in enumerate(self.class_names):
            points = self.X[self.y == label]
            marker, fill = MARKERS[label % len(MARKERS)], fills[label % len(fills)]
            looks = {"marker": marker, "color": fill, "edgecolors": "black", "linewidths": 0.3, "s": 14}
            self.points_.append(ax.scatter(points[:, 0], points[:, 1], label=name, **looks))
        ax.legend(loc="upper right", framealpha=0.9)


def _plane(X: ArrayLike, n_features: int) -> NDArray[Any]:
    """Return the points (n, 2)."""
    points = np.asarray(X, float)
    if n_features != 2:
        raise ValueError(f"A decision boundary is drawn over two features; got a model with {n_features}.")
    checked: NDArray[Any] = as_dense(validation.inputs(points, 2, np.dtype(np.float64)))
    return checked


def _likeliest(outputs: NDArray[Any]) -> NDArray[Any]:
    """Return the number of the largest output of each row, as floats, which contours need."""
    numbers: NDArray[Any] = outputs.argmax(axis=1).astype(float)
    return numbers


def _grid_display(response: Any, X: NDArray[Any], grid_resolution: int, eps: float) -> Any:
    """Return scikit-learn's display with the response on a grid.

    scikit-learn draws it at once; that picture is thrown away, for ours has levels that depend on the response.
    """
    from matplotlib.figure import Figure
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.inspection import DecisionBoundaryDisplay as Boundary

    class Surface(RegressorMixin, BaseEstimator):
        """The response as a regressor, which scikit-learn draws with contours in all its versions."""

        def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Surface:
            """Do nothing: by this method scikit-learn knows an estimator."""
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, X: NDArray[Any]) -> NDArray[Any]:
            """Return the response of each row."""
            values: NDArray[Any] = response(X)
            return values

    thrown_away = Figure().add_subplot()
    return Boundary.from_estimator(
        Surface(), X, response_method="predict", grid_resolution=grid_resolution, eps=eps, ax=thrown_away
    )
