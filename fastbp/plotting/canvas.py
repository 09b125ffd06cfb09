"""Where pictures are drawn, and in what: axes, and line styles that can be told apart without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes  # also for rooms above, which import no matplotlib

# Colours of Okabe and Ito, "Color universal design" (2008), which colour-blind readers can tell apart; each goes with a
# line style and a marker of its own, so that a print in grey can be read as well.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")
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
