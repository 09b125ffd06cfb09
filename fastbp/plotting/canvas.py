"""Where pictures are drawn, and in what: axes, and line styles that can be told apart without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes  # also for rooms above, which import no matplotlib

# Colours of Okabe and Ito, "Color universal design" (2008), which colour-blind readers can tell apart; each goes with a
# line style and a marker of its own, so that a print in grey can be read as well.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")
_MOST_INSIDE = 6  # entries of a legend among the data, and letters of each
_LONGEST_INSIDE = 26
# sizes of a legend in points, and its columns, one after the other until it fits
_LEGENDS = ((10, 1), (9, 1), (8, 1), (7, 1), (7, 2), (6, 2), (6, 3), (5, 3), (4, 4))
_DECADE = 10.0
_FITTINGS = 3  # after which nothing changes
_BORDER = 2.0  # pixels that stay free at the figure's border
_LEAST_SHARE = 0.05  # of a figure that axes keep
_LONGEST = 36  # letters of a name
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # drawn solid and dashed as well


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, or say how to get it."""
    try:
        from matplotlib import pyplot as module
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib, which is not installed: python -m pip install "fastbp[plot]"'
        ) from error
    return module


def axes_or_new(ax: Any, figsize: tuple[float, float]) -> Axes:
    """Return the axes given, or those of a new figure of some size in inches."""
    plt = pyplot()
    if ax is None:
        ax = plt.subplots(figsize=figsize, layout="constrained")[1]
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be matplotlib axes, such as plt.subplots()[1], or None; got {ax!r}.")
    return ax


def style(number: int) -> dict[str, Any]:
    """Colour and line style of the line with this number."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}


def shortened(name: object) -> str:
    """Return a name for a picture, the middle of a very long one left out.

    Examples
    --------
    >>> shortened("setosa")
    'setosa'
    >>> shortened("a" * 30 + "b" * 30)
    'aaaaaaaaaaaaaaaaa...bbbbbbbbbbbbbbbb'
    """
    text = " ".join(str(name).split()).replace("$", r"\$")  # a dollar would begin a formula
    text = f" {text}" if text.startswith("_") else text  # which a legend would leave out
    if len(text) <= _LONGEST:
        return text
    kept = _LONGEST - 3
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def legend_beside(labels: Sequence[str]) -> bool:
    """Whether a legend is so large that it stands beside the data instead of among them."""
    return len(labels) > _MOST_INSIDE or max(map(len, labels), default=0) > _LONGEST_INSIDE


def legend_inches(labels: Sequence[str]) -> tuple[float, float]:
    """Return width and height that a legend beside the data adds to a figure or needs of it, in inches."""
    return 0.7 + 0.085 * max(map(len, labels), default=0), 0.5 + 0.24 * len(labels)


def place_legend(
    ax: Any,
    handles: Sequence[Any] | None = None,
    labels: Sequence[str] = (),
    *,
    beside: bool | None = None,
    largest: float = 10.0,
    **options: Any,
) -> Any:
    """Draw a legend where it hides as little as possible, and so small that nothing of it is cut off.

    Parameters
    ----------
    ax : matplotlib axes
        Whose legend it is.
    handles, labels : sequence of matplotlib artists and of str, optional
        What it explains; by default all that have a label.
    beside : bool, optional
        Whether it stands at the right of the axes; by default if it is large.  The axes then become narrower, as for a
        colour bar, unless their figure lays itself out.
    largest : float
        Size of its letters in points, at most.
    **options
        Further arguments of `Axes.legend`.

    Returns
    -------
    matplotlib legend
        The legend.
    """
    if handles is None:
        handles, labels = ax.get_legend_handles_labels()
    beside = legend_beside(labels) if beside is None else beside
    room = ax.get_window_extent()
    wide = ax.figure.bbox.width if beside else 0.95 * room.width
    most = 0.6 * wide if beside else wide
    if beside:
        options |= {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
    else:
        options = {"loc": "best", "framealpha": 0.8} | options
    for size, n_columns in [(size, n_columns) for size, n_columns in _LEGENDS if size <= largest]:
        legend = ax.legend(handles, labels, fontsize=size, ncols=n_columns, **options)
        box = legend.get_window_extent()
        if box.width <= most and box.height <= room.height:
            break
    return legend


def tidy_log_axis(axis: Any, values: NDArray[Any]) -> None:
    """Give a logarithmic axis of less than a decade few ticks, as plain numbers; the usual ones cover each other."""
    from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

    known = values[np.isfinite(values) & (values > 0)]
    if known.size and known.max() < _DECADE * known.min():
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())


def whole_numbers(axis: Any) -> None:
    """Give a linear axis ticks at whole numbers only; a logarithmic one has them where it is long enough."""
    from matplotlib.ticker import MaxNLocator

    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def lay_out(ax: Any) -> None:
    """Give axes the place that they will have when they are drawn."""
    engine = ax.figure.get_layout_engine()
    if engine is None:
        fit_into_figure(ax)
    else:
        engine.execute(ax.figure.canvas.figure)
    ax.apply_aspect()


def fit_into_figure(ax: Any) -> None:
    """Make axes smaller if their labels, title or legend would be cut off, and no layout of the figure sees to it."""
    if ax.figure.get_layout_engine() is not None:
        return
    from matplotlib.transforms import Bbox

    outer = ax.figure.bbox
    together = [other for other in ax.figure.axes if other.get_position().bounds == ax.get_position().bounds]  # twins
    for _ in range(_FITTINGS):
        tight, place = Bbox.union([each.get_tightbbox() for each in together]), ax.get_position(original=True)
        beyond = np.array([outer.x0 - tight.x0, outer.y0 - tight.y0, tight.x1 - outer.x1, tight.y1 - outer.y1])
        left, below, right, above = np.where(beyond > 0, beyond + _BORDER, 0.0)
        if not beyond.max() > 0:
            return
        x0, y0 = place.x0 + left / outer.width, place.y0 + below / outer.height
        x1, y1 = place.x1 - right / outer.width, place.y1 - above / outer.height
        ax.set_position([x0, y0, max(x1 - x0, _LEAST_SHARE), max(y1 - y0, _LEAST_SHARE)])
