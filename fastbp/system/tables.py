"""Tables and small curves for terminals and notebooks: texts, and HTML that takes its colours from the page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WIDTH, _HEIGHT = 240, 64  # of a curve, in pixels
_MARGIN = 4
_MOST_BINS = 120  # of a curve, each with its lowest and its highest value
_LOGARITHMIC = 50.0  # positive values whose largest is this many times their smallest have a logarithmic axis
_DASHES = ("", "5 3", "1 3")  # curves differ without colour


class Table:
    """Rows under a head; the first column is text at the left, others are numbers at the right unless said otherwise.

    Parameters
    ----------
    head : sequence of str
        Names of the columns.
    rows : iterable of sequence
        Their cells; anything that `str` makes short.
    foot : sequence, optional
        A last row under a line.
    left : iterable of str
        Names of further columns whose cells begin at the left.

    Examples
    --------
    >>> print(Table(["layer", "neurons"], [["inputs", 2], ["output", 10]], ["total", 12]).text())
    layer   neurons
    inputs        2
    output       10
    total        12
    """

    def __init__(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[Any]],
        foot: Sequence[Any] | None = None,
        left: Iterable[str] = (),
    ) -> None:
        self._head = list(head)
        self._rows = [[str(cell) for cell in row] for row in rows]
        self._foot = None if foot is None else [str(cell) for cell in foot]
        at_left = set(left)
        self._is_left = [i == 0 or name in at_left for i, name in enumerate(head)]

    def text(self) -> str:
        """Return it for a terminal, without a line break at the end."""
        lines = [self._head, *self._rows, *([] if self._foot is None else [self._foot])]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self._head))]
        padded = [
            [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in columns]
            for columns in (zip(line, widths, self._is_left, strict=True) for line in lines)
        ]
        return "\n".join("  ".join(line).rstrip() for line in padded)

    def html(self) -> str:
        """Return it as a table in HTML."""
        parts = ['<table style="border-collapse:collapse;color:inherit" cellpadding="3">']
        parts += ["<thead>", self._html_row(self._head, "th"), "</thead>"]
        parts += ["<tbody>", *(self._html_row(row, "td") for row in self._rows), "</tbody>"]
        if self._foot is not None:
            line = ' style="border-top:1px solid currentColor"'
            parts += ["<tfoot>", self._html_row(self._foot, "td", line), "</tfoot>"]
        return "".join([*parts, "</table>"])

    def _html_row(self, cells: Sequence[str], kind: str, line: str = "") -> str:
        """Return one row in HTML; sides are written out, because pages have rules of their own for them."""
        made = [
            f'<{kind} style="text-align:{"left" if left else "right"}">{html.escape(cell)}</{kind}>'
            for cell, left in zip(cells, self._is_left, strict=True)
        ]
        return f"<tr{line}>{''.join(made)}</tr>"


def note(title: str, *parts: str | Table) -> str:
    """Return a block for a notebook: a title, then texts, tables, and curves that `curve` made.

    Parameters
    ----------
    title : str
        A line in bold.
    *parts : str or Table
        What follows; texts may have several lines.  All is escaped, except what begins as a curve does.

    Examples
    --------
    >>> note("a < b", "text")
    '<div style="color:inherit"><div><b>a &lt; b</b></div><div>text</div></div>'
    """
    made = [f"<div><b>{html.escape(title)}</b></div>"]
    for part in parts:
        if isinstance(part, Table):
            made.append(part.html())
        elif isinstance(part, _Drawing):
            made.append(part)
        elif part:
            made.append(f"<div>{html.escape(part).replace(chr(10), '<br>')}</div>")
    return f'<div style="color:inherit">{"".join(made)}</div>'


class _Drawing(str):
    """HTML that has been escaped already."""

    __slots__ = ()


def curve(lines: Mapping[str, ArrayLike]) -> str:
    """Return small curves over their index as an SVG picture; an empty text where nothing is finite.

    Positive values of several orders of magnitude have a logarithmic axis.  Values that are not finite are gaps.

    Parameters
    ----------
    lines : mapping of str to array_like, shape (n,)
        A name and the values of each; solid, dashed and dotted.

    Examples
    --------
    >>> curve({"loss": [3.0, 2.0, 1.0]}).count("<polyline")
    1
    >>> curve({"loss": []})
    ''
    """
    known = {name: np.asarray(values, np.float64) for name, values in lines.items()}
    finite = np.concatenate([np.empty(0), *(values[np.isfinite(values)] for values in known.values())])
    if not finite.size:
        return ""
    low, high = float(finite.min()), float(finite.max())
    is_log = low > 0 and high / _LOGARITHMIC >= low
    n_most = max(map(len, known.values()))
    drawn = []
    for number, values in enumerate(known.values()):
        dashes = _DASHES[number % len(_DASHES)]
        looks = f' stroke-dasharray="{dashes}"' if dashes else ""
        shares = _shares(values, low, high, is_log=is_log)
        drawn += [_piece(points, looks) for points in _pieces(shares, n_most)]
    strokes = [f"{name} {word}" for name, word in zip(known, ("solid", "dashed", "dotted"), strict=False)]
    axis = "logarithmic axis" if is_log else "axis"
    said = f"{', '.join(strokes if len(known) > 1 else known)}: {axis} from {low:.4g} to {high:.4g}"
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    label = html.escape(said)
    return _Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" fill="none" stroke="currentColor" '
        f'stroke-width="1.5"><title>{label}</title>{"".join(drawn)}</svg><div><small>{label}</small></div>'
    )


def _shares(values: NDArray[np.float64], low: float, high: float, *, is_log: bool) -> NDArray[np.float64]:
    """Return how high on the axis each value lies, from 0 to 1; NaN where it is not finite."""
    with np.errstate(all="ignore"):
        if is_log:
            values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
        else:  # the largest doubles have a range that overflows
            values, low, high = values / 2, low / 2, high / 2
        span = high - low
        shares = (values - low) / span if span > 0 else np.where(np.isfinite(values), 0.5, np.nan)
    return np.where(np.isfinite(shares), shares, np.nan)


def _pieces(shares: NDArray[np.float64], n_most: int) -> list[list[tuple[float, float]]]:
    """Return the points of each stretch without a gap, in pixels; of many values the extremes of each bin."""
    bins = np.array_split(np.arange(len(shares)), _MOST_BINS) if len(shares) > 2 * _MOST_BINS else []
    kept = list(range(len(shares)))
    if bins:
        kept = sorted({int(i) for part in bins for i in (part[0], *_extremes(shares, part), part[-1])})
    pieces: list[list[tuple[float, float]]] = [[]]
    for i in kept:
        if np.isnan(shares[i]):
            pieces.append([])
            continue
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * i / max(1, n_most - 1)
        pieces[-1].append((x, _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * shares[i]))
    return [points for points in pieces if points]


def _extremes(shares: NDArray[np.float64], part: NDArray[np.int64]) -> tuple[int, int]:
    """Return where in a bin the lowest and the highest value are."""
    values = shares[part]
    if np.isnan(values).all():
        return int(part[0]), int(part[-1])
    return int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])


def _piece(points: list[tuple[float, float]], looks: str) -> str:
    """Return one stretch; a lone point is a dot."""
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2"/>'
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}"{looks}/>'
