"""`Display`: what all pictures have in common, and the part of their documentation that is the same for all."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self, cast

from fastbp.plotting.canvas import axes_or_new, fit_into_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What stands in a docstring for each of these names, when it is alone on a line and in braces.  Whoever asks for the
# documentation, by `help` for instance, gets the text.
_SHARED = {
    "axes": """\
ax_ : matplotlib axes
    Where the picture is.
figure_ : matplotlib figure
    The figure of the axes.""",
    "ax": """\
ax : matplotlib axes, optional
    Where to draw; by default a new figure.""",
    "returns": """\
Returns
-------
{class}
    The drawn display.""",
    "no_matplotlib": """\
ImportError
    If matplotlib is not installed.""",
}
_PLACES = re.compile(rf"^( *)\{{({'|'.join(_SHARED)})\}}$", re.MULTILINE)


class Display(ABC):
    """A picture that can be drawn again and again; a subclass says how large it is, and draws it.

    In the docstrings of a subclass and of its class methods, the names of `_SHARED` stand for their texts.

    Attributes
    ----------
    ax_ : matplotlib axes
        Where the picture is, once it has been drawn.
    figure_ : matplotlib figure
        The figure of the axes.
    """

    ax_: Axes
    figure_: Figure

    def __init_subclass__(cls) -> None:
        """Put the shared texts into the documentation of a subclass."""
        super().__init_subclass__()
        cls.__doc__ = _with_shared_texts(cls.__doc__, cls)
        for member in vars(cls).values():
            if isinstance(member, classmethod):
                member.__func__.__doc__ = _with_shared_texts(member.__func__.__doc__, cls)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into axes, or into a new figure.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        Display
            This display, with `ax_`, `figure_` and what else its class names as attributes.

        Raises
        ------
        TypeError
            If `ax` is something else than axes.
        ImportError
            If matplotlib is not installed.
        """
        is_new = ax is None
        ax = axes_or_new(ax, self._figure_size())
        self._draw(ax, is_new)
        if not is_new:
            fit_into_figure(ax)
        self.ax_, self.figure_ = ax, cast("Figure", ax.figure)  # within a figure of several parts, one of them
        return self

    def __repr__(self) -> str:
        name = type(self).__name__
        if not hasattr(self, "ax_"):
            return f"<{name}, not drawn yet>"
        axes = [label for label in (self.ax_.get_xlabel(), self.ax_.get_ylabel()) if label]
        against = f": {' and '.join(axes)}" if axes else ""
        title = " ".join(self.ax_.get_title().split())
        return f"<{name} {title!r}{against}>"

    @staticmethod
    def _title(ax: Any, text: str) -> None:
        """Give axes a title, unless they have one."""
        if not ax.get_title():
            ax.set_title(text, fontsize="medium")

    def _figure_size(self) -> tuple[float, float]:
        """Return width and height of a new figure in inches."""
        return 6.0, 4.0

    @abstractmethod
    def _draw(self, ax: Any, is_new: bool) -> None:
        """Draw into axes; those of a new figure have the size that `_figure_size` says, others may be smaller."""


def _with_shared_texts(text: str | None, cls: type[Display]) -> str | None:
    """Return a docstring with the shared texts in the places of their names; there is none under ``python -OO``."""
    if text is None:
        return None
    return _PLACES.sub(
        lambda place: textwrap.indent(_SHARED[place[2]].replace("{class}", cls.__name__), place[1]), text
    )
