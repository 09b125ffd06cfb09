"""The cost over two parameters, and the path of a training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.inspection.weight_history import WeightHistory, parameter_names
from fastbp.model.checks import checked_data
from fastbp.model.definition import checked_network, settings_of
from fastbp.model.model import Model, from_params, passes_of
from fastbp.plotting.canvas import place_legend, pyplot
from fastbp.plotting.display import Display
from fastbp.validation.matrix_like import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet


class ErrorSurfaceDisplay(Display):
    """Lines of equal cost over two parameters, with the path of the parameters on it.

    Parameters
    ----------
    first, second : ndarray, shape (resolution,)
        Values of the two parameters along the axes.
    cost : ndarray, shape (resolution, resolution)
        The cost; row i belongs to ``second[i]``, column j to ``first[j]``.
    path : ndarray, shape (n_points, 2), or None
        Where the parameters were, step by step.
    names : tuple of str
        Names of the two parameters, for the axes.

    Attributes
    ----------
    {axes}
    contours_ : matplotlib contour set or None
        The lines of equal cost; None where the cost is the same everywhere.

    Examples
    --------
    >>> import fastbp as bp
    >>> from fastbp.plotting import ErrorSurfaceDisplay
    >>> net = bp.Network([1, 1], seed=0)
    >>> X, Y = [[0.0], [1.0]], [[1.0], [3.0]]
    >>> weights = bp.WeightHistory(net)
    >>> history = net.fit(X, Y, 50, None, bp.SGD(0.3), callbacks=[weights])
    >>> display = ErrorSurfaceDisplay.from_network(net, X, Y, path=weights)
    >>> display.path.shape
    (51, 2)
    """

    contours_: QuadContourSet | None

    def __init__(
        self,
        first: NDArray[Any],
        second: NDArray[Any],
        cost: NDArray[Any],
        path: NDArray[Any] | None,
        names: tuple[str, str],
    ) -> None:
        self.first, self.second, self.cost, self.path, self.names = first, second, cost, path, names

    @classmethod
    def from_network(
        cls,
        net: Model,
        X: MatrixLike,
        Y: ArrayLike,
        *,
        parameters: tuple[int, int] = (0, 1),
        path: WeightHistory | ArrayLike | None = None,
        limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
        resolution: int = 81,
        ax: Axes | None = None,
    ) -> ErrorSurfaceDisplay:
        """Work out the cost over two parameters, all others as they are, and draw it.

        Parameters
        ----------
        net : Network
            The network; it is not changed.
        X, Y : array_like
            Samples, as for `Network.loss_value`.
        parameters : tuple of two int
            Which of `Network.params`.
        path : WeightHistory or array_like, shape (n_points, 2), optional
            A recorded training, or points.
        limits : tuple, optional
            ``((low, high), (low, high))`` for the two axes; by default around the path, or 1 to each side of the
            network's own parameters.
        resolution : int
            Points along each axis; the cost is worked out for its square.
        {ax}

        {returns}

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value, or `path` did not record these two parameters.
        {no_matplotlib}
        """
        pyplot()  # say before the work, not after it, that matplotlib is missing
        net = checked_network(net)
        chosen = _chosen(parameters, net.n_params)
        points = None if path is None else _path(path, chosen)
        ranges = _around(net.params[chosen] if points is None else points) if limits is None else limits
        count = validation.positive_integer(resolution, "resolution", 2)
        first, second = (np.linspace(low, high, count) for low, high in ranges)
        data = checked_data(net, X, Y, None)
        moved = from_params(Model, net.params.copy(), net.sizes, **settings_of(net))
        cost = np.empty((count, count))
        for i, j in np.ndindex(count, count):
            moved.params[chosen] = first[j], second[i]
            cost[i, j] = passes_of(moved).cost(*data, n_threads=1)
        names = parameter_names(net, chosen)
        return cls(first, second, cost, points, (names[0], names[1])).plot(ax)

    def _figure_size(self) -> tuple[float, float]:
        return 5.5, 4.5

    def _draw(self, ax: Any, is_new: bool) -> None:
        lowest = np.nanmin(self.cost)
        # levels that grow as squares lie at even distances on a parabola, the shape near every minimum
        levels = lowest + (np.nanmax(self.cost) - lowest) * np.linspace(0, 1, 16)[1:-1] ** 2
        levels = np.unique(levels) if levels[-1] > levels[0] else levels[:0]  # a cost that is the same everywhere
        looks = {"colors": "0.55", "linewidths": 0.8}
        self.contours_ = ax.contour(self.first, self.second, self.cost, levels=levels, **looks) if len(levels) else None
        legend = None
        if self.path is not None:
            ax.plot(*self.path.T, ".-", color="#0072B2", markersize=4, linewidth=1.2, label="path of the weights")
            ax.plot(*self.path[0], "o", color="white", markeredgecolor="black", markersize=9, label="start")
            ax.plot(*self.path[-1], "*", color="black", markersize=13, label="end")
            legend = place_legend(ax, framealpha=0.9)
        self._label_lines(ax, levels, legend)
        ax.set_xlabel(f"{self.names[0]} (no unit)")
        ax.set_ylabel(f"{self.names[1]} (no unit)")
        self._title(ax, "Cost (mean per sample), lines of equal cost")

    def _label_lines(self, ax: Any, levels: NDArray[Any], legend: Any) -> None:
        """Write the cost on every third line, but not where the legend is or another number."""
        taken = [] if legend is None else [legend.get_window_extent()]
        frame = ax.get_window_extent()
        for text in ax.clabel(self.contours_, levels[1::3], fmt="%.2g", fontsize=8) if len(levels) else ():
            box = text.get_window_extent()
            is_inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if not is_inside or any(box.overlaps(other) for other in taken):
                text.remove()
            else:
                taken.append(box)


def _chosen(parameters: Any, n_params: int) -> NDArray[np.int64]:
    """Return the two indices."""
    try:
        indices = [validation.positive_integer(index, "parameters", 0) for index in parameters]
    except TypeError:
        indices = []
    if len(indices) != 2 or indices[0] == indices[1] or max(indices) >= n_params:
        raise ValueError(
            f"`parameters` must be two different indices into the {n_params} of `Network.params`; got {parameters!r}."
        )
    return np.array(indices)


def _path(path: Any, chosen: NDArray[np.int64]) -> NDArray[Any]:
    """Return the points (n, 2) of the two parameters."""
    if not isinstance(path, WeightHistory):
        points = np.asarray(path, float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(f"`path` must have shape (n_points, 2), one point at least; got {points.shape}.")
        return points
    missing = [int(index) for index in chosen if index not in path.indices]
    if missing:
        raise ValueError(f"`path` must have recorded both parameters; it has not {missing}. Record without `sample`.")
    return path.values[:, np.searchsorted(path.indices, chosen)]


def _around(points: NDArray[Any]) -> list[tuple[float, float]]:
    """Return the ranges of both axes: the path and a third of its extent more, the path's end in the middle."""
    points = np.atleast_2d(points)
    reach = np.abs(points - points[-1]).max(axis=0)
    reach = np.maximum(np.where(reach > 0, 1.3 * reach, 1.0), 0.2 * reach.max())
    return [(float(end - r), float(end + r)) for end, r in zip(points[-1], reach, strict=True)]
